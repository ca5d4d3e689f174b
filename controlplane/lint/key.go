package lint

import (
	"fmt"
	"slices"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/expression"
)

// keyAfterClientIP needs no effective values: keys are taken as a whole.
func keyAfterClientIP(p *pass) {
	for o, policy := range resource.All[*v1alpha1.TrafficPolicy](p.set) {
		keys := policy.Spec.HashOn
		i := slices.IndexFunc(keys, func(k v1alpha1.Key) bool { return k.ClientIP != nil })
		if i >= 0 && i+1 < len(keys) {
			p.report(o, fmt.Sprintf("spec.hashOn[%d]", i+1), "never counts: the first key that a request has does, and every request has the clientIP before it; put clientIP last")
		}
	}
}

// constantKey looks at expressions alone: what does not compile was not accepted.
func constantKey(p *pass) {
	for o, policy := range resource.All[*v1alpha1.TrafficPolicy](p.set) {
		for i, k := range policy.Spec.HashOn {
			if k.Expression == nil {
				continue
			}
			e, err := expression.Compile(*k.Expression, expression.Forwarding, expression.String)
			if err == nil && e.Constant() {
				p.report(o, fmt.Sprintf("spec.hashOn[%d].expression", i), "is the same for every request of a rule, so that one host gets them all: it names nothing of the request; name what tells requests apart, such as request.path")
			}
		}
	}
}

// identityUnknown finds keys that need an identity where no listener asks its clients for one.
// What was written for several rules is heeded if one of them has such a listener.
func identityUnknown(p *pass) {
	heeded := p.identityRoutes()
	w := written{path: "hashOn"}
	useful := map[model.Origin]bool{}
	for _, r := range p.routes() {
		switch {
		case !slices.ContainsFunc(r.HashOn, needsIdentity):
		case heeded[r]:
			useful[r.Origins["hashOn"]] = true
		default:
			w.add(r.Origins, ruleText(r))
		}
	}
	w.order = slices.DeleteFunc(w.order, func(o model.Origin) bool { return useful[o] })
	w.report(p, "uses the client's identity, which is never known for %s: no listener there asks for client certificates; set the Gateway's spec.tls.frontend, or use another key")
}

// identityRoutes are the routes that some listener serves which asks its clients who they are.
func (p *pass) identityRoutes() map[*model.Route]bool {
	known := map[string]bool{} // tables of which a listener asks
	for _, l := range p.out.Snapshot.Listeners {
		for _, t := range l.Tables {
			known[t.Table] = known[t.Table] || asksWho(l.TLS, t.Hostname)
		}
	}
	heeded := map[*model.Route]bool{}
	for _, table := range p.out.Snapshot.RouteTables {
		for _, e := range table.Entries {
			heeded[e.Route] = heeded[e.Route] || known[table.Name]
		}
	}
	return heeded
}

// asksWho reports whether clients of a hostname are asked for a certificate.
func asksWho(t *model.TLS, hostname string) bool {
	return t != nil && slices.ContainsFunc(t.Names, func(n model.TLSName) bool { return n.Hostname == hostname && n.Client != nil })
}

func needsIdentity(k model.Key) bool {
	switch k.Source {
	case model.KeyIdentity:
		return true
	case model.KeyExpression:
		e, err := expression.Compile(k.Name, expression.Forwarding, expression.String)
		return err == nil && e.Uses(expression.Identity)
	}
	return false
}
