// Package limit finds how many requests at once a service carries, from nothing but the
// latency of its answers: pure, time is given. Who counts requests and what becomes of those
// beyond the limit is decided in package overload.
package limit

import (
	"math"
	"sync/atomic"
	"time"
)

// Gradient is a limit that follows latency, after Gradient2 of Netflix's concurrency-limits.
// Ends of requests are gathered in windows; at the end of each, the short latency (of this
// window and a little of the last ones) is compared with the long one (what is usual when
// nothing waits):
//
//	gradient = tolerance × long / short, at most 1 and at least 1/2
//	limit   += smoothing × (gradient × limit + √limit − limit)
//
// √limit is how many requests may wait somewhere in the service, so that it never runs dry.
//
//	limit 100, long 20 ms
//	short 24 ms   gradient 1      100 + 0.2 × (100 + 10 − 100)   = 102   some waiting is fine
//	short 60 ms   gradient 0.5    100 + 0.2 × (50 + 10 − 100)    = 92    three times as long: back off
//	short 33 ms   gradient 0.91   100 + 0.2 × (90.9 + 10 − 100)  = 100   it rests
//
// It never lowers the limit only to see what latency would be, and it does not grow while
// requests in flight are far from it: what has not been tried is not known to work.
//
// Where it differs from Gradient2. There the long latency is an average that goes on under
// load, so that an hour of overload becomes usual and the limit runs away. Here, while the
// limit is what holds requests back, waiting in the service does not count as usual. But the
// service may really have become slower, and then the limit rests far too low. So what becomes of it
// is watched while the limit falls (see fall): where less is answered as it does, the long latency
// moves two thirds of the way to what is seen. And when the limit has rested for a while, a quarter more are let in for a moment (a trial, see there): where latency
// comes from waiting, it grows as much; where it does not, the service just takes that long,
// and the long latency moves half way to what is seen. When the short latency is below the
// long one, the long one soon follows.
//
// Failures that say "too much" (timeouts, refusals of the service) lower the gradient by half
// their share.
//
// A Gradient may be used by any number of goroutines; what every request does is a few
// atomic additions.
type Gradient struct {
	limit atomic.Int64 // in thousandths of a request

	// The window that is being filled.
	count    atomic.Int64 // answers
	sum      atomic.Int64 // of their latencies, in nanoseconds
	dropped  atomic.Int64
	peak     atomic.Int64 // most in flight
	pressed  atomic.Bool
	endsAt   atomic.Int64
	settling atomic.Bool // held by whoever ends the window

	bounds atomic.Uint64 // min << 32 | max
	firmTo atomic.Int64  // until when what was found counts as the service's own limit

	// Guarded by settling.
	long, short float64       // nanoseconds; 0: not known yet
	windows     int           // that had answers, up to warmUp
	began       time.Duration // when the first answers were seen
	young       int           // windows of the infancy
	grown       bool          // its infancy is over
	started     bool          // it has backed off once: the quick search is over
	trial       trial
	fall        fall

	seenLong, seenShort atomic.Int64 // of State
}

const (
	tolerance    = 1.5
	smoothing    = 0.2
	searchGrowth = 1.5 // by which the limit grows in each window until it has first been too high

	searchLatency = 1.2 // times the long latency: it is over as well
	steadySamples = 30  // of which the average is not chance

	shortShare  = 0.5       // of a new window in the short latency
	risingShare = 2.0 / 601 // of the short in the long latency: Gradient2's window of 600
	sinkShare   = 0.05      // the same where the short is below the long

	// infant times the latency seen is how long answers must have come for that to mean something.
	// In overload latency grows with the limit and would never be less: infantWindows are enough.
	infant        = 2.5
	infantWindows = 5
	infantSamples = 100 // in a window, of which the average is what is usual for long

	windowMin     = 100 * time.Millisecond
	windowMax     = time.Second
	windowSamples = 10

	firmFor = 10 * time.Second

	warmUp = 10 // windows without waiting of which the long latency is the plain average
)

// Outcome is what the end of a request says about the service.
type Outcome uint8

// The outcomes.
const (
	Answered Outcome = iota // its latency counts
	Dropped                 // it took too long, or the service refused it: there is too much
	Ignored                 // it says nothing: the client left, or the answer failed for another reason
)

// NewGradient returns a limit between min and max, which starts at twice min.
func NewGradient(minimum, maximum int) *Gradient {
	g := &Gradient{}
	g.limit.Store(2 * int64(max(minimum, 1)) * 1000)
	g.Bound(minimum, maximum)
	return g
}

// Bound changes the bounds of the limit and keeps what has been learnt. A min below 1 is 1, a
// max below min is min.
func (g *Gradient) Bound(minimum, maximum int) {
	minimum = min(max(minimum, 1), math.MaxInt32)
	maximum = min(max(maximum, minimum), math.MaxInt32)
	g.bounds.Store(uint64(minimum)<<32 | uint64(maximum))
	for {
		old := g.limit.Load()
		now := min(max(old, int64(minimum)*1000), int64(maximum)*1000)
		if g.limit.CompareAndSwap(old, now) {
			return
		}
	}
}

// Limit returns how many requests may be in flight now.
func (g *Gradient) Limit() int { return int(g.limit.Load() / 1000) }

// State returns the limit and the two latencies that it comes from; 0: not known yet.
func (g *Gradient) State() (limit int, long, short time.Duration) {
	return g.Limit(), time.Duration(g.seenLong.Load()), time.Duration(g.seenShort.Load())
}

// Firm reports whether the limit is what the service carries, as far as that can be known: it was
// found to be too high a moment ago, or is at its maximum. Else it only is what has been tried.
func (g *Gradient) Firm(now time.Duration) bool {
	return int64(now) < g.firmTo.Load() || g.Limit() >= g.Max()
}

// Max returns the upper bound of the limit.
func (g *Gradient) Max() int { return int(g.bounds.Load() & math.MaxUint32) }

// Press says that a request was held back by the limit: it is what bounds requests in flight.
func (g *Gradient) Press() {
	if !g.pressed.Load() {
		g.pressed.Store(true)
	}
}

// Observe counts the end of a request: when, how long the service took, how many were in
// flight with it, and how it ended. It reports whether the limit has changed.
func (g *Gradient) Observe(now, took time.Duration, inFlight int, o Outcome) (changed bool) {
	switch o {
	case Answered:
		g.sum.Add(int64(max(took, 1)))
		g.count.Add(1)
	case Dropped:
		g.dropped.Add(1)
	case Ignored:
		return false
	}
	if n := int64(inFlight); n > g.peak.Load() {
		g.peak.Store(n) // of two at once one may be lost: the next brings as much
	}
	if int64(now) < g.endsAt.Load() || g.count.Load()+g.dropped.Load() < windowSamples {
		return false
	}
	if !g.settling.CompareAndSwap(false, true) {
		return false
	}
	defer g.settling.Store(false)
	if int64(now) < g.endsAt.Load() { // another has just ended it
		return false
	}
	before := g.Limit()
	g.settle(now)
	return g.Limit() != before
}

// settle ends the window.
func (g *Gradient) settle(now time.Duration) {
	w := window{
		count: float64(g.count.Swap(0)), sum: float64(g.sum.Swap(0)), dropped: float64(g.dropped.Swap(0)),
		peak: float64(g.peak.Swap(0)), pressed: g.pressed.Swap(false),
	}
	next := windowMin
	if w.count > 0 {
		if !g.grown {
			g.infancy(now, &w)
		}
		g.short += shortShare * (w.sum/w.count - g.short)
		next = min(max(time.Duration(g.short), windowMin), windowMax)
	}
	g.endsAt.Store(int64(now + next))
	if g.short == 0 && w.dropped == 0 {
		return
	}
	limit := float64(g.limit.Load()) / 1000
	gradient := g.gradient(&w)
	g.learn(&w, limit, gradient)
	if g.trial.stage != stageRest { // it lowers the limit again itself
		g.fall = fall{}
	}
	if own, from := g.fall.watch(now, &w, limit, gradient); own > g.long {
		g.long += fallMove * (own - g.long)
		g.set(max(limit, from))
	} else if !g.try(&w, limit, gradient) {
		g.move(now, &w, limit, gradient)
	}
	g.seenLong.Store(int64(g.long))
	g.seenShort.Store(int64(g.short))
}

// infancy takes the latency of a window as the usual one, for as long as that may come from those
// answers alone that were fast, for slow ones take longer than there have been requests; or from chance.
func (g *Gradient) infancy(now time.Duration, w *window) {
	seen := w.sum / w.count
	if g.young++; g.young == 1 {
		g.began = now
	}
	g.short, g.long = seen, seen
	g.grown = g.young > 1 && float64(now-g.began) >= infant*seen && w.count >= infantSamples || g.young == infantWindows
	g.windows = min(g.windows, 1)
}

// window is what was seen in one.
type window struct {
	count, sum, dropped, peak float64
	pressed                   bool
}

// near reports whether requests in flight came near the limit.
func (w *window) near(limit float64) bool { return w.pressed || w.peak >= 0.75*limit }

func (g *Gradient) gradient(w *window) float64 {
	gradient := 1.0
	if g.short > 0 {
		now := g.short
		if w.count >= steadySamples {
			now = min(now, w.sum/w.count) // what is over already need not be mended
		}
		gradient = min(1, tolerance*g.long/now)
	}
	if w.dropped > 0 {
		gradient = min(gradient, 1-w.dropped/(w.dropped+w.count)/2)
	}
	return max(gradient, 0.5)
}

// move sets the limit.
func (g *Gradient) move(now time.Duration, w *window, limit, gradient float64) {
	switch {
	case gradient < 1:
		g.started = true
		g.firmTo.Store(int64(now + firmFor))
		limit += smoothing * (gradient*limit + math.Sqrt(limit) - limit)
	case !w.near(limit):
		return
	case !g.started && g.short > searchLatency*g.long:
		g.started = true
	case !g.started:
		limit *= searchGrowth
	default:
		limit += smoothing * math.Sqrt(limit)
	}
	g.set(limit)
}

// set publishes a limit within its bounds.
func (g *Gradient) set(limit float64) {
	b := g.bounds.Load()
	g.limit.Store(int64(min(max(limit, float64(b>>32)), float64(b&math.MaxUint32)) * 1000))
}

// learn moves the long latency.
func (g *Gradient) learn(w *window, limit, gradient float64) {
	if w.count == 0 {
		return
	}
	seen := w.sum / w.count
	switch {
	case g.windows < warmUp && (seen <= tolerance*g.long || !w.near(limit)):
		g.windows++
		g.long += (seen - g.long) / float64(g.windows)
	case g.short < g.long:
		g.long += sinkShare * (g.short - g.long)
	case !w.near(limit):
		g.long += risingShare * (g.short - g.long) // what holds requests back is not the limit
	}
}
