package http2

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/transport"
)

// TestCrew: goroutines that are done serve the streams that follow, no more of them wait than are
// allowed, those that nobody needs end, open streams or not, and a connection that ends waits for none.
func TestCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		goOn := make(chan bool)
		r := serveOn(t, client, server, func(s *Stream) {
			<-goOn
			answer(hello)(s)
		}, nil)
		_ = client.SetDeadline(time.Time{})
		go func() { _, _ = io.Copy(io.Discard, client) }()
		r.greet()
		time.Sleep(3 * crewTime)
		synctest.Wait()
		before := runtime.NumGoroutine()
		want := func(n int, when string) {
			t.Helper()
			synctest.Wait()
			if got := runtime.NumGoroutine() - before; got != n {
				t.Errorf("%d goroutines %s, want %d", got, when, n)
			}
		}
		next := uint32(1)
		open := func(n int) {
			for range n {
				r.ask(next, flagEndStream)
				next += 2
			}
		}
		finish := func(n int) {
			for range n {
				goOn <- true
			}
		}
		const many, few = 2 * maxCrew, 3
		open(many)
		want(many, "for as many streams")
		finish(many)
		want(maxCrew, "wait")
		open(few)
		want(maxCrew, "when some are at work again")
		time.Sleep(3 * crewTime)
		want(few, "when nobody has needed the others")
		finish(few)
		want(few+1, "wait, and the one that has written")
		time.Sleep(3 * crewTime)
		want(0, "when nobody has needed any")
		open(few)
		finish(few)
		synctest.Wait()
		closed := time.Now()
		_ = client.Close()
		<-r.done
		if took := time.Since(closed); took != 0 {
			t.Errorf("the connection ends %v after its client", took)
		}
	})
}

// TestWriteNow: a write that does not wait takes what the window allows, and nobody's turn.
func TestWriteNow(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
	counts := make(chan int, 2)
	r := serve(t, func(s *Stream) {
		for _, p := range []string{head + "abcdef", "def"} {
			n, err := s.WriteNow([]byte(p))
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%q: %v", p, err)
			}
			counts <- n
		}
		_, _ = io.WriteString(s, "def")
	}, nil).greet(setting{settingWindow, 3}).ask(1, flagEndStream)
	if got := string(r.until(kindData, 1).payload); got != "abc" {
		t.Errorf("got %q", got)
	}
	if n := <-counts; n != len(head)+3 {
		t.Errorf("the first write has taken %d bytes, want the head's %d and 3", n, len(head))
	}
	if n := <-counts; n != 0 {
		t.Errorf("another has taken %d", n)
	}
	r.frame(kindWindow, 0, 1, "\x00\x00\x00\x03")
	if g := r.until(kindData, 1); string(g.payload) != "def" || !g.has(flagEndStream) {
		t.Errorf("got %q", g.payload)
	}
}

// TestWriteNowToNobody: who has reset the stream is told of, though the bytes are taken.
func TestWriteNowToNobody(t *testing.T) {
	gone, said := make(chan struct{}), make(chan error, 1)
	r := serve(t, func(s *Stream) {
		<-gone
		for s.Peer() != transport.PeerReset {
			runtime.Gosched()
		}
		_, err := s.WriteNow([]byte("HTTP/1.1 204 No Content\r\n\r\n"))
		said <- err
	}, nil).greet().ask(1, flagEndStream)
	r.frame(kindReset, 0, 1, "\x00\x00\x00\x08")
	close(gone)
	if err := <-said; err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
