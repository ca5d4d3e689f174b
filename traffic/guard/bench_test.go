package guard

import (
	"testing"

	"weir.dev/weir/model"
)

var everything = model.Guard{
	Errors:  &model.ErrorGuard{MaxDifference: 0.01, Alpha: 0.001},
	Latency: &model.LatencyGuard{Quantile: 0.99, MaxRatio: 1.5, Alpha: 0.001}, ConsecutiveFailures: 5, Stages: 4,
}

// BenchmarkCanary is what an outcome of the canary costs, all tests together, each with a block of ten
// outcomes of stable.
func BenchmarkCanary(b *testing.B) {
	j := New(everything, 2)
	b.ReportAllocs()
	for i := range b.N {
		for range 10 {
			j.Stable(0, uint16(i), Outcome{Good, Good})
		}
		j.arm.at(0)[late].Add(10 * one)
		bad := verdict(i%1000 == 0)
		j.Row(uint16(i), int64(i), false)
		j.Canary(uint16(i), Outcome{bad, bad})
		j.hear(late, uint16(i), Good)
	}
}

// BenchmarkStable is what an outcome of stable costs.
func BenchmarkStable(b *testing.B) {
	j := New(everything, 2)
	b.ReportAllocs()
	for i := range b.N {
		j.Stable(0, uint16(i), Outcome{Good, Good})
	}
}
