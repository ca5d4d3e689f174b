package release

import (
	"strings"
	"testing"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/guard"
)

// TestTwoKnobsForOne: whoever says two things of a release has decided nothing.
func TestTwoKnobsForOne(t *testing.T) {
	l := newLaunch(t)
	if err := l.tune(knob(1, 1, 10000), knob(1, 2, 5000), knob(1, 3, 5000)); err == nil || !strings.Contains(err.Error(), testRelease) {
		t.Errorf("error %v", err)
	}
	if got := l.ask("X-User: ann\n", guard.Good); got != "stable" || len(l.set.Observe()) != 0 {
		t.Errorf("served by %s", got)
	}
}

// TestTripIsTold: whoever waits for it hears of it once, and knobs and edits of the run leave it as it is.
func TestTripIsTold(t *testing.T) {
	l := newLaunch(t, knob(2, 3, 5000))
	if l.fail(4); l.seen().Trip != nil {
		t.Fatal("four failures are enough")
	}
	l.fail(5)
	select {
	case <-l.set.Trips():
	default:
		t.Fatal("nobody is told")
	}
	trip := l.seen().Trip
	if trip == nil || trip.Test.Name != "consecutiveFailures" || trip.CanaryFailures != 5 || trip.First.IsZero() {
		t.Fatalf("%+v", trip)
	}
	lost := func(what string) {
		t.Helper()
		if got := l.ask("X-User: ann\nX-Weir-Arm: "+testRelease+"=canary\n", guard.Good); got != "stable" || l.seen().Trip != trip {
			t.Errorf("%s: at %s, %+v", what, got, l.seen().Trip)
		}
	}
	lost("after the trip")
	for _, k := range []model.ReleaseKnob{knob(2, 2, 9000), knob(1, 9, 9000), knob(2, 4, 9000)} {
		if err := l.tune(k); err != nil {
			t.Fatal(err)
		}
		lost("with another knob")
	}
	l.compile(func(s *model.Split) { s.Release.Guard = model.Guard{} })
	lost("with another guard")
	if err := l.tune(knob(3, 1, 10000)); err != nil {
		t.Fatal(err)
	}
	if got := l.ask("X-User: ann\n", guard.Good); got != "canary" || l.seen().Trip != nil {
		t.Errorf("a new run: at %s", got)
	}
}

// TestForgotten: what neither a route nor a knob has is forgotten, and not before.
func TestForgotten(t *testing.T) {
	l := newLaunch(t, knob(1, 1, 5000))
	without := &model.Snapshot{}
	if l.set.Retain(without); len(l.set.Observe()) != 0 || len(l.set.States()) != 1 {
		t.Errorf("without a route: %+v", l.set.States())
	}
	if err := l.tune(); err != nil {
		t.Fatal(err)
	}
	if n := len(l.set.States()); n != 0 {
		t.Errorf("%d releases are remembered", n)
	}
	l.compile(func(*model.Split) {})
	if l.set.Retain(without); len(l.set.States()) != 0 {
		t.Errorf("without a knob: %+v", l.set.States())
	}
}
