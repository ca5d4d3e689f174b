package release

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Trial is one run of a Rollout whose canary goes bad. The traffic goes on before and after it.
type Trial struct {
	Rollout        Rollout
	Stable, Canary *Version
	Traffic        *Traffic
	Fault          Fault
	Seed           uint64
	// Most is how many requests the canary may have since the first that might have failed: then the
	// trial is over, without a trip.
	Most int
}

// Result is what a trial has found.
type Result struct {
	Tripped bool
	Test    string // that has raised the alarm
	Reason  string
	// Completed is how many requests of the canary had failed when it was taken back, and InFlight how
	// many of its requests were under way, as Weir says it.
	Completed, InFlight int
	// Bad is how many bad answers the canary has given, and Canary how many requests it has had since the
	// first that might have failed, both as the canary itself has counted.
	Bad, Canary int
	Took        time.Duration // from the first bad answer to the last request of the canary
	Visible     int           // answers 5xx, or none, that users got
	After       int           // requests that users sent after it was taken back, and that the canary got all the same
}

// settle is how many requests come after a trip before a trial is over.
const settle = 500

// Run runs it. What ran before has to be over, or is what t has begun itself.
func (t Trial) Run(ctx context.Context) (Result, error) {
	failed := t.Traffic.Failed.Load() + t.Traffic.Broken.Load()
	t.Canary.Play(t.Fault, t.Seed)
	s, err := t.Rollout.Status(ctx)
	if err != nil {
		return Result{}, err
	}
	if s.Phase != "Progressing" {
		if err := t.Rollout.Do(ctx, "start"); err != nil {
			return Result{}, err
		}
	}
	s, err = t.Rollout.Until(ctx, func(s Status) bool {
		return s.Trip != nil && s.Phase == "Aborted" || t.Canary.Seen().Faulty >= t.Most
	})
	if err != nil {
		return Result{}, err
	}
	r := Result{Tripped: s.Trip != nil}
	if !r.Tripped {
		if err := t.Rollout.Do(ctx, "abort"); err != nil {
			return r, err
		}
	}
	if err := t.rest(ctx); err != nil {
		return r, err
	}
	seen := t.Canary.Seen()
	r.Bad, r.Canary = seen.Bad, seen.Faulty
	r.Visible = int(t.Traffic.Failed.Load() + t.Traffic.Broken.Load() - failed)
	if r.Tripped {
		r.Test, r.Reason, r.Completed, r.InFlight = s.Trip.Test.Name, s.Trip.Reason, s.Trip.CanaryFailures, s.Trip.InFlight
		r.Took = max(seen.Last.Sub(seen.FirstBad), 0)
		r.After = t.Canary.SentAfter(s.Trip.At)
	}
	return r, nil
}

// rest waits until so many requests have come after the end that one too many at the canary would show,
// and the canary has none under way.
func (t Trial) rest(ctx context.Context) error {
	from := t.Traffic.Sent.Load()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for t.Traffic.Sent.Load() < from+settle || t.Canary.Seen().InFlight > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("after the trip: %w", errors.Join(context.Cause(ctx), errors.New(t.Traffic.Problem())))
		case <-tick.C:
		}
	}
	return nil
}
