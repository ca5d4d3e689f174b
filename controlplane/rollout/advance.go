package rollout

import (
	"maps"
	"slices"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// advance decides what follows from what is known now.
func (r *Rollout) advance() {
	if r.plan == nil || r.halt() != "" {
		return
	}
	switch r.Phase {
	case Waiting:
		if r.freeze != nil {
			r.block(Waiting, r.freeze.signal())
			return
		}
		r.begin(byPlan, "")
	case Progressing, Holding:
		r.progress()
	}
}

// halt says why a plan is not to be acted on; empty: it is.
func (r *Rollout) halt() string {
	p := r.plan
	switch {
	case p.Problem != "":
		return p.Problem
	case p.Release == nil:
		return "there is nothing to act on"
	case len(p.Weights) < 2 || uint64(p.Weights[0].Weight)+uint64(p.Weights[1].Weight) == 0:
		return "the rule gives neither stable nor canary any weight"
	case len(p.Stages) == 0:
		return "there is no stage"
	}
	return ""
}

// progress looks whether the stage is over.
func (r *Rollout) progress() {
	next := r.next()
	if s := r.unsound(); s != nil {
		if s.Name != "telemetry" || r.clock-r.seenAt >= staleAfter {
			r.block(Holding, s)
		}
		return
	}
	if r.Elapsed < r.lasts() {
		r.block(Progressing, nil)
		return
	}
	if next < 0 {
		r.succeed("the last stage is over")
		return
	}
	if s := r.blocked(); s != nil {
		r.block(Holding, s)
		return
	}
	r.consult(next)
}

// blocked says what keeps the next stage from beginning, gates apart.
func (r *Rollout) blocked() *Signal {
	if r.freeze != nil {
		return r.freeze.signal()
	}
	return r.thin()
}

// block makes a signal the one that blocks; nil: none does. The history hears of it when another one
// blocks, not when its numbers change.
func (r *Rollout) block(p Phase, s *Signal) {
	was := r.Signal
	same := r.Phase == p && (was == nil) == (s == nil) && (s == nil || was.Name == s.Name)
	if same {
		r.Signal = s
		return
	}
	r.enter(p, s)
	if s == nil {
		r.note("goes on", byRollout, "")
	} else {
		r.note("held by "+s.Name, byRollout, s.Message)
	}
}

func (f *Freeze) signal() *Signal {
	return &Signal{"freeze", sentence("%s freezes it: %s", f.Owner, f.Reason)}
}

// frozen takes note of a freeze, or of its end.
func (r *Rollout) frozen(f *Freeze) {
	if *f == (Freeze{}) {
		r.freeze = nil
		return
	}
	freeze := *f
	r.freeze = &freeze
}

// planned takes note of what is written now.
func (r *Rollout) planned(p *translate.RolloutPlan) {
	before := r.plan
	r.plan = p
	if why := r.halt(); why != "" {
		r.stall(why)
		return
	}
	switch subject := p.Release.Subject; {
	case r.Lost != "":
		r.Subject, r.Stable, r.Canary = subject, p.Release.Stable, p.Release.Canary
		r.Weights, r.Policy = slices.Clone(p.Weights), p.Policy
		r.enter(Aborted, &Signal{"state", "nobody knows how far it was, because " + r.Lost + ": start it again"})
		r.Lost = ""
		r.note("stays on stable", byRollout, r.Signal.Message)
	case r.Phase == Gone:
		r.await("it is there again")
	case r.Phase == Waiting:
		if r.Signal != nil && r.Signal.Name == "plan" {
			r.Signal = nil
		}
	case subject != r.Subject:
		r.await("what is released has changed")
	default:
		r.refit(before)
	}
}

// await leaves what was, and waits for a new run to begin, which is at once if nothing prevents it.
func (r *Rollout) await(why string) {
	running, numbers := r.Phase.running(), r.numbers()
	r.Share, r.Ranges, r.Generation = 0, nil, 0
	if running {
		r.noteOf(numbers, "ended", byPlan, why)
	}
	r.enter(Waiting, nil)
	r.tune, r.retreat = true, true
}

// stall has a run end whose plan cannot be acted on: proxies have given everything to stable then, and
// a share once lost is earned from stage one. What has succeeded stays so.
func (r *Rollout) stall(why string) {
	s := &Signal{"plan", why}
	switch {
	case r.Phase.running():
		r.end(Waiting, "ended", byPlan, s)
	case r.Phase == Gone:
		r.await("")
		r.Signal = s
	case r.Phase == Waiting:
		if r.Signal == nil || *r.Signal != *s {
			r.enter(Waiting, s)
		}
	}
}

// gone has written weights hold.
func (r *Rollout) gone() {
	r.plan, r.freeze = nil, nil
	if r.Phase == Gone {
		return
	}
	why := ""
	if r.Phase.running() {
		why = "in the middle of its run"
	}
	numbers := r.numbers()
	r.Share, r.Ranges, r.Generation, r.Stage = 0, nil, 0, 0
	r.Counted, r.Seen, r.asking = Counts{}, nil, false
	r.enter(Gone, nil)
	r.tune, r.retreat = true, true
	r.noteOf(numbers, "deleted", byPlan, why)
}

// refit has a run follow what is written anew. The present share never grows by that. before is what
// was written until now; nil: nobody knows.
func (r *Rollout) refit(before *translate.RolloutPlan) {
	p := r.plan
	reweighted := !slices.Equal(r.Weights, p.Weights)
	if reweighted {
		r.Weights = slices.Clone(p.Weights)
	}
	if r.Phase.running() {
		r.regate()
		changed := r.Policy != p.Policy
		if changed {
			r.suspect()
		}
		if r.restaged(before) {
			return
		}
		if changed {
			r.unsettled()
			return
		}
	}
	if reweighted {
		r.fold()
		r.divide(r.Share)
		r.note("divided anew", byPlan, "the rule's weights have changed")
	}
}

// restaged looks whether other stages change where the run is, and reports whether they do so beyond
// the name of the stage.
func (r *Rollout) restaged(before *translate.RolloutPlan) bool {
	all := stages(r.plan)
	if at := stageWith(all, r.Share); at >= 0 {
		if at != r.Stage {
			r.Stage, r.dirty = at, true
		}
		return false
	}
	at := min(r.Stage, len(all)-1)
	if share := all[at].Share; share < r.Share {
		r.restage(at)
		r.divide(share)
		r.note("edited", byPlan, "the stage's share is smaller now")
		return true
	}
	if before != nil && stageWith(stages(before), r.Share) >= 0 { // what has passed was for another stage
		r.Elapsed = 0
	}
	r.Stage, r.dirty = r.next(), true
	return false
}

func stageWith(all []translate.PlannedStage, share int) int {
	return slices.IndexFunc(all, func(s translate.PlannedStage) bool { return s.Share == share })
}

// regate forgets what was said of gates that ask for something else now, or of other people.
func (r *Rollout) regate() {
	now := hashGates(r.plan.Gates)
	if maps.Equal(now, r.Gates) {
		return
	}
	r.Fails = maps.Clone(r.Fails)
	maps.DeleteFunc(r.Fails, func(gate string, _ int) bool { return now[gate] != r.Gates[gate] })
	r.Approvals = slices.DeleteFunc(slices.Clone(r.Approvals), func(a Approval) bool {
		if now[a.Gate] == r.Gates[a.Gate] {
			return false
		}
		r.note("approval of "+a.Gate+" is void", byPlan, "the gate has changed since "+a.By+" approved it")
		return true
	})
	r.Gates, r.asking, r.askedAt, r.dirty = now, false, r.clock-askEvery, true
}

// hashGates tells gates that ask for the same from others, by name.
func hashGates(gates []translate.PlannedGate) map[string]model.Hash {
	hashes := make(map[string]model.Hash, len(gates))
	for _, g := range gates {
		g.Origin = model.Origin{}
		hashes[g.Name] = model.HashOf(g)
	}
	return hashes
}

// maxNotes bounds what is said of a run's comparison.
const maxNotes = 10

// suspect notes that something else than the version has changed, which may hide errors.
func (r *Rollout) suspect() {
	if len(r.Notes) < maxNotes {
		r.Notes = append(r.Notes, r.now.UTC().Format("2006-01-02T15:04:05Z")+": "+r.suspicion())
	}
}

func (r *Rollout) suspicion() string {
	return "timeouts, retries or sampling of the rule have changed while the canary had " + model.Share(r.Share).String() +
		": the stage begins anew, and answers that users got are compared, not tries"
}

// unsettled begins the stage anew after such a change: figures from before and after say nothing
// together.
func (r *Rollout) unsettled() {
	why := r.suspicion()
	phase, s, numbers := r.Phase, r.Signal, r.numbers()
	r.restage(r.Stage)
	r.divide(r.Share)
	if phase == Holding {
		phase, s = Progressing, nil
	}
	r.enter(phase, s)
	r.noteOf(numbers, "stage begins anew", byPlan, why)
}

// counted reports whether the canary has users of its own now.
func (r *Rollout) counted() bool { return r.Share > 0 && r.Share < model.Buckets }
