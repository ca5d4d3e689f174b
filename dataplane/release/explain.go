package release

import (
	"math"

	"weir.dev/weir/model"
)

// choice is what has decided which arm of its release a request belongs to.
type choice uint8

const (
	byNobody choice = iota // one arm has everything
	byCohort
	byCaller
	byRequest
	byKey
	byID
	byNewID
	byChance
	byDefault
)

// choices are what people are told of them.
var choices = [...]string{
	byCohort:  "it belongs to the cohort ",
	byCaller:  "its caller's x-weir-arm",
	byRequest: "its bucket: every request is drawn anew",
	byKey:     "its user's bucket, by the key",
	byID:      "its user's bucket, by the id in its cookie",
	byNewID:   "its user's bucket, by the id that the answer gives",
	byChance:  "its bucket: nothing tells its user apart, so that it was drawn anew",
	byDefault: "nothing tells its user apart",
}

// Explain says how the release of a request's route divides it at present, and what the request was to it. The arms of e are the
// route's, in their order.
func (d *Draw) Explain(r *Route, e *model.Explanation) {
	l := d.lay
	if l == nil { // it was answered before
		l = r.layout()
	}
	for i := range e.Arms {
		e.Arms[i].Share = 0
	}
	for at, from := range l.ranges {
		end := uint16(model.Buckets)
		if at+1 < len(l.ranges) {
			end = l.ranges[at+1].first
		}
		e.Arms[from.arm].Share += float64(end-from.first) / model.Buckets
	}
	said := &model.ExplainedRelease{Name: r.model.Name, Arm: d.Arm()}
	if l.hearing != nil {
		said.Run, said.Generation, said.Share = l.hearing.run, l.hearing.generation, model.Share(math.Round(l.from.share(r.model)*model.Buckets))
	}
	if d.lay != nil {
		said.Why = d.why()
	}
	switch d.by {
	case byRequest, byKey, byID, byNewID, byChance:
		bucket := d.user.Bucket()
		said.Bucket = &bucket
	}
	e.Release = said
}

// why says in one sentence why the request has its arm.
func (d *Draw) why() string {
	text := choices[d.by]
	switch from := d.lay.from; {
	case d.by == byCohort:
		text += d.lay.of.model.Cohorts[d.cohort-1].Name
	case d.by != byNobody:
	case d.lay.hearing == nil:
		text = "nothing is decided for this version of the canary: stable has everything"
	case from.lost:
		text = "the canary was taken back: stable has everything"
	default:
		text = "the run is over: stable has everything"
	}
	if d.fell {
		text += "; the canary was taken back meanwhile, and stable was asked again"
	}
	return text
}
