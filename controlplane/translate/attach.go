package translate

import (
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
)

// parentView is one parentRef to a gateway of ours and the listeners that take the route.
type parentView struct {
	ref       gatewayv1.ParentReference
	field     string
	gateway   *gatewayView
	listeners []attachedListener
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

// parents resolves a route's parentRefs. Those to anything but a gateway of ours are left
// out: their status is not ours to write.
func (b *routeBuild) parents() []parentView {
	var parents []parentView
	for i, ref := range b.route.Spec.ParentRefs {
		field := fmt.Sprintf("spec.parentRefs[%d]", i)
		if group, kind := deref(ref.Group, groupGateway), deref(ref.Kind, kindGateway); group != groupGateway || kind != kindGateway {
			b.warn(RuleUnsupported, field+".kind", "a parent of kind %s is not supported; the route is not attached to it", kind)
			continue
		}
		key := resource.Key{Group: groupGateway, Kind: kindGateway, Namespace: string(deref(ref.Namespace, gatewayv1.Namespace(b.key.Namespace))), Name: string(ref.Name)}
		b.dependOn(key)
		view := b.t.gateways.views[key]
		if view == nil {
			if o := b.t.set.Get(key); o == nil || o.Value == nil {
				b.error(RuleUnresolved, field+".name", "%s", absenceText(o, key))
			}
			continue
		}
		parents = append(parents, b.attach(ref, field, view))
	}
	if b.route.Spec.UseDefaultGateways == gatewayv1.GatewayDefaultScopeAll {
		b.dependOn(defaultGatewaysKey)
		for _, key := range b.t.gateways.defaults {
			b.dependOn(key)
			named := slices.ContainsFunc(parents, func(p parentView) bool { return p.gateway.key == key })
			if !named {
				parents = append(parents, b.attach(parentOf(key), "spec.useDefaultGateways", b.t.gateways.views[key]))
			}
		}
	}
	return parents
}

// attach finds the listeners of a gateway that take the route, in the order in which
// Gateway API words the reasons: there is one, it allows the route, a hostname is common.
func (b *routeBuild) attach(ref gatewayv1.ParentReference, field string, gateway *gatewayView) parentView {
	p := parentView{ref: ref, field: field, gateway: gateway}
	var named, allowed []*listenerView
	for _, l := range gateway.listeners {
		if ref.SectionName != nil && *ref.SectionName != l.spec.Name || ref.Port != nil && *ref.Port != l.spec.Port {
			continue
		}
		named = append(named, l)
		if b.t.admits(l, b.key.Namespace) {
			allowed = append(allowed, l)
		}
	}
	for _, l := range allowed {
		if hostnames, ok := commonHostnames(l.hostname, b.hostnames); ok {
			p.listeners = append(p.listeners, attachedListener{l, hostnames})
		}
	}
	switch {
	case len(named) == 0:
		p.refuse(b, RuleUnresolved, gatewayv1.RouteReasonNoMatchingParent, fmt.Sprintf("%v has no listener%s", gateway.key, selectedText(ref)))
	case len(allowed) == 0:
		p.refuse(b, RuleNotAttached, gatewayv1.RouteReasonNotAllowedByListeners, fmt.Sprintf("no listener of %v allows a route of this kind from namespace %s", gateway.key, b.key.Namespace))
	case len(p.listeners) == 0:
		p.refuse(b, RuleNotAttached, gatewayv1.RouteReasonNoMatchingListenerHostname, fmt.Sprintf("no hostname of the route is one of a listener of %v", gateway.key))
	}
	return p
}

func (p *parentView) refuse(b *routeBuild, rule string, reason gatewayv1.RouteConditionReason, message string) {
	p.refused, p.message = reason, message
	b.error(rule, p.field, "%s", message)
}

// closedText says which of the listeners that take the route are closed.
func (p *parentView) closedText() string {
	var texts []string
	for _, l := range p.listeners {
		if l.closed != nil {
			texts = append(texts, fmt.Sprintf("listener %s: %s", l.spec.Name, l.closedText()))
		}
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
