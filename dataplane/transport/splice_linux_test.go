package transport

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// tcpPair returns both ends of a connection, ours as a Conn.
func tcpPair(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := New(near)
	_ = far.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { _ = c.Close(); _ = far.Close() })
	return c, far.(*net.TCPConn)
}

func pipesInUse() int {
	pipes.mu.Lock()
	defer pipes.mu.Unlock()
	return pipes.inUse
}

// TestSplice moves more than pipe and sockets hold, and has a pipe only while there is something
// in it.
func TestSplice(t *testing.T) {
	from, source := tcpPair(t)
	to, sink := tcpPair(t)
	s := NewSplicer(from, to)
	if s == nil {
		t.Fatal("no splicer for TCP")
	}
	if _, err := s.Fill(Wait{Gap: 10 * time.Millisecond}); !errors.Is(err, ErrTimeout) || pipesInUse() != 0 {
		t.Errorf("nothing has come: %v, and %d pipes are in use", err, pipesInUse())
	}
	data := bytes.Repeat([]byte("some bytes, "), 1<<20)
	go func() {
		_, _ = source.Write(data)
		_ = source.CloseWrite()
	}()
	sum := make(chan [32]byte, 1)
	go func() {
		all, _ := io.ReadAll(sink)
		sum <- sha256.Sum256(all)
	}()
	total := 0
	for {
		n, err := s.Fill(Wait{Gap: 20 * time.Second})
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || pipesInUse() != 1 {
			t.Fatalf("%v after %d bytes, %d pipes in use", err, total, pipesInUse())
		}
		total += n
		if err := s.Drain(Wait{Gap: 20 * time.Second}); err != nil || pipesInUse() != 0 {
			t.Fatalf("%v after %d bytes, %d pipes in use", err, total, pipesInUse())
		}
	}
	_ = to.CloseWrite()
	if got := <-sum; total != len(data) || got != sha256.Sum256(data) {
		t.Errorf("%d of %d bytes, the same: %v", total, len(data), got == sha256.Sum256(data))
	}
}

// TestSpliceLosesNothingOfOthers: a pipe that could not be emptied is never used again.
func TestSpliceLosesNothingOfOthers(t *testing.T) {
	from, source := tcpPair(t)
	to, sink := tcpPair(t)
	s := NewSplicer(from, to)
	go func() { _, _ = source.Write(make([]byte, 64<<20)) }()
	var err error
	for err == nil { // until the sink, which nobody reads, is full
		if _, err = s.Fill(Wait{Gap: 20 * time.Second}); err == nil {
			err = s.Drain(Wait{Gap: 20 * time.Millisecond})
		}
	}
	if !errors.Is(err, ErrTimeout) || pipesInUse() != 0 {
		t.Fatalf("%v, %d pipes in use", err, pipesInUse())
	}
	_ = sink.Close()
	pipes.mu.Lock()
	defer pipes.mu.Unlock()
	for _, p := range pipes.idle {
		var b [1]byte
		if n, err := syscall.Read(p.read, b[:]); !errors.Is(err, syscall.EAGAIN) {
			t.Errorf("an idle pipe has %d bytes, %v", n, err)
		}
	}
}

// TestPipesAreBounded: who gets none is told, and can read.
func TestPipesAreBounded(t *testing.T) {
	var taken []*pipe
	for len(taken) < maxPipes() {
		p := takePipe()
		if p == nil {
			t.Skipf("the system gives %d pipes", len(taken))
		}
		taken = append(taken, p)
	}
	from, source := tcpPair(t)
	to, _ := tcpPair(t)
	if _, err := io.WriteString(source, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := NewSplicer(from, to).Fill(Wait{}); !errors.Is(err, ErrNoPipe) {
		t.Errorf("got %v, want ErrNoPipe", err)
	}
	var b Buffer
	defer b.Release()
	if n, err := from.ReadInto(&b, Wait{Gap: 20 * time.Second}); n != 5 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	for _, p := range taken {
		givePipe(p, true)
	}
	if n := pipesInUse(); n != 0 || len(pipes.idle) > idlePipes {
		t.Errorf("%d pipes in use, %d idle", n, len(pipes.idle))
	}
}

// TestAwaitReset tells a reset from the silence of who has ended its stream, and wakes.
func TestAwaitReset(t *testing.T) {
	c, far := tcpPair(t)
	_ = far.CloseWrite()
	var b Buffer
	if _, err := c.ReadInto(&b, Wait{}); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := c.AwaitReset(Wait{Gap: 20 * time.Millisecond}); !errors.Is(err, ErrTimeout) {
		t.Errorf("while nothing happens: %v", err)
	}
	var stop atomic.Bool
	woken := make(chan error, 1)
	go func() { woken <- c.AwaitReset(Wait{Stop: &stop}) }()
	stop.Store(true)
	c.Wake()
	if err := <-woken; !errors.Is(err, ErrInterrupted) {
		t.Errorf("woken: %v", err)
	}
	go func() { woken <- c.AwaitReset(Wait{}) }()
	_ = far.SetLinger(0)
	_ = far.Close()
	if err := <-woken; err != nil {
		t.Errorf("after the reset: %v", err)
	}
}

// TestPreview reads what comes first, and leaves it to a handshake or gives it back.
func TestPreview(t *testing.T) {
	c, far := tcpPair(t)
	c.Secure(func(nc net.Conn) *tls.Conn { return tls.Server(nc, &tls.Config{}) })
	if NewSplicer(c, c) != nil {
		t.Error("a splicer for TLS")
	}
	if _, err := io.WriteString(far, "first"); err != nil {
		t.Fatal(err)
	}
	seen := ""
	err := c.Preview(Wait{Gap: 20 * time.Second}, func(b []byte) bool { seen = string(b); return len(b) >= 5 })
	if err != nil || seen != "first" {
		t.Fatalf("seen %q, %v", seen, err)
	}
	var b Buffer
	defer b.Release()
	c.Unsecure(&b)
	if string(b.Bytes()) != "first" {
		t.Errorf("%q was given back", b.Bytes())
	}
	b.Consume(b.Len())
	if _, err := io.WriteString(far, "second"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadInto(&b, Wait{Gap: 20 * time.Second}); err != nil || string(b.Bytes()) != "second" {
		t.Errorf("then %q, %v", b.Bytes(), err)
	}
	if NewSplicer(c, c) == nil {
		t.Error("no splicer for what is in clear text again")
	}

	c, far = tcpPair(t)
	c.Secure(func(nc net.Conn) *tls.Conn { return tls.Server(nc, &tls.Config{}) })
	if _, err := io.WriteString(far, strings.Repeat("x", MaxPreview+1)); err != nil {
		t.Fatal(err)
	}
	if err := c.Preview(Wait{Gap: 20 * time.Second}, func([]byte) bool { return false }); !errors.Is(err, io.ErrShortBuffer) {
		t.Errorf("too much: %v", err)
	}
	c, far = tcpPair(t)
	c.Secure(func(nc net.Conn) *tls.Conn { return tls.Server(nc, &tls.Config{}) })
	_ = far.Close()
	if err := c.Preview(Wait{Gap: 20 * time.Second}, func([]byte) bool { return false }); !errors.Is(err, io.EOF) {
		t.Errorf("nothing: %v", err)
	}
}
