package translate

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// someRoute is a route of either kind as TestRouteConflicts draws it.
type someRoute struct {
	kind, name string
	age        int
	hostnames  []gatewayv1.Hostname
	sections   []gatewayv1.SectionName
}

var conflictHostnames = []gatewayv1.Hostname{"a.test", "x.a.test", "y.x.a.test", "*.a.test", "*.x.a.test", "*.test", "b.test", "*.b.test"}

func drawRoute(t *rapid.T, kind, name string) someRoute {
	r := someRoute{kind: kind, name: name, age: rapid.IntRange(0, 2).Draw(t, "age")}
	r.hostnames = rapid.SliceOfNDistinct(rapid.SampledFrom(conflictHostnames), 0, 3, rapid.ID).Draw(t, "hostnames")
	r.sections = rapid.SliceOfNDistinct(rapid.SampledFrom([]gatewayv1.SectionName{"one", "two"}), 1, 2, rapid.ID).Draw(t, "sections")
	return r
}

func (r someRoute) object() *resource.Object {
	meta := metav1.ObjectMeta{Namespace: "default", Name: r.name, CreationTimestamp: metav1.NewTime(time.Unix(int64(1_000_000+r.age), 0))}
	var common gatewayv1.CommonRouteSpec
	for _, s := range r.sections {
		common.ParentRefs = append(common.ParentRefs, gatewayv1.ParentReference{Name: "front", SectionName: &s})
	}
	to := gatewayv1.BackendRef{BackendObjectReference: gatewayv1.BackendObjectReference{Group: ptr(gatewayv1.Group(groupWeir)), Kind: ptr(gatewayv1.Kind(kindBackend)), Name: "b"}}
	if r.kind == kindGRPCRoute {
		return object(groupGateway, r.kind, r.name, &gatewayv1.GRPCRoute{ObjectMeta: meta, Spec: gatewayv1.GRPCRouteSpec{
			CommonRouteSpec: common, Hostnames: r.hostnames, Rules: []gatewayv1.GRPCRouteRule{{BackendRefs: []gatewayv1.GRPCBackendRef{{BackendRef: to}}}},
		}})
	}
	return object(groupGateway, r.kind, r.name, &gatewayv1.HTTPRoute{ObjectMeta: meta, Spec: gatewayv1.HTTPRouteSpec{
		CommonRouteSpec: common, Hostnames: r.hostnames, Rules: []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: to}}}},
	}})
}

// acceptedRoutes says, from the words of the specification, which routes have which listener.
func acceptedRoutes(routes []someRoute, listeners map[gatewayv1.SectionName]string) map[string]bool {
	routes = slices.SortedFunc(slices.Values(routes), func(a, b someRoute) int {
		return cmp.Or(cmp.Compare(a.age, b.age), cmp.Compare(a.name, b.name), cmp.Compare(a.kind, b.kind))
	})
	type held struct {
		kind      string
		hostnames []string
	}
	accepted := map[string]bool{}
	for section, hostname := range listeners {
		var there []held
		for _, r := range routes {
			var own []string
			for _, h := range r.hostnames {
				if c, ok := commonHostname(hostname, string(h)); ok {
					own = append(own, c)
				}
			}
			if len(r.hostnames) == 0 {
				own = []string{hostname}
			}
			if !slices.Contains(r.sections, section) || len(own) == 0 {
				continue
			}
			beaten := slices.ContainsFunc(there, func(h held) bool {
				return h.kind != r.kind && slices.ContainsFunc(own, func(a string) bool {
					return slices.ContainsFunc(h.hostnames, func(b string) bool { _, ok := commonHostname(a, b); return ok || b == "" })
				})
			})
			accepted[fmt.Sprintf("%s %s %s", r.kind, r.name, section)] = !beaten
			if !beaten {
				there = append(there, held{r.kind, own})
			}
		}
	}
	return accepted
}

// TestRouteConflicts draws routes of both kinds that change, and checks who has which listener,
// by status, by attachedRoutes and in tables, and that a memo makes no difference.
func TestRouteConflicts(t *testing.T) {
	listeners := map[gatewayv1.SectionName]string{"one": "", "two": "*.a.test"}
	gateway := &gatewayv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "front"},
		Spec: gatewayv1.GatewaySpec{GatewayClassName: ClassName, Listeners: []gatewayv1.Listener{
			{Name: "one", Port: 80, Protocol: gatewayv1.HTTPProtocolType},
			{Name: "two", Port: 81, Protocol: gatewayv1.HTTPProtocolType, Hostname: ptr(gatewayv1.Hostname("*.a.test"))},
		}},
	}
	rapid.Check(t, func(t *rapid.T) {
		memo := NewMemo()
		live := map[string]someRoute{}
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			for range rapid.IntRange(1, 4).Draw(t, "changes") {
				kind := rapid.SampledFrom([]string{kindGRPCRoute, kindHTTPRoute}).Draw(t, "kind")
				name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
				if rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
					delete(live, kind+name)
				} else {
					live[kind+name] = drawRoute(t, kind, name)
				}
			}
			objects := []*resource.Object{
				object(groupGateway, kindGateway, "front", gateway),
				object(groupWeir, kindBackend, "b", &v1alpha1.Backend{Spec: v1alpha1.BackendSpec{Endpoints: []v1alpha1.Endpoint{{Address: "10.0.0.1", Port: 1}}}}),
			}
			var routes []someRoute
			for _, r := range live {
				routes, objects = append(routes, r), append(objects, r.object())
			}
			got := Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo})
			without := Translate(Input{Set: resource.NewSet(objects, nil)})
			if diff := gocmp.Diff(jsonOf(t, without), jsonOf(t, got)); diff != "" {
				t.Fatalf("memo differs from no memo (-without +with):\n%s", diff)
			}
			checkConflicts(t, got, acceptedRoutes(routes, listeners))
		}
	})
}

func checkConflicts(t *rapid.T, out Output, want map[string]bool) {
	attached := map[gatewayv1.SectionName]int32{}
	inTable := map[string]bool{}
	for _, table := range out.Snapshot.RouteTables {
		_, section := TableOwner(table.Name)
		for _, e := range table.Entries {
			inTable[fmt.Sprintf("%s %s %s", e.Route.Kind, e.Route.Object, section)] = true
		}
	}
	for _, s := range out.Statuses {
		status, ok := RouteStatus(s.Value)
		if !ok {
			continue
		}
		for _, p := range status.Parents {
			is := fmt.Sprintf("%s %s %s", s.Key.Kind, s.Key.Name, *p.ParentRef.SectionName)
			holds := holds(p.Conditions, string(gatewayv1.RouteConditionAccepted))
			if holds != want[is] || inTable[is] != want[is] {
				t.Fatalf("%s: accepted %v, in its table %v, want %v", is, holds, inTable[is], want[is])
			}
			if holds {
				attached[*p.ParentRef.SectionName]++
			}
		}
	}
	for _, s := range out.Statuses {
		if g, ok := s.Value.(gatewayv1.GatewayStatus); ok {
			for _, l := range g.Listeners {
				if l.AttachedRoutes != attached[l.Name] {
					t.Fatalf("listener %s: %d attached routes, want %d", l.Name, l.AttachedRoutes, attached[l.Name])
				}
			}
		}
	}
}

// TestOneGRPCRouteChanged: a change of content costs one route, beside HTTPRoutes and without
// asking anew who has which hostname.
func TestOneGRPCRouteChanged(t *testing.T) {
	call := func(backend string, hostnames ...gatewayv1.Hostname) *resource.Object {
		return object(groupGateway, kindGRPCRoute, "calls", &gatewayv1.GRPCRoute{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "calls"},
			Spec: gatewayv1.GRPCRouteSpec{
				CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Name: "front"}}}, Hostnames: hostnames,
				Rules: []gatewayv1.GRPCRouteRule{{BackendRefs: []gatewayv1.GRPCBackendRef{{BackendRef: gatewayv1.BackendRef{
					BackendObjectReference: gatewayv1.BackendObjectReference{Group: ptr(gatewayv1.Group(groupWeir)), Kind: ptr(gatewayv1.Kind(kindBackend)), Name: gatewayv1.ObjectName(backend)},
					Weight:                 ptr(int32(len(hostnames))),
				}}}}},
			},
		})
	}
	objects, memo := append(manyRoutes(10), call("site-00000", "calls.test")), NewMemo()
	before := Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo})
	objects[len(objects)-1] = call("site-00000", "calls.test")
	objects[len(objects)-1].Value.(*gatewayv1.GRPCRoute).Spec.Rules[0].Name = ptr(gatewayv1.SectionName("named"))
	objects[len(objects)-1].Hash = "changed"
	tr := &translator{Memo: memo, set: resource.NewSet(objects, nil)}
	tr.diff()
	tr.translateRoutes()
	if tr.claimsChanged() {
		t.Error("nobody's hostnames have changed")
	}
	tr.buildClusters()
	after, patched := tr.patch()
	if !patched {
		t.Fatal("a change of a rule's name is not patched in")
	}
	changed := map[string]bool{}
	was := map[*model.Route]bool{}
	for _, e := range before.Snapshot.RouteTables[0].Entries {
		was[e.Route] = true
	}
	for _, e := range after.Snapshot.RouteTables[0].Entries {
		if !was[e.Route] {
			changed[e.Route.Name] = true
		}
	}
	if diff := gocmp.Diff(map[string]bool{"GRPCRoute/default/calls/named": true}, changed); diff != "" {
		t.Errorf("changed routes (-want +got):\n%s", diff)
	}
}

// TestProtocolFollowsCallers: a backend that does not say what it speaks is spoken to by HTTP/2
// while a GRPCRoute refers to it, whatever was translated before.
func TestProtocolFollowsCallers(t *testing.T) {
	calls := someRoute{kind: kindGRPCRoute, name: "calls", hostnames: []gatewayv1.Hostname{"a.test"}, sections: []gatewayv1.SectionName{"http"}}.object()
	web := someRoute{kind: kindHTTPRoute, name: "web", hostnames: []gatewayv1.Hostname{"b.test"}, sections: []gatewayv1.SectionName{"http"}}.object()
	backend := object(groupWeir, kindBackend, "b", &v1alpha1.Backend{Spec: v1alpha1.BackendSpec{Endpoints: []v1alpha1.Endpoint{{Address: "10.0.0.1", Port: 1}}}})
	memo, gateway := NewMemo(), manyRoutes(0)[0]
	for i, step := range []struct {
		routes []*resource.Object
		want   model.Protocol
	}{
		{[]*resource.Object{web}, model.ProtocolAuto},
		{[]*resource.Object{web, calls}, model.ProtocolH2C},
		{[]*resource.Object{calls}, model.ProtocolH2C},
		{[]*resource.Object{web}, model.ProtocolAuto},
	} {
		out := Translate(Input{Set: resource.NewSet(append(step.routes, gateway, backend), nil), Memo: memo})
		if got := out.Snapshot.Clusters[0].Protocol; len(out.Snapshot.Clusters) != 1 || got != step.want {
			t.Errorf("step %d: %d clusters, the first speaks %q, want %q", i, len(out.Snapshot.Clusters), got, step.want)
		}
	}
}
