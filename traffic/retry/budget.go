// Package retry holds how tries are made again: the budget that bounds retries, the pause before
// each, and the arithmetic of tries in the time of a request. It is pure, with time and
// randomness passed in. Which failures are tried again, and by whom, is decided elsewhere.
package retry

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/model"
)

const (
	// Window is what a budget looks back on.
	Window = 10 * time.Second
	// slice is the grain in which it forgets.
	slice = 500 * time.Millisecond
	// slices make up the window, and there is one more: see Budget.
	slices = int64(Window/slice) + 1
)

// Budget bounds the retries to a cluster, of all routes, by its first tries (model.RetryBudget).
// It is safe for concurrent use.
//
// At the moment at which a retry is let through it holds that, exactly,
//
//	retries of the last 10 s ≤ Share × first tries of the last 10 s + 10 × MinPerSecond
//
// the retry included, whatever happens at the same time: retries take turns, and what cannot
// be told because time is cut in slices of half a second counts against the retry. A first
// try is forgotten up to half a second too soon, and a retry up to half a second too late:
//
//	first tries   |--- not any more ---|===================== 9.5 s to 10 s =====================|
//	retries       |=============================== 10 s to 10.5 s ===============================|
//	                                                                                            now
//
// So over any longer time, too, a first try pays for Share retries once: it is forgotten before
// those that it has let through.
//
// A budget that only observes (model.ModeObserve) is held against the retries that there would be,
// had all that observe acted: of those that were made without those which one of them would have
// denied, and with the hedges that would have been sent (Pretend).
//
// Worked example, Share 0.2 and MinPerSecond 3: after 100 first tries in two seconds
// 0.2 × 100 + 30 = 50 retries may follow. When the first tries are ten seconds old there are 30
// to be had, less those of the 50 that are younger than that.
type Budget struct {
	own    atomic.Pointer[model.RetryBudget]
	stripe []stripe

	mu     sync.Mutex
	last   int64 // the latest slice that a retry came in
	made   tally
	would  tally // made, had all that observe acted
	closed int64 // first tries of the window's slices before the last
}

// tally counts retries by slice.
type tally struct {
	slices [slices]int64
	sum    int64
}

func (t *tally) add(at int64) {
	t.slices[at%slices]++
	t.sum++
}

func (t *tally) forget(at int64) {
	t.sum -= t.slices[at%slices]
	t.slices[at%slices] = 0
}

// stripe is the first tries that some callers have counted, alone on its cache lines.
type stripe struct {
	// slots are slices: the number of the slice, its lower 32 bits, above the number of tries.
	slots [slices]atomic.Uint64
	_     [(64 - slices*8%64) % 64]byte
}

// NewBudget returns a Budget for callers in so many shards, at least one.
func NewBudget(shards int) *Budget {
	return &Budget{stripe: make([]stripe, max(shards, 1))}
}

// Configure sets the cluster's own budget, which bounds all routes together; nil: only theirs
// count. What was counted stays.
func (b *Budget) Configure(own *model.RetryBudget) { b.own.Store(own) }

// First counts a first try at now, in nanoseconds of any clock that does not go back. The
// shard is the caller's; any number is some shard. A nil Budget counts nothing.
func (b *Budget) First(now int64, shard int) {
	if b == nil {
		return
	}
	at := now / int64(slice)
	slot := &b.stripe[uint(shard)%uint(len(b.stripe))].slots[at%slices]
	mark := uint64(uint32(at)) << 32
	for {
		old := slot.Load()
		fresh := mark | 1
		if old&^math.MaxUint32 == mark {
			fresh = old + 1
		} else if int32(uint32(old>>32)-uint32(at)) > 0 && old != 0 {
			return // this clock is a whole window behind
		}
		if slot.CompareAndSwap(old, fresh) {
			return
		}
	}
}

// Take asks for a retry at now, and counts it if it may be made: within the cluster's own
// budget and the route's, either of which may be nil. Without any, every retry may, and counts
// for those that come with one. One that may be made is not within them where one that only
// observes would have denied it.
func (b *Budget) Take(now int64, route *model.RetryBudget) (may, within bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.advance(now)
	enforced, observed := b.remaining(at, route)
	if enforced < 1 {
		return false, false
	}
	b.made.add(at)
	if observed < 1 {
		return true, false
	}
	b.would.add(at)
	return true, true
}

// Pretend asks for a retry at now that nobody makes, because it is only observed that one would
// be. It reports whether all budgets would let it through, and counts it for those that observe.
func (b *Budget) Pretend(now int64, route *model.RetryBudget) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.advance(now)
	if enforced, observed := b.remaining(at, route); min(enforced, observed) < 1 {
		return false
	}
	b.would.add(at)
	return true
}

// Unlimited is what remains where there is no budget.
const Unlimited = math.MaxInt64

// Remaining returns how many retries may be made at now, within the cluster's own budget and
// the route's, either of which may be nil, before one of them denies one, or would.
func (b *Budget) Remaining(now int64, route *model.RetryBudget) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	enforced, observed := b.remaining(b.advance(now), route)
	return min(enforced, observed)
}

// Use returns how many first tries and retries of the window count at now.
func (b *Budget) Use(now int64) (first, retries int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.advance(now)
	return b.closed + b.counted(at), b.made.sum
}

// remaining returns how many more the budgets that enforce let through, and how many those would
// that observe. It is called with mu held, as are the rest.
func (b *Budget) remaining(at int64, route *model.RetryBudget) (enforced, observed int64) {
	enforced, observed = Unlimited, Unlimited
	for _, m := range [...]*model.RetryBudget{b.own.Load(), route} {
		if m == nil || m.Mode == model.ModeDisabled {
			continue
		}
		// A share as 0.29 of 100 is 28.999…; it means 29.
		bound := int64(m.Share*float64(b.closed+b.counted(at))+1e-6) + int64(m.MinPerSecond)*int64(Window/time.Second)
		if m.Mode == model.ModeObserve {
			observed = min(observed, max(bound-b.would.sum, 0))
		} else {
			enforced = min(enforced, max(bound-b.made.sum, 0))
		}
	}
	return enforced, observed
}

// advance forgets what is too old at now, and returns its slice. A clock that is behind
// another one's is taken to be where that is.
func (b *Budget) advance(now int64) int64 {
	at := max(now/int64(slice), b.last)
	if at == b.last {
		return at
	}
	for i := max(b.last+1, at-slices+1); i <= at; i++ { // at most once around
		b.made.forget(i)
		b.would.forget(i)
	}
	b.last = at
	b.closed = 0
	for i := max(at-slices+2, 0); i < at; i++ { // the oldest of all slices is for retries alone
		b.closed += b.counted(i)
	}
	return at
}

// counted sums up the first tries of a slice.
func (b *Budget) counted(at int64) int64 {
	sum := int64(0)
	for i := range b.stripe {
		if v := b.stripe[i].slots[at%slices].Load(); uint32(v>>32) == uint32(at) {
			sum += int64(v & math.MaxUint32)
		}
	}
	return sum
}

// Backoff returns how long to wait before the n-th retry, from 1, given uniformly random bits:
// anything from nothing to a bound that doubles with each retry ("full jitter", Brooker,
// Exponential Backoff And Jitter, 2015). For a rule's own retry it is its Backoff and up to as
// much again.
func Backoff(r *model.Retry, n int, random uint64) time.Duration {
	shortest, longest := Pause(r, n)
	if longest <= shortest {
		return max(shortest, 0)
	}
	return shortest + time.Duration(random%uint64(longest-shortest+1))
}
