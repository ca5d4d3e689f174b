package console

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/controlplane/rollout"
	"weir.dev/weir/controlplane/slo"
	"weir.dev/weir/model"
)

// Rollouts implements Releases for tests.
func (h *harness) Rollouts() []rollout.Status { return h.rollouts }

// RolloutHistory implements Releases for tests.
func (h *harness) RolloutHistory(name string) []rollout.Entry {
	return []rollout.Entry{{What: "began " + name, Who: "configuration"}}
}

// CommandRollout implements Releases for tests.
func (h *harness) CommandRollout(_ context.Context, _ string, c rollout.Command) error {
	h.commands = append(h.commands, c)
	if c.Do == rollout.Pause {
		return &rollout.Refusal{Why: "it is paused already"}
	}
	return nil
}

// RolloutPatch implements Releases for tests.
func (h *harness) RolloutPatch(string) string { return "weight: 100" }

// Observations implements Releases for tests.
func (h *harness) Observations() []model.ReleaseObservation { return h.observed }

func TestRollouts(t *testing.T) {
	h := newHarness(1)
	h.rollouts = []rollout.Status{{Name: "shop/a", Phase: rollout.Succeeded}, {Name: "shop/b", Phase: rollout.Holding}}
	list := h.do("GET", "/api/v1/rollouts", "").Body.String()
	if a, b := strings.Index(list, "shop/a"), strings.Index(list, "shop/b"); b < 0 || a < b {
		t.Errorf("what holds does not come first: %s", list)
	}
	for _, test := range []struct {
		method, path, body string
		status             int
		part               string
	}{
		{"GET", "/history?name=shop/a", "", 200, "began shop/a"},
		{"GET", "/history?name=shop/c", "", 404, "there are shop/a, shop/b"},
		{"GET", "/evidence?name=shop/c", "", 404, "no Rollout shop/c"},
		{"POST", "", `{"name":"shop/a","do":"promote","reason":"r"}`, 200, `"done":"promote"`},
		{"POST", "", `{"name":"shop/a","do":"finish"}`, 200, "weight: 100"},
		{"POST", "", `{"name":"shop/a","do":"pause"}`, 409, "paused already"},
		{"POST", "", `{"name":"shop/c","do":"pause"}`, 404, "no Rollout"},
		{"POST", "", `{"what":1}`, 400, "namespace/name"},
	} {
		w := h.do(test.method, "/api/v1/rollouts"+test.path, test.body, "Authorization", "Bearer "+testToken)
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.part) {
			t.Errorf("%s %s: %d %s, want %d with %s", test.path, test.body, w.Code, w.Body, test.status, test.part)
		}
	}
	if len(h.commands) != 3 || h.commands[0].By != Owner || h.commands[0].Reason != "r" {
		t.Errorf("commands %+v", h.commands)
	}
	if w := h.do("POST", "/api/v1/rollouts", `{"name":"shop/a","do":"promote"}`); w.Code != 401 {
		t.Errorf("without a token: %d", w.Code)
	}
}

// TestEvidence: samples are of what was counted since the last one, a new generation begins anew, and
// evidence is that of the test that is nearest.
func TestEvidence(t *testing.T) {
	h := newHarness(1)
	h.rollouts = []rollout.Status{{Name: "shop/a", Share: model.Buckets / 10}}
	observe := func(generation, stable, canary, failed uint64, at float64) {
		h.observed = []model.ReleaseObservation{{
			Release: "shop/a", Run: 1, Generation: generation,
			Stable: model.ArmObservation{Requests: stable}, Canary: model.ArmObservation{Requests: canary, Failed: failed},
			Tests: []model.TestObservation{{Evidence: 1, Boundary: 10}, {Evidence: at, Boundary: 4}},
		}}
		h.now = h.now.Add(sampleStep)
		h.console.evidence.step(h.console.cfg.Releases, h.now)
	}
	observe(1, 1000, 100, 0, 0)
	observe(1, 1200, 120, 5, 2)
	observe(2, 300, 40, 40, 4)
	tripped := h.now.Add(sampleStep / 2) // between two samples, and the next generation knows nothing of it
	h.rollouts[0].Trip = &model.ReleaseTrip{At: tripped, Test: model.TestObservation{Evidence: 6, Boundary: 4}}
	h.rollouts[0].Figures = &rollout.Figures{Canary: rollout.ArmFigures{Requests: 60, Failed: 50}, Stable: rollout.ArmFigures{Requests: 400}}
	observe(3, 0, 0, 0, 0)
	observe(3, 0, 0, 0, 0)
	got := h.do("GET", "/api/v1/rollouts/evidence?name=shop/a", "").Body.String()
	for _, want := range []string{
		`"share":[0.1,0.1,0.1,0.1]`, `"stablePerSecond":[100,150,0,0]`, `"canaryPerSecond":[10,20,0,0]`,
		`"canaryFailed":[0.25,1,0.5,0]`, `"evidence":[0.5,1,1.5,0.1]`, fmt.Sprintf(`"trip":%d`, tripped.UnixMilli()),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("evidence lacks %s: %s", want, got)
		}
	}
}

// TestReleaseCounts: what of releases, objectives and faults wants a look is in the status.
func TestReleaseCounts(t *testing.T) {
	h := newHarness(1)
	h.rollouts = []rollout.Status{
		{Name: "shop/a", Phase: rollout.Holding},
		{Name: "shop/b", Phase: rollout.Progressing},
		{Name: "shop/c", Phase: rollout.Aborted, Since: h.now.Add(-59 * time.Minute)},
		{Name: "shop/d", Phase: rollout.Aborted, Since: h.now.Add(-time.Hour)},
	}
	h.objectives = []slo.Status{
		{Name: "shop/a", State: slo.Healthy},
		{Name: "shop/b", State: slo.Burning, Severity: slo.Ticket},
		{Name: "shop/c", State: slo.Exhausted, Severity: slo.Page},
		{Name: "shop/d", State: slo.Exhausted},
		{Name: "shop/e", State: slo.NoData},
	}
	h.faults = []Fault{{Policy: "shop/f", State: FaultActive}, {Policy: "shop/g", State: FaultStopped}, {Policy: "shop/h", State: FaultExpired}}
	got := get[statusView](t, h, "/api/v1/status").Counts
	if want := (counts{Holding: 1, Aborted: 1, Burning: 2, Paging: 1, Exhausted: 2, Faults: 1}); got.Holding != want.Holding || got.Aborted != want.Aborted ||
		got.Burning != want.Burning || got.Paging != want.Paging || got.Exhausted != want.Exhausted || got.Faults != want.Faults {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestRateOfNewGeneration: when the share has just changed, what is counted is no older than the change.
func TestRateOfNewGeneration(t *testing.T) {
	e := &evidence{}
	seen := model.ReleaseObservation{Release: "shop/a", Run: 1, Generation: 1, Since: started}
	e.add([]model.ReleaseObservation{seen}, nil, started)
	seen.Generation, seen.Since = 2, started.Add(1500*time.Millisecond)
	seen.Stable.Requests = 50
	e.add([]model.ReleaseObservation{seen}, nil, started.Add(2*time.Second))
	samples := e.tracks["shop/a"].samples
	if got := samples[len(samples)-1].stable.rate; got != 100 {
		t.Errorf("50 requests in half a second are %v a second", got)
	}
}
