package proxy

import (
	"bytes"
	"slices"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/sample"
)

// released is a route's model.Release ready for use.
type released struct {
	model   *model.Release
	state   *release
	keys    *policy.Keys // nil: none
	cohorts *policy.Cohorts
	salt    sample.Salt
	stable  *arm
	canary  *arm // nil: the route does not have it, or its reference does not resolve
	route   *route
	latest  atomic.Pointer[layout]
}

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
	of      *released
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
	arm   *arm
	side  role
}

// newReleased is called when the route has its arms. It returns nil for a route without a release, and for
// one whose stable arm is not there: then weights hold as written.
func newReleased(p *Proxy, r *route) *released {
	m := r.model.Split.Release
	if m == nil {
		return nil
	}
	rel := &released{
		model: m, route: r, salt: sample.NewSalt(m.Sampling.Salt),
		keys: policy.CompileKeys(m.Sampling.Key), cohorts: policy.CompileCohorts(m.Cohorts),
	}
	for i := range r.arms {
		switch a := &r.arms[i]; {
		case a.model.Name == m.Stable:
			rel.stable = a
		case a.model.Name == m.Canary && a.cluster != nil:
			rel.canary = a
		}
	}
	if rel.stable == nil {
		return nil
	}
	rel.state = p.releases.adopt(m)
	return rel
}

// layout returns how the release divides the route's buckets now. It allocates for the first
// request after a change.
func (rel *released) layout() *layout {
	d := rel.state.division.Load()
	if l := rel.latest.Load(); l != nil && l.from == d {
		return l
	}
	l := rel.lay(d)
	rel.latest.Store(l)
	return l
}

// lay lays a division out. One of another subject has no effect: stable has everything of both. What
// belongs to an arm that the route does not have is stable's.
func (rel *released) lay(d *division) *layout {
	l := &layout{of: rel, from: d}
	ranges := d.ranges
	if d.subject == "" || d.subject != rel.model.Subject {
		var weights []sample.ArmWeight
		for i := range rel.route.arms {
			a := rel.route.arms[i].model
			weights = append(weights, sample.ArmWeight{Arm: a.Name, Weight: uint64(a.Weight)})
		}
		ranges = sample.Initial(sample.ShareOf(weights, rel.model.Stable, rel.model.Canary, 0))
	} else if rel.canary != nil {
		l.open, l.hearing = d.running && !d.lost, d.hearing
		for _, c := range rel.model.Cohorts {
			l.cohorts = append(l.cohorts, d.hearing.cohort(c.Name))
		}
	}
	l.alone = !l.open
	for _, r := range ranges {
		next := laid{r.From, rel.stable, stableSide}
		i := slices.IndexFunc(rel.route.arms, func(a arm) bool { return a.model.Name == r.Arm })
		switch {
		case r.Arm == rel.model.Canary && rel.canary != nil && !d.lost:
			next.arm, next.side = rel.canary, canarySide
			l.alone = false
		case i >= 0 && r.Arm != rel.model.Stable && r.Arm != rel.model.Canary:
			next.arm, next.side = &rel.route.arms[i], neither
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
		return laid{}
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

// chooseReleased chooses the arm of a request by its route's release, and inside it the host of its
// session.
func (x *exchange) chooseReleased() *arm {
	w, r := &x.drawn, x.route
	w.lay = r.release.layout()
	chosen := x.drawReleased()
	if r.keys != nil {
		x.bond.hash, x.bond.hashed = r.keys.Hash(x.known())
	}
	x.facts = policy.Facts{}
	if w.side = chosen.side; chosen.arm == nil {
		return nil
	}
	if r.session != nil {
		x.bond.now = time.Now()
		if token, ok := r.session.Read(&x.req.Head, x.bond.now); ok && chosen.arm.cluster != nil {
			x.bond.held = chosen.arm.cluster.ByToken(token)
		}
	}
	x.markArm()
	x.beginOutcome()
	return chosen.arm
}

// drawReleased finds out which arm a request belongs to: cohorts come first, then what a trusted caller says
// that it has chosen, then the user's bucket. Once the run is over the buckets alone count.
func (x *exchange) drawReleased() laid {
	w := &x.drawn
	l, rel := w.lay, w.lay.of
	if l.open && rel.cohorts != nil {
		if i := rel.cohorts.First(x.known()); i >= 0 {
			w.cohort, w.by = i+1, byCohort
			return laid{arm: rel.canary, side: canarySide}
		}
	}
	asked := neither
	if l.open && x.id.Marked && x.caller.Trusted {
		asked = x.askedArm()
	}
	if l.alone && len(l.ranges) == 1 { // whoever it is
		w.sampled = true
		return l.ranges[0]
	}
	where, sampled := x.sample()
	if !sampled && asked != neither { // of all who are nobody here each is another one
		w.user = sample.User(x.p.cfg.Random())
	}
	switch {
	case sampled && where.side == neither: // the other arms keep their share
	case asked == canarySide:
		where, w.by = laid{arm: rel.canary, side: canarySide}, byCaller
	case asked != neither:
		where, w.by = laid{arm: rel.stable, side: stableSide}, byCaller
	case !sampled:
		return laid{arm: rel.stable, side: stableSide}
	}
	w.sampled = true
	return where
}

// sample finds out whose the request is, and says where the bucket lies. sampled is false for a request
// that nothing tells apart and that is stable's therefore.
func (x *exchange) sample() (where laid, sampled bool) {
	w := &x.drawn
	l, rel := w.lay, w.lay.of
	s := &rel.model.Sampling
	random := x.p.cfg.Random
	if s.Unit == model.SampleRequests {
		w.user, w.by = sample.User(random()), byRequest
		return l.find(w.user.Bucket()), true
	}
	if rel.keys != nil {
		if hash, ok := rel.keys.Hash(x.known()); ok {
			w.user, w.known, w.by = rel.salt.UserOf(hash), true, byKey
			return l.find(w.user.Bucket()), true
		}
	}
	ids := x.p.releases.ids.Load()
	switch {
	case s.Fallback == model.FallbackStable:
		w.by = byDefault
		return laid{}, false
	case s.Fallback == model.FallbackCookie && ids != nil:
		id, ok := ids.Read(&x.req.Head)
		if w.known, w.by = ok, byID; !ok {
			id = policy.NewUserID(random(), random())
			w.id, w.fresh, w.by = id, ids, byNewID
		}
		w.user = rel.salt.User(id[:])
	default:
		w.user, w.by = sample.User(random()), byChance
	}
	return l.find(w.user.Bucket()), true
}

// appendUserID appends the field that gives the client its id, if it needs one. An answer that is for everybody
// brings none: from a shared cache all would get the same, or it would not keep the answer for it.
func (x *exchange) appendUserID(dst []byte) []byte {
	w := &x.drawn
	if w.fresh == nil {
		return dst
	}
	value, _ := x.up.resp.Joined("cache-control")
	if c := parseCacheControl(value); c.public || c.shared {
		return dst
	}
	return w.fresh.AppendTo(dst, w.id, x.view.forwarding.HTTPS(&x.caller, &x.req.Head))
}

var armField = []byte("x-weir-arm")

// askedArm returns what the trusted caller's fields say of the route's release, neither for nothing.
func (x *exchange) askedArm() role {
	for i := range x.req.Fields {
		if !x.hasArms(i) {
			continue
		}
		switch string(policy.ParseArm(x.req.Value(i), x.route.release.model.Name)) {
		case policy.ArmCanary:
			return canarySide
		case policy.ArmStable:
			return stableSide
		}
	}
	return neither
}

// hasArms reports whether a field is one of the caller's x-weir-arm.
func (x *exchange) hasArms(i int) bool {
	f := &x.req.Fields[i]
	return !f.Hop && !f.Dropped && bytes.EqualFold(x.req.Name(i), armField)
}

// markArm makes the field that tells the host, and the proxies behind us, which arm was chosen: with what a
// trusted caller says of other releases before it.
func (x *exchange) markArm() {
	w := &x.drawn
	dst := append(x.armMemory[:0], "X-Weir-Arm: "...)
	start := len(dst)
	if x.id.Marked && x.caller.Trusted {
		for i := range x.req.Fields {
			if x.hasArms(i) {
				dst = policy.AppendArms(dst, x.req.Value(i), w.lay.of.model.Name)
			}
		}
	}
	if name := w.arm(); name != "" {
		dst = append(append(append(dst, w.lay.of.model.Name...), '='), name...)
	} else if len(dst) > start {
		dst = dst[:len(dst)-len(", ")]
	}
	if len(dst) > start {
		w.line = append(dst, "\r\n"...)
		dst = w.line
	}
	x.armMemory = dst
}
