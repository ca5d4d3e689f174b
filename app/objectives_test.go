package app

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/controlplane/rollout"
	"weir.dev/weir/controlplane/slo"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// answers stands in for the series: in every window as many good and bad requests.
type answers struct{ good, bad float64 }

func (a *answers) Query(_ context.Context, _ string, at time.Time) ([]model.Sample, error) {
	of := func(result string, v float64) model.Sample {
		return model.Sample{Labels: map[string]string{"slo": "shop/cart", "result": result}, Value: v, At: at}
	}
	return []model.Sample{of("good", a.good), of("bad", a.bad)}, nil
}

// TestGateOfAnObjective checks what each state is for a gate: one that is kept only so that it does not flap
// neither passes nor counts against the release.
func TestGateOfAnObjective(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	series := &answers{}
	tracker := slo.New(slo.Config{
		Queries: series, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
		Read: func(string, bool, time.Duration) (float64, float64) { return 0, 0 },
	})
	tracker.Plan([]translate.ObjectivePlan{{Name: "shop/cart", Routes: []string{"cart"}, Objective: 0.9, Window: 720 * time.Hour}}, nil)
	for _, c := range []struct {
		good, bad float64
		later     time.Duration
		want      rollout.Verdict
		message   string
	}{
		{0, 0, 0, rollout.Inconclusive, "NoData"},
		{1000, 0, time.Hour, rollout.Pass, "Healthy"},
		{1000, 500, time.Hour, rollout.Fail, "Exhausted"},
		{1000, 0, time.Hour, rollout.Inconclusive, "Exhausted: 100.0% of the budget is left again"},
		{1000, 0, time.Hour, rollout.Pass, "Healthy"},
	} {
		series.good, series.bad, now = c.good, c.bad, now.Add(c.later)
		tracker.Evaluate(t.Context())
		verdict, message := objectives{tracker}.Judge("shop/cart")
		if verdict != c.want || !strings.Contains(message, c.message) {
			t.Errorf("%v of %v bad: %s, %q; want %s, %q", c.bad, c.good, verdict, message, c.want, c.message)
		}
	}
	if verdict, _ := (objectives{tracker}).Judge("shop/none"); verdict != rollout.Error {
		t.Errorf("of none: %s", verdict)
	}
}
