package simulate

import (
	"math"
	"math/rand/v2"
	"time"

	"weir.dev/weir/controlplane/resource"
)

// serviceTime is how long hosts work on a request.
type serviceTime struct {
	mean time.Duration
	// draw is a multiple of the mean: 1 where it is fixed.
	draw func(r *rand.Rand) float64
}

// z99 is the 99th percentile of the standard normal distribution.
const z99 = 2.3263478740408408

// newServiceTime makes a distribution of what is written. A log-normal one with parameters µ and σ has
// the mean exp(µ + σ²/2) and the 99th percentile exp(µ + zσ), z = 2.326. With their ratio r,
// ln r = zσ − σ²/2, so σ = z − √(z² − 2 ln r): of the two solutions the one below z.
//
// Worked example: mean 50 ms, p99 200 ms: ln 4 = 1.386, σ = 2.326 − √(5.412 − 2.773) = 0.702, and the median is
// 50 ms × exp(−0.702²/2) = 39 ms.
func newServiceTime(t resource.ScenarioServiceTime) serviceTime {
	if t.Fixed != "" {
		return serviceTime{t.Fixed.Duration(), func(*rand.Rand) float64 { return 1 }}
	}
	mean := t.Mean.Duration()
	if t.P99 == "" {
		return serviceTime{mean, (*rand.Rand).ExpFloat64}
	}
	ratio := float64(t.P99.Duration()) / float64(mean)
	sigma := z99 - math.Sqrt(max(0, z99*z99-2*math.Log(ratio)))
	return serviceTime{mean, func(r *rand.Rand) float64 { return math.Exp(sigma*r.NormFloat64() - sigma*sigma/2) }}
}
