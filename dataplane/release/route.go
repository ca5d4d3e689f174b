package release

import (
	"slices"
	"sync/atomic"

	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/sample"
)

// Route is the release of one route, ready for use. Its arms go by their place in the route's split.
type Route struct {
	model   *model.Release
	arms    []model.Arm
	state   *release
	keys    *policy.Keys // nil: none
	cohorts *policy.Cohorts
	salt    sample.Salt
	stable  int
	canary  int // none: the route does not have it, or its reference does not resolve
	latest  atomic.Pointer[layout]
}

// none is the place of an arm that is not there.
const none = -1

// role is what an arm is to a release.
type role uint8

const (
	neither role = iota
	stableSide
	canarySide
	sides
)

// layout is a release's division as a route has it. It is immutable.
type layout struct {
	of      *Route
	from    *division
	ranges  []laid
	open    bool     // the canary may be chosen: cohorts get it, and callers may ask for it
	alone   bool     // nobody is the canary's: requests are counted, not tested
	hearing *hearing // where requests count; nil: nowhere
	// cohorts are those of the hearing by their place in the route, which may be of another snapshot: nil
	// for one that the hearing does not have.
	cohorts []*cohort
}

// laid is a range of buckets up to the next one's first.
type laid struct {
	first uint16
	arm   int
	side  role
}

// Route returns the release of a route with this split, when the route is compiled; serves tells whether an arm has a
// cluster. It returns nil for a split without a release, and for one whose stable arm is not there: then
// weights hold as written.
func (s *Set) Route(split *model.Split, serves func(arm int) bool) *Route {
	m := split.Release
	if m == nil {
		return nil
	}
	r := &Route{
		model: m, arms: split.Arms, salt: sample.NewSalt(m.Sampling.Salt), stable: none, canary: none,
		keys: policy.CompileKeys(m.Sampling.Key), cohorts: policy.CompileCohorts(m.Cohorts),
	}
	for i := range r.arms {
		switch name := r.arms[i].Name; {
		case name == m.Stable:
			r.stable = i
		case name == m.Canary && serves(i):
			r.canary = i
		}
	}
	if r.stable == none {
		return nil
	}
	r.state = s.adopt(m)
	return r
}

// Stable is the place of the arm that serves whatever the canary has not earned.
func (r *Route) Stable() int { return r.stable }

// layout returns how the release divides the route's buckets now. It allocates for the first
// request after a change.
func (r *Route) layout() *layout {
	d := r.state.division.Load()
	if l := r.latest.Load(); l != nil && l.from == d {
		return l
	}
	l := r.lay(d)
	r.latest.Store(l)
	return l
}

// lay lays a division out. One of another subject has no effect: stable has everything of both. What
// belongs to an arm that the route does not have is stable's.
func (r *Route) lay(d *division) *layout {
	l := &layout{of: r, from: d}
	ranges := d.ranges
	if d.subject == "" || d.subject != r.model.Subject {
		var weights []sample.ArmWeight
		for i := range r.arms {
			weights = append(weights, sample.ArmWeight{Arm: r.arms[i].Name, Weight: uint64(r.arms[i].Weight)})
		}
		ranges = sample.Initial(sample.ShareOf(weights, r.model.Stable, r.model.Canary, 0))
	} else if r.canary != none {
		l.open, l.hearing = d.running && !d.lost, d.hearing
		for _, c := range r.model.Cohorts {
			l.cohorts = append(l.cohorts, d.hearing.cohort(c.Name))
		}
	}
	l.alone = !l.open
	for _, given := range ranges {
		next := laid{given.From, r.stable, stableSide}
		i := slices.IndexFunc(r.arms, func(a model.Arm) bool { return a.Name == given.Arm })
		switch {
		case given.Arm == r.model.Canary && r.canary != none && !d.lost:
			next.arm, next.side = r.canary, canarySide
			l.alone = false
		case i >= 0 && given.Arm != r.model.Stable && given.Arm != r.model.Canary:
			next.arm, next.side = i, neither
		}
		if n := len(l.ranges); n == 0 || l.ranges[n-1].arm != next.arm {
			l.ranges = append(l.ranges, next)
		}
	}
	return l
}

// find returns where a bucket lies: nowhere if no arm has any weight.
func (l *layout) find(bucket uint16) laid {
	low, high := 0, len(l.ranges)
	if high == 0 {
		return laid{arm: none}
	}
	for high-low > 1 {
		if middle := (low + high) / 2; l.ranges[middle].first <= bucket {
			low = middle
		} else {
			high = middle
		}
	}
	return l.ranges[low]
}
