package balance

import (
	"math/bits"
	"slices"
	"strings"
)

// maglevSize is the number of entries of a Maglev table, a prime. The paper wants a hundred
// entries a host for shares within 1 %: up to 655 hosts. The size never follows the number of
// hosts, because a table of another size moves nearly every request.
const maglevSize = 65537

// Maglev serves a request by the host in the entry of a table that its hash points to. Every
// host has a permutation of all entries; the hosts take turns, and in its turn each takes
// the next entry of its permutation that is still free, until all are taken (Eisenbud et
// al., Maglev: A Fast and Reliable Software Network Load Balancer, NSDI 2016, section 3.4).
// A host has as many turns as its weight says, in RoundRobin's order, one at least.
//
// Shares are as exact as the table is large, and a lookup is one memory access. When a host
// comes or goes, about one request in a hundred moves besides those that it gets or had. The
// table takes 128 KiB where there is more than one host: for thousands of small clusters
// RingHash is the better choice. Of more than 65,536 hosts the others are never chosen.
//
// Worked example, a table of 5: A's permutation is 3, 0, 2, 4, 1 and B's 0, 3, 1, 4, 2. A takes 3;
// B 0; A, as 0 is taken, 2; B, as 3 is taken, 1; A 4. The table: B, B, A, A, A.
type Maglev struct{ hashed[uint16] }

// NewMaglev returns a picker. Hosts need an Identity, and with a bound a Load. Equal hosts
// make equal tables, whatever their order.
func NewMaglev(hosts []Host, bound Bound) *Maglev {
	hosts = hosts[:min(len(hosts), maglevSize-1)]
	p := &Maglev{newHashed[uint16](hosts, bound)}
	switch len(p.hosts) {
	case 0:
	case 1:
		p.order = []uint16{uint16(p.hosts[0])} // as good as a whole table
	default:
		slices.SortFunc(p.hosts, func(a, b int) int { return strings.Compare(p.all[a].Identity, p.all[b].Identity) })
		p.fill()
	}
	return p
}

// Pick implements Picker.
func (p *Maglev) Pick(r Request) int {
	if len(p.order) == 0 {
		return -1
	}
	at, _ := bits.Mul64(mix(r.Hash), uint64(len(p.order)))
	return p.pick(int(at), r.Tried)
}

// fill makes the table.
func (p *Maglev) fill() {
	walks := make([]permutation, len(p.hosts))
	weights := make([]uint64, len(p.hosts))
	for i, h := range p.hosts {
		identity := identify(p.all[h].Identity)
		walks[i] = permutation{uint32(identity % maglevSize), uint32(mix(identity)%(maglevSize-1)) + 1}
		weights[i] = uint64(p.all[h].Weight)
	}
	// Fewer turns than entries, so that every host has its own before the table is full.
	turns := schedule(scale(weights, min(scheduleLimit(len(weights)), maglevSize-len(weights))))
	p.order = make([]uint16, maglevSize)
	taken := make([]bool, maglevSize)
	for n := range maglevSize {
		i := turns[n%len(turns)]
		entry := walks[i].step()
		for taken[entry] {
			entry = walks[i].step()
		}
		taken[entry] = true
		p.order[entry] = uint16(p.hosts[i])
	}
}

// permutation is a walk through all entries of the table, each once.
type permutation struct{ next, skip uint32 }

func (w *permutation) step() uint32 {
	at := w.next
	if w.next += w.skip; w.next >= maglevSize {
		w.next -= maglevSize
	}
	return at
}
