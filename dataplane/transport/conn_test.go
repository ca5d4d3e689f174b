package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns a Conn over TCP and the other end of it.
func pair(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := New(nc)
	t.Cleanup(func() { c.Close(); peer.Close() })
	return c, peer.(*net.TCPConn)
}

func TestReadTakesABufferOnlyForBytes(t *testing.T) {
	c, peer := pair(t)
	var b Buffer
	if _, err := c.ReadInto(&b, Wait{By: Now().Add(time.Millisecond)}); !errors.Is(err, ErrTimeout) {
		t.Fatalf("got %v", err)
	}
	if b.mem != nil {
		t.Error("an empty buffer holds memory after a wait")
	}
	if _, err := peer.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if n, err := c.ReadInto(&b, Wait{By: Now().Add(5 * time.Second)}); n != 5 || err != nil || string(b.Bytes()) != "hello" {
		t.Fatalf("got %d, %v, %q", n, err, b.Bytes())
	}
	peer.Close()
	if _, err := c.ReadInto(&b, Wait{}); !errors.Is(err, io.EOF) {
		t.Fatalf("at the end: %v", err)
	}
	b.Release()
}

func TestWakeEndsOnlyTheWaitThatStops(t *testing.T) {
	c, peer := pair(t)
	var stop, other atomic.Bool
	other.Store(true)
	got := make(chan error, 1)
	go func() {
		var b Buffer
		_, err := c.ReadInto(&b, Wait{Stop: &stop})
		if err == nil {
			_, err = c.ReadInto(&b, Wait{Stop: &stop})
		}
		got <- err
	}()
	c.Wake() // nothing has stopped: the read goes on
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	stop.Store(true)
	c.Wake()
	if err := <-got; !errors.Is(err, ErrInterrupted) {
		t.Errorf("got %v", err)
	}
}

func TestWatchEndsAWait(t *testing.T) {
	c, _ := pair(t)
	gone := errors.New("gone")
	looks := 0
	var b Buffer
	_, err := c.ReadInto(&b, Wait{Watch: func() error {
		if looks++; looks == 2 {
			return gone
		}
		return nil
	}})
	if !errors.Is(err, gone) {
		t.Errorf("got %v after %d looks", err, looks)
	}
}

func TestEarlierDeadlineStillHoldsTheLaterWait(t *testing.T) {
	c, peer := pair(t)
	var b Buffer
	if _, err := c.ReadInto(&b, Wait{By: Now().Add(20 * time.Millisecond)}); !errors.Is(err, ErrTimeout) {
		t.Fatal(err)
	}
	for range 3 { // armed for less than these want: they wake, look, and go on
		go func() { _, _ = peer.Write([]byte("x")) }()
		if _, err := c.ReadInto(&b, Wait{By: Now().Add(10 * time.Second)}); err != nil {
			t.Fatal(err)
		}
	}
	b.Release()
}

func TestExchange(t *testing.T) {
	c, peer := pair(t)
	go func() {
		var req [4]byte
		if _, err := io.ReadFull(peer, req[:]); err == nil {
			_, _ = peer.Write([]byte("pong"))
		}
	}()
	var b Buffer
	n, sent, err := c.Exchange([]byte("ping"), &b, Wait{By: Now().Add(5 * time.Second)})
	if n != 4 || !sent || err != nil {
		t.Fatalf("got %d %v %v", n, sent, err)
	}
	b.Release()
}

func TestExchangeLargerThanTheSocketTakes(t *testing.T) {
	c, peer := pair(t)
	request := []byte(strings.Repeat("x", 8<<20))
	go func() {
		if _, err := io.CopyN(io.Discard, peer, int64(len(request))); err == nil {
			_, _ = peer.Write([]byte("done"))
		}
	}()
	var b Buffer
	n, sent, err := c.Exchange(request, &b, Wait{By: Now().Add(20 * time.Second)})
	if n != 4 || !sent || err != nil {
		t.Fatalf("got %d %v %v", n, sent, err)
	}
	b.Release()
}

func TestExchangeRefusesWhatNobodyAskedFor(t *testing.T) {
	c, peer := pair(t)
	if _, err := peer.Write([]byte("HTTP/1.1 200 OK\r\n")); err != nil {
		t.Fatal(err)
	}
	for c.Peer() != PeerSending { // until it has come
	}
	c.Rested = true
	var b Buffer
	if _, sent, err := c.Exchange([]byte("ping"), &b, Wait{}); sent || !errors.Is(err, ErrUnsolicited) {
		t.Errorf("got sent %v, %v", sent, err)
	}
	closed, peer := pair(t)
	peer.Close()
	for closed.Peer() != PeerEnded {
	}
	closed.Rested = true
	if _, sent, err := closed.Exchange([]byte("ping"), &b, Wait{}); sent || !errors.Is(err, io.EOF) {
		t.Errorf("got sent %v, %v", sent, err)
	}
}

func TestPipesFollowTheBubblesClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := New(near)
		defer far.Close()
		defer c.Close()
		var b Buffer
		began := Now()
		if _, err := c.ReadInto(&b, Wait{Gap: time.Hour}); !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
		if took := Now().Sub(began); took != time.Hour {
			t.Errorf("took %v", took)
		}
	})
}

func TestBuffer(t *testing.T) {
	var b Buffer
	b.Append([]byte("body"))
	if !b.Prepend([]byte("head ")) || string(b.Bytes()) != "head body" {
		t.Errorf("got %q", b.Bytes())
	}
	if b.Prepend(make([]byte, Headroom+1)) {
		t.Error("prepended more than the headroom")
	}
	b.Append(make([]byte, 100<<10)) // beyond Large
	if b.Len() != 9+100<<10 || string(b.Bytes()[:9]) != "head body" {
		t.Errorf("length %d", b.Len())
	}
	b.Consume(b.Len())
	b.Expect(1)
	b.Append([]byte("x"))
	if len(b.mem) != Small {
		t.Errorf("memory of %d bytes for a small message", len(b.mem))
	}
	b.Release()
}

// TestPrompt: what is taken at once is written without a deadline, and the rest with one.
func TestPrompt(t *testing.T) {
	for room, want := range map[int]string{0: "until hello", 3: "hel until lo", 5: "hello"} {
		nc := &promptly{room: room}
		if err := New(nc).Write([]byte("hello"), Wait{Gap: time.Hour}); err != nil {
			t.Errorf("room for %d: %v", room, err)
		}
		broken := &promptly{room: room, broken: io.ErrClosedPipe}
		if err := New(broken).Write([]byte("hello"), Wait{Gap: time.Hour}); !errors.Is(err, io.ErrClosedPipe) || slices.Contains(broken.did, "until") {
			t.Errorf("room for %d: %v, and did %v", room, err, broken.did)
		}
		if got := strings.Join(nc.did, " "); got != want {
			t.Errorf("room for %d: did %q, want %q", room, got, want)
		}
	}
}

// promptly is a net.Conn that takes so many bytes without a wait.
type promptly struct {
	net.Conn
	room   int
	broken error // of every write
	did    []string
}

func (p *promptly) WriteNow(b []byte) (int, error) {
	n := min(p.room, len(b))
	p.room -= n
	if n > 0 {
		p.did = append(p.did, string(b[:n]))
	}
	switch {
	case p.broken != nil:
		return n, p.broken
	case n < len(b):
		return n, os.ErrDeadlineExceeded
	}
	return n, nil
}

func (p *promptly) Write(b []byte) (int, error) {
	p.did = append(p.did, string(b))
	return len(b), nil
}

func (p *promptly) SetWriteDeadline(time.Time) error {
	p.did = append(p.did, "until")
	return nil
}
