package sample

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Fairness says whether the users seen are divided as they were to be: the test of the sample
// ratio (Fabijan et al., Diagnosing Sample Ratio Mismatch in Online Controlled Experiments, 2019).
type Fairness struct {
	Stable, Canary uint64  // users seen
	Wanted         float64 // the canary's share of the two that was wanted, 0 to 1
	Share          float64 // and the one seen; 0 without users
	// P is the probability that a fair division is at least as far off as this one, 1 where there are
	// too few users to say (fewer than five are expected of an arm), or too many to be counted.
	P float64
}

// unfair is the P below which a division is called unfair. Fabijan et al. use 0.0005; ours is looked at
// again and again while a release goes on.
const unfair = 0.0001

// Unfair reports whether users are divided otherwise than was wanted, beyond chance: something between
// the users and the arms prefers one of them, and a comparison of the two is not to be trusted.
func (f Fairness) Unfair() bool { return f.P < unfair }

// Check compares how many users were seen, each a Count of Seen, with the share that the canary was to have: by
// Pearson's chi-squared test with one degree of freedom, that allows for what Count does not know exactly.
func Check(stable, canary uint64, wanted float64) Fairness {
	f := Fairness{Stable: stable, Canary: canary, Wanted: wanted, P: 1}
	all := float64(stable + canary)
	if all == 0 {
		return f
	}
	f.Share = float64(canary) / all
	expected := all * wanted
	if math.Min(expected, all-expected) < 5 || max(stable, canary) > countable {
		return f
	}
	off := float64(canary) - expected
	counted := (1-wanted)*(1-wanted)*variance(float64(canary)) + wanted*wanted*variance(float64(stable))
	f.P = distuv.ChiSquared{K: 1}.Survival(off * off / (all*wanted*(1-wanted) + counted))
	return f
}
