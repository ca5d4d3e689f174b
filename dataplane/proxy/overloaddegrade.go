package proxy

import (
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// What a step of degradation gives up, in the order of a guard's gives.
const (
	giveShed = iota
	giveRetries
	giveTime
	giveStale
	giveAnswer
	gives
)

var giveNames = [gives]telemetry.ProtectionKind{"shed", "noRetries", "timeouts", "serveStale", "answer"}

// givenUp returns the counters of one step: gives of them, nil for what the step leaves alone.
func givenUp(p *Proxy, m *model.Overload, d *model.Degrade) []*telemetry.Protection {
	list := make([]*telemetry.Protection, gives)
	for i, has := range [gives]bool{
		d.Shed != model.ClassNone, d.NoRetries, d.Timeouts != nil, d.ServeStale > 0, d.Answer != nil,
	} {
		if has {
			list[i] = p.cfg.Metrics.Protection(m.Scope, telemetry.ProtectDegrade+giveNames[i])
		}
	}
	return list
}

// degraded is what all steps that apply to a request come to.
type degraded struct {
	shed     model.Class
	retries  bool
	timeouts *model.Timeouts
	stale    time.Duration
	answer   *model.FixedAnswer
	step     int // the last one that applies
}

// degrade gives up what the steps say that apply now, and reports whether that answered the
// request. Refusing comes first, then an old answer, then a fixed one.
func (x *exchange) degrade(g *guard, class model.Class) (answered bool) {
	heat := g.scope.gate.Heat(time.Duration(x.asked))
	if heat == 0 {
		return false
	}
	d := degraded{step: -1}
	for i := range g.model.Degrade {
		s := &g.model.Degrade[i]
		if !heat.Active(s.At, x.p.cfg.Random) {
			continue
		}
		d.step = i
		d.shed = max(d.shed, s.Shed)
		d.retries = d.retries || s.NoRetries
		d.stale = max(d.stale, s.ServeStale)
		if s.Timeouts != nil {
			d.timeouts = s.Timeouts
		}
		if s.Answer != nil {
			d.answer = s.Answer
		}
	}
	if d.step < 0 {
		return false
	}
	mode := g.model.Mode
	if d.shed >= class {
		x.countGiven(g, giveShed)
		g.scope.gate.Shed(class)
		if mode != model.ModeObserve {
			x.shed(g, class, "its class is shed while the scope is this busy")
			return true
		}
	}
	if mode == model.ModeObserve {
		x.observeGiven(g, &d)
		return false
	}
	if d.stale > 0 && x.serveStale(d.stale) {
		x.countGiven(g, giveStale)
		return true
	}
	if d.answer != nil {
		x.countGiven(g, giveAnswer)
		x.giveAnswer(d.answer)
		return true
	}
	if d.retries {
		x.countGiven(g, giveRetries)
		x.overload.fewer = true
	}
	if d.timeouts != nil {
		x.countGiven(g, giveTime)
		x.shorten(d.timeouts)
	}
	return false
}

// observeGiven counts what a request would have been given less.
func (x *exchange) observeGiven(g *guard, d *degraded) {
	for i, would := range [gives]bool{
		giveRetries: d.retries, giveTime: d.timeouts != nil, giveStale: d.stale > 0, giveAnswer: d.answer != nil,
	} {
		if would {
			x.countGiven(g, i)
		}
	}
}

// countGiven counts that something was given up, at the first step that does.
func (x *exchange) countGiven(g *guard, what int) {
	for i := what; i < len(g.gives); i += gives {
		if g.gives[i] != nil {
			g.gives[i].Count(g.model.Mode)
			return
		}
	}
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
