package translate

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// routeSlot is where the memo keeps a route.
type routeSlot struct {
	kind    *routeKind
	name    string // namespace/name
	created time.Time
	object  *resource.Object
	view    *routeView
	lost    map[string]string // tables that go to a route of another kind, with the reason
}

func (s *routeSlot) key() resource.Key { return s.object.Key }

// routeName is what tells the keys of routes apart.
type routeName struct {
	kind            *routeKind
	namespace, name string
}

func routeNameOf(k resource.Key) routeName { return routeName{routeKindOf(k), k.Namespace, k.Name} }

// route returns the slot of an object, nil if that is not a route that there is.
func (m *Memo) route(k resource.Key) *routeSlot { return m.routes[routeNameOf(k)] }

// routeView is what became of one route.
type routeView struct {
	*ties
	attachments []attachment
	accepted    bool // by some parent
	status      any  // Status.Value
	rejections  []rejection
	unmet       []unmet
	fates       []fate // of Rollouts, Shadows and FaultPolicies
	diagnostics []resource.Diagnostic
}

// routes are the model's routes, each as often as tables have it.
func (v *routeView) routes() iter.Seq[*model.Route] {
	return func(yield func(*model.Route) bool) {
		for _, a := range v.attachments {
			for _, e := range a.entries {
				if !yield(e.Route) {
					return
				}
			}
		}
	}
}

// attachment is a route in a table.
type attachment struct {
	table     string
	hostnames []string // that both allow; none: every host of the table
	lost      bool     // to a route of another kind: there are no entries then
	entries   []model.Entry
	hash      model.Hash         // of the entries
	stream    *model.StreamRoute // instead of entries; nil: the listener is not served
	// Where it stands in its table: among the attachments, and the first of its entries.
	place, first int
}

// use is a cluster that a route sends requests to, on behalf of a gateway.
type use struct {
	cluster string // name with the gateway's scope
	backend backendRef
	gateway resource.Key
	calls   bool // of gRPC
}

// routeBuild translates one route.
type routeBuild struct {
	reporter
	t         *translator
	key       resource.Key
	kind      *routeKind
	spec      routeSpec
	lost      map[string]string
	view      *routeView
	hostnames []string
	rules     []*ruleView
	// unresolved is the first reason that a reference does not resolve, and all messages.
	unresolved         gatewayv1.RouteConditionReason
	unresolvedMessages []string
}

func (b *routeBuild) dependOn(k resource.Key) {
	if !slices.Contains(b.view.deps, k) {
		b.view.deps = append(b.view.deps, k)
	}
}

// translateRoutes translates the routes that have changed, or that looked at something that
// has.
func (t *translator) translateRoutes() {
	if t.routeSlots == nil {
		t.routeSlots = make([]*routeSlot, 0, len(t.routes))
		for _, kind := range routeKinds {
			for _, o := range t.objectsOf(groupGateway, kind.name) {
				t.routeSlots = append(t.routeSlots, t.route(o.Key))
			}
		}
	}
	if t.structural {
		var last *ties // those of the slot before; many share theirs
		looked := false
		for _, slot := range t.routeSlots {
			if own := slot.view.ties; own != last {
				last, looked = own, t.dirty.hasAny(own.deps)
			}
			if looked || t.dirty.has(slot.key()) || t.dirty.has(policyKey(slot.key())) {
				t.replaceRoute(slot)
			}
		}
		return
	}
	for key := range t.dirty.keys {
		if slot := t.route(key); slot != nil {
			t.replaceRoute(slot)
		}
	}
}

func (t *translator) replaceRoute(slot *routeSlot) {
	old := slot.view
	slot.view = t.translateRoute(slot)
	slot.view.keep(old)
	if before, again := t.former[slot]; again {
		slot.view.keep(before) // what the last output had
	} else if t.former == nil {
		t.former = map[*routeSlot]*routeView{slot: old}
	} else {
		t.former[slot] = old
	}
	t.shared.view(slot.view, old)
	t.replaceUses(old, slot.view)
	if !slices.Equal(old.gateways, slot.view.gateways) || !slices.Equal(old.uses, slot.view.uses) || len(t.closures.views)+len(t.securings.policies) > 0 {
		t.reshaped = true
	}
	if len(old.rejections)+len(slot.view.rejections) > 0 {
		t.reshaped = true // and statuses of policies are others
	}
}

// keep takes over the model routes of an older view that are the same, so that whoever
// compares pointers sees no change.
func (v *routeView) keep(old *routeView) {
	kept := map[model.Hash]*model.Route{}
	streams := map[model.Hash]*model.StreamRoute{}
	for _, a := range old.attachments {
		for _, e := range a.entries {
			kept[e.Route.Hash] = e.Route
		}
		if a.stream != nil {
			streams[a.stream.Hash] = a.stream
		}
	}
	for n := range v.attachments {
		a := &v.attachments[n]
		for i := range a.entries {
			if r := kept[a.entries[i].Route.Hash]; r != nil {
				a.entries[i].Route = r
			}
		}
		if a.stream != nil {
			a.stream = cmp.Or(streams[a.stream.Hash], a.stream)
		}
	}
}

func (t *translator) translateRoute(slot *routeSlot) *routeView {
	view := &routeView{ties: &ties{}}
	spec, ok := specOf(slot.object.Value)
	if !ok {
		view.status = slot.kind.status(absentRouteStatus(t.controller, slot.object))
		return view
	}
	b := &routeBuild{reporter: reporter{object: slot.object}, t: t, key: slot.key(), kind: slot.kind, spec: spec, lost: slot.lost, view: view}
	for _, h := range spec.hostnames {
		b.hostnames = append(b.hostnames, strings.ToLower(string(h)))
	}
	b.dependOn(namespaceKey(b.key.Namespace))
	parents := b.parents()
	slot.kind.compile(b, slot.object.Value)
	slot.kind.place(b, parents)
	b.view.accepted = !b.allRefused()
	b.view.status = slot.kind.status(b.status(parents))
	view.diagnostics = b.diagnostics
	return view
}

// place puts the route's rules into the tables of the listeners that take it: once for each
// variant of what gateways and listeners add to it. The first variant has the rule's name,
// the others that of their first listener behind it; all share one split and its knobs.
func (b *routeBuild) place(parents []parentView) {
	variants := map[model.Hash][]*model.Route{}
	seen := map[string]bool{} // tables
	for _, p := range parents {
		if p.refused == "" && !slices.Contains(b.view.gateways, p.gateway.key) {
			b.view.gateways = append(b.view.gateways, p.gateway.key)
		}
		for _, l := range p.taken {
			if seen[l.name] {
				continue
			}
			seen[l.name] = true
			if !l.served() {
				b.view.attachments = append(b.view.attachments, attachment{table: l.name, hostnames: l.hostnames})
				continue
			}
			routes, ok := variants[l.variant]
			if !ok {
				suffix := ""
				if len(variants) > 0 {
					suffix = "@" + l.name
				}
				for _, r := range b.rules {
					if len(r.route.Matches) > 0 {
						routes = append(routes, b.variant(r, l.listenerView, suffix))
					}
				}
				variants[l.variant] = routes
			}
			a := attachment{table: l.name, hostnames: l.hostnames}
			hashes := []byte(strings.Join(l.hostnames, ","))
			for _, r := range routes {
				a.entries = append(a.entries, model.Entry{Hostnames: l.hostnames, Route: r})
				hashes = append(append(hashes, ';'), r.Hash...)
			}
			a.hash = hashBytes(hashes)
			b.view.attachments = append(b.view.attachments, a)
		}
	}
	b.noteLost(parents, seen)
	slices.SortFunc(b.view.gateways, resource.Key.Compare)
}

// noteLost notes the tables that go to routes of another kind, for when these are gone.
func (b *routeBuild) noteLost(parents []parentView, seen map[string]bool) {
	for _, p := range parents {
		for _, l := range p.lost {
			if !seen[l.name] {
				seen[l.name] = true
				b.view.attachments = append(b.view.attachments, attachment{table: l.name, hostnames: l.hostnames, lost: true})
			}
		}
	}
}

// variant completes a rule with what a listener's policies and its gateway's scope add.
func (b *routeBuild) variant(r *ruleView, l *listenerView, suffix string) *model.Route {
	route := r.route
	if l.closed != nil && route.Refusal == nil {
		route = refused(route, l.closed.refusal())
	}
	route.Name += suffix
	route.Origins = nil
	fillRequest(&route, b.requestAt(r, l), l.gateway.fixed.request)
	if route.Session != nil {
		noteOrigin(sessionPath, r.sessionOrigin, &route.Origins)
	}
	route.Split.Arms = slices.Clone(route.Split.Arms)
	for i := range route.Split.Arms {
		if arm := &route.Split.Arms[i]; arm.Cluster != "" {
			arm.Cluster = b.t.shared.name(arm.Cluster + b.t.scopeOf(l.gateway, r.armRefs[i]))
			b.use(arm.Cluster, r.armRefs[i], l.gateway.key)
		}
	}
	route.Mirrors = slices.Clone(route.Mirrors)
	for i := range route.Mirrors {
		mirror := &route.Mirrors[i]
		mirror.Cluster += b.t.scopeOf(l.gateway, r.mirrorRefs[i])
		b.use(mirror.Cluster, r.mirrorRefs[i], l.gateway.key)
	}
	route.Shadows = slices.Clone(route.Shadows)
	for i := range route.Shadows {
		if s := &route.Shadows[i]; s.Cluster != "" {
			s.Cluster += b.t.scopeOf(l.gateway, r.shadowRefs[i])
			b.use(s.Cluster, r.shadowRefs[i], l.gateway.key)
		}
	}
	route.Hash = model.HashOf(&route)
	return &route
}

// scopeOf is what is put behind the name of a backend's cluster for a gateway.
func (t *translator) scopeOf(v *gatewayView, ref backendRef) string {
	if v.scope == v.tlsScope || ref.untouched {
		return v.scope
	}
	own := t.securings.backends[ref.object]
	if !t.secured(ref) || own != nil && own.tls != nil && own.tls.Client != nil {
		return v.scope
	}
	return v.tlsScope
}

func (b *routeBuild) use(cluster string, ref backendRef, gateway resource.Key) {
	u := use{cluster: cluster, backend: ref, gateway: gateway, calls: b.kind.name == kindGRPCRoute}
	if !slices.Contains(b.view.uses, u) {
		b.view.uses = append(b.view.uses, u)
	}
}

// fillRequest gives a route its timeouts, retries, keys and compression, and their origins. What
// is fixed, s has already; it counts once more where a rule's own retry is not a policy's.
func fillRequest(r *model.Route, s, fixed requestSide) {
	r.Timeouts = model.Timeouts{
		Request: effective(s.request, defaultRequest, "timeouts.request", &r.Origins),
		PerTry:  effective(s.perTry, defaultPerTry, "timeouts.perTry", &r.Origins),
		Idle:    effective(s.idle, defaultIdle, "timeouts.idle", &r.Origins),
	}
	fillRetry(r, s.retry, fixed.retry)
	fillOverload(r, s.overload)
	r.HashOn = effective(s.hashOn, nil, "hashOn", &r.Origins)
	fillCompression(r, s.compression)
}

func (b *routeBuild) unresolvedRef(reason gatewayv1.RouteConditionReason, field, message string) {
	b.unresolved = cmp.Or(b.unresolved, reason)
	if !slices.Contains(b.unresolvedMessages, message) {
		b.unresolvedMessages = append(b.unresolvedMessages, message)
	}
	rule := RuleUnresolved
	if reason == gatewayv1.RouteReasonUnsupportedProtocol || reason == routeReasonClosed {
		rule = RuleUnsupported
	}
	b.error(rule, field, "%s", message)
}

// allRefused reports whether no rule of the route does what it says.
func (b *routeBuild) allRefused() bool {
	return len(b.rules) > 0 && !slices.ContainsFunc(b.rules, func(r *ruleView) bool { return !r.refused() })
}

// status words the route's conditions for each parent.
func (b *routeBuild) status(parents []parentView) gatewayv1.RouteStatus {
	status := gatewayv1.RouteStatus{Parents: []gatewayv1.RouteParentStatus{}}
	for _, p := range parents {
		entry := gatewayv1.RouteParentStatus{ParentRef: p.ref, ControllerName: gatewayv1.GatewayController(b.t.controller)}
		entry.Conditions = append(b.acceptance(p), b.resolution())
		status.Parents = append(status.Parents, entry)
	}
	return status
}

func (b *routeBuild) acceptance(p parentView) []metav1.Condition {
	generation := generationOf(b.object)
	if p.refused != "" {
		return []metav1.Condition{condition(gatewayv1.RouteConditionAccepted, false, p.refused, p.message, generation)}
	}
	reason, dropped := b.refusals()
	if b.allRefused() {
		return []metav1.Condition{condition(gatewayv1.RouteConditionAccepted, false, reason, strings.Join(dropped, "; "), generation)}
	}
	conditions := []metav1.Condition{condition(gatewayv1.RouteConditionAccepted, true, gatewayv1.RouteReasonAccepted, b.remarks(&p), generation)}
	message := ""
	switch retained := b.object.Problems; {
	case len(retained) > 0:
		message = "Fall Back to the last accepted version: " + problemText(retained)
	case len(dropped) > 0:
		message = "Dropped Rule: " + strings.Join(dropped, "; ") + " (nothing is served in their place)"
	default:
		return conditions
	}
	return append(conditions, condition(gatewayv1.RouteConditionPartiallyInvalid, true, gatewayv1.RouteReasonUnsupportedValue, message, generation))
}

// refusals tells what of the route is not done, and the first reason.
func (b *routeBuild) refusals() (reason gatewayv1.RouteConditionReason, texts []string) {
	for _, r := range b.rules {
		for _, problem := range r.problems {
			reason = cmp.Or(reason, problem.reason)
			texts = append(texts, fmt.Sprintf("%s: %s", problem.field, problem.message))
		}
	}
	return cmp.Or(reason, gatewayv1.RouteReasonUnsupportedValue), texts
}

func (b *routeBuild) resolution() metav1.Condition {
	if b.unresolved != "" {
		return condition(gatewayv1.RouteConditionResolvedRefs, false, b.unresolved, strings.Join(b.unresolvedMessages, "; "), generationOf(b.object))
	}
	return condition(gatewayv1.RouteConditionResolvedRefs, true, gatewayv1.RouteReasonResolvedRefs, "", generationOf(b.object))
}

// absentRouteStatus is for a route that never had an accepted version. Its parents are not
// known, so it stands in for one itself; a cluster would never have admitted it.
func absentRouteStatus(controller string, o *resource.Object) gatewayv1.RouteStatus {
	return gatewayv1.RouteStatus{Parents: []gatewayv1.RouteParentStatus{{
		ParentRef: parentOf(o.Key), ControllerName: gatewayv1.GatewayController(controller),
		Conditions: []metav1.Condition{condition(gatewayv1.RouteConditionAccepted, false, gatewayv1.RouteReasonUnsupportedValue, problemText(o.Problems), 0)},
	}}}
}
