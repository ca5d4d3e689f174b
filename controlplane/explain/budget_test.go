package explain

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/model"
)

// bounded is a town with times and a queue in front of shop.
func bounded() *model.Snapshot {
	s := town(map[string]int{"shop": 2, "pay": 2}, map[string][]string{"shop": {"pay"}})
	for _, e := range s.RouteTables[0].Entries {
		r := e.Route
		r.Retry.BackoffBase, r.Retry.BackoffMax = 25*time.Millisecond, 250*time.Millisecond
		r.Retry.Budget = &model.RetryBudget{Share: 0.2, MinPerSecond: 3}
		r.Timeouts = model.Timeouts{Request: time.Second, PerTry: 300 * time.Millisecond}
		if r.Name == "default/shop/0" {
			r.Timeouts = model.Timeouts{Request: 2 * time.Second, PerTry: 700 * time.Millisecond}
			r.Overload = &model.Overload{Scope: "HTTPRoute/default/shop", Limit: 10, Queue: &model.Queue{Size: 5, Timeout: 50 * time.Millisecond}, Mode: model.ModeEnforce}
		}
	}
	for _, c := range s.Clusters {
		c.ConnectTimeout = 250 * time.Millisecond
	}
	return s
}

// change gives a town's route another policy.
func change(s *model.Snapshot, name string, with func(*model.Route)) *model.Snapshot {
	for _, e := range s.RouteTables[0].Entries {
		if e.Route.Name == "default/"+name+"/0" {
			with(e.Route)
		}
	}
	return s
}

func budgetOfTown(t *testing.T, s *model.Snapshot, q BudgetQuestion) Budget {
	t.Helper()
	list, err := New(s).Budgets(q)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d budgets, %v", len(list), err)
	}
	return list[0]
}

// TestBudgetOfNoTraffic: at next to no requests a second a floor is any number of retries for each,
// which JSON has to bear.
func TestBudgetOfNoTraffic(t *testing.T) {
	b := budgetOfTown(t, bounded(), BudgetQuestion{Route: "shop", Rate: math.SmallestNonzeroFloat64, Failing: 1})
	if _, err := json.Marshal(b); err != nil || b.Amplification.Path[0].Ceiling != maxFactor {
		t.Errorf("%v: %+v", err, b.Amplification.Path[0])
	}
}

// TestNothingWaitsAfterTheEnd: tries that never start are told, but not pauses that nobody makes.
func TestNothingWaitsAfterTheEnd(t *testing.T) {
	b := budgetOfTown(t, change(bounded(), "shop", func(r *model.Route) { r.Timeouts.PerTry = 3 * time.Second }), BudgetQuestion{Route: "shop"})
	var kinds []StepKind
	for _, s := range b.Latency.Steps {
		kinds = append(kinds, s.Kind)
	}
	if want := []StepKind{StepQueue, StepTry, StepTry, StepTry}; !slices.Equal(kinds, want) || !b.Latency.Steps[3].Never {
		t.Errorf("%+v, want %v", b.Latency.Steps, want)
	}
}

func TestLatencyBudget(t *testing.T) {
	b := budgetOfTown(t, bounded(), BudgetQuestion{Route: "shop"})
	ms := func(f float64) *float64 { return &f }
	want := LatencyBudget{
		WorstMs: ms(2000), RequestMs: ms(2000),
		Steps: []BudgetStep{
			{Kind: StepQueue, ToMs: ms(50)},
			{Kind: StepTry, Try: 1, FromMs: 50, ToMs: ms(750), ConnectMs: 250},
			{Kind: StepBackoff, Try: 2, FromMs: 750, ToMs: ms(775)},
			{Kind: StepTry, Try: 2, FromMs: 775, ToMs: ms(1475), ConnectMs: 250},
			{Kind: StepBackoff, Try: 3, FromMs: 1475, ToMs: ms(1525)},
			{Kind: StepTry, Try: 3, FromMs: 1525, ToMs: ms(2000), ConnectMs: 250, Cut: true},
		},
		Downstream: []DownstreamTime{{Service: "backend/default/pay", Rule: "default/pay/0", WorstMs: ms(975), Outlives: true}},
	}
	if diff := cmp.Diff(want, b.Latency); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// A queue that is only watched holds nobody, and without a time for one try the first takes all.
	b = budgetOfTown(t, change(bounded(), "shop", func(r *model.Route) { r.Overload.Mode, r.Timeouts.PerTry = model.ModeObserve, 0 }), BudgetQuestion{Route: "shop"})
	if len(b.Latency.Steps) != 3 || *b.Latency.Steps[0].ToMs != 2000 || b.Latency.Steps[2].FromMs != 0 {
		t.Errorf("without perTry: %+v", b.Latency.Steps)
	}
	if !slices.ContainsFunc(b.Notes, func(n string) bool { return strings.Contains(n, "without timeouts.perTry there is no second") }) {
		t.Errorf("notes %q", b.Notes)
	}
	// Nothing ends it.
	b = budgetOfTown(t, change(bounded(), "shop", func(r *model.Route) { r.Timeouts = model.Timeouts{} }), BudgetQuestion{Route: "shop"})
	if b.Latency.WorstMs != nil || b.Latency.Steps[1].ToMs != nil || b.Latency.Downstream[0].Outlives {
		t.Errorf("without times: %+v", b.Latency)
	}
	// Five retries never start; the third and all after are said so.
	b = budgetOfTown(t, change(bounded(), "shop", func(r *model.Route) { r.Retry.Attempts, r.Overload = 5, nil }), BudgetQuestion{Route: "shop"})
	never := 0
	for _, s := range b.Latency.Steps {
		if s.Never {
			never++
		}
	}
	if want := "5 tries × 700ms + backoff = 3.5s or more before the 6th, request is 2s"; never != 3 || b.Notes[0] != want {
		t.Errorf("%d never start, notes %q", never, b.Notes)
	}
}

func TestAmplificationBudget(t *testing.T) {
	for name, c := range map[string]struct {
		q                                  BudgetQuestion
		change                             func(*model.Route)
		expected, worst, unbounded, marked float64
	}{
		"at a high rate":        {BudgetQuestion{Route: "shop"}, nil, 1, 1.44, 9, 1.2},
		"some fail":             {BudgetQuestion{Route: "shop", Failing: 0.1}, nil, 1.11 * 1.11, 1.44, 9, 1.2},
		"the floor counts":      {BudgetQuestion{Route: "shop", Rate: 10}, nil, 1, 2.25, 9, 1.5},
		"fewer tries than that": {BudgetQuestion{Route: "shop", Rate: 1}, nil, 1, 9, 9, 3},
		"expected is bounded":   {BudgetQuestion{Route: "shop", Failing: 1}, nil, 1.44, 1.44, 9, 1.2},
		"no retries in front":   {BudgetQuestion{Route: "shop"}, func(r *model.Route) { r.Retry = nil }, 1, 1.2, 3, 1.2},
		"no budget in front":    {BudgetQuestion{Route: "shop"}, func(r *model.Route) { r.Retry.Budget = nil }, 1, 3.6, 9, 3},
		"a hedge is a try, too": {BudgetQuestion{Route: "shop"}, func(r *model.Route) { r.Retry.Budget, r.Retry.Hedge = nil, &model.Hedge{Max: 1} }, 1, 4.8, 12, 4},
		"only the one in front": {BudgetQuestion{Route: "default/pay/0"}, nil, 1, 1.2, 3, 1.2},
	} {
		s := bounded()
		if c.change != nil {
			change(s, "shop", c.change)
		}
		a := budgetOfTown(t, s, c.q).Amplification
		for what, pair := range map[string][2]float64{
			"expected": {a.Expected, c.expected}, "worst": {a.Worst, c.worst}, "unbounded": {a.Unbounded, c.unbounded}, "marked": {a.Marked, c.marked},
		} {
			if math.Abs(pair[0]-pair[1]) > 1e-9 {
				t.Errorf("%s: %s ×%v, want ×%v", name, what, pair[0], pair[1])
			}
		}
	}
	// A tier that retries what its caller will multiplies however attempts are marked.
	s := change(bounded(), "pay", func(r *model.Route) { r.Retry.Nested = true })
	if a := budgetOfTown(t, s, BudgetQuestion{Route: "shop"}).Amplification; math.Abs(a.Marked-1.44) > 1e-9 {
		t.Errorf("nested: marked ×%v, want ×1.44", a.Marked)
	}
	// A call that telemetry has seen is a step as any other.
	seen := []Call{{From: Node{NodeService, "backend/default/pay"}, To: Node{NodeService, "backend/default/shop"}}}
	if a := budgetOfTown(t, town(map[string]int{"shop": 1, "pay": 1}, nil), BudgetQuestion{Route: "pay", Observed: seen}).Amplification; a.Worst != 4 || len(a.Path) != 2 || a.Path[1].Reason != CallObserved {
		t.Errorf("with what was seen: %+v", a)
	}
	// The backend's own budget is the stricter one.
	s = bounded()
	for _, c := range s.Clusters {
		c.RetryBudget = &model.RetryBudget{Share: 0.1}
	}
	if a := budgetOfTown(t, s, BudgetQuestion{Route: "pay"}).Amplification; math.Abs(a.Worst-1.1) > 1e-9 {
		t.Errorf("with the backend's budget ×%v, want ×1.1", a.Worst)
	}
}

func TestUnknownRoute(t *testing.T) {
	e := New(bounded())
	for name, want := range map[string]string{
		"shp":           "did you mean default/shop?",
		"default/shp/0": "did you mean default/shop/0?",
		"shop/0":        "did you mean default/shop/0?",
		"unlike":        "but default/pay, default/shop",
	} {
		if _, err := e.Budgets(BudgetQuestion{Route: name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if _, err := New(&model.Snapshot{}).Budgets(BudgetQuestion{Route: "shop"}); err == nil || !strings.Contains(err.Error(), "there is none at all") {
		t.Errorf("of nothing: %v", err)
	}
}

// What the API sends is what it was: the console and `weir budget` draw it.
func TestBudgetAsJSON(t *testing.T) {
	b := budgetOfTown(t, bounded(), BudgetQuestion{Route: "shop", Rate: 10, Failing: 0.1})
	data, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var back Budget
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != string(data) {
		t.Errorf("%v\n%s\n%s", err, data, again)
	}
}
