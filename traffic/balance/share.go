package balance

import (
	"math"
	"sync/atomic"
)

// Share is the share of recent tries that something is true of: an average in which each try
// counts for a tenth, and what was before for the rest, less what time has taken of it by Decay.
// Worked example: after five tries of which it is true it is 1 - 0.9^5 = 0.41, 10 s later
// without any try 0.41/e = 0.15, and a try of which it is not makes that 0.14. The zero Share is 0,
// and then a try of which it is not true costs one look. It is safe for concurrent use.
type Share struct {
	packed atomic.Uint64 // as Load.average; 0: below leastShare
}

// Count takes a try. now is as in Request.
func (s *Share) Count(now int64, is bool) {
	for {
		old := s.packed.Load()
		if old == 0 && !is {
			return
		}
		share, next := shareOf(old, now)*(1-tryWeight), uint64(0)
		if is {
			share += tryWeight
		}
		if share >= leastShare {
			next = pack(share, now)
		}
		if s.packed.CompareAndSwap(old, next) {
			return
		}
	}
}

// At returns the share, 0 to 1, as it is now.
func (s *Share) At(now int64) float64 { return shareOf(s.packed.Load(), now) }

// Reset makes it 0.
func (s *Share) Reset() { s.packed.Store(0) }

func shareOf(packed uint64, now int64) float64 {
	if packed == 0 {
		return 0
	}
	return valueOf(packed) * math.Exp(-ageOf(packed, now).Seconds()/Decay.Seconds())
}
