package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
	"weir.dev/weir/model"
)

var algorithms = []model.Algorithm{model.RoundRobin, model.Random, model.LeastRequest, model.PeakEWMA, model.RingHash, model.Maglev}

// hostsOf returns idle hosts of these weights.
func hostsOf(weights ...uint32) []Host {
	hosts := make([]Host, len(weights))
	for i, w := range weights {
		hosts[i] = Host{Weight: w, Load: &Load{}, Identity: fmt.Sprintf("10.0.%d.%d:80", i/256, i%256)}
	}
	return hosts
}

func mustNew(t rapid.TB, a model.Algorithm, hosts []Host, seed uint64) Picker {
	t.Helper()
	p, err := New(Options{Algorithm: a, Seed: seed}, hosts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNewRefusesUnknownAlgorithms(t *testing.T) {
	for _, a := range []model.Algorithm{"", "Fastest"} {
		if _, err := New(Options{Algorithm: a}, hostsOf(1)); err == nil {
			t.Errorf("New(%q): no error", a)
		}
	}
}

// genHosts draws hosts with weights, some of them 0, and arbitrary loads.
func genHosts(t *rapid.T) []Host {
	weight := rapid.OneOf(rapid.Just(uint32(0)), rapid.Just(uint32(1)), rapid.Uint32Range(0, 20), rapid.Uint32())
	hosts := hostsOf(rapid.SliceOfN(weight, 0, 40).Draw(t, "weights")...)
	for i := range hosts {
		for range rapid.IntRange(0, 5).Draw(t, "in flight") {
			hosts[i].Load.Begin()
		}
		if rapid.Bool().Draw(t, "tried") {
			hosts[i].Load.average.Store(pack(rapid.Float64Range(1, 1e10).Draw(t, "latency"), 0))
		}
	}
	return hosts
}

func TestEveryAlgorithmPicksWhatItMay(t *testing.T) {
	for _, a := range algorithms {
		t.Run(string(a), rapid.MakeCheck(func(t *rapid.T) {
			hosts := genHosts(t)
			for i := range hosts {
				if a == model.RingHash { // rings of great weights take long: they have a test of their own
					hosts[i].Weight = min(hosts[i].Weight, 5)
				}
			}
			p := mustNew(t, a, hosts, rapid.Uint64().Draw(t, "seed"))
			tried := rapid.SliceOfN(rapid.IntRange(0, 40), 0, 40).Draw(t, "tried")
			usable, fresh := 0, 0
			for i, h := range hosts {
				if h.Weight > 0 {
					usable++
					if !slices.Contains(tried, i) {
						fresh++
					}
				}
			}
			for range 10 {
				random := rapid.Uint64().Draw(t, "random")
				at := p.Pick(Request{Random: random, Hash: random, Now: rapid.Int64Range(0, 1e12).Draw(t, "now"), Tried: tried})
				switch {
				case usable == 0:
					if at != -1 {
						t.Fatalf("picked %d where no host has a weight", at)
					}
				case at < 0 || at >= len(hosts) || hosts[at].Weight == 0:
					t.Fatalf("picked %d", at)
				case fresh > 0 && slices.Contains(tried, at):
					t.Fatalf("picked %d, which was tried, of %d that were not", at, fresh)
				}
			}
		}))
	}
}

// shares returns the share of n picks that each host received.
func shares(p Picker, hosts, n int, r *rand.Rand, between func(at int)) []float64 {
	counts := make([]float64, hosts)
	for range n {
		random := r.Uint64()
		at := p.Pick(Request{Random: random, Hash: random})
		counts[at] += 1 / float64(n)
		if between != nil {
			between(at)
		}
	}
	return counts
}

func TestSharesFollowWeights(t *testing.T) {
	weights := []uint32{1, 2, 3, 0, 4, 10}
	for _, a := range []model.Algorithm{model.RoundRobin, model.Random, model.LeastRequest} {
		p := mustNew(t, a, hostsOf(weights...), 0)
		got := shares(p, len(weights), 200000, rand.New(rand.NewPCG(1, 2)), nil)
		for i, w := range weights {
			if want := float64(w) / 20; math.Abs(got[i]-want) > 0.005 {
				t.Errorf("%s: host %d of weight %d has a share of %.4f, want %.4f", a, i, w, got[i], want)
			}
		}
	}
}

func TestSharesFollowWeightsUnderLoad(t *testing.T) {
	weights := []uint32{1, 2, 4, 8}
	for _, a := range []model.Algorithm{model.LeastRequest, model.PeakEWMA} {
		hosts := hostsOf(weights...)
		for i := range hosts {
			hosts[i].Load.Observe(0, 1e6)
		}
		p := mustNew(t, a, hosts, 0)
		r := rand.New(rand.NewPCG(1, 2))
		// Every host answers in the same time: 300 requests are in flight, the oldest ends.
		var flight []int
		got := shares(p, len(hosts), 30000, r, func(at int) {
			hosts[at].Load.Begin()
			flight = append(flight, at)
			if len(flight) > 300 {
				hosts[flight[0]].Load.End()
				flight = flight[1:]
			}
		})
		for i, w := range weights {
			if want := float64(w) / 15; math.Abs(got[i]-want) > 0.1*want {
				t.Errorf("%s: host %d has a share of %.4f, want about %.4f", a, i, got[i], want)
			}
		}
	}
}

func TestTriedHostsAreSharedAmongTheRest(t *testing.T) {
	for _, a := range algorithms {
		p := mustNew(t, a, hostsOf(1, 1, 1, 1), 0)
		r := rand.New(rand.NewPCG(3, 4))
		counts := make([]int, 4)
		for range 3000 {
			random := r.Uint64()
			counts[p.Pick(Request{Random: random, Hash: random, Tried: []int{1}})]++
		}
		for _, i := range []int{0, 2, 3} {
			if counts[i] < 700 {
				t.Errorf("%s: host %d received %d of 3000 retries: %v", a, i, counts[i], counts)
			}
		}
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	tried := []int{0, 1, 2}
	for _, a := range algorithms {
		p := mustNew(t, a, hostsOf(1, 2, 3, 4, 5), 0)
		n := testing.AllocsPerRun(100, func() {
			p.Pick(Request{Random: 12345})
			p.Pick(Request{Random: 12345, Tried: tried})
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", a, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, a := range algorithms {
		b.Run(string(a), func(b *testing.B) {
			weights := make([]uint32, 100)
			for i := range weights {
				weights[i] = uint32(i%7 + 1)
			}
			hosts := hostsOf(weights...)
			for i := range hosts {
				hosts[i].Load.Observe(0, 1e6)
			}
			p := mustNew(b, a, hosts, 0)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				random := rand.Uint64()
				for pb.Next() {
					random = mix(random)
					p.Pick(Request{Random: random, Hash: random, Now: 5e9})
				}
			})
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for _, a := range algorithms {
		b.Run(string(a), func(b *testing.B) {
			weights := make([]uint32, 1000)
			for i := range weights {
				weights[i] = uint32(i*i + 1)
			}
			hosts := hostsOf(weights...)
			for b.Loop() {
				mustNew(b, a, hosts, 0)
			}
		})
	}
}
