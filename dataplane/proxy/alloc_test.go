package proxy

import (
	"bufio"
	"io"
	"net"
	"testing"
)

// cannedUpstream answers every request on a connection with the same bytes, allocating nothing.
func cannedUpstream(t testing.TB, answer string) string {
	return serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		out := []byte(answer)
		buf := make([]byte, 4096)
		for {
			if n, err := r.Read(buf); err != nil || n == 0 {
				return
			}
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	})
}

// TestPlainRequestsAllocateNothing covers the whole path: both connections, match, policies
// that every request has, counters.
func TestPlainRequestsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	answer := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
	r := newRig(t, map[string]string{"up": cannedUpstream(t, answer)}, to("up"))
	c := r.dial()
	request := []byte("GET /some/path?q=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nAccept: */*\r\nCookie: a=b\r\n\r\n")
	buf := make([]byte, len(answer))
	exchange := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c.Conn, buf); err != nil {
			t.Fatal(err)
		}
	}
	exchange()
	// Now and then a collection empties the pools of buffers, so the mean is not quite zero.
	if n := testing.AllocsPerRun(2000, exchange); n > 0 {
		t.Errorf("%v allocations per request, want 0", n)
	}
}
