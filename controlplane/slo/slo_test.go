package slo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// series stands in for the store: it keeps what the tracker has counted at each moment, and answers
// increase() exactly.
type series struct {
	t       *testing.T
	tracker *Tracker
	now     time.Time
	log     strings.Builder
	at      []time.Time
	counts  []map[string]events
	objects map[string]reading // what routes and clusters have counted
	err     error
	value   *float64 // instead of every value
	asked   int
}

func newSeries(t *testing.T) *series {
	s := &series{t: t, now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), objects: map[string]reading{}}
	s.tracker = New(Config{
		Queries: s, Log: slog.New(slog.NewTextHandler(&s.log, nil)), Now: func() time.Time { return s.now },
		Read: func(object string, cluster bool, _ time.Duration) (total, bad float64) {
			if cluster {
				object = "cluster " + object
			}
			return s.objects[object].total, s.objects[object].bad
		},
		Exact: func(d time.Duration) bool { return d != 7*time.Millisecond },
	})
	return s
}

// pass adds requests of an object, of which some are bad, over some time, with a sample every 5 s.
func (s *series) pass(object string, total, bad float64, d time.Duration) {
	steps := int(d / (5 * time.Second))
	for range steps {
		r := s.objects[object]
		s.objects[object] = reading{r.total + total/float64(steps), r.bad + bad/float64(steps)}
		s.now = s.now.Add(5 * time.Second)
		s.sample()
	}
}

func (s *series) sample() {
	counts := map[string]events{}
	for _, c := range s.tracker.Counts() {
		counts[c.Name] = events{c.Good, c.Bad}
	}
	s.at, s.counts = append(s.at, s.now), append(s.counts, counts)
}

func (s *series) Query(_ context.Context, query string, at time.Time) ([]model.Sample, error) {
	s.asked++
	if s.err != nil {
		return nil, s.err
	}
	var window time.Duration
	if _, text, ok := strings.Cut(query, "["); ok {
		text, _, _ = strings.Cut(text, "]")
		days := 0
		if head, rest, ok := strings.Cut(text, "d"); ok {
			fmt.Sscan(head, &days)
			text = rest
		}
		if text != "" {
			var err error
			if window, err = time.ParseDuration(text); err != nil {
				s.t.Fatal(query, err)
			}
		}
		window += time.Duration(days) * 24 * time.Hour
	}
	var list []model.Sample
	if len(s.counts) == 0 {
		return nil, nil
	}
	last := s.counts[len(s.counts)-1]
	first := map[string]events{}
	if window > 0 {
		for i := range s.at {
			if s.at[i].After(at.Add(-window)) {
				break
			}
			first = s.counts[i]
		}
	}
	for name, e := range last {
		for result, v := range map[string]float64{"good": e.good - first[name].good, "bad": e.bad - first[name].bad} {
			if s.value != nil {
				v = *s.value
			}
			list = append(list, model.Sample{Labels: map[string]string{"slo": name, "result": result}, Value: v, At: at})
		}
	}
	return list, nil
}

func (s *series) status(name string) Status {
	s.t.Helper()
	s.tracker.Evaluate(s.t.Context())
	st, ok := s.tracker.Status(name)
	if !ok {
		s.t.Fatalf("no objective %s", name)
	}
	return st
}

func availability(freeze bool) translate.ObjectivePlan {
	return translate.ObjectivePlan{Name: "shop/cart", Routes: []string{"cart"}, Objective: 0.999, Window: 30 * 24 * time.Hour, FreezeRollouts: freeze}
}

// TestBurning plays an outage: healthy, burning while it lasts and soon after no more, with a part of
// the budget gone for a month.
func TestBurning(t *testing.T) {
	s := newSeries(t)
	s.tracker.Plan([]translate.ObjectivePlan{availability(true)}, []translate.RolloutPlan{
		{Name: "shop/r", Routes: []string{"cart", "x"}}, {Name: "shop/other", Routes: []string{"x"}},
	})
	if st := s.status("shop/cart"); st.State != NoData || st.Frozen || st.Budget != nil || st.Ratio != nil {
		t.Errorf("at first: %+v, want NoData", st)
	}
	s.pass("cart", 1_000_000, 0, 6*time.Hour)
	if st := s.status("shop/cart"); st.State != Healthy || st.Frozen || math.Abs(st.Budget.Remaining-1) > 1e-9 {
		t.Errorf("in peace: %+v, want Healthy", st)
	}
	// Two per cent of requests fail for ten minutes: 20 times too fast over five minutes, and not
	// over an hour.
	s.pass("cart", 30_000, 600, 10*time.Minute)
	st := s.status("shop/cart")
	if st.State != Healthy || *st.Burns[0].ShortBurn < 14.4 || *st.Burns[0].LongBurn > 14.4 || st.Burns[0].Burning {
		t.Errorf("after ten minutes: %+v", st)
	}
	s.pass("cart", 140_000, 2_800, 50*time.Minute)
	st = s.status("shop/cart")
	if st.State != Exhausted && (st.State != Burning || st.Severity != Page) || !st.Frozen {
		t.Errorf("after an hour: %+v, want a page", st)
	}
	owner, reason, frozen := s.tracker.Frozen("shop/r")
	if owner != "shop/cart" || !frozen || !strings.Contains(reason, "1h") && st.State == Burning {
		t.Errorf("frozen: %q %q %v", owner, reason, frozen)
	}
	if _, _, frozen := s.tracker.Frozen("shop/other"); frozen {
		t.Error("a Rollout of other routes is frozen")
	}
	if !strings.Contains(s.log.String(), "an objective's state changed") {
		t.Error("nothing is logged")
	}
}

// TestExhausted checks the arithmetic of the budget by hand: of 100,000 requests 100 may be bad.
func TestExhausted(t *testing.T) {
	s := newSeries(t)
	s.tracker.Plan([]translate.ObjectivePlan{availability(false)}, nil)
	s.pass("cart", 99_960, 50, time.Hour)
	s.pass("cart", 40, 40, 7*24*time.Hour)
	st := s.status("shop/cart")
	if st.State != Burning || math.Abs(st.Budget.Allowed-100) > 0.01 || math.Abs(st.Budget.Spent-0.9) > 1e-3 || math.Abs(st.Budget.Remaining-0.1) > 1e-3 {
		t.Errorf("%+v %+v; want 0.9 of 100 spent", st, st.Budget)
	}
	s.pass("cart", 20, 20, time.Minute)
	if st := s.status("shop/cart"); st.State != Exhausted || st.Frozen || st.Budget.Remaining > 0 || !strings.Contains(st.Reason, "110 of 100020") {
		t.Errorf("%+v, want Exhausted, and nothing frozen that does not freeze", st)
	}
	s.now = s.now.Add(31 * 24 * time.Hour) // what nobody asks for any more is no burden for ever
	s.sample()
	if st := s.status("shop/cart"); st.State != NoData {
		t.Errorf("a month without requests: %+v, want NoData", st)
	}
}

// TestNotANumber checks that nothing that is no number makes an objective healthy.
func TestNotANumber(t *testing.T) {
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, -1} {
		s := newSeries(t)
		s.tracker.Plan([]translate.ObjectivePlan{availability(true)}, nil)
		s.sample()
		s.value = &v
		if st := s.status("shop/cart"); st.State != NoData || st.Budget != nil || st.Ratio != nil {
			t.Errorf("%v: %+v, want NoData", v, st)
		}
	}
}

// TestBrokenStore checks that what was known holds for a while, and nothing for ever; and that before
// anything was known Rollouts wait.
func TestBrokenStore(t *testing.T) {
	s := newSeries(t)
	s.err = errors.New("disk on fire")
	s.tracker.Plan([]translate.ObjectivePlan{availability(true)}, []translate.RolloutPlan{{Name: "shop/r", Routes: []string{"cart"}}})
	st := s.status("shop/cart")
	if _, reason, frozen := s.tracker.Frozen("shop/r"); !frozen || !strings.Contains(reason, "disk on fire") || !st.Frozen || st.State != NoData {
		t.Errorf("before the first answer: %q %v %+v; want it frozen", reason, frozen, st)
	}
	s.err = nil
	s.pass("cart", 1000, 900, time.Minute)
	if st := s.status("shop/cart"); st.State != Exhausted {
		t.Errorf("%+v, want Exhausted", st)
	}
	s.err = errors.New("disk on fire")
	s.now = s.now.Add(time.Minute)
	if st := s.status("shop/cart"); st.State != Exhausted || !st.Frozen || st.Problem != "the time series cannot be read: disk on fire" {
		t.Errorf("a minute later: %+v, want what was known", st)
	}
	s.now = s.now.Add(20 * time.Minute)
	if st := s.status("shop/cart"); st.State != NoData || !strings.Contains(st.Reason, "disk on fire") {
		t.Errorf("much later: %+v, want NoData", st)
	}
	if _, reason, frozen := s.tracker.Frozen("shop/r"); !frozen || !strings.Contains(reason, "disk on fire") {
		t.Errorf("much later: %q %v; want that it waits still", reason, frozen)
	}
	longer := availability(true)
	longer.Window *= 2
	s.tracker.Plan([]translate.ObjectivePlan{longer}, []translate.RolloutPlan{{Name: "shop/r", Routes: []string{"cart"}}})
	if _, _, frozen := s.tracker.Frozen("shop/r"); !frozen {
		t.Error("another window, of which nothing is known yet: not frozen")
	}
	s.err = nil
	s.pass("cart", 1e9, 0, time.Minute)
	if st := s.status("shop/cart"); st.State != Healthy || st.Frozen || st.Problem != "" {
		t.Errorf("in the end: %+v, want Healthy", st)
	}
}

// TestShortMemory checks that a window which nobody remembers is said to be one.
func TestShortMemory(t *testing.T) {
	s := newSeries(t)
	s.tracker.cfg.Kept = time.Hour
	short := availability(false)
	short.Name, short.Window = "shop/short", time.Hour
	s.tracker.Plan([]translate.ObjectivePlan{availability(false), short}, nil)
	s.pass("cart", 1000, 0, time.Minute)
	if st := s.status("shop/cart"); !strings.Contains(st.Problem, "kept for 1h") {
		t.Errorf("problem %q, want that no more than an hour is known", st.Problem)
	}
	if st := s.status("shop/short"); st.Problem != "" {
		t.Errorf("problem %q, want none", st.Problem)
	}
}

// TestEdits checks what an objective goes on to count when routes come and go, begin anew, and what it
// does not when it means something else.
func TestEdits(t *testing.T) {
	s := newSeries(t)
	plan := availability(false)
	s.objects["cart"] = reading{500, 5} // before the objective
	s.tracker.Plan([]translate.ObjectivePlan{plan}, nil)
	check := func(what string, good, bad float64) {
		t.Helper()
		if c := s.tracker.Counts()[0]; c.Good != good || c.Bad != bad {
			t.Errorf("%s: %v good, %v bad; want %v and %v", what, c.Good, c.Bad, good, bad)
		}
	}
	check("at first", 0, 0)
	s.objects["cart"] = reading{510, 6}
	check("some", 9, 1)
	s.objects["cart"] = reading{4, 1}
	check("begun anew", 12, 2)
	plan.Routes = []string{"cart", "basket"}
	s.objects["basket"] = reading{1000, 1000}
	s.tracker.Plan([]translate.ObjectivePlan{plan}, nil)
	s.objects["basket"] = reading{1001, 1000}
	check("another route", 13, 2)
	plan.Routes = []string{"basket"}
	s.tracker.Plan([]translate.ObjectivePlan{plan}, nil)
	s.objects["cart"] = reading{100, 100}
	check("without the first", 13, 2)
	plan.Latency = time.Second
	s.tracker.Plan([]translate.ObjectivePlan{plan}, nil)
	check("of latency", 0, 0)
	plan.Latency, plan.Routes, plan.Clusters = 7*time.Millisecond, nil, []string{"c"}
	s.tracker.Plan([]translate.ObjectivePlan{plan}, nil)
	s.objects["cluster c"] = reading{3, 1}
	check("of a cluster", 2, 1)
	if st := s.status("shop/cart"); !st.Estimated || st.Below != "7ms" || st.Indicator != "latency" {
		t.Errorf("%+v, want an estimate of latency", st)
	}
}

// TestCheapQueries checks that long windows are not asked for at every evaluation.
func TestCheapQueries(t *testing.T) {
	s := newSeries(t)
	s.tracker.Plan([]translate.ObjectivePlan{availability(false)}, nil)
	s.tracker.Evaluate(t.Context())
	s.asked = 0
	for range 4 * 60 { // an hour
		s.now = s.now.Add(Every)
		s.tracker.Evaluate(t.Context())
	}
	// 5m and 30m every time, 1h every 30 s, 2h every minute, 6h every 3, 1d, 3d and 30d every 10, and
	// the newest samples every time.
	if most := 240*3 + 120 + 60 + 20 + 18 + 3; s.asked > most {
		t.Errorf("%d queries in an hour, want %d at most", s.asked, most)
	}
}

// TestBudgetArithmetic checks what holds of any numbers of requests.
func TestBudgetArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		good := float64(rapid.IntRange(0, 1_000_000).Draw(t, "good"))
		bad := float64(rapid.IntRange(0, 1_000_000).Draw(t, "bad"))
		objective := float64(rapid.IntRange(1, 99_999).Draw(t, "objective")) / 100_000
		plan := translate.ObjectivePlan{Objective: objective, Window: 30 * 24 * time.Hour}
		e := events{good, bad}
		whole := Status{Window: "30d"}
		whole.judge(BurnWindows(plan.Window), &alerts{}, func(time.Duration) (events, bool) { return e, true }, e, true, allowed(&plan), time.Time{})
		if good+bad == 0 {
			if whole.State != NoData || whole.Budget != nil {
				t.Fatalf("%+v", whole)
			}
			return
		}
		kept := good/(good+bad) >= objective
		if margin := math.Abs(good/(good+bad) - objective); margin < 1e-9 {
			return // either is right
		}
		if exhausted := whole.State == Exhausted; exhausted == kept {
			t.Fatalf("%v good, %v bad, objective %v: %+v", good, bad, objective, whole)
		}
		if math.Abs(whole.Budget.Spent+whole.Budget.Remaining-1) > 1e-9 {
			t.Fatalf("%+v", whole.Budget)
		}
		// Over the whole window, to burn as fast as allowed is to spend the budget.
		if burn := e.burn(allowed(&plan)); math.Abs(*burn-whole.Budget.Spent) > 1e-9*(1+*burn) {
			t.Fatalf("burn %v, spent %v", *burn, whole.Budget.Spent)
		}
	})
}

// TestCounterGrows checks that sums only grow, and that no request is counted twice.
func TestCounterGrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c counter
		now := map[string]reading{}
		var total, bad float64
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			object := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "object")
			r, known := now[object]
			if !known {
				c.begin(object, r)
			}
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				r = reading{}
				c.add(object, r) // that it began anew is seen, if not at once
			}
			n := float64(rapid.IntRange(0, 100).Draw(t, "requests"))
			b := float64(rapid.IntRange(0, int(n)).Draw(t, "bad"))
			r = reading{r.total + n, r.bad + b}
			now[object] = r
			c.add(object, r)
			total, bad = total+n, bad+b
			if c.good+c.bad != total || c.bad != bad {
				t.Fatalf("%v good, %v bad; want %v of %v bad", c.good, c.bad, bad, total)
			}
		}
	})
}

// TestRules checks what the alerts say.
func TestRules(t *testing.T) {
	if got := Rules(nil); got != nil {
		t.Errorf("of nothing: %v", got)
	}
	groups := Rules([]translate.ObjectivePlan{availability(false)})
	if len(groups) != 2 || len(groups[0].Rules) != 2 || len(groups[1].Rules) != 2 {
		t.Fatalf("%+v, want two groups of two", groups)
	}
	r := groups[0].Rules[0]
	want := `(sum by (slo) (rate(weir_slo_events_total{slo="shop/cart", result="bad"}[1h])) / sum by (slo) (rate(weir_slo_events_total{slo="shop/cart"}[1h])) > 0.0144)` +
		` and (sum by (slo) (rate(weir_slo_events_total{slo="shop/cart", result="bad"}[5m])) / sum by (slo) (rate(weir_slo_events_total{slo="shop/cart"}[5m])) > 0.0144)`
	if r.Expr != want || r.Keep != 5*time.Minute || r.Labels["severity"] != "page" || r.Labels["slo"] != "shop/cart" {
		t.Errorf("%s\nwant\n%s", r.Expr, want)
	}
}
