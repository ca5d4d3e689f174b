//go:build !race

package limit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// change is what happens to a hundred workers who were nearly all busy, while more and more is asked.
type change struct {
	sigma   float64 // of the times of work; 0: they are exponential
	workers int
	slower  float64
}

// lives plays a change with many seeds: twice what can be done then is asked for. It returns what share
// of it is done over the ten seconds that follow, and how many times as long answers take as
// work does after that, each from the least to the most.
func (c change) lives(seeds int) (served, latency []float64) {
	const mean = 50 * time.Millisecond
	const before, brown, after = 3 * time.Second, 13 * time.Second, 18 * time.Second
	for seed := range seeds {
		g := NewGradient(5, 5000)
		s := &service{random: rand.New(rand.NewPCG(uint64(seed), 2)), workers: 100, mean: mean, sigma: c.sigma}
		run(g, s, 0, before, 0.9*100/mean.Seconds())
		s.workers, s.mean = c.workers, time.Duration(c.slower*float64(mean))
		capacity := float64(s.workers) / s.mean.Seconds()
		served = append(served, runAndWatch(g, s, before, before, brown, 2*capacity).perSecond/capacity)
		latency = append(latency, run(g, s, brown, after, 2*capacity).latency/s.mean.Seconds())
	}
	slices.Sort(served)
	slices.Sort(latency)
	return served, latency
}

// TestFallsInVain: when all work takes several times as long, for good, latency alone looks like
// waiting. It is found out in time that it is not: with none of up to two hundred seeds is less
// than nine tenths done over ten seconds. When there are fewer workers, who are as fast as before, it is not taken for
// that: latency stays about twice what it must be, and with few seeds is more.
func TestFallsInVain(t *testing.T) {
	for _, test := range []struct {
		change
		seeds int
		most  float64 // latency with 19 seeds of 20
	}{
		{change{0, 100, 3}, 60, 2.2},
		{change{0, 100, 2.5}, 200, 2.2},
		{change{0.3, 100, 2.5}, 200, 2.2},
		{change{1.2, 100, 2.5}, 200, 2.2},
		{change{0, 100, 2}, 60, 2.2},
		{change{0, 100, 6}, 60, 2.2},
		{change{0, 66, 1.5}, 60, 2.2},
		{change{0, 33, 1}, 60, 2.4},
		{change{0.3, 33, 1}, 60, 2.4},
		{change{0, 20, 1}, 60, 2.6},
		{change{0, 100, 1}, 60, 2.2}, // only more is asked for
		{change{1.2, 100, 1}, 60, 2.2},
	} {
		t.Run(fmt.Sprintf("%+v", test.change), func(t *testing.T) {
			t.Parallel()
			served, latency := test.lives(test.seeds)
			if worst := served[0]; worst < 0.9 {
				t.Errorf("with one seed only %.2f of what can be done is done", worst)
			}
			if usual := latency[test.seeds*19/20]; usual > test.most {
				t.Errorf("with one seed of twenty answers take %.2f times as long as work, or more", usual)
			}
		})
	}
}

// TestFallIsWeighed: the worked example, and that nothing is concluded from as many answers as
// before, from a limit that rests, or from what was before latency rose.
func TestFallIsWeighed(t *testing.T) {
	second := time.Second
	type seen struct{ limit, count, millis float64 }
	play := func(list ...seen) (own time.Duration, from float64) {
		var f fall
		at := time.Duration(0)
		settled := append([]seen{list[0], list[0], list[0]}, list...)
		for _, s := range settled {
			at += second
			w := window{count: s.count, sum: s.count * s.millis * 1e6, peak: s.limit, pressed: true}
			if own, from := f.watch(at, &w, s.limit, 0.8); own > 0 {
				return time.Duration(own), from
			}
		}
		return 0, 0
	}
	if own, from := play(seen{96, 150, 250}, seen{80, 125, 250}, seen{60, 94, 250}); own != 250*time.Millisecond || from != 96 {
		t.Errorf("what falls in vain: %v from %v", own, from)
	}
	if own, _ := play(seen{96, 100, 250}, seen{80, 80, 250}, seen{60, 60, 250}); own != 0 {
		t.Error("the worked example is enough, with 5 of 6")
	}
	if own, _ := play(seen{96, 1200, 250}, seen{80, 1200, 208}, seen{60, 1200, 156}, seen{40, 1200, 104}); own != 0 {
		t.Error("as much is answered as before, and that is taken for falling in vain")
	}
	if own, _ := play(seen{96, 1200, 250}, seen{95, 1000, 250}, seen{94, 1500, 250}, seen{93, 900, 250}); own != 0 {
		t.Error("a limit that rests is taken for one that falls in vain")
	}
	if own, _ := play(seen{96, 1200, 80}, seen{95, 600, 160}, seen{80, 600, 140}, seen{70, 600, 120}, seen{60, 600, 100}); own != 0 {
		t.Error("workers who went away are taken for a limit that fell in vain")
	}
}
