package simulate

import (
	"context"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// edge is a Gateway with one route to a backend named shop.
const edge = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
`

// snapshotOf translates resources, all of which must be well.
func snapshotOf(t testing.TB, text string) *model.Snapshot {
	t.Helper()
	var d resource.Decoder
	objects, found := d.Decode("r.yaml", []byte(text))
	for _, problem := range found {
		t.Fatal(problem)
	}
	out := translate.Translate(translate.Input{Set: resource.NewSet(objects, nil)})
	for _, problem := range out.Diagnostics {
		if problem.Severity == resource.Error {
			t.Fatal(problem)
		}
	}
	return out.Snapshot
}

// scenarioOf reads what is below spec.
func scenarioOf(t testing.TB, spec string) *resource.Object {
	t.Helper()
	text := "apiVersion: weir.dev/v1alpha1\nkind: Scenario\nmetadata: {name: s}\nspec:\n" + spec
	objects, found := resource.DecodeScenarios("s.yaml", []byte(text))
	if len(objects) != 1 || len(found) > 0 {
		t.Fatalf("%d objects, %v", len(objects), found)
	}
	return objects[0]
}

func play(t testing.TB, s *model.Snapshot, scenario *resource.Object) *Report {
	t.Helper()
	r, found, err := Run(context.Background(), Input{Snapshot: s, Scenario: scenario})
	if err != nil || len(found) > 0 {
		t.Fatal(err, found)
	}
	return r
}

// policy is a TrafficPolicy of the route.
func policy(spec string) string {
	return "---\napiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: p}\nspec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]\n" + spec
}

// backendPolicy is one of the backend.
func backendPolicy(spec string) string {
	return "---\napiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: b}\nspec:\n  targetRefs: [{group: weir.dev, kind: Backend, name: shop}]\n" + spec
}

// TestQueueing compares one host with Erlang's C formula. Of an M/M/c queue with a = λ/µ the
// mean wait is C(c, a) / (cµ - λ).
func TestQueueing(t *testing.T) {
	for _, c := range []struct {
		workers  int
		rate     float64
		duration string
	}{{1, 50, "600s"}, {1, 80, "1000s"}, {4, 300, "200s"}, {20, 1700, "60s"}} {
		const service = 10 * time.Millisecond
		scenario := scenarioOf(t, `
  duration: `+c.duration+`
  step: `+c.duration+`
  seed: 7
  roundTrip: 10us
  callers: [{name: c, request: {url: "http://a/"}, rate: "`+number(c.rate)+`"}]
  services: [{backend: shop, concurrency: `+number(float64(c.workers))+`, queue: 100000, serviceTime: {mean: 10ms}}]
`)
		r := play(t, snapshotOf(t, edge), scenario)
		n, a := float64(c.workers), c.rate*service.Seconds()
		sum, term := 0.0, 1.0
		for k := range c.workers {
			sum += term
			term *= a / float64(k+1)
		}
		last := term * n / (n - a)
		waits := last / (sum + last)
		// Of those that wait the time is exponential with rate cµ - λ; P(T > t) of the time in the
		// system gives the quantiles, found by bisection.
		mu := 1 / service.Seconds()
		beyond := func(t float64) float64 {
			d := n*mu - c.rate
			if math.Abs(d-mu) < 1e-9 {
				return math.Exp(-mu*t) * (1 + waits*mu*t)
			}
			return (1-waits)*math.Exp(-mu*t) + waits*(mu*math.Exp(-d*t)-d*math.Exp(-mu*t))/(mu-d)
		}
		for _, q := range []struct{ of, got float64 }{{0.5, r.P50}, {0.99, r.P99}} {
			low, high := 0.0, 100.0
			for range 60 {
				if middle := (low + high) / 2; beyond(middle) > 1-q.of {
					low = middle
				} else {
					high = middle
				}
			}
			if want := low * 1000; math.Abs(q.got-want) > 0.07*want {
				t.Errorf("M/M/%d at %g/s: quantile %g is %.2f ms, want %.2f ms", c.workers, c.rate, q.of, q.got, want)
			}
		}
		if busy := r.Steps[0].Services[0].Busy; math.Abs(busy-a/n) > 0.02 {
			t.Errorf("M/M/%d at %g/s: busy %.3f, want %.3f", c.workers, c.rate, busy, a/n)
		}
	}
}

func number(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// TestSameSeedSameRun: a run is a function of what goes into it.
func TestSameSeedSameRun(t *testing.T) {
	s := snapshotOf(t, edge+policy("  retries: {attempts: 2, retryOn: [\"500\", Reset], budget: {percent: 50%}}\n  timeouts: {request: 1s, perTry: 300ms}\n"))
	const spec = `
  duration: 10s
  callers: [{name: c, request: {url: "http://a/"}, count: 50, think: 100ms, timeout: 2s, retries: 1, backoff: 50ms}]
  services: [{backend: shop, hosts: 4, concurrency: 4, serviceTime: {mean: 20ms, p99: 100ms}}]
  events: [{at: 3s, for: 3s, backend: shop, hosts: 50%, errors: 40%}]
`
	one, two := play(t, s, scenarioOf(t, spec)), play(t, s, scenarioOf(t, spec))
	if !reflect.DeepEqual(one, two) {
		t.Error("two runs of one seed differ")
	}
	other := play(t, s, scenarioOf(t, spec+"  seed: 2\n"))
	if reflect.DeepEqual(one.Steps, other.Steps) {
		t.Error("runs of two seeds are equal")
	}
}

// TestServiceTime: distributions have the mean and the 99th percentile that are written.
func TestServiceTime(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		spec resource.ScenarioServiceTime
		p99  float64 // in means
	}{
		{resource.ScenarioServiceTime{Fixed: "10ms"}, 1},
		{resource.ScenarioServiceTime{Mean: "10ms"}, math.Log(100)},
		{resource.ScenarioServiceTime{Mean: "10ms", P99: "12ms"}, 1.2},
		{resource.ScenarioServiceTime{Mean: "10ms", P99: "40ms"}, 4},
		{resource.ScenarioServiceTime{Mean: "10ms", P99: "100ms"}, 10},
	} {
		s := newServiceTime(c.spec)
		drawn := make([]float64, 200_000)
		sum := 0.0
		for i := range drawn {
			drawn[i] = s.draw(r)
			sum += drawn[i]
		}
		slices.Sort(drawn)
		if mean, p99 := sum/float64(len(drawn)), drawn[len(drawn)*99/100]; math.Abs(mean-1) > 0.02 || math.Abs(p99-c.p99) > 0.04*c.p99 || s.mean != 10*time.Millisecond {
			t.Errorf("%+v: mean %.3f, p99 %.3f times that, want %.3f", c.spec, mean, p99, c.p99)
		}
	}
}
