package guard

import "math"

// excesses are the alternatives that are bet on at once, in equal parts: by how much the canary's
// share of bad outcomes is above what is borne.
var excesses = [...]float64{0.003, 0.01, 0.04, 0.2, 0.95}

const (
	highest = 0.98 // of the canary's share in an alternative, so that no good outcome ruins it
	// The stable share that is bet on is that of the last ten thousand outcomes or so, after a hundred
	// as they are expected.
	memory     = 10_000
	beforehand = 100
	// The stake on the first block, of 1. What is left is placed on all later ones, half of it on
	// the first settling·(e-1).
	atOnce   = 0.6
	settling = 1000
	most     = 1e200 // of wealth
)

// evidence is an e-process against "the canary's share of bad outcomes exceeds stable's by no
// more than what is borne": wealth that, were this true, would be fair or worse to bet on, and so
// reaches 1/a, ever, with the probability a at most (Ville 1939). It counts in blocks, each of so many
// outcomes of both arms that came in about the same time; stable's share is free to differ from
// block to block, so that drift, waves and failures that both arms share are no evidence.
//
// The bet on a block with the outcomes y (1 is bad) of nc of canary and ns of stable is
//
//	e = Π (1 + λ/nc·(y - s - d)) · Π (1 - λ/ns·(y - s))
//	   canary                     stable
//
// d is what is borne; λ ≥ 0 and s are any numbers that leave each factor at 0 or more, chosen before
// the block. Proof that its mean is 1 at most: outcomes are independent given the past, so the
// mean of the product is the product of the means, with the probabilities p in the place of y. As
// 1+x ≤ exp x it is at most
//
//	exp(λ/nc·Σ(p-s-d) - λ/ns·Σ(p-s)) = exp(λ·(mean p of canary - mean p of stable - d)) ≤ 1,
//	       canary            stable
//
// whenever the canary's mean in this block is at most stable's and d. So only means of a block
// count, probabilities may change within it, and there is nothing that is approximate.
//
// λ and s only decide how fast wealth grows. For an alternative with the shares tc = ts+d+excess
// and ts, the fastest are those of Turner, Ly and Grünwald ("Generic E-variables for exact sequential k-sample
// tests that allow for optional stopping", 2024): s, s+d is the point without excess that is
// nearest, nc·KL(tc|s+d) + ns·KL(ts|s) being least, and λ = nc·(tc-s-d)/((s+d)·(1-s-d)), with which the
// factors are tc/(s+d) for a bad one of the canary, and so on: ratios of likelihoods. Turner and
// Grünwald ("Exact anytime-valid confidence intervals for contingency tables and beyond", 2023)
// have d above 0.
//
// Wealth is the mean of the wealths of several alternatives and, of each, of bets that begin with each
// block, as a canary may go bad late (a mixture of e-processes is one; Shin, Ramdas and Rinaldo,
// "E-detectors", 2023): with the stake w before a block, running = (running + w) · e. The stakes sum to 1.
//
// Worked example: nothing borne, stable at 0 (say ts = 0), the canary at 0.15, one outcome of it
// and 99 of stable: s = (0.15 + 99·0)/100 = 0.0015, λ = 0.1485/(0.0015·0.9985) = 99.1. A bad outcome
// of the canary multiplies wealth by 0.15/0.0015 = 100, and 99 good ones of stable by
// (1+99.1/99·0.0015)^99 = 1.16; a good one of the canary by 0.85/0.9985 = 0.85, together with
// stable's 0.988. Three bad outcomes in about thirty are a million and a half.
type evidence struct {
	running [len(excesses)]float64
	points  [len(excesses)]float64 // s of the last block, where the next search begins

	blocks   float64
	placing  float64 // the stake on the next block
	unplaced float64 // those on all later ones

	seen, bad, expected float64 // of stable: lately, and its share before any were seen
}

// block is some outcomes of both arms, of about the same time.
type block struct {
	canary, canaryBad uint32
	stable, stableBad uint32
}

func newEvidence(expected float64) evidence {
	return evidence{placing: atOnce, unplaced: 1 - atOnce, expected: expected}
}

// wealth is what a stake of 1 has become.
func (e *evidence) wealth() float64 {
	var sum float64
	for _, r := range e.running {
		sum += r
	}
	return sum/float64(len(excesses)) + e.unplaced + e.placing
}

// add bets on a block and takes what comes of it. borne is what is borne this time, as much as ever
// or more: what is fair against more is fair against less. It has to be known before the block.
func (e *evidence) add(b block, borne float64) {
	stable := (e.bad + beforehand*e.expected) / (e.seen + beforehand)
	for i, excess := range excesses {
		bet := choose(b, stable, borne, min(stable+borne+excess, highest), e.points[i])
		e.points[i] = bet.point
		e.running[i] = min(most, (e.running[i]+e.placing)*math.Exp(bet.growth(b)))
	}
	e.blocks++
	left := (1 - atOnce) / (1 + math.Log1p(e.blocks/settling))
	e.placing = e.unplaced - left
	e.unplaced = left

	fade := max(0, 1-float64(b.stable)/memory)
	e.seen = e.seen*fade + float64(b.stable)
	e.bad = e.bad*fade + float64(b.stableBad)
}
