package simulate

import (
	"fmt"
	"strings"
	"testing"
)

// The storm: 1,000 callers of a service of ten hosts, all of which take four times as long for
// ten seconds.
const storm = `
  duration: 60s
  callers: [{name: shoppers, request: {url: "http://a/"}, count: 1000, think: 600ms, timeout: 5s}]
  services: [{backend: shop, hosts: 10, concurrency: 10, serviceTime: {mean: 50ms, p99: 200ms}, queue: 100}]
  events: [{at: 10s, for: 10s, backend: shop, slowDown: "4"}]
  limits:
  - {maxAmplification: "1.25"}
  - {from: 1s, minGoodput: 90%}
  - {recoveryWithin: 2s}
  seed: `

const (
	naive = "  retries: {attempts: 5, retryOn: [ConnectFailure, Reset, PerTryTimeout, \"503\"], budget: {percent: 100%, minPerSecond: 100000}}\n  timeouts: {request: 5s, perTry: 300ms}\n"
	good  = "  retries: {attempts: 2, retryOn: [ConnectFailure, Reset, PerTryTimeout, \"503\"]}\n  timeouts: {request: 2s, perTry: 500ms}\n  overload: {concurrency: {limit: 110}, queue: {size: 100, timeout: 100ms}}\n"
)

// TestStorm: with the naive policy the storm outlives its cause, whatever the seed. With the
// good one the service does all that it can.
func TestStorm(t *testing.T) {
	for seed := range 2 {
		spec := storm + fmt.Sprint(seed) + "\n"
		bad := play(t, snapshotOf(t, edge+policy(naive)), scenarioOf(t, spec))
		if bad.Failed != 3 {
			t.Errorf("seed %d, naive: limits %v", seed, bad.Limits)
		}
		if last := bad.Steps[59]; last.serves(0.5) {
			t.Errorf("seed %d, naive: %d of %d succeed 40 s after the cause has gone", seed, last.Succeeded, last.Ended)
		}
		if bad.Amplification < 3 {
			t.Errorf("seed %d, naive: amplification %.2f", seed, bad.Amplification)
		}
		well := play(t, snapshotOf(t, edge+policy(good)), scenarioOf(t, spec))
		if well.Failed != 0 {
			t.Errorf("seed %d, good: limits %v", seed, well.Limits)
		}
	}
}

// TestBudgetBoundsTheStorm: the default budget alone, without anything against overload, keeps
// amplification below 1 + percent + minPerSecond ÷ rate.
func TestBudgetBoundsTheStorm(t *testing.T) {
	only := strings.Replace(naive, ", budget: {percent: 100%, minPerSecond: 100000}", "", 1)
	r := play(t, snapshotOf(t, edge+policy(only)), scenarioOf(t, storm+"1\n"))
	v := &r.Services[0]
	first := float64(v.Tries - v.Retries)
	if most := 1 + 0.2 + 3*r.Duration/first; float64(v.Tries)/first > most || v.Retries == 0 {
		t.Errorf("%d retries beside %g first tries: amplification %.3f, expected at most %.3f", v.Retries, first, float64(v.Tries)/first, most)
	}
}

// TestOneOfTen: a dead host of ten costs the callers nothing beyond the first failures, and a
// slow one is found by its latency.
func TestOneOfTen(t *testing.T) {
	const spec = `
  duration: 60s
  callers: [{name: c, request: {url: "http://a/"}, rate: "500"}]
  services: [{backend: shop, hosts: 10, concurrency: 20, serviceTime: {mean: 20ms, p99: 60ms}}]
`
	retries := policy("  retries: {attempts: 2}\n  timeouts: {request: 2s}\n")
	dead := play(t, snapshotOf(t, edge+retries), scenarioOf(t, spec+"  events: [{at: 10s, backend: shop, hosts: \"1\", outage: true}]\n"))
	if failed := dead.Ended - dead.Succeeded; failed > 5 {
		t.Errorf("a dead host: %d of %d failed", failed, dead.Ended)
	}
	if dead.Services[0].Ejections == 0 {
		t.Error("a dead host is not ejected")
	}
	slow := spec + "  events: [{at: 10s, backend: shop, hosts: \"1\", slowDown: \"20\"}]\n"
	before := play(t, snapshotOf(t, edge), scenarioOf(t, spec))
	without := play(t, snapshotOf(t, edge+backendPolicy("  loadBalancing: {algorithm: RoundRobin}\n")), scenarioOf(t, slow))
	with := play(t, snapshotOf(t, edge+backendPolicy("  loadBalancing: {algorithm: RoundRobin}\n  outlierDetection: {slowerThanMedian: \"3.0\", interval: 2s, baseEjectionTime: 60s, maxEjectionTime: 120s}\n")), scenarioOf(t, slow))
	after := func(r *Report) float64 { return r.Steps[40].P99 }
	if after(without) < 5*after(before) {
		t.Errorf("a slow host costs p99 only %.0f ms instead of %.0f ms: the test shows nothing", after(without), after(before))
	}
	if after(with) > 1.3*after(before) {
		t.Errorf("a slow host costs p99 %.0f ms instead of %.0f ms although it is to be ejected", after(with), after(before))
	}
}

// TestTrip: a breaker opens on a service that fails, and closes when it is well.
func TestTrip(t *testing.T) {
	r := play(t, snapshotOf(t, edge+backendPolicy("  circuitBreaker: {trip: {failures: 50%, of: 20, openFor: 2s, probes: 3}}\n")), scenarioOf(t, `
  duration: 40s
  callers: [{name: c, request: {url: "http://a/"}, rate: "100"}]
  services: [{backend: shop, concurrency: 20, serviceTime: {mean: 20ms}}]
  events: [{at: 5s, for: 10s, backend: shop, errors: 90%, fast: true}]
`))
	states := map[string]bool{}
	for _, step := range r.Steps[5:15] {
		states[step.Services[0].Breaker] = true
		if step.At >= 6 && step.Services[0].Tries > 60 {
			t.Errorf("at %gs the open breaker let %d tries through", step.At, step.Services[0].Tries)
		}
	}
	if !states["open"] || r.Flags["UO"] == 0 {
		t.Errorf("states %v, flags %v", states, r.Flags)
	}
	if last := r.Steps[39]; last.Services[0].Breaker != "closed" || !last.serves(1) {
		t.Errorf("at the end: %+v", last)
	}
}
