package balance

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestShareOfFailuresWorkedExample(t *testing.T) {
	var l Load
	if got := l.Failing(1); got != 0 {
		t.Errorf("untried: %v", got)
	}
	for range 5 {
		l.Fail(0, time.Millisecond)
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.005 {
			t.Errorf("%s: %.3f, want %.3f", what, got, want)
		}
	}
	near("after five failures", l.Failing(0), 0.41)
	later := int64(10 * time.Second)
	near("ten seconds later", l.Failing(later), 0.15)
	l.Observe(later, time.Millisecond)
	near("and a success", l.Failing(later), 0.135)
	for range 40 {
		l.Observe(later, time.Millisecond)
	}
	if got := l.failing.packed.Load(); got != 0 {
		t.Errorf("after many successes there is still %x to look at", got)
	}
}

func TestShareOfFailuresStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Load
		now := int64(0)
		for _, step := range rapid.SliceOf(rapid.Uint32()).Draw(t, "steps") {
			now += int64(step) * 1000
			if step%3 == 0 {
				l.Observe(now, time.Millisecond)
			} else {
				l.Fail(now, time.Millisecond)
			}
			if p := l.Failing(now); p < 0 || p > 1 || step%3 != 0 && p < 0.0999 {
				t.Fatalf("a share of %v", p)
			}
		}
	})
}

func TestLeastRequestLosesForFailures(t *testing.T) {
	hosts := hostsOf(1, 1)
	set := func(h Host, share float64) { h.Load.failing.packed.Store(pack(share, 0)) }
	set(hosts[0], 0.9)
	set(hosts[1], 0.1)
	flight(hosts[1], 50) // the other one is idle
	p := NewLeastRequest(hosts)
	second := 0
	const picks = 100_000
	for i := range uint64(picks) {
		second += p.Pick(Request{Random: mix(i), Now: 1})
	}
	if got := float64(second) / picks; math.Abs(got-0.76) > 0.01 {
		t.Errorf("the host that fails less gets %.3f of the requests, want 0.76", got)
	}
	for i := range uint64(100) {
		if p.Pick(Request{Random: mix(i)}) != 0 {
			t.Fatal("failures count without the time")
		}
	}
}

// attracted returns the part of the requests that a host gets that fails after a millisecond,
// beside four that answer after twenty, of 2,000 requests a second.
func attracted(t *testing.T, p func([]Host) Picker) float64 {
	t.Helper()
	hosts := hostsOf(1, 1, 1, 1, 1)
	picker := p(hosts)
	type end struct {
		at   int64
		host int
	}
	var ends []end
	failed := 0
	const requests = 40_000
	for i := range uint64(requests) {
		now := int64(time.Second) + int64(i)*int64(500*time.Microsecond)
		ends = slices.DeleteFunc(ends, func(e end) bool {
			if e.at > now {
				return false
			}
			l := hosts[e.host].Load
			if l.End(); e.host == 0 {
				l.Fail(now, time.Millisecond)
			} else {
				l.Observe(now, 20*time.Millisecond)
			}
			return true
		})
		at := picker.Pick(Request{Random: mix(i), Now: now})
		took := 20 * time.Millisecond
		if at == 0 {
			failed, took = failed+1, time.Millisecond
		}
		hosts[at].Load.Begin()
		ends = append(ends, end{now + int64(took), at})
	}
	return float64(failed) / requests
}

func TestFastFailuresAttractNothing(t *testing.T) {
	for name, p := range map[string]func([]Host) Picker{
		"LeastRequest": func(h []Host) Picker { return NewLeastRequest(h) },
		"PeakEWMA":     func(h []Host) Picker { return NewPeakEWMA(h) },
	} {
		if got := attracted(t, p); got > 0.05 {
			t.Errorf("%s: the host that fails fast gets %.3f of the requests, and evenly it would be 0.2", name, got)
		}
	}
}
