package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// usualPolicies are those that TestResilience begins with.
var usualPolicies = policies{
	retries: `attempts: 2, retryOn: [ConnectFailure, Reset, RefusedStream, PerTryTimeout, "503"], budget: {percent: 20%, minPerSecond: 20}`,
	overload: `concurrency: {limit: 300}, priority: [{when: 'request.headers["x-batch"] == "1"', class: Sheddable}],
    queue: {size: 600, timeout: 4s}, degrade: [{at: 80%, shed: Sheddable}]`,
	outlier: `consecutive5xx: 5, consecutiveLocal: 5, slowerThanMedian: "4.0", interval: 1s, minRequests: 5,
    baseEjectionTime: 1s, maxEjectionTime: 1s, maxEjected: 50%`,
	breaker: `maxConnections: 400, maxRetries: 200`,
}

// TestResilience runs the real program before five processes that are killed, stopped, slowed,
// reset, broken and cut off, each in a network namespace of its own, under constant load.
func TestResilience(t *testing.T) {
	t.Log(isolate(t, "TestOnRig"))
}

// TestOnRig is TestResilience, once it has a network of its own.
func TestOnRig(t *testing.T) {
	if os.Getenv(rigVariable) == "" {
		return // of an ordinary run
	}
	r := newRig(t, usualPolicies)
	began := time.Now()
	load := r.call(t, rigRate, 200, nil)
	load.grows(t, rigRate)
	for i, f := range rigFaults {
		t.Run(f.name, func(t *testing.T) { r.suffers(t, load, r.hosts[i%len(r.hosts)], f) })
	}
	t.Run("edited", func(t *testing.T) { r.editedAmidst(t, load) })
	t.Run("observed", func(t *testing.T) { r.observes(t, load) })
	t.Run("crowded", func(t *testing.T) { r.sheds(t, load) })
	load.unchanged(t, nil, "but for an outage of all")
	t.Run("outage", func(t *testing.T) { r.failsAltogether(t, load) })
	t.Run("commands", func(t *testing.T) { r.isAsked(t) })
	load.stop()

	// The budget, over everything: a fifth of the first tries, and the floor.
	asked, received := float64(load.asked()), float64(r.received())
	if most := 1.2*asked + 20*(time.Since(began).Seconds()+10); received > most {
		t.Errorf("%v requests became %v, more than %v", asked, received, most)
	}
}

// fault is something that happens to one host.
type fault struct {
	name  string
	rule  string // by which the host must be ejected
	begin func(t *testing.T, h *rigHost)
	end   func(t *testing.T, h *rigHost)
}

func behaves(b uint32) func(*testing.T, *rigHost) {
	return func(_ *testing.T, h *rigHost) { h.behaviour.Store(b) }
}

func signalled(s syscall.Signal) func(*testing.T, *rigHost) {
	return func(t *testing.T, h *rigHost) { h.signal(t, s) }
}

func cable(state string) func(*testing.T, *rigHost) {
	return func(t *testing.T, h *rigHost) { ip(t, "link", "set", h.name, state) }
}

func killed(_ *testing.T, h *rigHost) { h.kill() }

func restarted(t *testing.T, h *rigHost) { h.start(t) }

var rigFaults = []fault{
	{"killed", "consecutiveLocal", killed, restarted},
	{"stopped", "consecutiveLocal", signalled(syscall.SIGSTOP), signalled(syscall.SIGCONT)},
	{"slow", "slowerThanMedian", behaves(isSlow), behaves(serves)},
	{"reset", "consecutiveLocal", behaves(resets), behaves(serves)},
	{"failing", "consecutive5xx", behaves(fails), behaves(serves)},
	{"cut off", "consecutiveLocal", cable("down"), cable("up")},
}

// suffers lets a fault happen to a host: it is ejected by the right rule, no request fails, and
// once it is mended it is asked again.
func (r *rig) suffers(t *testing.T, load *callers, h *rigHost, f fault) {
	before, acted, failed := r.judgement(t, h), r.acted(t, "outlier/"+f.rule), load.failed()
	f.begin(t, h)
	r.ejects(t, h, f.rule, before, acted)
	load.grows(t, 200)
	load.unchanged(t, failed, f.name)
	f.end(t, h)
	r.returns(t, h)
	load.unchanged(t, failed, "mended")
}

// ejects waits until a host was ejected by a rule more often than before.
func (r *rig) ejects(t *testing.T, h *rigHost, rule string, before judgement, acted float64) {
	t.Helper()
	eventually(t, func() (bool, string) {
		now, n := r.judgement(t, h), r.acted(t, "outlier/"+rule)
		return now.Ejections > before.Ejections && n > acted, fmt.Sprintf("%s: %+v; %s has acted %v times", h.name, now, rule, n)
	})
}

// returns waits until a host is not ejected, and gets requests.
func (r *rig) returns(t *testing.T, h *rigHost) {
	t.Helper()
	received := h.received.Load()
	eventually(t, func() (bool, string) {
		now, n := r.judgement(t, h), h.received.Load()-received
		return !now.Ejected && n >= 20, fmt.Sprintf("%s: %+v, %d requests", h.name, now, n)
	})
}

// editedAmidst edits all policies while a host is ejected: it stays ejected, until the time that
// was set, counts go on, and nothing fails. The host returns as if nothing had happened.
func (r *rig) editedAmidst(t *testing.T, load *callers) {
	h := r.hosts[1]
	long := usualPolicies
	long.outlier = strings.NewReplacer("baseEjectionTime: 1s", "baseEjectionTime: 4s", "maxEjectionTime: 1s", "maxEjectionTime: 4s").Replace(long.outlier)
	r.edit(t, long)
	failed, acted := load.failed(), r.acted(t, "outlier/consecutiveLocal")
	first := r.judgement(t, h)
	killed(t, h)
	r.ejects(t, h, "consecutiveLocal", first, acted)
	before, requests := r.judgement(t, h), r.metric(t, "weir_host_requests_total")
	acted = r.acted(t, "outlier/consecutiveLocal")

	edited := long
	edited.retries = strings.Replace(edited.retries, "attempts: 2", "attempts: 3", 1)
	edited.overload = strings.Replace(edited.overload, "limit: 300", "limit: 299", 1)
	edited.outlier = strings.Replace(edited.outlier, "consecutiveLocal: 5", "consecutiveLocal: 6", 1)
	edited.breaker = strings.Replace(edited.breaker, "maxConnections: 400", "maxConnections: 399", 1)
	r.edit(t, edited)
	after := r.judgement(t, h)
	if time.Now().Before(before.Until) && after != before {
		t.Errorf("before the edit %+v, after %+v", before, after)
	}
	if n := r.acted(t, "outlier/consecutiveLocal"); n < acted {
		t.Errorf("the counter went from %v to %v", acted, n)
	}
	if n := r.metric(t, "weir_host_requests_total"); n < requests || requests == 0 {
		t.Errorf("requests to hosts went from %v to %v", requests, n)
	}
	restarted(t, h)
	r.edit(t, usualPolicies) // and the ejection ends the sooner
	r.returns(t, h)
	load.unchanged(t, failed, "edited")
}

// observes has all protections observe, with bounds that nothing keeps to: they count, and do
// nothing.
func (r *rig) observes(t *testing.T, load *callers) {
	observing := usualPolicies
	observing.outlier += ", mode: Observe"
	observing.breaker = "maxRequests: 1, trip: {failures: 1%, of: 100, openFor: 60s}, mode: Observe"
	observing.overload = strings.Replace(observing.overload, "limit: 300", "limit: 1", 1) + ", mode: Observe"
	h, failed := r.hosts[2], load.failed()
	r.edit(t, observing)
	before := r.judgement(t, h)
	killed(t, h)
	eventually(t, func() (bool, string) {
		now, seen := r.judgement(t, h), ""
		if now.Ejected {
			t.Fatalf("ejected, although they only observe: %+v", now)
		}
		for _, protection := range []string{"outlier/consecutiveLocal", "maxRequests", "trip", "concurrency"} {
			if r.wouldHave(t, protection) == 0 {
				seen += protection + " would never have acted; "
			}
		}
		return seen == "" && now.WouldEject > before.WouldEject, seen + fmt.Sprintf("%+v", now)
	})
	tries := r.metric(t, "weir_host_requests_total", h.address())
	load.grows(t, 100)
	now, more := r.judgement(t, h), r.metric(t, "weir_host_requests_total", h.address())-tries
	if now.Ejections != before.Ejections || more == 0 {
		t.Errorf("they only observe, but before it was %+v, now it is %+v, with %v more tries", before, now, more)
	}
	restarted(t, h)
	r.edit(t, usualPolicies)
	r.returns(t, h)
	load.unchanged(t, failed, "observing")
}

// sheds sends more than is let in: what can be shed is, with its flag and a time to come again,
// and nothing else.
func (r *rig) sheds(t *testing.T, load *callers) {
	failed, shed := load.failed(), r.acted(t, "degrade/shed")
	tight := usualPolicies
	tight.overload = strings.Replace(tight.overload, "limit: 300", "limit: 20", 1)
	r.edit(t, tight)
	batch := r.call(t, 0, 50, http.Header{"X-Batch": {"1"}})
	eventually(t, func() (bool, string) {
		outcomes := batch.failed()
		return outcomes["503 PO, Retry-After"] > 20 && r.acted(t, "degrade/shed") > shed, fmt.Sprint(outcomes)
	})
	load.grows(t, 100)
	batch.stop()
	for outcome, n := range batch.failed() {
		if outcome != "503 PO, Retry-After" {
			t.Errorf("%d sheddable requests got %s", n, outcome)
		}
	}
	r.edit(t, usualPolicies)
	load.unchanged(t, failed, "shedding")
}

// failsAltogether has all hosts answer 503: the budget bounds what they are sent beside, no
// more than half are ejected, and, once there is a trip, it opens. When they are mended
// everything is as before.
func (r *rig) failsAltogether(t *testing.T, load *callers) {
	denied := r.acted(t, "retryBudget")
	asked, received, began := load.asked(), r.received(), time.Now()
	for _, h := range r.hosts {
		h.behaviour.Store(fails)
	}
	load.grows(t, 1000)
	first := float64(load.asked() - asked)
	retries := float64(r.received()-received) - first
	if most := 0.2*(first+10*rigRate) + 20*(time.Since(began).Seconds()+10); retries > most {
		t.Errorf("%v retries of %v requests, more than %v", retries, first, most)
	}
	if r.acted(t, "retryBudget") == denied {
		t.Errorf("the budget has denied nothing, and allowed %v retries of %v requests", retries, first)
	}
	if n := r.metric(t, "weir_ejected_hosts"); n > 2 {
		t.Errorf("%v of five hosts are ejected", n)
	}

	tripping := usualPolicies
	tripping.breaker += ", trip: {failures: 50%, of: 20, openFor: 1s, probes: 3}"
	r.edit(t, tripping)
	eventually(t, func() (bool, string) {
		outcomes := load.failed()
		return outcomes["503 UO, Retry-After"] > 50 && r.acted(t, "trip") > 0, fmt.Sprint(outcomes)
	})
	for outcome, n := range load.failed() {
		switch strings.TrimSuffix(outcome, ", Retry-After") {
		case "503", "503 UO": // of the hosts, and ours
		default:
			t.Errorf("%d requests got %s", n, outcome)
		}
	}

	for _, h := range r.hosts {
		h.behaviour.Store(serves)
	}
	var calm map[string]uint64
	var since uint64
	eventually(t, func() (bool, string) {
		now, n := load.failed(), load.asked()
		if !maps.Equal(now, calm) {
			calm, since = now, n
		}
		state := r.metric(t, "weir_breaker_state")
		return state == 0 && n > since+300, fmt.Sprintf("breaker state %v, %v good answers in a row", state, n-since)
	})
	for _, h := range r.hosts {
		r.returns(t, h)
	}
	load.unchanged(t, calm, "after the outage")

	var status struct {
		Traffic struct {
			Retries uint64
			Flags   map[string]uint64
		}
	}
	r.get(t, "status", &status)
	flags := slices.Sorted(maps.Keys(status.Traffic.Flags))
	if want := []string{"PO", "U5", "UO"}; !slices.Equal(flags, want) || status.Traffic.Retries == 0 {
		t.Errorf("%d retries and flags %v, want %v alone", status.Traffic.Retries, status.Traffic.Flags, want)
	}
}

const rigScenario = `apiVersion: weir.dev/v1alpha1
kind: Scenario
metadata: {name: one-dies}
spec:
  duration: 20s
  callers: [{name: shoppers, request: {url: "http://shop.example.com:%s/"}, rate: "300", timeout: 8s}]
  services: [{backend: shop, concurrency: 10, serviceTime: {fixed: 20ms}}]
  events: [{at: 5s, for: 5s, backend: shop, %s}]
  limits: [{minSuccess: 100%%}, {maxAmplification: "1.27"}]
`

// isAsked asks about the policies as a user would, before and after they are live.
func (r *rig) isAsked(t *testing.T) {
	scenario := filepath.Join(t.TempDir(), "scenario.yaml")
	play := func(code int, event string) string {
		t.Helper()
		if err := os.WriteFile(scenario, fmt.Appendf(nil, rigScenario, portNumber(r.front), event), 0o600); err != nil {
			t.Fatal(err)
		}
		return r.weir(t, code, "simulate", "-f", r.dir, "--scenario", scenario, "-q")
	}
	for _, c := range []struct {
		said  string
		wants []string
	}{
		{r.weir(t, 0, "lint", "-f", r.dir), []string{"0 errors, 0 warnings"}},
		{r.weir(t, 0, "budget", "-f", r.dir, "shop", "--rate", "300"), []string{"default/shop/all", "perTry", "policies.yaml:6:"}},
		{r.weir(t, 0, "get", "policies", "--effective", "--admin", r.admin), []string{"default/shop/all", "backend/default/shop", "trip"}},
		{play(0, `outage: true, hosts: "1"`), []string{"held      minSuccess", "held      maxAmplification"}},
		{play(1, "outage: true"), []string{"EXCEEDED  minSuccess"}},
	} {
		for _, want := range c.wants {
			if !strings.Contains(c.said, want) {
				t.Errorf("%q is missing in\n%s", want, c.said)
			}
		}
	}
}
