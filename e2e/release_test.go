package e2e_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"weir.dev/weir/bench/release"
)

// testRate is how many requests a second come in these tests: what two cores carry that build and run other
// tests with the race detector meanwhile. `make bench` has 2,000.
const testRate = 500

// badRelease is how a canary goes bad, and what comes of it.
type badRelease struct {
	name, guard string
	times       release.Times
	fault       release.Fault
	trials      int
	most        int // requests of the canary
	completed   int // failures before it is taken back, at most
	spared      bool
}

const strictGuard = "{errors: {maxDifference: 0%, confidence: 99.9%}, consecutiveFailures: 5}"

// TestReleaseGoesBad has canaries fail under traffic, and counts at the canary and at the users what that
// costs, before it is taken back and after.
func TestReleaseGoesBad(t *testing.T) {
	t.Parallel()
	for _, c := range []badRelease{
		// A good answer that was under way when the others began to fail may end the first row of five.
		{name: "everything fails", guard: anyGuard, fault: release.Fault{After: 50, Share: 1}, trials: 3, most: 50, completed: 9},
		{name: "a twentieth fails", guard: strictGuard, fault: release.Fault{After: 50, Share: 0.05}, trials: 3, most: 1000, completed: 50},
		{name: "a hundredth may fail", guard: anyGuard, fault: release.Fault{After: 50, Share: 0.01}, trials: 1, most: 600, spared: true},
	} {
		t.Run(c.name, c.try)
	}
}

// TestReleaseSlows is TestReleaseGoesBad for one that becomes slow, by more than a busy machine slows both down.
func TestReleaseSlows(t *testing.T) {
	badRelease{
		guard: `{latency: {quantile: p99, maxRatio: "1.5", confidence: 99.9%}}`,
		times: release.Times{Median: 10 * time.Millisecond, Spread: 0.5}, fault: release.Fault{After: 50, Tail: 30}, trials: 1, most: 4000,
	}.try(t)
}

func (c badRelease) try(t *testing.T) {
	r := startRelease(t, 20_000, swap(t, anyGuard, c.guard))
	r.retime(t, c.times)
	r.order(t, "abort")
	traffic := release.Load{Address: r.front, Users: r.users, Rate: testRate, Seed: 1}.Begin(t.Context())
	defer traffic.Stop()
	for i := range c.trials {
		trial := release.Trial{
			Rollout: r.Rollout, Stable: r.stable, Canary: r.canary, Traffic: traffic, Fault: c.fault, Seed: uint64(i) + 1, Most: c.most,
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*patience, errors.New("it takes too long"))
		got, err := trial.Run(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", got)
		if got.Tripped == c.spared {
			t.Errorf("trial %d: taken back: %v (%s) after %d bad answers among %d requests", i, got.Tripped, got.Reason, got.Bad, got.Canary)
		}
		if c.completed > 0 && got.Completed > c.completed {
			t.Errorf("trial %d: %d failures were completed before it was taken back, want at most %d", i, got.Completed, c.completed)
		}
		if got.After > 0 {
			t.Errorf("trial %d: %d requests that users sent after it was taken back came to the canary", i, got.After)
		}
		if got.Tripped && got.Visible > got.Bad {
			t.Errorf("trial %d: users saw %d failures, and the canary gave %d bad answers", i, got.Visible, got.Bad)
		}
	}
	traffic.Stop()
	if traffic.Broken.Load() > 0 {
		t.Errorf("%d requests had no answer: %s", traffic.Broken.Load(), traffic.Problem())
	}
}

// retime gives both versions another time that they take to answer.
func (r *releasing) retime(t *testing.T, times release.Times) {
	t.Helper()
	r.stable.Take(times)
	r.canary.Take(times)
}
