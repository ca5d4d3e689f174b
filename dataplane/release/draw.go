package release

import (
	"bytes"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/guard"
	"weir.dev/weir/traffic/sample"
)

// Draw is what one request is in the release of its route. It is empty without one. Its outcome is that of the arm
// first chosen, in the hearing in which it began, whatever comes. Whoever serves the request says how it goes on:
//
//	Choose ─► Begin ─► FirstTry, HeadCame, Fail ─┬─► End
//	                          Fall, once lost ───┘
//
// It belongs to one goroutine and needs no memory of its own.
type Draw struct {
	lay     *layout  // nil: the route has no release
	hearing *hearing // nil: nobody judges the request
	side    role
	by      choice
	cohort  int  // its place, from 1; 0: none
	sampled bool // the request was drawn: it counts
	known   bool // and something tells its user apart
	tested  bool // and it is this user's turn
	user    sample.User
	shard   int

	began transport.Instant
	late  transport.Instant // when the answer is late; 0: never
	head  transport.Instant // when its head came; 0: it has not
	epoch uint16
	slot  *lateSlot // where it waits for that; nil: nowhere

	firstSaid bool // the first try has been judged
	finalSaid guard.Verdict
	timed     bool // whether it was late is known
	fell      bool // it was sent to stable after the canary had failed
	excused   bool // the present try ended for want of what its client was to send
	ended     bool

	told  *http1.Head // says which arms were chosen, and is believed; nil: nobody does
	line  []byte      // for the next host
	id    policy.UserID
	fresh *policy.UserIDs // gives the client its id; nil: none
}

// Made reports whether there is one: the route of the request has a release.
func (d *Draw) Made() bool { return d.lay != nil }

// Heard reports whether somebody judges the request: then FirstTry, HeadCame and Fail are to be told how it goes on.
func (d *Draw) Heard() bool { return d.hearing != nil }

// Arm is the name of the request's arm, as later tiers and the log know it; empty for one that is neither
// stable nor canary.
func (d *Draw) Arm() string {
	switch d.side {
	case stableSide:
		return policy.ArmStable
	case canarySide:
		return policy.ArmCanary
	}
	return ""
}

// Choose returns the place of the arm that a request belongs to, below 0 if no arm has any weight. What its fields say of
// arms that were chosen before is believed if they are trusted.
func (d *Draw) Choose(r *Route, facts *policy.Facts, trusted bool, random func() uint64) (arm int) {
	d.lay = r.layout()
	if trusted {
		d.told = &facts.Request.Head
	}
	chosen := d.choose(facts, random)
	d.side = chosen.side
	return chosen.arm
}

// choose finds out which arm a request belongs to: cohorts come first, then what a trusted caller says
// that it has chosen, then the user's bucket. Once the run is over the buckets alone count.
func (d *Draw) choose(facts *policy.Facts, random func() uint64) laid {
	l, r := d.lay, d.lay.of
	if l.open && r.cohorts != nil {
		if i := r.cohorts.First(facts); i >= 0 {
			d.cohort, d.by = i+1, byCohort
			return laid{arm: r.canary, side: canarySide}
		}
	}
	asked := neither
	if l.open {
		asked = d.asked()
	}
	if l.alone && len(l.ranges) == 1 { // whoever it is
		d.sampled = true
		return l.ranges[0]
	}
	where, sampled := d.sample(facts, random)
	if !sampled && asked != neither { // of all who are nobody here each is another one
		d.user = sample.User(random())
	}
	switch {
	case sampled && where.side == neither: // the other arms keep their share
	case asked == canarySide:
		where, d.by = laid{arm: r.canary, side: canarySide}, byCaller
	case asked != neither:
		where, d.by = laid{arm: r.stable, side: stableSide}, byCaller
	case !sampled:
		return laid{arm: r.stable, side: stableSide}
	}
	d.sampled = true
	return where
}

// sample finds out whose the request is, and says where the bucket lies. sampled is false for a request
// that nothing tells apart and that is stable's therefore.
func (d *Draw) sample(facts *policy.Facts, random func() uint64) (where laid, sampled bool) {
	l, r := d.lay, d.lay.of
	s := &r.model.Sampling
	if s.Unit == model.SampleRequests {
		d.user, d.by = sample.User(random()), byRequest
		return l.find(d.user.Bucket()), true
	}
	if r.keys != nil {
		if hash, ok := r.keys.Hash(facts); ok {
			d.user, d.known, d.by = r.salt.UserOf(hash), true, byKey
			return l.find(d.user.Bucket()), true
		}
	}
	ids := r.state.of.ids.Load()
	switch {
	case s.Fallback == model.FallbackStable:
		d.by = byDefault
		return laid{}, false
	case s.Fallback == model.FallbackCookie && ids != nil:
		id, ok := ids.Read(&facts.Request.Head)
		if d.known, d.by = ok, byID; !ok {
			id = policy.NewUserID(random(), random())
			d.id, d.fresh, d.by = id, ids, byNewID
		}
		d.user = r.salt.User(id[:])
	default:
		d.user, d.by = sample.User(random()), byChance
	}
	return l.find(d.user.Bucket()), true
}

// New reports whether the answer is to give the client an id.
func (d *Draw) New() bool { return d.fresh != nil }

// AppendUserID appends the field that gives a new client its id to dst; https says what the client speaks.
func (d *Draw) AppendUserID(dst []byte, https bool) []byte { return d.fresh.AppendTo(dst, d.id, https) }

var armField = []byte("x-weir-arm")

// IsField reports whether a request's field of this name says which arms were chosen.
func IsField(name []byte) bool { return bytes.EqualFold(name, armField) }

// hasArms reports whether a field is one that says which arms were chosen.
func hasArms(h *http1.Head, i int) bool {
	f := &h.Fields[i]
	return !f.Hop && !f.Dropped && IsField(h.Name(i))
}

// asked returns what a trusted caller's fields say of the release, neither for nothing.
func (d *Draw) asked() role {
	if d.told == nil {
		return neither
	}
	for i := range d.told.Fields {
		if !hasArms(d.told, i) {
			continue
		}
		switch string(policy.ParseArm(d.told.Value(i), d.lay.of.model.Name)) {
		case policy.ArmCanary:
			return canarySide
		case policy.ArmStable:
			return stableSide
		}
	}
	return neither
}

// Mark makes the line that tells the host, and the proxies behind us, which arm was chosen: with what a
// trusted caller says of other releases before it. It is written over memory, which is returned, grown if need be.
func (d *Draw) Mark(memory []byte) []byte {
	dst := append(memory[:0], "X-Weir-Arm: "...)
	start := len(dst)
	if d.told != nil {
		for i := range d.told.Fields {
			if hasArms(d.told, i) {
				dst = policy.AppendArms(dst, d.told.Value(i), d.lay.of.model.Name)
			}
		}
	}
	name := d.Arm()
	if d.fell {
		name = policy.ArmStable
	}
	if name != "" {
		dst = append(append(append(dst, d.lay.of.model.Name...), '='), name...)
	} else if len(dst) > start {
		dst = dst[:len(dst)-len(", ")]
	}
	if len(dst) > start {
		d.line = append(dst, "\r\n"...)
		dst = d.line
	}
	return dst
}

// Line is what Mark has made: a line of a head, or nothing.
func (d *Draw) Line() []byte { return d.line }
