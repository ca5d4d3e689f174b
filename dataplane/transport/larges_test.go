package transport

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestLargeBuffersAreBounded: beyond the bound a buffer that expects much is a small one, what has
// to become larger still does, and what is given back is there for others.
func TestLargeBuffersAreBounded(t *testing.T) {
	before := LargeHeld()
	BoundLarge(before + 2*Large)
	defer BoundLarge(0)
	read := func() *Buffer {
		b := new(Buffer)
		b.Expect(Large)
		if len(b.space()) == 0 {
			t.Fatal("no space")
		}
		b.to++
		return b
	}
	first, second, third := read(), read(), read()
	if first.large == nil || second.large == nil || third.small == nil {
		t.Error("not the first two are large, and the third small")
	}
	if held := LargeHeld() - before; held != 2*Large {
		t.Errorf("%d bytes held", held)
	}
	third.Widen()
	if held := LargeHeld() - before; third.large == nil || held != 3*Large {
		t.Errorf("%d bytes held when one more had to be", held)
	}
	for _, b := range []*Buffer{first, second, third} {
		b.Release()
	}
	if held := LargeHeld() - before; held != 0 {
		t.Errorf("%d bytes held in the end", held)
	}
	if b := read(); b.large == nil {
		t.Error("no large one when all have been given back")
	} else {
		b.Release()
	}
}

// TestPatience: who takes nothing may, until memory is short; who takes something may always.
func TestPatience(t *testing.T) {
	for _, stands := range []bool{true, false} {
		ours, theirs := net.Pipe()
		var patience atomic.Int64
		done := make(chan error, 1)
		go func() {
			done <- New(ours).Write(make([]byte, 1<<20), Wait{Gap: time.Minute, Patience: &patience})
		}()
		if _, err := theirs.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		patience.Store(int64(time.Millisecond))
		if stands {
			if err := <-done; !errors.Is(err, ErrPressed) {
				t.Errorf("%v", err)
			}
			continue
		}
		if _, err := io.ReadFull(theirs, make([]byte, 1<<20-1)); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Errorf("who takes bytes: %v", err)
		}
	}
}

// TestPatienceWithDrips: while memory is short, a byte now and then is as good as none, and a slow
// client is still served.
func TestPatienceWithDrips(t *testing.T) {
	for _, reader := range []struct {
		bytes int
		cut   bool
	}{{1, true}, {100, true}, {2 << 10, false}} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			var patience atomic.Int64
			patience.Store(int64(time.Second))
			done := make(chan error, 1)
			go func() {
				err := New(ours).Write(make([]byte, 16<<10), Wait{Gap: time.Minute, Patience: &patience})
				_ = ours.Close()
				done <- err
			}()
			for p := make([]byte, reader.bytes); ; time.Sleep(200 * time.Millisecond) {
				if _, err := io.ReadFull(theirs, p); err != nil {
					break
				}
			}
			if err := <-done; errors.Is(err, ErrPressed) != reader.cut {
				t.Errorf("who takes %d bytes each 200 ms: %v", reader.bytes, err)
			}
		})
	}
}
