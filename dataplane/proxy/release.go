package proxy

import (
	"time"

	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	judge "weir.dev/weir/traffic/guard"
)

// Tune puts the live changes beside the snapshot into effect, all of them each time: what k does not
// hold is forgotten, and what is in effect already goes on as it is. An error names the knobs that
// cannot be: their releases are stable's, and the others act.
func (p *Proxy) Tune(k *model.Knobs) error {
	p.faults.stop(k.StoppedFaults)
	return p.releases.Tune(k)
}

// Trips has a value when a release has tripped since the last one was taken.
func (p *Proxy) Trips() <-chan struct{} { return p.releases.Trips() }

// Releases returns what the proxy has seen of every release whose knob has effect, by name.
func (p *Proxy) Releases() []model.ReleaseObservation { return p.releases.Observe() }

// chooseReleased chooses the arm of a request by its route's release, and inside it the host of its
// session.
func (x *exchange) chooseReleased() *arm {
	r := x.route
	facts := x.known()
	at := x.drawn.Choose(r.release, facts, x.id.Marked && x.caller.Trusted, x.p.cfg.Random)
	if r.keys != nil {
		x.bond.hash, x.bond.hashed = r.keys.Hash(facts)
	}
	x.facts = policy.Facts{}
	if at < 0 {
		return nil
	}
	chosen := &r.arms[at]
	if r.session != nil {
		x.bond.now = time.Now()
		if token, ok := r.session.Read(&x.req.Head, x.bond.now); ok && chosen.cluster != nil {
			x.bond.held = chosen.cluster.ByToken(token)
		}
	}
	x.armMemory = x.drawn.Mark(x.armMemory)
	began := x.asked
	if x.waited {
		began = 0
	}
	x.drawn.Begin(x.c.Shard, began)
	return chosen
}

// appendUserID appends the field that gives the client its id, if it needs one. An answer that is for everybody
// brings none: from a shared cache all would get the same, or it would not keep the answer for it.
func (x *exchange) appendUserID(dst []byte) []byte {
	if !x.drawn.New() {
		return dst
	}
	value, _ := x.up.resp.Joined("cache-control")
	if c := policy.ParseCacheControl(value); c.Public || c.Shared {
		return dst
	}
	return x.drawn.AppendUserID(dst, x.view.forwarding.HTTPS(&x.caller, &x.req.Head))
}

// judgeTry judges a try that has just ended so, as far as it can be judged yet: a first one that
// has failed, and a failure that is the client's answer.
func (x *exchange) judgeTry(fail *failure) {
	if fail == nil {
		if x.badHead() {
			x.drawn.Fail()
		}
		return
	}
	v := x.verdictOf(fail.flag)
	if fail.flag == model.FlagU5 && !x.resultOfTry(x.up, fail.flag).Failed() {
		v = judge.Good // whoever answers 429 to be asked again is not faulty
	}
	x.drawn.FirstTry(v)
}

// judgeLast judges a failure after which no try follows: it is what the client gets.
func (x *exchange) judgeLast(fail *failure) {
	if x.verdictOf(fail.flag) == judge.Bad {
		x.drawn.Fail()
	}
}

// verdictOf is what the request, or a try, that ended with this flag says about its arm. Before anybody was
// asked, and after a delay of our own, the time that has passed is not the arm's.
func (x *exchange) verdictOf(flag model.Flag) judge.Verdict {
	return x.drawn.Verdict(flag, x.up.host != nil && (flag != model.FlagPT || !x.broken.late))
}

// badHead reports whether the head of the answer says already that it is a failure.
func (x *exchange) badHead() bool {
	if x.req.GRPC {
		code, known := x.up.verdict()
		return known && code.Faulty()
	}
	return x.up.resp.Status >= 500
}

// fallBack has a request whose try at a canary that has tripped ended so sent to stable, if it may
// be sent twice, and reports whether it is. This is free of the retry budget, and done once.
func (x *exchange) fallBack(fail *failure) bool {
	if !x.drawn.OnLostCanary() || x.result.sent || !x.inTime(0) {
		return false
	}
	unsent := false
	if fail != nil {
		switch fail.flag.Blame() {
		case model.BlameClient, model.BlameProxy:
			return false
		}
		unsent = fail.unsent
		if !x.body.replayable() && (!unsent || !x.body.untouched()) {
			return false
		}
	} else if !x.badHead() {
		return false
	}
	if !unsent && !idempotent(x.req.Method) && (x.route.retry == nil || !x.repeats(x.route.retry)) {
		return false
	}
	stable := x.route.stable()
	if stable.cluster == nil {
		return false
	}
	pass, refused := stable.cluster.Admit(transport.Now(), false)
	if refused != nil {
		return false
	}
	if fail == nil {
		if !x.recall() {
			pass.Excuse()
			return false
		}
		x.endTry(x.timings.attempt, &failure{flag: model.FlagU5})
	}
	x.dropRetry()
	x.next = pass
	stable.cluster.First(transport.Now(), x.c.Shard)
	x.result.retries++
	x.toStable()
	return true
}

// stable is the stable arm of the route's release.
func (r *route) stable() *arm { return &r.arms[r.release.Stable()] }

// toStable makes stable the arm of a request that was the canary's.
func (x *exchange) toStable() {
	x.arm = x.route.stable()
	x.bond.held = nil
	x.overload.throttle = nil
	x.armMemory = x.drawn.Fall(x.armMemory)
}
