package balance

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
	"weir.dev/weir/model"
)

func TestRoundRobinWorkedExample(t *testing.T) {
	p := NewRoundRobin(hostsOf(5, 1, 1), 0)
	got := make([]byte, 14)
	for i := range got {
		got[i] = "ABC"[p.Pick(Request{})]
	}
	if string(got) != "AABAACAAABAACA" {
		t.Errorf("got %s", got)
	}
}

func TestRoundRobinIsSmooth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint64Range(1, 60), 1, 60).Draw(t, "weights")
		total := uint64(0)
		for _, w := range weights {
			total += w
		}
		slots := schedule(weights)
		if uint64(len(slots)) != total {
			t.Fatalf("%d slots for weights that sum up to %d", len(slots), total)
		}
		counts := make([]uint64, len(weights))
		for n, at := range slots {
			counts[at]++
			for i, w := range weights {
				ideal := float64(w) * float64(n+1) / float64(total)
				if off := float64(counts[i]) - ideal; math.Abs(off) >= 1 {
					t.Fatalf("after %d slots host %d is %.3f off its share", n+1, i, off)
				}
			}
		}
		for i, w := range weights {
			if counts[i] != w {
				t.Fatalf("host %d has %d slots of %d", i, counts[i], w)
			}
		}
	})
}

func TestRoundRobinScalesHugeWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint32Range(1, math.MaxUint32), 1, 300).Draw(t, "weights")
		p := NewRoundRobin(hostsOf(weights...), 0)
		limit := max(maxSchedule, slotsPerHost*len(weights)) + len(weights) // each host may round up
		if len(p.schedule) > limit {
			t.Fatalf("a schedule of %d slots", len(p.schedule))
		}
		counts := make([]int, len(weights))
		for _, at := range p.schedule {
			counts[at]++
		}
		total := 0.0
		for _, w := range weights {
			total += float64(w)
		}
		for i, w := range weights {
			ideal := float64(w) / total * float64(max(maxSchedule, slotsPerHost*len(weights)))
			if counts[i] == 0 || math.Abs(float64(counts[i])-ideal) > 1 && len(p.schedule) >= maxSchedule {
				t.Fatalf("weight %d has %d slots, want about %.2f of %d", w, counts[i], ideal, len(p.schedule))
			}
		}
	})
}

func TestRoundRobinBeginsAtSeed(t *testing.T) {
	p := NewRoundRobin(hostsOf(1, 1, 1, 1), 6)
	if at := p.Pick(Request{}); at != 2 {
		t.Errorf("got %d", at)
	}
}

func TestRoundRobinUnderConcurrency(t *testing.T) {
	p := NewRoundRobin(hostsOf(3, 1), 0)
	var wg sync.WaitGroup
	counts := make([][2]int, 8)
	for i := range counts {
		wg.Go(func() {
			for range 1000 {
				counts[i][p.Pick(Request{})]++
			}
		})
	}
	wg.Wait()
	a, b := 0, 0
	for _, c := range counts {
		a, b = a+c[0], b+c[1]
	}
	if a != 6000 || b != 2000 {
		t.Errorf("got %d and %d, want 6000 and 2000", a, b)
	}
}

func TestRandomWorkedExample(t *testing.T) {
	p := NewRandom(hostsOf(1, 3))
	for random, want := range map[uint64]int{
		0x0000_0000_C000_0000: 1, 0x0000_0000_4000_0000: 0, 0x8000_0000_0000_0000: 1, 0xFFFF_FFFF_FFFF_FFFF: 1,
	} {
		if at := p.Pick(Request{Random: random}); at != want {
			t.Errorf("%x: got %d, want %d", random, at, want)
		}
	}
}

func TestAliasIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint32Range(1, math.MaxUint32), 1, 200).Draw(t, "weights")
		a := newAlias(hostsOf(weights...))
		got := make([]float64, len(weights))
		for i, c := range a.columns {
			got[i] += float64(c.share) / (1 << 32) / float64(len(weights))
			got[c.other] += (1 - float64(c.share)/(1<<32)) / float64(len(weights))
		}
		total := 0.0
		for _, w := range weights {
			total += float64(w)
		}
		for i, w := range weights {
			if math.Abs(got[i]-float64(w)/total) > 1e-7 {
				t.Fatalf("host %d has %.9f, want %.9f", i, got[i], float64(w)/total)
			}
		}
	})
}

// flight puts requests in flight.
func flight(h Host, n int) {
	for range n {
		h.Load.Begin()
	}
}

func TestLeastRequestWorkedExample(t *testing.T) {
	hosts := hostsOf(1, 4)
	flight(hosts[0], 3)
	flight(hosts[1], 8)
	p := NewLeastRequest(hosts)
	for i := range uint64(1000) {
		if at := p.Pick(Request{Random: mix(i)}); at != 1 {
			t.Fatalf("got %d", at)
		}
	}
}

func TestLeastRequestAvoidsTheBusiest(t *testing.T) {
	hosts := hostsOf(1, 1, 1, 1, 1)
	flight(hosts[2], 1)
	p := NewLeastRequest(hosts)
	for i := range uint64(5000) {
		if at := p.Pick(Request{Random: mix(i)}); at == 2 {
			t.Fatal("the one busy host was better than another")
		}
	}
}

func TestSecondChoiceIsAnotherHost(t *testing.T) {
	hosts := hostsOf(1, 1000)
	flight(hosts[1], 1001)
	p := NewLeastRequest(hosts)
	for i := range uint64(1000) {
		if at := p.Pick(Request{Random: mix(i)}); at != 0 {
			t.Fatal("the idle host of small weight was not drawn beside the busy one")
		}
	}
}

func TestPeakEWMAWorkedExample(t *testing.T) {
	hosts := hostsOf(1, 1)
	hosts[0].Load.Observe(0, 10*time.Millisecond)
	hosts[1].Load.Observe(0, 40*time.Millisecond)
	flight(hosts[0], 4)
	p := NewPeakEWMA(hosts)
	for i := range uint64(100) {
		if at := p.Pick(Request{Random: mix(i)}); at != 1 {
			t.Fatal("got A at 50 ms, want B at 40 ms")
		}
	}
	hosts[0].Load.End()
	var seen []int
	for i := range uint64(100) {
		if at := p.Pick(Request{Random: mix(i)}); !slices.Contains(seen, at) {
			seen = append(seen, at)
		}
	}
	if len(seen) != 2 {
		t.Errorf("with equal waits only %v was picked", seen)
	}
}

func TestPeakEWMATriesNewHosts(t *testing.T) {
	hosts := hostsOf(1, 1)
	hosts[0].Load.Observe(0, time.Millisecond)
	p := NewPeakEWMA(hosts)
	always := func(want int, why string) {
		t.Helper()
		for i := range uint64(100) {
			if at := p.Pick(Request{Random: mix(i)}); at != want {
				t.Fatalf("%s: got %d", why, at)
			}
		}
	}
	always(1, "never tried, idle")
	hosts[1].Load.Begin()
	always(0, "never tried, its first request in flight")
	hosts[1].Load.Observe(0, time.Microsecond)
	always(1, "it has answered, and fast")
}

func TestLoadWorkedExample(t *testing.T) {
	const s = int64(time.Second)
	var l Load
	if l.Tried() || l.Latency(0) != DefaultLatency {
		t.Errorf("untried: %v", l.Latency(0))
	}
	near := func(now int64, want time.Duration) {
		t.Helper()
		if got := l.Latency(now); (got - want).Abs() > want/100 {
			t.Errorf("at %d s: %v, want about %v", now/s, got, want)
		}
	}
	l.Observe(0, 10*time.Millisecond)
	near(0, 10*time.Millisecond)
	l.Observe(5*s, 40*time.Millisecond)
	near(5*s, 40*time.Millisecond)
	l.Observe(10*s, 10*time.Millisecond)
	near(10*s, 28200*time.Microsecond)
	near(20*s, 10374*time.Microsecond) // 28.2/e
	near(1000*s, 0)
	l.Observe(5*s, time.Millisecond) // a clock behind changes nothing upwards
	near(10*s, 28200*time.Microsecond)
}

func TestLoadLags(t *testing.T) {
	var l Load
	l.Observe(int64(time.Second), 10*time.Millisecond)
	now := int64(time.Second)
	for _, step := range []struct{ lag, want time.Duration }{
		{5 * time.Millisecond, 10 * time.Millisecond}, // says nothing that is not known
		{80 * time.Millisecond, 80 * time.Millisecond},
		{20 * time.Millisecond, 80 * time.Millisecond},
	} {
		l.Lag(now, step.lag)
		if got := l.Latency(now).Round(time.Millisecond); got != step.want {
			t.Errorf("after a lag of %v: %v, want %v", step.lag, got, step.want)
		}
	}
}

func TestLoadPunishesFailures(t *testing.T) {
	var l Load
	l.Observe(0, 20*time.Millisecond)
	l.Fail(0, time.Millisecond)
	if got := l.Latency(0); (got - 200*time.Millisecond).Abs() > time.Millisecond {
		t.Errorf("after a quick failure: %v, want ten times the average", got)
	}
	for range 10 {
		l.Fail(0, time.Millisecond)
	}
	if got := l.Latency(0); (got - maxPenalty).Abs() > time.Millisecond {
		t.Errorf("after many: %v, want %v", got, maxPenalty)
	}
	l.Fail(0, time.Minute)
	if got := l.Latency(0); (got - time.Minute).Abs() > time.Second {
		t.Errorf("after a slow failure: %v, want its latency", got)
	}
}

func TestLoadStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Load
		now, highest := int64(0), time.Duration(0)
		for range rapid.IntRange(1, 50).Draw(t, "samples") {
			now += rapid.Int64Range(-1e9, 3e10).Draw(t, "step")
			sample := time.Duration(rapid.Int64Range(-1, 1e11).Draw(t, "latency"))
			highest = max(highest, sample)
			l.Observe(now, sample)
			if got := l.Latency(now); got < 0 || float64(got) > float64(highest)*1.001+1 {
				t.Fatalf("%v is outside of 0 to %v", got, highest)
			}
		}
	})
}

func TestLoadUnderConcurrency(t *testing.T) {
	var l Load
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 1000 {
				l.Begin()
				l.Observe(int64(n)<<tickShift, time.Duration(i+1)*time.Millisecond)
				l.End()
			}
		})
	}
	wg.Wait()
	if got := l.Latency(999 << tickShift); l.InFlight() != 0 || got < time.Millisecond || got > 8*time.Millisecond {
		t.Errorf("in flight %d, latency %v", l.InFlight(), got)
	}
}

// TestWeightsHoldUnderLoad keeps some requests in flight at equally fast hosts. The one in a
// hundred that a small host is meant to have is neither one at every moment nor none.
func TestWeightsHoldUnderLoad(t *testing.T) {
	for _, a := range []model.Algorithm{model.LeastRequest, model.PeakEWMA} {
		for _, weights := range [][]uint32{{99, 1}, {1_000_000, 1, 500_000}, {20, 20, 2}, {3, 2, 1}, {9, 9, 9, 9, 9, 1}} {
			for _, together := range []int{1, 2, 10, 100} {
				total := 0.0
				for _, w := range weights {
					total += float64(w)
				}
				for i, got := range sharesUnderLoad(t, a, weights, together) {
					want := float64(weights[i]) / total
					if got < want/2-0.001 || got > want*1.5+0.001 {
						t.Errorf("%s: %d in flight, weights %v: host %d has a share of %.4f, want about %.4f", a, together, weights, i, got, want)
					}
				}
			}
		}
	}
}

// sharesUnderLoad returns the part of 20,000 requests that each host receives while so many
// are in flight together, which end in the order they came after 7 to 13 ms.
func sharesUnderLoad(t *testing.T, a model.Algorithm, weights []uint32, together int) []float64 {
	const requests, latency = 20000, 10 * time.Millisecond
	hosts := hostsOf(weights...)
	p := mustNew(t, a, hosts, 0)
	r := rand.New(rand.NewPCG(9, 10))
	shares := make([]float64, len(hosts))
	var flying []*Load
	for n := range int64(requests) {
		now := n * int64(latency) / int64(together)
		if len(flying) == together {
			flying[0].End()
			flying[0].Observe(now, time.Duration(float64(latency)*(0.7+0.6*r.Float64())))
			flying = flying[1:]
		}
		at := p.Pick(Request{Random: r.Uint64(), Now: now})
		hosts[at].Load.Begin()
		flying = append(flying, hosts[at].Load)
		shares[at] += 1.0 / requests
	}
	return shares
}

// TestPeakEWMAPrefersTheFaster whatever the weights, where little is in flight.
func TestPeakEWMAPrefersTheFaster(t *testing.T) {
	for _, weights := range [][]uint32{{1, 1}, {1, 5}} {
		hosts := hostsOf(weights...)
		hosts[0].Load.Observe(0, 40*time.Millisecond)
		hosts[1].Load.Observe(0, 4*time.Millisecond)
		p := NewPeakEWMA(hosts)
		for i := range uint64(100) {
			if at := p.Pick(Request{Random: mix(i)}); at != 1 {
				t.Fatalf("weights %v: got the slow host", weights)
			}
		}
	}
}
