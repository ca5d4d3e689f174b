package load

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are at most 1/128 of their value
// wide: exact below 128 ns, 128 buckets per power of two above, up to
// 18 minutes. Example: 1,000 ns has 10 bits, so it is shifted right by 2, and
// shares its bucket with 1,000 to 1,003 ns.
type histogram struct {
	counts [(40 - 6) << histBits]uint64
	total  uint64
	max    time.Duration
}

// histBits is the number of bits that tell values of one power of two apart.
const histBits = 7

// Quantiles are the figures kept of a histogram.
type Quantiles struct {
	P50, P99, P999, Max time.Duration
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.counts[min(bucket(uint64(d)), len(h.counts)-1)]++
	h.total++
	h.max = max(h.max, d)
}

func bucket(v uint64) int {
	shift := bits.Len64(v) - histBits - 1
	if shift <= 0 {
		return int(v)
	}
	return shift<<histBits + int(v>>shift)
}

// upper returns the largest value of bucket i.
func upper(i int) time.Duration {
	shift := i>>histBits - 1
	if shift <= 0 {
		return time.Duration(i)
	}
	return time.Duration((uint64(i-shift<<histBits)+1)<<shift - 1)
}

// quantile returns an upper bound of the q-quantile, 0 < q <= 1.
func (h *histogram) quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := uint64(q*float64(h.total) + 0.999999)
	rank = min(max(rank, 1), h.total)
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return min(upper(i), h.max)
		}
	}
	return h.max
}

func (h *histogram) quantiles() Quantiles {
	return Quantiles{P50: h.quantile(0.5), P99: h.quantile(0.99), P999: h.quantile(0.999), Max: h.max}
}
