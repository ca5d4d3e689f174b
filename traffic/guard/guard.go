// Package guard tests a canary against stable, on every outcome: sequential tests that may be
// looked at after each of them, as long as one likes, and still raise a false alarm no more often
// than was asked for. It is arithmetic and counters: what a request, a user or a share is, and
// what is done about an alarm, is not its business, and it has no clock.
//
// docs/guard.md explains it and shows its figures, which are simulated by the tests here.
package guard

import (
	"math"
	"sync"

	"weir.dev/weir/model"
)

// Verdict is what one outcome says to one test.
type Verdict uint8

// The verdicts.
const (
	None Verdict = iota // nothing: it is not counted
	Good
	Bad
)

// Outcome is what became of a request that is tested. The verdicts may come apart, as they become
// known, each of them once.
type Outcome struct {
	First Verdict // of the first try
	Final Verdict // of the answer that the client got
}

// Parts of alpha. The other half is kept for what tests the counts of a whole fleet.
const (
	proxyPart = 0.5
	eachError = 0.5 // first tries, final answers
)

// expectedFailures is stable's share of failures before anything is known of it. It matters to the
// speed of the first few hundred outcomes alone.
const expectedFailures = 0.001

// maxShards bounds what has to be summed up for each outcome of the canary.
const maxShards = 16

// Judge holds the tests of one division of the traffic: a change of the shares takes a new one. It
// is safe for concurrent use. Outcomes of stable are counted without a lock but for
// users' first failures, and those of the canary take the Judge's own, but for good answers that end no row of failures.
//
// Users are told apart by numbers: two who share one are taken for the same.
// Of a user who fails again and again a test hears once, and none acts on fewer than three who
// failed; a row needs two. Where stable itself is unhealthy the tests hold, unless the canary is worse by far.
type Judge struct {
	arm            tallies
	stable, canary crowd

	mu      sync.Mutex // of all below, but for what the latency test counts and shows
	health  health
	tests   [every]test
	row     row
	latency latency
	failed  uint64 // answers of the canary so far
	tripped *Trip
}

// The tests of a Judge, by their place in it.
const (
	first = iota
	final
	late
)

// Trip says which test has raised the alarm.
type Trip struct {
	Test   model.TestObservation // as it was then
	Reason string                // a sentence with numbers
	Failed uint64                // answers of the canary that had failed by then
}

// New returns the tests that a guard asks for, with nothing counted, for callers of so many shards
// (1 or more).
func New(g model.Guard, shards int) *Judge {
	j := &Judge{arm: make(tallies, min(max(shards, 1), maxShards))}
	stages := float64(max(g.Stages, 1))
	if e := g.Errors; e != nil {
		alpha := e.Alpha * proxyPart * eachError / stages
		j.tests[first] = newTest("errors/first", "first tries failed", alpha, e.MaxDifference, expectedFailures)
		j.tests[final] = newTest("errors/final", "answers failed", alpha, e.MaxDifference, expectedFailures)
	}
	if l := g.Latency; l != nil {
		j.tests[late] = newTest("latency", "answers were late", l.Alpha*proxyPart/stages, 0, 1-l.Quantile)
		j.latency.begin(*l, len(j.arm))
	}
	j.health.window, j.row.stable.window = healthWindow, rowWindow
	j.row.limit = g.ConsecutiveFailures
	return j
}

// Stable takes an outcome of stable, of the user with this number, in the caller's shard.
func (j *Judge) Stable(shard int, user uint16, o Outcome) {
	t, everybody := j.arm.at(shard), j.everybody()
	for which, v := range [...]Verdict{first: o.First, final: o.Final} {
		if j.stable.hears(which, user, v, everybody) {
			count(&t[which], v)
		}
	}
}

// Canary takes an outcome of the canary, of the user with this number, and says whether this one raises
// the alarm. At most one does in the life of a Judge.
func (j *Judge) Canary(user uint16, o Outcome) (tripped bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refresh()
	return j.hear(first, user, o.First) || j.hear(final, user, o.Final)
}

// StableRow takes every answer of stable, tested or not: it is healthy, or is not.
func (j *Judge) StableRow(shard int, failed bool) {
	count(&j.arm.at(shard)[every], verdict(failed))
}

// Row takes every answer of the canary, to the user with this number, tested or not, and says whether this one is the last of too
// many failures in a row. at is when it came, in whatever unit: a good answer is heard of when it has
// ended, and may have come before a failure.
func (j *Judge) Row(user uint16, at int64, failed bool) (tripped bool) {
	if !failed && j.row.count.Load() == 0 {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if failed {
		j.failed++
	}
	stable := j.refresh()
	if !j.row.add(user, at, failed, stable, j.health.unhealthy) || j.tripped != nil {
		return false
	}
	j.tripped = &Trip{j.row.observation(), j.row.reason(stable), j.failed}
	return true
}

// Unhealthy reports whether stable fails so often of late that the canary cannot be judged by it: a
// tenth of its answers, until it is down to a twentieth.
func (j *Judge) Unhealthy() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refresh()
	return j.health.unhealthy
}

// Tripped returns the alarm, if it was raised.
func (j *Judge) Tripped() (Trip, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.tripped == nil {
		return Trip{}, false
	}
	return *j.tripped, true
}

// Observe returns the state of every test that the guard asks for.
func (j *Judge) Observe() []model.TestObservation {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []model.TestObservation
	for i := range j.tests {
		if t := &j.tests[i]; t.boundary > 0 {
			all = append(all, t.observation())
		}
	}
	if j.row.limit > 0 {
		all = append(all, j.row.observation())
	}
	return all
}

// hear gives a verdict on the canary to a test.
func (j *Judge) hear(which int, user uint16, v Verdict) (tripped bool) {
	t := &j.tests[which]
	if t.boundary == 0 || j.tripped != nil || !j.canary.hears(which, user, v, false) {
		return false
	}
	if !t.add(v == Bad, j.arm.sum(which), j.health.unhealthy) {
		return false
	}
	j.tripped = &Trip{t.observation(), t.reason(), j.failed}
	return true
}

// refresh looks at what has become of stable, and returns all its answers.
func (j *Judge) refresh() counted {
	all := j.arm.sum(every)
	j.health.see(all)
	j.row.stable.see(all)
	if j.latency.due(all) && j.latency.learn(all) {
		j.tests[late].end(j.arm.sum(late))
	}
	return all
}

func verdict(bad bool) Verdict {
	if bad {
		return Bad
	}
	return Good
}

// boundaryOf is the wealth that proves a test's claim.
func boundaryOf(alpha float64) float64 {
	if alpha <= 0 {
		return math.MaxFloat64 // which no wealth reaches
	}
	return 1 / alpha
}
