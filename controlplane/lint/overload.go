package lint

import (
	"fmt"
	"slices"
	"strings"

	"weir.dev/weir/controlplane/explain"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// limited reports whether the requests of a rule are counted against a limit.
func limited(o *model.Overload) bool { return o.Limit > 0 || o.Adaptive != nil }

// overloads calls f for each rule that says what it does under overload.
func (p *pass) overloads(f func(*model.Route, *model.Overload)) {
	for _, r := range p.routes() {
		if r.Overload != nil && r.Overload.Mode != model.ModeDisabled {
			f(r, r.Overload)
		}
	}
}

func queueOutlastsRequest(p *pass) {
	s := p.sayings()
	for _, r := range p.routes() {
		if wait, all := explain.QueueTime(r), r.Timeouts.Request; all > 0 && wait >= all {
			s.rule(r, []string{"overload.queue.timeout", "timeouts.request", "overload.queue.size"}, resource.Error,
				"the queue may hold a request for %v, which has %v in all (timeouts.request): what waits longest is done for nobody; lower it well below that", wait, all)
		}
	}
	s.report()
}

// overloadWithoutLimit finds queues and steps of degradation that no limit ever brings about. A
// queue goes with the limit of its own policy, steps go with any.
func overloadWithoutLimit(p *pass) {
	heeded, moded := map[string]bool{}, map[string]bool{} // policies with steps, or a mode, that a rule has
	for _, r := range p.routes() {
		if r.Overload != nil {
			heeded[r.Origins["overload.degrade"].Object] = true
			if o := r.Overload; limited(o) || o.Throttle != nil || o.Mode != model.ModeObserve {
				moded[r.Origins["overload.mode"].Object] = true
			}
		}
	}
	for o, policy := range resource.All[*v1alpha1.TrafficPolicy](p.set) {
		l := policy.Spec.Overload
		if l == nil || l.Concurrency != nil && (l.Concurrency.Adaptive != nil || l.Concurrency.Limit != nil && *l.Concurrency.Limit > 0) {
			continue
		}
		if l.Queue != nil {
			none := "this one has no overload.concurrency"
			if l.Concurrency != nil {
				none = "this one switches it off, with overload.concurrency.limit: 0"
			}
			p.report(o, "spec.overload.queue", "has no effect: a queue goes with the limit of the same policy, and %s", none)
		}
		name := v1alpha1.KindTrafficPolicy + "/" + o.Key.Namespace + "/" + o.Key.Name
		if l.Mode != nil && !moded[name] {
			p.report(o, "spec.overload.mode", "has no effect: the mode is that of the policy whose overload.concurrency holds, and without one there must be a throttle, for priorities alone refuse nothing; write it there")
		}
		if len(l.Degrade) > 0 && !heeded[name] {
			p.report(o, "spec.overload.degrade", "has no effect: its steps are shares of a limit, and no rule below has overload.concurrency")
		}
	}
}

// unreachablePriority finds priorities behind one that every request has.
func unreachablePriority(p *pass) {
	s := p.sayings()
	p.overloads(func(r *model.Route, o *model.Overload) {
		all := slices.IndexFunc(o.Priorities, func(c model.Priority) bool { return c.When == "" || c.When == "true" })
		if all < 0 || all == len(o.Priorities)-1 {
			return
		}
		s.rule(r, []string{"overload.priority"}, resource.Warning, "no request comes to number %d and those behind it: number %d has every one, as %v; put what has no condition last",
			all+2, all+1, o.Priorities[all].Class)
	})
	s.report()
}

// shedByNoClass finds steps that shed a class which no request has, or every one.
func shedByNoClass(p *pass) {
	trusting := p.trustedRules()
	s := p.sayings()
	p.overloads(func(r *model.Route, o *model.Overload) {
		if !limited(o) || trusting[r] {
			return
		}
		least, most := model.ClassCritical, model.ClassCritical // what nobody classifies
		if i := slices.IndexFunc(o.Priorities, func(p model.Priority) bool { return p.When == "" }); i >= 0 {
			least, most = o.Priorities[i].Class, o.Priorities[i].Class
		}
		for _, c := range o.Priorities {
			least, most = min(least, c.Class), max(most, c.Class)
		}
		for i, d := range o.Degrade {
			switch {
			case d.Shed == model.ClassNone:
			case d.Shed < least:
				s.rule(r, degradeFields(i, "shed"), resource.Warning, "sheds nothing: no request is %v or below, for overload.priority gives none that class, and no caller is trusted to (client.trust)", d.Shed)
			case d.Shed >= most:
				s.rule(r, degradeFields(i, "shed"), resource.Warning, "sheds everything: no request is above %v; from %s of the limit on all are refused, and the limit is never reached; classify what matters most in overload.priority", d.Shed, explain.Percent(d.At))
			}
		}
	})
	s.report()
}

func degradeFields(i int, action string) []string {
	return []string{fmt.Sprintf("overload.degrade[%d].%s", i, action), fmt.Sprintf("overload.degrade[%d]", i), "overload.degrade"}
}

// trustedRules are the rules of which a listener takes a caller's word for a priority.
func (p *pass) trustedRules() map[*model.Route]bool {
	tables := map[string]bool{}
	for _, l := range p.out.Snapshot.Listeners {
		c := &l.Client
		for _, t := range l.Tables {
			tables[t.Table] = tables[t.Table] || c.TrustHops > 0 || len(c.TrustAddresses) > 0 || len(c.TrustIdentities) > 0
		}
	}
	rules := map[*model.Route]bool{}
	for _, t := range p.out.Snapshot.RouteTables {
		for _, e := range t.Entries {
			rules[e.Route] = rules[e.Route] || tables[t.Name]
		}
	}
	return rules
}

// idleDegrade finds steps that give up what there is not.
func idleDegrade(p *pass) {
	s := p.sayings()
	p.overloads(func(r *model.Route, o *model.Overload) {
		for i, d := range o.Degrade {
			if d.NoRetries && !retries(r) && !hedges(r) {
				s.rule(r, degradeFields(i, "noRetries"), resource.Warning, "gives up nothing: there are no retries")
			}
			if d.Timeouts == nil {
				continue
			}
			if now := r.Timeouts.Request; now > 0 && d.Timeouts.Request >= now {
				s.rule(r, degradeFields(i, "timeouts"), resource.Warning, "gives up nothing: a request has %v as it is, not %v", now, d.Timeouts.Request)
			}
			if now := r.Timeouts.PerTry; now > 0 && d.Timeouts.PerTry >= now {
				s.rule(r, degradeFields(i, "timeouts"), resource.Warning, "gives up nothing: a try has %v as it is, not %v", now, d.Timeouts.PerTry)
			}
		}
	})
	s.report()
}

// staleWithCredentials finds answers that are kept where it shows that answers are somebody's.
func staleWithCredentials(p *pass) {
	s := p.sayings()
	p.overloads(func(r *model.Route, o *model.Overload) {
		why := credentials(r)
		if why == "" {
			return
		}
		for i, d := range o.Degrade {
			if d.ServeStale > 0 {
				s.rule(r, degradeFields(i, "serveStale"), resource.Warning, "answers may be somebody's own, for %s, and what carries credentials is never kept: little is served stale; give what is public a rule of its own", why)
			}
		}
	})
	s.report()
}

// credentials says by what it shows that requests of a rule say who sends them; empty: nothing.
func credentials(r *model.Route) string {
	switch {
	case r.Session != nil:
		return "the rule keeps sessions"
	case r.CORS != nil && r.CORS.AllowCredentials:
		return "CORS allows credentials"
	}
	names := []string{"authorization", "cookie"}
	for _, m := range r.Matches {
		for _, h := range m.Headers {
			if slices.Contains(names, strings.ToLower(h.Name)) {
				return "the rule matches the header " + h.Name
			}
		}
	}
	for _, k := range r.HashOn {
		if k.Source == model.KeyCookie || k.Source == model.KeyIdentity || k.Source == model.KeyHeader && slices.Contains(names, k.Name) {
			return "hashOn is " + k.String()
		}
	}
	return ""
}
