package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/sample"
)

// testRelease is the release of all tests here, of the arms stable and canary.
const testRelease = "shop/checkout"

// strict is a guard with everything on.
func strict() model.Guard {
	return model.Guard{
		Errors:              &model.ErrorGuard{MaxDifference: 0.01, Alpha: 0.001},
		Latency:             &model.LatencyGuard{Quantile: 0.99, MaxRatio: 1.5, Alpha: 0.001},
		ConsecutiveFailures: 5, Stages: 4,
	}
}

// releasing is a route whose users, by x-user, are divided among stable and canary.
func releasing(g model.Guard) *model.Route {
	r := to("stable")
	r.Name, r.Split.Name = "shop/checkout/0", "shop/checkout/0"
	r.Split.Arms = append(r.Split.Arms, model.Arm{Name: "canary", Cluster: "canary"})
	r.Split.Release = &model.Release{
		Name: testRelease, Subject: "v2", Stable: "stable", Canary: "canary", Guard: g,
		Sampling: model.Sampling{Unit: model.SampleUsers, Salt: testRelease, Key: []model.Key{{Source: model.KeyHeader, Name: "x-user"}}, Fallback: model.FallbackRequest},
	}
	return r
}

// knob gives the canary so many of 10,000 buckets.
func knob(run, generation uint64, share int) model.ReleaseKnob {
	written := []sample.ArmWeight{{Arm: "stable", Weight: 1}, {Arm: "canary"}}
	return model.ReleaseKnob{
		Release: testRelease, Subject: "v2", Run: run, Generation: generation, Running: true,
		Ranges: sample.Reweight(sample.Initial(written), sample.ShareOf(written, "stable", "canary", share)),
	}
}

// knobs is what the control plane says.
func knobs(list ...model.ReleaseKnob) *model.Knobs {
	return &model.Knobs{Version: 1, Releases: list, SampleSecret: []byte("a secret of all proxies")}
}

// version is one of the two that a release compares: what it answers to its i-th request, from 1,
// and after how long. 0 is none at all.
type version struct {
	begun, failed atomic.Int64
	does          atomic.Pointer[func(i int64) (status int, after time.Duration)]
	mu            sync.Mutex
	last          http.Header // of the last request
}

func (v *version) set(does func(i int64) (status int, after time.Duration)) { v.does.Store(&does) }

func (v *version) serve(c net.Conn, r *bufio.Reader) {
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		v.mu.Lock()
		v.last = req.Header
		v.mu.Unlock()
		status, after := (*v.does.Load())(v.begun.Add(1))
		if status >= 500 || status == 0 {
			v.failed.Add(1)
		}
		time.Sleep(after)
		if status == 0 {
			return
		}
		if _, err := fmt.Fprintf(c, "HTTP/1.1 %d Whatever\r\nContent-Length: 2\r\nX-By: %s\r\n\r\nok", status, c.LocalAddr()); err != nil {
			return
		}
	}
}

// header returns what the last request said.
func (v *version) header(name string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.Join(v.last.Values(name), " | ")
}

// fine answers well after a millisecond.
func fine(int64) (int, time.Duration) { return 200, time.Millisecond }

// every has each n-th answer be a failure, spread without a pattern.
func every(n int64) func(i int64) (int, time.Duration) {
	return func(i int64) (int, time.Duration) {
		if int64(uint64(i)*0x9e3779b97f4a7c15>>33)%n == 0 {
			return 500, time.Millisecond
		}
		return 200, time.Millisecond
	}
}

// launch is a whole proxy with a release, and its two versions.
type launch struct {
	*rig
	stable, canary version
	next           atomic.Int64 // user
	good, bad      atomic.Int64 // answers
}

func newLaunch(t *testing.T, n *network, route *model.Route, cfg Config, list ...model.ReleaseKnob) *launch {
	l := &launch{}
	l.stable.set(fine)
	l.canary.set(fine)
	n.upstream(t, upA, l.stable.serve)
	n.upstream(t, upB, l.canary.serve)
	l.rig = n.rig(t, trusts(snapshotOf(map[string]string{"stable": upA, "canary": upB}, route)), cfg)
	if err := l.proxy.Tune(knobs(list...)); err != nil {
		t.Fatal(err)
	}
	return l
}

// crowd has so many clients ask a number of requests each, one after the other, each by another user. It ends
// early when a release trips.
func (l *launch) crowd(clients, requests int) {
	var work sync.WaitGroup
	for range clients {
		c := l.patient()
		work.Go(func() {
			defer c.Close()
			for range requests {
				if l.tripped() != nil {
					return
				}
				if l.ask(c, fmt.Sprintf("GET / HTTP/1.1\nHost: h\nX-User: u%d\n\n", l.next.Add(1))).StatusCode == 200 {
					l.good.Add(1)
				} else {
					l.bad.Add(1)
				}
			}
		})
	}
	work.Wait()
}

// ask sends a request and returns the answer, read to its end.
func (l *launch) ask(c *client, request string) *http.Response {
	c.send(request)
	resp, _ := c.answer("GET")
	return resp
}

// seen is the release as the proxy has it.
func (l *launch) seen() model.ReleaseObservation {
	l.t.Helper()
	list := l.proxy.Releases()
	if len(list) != 1 {
		l.t.Fatalf("%d observations", len(list))
	}
	return list[0]
}

func (l *launch) tripped() *model.ReleaseTrip {
	for _, o := range l.proxy.Releases() {
		return o.Trip
	}
	return nil
}

// silentCanary checks that no request begins at the canary, of n more.
func (l *launch) silentCanary(n int) {
	l.t.Helper()
	synctest.Wait()
	before := l.canary.begun.Load()
	c := l.patient()
	for i := range n {
		if status := l.ask(c, fmt.Sprintf("GET / HTTP/1.1\nHost: h\nX-User: late%d\n\n", i)).StatusCode; status != 200 {
			l.t.Fatalf("status %d", status)
		}
	}
	if now := l.canary.begun.Load(); now != before {
		l.t.Fatalf("%d requests began at the canary", now-before)
	}
}

// TestCanaryThatFails: one that fails always, at 1 %, hurts hardly anybody.
func TestCanaryThatFails(t *testing.T) {
	for name, does := range map[string]func(int64) (int, time.Duration){
		"with 500":  func(int64) (int, time.Duration) { return 500, time.Millisecond },
		"by a drop": func(int64) (int, time.Duration) { return 0, time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				l := newLaunch(t, n, releasing(strict()), Config{}, knob(1, 1, 100))
				l.canary.set(does)
				l.crowd(40, 1000)
				trip := l.tripped()
				if trip == nil {
					t.Fatalf("no trip after %d requests: %+v", l.next.Load(), l.seen())
				}
				t.Logf("%d requests, %d failed at the canary, %d for their clients: %s", l.next.Load(), l.canary.failed.Load(), l.bad.Load(), trip.Reason)
				if trip.CanaryFailures > 5 || l.bad.Load() > 4 || l.canary.begun.Load() > 5+trip.InFlight {
					t.Errorf("%d failures were complete at the trip, %d clients saw one, %d requests began at the canary, %d in flight",
						trip.CanaryFailures, l.bad.Load(), l.canary.begun.Load(), trip.InFlight)
				}
				if trip.First.IsZero() || trip.First.After(trip.At) || trip.Reason == "" {
					t.Errorf("the trip: %+v", trip)
				}
				select {
				case <-l.proxy.Trips():
				default:
					t.Error("nobody was told")
				}
				l.silentCanary(2000)
				if o := l.seen(); o.Canary.Requests != uint64(l.canary.begun.Load()) {
					t.Errorf("the canary was chosen %d times, and asked %d times", o.Canary.Requests, l.canary.begun.Load())
				}
			})
		})
	}
}

// TestCanaryThatFailsNowAndThen: 5 % are found soon; 1 % are if nothing is borne, and borne if 1 % is.
func TestCanaryThatFailsNowAndThen(t *testing.T) {
	for _, test := range []struct {
		name     string
		one      int64 // of so many fails
		borne    float64
		requests int // at the canary, about
		trips    bool
	}{
		{"5 %, nothing is borne", 20, 0, 400, true},
		{"1 %, nothing is borne", 100, 0, 4000, true},
		{"1 %, 1 % is borne", 100, 0.01, 2000, false},
		{"none", 1 << 40, 0, 2000, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.requests > 400 {
				inFull(t)
			}
			inBubble(t, func(t *testing.T, n *network) {
				g := model.Guard{Errors: &model.ErrorGuard{MaxDifference: test.borne, Alpha: 0.001}, Stages: 1}
				route := releasing(g)
				route.Split.Release.Sampling = model.Sampling{Unit: model.SampleRequests, Salt: testRelease}
				l := newLaunch(t, n, route, Config{}, knob(1, 1, 1000))
				l.canary.set(every(test.one))
				l.crowd(40, test.requests*10/40)
				o := l.seen()
				t.Logf("%d requests at the canary, %d failed, tests %+v", o.Canary.Requests, l.canary.failed.Load(), o.Tests)
				if (o.Trip != nil) != test.trips {
					t.Errorf("tripped: %+v", o.Trip)
				}
			})
		})
	}
}

// TestCanaryThatIsSlower: twice as slow, and one that hangs, which is noticed while it hangs.
func TestCanaryThatIsSlower(t *testing.T) {
	steady := func(i int64) (int, time.Duration) { return 200, time.Duration(8+i%5) * time.Millisecond }
	for _, test := range []struct {
		name  string
		does  func(i int64) (int, time.Duration)
		trips bool
	}{
		{"as fast", steady, false},
		{"twice as slow", func(i int64) (int, time.Duration) { _, d := steady(i); return 200, 2 * d }, true},
		{"hangs", func(int64) (int, time.Duration) { return 200, time.Hour }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !test.trips {
				inFull(t)
			}
			inBubble(t, func(t *testing.T, n *network) {
				g := model.Guard{Latency: &model.LatencyGuard{Quantile: 0.99, MaxRatio: 1.5, Alpha: 0.001}, Stages: 1}
				route := releasing(g)
				route.Timeouts.Idle = 2 * time.Hour
				l := newLaunch(t, n, route, Config{}, knob(1, 1, 1000))
				l.stable.set(steady)
				l.crowd(20, 50) // what stable is like has to be known
				l.canary.set(test.does)
				began := time.Now()
				done := make(chan struct{})
				go func() { l.crowd(60, 200); close(done) }()
				for range 1200 {
					time.Sleep(50 * time.Millisecond)
					if l.tripped() != nil {
						break
					}
				}
				o := l.seen()
				t.Logf("after %v: %+v", time.Since(began), o)
				if (o.Trip != nil) != test.trips {
					t.Errorf("tripped: %+v", o.Trip)
				}
				if test.trips && o.Trip.At.Sub(began) > 10*time.Second {
					t.Errorf("only after %v", o.Trip.At.Sub(began))
				}
				<-done
			})
		})
	}
}

// TestStableFailsToo: nothing can be said against the canary while stable is no better.
func TestStableFailsToo(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		l := newLaunch(t, n, releasing(strict()), Config{}, knob(1, 1, 1000))
		l.stable.set(every(2))
		l.canary.set(every(2))
		l.crowd(40, 200)
		if o := l.seen(); o.Trip != nil || !o.StableUnhealthy {
			t.Errorf("%+v", o)
		}
	})
}

// TestTripLatches: nothing of the run undoes a trip, and whoever has not heard of it still does; a new
// run begins anew.
func TestTripLatches(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		l := newLaunch(t, n, releasing(strict()), Config{}, knob(2, 3, 5000))
		l.canary.set(func(int64) (int, time.Duration) { return 500, 0 })
		l.crowd(10, 100)
		if l.tripped() == nil {
			t.Fatal("no trip")
		}
		l.canary.set(fine)
		tune := func(list ...model.ReleaseKnob) {
			t.Helper()
			if err := l.proxy.Tune(knobs(list...)); err != nil {
				t.Fatal(err)
			}
		}
		stays := func(what string) {
			t.Helper()
			if l.silentCanary(100); l.tripped() == nil {
				t.Errorf("%s: the trip is forgotten", what)
			}
		}
		tune(knob(2, 3, 5000))
		stays("the same knob")
		tune(knob(2, 2, 9000))
		stays("an older one")
		tune(knob(1, 7, 9000))
		stays("one of an older run")
		l.reapply(func(s *model.Snapshot) {
			r := s.RouteTables[0].Entries[0].Route
			r.Timeouts.Request = time.Minute
		})
		stays("an edit")
		l.reapply(func(s *model.Snapshot) {
			rel := *s.RouteTables[0].Entries[0].Route.Split.Release
			rel.Guard = model.Guard{}
			s.RouteTables[0].Entries[0].Route.Split.Release = &rel
		})
		stays("another guard")
		tune()
		l.silentCanary(100)
		tune(knob(2, 3, 5000))
		stays("the same knob after none")
		tune(knob(2, 4, 9000))
		stays("a later one, decided when the trip was not known")
		if o := l.seen(); o.Generation != 4 {
			t.Errorf("%+v", o)
		}
		tune(knob(3, 1, 5000))
		if l.crowd(1, 50); l.canary.begun.Load() == 0 || l.tripped() != nil {
			t.Error("a new run does not undo the trip")
		}
		if o := l.seen(); o.Run != 3 || o.Canary.Requests == 0 || o.Stable.Requests+o.Canary.Requests != 50 {
			t.Errorf("%+v", o)
		}
		tune(knob(2, 3, 9000)) // decided before the trip, again
		if o := l.seen(); o.Run != 3 {
			t.Errorf("an older knob is back: %+v", o)
		}
	})
}

// TestStableIsCountedAfterTrip: people see how it goes on, and nobody is tested, nor given an id.
func TestStableIsCountedAfterTrip(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		route := releasing(strict())
		route.Split.Release.Sampling.Fallback = model.FallbackCookie
		l := newLaunch(t, n, route, Config{}, knob(1, 1, 5000))
		l.canary.set(func(int64) (int, time.Duration) { return 500, 0 })
		l.crowd(10, 100)
		synctest.Wait()
		before := l.seen()
		if before.Trip == nil {
			t.Fatal("no trip")
		}
		recovers := func(what string, before *model.ReleaseObservation) {
			t.Helper()
			l.silentCanary(90) // of which each has a key
			c := l.patient()
			l.stable.set(func(int64) (int, time.Duration) { return 500, 20 * time.Millisecond })
			for range 10 {
				if resp := l.ask(c, "GET / HTTP/1.1\nHost: h\n\n"); len(resp.Cookies()) > 0 {
					t.Fatalf("%s: an id for nobody's sake", what)
				}
			}
			l.stable.set(fine)
			synctest.Wait()
			o := l.seen()
			if o.Stable.Requests != before.Stable.Requests+100 || o.Stable.Failed != before.Stable.Failed+10 || o.Stable.InFlight != 0 || o.Stable.P99 < 15*time.Millisecond {
				t.Errorf("%s: %+v, before %+v", what, o.Stable, before.Stable)
			}
			if o.Stable.Users != before.Stable.Users || o.Stable.Tested != before.Stable.Tested || o.Canary != before.Canary || o.Trip != before.Trip {
				t.Errorf("%s: %+v, before %+v", what, o, before)
			}
		}
		recovers("after the trip", &before)
		ended := knob(1, 2, 0)
		ended.Running = false
		if err := l.proxy.Tune(knobs(ended)); err != nil {
			t.Fatal(err)
		}
		recovers("after it was written down", &model.ReleaseObservation{Trip: before.Trip})
	})
}

// TestStableServesWithoutKnob: none, of another subject, malformed, of arms that are not there, and a
// canary that does not resolve.
func TestStableServesWithoutKnob(t *testing.T) {
	other, short, unknown := knob(1, 1, 5000), knob(1, 1, 5000), knob(1, 1, 5000)
	other.Subject = "v3"
	short.Ranges = short.Ranges[:1]
	unknown.Ranges = []model.BucketRange{{Arm: "gone", To: model.Buckets}}
	for name, k := range map[string]*model.ReleaseKnob{"none": nil, "of another subject": &other, "malformed": &short, "of no arm": &unknown} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				l := newLaunch(t, n, releasing(strict()), Config{})
				if k != nil {
					if err := l.proxy.Tune(knobs(*k)); (err != nil) != (k == &short) {
						t.Errorf("tuned: %v", err)
					}
				}
				l.silentCanary(200)
			})
		})
	}
	t.Run("without canary", func(t *testing.T) {
		inBubble(t, func(t *testing.T, n *network) {
			route := releasing(strict())
			route.Split.Arms[1].Cluster, route.Split.Arms[1].Refusal = "", &model.Refusal{Status: 500, Flag: "NC"}
			l := newLaunch(t, n, route, Config{}, knob(1, 1, 5000))
			l.silentCanary(200)
		})
	})
}

// TestReleaseSurvives: edits that have nothing to do with it leave counts and evidence as they are; one
// that gives the tests another guard begins them anew; and a new subject waits for its knob.
func TestReleaseSurvives(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		l := newLaunch(t, n, releasing(strict()), Config{}, knob(1, 1, 5000))
		l.crowd(2, 50)
		before := l.seen()
		l.reapply(func(s *model.Snapshot) { s.RouteTables[0].Entries[0].Route.Timeouts.Request = time.Minute })
		if err := l.proxy.Tune(knobs(knob(1, 1, 5000))); err != nil {
			t.Fatal(err)
		}
		l.crowd(2, 50)
		if o := l.seen(); o.Since != before.Since || o.Stable.Requests+o.Canary.Requests != 200 || o.Canary.Users+o.Stable.Users < 190 {
			t.Errorf("after an edit: %+v", o)
		}
		change := func(f func(r *model.Release)) {
			l.reapply(func(s *model.Snapshot) {
				r := s.RouteTables[0].Entries[0].Route
				rel := *r.Split.Release
				f(&rel)
				r.Split.Release = &rel
			})
		}
		change(func(r *model.Release) { r.Guard.ConsecutiveFailures = 3 })
		if o := l.seen(); o.Stable.Requests != 0 || o.Generation != 1 {
			t.Errorf("with another guard: %+v", o)
		}
		change(func(r *model.Release) { r.Subject = "v3" })
		l.silentCanary(100)
		if list := l.proxy.Releases(); len(list) != 0 {
			t.Errorf("of another subject: %+v", list)
		}
		next := knob(2, 1, 5000)
		next.Subject = "v3"
		if err := l.proxy.Tune(knobs(next)); err != nil {
			t.Fatal(err)
		}
		if l.crowd(1, 50); l.seen().Canary.Requests == 0 {
			t.Error("the new subject's knob has no effect")
		}
		l.reapply(func(s *model.Snapshot) {
			r := s.RouteTables[0].Entries[0].Route
			r.Split.Release, r.Split.Arms = nil, r.Split.Arms[:1]
		})
		if err := l.proxy.Tune(knobs()); err != nil {
			t.Fatal(err)
		}
		if n := len(l.proxy.releases.States()); n != 0 {
			t.Errorf("%d releases are remembered", n)
		}
	})
}
