package balance

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// Decay is the time constant of the latency average: after it, an old peak counts
	// for 1/e of what it did.
	Decay = 10 * time.Second
	// DefaultLatency stands for a host that has not answered yet.
	DefaultLatency = 30 * time.Millisecond
	// failureFactor and maxPenalty say what a failed try feeds into the average: so many
	// times the average as it is, at most this, at least the latency itself.
	failureFactor = 10
	maxPenalty    = 10 * time.Second
	// tryWeight is how much one try counts in a Share, and leastShare the share
	// below which there is none.
	tryWeight  = 0.1
	leastShare = 0.01
	// tickShift divides nanoseconds into the ticks (1.05 ms) that timestamps count.
	tickShift = 20
)

// Load is what is known about how busy a host is. It belongs to the host and outlives
// pickers. The zero Load is idle and untried. It is padded so that it shares no cache line.
//
// The latency average is peak-sensitive, as in Finagle's PeakEwma: a sample above it
// replaces it at once, a sample below pulls it down by the weight of the time that
// passed, w = exp(-Δt/Decay). Worked example: the average is 10 ms; 5 s later an answer
// takes 40 ms: 40 ms. 5 s later one takes 10 ms: w = e^-0.5 = 0.607, and the average
// 40 × 0.607 + 10 × 0.393 = 28.2 ms. A host that is asked nothing decays towards 0 in
// the same way, so that it is tried again.
//
// The share of failures is an average as well (see Share).
type Load struct {
	_ [48]byte
	// inFlight has the bit counted set while the load counts in the total.
	inFlight atomic.Int64
	total    atomic.Pointer[Total]
	// average holds the latency in nanoseconds (float32 bits) above the tick of its last
	// change (low 32 bits), so that one compare-and-swap changes both. 0: untried.
	average atomic.Uint64
	failing Share
	_       [48]byte
}

// Total counts the requests in flight of several loads, for Bound. It is padded so that it
// shares no cache line.
type Total struct {
	_        [56]byte
	inFlight atomic.Int64
	_        [56]byte
}

// InFlight returns the number of requests in flight.
func (t *Total) InFlight() int64 { return t.inFlight.Load() }

// counted marks a load that counts in its total. It stands in the same word as the number,
// so that each request is counted there exactly if it is in flight while the mark is set,
// whenever that changes.
const counted = 1 << 62

// Join makes the load count in the total, with what is in flight now. A load has one total
// for all its life. Join and Leave are called by one goroutine at a time.
func (l *Load) Join(t *Total) {
	if l.inFlight.Load()&counted != 0 {
		return
	}
	l.total.Store(t)
	t.inFlight.Add(unmarked(l.inFlight.Add(counted)))
}

// Leave ends that.
func (l *Load) Leave() {
	if l.inFlight.Load()&counted != 0 {
		l.total.Load().inFlight.Add(-l.inFlight.Add(-counted))
	}
}

// unmarked returns the number without the mark.
func unmarked(n int64) int64 { return n &^ counted }

// Begin counts a request in flight.
func (l *Load) Begin() {
	if l.inFlight.Add(1)&counted != 0 {
		l.total.Load().inFlight.Add(1)
	}
}

// End takes one back.
func (l *Load) End() {
	if l.inFlight.Add(-1)&counted != 0 {
		l.total.Load().inFlight.Add(-1)
	}
}

// InFlight returns the number of requests in flight.
func (l *Load) InFlight() int64 { return unmarked(l.inFlight.Load()) }

// Observe feeds the latency of an answer. now is as in Request. Of several samples
// within one tick (1.05 ms) only those above the average count.
func (l *Load) Observe(now int64, latency time.Duration) {
	l.failing.Count(now, false)
	l.learn(now, latency)
}

// Lag feeds that an answer would have taken longer than latency. Where answers take that long
// anyway it says nothing.
func (l *Load) Lag(now int64, latency time.Duration) {
	if latency > l.Latency(now) {
		l.learn(now, latency)
	}
}

// learn feeds a sample of latency.
func (l *Load) learn(now int64, latency time.Duration) {
	sample := float64(max(latency, 1))
	for {
		old := l.average.Load()
		next := sample
		if old != 0 {
			if value := valueOf(old); sample <= value {
				age := ageOf(old, now)
				if age == 0 {
					return
				}
				w := math.Exp(-age.Seconds() / Decay.Seconds())
				next = value*w + sample*(1-w)
			}
		}
		if l.average.CompareAndSwap(old, pack(next, now)) {
			return
		}
	}
}

// Fail feeds a failed try: a host that fails fast must not look attractive.
func (l *Load) Fail(now int64, latency time.Duration) {
	l.failing.Count(now, true)
	penalty := min(failureFactor*l.Latency(now), maxPenalty)
	l.learn(now, max(latency, penalty))
}

// Failing returns the share of recent tries that failed, 0 to 1.
func (l *Load) Failing(now int64) float64 { return l.failing.At(now) }

// Latency returns the average as it is now, DefaultLatency for an untried host.
func (l *Load) Latency(now int64) time.Duration {
	return time.Duration(l.latency(now))
}

func (l *Load) latency(now int64) float64 {
	packed := l.average.Load()
	if packed == 0 {
		return float64(DefaultLatency)
	}
	value := valueOf(packed)
	if age := ageOf(packed, now); age > 0 {
		value *= math.Exp(-age.Seconds() / Decay.Seconds())
	}
	return value
}

// Tried reports whether the average stands on any sample.
func (l *Load) Tried() bool { return l.average.Load() != 0 }

func pack(value float64, now int64) uint64 {
	return uint64(math.Float32bits(float32(value)))<<32 | uint64(uint32(now>>tickShift))
}

func valueOf(packed uint64) float64 {
	return float64(math.Float32frombits(uint32(packed >> 32)))
}

// ageOf returns the time since the average changed, in whole ticks. Ticks wrap after 52
// days: differences up to half of that are told apart from clocks that ran ahead, which
// count as no time.
func ageOf(packed uint64, now int64) time.Duration {
	ticks := int32(uint32(now>>tickShift) - uint32(packed))
	return time.Duration(max(ticks, 0)) << tickShift
}
