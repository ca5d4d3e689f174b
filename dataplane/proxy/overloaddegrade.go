package proxy

import (
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/overload"
	"weir.dev/weir/model"
)

// degrade gives up what the steps say that apply now, and reports whether that answered the
// request. Refusing comes first, then an old answer, then a fixed one.
func (x *exchange) degrade(g *overload.Guard, class model.Class) (answered bool) {
	heat := g.Scope.Gate.Heat(time.Duration(x.asked))
	if heat == 0 {
		return false
	}
	less, some := g.Less(heat, x.p.cfg.Random)
	if !some {
		return false
	}
	mode := g.Model.Mode
	if less.Shed >= class {
		g.CountGiven(overload.GiveShed)
		g.Scope.Gate.Shed(class)
		if mode != model.ModeObserve {
			x.shed(g, class, "its class is shed while the scope is this busy")
			return true
		}
	}
	if mode == model.ModeObserve {
		g.CountWould(&less)
		return false
	}
	if less.Stale > 0 && x.serveStale(less.Stale) {
		g.CountGiven(overload.GiveStale)
		return true
	}
	if less.Answer != nil {
		g.CountGiven(overload.GiveAnswer)
		x.giveAnswer(less.Answer)
		return true
	}
	if less.NoRetries {
		g.CountGiven(overload.GiveRetries)
		x.overload.fewer = true
	}
	if less.Timeouts != nil {
		g.CountGiven(overload.GiveTime)
		x.shorten(less.Timeouts)
	}
	return false
}

// shorten gives the request less time than its route has.
func (x *exchange) shorten(t *model.Timeouts) {
	o := &x.overload.timeouts
	*o = model.Timeouts{
		Request: shorter(x.timeouts.Request, t.Request),
		PerTry:  shorter(x.timeouts.PerTry, t.PerTry),
		Idle:    shorter(x.timeouts.Idle, t.Idle),
	}
	x.timeouts = o
}

// giveAnswer sends the answer that a policy has in store. A call of gRPC gets an error: there is
// no fixed answer that it could read.
func (x *exchange) giveAnswer(f *model.FixedAnswer) {
	x.result.flag, x.result.detail = model.FlagPD, "a fixed answer, because there is too much to do"
	if x.req.GRPC {
		x.refuse(refusal{status: 503, flag: model.FlagPD, detail: x.result.detail, retryAfter: x.comeAgain()})
		return
	}
	fields := x.appendFlag(x.scratch[:0], model.FlagPD)
	for _, h := range f.Headers {
		fields = http1.AppendFieldString(fields, h.Name, h.Value)
	}
	if x.route.cors != nil {
		origin, _ := x.req.Get(http1.NameOrigin)
		fields = x.route.cors.AppendResponse(fields, origin)
	}
	x.scratch = fields
	x.send(answer{status: f.Status, fields: fields, body: f.Body})
}
