package policy

import (
	"math"
	"math/rand/v2"
	"testing"

	"weir.dev/weir/model"
)

func TestShare(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const n = 200_000
	for _, m := range []model.Mirror{
		{Numerator: 0, Denominator: 100},
		{Numerator: 1, Denominator: 100},
		{Numerator: 1, Denominator: 3},
		{Numerator: 100, Denominator: 100},
		{Numerator: 5, Denominator: 2},
		{},
		{Numerator: 1},
		{Numerator: math.MaxUint32 / 2, Denominator: math.MaxUint32},
	} {
		share := CompileMirror(&m)
		chosen := 0
		for range n {
			if share.Chosen(random.Uint64()) {
				chosen++
			}
		}
		want := 0.0
		if m.Denominator > 0 {
			want = min(1, float64(m.Numerator)/float64(m.Denominator))
		}
		// Six standard deviations of a binomial; exact at 0 and 1.
		if slack := 6 * math.Sqrt(want*(1-want)/n); math.Abs(float64(chosen)/n-want) > slack {
			t.Errorf("%d/%d: %d of %d chosen", m.Numerator, m.Denominator, chosen, n)
		}
	}
	edges := CompileMirror(&model.Mirror{Numerator: 1, Denominator: 4})
	for random, want := range map[uint64]bool{0: true, 1<<62 - 1: true, 1 << 62: false, math.MaxUint64: false} {
		if got := edges.Chosen(random); got != want {
			t.Errorf("1/4 of %#x: %v", random, got)
		}
	}
}

// TestShareOfANumber: as exact as a number of requests can tell, and all or none at the ends.
func TestShareOfANumber(t *testing.T) {
	for share, want := range map[float64]Share{
		0: {0, 1 << 32}, 1: {1 << 32, 1 << 32}, 0.25: {1 << 30, 1 << 32}, -1: {0, 1 << 32}, 7: {1 << 32, 1 << 32},
	} {
		if got := CompileShare(share); got != want {
			t.Errorf("%v: %v, want %v", share, got, want)
		}
	}
	if !CompileShare(1).Chosen(math.MaxUint64) || CompileShare(0).Chosen(0) {
		t.Error("all or nothing is not so")
	}
}
