package transport

import (
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newPoll(t *testing.T) *Poll {
	t.Helper()
	p, err := NewPoll()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// wait returns the tokens of one Wait.
func wait(t *testing.T, p *Poll) []Token {
	t.Helper()
	p.SetDeadline(Now().Add(10 * time.Second))
	tokens, err := p.Wait(nil)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(tokens)
	return tokens
}

func TestPollReportsWhateverCanBeRead(t *testing.T) {
	for name, do := range map[string]func(peer *net.TCPConn) error{
		"bytes":      func(peer *net.TCPConn) error { _, err := peer.Write([]byte("x")); return err },
		"half-close": func(peer *net.TCPConn) error { return peer.CloseWrite() },
		"close":      func(peer *net.TCPConn) error { return peer.Close() },
		"reset":      func(peer *net.TCPConn) error { return errors.Join(peer.SetLinger(0), peer.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPoll(t)
			c, peer := pair(t)
			quiet, _ := pair(t)
			const token = Token(7<<32 | 1<<31 | 5) // both halves, and a sign bit
			if err := errors.Join(c.PutBy(), quiet.PutBy(), p.Watch(c, token), p.Watch(quiet, 1)); err != nil {
				t.Fatal(err)
			}
			if err := do(peer); err != nil {
				t.Fatal(err)
			}
			for range 2 { // for as long as it can be read
				if got := wait(t, p); !slices.Equal(got, []Token{token}) {
					t.Fatalf("got %x", got)
				}
			}
			if err := p.Forget(c); err != nil {
				t.Fatal(err)
			}
			p.SetDeadline(Now().Add(time.Millisecond))
			if got, err := p.Wait(nil); len(got) > 0 || !errors.Is(err, ErrTimeout) {
				t.Errorf("after it was forgotten: %x, %v", got, err)
			}
		})
	}
}

// TestPollReportsWhatCameBefore watches a connection that has bytes already.
func TestPollReportsWhatCameBefore(t *testing.T) {
	p := newPoll(t)
	c, peer := pair(t)
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for c.Peer() != PeerSending { // until it has come
	}
	if err := errors.Join(c.PutBy(), p.Watch(c, 3)); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, p); !slices.Equal(got, []Token{3}) {
		t.Errorf("got %x", got)
	}
}

// TestPollOfMoreThanOneBatch has more connections ready than one Wait reports.
func TestPollOfMoreThanOneBatch(t *testing.T) {
	p := newPoll(t)
	const n = pollBatch + 50
	conns := make([]*Conn, n)
	for i := range conns {
		c, peer := pair(t)
		conns[i] = c
		if err := errors.Join(c.PutBy(), p.Watch(c, Token(i))); err != nil {
			t.Fatal(err)
		}
		if _, err := peer.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for seen < n {
		for _, token := range wait(t, p) {
			if err := p.Forget(conns[token]); err != nil { // fails if it was reported before
				t.Fatal(err)
			}
			seen++
		}
	}
}

func TestPollEnds(t *testing.T) {
	p := newPoll(t)
	got := make(chan error)
	go func() {
		_, err := p.Wait(nil)
		got <- err
		_, err = p.Wait(nil)
		got <- err
	}()
	p.SetDeadline(Now()) // while it waits, or before
	if err := <-got; !errors.Is(err, ErrTimeout) {
		t.Errorf("at the deadline: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err == nil { // it may have been quicker than the end
		t.Error("no error after the end")
	}
	if _, err := p.Wait(nil); err == nil || errors.Is(err, ErrTimeout) {
		t.Errorf("after the end: %v", err)
	}
}

func TestPollTakesOnlyOpenTCP(t *testing.T) {
	p := newPoll(t)
	near, far := net.Pipe()
	defer far.Close()
	piped := New(near)
	defer piped.Close()
	if piped.Pollable() {
		t.Error("a pipe is said to be pollable")
	}
	if err := errors.Join(piped.PutBy(), p.Watch(piped, 1)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a pipe: %v", err)
	}
	c, _ := pair(t)
	c.Close()
	if err := c.PutBy(); err == nil {
		t.Error("a closed connection can be put by")
	}
	c, _ = pair(t)
	if err := c.PutBy(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := p.Watch(c, 1); err == nil {
		t.Error("a closed connection can be watched")
	}
	if err := c.Resume(); err == nil {
		t.Error("a closed connection can be resumed")
	}
	var b Buffer
	if _, err := c.ReadInto(&b, Wait{}); err == nil { // fails, and does not panic
		t.Error("a closed connection can be read")
	}
	b.Release()
}

func TestPutByAndResumed(t *testing.T) {
	c, peer := pair(t)
	var b Buffer
	if _, err := c.ReadInto(&b, Wait{By: Now().Add(time.Millisecond)}); !errors.Is(err, ErrTimeout) {
		t.Fatal(err)
	}
	if err := c.PutBy(); err != nil {
		t.Fatal(err)
	}
	c.Wake() // of no effect on what is to come
	if err := c.Resume(); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := c.ReadInto(&b, Wait{By: Now().Add(10 * time.Second)}); n != 1 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if err := c.Write([]byte("y"), Wait{}); err != nil {
		t.Error(err)
	}
	if n, err := peer.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("the peer got %d, %v", n, err)
	}
	b.Release()
}

// TestClosedByTwoWhilePutBy: of two who close a connection at once, the one who takes leave of the
// peer may find no socket any more.
func TestClosedByTwoWhilePutBy(t *testing.T) {
	c, peer := pair(t)
	server, _ := serverPair(t, c.nc, peer)
	var b Buffer
	defer b.Release()
	if _, err := server.ReadInto(&b, Wait{By: Now().Add(time.Millisecond)}); !errors.Is(err, ErrTimeout) {
		t.Fatal(err)
	}
	if err := server.PutBy(); err != nil {
		t.Fatal(err)
	}
	if err := server.closeSocket(); err != nil { // the other one's
		t.Fatal(err)
	}
	_ = server.Close() // it does not panic
}

// TestResumeOfWhatIsNoConnection stands for whatever keeps a descriptor from becoming a connection.
func TestResumeOfWhatIsNoConnection(t *testing.T) {
	c, _ := pair(t)
	if err := c.PutBy(); err != nil {
		t.Fatal(err)
	}
	p, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup3(p, int(c.put), unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(p)
	fd := int(c.put)
	if err := c.Resume(); err == nil {
		t.Error("no error")
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("the descriptor is left open: %v", err)
	}
	var b Buffer
	if _, err := c.ReadInto(&b, Wait{}); err == nil {
		t.Error("it can be read")
	}
	if err := c.Write([]byte("x"), Wait{}); err == nil {
		t.Error("it can be written to")
	}
	c.Wake()
	b.Release()
}
