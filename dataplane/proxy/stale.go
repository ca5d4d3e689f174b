package proxy

import (
	"strconv"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/stale"
	"weir.dev/weir/model"
)

// storable is what the store is to know of the request.
func (x *exchange) storable() stale.Request {
	return stale.Request{
		Request: &x.req, Route: x.route.model.Name, Listener: x.view.listener.Name,
		Trusted: x.caller.Trusted, Verified: x.c.Secured != nil && x.c.Secured.Verified,
	}
}

// considerKeeping makes ready to keep the answer, once a second.
func (x *exchange) considerKeeping() {
	r := x.storable()
	if !r.MayKeep() {
		return
	}
	o := &x.overload
	if o.keeper == nil {
		o.keeper = new(stale.Keeping)
	}
	if o.keeper.Begin(&x.p.stale, &r, x.asked) {
		o.keeping = o.keeper
	}
}

// beginKeeping notes the answer's head, if the answer may be kept.
func (x *exchange) beginKeeping() {
	k, resp := x.overload.keeping, &x.up.resp
	if !k.Stores(resp, x.arm.response) {
		x.overload.keeping = nil
		return
	}
	if x.route.session != nil {
		x.route.session.Claim(&resp.Head)
	}
	k.Head(resp, x.arm.response, x.route.cors)
}

// endKeeping keeps the answer, if all of it was sent.
func (x *exchange) endKeeping(whole bool) {
	if k := x.overload.keeping; k != nil {
		x.overload.keeping = nil
		k.End(whole, &x.up.resp)
	}
}

// serveStale answers with what was kept, if it is no older than maxAge and for whoever asks.
func (x *exchange) serveStale(maxAge time.Duration) bool {
	r := x.storable()
	kept, age, memory := x.p.stale.Find(x.scratch, &r, maxAge, x.asked)
	x.scratch = memory
	if kept == nil {
		return false
	}
	x.result.flag, x.result.detail = model.FlagPD, "an answer of "+age.Round(time.Second).String()+" ago, because there is too much to do"
	fields := append(x.scratch[:0], kept.Fields...)
	fields = append(fields, "Age: "...)
	fields = append(strconv.AppendInt(fields, int64(max(age, 0)/time.Second), 10), "\r\n"...)
	fields = x.appendFlag(fields, model.FlagPD)
	if x.route.cors != nil {
		origin, _ := x.req.Get(http1.NameOrigin)
		fields = x.route.cors.AppendResponse(fields, origin)
	}
	x.scratch = fields
	x.send(answer{status: 200, fields: fields, body: kept.Body, dated: true})
	return true
}
