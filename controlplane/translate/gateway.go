package translate

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// gatewayStage is what the gateways add up to.
type gatewayStage struct {
	views       map[resource.Key]*gatewayView
	ordered     []*gatewayView // oldest first, then by namespace/name
	defaults    []resource.Key // gateways of default scope All
	tables      []string       // names of served listeners' tables, sorted
	sockets     []*model.Listener
	diagnostics []resource.Diagnostic
}

// gatewayView is one Gateway of ours.
type gatewayView struct {
	reporter
	key       resource.Key
	gateway   *gatewayv1.Gateway
	listeners []*listenerView
	addresses []netip.Addr
	// scope is what is put behind the names of clusters; empty without backend defaults.
	scope   string
	backend backendSide
	// refused is why the gateway as a whole is not accepted or not programmed.
	refused   gatewayv1.GatewayConditionReason
	message   string
	signature model.Hash // of what routes and clusters see
}

// listenerView is one listener of a Gateway of ours.
type listenerView struct {
	gateway  *gatewayView
	spec     *gatewayv1.Listener
	index    int
	name     string // of its table: namespace/gateway/listener
	hostname string
	request  requestSide
	client   clientSide
	closed   *closure // nil: it serves
	// variant tells apart listeners on which one route means different things.
	variant model.Hash

	from     gatewayv1.FromNamespaces
	selector labels.Selector
	kinds    []gatewayv1.RouteGroupKind
	// badKinds names the kinds that the listener asks for in vain.
	badKinds []string
	// refused is why the listener is not accepted; empty: it is.
	refused  gatewayv1.ListenerConditionReason
	message  string
	conflict gatewayv1.ListenerConditionReason
}

func (l *listenerView) field(name string) string {
	return fmt.Sprintf("spec.listeners[%d].%s", l.index, name)
}

func (l *listenerView) refuse(reason gatewayv1.ListenerConditionReason, message string) {
	if l.refused == "" {
		l.refused, l.message = reason, message
	}
}

// served reports whether the listener has a socket and a table.
func (l *listenerView) served() bool { return l.refused == "" && l.gateway.refused == "" }

// acceptGateways decides which gateways and listeners are served, if anything that they
// depend on has changed, and marks those that changed in a way that routes can see.
func (t *translator) acceptGateways() {
	if t.gateways.views != nil && !t.gatewaysDirty() {
		return
	}
	old := t.gateways
	t.gateways = gatewayStage{views: map[resource.Key]*gatewayView{}}
	for _, o := range t.objectsOf(groupGateway, kindGateway) {
		g, _ := o.Value.(*gatewayv1.Gateway)
		if g == nil || !t.ours(o, g) {
			continue
		}
		view := t.readGateway(o, g)
		t.gateways.views[o.Key] = view
		t.gateways.ordered = append(t.gateways.ordered, view)
	}
	slices.SortFunc(t.gateways.ordered, func(a, b *gatewayView) int {
		return cmp.Or(createdAt(a.object).Compare(createdAt(b.object)), strings.Compare(pathName(a.key), pathName(b.key)))
	})
	t.settleConflicts()
	t.openSockets(old.sockets)
	for _, view := range t.gateways.ordered {
		t.gateways.diagnostics = append(t.gateways.diagnostics, view.diagnostics...)
		view.signature = view.sign()
		if view.gateway.Spec.DefaultScope == gatewayv1.GatewayDefaultScopeAll {
			t.gateways.defaults = append(t.gateways.defaults, view.key)
		}
		if was := old.views[view.key]; was == nil || was.signature != view.signature {
			t.dirty.mark(view.key)
		}
	}
	for key := range old.views {
		if t.gateways.views[key] == nil {
			t.dirty.mark(key)
		}
	}
	if !slices.Equal(old.defaults, t.gateways.defaults) {
		t.dirty.mark(defaultGatewaysKey)
	}
	t.structural = true
}

func (t *translator) gatewaysDirty() bool {
	for k := range t.dirty.keys {
		k.Group = strings.TrimPrefix(k.Group, "policies-of:")
		if isKind(k, groupGateway, kindGateway) || isKind(k, groupGateway, kindGatewayClass) || isKind(k, groupCore, kindNamespace) {
			return true // of a Namespace, whether it is closed
		}
	}
	return false
}

// ours reports whether a gateway's class is one of this controller.
func (t *translator) ours(o *resource.Object, g *gatewayv1.Gateway) bool {
	_, class := valueOf[gatewayv1.GatewayClass](t.set, classKey(g))
	if class == nil && g.Spec.GatewayClassName == ClassName {
		return true
	}
	if class != nil && string(class.Spec.ControllerName) == t.controller {
		return true
	}
	r := reporter{object: o}
	message := fmt.Sprintf("ignored: there is no GatewayClass %q; write gatewayClassName: %s", g.Spec.GatewayClassName, ClassName)
	if class != nil {
		message = fmt.Sprintf("ignored: GatewayClass %q is of another controller, %s", g.Spec.GatewayClassName, class.Spec.ControllerName)
	}
	r.warn(RuleForeignClass, "spec.gatewayClassName", "%s", message)
	t.gateways.diagnostics = append(t.gateways.diagnostics, r.diagnostics...)
	return false
}

func classKey(g *gatewayv1.Gateway) resource.Key {
	return resource.Key{Group: groupGateway, Kind: kindGatewayClass, Name: string(g.Spec.GatewayClassName)}
}

// readGateway reads a gateway by itself; what it has in common with others comes later.
func (t *translator) readGateway(o *resource.Object, g *gatewayv1.Gateway) *gatewayView {
	view := &gatewayView{reporter: reporter{object: o}, key: o.Key, gateway: g}
	class, own := t.policy(classKey(g), ""), t.policy(o.Key, "")
	view.backend = own.backend.under(class.backend)
	if view.backend != (backendSide{}) {
		view.scope = "@" + pathName(o.Key)
	}
	t.readParameters(view)
	view.readAddresses()
	for i := range g.Spec.Listeners {
		l := &listenerView{gateway: view, spec: &g.Spec.Listeners[i], index: i}
		l.name = pathName(o.Key) + "/" + string(l.spec.Name)
		l.hostname = strings.ToLower(string(deref(l.spec.Hostname, "")))
		closest := t.policy(o.Key, string(l.spec.Name))
		l.request = closest.request.under(own.request).under(class.request)
		l.client = closest.client.under(own.client)
		l.closed = cmp.Or(t.closed(classKey(g), ""), t.closed(o.Key, string(l.spec.Name)))
		l.variant = variantOf(l, view.scope)
		view.readListener(l)
		view.listeners = append(view.listeners, l)
	}
	return view
}

// variantOf is the same for listeners on which every route means the same.
func variantOf(l *listenerView, scope string) model.Hash {
	var timeouts model.Route
	fillTimeouts(&timeouts, l.request)
	return model.HashOf([]any{timeouts.Timeouts, timeouts.Origins, scope, l.closedText()})
}

// readParameters refuses what a gateway asks for beyond its listeners and addresses.
func (t *translator) readParameters(view *gatewayView) {
	g := view.gateway
	if _, class := valueOf[gatewayv1.GatewayClass](t.set, classKey(g)); class != nil && class.Spec.ParametersRef != nil {
		view.refused, view.message = gatewayv1.GatewayReasonInvalidParameters, "the GatewayClass is not accepted: its parametersRef is not supported"
	}
	if i := g.Spec.Infrastructure; i != nil && i.ParametersRef != nil {
		view.refused, view.message = gatewayv1.GatewayReasonInvalidParameters, "spec.infrastructure.parametersRef is not supported"
		view.error(RuleUnsupported, "spec.infrastructure.parametersRef", "is not supported; the gateway is not accepted")
	}
	if g.Spec.TLS != nil {
		view.warn(RuleUnsupported, "spec.tls", "is not supported by this version; no listener and no backend uses TLS")
	}
	if a := g.Spec.AllowedListeners; a != nil && a.Namespaces != nil && deref(a.Namespaces.From, gatewayv1.NamespacesFromNone) != gatewayv1.NamespacesFromNone {
		view.warn(RuleUnsupported, "spec.allowedListeners", "is not supported by this version; ListenerSets are not served")
	}
}

// readAddresses finds out where a gateway listens: on every address unless it names some.
func (v *gatewayView) readAddresses() {
	for i, a := range v.gateway.Spec.Addresses {
		field := fmt.Sprintf("spec.addresses[%d]", i)
		if kind := deref(a.Type, gatewayv1.IPAddressType); kind != gatewayv1.IPAddressType {
			v.refused = gatewayv1.GatewayReasonUnsupportedAddress
			v.message = fmt.Sprintf("%s: type %s is not supported; use IPAddress", field, kind)
			v.error(RuleUnsupported, field+".type", "%s is not supported; use IPAddress", kind)
			continue
		}
		if a.Value == "" {
			v.addresses = append(v.addresses, netip.IPv6Unspecified())
			continue
		}
		addr, err := netip.ParseAddr(a.Value)
		if err != nil {
			v.refused = cmp.Or(v.refused, gatewayv1.GatewayReasonAddressNotUsable)
			v.message = fmt.Sprintf("%s: %q is not an IP address", field, a.Value)
			v.error(RuleInvalidValue, field+".value", "%q is not an IP address", a.Value)
			continue
		}
		v.addresses = append(v.addresses, addr.Unmap())
	}
	if len(v.gateway.Spec.Addresses) == 0 {
		v.addresses = []netip.Addr{netip.IPv6Unspecified()}
	}
	slices.SortFunc(v.addresses, netip.Addr.Compare)
	v.addresses = slices.Compact(v.addresses)
	// An unspecified address takes the port of those that it covers.
	for _, all := range []netip.Addr{netip.IPv6Unspecified(), netip.IPv4Unspecified()} {
		if slices.Contains(v.addresses, all) {
			v.addresses = slices.DeleteFunc(v.addresses, func(a netip.Addr) bool { return a != all && overlaps(all, a) })
		}
	}
}

var httpRouteKind = gatewayv1.RouteGroupKind{Group: ptr(gatewayv1.Group(groupGateway)), Kind: kindHTTPRoute}

func ptr[T any](v T) *T { return &v }

// readListener reads a listener by itself.
func (v *gatewayView) readListener(l *listenerView) {
	if l.spec.Protocol != gatewayv1.HTTPProtocolType {
		l.refuse(gatewayv1.ListenerReasonUnsupportedProtocol,
			fmt.Sprintf("protocol %s is not supported by this version; HTTP is", l.spec.Protocol))
		v.error(RuleUnsupported, l.field("protocol"), "%s is not supported by this version; nothing is served on this listener", l.spec.Protocol)
	}
	l.from = gatewayv1.NamespacesFromSame
	allowed := deref(l.spec.AllowedRoutes, gatewayv1.AllowedRoutes{})
	if n := allowed.Namespaces; n != nil {
		l.from = deref(n.From, gatewayv1.NamespacesFromSame)
		if l.from == gatewayv1.NamespacesFromSelector {
			selector, err := metav1.LabelSelectorAsSelector(n.Selector)
			if err != nil {
				l.refuse(gatewayv1.ListenerReasonUnsupportedValue, "allowedRoutes.namespaces.selector: "+err.Error())
				v.error(RuleInvalidValue, l.field("allowedRoutes.namespaces.selector"), "%v", err)
				selector = labels.Nothing()
			}
			l.selector = selector
		}
	}
	served := l.spec.Protocol == gatewayv1.HTTPProtocolType
	if len(allowed.Kinds) == 0 && served {
		l.kinds = []gatewayv1.RouteGroupKind{httpRouteKind}
	}
	for i, k := range allowed.Kinds {
		if served && k.Kind == kindHTTPRoute && deref(k.Group, groupGateway) == groupGateway {
			l.kinds = []gatewayv1.RouteGroupKind{httpRouteKind}
			continue
		}
		l.badKinds = append(l.badKinds, string(k.Kind))
		v.error(RuleUnsupported, l.field(fmt.Sprintf("allowedRoutes.kinds[%d]", i)), "%s is not a kind of route that a listener of protocol %s takes in this version", k.Kind, l.spec.Protocol)
	}
}

// admits reports whether a listener takes routes of kind HTTPRoute from a namespace.
func (t *translator) admits(l *listenerView, namespace string) bool {
	if len(l.kinds) == 0 {
		return false
	}
	switch l.from {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return namespace == l.gateway.key.Namespace
	case gatewayv1.NamespacesFromSelector:
		return l.selector.Matches(t.namespaceLabels(namespace))
	}
	return false
}

// namespaceLabels are a namespace's labels. One that nobody declared has its name's.
func (t *translator) namespaceLabels(namespace string) labels.Set {
	set := labels.Set{}
	_, ns := valueOf[corev1.Namespace](t.set, namespaceKey(namespace))
	if ns != nil {
		for k, v := range ns.Labels {
			set[k] = v
		}
	}
	set[corev1.LabelMetadataName] = namespace
	return set
}

func namespaceKey(name string) resource.Key { return resource.Key{Kind: kindNamespace, Name: name} }

// sign hashes what routes and clusters can see of a gateway.
func (v *gatewayView) sign() model.Hash {
	parts := []any{v.scope, v.refused, originsOf(v.backend), v.gateway.Spec.DefaultScope}
	for _, l := range v.listeners {
		selector := ""
		if l.selector != nil {
			selector = l.selector.String()
		}
		parts = append(parts, l.name, l.spec.Port, l.hostname, l.variant, l.from, selector, l.kinds, l.served())
	}
	return model.HashOf(parts)
}

// originsOf is a backend side in a form that can be hashed.
func originsOf(b backendSide) model.Cluster {
	var c model.Cluster
	fillBackend(&c, b)
	return c
}
