package guard

import (
	"sync/atomic"
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

// BenchmarkCanaryParallel is what an outcome of the canary costs while all cores have some at once, each with one of
// stable: they take turns at the Judge's lock. 100,000 a second are one in 10,000 ns.
func BenchmarkCanaryParallel(b *testing.B) {
	rowless := everything
	rowless.ConsecutiveFailures = 0 // what fails here comes together now and then
	j := New(rowless, 4)
	var callers atomic.Int32
	b.RunParallel(func(pb *testing.PB) {
		shard := int(callers.Add(1))
		for user := uint16(7919 * shard); pb.Next(); user++ {
			bad := verdict(user%1000 == 0)
			j.StableRow(shard, bad == Bad)
			j.Stable(shard, user, Outcome{bad, bad})
			j.Row(user, int64(user), bad == Bad)
			j.Canary(user, Outcome{bad, bad})
			j.CanaryLate(user, j.Bounds().Epoch, false)
		}
	})
	if trip, tripped := j.Tripped(); tripped {
		b.Fatal(trip.Reason)
	}
}
