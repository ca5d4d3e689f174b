package guard

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// mean is what a bet returns on average, where each outcome of an arm is bad with its own
// probability. It goes through all ways that the outcomes can come.
func (b bet) mean(canary, stable []float64) float64 {
	byCanary, byStable := numbers(canary), numbers(stable)
	var sum float64
	for kc, pc := range byCanary {
		for ks, ps := range byStable {
			of := block{
				canary: uint32(len(canary)), canaryBad: uint32(kc),
				stable: uint32(len(stable)), stableBad: uint32(ks),
			}
			sum += pc * ps * math.Exp(b.growth(of))
		}
	}
	return sum
}

// numbers returns the probabilities that 0, 1, 2 ... of the outcomes are bad.
func numbers(bad []float64) []float64 {
	of := []float64{1}
	for _, p := range bad {
		next := make([]float64, len(of)+1)
		for k, q := range of {
			next[k] += q * (1 - p)
			next[k+1] += q * p
		}
		of = next
	}
	return of
}

// TestEveryBetIsFair: whatever is bet on, and however probabilities differ within a block, a bet returns
// no more than its stake as long as the canary's mean is at most stable's and what is borne.
func TestEveryBetIsFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share := rapid.Float64Range(0, 1)
		stable := rapid.SliceOfN(share, 1, 25).Draw(t, "stable")
		canary := rapid.SliceOfN(share, 1, 8).Draw(t, "canary")
		if rapid.Bool().Draw(t, "rare") {
			for i := range stable {
				stable[i] *= 0.01
			}
		}
		borne := rapid.SampledFrom([]float64{0, 0, 0.01, 0.1, 0.25}).Draw(t, "borne")
		shrink(canary, average(stable)+borne)
		ts := rapid.Float64Range(1e-6, 0.7).Draw(t, "ts")
		tc := min(highest, ts+borne+rapid.SampledFrom(excesses[:]).Draw(t, "excess"))
		b := choose(block{canary: uint32(len(canary)), stable: uint32(len(stable))}, ts, borne, tc, rapid.Float64Range(0, 1).Draw(t, "near"))
		if got := b.mean(canary, stable); !(got <= 1+1e-9) {
			t.Fatalf("%+v returns %v of a stake of 1: canary %v, stable %v", b, got, canary, stable)
		}
	})
}

// shrink makes probabilities small enough that their mean is this at most.
func shrink(p []float64, mean float64) {
	if by := mean / max(average(p), 1e-300); by < 1 {
		for i := range p {
			p[i] *= by
		}
	}
}

func average(p []float64) float64 {
	var sum float64
	for _, v := range p {
		sum += v
	}
	return sum / float64(len(p))
}

// TestBetsAreAsFastAsCanBe: no other fair bet of this kind grows faster, if the canary is as bad as was
// bet; and it grows.
func TestBetsAreAsFastAsCanBe(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, borne := range []float64{0, 0.01, 0.1} {
		for _, ts := range []float64{0.0005, 0.01, 0.2} {
			for _, excess := range excesses {
				of := block{canary: 2, stable: 10}
				tc := min(highest, ts+borne+excess)
				b := choose(of, ts, borne, tc, 0)
				best := b.speed(of, tc, ts)
				if best <= 0 {
					t.Errorf("borne %v, ts %v, tc %v: %+v grows by %v", borne, ts, tc, b, best)
				}
				for range 50 {
					other := b
					other.point = min(1-borne, b.point*(0.5+r.Float64()))
					lambda := b.canary * 2 * (0.5 + r.Float64())
					lambda = min(lambda, 2/(other.point+borne)*(1-ruin), 10/(1-other.point)*(1-ruin))
					other.canary, other.stable = lambda/2, lambda/10
					if v := other.speed(of, tc, ts); v > best*1.02+1e-9 {
						t.Errorf("borne %v, ts %v, tc %v: %+v grows by %v, and %+v by %v", borne, ts, tc, b, best, other, v)
					}
				}
			}
		}
	}
}

// speed is the mean of growth.
func (b bet) speed(of block, tc, ts float64) float64 {
	var sum float64
	for kc := range of.canary + 1 {
		for ks := range of.stable + 1 {
			of.canaryBad, of.stableBad = kc, ks
			sum += binomial(of.canary, kc, tc) * binomial(of.stable, ks, ts) * b.growth(of)
		}
	}
	return sum
}

func binomial(n, k uint32, p float64) float64 {
	v := math.Pow(p, float64(k)) * math.Pow(1-p, float64(n-k))
	for i := range k {
		v *= float64(n-i) / float64(i+1)
	}
	return v
}

// TestWorkedExample is that of evidence.
func TestWorkedExample(t *testing.T) {
	of := block{canary: 1, stable: 99}
	b := choose(of, 0, 0, 0.15, 0)
	good := math.Exp(b.growth(of))
	of.canaryBad = 1
	bad := math.Exp(b.growth(of))
	if math.Abs(b.point-0.0015) > 1e-6 || math.Abs(b.canary-99.1) > 0.1 || math.Abs(good-0.988) > 0.001 || math.Abs(bad-116) > 1 {
		t.Errorf("%+v: a good outcome multiplies wealth by %v, a bad one by %v", b, good, bad)
	}
}

// TestStakesSumToOne: what is placed on all blocks together is the stake, however many there are.
func TestStakesSumToOne(t *testing.T) {
	e := newEvidence(0.001)
	placed := 0.0
	for range 300_000 {
		if e.placing < 0 {
			t.Fatalf("after %v blocks %v is placed", e.blocks, e.placing)
		}
		placed += e.placing
		e.add(block{canary: 1, canaryBad: 1, stable: 1}, 1) // nothing is worse than that, so no bet is made
		if w := e.wealth(); math.Abs(w-1) > 1e-9 {
			t.Fatalf("without a bet wealth is %v after %v blocks", w, e.blocks)
		}
	}
	if sum := placed + e.placing + e.unplaced; math.Abs(sum-1) > 1e-9 {
		t.Errorf("%v was placed, or will be", sum)
	}
	if e.unplaced <= 0 || e.unplaced > 0.1 {
		t.Errorf("after %v blocks %v is left to place", e.blocks, e.unplaced)
	}
}

// TestWealthIsNeverLost: however long a canary was well, it can be caught, and no number overflows.
func TestWealthIsNeverLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := newEvidence(0.001)
		for range rapid.IntRange(1, 60).Draw(t, "blocks") {
			b := block{
				canary: uint32(rapid.SampledFrom([]int{1, 1, 1, 2, 50, 1e6, 4e9}).Draw(t, "canary")),
				stable: uint32(rapid.SampledFrom([]int{1, 9, 99, 1e5, 4e9}).Draw(t, "stable")),
			}
			b.canaryBad = uint32(rapid.Uint64Range(0, uint64(b.canary)).Draw(t, "canaryBad"))
			b.stableBad = uint32(rapid.Uint64Range(0, uint64(b.stable)).Draw(t, "stableBad"))
			e.add(b, rapid.SampledFrom([]float64{0, 0.01, 0.25, 1}).Draw(t, "borne"))
			if w := e.wealth(); math.IsNaN(w) || w <= 0 {
				t.Fatalf("wealth is %v after %+v", w, b)
			}
		}
	})
}
