package slo

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/controlplane/translate"
)

// TestAlert checks an alert against what has happened, looked up anew at each step: it is on if its
// condition held since the last known time that it did not for as long as keep. The clock may go back.
func TestAlert(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keep := time.Duration(rapid.IntRange(1, 6).Draw(t, "keep")) * time.Minute
		now := time.Unix(0, 0)
		var a alert
		var said []time.Time // when it was known not to hold, since it held last; nil: it never did
		held := false
		for range rapid.IntRange(1, 60).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(1, 240).Draw(t, "later")) * time.Second)
			if rapid.IntRange(0, 19).Draw(t, "back") == 0 {
				now = now.Add(-time.Hour)
			}
			known := rapid.IntRange(0, 4).Draw(t, "known") > 0
			holds := known && rapid.Bool().Draw(t, "holds")
			switch {
			case holds:
				held, said = true, nil
			case known && held:
				if len(said) > 0 && now.Before(said[0]) {
					said = nil
				}
				if said = append(said, now); now.Sub(said[0]) >= keep {
					held, said = false, nil
				}
			}
			on, until := a.see(now, holds, known, keep)
			if on != held || (until != nil) != (len(said) > 0) || until != nil && !until.Equal(said[0].Add(keep)) {
				t.Fatalf("at %v: on %v until %v, want %v, not so since %v", now, on, until, held, said)
			}
		}
	})
}

// TestNoFlapping plays a service whose burn is now above the factor of a page and now below it: one
// alert from first to last, at once when it begins, and all of it told.
func TestNoFlapping(t *testing.T) {
	s := newSeries(t)
	s.tracker.Plan([]translate.ObjectivePlan{availability(true)}, nil)
	s.pass("cart", 30_000_000, 0, 10*time.Minute) // a budget that lasts
	s.pass("cart", 60_000, 1_000, time.Hour)
	first := s.status("shop/cart")
	if first.State != Burning || first.Severity != Page || !first.Frozen || first.Until != nil {
		t.Fatalf("%+v, want a page whose condition holds", first)
	}
	quiet := 0
	for i := range 40 { // a minute each of 5 and of 28 bad ones of a thousand: over 5 minutes 14.2 or 18.8 times too fast
		s.pass("cart", 1_000, float64(5+23*(i%2)), time.Minute)
		st := s.status("shop/cart")
		if st.State != Burning || st.Since != first.Since || !st.Frozen || st.Severity != Page {
			t.Fatalf("minute %d: %s since %v: %s", i, st.State, st.Since, st.Reason)
		}
		if b := st.Burns[0]; b.Until != nil {
			quiet++
			if !b.Burning || *b.LongBurn > b.Factor && *b.ShortBurn > b.Factor || b.Until.Sub(s.now) > 5*time.Minute {
				t.Fatalf("minute %d: %+v", i, b)
			}
		}
	}
	if quiet < 15 {
		t.Errorf("the condition did not hold at %d of 40 looks: this says nothing", quiet)
	}
	var last Status
	for last = s.status("shop/cart"); last.State == Burning && last.Severity == Page; last = s.status("shop/cart") {
		if last.Until != nil && !strings.Contains(last.Reason, "this ends at") {
			t.Fatalf("%q does not say that it ends", last.Reason)
		}
		if s.pass("cart", 1_000, 0, time.Minute); s.now.Sub(first.Since) > 3*time.Hour {
			t.Fatalf("it never ends: %+v", last)
		}
	}
	if strings.Count(s.log.String(), "to=Burning") != 1 {
		t.Errorf("said more than once:\n%s", s.log.String())
	}
}

// TestAlertsDisagree: one that is only kept beside others whose condition holds, and an exhausted budget that is only
// kept beside one that burns.
func TestAlertsDisagree(t *testing.T) {
	windows, now := BurnWindows(30*24*time.Hour), time.Unix(0, 0)
	bad, fine := events{good: 900, bad: 100}, events{good: 1000}
	judged := func(s *Status, before *alerts, whole events, good ...time.Duration) *Status {
		now = now.Add(time.Second)
		s.judge(windows, before, func(d time.Duration) (events, bool) {
			if slices.Contains(good, d) {
				return fine, true
			}
			return bad, true
		}, whole, true, 0.001, now)
		return s
	}
	var burning, spent Status
	var a, b alerts
	little, much := events{good: 1e6, bad: 1}, events{good: 1000, bad: 10}
	judged(&burning, &a, little)
	s := judged(&burning, &a, little, windows[0].Short, windows[1].Short)
	if s.State != Burning || s.Severity != Page || s.Until != nil || !strings.Contains(s.Reason, "this ends at") {
		t.Errorf("a page is kept, and tickets hold: %+v", s)
	}
	if s := judged(&spent, &b, much); s.State != Exhausted || s.Until != nil {
		t.Errorf("spent: %+v", s)
	}
	if s := judged(&spent, &b, little); s.State != Burning || s.Until != nil {
		t.Errorf("it was spent, and burns: %+v", s)
	}
}

// TestAlertWhileBlind checks that an alert does not end because nobody can tell, and that one begins anew
// when what it asks is something else.
func TestAlertWhileBlind(t *testing.T) {
	s := newSeries(t)
	s.tracker.Plan([]translate.ObjectivePlan{availability(true)}, nil)
	s.pass("cart", 30_000_000, 0, 10*time.Minute)
	s.pass("cart", 60_000, 1_000, time.Hour)
	s.status("shop/cart")
	s.err = errors.New("disk on fire")
	s.now = s.now.Add(30 * time.Minute)
	if st := s.status("shop/cart"); st.State != NoData || !st.Burns[0].Burning || st.Burns[0].Until != nil {
		t.Errorf("blind: %+v", st)
	}
	s.err = nil
	s.pass("cart", 6_000, 0, 6*time.Minute)
	if st := s.status("shop/cart"); st.State != Burning || st.Burns[0].Until == nil {
		t.Errorf("it sees that all is well: %s %+v, want the alert on for a while", st.Reason, st.Burns[0])
	}
	another := availability(true)
	another.Objective = 0.99
	s.tracker.Plan([]translate.ObjectivePlan{another}, nil)
	if st := s.status("shop/cart"); st.State != Healthy {
		t.Errorf("another promise: %s: %s", st.State, st.Reason)
	}
}

// TestExhaustedStays checks that a budget that is just spent does not come and go with each request.
func TestExhaustedStays(t *testing.T) {
	s := newSeries(t)
	s.tracker.Plan([]translate.ObjectivePlan{availability(true)}, nil)
	s.pass("cart", 100_000, 101, time.Hour)
	s.pass("cart", 900, 0, time.Minute)
	if st := s.status("shop/cart"); st.State != Exhausted || st.Until != nil {
		t.Fatalf("%+v, want it exhausted", st)
	}
	s.pass("cart", 1_000, 0, time.Minute)
	if st := s.status("shop/cart"); st.State != Exhausted || !st.Frozen || st.Until == nil || st.Budget.Remaining < 0 || !strings.Contains(st.Reason, "left again") {
		t.Errorf("%s: %s, want it exhausted for a while", st.State, st.Reason)
	}
	s.pass("cart", 1_000, 0, time.Hour)
	if st := s.status("shop/cart"); st.State == Exhausted || st.Until != nil {
		t.Errorf("an hour later: %s: %s", st.State, st.Reason)
	}
}

// TestOneMoment checks that all windows that are shown together are of the same moment, whenever the store
// was asked of each: what is bad in the last five minutes is bad in the last three days.
func TestOneMoment(t *testing.T) {
	s := newSeries(t)
	s.tracker.Plan([]translate.ObjectivePlan{availability(false)}, nil)
	s.pass("cart", 1000, 0, time.Minute)
	s.status("shop/cart")
	for range 40 {
		s.pass("cart", 100, 10, Every)
		st := s.status("shop/cart")
		e, _ := s.tracker.within("shop/cart", 5*time.Minute, s.now, s.tracker.count(s.tracker.objectives[0]))
		if s.now.Sub(s.at[0]) < 5*time.Minute && math.Abs(e.bad-st.Bad) > 1e-6 {
			t.Fatalf("%v bad in 5m, %v in 30d", e.bad, st.Bad)
		}
		for _, b := range st.Burns {
			if s.now.Sub(s.at[0]) < 5*time.Minute && math.Abs(*b.LongBurn-*b.ShortBurn) > 1e-6 {
				t.Fatalf("×%v in %s and ×%v in %s: all of it is five minutes old at most", *b.LongBurn, b.Long, *b.ShortBurn, b.Short)
			}
		}
	}
}
