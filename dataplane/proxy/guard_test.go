package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/breaker"
)

// TestDeniedRetries: what a bound on retries makes of an answer and of a failure without one.
func TestDeniedRetries(t *testing.T) {
	const busy = "HTTP/1.1 503 Busy\nContent-Length: 4\n\nbusy"
	none := &model.RetryBudget{}
	tripped := model.Breaker{Trip: &model.Trip{Failures: 0.2, Of: 5, OpenFor: 10 * time.Second, Probes: 1}, Mode: model.ModeEnforce}
	for _, test := range []struct {
		name   string
		step   string
		budget *model.RetryBudget
		edit   func(c *model.Cluster)
		status int
		flag   string
		body   string
		denied telemetry.ProtectionKind
		target string
	}{
		{"answer, route's budget", busy, none, nil, 503, "", "busy", telemetry.ProtectRetryBudget, "up"},
		{"answer, cluster's budget", busy, nil, func(c *model.Cluster) { c.RetryBudget = none }, 503, "", "busy", telemetry.ProtectRetryBudget, "up"},
		{"failure, route's budget", "cut", none, nil, 503, "URX", "", telemetry.ProtectRetryBudget, "up"},
		{"failure, breaker open", "cut", nil, func(c *model.Cluster) { c.Breaker = tripped }, 502, "UC", "", telemetry.ProtectTrip, "up"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				s := n.script(t, []string{test.step, test.step}, upA, upB)
				route := to("up")
				route.Retry = &model.Retry{Attempts: 1, Codes: []int{503}, Budget: test.budget}
				snap := trusts(snapshotOf(map[string]string{"up": upA + "," + upB}, route))
				snap.Clusters[0].Breaker = model.Breaker{MaxRequests: 10, MaxRetries: 10, Mode: model.ModeEnforce}
				if test.edit != nil {
					test.edit(snap.Clusters[0])
				}
				r := n.rig(t, snap, Config{})
				resp := r.patient().send("GET / HTTP/1.1\nHost: h\nX-Weir-Explain: 1\n\n").want(test.status, test.flag, test.body)
				synctest.Wait()
				if len(s.hosts) != 1 {
					t.Errorf("tries at %v", s.hosts)
				}
				if got := r.metrics.Protection(test.target, test.denied).Acted(); got != 1 {
					t.Errorf("%d denied", got)
				}
				r.unused()
				if explained := resp.Header.Get("X-Weir-Explain"); !strings.Contains(explained, "denied by "+string(test.denied)) {
					t.Errorf("the denied try is not among the attempts: %s", explained)
				}
			})
		})
	}
}

// TestOpenBreaker refuses at once, says until when, and lets a probe through then.
func TestOpenBreaker(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		s := n.script(t, []string{"cut", "cut", "cut"}, upA)
		route := to("up")
		snap := snapshotOf(map[string]string{"up": upA}, route)
		snap.Clusters[0].Breaker = model.Breaker{Trip: &model.Trip{Failures: 0.6, Of: 5, OpenFor: 4 * time.Second, Probes: 1}, Mode: model.ModeEnforce}
		r := n.rig(t, snap, Config{Random: func() uint64 { return 0 }})
		for range 3 {
			r.patient().send(get("/")).want(502, "UC", "")
		}
		time.Sleep(500 * time.Millisecond)
		resp := r.patient().send(get("/")).want(503, "UO", "")
		if got := resp.Header.Get("Retry-After"); got != "4" {
			t.Errorf("Retry-After is %q", got)
		}
		if requests := r.proxy.Hosts()[0].Requests; requests != 3 {
			t.Errorf("the host had %d tries", requests)
		}
		time.Sleep(4 * time.Second)
		r.patient().send(get("/")).want(200, "", "last")
		synctest.Wait() // until the probe has been judged
		r.patient().send(get("/")).want(200, "", "last")
		synctest.Wait()
		if len(s.hosts) != 5 {
			t.Errorf("%d tries", len(s.hosts))
		}
	})
}

// TestProbeThatLasts: an answer that goes on has said by its head that the cluster is well again. A
// cluster whose answers all last would never be.
func TestProbeThatLasts(t *testing.T) {
	for head, closed := range map[string]bool{"200 OK": true, "500 Broken": false} {
		inBubble(t, func(t *testing.T, n *network) {
			n.script(t, []string{"cut", "cut", "cut", "HTTP/1.1 " + head + "\nContent-Length: 9\n\nhalf"}, upA)
			snap := snapshotOf(map[string]string{"up": upA}, to("up"))
			snap.Clusters[0].Breaker = model.Breaker{Trip: &model.Trip{Failures: 0.6, Of: 5, OpenFor: 4 * time.Second, Probes: 1}, Mode: model.ModeEnforce}
			r := n.rig(t, snap, Config{Random: func() uint64 { return 0 }})
			for range 3 {
				r.patient().send(get("/")).want(502, "UC", "")
			}
			time.Sleep(5 * time.Second)
			lasting := r.patient().send(get("/"))
			synctest.Wait()
			if state := r.proxy.clusters.Breakers()[0].Trip.State; (state == breaker.Closed) != closed || state == breaker.HalfOpen {
				t.Errorf("%s is on its way, and the breaker %v", head, state)
			}
			lasting.Close()
		})
	}
}

// TestBreakerRefusesCalls: a call of gRPC is told in its own words.
func TestBreakerRefusesCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.script(t, []string{"mute"}, upA)
		route := to("up")
		snap := snapshotOf(map[string]string{"up": upA}, route)
		snap.Clusters[0].Breaker = model.Breaker{MaxRequests: 1, Mode: model.ModeEnforce}
		r := n.rig(t, snap, Config{})
		first := r.patient().send(get("/"))
		synctest.Wait()
		resp, _ := r.patient().send("POST /s/m HTTP/1.1\nHost: h\nContent-Type: application/grpc\nTE: trailers\nContent-Length: 0\n\n").answer("POST")
		if resp.Header.Get("Grpc-Status") != "14" || resp.Header.Get("X-Weir-Flag") != "UO" {
			t.Errorf("got %v", resp.Header)
		}
		first.Close()
		time.Sleep(11 * time.Second) // until nothing has come for the idle time
		r.patient().send(get("/")).want(200, "", "last")
	})
}

// TestPlacesAreGivenBack: whatever ends a request, its place at the breaker is free again.
func TestPlacesAreGivenBack(t *testing.T) {
	const half = "HTTP/1.1 200 OK\nContent-Length: 9\n\nhalf"
	for _, step := range []string{"", "cut", "mute", half, "HTTP/1.1 9\n\n", "HTTP/1.1 503 Busy\nContent-Length: 0\n\n", "HTTP/1.1 101 Switching Protocols\nConnection: upgrade\nUpgrade: x\n\n"} {
		inBubble(t, func(t *testing.T, n *network) {
			steps := []string{step, step, step}
			if step == "" {
				steps = nil
			}
			n.script(t, steps, upA, upB)
			route := to("up")
			route.Timeouts = model.Timeouts{Request: time.Second, PerTry: 300 * time.Millisecond, Idle: time.Second}
			route.Retry = &model.Retry{Attempts: 2, Codes: []int{503}}
			snap := snapshotOf(map[string]string{"up": upA + "," + upB}, route)
			snap.Clusters[0].Breaker = model.Breaker{MaxRequests: 5, MaxRetries: 5, Mode: model.ModeEnforce}
			r := n.rig(t, snap, Config{})
			request := "GET / HTTP/1.1\nHost: h\nConnection: upgrade, close\nUpgrade: x\n\n"
			_, _ = r.patient().send(request).r.WriteTo(discard{})
			time.Sleep(3 * time.Second)
			r.unused()
		})
	}
}

// unused checks that no try holds a place at a breaker.
func (r *rig) unused() {
	r.t.Helper()
	for _, b := range r.proxy.clusters.Breakers() {
		for _, bound := range b.Bounds {
			if bound.Used != 0 && bound.Kind != telemetry.ProtectMaxConnections {
				r.t.Errorf("%d of %s in use", bound.Used, bound.Kind)
			}
		}
	}
}

// TestBudgetOfFirstTries: first tries pay for retries, of which a share is let through.
func TestBudgetOfFirstTries(t *testing.T) {
	const busy = "HTTP/1.1 503 Busy\nContent-Length: 4\n\nbusy"
	inBubble(t, func(t *testing.T, n *network) {
		s := n.script(t, slices.Repeat([]string{busy}, 30), upA, upB)
		route := to("up")
		route.Retry = &model.Retry{Attempts: 1, Codes: []int{503}, Budget: &model.RetryBudget{Share: 0.2}}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
		for range 20 {
			r.patient().send(get("/")).want(503, "", "busy")
		}
		synctest.Wait()
		if len(s.hosts) != 24 {
			t.Errorf("%d tries of 20 requests", len(s.hosts))
		}
	})
}

// TestRetryThatDoesNotBegin: a retry that waits when all has to end gives its place back.
func TestRetryThatDoesNotBegin(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.script(t, []string{"cut"}, upA, upB)
		route := to("up")
		route.Retry = &model.Retry{Attempts: 1, Backoff: time.Hour}
		snap := snapshotOf(map[string]string{"up": upA + "," + upB}, route)
		snap.Clusters[0].Breaker = model.Breaker{MaxRequests: 10, MaxRetries: 10, Mode: model.ModeEnforce}
		r := n.rig(t, snap, Config{})
		c := r.patient().send(get("/"))
		time.Sleep(time.Second)
		r.stop()
		_, _ = c.r.WriteTo(discard{})
		r.unused()
	})
}

// TestAmplification has hosts fail in any pattern: the tries that hosts see are never more than
// the budget allows.
func TestAmplification(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		share := rapid.SampledFrom([]float64{0, 0.1, 0.2, 0.5, 1}).Draw(rt, "share")
		floor := rapid.IntRange(0, 2).Draw(rt, "minPerSecond")
		own := rapid.Bool().Draw(rt, "the cluster's")
		failing := rapid.SliceOfN(rapid.Uint64Range(0, 100), 1, 20).Draw(rt, "failing percent by second")
		pace := rapid.IntRange(1, 8).Draw(rt, "requests at once")
		synctest.Test(t, func(t *testing.T) { amplify(t, rt, share, floor, own, failing, pace) })
	})
}

func amplify(t *testing.T, rt *rapid.T, share float64, floor int, own bool, failing []uint64, pace int) {
	n := newNetwork()
	began := time.Now()
	var seen, draws atomic.Uint64
	for _, host := range []string{upA, upB} {
		n.upstream(t, host, func(c net.Conn, r *bufio.Reader) {
			for {
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				seen.Add(1)
				at := min(int(time.Since(began)/time.Second), len(failing)-1)
				draw := draws.Add(0x9e3779b97f4a7c15)
				switch fails := draw>>32%100 < failing[at]; {
				case fails && draw&1 == 0:
					_, _ = io.WriteString(c, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
				case fails:
					_, _ = io.WriteString(c, "HTTP/1.1 2") // an answer has begun: no free retry
					return
				default:
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			}
		})
	}
	route := to("up")
	budget := &model.RetryBudget{Share: share, MinPerSecond: floor}
	route.Retry = &model.Retry{Attempts: 3, Codes: []int{503}, Backoff: 10 * time.Millisecond, Budget: budget}
	snap := snapshotOf(map[string]string{"up": upA + "," + upB}, route)
	if own {
		route.Retry.Budget, snap.Clusters[0].RetryBudget = nil, budget
	}
	r := n.rig(t, snap, Config{})
	var first []uint64 // by second
	var all []uint64
	for range failing {
		before := seen.Load()
		var wait sync.WaitGroup
		for range pace {
			wait.Go(func() { r.patient().send("GET / HTTP/1.1\nHost: h\nConnection: close\n\n").answer("GET") })
		}
		wait.Wait()
		time.Sleep(time.Until(began.Add(time.Duration(len(first)+1) * time.Second)))
		first, all = append(first, uint64(pace)), append(all, seen.Load()-before)
		var firsts, tries uint64
		for i := max(len(first)-10, 0); i < len(first); i++ {
			firsts, tries = firsts+first[i], tries+all[i]
		}
		if most := float64(firsts)*(1+share) + float64(floor)*10; float64(tries) > most {
			rt.Errorf("%d tries of %d requests in ten seconds, at most %v", tries, firsts, most)
		}
	}
	races := uint64(0)
	for _, h := range r.proxy.Hosts() {
		races += h.Races
	}
	if races != 0 {
		rt.Errorf("%d races", races)
	}
	r.stop()
}

// TestRacesAreCountedApart: the free try after a pooled connection turned out to be dead costs
// no budget.
func TestRacesAreCountedApart(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) { // one answer a connection, and the end when more is asked
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			_, _ = http.ReadRequest(r)
		})
		route := to("up")
		route.Retry = &model.Retry{Attempts: 1, Budget: &model.RetryBudget{}}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{})
		for range 5 {
			r.patient().send(get("/")).want(200, "", "")
			synctest.Wait() // until the connection is back in its pool
		}
		if h := r.proxy.Hosts()[0]; h.Races != 4 || h.Requests != 5 {
			t.Errorf("%d races and %d tries", h.Races, h.Requests)
		}
		if got := r.metrics.Protection("up", telemetry.ProtectRetryBudget).Acted(); got != 0 {
			t.Errorf("%d denied", got)
		}
	})
}
