package overload

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
)

func TestThrottleFollowsTheFormula(t *testing.T) {
	th := NewThrottle(30 * time.Second)
	for i := range 100 {
		th.Count(time.Second, i < 60)
	}
	for _, test := range []struct {
		class model.Class
		want  float64
	}{
		{model.ClassSheddable, 25.0 / 101},
		{model.ClassSheddablePlus, 10.0 / 101},
		{model.ClassCritical, 0},
		{model.ClassCriticalPlus, 0},
	} {
		if got := th.Probability(time.Second, 2, test.class); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("%v: %v, want %v", test.class, got, test.want)
		}
	}
	if got := th.Probability(40*time.Second, 2, model.ClassSheddable); got != 0 {
		t.Errorf("after the window: %v", got)
	}
	if requests, accepts := th.Counts(40 * time.Second); requests != 0 || accepts != 0 {
		t.Errorf("after the window: %d, %d", requests, accepts)
	}
}

// TestThrottledLoad: a service that accepts a tenth is given about twice that.
func TestThrottledLoad(t *testing.T) {
	th := NewThrottle(10 * time.Second)
	random := rand.New(rand.NewPCG(1, 2))
	sent, took := 0, map[int]int{}
	for i := range 100_000 {
		now := time.Duration(i) * time.Millisecond
		if th.Refuse(now, 2, model.ClassCritical, random.Uint64) {
			continue
		}
		if now > 20*time.Second {
			sent++
		}
		second := i / 1000
		took[second]++
		th.Count(now, took[second] <= 100)
	}
	if share := float64(sent) / 80_000; share < 0.17 || share > 0.23 {
		t.Errorf("%.2f of the requests were sent", share)
	}
}

// TestLowerClassesAreThrottledMore, whatever was counted; and never all of anybody.
func TestLowerClassesAreThrottledMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		th := NewThrottle(time.Duration(rapid.Int64Range(0, 1e11).Draw(t, "window")))
		k := rapid.Float64Range(1.01, 10).Draw(t, "k")
		now := time.Duration(0)
		for range rapid.IntRange(0, 200).Draw(t, "n") {
			now += time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "gap"))
			th.Count(now, rapid.Bool().Draw(t, "accepted"))
		}
		last := 1.0
		for c := model.ClassSheddable; c < model.Classes; c++ {
			p := th.Probability(now, k, c)
			if p > last || p < 0 || p > throttleMost {
				t.Fatalf("%v: %v, the class below %v", c, p, last)
			}
			last = p
		}
	})
}

// TestThrottleWindow compares the counts with a plain list of what was counted.
func TestThrottleWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const window = 20 * time.Second // a second a bucket
		th := NewThrottle(window)
		var all []time.Duration
		now := time.Duration(0)
		for range rapid.IntRange(0, 100).Draw(t, "n") {
			now += time.Duration(rapid.Int64Range(0, 5e9).Draw(t, "gap"))
			th.Count(now, true)
			all = append(all, now)
			within, sure := int64(0), int64(0)
			for _, at := range all {
				if now-at <= window {
					within++
				}
				if now-at < window-time.Second {
					sure++
				}
			}
			if got, _ := th.Counts(now); got > within || got < sure {
				t.Fatalf("%d counted, of %d to %d", got, sure, within)
			}
		}
	})
}

func TestThrottleAtOnce(t *testing.T) {
	th := NewThrottle(time.Second)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 3000 {
				now := time.Duration(i) * 10 * time.Millisecond
				if !th.Refuse(now, 2, model.ClassCritical, rand.Uint64) {
					th.Count(now, i%3 == 0)
				}
				th.SetWindow(time.Duration(i+1) * time.Millisecond)
			}
		})
	}
	all.Wait()
	if requests, accepts := th.Counts(time.Hour); requests != 0 || accepts != 0 {
		t.Errorf("an hour later: %d, %d", requests, accepts)
	}
}

func TestHeat(t *testing.T) {
	var h heat
	at := func(ms int64, used int64) Heat { return h.at(time.Duration(ms)*time.Millisecond, used) }
	for _, step := range []struct {
		ms, used int64
		want     Heat
	}{
		{0, 500, 500},
		{10, 960, 960}, // at once
		{500, 860, 960},
		{1500, 860, 960}, // within 10 points, as long as that lasts
		{1600, 400, 960},
		{2500, 400, 960}, // a second after 1500
		{3500, 400, 910 | falling},
		{3600, 870, 905 | falling}, // once it falls it does so until utilisation is there
		{4500, 700, 860 | falling},
		{5500, 860, 860}, // up again
		{60_000, 0, 0},
		{60_001, 200, 200},
	} {
		if got := at(step.ms, step.used); got != step.want {
			t.Errorf("at %d ms with %d: %d (falling %v), want %d", step.ms, step.used, got&^falling, got&falling != 0, step.want&^falling)
		}
	}
}

// TestStepsEndLittleByLittle: ever fewer requests, while the heat falls through the last 10 points.
func TestStepsEndLittleByLittle(t *testing.T) {
	for _, test := range []struct {
		heat Heat
		want int // of 100
	}{
		{950, 100},
		{949, 0},
		{960 | falling, 100},
		{950 | falling, 100},
		{925 | falling, 75},
		{900 | falling, 50},
		{851 | falling, 1},
		{850 | falling, 0},
	} {
		n, at := 0, uint64(0)
		for range heatBand {
			if test.heat.Active(0.95, func() uint64 { at++; return at }) {
				n++
			}
		}
		if n != test.want {
			t.Errorf("heat %d, falling %v: %d of 100, want %d", test.heat&^falling, test.heat&falling != 0, n, test.want)
		}
	}
}

func TestBusiest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 10).Draw(t, "most")
		b := NewBusiest(most)
		truth := map[string]uint64{}
		total := uint64(0)
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, 30), 0, 500).Draw(t, "names") {
			name := fmt.Sprint(i * i / 30) // a few are frequent
			b.Add([]byte(name))
			truth[name]++
			total++
		}
		names, sum := 0, uint64(0)
		kept := map[string]bool{}
		others := b.Each(func(name string, n uint64) {
			names++
			sum += n
			kept[name] = true
			if n > truth[name] {
				t.Fatalf("%s counted %d times, in truth %d", name, n, truth[name])
			}
		})
		if names > most || sum+others != total {
			t.Fatalf("%d names of %d; %d and %d others, of %d", names, most, sum, others, total)
		}
		for name, n := range truth { // what Space-Saving promises
			if n > total/uint64(most) && !kept[name] {
				t.Fatalf("%s is not kept with %d of %d", name, n, total)
			}
		}
	})
}

// TestNewcomersStay: who comes in turns with others is not thrown out by them for ever.
func TestNewcomersStay(t *testing.T) {
	b := NewBusiest(3)
	for _, name := range []string{"a", "b"} {
		for range 5 {
			b.Add([]byte(name))
		}
	}
	for range 20 {
		b.Add([]byte("c"))
		b.Add([]byte("d"))
	}
	kept := map[string]bool{}
	b.Each(func(name string, _ uint64) { kept[name] = true })
	if !kept["c"] || !kept["d"] {
		t.Errorf("kept: %v", kept)
	}
}
