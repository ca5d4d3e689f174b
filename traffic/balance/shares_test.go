package balance

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func near(a, b float64) bool { return math.Abs(a-b) < 0.005 }

func TestOverflowWorkedExample(t *testing.T) {
	tests := []struct {
		healthy   [2]uint64
		threshold float64
		shares    [2]float64
		panics    [2]bool
	}{
		{[2]uint64{80, 100}, 0.5, [2]float64{1, 0}, [2]bool{}},
		{[2]uint64{60, 100}, 0.5, [2]float64{0.84, 0.16}, [2]bool{}},
		{[2]uint64{30, 50}, 0.5, [2]float64{0.42, 0.58}, [2]bool{}},
		{[2]uint64{20, 50}, 0.5, [2]float64{0.286, 0.714}, [2]bool{true, false}},
		{[2]uint64{0, 30}, 0.5, [2]float64{0, 1}, [2]bool{true, true}},
		{[2]uint64{0, 0}, 0.5, [2]float64{0.5, 0.5}, [2]bool{true, true}},
		{[2]uint64{20, 50}, 0, [2]float64{0.286, 0.714}, [2]bool{}},
		{[2]uint64{0, 0}, 0, [2]float64{0, 0}, [2]bool{}},
	}
	for _, tt := range tests {
		uses := Overflow([]Level{{100, tt.healthy[0]}, {100, tt.healthy[1]}}, tt.threshold)
		for i, u := range uses {
			if !near(u.Share, tt.shares[i]) || u.Panics != tt.panics[i] {
				t.Errorf("healthy %v, threshold %v: level %d: got %+v", tt.healthy, tt.threshold, i, u)
			}
		}
	}
}

func genLevels(t *rapid.T) []Level {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Level {
		weight := rapid.Uint64Range(0, 1000).Draw(t, "weight")
		return Level{Weight: weight, Healthy: rapid.OneOf(rapid.Just(uint64(0)), rapid.Just(weight), rapid.Uint64Range(0, weight)).Draw(t, "healthy")}
	}), 0, 6).Draw(t, "levels")
}

func TestOverflowConservesRequests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		levels := genLevels(t)
		threshold := rapid.SampledFrom([]float64{0, 0.01, 0.5, 1}).Draw(t, "threshold")
		weight, healthy := uint64(0), uint64(0)
		for _, l := range levels {
			weight, healthy = weight+l.Weight, healthy+l.Healthy
		}
		sum, available := 0.0, 0.0
		for i, u := range Overflow(levels, threshold) {
			l := levels[i]
			sum += u.Share
			switch {
			case u.Share < 0 || u.Share > 1:
				t.Fatalf("level %d: %+v", i, u)
			case u.Share > 0 && l.Healthy == 0 && !u.Panics:
				t.Fatalf("level %d of %v has no healthy host and %+v", i, levels, u)
			case u.Share > 0 && l.Healthy == 0 && healthy > 0:
				t.Fatalf("level %d of %v has no healthy host, others have, and it has %+v", i, levels, u)
			case u.Panics && float64(l.Healthy) >= threshold*float64(l.Weight):
				t.Fatalf("level %d of %v panics", i, levels)
			case u.Share > 0 && available >= 1+1e-9:
				t.Fatalf("level %d of %v has a share behind levels that are available", i, levels)
			}
			if l.Weight > 0 {
				available += min(1, 1.4*float64(l.Healthy)/float64(l.Weight))
			}
		}
		want := 1.0
		if weight == 0 || healthy == 0 && threshold == 0 {
			want = 0
		}
		if math.Abs(sum-want) > 1e-9 {
			t.Fatalf("shares of %v sum up to %v", levels, sum)
		}
	})
}

func TestSpillWorkedExample(t *testing.T) {
	weights := []uint64{2, 4, 6}
	for local, want := range map[int][3]float64{
		0: {0.5, 0, 0.5}, 1: {0, 1, 0}, 2: {0, 0, 1}, -1: {1.0 / 6, 1.0 / 3, 0.5},
	} {
		for i, got := range Spill(weights, local) {
			if !near(got, want[i]) {
				t.Errorf("from zone %d to zone %d: %v, want %v", local, i, got, want[i])
			}
		}
	}
}

// TestSpillIsFairToHosts: every zone sends its requests, and every zone receives what its
// weight says; no zone sends away what it could keep.
func TestSpillIsFairToHosts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint64Range(1, 100), 1, 8).Draw(t, "weights")
		total := uint64(0)
		for _, w := range weights {
			total += w
		}
		own := float64(total) / float64(len(weights))
		received := make([]float64, len(weights))
		for local := range weights {
			sum := 0.0
			shares := Spill(weights, local)
			for i, s := range shares {
				sum += s
				received[i] += s * own
			}
			if math.Abs(sum-1) > 1e-9 || math.Abs(shares[local]-min(1, float64(weights[local])/own)) > 1e-9 {
				t.Fatalf("weights %v: zone %d sends %v", weights, local, shares)
			}
		}
		for i, w := range weights {
			if math.Abs(received[i]-float64(w)) > 1e-6 {
				t.Fatalf("weights %v: zone %d receives %v", weights, i, received[i])
			}
		}
	})
}

func TestDivisionFollowsShares(t *testing.T) {
	shares := []float64{0.5, 0, 1.0 / 3, 1.0 / 6}
	d := NewDivision(shares)
	r := rand.New(rand.NewPCG(5, 6))
	got := make([]float64, len(shares))
	const n = 100000
	for range n {
		got[d.Of(r.Uint64())] += 1.0 / n
	}
	for i, want := range shares {
		if !near(got[i], want) {
			t.Errorf("part %d has %.4f, want %.4f", i, got[i], want)
		}
	}
}

func TestDivisionMovesWhatItMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Float64Range(0, 1).Draw(t, "a"), rapid.Float64Range(0, 1).Draw(t, "b")
		before, after := NewDivision([]float64{a, 1 - a}), NewDivision([]float64{b, 1 - b})
		for range 100 {
			hash := rapid.Uint64().Draw(t, "hash")
			was, is := before.Of(hash), after.Of(hash)
			if was != is && (is == 0) != (b > a) {
				t.Fatalf("the first share went from %v to %v, and %#x from part %d to %d", a, b, hash, was, is)
			}
		}
	})
}

// TestDivisionLeavesPickersTheirBits: the requests of one part still reach all hosts.
func TestDivisionLeavesPickersTheirBits(t *testing.T) {
	d := NewDivision([]float64{0.9, 0.1})
	for _, a := range algorithms {
		hosts := hostsOf(1, 1, 1, 1)
		p := mustNew(t, a, hosts, 0)
		r := rand.New(rand.NewPCG(7, 8))
		counts := make([]float64, len(hosts))
		for n := 0; n < 10000; {
			random := r.Uint64()
			if d.Of(random) == 1 {
				n++
				counts[p.Pick(Request{Random: random, Hash: random})] += 1.0 / 10000
			}
		}
		for i, got := range counts {
			if math.Abs(got-0.25) > 0.05 {
				t.Errorf("%s: host %d has %.3f of one part's requests, want 0.25", a, i, got)
			}
		}
	}
}

// TestDivisionHasAPlaceForEveryHash, however shares are rounded.
func TestDivisionHasAPlaceForEveryHash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shares := rapid.SliceOfN(rapid.Float64Range(0.01, 1), 1, 9).Draw(t, "shares")
		sum := 0.0
		for _, s := range shares {
			sum += s
		}
		for i := range shares {
			shares[i] /= sum
		}
		zero := rapid.Bool().Draw(t, "the last has none")
		if zero {
			shares = append(shares, 0)
		}
		ends := NewDivision(shares).ends
		last := len(ends) - 1
		if ends[last] != math.MaxUint64 || zero && ends[last-1] != math.MaxUint64 {
			t.Fatalf("shares %v: the ends are %#x", shares, ends)
		}
	})
}
