package retry

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
)

const ms = time.Millisecond

// policy is a TrafficPolicy's retries with the default backoff.
func policy(attempts int) *model.Retry {
	return &model.Retry{Attempts: attempts, On: []model.RetryOn{}, BackoffBase: 25 * ms, BackoffMax: 250 * ms}
}

func TestSums(t *testing.T) {
	for name, c := range map[string]struct {
		timeouts                          model.Timeouts
		retry                             *model.Retry
		contradiction, lateness, shortage string
		reachable                         int
		worst                             time.Duration
	}{
		"the issue's bad one": {
			model.Timeouts{Request: 2 * time.Second, PerTry: 700 * ms},
			policy(5),
			"5 tries × 700ms + backoff = 3.5s or more before the 6th, request is 2s", "", "", 3, 2 * time.Second,
		},
		"the issue's good one": {
			model.Timeouts{Request: 2 * time.Second, PerTry: 700 * ms},
			policy(2),
			"", "", "1.4s + 700ms = 2.1s, request is 2s: the 3rd try is cut short", 3, 2 * time.Second,
		},
		"exactly at the end": {
			model.Timeouts{Request: 700 * ms, PerTry: 700 * ms},
			policy(1),
			"1 try × 700ms + backoff = 700ms or more before the 2nd, request is 700ms", "", "", 1, 700 * ms,
		},
		"only the longest backoff is too long": {
			model.Timeouts{Request: 720 * ms, PerTry: 700 * ms},
			policy(1),
			"", "1 × 700ms + backoff = between 700ms and 725ms before the 2nd, request is 720ms", "700ms + 700ms = 1.4s, request is 720ms: the 2nd try is cut short", 2, 720 * ms,
		},
		"a rule's own retry waits at least its backoff": {
			model.Timeouts{Request: time.Second, PerTry: 100 * ms},
			&model.Retry{Attempts: 5, Backoff: 100 * ms},
			"5 tries × 100ms + backoff = 1s or more before the 6th, request is 1s", "", "", 5, time.Second,
		},
		"no time for one try": {model.Timeouts{Request: 5 * time.Second}, policy(5), "", "", "", 6, 5 * time.Second},
		"no time at all":      {model.Timeouts{}, policy(5), "", "", "", 6, 0},
		"no end of the whole": {model.Timeouts{PerTry: 700 * ms}, policy(2), "", "", "", 3, 2175 * ms},
		"no retries":          {model.Timeouts{Request: 2 * time.Second, PerTry: 700 * ms}, nil, "", "", "", 1, 700 * ms},
		"beyond what a duration holds": {
			model.Timeouts{Request: time.Second, PerTry: 99999 * time.Hour},
			&model.Retry{Attempts: math.MaxInt32, Backoff: time.Hour},
			"2147483647 tries × 99999h0m0s + backoff = 2562047h47m16.854775807s or more before the 2147483648th, request is 1s", "", "", 1, time.Second,
		},
	} {
		if got := Contradiction(c.timeouts, c.retry); got != c.contradiction {
			t.Errorf("%s: contradiction %q, want %q", name, got, c.contradiction)
		}
		if got := Lateness(c.timeouts, c.retry); got != c.lateness {
			t.Errorf("%s: lateness %q, want %q", name, got, c.lateness)
		}
		if got := Shortage(c.timeouts, c.retry); got != c.shortage {
			t.Errorf("%s: shortage %q, want %q", name, got, c.shortage)
		}
		if got := Reachable(c.timeouts, c.retry); got != c.reachable {
			t.Errorf("%s: %d can start, want %d", name, got, c.reachable)
		}
		worst, bounded := WorstCase(c.timeouts, c.retry)
		if worst != c.worst || bounded != (c.worst > 0) {
			t.Errorf("%s: worst case %v, bounded %v; want %v", name, worst, bounded, c.worst)
		}
	}
}

// TestPause: the bounds double up to the highest, and no shift goes beyond a duration.
func TestPause(t *testing.T) {
	r := policy(64)
	for n, want := range map[int]time.Duration{1: 25 * ms, 2: 50 * ms, 4: 200 * ms, 5: 250 * ms, 64: 250 * ms, 1000: 250 * ms} {
		if _, got := Pause(r, n); got != want {
			t.Errorf("before retry %d at most %v, want %v", n, got, want)
		}
	}
	if shortest, longest := Pause(&model.Retry{Backoff: 10 * ms}, 3); shortest != 10*ms || longest != 20*ms {
		t.Errorf("a rule's own: %v to %v", shortest, longest)
	}
}

// TestNoTryStartsLater: whatever the tries take and the waits are within their bounds, no try
// starts outside of what Tries says, and what never starts does not when all tries take all
// their time.
func TestNoTryStartsLater(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := func(name string, most int) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(t, name)) * ms
		}
		timeouts := model.Timeouts{Request: length("request", 5000), PerTry: length("perTry", 2000)}
		r := &model.Retry{Attempts: rapid.IntRange(0, 10).Draw(t, "attempts"), BackoffBase: length("base", 100), BackoffMax: length("max", 500), Backoff: length("backoff", 50)}
		if rapid.Bool().Draw(t, "policy") {
			r.On = []model.RetryOn{}
		}
		if timeouts.PerTry == 0 {
			timeouts.PerTry = ms
		}
		at := time.Duration(0)
		for i, try := range Tries(timeouts, r) {
			if i > 0 {
				shortest, longest := Pause(r, i)
				at += timeouts.PerTry + shortest
				if longest > shortest {
					at += time.Duration(rapid.Int64Range(0, int64(longest-shortest)).Draw(t, "wait"))
				}
			}
			if at < try.Earliest || at > try.Latest {
				t.Fatalf("try %d starts at %v, which is not within %v and %v", i, at, try.Earliest, try.Latest)
			}
			if try.Never && at < timeouts.Request {
				t.Fatalf("try %d starts at %v, and was said never to", i, at)
			}
			if timeouts.Request > 0 && !try.Late && at >= timeouts.Request {
				t.Fatalf("try %d would start at %v, and was said always to start", i, at)
			}
		}
	})
}

func TestAmplification(t *testing.T) {
	r := policy(3)
	r.Hedge = &model.Hedge{Max: 2}
	if got := Most(r); got != 6 {
		t.Errorf("at most %d tries, want 6", got)
	}
	if got := Most(nil); got != 1 {
		t.Errorf("without retries %d tries", got)
	}
	for failing, want := range map[float64]float64{0: 1, 0.1: 1.111, 0.5: 1.875, 1: 4} {
		if got := Expected(r, failing); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v of tries fail: %v tries, want %v", failing, got, want)
		}
	}
	b := &model.RetryBudget{Share: 0.2, MinPerSecond: 3}
	for rate, want := range map[float64]float64{0: 1.2, 1: 4.2, 10: 1.5, 1000: 1.203} {
		if got := Ceiling(b, rate); math.Abs(got-want) > 1e-9 {
			t.Errorf("at %v a second %v, want %v", rate, got, want)
		}
	}
	for _, mode := range []model.Mode{model.ModeObserve, model.ModeDisabled} {
		watched := &model.RetryBudget{Mode: mode}
		if got := Ceiling(watched, 10); !math.IsInf(got, 1) || Stricter(watched, b, 10) != b || Stricter(b, watched, 10) != b || Stricter(watched, nil, 10) != nil {
			t.Errorf("a budget bounds something under %s", mode)
		}
		if got := Most(&model.Retry{Attempts: 2, Hedge: &model.Hedge{Max: 3, Mode: mode}}); got != 3 {
			t.Errorf("%d tries with a hedge under %s", got, mode)
		}
	}
	if got := Ceiling(nil, 10); !math.IsInf(got, 1) {
		t.Errorf("without a budget %v", got)
	}
	// Which is stricter depends on the rate.
	floor := &model.RetryBudget{Share: 0.1, MinPerSecond: 100}
	if Stricter(b, floor, 1) != b || Stricter(floor, b, 1e6) != floor || Stricter(nil, b, 0) != b || Stricter(b, nil, 0) != b {
		t.Error("not the stricter one")
	}
}
