package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// listenerView is one listener of a Gateway of ours, be it written there or in a ListenerSet.
type listenerView struct {
	gateway  *gatewayView
	set      *setView // that it is written in; nil: in the gateway itself
	in       *reporter
	spec     *gatewayv1.Listener
	index    int
	name     string // of its table
	hostname string
	request  requestSide
	levels   []level[requestSide] // what request is made of, the closest first
	client   clientSide
	closed   *closure // nil: it serves
	secure   secureSide
	// variant tells apart listeners on which one route means different things.
	variant model.Hash

	from     gatewayv1.FromNamespaces
	selector labels.Selector
	kinds    []gatewayv1.RouteGroupKind
	// unresolved is why something that the listener refers to does not resolve; empty: all
	// does.
	unresolved         gatewayv1.ListenerConditionReason
	unresolvedMessages []string
	// refused is why the listener is not accepted; empty: it is.
	refused gatewayv1.ListenerConditionReason
	message string
	// conflict is why the listener cannot be told apart from another; empty: it can.
	conflict        gatewayv1.ListenerConditionReason
	conflictMessage string
}

// passthrough reports whether TLS goes through the listener as it is.
func (l *listenerView) passthrough() bool {
	return l.spec.Protocol == gatewayv1.TLSProtocolType && l.spec.TLS != nil && deref(l.spec.TLS.Mode, gatewayv1.TLSModeTerminate) == gatewayv1.TLSModePassthrough
}

// streams reports whether the listener carries connections or datagrams as they are.
func (l *listenerView) streams() bool {
	return l.family() == familyTCP || l.family() == familyUDP || l.spec.Protocol == gatewayv1.TLSProtocolType
}

// owner is the object that the listener is written in.
func (l *listenerView) owner() resource.Key { return l.in.object.Key }

func (l *listenerView) field(name string) string {
	return fmt.Sprintf("spec.listeners[%d].%s", l.index, name)
}

func (l *listenerView) refuse(reason gatewayv1.ListenerConditionReason, message string) {
	if l.refused == "" {
		l.refused, l.message = reason, message
	}
}

func (l *listenerView) unresolve(reason gatewayv1.ListenerConditionReason, message string) {
	l.unresolved = cmp.Or(l.unresolved, reason)
	if !slices.Contains(l.unresolvedMessages, message) {
		l.unresolvedMessages = append(l.unresolvedMessages, message)
	}
}

// valid reports whether the listener could be served, by itself.
func (l *listenerView) valid() bool { return l.refused == "" && l.secure.missing == "" }

// served reports whether the listener has a socket and a table.
func (l *listenerView) served() bool {
	return l.valid() && l.gateway.refused == "" && (l.set == nil || l.set.refused == "")
}

// unservedText says why a listener that is accepted is not served all the same.
func (l *listenerView) unservedText() string {
	if l.secure.missing != "" {
		return l.secure.missing
	}
	if l.set != nil && l.set.refused != "" {
		return "the ListenerSet is not served: " + l.set.message
	}
	return "the gateway is not served: " + l.gateway.message
}

// setPrefix is in front of the names of tables of ListenerSets' listeners. Nothing else has
// it, for no namespace has an upper-case letter.
const setPrefix = kindListenerSet + "/"

// tableName names the table of a listener: namespace/gateway/listener, and for one of a
// ListenerSet ListenerSet/namespace/set/listener.
func tableName(owner resource.Key, listener gatewayv1.SectionName) string {
	name := pathName(owner) + "/" + string(listener)
	if owner.Kind == kindListenerSet {
		name = setPrefix + name
	}
	return name
}

// TableOwner returns the Gateway or ListenerSet, and the name of its listener, that a
// model.RouteTable of Translate is for.
func TableOwner(table string) (owner resource.Key, listener string) {
	owner = resource.Key{Group: groupGateway, Kind: kindGateway}
	if rest, ok := strings.CutPrefix(table, setPrefix); ok {
		owner.Kind, table = kindListenerSet, rest
	}
	owner.Namespace, table, _ = strings.Cut(table, "/")
	owner.Name, listener, _ = strings.Cut(table, "/")
	return owner, listener
}

// ListenersOf names the listeners that a socket serves as tables are named: TableOwner says
// whose they are.
func ListenersOf(socket *model.Listener) []string {
	names := make([]string, 0, len(socket.Tables)+len(socket.Streams))
	for _, b := range socket.Tables {
		names = append(names, b.Table)
	}
	for _, b := range socket.Streams {
		names = append(names, b.Listener)
	}
	return names
}

// newListener reads a listener of a gateway, or of the set, by itself: what it has in common
// with others comes later.
func (t *translator) newListener(view *gatewayView, set *setView, index int, spec *gatewayv1.Listener) *listenerView {
	l := &listenerView{gateway: view, set: set, in: &view.reporter, spec: spec, index: index}
	gateway := t.policy(view.key, "")
	own := gateway
	if set != nil {
		l.in, own = &set.reporter, t.policy(set.key, "")
	}
	l.name = tableName(l.owner(), spec.Name)
	l.hostname = strings.ToLower(string(deref(spec.Hostname, "")))
	closest := t.policy(l.owner(), string(spec.Name))
	l.levels = appendLevel(nil, closest, target{l.owner(), string(spec.Name)})
	if set != nil {
		l.levels = appendLevel(l.levels, own, target{set.key, ""})
	}
	l.levels = append(l.levels, view.levels...)
	l.request = mergeRequests(l.levels)
	l.client = view.clientAt(l, closest, own, gateway)
	l.closed = cmp.Or(t.closed(classKey(view.gateway), ""), t.closed(view.key, ""), t.closed(l.owner(), string(spec.Name)))
	l.variant = variantOf(l)
	t.readListener(l)
	return l
}

// variantOf is the same for listeners on which every route means the same.
func variantOf(l *listenerView) model.Hash {
	parts := []any{digestOf(l.request), l.gateway.scope, l.gateway.tlsScope, l.closedText(), digestOf(l.gateway.fixed.request)}
	if len(l.gateway.requires) > 0 { // whoever breaks one is told of each gateway
		parts = append(append(parts, l.gateway.key), requiredOf(l.gateway.requires)...)
	}
	return model.HashOf(parts)
}

func ptr[T any](v T) *T { return &v }

func (t *translator) readListener(l *listenerView) {
	own := protocolKinds[l.spec.Protocol]
	if len(own) == 0 {
		l.refuse(gatewayv1.ListenerReasonUnsupportedProtocol,
			fmt.Sprintf("protocol %s is not supported by this version; HTTP, HTTPS, TLS, TCP and UDP are", l.spec.Protocol))
		l.in.error(RuleUnsupported, l.field("protocol"), "%s is not supported; expected HTTP, HTTPS, TLS, TCP or UDP; nothing is served on this listener", l.spec.Protocol)
	}
	l.from = gatewayv1.NamespacesFromSame
	allowed := deref(l.spec.AllowedRoutes, gatewayv1.AllowedRoutes{})
	if n := allowed.Namespaces; n != nil {
		l.from = deref(n.From, gatewayv1.NamespacesFromSame)
		if l.from == gatewayv1.NamespacesFromSelector {
			selector, err := metav1.LabelSelectorAsSelector(n.Selector)
			if err != nil {
				l.refuse(gatewayv1.ListenerReasonUnsupportedValue, "allowedRoutes.namespaces.selector: "+err.Error())
				l.in.error(RuleInvalidValue, l.field("allowedRoutes.namespaces.selector"), "%v", err)
				selector = labels.Nothing()
			}
			l.selector = selector
		}
	}
	for _, kind := range own {
		wanted := func(k gatewayv1.RouteGroupKind) bool {
			return k.Kind == kind && deref(k.Group, groupGateway) == groupGateway
		}
		if len(allowed.Kinds) == 0 || slices.ContainsFunc(allowed.Kinds, wanted) {
			l.kinds = append(l.kinds, gatewayv1.RouteGroupKind{Group: ptr(gatewayv1.Group(groupGateway)), Kind: kind})
		}
	}
	for i, k := range allowed.Kinds {
		if slices.Contains(own, k.Kind) && deref(k.Group, groupGateway) == groupGateway {
			continue
		}
		l.unresolve(gatewayv1.ListenerReasonInvalidRouteKinds, fmt.Sprintf("routes of kind %s are not supported here", k.Kind))
		l.in.error(RuleUnsupported, l.field(fmt.Sprintf("allowedRoutes.kinds[%d]", i)), "%s is not a kind of route that a listener of protocol %s takes; %s", k.Kind, l.spec.Protocol, takesText(own))
	}
	t.secureListener(l)
}

// takesText names the kinds of routes that a protocol carries.
func takesText(kinds []gatewayv1.Kind) string {
	if len(kinds) == 0 {
		return "it takes none"
	}
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	return "it takes " + strings.Join(names, " and ")
}

// admits reports whether a listener takes a route, going by its kind and namespace.
func (t *translator) admits(l *listenerView, route resource.Key) bool {
	return l.takes(route.Kind) && t.selects(l.from, l.selector, l.owner().Namespace, route.Namespace)
}

// selects reports whether an object allows others from a namespace.
func (t *translator) selects(from gatewayv1.FromNamespaces, selector labels.Selector, own, namespace string) bool {
	switch from {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return namespace == own
	case gatewayv1.NamespacesFromSelector:
		return selector.Matches(t.namespaceLabels(namespace))
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

// signListeners hashes what routes can see of listeners.
func signListeners(listeners []*listenerView) []any {
	var parts []any
	for _, l := range listeners {
		selector := ""
		if l.selector != nil {
			selector = l.selector.String()
		}
		parts = append(parts, l.name, l.spec.Port, l.hostname, l.variant, l.from, selector, l.kinds, l.served())
	}
	return parts
}
