package guard

import "math"

// bet is λ and s of evidence, the former divided among the outcomes of each arm.
type bet struct {
	point  float64 // s
	borne  float64 // d
	canary float64 // λ/nc
	stable float64 // λ/ns
}

// ruin keeps a bet that fails from taking everything: of a block's factor at least so much is left
// for each outcome.
const ruin = 1e-3

// choose returns the fastest bet for the shares tc of the canary and ts of stable. near is where to search
// first. Whatever it returns is fair; that it is the fastest matters to speed alone.
func choose(b block, ts, borne, tc, near float64) bet {
	if tc <= ts+borne {
		return bet{} // there is nothing worse than what is borne
	}
	nc, ns := float64(b.canary), float64(b.stable)
	s := (nc*(tc-borne) + ns*ts) / (nc + ns)
	if borne > 0 {
		s = nearest(nc, ns, ts, borne, tc, near)
	}
	c := s + borne
	lambda := nc * (tc - c) / (c * (1 - c))
	lambda = max(0, min(lambda, (1-ruin)*ns/(1-s), (1-ruin)*nc/c))
	return bet{point: s, borne: borne, canary: lambda / nc, stable: lambda / ns}
}

// nearest finds the s from ts to tc-borne at which nc·KL(tc|s+borne) + ns·KL(ts|s) is least. That is
// convex, so its derivative rises through 0 there: Newton's steps, and halves where they lead out.
func nearest(nc, ns, ts, borne, tc, near float64) float64 {
	low, high := ts, tc-borne
	s := near
	if s <= low || s >= high {
		s = (nc*high + ns*low) / (nc + ns)
	}
	for range 6 {
		c := s + borne
		vc, vs := c*(1-c), s*(1-s)
		slope := nc*(c-tc)/vc + ns*(s-ts)/vs
		if slope > 0 {
			high = s
		} else {
			low = s
		}
		bend := nc*(vc-(c-tc)*(1-2*c))/(vc*vc) + ns*(vs-(s-ts)*(1-2*s))/(vs*vs)
		next := s - slope/bend
		if !(next > low && next < high) {
			next = (low + high) / 2
		}
		if math.Abs(next-s) < 1e-3*s {
			return next
		}
		s = next
	}
	return s
}

// growth is the natural logarithm of what the bet on a block multiplies wealth by.
func (b bet) growth(of block) float64 {
	// Most outcomes are good, and most blocks have one of the canary.
	up, down := b.stable*b.point, -b.stable*(1-b.point)
	sum := float64(of.stable-of.stableBad) * math.Log1p(up)
	if of.stableBad > 0 {
		sum += float64(of.stableBad) * math.Log1p(down)
	}
	at := b.point + b.borne
	if good := of.canary - of.canaryBad; good > 0 {
		sum += float64(good) * math.Log1p(-b.canary*at)
	}
	if of.canaryBad > 0 {
		sum += float64(of.canaryBad) * math.Log1p(b.canary*(1-at))
	}
	return min(sum, 200)
}
