//go:build !race

package limit

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestFindsTheKnee: with twice as much offered as 100 workers can do, all of them are kept busy
// and latency is about twice what it must be at most. The limit rests where its formula says, at
// 1.5 × 100 + √162 = 162, or a fifth above where waiting came into what was taken for usual at first, and does
// not run away however long that goes on. It follows when the workers become fewer and more, and when
// each becomes slower, which lets as many in as before. Faster ones are noticed in the next lull. That is
// so with every seed; with one of ten a change of workers may be taken for another speed of theirs,
// and latency is up to one half more until the lull.
func TestFindsTheKnee(t *testing.T) {
	const mean, seeds = 20 * time.Millisecond, 10
	phases := []struct {
		name    string
		lasts   time.Duration
		workers int
		mean    time.Duration
		load    float64
		latency float64 // most, in times of mean, with nine seeds of ten
	}{
		{"surge", 20 * time.Second, 100, mean, 2, 2.2},
		{"half a minute of it", 30 * time.Second, 100, mean, 2, 2.2},
		{"half the workers", 20 * time.Second, 50, mean, 2, 2.3},
		{"all again", 20 * time.Second, 100, mean, 2, 2.3},
		{"double", 20 * time.Second, 200, mean, 2, 2.3},
		{"slower", 40 * time.Second, 100, 2 * mean, 2, 2},
		{"as before", 20 * time.Second, 100, mean, 2, 3.1},
		{"calm", 10 * time.Second, 100, mean, 0.5, 1.1},
		{"surge again", 20 * time.Second, 100, mean, 3, 1.8},
	}
	latencies := make([][]float64, len(phases))
	for seed := range uint64(seeds) {
		g := NewGradient(5, 5000)
		s := &service{random: rand.New(rand.NewPCG(seed, 2))}
		at := time.Duration(0)
		for i, p := range phases {
			s.workers, s.mean = p.workers, p.mean
			capacity := float64(s.workers) / s.mean.Seconds()
			f := run(g, s, at, at+p.lasts, p.load*capacity)
			at += p.lasts
			latency := f.latency / s.mean.Seconds()
			latencies[i] = append(latencies[i], latency)
			if f.perSecond < 0.95*min(p.load, 1)*capacity {
				t.Errorf("seed %d, %s: %.0f a second of %.0f", seed, p.name, f.perSecond, capacity)
			}
			if latency > 1.5*p.latency {
				t.Errorf("seed %d, %s: latency is %.2f times the mean", seed, p.name, latency)
			}
			if p.load > 1 && (f.low < s.workers*9/10 || float64(f.high) > 1.25*1.5*p.latency*float64(s.workers)) { // 1.25: a trial
				t.Errorf("seed %d, %s: the limit is %d to %d for %d workers", seed, p.name, f.low, f.high, s.workers)
			}
		}
	}
	for i, p := range phases {
		slices.Sort(latencies[i])
		if l := latencies[i][seeds*9/10-1]; l > p.latency {
			t.Errorf("%s: with more than one seed of ten latency is %.2f times the mean", p.name, l)
		}
	}
}
