// Package stats counts durations on the request path and says how they are distributed: pure
// counters and arithmetic, without locks where requests count, with time as an argument. What
// is counted, and what follows from it, is not its business.
package stats

import (
	"math"
	"math/bits"
	"time"
)

// Scale divides durations into buckets, log-linear: the octave from Unit<<k to Unit<<(k+1) has
// 1<<Bits buckets of one width, for every k from Bits on, and below there is one bucket a unit.
// Each bucket includes its upper bound, as Prometheus's le does; the last one has no end.
//
// Worked example, Unit 50 µs and Bits 1:
//
//	index   0    1    2    3    4    5    6    7   ...
//	up to  50  100  150  200  300  400  600  800 µs
//
// A duration in units (rounded up, less one) has its bucket in its leading bits and their
// position: 230 µs is 4 units, binary 100, leading bits 10 at position 1, so index 2·1+2 = 4.
type Scale struct {
	Unit    time.Duration // above 0
	Bits    int           // 0 or more
	Buckets int           // above 2<<Bits
}

// Bucket returns the index of a duration's bucket, 0 to Buckets-1. What is 0 or less is in the
// first.
func (s Scale) Bucket(d time.Duration) int {
	if d <= s.Unit {
		return 0
	}
	u := uint64(d-1) / uint64(s.Unit)
	shift := max(bits.Len64(u)-1-s.Bits, 0)
	return min(shift<<s.Bits+int(u>>shift), s.Buckets-1)
}

// Upper returns the longest duration of a bucket, were the last one like the others; the longest
// that there is, where that is shorter.
func (s Scale) Upper(bucket int) time.Duration {
	shift := max(bucket>>s.Bits-1, 0)
	units := uint64(bucket - shift<<s.Bits + 1)
	if shift >= 64 || units > math.MaxInt64>>shift/uint64(s.Unit) {
		return math.MaxInt64
	}
	return time.Duration(units<<shift) * s.Unit
}

// Count is a number of durations, as a scale's buckets hold them.
type Count interface{ ~uint32 | ~uint64 }

// Total returns how many durations there are in the buckets.
func Total[C Count](counts []C) uint64 {
	var n uint64
	for _, c := range counts {
		n += uint64(c)
	}
	return n
}

// Quantile estimates the duration that the share q (0 to 1) of those counted did not exceed, by
// linear interpolation in its bucket, so that it is wrong by less than a bucket's width: one
// part in 1<<Bits of the value, mostly far less. It is 0 without any, and the last bucket's
// lower bound if the quantile lies in there.
func Quantile[C Count](s Scale, counts []C, q float64) time.Duration {
	rank := q * float64(Total(counts))
	var below float64
	for i, c := range counts {
		if c == 0 || below+float64(c) < rank {
			below += float64(c)
			continue
		}
		var low time.Duration
		if i > 0 {
			low = s.Upper(i - 1)
		}
		if i == s.Buckets-1 {
			return low
		}
		return low + time.Duration(float64(s.Upper(i)-low)*(rank-below)/float64(c))
	}
	return 0
}
