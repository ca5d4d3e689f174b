package translate

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// universe is every version of every object in testdata, and the sets as they are there:
// the archives use the same few names, so that their versions replace each other.
func universe(t *testing.T) (map[resource.Key][]*resource.Object, []*resource.Set) {
	t.Helper()
	var sets []*resource.Set
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	versions := map[resource.Key][]*resource.Object{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		set := archiveSet(archive)
		for o := range set.Objects() {
			versions[o.Key] = append(versions[o.Key], o)
		}
		sets = append(sets, set)
	}
	return versions, sets
}

// TestMemo starts with one archive, changes random objects, mostly its own, and checks after
// each change that translating with the memo gives what translating without one gives, and
// that what is equal is identical.
func TestMemo(t *testing.T) {
	versions, sets := universe(t)
	keys := slices.SortedFunc(maps.Keys(versions), resource.Key.Compare)
	rapid.Check(t, func(t *rapid.T) {
		memo := NewMemo()
		live := map[resource.Key]*resource.Object{}
		var own []resource.Key
		for o := range rapid.SampledFrom(sets).Draw(t, "set").Objects() {
			live[o.Key] = o
			own = append(own, o.Key)
		}
		var last *model.Snapshot
		for step := range rapid.IntRange(2, 8).Draw(t, "steps") {
			for range min(step, rapid.IntRange(1, 3).Draw(t, "changes")) {
				from := own
				if rapid.IntRange(0, 4).Draw(t, "foreign") == 0 {
					from = keys
				}
				key := rapid.SampledFrom(from).Draw(t, "key")
				n := rapid.IntRange(0, len(versions[key])).Draw(t, "version")
				if n == 0 {
					delete(live, key)
				} else {
					live[key] = versions[key][n-1]
				}
			}
			objects := slices.SortedFunc(maps.Values(live), func(a, b *resource.Object) int { return a.Key.Compare(b.Key) })
			shuffled := rapid.Permutation(objects).Draw(t, "order")
			got := Translate(Input{Set: resource.NewSet(shuffled, nil), Memo: memo})
			want := Translate(Input{Set: resource.NewSet(objects, nil)})
			if diff := cmp.Diff(jsonOf(t, want), jsonOf(t, got)); diff != "" {
				t.Fatalf("memo differs from no memo (-without +with):\n%s", diff)
			}
			if last != nil {
				checkIdentity(t, last, got.Snapshot)
			}
			last = got.Snapshot
		}
	})
}

func jsonOf(t rapid.TB, out Output) string {
	b, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkIdentity fails if an object was built anew though nothing in it changed.
func checkIdentity(t *rapid.T, old, current *model.Snapshot) {
	check := func(name string, was, is model.Hash, same bool) {
		if was == is && !same {
			t.Fatalf("%s has not changed, but is another object", name)
		}
	}
	eachPair(old.Clusters, current.Clusters, func(c *model.Cluster) string { return c.Name }, func(a, b *model.Cluster) {
		check(a.Name, a.Hash, b.Hash, a == b)
	})
	eachPair(old.Endpoints, current.Endpoints, func(e *model.EndpointSet) string { return e.Cluster }, func(a, b *model.EndpointSet) {
		check(a.Cluster, a.Hash, b.Hash, a == b)
	})
	eachPair(old.Listeners, current.Listeners, func(l *model.Listener) string { return l.Name }, func(a, b *model.Listener) {
		check(a.Name, a.Hash, b.Hash, a == b)
	})
	eachPair(old.Streams, current.Streams, func(r *model.StreamRoute) string { return r.Name }, func(a, b *model.StreamRoute) {
		check(a.Name, a.Hash, b.Hash, a == b)
	})
	eachPair(old.RouteTables, current.RouteTables, func(r *model.RouteTable) string { return r.Name }, func(a, b *model.RouteTable) {
		check(a.Name, a.Hash, b.Hash, a == b)
		eachPair(a.Entries, b.Entries, func(e model.Entry) string { return e.Route.Name }, func(a, b model.Entry) {
			check(a.Route.Name, a.Route.Hash, b.Route.Hash, a.Route == b.Route)
		})
	})
}

// eachPair calls do for all of two lists that have the same name.
func eachPair[T any](old, current []T, name func(T) string, do func(a, b T)) {
	for _, a := range old {
		for _, b := range current {
			if name(a) == name(b) {
				do(a, b)
			}
		}
	}
}

// TestSnapshotInvariants checks that the hash of every object is that of its content, that names
// are unique and that every cluster that a route names is there.
func TestSnapshotInvariants(t *testing.T) {
	versions, _ := universe(t)
	keys := slices.SortedFunc(maps.Keys(versions), resource.Key.Compare)
	rapid.Check(t, func(t *rapid.T) {
		var objects []*resource.Object
		for _, k := range keys {
			if n := rapid.IntRange(0, len(versions[k])).Draw(t, k.String()); n > 0 {
				objects = append(objects, versions[k][n-1])
			}
		}
		s := Translate(Input{Set: resource.NewSet(objects, nil)}).Snapshot
		for _, l := range s.Listeners {
			plain := *l
			plain.Hash = ""
			if model.HashOf(&plain) != l.Hash {
				t.Fatalf("listener %s: stale hash", l.Name)
			}
		}
		clusters := map[string]bool{}
		for _, c := range s.Clusters {
			plain := *c
			plain.Hash = ""
			if model.HashOf(&plain) != c.Hash {
				t.Fatalf("cluster %s: stale hash", c.Name)
			}
			if clusters[c.Name] {
				t.Fatalf("cluster %s: twice", c.Name)
			}
			clusters[c.Name] = true
		}
		used := map[string]bool{}
		routes := map[string]*model.Route{}
		for _, table := range s.RouteTables {
			for _, e := range table.Entries {
				if r := routes[e.Route.Name]; r != nil && r != e.Route {
					t.Fatalf("two routes are named %s", e.Route.Name)
				}
				routes[e.Route.Name] = e.Route
				checkRoute(t, e.Route, clusters, used)
			}
		}
		checkStreams(t, s, clusters, used)
		if diff := cmp.Diff(clusters, used); diff != "" && len(clusters)+len(used) > 0 {
			t.Fatalf("clusters (-there +used):\n%s", diff)
		}
	})
}

func checkRoute(t *rapid.T, r *model.Route, clusters, used map[string]bool) {
	plain := *r
	plain.Hash = ""
	if model.HashOf(&plain) != r.Hash {
		t.Fatalf("route %s: stale hash", r.Name)
	}
	if len(r.Matches) == 0 {
		t.Fatalf("route %s: no matches", r.Name)
	}
	checkArms(t, r.Name, r.Split.Arms, clusters, used)
	for _, m := range r.Mirrors {
		if !clusters[m.Cluster] {
			t.Fatalf("route %s: no cluster %s", r.Name, m.Cluster)
		}
		used[m.Cluster] = true
	}
	for _, x := range r.Shadows {
		if x.Refusal == nil && !clusters[x.Cluster] || (x.Refusal == nil) == (x.Cluster == "") {
			t.Fatalf("route %s: shadow %s to cluster %q, refusal %v", r.Name, x.Name, x.Cluster, x.Refusal)
		}
		if x.Cluster != "" {
			used[x.Cluster] = true
		}
	}
	if release := r.Split.Release; release != nil {
		for _, name := range []string{release.Stable, release.Canary} {
			if i := slices.IndexFunc(r.Split.Arms, func(a model.Arm) bool { return a.Name == name }); i < 0 || release.Subject != "" && r.Split.Arms[i].Refusal != nil {
				t.Fatalf("route %s: a release of %s, which is not there", r.Name, name)
			}
		}
	}
}

func checkArms(t *rapid.T, route string, arms []model.Arm, clusters, used map[string]bool) {
	for _, arm := range arms {
		if (arm.Cluster == "") == (arm.Refusal == nil) {
			t.Fatalf("route %s: arm %s has both or neither of cluster and refusal", route, arm.Name)
		}
		if arm.Cluster != "" && !clusters[arm.Cluster] {
			t.Fatalf("route %s: no cluster %s", route, arm.Cluster)
		}
		if arm.Cluster != "" {
			used[arm.Cluster] = true
		}
	}
}

// checkStreams checks the stream routes, and that each hostname of a socket is one listener's.
func checkStreams(t *rapid.T, s *model.Snapshot, clusters, used map[string]bool) {
	names := map[string]bool{}
	for _, r := range s.Streams {
		plain := *r
		plain.Hash = ""
		if model.HashOf(&plain) != r.Hash {
			t.Fatalf("stream route %s: stale hash", r.Name)
		}
		if names[r.Name] {
			t.Fatalf("two stream routes are named %s", r.Name)
		}
		if r.Kind == kindUDPRoute && r.Idle == 0 && r.Refusal == nil {
			t.Fatalf("sessions of %s never end", r.Name)
		}
		names[r.Name] = true
		checkArms(t, r.Name, r.Split.Arms, clusters, used)
	}
	for _, l := range s.Listeners {
		owners := map[string]string{}
		for _, b := range l.Tables {
			owners[b.Hostname] = b.Table
		}
		for _, b := range l.Streams {
			if owner := owners[b.Hostname]; owner != "" {
				t.Fatalf("socket %s: hostname %q is %s's and %s's", l.Name, b.Hostname, owner, b.Listener)
			}
			owners[b.Hostname] = b.Listener
			if b.Route != "" && !names[b.Route] {
				t.Fatalf("socket %s: there is no stream route %s", l.Name, b.Route)
			}
			if b.Terminate && l.TLS == nil {
				t.Fatalf("socket %s: TLS is to end at %s, but there are no certificates", l.Name, b.Listener)
			}
		}
		if len(owners) == 0 || len(l.Tables) > 0 && l.TLS == nil && len(l.Streams) > 0 {
			t.Fatalf("socket %s: nothing, or both requests and bytes in clear text", l.Name)
		}
	}
}
