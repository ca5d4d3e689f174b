package proxy

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	judge "weir.dev/weir/traffic/guard"
	"weir.dev/weir/traffic/sample"
)

// userIn returns a user whose bucket is among the first share of 10,000, or among the last -share: with
// knob those are the canary's. Another share gives another user.
func userIn(share int) string {
	for i := 0; ; i++ {
		name := fmt.Sprint("user", share, ".", i)
		b := int(sample.NewSalt(testRelease).User([]byte(name)).Bucket())
		if share > 0 && b < share || share < 0 && b >= model.Buckets+share {
			return name
		}
	}
}

// by asks with some fields and returns which version answered.
func (l *launch) by(c *client, fields string) string {
	l.t.Helper()
	resp := l.ask(c, "GET / HTTP/1.1\nHost: h\n"+fields+"\n")
	switch resp.Header.Get("X-By") {
	case upA:
		return "stable"
	case upB:
		return "canary"
	}
	return fmt.Sprint(resp.StatusCode)
}

// TestArmsByUser: users stay where they are; cohorts come before them, and what trusted callers say; what
// they say is bounded, and passed on.
func TestArmsByUser(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		route := releasing(strict())
		route.Split.Release.Cohorts = []model.Cohort{{Name: "broken", When: "x"}, {Name: "staff", When: `request.headers["x-staff"] == "1"`}}
		var log bytes.Buffer
		access := telemetry.NewAccessLog(telemetry.AccessLogConfig{Writer: &log, Shards: 2})
		l := newLaunch(t, n, route, Config{AccessLog: access}, knob(1, 1, 1000))
		c := l.patient()
		one, other := "X-User: "+userIn(100)+"\n", "X-User: "+userIn(-100)+"\n"
		for _, test := range []struct{ fields, want, mark string }{
			{one, "stable", "shop/checkout=stable"},
			{other, "canary", "shop/checkout=canary"},
			{one, "stable", "shop/checkout=stable"},
			{one + "X-Staff: 1\n", "canary", "shop/checkout=canary"},
			{other + "X-Weir-Arm: shop/checkout=stable\n", "stable", "shop/checkout=stable"},
			{one + "X-Weir-Arm: a/b=canary, shop/checkout=canary,c/d=stable\nX-Weir-Arm: e/f=canary\n", "canary", "a/b=canary, c/d=stable, e/f=canary, shop/checkout=canary"},
			{one + "X-Weir-Arm: shop/checkout=gone\n", "stable", "shop/checkout=stable"},
			{one + "X-Weir-Arm: " + strings.Repeat("a/b=canary,", 200) + "\n", "stable", strings.Repeat("a/b=canary, ", 84) + "shop/checkout=stable"},
		} {
			if got := l.by(c, test.fields); got != test.want {
				t.Errorf("%.80q went to %s, want %s", test.fields, got, test.want)
			}
			v := &l.stable
			if test.want == "canary" {
				v = &l.canary
			}
			if mark := v.header("X-Weir-Arm"); mark != test.mark {
				t.Errorf("%.80q was marked %q, want %q", test.fields, mark, test.mark)
			}
		}
		synctest.Wait()
		o := l.seen()
		if len(o.Cohorts) != 2 || o.Cohorts[1].Requests != 1 || o.Canary.Requests != 2 || o.Stable.Requests != 5 || o.Canary.InFlight != 0 || o.Stable.InFlight != 0 {
			t.Errorf("counted: %+v", o)
		}
		l.canary.set(func(int64) (int, time.Duration) { return 500, time.Second })
		slow := l.patient().send("GET / HTTP/1.1\nHost: h\n" + one + "X-Staff: 1\n\n")
		synctest.Wait()
		if o := l.seen(); o.Cohorts[1] != (model.CohortObservation{Name: "staff", Requests: 1}) {
			t.Errorf("a cohort's request counts before anybody knows how it ends: %+v", o.Cohorts)
		}
		slow.want(500, "", "ok").Body.Close()
		synctest.Wait()
		if o := l.seen(); o.Cohorts[1] != (model.CohortObservation{Name: "staff", Requests: 2, Failed: 1}) {
			t.Errorf("and at its end: %+v", o.Cohorts)
		}
		ended := knob(1, 2, 0)
		ended.Running = false
		if err := l.proxy.Tune(knobs(ended)); err != nil {
			t.Fatal(err)
		}
		for _, fields := range []string{other, one + "X-Staff: 1\n", one + "X-Weir-Arm: shop/checkout=canary\n"} {
			if got := l.by(c, fields); got != "stable" {
				t.Errorf("after the end %q went to %s", fields, got)
			}
		}
		c.Close()
		l.stop()
		if err := access.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if text := log.String(); strings.Count(text, `"arm":"canary"`) != 4 || strings.Count(text, `"arm":"stable"`) != 8 {
			t.Errorf("the access log has other arms:\n%s", text)
		}
	})
}

// TestStrangersChooseNoArm: what somebody untrusted says is neither believed nor passed on.
func TestStrangersChooseNoArm(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		l := newLaunch(t, n, releasing(strict()), Config{}, knob(1, 1, 1000))
		l.reapply(func(s *model.Snapshot) {
			front := *s.Listeners[0]
			front.Client.TrustHops = 0
			s.Listeners = []*model.Listener{&front}
		})
		c := l.patient()
		if got := l.by(c, "X-User: "+userIn(100)+"\nX-Weir-Arm: shop/checkout=canary, a/b=canary\n"); got != "stable" {
			t.Errorf("went to %s", got)
		}
		if mark := l.stable.header("X-Weir-Arm"); mark != "shop/checkout=stable" {
			t.Errorf("marked %q", mark)
		}
	})
}

// TestTwoTiers: the second proxy follows the first, though it has no key to tell users apart and its own
// knob says otherwise.
func TestTwoTiers(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		second := releasing(strict())
		second.Split.Release.Sampling.Key = nil
		l := newLaunch(t, n, second, Config{}, knob(1, 1, 1))
		snap := snapshotOf(map[string]string{"stable": l.addr, "canary": l.addr}, releasing(strict()))
		snap.Listeners[0].Address = netip.MustParseAddrPort("127.0.0.1:81")
		first := n.rig(t, snap, Config{})
		if err := first.proxy.Tune(knobs(knob(1, 1, 5000))); err != nil {
			t.Fatal(err)
		}
		c := first.patient()
		for i := range 200 {
			user := fmt.Sprint("u", i)
			want := "stable"
			if sample.NewSalt(testRelease).User([]byte(user)).Bucket() >= 5000 {
				want = "canary"
			}
			if got := l.by(c, "X-User: "+user+"\n"); got != want {
				t.Fatalf("%s went to %s, want %s", user, got, want)
			}
		}
	})
}

// TestOtherArmsKeepTheirShare: a third arm has its users whatever the release does.
func TestOtherArmsKeepTheirShare(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		route := releasing(strict())
		route.Split.Arms = append(route.Split.Arms, model.Arm{Name: "third", Weight: 1, Cluster: "stable"})
		route.Split.Arms[2].RequestHeaders = &model.HeaderEdit{Set: []model.Header{{Name: "x-third", Value: "1"}}}
		l := newLaunch(t, n, route, Config{})
		written := []sample.ArmWeight{{Arm: "stable", Weight: 1}, {Arm: "canary"}, {Arm: "third", Weight: 1}}
		ranges := sample.Initial(written)
		at := map[string]bool{}
		third := 0
		c := l.patient()
		for step, share := range []int{-1, 0, 1000, 5000, 10000, 0} {
			if share >= 0 {
				k := knob(1, uint64(step), 0)
				ranges = sample.Reweight(ranges, sample.ShareOf(written, "stable", "canary", share))
				k.Ranges = ranges
				if err := l.proxy.Tune(knobs(k)); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 300 {
				user := fmt.Sprint("u", i)
				arm := l.by(c, "X-User: "+user+"\n")
				got := arm == "stable" && l.stable.header("X-Third") == "1"
				if was, ok := at[user]; ok && was != got {
					t.Fatalf("share %d: %s is at the third arm: %v; was: %v", share, user, got, was)
				}
				if at[user] = got; got {
					third++
				}
				if got && l.by(c, "X-User: "+user+"\nX-Weir-Arm: shop/checkout=canary\n") != "stable" {
					t.Fatalf("share %d: what the caller says takes %s from the third arm", share, user)
				}
				if share == 10000 && !got && arm != "canary" {
					t.Fatalf("at 100 %% %s is at %s", user, arm)
				}
			}
		}
		if third < 700 || third > 1100 {
			t.Errorf("the third arm had %d of 1800", third)
		}
	})
}

// TestCookiesTellUsersApart: who has nothing else gets an id, keeps its arm by it, and cannot make one up.
func TestCookiesTellUsersApart(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		route := releasing(strict())
		route.Split.Release.Sampling.Fallback = model.FallbackCookie
		l := newLaunch(t, n, route, Config{}, knob(1, 1, 5000))
		c := l.patient()
		if resp := l.ask(c, "GET / HTTP/1.1\nHost: h\nX-User: ann\n\n"); len(resp.Cookies()) != 0 {
			t.Errorf("somebody with a key gets %v", resp.Cookies())
		}
		given := map[string]string{}
		for range 40 {
			resp := l.ask(c, "GET / HTTP/1.1\nHost: h\n\n")
			cookie := resp.Cookies()[0]
			if cookie.Path != "/" || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Secure || cookie.Domain != "" {
				t.Fatalf("%+v", cookie)
			}
			given[cookie.Name+"="+cookie.Value] = resp.Header.Get("X-By")
		}
		if len(given) != 40 {
			t.Errorf("%d ids for 40 users", len(given))
		}
		both := map[string]int{}
		for cookie, at := range given {
			both[at]++
			for range 3 {
				resp := l.ask(c, "GET / HTTP/1.1\nHost: h\nCookie: a=b; "+cookie+"\n\n")
				if resp.Header.Get("X-By") != at || len(resp.Cookies()) != 0 {
					t.Fatalf("%s went from %s to %s, with %v", cookie, at, resp.Header.Get("X-By"), resp.Cookies())
				}
			}
			forged := []byte(cookie)
			forged[len("weir-user=")+3] ^= 1
			if resp := l.ask(c, "GET / HTTP/1.1\nHost: h\nCookie: "+string(forged)+"\n\n"); len(resp.Cookies()) != 1 {
				t.Fatalf("a forged id is believed: %s", forged)
			}
		}
		if both[upA] < 5 || both[upB] < 5 {
			t.Errorf("users are divided %v", both)
		}
		bare := knobs(knob(1, 1, 5000))
		bare.SampleSecret = nil
		if err := l.proxy.Tune(bare); err != nil {
			t.Fatal(err)
		}
		if resp := l.ask(c, "GET / HTTP/1.1\nHost: h\n\n"); len(resp.Cookies()) != 0 {
			t.Errorf("an id without a secret: %v", resp.Cookies())
		}
	})
}

// TestFallbackStable: who nothing tells apart is stable's, and no part of the sample.
func TestFallbackStable(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		route := releasing(strict())
		route.Split.Release.Sampling.Fallback = model.FallbackStable
		l := newLaunch(t, n, route, Config{}, knob(1, 1, 9000))
		c := l.patient()
		for range 50 {
			if got := l.by(c, ""); got != "stable" {
				t.Fatalf("went to %s", got)
			}
		}
		if o := l.seen(); o.Stable.Requests != 0 || o.Canary.Requests != 0 {
			t.Errorf("%+v", o)
		}
	})
}

// TestSessionsInsideArms: a session sticks to a host of the user's arm, and to no other arm.
func TestSessionsInsideArms(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		route := releasing(strict())
		route.Session = &model.Session{Type: model.SessionCookie, Name: "weir"}
		l := newLaunch(t, n, route, Config{}, knob(1, 1, 5000))
		var second version // another host of the canary
		second.set(fine)
		n.upstream(t, upC, second.serve)
		l.reapply(func(s *model.Snapshot) { endpoints(s, "canary", map[string]uint32{upB: 1, upC: 1}) })
		c := l.patient()
		user := "X-User: " + userIn(-100) + "\n"
		resp := l.ask(c, "GET / HTTP/1.1\nHost: h\n"+user+"\n")
		home, token := resp.Header.Get("X-By"), "Cookie: weir="+resp.Cookies()[0].Value+"\n"
		if home == upA {
			t.Fatal("not at the canary")
		}
		for range 20 {
			resp := l.ask(c, "GET / HTTP/1.1\nHost: h\n"+user+token+"\n")
			if got := resp.Header.Get("X-By"); got != home || len(resp.Cookies()) != 0 {
				t.Fatalf("the session went from %s to %s", home, got)
			}
		}
		if got := l.by(c, "X-User: "+userIn(100)+"\n"+token); got != "stable" {
			t.Errorf("another user with the token went to %s", got)
		}
		if err := l.proxy.Tune(knobs(knob(1, 2, 0))); err != nil {
			t.Fatal(err)
		}
		resp = l.ask(c, "GET / HTTP/1.1\nHost: h\n"+user+token+"\n")
		if resp.Header.Get("X-By") != upA || len(resp.Cookies()) != 1 {
			t.Errorf("the session of a canary that is given up went to %s", resp.Header.Get("X-By"))
		}
	})
}

// TestFailedCanaryRequests are those that are under way when the canary trips: what may be sent twice is
// served by stable, the rest is not.
func TestFailedCanaryRequests(t *testing.T) {
	for _, test := range []struct {
		name, request string
		status        int
		want          int
		at            string
	}{
		{"GET, answered", "GET / HTTP/1.1\n", 500, 200, upA},
		{"GET, dropped", "GET / HTTP/1.1\n", 0, 200, upA},
		{"PUT with a body", "PUT / HTTP/1.1\nContent-Length: 3\n", 500, 200, upA},
		{"POST", "POST / HTTP/1.1\nContent-Length: 3\n", 500, 500, upB},
		{"a good answer", "GET / HTTP/1.1\n", 200, 200, upB},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				g := strict()
				g.Latency = nil
				l := newLaunch(t, n, releasing(g), Config{}, knob(1, 1, 5000))
				user := "Host: h\nX-User: " + userIn(-1) + "\n\n"
				if strings.Contains(test.request, "Length") {
					user += "abc"
				}
				l.canary.set(func(int64) (int, time.Duration) { return test.status, time.Second })
				late := l.patient().send(test.request + user)
				synctest.Wait()
				l.canary.set(func(int64) (int, time.Duration) { return 500, 0 })
				l.crowd(5, 100)
				if l.tripped() == nil || l.canary.begun.Load() > 20 {
					t.Fatalf("trip: %+v, %d began", l.tripped(), l.canary.begun.Load())
				}
				resp, _ := late.answer("GET")
				if resp.StatusCode != test.want || resp.Header.Get("X-By") != test.at {
					t.Errorf("%d by %s, want %d by %s", resp.StatusCode, resp.Header.Get("X-By"), test.want, test.at)
				}
				if test.at == upA && l.stable.header("X-Weir-Arm") != "shop/checkout=stable" {
					t.Errorf("marked %q", l.stable.header("X-Weir-Arm"))
				}
				synctest.Wait()
				if o := l.seen(); o.Canary.InFlight != 0 || o.Canary.Failed > o.Canary.Requests {
					t.Errorf("%+v", o)
				}
			})
		})
	}
}

// TestFallbackIsFree: it takes nothing of the retry budget, and happens once.
func TestFallbackIsFree(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		route := releasing(model.Guard{ConsecutiveFailures: 2, Stages: 1})
		route.Retry = &model.Retry{Attempts: 1, Codes: []int{503}, Budget: &model.RetryBudget{Share: 0.0001}}
		l := newLaunch(t, n, route, Config{}, knob(1, 1, 5000))
		l.crowd(1, 100)
		l.canary.set(func(int64) (int, time.Duration) { return 500, 0 })
		l.stable.set(func(int64) (int, time.Duration) { return 404, 0 })
		c := l.patient()
		failed := uint64(0)
		for i := 0; l.tripped() == nil && i < 10; i++ {
			status := l.ask(c, fmt.Sprintf("GET / HTTP/1.1\nHost: h\nX-User: %s\n\n", userIn(-5000+i))).StatusCode
			if l.tripped() == nil {
				failed++
			}
			if want := map[bool]int{false: 500, true: 404}[l.tripped() != nil]; status != want { // 404 is what stable says by now
				t.Errorf("request %d: %d, want %d", i, status, want)
			}
			for range 5 {
				l.by(c, "X-User: "+userIn(100)+"\n")
			}
		}
		if l.tripped() == nil {
			t.Errorf("no trip: %+v", l.seen())
		}
		synctest.Wait()
		if o := l.seen(); o.Canary.FirstFailed != failed+1 || o.Canary.Failed != failed {
			t.Errorf("%d clients saw a failure; %+v", failed, o.Canary)
		}
	})
}

// TestOwnTime: the time that has passed before anybody was asked, or in a delay of ours, is not the arm's.
func TestOwnTime(t *testing.T) {
	asked := &upstream{host: new(cluster.Host)}
	for _, test := range []struct {
		flag model.Flag
		up   *upstream
		late bool
		want judge.Verdict
	}{
		{model.FlagPT, asked, false, judge.Bad},
		{model.FlagPT, &upstream{}, false, judge.None},
		{model.FlagPT, asked, true, judge.None},
		{model.FlagUT, asked, true, judge.Bad},
		{model.FlagUT, &upstream{}, false, judge.None},
		{model.FlagUO, &upstream{}, true, judge.Bad},
	} {
		x := &exchange{up: test.up, broken: broken{late: test.late}}
		if got := x.verdictOf(test.flag); got != test.want {
			t.Errorf("%+v: %d", test, got)
		}
	}
}

// TestReleaseMetrics looks at the page.
func TestReleaseMetrics(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		l := newLaunch(t, n, releasing(strict()), Config{}, knob(1, 1, 5000))
		l.canary.set(func(int64) (int, time.Duration) { return 500, 0 })
		l.crowd(4, 100)
		synctest.Wait()
		states := l.proxy.releases.States()
		if len(states) != 1 || states[0].Share != 0 || states[0].Observation == nil || states[0].Observation.Trip == nil {
			t.Fatalf("%+v", states)
		}
		ended := states[0].Ended
		if ended[telemetry.ReleaseCanary][telemetry.ReleaseFailed] == 0 || ended[telemetry.ReleaseCanary][telemetry.ReleaseRescued] == 0 ||
			ended[telemetry.ReleaseStable][telemetry.ReleaseGood] == 0 {
			t.Errorf("%+v", ended)
		}
		if err := l.proxy.Tune(knobs(knob(2, 1, 2500))); err != nil {
			t.Fatal(err)
		}
		if s := l.proxy.releases.States()[0]; s.Share != 0.25 || s.Ended != ended {
			t.Errorf("%+v", s)
		}
		l.reapply(func(s *model.Snapshot) { s.RouteTables[0].Entries[0].Route.Split.Release = nil })
		if err := l.proxy.Tune(knobs()); err != nil {
			t.Fatal(err)
		}
		if n := len(l.proxy.releases.States()); n != 0 {
			t.Errorf("%d releases after the last is gone", n)
		}
	})
}

// TestAdmittedRetriesAreGivenBack: a retry that had been let through when the canary tripped does not happen
// there, and takes no place of its breaker for ever.
func TestAdmittedRetriesAreGivenBack(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := strict()
		g.ConsecutiveFailures = 0
		route := releasing(g)
		route.Retry = &model.Retry{Attempts: 1, Codes: []int{500}}
		l := newLaunch(t, n, route, Config{}, knob(1, 1, 1000))
		l.reapply(func(s *model.Snapshot) {
			for i, c := range s.Clusters {
				changed := *c
				changed.Breaker = model.Breaker{MaxRetries: 10, MaxRequests: 100, Mode: model.ModeEnforce}
				s.Clusters[i] = &changed
			}
		})
		l.canary.set(func(int64) (int, time.Duration) { return 500, 0 })
		l.crowd(10, 1000)
		synctest.Wait()
		if trip := l.tripped(); trip == nil || !strings.HasPrefix(trip.Test.Name, "errors/first") {
			t.Fatalf("trip: %+v", trip)
		}
		for _, b := range l.proxy.Breakers() {
			for _, bound := range b.Bounds {
				if bound.Used != 0 {
					t.Errorf("%s: %+v", b.Cluster, bound)
				}
			}
		}
	})
}
