package guard

import "sync/atomic"

// counted is a number of outcomes in the upper half and how many of them were bad in the lower one, so
// that one atomic addition counts both. The difference of two is right even after a half ran over.
type counted uint64

const one = 1 << 32

func (c counted) all() uint32 { return uint32(c >> 32) }
func (c counted) bad() uint32 { return uint32(c) }

// every is the place of all answers of stable, behind those of the tests.
const every = late + 1

// tally is what one shard has counted of stable: one for each test, and every answer. It has a cache
// line for itself.
type tally struct {
	of [every + 1]atomic.Uint64
	_  [64 - 8*(every+1)]byte
}

type tallies []tally

func (t tallies) at(shard int) *[every + 1]atomic.Uint64 {
	return &t[uint(shard)%uint(len(t))].of
}

// sum returns what all shards have counted in one place.
func (t tallies) sum(place int) counted {
	var sum uint64
	for i := range t {
		sum += t[i].of[place].Load()
	}
	return counted(sum)
}

func count(c *atomic.Uint64, v Verdict) {
	switch v {
	case Good:
		c.Add(one)
	case Bad:
		c.Add(one + 1)
	}
}
