// Package breaker decides when a cluster that fails is given nothing more, and when it is
// tried again: pure, with the time passed in. What a failure is, and what becomes of a refused
// request, is not its business, nor are bounds on how much there may be at once.
package breaker

import (
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/model"
)

// State is whether requests go through.
type State uint8

// The states, in the order of their numbers in metrics.
const (
	Closed   State = iota // all do
	HalfOpen              // a few do, as probes
	Open                  // none does
)

// String returns the state's name in words.
func (s State) String() string { return [...]string{"closed", "half open", "open"}[s] }

const (
	// maxGrowth bounds how many times OpenFor a trip that fails all its probes stays open: probes
	// are few, and a backend that is well again should not wait for long to be asked.
	maxGrowth = 3
	// jitter is the part of its time that it may stay open longer, at random, so that proxies
	// that have tripped together do not probe together.
	jitter = 0.25
)

// Trip is a breaker that opens by the share of failures among the last tries
// (model.Trip). It is safe for concurrent use. While it is closed a success costs two or three
// loads, as long as none of the last tries has failed; nothing there takes a lock.
//
//	            failures ≥ Failures × Of, among the last Of
//	┌────────┐ ───────────────────────────────────────────► ┌──────┐
//	│ Closed │                                              │ Open │ ◄──┐
//	└────────┘ ◄─── Probes successes ─── ┌──────────┐ ◄──── └──────┘    │
//	                in a row             │ HalfOpen │  OpenFor is over  │
//	                                     └──────────┘ ── a probe fails ─┘ (for longer, up to three times)
//
// Tries that are not there yet count as successes: a breaker of 50 % of 20 opens at the tenth
// failure within 20 tries, be they the first ten ever or spread over a day. So a cluster of
// little traffic trips as soon as one of much traffic, and no single failure trips it.
//
// Worked example, 50 % of 6 (3 failures), open for 10s, 2 probes; + is a success, - a failure:
// + - + - - opens it at the fifth try, with 3 of the last 6 failed. Ten seconds later two
// requests go through; one fails, and it is open for 20 seconds. Then two succeed: it is
// closed, and has forgotten all that was before.
//
// A try counts only in the state in which it was admitted: what was sent before the breaker
// opened, and fails later, says nothing about the cluster as it is then.
type Trip struct {
	random func() uint64
	spec   atomic.Pointer[model.Trip] // nil: never trips
	ring   atomic.Pointer[ring]       // of the last tries while closed; nil: it has never been configured

	// era counts the states, and the rounds of probes, that there have been. It is what admitted
	// tries are of.
	era atomic.Uint32
	// until is 0 while closed; else until when nothing goes through, or less than now: who asks
	// then takes mu.
	until atomic.Int64

	mu      sync.Mutex
	state   State
	since   int64 // of state
	growth  int   // how many times OpenFor it is open at least
	probing int   // in flight
	passed  int   // probes in a row
	probed  int64 // when the last probe was let through
}

// Pass is a try that was admitted. The zero Pass is one that counts nowhere.
type Pass struct {
	era  uint32
	kind uint8
}

const (
	uncounted uint8 = iota
	counted
	probe
)

// Probe reports whether the breaker closes or opens by what becomes of the try.
func (p Pass) Probe() bool { return p.kind == probe }

// New returns a closed Trip that never trips until it is configured. random returns uniformly
// random bits.
func New(random func() uint64) *Trip { return &Trip{random: random} }

// Configure has the breaker work by spec from now on; nil: it closes, and never trips. What
// has been counted stays, as far as it is of the last Of tries; a lower threshold acts with the
// next failure. A shorter OpenFor shortens the time that it is open.
func (t *Trip) Configure(now int64, spec *model.Trip) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spec.Store(spec)
	if spec == nil {
		if t.ring.Load() != nil {
			t.close(now)
			t.ring.Store(nil)
		}
		return
	}
	if old := t.ring.Load(); old == nil || old.size != spec.Of {
		t.ring.Store(old.resized(spec.Of))
	}
	if t.state == Open {
		longest := time.Duration(float64(t.lasts(spec)) * (1 + jitter))
		t.until.Store(min(t.until.Load(), t.since+int64(longest)))
	}
}

// Admit asks for a try at now, in nanoseconds of any clock that does not go back. ok says that
// it may go ahead; then exactly one of Done and Excuse follows. Else wait is how long the
// breaker is open still; 0: as many probe as may.
func (t *Trip) Admit(now int64) (p Pass, wait time.Duration, ok bool) {
	if t.spec.Load() == nil {
		return Pass{}, 0, true
	}
	era := t.era.Load() // before until: a state that comes in between is another era
	until := t.until.Load()
	if until == 0 {
		return Pass{era: era, kind: counted}, 0, true
	}
	if now < until {
		return Pass{}, time.Duration(until - now), false
	}
	return t.probe(now)
}

// probe admits what is asked for while it is not closed.
func (t *Trip) probe(now int64) (p Pass, wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	spec := t.spec.Load()
	until := t.until.Load()
	switch {
	case spec == nil || until == 0: // meanwhile
		return Pass{}, 0, true
	case now < until:
		return Pass{}, time.Duration(until - now), false
	case t.state == Open:
		t.turn(HalfOpen, now)
	case t.probing >= max(spec.Probes, 1):
		if now-t.probed < int64(spec.OpenFor) {
			return Pass{}, 0, false
		}
		t.turn(HalfOpen, now) // probes that do not end must not keep it half open for ever
	}
	t.probing++
	t.probed = now
	return Pass{era: t.era.Load(), kind: probe}, 0, true
}

// Done says how an admitted try ended.
func (t *Trip) Done(now int64, p Pass, failed bool) {
	if p.kind == uncounted || p.era != t.era.Load() {
		return
	}
	if p.kind == probe {
		t.judge(now, p, failed)
		return
	}
	r := t.ring.Load()
	spec := t.spec.Load()
	if r == nil || spec == nil {
		return
	}
	if failures := r.add(failed); failed && failures >= threshold(spec) {
		t.trip(now, p)
	}
}

// Excuse takes an admitted try back that says nothing about the cluster.
func (t *Trip) Excuse(p Pass) {
	if p.kind != probe {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.era == t.era.Load() {
		t.probing--
	}
}

// trip opens the breaker.
func (t *Trip) trip(now int64, p Pass) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if spec := t.spec.Load(); spec != nil && t.state == Closed && p.era == t.era.Load() {
		t.growth = 1
		t.open(now, spec)
	}
}

// judge takes the verdict of one probe.
func (t *Trip) judge(now int64, p Pass, failed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	spec := t.spec.Load()
	if spec == nil || t.state != HalfOpen || p.era != t.era.Load() {
		return
	}
	t.probing--
	if failed {
		t.growth = min(2*t.growth, maxGrowth)
		t.open(now, spec)
		return
	}
	if t.passed++; t.passed >= max(spec.Probes, 1) {
		t.close(now)
	}
}

// Close closes the breaker whatever its probes say, and returns the state that it was in. Tries that are
// under way say nothing about it any more.
func (t *Trip) Close(now int64) (was State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if was = t.state; was == Open && now >= t.until.Load() {
		was = HalfOpen
	}
	if was != Closed {
		t.close(now)
	}
	return was
}

// open is called with mu held, as are close, turn and lasts.
func (t *Trip) open(now int64, spec *model.Trip) {
	t.turn(Open, now)
	d := float64(t.lasts(spec))
	d *= 1 + jitter*float64(t.random()>>11)/(1<<53)
	t.until.Store(max(now+int64(d), 1))
}

func (t *Trip) close(now int64) {
	t.turn(Closed, now)
	t.growth = 1
	if r := t.ring.Load(); r != nil {
		t.ring.Store(newRing(r.size))
	}
	t.until.Store(0) // last: whoever sees it sees the rest
}

// turn begins a state, or another round of probes.
func (t *Trip) turn(s State, now int64) {
	if t.state != s {
		t.state, t.since, t.passed = s, now, 0
	}
	t.probing = 0
	t.era.Add(1)
}

// lasts is how long the breaker stays open at least.
func (t *Trip) lasts(spec *model.Trip) time.Duration {
	return spec.OpenFor * time.Duration(t.growth)
}

// threshold is how many of the last Of tries must have failed.
func threshold(spec *model.Trip) int {
	n := int(spec.Failures * float64(spec.Of))
	if float64(n) < spec.Failures*float64(spec.Of)-1e-9 {
		n++
	}
	return max(n, 1)
}

// Status is a breaker as people and programs see it.
type Status struct {
	State    State
	Since    int64         // when it came to State; 0: it has always been closed
	Wait     time.Duration // until probes are let through; only if Open
	Failures int           // of the last tries, while Closed
	Needed   int           // that many open it; 0: nothing does
	Of       int
	Probing  int // in flight, while HalfOpen
	Passed   int // probes in a row, while HalfOpen
}

// Status returns what the breaker is like at now. One whose time is over is HalfOpen, though no
// probe may have come yet.
func (t *Trip) Status(now int64) Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Status{State: t.state, Since: t.since}
	spec := t.spec.Load()
	if spec == nil {
		return s
	}
	s.Needed, s.Of = threshold(spec), spec.Of
	switch t.state {
	case Closed:
		s.Failures = t.ring.Load().failures()
	case HalfOpen:
		s.Probing, s.Passed = t.probing, t.passed
	case Open:
		if until := t.until.Load(); now < until {
			s.Wait = time.Duration(until - now)
		} else {
			s.State, s.Since = HalfOpen, until
		}
	}
	return s
}
