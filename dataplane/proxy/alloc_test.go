package proxy

import (
	"bufio"
	"bytes"
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

// asking warms c up, and sends its requests in turn, each once the answer to the one before has ended with
// what it ends with. It allocates nothing.
func (c *client) asking(end string, requests ...[]byte) (ask func()) {
	c.t.Helper()
	_ = c.SetDeadline(time.Time{}) // benchmarks take long
	buf, last, n := make([]byte, 4096), []byte(end), 0
	ask = func() {
		if _, err := c.Write(requests[n%len(requests)]); err != nil {
			c.t.Fatal(err)
		}
		n++
		for have := 0; !bytes.HasSuffix(buf[:have], last); {
			more, err := c.Read(buf[have:])
			if err != nil {
				c.t.Fatal(err)
			}
			have += more
		}
	}
	for range 300 { // until there are connections, goroutines and buffers enough
		ask()
	}
	return ask
}

// TestRequestsAllocateNothing covers the whole path: both connections, match, policies
// that every request has, counters; routes that tie requests to hosts; and what guards tries: the
// deadline of a caller, budgets, a breaker, and a hedge that is not needed.
func TestRequestsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	plain, hashed, session := to("up"), to("up"), to("up")
	hashed.HashOn = []model.Key{{Source: model.KeyIdentity}, {Source: model.KeyHeader, Name: "x-user"}, {Source: model.KeyCookie, Name: "a"}}
	session.HashOn = hashed.HashOn
	session.Session = &model.Session{Type: model.SessionCookie, Name: "weir", AbsoluteTimeout: time.Hour}
	guarded, hedges := to("up"), hedged(1)
	for _, r := range []*model.Route{guarded, hedges} {
		r.Timeouts = model.Timeouts{Request: time.Minute, PerTry: 50 * time.Second, Idle: time.Minute}
	}
	guarded.Retry = &model.Retry{Attempts: 2, Codes: []int{503}, IdempotencyHeader: "idempotency-key", Budget: &model.RetryBudget{Share: 0.2, MinPerSecond: 3}}
	hedges.Retry.Hedge.After = time.Minute / 2
	for name, route := range map[string]*model.Route{"plain": plain, "hashed": hashed, "session": session, "guarded": guarded, "hedged": hedges} {
		t.Run(name, func(t *testing.T) {
			answer := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
			s := snapshotOf(map[string]string{"up": cannedUpstream(t, answer)}, route)
			switch route {
			case hashed, session:
				balancing(s, model.Maglev)
			case guarded, hedges:
				trusts(s).Clusters[0].RetryBudget = &model.RetryBudget{Share: 0.1, MinPerSecond: 10}
				s.Clusters[0].Breaker = model.Breaker{
					MaxConnections: 100, MaxPending: 100, MaxRequests: 100, MaxRetries: 10, Mode: model.ModeEnforce,
					Trip: &model.Trip{Failures: 0.5, Of: 20, OpenFor: time.Second, Probes: 1},
				}
			}
			c := startRig(t, s, Config{}).dial()
			request := "GET /some/path?q=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nAccept: */*\r\nCookie: a=b"
			if route.Session != nil {
				cookie := c.send(strings.ReplaceAll(request, "\r", "")+"\n\n").want(200, "", "").Cookies()[0]
				request += "; weir=" + cookie.Value
			}
			if route == guarded || route == hedges {
				request += "\r\nX-Weir-Timeout-Ms: 40000\r\nIdempotency-Key: 1"
			}
			// Now and then a collection empties the pools of buffers, so the mean is not quite zero.
			if n := testing.AllocsPerRun(2000, c.asking("hello", []byte(request+"\r\n\r\n"))); n > 0 {
				t.Errorf("%v allocations per request, want 0", n)
			}
		})
	}
}
