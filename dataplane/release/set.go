// Package release is what a proxy knows of Rollouts: how the buckets of each release are divided now, whose a
// request is and how it ended, what that says of the canary, and when the canary is taken back. It sends
// nothing and waits for nothing but late answers; what a request is tried at is the proxy's, and how far a release
// goes is the control plane's.
package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// A release is what a proxy knows of a Rollout, by its name, whatever snapshots and knobs come. What
// the snapshot says is its model, what the control plane has decided its knob. Both together
// are a division of the buckets, and a hearing of the canary that begins with each division:
//
//	Apply ── model ──┐
//	                 ├── division ── layout of each route ── requests ── outcomes
//	Tune ─── knob ───┘      ▲                                               │
//	                        └── trip: the canary's buckets are stable's ◄── hearing
//
// A trip is the proxy's own doing: the next request goes to stable, and older knobs cannot undo it.

// Set holds the releases that a route has or a knob names. Requests do not look into it, but for ids.
type Set struct {
	log    *slog.Logger
	shards int
	ids    atomic.Pointer[policy.UserIDs] // of policy's FallbackCookie; nil: none are given
	trips  chan struct{}
	watch  lateWatch

	mu     sync.Mutex
	byName map[string]*release
	secret []byte
}

// release is one of them. What a request reads of it is its division.
type release struct {
	of       *Set
	name     string
	division atomic.Pointer[division] // never nil
	totals   totals

	// Under Set.mu.
	model   *model.Release     // the newest; nil: no route has it
	knob    *model.ReleaseKnob // in effect; nil: none
	hearing *hearing           // of the knob; nil: it has no effect
	latch   latch
}

// latch is where a release has tripped last, and why.
type latch struct {
	subject         model.Hash // empty: it has not
	run, generation uint64
	trip            *model.ReleaseTrip
}

// holds reports whether a knob gives the canary nothing because of the trip: all of its run do. One of a
// later generation may have been decided before the trip was known.
func (l *latch) holds(k *model.ReleaseKnob) bool {
	return l.subject != "" && k.Subject == l.subject && k.Run <= l.run
}

// outdates reports whether a knob is no newer than the one that tripped.
func (l *latch) outdates(k *model.ReleaseKnob) bool {
	return l.holds(k) && (k.Run < l.run || k.Generation <= l.generation)
}

// division is how a release's buckets are divided now. It is immutable.
type division struct {
	subject model.Hash // empty: nothing has been decided
	ranges  []model.BucketRange
	running bool // cohorts get the canary
	lost    bool // the canary has tripped: what is its is stable's
	hearing *hearing
}

// NewSet returns one without releases, which counts in so many shards and logs trips.
func NewSet(log *slog.Logger, shards int) *Set {
	s := &Set{log: log, shards: shards, trips: make(chan struct{}, 1), byName: map[string]*release{}}
	s.watch.wake = make(chan struct{}, 1)
	return s
}

// adopt returns the release that a route's split has, made if need be and told what the policy says.
func (s *Set) adopt(m *model.Release) *release {
	s.mu.Lock()
	defer s.mu.Unlock()
	rel := s.named(m.Name)
	if old := rel.model; old == nil || old.Subject != m.Subject || !reflect.DeepEqual(&old.Guard, &m.Guard) ||
		!reflect.DeepEqual(&old.Sampling, &m.Sampling) || !reflect.DeepEqual(old.Cohorts, m.Cohorts) || old.Stable != m.Stable || old.Canary != m.Canary {
		rel.model = m
		rel.begin()
	}
	return rel
}

// named returns a release, made if need be. It is called with mu held.
func (s *Set) named(name string) *release {
	rel := s.byName[name]
	if rel == nil {
		rel = &release{of: s, name: name, totals: newTotals(s.shards)}
		rel.division.Store(&division{})
		s.byName[name] = rel
	}
	return rel
}

// Retain forgets the releases that neither the snapshot nor a knob has.
func (s *Set) Retain(snapshot *model.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byName) == 0 {
		return
	}
	live := map[string]bool{}
	for _, table := range snapshot.RouteTables {
		for _, e := range table.Entries {
			if m := e.Route.Split.Release; m != nil {
				live[m.Name] = true
			}
		}
	}
	for name, rel := range s.byName {
		switch {
		case live[name]:
		case rel.knob != nil:
			rel.model = nil
			rel.end()
		default:
			rel.end()
			delete(s.byName, name)
		}
	}
}

// begin starts a hearing of what model and knob say, if they say something together. What was a hearing
// before is over. It is called with mu held.
func (rel *release) begin() {
	rel.end()
	k, m := rel.knob, rel.model
	if k == nil || m == nil || k.Subject != m.Subject || k.Subject == "" {
		return
	}
	rel.hearing = newHearing(rel, m, k)
	d := &division{subject: k.Subject, ranges: k.Ranges, running: k.Running, hearing: rel.hearing}
	if rel.latch.holds(k) { // and whoever decides may not have heard of it yet
		d.lost = true
		rel.hearing.trip.Store(rel.latch.trip)
	} else {
		rel.of.watch.add(rel.hearing)
	}
	rel.division.Store(d)
}

// end has stable serve everything, and nothing tested. It is called with mu held.
func (rel *release) end() {
	if rel.hearing != nil {
		rel.of.watch.remove(rel.hearing)
	}
	rel.hearing = nil
	rel.division.Store(&division{})
}

// trip gives the canary's buckets to stable and remembers why, unless the hearing is over.
func (rel *release) trip(t *hearing) {
	rel.of.mu.Lock()
	if rel.hearing != t || t.trip.Load() != nil {
		rel.of.mu.Unlock()
		return
	}
	d := *rel.division.Load()
	d.lost = true
	rel.division.Store(&d)
	trip := t.tripped() // whose time is that from which on no request is the canary's
	t.trip.Store(trip)
	rel.latch = latch{t.subject, t.run, t.generation, trip}
	rel.of.watch.remove(t)
	rel.of.mu.Unlock()

	select {
	case rel.of.trips <- struct{}{}:
	default: // whoever listens has been told to look, and not looked yet
	}
	rel.of.log.Warn("a canary was taken back", slog.String("release", rel.name), slog.Uint64("run", t.run),
		slog.Uint64("generation", t.generation), slog.String("test", trip.Test.Name), slog.String("reason", trip.Reason),
		slog.Uint64("canaryFailures", trip.CanaryFailures), slog.Int64("inFlight", trip.InFlight))
}

// Tune puts the knobs of all releases into effect: one that k does not have ends, and what is in effect already goes
// on as it is. An error names the knobs that cannot be: their releases are stable's.
func (s *Set) Tune(k *model.Knobs) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !bytes.Equal(s.secret, k.SampleSecret) {
		s.secret = bytes.Clone(k.SampleSecret)
		s.ids.Store(policy.NewUserIDs(s.secret))
	}
	var errs []error
	given := make(map[string]*model.ReleaseKnob, len(k.Releases))
	for i := range k.Releases {
		knob := &k.Releases[i]
		err := check(knob)
		if _, twice := given[knob.Release]; twice {
			err = errors.New("it has two knobs")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("release %s: %w", knob.Release, err))
			given[knob.Release] = nil
			continue
		}
		given[knob.Release] = knob
		s.named(knob.Release)
	}
	for name, rel := range s.byName {
		rel.turn(given[name])
		if rel.knob == nil && rel.model == nil {
			delete(s.byName, name)
		}
	}
	return errors.Join(errs...)
}

// turn puts a knob into effect; nil for none. It is called with mu held.
func (rel *release) turn(k *model.ReleaseKnob) {
	switch {
	case k == nil:
		if rel.knob != nil {
			rel.knob = nil
			rel.end()
		}
	case rel.latch.outdates(k) && rel.knob != nil || rel.knob != nil && reflect.DeepEqual(rel.knob, k):
	default:
		own := *k
		own.Ranges = slices.Clone(k.Ranges)
		rel.knob = &own
		rel.begin()
	}
}

// check says what is wrong with a knob: then stable serves.
func check(k *model.ReleaseKnob) error {
	var at uint16
	for _, r := range k.Ranges {
		if r.From != at || r.To <= r.From || r.To > model.Buckets {
			return fmt.Errorf("the buckets from %d to %d follow those to %d", r.From, r.To, at)
		}
		at = r.To
	}
	if at != model.Buckets {
		return fmt.Errorf("the ranges end at bucket %d, not at %d", at, model.Buckets)
	}
	return nil
}

// all returns the releases by name. It is called with mu held.
func (s *Set) all() []*release {
	return slices.SortedFunc(maps.Values(s.byName), func(a, b *release) int { return strings.Compare(a.name, b.name) })
}

// Trips has a value when a release has tripped since the last one was taken.
func (s *Set) Trips() <-chan struct{} { return s.trips }

// Observe returns what has been seen of every release whose knob has effect, by name.
func (s *Set) Observe() []model.ReleaseObservation {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []model.ReleaseObservation
	for _, rel := range s.all() {
		if rel.hearing != nil {
			list = append(list, rel.hearing.observe())
		}
	}
	return list
}

// States returns all releases as metrics have them, by name.
func (s *Set) States() []telemetry.ReleaseState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []telemetry.ReleaseState
	for _, rel := range s.all() {
		state := telemetry.ReleaseState{Name: rel.name, Ended: rel.totals.sum(), Unwatched: rel.totals.unwatched.Load()}
		if t := rel.hearing; t != nil {
			o := t.observe()
			state.Observation, state.Share = &o, rel.division.Load().share(rel.model)
		}
		list = append(list, state)
	}
	return list
}

// share is what part of the buckets of stable and canary is the canary's, 0 to 1.
func (d *division) share(m *model.Release) float64 {
	var both, canary float64
	for _, r := range d.ranges {
		n := float64(r.To - r.From)
		switch {
		case r.Arm == m.Canary && !d.lost:
			canary += n
			both += n
		case r.Arm == m.Stable || r.Arm == m.Canary:
			both += n
		}
	}
	if both == 0 {
		return 0
	}
	return canary / both
}

// Run looks for requests whose answers are late, while there may be any, until ctx ends.
func (s *Set) Run(ctx context.Context) { s.watch.run(ctx, sweepEvery) }

// sweepEvery is how often the requests in flight are looked at, and so by how much a late one
// may be noticed too late.
const sweepEvery = 5 * time.Millisecond
