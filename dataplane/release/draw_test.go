package release

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/guard"
)

// TestVerdicts: what the end of a request says of its arm.
func TestVerdicts(t *testing.T) {
	now := transport.Now()
	soon, ago := now.Add(time.Hour), now-1
	for _, test := range []struct {
		name    string
		flag    model.Flag
		ownTime bool
		d       Draw
		want    guard.Verdict
	}{
		{"a good answer", model.FlagNone, true, Draw{}, guard.Good},
		{"its own error", model.FlagU5, true, Draw{}, guard.Bad},
		{"no connection", model.FlagUF, true, Draw{}, guard.Bad},
		{"no host", model.FlagUH, false, Draw{}, guard.Bad},
		{"its breaker", model.FlagUO, false, Draw{}, guard.Bad},
		{"its throttle", model.FlagPO, false, Draw{}, guard.Bad},
		{"the retry budget", model.FlagURX, true, Draw{}, guard.Bad},
		{"out of time", model.FlagPT, true, Draw{}, guard.Bad},
		{"out of time that was not its own", model.FlagPT, false, Draw{}, guard.None},
		{"out of time while its client was to send", model.FlagUT, true, Draw{excused: true}, guard.None},
		{"the process is short of something", model.FlagOM, true, Draw{}, guard.None},
		{"draining", model.FlagWD, true, Draw{}, guard.None},
		{"a fault of ours", model.FlagFI, true, Draw{}, guard.None},
		{"a malformed body", model.FlagDPE, true, Draw{}, guard.None},
		{"the client left", model.FlagDC, true, Draw{}, guard.None},
		{"the client left early", model.FlagDC, true, Draw{late: soon}, guard.None},
		{"the client left late", model.FlagDC, true, Draw{late: ago}, guard.Bad},
		{"the client left while a timely answer came", model.FlagDC, true, Draw{late: ago, head: ago - 1}, guard.None},
		{"the client left while a late answer came", model.FlagDC, true, Draw{late: ago, head: now}, guard.Bad},
	} {
		if got := test.d.Verdict(test.flag, test.ownTime); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// TestUsersAreTestedInTurn: however much one user sends, the tests hear of it once in ten seconds.
func TestUsersAreTestedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLaunch(t, knob(1, 1, 10000))
		for range 400 { // in 40 s
			l.ask("X-User: ann\n", guard.Good)
			time.Sleep(100 * time.Millisecond)
		}
		if o := l.seen().Canary; o.Requests != 400 || o.Users != 1 || o.Tested < 4 || o.Tested > 5 {
			t.Errorf("%+v", o)
		}
	})
}

// TestAskedArmsAreTested: what callers have chosen for users that nothing tells apart here is as many users as
// there are requests, not one.
func TestAskedArmsAreTested(t *testing.T) {
	l := newLaunch(t, knob(1, 1, 1000))
	l.compile(func(s *model.Split) { s.Release.Sampling.Fallback = model.FallbackStable })
	for i := range 400 {
		arm, v := "stable", guard.Good
		if i%10 == 9 {
			arm, v = "canary", guard.Bad
		}
		if got := l.ask("X-Weir-Arm: "+testRelease+"="+arm+"\n", v); got != arm && l.seen().Trip == nil {
			t.Fatalf("request %d went to %s", i, got)
		}
	}
	if o := l.seen(); o.Trip == nil || o.Canary.Users > 0 || o.Canary.Tested != o.Canary.Requests {
		t.Errorf("%+v", o)
	}
}

// TestStrangersAreNotBelieved: fields of whoever is not trusted choose nothing, and are not passed on.
func TestStrangersAreNotBelieved(t *testing.T) {
	l := newLaunch(t, knob(1, 1, 0))
	facts := request(t, "X-User: ann\nX-Weir-Arm: other=canary, "+testRelease+"=canary\n")
	for trusted, want := range map[bool]string{false: "X-Weir-Arm: shop/checkout=stable\r\n", true: "X-Weir-Arm: other=canary, shop/checkout=canary\r\n"} {
		var d Draw
		d.Choose(l.route, facts, trusted, func() uint64 { return 0 })
		if d.Mark(nil); string(d.Line()) != want {
			t.Errorf("trusted %v: %q", trusted, d.Line())
		}
	}
}

// TestFallenRequests: who is sent to stable after all stays a request of the canary's, and is told as stable's to the next host.
func TestFallenRequests(t *testing.T) {
	l := newLaunch(t, knob(1, 1, 5000))
	d, arm := l.begin("X-User: last\nX-Weir-Arm: " + testRelease + "=canary\n")
	if l.fail(5); arm != "canary" || !d.OnLostCanary() {
		t.Fatalf("at %s, which was not taken back: %+v", arm, l.seen())
	}
	d.FirstTry(guard.Bad)
	d.FirstTry(guard.Bad) // a second one is no first
	if d.Fall(nil); string(d.Line()) != "X-Weir-Arm: "+testRelease+"=stable\r\n" || d.Arm() != "canary" || d.OnLostCanary() {
		t.Errorf("%q, arm %s", d.Line(), d.Arm())
	}
	d.Fail() // stable's failure is not the canary's
	d.End(guard.Good)
	d.End(guard.Bad)
	if o := l.seen().Canary; o.Requests != 6 || o.InFlight != 0 || o.FirstFailed != 6 || o.Failed != 5 {
		t.Errorf("%+v", o)
	}
}

// TestArmsInAnotherOrder: an edit in the middle of a run that lists the arms anew, or one more, moves no user.
func TestArmsInAnotherOrder(t *testing.T) {
	l := newLaunch(t, knob(1, 1, 3000))
	where := func() (list []string) {
		for i := range 60 {
			list = append(list, l.ask(fmt.Sprintf("X-User: u%d\n", i), guard.Good))
		}
		return list
	}
	before := where()
	third := model.Arm{Name: "third", Weight: 50}
	for _, change := range []func(arms []model.Arm) []model.Arm{
		func(arms []model.Arm) []model.Arm { return []model.Arm{arms[1], arms[0]} },
		func(arms []model.Arm) []model.Arm { return append([]model.Arm{third}, arms...) },
	} {
		l.compile(func(s *model.Split) { s.Arms = change(slices.Clone(s.Arms)) })
		if after := where(); !slices.Equal(before, after) {
			t.Errorf("users have moved:\n%v\n%v", before, after)
		}
	}
	if o := l.seen(); o.Stable.Requests+o.Canary.Requests != 180 || o.Generation != 1 {
		t.Errorf("%+v", o)
	}
}

// TestCohortsEditedUnderRequests: while a snapshot is being put into effect, requests are still served by routes
// of the last one, which may have cohorts that the new one does not have, or in another order.
func TestCohortsEditedUnderRequests(t *testing.T) {
	qa := model.Cohort{Name: "qa", When: `request.headers["x-staff"] == "2"`}
	staff := model.Cohort{Name: "staff", When: `request.headers["x-staff"] == "1"`}
	l := newLaunch(t, knob(1, 1, 0))
	l.compile(func(s *model.Split) { s.Release.Cohorts = []model.Cohort{qa, staff} })
	old := l.route
	for _, cohorts := range [][]model.Cohort{nil, {staff}, {staff, qa}} {
		l.compile(func(s *model.Split) { s.Release.Cohorts = cohorts })
		l.route = old
		if got := l.ask("X-Staff: 1\n", guard.Good); got != "canary" {
			t.Errorf("with the cohorts %v staff went to %s", cohorts, got)
		}
		for _, c := range l.seen().Cohorts {
			if want := map[string]uint64{"staff": 1}[c.Name]; c.Requests != want {
				t.Errorf("%d requests of %s, want %d", c.Requests, c.Name, want)
			}
		}
	}
}

// TestPlacesAreGivenBack: whatever requests do at once while a release is divided anew, none is under way for
// ever, and none keeps its place among those that may be late.
func TestPlacesAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLaunch(t, knob(1, 1, 5000))
		go l.set.Run(t.Context())
		var work sync.WaitGroup
		var claimed bool
		for client := range 8 {
			work.Go(func() {
				for i := range 400 {
					d, _ := l.begin(fmt.Sprintf("X-User: u%d\n", client*1000+i))
					time.Sleep(time.Duration(i%4) * 10 * time.Millisecond)
					if d.Heard() && i%3 > 0 {
						d.HeadCame()
					}
					if client == 0 && d.slot != nil {
						claimed = true
					}
					d.End(guard.Verdict(i % 3))
				}
			})
		}
		for i := range uint64(20) {
			time.Sleep(100 * time.Millisecond)
			_ = l.tune(knob(1+i/5, 1+i%5, 5000))
			l.set.States()
		}
		work.Wait()
		if !claimed {
			t.Error("nothing had a place")
		}
		o := l.seen()
		for _, a := range []model.ArmObservation{o.Stable, o.Canary} {
			if a.InFlight != 0 {
				t.Errorf("%+v", a)
			}
		}
		places := l.set.byName[testRelease].hearing.late.slots
		for i := range places {
			if at := places[i].at.Load(); at != slotFree {
				t.Fatalf("place %d is taken for ever: %d", i, at)
			}
		}
	})
}
