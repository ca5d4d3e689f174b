package proxy

import (
	"bytes"
	"time"

	"weir.dev/weir/dataplane/overload"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/stale"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/limit"
	load "weir.dev/weir/traffic/overload"
	"weir.dev/weir/traffic/pressure"
)

// Overloads returns how every scope stands, by name.
func (p *Proxy) Overloads() []overload.Status { return p.overloads.Statuses() }

// Throttles returns what the throttle of every cluster that has one has counted, by name.
func (p *Proxy) Throttles() []overload.ThrottleStatus { return p.overloads.Throttles() }

// admission is what overload has to do with the present request.
type admission struct {
	class    model.Class // ClassNone: nobody has asked yet
	line     string      // for the next host; empty: nothing to say
	gate     *load.Gate  // where the request has a place, that it gives back; nil: nowhere
	since    transport.Instant
	throttle *load.Throttle // that wants to know how it ends; nil: none
	fewer    bool           // there are no tries after the first
	timeouts model.Timeouts // shorter than the route's
	keeping  *stale.Keeping // the answer is kept, for when there is too much to do; nil: it is not
	keeper   *stale.Keeping // made by the first request whose answer may be kept
	turn     *turn          // made by the first request that waits
}

// priorityLines are what the next host is told of a class.
var priorityLines = func() (lines [model.Classes]string) {
	for c := model.ClassSheddable; c < model.Classes; c++ {
		lines[c] = "X-Weir-Priority: " + c.String() + "\r\n"
	}
	return lines
}()

var priorityField = []byte("x-weir-priority")

// classify finds out how important the request is: what a trusted caller says comes first, then
// the route's priorities. Who passes through a trusted proxy has passed its own policy; that it
// does not hand on what strangers claim is what trust means.
func (x *exchange) classify() model.Class {
	o := &x.overload
	if o.class != model.ClassNone {
		return o.class
	}
	if x.id.Marked && x.caller.Trusted {
		o.class = x.claimedClass()
	}
	g := x.route.guard
	if o.class == model.ClassNone && g != nil && g.Priorities != nil {
		o.class = g.Priorities.Class(x.known())
		x.facts = policy.Facts{}
	}
	o.line = priorityLines[o.class]
	if o.class == model.ClassNone {
		o.class = model.ClassCritical
	}
	return o.class
}

// claimedClass returns the class that the caller's x-weir-priority names, the first that is one, and
// marks all of them as dropped: what is forwarded is written anew.
func (x *exchange) claimedClass() model.Class {
	claimed := model.ClassNone
	for i := range x.req.Fields {
		f := &x.req.Fields[i]
		if f.Dropped || !bytes.EqualFold(x.req.Name(i), priorityField) {
			continue
		}
		if c, ok := policy.ParsePriority(x.req.Value(i)); ok && claimed == model.ClassNone {
			claimed = c
		}
		f.Dropped = true
	}
	return claimed
}

// giveWay refuses requests of the two lowest classes while the process is short of something,
// on whatever route.
func (x *exchange) giveWay() bool {
	if x.p.cfg.Pressure.Layer() < pressure.Hold || x.classify() > model.ClassSheddablePlus {
		return false
	}
	x.p.pressedOut.Count(model.ModeEnforce)
	x.refuse(refusal{flag: model.FlagOM, detail: "the process is short of something, and this request is sheddable", retryAfter: pressedRetry})
	return true
}

// admit lets the request pass when there is room for it, at once or after a wait, or gives it
// less than usual, or refuses it.
func (x *exchange) admit() (answered bool) {
	g := x.route.guard
	class := x.classify()
	if g.Scope == nil {
		return false
	}
	if len(g.Model.Degrade) > 0 && x.degrade(g, class) {
		return true
	}
	gate := g.Scope.Gate
	if g.Stale > 0 && g.Model.Mode != model.ModeObserve {
		x.considerKeeping()
	}
	if gate.Try(time.Duration(x.asked), class) {
		x.overload.gate, x.overload.since = gate, x.asked
		return false
	}
	return x.compete(g, class)
}

// compete asks for a place where there may be none. It costs a look at whose the request is.
func (x *exchange) compete(g *overload.Guard, class model.Class) (answered bool) {
	o, gate := &x.overload, g.Scope.Gate
	var row uint64
	var w *load.Waiter
	if q := g.Model.Queue; q != nil && g.Model.Mode != model.ModeObserve {
		if g.Fair != nil {
			row, _ = g.Fair.Hash(x.known())
			x.facts = policy.Facts{}
		}
		w = x.newTurn(gate)
	}
	v := gate.Enter(time.Duration(x.asked), class, row, w)
	admitted, why := v.Kind == load.Admitted, v.Why
	if v.Kind == load.Queued {
		var ended *refusal
		if admitted, why, ended = x.await(gate, g.Model.Queue.Timeout); ended != nil {
			x.refuse(*ended)
			return true
		}
	}
	if admitted {
		o.gate, o.since = gate, x.asked
		if x.waited {
			o.since = transport.Now()
		}
	}
	if why == load.WhyNone {
		return false
	}
	g.Scope.Count(why, g.Model.Mode)
	if admitted { // observed
		return false
	}
	x.shed(g, class, shedReasons[why])
	return true
}

// shedReasons are the details of refusals.
var shedReasons = [...]string{
	load.WhyConcurrency: "as many requests as may be are in flight",
	load.WhyPriority:    "what room there is is for more important requests",
	load.WhyQueue:       "the queue is full, or the wait was too long",
}

// shed refuses the request and counts whose it was. When to come again is drawn, so that those
// who are refused together do not come back together.
func (x *exchange) shed(g *overload.Guard, class model.Class, detail string) {
	if g.Fair != nil {
		var memory [80]byte
		if name := g.Fair.AppendTenant(memory[:0], x.known()); len(name) > 0 {
			g.Scope.Tenants.Add(name)
		}
		x.facts = policy.Facts{}
	}
	x.refuse(refusal{flag: model.FlagPO, detail: detail + " (" + class.String() + ")", retryAfter: x.comeAgain()})
}

// comeAgain is when somebody refused may ask again: one to three seconds.
func (x *exchange) comeAgain() time.Duration {
	return time.Second * time.Duration(1+x.p.cfg.Random()%3)
}

// leave gives back the request's place and says how its service did. It may be called again.
func (x *exchange) leave() {
	o := &x.overload
	if o.gate == nil && o.throttle == nil {
		return
	}
	now := x.idleSince
	if now < x.started {
		now = transport.Now()
	}
	result := x.judgeService()
	if o.gate != nil {
		began, ended := max(o.since, x.timings.attempt), now
		if x.up.answered > began { // what follows the head goes at the client's pace as well
			ended = x.up.answered
		}
		o.gate.Leave(time.Duration(now), ended.Sub(began), o.class, result)
		o.gate = nil
	}
	if o.throttle != nil {
		if result != limit.Ignored || x.unreached() {
			o.throttle.Count(time.Duration(now), result == limit.Answered)
		}
		o.throttle = nil
	}
}

// judgeService says what the end of the request tells about how much its service can carry.
func (x *exchange) judgeService() limit.Outcome {
	if x.timings.attempt == 0 || x.arm == nil {
		return limit.Ignored
	}
	switch flag := x.result.flag; {
	case flag == model.FlagUT, flag == model.FlagPT && !x.excused(x.up, flag):
		return limit.Dropped
	case flag == model.FlagU5 && x.req.GRPC:
		switch x.lastCode() {
		case model.GRPCUnavailable, model.GRPCResourceExhausted, model.GRPCDeadlineExceeded:
			return limit.Dropped
		}
	case flag == model.FlagU5 && (x.result.status == 503 || x.result.status == 504), flag == model.FlagNone && x.result.status == 429:
		return limit.Dropped
	case flag == model.FlagNone:
		return limit.Answered
	}
	return limit.Ignored
}

// lastCode is the code that a call ended with.
func (x *exchange) lastCode() model.GRPCCode {
	if end := x.call.end; end > 0 && end < telemetry.GRPCOther {
		return model.GRPCCode(end - 1)
	}
	return x.up.code
}

// unreached reports whether the service could not be reached, or broke off: it accepted nothing.
func (x *exchange) unreached() bool {
	switch x.result.flag {
	case model.FlagUF, model.FlagUC, model.FlagUR, model.FlagUH, model.FlagUPE, model.FlagU5:
		return true
	}
	return false
}

// throttled refuses the request if its cluster would probably do so itself.
func (x *exchange) throttled() bool {
	t := x.arm.throttle
	if t == nil {
		return false
	}
	spec, now := x.route.model.Overload.Throttle, time.Duration(x.asked)
	x.overload.throttle = t.State
	mode := x.route.model.Overload.Mode
	if mode == model.ModeObserve {
		p := t.State.Probability(now, spec.AcceptRatio, x.classify())
		if p > 0 && float64(x.p.cfg.Random()>>11)/(1<<53) < p {
			t.Count.Count(mode)
		}
		return false
	}
	if !t.State.Refuse(now, spec.AcceptRatio, x.classify(), x.p.cfg.Random) {
		return false
	}
	t.Count.Count(mode)
	x.overload.throttle = nil
	x.refuse(refusal{flag: model.FlagPO, detail: "the backend refuses many requests (" + x.overload.class.String() + ")", retryAfter: x.comeAgain()})
	return true
}

// noRetries reports whether there are no tries after the first, because there is too much to do.
func (x *exchange) noRetries() bool { return x.overload.fewer }
