package overload

import (
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/model"
)

// Throttle refuses requests to a service before they are sent, as soon as the service itself
// refuses many (Site Reliability Engineering, chapter 21: client-side throttling). Over a
// window it counts the requests that wanted to go there and those that were accepted; a new
// one is refused with the probability
//
//	max(0, (requests − K × accepts) / (requests + 1))
//
// where K is the accept ratio. With K = 2, of 100 wanted and 40 accepted: (100 − 80)/101 = 20 %.
// Refused requests count as wanted, so that the more there are, the fewer pass, and the
// service gets about K times what it accepts.
//
// K depends on the class, so that lower ones are refused earlier and more often: of its excess
// over 1, Sheddable has a quarter, SheddablePlus a half, CriticalPlus twice as much.
//
//	K = 2     Sheddable 1.25   SheddablePlus 1.5   Critical 2   CriticalPlus 3
//	100 wanted, 60 accepted:   25 %   10 %   0   0
//
// One in ten is always let through, to see whether the service is back, and nothing is refused
// before there were ten requests.
type Throttle struct {
	width atomic.Int64 // nanoseconds of a bucket
	next  atomic.Int64 // when the present bucket ends
	at    atomic.Int64 // which it is

	requests, accepts atomic.Int64 // of all buckets

	mu      sync.Mutex // of changing buckets
	buckets [buckets]bucket
}

type bucket struct{ requests, accepts atomic.Int64 }

const (
	buckets       = 20
	throttleMost  = 0.9
	throttleFloor = 10 // requests in the window
)

// excess is the part of an accept ratio's excess over 1 that a class has.
var excess = [model.Classes]float64{1, 0.25, 0.5, 1, 2}

// NewThrottle returns a throttle that counts over a window; one of 0 is 30 seconds.
func NewThrottle(window time.Duration) *Throttle {
	t := &Throttle{}
	t.SetWindow(window)
	return t
}

// SetWindow changes the window. What has been counted stays, and counts as if it had been
// counted with it.
func (t *Throttle) SetWindow(window time.Duration) {
	if window <= 0 {
		window = 30 * time.Second
	}
	t.width.Store(max(int64(window)/buckets, 1))
}

// Probability returns the probability with which a request is refused now, 0 to 0.9.
func (t *Throttle) Probability(now time.Duration, acceptRatio float64, c model.Class) float64 {
	t.turn(now)
	requests, accepts := float64(t.requests.Load()), float64(t.accepts.Load())
	if requests < throttleFloor {
		return 0
	}
	k := 1 + (acceptRatio-1)*excess[c]
	return min(max((requests-k*accepts)/(requests+1), 0), throttleMost)
}

// Counts returns what the window holds: requests that wanted to go to the service, and those
// that it accepted.
func (t *Throttle) Counts(now time.Duration) (requests, accepts int64) {
	t.turn(now)
	return t.requests.Load(), t.accepts.Load()
}

// Refuse decides about a request, given how to draw a random number, which it does only where
// it matters. A refused one is counted; of any other, Count says later how it ended.
func (t *Throttle) Refuse(now time.Duration, acceptRatio float64, c model.Class, draw func() uint64) bool {
	p := t.Probability(now, acceptRatio, c)
	if p == 0 || float64(draw()>>11)/(1<<53) >= p {
		return false
	}
	t.add(false)
	return true
}

// Count counts a request that was sent, and whether the service accepted it.
func (t *Throttle) Count(now time.Duration, accepted bool) {
	t.turn(now)
	t.add(accepted)
}

func (t *Throttle) add(accepted bool) {
	b := &t.buckets[t.at.Load()]
	b.requests.Add(1)
	t.requests.Add(1)
	if accepted {
		b.accepts.Add(1)
		t.accepts.Add(1)
	}
}

// turn goes on to the bucket of the present time, and forgets what is older than the window.
func (t *Throttle) turn(now time.Duration) {
	if int64(now) < t.next.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	width := t.width.Load()
	late := int64(now) - t.next.Load()
	if late < 0 {
		return
	}
	for i := min(late/width+1, buckets); i > 0; i-- {
		at := (t.at.Load() + 1) % buckets
		b := &t.buckets[at]
		t.requests.Add(-b.requests.Swap(0))
		t.accepts.Add(-b.accepts.Swap(0))
		t.at.Store(at)
	}
	t.next.Store(int64(now) + width - late%width)
}
