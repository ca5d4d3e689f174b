//go:build !race

package limit

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestStart: a limit that begins far below what a service with room to spare is asked for does not
// hold requests back for long, and does not take for waiting that slow answers come in only when
// there have been requests for as long as they take. With a few seeds of many, in which times have
// long tails, it errs and comes back: most of all is served anyhow.
func TestStart(t *testing.T) {
	const seeds, seconds, perSecond = 20, 10, 1500
	for name, test := range map[string]struct {
		mean        time.Duration
		sigma       float64
		first, rest float64 // shares that are served
	}{
		"even":             {50 * time.Millisecond, 0, 0.9, 0.99},
		"some slow":        {50 * time.Millisecond, 0.75, 0.9, 0.99},
		"some very slow":   {50 * time.Millisecond, 1.2, 0.9, 0.94},
		"slow":             {200 * time.Millisecond, 0, 0.65, 0.94},
		"slow, some slow":  {200 * time.Millisecond, 0.75, 0.65, 0.97},
		"fast":             {5 * time.Millisecond, 0.75, 0.97, 0.99},
		"slow, long tails": {200 * time.Millisecond, 1.2, 0.65, 0.94},
	} {
		first, rest := 0.0, 0.0
		for seed := range uint64(seeds) {
			g := NewGradient(20, 5000)
			s := &service{random: rand.New(rand.NewPCG(seed, 3)), workers: 1000, mean: test.mean, sigma: test.sigma}
			refused := start(g, s, time.Second, perSecond)
			first += 1 - float64(refused)/perSecond
			for at := time.Second; at < seconds*time.Second; at += time.Second {
				rest += run(g, s, at, at+time.Second, perSecond).perSecond / perSecond / (seconds - 1)
			}
		}
		first, rest = first/seeds, rest/seeds
		if first < test.first || rest < test.rest {
			t.Errorf("%s: %.3f of the first second and %.3f of the next are served, want %.3f and %.3f", name, first, rest, test.first, test.rest)
		}
	}
}

// TestStartInOverload: a start with three times as many requests as the service can serve does not go on
// growing while it waits for latency to be known.
func TestStartInOverload(t *testing.T) {
	for _, mean := range []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 400 * time.Millisecond} {
		for seed := range uint64(10) {
			g := NewGradient(20, 5000)
			s := &service{random: rand.New(rand.NewPCG(seed, 4)), workers: 100, mean: mean}
			rate := 300 / mean.Seconds()
			start(g, s, 10*mean, rate)
			if n := g.Limit(); n > 450 {
				t.Errorf("mean %v, seed %d: the limit has grown to %d for 100 workers", mean, seed, n)
			}
			if f := run(g, s, 10*mean, 10*mean+20*time.Second, rate); f.high > 250 {
				t.Errorf("mean %v, seed %d: the limit is %d to %d for 100 workers", mean, seed, f.low, f.high)
			}
		}
	}
}

// start offers requests from the beginning until a time, and returns how many were held back.
func start(g *Gradient, s *service, until time.Duration, rate float64) (refused int) {
	inFlight := 0
	for at := time.Duration(0); at < until; at += time.Duration(s.random.ExpFloat64() / rate * 1e9) {
		for len(s.ends) > 0 && s.ends[0].at <= at {
			e := s.finish()
			g.Observe(e.at, e.at-e.came, inFlight, Answered)
			inFlight--
		}
		if inFlight < g.Limit() {
			inFlight++
			s.arrive(at)
		} else {
			g.Press()
			refused++
		}
	}
	return refused
}
