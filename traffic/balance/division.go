package balance

import (
	"math"
	"slices"
)

// Division divides requests among parts by shares. Equal hashes come to the same part, and
// when shares change, no more of them move than have to: each part has one range of a hash's
// values, in order.
//
// Worked example, shares ½, ⅓, ⅙: the first part has hashes below ½ of their range, the second
// those below ⅚, the third the others. When the first one's share falls to ¼, what lies from ¼
// to ½ moves to the second.
type Division struct {
	ends []uint64 // the last hash of each part
}

// salt keeps what Division reads of a hash apart from what pickers read: else one part's
// picker would see only a part of the hashes.
const salt = 0x2545f4914f6cdd1d

// NewDivision returns a division. Shares are not negative and sum up to 1; what is missing
// for rounding is the last part's that has any share.
func NewDivision(shares []float64) Division {
	d := Division{ends: make([]uint64, len(shares))}
	sum, last := 0.0, 0
	for i, s := range shares {
		sum += s
		if s > 0 {
			last = i
		}
		d.ends[i] = uint64(min(sum, 1-0x1p-53) * (1 << 64))
	}
	for i := last; i < len(d.ends); i++ {
		d.ends[i] = math.MaxUint64
	}
	return d
}

// Of returns the part of a request: of its hash, or of random bits. A part without a share
// has no request but the one in 2^64 that rounding leaves it.
func (d Division) Of(hash uint64) int {
	at, _ := slices.BinarySearch(d.ends, mix(hash^salt))
	return at
}
