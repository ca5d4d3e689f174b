package cluster

import (
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/breaker"
	"weir.dev/weir/traffic/retry"
)

// guarded is a cluster with a breaker.
func guarded(b model.Breaker) *model.Cluster {
	return testCluster(func(c *model.Cluster) { c.Breaker = b })
}

// guardedSet has a cluster with a breaker and one host, and counts.
func guardedSet(t testing.TB, b model.Breaker) (*Set, *Cluster, *telemetry.Metrics) {
	t.Helper()
	m := telemetry.NewMetrics(2)
	n := &network{}
	s := New(Config{Dial: n.dial, Metrics: m, Shards: 2, Random: func() uint64 { return 0 }})
	apply(t, s, guarded(b), endpoints(1))
	return s, s.Cluster("c"), m
}

// admit asks for a try, and fails the test unless it is refused as wanted ("" for not at all).
func admit(t testing.TB, c *Cluster, retry bool, want telemetry.ProtectionKind) *Pass {
	t.Helper()
	p, refused := c.Admit(transport.Now(), retry)
	got := telemetry.ProtectionKind("")
	if refused != nil {
		got = refused.Kind
	}
	if got != want {
		t.Errorf("refused for %q, want %q", got, want)
	}
	return &p
}

func wantCounts(t testing.TB, m *telemetry.Metrics, kind telemetry.ProtectionKind, acted, would uint64) {
	t.Helper()
	if p := m.Protection("c", kind); p.Acted() != acted || p.WouldHave() != would {
		t.Errorf("%s acted %d times and would have %d times, want %d and %d", kind, p.Acted(), p.WouldHave(), acted, would)
	}
}

func TestBoundsOfRequests(t *testing.T) {
	_, c, m := guardedSet(t, model.Breaker{MaxRequests: 3, MaxRetries: 1})
	a, b := admit(t, c, false, ""), admit(t, c, true, "")
	admit(t, c, true, telemetry.ProtectMaxRetries)
	d := admit(t, c, false, "")
	admit(t, c, false, telemetry.ProtectMaxRequests)
	admit(t, c, true, telemetry.ProtectMaxRequests)
	a.Done(transport.Now(), false)
	a.Done(transport.Now(), false) // the second time nothing
	a.Excuse()
	admit(t, c, true, telemetry.ProtectMaxRetries)
	a = admit(t, c, false, "")
	admit(t, c, false, telemetry.ProtectMaxRequests)
	b.Excuse()
	b = admit(t, c, true, "")
	wantCounts(t, m, telemetry.ProtectMaxRequests, 3, 0)
	wantCounts(t, m, telemetry.ProtectMaxRetries, 2, 0)
	for _, p := range []*Pass{a, b, d} {
		p.Judge(transport.Now(), true)
		p.Done(transport.Now(), true)
	}
	if g := c.protection.guard.Load(); g.requests.used.Load() != 0 || g.retries.used.Load() != 0 {
		t.Errorf("%d requests and %d retries leaked", g.requests.used.Load(), g.retries.used.Load())
	}
}

func trips() model.Breaker {
	return model.Breaker{MaxRequests: 100, Trip: &model.Trip{Failures: 0.5, Of: 6, OpenFor: 10 * time.Second, Probes: 2}}
}

// TestCloseBreaker: a breaker is closed by the name of its cluster, or of the backend of several.
func TestCloseBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Metrics: telemetry.NewMetrics(2), Shards: 2, Random: func() uint64 { return 0 }})
		spec := guarded(trips())
		spec.Name = "c@default/edge"
		apply(t, s, spec, nil)
		c := s.Cluster(spec.Name)
		for _, name := range []string{spec.Name, "c"} {
			for range 3 {
				admit(t, c, false, "").Done(transport.Now(), true)
			}
			admit(t, c, false, telemetry.ProtectTrip)
			if was, ok := s.CloseBreaker("backend/shop/other"); ok {
				t.Errorf("another one was %v", was)
			}
			if was, ok := s.CloseBreaker(name); !ok || was != breaker.Open {
				t.Errorf("%s was %v (%v), want open", name, was, ok)
			}
		}
		admit(t, c, false, "").Done(transport.Now(), false)
	})
}

func TestTripsAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, m := guardedSet(t, trips())
		for range 3 {
			admit(t, c, false, "").Done(transport.Now(), true)
		}
		_, refused := c.Admit(transport.Now(), false)
		if refused == nil || refused.Kind != telemetry.ProtectTrip || refused.RetryAfter != 10*time.Second || !strings.Contains(refused.Error(), "open") {
			t.Fatalf("it is not open: %+v", refused)
		}
		if b := s.Breakers()[0]; b.State().State != 2 || b.Trip.Wait != 10*time.Second || time.Since(b.Since) != 0 {
			t.Errorf("status: %+v", b)
		}
		<-time.After(10 * time.Second)
		a, b := admit(t, c, false, ""), admit(t, c, false, "")
		admit(t, c, false, telemetry.ProtectTrip)
		if b := s.Breakers()[0]; b.State().State != 1 || b.Trip.Probing != 2 {
			t.Errorf("status: %+v", b)
		}
		b.Excuse()
		b = admit(t, c, false, "")
		a.Judge(transport.Now(), false) // its answer is there; it goes on
		b.Done(transport.Now(), false)
		admit(t, c, false, "").Done(transport.Now(), false)
		a.Done(transport.Now(), true) // no matter any more
		if b := s.Breakers()[0]; b.Trip.State != breaker.Closed || b.Trip.Failures != 0 {
			t.Errorf("status: %+v", b)
		}
		wantCounts(t, m, telemetry.ProtectTrip, 2, 0)
	})
}

func TestAProbeThatFindsNoSlotGivesItsPlaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := trips()
		spec.MaxRequests = 4
		_, c, _ := guardedSet(t, spec)
		var long []*Pass
		for range 3 {
			long = append(long, admit(t, c, false, ""))
		}
		for range 3 {
			admit(t, c, false, "").Done(transport.Now(), true)
		}
		<-time.After(10 * time.Second)
		long = append(long, admit(t, c, false, ""))
		for range 5 {
			admit(t, c, false, telemetry.ProtectMaxRequests)
		}
		long[3].Done(transport.Now(), false)
		admit(t, c, false, "").Done(transport.Now(), false)
		admit(t, c, false, "")
	})
}

func TestObservedBreakersJudgeAndRefuseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := trips()
		spec.MaxRequests, spec.MaxRetries, spec.Mode = 2, 1, model.ModeObserve
		s, c, m := guardedSet(t, spec)
		a, b := admit(t, c, false, ""), admit(t, c, true, "")
		over := admit(t, c, false, "")
		over.Done(transport.Now(), true) // it would not have been sent
		b.Done(transport.Now(), true)
		b = admit(t, c, true, "")
		admit(t, c, true, "").Excuse()
		b.Done(transport.Now(), true)
		wantCounts(t, m, telemetry.ProtectMaxRequests, 0, 2)
		a.Done(transport.Now(), true)
		admit(t, c, false, "").Done(transport.Now(), true)
		wantCounts(t, m, telemetry.ProtectTrip, 0, 1)
		enforced := spec
		enforced.Mode = model.ModeEnforce
		apply(t, s, guarded(enforced), endpoints(1))
		admit(t, c, false, telemetry.ProtectTrip) // it has been open all the time
		apply(t, s, guarded(spec), endpoints(1))
		admit(t, c, false, "")
		<-time.After(10 * time.Second)
		admit(t, c, false, "").Done(transport.Now(), false)
		admit(t, c, false, "").Done(transport.Now(), false)
		apply(t, s, guarded(enforced), endpoints(1))
		admit(t, c, false, "")
	})
}

func TestEditsKeepTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := trips()
		s, c, _ := guardedSet(t, spec)
		held := admit(t, c, true, "")
		admit(t, c, false, "").Done(transport.Now(), true)
		admit(t, c, false, "").Done(transport.Now(), true)
		for i := range 20 {
			spec.MaxRequests, spec.MaxRetries = 50+i, 1+i%2
			trip := *spec.Trip
			trip.Of = 6 + i%2
			spec.Trip = &trip
			apply(t, s, guarded(spec), endpoints(1, 2)) // endpoints change as well
		}
		spec.MaxRetries = 1
		apply(t, s, guarded(spec), endpoints(1))
		admit(t, c, true, telemetry.ProtectMaxRetries)
		admit(t, c, false, "").Done(transport.Now(), true)
		admit(t, c, false, "").Done(transport.Now(), true)
		admit(t, c, false, telemetry.ProtectTrip)
		off := spec
		off.Mode = model.ModeDisabled
		apply(t, s, guarded(off), endpoints(1))
		admit(t, c, true, "")
		if b := s.Breakers(); len(b) != 1 || b[0].Mode != model.ModeDisabled || len(b[0].Bounds) != 0 {
			t.Errorf("status while it is disabled: %+v", b)
		}
		apply(t, s, guarded(spec), endpoints(1))
		admit(t, c, false, telemetry.ProtectTrip)
		held.Done(transport.Now(), false)
		spec.Trip = nil
		apply(t, s, guarded(spec), endpoints(1))
		admit(t, c, true, "").Done(transport.Now(), true)
		apply(t, s, testCluster(), endpoints(1))
		if c.protection.guard.Load() != nil || len(s.Breakers()) != 0 {
			t.Error("a breaker without bounds is judged")
		}
	})
}

func TestPlacesAreExact(t *testing.T) {
	var s places
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50_000 {
				if s.take(3) {
					if n := s.used.Load(); n > 3 {
						t.Errorf("%d places are taken", n)
					}
					s.give()
				}
			}
		})
	}
	group.Wait()
	if s.used.Load() != 0 {
		t.Errorf("%d places are lost", s.used.Load())
	}
}

// TestBoundsHoldUnderLoad: however many ask at once, never more than the bounds are in flight,
// and in the end nothing is.
func TestBoundsHoldUnderLoad(t *testing.T) {
	s, c, _ := guardedSet(t, model.Breaker{MaxRequests: 5, MaxRetries: 2})
	var flying, retries, most, mostRetries, admitted atomic.Int64
	highest := func(most *atomic.Int64, n int64) {
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
	}
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for i := range 3000 {
				retry := (i+w)%2 == 0
				p, refused := c.Admit(transport.Now(), retry)
				if refused != nil {
					continue
				}
				admitted.Add(1)
				highest(&most, flying.Add(1))
				if retry {
					highest(&mostRetries, retries.Add(1))
					retries.Add(-1)
				}
				flying.Add(-1)
				if i%3 == 0 {
					p.Excuse()
				} else {
					p.Done(transport.Now(), i%2 == 0)
				}
				if w == 0 && i%100 == 0 {
					apply(t, s, guarded(model.Breaker{MaxRequests: 5, MaxRetries: 2, Trip: &model.Trip{Failures: 1, Of: 5 + i%7, OpenFor: 1, Probes: 3}}), endpoints(1))
				}
			}
		})
	}
	group.Wait()
	if most.Load() > 5 || mostRetries.Load() > 2 || admitted.Load() < 100 {
		t.Errorf("%d requests, %d retries at once; %d admitted", most.Load(), mostRetries.Load(), admitted.Load())
	}
	if g := c.protection.guard.Load(); g.requests.used.Load() != 0 || g.retries.used.Load() != 0 {
		t.Errorf("%d requests and %d retries leaked", g.requests.used.Load(), g.retries.used.Load())
	}
}

func TestRetryBudgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := telemetry.NewMetrics(1)
		n := &network{}
		s := New(Config{Dial: n.dial, Metrics: m})
		apply(t, s, testCluster(), endpoints(1))
		c := s.Cluster("c")
		c.First(transport.Now(), 0) // nobody retries: nobody counts
		if !c.MayRetry(transport.Now(), nil) || len(s.Breakers()) != 0 || len(m.Protections()) != 0 {
			t.Error("a retry without a budget is denied, or counted")
		}
		route := &model.RetryBudget{Share: 0.2}
		c.CountTries()
		for i := range 10 {
			c.First(transport.Now(), i)
		}
		for i, want := range []bool{true, true, false} {
			if got := c.MayRetry(transport.Now(), route); got != want {
				t.Errorf("retry %d: %v", i+1, got)
			}
		}
		wantCounts(t, m, telemetry.ProtectRetryBudget, 1, 0)
		if b := s.Breakers()[0]; b.First != 10 || b.Retries != 2 || b.Remaining != retry.Unlimited || b.State().RetryBudget != nil {
			t.Errorf("status: %+v", b)
		}
		apply(t, s, testCluster(func(c *model.Cluster) { c.RetryBudget = &model.RetryBudget{Share: 0.3} }), endpoints(1))
		if b := s.Breakers()[0]; b.Remaining != 1 || *b.State().RetryBudget != 1 {
			t.Errorf("status: %+v", b)
		}
		if !c.MayRetry(transport.Now(), nil) || c.MayRetry(transport.Now(), nil) {
			t.Error("the cluster's own budget does not hold, or has forgotten")
		}
		apply(t, s, testCluster(func(c *model.Cluster) {
			c.RetryBudget = &model.RetryBudget{Share: 0.3, Mode: model.ModeObserve}
		}), endpoints(1))
		if !c.MayRetry(transport.Now(), nil) || c.WouldHedge(transport.Now(), nil) {
			t.Error("a budget that observes denies a retry, or lets a hedge through that it would deny")
		}
		wantCounts(t, m, telemetry.ProtectRetryBudget, 2, 1)
		if b := s.Breakers()[0]; b.BudgetMode != model.ModeObserve || b.Retries != 4 || b.Remaining != 0 {
			t.Errorf("status: %+v", b)
		}
		<-time.After(11 * time.Second)
		if b := s.Breakers()[0]; b.First != 0 || b.Retries != 0 {
			t.Errorf("after eleven seconds: %+v", b)
		}
	})
}

func TestRemainingRoom(t *testing.T) {
	s, c, _ := guardedSet(t, model.Breaker{MaxConnections: 7, MaxRequests: 3})
	admit(t, c, false, "")
	got := s.Breakers()[0].State()
	if len(got.Remaining) != 2 || got.Remaining[telemetry.ProtectMaxConnections] != 7 || got.Remaining[telemetry.ProtectMaxRequests] != 2 || got.Trips {
		t.Errorf("%+v", got)
	}
}

func TestQuantilesNeedEnoughAnswers(t *testing.T) {
	_, c, _ := guardedSet(t, model.Breaker{})
	c.ObserveLatency(0, time.Hour) // nobody watches
	c.WatchLatency()
	c.WatchLatency()
	now := transport.Now()
	for i := range 99 {
		c.ObserveLatency(i, 10*time.Millisecond)
	}
	if _, ok := c.Quantile(now, 0.95); ok {
		t.Error("99 answers are enough")
	}
	c.ObserveLatency(0, 10*time.Millisecond)
	d, ok := c.Quantile(now.Add(2*time.Second), 0.95)
	if relative := math.Abs(float64(d)/float64(10*time.Millisecond) - 1); !ok || relative > 0.13 {
		t.Errorf("%v, %v", d, ok)
	}
}

func TestProtectionCostsNothingOnThePlainPath(t *testing.T) {
	_, c, _ := guardedSet(t, trips())
	c.CountTries()
	c.WatchLatency()
	c.First(transport.Now(), 0)
	c.ObserveLatency(0, time.Millisecond)
	if n := testing.AllocsPerRun(1000, func() {
		now := transport.Now()
		p, _ := c.Admit(now, true)
		c.First(now, 0)
		c.MayRetry(now, nil)
		c.ObserveLatency(0, time.Millisecond)
		p.Done(now, false)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRefusalsAreErrors(t *testing.T) {
	for kind, text := range refusals {
		var r *Refusal
		err := error(&Refusal{Kind: kind})
		if !errors.As(err, &r) || !strings.HasSuffix(err.Error(), text) {
			t.Error(err)
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	_, c, _ := guardedSet(b, trips())
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, _ := c.Admit(1, false)
			p.Done(1, false)
		}
	})
}

// TestATripThatIsTakenAwayIsForgotten: one that comes back later is closed, whether or not the
// breaker has anything else.
func TestATripThatIsTakenAwayIsForgotten(t *testing.T) {
	for _, rest := range []model.Breaker{{}, {MaxRequests: 10}} {
		with := rest
		with.Trip = &model.Trip{Failures: 1, Of: 5, OpenFor: time.Hour, Probes: 1}
		s, c, _ := guardedSet(t, with)
		for range 5 {
			admit(t, c, false, "").Done(transport.Now(), true)
		}
		admit(t, c, false, telemetry.ProtectTrip)
		apply(t, s, guarded(rest), endpoints(1))
		admit(t, c, false, "").Excuse()
		apply(t, s, guarded(with), endpoints(1))
		admit(t, c, false, "").Excuse()
	}
}
