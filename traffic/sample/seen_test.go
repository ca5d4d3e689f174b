package sample

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestSeenCounts: as many users as were added, within three standard deviations of what is promised, however often
// each came, and whichever users of a small share they are.
func TestSeenCounts(t *testing.T) {
	for _, n := range []int{0, 1, 10, 1000, 40_000, 150_000, 400_000, 1_500_000} {
		r := rand.New(rand.NewPCG(1, uint64(n)))
		var s Seen
		added := 0
		for added < n {
			u := User(r.Uint64())
			if n < 50_000 && u.Bucket() >= 100 { // as of a canary of 1 %
				continue
			}
			added++
			for range 1 + added%2 {
				s.Add(u)
			}
		}
		off := math.Abs(float64(s.Count()) - float64(n))
		if bound := 3*math.Sqrt(variance(float64(n))) + 0.5; off > bound {
			t.Errorf("%d users are counted as %d, %.0f off, %.0f at most", n, s.Count(), off, bound)
		}
		if promised := 0.011 * float64(n); n > 0 && math.Sqrt(variance(float64(n))) > promised {
			t.Errorf("of %d users one standard deviation is %.0f", n, math.Sqrt(variance(float64(n))))
		}
	}
}

// TestSeenFull: more users than can be told are a bound, and no division of them is called unfair.
func TestSeenFull(t *testing.T) {
	var s Seen
	for i := range s.all {
		s.all[i].Store(math.MaxUint64)
		s.some[i].Store(math.MaxUint64)
	}
	if n := s.Count(); n <= countable {
		t.Errorf("%d", n)
	}
	if f := Check(s.Count(), 1_000_000, 0.05); f.Unfair() {
		t.Errorf("unfair: %+v", f)
	}
}

// TestFairDivisionsPass: what Seen does not know exactly is no unfairness, and a tenth of the canary's users that do
// not come is.
func TestFairDivisionsPass(t *testing.T) {
	const users, wanted = 400_000, 0.1
	for _, missing := range []float64{0, 0.1} {
		unfair := 0
		for run := range uint64(5) {
			r := rand.New(rand.NewPCG(3, run))
			var stable, canary Seen
			for range users {
				u := User(r.Uint64())
				switch {
				case u.Bucket() >= 1000:
					stable.Add(u)
				case r.Float64() >= missing:
					canary.Add(u)
				}
			}
			if f := Check(stable.Count(), canary.Count(), wanted); f.Unfair() {
				unfair++
			}
		}
		if want := map[float64]int{0: 0, 0.1: 5}[missing]; unfair != want {
			t.Errorf("%v of the canary's users are missing: %d of 5 are unfair, want %d", missing, unfair, want)
		}
	}
}

func TestSeenAllocatesNothing(t *testing.T) {
	var s Seen
	if n := testing.AllocsPerRun(100, func() { s.Add(User(rand.Uint64())) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
