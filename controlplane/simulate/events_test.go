package simulate

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// calm is a service with room to spare.
const calm = `
  duration: 30s
  callers: [{name: c, request: {url: "http://a/"}, rate: "100", timeout: 2s}]
  services: [{backend: shop, hosts: 2, concurrency: 10, serviceTime: {fixed: 20ms}}]
`

// TestEvents: each kind of event does what it says, for as long as it says.
func TestEvents(t *testing.T) {
	s := snapshotOf(t, edge+backendPolicy("  outlierDetection: {consecutiveLocal: 0}\n"))
	for _, c := range []struct {
		event string
		ok    func(during, after *Step) bool
	}{
		{"{at: 10s, for: 10s, backend: shop, outage: true}", func(d, a *Step) bool { return d.Succeeded == 0 && d.Flags["UF"] > 50 && a.serves(1) }},
		{"{at: 10s, for: 10s, backend: shop, outage: true, hosts: \"1\"}", func(d, a *Step) bool {
			return !d.serves(1) && d.serves(0.5) && d.Flags["UF"] > 2 && a.serves(1)
		}},
		{"{at: 10s, for: 10s, backend: shop, hang: true}", func(d, a *Step) bool { return d.Succeeded == 0 && d.TimedOut > 50 && a.serves(1) }},
		{"{at: 10s, for: 10s, backend: shop, slowDown: \"3\"}", func(d, a *Step) bool { return math.Abs(d.P50-61) < 2 && d.serves(1) && math.Abs(a.P50-21) < 1 }},
		{"{at: 10s, for: 10s, backend: shop, errors: 30%}", func(d, a *Step) bool {
			return math.Abs(float64(d.Succeeded)/float64(d.Ended)-0.7) < 0.15 && d.Flags["U5"] > 10 && a.serves(1)
		}},
		{"{at: 10s, for: 10s, surge: \"3\"}", func(d, a *Step) bool { return d.Asked > 220 && d.Asked < 380 && a.Asked < 160 }},
		{"{at: 10s, for: 10s, surge: \"0\"}", func(d, a *Step) bool { return d.Asked == 0 && a.Asked > 50 }},
	} {
		r := play(t, s, scenarioOf(t, calm+"  events: ["+c.event+"]\n"))
		if before := &r.Steps[8]; !before.serves(1) || before.Asked < 50 {
			t.Errorf("%s: before: %+v", c.event, before)
		}
		if during, after := &r.Steps[15], &r.Steps[25]; !c.ok(during, after) {
			t.Errorf("%s: during: %+v\nafter: %+v", c.event, during, after)
		}
	}
}

// TestCountedCallersSurge: more callers come, and go when it is over.
func TestCountedCallersSurge(t *testing.T) {
	r := play(t, snapshotOf(t, edge), scenarioOf(t, `
  duration: 30s
  callers: [{name: c, request: {url: "http://a/"}, count: 100, think: 1s}]
  services: [{backend: shop, concurrency: 100, serviceTime: {fixed: 20ms}}]
  events: [{at: 10s, for: 10s, surge: "2"}]
`))
	for at, want := range map[int]float64{8: 98, 15: 196, 27: 98} {
		if got := float64(r.Steps[at].Asked); math.Abs(got-want) > 0.3*want {
			t.Errorf("at %ds %g requests, want about %g", at, got, want)
		}
	}
}

// TestWork: a server that notices who leaves does nothing for them; one that does not works on.
func TestWork(t *testing.T) {
	const spec = `
  duration: 20s
  callers: [{name: c, request: {url: "http://a/"}, rate: "60", timeout: 300ms}]
  services: [{backend: shop, concurrency: 1, queue: 50, serviceTime: {fixed: 20ms}, noticesLeaving: NOTICES}]
`
	s := snapshotOf(t, edge)
	blind, aware := play(t, s, scenarioOf(t, strings.Replace(spec, "NOTICES", "false", 1))), play(t, s, scenarioOf(t, strings.Replace(spec, "NOTICES", "true", 1)))
	if blind.Services[0].Wasted < 0.5 || blind.Goodput > 0.5 {
		t.Errorf("a server that does not notice: %.2f wasted, goodput %.2f", blind.Services[0].Wasted, blind.Goodput)
	}
	if aware.Services[0].Wasted > 0.02 || aware.Goodput < 0.8 {
		t.Errorf("a server that notices: %.2f wasted, goodput %.2f", aware.Services[0].Wasted, aware.Goodput)
	}
}

// TestQueueOverflows: what finds the queue full gets 503.
func TestQueueOverflows(t *testing.T) {
	r := play(t, snapshotOf(t, edge), scenarioOf(t, `
  duration: 20s
  callers: [{name: c, request: {url: "http://a/"}, rate: "200"}]
  services: [{backend: shop, concurrency: 1, queue: 5, serviceTime: {fixed: 10ms}}]
`))
	step := r.Steps[10]
	if step.Services[0].Overflown == 0 || step.Flags["U5"] == 0 || step.Services[0].Waiting > 5 || step.P99 > 10*7+2 {
		t.Errorf("%+v", step)
	}
}

// TestHedging: a second try beside a slow first one cuts the tail, and is of the budget.
func TestHedging(t *testing.T) {
	const spec = `
  duration: 60s
  callers: [{name: c, request: {url: "http://a/"}, rate: "100"}]
  services: [{backend: shop, hosts: 10, concurrency: 20, serviceTime: {mean: 20ms, p99: 200ms}}]
`
	plain := play(t, snapshotOf(t, edge), scenarioOf(t, spec))
	for _, hedge := range []string{"after: 60ms", "afterQuantile: p90"} {
		r := play(t, snapshotOf(t, edge+policy("  retries: {attempts: 0, hedge: {"+hedge+", max: 1}, budget: {percent: 20%}}\n")), scenarioOf(t, spec))
		if r.P99 > 0.8*plain.P99 || r.Amplification < 1.01 || r.Amplification > 1.24 {
			t.Errorf("hedge %s: p99 %.0f ms instead of %.0f ms, %.3f tries for each", hedge, r.P99, plain.P99, r.Amplification)
		}
	}
}

// TestShedding: twice as much as can be carried, half of it Sheddable: Critical is served.
func TestShedding(t *testing.T) {
	overload := policy("  overload:\n    concurrency: {limit: 20}\n    queue: {size: 20, timeout: 50ms}\n    priority: [{when: 'request.headers[\"x-batch\"] == \"1\"', class: Sheddable}]\n    mode: MODE\n")
	spec := func(headers string) string {
		return fmt.Sprintf(`
  duration: 30s
  callers:
  - {name: critical, request: {url: "http://a/"}, rate: "180"}
  - {name: batch, request: {url: "http://a/", headers: [%s]}, rate: "200"}
  services: [{backend: shop, concurrency: 20, queue: 1000, serviceTime: {mean: 100ms}}]
  limits: [{from: 10s, minGoodput: 90%%}]
`, headers)
	}
	batch := `{name: x-batch, value: "1"}`
	r := play(t, snapshotOf(t, edge+strings.Replace(overload, "MODE", "Enforce", 1)), scenarioOf(t, spec(batch)))
	if r.Failed > 0 || r.Flags["PO"] == 0 {
		t.Errorf("limits %v, flags %v", r.Limits, r.Flags)
	}
	if share := r.Callers[0].Success; share < 0.85 {
		t.Errorf("%.2f of the critical requests succeed", share)
	}
	if share := r.Callers[1].Success; share > 0.3 {
		t.Errorf("%.2f of the sheddable requests succeed", share)
	}
	alike := play(t, snapshotOf(t, edge+strings.Replace(overload, "MODE", "Enforce", 1)), scenarioOf(t, spec("")))
	if a, b := alike.Callers[0].Success, alike.Callers[1].Success; math.Abs(a-b) > 0.1 {
		t.Errorf("of one class %.2f and %.2f succeed", a, b)
	}
	observed := play(t, snapshotOf(t, edge+strings.Replace(overload, "MODE", "Observe", 1)), scenarioOf(t, spec(batch)))
	if observed.Flags["PO"] != 0 {
		t.Errorf("observing refuses: %v", observed.Flags)
	}
}

// TestPanic: with health checks one good host of four gets everything, unless the backend panics:
// then all of them get their part.
func TestPanic(t *testing.T) {
	for threshold, good := range map[string]bool{"50%": false, "0%": true} {
		r := play(t, snapshotOf(t, edge+backendPolicy("  healthCheck: {tcp: {}, interval: 1s, timeout: 500ms}\n  loadBalancing: {algorithm: RoundRobin, panicThreshold: "+threshold+"}\n  outlierDetection: {consecutiveLocal: 0}\n")), scenarioOf(t, `
  duration: 20s
  callers: [{name: c, request: {url: "http://a/"}, rate: "100"}]
  services: [{backend: shop, hosts: 4, concurrency: 20, serviceTime: {fixed: 20ms}}]
  events: [{at: 2s, backend: shop, outage: true, hosts: "3"}]
`))
		last := r.Steps[15]
		if last.serves(1) != good || !good && last.serves(0.5) {
			t.Errorf("panic threshold %s: %d of %d succeed", threshold, last.Succeeded, last.Ended)
		}
	}
}
