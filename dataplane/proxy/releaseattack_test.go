package proxy

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/release"
	"weir.dev/weir/model"
	judge "weir.dev/weir/traffic/guard"
)

// TestHedgesHideNoFailure: a first try that fails has failed, whatever a hedge beside it brings.
func TestHedgesHideNoFailure(t *testing.T) {
	const good = "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"
	for name, test := range map[string]struct {
		first lap
		want  uint64
	}{
		"an error":   {lap{150 * time.Millisecond, "HTTP/1.1 503 Busy\nContent-Length: 2\n\nno"}, 1},
		"no answer":  {lap{150 * time.Millisecond, "cut"}, 1},
		"a slow one": {lap{time.Second, good}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				m := n.racer(t, []lap{test.first, {200 * time.Millisecond, good}}, upB, upC)
				route := releasing(strict())
				route.Retry = hedged(1).Retry
				r := n.rig(t, trusts(snapshotOf(map[string]string{"stable": upA, "canary": upB + "," + upC}, route)), Config{})
				if err := r.proxy.Tune(knobs(knob(1, 1, 10000))); err != nil {
					t.Fatal(err)
				}
				if resp, _ := r.patient().send(get("/")).answer("GET"); resp.StatusCode != 200 {
					t.Errorf("status %d", resp.StatusCode)
				}
				synctest.Wait()
				if o := r.proxy.Releases()[0].Canary; o.FirstFailed != test.want || o.Failed != 0 || o.Requests != 1 || o.InFlight != 0 {
					t.Errorf("%s: %+v", m.seen(), o)
				}
			})
		})
	}
}

// TestTripWhileStableIsGone: a request whose body comes while the canary trips has nobody to go to if stable does
// not resolve any more.
func TestTripWhileStableIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		route := releasing(strict())
		route.Retry = &model.Retry{Attempts: 1, Codes: []int{503}, BodyReplay: 1 << 10}
		route.Split.Arms[0].Refusal = &model.Refusal{Status: 500, Flag: "NC", Reason: "it is gone"}
		l := newLaunch(t, n, route, Config{}, knob(1, 1, 5000))
		c := l.patient().send("PUT / HTTP/1.1\nHost: h\nContent-Length: 3\nX-User: " + userIn(-1) + "\n\na")
		synctest.Wait()
		l.trip()
		if l.tripped() == nil {
			t.Fatalf("no trip: %+v", l.seen())
		}
		resp, _ := c.send("bc").answer("PUT")
		if resp.StatusCode != 500 || l.canary.begun.Load() != 0 {
			t.Errorf("status %d, %d at the canary", resp.StatusCode, l.canary.begun.Load())
		}
		synctest.Wait()
		if o := l.seen().Canary; o.Requests != 6 || o.InFlight != 0 {
			t.Errorf("%+v", o)
		}
	})
}

// trip has the canary trip, by the failures of five requests that nobody sends, beside good ones of stable.
func (l *launch) trip() {
	l.t.Helper()
	route := l.proxy.releases.Route(&l.snap.RouteTables[0].Entries[0].Route.Split, func(int) bool { return true })
	for i := range 10 {
		arm, outcome := "stable", judge.Good
		if i%2 > 0 {
			arm, outcome = "canary", judge.Bad
		}
		var req http1.Request
		head := lines(fmt.Sprintf("GET / HTTP/1.1\nHost: h\nX-User: trip%d\nX-Weir-Arm: %s=%s\n\n", i, testRelease, arm))
		if _, err := req.Parse([]byte(head), &http1.Limits{}); err != nil {
			l.t.Fatal(err)
		}
		var d release.Draw
		d.Choose(route, &policy.Facts{Request: &req}, true, rand.Uint64)
		d.Begin(0, 0)
		d.End(outcome)
	}
}

// TestTimeThatIsNotTheCanarys: a request whose time a fault has used up, or its own client, who was to send more, says nothing
// about its arm.
func TestTimeThatIsNotTheCanarys(t *testing.T) {
	for name, test := range map[string]struct {
		change   func(r *model.Route)
		request  string
		excluded bool
	}{
		"a slow canary": {func(*model.Route) {}, "GET / HTTP/1.1\n", false},
		"a fault": {func(r *model.Route) {
			r.Timeouts.Request = 2400 * time.Millisecond
			r.Faults = []model.Fault{{Key: "f", Policy: "p", Name: "f", Share: 1, Delay: 2 * time.Second, Expires: time.Now().Add(time.Hour)}}
		}, "GET / HTTP/1.1\n", true},
		"a slow client": {func(*model.Route) {}, "PUT / HTTP/1.1\nContent-Length: 10\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				route := releasing(strict())
				route.Timeouts.Request = 400 * time.Millisecond
				test.change(route)
				l := newLaunch(t, n, route, Config{}, knob(1, 1, 10000))
				l.canary.set(func(int64) (int, time.Duration) { return 200, 500 * time.Millisecond })
				resp, _ := l.patient().send(test.request + "Host: h\nX-User: u\n\n").answer("GET")
				if resp.StatusCode != 504 {
					t.Errorf("status %d", resp.StatusCode)
				}
				synctest.Wait()
				time.Sleep(time.Second) // until the canary has answered
				o := l.seen().Canary
				if excluded := o.Excluded == 1; o.Requests != 1 || excluded != test.excluded || (o.Failed == 1) == test.excluded || (o.FirstFailed == 1) == test.excluded {
					t.Errorf("%+v", o)
				}
			})
		})
	}
}

// TestReleasesUnderStorm has everything at once, for the race detector, and then sees that all counters balance.
func TestReleasesUnderStorm(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		route := releasing(strict())
		route.Timeouts.Request = 30 * time.Millisecond
		route.Retry = &model.Retry{Attempts: 1, Codes: []int{500}, Hedge: &model.Hedge{After: 3 * time.Millisecond, Max: 1}}
		route.Split.Release.Cohorts = []model.Cohort{{Name: "staff", When: `request.headers["x-staff"] == "1"`}}
		l := newLaunch(t, n, route, Config{}, knob(1, 1, 5000))
		l.stable.set(every(50))
		l.canary.set(func(i int64) (int, time.Duration) {
			return []int{200, 500, 0, 404}[i%4], []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 50 * time.Millisecond}[i/4%4]
		})
		var work sync.WaitGroup
		for client := range 16 {
			work.Go(func() { l.wander(client) })
		}
		seen := map[string]uint64{}
		var sum uint64
		note := func() {
			for _, o := range l.proxy.Releases() {
				key := fmt.Sprint(o.Run, o.Generation)
				for _, a := range []model.ArmObservation{o.Stable, o.Canary} {
					if a.InFlight < 0 || a.Failed+a.Excluded > a.Requests {
						t.Errorf("%+v", a)
					}
				}
				seen[key] = max(seen[key], o.Stable.Requests+o.Canary.Requests)
			}
		}
		for i := range uint64(200) {
			time.Sleep(3 * time.Millisecond)
			note()
			switch i % 5 {
			case 0, 1:
				_ = l.proxy.Tune(knobs(knob(1+i/5, 1+i%5, int(i*37%10000))))
			case 2:
				l.reapply(func(s *model.Snapshot) {
					rel := *s.RouteTables[0].Entries[0].Route.Split.Release
					rel.Guard.ConsecutiveFailures = int(2 + i%3)
					if rel.Cohorts != nil {
						rel.Cohorts = nil
					} else {
						rel.Cohorts = []model.Cohort{{Name: "a", When: "false"}, {Name: "staff", When: `request.headers["x-staff"] == "1"`}}
					}
					s.RouteTables[0].Entries[0].Route.Split.Release = &rel
				})
			case 3:
				_ = l.proxy.Tune(knobs())
				_ = l.proxy.Tune(knobs(knob(2+i/5, 1, 5000)))
			case 4:
				l.trip()
			}
			l.proxy.releases.States()
		}
		_ = l.proxy.Tune(knobs(knob(100, 1, 5000)))
		work.Wait()
		synctest.Wait()
		for _, n := range seen {
			sum += n
		}
		o := l.seen()
		for _, a := range []model.ArmObservation{o.Stable, o.Canary} {
			if a.InFlight != 0 {
				t.Errorf("%+v", a)
			}
		}
		if sum == 0 {
			t.Error("nothing was counted")
		}
	})
}

// wander is one client of a storm: it asks, leaves, and comes again.
func (l *launch) wander(client int) {
	for i := range 60 {
		fields := fmt.Sprintf("Host: h\nX-User: u%d\n", client*1000+i)
		if i%7 == 0 {
			fields += "X-Staff: 1\n"
		}
		if i%5 == 0 {
			fields += "X-Weir-Arm: " + testRelease + "=canary\n"
		}
		c := l.patient()
		switch i % 6 {
		case 0: // leaves at once
			c.send("GET / HTTP/1.1\n" + fields + "\n")
		case 1: // leaves while its body is awaited
			c.send("PUT / HTTP/1.1\nContent-Length: 10\n" + fields + "\nabc")
			time.Sleep(2 * time.Millisecond)
		default:
			c.send("GET / HTTP/1.1\nConnection: close\n" + fields + "\n")
			_ = c.SetDeadline(time.Now().Add(time.Second))
			if resp, err := http.ReadResponse(c.r, nil); err == nil {
				_ = resp.Body.Close()
			}
		}
		c.Close()
	}
}

// TestIDsAreNotForEverybody: an answer that a shared cache may give to all who ask brings nobody an id: they would
// all be one user, or the cache would not keep it.
func TestIDsAreNotForEverybody(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: %s\r\n\r\n", req.Header.Get("X-Want"))
			}
		})
		route := releasing(strict())
		route.Split.Release.Sampling.Fallback = model.FallbackCookie
		r := n.rig(t, snapshotOf(map[string]string{"stable": upA, "canary": upA}, route), Config{})
		if err := r.proxy.Tune(knobs(knob(1, 1, 5000))); err != nil {
			t.Fatal(err)
		}
		c := r.patient()
		for control, want := range map[string]int{
			"no-cache": 1, "private, max-age=60": 1, "max-age=60": 1, "": 1,
			"public, max-age=60": 0, "Public": 0, "s-maxage=5": 0,
		} {
			resp, _ := c.send("GET / HTTP/1.1\nHost: h\nX-Want: " + control + "\n\n").answer("GET")
			if got := len(resp.Cookies()); got != want {
				t.Errorf("%q: %d cookies, want %d", control, got, want)
			}
		}
	})
}
