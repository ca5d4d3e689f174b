package release

import (
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/guard"
)

// Begin counts a request that has its arm and began then; 0 stands for now.
func (d *Draw) Begin(shard int, began transport.Instant) {
	d.shard = shard
	t := d.lay.hearing
	if t == nil || d.side == neither {
		return
	}
	d.hearing = t
	if d.cohort > 0 {
		return
	}
	if !d.sampled {
		d.hearing = nil
		return
	}
	if d.began = began; began == 0 {
		d.began = transport.Now()
	}
	arm := &t.arms[d.side]
	c := arm.cell(d.shard)
	c.requests.Add(1)
	c.inFlight.Add(1)
	if d.lay.alone {
		return
	}
	if d.known {
		arm.users.Add(d.user)
	}
	if d.tested = t.turn(d.side, d.user, d.began); d.tested {
		c.tested.Add(1)
	}
	b := t.judge.Bounds()
	after := b.Stable
	if d.side == canarySide {
		after = b.Canary
	}
	if t.late == nil || after <= 0 || b.Canary <= 0 {
		return
	}
	d.late, d.epoch = d.began.Add(after), b.Epoch
	if d.tested {
		d.slot = t.late.claim(d.shard, d.late, d.side, d.user.Number(), d.epoch)
	}
}

// OnLostCanary reports whether the request is at a canary that has tripped.
func (d *Draw) OnLostCanary() bool {
	return d.hearing != nil && d.side == canarySide && !d.fell && d.hearing.over()
}

// HeadCame says that the head of the answer has come now.
func (d *Draw) HeadCame() {
	if d.cohort > 0 || d.fell {
		return
	}
	now := transport.Now()
	d.head = now
	took := now.Sub(d.began)
	d.hearing.arms[d.side].latency.Observe(d.shard, took)
	if d.side == stableSide {
		d.hearing.judge.StableTook(d.shard, took)
	}
	d.endWait(now, true)
}

// endWait says whether the request was late, once. Where no answer came before it was, that is unknown.
func (d *Draw) endWait(now transport.Instant, answered bool) {
	if d.timed || d.late == 0 || !d.tested {
		return
	}
	d.timed = true
	if d.slot != nil && d.slot.free() {
		return
	}
	if late := now >= d.late; late || answered {
		d.hearing.lateness(d.shard, d.side, d.user.Number(), d.epoch, late)
	}
}

// FirstTry judges the first try, which has failed and may have been the last; what is said of others is ignored.
func (d *Draw) FirstTry(v guard.Verdict) {
	if d.cohort > 0 || d.fell || d.firstSaid {
		return
	}
	d.firstSaid = true
	if v == guard.Bad {
		d.hearing.arms[d.side].cell(d.shard).firstFailed.Add(1)
	}
	d.tell(guard.Outcome{First: v})
}

// Fail says that a failure is what the client gets, as soon as that is known.
func (d *Draw) Fail() {
	if d.cohort == 0 && !d.fell {
		d.judgeFinal(guard.Bad)
	}
}

// judgeFinal judges the answer that the client gets.
func (d *Draw) judgeFinal(v guard.Verdict) {
	if d.finalSaid != guard.None {
		if d.fell && v == guard.Good && d.finalSaid == guard.Bad {
			d.hearing.arms[d.side].cell(d.shard).rescued.Add(1)
		}
		return
	}
	c := d.hearing.arms[d.side].cell(d.shard)
	o := guard.Outcome{Final: v}
	switch v {
	case guard.None:
		c.excluded.Add(1)
		return
	case guard.Bad:
		c.failed.Add(1)
		if d.side == canarySide {
			d.hearing.firstBad.CompareAndSwap(0, time.Now().UnixNano())
		}
	}
	d.finalSaid = v
	if !d.firstSaid {
		d.firstSaid, o.First = true, v
		if v == guard.Bad {
			c.firstFailed.Add(1)
		}
	}
	if d.side == canarySide {
		came := d.head
		if came == 0 {
			came = transport.Now()
		}
		d.hearing.judged(d.hearing.judge.Row(d.user.Number(), int64(came), v == guard.Bad))
	} else {
		d.hearing.judge.StableRow(d.shard, v == guard.Bad)
	}
	d.tell(o)
}

// tell gives the judge an outcome, if it is this user's turn.
func (d *Draw) tell(o guard.Outcome) {
	switch {
	case !d.tested:
	case d.side == canarySide:
		d.hearing.judged(d.hearing.judge.Canary(d.user.Number(), o))
	default:
		d.hearing.judge.Stable(d.shard, d.user.Number(), o)
	}
}

// Excuse says whether the present try has ended for want of what its client was to send.
func (d *Draw) Excuse(excused bool) { d.excused = excused }

// Verdict is what a request, or a try, that ended with this flag says about its arm. Our own
// refusals say nothing, unless a limit of the arm itself made them, nor does the time that has passed if that was not the
// arm's, which the caller knows; a client that leaves says that the answer was late, if it was.
func (d *Draw) Verdict(flag model.Flag, ownTime bool) guard.Verdict {
	switch flag {
	case model.FlagNone, model.FlagDI: // what was slow on purpose came from the arm all the same
		return guard.Good
	case model.FlagUO, model.FlagURX, model.FlagPO:
		return guard.Bad
	case model.FlagPT, model.FlagUT:
		if d.excused || !ownTime {
			return guard.None
		}
		return guard.Bad
	case model.FlagDC:
		at := d.head
		if at == 0 {
			at = transport.Now()
		}
		if d.late != 0 && at >= d.late {
			return guard.Bad
		}
		return guard.None
	}
	if flag.Blame() == model.BlameUpstream {
		return guard.Bad
	}
	return guard.None
}

// Fall has stable answer the request of a canary that has tripped, and makes the line anew that tells so; see Mark.
func (d *Draw) Fall(memory []byte) []byte {
	d.fell = true
	d.endWait(transport.Now(), false)
	return d.Mark(memory)
}

// End counts how a request ended. It may be called again.
func (d *Draw) End(v guard.Verdict) {
	if d.ended {
		return
	}
	d.ended = true
	if d.side != neither {
		d.lay.of.state.totals.count(d.shard, d, v)
	}
	t := d.hearing
	if t == nil {
		return
	}
	if d.cohort > 0 {
		if c := d.lay.cohorts[d.cohort-1]; c != nil && v != guard.None {
			c.requests.Add(1)
			if v == guard.Bad {
				c.failed.Add(1)
			}
		}
		return
	}
	d.judgeFinal(v)
	d.endWait(transport.Now(), false)
	t.arms[d.side].cell(d.shard).inFlight.Add(-1)
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

func (t *totals) count(shard int, d *Draw, v guard.Verdict) {
	arm, outcome := telemetry.ReleaseStable, telemetry.ReleaseGood
	switch {
	case d.cohort > 0:
		arm = telemetry.ReleaseCohort
	case d.side == canarySide:
		arm = telemetry.ReleaseCanary
	}
	switch {
	case v == guard.Bad:
		outcome = telemetry.ReleaseFailed
	case v == guard.None:
		outcome = telemetry.ReleaseExcluded
	case d.fell:
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
