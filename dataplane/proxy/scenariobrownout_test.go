package proxy

import (
	"testing"
	"time"

	"weir.dev/weir/model"
)

// naive is a policy that looks careful: every try has its time, what fails is tried again, at another
// host first, and the request as a whole has a limit.
func naive(t *testing.T) *model.Snapshot {
	snap := recommended(t)
	route := snap.RouteTables[0].Entries[0].Route
	route.Overload = nil
	route.Timeouts.PerTry = 300 * time.Millisecond
	route.Retry.Attempts, route.Retry.Budget = 5, nil
	return snap
}

// A brown-out begins after five seconds, lasts ten, and takes so much away that the hosts can
// serve half of what is asked for. What comes after it is watched for eight more.
const (
	brownBegins = 5
	brownEnds   = 15
	brownOver   = 23
	brownLeft   = 400.0 // requests a second
)

// brown is what happens to the hosts in it.
type brown struct {
	workers int
	slower  float64
}

// brownOut plays it and returns the goodput, as a share of what the hosts could do.
func (s *stage) brownOut(b brown, play func()) float64 {
	begins := time.AfterFunc(brownBegins*time.Second, func() { s.all(b.workers, b.slower) })
	ends := time.AfterFunc(brownEnds*time.Second, func() { s.all(10, 1) })
	defer begins.Stop()
	defer ends.Stop()
	play()
	s.t.Log("tries ", s.curve(brownOver, allTries))
	s.t.Log("first ", s.curve(brownOver, firstTries))
	s.t.Log("good  ", s.curve(brownOver, served))
	s.t.Log("bad   ", s.curve(brownOver, unserved))
	return s.sum(brownBegins, brownEnds, served) / (brownEnds - brownBegins) / brownLeft
}

// TestBrownOut: a thousand callers ask for twice what the hosts can do, for ten seconds, and ask
// again when they are refused. With the recommended policy the hosts' work is for callers who are
// there still: goodput stays above nine tenths of what they can do, and when they are well again
// everybody is served within three seconds, without a peak of retries. It is so as well where all work
// takes longer instead, though latency does not tell at first that it is not waiting: that is a
// matter of chance, so it is played several times. The naive policy collapses, and does not recover.
func TestBrownOut(t *testing.T) {
	for _, test := range []struct {
		name        string
		policy      func(*testing.T) *model.Snapshot
		brown       brown
		least, most float64
	}{
		{"fewer workers", recommended, brown{4, 1}, 0.9, 1.1},
		{"slower work", recommended, brown{10, 2.5}, 0.9, 1.1},
		{"slower work again", recommended, brown{10, 2.5}, 0.9, 1.1},
		{"slower work a third time", recommended, brown{10, 2.5}, 0.9, 1.1},
		{"slower work a fourth time", recommended, brown{10, 2.5}, 0.9, 1.1},
		{"slower work a fifth time", recommended, brown{10, 2.5}, 0.9, 1.1},
		{"fewer workers, naive", naive, brown{4, 1}, 0, 0.2},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.name != "slower work" { // TestLiveTuning has fewer workers
				inFull(t)
			}
			inBubble(t, func(t *testing.T, n *network) {
				s := newStage(t, n, test.policy(t))
				goodput := s.brownOut(test.brown, func() { s.run(shoppers, shopper, brownOver*time.Second) })
				t.Logf("goodput %.3f, amplification %.3f", goodput, s.sum(brownBegins, brownEnds, allTries)/s.sum(brownBegins, brownEnds, firstTries))
				if goodput < test.least || goodput > test.most {
					t.Errorf("goodput in the brown-out was %.2f of what the hosts could do, want %v to %v", goodput, test.least, test.most)
				}
				if test.least == 0 {
					if after := s.sum(brownEnds+5, brownOver, served) / (brownOver - brownEnds - 5); after > brownLeft/4 {
						t.Errorf("%.0f a second are served after it: it has recovered by itself", after)
					}
					time.Sleep(10 * time.Minute) // what the hosts still do for nobody
					return
				}
				s.recovered()
			})
		})
	}
}

// recovered checks what came after the brown-out.
func (s *stage) recovered() {
	s.t.Helper()
	before := s.sum(brownBegins-3, brownBegins, served) / 3
	for i := brownEnds; i < brownOver; i++ {
		at := &s.seconds[i]
		if i >= brownEnds+3 && (at.bad.Load() > 0 || float64(at.good.Load()) < 0.85*before) {
			s.t.Errorf("in second %d after it %d were served and %d were not; before it %.0f were", i-brownEnds, at.good.Load(), at.bad.Load(), before)
		}
		if float64(at.tries.Load()) > 1.3*before {
			s.t.Errorf("in second %d after it the hosts had %d tries; before it %.0f", i-brownEnds, at.tries.Load(), before)
		}
	}
	s.nobodyEjected()
}

// nobodyEjected checks that no host was taken for an outlier.
func (s *stage) nobodyEjected() {
	s.t.Helper()
	for _, h := range s.proxy.Hosts() {
		if h.Ejections > 0 {
			s.t.Errorf("%v was ejected by %s, for what all of them had", h.Address, h.EjectedBy)
		}
	}
}

// TestLiveTuning edits limits, budget, breaker and ejection twice a second during a brown-out. What has
// been learnt and counted stays, and goodput with it.
func TestLiveTuning(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		s := newStage(t, n, recommended(t))
		edit := func(i int) {
			snap := recommended(t)
			route, c := snap.RouteTables[0].Entries[0].Route, snap.Clusters[0]
			route.Overload.Adaptive = &model.Adaptive{Min: 10 + i%3, Max: 2000 - i}
			route.Overload.Queue.Size = 80 + i
			route.Retry.Budget.Share = 0.1 + 0.01*float64(i%10)
			route.Timeouts.Request += time.Duration(i) * time.Millisecond
			c.Breaker.MaxRequests = 5000 + i
			c.Breaker.Trip = &model.Trip{Failures: 0.9, Of: 100 + i, OpenFor: time.Second, Probes: 3}
			c.Outlier.ConsecutiveLocal = 5 + i%2
			route.Hash = model.HashOf(route)
			snap.Revision = uint64(i) + 2
			limit, before := s.over(), s.proxy.clusters.Breakers()[0]
			throttle := s.proxy.Throttles()[0]
			if err := s.proxy.Apply(snap); err != nil {
				t.Error(err)
			}
			if now := s.over(); now.Limit != limit.Limit || now.Long != limit.Long || now.InFlight < limit.InFlight/2 {
				t.Errorf("edit %d: the limit was %d with %d in flight, and is %d with %d", i, limit.Limit, limit.InFlight, now.Limit, now.InFlight)
			}
			if now := s.proxy.clusters.Breakers()[0]; now.First < before.First/2 || now.First == 0 {
				t.Errorf("edit %d: the budget knew of %d tries, and knows of %d", i, before.First, now.First)
			}
			if now := s.proxy.Throttles()[0]; now.Requests < throttle.Requests/2 || now.Requests == 0 {
				t.Errorf("edit %d: the throttle knew of %d requests, and knows of %d", i, throttle.Requests, now.Requests)
			}
		}
		goodput := s.brownOut(brown{4, 1}, func() {
			go func() {
				time.Sleep((brownBegins + 1) * time.Second)
				for i := range 16 {
					edit(i)
					time.Sleep(500 * time.Millisecond)
				}
			}()
			s.run(shoppers, shopper, brownOver*time.Second)
		})
		if goodput < 0.9 {
			t.Errorf("goodput in the brown-out was %.2f of what the hosts could do", goodput)
		}
		s.recovered()
	})
}
