package limit

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestFallsInVain: when every worker takes three times as long, for good, most of what they can do
// is done over the next twenty seconds, though latency alone looks like waiting. When there
// are fewer workers, who are as fast as before, it is not taken for that: latency stays about
// twice what it must be at most.
func TestFallsInVain(t *testing.T) {
	const mean = 50 * time.Millisecond
	const seeds, seconds = 5, 20
	for _, test := range []struct {
		workers int
		slower  time.Duration
	}{{100, 3}, {33, 1}} {
		served := 0.0
		for seed := range uint64(seeds) {
			g := NewGradient(5, 5000)
			s := &service{random: rand.New(rand.NewPCG(seed, 2)), workers: 100, mean: mean}
			run(g, s, 0, seconds*time.Second, 1900)
			s.workers, s.mean = test.workers, test.slower*mean
			var last figures
			for i := range time.Duration(seconds) {
				last = run(g, s, (seconds+i)*time.Second, (seconds+i+1)*time.Second, 1900)
				served += last.perSecond / (float64(s.workers) / s.mean.Seconds()) / seeds / seconds
			}
			if most := 2.2 * s.mean.Seconds(); last.latency > most {
				t.Errorf("seed %d, %+v: latency %.3f s in the end, want %.3f at most", seed, test, last.latency, most)
			}
		}
		if served < 0.8 {
			t.Errorf("%+v: %.2f of the capacity was served", test, served)
		}
	}
}
