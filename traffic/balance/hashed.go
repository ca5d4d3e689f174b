package balance

import (
	"math"
	"slices"
)

// hashed is what RingHash and Maglev share: hosts stand in an order, much longer than the
// list of hosts, into which a request's hash points. Where the host that it points to may
// not be taken, those that stand behind it follow, as often as they stand there.
type hashed[index uint16 | uint32] struct {
	order []index // into all
	all   []Host
	hosts []int // with a weight
	bound Bound
	parts []float64 // of all requests in flight that a host may have, by index into all
}

// maxSteps bounds the places in the order that one choice looks at. After them each host is
// looked at once, so that a host which stands almost everywhere hides no other.
const maxSteps = 64

// Bound limits the requests in flight at each host, so that a popular key does not overload
// its host: consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, SODA 2018).
// A host of weight share s takes a request only if it has then at most ⌈Factor · s · (n + 1)⌉
// in flight, where n are in flight at all hosts together.
//
// Worked example: Factor 1.25, four hosts of equal weight, 7 requests in flight. No host may
// have more than ⌈1.25 · ¼ · 8⌉ = 3: a host that has 3 is passed over.
//
// With Factor 1 or more some host is always free. Who is passed over for load is still taken
// before one that was tried.
type Bound struct {
	Factor float64 // 0: no bound
	Part   float64 // of the requests in Total that these hosts are meant to have, to 1; 0: all
	Total  *Total  // in which the hosts' loads count; set if Factor is
}

func newHashed[index uint16 | uint32](hosts []Host, bound Bound) hashed[index] {
	p := hashed[index]{all: slices.Clone(hosts), hosts: eligible(hosts), bound: bound}
	if bound.Factor == 0 {
		return p
	}
	if p.bound.Part == 0 {
		p.bound.Part = 1
	}
	sum := 0.0
	for _, h := range hosts {
		sum += float64(h.Weight)
	}
	p.parts = make([]float64, len(hosts))
	for i, h := range hosts {
		p.parts[i] = p.bound.Factor * p.bound.Part * float64(h.Weight) / sum
	}
	return p
}

// pick returns the host at a place of the order, or the first behind it that may be taken.
func (p *hashed[index]) pick(start int, tried []int) int {
	first := int(p.order[start])
	if len(tried) == 0 && p.parts == nil {
		return first
	}
	total := int64(0)
	if p.parts != nil {
		total = p.bound.Total.InFlight()
	}
	spare := -1 // not tried, but loaded
	for i, at := 0, start; i < min(maxSteps, len(p.order)); i++ {
		h := int(p.order[at])
		if !slices.Contains(tried, h) {
			if p.free(h, total) {
				return h
			}
			if spare < 0 {
				spare = h
			}
		}
		if at++; at == len(p.order) {
			at = 0
		}
	}
	for i := range p.hosts {
		h := p.hosts[(start+i)%len(p.hosts)]
		if !slices.Contains(tried, h) {
			if p.free(h, total) {
				return h
			}
			if spare < 0 {
				spare = h
			}
		}
	}
	if spare < 0 {
		return first
	}
	return spare
}

// free reports whether the host may take one more request while total are in flight.
func (p *hashed[index]) free(h int, total int64) bool {
	if p.parts == nil {
		return true
	}
	return float64(p.all[h].Load.InFlight()+1) <= math.Ceil(p.parts[h]*float64(total+1))
}

// identify returns a hash of a host's identity: FNV-1a, finished by mix because it spreads
// short strings badly. It must never change: every proxy of a fleet, whatever its version,
// has to come to the same ring and table.
func identify(identity string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(identity) {
		h = (h ^ uint64(identity[i])) * 0x100000001b3
	}
	return mix(h)
}
