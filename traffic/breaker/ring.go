package breaker

import (
	"math/bits"
	"sync/atomic"
)

// ring is the outcomes of the last tries, a bit each: 1 is a failure. Those that are not there
// yet are 0. It takes no lock: who adds takes the next place, and the failures change by what
// the bit was before, so that they always are the number of bits set.
type ring struct {
	size   int
	next   atomic.Uint64
	failed atomic.Int64
	words  []atomic.Uint64
}

func newRing(size int) *ring {
	size = max(size, 1)
	return &ring{size: size, words: make([]atomic.Uint64, (size+63)/64)}
}

// add notes the outcome of one more try, and returns the failures among the last ones then.
func (r *ring) add(failed bool) int {
	if !failed && r.failed.Load() == 0 {
		return 0 // one more 0 among nothing but 0
	}
	at := (r.next.Add(1) - 1) % uint64(r.size)
	word, bit := &r.words[at/64], uint64(1)<<(at%64)
	if failed {
		if word.Or(bit)&bit == 0 {
			return int(r.failed.Add(1))
		}
	} else if word.And(^bit)&bit != 0 {
		return int(r.failed.Add(-1))
	}
	return int(r.failed.Load())
}

func (r *ring) failures() int {
	if r == nil {
		return 0
	}
	return int(r.failed.Load())
}

// resized returns a ring of another size that holds the latest outcomes of r, which may be nil.
func (r *ring) resized(size int) *ring {
	fresh := newRing(size)
	if r == nil {
		return fresh
	}
	next, n := r.next.Load(), min(r.size, fresh.size)
	for i := range n { // from the oldest that is kept
		at := (next + uint64(2*r.size-n+i)) % uint64(r.size)
		if r.words[at/64].Load()&(1<<(at%64)) != 0 {
			fresh.words[i/64].Or(1 << (i % 64))
		}
	}
	for i := range fresh.words {
		fresh.failed.Add(int64(bits.OnesCount64(fresh.words[i].Load())))
	}
	fresh.next.Store(uint64(n))
	return fresh
}
