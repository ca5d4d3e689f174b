package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// racer is hosts that answer the tries of one request in the order in which they come, each
// after its own time.
type racer struct {
	mu    sync.Mutex
	tries []lap
	came  []string // hosts
	cut   []int    // tries whose connections the proxy closed before they were answered
	heads []http.Header
}

type lap struct {
	after  time.Duration
	answer string // as of a script
}

func (n *network) racer(t testing.TB, tries []lap, hosts ...string) *racer {
	m := &racer{tries: tries}
	for _, host := range hosts {
		n.upstream(t, host, func(c net.Conn, r *bufio.Reader) { m.serve(host, c, r) })
	}
	return m
}

func (m *racer) serve(host string, c net.Conn, r *bufio.Reader) {
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		m.mu.Lock()
		at := len(m.came)
		m.came, m.heads = append(m.came, host), append(m.heads, req.Header)
		step := lap{0, "HTTP/1.1 200 OK\nContent-Length: 5\n\nextra"}
		if at < len(m.tries) {
			step = m.tries[at]
		}
		m.mu.Unlock()
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, _ = r.Peek(1)
		}()
		select {
		case <-time.After(step.after):
		case <-gone:
			m.mu.Lock()
			m.cut = append(m.cut, at)
			m.mu.Unlock()
			return
		}
		if step.answer == "cut" {
			return
		}
		if _, err := io.WriteString(c, lines(step.answer)); err != nil {
			return
		}
		<-gone
	}
}

// seen says which tries came and which of them were broken off.
func (m *racer) seen() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	slices.Sort(m.cut)
	return fmt.Sprintf("%d cut %v", len(m.came), m.cut)
}

// hedged is a route that hedges after 100ms.
func hedged(most int) *model.Route {
	route := to("up")
	route.Retry = &model.Retry{Codes: []int{503}, Hedge: &model.Hedge{After: 100 * time.Millisecond, Max: most}}
	return route
}

func TestHedges(t *testing.T) {
	const (
		busy  = "HTTP/1.1 503 Busy\nContent-Length: 4\n\nbusy"
		one   = "HTTP/1.1 200 OK\nContent-Length: 3\n\none"
		two   = "HTTP/1.1 200 OK\nContent-Length: 3\n\ntwo"
		three = "HTTP/1.1 200 OK\nContent-Length: 5\n\nthree"
		ms    = time.Millisecond
	)
	for _, test := range []struct {
		name   string
		tries  []lap
		edit   func(r *model.Route, s *model.Snapshot)
		method string
		status int
		flag   string
		body   string
		took   time.Duration
		seen   string
		fails  uint64 // of hosts
	}{
		{"fast enough", []lap{{50 * ms, one}}, nil, "", 200, "", "one", 50 * ms, "1 cut []", 0},
		{"the second wins", []lap{{time.Second, one}, {50 * ms, two}}, nil, "", 200, "", "two", 150 * ms, "2 cut [0]", 0},
		{"the first wins", []lap{{150 * ms, one}, {time.Second, two}}, nil, "", 200, "", "one", 150 * ms, "2 cut [1]", 0},
		{"the second is bad", []lap{{300 * ms, one}, {50 * ms, busy}}, nil, "", 200, "", "one", 300 * ms, "2 cut []", 1},
		{"the second is cut", []lap{{300 * ms, one}, {50 * ms, "cut"}}, nil, "", 200, "", "one", 300 * ms, "2 cut []", 1},
		{"the first is bad", []lap{{150 * ms, busy}, {300 * ms, two}}, nil, "", 200, "", "two", 400 * ms, "2 cut []", 1},
		{"the first is cut", []lap{{150 * ms, "cut"}, {300 * ms, two}}, nil, "", 200, "", "two", 400 * ms, "2 cut []", 1},
		{"the first is cut before", []lap{{50 * ms, "cut"}, {50 * ms, two}}, nil, "", 502, "UC", "", 50 * ms, "1 cut []", 1},
		{"both are bad", []lap{{150 * ms, busy}, {100 * ms, busy}}, nil, "", 503, "", "busy", 200 * ms, "2 cut []", 2},
		{"both are cut", []lap{{150 * ms, "cut"}, {100 * ms, "cut"}}, nil, "", 502, "UC", "", 200 * ms, "2 cut []", 2},
		{"both are mute", []lap{{time.Hour, one}, {time.Hour, two}}, func(r *model.Route, _ *model.Snapshot) { r.Timeouts.Request = time.Second }, "", 504, "PT", "", time.Second, "2 cut [0 1]", 2},
		{"the first is mute for its time", []lap{{time.Hour, one}, {250 * ms, two}}, func(r *model.Route, _ *model.Snapshot) { r.Timeouts.PerTry = 300 * ms }, "", 200, "", "two", 350 * ms, "2 cut [0]", 1},
		{"bad, and tried again", []lap{{150 * ms, busy}, {100 * ms, busy}, {50 * ms, three}}, func(r *model.Route, _ *model.Snapshot) { r.Retry.Attempts = 1 }, "", 200, "", "three", 250 * ms, "3 cut []", 2},
		{"a third", []lap{{time.Second, one}, {time.Second, two}, {50 * ms, three}}, func(r *model.Route, _ *model.Snapshot) { r.Retry.Hedge.Max = 2 }, "", 200, "", "three", 250 * ms, "3 cut [0 1]", 0},
		{"no third", []lap{{400 * ms, one}, {time.Second, two}, {50 * ms, three}}, nil, "", 200, "", "one", 400 * ms, "2 cut [1]", 0},
		{"a method that may not", []lap{{300 * ms, one}}, nil, "POST", 200, "", "one", 300 * ms, "1 cut []", 0},
		{"one that may", []lap{{time.Second, one}, {50 * ms, two}}, func(r *model.Route, _ *model.Snapshot) { r.Retry.Methods = []string{"POST"} }, "POST", 200, "", "two", 150 * ms, "2 cut [0]", 0},
		{"no budget", []lap{{300 * ms, one}}, func(r *model.Route, _ *model.Snapshot) { r.Retry.Budget = &model.RetryBudget{} }, "", 200, "", "one", 300 * ms, "1 cut []", 0},
		{"no room at the breaker", []lap{{300 * ms, one}}, func(_ *model.Route, s *model.Snapshot) {
			s.Clusters[0].Breaker = model.Breaker{MaxRequests: 1, Mode: model.ModeEnforce}
		}, "", 200, "", "one", 300 * ms, "1 cut []", 0},
		{"no other host", []lap{{300 * ms, one}}, func(_ *model.Route, s *model.Snapshot) {
			s.Endpoints[0].Endpoints = s.Endpoints[0].Endpoints[:1]
		}, "", 200, "", "one", 300 * ms, "1 cut []", 0},
		{"no time for it", []lap{{time.Hour, one}}, func(r *model.Route, _ *model.Snapshot) { r.Timeouts.Request = 90 * ms }, "", 504, "PT", "", 90 * ms, "1 cut [0]", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				m := n.racer(t, test.tries, upA, upB, upC)
				route := hedged(1)
				s := snapshotOf(map[string]string{"up": upA + "," + upB + "," + upC}, route)
				s.Clusters[0].Breaker = model.Breaker{MaxRequests: 10, MaxRetries: 10, Mode: model.ModeEnforce}
				if test.edit != nil {
					test.edit(route, s)
				}
				r := n.rig(t, s, Config{})
				c := r.patient()
				began := time.Now()
				request := get("/")
				if test.method != "" {
					request = test.method + " / HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi"
				}
				c.send(request).want(test.status, test.flag, test.body)
				if took := time.Since(began); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				time.Sleep(100 * time.Millisecond) // no longer than any loser
				synctest.Wait()
				if got := m.seen(); got != test.seen {
					t.Errorf("tries: %s, want %s", got, test.seen)
				}
				m.mustDiffer(t)
				sides := min(len(m.came)-1, route.Retry.Hedge.Max)
				if got := r.metrics.Protection(route.Name, telemetry.ProtectHedge+"sent").Acted(); got != uint64(sides) {
					t.Errorf("%d hedges are counted, want %d", got, sides)
				}
				won := uint64(0)
				if sides > 0 && (test.body == "two" || sides > 1 && test.body == "three") {
					won = 1
				}
				if got := r.metrics.Protection(route.Name, telemetry.ProtectHedge+"won").Acted(); got != won {
					t.Errorf("%d hedges are counted as won, want %d", got, won)
				}
				checkHosts(t, r, len(m.came), test.fails)
				c.send(get("/again")).want(200, "", "") // the connection goes on
			})
		})
	}
}

// TestHedgesThatObserve: a hedge that only observes sends nothing, says nothing to the host, and counts
// what it would have sent, within the budget; one that is disabled counts nothing either.
func TestHedgesThatObserve(t *testing.T) {
	for _, test := range []struct {
		name  string
		edit  func(*model.Retry)
		hosts string
		want  uint64
	}{
		{"observed", func(*model.Retry) {}, upA + "," + upB + "," + upC, 1},
		{"two of them", func(r *model.Retry) { r.Hedge.Max = 3 }, upA + "," + upB + "," + upC, 2},
		{"no other host", func(*model.Retry) {}, upA, 0},
		{"no budget", func(r *model.Retry) { r.Budget = &model.RetryBudget{} }, upA + "," + upB, 0},
		{"no budget that observes", func(r *model.Retry) { r.Budget = &model.RetryBudget{Mode: model.ModeObserve} }, upA + "," + upB, 0},
		{"disabled", func(r *model.Retry) { r.Hedge.Mode = model.ModeDisabled }, upA + "," + upB, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				m := n.racer(t, []lap{{450 * time.Millisecond, "HTTP/1.1 200 OK\nContent-Length: 3\n\none"}}, upA, upB, upC)
				route := hedged(1)
				route.Retry.Hedge.Mode = model.ModeObserve
				test.edit(route.Retry)
				r := n.rig(t, snapshotOf(map[string]string{"up": test.hosts}, route), Config{})
				c := r.patient()
				c.send(get("/")).want(200, "", "one")
				synctest.Wait()
				if got := m.seen(); got != "1 cut []" {
					t.Errorf("tries: %s", got)
				}
				if says := m.heads[0].Get("X-Weir-Attempt"); says != "" {
					t.Errorf("the host is told of attempt %q, though none follows", says)
				}
				sent := r.metrics.Protection(route.Name, telemetry.ProtectHedge+"sent")
				if sent.Acted() != 0 || sent.WouldHave() != test.want {
					t.Errorf("%d were sent and %d would have been, want %d", sent.Acted(), sent.WouldHave(), test.want)
				}
				checkHosts(t, r, 1, 0)
				c.send(get("/again")).want(200, "", "")
			})
		})
	}
}

// mustDiffer checks that no two tries came to one host, and that they say which they are.
func (m *racer) mustDiffer(t *testing.T) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	was := map[string]bool{}
	for i, host := range m.came {
		if was[host] {
			t.Errorf("tries at %v", m.came)
		}
		was[host] = true
		if got := m.heads[i].Get("X-Weir-Attempt"); got != fmt.Sprint(i+1) {
			t.Errorf("try %d says that it is %q", i+1, got)
		}
	}
}

// checkHosts checks that every try has been counted once as begun and ended, and how many failed.
func checkHosts(t *testing.T, r *rig, tries int, failed uint64) {
	t.Helper()
	var got, fails uint64
	for _, h := range r.proxy.Hosts() {
		got, fails = got+h.Requests, fails+h.Failures
		if h.InFlight != 0 {
			t.Errorf("%v has %d in flight", h.Address, h.InFlight)
		}
	}
	if got != uint64(tries) || fails != failed {
		t.Errorf("hosts count %d tries and %d failures, want %d and %d", got, fails, tries, failed)
	}
	if stats := r.metrics.Cluster("up").Snapshot(); stats.Requests != uint64(tries) || stats.InFlight != 0 {
		t.Errorf("the cluster counts %d tries, want %d, and %d in flight", stats.Requests, tries, stats.InFlight)
	}
	r.unused()
	if stats, _ := r.metrics.RouteStats("ns/to-up/0"); stats.Retries != uint64(max(tries-1, 0)) {
		t.Errorf("the route counts %d retries of %d tries", stats.Retries, tries)
	}
}

// TestHedgeWhileConnecting: a first try that does not even get a connection is passed by, and
// what it had begun ends.
func TestHedgeWhileConnecting(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		m := n.racer(t, []lap{{0, "HTTP/1.1 200 OK\nContent-Length: 3\n\ntwo"}}, upB)
		hung, err := n.listen(t.Context(), netip.MustParseAddrPort(upA)) // nobody accepts there
		if err != nil {
			t.Fatal(err)
		}
		defer hung.Close()
		var ended atomic.Int64
		dial := func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			c, err := n.dial(ctx, a)
			if a.String() == upA && err != nil {
				ended.Add(1)
			}
			return c, err
		}
		route := hedged(1)
		s := snapshotOf(map[string]string{"up": upA + "," + upB}, route)
		r := n.rig(t, s, Config{Dial: dial})
		for ended.Load() == 0 {
			began := time.Now()
			r.patient().send(get("/")).want(200, "", "")
			synctest.Wait()
			if took := time.Since(began); took != 0 && took != 100*time.Millisecond {
				t.Errorf("took %v", took)
			}
			if n := len(m.came); n > 100 {
				t.Fatal("the first host was never chosen first")
			}
		}
		for _, h := range r.proxy.Hosts() {
			if h.InFlight != 0 || h.Failures != 0 {
				t.Errorf("%+v", h)
			}
		}
	})
}

// TestHedgeByQuantile: without a time of its own a route hedges after what the cluster's answers
// have taken of late.
func TestHedgeByQuantile(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		tries := make([]lap, 400)
		for i := range tries {
			tries[i] = lap{20 * time.Millisecond, "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"}
		}
		m := n.racer(t, append(tries, lap{10 * time.Second, ""}), upA, upB)
		route := hedged(1)
		route.Retry.Hedge = &model.Hedge{Quantile: 0.9, Max: 1}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
		c := r.patient()
		for range tries {
			c.send(get("/")).want(200, "", "ok")
		}
		if len(m.came) != len(tries) {
			t.Errorf("%d tries of %d requests that took the same", len(m.came), len(tries))
		}
		time.Sleep(10 * time.Second)
		began := time.Now()
		c.send(get("/")).want(200, "", "extra")
		if took := time.Since(began); took < 19*time.Millisecond || took > 30*time.Millisecond {
			t.Errorf("hedged after %v", took)
		}
	})
}

// TestHedgingClientLeaves: nobody is waited for any more.
func TestHedgingClientLeaves(t *testing.T) {
	var leaves atomic.Bool
	left := func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		leaves.Store(true)
		silent(c, r)
	}
	route := hedged(1)
	route.Timeouts.Idle = time.Minute
	up := serveRaw(t, left) + "," + serveRaw(t, left)
	r := newRig(t, map[string]string{"up": up}, route)
	c := r.dial().send(get("/"))
	for by := time.Now().Add(patience); r.metrics.Cluster("up").Snapshot().InFlight < 2; {
		if time.Now().After(by) {
			t.Fatal("there is no second try")
		}
		<-time.After(time.Millisecond)
	}
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
	for by := time.Now().Add(patience); r.metrics.Cluster("up").Snapshot().InFlight > 0; {
		if time.Now().After(by) {
			t.Fatal("tries go on")
		}
		<-time.After(time.Millisecond)
	}
	for _, h := range r.proxy.Hosts() {
		if h.Failures > 0 {
			t.Errorf("%v is blamed", h.Address)
		}
	}
	if stats, _ := r.metrics.RouteStats(route.Name); stats.Flags[model.FlagDC] != 1 {
		t.Errorf("counted %+v", stats.Flags)
	}
}

// TestHedgingWhileDraining: what has taken too long ends, and nothing is left of it.
func TestHedgingWhileDraining(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.racer(t, []lap{{time.Hour, ""}, {time.Hour, ""}}, upA, upB)
		route := hedged(1)
		route.Timeouts.Idle = 0
		r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
		c := r.patient().send(get("/"))
		time.Sleep(200 * time.Millisecond)
		r.stop()
		_, _ = c.r.WriteTo(discard{})
	})
}

// TestHedgedBodies: answers of two tries are never mixed, and a body that takes its time is the
// winner's.
func TestHedgedBodies(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		var turn atomic.Int64
		for _, host := range []string{upA, upB} {
			n.upstream(t, host, func(c net.Conn, r *bufio.Reader) {
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				letter := "first"
				if turn.Add(1) > 1 {
					letter = "other"
				} else {
					time.Sleep(120 * time.Millisecond)
				}
				fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
				for range 50 {
					time.Sleep(10 * time.Millisecond)
					if _, err := fmt.Fprintf(c, "5\r\n%s\r\n", letter); err != nil {
						return
					}
				}
				fmt.Fprint(c, "0\r\n\r\n")
			})
		}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, hedged(1)), Config{})
		_, body := r.patient().send(get("/")).answer("GET")
		if body != strings.Repeat("other", 50) {
			t.Errorf("got %q", body)
		}
	})
}

// TestHedgesCalls has a call of gRPC that may be sent again hedged like any request.
func TestHedgesCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		const done = "HTTP/1.1 200 OK\nContent-Type: application/grpc\nGrpc-Status: 0\nContent-Length: 0\n\n"
		const failed = "HTTP/1.1 200 OK\nContent-Type: application/grpc\nGrpc-Status: 14\nContent-Length: 0\n\n"
		m := n.racer(t, []lap{{150 * time.Millisecond, failed}, {200 * time.Millisecond, done}}, upA, upB)
		route := hedged(1)
		route.Retry.On, route.Retry.GRPCCodes = []model.RetryOn{}, []model.GRPCCode{model.GRPCUnavailable}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
		resp, _ := r.patient().send("POST /s/m HTTP/1.1\nHost: h\nContent-Type: application/grpc\nTE: trailers\nGrpc-Timeout: 1S\nContent-Length: 5\n\nhello").answer("POST")
		if resp.Header.Get("Grpc-Status") != "0" {
			t.Errorf("got %v", resp.Header)
		}
		if len(m.heads) != 2 || m.heads[1].Get("Grpc-Previous-Rpc-Attempts") != "1" || m.heads[1].Get("Grpc-Timeout") == m.heads[0].Get("Grpc-Timeout") {
			t.Errorf("tries said %v", m.heads)
		}
	})
}

// TestManyHedges has winners and losers of many requests run beside each other, for the race
// detector, on connections that are used again.
func TestManyHedges(t *testing.T) {
	var count atomic.Uint64
	host := func() string {
		return serveRaw(t, func(c net.Conn, r *bufio.Reader) {
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				switch n := count.Add(1); n % 7 {
				case 0:
					return
				case 1, 2:
					<-time.After(time.Duration(n%5) * time.Millisecond)
				}
				if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(req.URL.Path), req.URL.Path); err != nil {
					return
				}
			}
		})
	}
	route := hedged(2)
	route.Retry.Attempts = 3
	route.Retry.Hedge.After = time.Millisecond
	s := snapshotOf(map[string]string{"up": host() + "," + host() + "," + host()}, route)
	s.Clusters[0].Breaker = model.Breaker{MaxRequests: 1000, Mode: model.ModeEnforce}
	r := startRig(t, s, Config{})
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			c := r.dial()
			for j := range 100 {
				path := fmt.Sprintf("/%d/%d", i, j)
				resp, body := c.send(get(path)).answer("GET")
				if resp.StatusCode == 200 && body != path {
					t.Errorf("%s got %s", path, body)
				}
			}
		})
	}
	wait.Wait()
	r.stop()
	r.unused()
}

// TestHedgingKeepsItsQuantile: what was outrun counts as being as slow as it was, or the quantile would be
// one of the fast answers alone, and twice as many requests be hedged as it says.
func TestHedgingKeepsItsQuantile(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		random := rand.New(rand.NewPCG(1, 2))
		tries := make([]lap, 12000)
		for i := range tries {
			tries[i] = lap{time.Millisecond * time.Duration(1+random.IntN(100)), "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"}
			if random.IntN(10) == 0 {
				tries[i].after = time.Second
			}
		}
		m := n.racer(t, tries, upA, upB)
		route := hedged(1)
		route.Retry.Hedge = &model.Hedge{Quantile: 0.9, Max: 1}
		route.Retry.Budget = &model.RetryBudget{Share: 1, MinPerSecond: 1000}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
		c := r.patient()
		ask := func(times int) (hedges int) {
			before := len(m.came)
			for range times {
				c.send(get("/")).want(200, "", "ok")
			}
			return len(m.came) - before - times
		}
		ask(8000)
		if hedges := ask(2000); hedges < 150 || hedges > 260 {
			t.Errorf("%d of 2000 requests were hedged after a quantile of 0.9", hedges)
		}
	})
}

// TestHedgesLeaveSessions: a session is at one host, and being slow does not move it.
func TestHedgesLeaveSessions(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		slow := lap{time.Second, "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"}
		m := n.racer(t, []lap{{0, slow.answer}, slow, slow}, upA, upB)
		route := hedged(1)
		route.Session = &model.Session{Type: model.SessionHeader, Name: "x-session", AbsoluteTimeout: time.Hour}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
		c := r.patient()
		token := c.send(get("/")).want(200, "", "ok").Header.Get("X-Session")
		resp := c.send("GET / HTTP/1.1\nHost: h\nX-Session: "+token+"\n\n").want(200, "", "ok")
		if again := resp.Header.Get("X-Session"); token == "" || again != "" || len(m.came) != 2 || m.came[0] != m.came[1] {
			t.Errorf("session %q, then %q; tries at %v", token, again, m.came)
		}
	})
}

// TestOutrunHostsAreSlow: balancing knows how long a host took that was given up.
func TestOutrunHostsAreSlow(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		m := n.racer(t, []lap{{time.Second, "HTTP/1.1 200 OK\nContent-Length: 3\n\none"}}, upA, upB)
		r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, hedged(1)), Config{})
		r.patient().send(get("/")).want(200, "", "extra")
		for _, h := range r.proxy.Hosts() {
			if slow := h.Address.String() == m.came[0]; slow != (h.Latency >= 100*time.Millisecond) || h.Failures != 0 {
				t.Errorf("%s: %v, %d failures; the first try was at %s", h.Address, h.Latency, h.Failures, m.came[0])
			}
		}
	})
}
