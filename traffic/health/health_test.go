package health_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir.dev/weir/traffic/health"
)

// play feeds results, + and -, and returns the verdicts after each: H or U.
func play(t health.Thresholds, results string) string {
	var s health.State
	var verdicts strings.Builder
	for _, r := range results {
		s.Observe(r == '+', t)
		verdicts.WriteByte("?HU"[s.Verdict()])
	}
	return verdicts.String()
}

func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		healthy, unhealthy int
		results, want      string
	}{
		{2, 3, "+--+---++", "HHHHHHUUH"}, // the example in State's comment
		{2, 3, "-", "U"},
		{2, 3, "-+-++", "UUUUH"},
		{1, 1, "+-+-", "HUHU"},
		{0, -1, "+-+-", "HUHU"},
		{3, 1, "-++-+++", "UUUUUUH"},
	} {
		if got := play(health.Thresholds{Healthy: test.healthy, Unhealthy: test.unhealthy}, test.results); got != test.want {
			t.Errorf("%d and %d, %s: %s, want %s", test.healthy, test.unhealthy, test.results, got, test.want)
		}
	}
}

// naive is the verdict by the definition: the last time that enough results in a row agreed,
// counting only results from the last turn on.
func naive(t health.Thresholds, results []bool) health.Verdict {
	verdict, since := health.Unknown, 0
	for i, r := range results {
		says, needed := health.Unhealthy, t.Unhealthy
		if r {
			says, needed = health.Healthy, t.Healthy
		}
		run := 0
		for j := i; j >= since && results[j] == r; j-- {
			run++
		}
		if verdict == health.Unknown || says != verdict && run >= needed {
			verdict, since = says, i+1
		}
	}
	return verdict
}

func TestVerdictIsTheDefinitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		thresholds := health.Thresholds{Healthy: rapid.IntRange(1, 4).Draw(t, "healthy"), Unhealthy: rapid.IntRange(1, 4).Draw(t, "unhealthy")}
		results := rapid.SliceOf(rapid.Bool()).Draw(t, "results")
		var s health.State
		for i, r := range results {
			before := s.Verdict()
			turned := s.Observe(r, thresholds)
			if turned != (s.Verdict() != before) {
				t.Fatalf("after %v: says turned %v, from %v to %v", results[:i+1], turned, before, s.Verdict())
			}
			if want := naive(thresholds, results[:i+1]); s.Verdict() != want {
				t.Fatalf("after %v: %v, want %v", results[:i+1], s.Verdict(), want)
			}
		}
	})
}

func TestVerdictsHaveNames(t *testing.T) {
	for v, want := range map[health.Verdict]string{health.Unknown: "unknown", health.Healthy: "healthy", health.Unhealthy: "unhealthy"} {
		if v.String() != want {
			t.Errorf("%d: %q", v, v)
		}
	}
}
