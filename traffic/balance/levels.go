package balance

// overprovision is how much more than its share a host is taken to carry: a level serves all
// its requests until fewer than 1/1.4 = 71 % of it are healthy. The factor is Envoy's
// default for priority levels, and so are the rules of Overflow.
const overprovision = 1.4

// Level is the hosts of one priority, by the sums of their weights.
type Level struct {
	Weight  uint64 // of all
	Healthy uint64 // of the healthy ones
}

// Use is what becomes of a level.
type Use struct {
	Share  float64 // of all requests, 0 to 1
	Panics bool    // the level's health is ignored: its requests go to all of its hosts
}

// Overflow divides requests among levels, the first priority first. A level is available to
// min(1, 1.4 × healthy ÷ weight). It gets requests up to that, the rest goes on to the next
// level. If all together are not available to 1, shares are in proportion to availability, and
// a level whose healthy part is below the panic threshold panics: better some failures
// everywhere than the few healthy hosts overrun. A threshold of 0 forbids that. If nothing is
// healthy and panic is allowed, shares are in proportion to weight; if it is not allowed, no
// level has a share.
//
// Worked example, two levels of weight 100 each, threshold 0.5:
//
//	healthy      available   shares        panics
//	 80 and 100  1.00, 1.00  1.00 and 0    none
//	 60 and 100  0.84, 1.00  0.84 and 0.16 none
//	 30 and 50   0.42, 0.70  0.42 and 0.58 none: together they are available
//	 20 and 50   0.28, 0.70  0.29 and 0.71 the first
//	  0 and 30   0.00, 0.42  0    and 1.00 the first, of which nobody notices, and the second
//	  0 and 0    0.00, 0.00  0.50 and 0.50 both
func Overflow(levels []Level, panicThreshold float64) []Use {
	uses := make([]Use, len(levels))
	available := make([]float64, len(levels))
	sum, weight := 0.0, uint64(0)
	for i, l := range levels {
		if l.Weight > 0 {
			available[i] = min(1, overprovision*float64(l.Healthy)/float64(l.Weight))
		}
		sum += available[i]
		weight += l.Weight
	}
	if sum >= 1-1e-9 {
		rest := 1.0
		for i := range uses {
			uses[i].Share = min(available[i], rest)
			rest -= uses[i].Share
		}
		return uses
	}
	for i, l := range levels {
		uses[i].Panics = float64(l.Healthy) < panicThreshold*float64(l.Weight)
		switch {
		case sum > 0:
			uses[i].Share = available[i] / sum
		case uses[i].Panics:
			uses[i].Share = float64(l.Weight) / float64(weight)
		}
	}
	return uses
}
