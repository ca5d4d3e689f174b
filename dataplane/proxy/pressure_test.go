package proxy

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/pressure"
)

// press has the process use so many thousandths of its memory for a time.
func press(m *pressure.Monitor, at time.Time, used uint64, d time.Duration) time.Time {
	for end := at.Add(d); at.Before(end); {
		at = at.Add(250 * time.Millisecond)
		m.Step(at, &pressure.Readings{pressure.Memory: {Used: used, Limit: 1000}})
	}
	return at
}

// TestPressedRequests: at the end of memory requests are refused, and say when to come back; on the
// connections that they came on they are served when it is over.
func TestPressedRequests(t *testing.T) {
	up := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })
	m := pressure.NewMonitor()
	r := startRig(t, snapshotOf(map[string]string{"up": up}, to("up")), Config{Pressure: m.State()})
	c, call := r.dial(), r.dial()
	c.send(get("/a")).want(200, "", "/a")
	now := press(m, time.Unix(1000, 0), 960, time.Second)
	if resp := c.send(get("/b")).want(503, "OM", ""); resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	call.send(aCall("")).wantCall("14", "OM", true)
	refusals := r.metrics.Protection(telemetry.Process, telemetry.ProtectProcessOverload)
	until(t, "two refusals are counted", func() bool { return refusals.Acted() == 2 }) // just behind the answer
	press(m, now, 100, time.Minute)
	c.send(get("/c")).want(200, "", "/c")
	route := r.metrics.Route(to("up").Name)
	until(t, "two requests of the route are counted", func() bool { return route.Snapshot().Requests >= 2 })
	if got := route.Snapshot(); got.Requests != 2 || got.Flags[model.FlagOM] != 0 {
		t.Errorf("the route has %d requests, %d refused: it has nothing to do with that", got.Requests, got.Flags[model.FlagOM])
	}
}

// TestIdleConnectionsGoSooner while memory is short.
func TestIdleConnectionsGoSooner(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, hello)
		m := pressure.NewMonitor()
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, to("up")), Config{Pressure: m.State()})
		press(m, time.Unix(1000, 0), 820, time.Second)
		begun := time.Now()
		c := r.dial()
		c.send(get("/a")).want(200, "", "/a")
		c.ended()
		if took := time.Since(begun); took != idleWhenPressed {
			t.Errorf("it ended after %s", took)
		}
	})
}

// TestStandingStill: who takes nothing of an answer is cut off when memory is short, and the host is
// not blamed for it.
func TestStandingStill(t *testing.T) {
	up := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		p := make([]byte, 1<<20)
		for range 100 {
			if _, err := w.Write(p); err != nil {
				return
			}
		}
	})
	m := pressure.NewMonitor()
	s := snapshotOf(map[string]string{"up": up}, to("up"))
	s.Listeners[0].Client.BodyTimeout = time.Hour
	r := startRig(t, s, Config{Pressure: m.State()})
	c := r.dial().send(get("/"))
	if _, err := c.r.Peek(1); err != nil {
		t.Fatal(err)
	}
	press(m, time.Unix(1000, 0), 920, 10*time.Second)
	for limit := time.Now().Add(patience); r.metrics.Route(to("up").Name).Snapshot().Flags[model.FlagOM] == 0; runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatal("nothing is cut off")
		}
	}
	if n, _ := io.Copy(io.Discard, c.r); n >= 100<<20 {
		t.Error("the answer came whole")
	}
	if flags := r.metrics.Host("up", up).Snapshot().Flags; flags[model.FlagOM] != 1 || flags[model.FlagDC] != 0 {
		t.Errorf("the try ended with flags %v", flags)
	}
	if h := r.proxy.Hosts()[0]; h.Failures != 0 || h.Requests != 1 {
		t.Errorf("the host is blamed: %d failures of %d tries", h.Failures, h.Requests)
	}
	if r.metrics.Protection(telemetry.Process, telemetry.ProtectProcessOverload).Acted() != 1 {
		t.Error("it is not counted")
	}
}

// TestTrickle: near the end of memory connections come in one by one, and all when it is over.
func TestTrickle(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, hello)
		m := pressure.NewMonitor()
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, to("up")), Config{Pressure: m.State()})
		press(m, time.Unix(1000, 0), 920, time.Second)
		begun := time.Now()
		for range 6 {
			r.dial().send(get("/a")).want(200, "", "")
		}
		if took := time.Since(begun); took < 500*time.Millisecond || took > time.Second {
			t.Errorf("six connections took %s", took)
		}
	})
}
