package lint

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// releases calls f for each route that a Rollout holds, with the Rollout; of several variants of
// one rule for the first.
func (p *pass) releases(f func(o *resource.Object, rollout *v1alpha1.Rollout, r *model.Route)) {
	held := map[string]*model.Route{}
	for _, r := range p.routes() {
		if release := r.Split.Release; release != nil && held[release.Name] == nil {
			held[release.Name] = r
		}
	}
	for o, rollout := range resource.All[*v1alpha1.Rollout](p.set) {
		if r := held[o.Key.Namespace+"/"+o.Key.Name]; r != nil {
			f(o, rollout, r)
		}
	}
}

// ungatedRelease finds Rollouts of which nobody is asked before everything goes to the canary, or
// before any stage. A guard sees what came to a canary, which at first is nothing.
func ungatedRelease(p *pass) {
	p.releases(func(o *resource.Object, rollout *v1alpha1.Rollout, r *model.Route) {
		guard := r.Split.Release.Guard
		switch stages := rollout.Spec.Stages; {
		case len(rollout.Spec.Gates) > 0:
		case len(stages) == 0:
			p.report(o, "spec.strategy", "gives the canary everything at once, and no gate is asked before; add gates, such as an approval once the cohorts have tried it, or go by stages")
		case len(stages) == 1:
			p.report(o, "spec.stages[0].share", "is the first stage already: the canary gets everything at once, and no gate is asked before; begin with a small share, or add gates")
		case guard.Errors == nil && guard.Latency == nil && guard.ConsecutiveFailures == 0:
			p.report(o, "spec.guard", "tests nothing, and there are no gates: only time passes between the stages, however the canary does; leave the guard at its defaults, or add gates")
		}
	})
}

// untriedCanary finds canaries that get everything by gates that nobody has a hand in, and nothing before: the
// switch waits for requests that do not come.
func untriedCanary(p *pass) {
	p.releases(func(o *resource.Object, rollout *v1alpha1.Rollout, _ *model.Route) {
		gates := rollout.Spec.Gates
		approved := slices.ContainsFunc(gates, func(g v1alpha1.Gate) bool { return g.Approval != nil })
		if len(rollout.Spec.Stages) == 0 && len(rollout.Spec.Cohorts) == 0 && len(gates) > 0 && !approved {
			p.report(o, "spec.gates", "wait until the canary has had minimumRequests of cohorts, and there are no cohorts: weir rollout promote alone makes the switch; add cohorts that preview it, or an approval")
		}
	})
}

// samplingWithoutKey finds users that nothing tells apart: they are drawn anew with each request, or
// are all stable's.
func samplingWithoutKey(p *pass) {
	asked := p.identityRoutes()
	p.releases(func(o *resource.Object, _ *v1alpha1.Rollout, r *model.Route) {
		s := &r.Split.Release.Sampling
		if s.Unit != model.SampleUsers || s.Fallback == model.FallbackCookie {
			return
		}
		unknown := !slices.ContainsFunc(s.Key, func(k model.Key) bool { return !needsIdentity(k) }) &&
			!slices.ContainsFunc(p.routes(), func(v *model.Route) bool { return v.Split.Name == r.Split.Name && asked[v] })
		then := "users change versions with each request"
		if s.Fallback == model.FallbackStable {
			then = "all requests are stable's, and the canary is never tried"
		}
		switch {
		case len(s.Key) == 0:
			p.report(o, "spec.sampling", "counts users, and has no key by which to tell them apart: %s; name a key, write fallback: Cookie, or say with unit: Request that it is meant", then)
		case unknown:
			p.report(o, "spec.sampling.key", "tells users apart by an identity that no listener asks them for: %s; set the Gateway's spec.tls.frontend, or use another key", then)
		}
	})
}

// sessionWithSampling finds sessions that a release tears: the arm comes first, and a session
// sticks inside it.
func sessionWithSampling(p *pass) {
	p.releases(func(o *resource.Object, rollout *v1alpha1.Rollout, r *model.Route) {
		s, session := &r.Split.Release.Sampling, r.Session
		if session == nil {
			return
		}
		if s.Unit == model.SampleRequests {
			field := "spec"
			if rollout.Spec.Sampling != nil {
				field = "spec.sampling"
			}
			p.report(o, field, "draws every request of %s anew, whose sessions then jump between stable and canary; name a key by which a user stays the same, or write fallback: Cookie", ruleText(r))
			return
		}
		for i, k := range s.Key {
			own := k.Source == model.KeyCookie && session.Type == model.SessionCookie || k.Source == model.KeyHeader && session.Type == model.SessionHeader
			if own && k.Name == session.Name {
				p.report(o, fmt.Sprintf("spec.sampling.key[%d]", i), "is the session that Weir itself gives on %s, and gives anew in the other arm: users would change arms by it; name something that is the user's own", ruleText(r))
			}
		}
	})
}

// copiesToCanary finds copies of requests that come to a canary beside its share: what it does
// with them no test sees, but it is slower for it.
func copiesToCanary(p *pass) {
	p.releases(func(o *resource.Object, _ *v1alpha1.Rollout, r *model.Route) {
		i := slices.IndexFunc(r.Split.Arms, func(a model.Arm) bool { return a.Name == r.Split.Release.Canary })
		if i < 0 || r.Split.Arms[i].Cluster == "" {
			return
		}
		canary := r.Split.Arms[i].Cluster
		what := ""
		for _, m := range r.Mirrors {
			if m.Cluster == canary {
				what = "a RequestMirror of the rule"
			}
		}
		for _, s := range r.Shadows {
			if s.Cluster == canary {
				what = "Shadow " + s.Name
			}
		}
		if what != "" {
			p.report(o, "spec.canary", "gets copies from %s as well: load that its share does not show, and requests that no test sees; take the copies away before the release", what)
		}
	})
}

// clearCredentials finds gates that show what is secret to everybody on the way.
func clearCredentials(p *pass) {
	for o, rollout := range resource.All[*v1alpha1.Rollout](p.set) {
		for i, g := range rollout.Spec.Gates {
			var access v1alpha1.GateAccess
			var at, kind string
			switch {
			case g.PromQL != nil && g.PromQL.Address != nil:
				access, at, kind = g.PromQL.GateAccess, *g.PromQL.Address, "promql"
			case g.Webhook != nil:
				access, at, kind = g.Webhook.GateAccess, g.Webhook.URL, "webhook"
			}
			if u, err := url.Parse(at); err == nil && access.SecretRef != nil && u.Scheme == "http" && !loopback(u.Hostname()) {
				p.report(o, fmt.Sprintf("spec.gates[%d].%s.secretRef", i, kind), "is shown to %s in clear text: whoever is on the way may read and use it; ask by https://", u.Host)
			}
		}
	}
}

// loopback reports whether a host is this machine by its name or address.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
