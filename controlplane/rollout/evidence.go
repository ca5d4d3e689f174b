package rollout

import (
	"time"

	"weir.dev/weir/model"
)

// Counts is what was seen of a stage by observations that are no longer the last one: of earlier
// generations, or of a proxy that has begun anew.
type Counts struct{ Stable, Canary ArmCounts }

// ArmCounts are requests of one arm.
type ArmCounts struct {
	Requests, FirstFailed, Failed, Excluded uint64
	Users                                   uint64 // the most that one observation has seen
}

func (c *ArmCounts) add(a *model.ArmObservation) {
	done := a.Requests
	if a.InFlight > 0 {
		done -= min(done, uint64(a.InFlight)) // they are heard of again, or never
	}
	c.Requests += done
	c.FirstFailed += a.FirstFailed
	c.Failed += a.Failed
	c.Excluded += a.Excluded
	c.Users = max(c.Users, a.Users)
}

// said is how many requests say something about the arm.
func (c *ArmCounts) said() uint64 { return c.Requests - min(c.Requests, c.Excluded) }

// counts are those of the whole stage so far.
func (r *Rollout) counts() Counts {
	c := r.Counted
	if r.Seen != nil {
		c.Stable.add(&r.Seen.Stable)
		c.Canary.add(&r.Seen.Canary)
	}
	return c
}

// fold counts what was seen last for good, because the next observation begins from nothing.
func (r *Rollout) fold() {
	r.Counted, r.Seen, r.live = r.counts(), nil, false
}

// observed takes note of what a proxy has seen. What is older than what was seen before is passed over.
func (r *Rollout) observed(o *model.ReleaseObservation) {
	if r.Run == 0 || o.Subject != r.Subject || o.Run < r.Run {
		return
	}
	if o.Run > r.Run || o.Generation > r.Generation { // decided when a disk was full, and forgotten since
		r.Generation = o.Generation
		r.Run = o.Run
		r.fold()
		r.divide(r.Share)
	}
	// A trip of any generation of the run counts, because the canary was as bad then. One that came while
	// the end of the last stage was being written down does, too.
	if o.Trip != nil && (r.Phase.running() || r.Phase == Succeeded) {
		r.tripped(o)
		return
	}
	if o.Generation != r.Generation || !r.Phase.running() {
		return
	}
	if s := r.Seen; s != nil {
		same := o.Since.Equal(s.Since)
		switch {
		case same && behind(o, s), r.live && o.Since.Before(s.Since):
			return
		case !same: // after a restart the clock may show less than before
			r.fold()
		}
	}
	if r.Seen == nil {
		r.dirty = true
	}
	seen := *o
	r.Seen, r.live, r.seenAt = &seen, true, r.clock
}

// behind reports whether an observation was made before another of the same proxy and generation.
func behind(o, s *model.ReleaseObservation) bool {
	return o.Stable.Requests < s.Stable.Requests || o.Canary.Requests < s.Canary.Requests
}

func (r *Rollout) tripped(o *model.ReleaseObservation) {
	if o.Generation == r.Generation {
		seen := *o
		r.Seen = &seen
	}
	trip := *o.Trip
	r.Trip = &trip
	r.end(Aborted, "tripped", byProxy, &Signal{"guard", trip.Reason})
}

// unsound says why the present time does not count for the stage; nil: it does.
func (r *Rollout) unsound() *Signal {
	switch {
	case !r.live && r.clock-r.seenAt < staleAfter:
		return &Signal{"telemetry", sentence("no proxy has told of generation %d of run %d yet", r.Generation, r.Run)}
	case !r.live:
		return &Signal{"telemetry", sentence("no proxy has told of generation %d of run %d for %v", r.Generation, r.Run, (r.clock - r.seenAt).Round(time.Second))}
	case r.clock-r.seenAt > staleAfter:
		return &Signal{"telemetry", sentence("nothing was heard from proxies for %v", (r.clock - r.seenAt).Round(time.Second))}
	case r.Seen.StableUnhealthy:
		return &Signal{"stable", "stable fails too, so that nothing can be said of the canary: " + r.numbers()}
	}
	return nil
}

// thin says of which arm too little is known; nil: enough is of both.
func (r *Rollout) thin() *Signal {
	if r.Share == 0 {
		return nil // cohorts are not counted
	}
	c, want := r.counts(), uint64(max(r.plan.MinimumRequests, 1))
	if c.Canary.said() >= want && (r.Share == model.Buckets || c.Stable.said() >= want) {
		return nil
	}
	return &Signal{"requests", sentence("of %d requests that are wanted of each arm in this stage, the canary has had %d and stable %d",
		want, c.Canary.said(), c.Stable.said())}
}
