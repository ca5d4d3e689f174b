package lint

import (
	"math"
	"testing"
	"time"

	"weir.dev/weir/controlplane/explain"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/balance"
	"weir.dev/weir/traffic/breaker"
	"weir.dev/weir/traffic/health"
	"weir.dev/weir/traffic/retry"
)

// These tests have what rules warn of happen, with the code that the data plane runs, and not
// happen where the rule's good example is followed.

// outage plays a request through a chain of tiers, of which the last fails every time, and counts
// what arrives there.
func outage(tries ...int) (arrived int) {
	var call func(tier int)
	call = func(tier int) {
		if tier == len(tries) {
			arrived++
			return
		}
		for range tries[tier] {
			call(tier + 1)
		}
	}
	call(0)
	return arrived
}

// retry-amplification: three tiers with two retries each are 27 requests, and with a budget of
// 20 % in each 1.73.
func TestIncidentAmplification(t *testing.T) {
	names := []string{"a", "b", "c"}
	var s model.Snapshot
	table := &model.RouteTable{Name: "default/front/http"}
	for i, name := range names {
		c := &model.Cluster{Name: "backend/default/" + name}
		if i+1 < len(names) {
			c.Calls = []string{"backend/default/" + names[i+1]}
		}
		s.Clusters = append(s.Clusters, c)
		table.Entries = append(table.Entries, model.Entry{Route: &model.Route{
			Name: "default/" + name + "/0", Retry: &model.Retry{Attempts: 2, On: []model.RetryOn{}, Codes: []int{500}, Budget: &model.RetryBudget{Share: 0.2}},
			Split: model.Split{Arms: []model.Arm{{Weight: 1, Cluster: c.Name}}},
		}})
	}
	s.RouteTables = []*model.RouteTable{table}
	for name, c := range map[string]struct {
		factor explain.Factor
		want   float64
	}{
		"no budget": {func(r *model.Route, _ *model.Cluster) float64 { return float64(retry.Most(r.Retry)) }, float64(outage(3, 3, 3))},
		"budgets":   {func(r *model.Route, c *model.Cluster) float64 { return explain.EffectiveFactor(r, c, 0) }, 1.728},
	} {
		path := explain.NewGraph(&s, nil).Paths(c.factor).From("default/a/0")
		if len(path) != 3 || math.Abs(path[2].Total-c.want) > 1e-9 {
			t.Errorf("%s: %+v, want ×%v in the end", name, path, c.want)
		}
	}
}

// panic-after-ejection: with four of five hosts ejected, which the bad example allows, the ejected
// ones get requests again; with two they do not.
func TestIncidentPanic(t *testing.T) {
	for share, want := range map[float64]bool{0.8: true, 0.4: false} {
		out := health.Ceiling(&model.Outlier{MaxEjected: share}, 5)
		use := balance.Overflow([]balance.Level{{Weight: 5, Healthy: uint64(5 - out)}}, 0.5)
		if use[0].Panics != want {
			t.Errorf("maxEjected %v: %d of 5 out, panics %v, want %v", share, out, use[0].Panics, want)
		}
	}
}

// trip-by-one-request: one request that fails four times opens a breaker of 60 % of 5.
func TestIncidentTripByOneRequest(t *testing.T) {
	opened := func(spec model.Trip, tries int) bool {
		trip := breaker.New(func() uint64 { return 0 })
		trip.Configure(0, &spec)
		now := int64(0)
		for range spec.Of { // all is well
			pass, _, _ := trip.Admit(now)
			trip.Done(now, pass, false)
		}
		for range tries {
			now += int64(time.Millisecond)
			pass, _, ok := trip.Admit(now)
			if !ok {
				return true
			}
			trip.Done(now, pass, true)
		}
		_, _, ok := trip.Admit(now + 1)
		return !ok
	}
	bad := model.Trip{Failures: 0.6, Of: 5, OpenFor: 5 * time.Second, Probes: 3}
	if !opened(bad, 4) {
		t.Error("one request of four tries did not open the breaker of the bad example")
	}
	if opened(model.Trip{Failures: 0.5, Of: 20, OpenFor: 5 * time.Second, Probes: 3}, 4) {
		t.Error("one request opened the breaker of the good example")
	}
}

// idle-ejection: of so few hosts the worst is never ejected, however bad it is.
func TestIncidentTooFewHosts(t *testing.T) {
	samples := func(n int) []health.Sample {
		list := make([]health.Sample, n)
		for i := range list {
			list[i].Ended[health.Served] = 1000
		}
		list[0].Ended[health.Served], list[0].Ended[health.Faulty] = 0, 1000
		return list
	}
	rules := &model.Outlier{SuccessRateDeviation: 1.9, MinRequests: 50, MaxEjected: 0.5}
	for n, want := range map[int]int{2: 0, 3: 0, 4: 0, 5: 1, 10: 1} {
		if got := len(health.Judge(rules, samples(n))); got != want {
			t.Errorf("of %d hosts, one of which always fails, %d are found, want %d", n, got, want)
		}
		if says := rules.SuccessRateDeviation >= health.DeviationReach(n) || n < health.LeastCompared; says == (want > 0) {
			t.Errorf("of %d hosts the rule says that it never ejects: %v", n, says)
		}
	}
}
