package proxy

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

// explainRelease says how a release divides the route of the request at present, and what the request was to it.
func (x *exchange) explainRelease(e *model.Explanation) {
	rel := x.route.release
	if rel == nil {
		return
	}
	w := &x.drawn
	l := w.lay
	if l == nil { // it was answered before
		l = rel.layout()
	}
	for i := range e.Arms {
		e.Arms[i].Share = 0
	}
	for at, r := range l.ranges {
		end := uint16(model.Buckets)
		if at+1 < len(l.ranges) {
			end = l.ranges[at+1].first
		}
		for i := range e.Arms {
			if e.Arms[i].Name == r.arm.model.Name {
				e.Arms[i].Share += float64(end-r.first) / model.Buckets
			}
		}
	}
	said := &model.ExplainedRelease{Name: rel.model.Name, Arm: w.arm()}
	if l.hearing != nil {
		said.Run, said.Generation, said.Share = l.hearing.run, l.hearing.generation, model.Share(math.Round(l.from.share(rel.model)*model.Buckets))
	}
	if w.lay != nil {
		said.Why = w.why()
	}
	switch w.by {
	case byRequest, byKey, byID, byNewID, byChance:
		bucket := w.user.Bucket()
		said.Bucket = &bucket
	}
	e.Release = said
}

// why says in one sentence why the request has its arm.
func (w *drawn) why() string {
	text := choices[w.by]
	switch d := w.lay.from; {
	case w.by == byCohort:
		text += w.lay.of.model.Cohorts[w.cohort-1].Name
	case w.by != byNobody:
	case w.lay.hearing == nil:
		text = "nothing is decided for this version of the canary: stable has everything"
	case d.lost:
		text = "the canary was taken back: stable has everything"
	default:
		text = "the run is over: stable has everything"
	}
	if w.fell {
		text += "; the canary was taken back meanwhile, and stable was asked again"
	}
	return text
}
