package translate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// TestPatch changes routes among several spans of them, mostly in a way that leaves their
// place in tables, and checks that the memo gives what no memo gives.
func TestPatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{1, 3, sumSpan, sumSpan + 1, 3 * sumSpan}).Draw(t, "routes")
		objects, memo := manyRoutes(n), NewMemo()
		last := Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo}).Snapshot
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			for range rapid.IntRange(1, 3).Draw(t, "changes") {
				i := 1 + 2*rapid.IntRange(0, n-1).Draw(t, "route")
				objects[i] = rerouted(t, objects[i].Key.Name)
			}
			got := Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo})
			want := Translate(Input{Set: resource.NewSet(objects, nil)})
			if got.Snapshot.Version != want.Snapshot.Version {
				t.Errorf("version %s, want %s", got.Snapshot.Version, want.Snapshot.Version)
			}
			if diff := cmp.Diff(jsonOf(t, want), jsonOf(t, got)); diff != "" {
				t.Fatalf("memo differs from no memo (-without +with):\n%s", diff)
			}
			checkIdentity(t, last, got.Snapshot)
			last = got.Snapshot
		}
	})
}

// rerouted is a version of a route: one that serves, one with an error, one with several
// hostnames, one that goes elsewhere.
func rerouted(t *rapid.T, name string) *resource.Object {
	route := benchRoute(name, rapid.Int32Range(1, 5).Draw(t, "weight"))
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 0:
		route.Spec.Rules[0].BackendRefs[0].Name = "missing"
	case 1:
		route.Spec.Hostnames = append(route.Spec.Hostnames, "more.example.com")
	case 2:
		route.Spec.Rules = append(route.Spec.Rules, route.Spec.Rules[0])
	case 3:
		route.Spec.Rules[0].BackendRefs[0].Name = "site-00000"
	}
	return object(groupGateway, kindHTTPRoute, name, route)
}

// TestPatchIsUsed: the fast way is taken for a change of content, and no other route is
// looked at.
func TestPatchIsUsed(t *testing.T) {
	objects, memo := manyRoutes(10), NewMemo()
	before := Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo})
	name := objects[5].Key.Name
	objects[5] = object(groupGateway, kindHTTPRoute, name, benchRoute(name, 7))
	tr := &translator{Memo: memo, set: resource.NewSet(objects, nil)}
	tr.diff()
	tr.attachPolicies()
	tr.attachClosures()
	tr.acceptGateways()
	tr.translateRoutes()
	tr.buildClusters()
	after, patched := tr.patch()
	if !patched {
		t.Fatal("a change of weight is not patched in")
	}
	changed := 0
	eachPair(before.Snapshot.RouteTables[0].Entries, after.Snapshot.RouteTables[0].Entries,
		func(e model.Entry) string { return e.Route.Name },
		func(a, b model.Entry) {
			if a.Route != b.Route {
				changed++
			}
		})
	if changed != 1 {
		t.Errorf("%d routes changed, want 1", changed)
	}
}
