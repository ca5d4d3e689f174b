package cluster

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// steady is a Config with the same random numbers every time.
func steady(zone string) Config {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(1, 2))
	return Config{Zone: zone, Random: func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		return r.Uint64()
	}}
}

// balanced is a cluster with these settings.
func balanced(b model.Balancing) *model.Cluster {
	return testCluster(func(c *model.Cluster) { c.Balancing = b })
}

// changed is endpoints(weights) with one change each, by index.
func changed(weights []uint32, change func(i int, e *model.Endpoint)) *model.EndpointSet {
	set := endpoints(weights...)
	for i := range set.Endpoints {
		change(i, &set.Endpoints[i])
	}
	set.Hash = ""
	set.Hash = model.HashOf(set)
	return set
}

// equal is n weights of 1.
func equal(n int) []uint32 { return slices.Repeat([]uint32{1}, n) }

// host returns the index of a host in endpoints.
func host(h *Host) int { return int(h.Address().Addr().As4()[3]) - 1 }

// shares returns the part of 20,000 picks that each of n hosts receives, each with a key of its own.
func shares(t rapid.TB, c *Cluster, n int) []float64 {
	t.Helper()
	const picks = 20000
	counts := make([]float64, n)
	for i := range picks {
		h, err := c.Pick(Request{Hash: uint64(i), Hashed: true})
		if err != nil {
			t.Fatal(err)
		}
		counts[host(h)] += 1.0 / picks
	}
	return counts
}

func wantShares(t rapid.TB, what string, got, want []float64, off float64) {
	t.Helper()
	for i := range want {
		if math.Abs(got[i]-want[i]) > off {
			t.Errorf("%s: host %d has a share of %.4f, want %.4f", what, i, got[i], want[i])
		}
	}
}

func TestPrioritiesOverflow(t *testing.T) {
	// Ten hosts of priority 0 of which six are healthy are available to 0.84.
	e := changed(equal(20), func(i int, e *model.Endpoint) {
		e.Priority = uint32(i / 10)
		e.Unready = i < 4
	})
	for _, a := range algorithms {
		s := New(steady(""))
		apply(t, s, balanced(model.Balancing{Algorithm: a, PanicThreshold: 0.5}), e)
		got := shares(t, s.Cluster("c"), 20)
		first, second := 0.0, 0.0
		for i, share := range got {
			if i < 4 && share > 0 {
				t.Errorf("%s: host %d is not ready", a, i)
			}
			if i < 10 {
				first += share
			} else {
				second += share
			}
		}
		wantShares(t, string(a)+" by level", []float64{first, second}, []float64{0.84, 0.16}, 0.01)
	}
}

func TestPanicUsesAllHosts(t *testing.T) {
	e := changed(equal(4), func(i int, e *model.Endpoint) { e.Unready = i > 0 })
	for _, a := range algorithms {
		s := New(steady(""))
		apply(t, s, balanced(model.Balancing{Algorithm: a, PanicThreshold: 0.5}), e)
		for i, share := range shares(t, s.Cluster("c"), 4) {
			if share < 0.15 {
				t.Errorf("%s: in panic host %d has a share of %v", a, i, share)
			}
		}
		apply(t, s, balanced(model.Balancing{Algorithm: a}), e)
		if share := shares(t, s.Cluster("c"), 4)[0]; share < 1-1e-9 {
			t.Errorf("%s: without panic the healthy host has a share of %v", a, share)
		}
		setHealthy(s, address("10.0.0.1:80"), false)
		if _, err := s.Cluster("c").Pick(Request{}); !errors.Is(err, ErrNoHost) {
			t.Errorf("%s: nothing is healthy: %v", a, err)
		}
	}
}

// TestEligibleIsWhatIsPicked: the levels and zones in use, and in panic whoever has a weight.
func TestEligibleIsWhatIsPicked(t *testing.T) {
	if list := (&Cluster{}).Eligible(9); list != nil {
		t.Errorf("never applied: %v", list)
	}
	rapid.Check(t, func(t *rapid.T) {
		set, failing := genEndpoints(t)
		s := New(Config{Zone: "a"})
		apply(t, s, balanced(model.Balancing{Algorithm: model.RoundRobin, ZoneAware: true, PanicThreshold: 0.5}), set)
		ok := make([]bool, len(failing))
		for i, e := range set.Endpoints {
			setHealthy(s, e.Address, !failing[i])
			ok[i] = !failing[i] && !e.Unready
		}
		c := s.Cluster("c")
		seen := map[*Host]bool{}
		for range 2000 {
			if h, err := c.Pick(Request{}); err == nil {
				seen[h] = true
			}
		}
		list := c.Eligible(100)
		for _, h := range list {
			delete(seen, h)
			if e := h.endpoint; e.Weight == 0 || !h.healthy() && !panics(set.Endpoints, ok, e.Priority, 0.5) {
				t.Fatalf("eligible: %+v", e)
			}
		}
		if len(seen) > 0 {
			t.Fatalf("%d hosts are picked and not among the %d eligible", len(seen), len(list))
		}
		if short := c.Eligible(3); len(short) != min(3, len(list)) {
			t.Fatalf("%d of at most 3", len(short))
		}
	})
}

func TestZonesSpill(t *testing.T) {
	// Two, four and six hosts: the worked example of balance.Spill.
	zones := "aabbbbcccccc"
	e := changed(equal(12), func(i int, e *model.Endpoint) { e.Zone = zones[i : i+1] })
	for zone, want := range map[string][3]float64{
		"a": {0.5, 0, 0.5}, "b": {0, 1, 0}, "c": {0, 0, 1}, "d": {1.0 / 6, 1.0 / 3, 0.5}, "": {1.0 / 6, 1.0 / 3, 0.5},
	} {
		for _, a := range algorithms[:4] {
			s := New(steady(zone))
			apply(t, s, balanced(model.Balancing{Algorithm: a, ZoneAware: true}), e)
			var got [3]float64
			for i, share := range shares(t, s.Cluster("c"), 12) {
				got[zones[i]-'a'] += share
			}
			wantShares(t, fmt.Sprintf("%s in zone %q", a, zone), got[:], want[:], 0.012)
		}
	}
}

func TestHashingIgnoresZones(t *testing.T) {
	e := changed(equal(6), func(i int, e *model.Endpoint) { e.Zone = "ab"[i%2 : i%2+1] })
	for _, a := range []model.Algorithm{model.RingHash, model.Maglev} {
		here, there := New(steady("a")), New(steady("b"))
		for _, s := range []*Set{here, there} {
			apply(t, s, balanced(model.Balancing{Algorithm: a, ZoneAware: true}), e)
		}
		for key := range uint64(200) {
			q := Request{Hash: key, Hashed: true}
			x, _ := here.Cluster("c").Pick(q)
			y, _ := there.Cluster("c").Pick(q)
			if host(x) != host(y) {
				t.Fatalf("%s: key %d: %d in one proxy, %d in another", a, key, host(x), host(y))
			}
		}
	}
}

func TestRequestsWithoutAHashAreSpread(t *testing.T) {
	for _, a := range []model.Algorithm{model.RingHash, model.Maglev} {
		s := New(steady(""))
		apply(t, s, balanced(model.Balancing{Algorithm: a}), endpoints(1, 1, 1))
		seen := map[*Host]bool{}
		for range 100 {
			seen[pick(t, s.Cluster("c"))] = true
		}
		if len(seen) != 3 {
			t.Errorf("%s: 100 requests reached %d hosts of 3", a, len(seen))
		}
	}
}

func TestRetriesLeaveAGroupThatIsSpent(t *testing.T) {
	e := changed(equal(3), func(i int, e *model.Endpoint) { e.Priority = uint32(i) })
	s := New(steady(""))
	apply(t, s, balanced(model.Balancing{Algorithm: model.RoundRobin}), e)
	c := s.Cluster("c")
	first := pick(t, c)
	if again := pick(t, c, first); again != first {
		t.Errorf("level 0 has all requests: a retry went to host %d", host(again))
	}
	zoned := changed(equal(3), func(i int, e *model.Endpoint) { e.Zone = "abb"[i : i+1] })
	s = New(steady("a"))
	apply(t, s, balanced(model.Balancing{Algorithm: model.RoundRobin, ZoneAware: true}), zoned)
	c = s.Cluster("c")
	local := c.hosts[address("10.0.0.1:80")]
	for range 20 {
		if again := pick(t, c, local); again == local {
			t.Fatal("the retry stayed at the only host of the zone, which was tried")
		}
	}
}

func TestBoundedLoadMovesOn(t *testing.T) {
	for _, a := range []model.Algorithm{model.RingHash, model.Maglev} {
		s := New(steady(""))
		spec := balanced(model.Balancing{Algorithm: a, BoundedLoad: 1.25})
		apply(t, s, spec, endpoints(1, 1, 1, 1))
		c := s.Cluster("c")
		q := Request{Hash: 42, Hashed: true}
		counts := make([]int64, 4)
		for n := range int64(40) {
			h, _ := c.Pick(q)
			h.Begin()
			counts[host(h)]++
			if limit := int64(math.Ceil(1.25 / 4 * float64(n+1))); h.InFlight() > limit {
				t.Fatalf("%s: %d in flight of %d, more than %d", a, h.InFlight(), n+1, limit)
			}
		}
		if slices.Min(counts) == 0 || slices.Max(counts) != 13 {
			t.Errorf("%s: one key's requests in flight: %v, want 13 at its own host and some at each", a, counts)
		}
		// The bound is taken away and comes back while all that is in flight.
		apply(t, s, balanced(model.Balancing{Algorithm: a}), endpoints(1, 1, 1, 1))
		own, _ := c.Pick(q)
		own.Begin()
		if own.InFlight() != 14 || c.total.InFlight() != 0 {
			t.Errorf("%s: without bound: %d in flight, %d counted", a, own.InFlight(), c.total.InFlight())
		}
		apply(t, s, spec, endpoints(1, 1, 0, 1))
		if want := 41 - c.hosts[address("10.0.0.3:80")].InFlight(); c.total.InFlight() != want {
			t.Errorf("%s: %d counted, want %d: all but those of the host of weight 0", a, c.total.InFlight(), want)
		}
		apply(t, s, spec, endpoints(1, 1))
		if want := c.hosts[address("10.0.0.1:80")].InFlight() + c.hosts[address("10.0.0.2:80")].InFlight(); c.total.InFlight() != want {
			t.Errorf("%s: %d counted, want %d: all but those of hosts that are gone", a, c.total.InFlight(), want)
		}
	}
}

// genEndpoints draws endpoints and the hosts that checks find failing.
func genEndpoints(t *rapid.T) (*model.EndpointSet, []bool) {
	n := rapid.IntRange(0, 12).Draw(t, "hosts")
	failing := rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "failing")
	set := changed(rapid.SliceOfN(rapid.Uint32Range(0, 4), n, n).Draw(t, "weights"), func(_ int, e *model.Endpoint) {
		e.Priority = rapid.Uint32Range(0, 3).Draw(t, "priority")
		e.Zone = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "zone")
		e.Unready = rapid.IntRange(0, 3).Draw(t, "unready") == 0
	})
	return set, failing
}

// TestNoDeadHostWhileALiveOneExists: for every algorithm and every mixture of priorities,
// zones, weights and health, tried hosts included.
func TestNoDeadHostWhileALiveOneExists(t *testing.T) {
	for _, a := range algorithms {
		t.Run(string(a), rapid.MakeCheck(func(t *rapid.T) {
			set, failing := genEndpoints(t)
			threshold := rapid.SampledFrom([]float64{0, 0, 0.5, 1}).Draw(t, "threshold")
			s := New(Config{Zone: rapid.SampledFrom([]string{"", "a", "c"}).Draw(t, "own zone")})
			apply(t, s, balanced(model.Balancing{Algorithm: a, ZoneAware: true, PanicThreshold: threshold, BoundedLoad: 1.25 * rapid.SampledFrom([]float64{0, 1}).Draw(t, "bound")}), set)
			weighted, live := 0, 0
			ok := make([]bool, len(failing))
			for i, e := range set.Endpoints {
				setHealthy(s, e.Address, !failing[i])
				ok[i] = !failing[i] && !e.Unready
				if e.Weight > 0 {
					weighted++
					if ok[i] {
						live++
					}
				}
			}
			var tried []*Host
			for n := range 30 {
				h, err := s.Cluster("c").Pick(Request{Hash: rapid.Uint64().Draw(t, "hash"), Hashed: rapid.Bool().Draw(t, "hashed"), Tried: tried})
				if err != nil {
					if live > 0 || weighted > 0 && threshold > 0 {
						t.Fatalf("%d live hosts of %d: %v", live, weighted, err)
					}
					return
				}
				i := host(h)
				switch {
				case set.Endpoints[i].Weight == 0:
					t.Fatalf("host %d has no weight", i)
				case !ok[i] && threshold == 0:
					t.Fatalf("host %d is dead", i)
				case !ok[i] && !panics(set.Endpoints, ok, set.Endpoints[i].Priority, threshold):
					t.Fatalf("host %d is dead and its level does not panic", i)
				}
				if n%3 == 0 && !slices.Contains(tried, h) {
					tried = append(tried, h)
				}
			}
		}))
	}
}

// panics is what balance.Overflow decides, worked out anew for one level.
func panics(endpoints []model.Endpoint, ok []bool, priority uint32, threshold float64) bool {
	all, healthy := map[uint32]float64{}, map[uint32]float64{}
	for i, e := range endpoints {
		all[e.Priority] += float64(e.Weight)
		if ok[i] {
			healthy[e.Priority] += float64(e.Weight)
		}
	}
	available := 0.0
	for p, w := range all {
		if w > 0 {
			available += min(1, 1.4*healthy[p]/w)
		}
	}
	return available < 1 && healthy[priority]/all[priority] < threshold
}

func TestPickAllocatesNothing(t *testing.T) {
	e := changed(equal(12), func(i int, e *model.Endpoint) { e.Zone, e.Priority = "abc"[i%3:i%3+1], uint32(i/6) })
	for _, a := range algorithms {
		s := New(Config{Zone: "a"})
		apply(t, s, balanced(model.Balancing{Algorithm: a, ZoneAware: true, BoundedLoad: 1.5}), e)
		c := s.Cluster("c")
		token := pick(t, c).Token()
		c.ByToken(token)
		if n := testing.AllocsPerRun(100, func() {
			h, _ := c.Pick(Request{Hash: 5, Hashed: true})
			h.Begin()
			c.ByToken(token)
			h.Cancel()
		}); n != 0 {
			t.Errorf("%s: %v allocations", a, n)
		}
	}
}

// TestChangesWhileRequestsFly changes everything that a picker is built from while requests
// are picked, begun and ended: none fails, and at the end nothing is in flight.
func TestChangesWhileRequestsFly(t *testing.T) {
	n := &network{}
	s := New(Config{Dial: n.dial, Shards: 2, Zone: "a"})
	apply(t, s, testCluster(), endpoints(1, 1, 1, 1))
	c := s.Cluster("c")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := uint64(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				h, err := c.Pick(Request{Hash: i, Hashed: i%2 == 0})
				if err != nil {
					t.Error(err)
					return
				}
				h.Begin()
				conn, _, err := h.Acquire(t.Context(), transport.Now(), 0, worker)
				if err != nil {
					t.Error(err)
					return
				}
				h.Release(conn, worker, transport.Now())
				c.ByToken(h.Token())
				h.Cancel()
			}
		})
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		b := model.Balancing{
			Algorithm: algorithms[r.IntN(len(algorithms))], ZoneAware: r.IntN(2) == 0,
			SlowStart: time.Duration(r.IntN(2)) * time.Minute, PanicThreshold: 0.5 * float64(r.IntN(2)), BoundedLoad: 1.25 * float64(r.IntN(2)),
		}
		e := changed([]uint32{1, r.Uint32N(5), r.Uint32N(5)}[:1+r.IntN(3)], func(i int, e *model.Endpoint) {
			e.Zone, e.Priority, e.Unready = "ab"[r.IntN(2):][:1], r.Uint32N(2), i > 0 && r.IntN(3) == 0
		})
		apply(t, s, balanced(b), e)
		setHealthy(s, address("10.0.0.2:80"), r.IntN(2) == 0)
	}
	close(stop)
	wg.Wait()
	if c.total == nil || c.total.InFlight() != 0 {
		t.Error("requests are counted in flight for ever")
	}
	for _, h := range s.Hosts() {
		if h.InFlight != 0 || h.Open != h.Idle {
			t.Errorf("at the end: %+v", h)
		}
	}
}
