package proxy

import (
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	judge "weir.dev/weir/traffic/guard"
	"weir.dev/weir/traffic/sample"
)

// drawn is what the present request is in the release of its route. It is empty without one. Its
// outcome is that of the arm first chosen, in the hearing in which it began, whatever comes.
type drawn struct {
	lay     *layout  // nil: the route has no release
	hearing *hearing // nil: nobody judges the request
	side    role
	by      choice
	cohort  int  // its place, from 1; 0: none
	sampled bool // the request was drawn: it counts
	known   bool // and something tells its user apart
	tested  bool // and it is this user's turn
	user    sample.User

	began transport.Instant
	late  transport.Instant // when the answer is late; 0: never
	head  transport.Instant // when its head came; 0: it has not
	epoch uint16
	slot  *lateSlot // where it waits for that; nil: nowhere

	firstSaid bool // the first try has been judged
	finalSaid judge.Verdict
	timed     bool // whether it was late is known
	fell      bool // it was sent to stable after the canary had failed
	innocent  bool // the present try ended for want of what its client was to send
	ended     bool

	line  []byte // for the next host
	id    policy.UserID
	fresh *policy.UserIDs // gives the client its id; nil: none
}

// arm is the name of the arm, as later tiers and the log know it; empty for one that is neither.
func (w *drawn) arm() string {
	switch w.side {
	case stableSide:
		return policy.ArmStable
	case canarySide:
		return policy.ArmCanary
	}
	return ""
}

// beginOutcome counts a request that has its arm.
func (x *exchange) beginOutcome() {
	w := &x.drawn
	t := w.lay.hearing
	if t == nil || w.side == neither {
		return
	}
	w.hearing = t
	if w.cohort > 0 {
		return
	}
	if !w.sampled {
		w.hearing = nil
		return
	}
	w.began = x.asked
	if x.waited || w.began == 0 {
		w.began = transport.Now()
	}
	arm := &t.arms[w.side]
	c := arm.cell(x.c.Shard)
	c.requests.Add(1)
	c.inFlight.Add(1)
	if w.lay.alone {
		return
	}
	if w.known {
		arm.users.Add(w.user)
	}
	if w.tested = t.turn(w.side, w.user, w.began); w.tested {
		c.tested.Add(1)
	}
	b := t.judge.Bounds()
	after := b.Stable
	if w.side == canarySide {
		after = b.Canary
	}
	if t.late == nil || after <= 0 || b.Canary <= 0 {
		return
	}
	w.late, w.epoch = w.began.Add(after), b.Epoch
	if w.tested {
		w.slot = t.late.claim(x.c.Shard, w.late, w.side, w.user.Number(), w.epoch)
	}
}

// onLostCanary reports whether the request is at a canary that has tripped.
func (w *drawn) onLostCanary() bool {
	return w.hearing != nil && w.side == canarySide && !w.fell && w.hearing.over()
}

// headCame says when the head of the answer came.
func (x *exchange) headCame() {
	w := &x.drawn
	if w.cohort > 0 || w.fell {
		return
	}
	now := transport.Now()
	w.head = now
	took := now.Sub(w.began)
	w.hearing.arms[w.side].latency.Observe(x.c.Shard, took)
	if w.side == stableSide {
		w.hearing.judge.StableTook(x.c.Shard, took)
	}
	x.endWait(now, true)
}

// endWait says whether the request was late, once. Where no answer came before it was, that is unknown.
func (x *exchange) endWait(now transport.Instant, answered bool) {
	w := &x.drawn
	if w.timed || w.late == 0 || !w.tested {
		return
	}
	w.timed = true
	if w.slot != nil && w.slot.free() {
		return
	}
	if late := now >= w.late; late || answered {
		w.hearing.lateness(x.c.Shard, w.side, w.user.Number(), w.epoch, late)
	}
}

// judgeTry judges a try that has just ended so, as far as it can be judged yet: a first one that
// has failed, and a failure that is the client's answer.
func (x *exchange) judgeTry(fail *failure) {
	w := &x.drawn
	if w.cohort > 0 || w.fell {
		return
	}
	if fail == nil {
		if x.badHead() {
			x.judgeFinal(judge.Bad)
		}
		return
	}
	if w.firstSaid {
		return
	}
	w.firstSaid = true
	v := x.verdictOf(fail.flag)
	if fail.flag == model.FlagU5 && !x.resultOfTry(x.up, fail.flag).Failed() {
		v = judge.Good // whoever answers 429 to be asked again is not faulty
	}
	if v == judge.Bad {
		w.hearing.arms[w.side].cell(x.c.Shard).firstFailed.Add(1)
	}
	x.tell(judge.Outcome{First: v})
}

// judgeLast judges a failure after which no try follows: it is what the client gets.
func (x *exchange) judgeLast(fail *failure) {
	if x.drawn.cohort > 0 || x.drawn.fell {
		return
	}
	if v := x.verdictOf(fail.flag); v == judge.Bad {
		x.judgeFinal(v)
	}
}

// badHead reports whether the head of the answer says already that it is a failure.
func (x *exchange) badHead() bool {
	if x.req.GRPC {
		code, known := x.up.verdict()
		return known && code.Faulty()
	}
	return x.up.resp.Status >= 500
}

// judgeFinal judges the answer that the client gets.
func (x *exchange) judgeFinal(v judge.Verdict) {
	w := &x.drawn
	if w.finalSaid != judge.None {
		if w.fell && v == judge.Good && w.finalSaid == judge.Bad {
			w.hearing.arms[w.side].cell(x.c.Shard).rescued.Add(1)
		}
		return
	}
	c := w.hearing.arms[w.side].cell(x.c.Shard)
	o := judge.Outcome{Final: v}
	switch v {
	case judge.None:
		c.excluded.Add(1)
		return
	case judge.Bad:
		c.failed.Add(1)
		if w.side == canarySide {
			w.hearing.firstBad.CompareAndSwap(0, time.Now().UnixNano())
		}
	}
	w.finalSaid = v
	if !w.firstSaid {
		w.firstSaid, o.First = true, v
		if v == judge.Bad {
			c.firstFailed.Add(1)
		}
	}
	if w.side == canarySide {
		came := w.head
		if came == 0 {
			came = transport.Now()
		}
		w.hearing.judged(w.hearing.judge.Row(w.user.Number(), int64(came), v == judge.Bad))
	} else {
		w.hearing.judge.StableRow(x.c.Shard, v == judge.Bad)
	}
	x.tell(o)
}

// tell gives the judge an outcome, if it is this user's turn.
func (x *exchange) tell(o judge.Outcome) {
	w := &x.drawn
	switch {
	case !w.tested:
	case w.side == canarySide:
		w.hearing.judged(w.hearing.judge.Canary(w.user.Number(), o))
	default:
		w.hearing.judge.Stable(x.c.Shard, w.user.Number(), o)
	}
}

// verdictOf is what a request, or a try, that ended with this flag says about its arm. Our own
// refusals say nothing, unless a limit of the arm itself made them; a client that leaves says that
// the answer was late, if it was.
func (x *exchange) verdictOf(flag model.Flag) judge.Verdict {
	switch flag {
	case model.FlagNone, model.FlagDI: // what was slow on purpose came from the arm all the same
		return judge.Good
	case model.FlagUO, model.FlagURX, model.FlagPO:
		return judge.Bad
	case model.FlagPT, model.FlagUT:
		// Before anybody was asked, while the client was still to send more, and after a delay of our own the
		// time that has passed is not the arm's.
		if x.up.host == nil || x.drawn.innocent || flag == model.FlagPT && x.broken.late {
			return judge.None
		}
		return judge.Bad
	case model.FlagDC:
		w := &x.drawn
		at := w.head
		if at == 0 {
			at = transport.Now()
		}
		if w.late != 0 && at >= w.late {
			return judge.Bad
		}
		return judge.None
	}
	if flag.Blame() == model.BlameUpstream {
		return judge.Bad
	}
	return judge.None
}

// fallBack has a request whose try at a canary that has tripped ended so sent to stable, if it may
// be sent twice, and reports whether it is. This is free of the retry budget, and done once.
func (x *exchange) fallBack(fail *failure) bool {
	w := &x.drawn
	if !w.onLostCanary() || x.result.sent || !x.inTime(0) {
		return false
	}
	unsent := false
	if fail != nil {
		switch fail.flag.Blame() {
		case model.BlameClient, model.BlameProxy:
			return false
		}
		unsent = fail.unsent
		if !x.body.replayable() && (!unsent || !x.body.untouched()) {
			return false
		}
	} else if !x.badHead() {
		return false
	}
	if !unsent && !idempotent(x.req.Method) && (x.route.retry == nil || !x.repeats(x.route.retry)) {
		return false
	}
	stable := w.lay.of.stable
	if stable.cluster == nil {
		return false
	}
	pass, refused := stable.cluster.Admit(transport.Now(), false)
	if refused != nil {
		return false
	}
	if fail == nil {
		if !x.recall() {
			pass.Excuse()
			return false
		}
		x.endTry(x.timings.attempt, &failure{flag: model.FlagU5})
	}
	x.dropRetry()
	x.next = pass
	stable.cluster.First(transport.Now(), x.c.Shard)
	x.result.retries++
	x.toStable()
	return true
}

// toStable makes stable the arm of a request that was the canary's.
func (x *exchange) toStable() {
	w := &x.drawn
	w.fell = true
	x.endWait(transport.Now(), false)
	x.arm = w.lay.of.stable
	x.bond.held = nil
	x.overload.throttle = nil
	w.side = stableSide
	x.markArm()
	w.side = canarySide
}

// endOutcome counts how a request ended. It may be called again.
func (x *exchange) endOutcome() {
	w := &x.drawn
	if w.ended {
		return
	}
	w.ended = true
	v := x.verdictOf(x.result.flag)
	if w.side != neither {
		w.lay.of.state.totals.count(x.c.Shard, w, v)
	}
	t := w.hearing
	if t == nil {
		return
	}
	if w.cohort > 0 {
		if c := w.lay.cohorts[w.cohort-1]; c != nil && v != judge.None {
			c.requests.Add(1)
			if v == judge.Bad {
				c.failed.Add(1)
			}
		}
		return
	}
	x.judgeFinal(v)
	x.endWait(transport.Now(), false)
	t.arms[w.side].cell(x.c.Shard).inFlight.Add(-1)
}

// totals is how the requests of a release ended, since it is known.
type totals struct {
	cells     []totalsCell
	unwatched atomic.Uint64
}

// totalsCell is one shard's part, alone on its cache lines.
type totalsCell struct {
	ended [telemetry.ReleaseArms][telemetry.ReleaseOutcomes]atomic.Uint64
	_     [32]byte
}

func newTotals(shards int) totals { return totals{cells: make([]totalsCell, shards)} }

func (t *totals) count(shard int, w *drawn, v judge.Verdict) {
	arm, outcome := telemetry.ReleaseStable, telemetry.ReleaseGood
	switch {
	case w.cohort > 0:
		arm = telemetry.ReleaseCohort
	case w.side == canarySide:
		arm = telemetry.ReleaseCanary
	}
	switch {
	case v == judge.Bad:
		outcome = telemetry.ReleaseFailed
	case v == judge.None:
		outcome = telemetry.ReleaseExcluded
	case w.fell:
		outcome = telemetry.ReleaseRescued
	}
	t.cells[uint(shard)%uint(len(t.cells))].ended[arm][outcome].Add(1)
}

func (t *totals) sum() (c telemetry.ReleaseCounts) {
	for i := range t.cells {
		for arm := range c {
			for outcome := range c[arm] {
				c[arm][outcome] += t.cells[i].ended[arm][outcome].Load()
			}
		}
	}
	return c
}
