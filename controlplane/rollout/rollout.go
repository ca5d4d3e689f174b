// Package rollout decides how far each release is: what share the canary has, when it gets more,
// when it loses everything. Step is pure: what happened goes in, what is to be done comes out. A small
// loop beside it writes decisions down before it has them carried out, and asks the gates. It sees no
// request, and it judges no single answer: proxies do that themselves.
package rollout

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/sample"
)

// Phase is how far a Rollout is.
//
//	         plan of a new subject, start               last stage over
//	Waiting ──────────────────────────► Progressing ───────────────────► Succeeded ── finish ──► Finished
//	 ▲  ▲                                │  ▲  │  ▲                          │
//	 │  │ the plan cannot act            │  │  │  └─ resume ─┐               │
//	 │  └─ (from any of the three) ──────┤  │  └── pause ► Paused            │
//	 │                        a signal   ▼  │ it is gone     │               │
//	 │                        blocks   Holding ──────────────┤               │
//	 │                                   │                   │               │
//	 │       start, new subject          ▼  trip, gate fails, abort          ▼  abort
//	 └────────────────────────────── Aborted ◄───────────────────────────────┘
//
// Gone is that of a Rollout that was deleted, from any of them. A new subject ends every phase.
type Phase string

// The phases.
const (
	Waiting     Phase = "Waiting"     // for what keeps it from beginning; everything is stable's
	Progressing Phase = "Progressing" // a stage is under way
	Holding     Phase = "Holding"     // a stage would be over, but a signal blocks the next one
	Paused      Phase = "Paused"      // by somebody
	Aborted     Phase = "Aborted"     // everything is stable's until a new subject or start
	Succeeded   Phase = "Succeeded"   // everything is the canary's
	Finished    Phase = "Finished"    // and what is written says so, or soon will
	Gone        Phase = "Gone"        // the Rollout was deleted; written weights hold
)

// running reports whether a run is under way.
func (p Phase) running() bool { return p == Progressing || p == Holding || p == Paused }

// State is what is durable of a Rollout.
type State struct {
	Name    string // namespace/name
	Subject model.Hash
	Stable  string // model.Arm.Name, as the Canary
	Canary  string
	Phase   Phase
	// Run and Generation only grow: Run with each start, Generation with each division of the run.
	Run, Generation uint64
	Stage           int // from 0, of the plan's
	Share           int // that the canary has, of model.Buckets of what it and stable have together
	Ranges          []model.BucketRange
	Weights         []translate.PlannedWeight // by which Ranges were made
	Policy          model.Hash                // RolloutPlan.Policy that the stage is judged under
	Began           time.Time                 // the run
	StageBegan      time.Time
	PhaseBegan      time.Time
	Elapsed         time.Duration             // of the stage, as far as it was observed
	Counted         Counts                    // of the stage, before what is in Seen
	Seen            *model.ReleaseObservation `json:",omitempty"`
	Signal          *Signal                   `json:",omitempty"` // what blocks, or has ended the run
	Trip            *model.ReleaseTrip        `json:",omitempty"`
	Verdicts        []GateResult              `json:",omitempty"` // of the last round
	Fails           map[string]int            `json:",omitempty"` // by gate, in a row
	Approvals       []Approval                `json:",omitempty"` // of the next stage
	Gates           map[string]model.Hash     `json:",omitempty"` // what each gate asked for when Fails and Approvals came
	Notes           []string                  `json:",omitempty"` // what may have spoilt the comparison in this run
	Last            *Figures                  `json:",omitempty"` // of the stage at which the run ended
	Lost            string                    `json:",omitempty"` // why nobody knows what it was before
}

// Signal is what blocks a Rollout or has ended its run.
type Signal struct {
	Name    string `json:"name"`    // guard, telemetry, stable, requests, freeze, plan, state, a gate's as gate/NAME
	Message string `json:"message"` // one sentence, with numbers
}

// Approval is a gate that somebody has approved.
type Approval struct {
	Gate   string    `json:"gate"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Rollout is the state machine of one Rollout. It is not safe for concurrent use. The zero value is of
// no use: see New and Restore.
type Rollout struct {
	State

	plan   *translate.RolloutPlan // nil: gone, or not delivered yet
	freeze *Freeze

	last    time.Time     // of the last step
	clock   time.Duration // that has passed in steps: it never jumps
	seenAt  time.Duration // by clock; when Seen was news
	live    bool          // Seen is of this process's time
	saved   time.Duration // by clock; when State was saved last
	round   uint64        // of gates
	asking  bool          // gates are being asked
	askedAt time.Duration // by clock

	step // what the present step does
}

// step collects what one step has to say.
type step struct {
	now     time.Time
	dirty   bool
	retreat bool
	tune    bool
	notes   []Entry
	ask     *Round
	refused string
}

// New returns the state machine of a Rollout that was never seen before. lost says why that may not be
// true: then it begins nothing by itself.
func New(name, lost string) *Rollout {
	return &Rollout{State: State{Name: name, Phase: Waiting, Lost: lost}}
}

// Restore returns the state machine of a Rollout as it was saved.
func Restore(s State) *Rollout { return &Rollout{State: s} }

// clone returns a copy that may be stepped while the original is kept.
func (r *Rollout) clone() *Rollout {
	c := *r
	c.Fails = maps.Clone(r.Fails)
	c.Approvals = slices.Clone(r.Approvals)
	c.Notes = slices.Clone(r.Notes)
	return &c
}

// Bounds of time.
const (
	// maxStep is how much time a step counts at most: when the clock jumps ahead, or nobody has
	// looked for a while, the rest of it was not observed.
	maxStep = 5 * time.Second
	// staleAfter is how old the last observation may be.
	staleAfter = 15 * time.Second
	// saveEvery is how much of a stage a crash may have last again.
	saveEvery = 10 * time.Second
)

// Step has the Rollout take note of what has happened by now, and returns what is to be done for it, in
// that order. Time that passes is an event like others: call it at least once a second.
func (r *Rollout) Step(now time.Time, e Event) []Action {
	r.step = step{now: now}
	r.pass()
	switch {
	case e.Plan != nil:
		r.planned(e.Plan)
	case e.Gone:
		r.gone()
	case e.Observation != nil:
		r.observed(e.Observation)
	case e.Round != nil:
		r.judged(e.Round)
	case e.Command != nil:
		r.commanded(e.Command)
	case e.Freeze != nil:
		r.frozen(e.Freeze)
	}
	if e.Plan == nil || r.Phase == Waiting { // an edit by itself gives the canary no more
		r.advance()
	}
	return r.actions()
}

// pass counts the time since the last step.
func (r *Rollout) pass() {
	if !r.last.IsZero() {
		passed := min(max(r.now.Sub(r.last), 0), maxStep)
		r.clock += passed
		if (r.Phase == Progressing || r.Phase == Holding) && r.unsound() == nil && r.Elapsed < r.lasts() {
			r.Elapsed += passed
			r.dirty = r.dirty || r.clock-r.saved >= saveEvery
		}
	}
	r.last = r.now
}

func (r *Rollout) actions() []Action {
	var list []Action
	if r.dirty || len(r.notes) > 0 {
		r.saved = r.clock
		list = append(list, Action{Do: Save, Retreat: r.retreat})
	}
	for i := range r.notes {
		list = append(list, Action{Do: Note, Entry: &r.notes[i]})
	}
	if r.tune {
		list = append(list, Action{Do: Tune})
	}
	if r.ask != nil {
		list = append(list, Action{Do: Ask, Round: r.ask})
	}
	if r.refused != "" {
		list = append(list, Action{Do: Refuse, Refusal: r.refused})
	}
	return list
}

// Knob is what proxies are to know; nil: nothing, so that everything is stable's.
func (r *Rollout) Knob() *model.ReleaseKnob {
	if r.Phase == Waiting || r.Phase == Gone || r.Generation == 0 || r.Ranges == nil {
		return nil
	}
	return &model.ReleaseKnob{
		Release: r.Name, Subject: r.Subject, Run: r.Run, Generation: r.Generation, Running: r.Phase.running(), Ranges: r.Ranges,
	}
}

// enter begins a phase.
func (r *Rollout) enter(p Phase, s *Signal) {
	if r.Phase != p {
		r.Phase, r.PhaseBegan = p, r.now
	}
	r.Signal, r.dirty = s, true
}

// note adds to the history.
func (r *Rollout) note(what, who, why string) {
	r.noteOf(r.numbers(), what, who, why)
}

// noteOf is note where the numbers of both arms are those of a stage that is over.
func (r *Rollout) noteOf(numbers, what, who, why string) {
	r.notes = append(r.notes, Entry{
		At: r.now, Run: r.Run, Generation: r.Generation, Stage: r.stageNumber(), Share: model.Share(r.Share),
		What: what, Who: who, Why: why, Numbers: numbers,
	})
}

// divide gives the canary a share, and proxies a generation of their own for it.
func (r *Rollout) divide(share int) {
	if share < r.Share {
		r.retreat = true
	}
	r.Share = share
	r.Generation++
	r.dirty, r.tune = true, true
	weights := make([]sample.ArmWeight, 0, len(r.Weights))
	for _, w := range r.Weights {
		weights = append(weights, sample.ArmWeight{Arm: w.Arm, Weight: uint64(w.Weight)})
	}
	if r.Ranges == nil {
		r.Ranges = sample.Initial(sample.ShareOf(weights, r.Stable, r.Canary, 0))
	}
	r.Ranges = sample.Reweight(r.Ranges, sample.ShareOf(weights, r.Stable, r.Canary, share))
}

// restage begins a stage, or begins the present one anew.
func (r *Rollout) restage(stage int) {
	r.Stage, r.StageBegan, r.Elapsed = stage, r.now, 0
	r.Counted, r.Seen, r.live, r.seenAt = Counts{}, nil, false, r.clock
	r.Fails, r.Approvals, r.Verdicts, r.Gates = nil, nil, nil, hashGates(r.plan.Gates)
	r.asking, r.askedAt = false, r.clock-askEvery
	r.Policy = r.plan.Policy
	r.dirty = true
}

// begin begins a run at its first stage.
func (r *Rollout) begin(who, why string) {
	p := r.plan
	r.Run++
	r.Generation, r.Share, r.Ranges = 0, 0, nil
	r.Subject, r.Stable, r.Canary = p.Release.Subject, p.Release.Stable, p.Release.Canary
	r.Weights = slices.Clone(p.Weights)
	r.Began, r.Trip, r.Notes, r.Last, r.Lost = r.now, nil, nil, nil, ""
	r.restage(0)
	r.enter(Progressing, nil)
	r.divide(stages(p)[0].Share)
	r.retreat = false // what was before is over for proxies anyway: a run that is not written down does not begin
	r.note("started", who, why)
	r.settle()
}

// to begins a stage of the run.
func (r *Rollout) to(stage int, who, why string) {
	numbers := r.numbers()
	r.restage(stage)
	r.enter(Progressing, nil)
	r.divide(stages(r.plan)[stage].Share)
	r.noteOf(numbers, "stage "+strconv.Itoa(r.stageNumber()), who, why)
	r.settle()
}

// settle ends a run whose last stage lasts no time.
func (r *Rollout) settle() {
	if r.next() < 0 && r.lasts() == 0 {
		r.succeed("the last stage lasts no time")
	}
}

func (r *Rollout) succeed(why string) {
	r.Last = r.Figures()
	r.enter(Succeeded, nil)
	r.divide(r.Share) // the knob says that nothing is running any more
	r.note("succeeded", byRollout, why)
}

// end ends the run and gives everything back to stable.
func (r *Rollout) end(phase Phase, what, who string, s *Signal) {
	numbers := r.numbers()
	r.Last = r.Figures()
	r.enter(phase, s)
	r.divide(0)
	r.asking, r.retreat = false, true
	r.noteOf(numbers, what, who, s.Message)
}

// Who is not a person.
const (
	byRollout = "rollout"       // as the plan says
	byPlan    = "configuration" // what is written has changed
	byProxy   = "proxy"         // its guard
)

// stages are those of a plan. BlueGreen has one before its switch, in which cohorts alone get the canary.
func stages(p *translate.RolloutPlan) []translate.PlannedStage {
	if p.Strategy == translate.StrategyBlueGreen {
		return append([]translate.PlannedStage{{}}, p.Stages...)
	}
	return p.Stages
}

// next is the stage with the next greater share, below 0 if there is none.
func (r *Rollout) next() int {
	return slices.IndexFunc(stages(r.plan), func(s translate.PlannedStage) bool { return s.Share > r.Share })
}

// lasts is how long the present stage lasts at least. Where an edit has left the share between two stages,
// the next one is earned by its own time or by that of the one before, whichever is longer.
func (r *Rollout) lasts() time.Duration {
	if r.plan == nil {
		return 0
	}
	all := stages(r.plan)
	if r.Stage >= len(all) {
		return 0
	}
	if r.Stage > 0 && all[r.Stage].Share > r.Share {
		return max(all[r.Stage].For, all[r.Stage-1].For)
	}
	return all[r.Stage].For
}

// stageNumber is the stage as people count, from 1; 0: none.
func (r *Rollout) stageNumber() int {
	if r.Run == 0 {
		return 0
	}
	return r.Stage + 1
}

func sentence(format string, args ...any) string { return fmt.Sprintf(format, args...) }
