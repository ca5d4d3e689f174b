package balance

import (
	"math/bits"
	"slices"
)

// Random serves hosts at random, by weight, by Walker's alias method in Vose's form: one
// column for each host, of equal width, holds at most two hosts; the upper half of the
// random number chooses the column, the lower half the host in it.
//
// Worked example, weights A 1, B 3: an average column holds 2. Column A is half A and
// half B, column B all B. The random number 0x0000_0000_C000_0000 falls into column A,
// above its half: B.
type Random struct{ table alias }

// NewRandom returns a picker.
func NewRandom(hosts []Host) *Random { return &Random{newAlias(hosts)} }

// Pick implements Picker.
func (p *Random) Pick(r Request) int {
	if len(p.table.hosts) == 0 {
		return -1
	}
	at, _ := p.table.drawUntried(r.Random, r.Tried)
	return p.table.hosts[at]
}

// alias draws positions in hosts by weight in constant time.
type alias struct {
	hosts   []int // indices of the hosts with a weight
	columns []column
}

// column gives its first part, share/2^32 of it, to its own position, the rest to other.
type column struct {
	share uint64 // up to 2^32
	other int
}

func newAlias(hosts []Host) alias {
	a := alias{hosts: eligible(hosts)}
	n := uint64(len(a.hosts))
	total := uint64(0)
	for _, h := range a.hosts {
		total += uint64(hosts[h].Weight)
	}
	// A column is total wide and a host weight·n: whole numbers throughout.
	left := make([]uint64, n)
	var small, large []int
	for i, h := range a.hosts {
		left[i] = uint64(hosts[h].Weight) * n
		if left[i] < total {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	a.columns = make([]column, n)
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small, large = small[:len(small)-1], large[:len(large)-1]
		a.columns[s] = column{share: fraction(left[s], total), other: l}
		left[l] -= total - left[s]
		if left[l] < total {
			small = append(small, l)
		} else {
			large = append(large, l)
		}
	}
	for _, l := range large { // whole columns; no small one can be left
		a.columns[l] = column{share: 1 << 32, other: l}
	}
	return a
}

// fraction returns part/whole in 2^-32, without overflow.
func fraction(part, whole uint64) uint64 {
	high, low := bits.Mul64(part, 1<<32)
	quotient, _ := bits.Div64(high, low, whole)
	return quotient
}

// draw returns a position.
func (a *alias) draw(random uint64) int {
	at := int((random >> 32) * uint64(len(a.columns)) >> 32)
	if random&(1<<32-1) < a.columns[at].share {
		return at
	}
	return a.columns[at].other
}

// drawUntried returns a position whose host is not tried, if there is one, and the
// random number to go on with.
func (a *alias) drawUntried(random uint64, tried []int) (int, uint64) {
	at := a.draw(random)
	for range redraws {
		if !slices.Contains(tried, a.hosts[at]) {
			return at, mix(random)
		}
		random = mix(random)
		at = a.draw(random)
	}
	return untried(a.hosts, at, tried), mix(random)
}
