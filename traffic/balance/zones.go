package balance

// Spill divides the requests of a proxy among zones, so that they stay in its own zone as far
// as its hosts carry their part, while every host of every zone receives what its weight
// says. weights are the sums of the zones' healthy hosts; local is the index of the
// proxy's zone, -1 if no host is there.
//
// It takes it that as many requests begin in each zone that has hosts. A zone's own part is
// then weight ÷ zones. A zone keeps min(1, its weight ÷ own part) of its requests; the rest
// goes to the other zones in proportion to their residual capacity, which is what their
// weight has above their own part. Envoy's zone aware routing is the same with the number of
// proxies in each zone instead of equal parts. Without a local host shares are by weight.
//
// Worked example, weights 2, 4 and 6: the own part is 12 ÷ 3 = 4. From the first zone ½ stays;
// residual capacity is 0 in the second zone and 2 in the third, so ½ goes to the third. From
// the second and the third everything stays. Requests arrive in proportion ½ : 1 : 1½, as
// the weights are.
func Spill(weights []uint64, local int) []float64 {
	shares := make([]float64, len(weights))
	sum := 0.0
	for _, w := range weights {
		sum += float64(w)
	}
	if local < 0 || weights[local] == 0 {
		for i, w := range weights {
			shares[i] = float64(w) / max(sum, 1)
		}
		return shares
	}
	zones := 0
	for _, w := range weights {
		if w > 0 {
			zones++
		}
	}
	own := sum / float64(zones)
	shares[local] = min(1, float64(weights[local])/own)
	spare := 0.0
	for _, w := range weights {
		spare += max(0, float64(w)-own)
	}
	for i, w := range weights {
		if above := float64(w) - own; i != local && above > 0 && shares[local] < 1 {
			shares[i] = (1 - shares[local]) * above / spare
		}
	}
	return shares
}
