package simulate

import (
	"slices"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/health"
	"weir.dev/weir/traffic/retry"
)

// sending is what is known of a request when it is sent.
type sending struct {
	call   *call
	site   *site
	root   *root
	by     moment       // the sender's deadline that the proxy is told of; 0: none
	marked bool         // the sender makes it again itself
	hash   uint64       // of whose it is; 0: nobody's
	done   func(answer) // called once, unless the sender leaves before
}

// root is what a caller wants, whatever number of requests it becomes.
type root struct {
	visited uint64 // sites that were tried for it
}

// answer is what a sender gets.
type answer struct {
	status int
	flag   model.Flag
}

// request is one request at the proxy: dataplane/proxy's exchange, as far as time and load go.
type request struct {
	sending

	s       *simulation
	route   *route
	cluster *cluster
	began   moment
	by      moment // 0: never
	over    bool

	retries int // begun, hedges included
	tried   []*host
	tries   []*try // under way
	pause   *timer // until the next try
	next    pass   // of it
	hedge   *timer

	overload admission
}

// try is one attempt of a request.
type try struct {
	request *request
	host    *host
	pass    pass
	job     *job // nil: not there, or answered
	began   moment
	by      moment // 0: never
	timeout *timer
	over    bool
	raced   bool // it was sent again on a new connection, free of charge
	reused  bool // its connection served others before
}

// result is what becomes of a try: a status, or a flag for what happened instead.
type result struct {
	status int
	flag   model.Flag
	unsent bool // the host has not acted upon it
}

// send has a request travel to the proxy.
func (s *simulation) send(what sending) *request {
	r := &request{sending: what, s: s}
	s.underWay++
	s.after(s.oneWay(), r.arrive)
	return r
}

// arrive is the request's arrival at the proxy.
func (r *request) arrive() {
	if r.over {
		return
	}
	r.route = r.call.route
	r.began = r.s.now
	r.by = earlier(r.sending.by, within(r.began, r.route.model.Timeouts.Request))
	if r.admit() {
		r.carry()
	}
}

// carry makes the first try.
func (r *request) carry() {
	if r.by != 0 && r.s.now >= r.by {
		r.answer(answer{504, model.FlagPT})
		return
	}
	r.cluster = r.route.arm(r.s)
	if r.cluster == nil {
		r.answer(answer{500, model.FlagNC})
		return
	}
	if r.throttled() {
		return
	}
	p, refusal := r.cluster.admit(false)
	if refusal != goesOn {
		r.answer(answer{503, model.FlagUO})
		return
	}
	if r.route.retry != nil {
		r.cluster.budget.First(int64(r.s.now), 0)
	}
	r.try(p, false)
	r.planHedge()
}

// try begins an attempt that the breaker has let through: it chooses a host, then takes a
// connection.
func (r *request) try(p pass, again bool) {
	s, c := r.s, r.cluster
	t := &try{request: r, pass: p, began: s.now}
	t.by = earlier(r.by, within(s.now, r.timeouts().PerTry))
	if t.host = c.pick(r); t.host == nil {
		p.excuse()
		if len(r.tries) == 0 {
			r.answer(answer{503, model.FlagUH})
		}
		return
	}
	r.count(again)
	r.tries = append(r.tries, t)
	t.host.load.Begin()
	if t.by != 0 {
		t.timeout = s.at(t.by, t.expire)
	}
	c.connect(t)
}

// count counts a try as load of its service: needed, or on top.
func (r *request) count(again bool) {
	k := &r.cluster.service.counts
	k.tries++
	if again {
		k.retries++
	}
	if r.root.visited&r.site.bit == 0 {
		r.root.visited |= r.site.bit
		k.needed++
	}
}

// connected sends the request, over a connection that served others or a new one.
func (t *try) connected(reused bool) {
	t.reused = reused
	s := t.request.s
	s.after(s.oneWay(), t.reach)
}

// reach is the request's arrival at the host.
func (t *try) reach() {
	if !t.over {
		t.host.server.arrive(t)
	}
}

// ends has the result travel back from the host.
func (t *try) ends(r result) {
	t.job = nil
	s := t.request.s
	s.after(s.oneWay(), func() {
		if !t.over {
			t.finish(r)
		}
	})
}

// unheard ends a try to whose connection nobody has said anything.
func (t *try) unheard() {
	if wait := t.host.cluster.spec.ConnectTimeout; wait > 0 {
		t.request.s.at(t.began.add(wait), func() {
			if !t.over {
				t.finish(result{flag: model.FlagUF, unsent: true})
			}
		})
	}
}

// expire ends a try whose time is up.
func (t *try) expire() {
	flag := model.FlagUT
	if t.by == t.request.by {
		flag = model.FlagPT
	}
	t.abandon()
	t.finish(result{flag: flag, unsent: !t.host.cluster.connectedTry(t)})
}

// abandon closes the connection: the host may notice that.
func (t *try) abandon() {
	if j := t.job; j != nil {
		t.job = nil
		s := t.request.s
		j.try = nil
		s.after(s.oneWay(), j.left)
	}
}

// finish ends a try with what the proxy sees of it.
func (t *try) finish(res result) {
	r := t.request
	if res.flag == model.FlagUC && t.reused && !t.raced && r.route.idempotent {
		t.raced, t.reused = true, false // the race of a kept connection: one more on a new one is free
		t.connected(false)
		return
	}
	t.over = true
	t.timeout.stop()
	t.host.cluster.disconnect(t)
	kind := health.Served
	switch {
	case res.flag == model.FlagPT && r.excuses():
		t.host.cancel()
		t.pass.excuse()
		r.ended(t, res)
		return
	case res.flag != 0:
		kind = health.Unanswered
	case res.status >= 500:
		kind = health.Faulty
	}
	t.host.end(kind, r.s.now.sub(t.began))
	t.pass.done(kind.Failed())
	r.ended(t, res)
}

// excuses reports whether a request that ran out of time says nothing about its host: when the
// time was its sender's.
func (r *request) excuses() bool { return r.sending.by != 0 && r.by == r.sending.by }

// drop ends a try that nobody needs any more.
func (t *try) drop() {
	if t.over {
		return
	}
	t.over = true
	t.timeout.stop()
	t.abandon()
	t.host.cancel()
	t.host.cluster.disconnect(t)
	t.pass.excuse()
}

// ended decides what follows a try.
func (r *request) ended(t *try, res result) {
	if r.over {
		return
	}
	r.tries = slices.DeleteFunc(r.tries, func(o *try) bool { return o == t })
	r.tried = append(r.tried, t.host)
	if res.flag == 0 && !r.unwanted(res) {
		r.cluster.observe(r.s.now.sub(t.began))
		flag := model.Flag(0)
		if res.status >= 500 {
			flag = model.FlagU5
		}
		r.answer(answer{res.status, flag})
		return
	}
	if len(r.tries) > 0 {
		return // another one may still succeed
	}
	spent := r.again(res)
	if spent == goesOn {
		return
	}
	r.answer(r.failed(res, spent))
}

// failed is the answer after the last try.
func (r *request) failed(res result, spent next) answer {
	switch {
	case res.flag == 0:
		return answer{res.status, model.FlagU5}
	case spent == overBudget:
		return answer{503, model.FlagURX}
	case res.flag == model.FlagUT || res.flag == model.FlagPT:
		return answer{504, res.flag}
	case res.flag == model.FlagUC:
		return answer{502, res.flag}
	}
	return answer{503, res.flag}
}

// next is what follows a failed try.
type next uint8

const (
	gaveUp     next = iota // the policy has no more, or the breaker is open
	overBudget             // the budget or the bound of retries has no more
	goesOn
)

// unwanted reports whether an answer calls for another try.
func (r *request) unwanted(res result) bool {
	return r.route.codes[res.status] && r.route.repeats
}

// again plans another try, if the policy, the time and the budget allow it.
func (r *request) again(res result) next {
	m := r.route.retry
	if m == nil || r.retries >= m.Attempts || r.overload.noRetries() || !r.route.repeatsAfter(res) || res.flag == model.FlagPT || res.flag == model.FlagUO {
		return gaveUp
	}
	if r.marked && !m.Nested && !res.unsent {
		return gaveUp
	}
	wait := retry.Backoff(m, r.retries+1, r.s.random.Uint64())
	if r.by != 0 && r.by.sub(r.s.now) <= wait {
		return gaveUp
	}
	p, denied := r.cluster.admitExtra(m.Budget)
	if denied != goesOn {
		return denied
	}
	r.retries++
	r.next = p
	r.pause = r.s.after(wait, func() {
		p, r.next, r.pause = r.next, pass{}, nil
		r.try(p, true)
	})
	return goesOn
}

// planHedge sends a try beside the first, when that has taken so long.
func (r *request) planHedge() {
	m := r.route.retry
	if r.over || m == nil || m.Hedge == nil || !m.Hedge.Mode.Acts() || !r.route.repeats {
		return
	}
	wait, ok := m.Hedge.After, true
	if wait == 0 {
		wait, ok = r.cluster.quantile(m.Hedge.Quantile)
	}
	if !ok {
		return
	}
	left := m.Hedge.Max
	var fire func()
	fire = func() {
		if r.over || len(r.tries) == 0 || left == 0 || r.overload.noRetries() {
			return
		}
		p, denied := r.cluster.admitExtra(m.Budget)
		if denied != goesOn {
			return
		}
		left--
		for _, t := range r.tries {
			r.tried = append(r.tried, t.host)
		}
		r.try(p, true)
		r.hedge = r.s.after(wait, fire)
	}
	r.hedge = r.s.after(wait, fire)
}

// answer ends the request and has the answer travel to its sender.
func (r *request) answer(a answer) {
	if !r.end() {
		return
	}
	r.s.counts.flag(a.flag)
	r.overload.ends(r, a)
	r.s.after(r.s.oneWay(), func() {
		if r.done != nil {
			r.done(a)
		}
	})
}

// leave is the sender's leaving: it waits no more.
func (r *request) leave() {
	r.done = nil
	if r.end() && r.route != nil {
		r.s.counts.flag(model.FlagDC)
		r.overload.ends(r, answer{flag: model.FlagDC})
	}
}

// end ends all that is under way. It returns false if the request has ended before.
func (r *request) end() bool {
	if r.over {
		return false
	}
	r.over = true
	r.s.underWay--
	if r.pause != nil {
		r.pause.stop()
		r.next.excuse()
	}
	r.hedge.stop()
	for _, t := range r.tries {
		t.drop()
	}
	r.tries = nil
	return true
}

// marks reports whether the request carries the mark that its proxy makes it again.
func (r *request) marks() bool { return r.marked || r.route.retry != nil }

// within returns the moment a time after another; a time of 0 never ends.
func within(m moment, d time.Duration) moment {
	if d <= 0 {
		return 0
	}
	return m.add(d)
}

// earlier returns the earlier of two moments, where 0 is never.
func earlier(a, b moment) moment {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
