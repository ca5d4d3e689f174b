package proxy

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
	judge "weir.dev/weir/traffic/guard"
)

// brokenRoute returns a route to up with faults, each of which lasts for an hour, for every request
// unless it says otherwise.
func brokenRoute(faults ...model.Fault) *model.Route {
	route := to("up")
	for i := range faults {
		f := &faults[i]
		f.Policy = "ns/chaos"
		if f.Name == "" {
			f.Name = fmt.Sprintf("f%d", i)
		}
		f.Key = f.Policy + "/" + f.Name
		if f.Share == 0 {
			f.Share = 1
		}
		if f.Expires.IsZero() {
			f.Expires = time.Now().Add(time.Hour)
		}
	}
	route.Faults = faults
	return route
}

func TestFaults(t *testing.T) {
	unavailable := model.GRPCCode(14)
	late := model.Fault{Delay: 300 * time.Millisecond}
	abort := model.Fault{Abort: &model.FaultAbort{Status: 418}}
	for _, test := range []struct {
		name     string
		faults   []model.Fault
		request  string
		status   int
		flag     string
		took     time.Duration
		tries    int
		mark     string // of the answer
		told     string // what the host was told; "-": nothing
		injected uint64
	}{
		{"delay", []model.Fault{late}, "", 200, "", 300 * time.Millisecond, 1, "ns/chaos/f0", "ns/chaos/f0", 1},
		{"delays add up", []model.Fault{late, late}, "", 200, "", 600 * time.Millisecond, 1, "ns/chaos/f0+ns/chaos/f1", "ns/chaos/f0+ns/chaos/f1", 2},
		{"abort", []model.Fault{abort}, "", 418, "FI", 0, 0, "ns/chaos/f0", "", 1},
		{"delay, then abort", []model.Fault{late, abort}, "", 418, "FI", 300 * time.Millisecond, 0, "ns/chaos/f0+ns/chaos/f1", "", 2},
		{"the first that answers", []model.Fault{abort, late}, "", 418, "FI", 0, 0, "ns/chaos/f0", "", 1},
		{"a call's code in HTTP", []model.Fault{{Abort: &model.FaultAbort{GRPC: &unavailable}}}, "", 503, "FI", 0, 0, "ns/chaos/f0", "", 1},
		{"longer than the request's time", []model.Fault{{Delay: 5 * time.Second}}, "", 504, "PT", 2 * time.Second, 0, "ns/chaos/f0", "", 1},
		{"no content", []model.Fault{{Abort: &model.FaultAbort{Status: 204}}}, "", 204, "FI", 0, 0, "ns/chaos/f0", "", 1},
		{"not modified", []model.Fault{{Abort: &model.FaultAbort{Status: 304}}}, "", 304, "FI", 0, 0, "ns/chaos/f0", "", 1},
		{"expires meanwhile", []model.Fault{{Delay: 1500 * time.Millisecond, Expires: time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC)}, {Abort: abort.Abort, Expires: time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC)}}, "", 200, "", time.Second, 1, "ns/chaos/f0", "ns/chaos/f0", 1},
		{"expired", []model.Fault{{Abort: abort.Abort, Expires: time.Unix(1, 0)}}, "", 200, "", 0, 1, "", "-", 0},
		{"condition holds", []model.Fault{{Abort: abort.Abort, When: `request.headers["x-chaos"] == "1"`}}, "X-Chaos: 1\n", 418, "FI", 0, 0, "ns/chaos/f0", "", 1},
		{"condition does not", []model.Fault{{Abort: abort.Abort, When: `request.headers["x-chaos"] == "1"`}}, "", 200, "", 0, 1, "", "-", 0},
		{"condition in error", []model.Fault{{Abort: abort.Abort, When: `int(request.headers["x-chaos"]) == 1`}}, "", 200, "", 0, 1, "", "-", 0},
		{"a client claims one", nil, "X-Weir-Fault: mine\n", 200, "", 0, 1, "", "-", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				m := n.marked(t, nil, 0, upA)
				route := brokenRoute(test.faults...)
				route.Timeouts.Request = 2 * time.Second
				r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{})
				began := time.Now()
				resp := r.patient().send("GET / HTTP/1.1\nHost: h\n"+test.request+"\n").want(test.status, test.flag, "")
				if took := time.Since(began); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				if got := strings.Join(resp.Header.Values("X-Weir-Fault"), "+"); got != test.mark {
					t.Errorf("the answer bears %q, want %q", got, test.mark)
				}
				synctest.Wait()
				if got := m.sent("X-Weir-Fault"); got != test.told || len(m.heads) != test.tries {
					t.Errorf("the host had %d requests with %q, want %d with %q", len(m.heads), got, test.tries, test.told)
				}
				injected := uint64(0)
				for _, f := range r.proxy.Faults() {
					injected += f.Injected
				}
				if injected != test.injected {
					t.Errorf("%d met a fault, want %d", injected, test.injected)
				}
			})
		})
	}
}

// TestFaultFlag: a delayed answer is logged and counted as such, though it is the host's.
func TestFaultFlag(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.marked(t, nil, 0, upA)
		route := brokenRoute(model.Fault{Delay: time.Second})
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{})
		r.patient().send(get("/")).want(200, "", "")
		synctest.Wait()
		if got := r.metrics.Route(route.Name).Snapshot().Flags[model.FlagDI]; got != 1 {
			t.Errorf("%d answers are flagged DI", got)
		}
		if got := r.metrics.Cluster("up").Snapshot().Flags[model.FlagDI]; got != 0 {
			t.Errorf("the cluster is blamed for %d", got)
		}
	})
}

func TestFaultInCall(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		m := n.marked(t, nil, 0, upA)
		exhausted := model.GRPCCode(8)
		route := brokenRoute(model.Fault{Abort: &model.FaultAbort{GRPC: &exhausted}})
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{})
		resp := r.patient().send("POST /pkg.Shop/Buy HTTP/1.1\nHost: h\nContent-Type: application/grpc\nTE: trailers\nContent-Length: 0\n\n").want(200, "FI", "")
		if got := resp.Header.Get("Grpc-Status"); got != "8" {
			t.Errorf("grpc-status %q, want 8", got)
		}
		if len(m.heads) > 0 {
			t.Error("the host was asked")
		}
	})
}

func TestFaultResets(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		m := n.marked(t, nil, 0, upA)
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, brokenRoute(model.Fault{Reset: true})), Config{})
		r.patient().send(get("/")).ended()
		if len(m.heads) > 0 {
			t.Error("the host was asked")
		}
	})
}

// TestFaultThrottles: ten thousand bytes at a thousand a second take ten seconds, and a client that
// leaves meanwhile ends it.
func TestFaultThrottles(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			for {
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n%s", strings.Repeat("x", 10_000))
			}
		})
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, brokenRoute(model.Fault{Throttle: 1000})), Config{})
		began := time.Now()
		r.patient().send(get("/")).want(200, "", "xxx")
		if took := time.Since(began); took < 9900*time.Millisecond || took > 11*time.Second {
			t.Errorf("took %v", took)
		}
		c := r.patient().send(get("/"))
		time.Sleep(time.Second)
		_ = c.Close()
		began = time.Now()
		r.stop()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the answer went on for %v without a client", took)
		}
	})
}

// TestFaultStops: what is stopped is stopped for the next request, over new snapshots and for
// those that come later, until it goes on.
func TestFaultStops(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.marked(t, nil, 0, upA)
		abort := model.Fault{Name: "abort", Abort: &model.FaultAbort{Status: 418}}
		with := func(faults ...model.Fault) *model.Snapshot {
			return snapshotOf(map[string]string{"up": upA}, brokenRoute(faults...))
		}
		r := n.rig(t, with(abort), Config{})
		c := r.patient()
		c.send(get("/")).want(418, "FI", "")
		r.proxy.faults.stop([]string{"ns/chaos/abort"})
		c.send(get("/")).want(200, "", "")
		for _, s := range []*model.Snapshot{with(), with(abort)} {
			if err := r.proxy.Apply(s); err != nil {
				t.Fatal(err)
			}
			c.send(get("/")).want(200, "", "")
		}
		if got := r.proxy.Faults(); len(got) != 1 || !got[0].Stopped || got[0].Routes[0] != "ns/to-up/0" {
			t.Errorf("faults: %+v", got)
		}
		r.proxy.faults.stop(nil)
		c.send(get("/")).want(418, "FI", "")
	})
}

// TestFaultLeavesPlaces: who is held back takes no place of a limit.
func TestFaultLeavesPlaces(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.marked(t, nil, 0, upA)
		route := brokenRoute(model.Fault{Delay: time.Second, When: `request.headers["x-chaos"] == "1"`})
		route.Overload = &model.Overload{Scope: "s", Limit: 1, Mode: model.ModeEnforce}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{})
		held := r.patient().send("GET / HTTP/1.1\nHost: h\nX-Chaos: 1\n\n")
		synctest.Wait()
		r.patient().send(get("/")).want(200, "", "")
		held.want(200, "", "")
	})
}

// TestFaultShare: a share of 5 % is that, to within four standard deviations.
func TestFaultShare(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.marked(t, nil, 0, upA)
		random := rand.New(rand.NewPCG(1, 2))
		route := brokenRoute(model.Fault{Share: 0.05, Abort: &model.FaultAbort{Status: 418}})
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{Random: random.Uint64})
		c := r.patient()
		const requests = 4000
		for range requests {
			c.send(get("/")).answer("GET")
		}
		if got := r.proxy.Faults()[0].Injected; got < 145 || got > 255 {
			t.Errorf("%d of %d met a fault of 5 %%", got, requests)
		}
	})
}

// TestBareFaultKeepsConnection: an answer that has no body by its status has none, so the next request of
// the connection gets its own.
func TestBareFaultKeepsConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.marked(t, nil, 0, upA)
		bare := model.Fault{Abort: &model.FaultAbort{Status: 204}, When: `request.path == "/bare"`}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, brokenRoute(bare)), Config{})
		c := r.patient()
		c.send(get("/bare")).want(204, "FI", "")
		c.send(get("/")).want(200, "", "")
	})
}

// TestStopReleases: who is held back by a fault that is stopped or taken away, or in a process that
// drains, goes on soon.
func TestStopReleases(t *testing.T) {
	for name, stop := range map[string]func(r *rig, without *model.Snapshot) error{
		"stopped": func(r *rig, _ *model.Snapshot) error {
			r.proxy.faults.stop([]string{"ns/chaos/f0"})
			return nil
		},
		"draining": func(r *rig, _ *model.Snapshot) error {
			r.proxy.Drain()
			return nil
		},
		"taken away": func(r *rig, without *model.Snapshot) error { return r.proxy.Apply(without) },
	} {
		for _, fault := range []model.Fault{{Delay: time.Minute}, {Throttle: 1}} {
			t.Run(name+", "+fault.Does(), func(t *testing.T) {
				inBubble(t, func(t *testing.T, n *network) {
					n.marked(t, nil, 0, upA)
					up := map[string]string{"up": upA}
					r := n.rig(t, snapshotOf(up, brokenRoute(fault)), Config{})
					c := r.patient().send(get("/"))
					time.Sleep(2 * time.Second)
					if err := stop(r, snapshotOf(up, brokenRoute())); err != nil {
						t.Fatal(err)
					}
					began := time.Now()
					c.want(200, "", "")
					if took := time.Since(began); took > 2*lookUp {
						t.Errorf("it was held back for another %v", took)
					}
				})
			})
		}
	}
}

// TestThrottledOverTime: an answer that is slowed down beyond the request's time is cut, for that reason.
func TestThrottledOverTime(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.marked(t, nil, 0, upA)
		route := brokenRoute(model.Fault{Throttle: 1})
		route.Timeouts.Request = 2500 * time.Millisecond
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{})
		resp, err := http.ReadResponse(r.patient().send(get("/")).r, nil)
		if err != nil {
			t.Fatal(err) // heads are not slowed down
		}
		if body, err := io.ReadAll(resp.Body); err == nil || len(body) != 3 {
			t.Errorf("%d bytes, error %v", len(body), err)
		}
		synctest.Wait()
		if got := r.metrics.Route(route.Name).Snapshot().Flags; got[model.FlagPT] != 1 || got[model.FlagDC] != 0 {
			t.Errorf("%d are flagged PT, %d DC", got[model.FlagPT], got[model.FlagDC])
		}
	})
}

// TestDelayedIsGood: what is late on purpose says nothing bad of a canary, and nothing less of stable.
func TestDelayedIsGood(t *testing.T) {
	if got := newExchange().(*exchange).verdictOf(model.FlagDI); got != judge.Good {
		t.Errorf("a delayed answer is %v", got)
	}
}
