package stats

import (
	"sync"
	"sync/atomic"
	"time"
)

// Recent is the latencies of the last while: of so many slices of time, the present one
// included, so that a slice's worth at the far end goes at once. What is counted belongs to the
// slice in which it is first asked for. The memory of one in use is less than a kilobyte a slice
// and shard.
//
// Worked example, 6 slices of 10 s: at 62 s there is what came from 10 s on, at 69.9 s as well,
// at 70 s what came from 20 s on.
type Recent struct {
	live  *Latencies
	slice int64 // nanoseconds
	view  atomic.Pointer[view]

	mu   sync.Mutex // of who renews the view; the others go on with the old one
	ring []Counts
	last int64 // the slice of the newest part of the ring
}

// view is all slices together. It is never changed.
type view struct {
	counts Counts
	total  uint64
	until  int64 // when it is to be renewed
}

// NewRecent returns one without any counted.
func NewRecent(shards, slices int, slice time.Duration) *Recent {
	return &Recent{live: NewLatencies(shards), slice: int64(max(slice, 1)), ring: make([]Counts, max(slices, 1))}
}

// Observe counts a duration, in the caller's shard. It neither blocks nor allocates, but for
// the first time in a shard.
func (r *Recent) Observe(shard int, d time.Duration) { r.live.Observe(shard, d) }

// Quantile estimates the duration that the share q (0 to 1) did not exceed, and says of how
// many. now is nanoseconds since any fixed moment. It never blocks; what has been counted is
// looked at ten times a slice, by one caller, which allocates.
func (r *Recent) Quantile(now int64, q float64) (d time.Duration, of uint64) {
	v := r.view.Load()
	if (v == nil || now >= v.until) && r.mu.TryLock() {
		v = r.renew(now)
		r.mu.Unlock()
	}
	if v == nil {
		return 0, 0
	}
	return v.counts.Quantile(q), v.total
}

// renew takes over what was counted since the last time and sums everything up.
func (r *Recent) renew(now int64) *view {
	present := now / r.slice
	if gone := present - r.last; gone >= int64(len(r.ring)) {
		clear(r.ring)
	} else {
		for i := range gone {
			r.ring[uint64(r.last+1+i)%uint64(len(r.ring))] = Counts{}
		}
	}
	r.last = max(r.last, present)
	r.live.Drain(&r.ring[uint64(r.last)%uint64(len(r.ring))])
	v := &view{until: now + r.slice/10}
	for i := range r.ring {
		v.counts.Add(&r.ring[i])
	}
	v.total = v.counts.Count()
	r.view.Store(v)
	return v
}
