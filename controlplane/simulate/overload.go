package simulate

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/expression"
	"weir.dev/weir/traffic/limit"
	"weir.dev/weir/traffic/overload"
)

// guard is a route's model.Overload for the requests of one kind: all of them are of one class.
type guard struct {
	model *model.Overload
	gate  *overload.Gate // nil: nothing bounds the requests
	class model.Class
	fair  fairness
}

// fairness is whose requests take turns in the queue.
type fairness struct {
	lane uint64 // of all of them alike
	own  bool   // each person has turns of its own, as with clientIP
}

// guard makes what a route has for requests like one; nil: nothing.
func (p *planner) guard(m *model.Route, f *facts) *guard {
	o := m.Overload
	if o == nil || o.Mode == model.ModeDisabled {
		return nil
	}
	g := &guard{model: o, class: f.class(o.Priorities)}
	if o.Limit == 0 && o.Adaptive == nil {
		return g
	}
	if g.gate = p.s.scopes[o.Scope]; g.gate == nil {
		g.gate = overload.NewGate(overload.Config{
			Limit: o.Limit, Adaptive: o.Adaptive, Queue: o.Queue, Observe: o.Mode == model.ModeObserve,
		}, p.s.random.Uint64())
		p.s.scopes[o.Scope] = g.gate
	}
	if o.Queue != nil {
		g.fair = f.fairness(o.Queue.FairBy)
	}
	return g
}

// admission is what overload has to do with a request.
type admission struct {
	class    model.Class
	gate     *overload.Gate // where the request has a place, that it gives back; nil: nowhere
	since    moment
	waiter   *overload.Waiter // while it waits
	patience *timer
	throttle *overload.Throttle // that wants to know how it ends
	fewer    bool               // there are no tries after the first
	timeouts *model.Timeouts    // shorter than the route's; nil: the route's
}

func (a *admission) noRetries() bool { return a.fewer }

// elapsed is the time as the gates take it.
func (s *simulation) elapsed() time.Duration { return time.Duration(s.now) }

// admit reports whether the request goes on at once. Else it has been answered, or waits.
func (r *request) admit() bool {
	g := r.route.guard
	r.overload.class = model.ClassCritical
	if g == nil {
		return true
	}
	r.overload.class = g.class
	if g.gate == nil {
		return true
	}
	if r.degrade(g) {
		return false
	}
	if g.gate.Try(r.s.elapsed(), g.class) {
		r.overload.gate, r.overload.since = g.gate, r.s.now
		return true
	}
	var w *overload.Waiter
	if g.model.Queue != nil && g.model.Mode != model.ModeObserve {
		w = &overload.Waiter{Wake: r.woken}
	}
	lane := g.fair.lane
	if g.fair.own {
		lane = r.hash
	}
	r.overload.waiter = w
	switch v := g.gate.Enter(r.s.elapsed(), g.class, lane, w); v.Kind {
	case overload.Admitted:
		r.overload.gate, r.overload.since, r.overload.waiter = g.gate, r.s.now, nil
		return true
	case overload.Queued:
		wait := g.model.Queue.Timeout
		if r.by != 0 {
			wait = min(wait, r.by.sub(r.s.now))
		}
		r.overload.patience = r.s.after(max(wait, 0), r.tires)
	default:
		r.overload.waiter = nil
		r.answer(answer{503, model.FlagPO})
	}
	return false
}

// woken takes what the gate says of a request that waits, under its lock: what follows comes
// after.
func (r *request) woken(admitted bool, _ overload.Why) {
	r.s.after(0, func() {
		a := &r.overload
		a.patience.stop()
		a.waiter = nil
		switch {
		case !admitted && !r.over:
			r.answer(answer{503, model.FlagPO})
		case admitted && r.over:
			r.route.guard.gate.Leave(r.s.elapsed(), 0, a.class, limit.Ignored)
		case admitted:
			a.gate, a.since = r.route.guard.gate, r.s.now
			r.carry()
		}
	})
}

// tires ends a wait that has been too long.
func (r *request) tires() {
	a := &r.overload
	if a.waiter == nil || !r.route.guard.gate.Withdraw(a.waiter, true) {
		return // it has been woken
	}
	a.waiter = nil
	flag, status := model.FlagPO, 503
	if r.by != 0 && r.s.now >= r.by {
		flag, status = model.FlagPT, 504
	}
	r.answer(answer{status, flag})
}

// degrade gives the request less while there is much to do. It returns true if that is an
// answer instead of the service's.
func (r *request) degrade(g *guard) bool {
	if len(g.model.Degrade) == 0 || g.model.Mode == model.ModeObserve {
		return false
	}
	heat := g.gate.Heat(r.s.elapsed())
	for i := range g.model.Degrade {
		d := &g.model.Degrade[i]
		if !heat.Active(d.At, r.s.random.Uint64) {
			continue
		}
		if d.Timeouts != nil {
			r.shorten(d.Timeouts)
		}
		r.overload.fewer = r.overload.fewer || d.NoRetries
		switch {
		case d.Shed != model.ClassNone && g.class <= d.Shed:
			r.answer(answer{503, model.FlagPO})
		case d.ServeStale > 0 && r.route.fresh(r.s.now, d.ServeStale):
			r.answer(answer{200, model.FlagPD})
		case d.Answer != nil:
			r.answer(answer{d.Answer.Status, model.FlagPD})
		default:
			continue
		}
		return true
	}
	return false
}

// fresh reports whether some answer of the route is young enough to be given again.
func (r *route) fresh(now moment, most time.Duration) bool {
	return r.idempotent && r.answered != 0 && now.sub(r.answered) <= most
}

// shorten takes the shorter of the timeouts.
func (r *request) shorten(t *model.Timeouts) {
	merged := r.timeouts()
	if t.Request > 0 && (merged.Request == 0 || t.Request < merged.Request) {
		merged.Request = t.Request
		r.by = earlier(r.by, within(r.began, t.Request))
	}
	if t.PerTry > 0 && (merged.PerTry == 0 || t.PerTry < merged.PerTry) {
		merged.PerTry = t.PerTry
	}
	r.overload.timeouts = &merged
}

func (r *request) timeouts() model.Timeouts {
	if t := r.overload.timeouts; t != nil {
		return *t
	}
	return r.route.model.Timeouts
}

// throttled refuses a request that its cluster would probably refuse itself.
func (r *request) throttled() bool {
	g, t := r.route.guard, r.cluster.throttle
	if g == nil || g.model.Throttle == nil {
		return false
	}
	r.overload.throttle = t
	if g.model.Mode == model.ModeObserve || !t.Refuse(r.s.elapsed(), g.model.Throttle.AcceptRatio, r.overload.class, r.s.random.Uint64) {
		return false
	}
	r.overload.throttle = nil
	r.answer(answer{503, model.FlagPO})
	return true
}

// ends gives back the request's place and says how its service did.
func (a *admission) ends(r *request, how answer) {
	s := r.s
	if a.waiter != nil && r.route.guard.gate.Withdraw(a.waiter, false) {
		a.waiter = nil
		a.patience.stop()
	}
	verdict := how.verdict(r.excuses())
	if how.flag == model.FlagNone {
		r.route.answered = s.now
	}
	if a.gate != nil {
		a.gate.Leave(s.elapsed(), s.now.sub(a.since), a.class, verdict)
		a.gate = nil
	}
	if a.throttle != nil {
		if verdict != limit.Ignored || how.unreached() {
			a.throttle.Count(s.elapsed(), verdict == limit.Answered)
		}
		a.throttle = nil
	}
}

// verdict is what the answer says about how much the service can carry, as dataplane/proxy
// judges it.
func (a answer) verdict(excused bool) limit.Outcome {
	switch {
	case a.flag == model.FlagUT, a.flag == model.FlagPT && !excused, a.flag == model.FlagU5 && (a.status == 503 || a.status == 504):
		return limit.Dropped
	case a.flag == model.FlagNone:
		return limit.Answered
	}
	return limit.Ignored
}

func (a answer) unreached() bool {
	return slices.Contains([]model.Flag{model.FlagUF, model.FlagUC, model.FlagUH, model.FlagU5}, a.flag)
}

// facts are what expressions and keys see of a request that nobody sends (expression.Input). Who sends it
// is not known.
type facts struct {
	request *resource.TestRequest
	route   *model.Route
	method  string
}

// class is the class of the first condition that holds.
func (f *facts) class(list []model.Priority) model.Class {
	for _, p := range list {
		if p.When == "" {
			return p.Class
		}
		program, err := expression.Compile(p.When, expression.Forwarding, expression.Bool)
		if err != nil {
			continue
		}
		if holds, err := program.Bool(f); err == nil && holds {
			return p.Class
		}
	}
	return model.ClassCritical
}

// fairness tells by the first key that the request has whose it is.
func (f *facts) fairness(keys []model.Key) fairness {
	for _, k := range keys {
		value, ok := "", false
		switch k.Source {
		case model.KeyHeader:
			value, ok = f.Lookup(expression.Headers, k.Name)
		case model.KeyQuery:
			value, ok = f.Lookup(expression.Query, k.Name)
		case model.KeyClientIP:
			return fairness{own: true}
		case model.KeyExpression:
			if program, err := expression.Compile(k.Name, expression.Forwarding, expression.String); err == nil {
				value, err = program.Text(f)
				ok = err == nil
			}
		}
		if ok && value != "" {
			return fairness{lane: hashOf(value)}
		}
	}
	return fairness{}
}

// hashOf is FNV-1a, spread over all bits.
func hashOf(text string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return h ^ h>>29
}

// Text implements expression.Input.
func (f *facts) Text(a expression.Attribute) string {
	u, err := url.Parse(f.request.URL)
	if err != nil {
		return ""
	}
	switch a {
	case expression.Method:
		return f.method
	case expression.Scheme:
		return u.Scheme
	case expression.Host:
		return strings.ToLower(u.Hostname())
	case expression.Path:
		return u.Path
	case expression.RouteNamespace:
		return f.route.Namespace
	case expression.RouteName:
		return f.route.Object
	case expression.RouteRule:
		return f.route.Rule
	}
	return ""
}

// Number implements expression.Input: neither ports nor the time of day are known.
func (f *facts) Number(expression.Attribute) int64 { return 0 }

// Lookup implements expression.Input.
func (f *facts) Lookup(c expression.Attribute, name string) (string, bool) {
	switch c {
	case expression.Headers:
		var values []string
		for _, h := range f.request.Headers {
			if strings.EqualFold(h.Name, name) {
				values = append(values, h.Value)
			}
		}
		return strings.Join(values, ","), len(values) > 0
	case expression.Query:
		if u, err := url.Parse(f.request.URL); err == nil && u.Query().Has(name) {
			return u.Query().Get(name), true
		}
	}
	return "", false
}
