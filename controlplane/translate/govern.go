package translate

import (
	"slices"

	"weir.dev/weir/controlplane/resource"
)

// mergeable is one side of a policy.
type mergeable[S any] interface{ under(above S) S }

// appendLevel appends what a policy says about requests at a target, if there is one.
func appendLevel(levels []level[requestSide], view *policyView, at target) []level[requestSide] {
	if view == &noPolicy {
		return levels
	}
	return append(levels, level[requestSide]{side: view.request.at(at.object, at.section), policy: view, at: at})
}

// mergeRequests merges levels, the closest first.
func mergeRequests(levels []level[requestSide]) requestSide {
	var merged requestSide
	for _, l := range levels {
		merged = merged.under(l.side)
	}
	return merged
}

// fixes returns what holds where r is an override of what is below.
func (r requestSide) fixes(below requestSide, gateway resource.Key) requestSide {
	fixed := r.under(below)
	fixed.overload = r.overload.fixes(below.overload, gateway)
	return fixed
}

// readFixed reads what a gateway's policy, and that of its class, overrides and requires. Of
// overrides the highest wins.
func (t *translator) readFixed(view *gatewayView, class, own *policyView) {
	above, at := classKey(view.gateway), view.key
	view.levels = appendLevel(appendLevel(nil, own, target{at, ""}), class, target{above, ""})
	view.fixed = sides{
		request: class.fixed.request.at(above, "").under(own.fixed.request.at(at, "")),
		backend: class.fixed.backend.under(own.fixed.backend),
		client:  class.fixed.client.under(own.fixed.client),
	}
	view.fixed.backend.budget = budgetSide{} // which is its routes'
	view.requires = slices.Concat(class.requires, own.requires)
}

// bind says for levels of a gateway's policies which requirements are above them. The class's
// requirements bind the gateway's policy, both all that is below.
func bind[S any](levels []level[S], requires []*requirement, gateway resource.Key) []level[S] {
	bound := slices.Clone(levels)
	for i := range bound {
		l := &bound[i]
		switch {
		case l.policy != nil && isKind(l.at.object, groupGateway, kindGatewayClass):
			l.from = 0
		case l.policy != nil && l.at == target{gateway, ""}:
			l.from = 0
			for l.from < len(requires) && requires[l.from].policy != l.policy.object {
				l.from++
			}
		default:
			l.from = len(requires)
		}
	}
	return bound
}

// requestAt is what the policies and the rule itself say about requests at a listener. What
// breaks a requirement is left out and told.
func (b *routeBuild) requestAt(r *ruleView, l *listenerView) requestSide {
	fixed := l.gateway.fixed.request
	requires := about(l.gateway.requires, sideRequest)
	if len(requires) == 0 || b.kind.stream { // what is carried as it is has no requests
		merged := r.request.under(mergeRequests(r.levels)).under(l.request)
		if fixed == (requestSide{}) {
			return merged
		}
		return fixed.fixes(merged, l.gateway.key)
	}
	levels := slices.Concat([]level[requestSide]{{side: r.request}}, r.levels, l.levels)
	if r.request == (requestSide{}) {
		levels = levels[1:]
	}
	show := func(s requestSide) map[string]any {
		return shownRequest(fixed.fixes(s, l.gateway.key), fixed)
	}
	merged, broken := governed(bind(levels, requires, l.gateway.key), requires, show, func(l2 level[requestSide], q *requirement) {
		if l2.policy == nil {
			b.error(RuleBreaksRequired, r.path, "the rule's own timeouts and retry have no effect: %s", q.text())
			return
		}
		x := q.rejection(l2.policy, l2.at, l.gateway.key)
		b.view.rejections = append(b.view.rejections, x)
		b.diagnostics = append(b.diagnostics, x.diagnostic())
	})
	if r.route.Redirect != nil || r.route.Refusal != nil {
		broken = nil // no request goes anywhere
	}
	for _, q := range broken {
		b.view.unmet = append(b.view.unmet, unmet{q, "route " + r.route.Name})
	}
	return fixed.fixes(merged, l.gateway.key)
}

// rejection is what there is to say of a policy that breaks the requirement.
func (q *requirement) rejection(policy *policyView, at target, gateway resource.Key) rejection {
	field, _ := q.concerns(policy)
	if field == "" {
		field = "spec.targetRefs"
	}
	return rejection{policy: policy, at: at, gateway: gateway, field: field, message: q.text()}
}

// backendAt is what the policies say about a backend of a gateway. What breaks a requirement is
// left out and told.
func (t *translator) backendAt(slot *clusterSlot, gateway *gatewayView, levels []level[backendSide], r *reporter) backendSide {
	slot.rejections, slot.unmet = nil, nil
	if gateway == nil {
		return mergeBackends(levels)
	}
	requires := about(gateway.requires, sideBackend)
	if len(requires) == 0 {
		return gateway.fixed.backend.under(mergeBackends(levels).under(gateway.backend))
	}
	for _, at := range []resource.Key{gateway.key, classKey(gateway.gateway)} {
		side := t.policy(at, "").backend
		side.budget = budgetSide{}
		levels = append(levels, level[backendSide]{side: side, policy: t.policy(at, ""), at: target{at, ""}})
	}
	show := func(s backendSide) map[string]any { return shownBackend(gateway.fixed.backend.under(s)) }
	merged, broken := governed(bind(levels, requires, gateway.key), requires, show, func(l level[backendSide], q *requirement) {
		x := q.rejection(l.policy, l.at, gateway.key)
		slot.rejections = append(slot.rejections, x)
		r.diagnostics = append(r.diagnostics, x.diagnostic())
	})
	for _, q := range broken {
		slot.unmet = append(slot.unmet, unmet{q, "backend " + slot.backend.cluster()})
	}
	return gateway.fixed.backend.under(merged)
}

func mergeBackends(levels []level[backendSide]) backendSide {
	var merged backendSide
	for _, l := range levels {
		merged = merged.under(l.side)
	}
	return merged
}

// clientAt is what the policies say about the clients of a listener: those on the listener, on
// what it is written in, and on the gateway.
func (v *gatewayView) clientAt(l *listenerView, listener, owner, gateway *policyView) clientSide {
	requires := about(v.requires, sideClient)
	if len(requires) == 0 {
		return v.fixed.client.under(listener.client.under(owner.client).under(gateway.client))
	}
	levels := []level[clientSide]{
		{side: listener.client, policy: listener, at: target{l.owner(), string(l.spec.Name)}},
		{side: owner.client, policy: owner, at: target{l.owner(), ""}},
		{side: gateway.client, policy: gateway, at: target{v.key, ""}},
	}
	if owner == gateway {
		levels = slices.Delete(levels, 1, 2)
	}
	show := func(s clientSide) map[string]any { return shownClient(v.fixed.client.under(s)) }
	merged, broken := governed(bind(levels, requires, v.key), requires, show, func(l level[clientSide], q *requirement) {
		v.rejections = append(v.rejections, q.rejection(l.policy, l.at, v.key))
	})
	for _, q := range broken {
		v.unmet = append(v.unmet, unmet{q, "listener " + l.name})
	}
	return v.fixed.client.under(merged)
}

// rejectionKey is a policy at one of its targets, below a gateway.
type rejectionKey struct {
	policy, gateway resource.Key
	at              target
}

// collectRejections gathers the policies that break a requirement somewhere.
func (t *translator) collectRejections() {
	t.rejections = map[rejectionKey]string{}
	add := func(list []rejection) {
		for _, x := range list {
			t.rejections[rejectionKey{x.policy.object.Key, x.gateway, x.at}] = x.field + ": " + x.message
		}
	}
	for _, g := range t.gateways.ordered {
		add(g.rejections)
	}
	for _, slot := range t.routeSlots {
		add(slot.view.rejections)
	}
	for _, slot := range t.clusterSlots {
		add(slot.rejections)
	}
}

// rejected returns the targets of a policy as they are below a gateway.
func (t *translator) rejected(policy, gateway resource.Key, targets []targetView) []targetView {
	if len(t.rejections) == 0 {
		return targets
	}
	targets = slices.Clone(targets)
	for i := range targets {
		message, ok := t.rejections[rejectionKey{policy, gateway, targets[i].target}]
		if ok {
			targets[i].reason, targets[i].message = "Invalid", message
		}
	}
	return targets
}

// rejectionsOfGateways tells of the policies that break what is required towards clients.
func (t *translator) rejectionsOfGateways() []resource.Diagnostic {
	var list []resource.Diagnostic
	for _, g := range t.gateways.ordered {
		for i := range g.rejections {
			list = append(list, g.rejections[i].diagnostic())
		}
	}
	return list
}
