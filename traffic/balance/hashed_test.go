package balance

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
	"weir.dev/weir/model"
)

var hashing = []model.Algorithm{model.RingHash, model.Maglev}

// assign returns the identity of the host of each of n keys.
func assign(t rapid.TB, a model.Algorithm, hosts []Host, n int) []string {
	t.Helper()
	p := mustNew(t, a, hosts, 0)
	got := make([]string, n)
	for key := range got {
		got[key] = hosts[p.Pick(Request{Hash: uint64(key)})].Identity
	}
	return got
}

// TestHashesNeverChange: another version of Weir in the same fleet must choose alike. If
// this fails, the code is wrong, not the table.
func TestHashesNeverChange(t *testing.T) {
	oracle := fnv.New64a()
	oracle.Write([]byte("10.0.0.1:80"))
	if got, want := identify("10.0.0.1:80"), mix(oracle.Sum64()); got != want || got != 0xdf1d561fbd00135a {
		t.Errorf("identify: %#x, want %#x", got, want)
	}
	for a, want := range map[model.Algorithm]string{
		model.RingHash: "5336445261424556456445655443662464240364",
		model.Maglev:   "1166662662411356536631461543633124614451",
	} {
		p := mustNew(t, a, hostsOf(1, 2, 3, 4, 5, 6, 7), 0)
		var got strings.Builder
		for key := range uint64(40) {
			fmt.Fprint(&got, p.Pick(Request{Hash: key}))
		}
		if got.String() != want {
			t.Errorf("%s: got %s", a, got.String())
		}
	}
}

func TestHashingIsAFunctionOfTheHash(t *testing.T) {
	for _, a := range hashing {
		p := mustNew(t, a, hostsOf(3, 1, 2), 0)
		for key := range uint64(100) {
			first := p.Pick(Request{Hash: key, Random: 1})
			if again := p.Pick(Request{Hash: key, Random: math.MaxUint64}); again != first {
				t.Fatalf("%s: key %d: %d, then %d", a, key, first, again)
			}
			tried := p.Pick(Request{Hash: key, Tried: []int{first}})
			if again := p.Pick(Request{Hash: key, Tried: []int{first}}); again != tried || tried == first {
				t.Fatalf("%s: retry of key %d: %d, then %d", a, key, tried, again)
			}
		}
	}
}

func TestHashingSharesFollowWeights(t *testing.T) {
	for _, a := range hashing {
		off := map[model.Algorithm]float64{model.RingHash: 0.2, model.Maglev: 0.05}[a]
		t.Run(string(a), rapid.MakeCheck(func(t *rapid.T) {
			weights := rapid.SliceOfN(rapid.Uint32Range(1, 20), 1, 30).Draw(t, "weights")
			p := mustNew(t, a, hostsOf(weights...), 0)
			total := uint32(0)
			for _, w := range weights {
				total += w
			}
			got := make([]float64, len(weights))
			const n = 30000
			for key := range uint64(n) {
				got[p.Pick(Request{Hash: key})] += 1.0 / n
			}
			for i, w := range weights {
				want := float64(w) / float64(total)
				if math.Abs(got[i]-want) > off*want+4*math.Sqrt(want/n) {
					t.Fatalf("host %d of weight %d has a share of %.4f, want %.4f", i, w, got[i], want)
				}
			}
		}))
	}
}

// without returns the hosts but one.
func without(hosts []Host, i int) []Host { return slices.Delete(slices.Clone(hosts), i, i+1) }

func TestOnlyTheRequestsOfAHostThatGoesMove(t *testing.T) {
	const n = 8000
	for _, a := range hashing {
		t.Run(string(a), rapid.MakeCheck(func(t *rapid.T) {
			var weights []uint32
			if rapid.Bool().Draw(t, "equal") {
				weights = slices.Repeat([]uint32{1}, rapid.IntRange(2, 100).Draw(t, "hosts"))
			} else {
				weights = rapid.SliceOfN(rapid.Uint32Range(8, 15), 2, 30).Draw(t, "weights")
			}
			hosts := hostsOf(weights...)
			gone := rapid.IntRange(0, len(hosts)-1).Draw(t, "gone")
			before, after := assign(t, a, hosts, n), assign(t, a, without(hosts, gone), n)
			had, others := 0, 0
			for key := range before {
				switch {
				case before[key] == hosts[gone].Identity:
					had++
				case before[key] != after[key]:
					others++
				}
			}
			sum := uint32(0)
			for _, w := range weights {
				sum += w
			}
			share := float64(weights[gone]) / float64(sum)
			if limit := share*1.3 + 4*math.Sqrt(share/n); float64(had)/n > limit {
				t.Fatalf("the host had %d of %d requests, more than %.4f", had, n, limit)
			}
			// A ring moves nothing else, and Maglev little.
			limit := 0.0
			if a == model.Maglev {
				limit = 0.02
			}
			if float64(others)/n > limit {
				t.Fatalf("%d hosts: %d of %d requests moved between hosts that stay", len(hosts), others, n)
			}
		}))
	}
}

func TestRingKeepsHalfWhenItsUnitChanges(t *testing.T) {
	// The one host of weight 1 goes; the least weight is 2 then, and every host has half of its points.
	hosts := hostsOf(1, 2, 2, 2, 2)
	before, after := assign(t, model.RingHash, hosts, 20000), assign(t, model.RingHash, hosts[1:], 20000)
	moved := 0
	for key := range before {
		if before[key] != hosts[0].Identity && before[key] != after[key] {
			moved++
		}
	}
	if share := float64(moved) / 20000; share < 0.1 || share > 0.5 {
		t.Errorf("%.3f of the requests moved", share)
	}
}

func TestHashingDoesNotDependOnTheOrderOfHosts(t *testing.T) {
	for _, a := range hashing {
		hosts := hostsOf(1, 1, 1, 2, 2, 3)
		before := assign(t, a, hosts, 100_000)
		slices.Reverse(hosts)
		if after := assign(t, a, hosts, 100_000); !slices.Equal(before, after) {
			t.Errorf("%s: another order, other choices", a)
		}
	}
}

func TestRingIsSortedAndBounded(t *testing.T) {
	check := func(t rapid.TB, weights []uint32, hashes []uint64) {
		p := NewRingHash(hostsOf(weights...), Bound{})
		if !slices.IsSorted(p.points) || len(p.points) != len(p.order) || len(p.points) > maxPoints {
			t.Fatalf("%d points", len(p.points))
		}
		for i, w := range weights {
			if w > 0 && !slices.Contains(p.order, uint32(i)) {
				t.Fatalf("host %d of weight %d has no point", i, w)
			}
		}
		for _, hash := range hashes {
			if len(p.points) == 0 {
				break
			}
			at, _ := slices.BinarySearch(p.points, mix(hash))
			if got, want := p.Pick(Request{Hash: hash}), int(p.order[at%len(p.points)]); got != want {
				t.Fatalf("%#x: got host %d, want %d", hash, got, want)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.SliceOfN(rapid.Uint32Range(0, 9), 1, 20).Draw(t, "weights"), rapid.SliceOfN(rapid.Uint64(), 50, 50).Draw(t, "hashes"))
	})
	many := make([]uint64, 20000) // enough to fall behind the last point as well
	for i := range many {
		many[i] = uint64(i)
	}
	check(t, []uint32{1, 1}, many)
	check(t, []uint32{1, math.MaxUint32, 5000, 1 << 20}, []uint64{0, 1, 2, 3})
	check(t, slices.Repeat([]uint32{7}, 5000), []uint64{0, 1, 2, 3})
}

func TestMaglevHasEveryHost(t *testing.T) {
	for _, n := range []int{1, 2, 1000, 5000, maglevSize - 1} {
		weights := slices.Repeat([]uint32{1}, n)
		weights[0] = 1 << 30
		p := NewMaglev(hostsOf(weights...), Bound{})
		seen := make([]int, n)
		for _, h := range p.order {
			seen[h]++
		}
		if i := slices.Index(seen, 0); i >= 0 {
			t.Errorf("%d hosts: host %d has no entry", n, i)
		}
	}
}

func TestBoundWorkedExample(t *testing.T) {
	for _, a := range hashing {
		hosts := hostsOf(1, 1, 1, 1)
		total := &Total{}
		for i := range hosts {
			hosts[i].Load.Join(total)
		}
		p, err := New(Options{Algorithm: a, Bound: Bound{Factor: 1.25, Total: total}}, hosts)
		if err != nil {
			t.Fatal(err)
		}
		first := p.Pick(Request{Hash: 7})
		flight(hosts[first], 2)
		flight(hosts[(first+1)%4], 3)
		flight(hosts[(first+2)%4], 2)
		if at := p.Pick(Request{Hash: 7}); at != first {
			t.Errorf("%s: 2 of 3 allowed are in flight: got %d", a, at)
		}
		flight(hosts[first], 1)
		hosts[(first+2)%4].Load.End()
		next := p.Pick(Request{Hash: 7})
		if next == first || next == (first+1)%4 {
			t.Errorf("%s: got %d, which has 3 in flight", a, next)
		}
		if at := p.Pick(Request{Hash: 7, Tried: []int{first, (first + 2) % 4, (first + 3) % 4}}); at != (first+1)%4 {
			t.Errorf("%s: got %d, want the only one that was not tried", a, at)
		}
	}
}

func TestBoundHolds(t *testing.T) {
	for _, a := range hashing {
		t.Run(string(a), rapid.MakeCheck(func(t *rapid.T) {
			weights := rapid.SliceOfN(rapid.OneOf(rapid.Just(uint32(1)), rapid.Uint32Range(1, 30)), 1, 100).Draw(t, "weights")
			hosts := hostsOf(weights...)
			total, sum := &Total{}, 0.0
			for i := range hosts {
				hosts[i].Load.Join(total)
				sum += float64(weights[i])
			}
			factor := rapid.SampledFrom([]float64{1, 1.1, 1.25, 2}).Draw(t, "factor")
			p, err := New(Options{Algorithm: a, Bound: Bound{Factor: factor, Total: total}}, hosts)
			if err != nil {
				t.Fatal(err)
			}
			keys := rapid.Uint64Range(1, 50).Draw(t, "keys")
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
			var flying []int
			for range 600 {
				if len(flying) > 0 && r.IntN(5) < 2 {
					i := r.IntN(len(flying))
					hosts[flying[i]].Load.End()
					flying = slices.Delete(flying, i, i+1)
					continue
				}
				at := p.Pick(Request{Hash: r.Uint64N(keys)})
				limit := math.Ceil(factor * float64(weights[at]) / sum * float64(len(flying)+1))
				hosts[at].Load.Begin()
				flying = append(flying, at)
				if n := hosts[at].Load.InFlight(); float64(n) > limit {
					t.Fatalf("host %d of weight %d has %d of %d in flight, more than %v", at, weights[at], n, len(flying), limit)
				}
			}
		}))
	}
}

func TestLoadsCountInTheirTotal(t *testing.T) {
	var l, other Load
	var total Total
	flight(Host{Load: &l}, 3)
	l.Join(&total)
	l.Join(&total)
	other.Join(&total)
	flight(Host{Load: &other}, 2)
	l.Begin()
	if l.InFlight() != 4 || total.InFlight() != 6 {
		t.Errorf("got %d of %d", l.InFlight(), total.InFlight())
	}
	l.Leave()
	l.Leave()
	l.End()
	if l.InFlight() != 3 || total.InFlight() != 2 {
		t.Errorf("after it left: %d of %d", l.InFlight(), total.InFlight())
	}
}

func TestTotalIsExactUnderConcurrency(t *testing.T) {
	var l Load
	var total Total
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5000 {
				l.Begin()
				l.End()
			}
			l.Begin()
		})
	}
	wg.Go(func() {
		for range 600 {
			l.Join(&total)
			l.Leave()
		}
		l.Join(&total)
	})
	wg.Wait()
	if l.InFlight() != 4 || total.InFlight() != 4 {
		t.Errorf("%d in flight, %d in total; want 4", l.InFlight(), total.InFlight())
	}
}

// TestRingRetriesWhereTheKeyWouldBelong: the next host is who would have the request if the
// tried one were gone, so that a host that fails moves its requests as one that is removed.
func TestRingRetriesWhereTheKeyWouldBelong(t *testing.T) {
	hosts := hostsOf(1, 1, 1, 1, 1, 1)
	all := mustNew(t, model.RingHash, hosts, 0)
	after := assign(t, model.RingHash, without(hosts, 2), 2000)
	for key, want := range after {
		if got := hosts[all.Pick(Request{Hash: uint64(key), Tried: []int{2}})].Identity; got != want {
			t.Fatalf("key %d: %s after a failed try, %s without the host", key, got, want)
		}
	}
}
