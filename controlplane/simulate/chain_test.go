package simulate

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"
)

// chain is three services behind each other, each with a route of its own; retries are the
// policy of all.
func chain(retries string) string {
	text := "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec: {gatewayClassName: weir, listeners: [{name: http, port: 80, protocol: HTTP}]}\n"
	for _, name := range []string{"a", "b", "c"} {
		text += strings.ReplaceAll(`---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: X}
spec:
  parentRefs: [{name: edge}]
  hostnames: [X.example.com]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: X}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: X}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
`, "X", name)
	}
	if retries == "" {
		return text
	}
	return text + "---\napiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: all}\nspec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]\n" + retries +
		"  outlierDetection: {consecutiveLocal: 0}\n"
}

const chainScenario = `
  duration: 20s
  callers: [{name: c, request: {url: "http://a.example.com/"}, rate: "20"}]
  services:
  - {backend: a, concurrency: 100, serviceTime: {fixed: 1ms}, propagates: PROPAGATES, calls: [{request: {url: "http://b.example.com/"}}]}
  - {backend: b, concurrency: 100, serviceTime: {fixed: 1ms}, propagates: PROPAGATES, calls: [{request: {url: "http://c.example.com/"}}]}
  - {backend: c, concurrency: 100, serviceTime: {fixed: 1ms}}
  events: [{at: 0s, backend: c, errors: 100%}]
`

// TestRetriesMultiply: where every tier of a chain tries three times, the last service has 27
// tries for each request; marked tries, which services carry on, leave all but one tier out.
func TestRetriesMultiply(t *testing.T) {
	all := chain("  retries: {attempts: 2, retryOn: [\"500\"], budget: {percent: 100%, minPerSecond: 100000}, nested: NESTED}\n")
	for _, c := range []struct {
		nested, propagates string
		want               [3]float64
	}{
		{"false", "false", [3]float64{3, 9, 27}},
		{"true", "true", [3]float64{3, 9, 27}},
		{"false", "true", [3]float64{3, 3, 3}},
	} {
		r := play(t, snapshotOf(t, strings.Replace(all, "NESTED", c.nested, 1)), scenarioOf(t, strings.ReplaceAll(chainScenario, "PROPAGATES", c.propagates)))
		for i, v := range r.Services {
			if math.Abs(v.Amplification-c.want[i]) > 0.02*c.want[i] {
				t.Errorf("nested %s, propagates %s: %s has %.2f tries for each needed, want %g", c.nested, c.propagates, v.Name, v.Amplification, c.want[i])
			}
		}
	}
}

// TestDeclaredCalls: without calls of its own a service calls what its policy declares.
func TestDeclaredCalls(t *testing.T) {
	text := chain("") + "---\napiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: a}\nspec:\n  targetRefs: [{group: weir.dev, kind: Backend, name: a}]\n  calls: [{backendRef: {group: weir.dev, kind: Backend, name: c}}]\n"
	r := play(t, snapshotOf(t, text), scenarioOf(t, `
  duration: 10s
  callers: [{name: c, request: {url: "http://a.example.com/"}, rate: "20"}]
  services:
  - {backend: a, concurrency: 100, serviceTime: {fixed: 1ms}}
  - {backend: c, concurrency: 100, serviceTime: {fixed: 1ms}}
`))
	if r.Services[1].Tries < r.Services[0].Tries-2 || r.Services[0].Tries < 100 {
		t.Errorf("%d tries at the first, %d at what it calls", r.Services[0].Tries, r.Services[1].Tries)
	}
}

// TestCallTimeout: a service that gives its calls so much time answers then, whatever it calls.
func TestCallTimeout(t *testing.T) {
	r := play(t, snapshotOf(t, chain("")), scenarioOf(t, `
  duration: 10s
  callers: [{name: c, request: {url: "http://a.example.com/"}, rate: "20"}]
  services:
  - {backend: a, concurrency: 100, serviceTime: {fixed: 1ms}, calls: [{request: {url: "http://b.example.com/"}, timeout: 100ms, share: 50%}]}
  - {backend: b, concurrency: 100, serviceTime: {fixed: 5s}}
`))
	if r.Success < 0.4 || r.Success > 0.6 || r.Flags["U5"] == 0 || r.P99 > 10 {
		t.Errorf("success %.2f, flags %v, p99 %.1f", r.Success, r.Flags, r.P99)
	}
}

// TestPlanRefuses: what a scenario names must be there.
func TestPlanRefuses(t *testing.T) {
	const service = "{backend: a, concurrency: 1, serviceTime: {fixed: 1ms}}"
	for spec, want := range map[string]string{
		"callers: [{name: c, request: {url: \"http://a.example.com/\"}, rate: \"1\"}]\n  services: [{backend: x, concurrency: 1, serviceTime: {fixed: 1ms}}]":                                                       "s.yaml:7:15: Scenario default/s: spec.services[0].backend: no route leads to a backend x; backends: backend/default/a",
		"callers: [{name: c, request: {url: \"http://a.example.com/\"}, rate: \"1\"}]\n  services: [{backend: default, concurrency: 1, serviceTime: {fixed: 1ms}}]":                                                 "default is several backends; write more of the name: backend/default/a, backend/default/b",
		"callers: [{name: c, request: {url: \"http://a.example.com/\"}, rate: \"1\"}]\n  services: [" + service + ", " + service + "]":                                                                              "a has two entries",
		"callers: [{name: c, request: {url: \"http://b.example.com/\"}, rate: \"1\"}]\n  services: [" + service + "]":                                                                                               "route default/b/0 leads to Backend/default/b, of which spec.services says nothing",
		"callers: [{name: c, request: {url: \"http://x.example.com/\"}, rate: \"1\"}]\n  services: [" + service + "]":                                                                                               "s.yaml:6:23: Scenario default/s: spec.callers[0].request: it reaches no backend: no route of the table matches",
		"callers: [{name: c, request: {url: \"http://a.example.com:81/\"}, rate: \"1\"}]\n  services: [" + service + "]":                                                                                            "nothing listens on port 81",
		"callers: [{name: c, request: {url: \"http://a.example.com/\"}, rate: \"1\"}]\n  services: [" + service + "]\n  events: [{at: 1s, backend: b, outage: true}]":                                               "spec.events[0].backend: no entry of spec.services is b",
		"callers: [{name: c, request: {url: \"http://a.example.com/\"}, rate: \"1\"}]\n  services: [" + service + "]\n  limits: [{maxAmplification: \"2\", backend: b}]":                                            "spec.limits[0].backend: no entry of spec.services is b",
		"callers: [{name: c, request: {url: \"http://a.example.com/\"}, rate: \"1\"}]\n  services: [{backend: a, concurrency: 1, serviceTime: {fixed: 1ms}, calls: [{request: {url: \"http://a.example.com/\"}}]}]": "calls go in a circle: backend/default/a calls itself",
	} {
		r, found, err := Run(context.Background(), Input{Snapshot: snapshotOf(t, chain("")), Scenario: scenarioOf(t, "  duration: 1s\n  "+spec+"\n")})
		var all []string
		for _, d := range found {
			all = append(all, d.String())
		}
		if got := strings.Join(all, "\n"); !strings.Contains(got, want) || r != nil || err != nil {
			t.Errorf("%s\n got: %s (%v)\nwant: %s", spec, got, err, want)
		}
	}
}

// TestBounds: a run that grows without end says so instead of eating all memory, and one that is
// no longer wanted ends.
func TestBounds(t *testing.T) {
	endless := scenarioOf(t, `
  duration: 1000s
  callers: [{name: c, request: {url: "http://a/"}, rate: "200000"}]
  services: [{backend: shop, concurrency: 1, queue: 1000000, serviceTime: {fixed: 1h}}]
`)
	s := snapshotOf(t, edge+backendPolicy("  circuitBreaker: {maxRequests: 0}\n"))
	run, _, err := prepare(Input{Snapshot: s, Scenario: endless})
	if err != nil {
		t.Fatal(err)
	}
	run.most = 20_000
	err = run.run(context.Background(), nil)
	if err == nil || !strings.Contains(err.Error(), "more than 20000 requests are under way: give callers a timeout") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, _, err = Run(ctx, Input{Snapshot: s, Scenario: scenarioOf(t, `
  duration: 1000s
  callers: [{name: c, request: {url: "http://a/"}, rate: "5000"}]
  services: [{backend: shop, concurrency: 100, serviceTime: {fixed: 1ms}}]
`), Progress: func(time.Duration, time.Duration) { cancel() }})
	if err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("%v", err)
	}
}
