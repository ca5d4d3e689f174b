package translate

import (
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
)

// routeParent is what a route can be attached to: a Gateway of ours, or one of its sets.
type routeParent struct {
	key       resource.Key
	gateway   *gatewayView
	set       *setView // nil: the gateway itself
	listeners []*listenerView
}

func gatewayParent(v *gatewayView) *routeParent {
	return &routeParent{key: v.key, gateway: v, listeners: v.listeners}
}

// parentView is one parentRef to something of ours and the listeners that take the route.
type parentView struct {
	*routeParent
	ref   gatewayv1.ParentReference
	field string
	taken []attachedListener // by these
	lost  []attachedListener // to routes of another kind
	// refused is why no listener takes the route; empty: some do.
	refused gatewayv1.RouteConditionReason
	message string
}

// attachedListener is a listener that takes a route, and the hostnames that both allow;
// none means every host of the listener.
type attachedListener struct {
	*listenerView
	hostnames []string
}

// parents resolves a route's parentRefs. Those to anything but a Gateway or ListenerSet of
// ours are left out: their status is not ours to write.
func (b *routeBuild) parents() []parentView {
	var parents []parentView
	for i, ref := range b.spec.ParentRefs {
		field := fmt.Sprintf("spec.parentRefs[%d]", i)
		if at := b.findParent(ref, field); at != nil {
			parents = append(parents, b.attach(ref, field, at))
		}
	}
	if b.spec.UseDefaultGateways == gatewayv1.GatewayDefaultScopeAll {
		b.dependOn(defaultGatewaysKey)
		for _, key := range b.t.gateways.defaults {
			b.dependOn(key)
			named := slices.ContainsFunc(parents, func(p parentView) bool { return p.key == key })
			if !named {
				parents = append(parents, b.attach(parentOf(key), "spec.useDefaultGateways", gatewayParent(b.t.gateways.views[key])))
			}
		}
	}
	return parents
}

// findParent finds what a parentRef names, nil if that is not one of ours.
func (b *routeBuild) findParent(ref gatewayv1.ParentReference, field string) *routeParent {
	group, kind := deref(ref.Group, groupGateway), deref(ref.Kind, kindGateway)
	if group != groupGateway || kind != kindGateway && kind != kindListenerSet {
		b.warn(RuleUnsupported, field+".kind", "a parent of kind %s is not supported; the route is not attached to it", kind)
		return nil
	}
	key := resource.Key{Group: groupGateway, Kind: string(kind), Namespace: string(deref(ref.Namespace, gatewayv1.Namespace(b.key.Namespace))), Name: string(ref.Name)}
	b.dependOn(key)
	if view := b.t.gateways.views[key]; view != nil {
		return gatewayParent(view)
	}
	if set := b.t.gateways.sets[key]; set != nil {
		return &routeParent{key: key, gateway: set.gateway, set: set, listeners: set.listeners}
	}
	if o := b.t.set.Get(key); o == nil || o.Value == nil {
		b.error(RuleUnresolved, field+".name", "%s", absenceText(o, key))
	}
	return nil
}

// attach finds the listeners of a parent that take the route, in the order in which Gateway
// API words the reasons: there is one, it allows the route, a hostname is common. A set that
// its gateway does not take has nothing to attach to.
func (b *routeBuild) attach(ref gatewayv1.ParentReference, field string, at *routeParent) parentView {
	p := parentView{ref: ref, field: field, routeParent: at}
	if at.set != nil && at.set.refused == gatewayv1.ListenerSetReasonNotAllowed {
		p.refuse(b, RuleNotAttached, gatewayv1.RouteReasonNoMatchingParent, fmt.Sprintf("%v is not attached: %s", at.key, at.set.message))
		return p
	}
	var named, allowed []*listenerView
	for _, l := range at.listeners {
		if !l.selectedBy(ref) {
			continue
		}
		named = append(named, l)
		if b.t.admits(l, b.key) {
			allowed = append(allowed, l)
		}
	}
	for _, l := range allowed {
		hostnames, ok := commonHostnames(l.hostname, b.hostnames)
		switch {
		case !ok:
		case b.lost[l.name] != "":
			p.lost = append(p.lost, attachedListener{l, hostnames})
		default:
			p.taken = append(p.taken, attachedListener{l, hostnames})
		}
	}
	switch {
	case len(named) == 0:
		p.refuse(b, RuleUnresolved, gatewayv1.RouteReasonNoMatchingParent, fmt.Sprintf("%v has no listener%s", at.key, selectedText(ref)))
	case len(allowed) == 0:
		p.refuse(b, RuleNotAttached, gatewayv1.RouteReasonNotAllowedByListeners, fmt.Sprintf("no listener of %v%s %s", at.key, selectedText(ref), b.disallowedText(named)))
	case len(p.taken) == 0 && len(p.lost) > 0:
		p.refuse(b, RuleRouteConflict, RouteReasonConflict, b.lostText(&p))
	case len(p.lost) > 0:
		b.error(RuleRouteConflict, field, "%s", b.lostText(&p))
	case len(p.taken) == 0:
		p.refuse(b, RuleNotAttached, gatewayv1.RouteReasonNoMatchingListenerHostname, fmt.Sprintf("no hostname of the route is one of a listener of %v", at.key))
	}
	return p
}

// disallowedText says what is wanting of listeners of which none allows the route: its kind or
// its namespace.
func (b *routeBuild) disallowedText(listeners []*listenerView) string {
	var taken []string
	for _, l := range listeners {
		if l.takes(b.kind.name) {
			return fmt.Sprintf("that takes %ss allows them from namespace %s", b.kind.name, b.key.Namespace)
		}
		for _, k := range l.kinds {
			if !slices.Contains(taken, string(k.Kind)+"s") {
				taken = append(taken, string(k.Kind)+"s")
			}
		}
	}
	if len(taken) == 0 {
		return "takes " + b.kind.name + "s"
	}
	return fmt.Sprintf("takes %ss, only %s", b.kind.name, strings.Join(taken, " and "))
}

// selectedBy reports whether a reference to the listener's Gateway or ListenerSet is for the
// listener, too.
func (l *listenerView) selectedBy(ref gatewayv1.ParentReference) bool {
	return (ref.SectionName == nil || *ref.SectionName == l.spec.Name) && (ref.Port == nil || *ref.Port == l.spec.Port)
}

func (p *parentView) refuse(b *routeBuild, rule string, reason gatewayv1.RouteConditionReason, message string) {
	p.refused, p.message = reason, message
	b.error(rule, p.field, "%s", message)
}

// remarks say which of the listeners that take the route are closed, and which would take it
// but for another route.
func (b *routeBuild) remarks(p *parentView) string {
	var texts []string
	if len(p.lost) > 0 {
		texts = append(texts, b.lostText(p))
	}
	for _, l := range p.taken {
		if l.closed != nil {
			texts = append(texts, fmt.Sprintf("listener %s: %s", l.spec.Name, l.closedText()))
		}
	}
	return strings.Join(texts, "; ")
}

// lostText says which listeners do not take the route, and why.
func (b *routeBuild) lostText(p *parentView) string {
	var texts []string
	for _, l := range p.lost {
		texts = append(texts, fmt.Sprintf("listener %s of %v does not take the route: %s", l.spec.Name, l.owner(), b.lost[l.name]))
	}
	return strings.Join(texts, "; ")
}

func selectedText(ref gatewayv1.ParentReference) string {
	text := ""
	if ref.SectionName != nil {
		text += fmt.Sprintf(" named %s", *ref.SectionName)
	}
	if ref.Port != nil {
		text += fmt.Sprintf(" on port %d", *ref.Port)
	}
	return text
}

// commonHostnames are those of a route that a listener serves, narrowed to what both
// allow, in the route's order. No hostname is every hostname.
func commonHostnames(listener string, route []string) ([]string, bool) {
	if len(route) == 0 {
		return nil, true
	}
	var common []string
	for _, r := range route {
		if h, ok := commonHostname(listener, r); ok && !slices.Contains(common, h) {
			common = append(common, h)
		}
	}
	return common, len(common) > 0
}

// HostnamesMeet reports whether two lists of hostnames have a host in common. An empty list is
// every host.
func HostnamesMeet(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	return slices.ContainsFunc(a, func(h string) bool {
		_, ok := commonHostnames(h, b)
		return ok
	})
}

// commonHostname intersects two hostnames, exact or wildcard. "*.example.com" covers
// "a.example.com" and "*.b.example.com", not "example.com".
func commonHostname(a, b string) (string, bool) {
	switch {
	case a == "" || a == b:
		return b, true
	case covers(a, b):
		return b, true
	case covers(b, a):
		return a, true
	}
	return "", false
}

// covers reports whether a wildcard covers another hostname.
func covers(wildcard, hostname string) bool {
	suffix, ok := strings.CutPrefix(wildcard, "*")
	return ok && len(hostname) > len(suffix) && strings.HasSuffix(hostname, suffix)
}
