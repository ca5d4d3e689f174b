package rollout

import (
	"slices"
	"time"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// Counts is what was seen of a stage by observations that are no longer the last one: of earlier
// generations, or of a proxy that has begun anew.
type Counts struct {
	Stable, Canary ArmCounts
	Cohorts        []model.CohortObservation `json:",omitempty"`
}

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

// empty reports whether nothing was seen.
func (c *Counts) empty() bool {
	return c.Stable.Requests == 0 && c.Canary.Requests == 0 &&
		!slices.ContainsFunc(c.Cohorts, func(o model.CohortObservation) bool { return o.Requests > 0 })
}

// addCohorts adds up by name.
func (c *Counts) addCohorts(list []model.CohortObservation) {
	c.Cohorts = slices.Clone(c.Cohorts)
	for _, o := range list {
		at := slices.IndexFunc(c.Cohorts, func(known model.CohortObservation) bool { return known.Name == o.Name })
		if at < 0 {
			c.Cohorts = append(c.Cohorts, o)
			continue
		}
		c.Cohorts[at].Requests += o.Requests
		c.Cohorts[at].Failed += o.Failed
	}
}

// said is how many requests say something about the arm.
func (c *ArmCounts) said() uint64 { return c.Requests - min(c.Requests, c.Excluded) }

// counts are those of the whole stage so far.
func (r *Rollout) counts() Counts {
	c := r.Counted
	if r.Seen != nil {
		c.Stable.add(&r.Seen.Stable)
		c.Canary.add(&r.Seen.Canary)
		c.addCohorts(r.Seen.Cohorts)
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
	first, seen := r.Seen == nil, *o
	r.Seen, r.live, r.seenAt = &seen, true, r.clock
	if first || r.clock-r.saved >= saveEvery && r.plan != nil && r.thin() != nil { // then it is requests that the stage waits for
		r.dirty = true
	}
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
	c, want := r.counts(), uint64(max(r.plan.MinimumRequests, 1))
	if r.Share == 0 {
		return r.unseen(&c, want)
	}
	if c.Canary.said() >= want && (r.Share == model.Buckets || c.Stable.said() >= want) {
		return nil
	}
	return &Signal{"requests", sentence("of %d requests that are wanted of each arm in this stage, the canary has had %d and stable %d",
		want, c.Canary.said(), c.Stable.said())}
}

// unseen says what gates alone lack to give the canary everything at once: what nobody has tried is not
// known to be good because nothing is known against it. nil: nothing, or a person decides.
func (r *Rollout) unseen(c *Counts, want uint64) *Signal {
	gates := r.plan.Gates
	if r.plan.Strategy != translate.StrategyBlueGreen || len(gates) == 0 || slices.ContainsFunc(gates, func(g translate.PlannedGate) bool { return len(g.Approval) > 0 }) {
		return nil
	}
	had, failed := c.Canary.said(), c.Canary.Failed // of callers that have chosen it
	for _, o := range c.Cohorts {
		had, failed = had+o.Requests, failed+o.Failed
	}
	switch {
	case had >= want:
		return nil
	case had == 0 && len(r.plan.Release.Cohorts) == 0:
		return &Signal{"requests", sentence("gates alone make the switch after %d requests of cohorts, and there are no cohorts: add some, an approval gate, or promote it", want)}
	}
	return &Signal{"requests", sentence("of %d requests of cohorts that gates alone want before the switch, the canary has had %d, %d of which failed", want, had, failed)}
}
