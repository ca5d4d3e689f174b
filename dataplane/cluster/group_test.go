package cluster

import (
	"math"
	"testing"

	"weir.dev/weir/model"
)

// twoLevels are ten hosts of priority 0, of which six are ready, and ten of priority 1: the first
// level is available to 0.84.
func twoLevels() *model.EndpointSet {
	return changed(equal(20), func(i int, e *model.Endpoint) {
		e.Priority = uint32(i / 10)
		e.Unready = i < 4
	})
}

func TestKeysKeepTheirLevel(t *testing.T) {
	for _, a := range []model.Algorithm{model.RingHash, model.Maglev} {
		s := New(Config{})
		apply(t, s, balanced(model.Balancing{Algorithm: a}), twoLevels())
		second := 0
		for key := range uint64(200) {
			q := Request{Hash: key, Hashed: true}
			first, _ := s.Cluster("c").Pick(q)
			for range 5 {
				if again, _ := s.Cluster("c").Pick(q); again != first {
					t.Fatalf("%s: key %d went to host %d, then to %d", a, key, host(first), host(again))
				}
			}
			if host(first) >= 10 {
				second++
			}
		}
		if second == 0 {
			t.Errorf("%s: no key overflowed", a)
		}
	}
}

func TestKeysMeanNothingWithoutHashing(t *testing.T) {
	for _, a := range algorithms[:4] {
		s := New(steady(""))
		apply(t, s, balanced(model.Balancing{Algorithm: a}), twoLevels())
		second := 0
		for range 1000 {
			if h, _ := s.Cluster("c").Pick(Request{Hash: 1, Hashed: true}); host(h) >= 10 {
				second++
			}
		}
		if second < 100 || second > 230 {
			t.Errorf("%s: %d of 1000 requests of one key overflowed, want about 160", a, second)
		}
	}
}

func TestZonesCountOnlyWhereTheyAreTold(t *testing.T) {
	e := changed(equal(4), func(i int, e *model.Endpoint) { e.Zone = []string{"", "a", "a", "a"}[i] })
	for _, tt := range []struct {
		own   string
		aware bool
	}{{"", true}, {"a", false}, {"elsewhere", true}} {
		s := New(steady(tt.own))
		apply(t, s, balanced(model.Balancing{Algorithm: model.RoundRobin, ZoneAware: tt.aware}), e)
		wantShares(t, tt.own, shares(t, s.Cluster("c"), 4), []float64{0.25, 0.25, 0.25, 0.25}, 0.01)
	}
}

func TestBoundCountsALevelsPart(t *testing.T) {
	for _, a := range []model.Algorithm{model.RingHash, model.Maglev} {
		s := New(steady(""))
		apply(t, s, balanced(model.Balancing{Algorithm: a, BoundedLoad: 1}), twoLevels())
		c := s.Cluster("c")
		// The keys of many clients fill both levels as their shares are, and one more key comes.
		var flying []*Host
		for key := range uint64(1000) {
			h, _ := c.Pick(Request{Hash: key, Hashed: true})
			h.Begin()
			flying = append(flying, h)
		}
		for _, h := range flying {
			limit := 1.0 / 6 * 0.84 * 1000
			if host(h) >= 10 {
				limit = 1.0 / 10 * 0.16 * 1000
			}
			// Which keys overflow is chance: so many may be in flight above the level's part.
			if n := float64(h.InFlight()); n > math.Ceil(limit)+2 {
				t.Fatalf("%s: host %d has %v in flight, want at most %.0f", a, host(h), n, limit)
			}
		}
	}
}

func TestSessionsEndAtAnUnhealthyHostOfALevelThatDoesNotPanic(t *testing.T) {
	// Healthy are 1 of 10 and 5 of 10: 0.14 and 0.7 are not enough, and the first panics.
	e := changed(equal(20), func(i int, e *model.Endpoint) {
		e.Priority = uint32(i / 10)
		e.Unready = i > 0 && i < 15
	})
	s := New(steady(""))
	apply(t, s, balanced(model.Balancing{Algorithm: model.RoundRobin, PanicThreshold: 0.5}), e)
	c := s.Cluster("c")
	for i, want := range map[int]bool{0: true, 1: true, 12: false, 17: true} {
		if h := c.hosts[e.Endpoints[i].Address]; (c.ByToken(h.Token()) == h) != want {
			t.Errorf("host %d may be used: %v, want %v", i, !want, want)
		}
	}
}

func TestZonesDivideTheirLevelsPart(t *testing.T) {
	// The first level is available to 0.84 and has its hosts in zone b and a at 2 to 4; the
	// second has them at 6 to 4. Zone a keeps all of the first, and 0.8 of the second.
	e := twoLevels()
	for i := range e.Endpoints {
		e.Endpoints[i].Zone = "b"
		if i >= 6 && i < 10 || i >= 16 {
			e.Endpoints[i].Zone = "a"
		}
	}
	e.Hash = ""
	s := New(steady("a"))
	apply(t, s, balanced(model.Balancing{Algorithm: model.RoundRobin, ZoneAware: true}), e)
	got := make([]float64, 4)
	for i, share := range shares(t, s.Cluster("c"), 20) {
		at := i / 10 * 2
		if e.Endpoints[i].Zone == "a" {
			at++
		}
		got[at] += share
	}
	wantShares(t, "level 0 in b and a, level 1 in b and a", got, []float64{0, 0.84, 0.16 * 0.2, 0.16 * 0.8}, 0.01)
}
