package release

import (
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/guard"
	"weir.dev/weir/traffic/sample"
	"weir.dev/weir/traffic/stats"
)

// hearing is one generation of a release: what was seen of both arms since it began, and the judge
// of it. Requests that began in it belong to it, however long they take.
type hearing struct {
	of              *release
	subject         model.Hash
	run, generation uint64
	judge           *guard.Judge
	late            *lateTable // nil: nothing is tested that takes its time
	since           time.Time
	began           transport.Instant
	firstBad        atomic.Int64 // Unix nanoseconds of the first failure of the canary; 0: none
	trip            atomic.Pointer[model.ReleaseTrip]
	arms            [sides]observed // of stableSide and canarySide
	cohorts         []cohort
}

// cohort is what was seen of one cohort.
type cohort struct {
	name             string
	requests, failed atomic.Uint64
}

// observed is what was seen of one arm, cohorts excluded.
type observed struct {
	cells   []tally // by shard
	users   sample.Seen
	turns   *turns // nil: each request is tested
	latency *stats.Latencies
	took    stats.Counts // under Set.mu
}

// tally is one shard's part, alone on its cache line.
type tally struct {
	requests, firstFailed, failed, rescued, excluded, tested, slow atomic.Uint64
	inFlight                                                       atomic.Int64
}

// testEvery is how often a user of an arm is tested: failures of one are not independent of each other,
// and package guard takes outcomes for independent.
const testEvery = 10 * time.Second

func newHearing(rel *release, m *model.Release, k *model.ReleaseKnob) *hearing {
	shards := rel.of.shards
	t := &hearing{
		of: rel, subject: k.Subject, run: k.Run, generation: k.Generation,
		judge: guard.New(m.Guard, shards),
		since: time.Now(), began: transport.Now(),
	}
	for side := stableSide; side < sides; side++ {
		a := &t.arms[side]
		a.cells, a.latency = make([]tally, shards), stats.NewLatencies(shards)
		if m.Sampling.Unit != model.SampleRequests {
			a.turns = new(turns)
		}
	}
	for _, c := range m.Cohorts {
		t.cohorts = append(t.cohorts, cohort{name: c.Name})
	}
	if m.Guard.Latency != nil && k.Running {
		t.late = newLateTable(t, shards)
	}
	return t
}

// turns says when a request of each user was tested last, by sample.User.Number: four to a word, each counted
// in testEvery, modulo 255, from 1. So of users who share a number, or of whom one asks at
// the very moment of another, one goes untested.
type turns [model.Numbers / 4]atomic.Uint32

// turn reports whether a request of a user that begins now is tested: the first one in each testEvery. That
// time begins a little later for each number than for the one before, so that tests do not come all at once.
func (t *hearing) turn(s role, user sample.User, now transport.Instant) bool {
	turns := t.arms[s].turns
	if turns == nil {
		return true
	}
	n := user.Number()
	since := max(now.Sub(t.began), 0) + time.Duration(n)*(testEvery/model.Numbers)
	present, word, shift := uint32(since/testEvery%255)+1, &turns[n/4], n%4*8
	old := word.Load()
	return old>>shift&0xff != present && word.CompareAndSwap(old, old&^(0xff<<shift)|present<<shift)
}

// cohort returns the cohort with the name; nil if there is none.
func (t *hearing) cohort(name string) *cohort {
	for i := range t.cohorts {
		if c := &t.cohorts[i]; c.name == name {
			return c
		}
	}
	return nil
}

func (s *observed) cell(shard int) *tally { return &s.cells[uint(shard)%uint(len(s.cells))] }

// judged takes the canary's side of a verdict: what proves that it is worse ends it.
func (t *hearing) judged(tripped bool) {
	if tripped {
		t.of.trip(t)
	}
}

// over reports whether the canary has tripped.
func (t *hearing) over() bool { return t.trip.Load() != nil }

// sum adds up what the shards counted of an arm.
func (s *observed) sum() model.ArmObservation {
	var o model.ArmObservation
	var rescued uint64
	for i := range s.cells {
		c := &s.cells[i]
		o.Requests += c.requests.Load()
		o.InFlight += c.inFlight.Load()
		o.FirstFailed += c.firstFailed.Load()
		o.Failed += c.failed.Load()
		rescued += c.rescued.Load()
		o.Excluded += c.excluded.Load()
		o.Tested += c.tested.Load()
		o.Slow += c.slow.Load()
	}
	o.Failed -= min(rescued, o.Failed)
	o.Users = s.users.Count()
	return o
}

// tripped says why the hearing has tripped just now. It is called with Set.mu held.
func (t *hearing) tripped() *model.ReleaseTrip {
	why, _ := t.judge.Tripped()
	o := t.arms[canarySide].sum()
	since := o.Failed - min(o.Failed, why.Failed) // those were under way as it was decided
	trip := &model.ReleaseTrip{
		At: time.Now(), Test: why.Test, Reason: why.Reason, CanaryFailures: o.Failed - since, InFlight: max(o.InFlight, 0) + int64(since),
	}
	if at := t.firstBad.Load(); at != 0 {
		trip.First = time.Unix(0, at)
	}
	return trip
}

// observe says what was seen so far. It is called with Set.mu held.
func (t *hearing) observe() model.ReleaseObservation {
	o := model.ReleaseObservation{
		Release: t.of.name, Subject: t.subject, Run: t.run, Generation: t.generation, Since: t.since,
		Stable: t.arm(stableSide), Canary: t.arm(canarySide), Tests: t.judge.Observe(),
		StableUnhealthy: t.judge.Unhealthy(), Trip: t.trip.Load(),
	}
	for i := range t.cohorts {
		c := &t.cohorts[i]
		o.Cohorts = append(o.Cohorts, model.CohortObservation{Name: c.name, Requests: c.requests.Load(), Failed: c.failed.Load()})
	}
	return o
}

func (t *hearing) arm(s role) model.ArmObservation {
	a := &t.arms[s]
	o := a.sum()
	a.latency.Drain(&a.took)
	o.P50, o.P95, o.P99 = a.took.Quantile(0.5), a.took.Quantile(0.95), a.took.Quantile(0.99)
	return o
}
