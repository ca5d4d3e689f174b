package proxy

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/model"
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

// TestRequestsAllocateNothing covers the whole path: both connections, match, policies
// that every request has, counters; and routes that tie requests to hosts.
func TestRequestsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	plain, hashed, session := to("up"), to("up"), to("up")
	hashed.HashOn = []model.Key{{Source: model.KeyIdentity}, {Source: model.KeyHeader, Name: "x-user"}, {Source: model.KeyCookie, Name: "a"}}
	session.HashOn = hashed.HashOn
	session.Session = &model.Session{Type: model.SessionCookie, Name: "weir", AbsoluteTimeout: time.Hour}
	for name, route := range map[string]*model.Route{"plain": plain, "hashed": hashed, "session": session} {
		t.Run(name, func(t *testing.T) {
			answer := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
			s := snapshotOf(map[string]string{"up": cannedUpstream(t, answer)}, route)
			if name != "plain" {
				balancing(s, model.Maglev)
			}
			c := startRig(t, s, Config{}).dial()
			request := "GET /some/path?q=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nAccept: */*\r\nCookie: a=b"
			if route.Session != nil {
				cookie := c.send(strings.ReplaceAll(request, "\r", "")+"\n\n").want(200, "", "").Cookies()[0]
				request += "; weir=" + cookie.Value
			}
			raw := []byte(request + "\r\n\r\n")
			buf := make([]byte, len(answer))
			exchange := func() {
				if _, err := c.Write(raw); err != nil {
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
		})
	}
}
