package policy

import (
	"math"
	"math/bits"

	"weir.dev/weir/model"
)

// Share is a share of all requests: what a mirror or a shadow copies. The zero Share chooses none.
type Share struct {
	numerator, denominator uint64
}

// CompileMirror returns the share of the requests that m copies. A denominator of 0 is no
// request at all; a numerator at or above the denominator is every request.
func CompileMirror(m *model.Mirror) Share {
	return Share{numerator: uint64(m.Numerator), denominator: uint64(m.Denominator)}
}

// CompileShare returns the share of the requests that a number from 0 to 1 says, to within 2^-32.
func CompileShare(share float64) Share {
	const parts = 1 << 32
	return Share{numerator: uint64(math.Round(min(max(share, 0), 1) * parts)), denominator: parts}
}

// Chosen says whether a request belongs to the share. random is uniform over all 64-bit
// numbers; the share that results is exact to within 2^-32.
func (s Share) Chosen(random uint64) bool {
	// The high word of the product is uniform over [0, denominator) without a division
	// (Lemire, "Fast Random Integer Generation in an Interval", 2019).
	place, _ := bits.Mul64(random, s.denominator)
	return place < s.numerator && s.denominator != 0
}
