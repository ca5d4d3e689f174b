package sample

import (
	"math"
	"math/bits"
	"sync/atomic"

	"weir.dev/weir/model"
)

// Seen counts how many different users were seen, without keeping them: by linear counting (Whang,
// Vander-Zanden and Taylor, A linear-time probabilistic counting algorithm, 1990), of all users and, as that
// fills up, of one in 16. It takes 8 KiB. It is safe for concurrent use.
type Seen struct{ all, some table }

// table has a bit for each Number.
type table [model.Numbers / 64]atomic.Uint64

const (
	someOf = 16                // users, of whom one is counted among some
	full   = model.Numbers * 4 // users from which on all is too full to tell
	// countable is how many users can be told.
	countable = someOf * model.Numbers * 8
)

// Add notes that a user was seen.
func (s *Seen) Add(u User) {
	s.all.add(u)
	if uint64(u)/model.Numbers%someOf == 0 {
		s.some.add(u)
	}
}

func (t *table) add(u User) {
	word, bit := &t[u.Number()/64], uint64(1)<<(u.Number()%64)
	if word.Load()&bit == 0 {
		word.Or(bit)
	}
}

// Count returns how many users were seen: within one per cent up to two millions, two times of three. From four
// millions on it is a lower bound.
func (s *Seen) Count() uint64 {
	if n := s.all.count(); n < full {
		return uint64(math.Round(n))
	}
	return uint64(math.Round(someOf * s.some.count()))
}

func (t *table) count() float64 {
	empty := model.Numbers
	for i := range t {
		empty -= bits.OnesCount64(t[i].Load())
	}
	return model.Numbers * math.Log(model.Numbers/float64(max(empty, 1)))
}

// variance is that of a Count of n users.
func variance(n float64) float64 {
	linear := func(n float64) float64 { return model.Numbers * (math.Expm1(n/model.Numbers) - n/model.Numbers) }
	if n < full {
		return linear(n)
	}
	return someOf*someOf*linear(n/someOf) + (someOf-1)*n
}
