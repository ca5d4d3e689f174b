package balance

import (
	"math/bits"
)

const (
	// pointsPerHost is how many points of the ring the host of least weight has at least.
	// Shares are off by about 1/√points: 6 %.
	pointsPerHost = 256
	// maxPoints bounds a ring (16 bytes a point); every host has one point all the same.
	maxPoints = 1 << 19
)

// RingHash serves a request by the host whose point on a ring is the first at or after the
// request's hash (Karger et al., Consistent Hashing and Random Trees, 1997; many points a host
// as in Jones' libketama, 2007). The points of a host are hashes of its identity and a
// number: when a host comes or goes, only the requests that it gets or had move.
//
// A host has 2^k points for each unit of its weight, with one k for all such that the
// smallest has 256 to 511 points. So the points of the others stay when a host comes or
// goes, unless that changes k: a new smallest weight, or a ring that would exceed half a
// million points. Then each has half of the points that it had, or twice as many.
//
// Worked example: A and B with one point each, at 0.3 and 0.8 of the ring. Hashes above 0.3
// and up to 0.8 belong to B, the others to A. C comes with a point at 0.5: it takes those above
// 0.3 and up to 0.5 from B, and nothing else moves.
type RingHash struct {
	hashed[uint32]
	points []uint64 // ascending; the host of points[i] is all[order[i]]
	// starts[b] is the number of points before bucket b: the buckets divide the ring evenly
	// by the upper bits of a hash, so that a lookup begins one or two points from its end.
	starts []uint32
	shift  uint // what is left of a hash shifted right by it is its bucket
}

// NewRingHash returns a picker. Hosts need an Identity, and with a bound a Load.
func NewRingHash(hosts []Host, bound Bound) *RingHash {
	p := &RingHash{hashed: newHashed[uint32](hosts, bound)}
	p.place(ringPoints(p.all, p.hosts))
	return p
}

// Pick implements Picker.
func (p *RingHash) Pick(r Request) int {
	if len(p.order) == 0 {
		return -1
	}
	hash := mix(r.Hash)
	at := int(p.starts[hash>>p.shift])
	for at < len(p.points) && p.points[at] < hash {
		at++
	}
	if at == len(p.points) {
		at = 0
	}
	return p.pick(at, r.Tried)
}

// ringPoints returns how many points each of the listed hosts has.
func ringPoints(hosts []Host, list []int) []int {
	if len(list) == 0 {
		return nil
	}
	least := uint32(1<<32 - 1)
	for _, h := range list {
		least = min(least, hosts[h].Weight)
	}
	// least · 2^k is in [pointsPerHost, 2·pointsPerHost).
	k := bits.Len(pointsPerHost) - bits.Len32(least)
	points := make([]int, len(list))
	for {
		sum := uint64(0)
		for i, h := range list {
			n := shifted(uint64(hosts[h].Weight), k)
			points[i] = int(n)
			sum += n
		}
		if sum <= uint64(max(maxPoints, len(list))) {
			return points
		}
		k--
	}
}

// shifted returns max(1, x·2^k), for x up to 2^32 and k up to 9.
func shifted(x uint64, k int) uint64 {
	if k >= 0 {
		return x << k
	}
	return max(1, x>>-k)
}

// place puts each listed host's points on the ring: first into buckets, then sorted in
// each bucket, which holds one or two.
func (p *RingHash) place(points []int) {
	sum := 0
	for _, n := range points {
		sum += n
	}
	width := max(0, bits.Len(uint(sum))-1)
	p.shift = uint(64 - width)
	p.starts = make([]uint32, 1<<width+1)
	p.each(points, func(point uint64, _ int) { p.starts[point>>p.shift+1]++ })
	for b := 1; b < len(p.starts); b++ {
		p.starts[b] += p.starts[b-1]
	}
	p.points = make([]uint64, sum)
	p.order = make([]uint32, sum)
	filled := make([]uint32, 1<<width)
	p.each(points, func(point uint64, h int) {
		b := point >> p.shift
		begin := p.starts[b]
		at := begin + filled[b]
		filled[b]++
		for ; at > begin && p.before(point, h, at-1); at-- {
			p.points[at], p.order[at] = p.points[at-1], p.order[at-1]
		}
		p.points[at], p.order[at] = point, uint32(h)
	})
}

// each calls f with every point and the index of its host.
func (p *RingHash) each(points []int, f func(point uint64, h int)) {
	for i, h := range p.hosts {
		identity := identify(p.all[h].Identity)
		for n := range points[i] {
			f(mix(identity+uint64(n)), h)
		}
	}
}

// before reports whether a host's point comes before the one placed at a position. Equal
// points are ordered by identity, so that the order of the hosts means nothing.
func (p *RingHash) before(point uint64, h int, at uint32) bool {
	if other := p.points[at]; point != other {
		return point < other
	}
	return p.all[h].Identity < p.all[p.order[at]].Identity
}
