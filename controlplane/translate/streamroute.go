package translate

import (
	"slices"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// streamBackends are the backends of a stream route's one rule: its schema allows no more.
func streamBackends(value any) []gatewayv1.BackendRef {
	switch route := value.(type) {
	case *gatewayv1.TLSRoute:
		return route.Spec.Rules[0].BackendRefs
	case *gatewayv1.TCPRoute:
		return route.Spec.Rules[0].BackendRefs
	case *gatewayv1.UDPRoute:
		return route.Spec.Rules[0].BackendRefs
	}
	return nil
}

// compileStreamRule compiles the rule of a stream route. It has nothing but backends.
func compileStreamRule(b *routeBuild, value any) {
	r := b.newRule(0)
	r.route.Matches = []model.Match{{}} // whatever comes
	refs := streamBackends(value)
	plain := make([]gatewayv1.HTTPBackendRef, len(refs))
	for i := range refs {
		plain[i].BackendRef = refs[i]
	}
	r.compileBackends(plain)
	b.add(r)
}

// placeStreams gives the route's rule to the listeners that take it, in variants as place does.
func (b *routeBuild) placeStreams(parents []parentView) {
	variants := map[model.Hash]*model.StreamRoute{}
	seen := map[string]bool{} // listeners
	for _, p := range parents {
		if p.refused == "" && !slices.Contains(b.view.gateways, p.gateway.key) {
			b.view.gateways = append(b.view.gateways, p.gateway.key)
		}
		for _, l := range p.taken {
			if seen[l.name] {
				continue
			}
			seen[l.name] = true
			a := attachment{table: l.name, hostnames: l.hostnames}
			if l.served() {
				a.stream = b.streamVariant(l.listenerView, variants)
			}
			b.view.attachments = append(b.view.attachments, a)
		}
	}
	slices.SortFunc(b.view.gateways, resource.Key.Compare)
}

// streamVariant returns the route's rule as it is at a listener.
func (b *routeBuild) streamVariant(l *listenerView, variants map[model.Hash]*model.StreamRoute) *model.StreamRoute {
	stream := b.streamRoute(b.rules[0], l)
	stream.Hash = model.HashOf(stream)
	if same := variants[stream.Hash]; same != nil {
		return same
	}
	variants[stream.Hash] = stream
	if len(variants) > 1 {
		stream.Name += "@" + l.name
		stream.Hash = ""
		stream.Hash = model.HashOf(stream)
	}
	return stream
}

// streamRoute completes the rule with what a listener's policies and its gateway's scope add.
func (b *routeBuild) streamRoute(r *ruleView, l *listenerView) *model.StreamRoute {
	rule := r.route
	stream := &model.StreamRoute{
		Name: rule.Name, Kind: rule.Kind, Namespace: rule.Namespace, Object: rule.Object, Rule: rule.Rule,
		Origin: rule.Origin, Refusal: rule.Refusal, Split: model.Split{Name: rule.Split.Name},
	}
	if l.closed != nil && stream.Refusal == nil {
		stream.Refusal = l.closed.refusal()
	}
	if stream.Refusal != nil {
		return stream
	}
	stream.Idle = b.streamIdle(b.requestAt(r, l).idle, &stream.Origins)
	stream.Split.Arms = slices.Clone(rule.Split.Arms)
	for i := range stream.Split.Arms {
		arm := &stream.Split.Arms[i]
		if arm.Cluster == "" {
			continue
		}
		ref := r.armRefs[i]
		ref.untouched = l.passthrough() && b.t.secured(ref)
		arm.Cluster = b.t.shared.name(ref.cluster() + b.t.scopeOf(l.gateway, ref))
		b.use(arm.Cluster, ref, l.gateway.key)
	}
	return stream
}

// streamIdle is how long a connection or session may be idle. Nothing else ends a session of
// UDP, so that 0s cannot be had there.
func (b *routeBuild) streamIdle(idle *setting[time.Duration], origins *model.Origins) time.Duration {
	if b.kind.name != kindUDPRoute {
		return effective(idle, defaultStreamIdle, "timeouts.idle", origins)
	}
	if idle != nil && idle.value == 0 {
		idle = nil
	}
	return effective(idle, defaultSessionIdle, "timeouts.idle", origins)
}

// secured reports whether a backend is spoken to by TLS.
func (t *translator) secured(ref backendRef) bool {
	by, _ := t.securityOf(ref.object, t.portName(ref))
	return by != nil
}
