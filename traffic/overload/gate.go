// Package overload decides which requests are let through when there are more than can be
// carried: a limit with shares for classes, a short fair queue, what is given up meanwhile,
// and throttling towards a service that refuses. It is pure but for its locks: time is given,
// as a duration since any fixed moment, and so are random numbers. Who waits, and what a
// refused request is answered with, is the caller's business.
package overload

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/limit"
)

// Config is what a Gate is told; all of it may change while the gate is in use.
type Config struct {
	Limit    int             // requests at once; 0: any number, unless Adaptive
	Adaptive *model.Adaptive // nil: Limit holds
	Queue    *model.Queue    // nil: what is beyond the limit is refused
	Observe  bool            // everybody is let through, and what would have been is said
}

// Why says what kept a request from being let through.
type Why uint8

// The reasons.
const (
	WhyNone        Why = iota
	WhyConcurrency     // the limit is reached
	WhyPriority        // what is left is for higher classes, or one of them took the place in the queue
	WhyQueue           // the queue is full, or the wait was too long
)

// Kind is what a Gate does with a request.
type Kind uint8

// The kinds.
const (
	Admitted Kind = iota // it may go on; Leave follows
	Queued               // it waits: Waiter.Wake says what becomes of it, at the latest when Withdraw is called
	Refused
)

// Verdict is the answer to Enter. Where a gate only observes, an admitted request has the Why
// that would have kept it.
type Verdict struct {
	Kind Kind
	Why  Why
}

// Gate lets requests of one scope through, up to a limit. Any number of goroutines may use
// it. While there is room and nobody waits, a request costs some atomic operations and no
// lock; the count in flight never exceeds what the limit was at the time.
//
// Shares. Of the limit a part is kept for each class above the lowest, as long as that class
// has use for it: SheddablePlus 20 %, Critical 15 %, CriticalPlus 5 %. A class is let in only
// while the number in flight, of all classes, is below the limit less what is kept for the
// classes above it: with all four at work Sheddable stops at 60 %, SheddablePlus at 80 %,
// Critical at 95 %, CriticalPlus at 100 %. Nothing is kept for a class beyond twice what it
// had in flight or wanted at most within the last five to ten seconds: what is idle is lent.
//
//	limit 100; Critical has had 4 in flight at most, nobody else but Sheddable is there
//	kept: min(15, 2×4) = 8      Sheddable is let in below 92, Critical below 100
//
// Where all requests are Critical, as nobody has classified them, the whole limit is theirs.
// The price of lending: the first requests of a class that was not there find the place taken
// that it would have had, and wait, or are refused where there is no queue.
type Gate struct {
	inFlight atomic.Int64
	waiting  atomic.Int64
	limit    atomic.Int64 // math.MaxInt64: none
	ceilings [model.Classes]atomic.Int64
	observe  atomic.Bool
	rollsAt  atomic.Int64 // when the peaks of classes are looked at anew
	gradient atomic.Pointer[limit.Gradient]
	classes  [model.Classes]class
	heat     heat

	mu      sync.Mutex // of what follows
	config  Config
	learnt  *limit.Gradient // kept while there is a fixed limit
	queue   queue
	lending [model.Classes]int64 // peaks of the last period
}

// class is what is known of the requests of one class.
type class struct {
	inFlight atomic.Int64
	peak     atomic.Int64 // most in flight or wanted in this period
	admitted atomic.Uint64
	shed     atomic.Uint64
}

// kept is the share of the limit that is kept for a class.
var kept = [model.Classes]float64{
	model.ClassSheddablePlus: 0.20, model.ClassCritical: 0.15, model.ClassCriticalPlus: 0.05,
}

// period is how long a class's use of its share is remembered at least, and half of how long
// at most.
const period = 5 * time.Second

// NewGate returns a gate. The seed spreads the rows of the queue over where they are looked up, so that
// nobody can choose keys that are found slowly.
func NewGate(c Config, seed uint64) *Gate {
	g := &Gate{}
	g.queue.seed = seed
	g.Configure(c)
	return g
}

// Configure changes what the gate is told. Whoever is in flight stays, and whoever waits stays
// as far as there is room in the new queue.
func (g *Gate) Configure(c Config) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.config = c
	g.observe.Store(c.Observe)
	if c.Adaptive == nil {
		g.gradient.Store(nil)
	} else {
		if g.learnt == nil {
			g.learnt = limit.NewGradient(c.Adaptive.Min, c.Adaptive.Max)
		}
		g.learnt.Bound(c.Adaptive.Min, c.Adaptive.Max)
		g.gradient.Store(g.learnt)
	}
	size := 0
	if c.Queue != nil && !c.Observe {
		size = c.Queue.Size
	}
	g.queue.lifo = c.Queue != nil && c.Queue.LIFO
	g.share()
	g.dispatch()
	for g.queue.n > max(size, 0) {
		g.evictLowest(WhyQueue)
	}
}

// share works out the limit and up to where each class may fill it. The lock is held.
func (g *Gate) share() {
	most := int64(g.config.Limit)
	if g.config.Adaptive != nil {
		most = int64(g.learnt.Limit())
	}
	if most <= 0 {
		most = math.MaxInt64
	}
	g.limit.Store(most)
	ceiling := most
	for c := model.Classes - 1; c > model.ClassNone; c-- {
		g.ceilings[c].Store(max(ceiling, 1))
		if kept[c] > 0 && most < math.MaxInt64 {
			ceiling -= min(capOf(c, most), 2*max(g.classes[c].peak.Load(), g.lending[c]))
		}
	}
}

// capOf is the most that is kept of a limit for a class.
func capOf(c model.Class, most int64) int64 { return int64(math.Ceil(kept[c] * float64(most))) }

// Try lets a request through if there is room and nobody waits, and reports whether it did: the
// usual case of Enter, which is for when it did not.
func (g *Gate) Try(now time.Duration, c model.Class) bool {
	if int64(now) >= g.rollsAt.Load() {
		g.roll(now)
	}
	if g.observe.Load() || g.waiting.Load() > 0 || !g.take(c) {
		return false
	}
	g.let(c)
	return true
}

// Enter asks for a request to be let through. row is a hash of whose it is, for turns in the
// queue; 0 where that does not matter. w is for a request that may wait; where it is nil, or
// only observed, none does. After Admitted, Leave must follow, once.
func (g *Gate) Enter(now time.Duration, c model.Class, row uint64, w *Waiter) Verdict {
	if g.Try(now, c) {
		return Verdict{}
	}
	if g.observe.Load() {
		return g.watch(c)
	}
	if g := g.gradient.Load(); g != nil {
		g.Press()
	}
	g.want(c, g.classes[c].inFlight.Load()+1)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waiting.Load() == 0 && g.take(c) { // what the class wanted has just been kept for it
		g.let(c)
		return Verdict{}
	}
	why := g.why(c)
	if w == nil || g.config.Queue == nil || g.config.Queue.Size <= 0 {
		g.classes[c].shed.Add(1)
		return Verdict{Refused, why}
	}
	if g.queue.n >= g.config.Queue.Size && !g.makeRoom(c, row) {
		g.classes[c].shed.Add(1)
		return Verdict{Refused, WhyQueue}
	}
	g.queue.push(c, row, w)
	g.waiting.Add(1)
	g.dispatch() // places may have become free since
	return Verdict{Queued, why}
}

// take takes a place for a request of a class, if there is one.
func (g *Gate) take(c model.Class) bool {
	for {
		n := g.inFlight.Load()
		if n >= g.ceilings[c].Load() {
			return false
		}
		if g.inFlight.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// let counts a request whose place has been taken.
func (g *Gate) let(c model.Class) {
	of := &g.classes[c]
	of.admitted.Add(1)
	g.want(c, of.inFlight.Add(1))
}

// want notes how many places a class had or wanted at once.
func (g *Gate) want(c model.Class, n int64) {
	of := &g.classes[c]
	before := of.peak.Load()
	if n <= before {
		return
	}
	of.peak.Store(n) // of two at once one may be lost: the next wants as much
	if kept[c] > 0 && 2*before < capOf(c, g.bounded()) && g.mu.TryLock() {
		g.share()
		g.mu.Unlock()
	}
}

// bounded is the limit, and 0 where there is none.
func (g *Gate) bounded() int64 {
	if n := g.limit.Load(); n < math.MaxInt64 {
		return n
	}
	return 0
}

// watch lets a request through that is only observed.
func (g *Gate) watch(c model.Class) Verdict {
	n := g.inFlight.Add(1)
	v := Verdict{}
	if n > g.ceilings[c].Load() {
		v.Why = g.why(c)
		g.classes[c].shed.Add(1)
	}
	g.let(c)
	return v
}

// why says what keeps a request of a class out.
func (g *Gate) why(c model.Class) Why {
	if g.inFlight.Load() < g.limit.Load() && g.ceilings[c].Load() < g.limit.Load() {
		return WhyPriority
	}
	return WhyConcurrency
}

// roll begins a new period of peaks.
func (g *Gate) roll(now time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if int64(now) < g.rollsAt.Load() {
		return
	}
	g.rollsAt.Store(int64(now + period))
	for c := range g.classes {
		of := &g.classes[c]
		g.lending[c] = of.peak.Swap(of.inFlight.Load())
	}
	g.share()
	g.dispatch()
}

// Leave ends a request that was admitted. took is how long the service needed for it, which
// an adaptive limit learns from as o says.
func (g *Gate) Leave(now, took time.Duration, c model.Class, o limit.Outcome) {
	n := g.inFlight.Add(-1)
	g.classes[c].inFlight.Add(-1)
	changed := false
	if gradient := g.gradient.Load(); gradient != nil {
		changed = gradient.Observe(now, took, int(n+1), o)
	}
	if !changed && g.waiting.Load() == 0 {
		return
	}
	g.mu.Lock()
	if changed {
		g.share()
	}
	g.dispatch()
	g.mu.Unlock()
}

// Withdraw ends a wait: because it took too long (expired), or because nobody waits any more. It
// reports whether it did. If not, Wake has been called, and what it said counts.
func (g *Gate) Withdraw(w *Waiter, expired bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.in == nil {
		return false
	}
	if expired {
		g.classes[w.class].shed.Add(1)
	}
	g.queue.remove(w)
	g.waiting.Add(-1)
	return true
}

// Heat returns how busy the gate is, for what is given up meanwhile. Where an adaptive limit is
// only what has been tried so far, as after a start, it is measured by the limit's maximum.
func (g *Gate) Heat(now time.Duration) Heat {
	most := g.limit.Load()
	if most == math.MaxInt64 {
		return 0
	}
	if gradient := g.gradient.Load(); gradient != nil && !gradient.Firm(now) {
		most = int64(gradient.Max())
	}
	return g.heat.at(now, min((g.inFlight.Load()+g.waiting.Load())*1000/most, 1000))
}

// Status is a gate at one moment.
type Status struct {
	Limit            int // 0: none
	InFlight, Queued int
	Heat             float64 // what steps of degradation compare with their At
	Long, Short      time.Duration
	Classes          [model.Classes]ClassStatus
}

// ClassStatus is one class of a Status. Shed were refused, or would have been.
type ClassStatus struct {
	InFlight       int
	Ceiling        int // of all in flight, up to which the class is let in; 0: any number
	Admitted, Shed uint64
}

// Status returns how the gate stands. Its figures are read one after the other.
func (g *Gate) Status(now time.Duration) Status {
	s := Status{
		Limit: int(g.bounded()), InFlight: int(g.inFlight.Load()), Queued: int(g.waiting.Load()),
		Heat: g.Heat(now).Share(),
	}
	if gradient := g.gradient.Load(); gradient != nil {
		_, s.Long, s.Short = gradient.State()
	}
	for c := range g.classes {
		of := &g.classes[c]
		s.Classes[c] = ClassStatus{InFlight: int(of.inFlight.Load()), Admitted: of.admitted.Load(), Shed: of.shed.Load()}
		if s.Limit > 0 {
			s.Classes[c].Ceiling = int(g.ceilings[c].Load())
		}
	}
	return s
}

// Shed counts a request of a class that was refused before it came to the gate.
func (g *Gate) Shed(c model.Class) { g.classes[c].shed.Add(1) }
