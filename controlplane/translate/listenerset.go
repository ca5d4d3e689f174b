package translate

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// setView is one ListenerSet of a Gateway of ours (GEP-1713).
type setView struct {
	reporter
	key       resource.Key
	set       *gatewayv1.ListenerSet
	gateway   *gatewayView
	listeners []*listenerView
	// refused is why the set is not attached to its gateway; empty: it is.
	refused   gatewayv1.ListenerSetConditionReason
	message   string
	signature model.Hash // of what routes see
}

// attached reports whether the gateway takes the set's listeners.
func (v *setView) attached() bool { return v.refused == "" }

func (v *setView) refuse(reason gatewayv1.ListenerSetConditionReason, message string) {
	v.refused, v.message = reason, message
	v.error(RuleNotAttached, "spec.parentRef", "%s", message)
}

// readListenerSets reads the sets of our gateways, in the order in which they take
// precedence: the oldest first, then by namespace/name.
func (t *translator) readListenerSets() {
	for _, o := range t.objectsOf(groupGateway, kindListenerSet) {
		set, _ := o.Value.(*gatewayv1.ListenerSet)
		if set == nil {
			continue
		}
		v := &setView{reporter: reporter{object: o}, key: o.Key, set: set}
		if v.gateway = t.gatewayOf(v); v.gateway == nil {
			t.gateways.diagnostics = append(t.gateways.diagnostics, v.diagnostics...)
			continue
		}
		t.gateways.sets[o.Key] = v
		t.gateways.orderedSets = append(t.gateways.orderedSets, v)
	}
	slices.SortFunc(t.gateways.orderedSets, func(a, b *setView) int {
		return cmp.Or(createdAt(a.object).Compare(createdAt(b.object)), strings.Compare(pathName(a.key), pathName(b.key)))
	})
	for _, v := range t.gateways.orderedSets {
		v.gateway.sets = append(v.gateway.sets, v)
		for i := range v.set.Spec.Listeners {
			spec := gatewayv1.Listener(v.set.Spec.Listeners[i])
			v.listeners = append(v.listeners, t.newListener(v.gateway, v, i, &spec))
		}
		if g := v.gateway; !t.selects(g.setsFrom, g.setSelector, g.key.Namespace, v.key.Namespace) {
			v.refuse(gatewayv1.ListenerSetReasonNotAllowed, fmt.Sprintf("%v allows no ListenerSets from namespace %s in its spec.allowedListeners", v.gateway.key, v.key.Namespace))
		}
	}
}

// gatewayOf finds the gateway of ours that a set names; nil if there is none. A set of
// another controller's gateway is none of our business.
func (t *translator) gatewayOf(v *setView) *gatewayView {
	ref := v.set.Spec.ParentRef
	if group, kind := deref(ref.Group, groupGateway), deref(ref.Kind, kindGateway); group != groupGateway || kind != kindGateway {
		v.warn(RuleUnsupported, "spec.parentRef.kind", "a parent of kind %s and group %q is not supported; the ListenerSet has no effect", kind, group)
		return nil
	}
	key := resource.Key{Group: groupGateway, Kind: kindGateway, Namespace: string(deref(ref.Namespace, gatewayv1.Namespace(v.key.Namespace))), Name: string(ref.Name)}
	view := t.gateways.views[key]
	if view == nil {
		if o := t.set.Get(key); o == nil || o.Value == nil {
			v.error(RuleUnresolved, "spec.parentRef.name", "%s", absenceText(o, key))
		}
	}
	return view
}

// readAllowedListeners finds out which ListenerSets a gateway takes: none unless it says so.
func (v *gatewayView) readAllowedListeners() {
	v.setsFrom = gatewayv1.NamespacesFromNone
	if v.gateway.Spec.AllowedListeners == nil || v.gateway.Spec.AllowedListeners.Namespaces == nil {
		return
	}
	namespaces := v.gateway.Spec.AllowedListeners.Namespaces
	v.setsFrom = deref(namespaces.From, gatewayv1.NamespacesFromNone)
	if v.setsFrom != gatewayv1.NamespacesFromSelector {
		return
	}
	selector, err := metav1.LabelSelectorAsSelector(namespaces.Selector)
	if err != nil {
		v.error(RuleInvalidValue, "spec.allowedListeners.namespaces.selector", "%v; no ListenerSet is attached", err)
		selector = labels.Nothing()
	}
	v.setSelector = selector
}

// sign hashes what routes can see of a set. What they see of its gateway is in the
// listeners' variants.
func (v *setView) sign() model.Hash {
	parts := []any{v.gateway.key, v.refused, v.message}
	return model.HashOf(append(parts, signListeners(v.listeners)...))
}

// listeners yields every listener as they take precedence: those of the gateways, then
// those of ListenerSets, the oldest objects first.
func (s *gatewayStage) listeners() iter.Seq[*listenerView] {
	return func(yield func(*listenerView) bool) {
		for _, g := range s.ordered {
			for _, l := range g.listeners {
				if !yield(l) {
					return
				}
			}
		}
		for _, v := range s.orderedSets {
			for _, l := range v.listeners {
				if !yield(l) {
					return
				}
			}
		}
	}
}
