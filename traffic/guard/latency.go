package guard

import (
	"math"
	"sync/atomic"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/stats"
)

// Bounds say when an answer is late. They are those of its request's start.
type Bounds struct {
	Stable, Canary time.Duration // 0: not tested, or not known yet
	// Epoch tells these bounds from others: a verdict by others says nothing.
	Epoch uint16
}

// latency finds the bounds of the latency test: stable's quantile, as it was lately, and so many
// times that for the canary. The test then asks whether more of the canary's answers are later than
// the one than of stable's, at the same time, are later than the other.
//
// The quantile is first taken when two answers beyond it are expected, and again each time that
// there are twice as many, up to forty; later once for every forty. Bounds move only if they are
// wrong by a tenth, as verdicts by different bounds are never compared.
type latency struct {
	guard        model.LatencyGuard // Quantile is 0 where there is no test
	took         *stats.Latencies
	bounds       atomic.Uint64 // the epoch, and stable's bound in nanoseconds; 0 at first
	counts       stats.Counts
	before       counted // of all answers of stable, at the last look
	wait, steady uint32  // how many more there are before the next one, now and in the end
}

const (
	fewBeyond, manyBeyond = 2, 40
	leastWait             = 50 // answers
	moved                 = 0.1
	epochAt               = 48 // the bit where the epoch begins; the bound has three days below it
)

func (l *latency) begin(g model.LatencyGuard, shards int) {
	beyond := 1 / max(1-g.Quantile, 1e-6)
	l.guard, l.took = g, stats.NewLatencies(shards)
	l.wait = uint32(max(leastWait, math.Ceil(fewBeyond*beyond)))
	l.steady = uint32(max(leastWait, math.Ceil(manyBeyond*beyond)))
}

// due reports whether there are answers enough for another look.
func (l *latency) due(all counted) bool {
	return l.took != nil && (all-l.before).all() >= l.wait
}

// learn looks at stable's answers again, and reports whether the bounds have moved.
func (l *latency) learn(all counted) bool {
	l.before = all
	l.took.Drain(&l.counts)
	stable := l.counts.Quantile(l.guard.Quantile)
	if l.wait *= 2; l.wait > l.steady {
		l.wait = l.steady
		for i := range l.counts {
			l.counts[i] -= l.counts[i] / 2
		}
	}
	last := l.now()
	if stable <= 0 || math.Abs(float64(stable-last.Stable)) <= moved*float64(last.Stable) {
		return false
	}
	epoch := max(last.Epoch+1, 1)
	l.bounds.Store(uint64(epoch)<<epochAt | uint64(min(stable, 1<<epochAt-1)))
	return true
}

func (l *latency) now() Bounds {
	v := l.bounds.Load()
	stable := time.Duration(v & (1<<epochAt - 1))
	return Bounds{stable, time.Duration(float64(stable) * l.guard.MaxRatio), uint16(v >> epochAt)}
}

// Bounds returns when answers are late, as it is now.
func (j *Judge) Bounds() Bounds { return j.latency.now() }

// StableTook takes the time to the head of every answer of stable, tested or not.
func (j *Judge) StableTook(shard int, d time.Duration) {
	if j.latency.took != nil {
		j.latency.took.Observe(shard, d)
	}
}

// StableLate takes whether an answer of stable, to the user with this number, was late by the Bounds of this epoch,
// once that is known: when the bound has passed, or when the answer came before.
func (j *Judge) StableLate(shard int, user, epoch uint16, isLate bool) {
	if v := verdict(isLate); epoch != 0 && epoch == j.latency.now().Epoch && j.stable.hears(late, user, v, j.everybody()) {
		count(&j.arm.at(shard)[late], v)
	}
}

// CanaryLate takes the same of an answer of the canary, of the user with this number, and says whether
// this one raises the alarm.
func (j *Judge) CanaryLate(user, epoch uint16, isLate bool) (tripped bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refresh()
	return epoch != 0 && epoch == j.latency.now().Epoch && j.hear(late, user, verdict(isLate))
}
