package proxy

import (
	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/shadow"
	"weir.dev/weir/model"
)

// Shadows returns what has been seen of every Shadow that a live route has, by name.
func (p *Proxy) Shadows() []model.ShadowReport { return p.shadows.Reports() }

// ResetShadow forgets what has been counted and compared of a Shadow, of all if the name is empty. It
// reports whether there was one. What is under way is counted when it ends.
func (p *Proxy) ResetShadow(name string) (found bool) { return p.shadows.Reset(name) }

// shadowMark says that a request is a copy.
var shadowMark = []byte("X-Weir-Shadow: 1\r\n")

var shadowField = "x-weir-shadow"

// sendShadows copies the request to its route's shadows, each a share of it.
func (x *exchange) sendShadows() bool {
	for i := range x.route.shadows {
		s := &x.route.shadows[i]
		if s.Chooses(x.req.Method, x.p.cfg.Random) {
			x.copyTo(s)
		}
	}
	return false
}

// copyTo makes one copy, unless a bound of the shadow forbids.
func (x *exchange) copyTo(s *shadow.Shadow) {
	original := x.original()
	c := s.Copy(&original)
	if c == nil {
		return
	}
	c.Request = x.appendRequest(c.Request, s.Edit(), sending{n: 1, by: x.tryBy(), marks: shadowMark, copied: true})
	if s.Compares() {
		x.tap().Compare(s, c, x.asked.Time(), x.req.Path)
	}
	if x.body.whole {
		c.Send()
		return
	}
	x.tap().Await(c, x.body.have)
}

// original is what a shadow is to know of the request.
func (x *exchange) original() shadow.Original {
	body := int64(x.body.have)
	if x.req.Body == http1.BodyLength {
		body = max(body, x.req.Length)
	}
	return shadow.Original{
		Method: x.req.Method, Client: x.c.Ends(), Shard: x.c.Shard, Body: body,
		Upgrading: x.upgrading(), Copied: x.id.Marked && x.isCopy(),
	}
}

// isCopy reports whether the request itself is a copy, by the word of whoever may say so.
func (x *exchange) isCopy() bool {
	_, marked := x.req.Lookup(shadowField)
	return marked && x.caller.Trusted
}

// tap returns the exchange's shadowing, which ends with the request.
func (x *exchange) tap() *shadow.Tap {
	if x.shadowing == nil {
		if x.shadowMemory == nil {
			x.shadowMemory = new(shadow.Tap)
		}
		x.shadowing = x.shadowMemory
	}
	return x.shadowing
}

// endWitness ends an answer, which the client has by now. Where a comparison wants a baseline, the request is sent to
// the primary once more.
func (x *exchange) endWitness(whole bool) {
	h := x.shadowing
	if n := h.Comparisons(); n > 0 && whole && x.mayAskAgain() {
		original := x.original()
		for i := range n {
			if c := h.Baseline(i, &original, x.arm.cluster); c != nil {
				c.Request = x.appendRequest(c.Request, x.arm.request, sending{n: 1, marks: shadowMark, copied: true})
				c.Send()
			}
		}
	}
	h.End(whole)
}

// mayAskAgain reports whether the request can be sent to the primary a second time, without
// harm: its method is safe (RFC 9110 section 9.2.1).
func (x *exchange) mayAskAgain() bool {
	switch string(x.req.Method) {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return x.body.whole && x.body.untouched()
	}
	return false
}

// endShadows ends what the present request has to do with copies.
func (x *exchange) endShadows() {
	h := x.shadowing
	x.shadowing = nil
	h.Close()
}
