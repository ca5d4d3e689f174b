package limit

import "time"

// fall watches what becomes of it when the limit falls, for the same reason as a trial, and costs
// nothing: where latency comes from waiting, it falls as the limit does, and as much is answered as
// before. Where latency stays and less is answered, the service just takes that long, and what the limit
// has lost was taken from it in vain.
//
//	limit     228   171   128    96    72     a hundred workers who need 250 ms now, 100 before
//	seen      570   427   320   250   250 ms
//	answers   400   400   400   384   288 a second
//	                                   ▲ from 96 by 25 %, latency by nothing, answers by 25 %
//
// Latency is that of requests that came one window ago, for a window lasts about as long as a
// request: so it is held against the limit of the window before.
type fall struct {
	windows    int     // in a row in which the limit held requests back and was too high
	before     float64 // limit of the last one
	since      time.Duration
	count, sum float64 // answers since then
	limits     float64 // sum of the limits under which they came

	limit, rate float64 // where it began; 0: nowhere yet
	latency     float64 // there, or of the last comparison
}

const (
	fallSettle  = 3 // windows until those who came before have left
	fallSamples = 200
	fallStep    = 0.2 // by which the limit falls between comparisons
	fallRise    = 1.1 // times the last latency: it still rises, and nothing can be said
	fallLatency = 0.4 // of that, by which latency has fallen at most where it was in vain
	fallRate    = 0.6 // and answers at least
)

// watch takes a window. When the limit has fallen in vain, it returns the latency that turned
// out to be the service's own, and the limit from which it fell; else 0.
func (f *fall) watch(now time.Duration, w *window, limit, gradient float64) (own, from float64) {
	before := f.before
	if gradient == 1 || !w.pressed || w.dropped > 0 || w.peak > 1.1*limit+1 {
		*f = fall{}
		return 0, 0
	}
	f.before = limit
	if f.windows++; f.windows <= fallSettle {
		f.since = now
		return 0, 0
	}
	f.count += w.count
	f.sum += w.sum
	f.limits += w.count * before
	if f.count < fallSamples || now <= f.since {
		return 0, 0
	}
	latency, rate, under := f.sum/f.count, f.count/(now-f.since).Seconds(), f.limits/f.count
	f.since, f.count, f.sum, f.limits = now, 0, 0, 0
	if latency > fallRise*f.latency { // as it does at first: answers may not yet have become fewer
		f.limit, f.latency = 0, latency
		return 0, 0
	}
	if f.limit > 0 {
		step := 1 - under/f.limit
		if step < fallStep {
			return 0, 0
		}
		if 1-latency/f.latency < fallLatency*step && 1-rate/f.rate > fallRate*step {
			own, from = latency, f.limit
		}
	}
	f.limit, f.latency, f.rate = under, latency, rate
	return own, from
}
