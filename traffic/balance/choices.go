package balance

import (
	"math"
	"slices"
)

// The power of two choices (Mitzenmacher 1996): draw two different hosts and take the
// better one. It comes close to always taking the best of all, at constant cost, and
// without the herd that follows when every proxy sends to the one best host.

// redrawsSecond is how often a second draw that equals the first is repeated.
const redrawsSecond = 4

// twoUntried draws two hosts by weight: different and untried ones where possible. They
// are equal only when there is no second host to choose.
func (a *alias) twoUntried(r Request) (first, second int) {
	first, random := a.drawUntried(r.Random, r.Tried)
	if len(a.hosts) == 1 {
		return a.hosts[0], a.hosts[0]
	}
	second, random = a.drawUntried(random, r.Tried)
	for i := 0; second == first && i < redrawsSecond; i++ {
		second, random = a.drawUntried(random, r.Tried)
	}
	if second == first {
		next := first + 1
		if next == len(a.hosts) {
			next = 0
		}
		next = untried(a.hosts, next, r.Tried)
		if !slices.Contains(r.Tried, a.hosts[next]) {
			second = next
		}
	}
	return a.hosts[first], a.hosts[second]
}

// LeastRequest takes the less busy of two hosts: busy is requests in flight per weight.
// The two are drawn by weight, and the second is taken only if it is no busier with the
// request than the first is without: so shares follow the weights when nothing is in
// flight, when everything is busy alike, and beside a host of small weight, which is idle
// most of the time for its weight's sake and not because it could take more.
//
// Worked example: A has weight 1 and 3 requests in flight, B weight 4 and 8. A's 3/1 is
// more than B's (8+1)/4 and A's (3+1)/1 more than B's 8/4: B, whichever was drawn first.
// With nothing in flight anywhere, the first drawn: B in four of five requests.
//
// A host that fails fast is never busy, and would attract requests. So the host of the two
// that fails more loses by chance, whatever is in flight, by what its share of failures
// (see Load) is greater: it keeps one in twenty of those, so that it is still known how it
// does. Worked example: A's share is 0.9 and B's 0.1. Of the requests that draw both,
// 0.95 × 0.8 = 76 % are B's at once, and the rest go to the less busy one.
type LeastRequest struct {
	table alias
	all   []Host
}

// NewLeastRequest returns a picker. Every host with a weight needs a Load.
func NewLeastRequest(hosts []Host) *LeastRequest {
	return &LeastRequest{newAlias(hosts), append([]Host(nil), hosts...)}
}

// Pick implements Picker.
func (p *LeastRequest) Pick(r Request) int {
	if len(p.table.hosts) == 0 {
		return -1
	}
	first, second := p.table.twoUntried(r)
	if first == second {
		return first
	}
	a, b := &p.all[first], &p.all[second]
	if r.Now != 0 {
		if worse := b.Load.Failing(r.Now) - a.Load.Failing(r.Now); worse != 0 && loses(math.Abs(worse), r.Random) {
			if worse > 0 {
				return first
			}
			return second
		}
	}
	if (b.Load.InFlight()+1)*int64(a.Weight) <= a.Load.InFlight()*int64(b.Weight) {
		return second
	}
	return first
}

// mostLost bounds the part of its choices that a host loses for its failures.
const mostLost = 0.95

// loses reports whether a host whose share of failures is greater by so much loses. The bits
// are those of the draw, mixed once more.
func loses(worse float64, random uint64) bool {
	return float64(mix(^random)>>11)/(1<<53) < mostLost*worse
}

// PeakEWMA takes the host of two that promises the shorter wait: its latency average
// (see Load) times the requests in flight including this one, divided by weight.
//
// Worked example, equal weights: A answers in 10 ms and has 4 requests in flight, B
// in 40 ms with none. A's 10 × 5 = 50 is more than B's 40 × 1: B. With 3 in flight at A
// they are equal, and the first drawn is taken.
//
// A host that has never answered is asked first, but by one request at a time as far as
// others are free: while that is in flight it counts as DefaultLatency. Without this a new
// host beside fast ones would learn nothing until they are busy.
//
// The two are drawn by weight: drawn evenly, as Finagle does, no host of n could receive
// more than 2/n of the requests, whatever its weight. Because the draw has counted the
// weights already, this request itself weighs at the first drawn no more than it would at
// the greater of the two: else a host of small weight, at which one request is much, would
// receive none while the others have little in flight. As more is in flight, shares approach
// weight divided by latency.
type PeakEWMA struct {
	table alias
	all   []Host
}

// NewPeakEWMA returns a picker. Every host with a weight needs a Load.
func NewPeakEWMA(hosts []Host) *PeakEWMA {
	return &PeakEWMA{newAlias(hosts), append([]Host(nil), hosts...)}
}

// Pick implements Picker.
func (p *PeakEWMA) Pick(r Request) int {
	if len(p.table.hosts) == 0 {
		return -1
	}
	first, second := p.table.twoUntried(r)
	if first == second {
		return first
	}
	a, b := &p.all[first], &p.all[second]
	if wait(b, b.Weight, r.Now) < wait(a, max(a.Weight, b.Weight), r.Now) {
		return second
	}
	return first
}

// wait returns the expected wait at a host in nanoseconds per weight, if the request itself
// counts as one at a host of this weight.
func wait(h *Host, weight uint32, now int64) float64 {
	inFlight := h.Load.InFlight()
	if inFlight == 0 && !h.Load.Tried() {
		return 0
	}
	return h.Load.latency(now) * (float64(inFlight)/float64(h.Weight) + 1/float64(weight))
}
