package stats

import (
	"sync/atomic"
	"time"
)

// fine is the scale of Latencies: eight buckets an octave, an eighth of the value wide at most,
// from 8 µs to about 67 s, where the last one begins.
var fine = Scale{Unit: 8 * time.Microsecond, Bits: 3, Buckets: buckets}

const buckets = 169

// Counts is how many durations fell into each bucket of a Latencies.
type Counts [buckets]uint32

// Count returns how many there are.
func (c *Counts) Count() uint64 { return Total(c[:]) }

// Quantile estimates the duration that the share q (0 to 1) did not exceed, to within an eighth
// of it; 0 without any, and 67 s if it was longer.
func (c *Counts) Quantile(q float64) time.Duration { return Quantile(fine, c[:], q) }

// Observe counts one.
func (c *Counts) Observe(d time.Duration) { c[fine.Bucket(d)]++ }

// Add adds others.
func (c *Counts) Add(others *Counts) {
	for i, n := range others {
		c[i] += n
	}
}

// maxShards bounds the memory of a Latencies: there is one for each host. Shards beyond it
// share.
const maxShards = 8

// Latencies counts durations, from any number of goroutines at a time, without locks. It takes
// less than a kilobyte for each shard in use, up to maxShards.
type Latencies struct {
	shards []atomic.Pointer[latencyCell]
}

// latencyCell is one shard's part, alone on its cache lines: it is one size class of the allocator.
type latencyCell struct {
	counts [buckets]atomic.Uint32
	_      [704 - 4*buckets]byte
}

// NewLatencies returns one without any counted, for callers of so many shards (at least one).
func NewLatencies(shards int) *Latencies {
	return &Latencies{make([]atomic.Pointer[latencyCell], min(max(shards, 1), maxShards))}
}

// Observe counts a duration, in the caller's shard. It allocates only the first time in a shard.
func (l *Latencies) Observe(shard int, d time.Duration) {
	l.cell(shard).counts[fine.Bucket(d)].Add(1)
}

func (l *Latencies) cell(shard int) *latencyCell {
	at := &l.shards[uint(shard)%uint(len(l.shards))]
	if c := at.Load(); c != nil {
		return c
	}
	at.CompareAndSwap(nil, new(latencyCell))
	return at.Load()
}

// Drain moves what was counted since the last time into counts: nothing is lost, and nothing
// counted twice.
func (l *Latencies) Drain(counts *Counts) {
	for s := range l.shards {
		c := l.shards[s].Load()
		if c == nil {
			continue
		}
		for i := range c.counts {
			if c.counts[i].Load() != 0 {
				counts[i] += c.counts[i].Swap(0)
			}
		}
	}
}
