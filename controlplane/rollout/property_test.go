package rollout

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// history is a Rollout to which anything happens, in any order.
type history struct {
	r     *Rollout
	plan  *translate.RolloutPlan
	now   time.Time
	saved State
	since time.Time
	count uint64
	round *Round
}

var shares = []int{0, 1, 100, 500, 1000, 2500, 5000, 9999}

func drawPlan(t *rapid.T) *translate.RolloutPlan {
	p := defaultPlan()
	p.Release.Subject = model.Hash(rapid.SampledFrom([]string{"v1", "v1", "v1", "v2"}).Draw(t, "subject"))
	p.Policy = model.Hash(rapid.SampledFrom([]string{"p1", "p1", "p2"}).Draw(t, "policy"))
	p.MinimumRequests = rapid.IntRange(1, 50).Draw(t, "minimum")
	p.Weights[0].Weight = rapid.Uint32Range(0, 3).Draw(t, "stable weight")
	p.Weights[1].Weight = rapid.Uint32Range(0, 3).Draw(t, "canary weight")
	p.Stages = nil
	for _, share := range shares[1:] {
		if rapid.Bool().Draw(t, "has stage") {
			p.Stages = append(p.Stages, translate.PlannedStage{Share: share, For: time.Duration(rapid.IntRange(0, 20).Draw(t, "for")) * time.Second})
		}
	}
	p.Stages = append(p.Stages, translate.PlannedStage{Share: model.Buckets, For: time.Duration(rapid.IntRange(0, 1).Draw(t, "last")) * 5 * time.Second})
	if rapid.IntRange(0, 4).Draw(t, "strategy") == 0 {
		p.Strategy, p.Stages = translate.StrategyBlueGreen, []translate.PlannedStage{{Share: model.Buckets}}
	}
	if rapid.Bool().Draw(t, "gate") {
		p.Gates = []translate.PlannedGate{{Name: "slo", SLO: "slo"}}
	}
	if rapid.IntRange(0, 9).Draw(t, "problem") == 0 {
		p.Problem = "the canary is not there"
	}
	return p
}

func (h *history) event(t *rapid.T) Event {
	switch rapid.IntRange(0, 20).Draw(t, "event") {
	case 0, 1:
		h.plan = drawPlan(t)
		return Event{Plan: h.plan}
	case 2:
		return Event{Gone: true}
	case 3, 4:
		c := &Command{Do: rapid.SampledFrom(Verbs).Draw(t, "verb"), By: "ann"}
		if rapid.Bool().Draw(t, "override") {
			c.OverrideFreeze = "a reason"
		}
		return Event{Command: c}
	case 5:
		f := &Freeze{}
		if rapid.Bool().Draw(t, "frozen") {
			f = &Freeze{"shop/slo", "it burns"}
		}
		return Event{Freeze: f}
	case 6, 7, 8:
		if h.round != nil {
			result := &RoundResult{Run: h.round.Run, Generation: h.round.Generation, Number: h.round.Number}
			result.Results = []GateResult{{Gate: "slo", Verdict: rapid.SampledFrom([]Verdict{Pass, Pass, Fail, Inconclusive, Error}).Draw(t, "verdict")}}
			return Event{Round: result}
		}
	case 9:
		h.r = Restore(h.saved)
		h.since, h.count = h.now, 0
		if h.plan != nil {
			return Event{Plan: h.plan}
		}
	case 10, 11, 12, 13, 14, 15, 16:
		return h.observation(t)
	}
	return Event{}
}

func (h *history) observation(t *rapid.T) Event {
	h.count += rapid.Uint64Range(0, 40).Draw(t, "requests")
	o := &model.ReleaseObservation{
		Release: h.r.Name, Subject: h.r.Subject, Run: h.r.Run, Generation: h.r.Generation, Since: h.since,
		StableUnhealthy: rapid.IntRange(0, 9).Draw(t, "unhealthy") == 0,
	}
	o.Stable.Requests, o.Canary.Requests = h.count, h.count
	if h.r.Share == 0 { // cohorts alone
		o.Canary.Requests, o.Cohorts = 0, []model.CohortObservation{{Name: "preview", Requests: h.count}}
	}
	switch rapid.IntRange(0, 19).Draw(t, "kind") {
	case 0:
		o.Generation -= min(o.Generation, 1)
	case 1:
		o.Run -= min(o.Run, 1)
	case 2:
		o.Trip = &model.ReleaseTrip{At: h.now, Reason: "bad"}
		o.Generation -= min(o.Generation, uint64(rapid.IntRange(0, 1).Draw(t, "older")))
	}
	return Event{Observation: o}
}

// TestAnyHistory: whatever happens in whatever order, no edit and no restart gives the canary more, what
// is not saved is told to nobody, numbers only grow, all buckets belong to somebody, and the canary gets
// more only by what the plan wants or somebody's promotion.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{r: New("shop/checkout", ""), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		h.saved = h.r.State
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			h.now = h.now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 1, 1, 1, 2, 3600, -3600}).Draw(t, "seconds")) * time.Second)
			e := h.event(t)
			was, knob, elapsed, lasted := h.r.State, h.r.Knob(), h.r.Elapsed, h.r.lasts()
			counts := h.r.counts()
			heard := counts.Canary.said() + h.count
			for _, c := range counts.Cohorts {
				heard += c.Requests
			}
			frozen := h.r.freeze != nil
			actions := h.r.Step(h.now, e)
			h.check(t, e, &was, knob, actions)
			raised := h.r.Run == was.Run && h.r.Share > was.Share
			if raised && (e.Command == nil || e.Command.Do != Promote) {
				if elapsed+maxStep < lasted {
					t.Fatalf("more after %v of %v", elapsed, lasted)
				}
				if c := h.r.plan.MinimumRequests; (was.Share > 0 || h.r.plan.Strategy == translate.StrategyBlueGreen) && int(heard) < c {
					t.Fatalf("more after %d requests at most of %d", heard, c)
				}
				if frozen && e.Freeze == nil {
					t.Fatal("more in spite of a freeze")
				}
				if len(h.r.plan.Gates) > 0 && (e.Round == nil || e.Round.Results[0].Verdict != Pass) {
					t.Fatal("more without the gate")
				}
			}
		}
	})
}

func (h *history) check(t *rapid.T, e Event, was *State, knob *model.ReleaseKnob, actions []Action) {
	r, next := h.r, h.r.Knob()
	saved := slices.IndexFunc(actions, func(a Action) bool { return a.Do == Save })
	tuned := slices.IndexFunc(actions, func(a Action) bool { return a.Do == Tune })
	if tuned >= 0 && saved != 0 || len(actions) > 0 && saved > 0 {
		t.Fatalf("not saved first: %+v", actions)
	}
	if saved >= 0 {
		h.saved = copyOf(t, r.State)
	}
	if (knobText(knob) != knobText(next)) != (tuned >= 0) && tuned < 0 {
		t.Fatalf("nobody is told that %s is %s", knobText(knob), knobText(next))
	}
	if tuned >= 0 {
		h.since, h.count = h.now, 0
	}
	if i := slices.IndexFunc(actions, func(a Action) bool { return a.Do == Ask }); i >= 0 {
		h.round = actions[i].Round
	}
	same := r.Run == was.Run
	switch {
	case r.Run < was.Run || same && r.Generation < was.Generation && r.Phase != Waiting && r.Phase != Gone:
		t.Fatalf("run %d generation %d after %d and %d", r.Run, r.Generation, was.Run, was.Generation)
	case same && e.Plan != nil && r.Share > was.Share:
		t.Fatalf("an edit raised %d to %d", was.Share, r.Share)
	case saved >= 0 && actions[saved].Retreat && r.Share > was.Share:
		t.Fatal("more for the canary does not wait for the disk")
	case e.Observation != nil && e.Observation.Trip != nil && e.Observation.Run == was.Run && was.Phase.running() && (r.Phase != Aborted || r.Share != 0):
		t.Fatalf("after a trip it is %s with %d", r.Phase, r.Share)
	case (r.Phase == Aborted || r.Phase == Waiting || r.Phase == Gone) && r.Share != 0:
		t.Fatalf("%s with %d", r.Phase, r.Share)
	case (r.Phase == Succeeded || r.Phase == Finished) && r.Share != model.Buckets:
		t.Fatalf("%s with %d", r.Phase, r.Share)
	}
	if next != nil {
		at := uint16(0)
		for _, b := range next.Ranges {
			if b.From != at || b.To <= b.From {
				t.Fatalf("buckets %v", next.Ranges)
			}
			at = b.To
		}
		if at != model.Buckets || next.Running != r.Phase.running() {
			t.Fatalf("knob %+v of %s", next, r.Phase)
		}
	}
}

// copyOf is what comes back from the disk.
func copyOf(t *rapid.T, s State) State {
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var c State
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	if again, _ := json.Marshal(c); string(again) != string(text) {
		t.Fatal(fmt.Sprintf("%s comes back as %s", text, again))
	}
	return c
}
