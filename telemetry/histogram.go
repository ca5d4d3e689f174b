package telemetry

import (
	"math/bits"
	"time"
)

// Latencies are counted in a log-linear histogram: two buckets an octave, from 50 µs to
// about 105 s, in round numbers.
//
//	index   0    1    2    3    4    5    6    7   ...  41        42
//	up to  50  100  150  200  300  400  600  800 µs    104.86 s  no end
//
// A duration in units of 50 µs (rounded up, less one) has its bucket in its two leading
// bits and their position: 230 µs is 4 units, binary 100, leading bits 10 at position 1,
// so index 2·1+2 = 4. Each bucket includes its upper bound, as Prometheus's le does. Every
// odd bucket ends an octave; only those bounds are exported.
const (
	bucketUnit  = 50 * time.Microsecond
	bucketCount = 43
)

// Buckets is how many observations fell into each bucket of the histogram.
type Buckets [bucketCount]uint64

func bucketOf(d time.Duration) int {
	if d <= 2*bucketUnit {
		if d <= bucketUnit {
			return 0
		}
		return 1
	}
	u := uint64(d-1) / uint64(bucketUnit)
	shift := bits.Len64(u) - 2
	return min(2*shift+int(u>>shift), bucketCount-1)
}

// upperBound returns the longest duration of a bucket; the last bucket has none.
func upperBound(bucket int) time.Duration {
	if bucket < 2 {
		return time.Duration(bucket+1) * bucketUnit
	}
	return time.Duration(3+bucket&1) << (bucket/2 - 1) * bucketUnit
}

// Count returns the number of observations.
func (b *Buckets) Count() uint64 {
	var n uint64
	for _, c := range b {
		n += c
	}
	return n
}

// Quantile estimates the duration that the share q (0 to 1) of the observations did not
// exceed, by linear interpolation in its bucket: wrong by at most a third to a half of
// the true value, mostly far less. It is zero without observations, and the last finite
// bound if the quantile lies beyond it.
func (b *Buckets) Quantile(q float64) time.Duration {
	rank := q * float64(b.Count())
	var below float64
	for i, c := range b {
		if c == 0 || below+float64(c) < rank {
			below += float64(c)
			continue
		}
		if i == bucketCount-1 {
			break
		}
		var low time.Duration
		if i > 0 {
			low = upperBound(i - 1)
		}
		return low + time.Duration(float64(upperBound(i)-low)*(rank-below)/float64(c))
	}
	if b[bucketCount-1] == 0 {
		return 0
	}
	return upperBound(bucketCount - 2)
}
