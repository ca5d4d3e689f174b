package limit

import (
	"math"
	"time"
)

// fall watches what becomes of it when the limit falls, for the same reason as a trial, and costs
// nothing. Where requests wait for workers, all of those go on working as the limit falls: as much
// is answered as before, and latency becomes less. Where the limit is below the number of workers, each
// request just takes as long as it does, and answers become fewer as the limit does: it has fallen in vain.
//
//	limit     228   171   128    96    72     a hundred workers who need 250 ms now, 100 before
//	seen      570   427   320   250   250 ms
//	answers   400   400   400   384   288 a second
//	                             └──────────  in vain, from about 96
//
// How much they become fewer is a matter of chance as well, so all that was counted is weighed, not
// the last two figures. Answers come like the ticks of a Geiger counter. If they come at a rate a ×
// limit, then c of them in a time t under a limit l are a × l × t on average; if at a rate b, b × t.
// With a and b that fit best, all are likelier under the first than under the second by a factor
// whose logarithm is
//
//	evidence = Σ c × ln(l) − C × ln(L)     C: answers in all, L: average of the limit over the time
//
// which grows with the answers and the square of how far the limit has come. For 100 answers under
// a limit of 96, 80 under 80 and 60 under 60, each time in as long, it is 456.5 + 350.6 + 245.7 −
// 240 × ln(78.7) = 5.0. As nobody knows where the workers were no longer all busy, it is asked of every
// part of the fall that lasts until now (a generalised likelihood ratio test: Basseville and
// Nikiforov, Detection of Abrupt Changes, 1993).
type fall struct {
	windows int           // in a row in which the limit held requests back and was too high
	since   time.Duration // end of the last one
	steps   [fallSteps]fallStep
	n       int // of steps
	resting int // windows since the last step began
	rising  int // windows in a row of which latency was more than of the fall as a whole
}

// fallStep is what was seen while the limit was about the same.
type fallStep struct {
	count, sum float64 // answers, and their latencies in nanoseconds
	seconds    float64
	area       float64 // sum of the limit × seconds
}

const (
	fallSettle = 3    // windows until those who came before have left
	fallShare  = 0.95 // of the last step's limit, below which another begins
	fallSteps  = 64   // a fall to a 25th at least
	fallProof  = 6.0  // evidence that is enough: chance brings so much once in some hundred falls
	fallRests  = 8    // windows without a step after which the limit is at rest
	fallLeast  = 0.8  // of the limit where it began: a small change of the workers looks like a small fall in vain
	fallRise   = 0.15 // by which latency grows when the service has changed: what was before is of another one
	fallRising = 2    // windows of which that is no chance
	fallChance = 3.0  // divided by √answers: by which it grows by chance

	// fallMove is how far the long latency moves to the service's own. With it, tolerance × long is
	// at least what was seen, whatever the long latency was: the limit does not go on falling.
	fallMove = 1 / tolerance
)

// watch takes a window. When the limit has fallen in vain, it returns the latency that turned
// out to be the service's own, and the limit from which it fell so; else 0.
func (f *fall) watch(now time.Duration, w *window, limit, gradient float64) (own, from float64) {
	if gradient == 1 || !w.pressed || w.dropped > 0 || w.peak > 1.1*limit+1 {
		*f = fall{}
		return 0, 0
	}
	seconds := (now - f.since).Seconds()
	f.since = now
	if f.windows++; f.windows <= fallSettle || seconds <= 0 {
		return 0, 0
	}
	if f.rises(w) {
		if f.rising++; f.rising == fallRising {
			*f = fall{since: now}
			return 0, 0
		}
	} else {
		f.rising = 0
	}
	if f.resting > 0 && f.resting%fallRests == 0 {
		f.forget()
	}
	if f.n == 0 || limit < fallShare*f.steps[f.n-1].limit() {
		if f.n == fallSteps {
			f.n = copy(f.steps[:], f.steps[1:])
		}
		f.steps[f.n] = fallStep{}
		f.n++
		f.resting = 0
	}
	f.resting++
	f.steps[f.n-1].add(&fallStep{w.count, w.sum, seconds, limit * seconds})
	return f.judge()
}

// rises reports whether latency has become more since the fall began. As the limit falls it becomes
// less, or stays.
func (f *fall) rises(w *window) bool {
	var all fallStep
	for i := range f.n {
		all.add(&f.steps[i])
	}
	chance := max(fallRise, fallChance/math.Sqrt(w.count))
	return all.count > 0 && w.count > 0 && w.sum/w.count > (1+chance)*all.sum/all.count
}

// forget leaves of what was seen half of the last step. It is for a limit that rests: it may do so for
// long, and what is seen when it falls again is to be held against what was shortly before.
func (f *fall) forget() {
	f.steps[0] = f.steps[f.n-1]
	f.steps[0].scale(0.5)
	f.n = 1
}

func (s *fallStep) add(t *fallStep) {
	s.count += t.count
	s.sum += t.sum
	s.seconds += t.seconds
	s.area += t.area
}

// limit returns its average.
func (s *fallStep) limit() float64 { return s.area / s.seconds }

// judge weighs the evidence of each part of the fall, the latest first. Of those with enough the
// longest counts: the latency is best known there, and the limit is where it began.
func (f *fall) judge() (own, from float64) {
	var all fallStep
	logs := 0.0
	for i := f.n - 1; i >= 0; i-- {
		s := &f.steps[i]
		all.add(s)
		logs += s.count * math.Log(s.limit())
		if f.steps[f.n-1].limit() <= fallLeast*s.limit() && logs-all.count*math.Log(all.limit()) >= fallProof {
			own, from = all.sum/all.count, s.limit()
		}
	}
	if own > 0 {
		*f = fall{}
	}
	return own, from
}

// rests reports whether the limit has come to rest after falling.
func (f *fall) rests() bool { return f.resting >= fallRests }

func (s *fallStep) scale(x float64) {
	s.count *= x
	s.sum *= x
	s.seconds *= x
	s.area *= x
}
