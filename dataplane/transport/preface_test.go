package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// upTo is a preface that ends with a byte.
func upTo(end byte) func(seen []byte) (int, bool) {
	return func(seen []byte) (int, bool) {
		i := bytes.IndexByte(seen, end)
		return i + 1, i >= 0
	}
}

// TestPreface reads what comes first, and leaves what comes with it.
func TestPreface(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	c := New(near)
	defer c.Close()
	wait := Wait{Gap: 20 * time.Second}
	go func() {
		_, _ = io.WriteString(far, "he")
		_, _ = io.WriteString(far, "ad|rest")
		_, _ = io.WriteString(far, " and more")
	}()
	if _, err := c.Preface(wait, upTo('|')); err != nil {
		t.Fatal(err)
	}
	if err := c.PutBy(); !errors.Is(err, ErrUnsupported) {
		t.Errorf("put by with something to read: %v", err)
	}
	var b Buffer
	defer b.Release()
	for _, want := range []string{"rest", "rest and more"} {
		if _, err := c.ReadInto(&b, wait); err != nil || string(b.Bytes()) != want {
			t.Errorf("read %q, %v; want %q", b.Bytes(), err, want)
		}
	}
	if c.early != nil {
		t.Error("memory is kept")
	}
}

// TestPrefaceIntoWhatIsNearlyFull gives a reader no more than it has space for.
func TestPrefaceIntoWhatIsNearlyFull(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	c := New(near)
	defer c.Close()
	go func() { _, _ = io.WriteString(far, "|0123456789") }()
	if _, err := c.Preface(Wait{}, upTo('|')); err != nil {
		t.Fatal(err)
	}
	var b Buffer
	defer b.Release()
	b.Append(bytes.Repeat([]byte("x"), MaxPreview-4))
	for _, want := range []string{"xx0123", "456789"} {
		if _, err := c.ReadInto(&b, Wait{}); err != nil || !strings.HasSuffix(string(b.Bytes()), want) {
			t.Errorf("read %q, %v; want %q", b.Bytes(), err, want)
		}
		if b.Full() {
			if _, err := c.ReadInto(&b, Wait{}); !errors.Is(err, io.ErrShortBuffer) {
				t.Errorf("a full buffer: %v", err)
			}
			b.Consume(b.Len())
		}
	}
}

func TestPrefaceThatNeverEnds(t *testing.T) {
	for _, tt := range []struct {
		send string
		want error
		seen int
	}{
		{strings.Repeat("x", MaxPreview+1), io.ErrShortBuffer, MaxPreview},
		{"half", io.EOF, 4},
		{"", io.EOF, 0},
	} {
		near, far := net.Pipe()
		c := New(near)
		go func() {
			_, _ = io.WriteString(far, tt.send)
			_ = far.Close()
		}()
		seen, err := c.Preface(Wait{Gap: 20 * time.Second}, upTo('|'))
		if !errors.Is(err, tt.want) || seen != tt.seen {
			t.Errorf("%d bytes: %d seen, %v", len(tt.send), seen, err)
		}
		_ = c.Close()
	}
}

func TestToldEnds(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	c := New(near)
	defer c.Close()
	if _, told := c.Told(); told || c.RemoteAddr() != near.RemoteAddr() || c.LocalAddr() != near.LocalAddr() {
		t.Errorf("%v to %v", c.RemoteAddr(), c.LocalAddr())
	}
	want := Ends{netip.MustParseAddrPort("198.51.100.7:5555"), netip.MustParseAddrPort("[2001:db8::1]:443")}
	c.Tell(want)
	if got, told := c.Told(); !told || got != want || c.RemoteAddr().String() != want.Client.String() || c.LocalAddr().String() != want.Local.String() {
		t.Errorf("%v to %v", c.RemoteAddr(), c.LocalAddr())
	}
}
