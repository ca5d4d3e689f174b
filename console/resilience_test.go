package console

import (
	"fmt"
	"math"
	"testing"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

func protectionsOf(t *testing.T, h *harness, query string) map[string]Protection {
	t.Helper()
	out := map[string]Protection{}
	for _, p := range get[list[Protection]](t, h, "/api/v1/resilience"+query).Items {
		out[p.Target] = p
	}
	return out
}

func TestResilience(t *testing.T) {
	h := newHarness(2)
	h.protected = []Protection{
		{Target: "HTTPRoute/shop/r0", Kind: OfScope, Overload: &Overload{Mode: "Enforce", Limit: 8, InFlight: 8, Steps: []Step{{At: 0.8, Active: true}}}},
		{Target: "Gateway/shop/edge", Kind: OfScope, Overload: &Overload{Mode: "Observe", Limit: 8, Steps: []Step{{At: 0.8, Active: true}}}},
		{Target: telemetry.Process, Kind: OfProcess, Pressure: []Pressure{{"memory", 0.2, "none"}}},
	}
	got := get[list[Protection]](t, h, "/api/v1/resilience")
	if got.Total != 4 || got.Items[0].Target != "HTTPRoute/shop/r0" || got.Items[1].Target != "backend/shop/v1" || got.Items[2].State != StateObserving || got.Items[3].State != StateIdle {
		t.Errorf("what acts comes first: %+v", got.Items)
	}
	e := got.Items[1].Ejections
	if e == nil || e.Hosts != 2 || e.Count != 1 || e.Mode != "Enforce" || e.Ejected[0].Address != "10.0.0.2:80" || e.Ejected[0].Rule != "slowerThanMedian" || e.Ejected[0].Would {
		t.Errorf("the ejected host: %+v", e)
	}
	for query, want := range map[string]int{"?kind=scope": 2, "?state=acting": 2, "?state=idle": 1, "?name=process": 1, "?q=edge": 1, "?kind=route": 0} {
		if n := len(protectionsOf(t, h, query)); n != want {
			t.Errorf("%s: %d, want %d", query, n, want)
		}
	}
	if n := get[statusView](t, h, "/api/v1/status").Counts.Acting; n != 2 {
		t.Errorf("the status says that %d act", n)
	}
}

// TestObservedOutlier: a host that is only observed does not make its backend act.
func TestObservedOutlier(t *testing.T) {
	h := newHarness(1)
	h.hosts[1].Ejected = false
	h.snapshot.Clusters[0].Outlier.Mode = model.ModeObserve
	p := protectionsOf(t, h, "")["backend/shop/v1"]
	if p.State != StateObserving || p.Ejections.Mode != "Observe" || !p.Ejections.Ejected[0].Would {
		t.Errorf("%+v %+v", p, p.Ejections)
	}
	h.hosts[0].Draining = true
	if e := protectionsOf(t, h, "")["backend/shop/v1"].Ejections; e.Hosts != 1 {
		t.Errorf("one of two drains, and %d are shown", e.Hosts)
	}
	h.hosts[1].EjectedBy = "" // and one that nobody asked to look shows nothing
	if p, shown := protectionsOf(t, h, "")["backend/shop/v1"]; shown {
		t.Errorf("%+v", p)
	}
	h.snapshot.Clusters[0].Origins = model.Origins{"outlierDetection.consecutive5xx": {}}
	if p := protectionsOf(t, h, "")["backend/shop/v1"]; p.State != StateIdle || p.Ejections.Count != 0 {
		t.Errorf("%+v", p)
	}
}

// TestActionsActNow: a protection acts for as long as it has counted something lately.
func TestActionsActNow(t *testing.T) {
	h := newHarness(1)
	h.hosts = nil
	const cluster = "backend/shop/v1"
	denied := h.metrics.Protection(cluster, telemetry.ProtectRetryBudget)
	observed := h.metrics.Protection("shop/r0/0", telemetry.ProtectDeadline)
	h.metrics.Protection("shop/gone/0", telemetry.ProtectDeadline).Count(model.ModeEnforce)
	step := func(n int) {
		for range n {
			h.now = h.now.Add(sampleStep)
			h.console.recorder.step(h.now)
		}
	}
	h.now = h.metrics.Started()
	step(20)
	if p := protectionsOf(t, h, ""); len(p) != 0 {
		t.Errorf("before anything was counted: %+v", p)
	}
	for range 30 {
		denied.Count(model.ModeEnforce)
		observed.Count(model.ModeObserve)
	}
	step(1)
	p := protectionsOf(t, h, "")
	if len(p) != 2 || p[cluster].State != StateActing || p[cluster].Kind != OfBackend || p["shop/r0/0"].State != StateObserving || p["shop/r0/0"].Kind != OfRoute {
		t.Fatalf("%+v", p)
	}
	if a := p[cluster].Actions[0]; a.Protection != "retryBudget" || a.Acted != 30 || a.ActedRate < 1 || a.WouldHave != 0 {
		t.Errorf("%+v", a)
	}
	v := get[actsView](t, h, "/api/v1/resilience/history")
	last := len(v.At) - 1
	if last != 20 || v.Retries[last] != 3 || v.Would[last] != 3 || v.Shed[last] != 0 || v.Retries[last-1] != 0 {
		t.Errorf("history: %+v", v)
	}
	if rest := get[actsView](t, h, fmt.Sprintf("/api/v1/resilience/history?after=%d", v.At[last-1])); len(rest.At) != 1 || rest.At[0] != v.At[last] {
		t.Errorf("after the last but one: %v", rest.At)
	}
	step(15)
	if p := protectionsOf(t, h, ""); p[cluster].State != StateIdle || p[cluster].Actions[0].Acted != 30 {
		t.Errorf("half a minute later: %+v", p)
	}
}

// TestActHistoryIsBounded: it is a ring, and what was forgotten is no event.
func TestActHistoryIsBounded(t *testing.T) {
	begin := time.Unix(0, 0)
	track := actTrack{past: []actMark{{at: begin}}}
	stats := []telemetry.ProtectionStats{{Target: "a", Kind: telemetry.ProtectTrip}}
	for i := range 2 * maxSamples {
		stats[0].Acted += 2
		track.add(stats, begin.Add(time.Duration(i+1)*sampleStep))
	}
	track.add(nil, begin.Add(time.Hour))
	r := &recorder{acts: track}
	v := r.actHistory(0, begin)
	if len(v.At) != maxSamples || v.At[0] >= v.At[maxSamples-1] {
		t.Fatalf("%d samples from %d to %d", len(v.At), v.At[0], v.At[len(v.At)-1])
	}
	if n := v.Breakers[maxSamples-2]; math.Abs(float64(n)-1) > 1e-6 {
		t.Errorf("%g/s broken, want 1", n)
	}
	if n := v.Breakers[maxSamples-1]; n != 0 {
		t.Errorf("%g/s when all was forgotten", n)
	}
}

func TestGroups(t *testing.T) {
	for kind, want := range map[telemetry.ProtectionKind]actGroup{
		telemetry.ProtectMaxConnections: actNone, telemetry.ProtectOutlier + "maxEjected": actNone, telemetry.ProtectNestedRetry: actRetries,
		telemetry.ProtectTrip: actBreakers, telemetry.ProtectThrottle: actShed, telemetry.ProtectDegrade + "shed": actShed, telemetry.ProtectDegrade + "answer": actDegraded,
	} {
		if got := groupOf(kind); got != want {
			t.Errorf("%s is %d, want %d", kind, got, want)
		}
	}
}

func TestStates(t *testing.T) {
	for _, tc := range []struct {
		name string
		p    Protection
		want string
	}{
		{"nothing", Protection{}, StateIdle},
		{"half open", Protection{Breaker: &Breaker{Mode: "Enforce", Trip: &Trip{State: "half-open"}}}, StateActing},
		{"closed", Protection{Breaker: &Breaker{Mode: "Enforce", Trip: &Trip{State: TripClosed}}}, StateIdle},
		{"would be open", Protection{Breaker: &Breaker{Mode: "Observe", Trip: &Trip{State: "open"}}}, StateObserving},
		{"pressed", Protection{Pressure: []Pressure{{"memory", 0.1, "none"}, {"files", 0.9, "hold"}}}, StateActing},
		{"acts and would", Protection{Actions: []Action{{WouldHaveRate: 1}, {ActedRate: 1}}}, StateActing},
		{"did and would", Protection{Actions: []Action{{Acted: 9}, {WouldHaveRate: 1}}}, StateObserving},
	} {
		if got := tc.p.state(); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}
