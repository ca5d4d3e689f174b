package translate

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// gatewayStage is what the gateways add up to.
type gatewayStage struct {
	views       map[resource.Key]*gatewayView
	ordered     []*gatewayView // oldest first, then by namespace/name
	sets        map[resource.Key]*setView
	orderedSets []*setView     // oldest first, then by namespace/name
	defaults    []resource.Key // gateways of default scope All
	tables      []string       // names of served listeners' tables, sorted
	sockets     []*socketView
	unserved    []model.Unserved
	diagnostics []resource.Diagnostic
}

// gatewayView is one Gateway of ours.
type gatewayView struct {
	reporter
	key       resource.Key
	gateway   *gatewayv1.Gateway
	listeners []*listenerView
	sets      []*setView // that are attached or want to be, as they take precedence
	addresses []netip.Addr
	deps      []resource.Key // that it and its sets looked at besides
	// setsFrom and setSelector are the namespaces from which it takes ListenerSets.
	setsFrom    gatewayv1.FromNamespaces
	setSelector labels.Selector
	// scope is what is put behind the names of clusters; empty without backend defaults.
	scope   string
	backend backendSide
	// fixed is what policies override, and requires what they require, the class's first.
	fixed    sides
	requires []*requirement
	// levels are the request side of the gateway and of its class.
	levels     []level[requestSide]
	rejections []rejection // of policies towards clients
	unmet      []unmet     // by listeners
	// tlsScope is the same behind the names of clusters that are spoken to by TLS, which the
	// gateway's client certificate sets apart as well.
	tlsScope string
	client   *model.Certificate // that backends may ask for; nil: none
	// frontends are what clients must prove, by port; without an entry as on anyPort.
	frontends map[gatewayv1.PortNumber]*frontend
	// unresolved is why something that the gateway itself refers to does not resolve; empty:
	// all does.
	unresolved        gatewayv1.GatewayConditionReason
	unresolvedMessage string
	// refused is why the gateway as a whole is not accepted or not programmed.
	refused   gatewayv1.GatewayConditionReason
	message   string
	signature model.Hash // of what routes and clusters see
}

// acceptGateways decides which gateways and listeners are served, if anything that they
// depend on has changed, and marks those that changed in a way that routes can see.
func (t *translator) acceptGateways() {
	if t.gateways.views != nil && !t.gatewaysDirty() {
		return
	}
	old := t.gateways
	t.gateways = gatewayStage{views: map[resource.Key]*gatewayView{}, sets: map[resource.Key]*setView{}}
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
	t.readListenerSets()
	t.settleConflicts()
	t.openSockets(old.sockets)
	t.compareGateways(&old)
	t.structural = true
}

// compareGateways marks what routes and clusters can see to have changed.
func (t *translator) compareGateways(old *gatewayStage) {
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
	for _, set := range t.gateways.orderedSets {
		t.gateways.diagnostics = append(t.gateways.diagnostics, set.diagnostics...)
		set.signature = set.sign()
		if was := old.sets[set.key]; was == nil || was.signature != set.signature {
			t.dirty.mark(set.key)
		}
	}
	for key := range old.sets {
		if t.gateways.sets[key] == nil {
			t.dirty.mark(key)
		}
	}
	if !slices.Equal(old.defaults, t.gateways.defaults) {
		t.dirty.mark(defaultGatewaysKey)
	}
}

func (t *translator) gatewaysDirty() bool {
	for k := range t.dirty.keys {
		k.Group = strings.TrimPrefix(k.Group, "policies-of:")
		if isKind(k, groupGateway, kindGateway) || isKind(k, groupGateway, kindGatewayClass) ||
			isKind(k, groupGateway, kindListenerSet) || isKind(k, groupCore, kindNamespace) {
			return true // of a Namespace, its labels and whether it is closed
		}
	}
	return slices.ContainsFunc(t.gateways.ordered, func(v *gatewayView) bool { return t.dirty.hasAny(v.deps) })
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
	view.backend.budget = budgetSide{} // a Gateway's is its routes'
	t.readFixed(view, class, own)
	if view.backend != (backendSide{}) || view.fixed.backend != (backendSide{}) || len(about(view.requires, sideBackend)) > 0 {
		view.scope = "@" + pathName(o.Key)
	}
	t.readParameters(view)
	view.readAddresses()
	view.readAllowedListeners()
	t.readFrontends(view)
	t.readClientCertificate(view)
	view.tlsScope = view.scope
	if view.client != nil {
		view.tlsScope = "@" + pathName(o.Key)
	}
	for i := range g.Spec.Listeners {
		view.listeners = append(view.listeners, t.newListener(view, nil, i, &g.Spec.Listeners[i]))
	}
	return view
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

// sign hashes what routes and clusters can see of a gateway.
func (v *gatewayView) sign() model.Hash {
	parts := []any{v.scope, v.tlsScope, v.client, v.refused, digestOf(v.backend), v.gateway.Spec.DefaultScope, digestOf(v.fixed.backend)}
	parts = append(parts, requiredOf(v.requires)...)
	return model.HashOf(append(parts, signListeners(v.listeners)...))
}
