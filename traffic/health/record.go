package health

import (
	"sync/atomic"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/balance"
)

// Record is how the latest tries at one host ended: the rows that have not ended yet, and the shares of
// failures. The zero Record is of a host that has not failed, and then a success costs three looks and, a
// hundred times a second, a store. It is safe for concurrent use, as Streaks is.
type Record struct {
	rows               Streaks
	failed, unanswered balance.Share
	answered           atomic.Int64 // when an answer came last, or up to answeredGrain before
	spell              atomic.Int64 // when a try had no answer, the first after nobody had seen that lately
}

// answeredGrain is how exactly a Record knows when an answer came: all that answer write it.
const answeredGrain = int64(10 * time.Millisecond)

// Observe counts a result, as Streaks.Observe does, but for tries that were overtaken. now is nanoseconds
// since any fixed moment, took how long the try had gone on.
//
// Who waits in vain while others are answered may have come to the end of a long line: in overload every
// host's line grows, and the first one in which the wait is too long has a row of failures before any other
// has one. So a try without an answer counts in the row only if no answer has come since it
// began, or the host had already failed when it began: by then its peers fail as well, if they are no better.
//
//	a host hangs at 0 ms; tries may take 700 ms    those that begin from 0 ms on count
//	its line grows beyond 700 ms at 0 ms           those that begin from the first failure on count, so that a
//	                                               row of five has not come before 700 ms
func (r *Record) Observe(now int64, took time.Duration, result Result) uint32 {
	r.failed.Count(now, result.Failed())
	if result != Unanswered {
		r.unanswered.Count(now, false)
		if now-r.answered.Load() >= answeredGrain {
			r.answered.Store(now)
		}
		return r.rows.Observe(result)
	}
	if r.unanswered.At(now) < unseen {
		r.spell.Store(now)
	}
	r.unanswered.Count(now, true)
	if now-int64(took) < min(r.answered.Load(), r.spell.Load()) {
		return 0
	}
	return r.rows.Observe(result)
}

// Reset forgets everything.
func (r *Record) Reset() {
	r.rows.Reset()
	r.failed.Reset()
	r.unanswered.Reset()
	r.answered.Store(0)
	r.spell.Store(0)
}

// Row returns how long the row is by which the host breaks a rule: as it is now, or as long as it
// must have been if it has ended since. 0: the rule is about no row.
func (r *Record) Row(rule Rule, o *model.Outlier) uint32 {
	faulty, unanswered := r.rows.Rows()
	switch rule {
	case Consecutive5xx:
		return max(faulty, uint32(max(o.Consecutive5xx, 1)))
	case ConsecutiveLocal:
		return max(unanswered, uint32(max(o.ConsecutiveLocal, 1)))
	}
	return 0
}

// Fares returns the share of its latest tries that the host fails by a rule about rows. What has no
// answer is as bad as an answer that is an error. But where a row of no answers is judged, who
// answers does well whatever it says: a host that is dead is the odd one among those whose
// service has an error.
func (r *Record) Fares(rule Rule, now int64) float64 {
	faulty, unanswered := r.rows.Rows()
	if rule == ConsecutiveLocal {
		return faring(r.unanswered.At(now), unanswered)
	}
	return faring(r.failed.At(now), max(faulty, unanswered))
}
