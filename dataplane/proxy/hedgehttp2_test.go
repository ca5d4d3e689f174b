package proxy

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// TestHedgeResetsStreams: of a try that loses over HTTP/2 only the stream ends, and its host hears
// of that at once.
func TestHedgeResetsStreams(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	ended := make(chan struct{})
	handle := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked++
		slow := r.URL.Path == "/race" && asked%2 == 1
		mu.Unlock()
		if slow {
			select {
			case <-r.Context().Done():
				ended <- struct{}{}
			case <-time.After(patience):
			}
			return
		}
		_, _ = w.Write([]byte("won"))
	}
	route := hedged(1)
	s := speaking(snapshotOf(map[string]string{"up": serveH2C(t, handle) + "," + serveH2C(t, handle)}, route), model.ProtocolH2C)
	r := startRig(t, s, Config{})
	c := r.dial()
	for range 4 {
		c.send(get("/race")).want(200, "", "won")
		select {
		case <-ended:
		case <-time.After(patience):
			t.Fatal("the try that lost goes on")
		}
	}
	for _, h := range r.proxy.Hosts() {
		if h.Opened > 1 || h.Failures > 0 {
			t.Errorf("%v: %d connections, %d failures", h.Address, h.Opened, h.Failures)
		}
	}
}

// TestTrustedIdentity: of a caller who has proved to be a trusted one, what it says about its
// request's time counts, and of others not.
func TestTrustedIdentity(t *testing.T) {
	up := serveHTTP(t, func(http.ResponseWriter, *http.Request) {})
	ca := newNotary(t)
	const id = "spiffe://prod.test/ns/shop/sa/cart"
	s := twoListeners(up, &model.TLS{Names: []model.TLSName{ca.name(&model.ClientValidation{CAs: ca.pem()}, "a.test")}})
	s.Listeners[0].Client.TrustIdentities = []string{id}
	r := startRig(t, s, Config{})
	for who, status := range map[string]int{id: 504, id + "2": 200} {
		resp, _ := r.secured(ca.config("a.test", ca.client(who, time.Now().Add(time.Hour)))).
			send("GET / HTTP/1.1\nHost: a.test\nX-Weir-Timeout-Ms: 0\n\n").answer("GET")
		if resp.StatusCode != status {
			t.Errorf("%s got %d, want %d", who, resp.StatusCode, status)
		}
	}
	if got := r.metrics.Protection(to("up").Name, telemetry.ProtectDeadline).Acted(); got != 1 {
		t.Errorf("%d refused for their deadlines", got)
	}
}

// TestPanicOfAHedge: a defect in a try beside the first costs that try.
func TestPanicOfAHedge(t *testing.T) {
	for _, where := range []string{"pick", "dial"} {
		inBubble(t, func(t *testing.T, n *network) {
			n.racer(t, []lap{{300 * time.Millisecond, "HTTP/1.1 200 OK\nContent-Length: 3\n\none"}}, upA, upB)
			var faulty atomic.Bool
			dial := func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
				if where == "dial" && faulty.Load() {
					panic("dial")
				}
				return n.dial(ctx, a)
			}
			random := func() uint64 {
				if where == "pick" && faulty.Load() {
					panic("random")
				}
				return 0
			}
			s := snapshotOf(map[string]string{"up": upA + "," + upB}, hedged(1))
			s.Clusters[0].Breaker = model.Breaker{MaxRequests: 10, MaxRetries: 10, Mode: model.ModeEnforce}
			r := n.rig(t, s, Config{Dial: dial, Random: random})
			c := r.patient().send(get("/"))
			synctest.Wait()
			faulty.Store(true)
			c.want(200, "", "one")
			faulty.Store(false)
			synctest.Wait()
			r.unused()
			for _, h := range r.proxy.Hosts() {
				if h.InFlight != 0 || h.Failures != 0 {
					t.Errorf("after a panic in %s: %+v", where, h)
				}
			}
		})
	}
}

// TestNestedHedges: a request that its caller sends again itself is not sent to two hosts, unless
// the policy says so.
func TestNestedHedges(t *testing.T) {
	for nested, tries := range map[bool]int{false: 1, true: 2} {
		inBubble(t, func(t *testing.T, n *network) {
			m := n.racer(t, []lap{{300 * time.Millisecond, "HTTP/1.1 200 OK\nContent-Length: 0\n\n"}}, upA, upB)
			route := hedged(1)
			route.Retry.Nested = nested
			r := n.rig(t, trusts(snapshotOf(map[string]string{"up": upA + "," + upB}, route)), Config{})
			r.patient().send("GET / HTTP/1.1\nHost: h\nX-Weir-Attempt: 1\n\n").want(200, "", "")
			if len(m.came) != tries {
				t.Errorf("nested %v: %d tries", nested, len(m.came))
			}
		})
	}
}
