package cluster

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/health"
)

// outliers are rules of every kind.
func outliers() model.Outlier {
	return model.Outlier{
		Consecutive5xx: 5, ConsecutiveLocal: 3, FailureShare: 0.5, SlowerThanMedian: 3, SuccessRateDeviation: 1.9,
		Interval: 10 * time.Second, MinRequests: 20, BaseEjection: 30 * time.Second, MaxEjection: 5 * time.Minute,
		MaxEjected: 0.5, Mode: model.ModeEnforce,
	}
}

// judged is a cluster with these rules, changed.
func judged(change ...func(*model.Cluster)) *model.Cluster {
	return testCluster(append([]func(*model.Cluster){func(c *model.Cluster) {
		c.Outlier = outliers()
		c.Balancing.Algorithm = model.Random
	}}, change...)...)
}

// only leaves one rule of outliers on.
func only(rule health.Rule) func(*model.Cluster) {
	return func(c *model.Cluster) {
		all := c.Outlier
		c.Outlier.Consecutive5xx, c.Outlier.ConsecutiveLocal = 0, 0
		c.Outlier.FailureShare, c.Outlier.SlowerThanMedian, c.Outlier.SuccessRateDeviation = 0, 0, 0
		switch rule {
		case health.Consecutive5xx:
			c.Outlier.Consecutive5xx = all.Consecutive5xx
		case health.ConsecutiveLocal:
			c.Outlier.ConsecutiveLocal = all.ConsecutiveLocal
		case health.FailureShare:
			c.Outlier.FailureShare = all.FailureShare
		case health.SlowerThanMedian:
			c.Outlier.SlowerThanMedian = all.SlowerThanMedian
		case health.SuccessRateDeviation:
			c.Outlier.SuccessRateDeviation = all.SuccessRateDeviation
		}
	}
}

// good is what becomes of a try, bad and slow are what the first host makes of it.
func good(int) Outcome { return Outcome{Latency: 10 * time.Millisecond} }

func first(o Outcome) func(int) Outcome {
	return func(host int) Outcome {
		if host == 0 {
			return o
		}
		return good(host)
	}
}

var (
	dead = Outcome{Result: health.Unanswered, Latency: time.Millisecond}
	bad  = Outcome{Result: health.Faulty, Latency: time.Millisecond}
	slow = Outcome{Latency: 200 * time.Millisecond}
)

// send sends a hundred requests a second for so long, and returns how many each of n hosts got.
func send(t *testing.T, s *Set, n int, lasts time.Duration, ends func(host int) Outcome) []int {
	t.Helper()
	got := make([]int, n)
	for began := transport.Now(); transport.Now().Sub(began) < lasts; {
		h := pick(t, s.Cluster("c"))
		h.Begin()
		got[host(h)]++
		h.End(transport.Now(), ends(host(h)))
		time.Sleep(10 * time.Millisecond)
	}
	return got
}

// ejected returns how many hosts are ejected.
func ejected(s *Set) int {
	n := 0
	for _, h := range s.Hosts() {
		if h.Ejected {
			n++
		}
	}
	return n
}

const firstHost = "10.0.0.1:80"

// wantEjected expects the first of hosts, and no other, to be ejected by a rule, for that long
// from now, give or take a tenth of it.
func wantEjected(t *testing.T, s *Set, rule health.Rule, lasts time.Duration) {
	t.Helper()
	h := status(t, s, firstHost)
	left := time.Until(h.EjectedUntil)
	if !h.Ejected || h.Healthy || h.EjectedBy != rule.String() || left > lasts+lasts/10 || left < lasts-lasts/10 {
		t.Errorf("ejected: %v by %q for %v, want %v for %v", h.Ejected, h.EjectedBy, left, rule, lasts)
	}
	if n := ejected(s); n != 1 {
		t.Errorf("%d hosts are ejected", n)
	}
}

func TestOneOfTenIsEjected(t *testing.T) {
	for rule, ends := range map[health.Rule]Outcome{
		health.Consecutive5xx: bad, health.ConsecutiveLocal: dead, health.SlowerThanMedian: slow,
		health.FailureShare: bad, health.SuccessRateDeviation: dead,
	} {
		t.Run(rule.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := running(t, steady(""))
				apply(t, s, judged(only(rule)), endpoints(equal(10)...))
				row := map[health.Rule]int{health.Consecutive5xx: 5, health.ConsecutiveLocal: 3}[rule]
				if row == 0 {
					send(t, s, 10, 13*time.Second, first(ends)) // an interval, which begins a quarter late at most
				} else {
					got := 0
					for ; ejected(s) == 0 && got < 100; got++ {
						h := s.clusters["c"].hosts[address(firstHost)]
						h.Begin()
						h.End(transport.Now(), ends)
						synctest.Wait()
					}
					if got != row {
						t.Fatalf("ejected after %d failures, want %d", got, row)
					}
				}
				h := status(t, s, firstHost)
				if !h.Ejected || h.EjectedBy != rule.String() || h.Ejections != 1 {
					t.Fatalf("%+v", h)
				}
				left := time.Until(h.EjectedUntil)
				if got := send(t, s, 10, left-time.Millisecond, first(ends)); got[0] != 0 {
					t.Errorf("the ejected host got %d requests", got[0])
				}
				time.Sleep(2 * time.Millisecond)
				if h := status(t, s, firstHost); h.Ejected || !h.Healthy || h.EjectedBy != "" || !h.EjectedUntil.IsZero() {
					t.Errorf("its time is over, and %+v", h)
				}
				// It has not got better, and is out for twice the time.
				for range 1300 {
					if send(t, s, 10, 10*time.Millisecond, first(ends)); ejected(s) > 0 {
						break
					}
				}
				wantEjected(t, s, rule, time.Minute)
			})
		})
	}
}

// TestMostDeadAreNotAllEjected: seven of ten are dead, and half of all may be ejected.
func TestMostDeadAreNotAllEjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := steady("")
		config.Metrics = telemetry.NewMetrics(1)
		s := running(t, config)
		apply(t, s, judged(only(health.ConsecutiveLocal)), endpoints(equal(10)...))
		for range 600 {
			if send(t, s, 10, 100*time.Millisecond, firstOf(7, dead)); ejected(s) > 5 {
				t.Fatalf("%d of ten are ejected", ejected(s))
			}
		}
		if n := ejected(s); n != 5 {
			t.Errorf("%d are ejected, want half", n)
		}
		counts := config.Metrics
		if n := counts.Protection("c", "outlier/maxEjected").Acted(); n < 100 || n > 1200 {
			t.Errorf("of about 3,000 failures the ceiling prevented %d ejections, want at most one in three", n)
		}
		if n := counts.Protection("c", "outlier/consecutiveLocal").Acted(); n < 5 {
			t.Errorf("%d ejections are counted", n)
		}
	})
}

// TestReturnIsWithoutRecord: what ends while a host is ejected is not held against it afterwards,
// nor what was before it left its cluster.
func TestReturnIsWithoutRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady(""))
		apply(t, s, judged(), endpoints(equal(10)...))
		end := func(tries int) {
			h := s.clusters["c"].hosts[address(firstHost)]
			for range tries {
				h.Begin()
				h.End(transport.Now(), dead)
			}
			synctest.Wait()
		}
		if end(3); ejected(s) != 1 {
			t.Fatal("not ejected")
		}
		time.Sleep(time.Until(status(t, s, firstHost).EjectedUntil) - time.Millisecond)
		end(50) // so that the row is one short of a suspicion
		time.Sleep(2 * time.Millisecond)
		end(2)
		if time.Sleep(13 * time.Second); ejected(s) != 0 {
			t.Error("ejected for what was before it returned")
		}
		for range 10 { // and the host is kept, for a request is in flight
			s.clusters["c"].hosts[address(firstHost)].Begin()
		}
		end(2)
		without := changed(equal(9), func(i int, e *model.Endpoint) { e.Address = endpoints(equal(10)...).Endpoints[i+1].Address })
		apply(t, s, judged(), without)
		apply(t, s, judged(), endpoints(equal(10)...))
		if end(2); ejected(s) != 0 {
			t.Error("ejected for what was before it left")
		}
		if end(1); ejected(s) != 1 {
			t.Error("not ejected again")
		}
	})
}

func TestPoolOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady(""))
		apply(t, s, judged(func(c *model.Cluster) { c.Outlier.MaxEjected = 0.1 }), endpoints(1, 1))
		if send(t, s, 2, time.Second, first(dead)); !status(t, s, firstHost).Ejected {
			t.Error("one of two may be ejected")
		}
		send(t, s, 2, 20*time.Second, func(int) Outcome { return dead })
		wantEjected(t, s, health.ConsecutiveLocal, time.Until(status(t, s, firstHost).EjectedUntil))
	})
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady(""))
		apply(t, s, judged(), endpoints(1))
		if send(t, s, 1, 20*time.Second, first(dead)); ejected(s) != 0 {
			t.Error("a single host is ejected")
		}
		apply(t, s, judged(func(c *model.Cluster) { c.Outlier.MaxEjected = 0 }), endpoints(1, 1, 1))
		if send(t, s, 3, 20*time.Second, first(dead)); ejected(s) != 0 {
			t.Error("nobody may be ejected")
		}
		// The other two do not serve: the last that does stays, however it does.
		apply(t, s, judged(), changed(equal(3), func(i int, e *model.Endpoint) { e.Unready = i > 0 }))
		if send(t, s, 3, 20*time.Second, first(dead)); ejected(s) != 0 {
			t.Error("the last host that serves is ejected")
		}
	})
}

func TestObservingEjectsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		config := steady("")
		config.Metrics, config.Log = telemetry.NewMetrics(1), slog.New(slog.NewTextHandler(&log, nil))
		s := running(t, config)
		observed := judged(only(health.ConsecutiveLocal), func(c *model.Cluster) { c.Outlier.Mode = model.ModeObserve })
		apply(t, s, observed, endpoints(equal(10)...))
		c := s.Cluster("c")
		before := c.picker.Load()
		got := send(t, s, 10, 25*time.Second, first(dead))
		h := status(t, s, firstHost)
		if got[0] < 100 || h.Ejected || !h.Healthy || h.Ejections != 0 || c.picker.Load() != before {
			t.Errorf("the host got %d requests: %+v", got[0], h)
		}
		if h.WouldEject != 1 || h.EjectedBy != "consecutiveLocal" || h.EjectedUntil.IsZero() {
			t.Errorf("what would have been: %+v", h)
		}
		p := config.Metrics.Protection("c", "outlier/consecutiveLocal")
		if p.WouldHave() != 1 || p.Acted() != 0 {
			t.Errorf("counted %d and %d", p.WouldHave(), p.Acted())
		}
		if n := strings.Count(log.String(), "mode=Observe"); n != 1 || strings.Contains(log.String(), "returns") {
			t.Errorf("the log says\n%s", &log)
		}
		// State goes on over a change of mode, in both directions.
		apply(t, s, judged(only(health.ConsecutiveLocal)), endpoints(equal(10)...))
		wantEjected(t, s, health.ConsecutiveLocal, time.Until(h.EjectedUntil))
		apply(t, s, observed, endpoints(equal(10)...))
		if now := status(t, s, firstHost); now.Ejected || !now.Healthy || now.EjectedUntil != h.EjectedUntil {
			t.Errorf("observed again: %+v", now)
		}
		if n := strings.Count(log.String(), "returns"); n != 1 {
			t.Errorf("the log says\n%s", &log)
		}
	})
}

func TestTuningKeepsEjections(t *testing.T) {
	off := func(rule health.Rule) func(*model.Cluster) {
		return func(c *model.Cluster) {
			all := c.Outlier
			if only(rule)(c); rule == health.ConsecutiveLocal {
				c.Outlier, c.Outlier.ConsecutiveLocal = all, 0
			}
		}
	}
	for what, tc := range map[string]struct {
		change func(*model.Cluster)
		stays  bool
	}{
		"another number":     {func(c *model.Cluster) { c.Outlier.ConsecutiveLocal = 9 }, true},
		"another interval":   {func(c *model.Cluster) { c.Outlier.Interval = time.Second }, true},
		"another algorithm":  {func(c *model.Cluster) { c.Balancing.Algorithm = model.Maglev }, true},
		"other rules off":    {only(health.ConsecutiveLocal), true},
		"its rule off":       {off(health.ConsecutiveLocal), false},
		"disabled":           {func(c *model.Cluster) { c.Outlier.Mode = model.ModeDisabled }, false},
		"no rules":           {func(c *model.Cluster) { c.Outlier = model.Outlier{} }, false},
		"only observed":      {func(c *model.Cluster) { c.Outlier.Mode = model.ModeObserve }, false},
		"a ceiling of none":  {func(c *model.Cluster) { c.Outlier.MaxEjected = 0 }, false},
		"a shorter ejection": {func(c *model.Cluster) { c.Outlier.BaseEjection, c.Outlier.MaxEjection = 1, 1 }, false},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := running(t, steady(""))
				apply(t, s, judged(), endpoints(equal(10)...))
				send(t, s, 10, time.Second, first(dead))
				h := status(t, s, firstHost)
				if !h.Ejected {
					t.Fatal("not ejected")
				}
				send(t, s, 10, time.Second, good)
				apply(t, s, judged(tc.change), endpoints(equal(10)...))
				now := status(t, s, firstHost)
				if now.Ejected != tc.stays || now.Healthy == tc.stays || now.Ejections != 1 || tc.stays && now.EjectedUntil != h.EjectedUntil {
					t.Errorf("%+v, and before %+v", now, h)
				}
			})
		})
	}
}

func TestReturnIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady(""))
		apply(t, s, judged(only(health.ConsecutiveLocal), func(c *model.Cluster) { c.Balancing.SlowStart = window }), endpoints(equal(10)...))
		send(t, s, 10, time.Second, first(dead))
		time.Sleep(time.Until(status(t, s, firstHost).EjectedUntil) + time.Millisecond)
		if h := status(t, s, firstHost); h.Warmth != 0.1 || !h.Healthy {
			t.Errorf("it returns as %+v", h)
		}
		if got := shares(t, s.Cluster("c"), 10)[0]; got > 0.02 {
			t.Errorf("it returns with a share of %v", got)
		}
	})
}

// TestChecksAndEjectionsAreApart: a host that passes its checks stays ejected, and one that
// returns while its checks fail gets nothing.
func TestChecksAndEjectionsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady(""))
		apply(t, s, judged(only(health.ConsecutiveLocal)), endpoints(equal(10)...))
		send(t, s, 10, time.Second, first(dead))
		verdict := func(v bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			c := s.clusters["c"]
			c.hosts[address(firstHost)].check.state.Observe(v, health.Thresholds{})
			c.settle()
		}
		if verdict(true); !status(t, s, firstHost).Ejected || status(t, s, firstHost).Healthy {
			t.Error("a check that passes has ended the ejection")
		}
		verdict(false)
		time.Sleep(time.Minute)
		if h := status(t, s, firstHost); h.Ejected || h.Healthy {
			t.Errorf("ejected: %v, healthy: %v, although its checks fail", h.Ejected, h.Healthy)
		}
	})
}

func TestWhoLeavesIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady(""))
		apply(t, s, judged(), endpoints(equal(10)...))
		send(t, s, 10, time.Second, first(dead))
		h := s.clusters["c"].hosts[address(firstHost)]
		h.Begin() // so that it stays the same object
		without := changed(equal(10), func(i int, e *model.Endpoint) {
			if i == 0 {
				e.Address = address("10.0.0.99:80")
			}
		})
		apply(t, s, judged(), without)
		apply(t, s, judged(), endpoints(equal(10)...))
		if now := status(t, s, firstHost); now.Ejected || !now.Healthy || s.clusters["c"].hosts[address(firstHost)] != h {
			t.Errorf("it came back as %+v", now)
		}
		h.End(transport.Now(), good(0))
		apply(t, s, nil, nil)
		if s.mu.Lock(); len(s.judges.queue) != 0 {
			t.Error("a cluster that is gone is judged")
		}
		s.mu.Unlock()
		apply(t, s, judged(), endpoints(equal(10)...))
		if send(t, s, 10, time.Second, first(dead)); ejected(s) != 1 {
			t.Error("a cluster that came back is not judged")
		}
	})
}

// TestFewerHostsLowerTheCeiling: of ten five may be ejected, of six three.
func TestFewerHostsLowerTheCeiling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady(""))
		apply(t, s, judged(only(health.ConsecutiveLocal)), endpoints(equal(10)...))
		send(t, s, 10, 10*time.Second, func(host int) Outcome {
			if host < 5 {
				return dead
			}
			return good(host)
		})
		if n := ejected(s); n != 5 {
			t.Fatalf("%d are ejected", n)
		}
		apply(t, s, judged(only(health.ConsecutiveLocal)), endpoints(equal(6)...))
		if n := ejected(s); n != 3 {
			t.Errorf("%d of six are ejected", n)
		}
		if got := send(t, s, 6, time.Second, good); got[5] == 100 {
			t.Error("nobody has told the picker")
		}
	})
}

func TestCopiesEjectNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady(""))
		apply(t, s, judged(), endpoints(equal(10)...))
		mirrored := dead
		mirrored.Copy = true
		if send(t, s, 10, 30*time.Second, first(mirrored)); ejected(s) != 0 {
			t.Error("a mirror's failures eject")
		}
	})
}

// TestReachedEndsARow: a stream that could be connected says that its host is there.
func TestReachedEndsARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady(""))
		apply(t, s, judged(only(health.ConsecutiveLocal)), endpoints(1, 1))
		h := pick(t, s.Cluster("c"))
		for range 3 {
			for range 2 {
				h.Begin()
				h.End(transport.Now(), dead)
			}
			h.Begin()
			h.Reached(transport.Now(), 0, time.Millisecond)
			h.Cancel()
		}
		if synctest.Wait(); ejected(s) != 0 || h.InFlight() != 0 {
			t.Error("ejected, although every third connection stood")
		}
	})
}

// TestSuspicionsRest: the first is looked at at once, and what follows a little later together.
func TestSuspicionsRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady(""))
		apply(t, s, judged(), endpoints(equal(10)...))
		c := s.Cluster("c")
		fail := func(hosts ...string) {
			for _, name := range hosts {
				for range 3 {
					h := c.hosts[address(name)]
					h.Begin()
					h.End(transport.Now(), dead)
				}
				synctest.Wait()
			}
		}
		if fail(firstHost); ejected(s) != 1 {
			t.Fatal("the first one waits")
		}
		picker := c.picker.Load()
		if fail("10.0.0.2:80", "10.0.0.3:80"); ejected(s) != 1 || c.picker.Load() != picker {
			t.Error("each suspicion is a pass")
		}
		time.Sleep(judgeEvery - 1)
		if ejected(s) != 1 {
			t.Error("it rested for less")
		}
		time.Sleep(time.Nanosecond)
		if synctest.Wait(); ejected(s) != 3 {
			t.Error("it rests for longer")
		}
	})
}

func TestOutcomesUnderConcurrency(t *testing.T) {
	s := running(t, Config{Shards: 4})
	apply(t, s, judged(), endpoints(equal(4)...))
	var work sync.WaitGroup
	for shard := range 4 {
		work.Go(func() {
			for i := range 5000 {
				h, err := s.Cluster("c").Pick(Request{})
				if err != nil {
					t.Error(err)
					return
				}
				h.Begin()
				o := first(bad)(host(h))
				o.Shard = shard
				h.End(transport.Now(), o)
				if i%100 == 0 {
					s.judges.rouse()
					s.Hosts()
				}
			}
		})
	}
	work.Wait()
	for range 4 { // whoever was not looked at yet is now, or soon
		s.judgeDue()
	}
	if n := ejected(s); n > 2 {
		t.Errorf("%d of four are ejected", n)
	}
}

func TestJudgingDoesNotAllocate(t *testing.T) {
	s := New(Config{})
	apply(t, s, judged(func(c *model.Cluster) { c.Balancing.Algorithm = model.LeastRequest }), endpoints(1, 1, 1))
	c := s.Cluster("c")
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		h := pick(t, c)
		h.Begin()
		i++
		h.End(transport.Now(), []Outcome{good(0), good(0), bad, dead}[i%4])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
