package health

import (
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/balance"
)

// Record is how the latest tries at one host ended: the rows that have not ended yet, and the shares of
// failures. The zero Record is of a host that has not failed, and then a success costs two looks. It is
// safe for concurrent use, as Streaks is.
type Record struct {
	rows               Streaks
	failed, unanswered balance.Share
}

// Observe counts a result, as Streaks.Observe does. now is nanoseconds since any fixed moment.
func (r *Record) Observe(now int64, result Result) uint32 {
	r.failed.Count(now, result.Failed())
	r.unanswered.Count(now, result == Unanswered)
	return r.rows.Observe(result)
}

// Reset forgets everything.
func (r *Record) Reset() {
	r.rows.Reset()
	r.failed.Reset()
	r.unanswered.Reset()
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
