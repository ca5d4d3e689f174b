package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
)

const window = 10 * time.Second

func slowly(a model.Algorithm) *model.Cluster {
	return balanced(model.Balancing{Algorithm: a, SlowStart: window})
}

// wantNewest checks the share of the last of n hosts of weight 1 that has so many
// twentieths of its weight, and what people are told of it.
func wantNewest(t *testing.T, s *Set, what string, n int, twentieths float64) {
	t.Helper()
	got := shares(t, s.Cluster("c"), n)[n-1]
	if want := twentieths / (20*float64(n-1) + twentieths); got < want-0.012 || got > want+0.012 {
		t.Errorf("%s: a share of %.4f, want %.4f", what, got, want)
	}
	hosts := s.Hosts()
	if warmth := hosts[n-1].Warmth; warmth < twentieths/20-0.001 || warmth > twentieths/20+0.001 || hosts[0].Warmth != 1 {
		t.Errorf("%s: warmth %v, want %v; of the first %v", what, warmth, twentieths/20, hosts[0].Warmth)
	}
}

func TestSlowStartGrows(t *testing.T) {
	for _, a := range algorithms[:3] {
		synctest.Test(t, func(t *testing.T) {
			s := running(t, steady(""))
			apply(t, s, slowly(a), endpoints(1, 1))
			wantNewest(t, s, "all hosts are new", 2, 20)
			time.Sleep(time.Minute)
			apply(t, s, slowly(a), endpoints(1, 1, 1))
			wantNewest(t, s, "at once", 3, 2)
			time.Sleep(window/2 + 10*time.Millisecond)
			wantNewest(t, s, "after half of the window", 3, 11)
			time.Sleep(window / 2)
			wantNewest(t, s, "after the window", 3, 20)
			if len(s.warming) != 0 || s.Cluster("c").step != 0 {
				t.Error("it goes on")
			}
		})
	}
}

func TestSlowStartSurvivesReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady(""))
		apply(t, s, slowly(model.RoundRobin), endpoints(1, 1))
		apply(t, s, slowly(model.RoundRobin), endpoints(1, 1, 1))
		time.Sleep(window/2 + 10*time.Millisecond)
		apply(t, s, slowly(model.Random), endpoints(1, 1, 1))
		wantNewest(t, s, "another algorithm", 3, 11)
		apply(t, s, slowly(model.Random), endpoints(2, 2, 2))
		wantNewest(t, s, "other weights", 3, 11)
		apply(t, s, slowly(model.Maglev), endpoints(1, 1, 1))
		if len(s.warming) != 0 {
			t.Error("hosts warm up for an algorithm that hashes")
		}
		wide := slowly(model.Random)
		wide.Balancing.SlowStart, wide.Hash = 2*window, ""
		apply(t, s, wide, endpoints(1, 1, 1))
		wantNewest(t, s, "twice the window", 3, 6) // a quarter of 18 steps is 4 whole ones
		time.Sleep(2 * window)
		wantNewest(t, s, "in the end", 3, 20)
	})
}

func TestRecoveredHostsStartSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady(""))
		apply(t, s, slowly(model.Random), endpoints(1, 1))
		setHealthy(s, address("10.0.0.2:80"), false)
		if got := shares(t, s.Cluster("c"), 2)[1]; got != 0 || status(t, s, "10.0.0.2:80").Healthy {
			t.Errorf("an unhealthy host has a share of %v", got)
		}
		time.Sleep(time.Minute)
		setHealthy(s, address("10.0.0.2:80"), true)
		setHealthy(s, address("10.0.0.2:80"), true)
		wantNewest(t, s, "recovered", 2, 2)
		time.Sleep(window / 2)
		setHealthy(s, address("10.0.0.2:80"), true)
		time.Sleep(window/2 + 10*time.Millisecond)
		wantNewest(t, s, "warm again", 2, 20)

		unready := changed(equal(2), func(i int, e *model.Endpoint) { e.Unready = i == 1 })
		apply(t, s, slowly(model.Random), unready)
		apply(t, s, slowly(model.Random), endpoints(1, 1))
		wantNewest(t, s, "ready again", 2, 2)

		// Where nobody else serves, the first that recovers is whole at once.
		time.Sleep(window + time.Second)
		for _, healthy := range []bool{false, true} {
			setHealthy(s, address("10.0.0.1:80"), healthy)
			setHealthy(s, address("10.0.0.2:80"), healthy)
		}
		wantNewest(t, s, "the second to recover", 2, 2)
		for _, healthy := range []bool{false, true} {
			setHealthy(s, address("10.0.0.2:80"), healthy)
			setHealthy(s, address("10.0.0.1:80"), healthy)
		}
		if first, second := status(t, s, "10.0.0.2:80"), status(t, s, "10.0.0.1:80"); first.Warmth != 1 || second.Warmth != 0.1 {
			t.Errorf("the first to recover has %v of its weight, the second %v", first.Warmth, second.Warmth)
		}
	})
}

func TestSlowStartStepsAreBounded(t *testing.T) {
	for _, tt := range []struct {
		window time.Duration
		most   int
	}{{window, 20}, {time.Second, 11}, {50 * time.Millisecond, 2}} {
		synctest.Test(t, func(t *testing.T) {
			s := running(t, steady(""))
			spec := balanced(model.Balancing{Algorithm: model.RoundRobin, SlowStart: tt.window})
			apply(t, s, spec, endpoints(1))
			apply(t, s, spec, endpoints(1, 1))
			c := s.Cluster("c")
			seen := map[*picker]bool{}
			for range int(2*tt.window/time.Millisecond) + 500 {
				seen[c.picker.Load()] = true
				time.Sleep(time.Millisecond)
			}
			if len(seen) > tt.most || len(seen) < 2 {
				t.Errorf("window %v: %d pickers, want at most %d", tt.window, len(seen), tt.most)
			}
			if c.step != 0 {
				t.Error("it goes on")
			}
		})
	}
}

// TestSlowStartInZones: a zone's part grows with its hosts.
func TestSlowStartInZones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady("a"))
		spec := balanced(model.Balancing{Algorithm: model.RoundRobin, SlowStart: window, ZoneAware: true})
		zoned := func(n int) *model.EndpointSet {
			return changed(equal(n), func(i int, e *model.Endpoint) { e.Zone = "ba"[i : i+1] })
		}
		apply(t, s, spec, zoned(1))
		apply(t, s, spec, zoned(2))
		// Weights 20 and 2, own part 11: the local zone keeps 2/11.
		wantShares(t, "at once", shares(t, s.Cluster("c"), 2), []float64{9.0 / 11, 2.0 / 11}, 0.012)
		time.Sleep(window + 10*time.Millisecond)
		wantShares(t, "warm", shares(t, s.Cluster("c"), 2), []float64{0, 1}, 0.001)
	})
}

func TestHugeWeightsWarmUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const huge = 4_000_000_000
		s := running(t, steady(""))
		apply(t, s, slowly(model.Random), endpoints(huge))
		apply(t, s, slowly(model.Random), endpoints(huge, huge, 1))
		wantShares(t, "huge weights", shares(t, s.Cluster("c"), 3), []float64{20.0 / 22, 2.0 / 22, 0}, 0.012)
	})
}

// TestStepsBeginAtOnce: the first step does not wait until Run happens to look.
func TestStepsBeginAtOnce(t *testing.T) {
	changes := map[string]func(*testing.T, *Set){
		"a new host": func(t *testing.T, s *Set) { apply(t, s, slowly(model.RoundRobin), endpoints(1, 1, 1)) },
		"a recovered host": func(_ *testing.T, s *Set) {
			setHealthy(s, address("10.0.0.2:80"), false)
			setHealthy(s, address("10.0.0.2:80"), true)
		},
	}
	for what, change := range changes {
		synctest.Test(t, func(t *testing.T) {
			s := running(t, steady(""))
			apply(t, s, slowly(model.RoundRobin), endpoints(1, 1))
			time.Sleep(sweepEvery + 100*time.Millisecond) // the next sweep is later than the step
			change(t, s)
			before := s.Cluster("c").picker.Load()
			time.Sleep(window/18 + time.Millisecond)
			if s.Cluster("c").picker.Load() == before {
				t.Errorf("%s: no step when the first was due", what)
			}
		})
	}
}

func TestRemovedClustersDoNotStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady(""))
		apply(t, s, slowly(model.RoundRobin), endpoints(1))
		apply(t, s, slowly(model.RoundRobin), endpoints(1, 1))
		c := s.Cluster("c")
		c.hosts[address("10.0.0.1:80")].Begin()
		apply(t, s, nil, nil)
		before := c.picker.Load()
		time.Sleep(window)
		if len(s.warming) != 0 || c.picker.Load() != before {
			t.Error("it still gets pickers")
		}
	})
}
