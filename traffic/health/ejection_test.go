package health

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
)

func TestCeilingWorkedExample(t *testing.T) {
	for hosts, want := range []int{0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 3} {
		if got := Ceiling(&model.Outlier{MaxEjected: 0.3}, hosts); hosts > 0 && got != want {
			t.Errorf("of %d hosts %d, want %d", hosts, got, want)
		}
	}
	for _, tc := range []struct {
		share       float64
		most, hosts int
		want        int
	}{{0, 0, 10, 0}, {1, 0, 10, 10}, {1, 3, 10, 3}, {0.1, 3, 10, 1}, {0.29, 0, 100, 29}, {1, 5, 2, 2}} {
		if got := Ceiling(&model.Outlier{MaxEjected: tc.share, MaxEjectedHosts: tc.most}, tc.hosts); got != tc.want {
			t.Errorf("%+v: %d", tc, got)
		}
	}
}

func seconds(n int) int64 { return int64(n) * int64(time.Second) }

func TestEjectionWorkedExample(t *testing.T) {
	o := &model.Outlier{Consecutive5xx: 1, BaseEjection: 30 * time.Second, MaxEjection: 300 * time.Second}
	var e Ejection
	now := seconds(1000)
	for i := range 12 {
		e.Begin(now, Consecutive5xx, o, 0)
		lasts := seconds(30 * min(i+1, 10))
		if !e.Out() || e.Until() != now+lasts || e.Rule() != Consecutive5xx {
			t.Fatalf("ejection %d lasts %v, want %v", i+1, time.Duration(e.Until()-now), time.Duration(lasts))
		}
		if e.Over(e.Until()-1, o) || !e.Over(e.Until(), o) {
			t.Fatal("it is over at another time")
		}
		now = e.Until()
		if e.End(now); e.Out() || e.Until() != 0 || e.Over(now, o) {
			t.Fatal("it is not over")
		}
	}
	if got := e.Times(now+seconds(60), o); got != 8 {
		t.Errorf("a minute later %d ejections count, want 8", got)
	}
	now += seconds(300)
	if got := e.Times(now, o); got != 0 {
		t.Errorf("five minutes later %d ejections count", got)
	}
	if e.Begin(now, Consecutive5xx, o, 0); e.Until() != now+seconds(30) {
		t.Errorf("the next one lasts %v", time.Duration(e.Until()-now))
	}
}

// TestEjectionGrowsByWholeSteps: the longest one need not be a multiple of the first.
func TestEjectionGrowsByWholeSteps(t *testing.T) {
	o := &model.Outlier{Consecutive5xx: 1, BaseEjection: 30 * time.Second, MaxEjection: 100 * time.Second}
	var e Ejection
	now := seconds(1000)
	for i, want := range []int{30, 60, 90, 100, 100} {
		if e.Begin(now, Consecutive5xx, o, 0); e.Until() != now+seconds(want) {
			t.Errorf("ejection %d lasts %v, want %ds", i+1, time.Duration(e.Until()-now), want)
		}
		now = e.Until()
		e.End(now)
	}
}

// TestComparedHostsMakeUpSlowly: good service counts by intervals where those are longer.
func TestComparedHostsMakeUpSlowly(t *testing.T) {
	o := &model.Outlier{SlowerThanMedian: 3, Interval: time.Minute, BaseEjection: time.Second, MaxEjection: time.Hour}
	var e Ejection
	e.Begin(0, SlowerThanMedian, o, 0)
	e.End(seconds(1))
	if e.Begin(seconds(61), SlowerThanMedian, o, 0); e.Until() != seconds(63) {
		t.Errorf("the second one ends at %v", time.Duration(e.Until()))
	}
}

func TestEjectionFollowsItsRules(t *testing.T) {
	o := model.Outlier{Consecutive5xx: 1, BaseEjection: time.Minute, MaxEjection: time.Hour}
	var e Ejection
	e.Begin(0, Consecutive5xx, &o, 0)
	off := o
	off.Consecutive5xx, off.ConsecutiveLocal = 0, 5
	if !e.Over(1, &off) {
		t.Error("an ejection outlives its rule")
	}
	shorter := o
	shorter.BaseEjection, shorter.MaxEjection = time.Second, 2*time.Second
	if e.Over(seconds(1), &shorter) || !e.Over(seconds(2), &shorter) {
		t.Error("an ejection outlives the longest one")
	}
}

// TestEjectionsEnd: under any history an ejection lasts from BaseEjection to MaxEjection, and no
// time counts for more than the host has been ejected.
func TestEjectionsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		duration := func(most time.Duration, name string) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(most)).Draw(t, name))
		}
		o := &model.Outlier{Consecutive5xx: 1, Interval: duration(time.Minute, "interval"), BaseEjection: duration(time.Minute, "base"), MaxEjection: duration(time.Hour, "max")}
		base := max(o.BaseEjection, 1)
		longest := max(o.MaxEjection, base)
		var e Ejection
		now := int64(0)
		for n := 1; n < 30; n++ {
			before := e.Times(now, o)
			e.Begin(now, Consecutive5xx, o, rapid.Uint64Range(0, math.MaxUint64).Draw(t, "random"))
			if lasts := time.Duration(e.Until() - now); lasts < base || lasts > longest {
				t.Fatalf("ejection %d lasts %v, of %v to %v", n, lasts, base, longest)
			}
			if got := e.Times(now, o); got > before+1 || got > n || got < 1 {
				t.Fatalf("%d ejections count, before %d", got, before)
			}
			now = e.Until()
			if !e.Over(now, o) {
				t.Fatal("it does not end")
			}
			e.End(now)
			now += int64(duration(10*time.Minute, "served"))
		}
	})
}
