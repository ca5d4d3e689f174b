package rollout

import (
	"slices"
	"strings"
	"time"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

const (
	// askEvery is how long gates rest that did not all pass.
	askEvery = 15 * time.Second
	// answerWithin is how long a round may take. Gates have deadlines of their own below it.
	answerWithin = 90 * time.Second
	// failuresInARow of one gate end the run. One alone may be a short trouble of what is measured;
	// to hold for ever leaves users on a version that is known to be worse.
	failuresInARow = 3
)

// consult asks the gates, and enters the next stage if there is none to ask.
func (r *Rollout) consult(next int) {
	gates := r.plan.Gates
	if len(gates) == 0 {
		if r.plan.Strategy == translate.StrategyBlueGreen {
			r.block(Holding, &Signal{"promote", "it has no gates, so that only somebody's promote makes the switch"})
			return
		}
		r.to(next, byRollout, "nothing blocks it")
		return
	}
	if r.asking {
		if r.clock-r.askedAt < answerWithin {
			return
		}
		r.asking = false
		r.askedAt = r.clock
		r.block(Holding, &Signal{"gates", sentence("they did not answer within %v", answerWithin)})
		return
	}
	if r.clock-r.askedAt < askEvery {
		return
	}
	ask := slices.DeleteFunc(slices.Clone(gates), func(g translate.PlannedGate) bool { return len(g.Approval) > 0 })
	r.round++
	r.asking, r.askedAt = true, r.clock
	round := &Round{
		Run: r.Run, Generation: r.Generation, Number: r.round, Gates: ask,
		Ask: Question{
			Rollout: r.Name, Run: r.Run, Stage: r.stageNumber(), Stable: r.Stable, Canary: r.Canary,
			Share: model.Share(r.Share), NextShare: model.Share(stages(r.plan)[next].Share),
		},
	}
	if len(ask) > 0 {
		r.ask = round
		return
	}
	r.judged(&RoundResult{Run: r.Run, Generation: r.Generation, Number: r.round})
}

// judged takes note of what gates have said. Answers to an older question are passed over.
func (r *Rollout) judged(round *RoundResult) {
	if !r.asking || round.Run != r.Run || round.Generation != r.Generation || round.Number != r.round || r.plan == nil {
		return
	}
	r.asking = false
	r.Verdicts = r.verdicts(round.Results)
	r.dirty = true
	if r.Phase != Progressing && r.Phase != Holding {
		return
	}
	var blocking *GateResult
	for i := range r.Verdicts {
		v := &r.Verdicts[i]
		if v.Verdict != Fail {
			delete(r.Fails, v.Gate)
		} else {
			if r.Fails == nil {
				r.Fails = map[string]int{}
			}
			r.Fails[v.Gate]++
			if n := r.Fails[v.Gate]; n >= failuresInARow {
				r.end(Aborted, "aborted", byRollout, &Signal{"gate/" + v.Gate, sentence("gate %s failed %d times in a row: %s", v.Gate, n, v.Message)})
				return
			}
		}
		if v.Verdict != Pass && (blocking == nil || rank[v.Verdict] < rank[blocking.Verdict]) {
			blocking = v
		}
	}
	if blocking != nil {
		r.block(Holding, &Signal{"gate/" + blocking.Gate, string(blocking.Verdict) + ": " + blocking.Message})
		return
	}
	if next := r.next(); next >= 0 && r.unsound() == nil && r.blocked() == nil && r.Elapsed >= r.lasts() {
		r.to(next, byRollout, "all gates passed")
	}
}

// rank says which verdict is told of first.
var rank = map[Verdict]int{Fail: 0, Error: 1, Inconclusive: 2, Pass: 3}

// verdicts are those of all gates of the plan in their order. A gate that has not answered has none.
func (r *Rollout) verdicts(results []GateResult) []GateResult {
	list := make([]GateResult, 0, len(r.plan.Gates))
	for _, g := range r.plan.Gates {
		v := GateResult{Gate: g.Name, Verdict: Error, Message: "it did not answer", At: r.now}
		if len(g.Approval) > 0 {
			v.Verdict, v.Message = r.approval(&g)
		} else if i := slices.IndexFunc(results, func(x GateResult) bool { return x.Gate == g.Name }); i >= 0 {
			v.Verdict, v.Message = results[i].Verdict, results[i].Message
			if _, known := rank[v.Verdict]; !known {
				v.Verdict, v.Message = Error, sentence("its verdict is %q", v.Verdict)
			}
		}
		list = append(list, v)
	}
	return list
}

func (r *Rollout) approval(g *translate.PlannedGate) (Verdict, string) {
	for _, a := range r.Approvals {
		if a.Gate == g.Name {
			return Pass, sentence("approved by %s at %s", a.By, a.At.UTC().Format(time.RFC3339))
		}
	}
	return Inconclusive, "waits for the approval of " + strings.Join(g.Approval, " or ")
}
