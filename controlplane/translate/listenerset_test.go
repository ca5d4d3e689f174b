package translate

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
)

// setOf is a ListenerSet of a gateway, made on the given day.
func setOf(name, gateway string, day int, ports ...int32) *resource.Object {
	set := &gatewayv1.ListenerSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Generation: 3, CreationTimestamp: onDay(day)},
		Spec:       gatewayv1.ListenerSetSpec{ParentRef: gatewayv1.ParentGatewayReference{Name: gatewayv1.ObjectName(gateway)}},
	}
	for i, port := range ports {
		set.Spec.Listeners = append(set.Spec.Listeners, gatewayv1.ListenerEntry{
			Name: gatewayv1.SectionName(string(rune('a' + i))), Port: port, Protocol: gatewayv1.HTTPProtocolType,
		})
	}
	return object(groupGateway, kindListenerSet, name, set)
}

func onDay(day int) metav1.Time { return metav1.Date(2026, 1, day, 0, 0, 0, 0, time.UTC) }

// openGateway is a gateway that allows sets of its namespace, made on the given day.
func openGateway(name string, day int, port int32) *gatewayv1.Gateway {
	g := gatewayOf(name, httpListener("own", ""))
	g.CreationTimestamp = onDay(day)
	g.Spec.Listeners[0].Port = port
	g.Spec.AllowedListeners = &gatewayv1.AllowedListeners{Namespaces: &gatewayv1.ListenerNamespaces{From: ptr(gatewayv1.NamespacesFromSame)}}
	return g
}

// checkOutput compares facts about an output with what is wanted of it.
func checkOutput(t *testing.T, out Output, want string) {
	t.Helper()
	facts := map[string][]string{}
	for _, s := range out.Statuses {
		addFacts(facts, s.Key.Kind+" "+s.Key.Name, s.Value, func(metav1.Condition) {})
	}
	checkFacts(t, facts, want)
}

// TestSetPrecedence: what a gateway has, no set of another gets, however old its gateway is;
// between sets age decides, also across gateways, and the loser follows when the winner goes.
func TestSetPrecedence(t *testing.T) {
	gateways := []*resource.Object{
		object(groupGateway, kindGateway, "old", openGateway("old", 1, 8080)),
		object(groupGateway, kindGateway, "young", openGateway("young", 5, 8081)),
	}
	late, early := setOf("late", "old", 9, 8081, 8082, 8083), setOf("early", "young", 7, 8082)
	memo := NewMemo()
	out := Translate(Input{Set: resource.NewSet(append([]*resource.Object{late, early}, gateways...), nil), Memo: memo})
	checkOutput(t, out, `Gateway young listener own: Accepted=True, Programmed=True
		ListenerSet early listener a: Accepted=True, Programmed=True
		ListenerSet late: Accepted=True ListenersNotValid, Programmed=True
		ListenerSet late listener a: Accepted=False PortUnavailable, Conflicted=True HostnameConflict, Programmed=False PortUnavailable
		ListenerSet late listener b: Accepted=False PortUnavailable, Conflicted=True HostnameConflict, Programmed=False PortUnavailable
		ListenerSet late listener c: Accepted=True, Programmed=True`)

	out = Translate(Input{Set: resource.NewSet(append([]*resource.Object{late}, gateways...), nil), Memo: memo})
	checkOutput(t, out, `Gateway young: sets=0
		Gateway young listener own: Accepted=True, Programmed=True
		ListenerSet late listener a: Accepted=False PortUnavailable
		ListenerSet late listener b: Accepted=True, Programmed=True, Conflicted=False NoConflicts`)
}

// TestSetOfUnusableAddress: a gateway that is accepted and not programmed leaves its sets so.
func TestSetOfUnusableAddress(t *testing.T) {
	g := openGateway("front", 1, 8080)
	g.Spec.Addresses = []gatewayv1.GatewaySpecAddress{{Value: "300.0.0.1"}}
	out := translateAll(object(groupGateway, kindGateway, "front", g), setOf("extra", "front", 2, 8081))
	checkOutput(t, out, `Gateway front: Accepted=True, Programmed=False AddressNotUsable, sets=1
		ListenerSet extra: Accepted=True Accepted, Programmed=False ParentNotProgrammed
		ListenerSet extra listener a: Accepted=True, Programmed=False Invalid`)
	if n := len(out.Snapshot.Listeners); n != 0 {
		t.Errorf("%d sockets, want none", n)
	}
	if got := statusOf[gatewayv1.ListenerSetStatus](t, out, kindListenerSet, "extra").Listeners[0].Conditions[0].ObservedGeneration; got != 3 {
		t.Errorf("observed generation %d, want 3", got)
	}
}

// TestTableOwner reads the names that tableName writes.
func TestTableOwner(t *testing.T) {
	for _, kind := range []string{kindGateway, kindListenerSet} {
		owner := resource.Key{Group: groupGateway, Kind: kind, Namespace: "shop", Name: "edge.example"}
		name := tableName(owner, "web.1")
		if got, listener := TableOwner(name); got != owner || listener != "web.1" {
			t.Errorf("%s is %v's listener %s", name, got, listener)
		}
	}
}

// TestSetClosed: a policy that cannot be read closes the sets of its namespace, and not the
// gateway of another that they are attached to; one on the gateway closes both.
func TestSetClosed(t *testing.T) {
	g := openGateway("front", 1, 8080)
	g.Namespace = "infra"
	g.Spec.AllowedListeners.Namespaces.From = ptr(gatewayv1.NamespacesFromAll)
	gateway := object(groupGateway, kindGateway, "front", g)
	gateway.Key.Namespace = "infra"
	set := setOf("extra", "front", 2, 8081)
	spec := &set.Value.(*gatewayv1.ListenerSet).Spec
	spec.ParentRef.Namespace = ptr(gatewayv1.Namespace("infra"))
	spec.Listeners[0].AllowedRoutes = &gatewayv1.AllowedRoutes{Namespaces: &gatewayv1.RouteNamespaces{From: ptr(gatewayv1.NamespacesFromAll)}}
	value := benchRoute("site", 1)
	value.Namespace = "infra"
	value.Spec.ParentRefs = []gatewayv1.ParentReference{
		{Name: "front"}, {Kind: ptr(gatewayv1.Kind(kindListenerSet)), Name: "extra", Namespace: ptr(gatewayv1.Namespace("default"))},
	}
	route := object(groupGateway, kindHTTPRoute, "site", value)
	route.Key.Namespace = "infra"
	closed := func(policy *resource.Object) map[string]bool {
		out := translateAll(gateway, set, route, policy)
		tables := map[string]bool{}
		for _, table := range out.Snapshot.RouteTables {
			tables[table.Name] = false
			for _, e := range table.Entries {
				tables[table.Name] = e.Route.Refusal != nil
			}
		}
		return tables
	}
	unreadable := object(groupWeir, v1alpha1.KindAccessPolicy, "locked", nil)
	unreadable.Value, unreadable.Hash = nil, ""
	onGateway := object(groupWeir, v1alpha1.KindAccessPolicy, "locked", &resource.Restriction{
		ObjectMeta: metav1.ObjectMeta{Namespace: "infra", Name: "locked"},
		Spec: resource.RestrictionSpec{TargetRefs: []gatewayv1.LocalPolicyTargetReferenceWithSectionName{
			{LocalPolicyTargetReference: gatewayv1.LocalPolicyTargetReference{Group: groupGateway, Kind: kindGateway, Name: "front"}},
		}},
	})
	onGateway.Key.Namespace = "infra"
	const ofGateway, ofSet = "infra/front/own", "ListenerSet/default/extra/a"
	if got := closed(onGateway); !got[ofGateway] || !got[ofSet] {
		t.Errorf("a policy on the gateway: closed are %v", got)
	}
	if got := closed(unreadable); got[ofGateway] || !got[ofSet] {
		t.Errorf("an unreadable policy: closed are %v", got)
	}
}
