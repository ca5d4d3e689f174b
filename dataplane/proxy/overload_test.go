package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/overload"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/pressure"
)

// guarded is a route to "up" that has an overload policy with a limit.
func guarded(o model.Overload) *model.Route {
	r := to("up")
	if o.Scope == "" {
		o.Scope = "HTTPRoute/ns/to-up"
	}
	if o.Mode == "" {
		o.Mode = model.ModeEnforce
	}
	r.Overload = &o
	return r
}

// asked sends a request on a connection of its own, with more fields.
func (r *rig) asked(path, fields string) *client {
	r.t.Helper()
	c := r.patient().send("GET " + path + " HTTP/1.1\nHost: h\n" + fields + "\n")
	synctest.Wait()
	return c
}

// over is the only scope's status.
func (r *rig) over() overload.Status {
	r.t.Helper()
	all := r.proxy.Overloads()
	if len(all) != 1 {
		r.t.Fatalf("%d scopes", len(all))
	}
	return all[0]
}

func (r *rig) protection(kind telemetry.ProtectionKind) *telemetry.Protection {
	return r.metrics.Protection("HTTPRoute/ns/to-up", kind)
}

// believing has its listener believe everybody.
func believing(s *model.Snapshot) *model.Snapshot {
	s.Listeners[0].Client.TrustAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	return s
}

var oneUp = map[string]string{"up": upA}

func TestLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := n.gate(t, upA)
		r := n.rig(t, snapshotOf(oneUp, guarded(model.Overload{Limit: 2})), Config{})
		a, b := r.asked("/a", ""), r.asked("/b", "")
		letA, letB := <-g, <-g
		resp := r.asked("/c", "").want(503, "PO", "shed by priority or concurrency")
		if after := resp.Header.Get("Retry-After"); after < "1" || after > "3" {
			t.Errorf("Retry-After: %q", after)
		}
		if s := r.over(); s.InFlight != 2 || s.Limit != 2 || s.Classes[model.ClassCritical].Shed != 1 {
			t.Errorf("status %+v", s)
		}
		letA <- "a"
		a.want(200, "", "a")
		synctest.Wait()
		c := r.asked("/c", "")
		(<-g) <- "c"
		c.want(200, "", "c")
		letB <- "b"
		b.want(200, "", "b")
		if n := r.protection(telemetry.ProtectConcurrency).Acted(); n != 1 {
			t.Errorf("%d refusals counted", n)
		}
	})
}

// TestAdmissionEndsOnce ends requests in every way there is.
func TestAdmissionEndsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				switch req.URL.Path {
				case "/break":
					return
				case "/half":
					fmt.Fprint(c, lines("HTTP/1.1 200 OK\nContent-Length: 100\n\nabc"))
					return
				case "/silent":
					_, _ = io.Copy(io.Discard, r)
					return
				case "/tunnel":
					fmt.Fprint(c, lines("HTTP/1.1 101 Switching Protocols\nConnection: upgrade\nUpgrade: echo\n\n"))
					_, _ = io.Copy(c, r)
					return
				}
				fmt.Fprint(c, lines("HTTP/1.1 200 OK\nContent-Length: 2\n\nok"))
			}
		})
		route := guarded(model.Overload{Limit: 1})
		route.Timeouts.Request = 5 * time.Second
		r := n.rig(t, snapshotOf(oneUp, route), Config{})
		free := func(what string) {
			t.Helper()
			synctest.Wait()
			if s := r.over(); s.InFlight != 0 {
				t.Fatalf("%s: %d in flight", what, s.InFlight)
			}
		}
		r.asked("/", "").want(200, "", "ok")
		free("an answer")
		r.asked("/break", "").want(502, "UC", "")
		free("an upstream that breaks off")
		r.asked("/half", "").Close()
		free("half an answer")
		r.asked("/silent", "").want(504, "PT", "")
		free("a time-out")
		tunnel := r.asked("/tunnel", "Connection: upgrade\nUpgrade: echo\n")
		if resp, err := http.ReadResponse(tunnel.r, nil); err != nil || resp.StatusCode != 101 {
			t.Fatal(resp, err)
		}
		free("an open tunnel")
		tunnel.send("x")
		if b, err := tunnel.r.ReadByte(); err != nil || b != 'x' {
			t.Errorf("the tunnel says %q, %v", b, err)
		}
		tunnel.Close()
		free("a tunnel that ended")
		post := r.patient().send("POST / HTTP/1.1\nHost: h\nContent-Length: 10\n\nabc")
		synctest.Wait()
		post.Close()
		free("half a request")
	})
}

// TestShedding: with all places taken the queue holds the most important requests, and they
// come first.
func TestShedding(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		var seen []string
		let := make(chan struct{})
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				<-let
				seen = append(seen, req.URL.Path+" "+req.Header.Get("X-Weir-Priority"))
				fmt.Fprint(c, lines("HTTP/1.1 200 OK\nContent-Length: 2\n\nok"))
			}
		})
		route := guarded(model.Overload{
			Limit: 1, Queue: &model.Queue{Size: 3, Timeout: time.Hour},
			Priorities: []model.Priority{
				{When: `request.headers["x-batch"] == "1"`, Class: model.ClassSheddable},
				{When: `request.path.startsWith("/pay")`, Class: model.ClassCriticalPlus},
			},
		})
		r := n.rig(t, believing(snapshotOf(oneUp, route)), Config{})
		first := r.asked("/first", "")
		batch1, batch2 := r.asked("/batch1", "X-Batch: 1\n"), r.asked("/batch2", "X-Batch: 1\n")
		plain := r.asked("/plain", "")
		claimed := r.asked("/claimed", "X-Weir-Priority: SheddablePlus\nX-Weir-Priority: CriticalPlus\n")
		batch2.want(503, "PO", "") // the youngest of the lowest, where the oldest come first
		pay := r.asked("/pay", "x-weir-priority: nonsense\n")
		batch1.want(503, "PO", "")
		r.asked("/batch3", "X-Batch: 1\n").want(503, "PO", "")
		for _, c := range []*client{first, pay, plain, claimed} {
			let <- struct{}{}
			c.want(200, "", "ok")
		}
		want := []string{"/first ", "/pay CriticalPlus", "/plain ", "/claimed SheddablePlus"}
		if !slices.Equal(seen, want) {
			t.Errorf("the upstream saw %q, want %q", seen, want)
		}
		if p, q := r.protection(telemetry.ProtectPriority).Acted(), r.protection(telemetry.ProtectQueue).Acted(); p != 2 || q != 1 {
			t.Errorf("%d gave way, %d found the queue full", p, q)
		}
	})
}

// TestStrangersClaimNothing: only trusted callers' x-weir-priority counts.
func TestStrangersClaimNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		rec := n.recorder(t, upA, func(int, *http.Request) string { return "HTTP/1.1 200 OK\nContent-Length: 0\n\n" })
		route := guarded(model.Overload{Limit: 10, Priorities: []model.Priority{{Class: model.ClassSheddable}}})
		r := n.rig(t, snapshotOf(oneUp, route), Config{})
		r.asked("/", "X-Weir-Priority: CriticalPlus\n").want(200, "", "")
		if got := rec.asked()[0]["X-Weir-Priority"]; !slices.Equal(got, []string{"Sheddable"}) {
			t.Errorf("the upstream was told %q", got)
		}
	})
}

func TestWaiting(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := n.gate(t, upA)
		route := guarded(model.Overload{Limit: 1, Queue: &model.Queue{Size: 4, Timeout: 2 * time.Second, LIFO: true}})
		route.Timeouts.Request = 10 * time.Second
		r := n.rig(t, snapshotOf(oneUp, route), Config{})
		first := r.asked("/first", "")
		let := <-g
		old, young := r.asked("/old", ""), r.asked("/young", "")
		time.Sleep(1700 * time.Millisecond)
		let <- "first"
		first.want(200, "", "first")
		(<-g) <- "young"
		young.want(200, "", "young")
		let = <-g // the old one
		last := r.asked("/last", "")
		began := time.Now()
		last.want(503, "PO", "")
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("it waited for %v", took)
		}
		let <- "old"
		old.want(200, "", "old")
		if n := r.protection(telemetry.ProtectQueue).Acted(); n != 1 {
			t.Errorf("%d waited in vain", n)
		}
	})
}

// TestWhoLeftIsNotServed: a client that goes away while it waits gives its place in the queue
// to others, and its request goes nowhere.
func TestWhoLeftIsNotServed(t *testing.T) {
	asked, let := make(chan string), make(chan struct{})
	up := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		<-let
	})
	r := newRig(t, map[string]string{"up": up}, guarded(model.Overload{Limit: 1, Queue: &model.Queue{Size: 1, Timeout: time.Hour}}))
	first := r.dial().send(get("/first"))
	<-asked
	gone := r.dial().send(get("/gone"))
	until(t, "it waits", func() bool { return r.over().Queued == 1 })
	_ = gone.Conn.(*net.TCPConn).SetLinger(0)
	gone.Close()
	until(t, "nobody waits", func() bool { return r.over().Queued == 0 })
	next := r.dial().send(get("/next"))
	let <- struct{}{}
	first.want(200, "", "")
	if path := <-asked; path != "/next" {
		t.Errorf("the upstream was asked for %s", path)
	}
	let <- struct{}{}
	next.want(200, "", "")
}

// until waits until something is so.
func until(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
		runtime.Gosched()
	}
}

// TestNoTimeLeftInTheQueue: the request's own time bounds its wait, and what is left for the try
// is told to the host.
func TestNoTimeLeftInTheQueue(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := n.gate(t, upA)
		route := guarded(model.Overload{Limit: 1, Queue: &model.Queue{Size: 4, Timeout: time.Hour}})
		r := n.rig(t, believing(snapshotOf(oneUp, route)), Config{})
		first := r.asked("/first", "")
		let := <-g
		began := time.Now()
		r.asked("/", "X-Weir-Timeout-Ms: 700\n").want(504, "PT", "")
		if took := time.Since(began); took != 700*time.Millisecond {
			t.Errorf("refused after %v", took)
		}
		let <- "first"
		first.want(200, "", "first")
	})
}

func TestFairness(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		let := make(chan string)
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				let <- req.Header.Get("X-Tenant")
				fmt.Fprint(c, lines("HTTP/1.1 200 OK\nContent-Length: 2\n\nok"))
			}
		})
		route := guarded(model.Overload{Limit: 1, Queue: &model.Queue{
			Size: 6, Timeout: time.Hour, FairBy: []model.Key{{Source: model.KeyHeader, Name: "x-tenant"}},
		}})
		r := n.rig(t, snapshotOf(oneUp, route), Config{})
		for range 12 { // one is served, six wait, five are refused
			r.asked("/", "X-Tenant: loud\n")
		}
		for range 3 {
			r.asked("/", "X-Tenant: quiet\n")
		}
		got := ""
		for range 7 {
			got += (<-let)[:1]
		}
		if got != "lqlqlql" && got != "llqlqlq" {
			t.Errorf("served in the order %s", got)
		}
		synctest.Wait()
		s := r.over()
		if len(s.Tenants) != 1 || s.Tenants[0] != (overload.TenantRefusals{Tenant: "loud", Refused: 8}) {
			t.Errorf("refused: %+v", s.Tenants)
		}
	})
}

func TestObservedOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := n.gate(t, upA)
		policy := model.Overload{
			Limit: 1, Mode: model.ModeObserve, Queue: &model.Queue{Size: 1, Timeout: time.Second},
			Degrade: []model.Degrade{{At: 0.9, Shed: model.ClassCriticalPlus, NoRetries: true, Answer: &model.FixedAnswer{Status: 200}}},
		}
		route := guarded(policy)
		r := n.rig(t, snapshotOf(oneUp, route), Config{})
		a := r.asked("/a", "")
		letA := <-g
		b := r.asked("/b", "")
		letB := <-g
		if n := r.protection(telemetry.ProtectConcurrency).WouldHave(); n != 1 {
			t.Errorf("it would have refused %d", n)
		}
		for _, kind := range []telemetry.ProtectionKind{"degrade/shed", "degrade/noRetries", "degrade/answer"} {
			if p := r.protection(kind); p.WouldHave() != 1 || p.Acted() != 0 {
				t.Errorf("%s: would have %d times, acted %d", kind, p.WouldHave(), p.Acted())
			}
		}
		// Enforced from here on, with what is in flight.
		policy.Mode, policy.Degrade, policy.Queue = model.ModeEnforce, nil, nil
		if err := r.proxy.Apply(snapshotOf(oneUp, guarded(policy))); err != nil {
			t.Fatal(err)
		}
		r.asked("/c", "").want(503, "PO", "")
		letA <- "a"
		a.want(200, "", "a")
		synctest.Wait()
		r.asked("/c", "").want(503, "PO", "")
		letB <- "b"
		b.want(200, "", "b")
		synctest.Wait()
		if s := r.over(); s.InFlight != 0 || s.Classes[model.ClassCritical].Shed != 4 {
			t.Errorf("%+v", s)
		}
	})
}

// TestStateOutlivesEdits: whatever changes of a policy, its scope counts on; with the last route
// that has the scope it is forgotten.
func TestStateOutlivesEdits(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := n.gate(t, upA)
		r := n.rig(t, snapshotOf(oneUp, guarded(model.Overload{Limit: 1, Queue: &model.Queue{Size: 2, Timeout: time.Hour}})), Config{})
		a := r.asked("/a", "")
		letA := <-g
		b := r.asked("/b", "")
		apply := func(routes ...*model.Route) {
			t.Helper()
			if err := r.proxy.Apply(snapshotOf(oneUp, routes...)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		disabled := guarded(model.Overload{Limit: 1, Mode: model.ModeDisabled})
		apply(disabled)
		c := r.asked("/c", "") // not counted
		(<-g) <- "c"
		c.want(200, "", "c")
		if s := r.over(); s.InFlight != 1 || s.Queued != 1 {
			t.Errorf("disabled: %+v", s)
		}
		other := guarded(model.Overload{Limit: 2})
		other.Name = "ns/other/0"
		apply(other) // another route of the scope lets in one more
		(<-g) <- "b"
		b.want(200, "", "b")
		letA <- "a"
		a.want(200, "", "a")
		synctest.Wait()
		if s := r.over(); s.InFlight != 0 || s.Limit != 2 {
			t.Errorf("another route: %+v", s)
		}
		apply(to("up"))
		if all := r.proxy.Overloads(); len(all) != 0 {
			t.Errorf("left over: %+v", all)
		}
	})
}

// TestSheddableGiveWay: while the process is short of something, the two lowest classes are
// refused on every route, whether it has a policy for overload or not; others are served.
func TestSheddableGiveWay(t *testing.T) {
	up := serveHTTP(t, func(http.ResponseWriter, *http.Request) {})
	m := pressure.NewMonitor()
	classified := guarded(model.Overload{Limit: 10, Priorities: []model.Priority{
		{When: `request.path == "/classified/batch"`, Class: model.ClassSheddablePlus},
	}})
	classified.Name = "ns/classified/0"
	classified.Matches = []model.Match{{Path: model.PathMatch{Type: model.MatchPrefix, Value: "/classified"}}}
	r := startRig(t, believing(snapshotOf(map[string]string{"up": up}, classified, to("up"))), Config{Pressure: m.State()})
	c := r.dial()
	batch := "GET /plain HTTP/1.1\nHost: h\nX-Weir-Priority: Sheddable\n\n"
	c.send(batch).want(200, "", "")
	press(m, time.Unix(1000, 0), 910, time.Second)
	if resp := c.send(batch).want(503, "OM", ""); resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	c.send(get("/plain")).want(200, "", "")
	c.send(get("/classified/batch")).want(503, "OM", "")
	c.send(get("/classified/x")).want(200, "", "")
	if n := r.metrics.Protection(telemetry.Process, telemetry.ProtectProcessOverload).Acted(); n != 2 {
		t.Errorf("%d refusals counted", n)
	}
}

func TestThrottled(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		status := 503
		rec := n.recorder(t, upA, func(int, *http.Request) string {
			return fmt.Sprintf("HTTP/1.1 %d X\nContent-Length: 0\n\n", status)
		})
		route := to("up")
		route.Overload = &model.Overload{Throttle: &model.Throttle{AcceptRatio: 2, Window: 10 * time.Second}, Mode: model.ModeEnforce}
		i := uint64(0)
		r := n.rig(t, snapshotOf(oneUp, route), Config{Random: func() uint64 { i += 0x9e3779b97f4a7c15; return i }})
		c := r.patient()
		ask := func(times int) (refused int) {
			t.Helper()
			for range times {
				resp, _ := c.send(get("/")).answer("GET")
				if resp.Header.Get("X-Weir-Flag") == "PO" {
					refused++
					if resp.Header.Get("Retry-After") == "" {
						t.Error("no Retry-After")
					}
				}
			}
			return refused
		}
		if n := ask(10); n != 0 {
			t.Errorf("%d of the first ten refused", n)
		}
		if n := ask(200); n < 150 || n > 195 {
			t.Errorf("%d of 200 refused, while the upstream refuses all", n)
		}
		if n := len(rec.asked()); n > 60 {
			t.Errorf("the upstream was asked %d times", n)
		}
		time.Sleep(time.Minute)
		status, c = 200, r.patient()
		if n := ask(100); n != 0 {
			t.Errorf("%d of 100 refused after the window", n)
		}
		synctest.Wait()
		if s := r.proxy.Throttles(); len(s) != 1 || s[0] != (overload.ThrottleStatus{Cluster: "up", Requests: 100, Accepts: 100}) {
			t.Errorf("%+v", s)
		}
		if n := r.metrics.Protection("up", telemetry.ProtectThrottle).Acted(); n < 150 {
			t.Errorf("%d counted", n)
		}
	})
}

// TestGuardsAllocateNothing: with everything on, while there is room.
func TestGuardsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	answer := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
	route := guarded(model.Overload{
		Adaptive: &model.Adaptive{Min: 5, Max: 100},
		Queue:    &model.Queue{Size: 10, Timeout: time.Second, LIFO: true, FairBy: []model.Key{{Source: model.KeyHeader, Name: "x-tenant"}}},
		Throttle: &model.Throttle{AcceptRatio: 2, Window: time.Second},
		Degrade: []model.Degrade{
			{At: 0.8, Shed: model.ClassSheddable},
			{At: 0.9, NoRetries: true},
			{At: 0.95, ServeStale: time.Minute},
		},
		Priorities: []model.Priority{{Class: model.ClassSheddablePlus}},
	})
	c := startRig(t, snapshotOf(map[string]string{"up": cannedUpstream(t, answer)}, route), Config{}).dial()
	raw := []byte(strings.ReplaceAll("GET /some/path HTTP/1.1\nHost: example.com\nX-Tenant: one\n\n", "\n", "\r\n"))
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
	if n := testing.AllocsPerRun(2000, exchange); n > 0 {
		t.Errorf("%v allocations per request, want 0", n)
	}
}
