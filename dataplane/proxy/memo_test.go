package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/match"
)

// idleProxy compiles and serves nobody.
func idleProxy() *Proxy {
	return New(Config{
		Metrics: telemetry.NewMetrics(1),
		Dial:    func(context.Context, netip.AddrPort) (net.Conn, error) { return nil, errors.New("nobody is there") },
	})
}

// world is what snapshots are made from; a translation keeps what does not change, too.
type world struct {
	clusters []*model.Cluster
	routes   map[int]*model.Route
	tables   [2][]model.Entry
	last     []*model.RouteTable
}

var (
	worldHosts    = []string{"a.test", "b.test", "*.test", "c.test"}
	worldClusters = []string{"c0", "c1", "c2"}
)

// change is one edit.
func (w *world) change(t *rapid.T) {
	switch rapid.IntRange(0, 5).Draw(t, "what") {
	case 0: // a cluster comes or goes
		name := rapid.SampledFrom(worldClusters).Draw(t, "cluster")
		if i := slices.IndexFunc(w.clusters, func(c *model.Cluster) bool { return c.Name == name }); i >= 0 {
			w.clusters = slices.Delete(slices.Clone(w.clusters), i, i+1)
		} else {
			w.clusters = append(slices.Clone(w.clusters), &model.Cluster{Name: name, Balancing: model.Balancing{Algorithm: model.RoundRobin}})
		}
	case 1: // a route changes everywhere
		r := w.route(t, rapid.IntRange(0, 19).Draw(t, "name"))
		for i := range w.tables {
			w.tables[i] = slices.Clone(w.tables[i])
			for j := range w.tables[i] {
				if w.tables[i][j].Route.Name == r.Name {
					w.tables[i][j].Route = r
				}
			}
		}
	case 2: // entries are swapped
		i := rapid.IntRange(0, 1).Draw(t, "table")
		if n := len(w.tables[i]); n > 0 {
			w.tables[i] = slices.Clone(w.tables[i])
			a, b := rapid.IntRange(0, n-1).Draw(t, "a"), rapid.IntRange(0, n-1).Draw(t, "b")
			w.tables[i][a], w.tables[i][b] = w.tables[i][b], w.tables[i][a]
		}
	case 3:
		i := rapid.IntRange(0, 1).Draw(t, "table")
		if n := len(w.tables[i]); n > 0 {
			at := rapid.IntRange(0, n-1).Draw(t, "at")
			w.tables[i] = slices.Delete(slices.Clone(w.tables[i]), at, at+1)
		}
	default:
		i := rapid.IntRange(0, 1).Draw(t, "table")
		n := rapid.IntRange(0, 19).Draw(t, "name")
		r := w.routes[n]
		if r == nil {
			r = w.route(t, n)
		}
		at := rapid.IntRange(0, len(w.tables[i])).Draw(t, "at")
		hosts := rapid.SliceOfN(rapid.SampledFrom(worldHosts), 0, 2).Draw(t, "hosts")
		w.tables[i] = slices.Insert(slices.Clone(w.tables[i]), at, model.Entry{Hostnames: hosts, Route: r})
	}
}

// route makes a version of a route. Rarely it is of a kind that does not compile.
func (w *world) route(t *rapid.T, n int) *model.Route {
	path := model.PathMatch{Type: model.MatchPrefix, Value: rapid.SampledFrom([]string{"/", "/a", "/a/b"}).Draw(t, "path")}
	if rapid.IntRange(0, 30).Draw(t, "wrong") == 0 {
		path.Type = "Fuzzy"
	}
	r := &model.Route{
		Name:    fmt.Sprint("r", n),
		Matches: []model.Match{{Path: path}},
		Split:   model.Split{Arms: []model.Arm{{Weight: 1, Cluster: rapid.SampledFrom(worldClusters).Draw(t, "to")}}},
	}
	r.Hash = model.HashOf(r)
	w.routes[n] = r
	return r
}

func (w *world) snapshot(t *rapid.T) *model.Snapshot {
	s := &model.Snapshot{Clusters: w.clusters}
	for i, entries := range w.tables {
		if len(entries) == 0 && rapid.Bool().Draw(t, "no table") {
			continue
		}
		made := &model.RouteTable{Name: fmt.Sprint("t", i), Entries: entries}
		for _, old := range w.last {
			if old.Name == made.Name && slices.EqualFunc(old.Entries, entries, func(a, b model.Entry) bool {
				return a.Route == b.Route && slices.Equal(a.Hostnames, b.Hostnames)
			}) {
				made = old
			}
		}
		s.RouteTables = append(s.RouteTables, made)
	}
	w.last = s.RouteTables
	return s
}

// TestMemoIsCompile applies snapshots that differ at random and compares what is made of
// each over the memo of the last with what is made from nothing.
func TestMemoIsCompile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, w := idleProxy(), &world{routes: map[int]*model.Route{}}
		for range rapid.IntRange(2, 8).Draw(t, "snapshots") {
			for range rapid.IntRange(1, 6).Draw(t, "changes") {
				w.change(t)
			}
			s := w.snapshot(t)
			if err := p.clusters.Apply(s.Clusters, s.Endpoints); err != nil {
				t.Fatal(err)
			}
			got, _, err := p.compiled.compile(p, s)
			want, _, wantErr := new(memo).compile(p, s)
			if fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Fatalf("error %v, want %v", err, wantErr)
			}
			if len(got) != len(want) {
				t.Fatalf("%d tables, want %d", len(got), len(want))
			}
			for name := range want {
				compareTables(t, name, got[name], want[name])
			}
			checkUses(t, p, s)
		}
	})
}

func compareTables(t *rapid.T, name string, got, want *table) {
	for _, host := range []string{"a.test", "b.test", "c.test", "d.test", "x.a.test", "other"} {
		for _, path := range []string{"/", "/a", "/a/b/c"} {
			r := &match.Request{Host: []byte(host), Method: []byte("GET"), Path: []byte(path)}
			g, okG := got.routes.Find(r)
			w, okW := want.routes.Find(r)
			if okG != okW || okG && (g.Value.model.Name != w.Value.model.Name || g.Value.model.Hash != w.Value.model.Hash) {
				t.Fatalf("table %s: %s%s: %v %v, want %v %v", name, host, path, g.Value, okG, w.Value, okW)
			}
			if okG && g.Value.arms[0].cluster != w.Value.arms[0].cluster {
				t.Fatalf("table %s: %s%s: the cluster is not the one of its name", name, host, path)
			}
		}
	}
}

// checkUses compares the counts of entries with the entries.
func checkUses(t *rapid.T, p *Proxy, s *model.Snapshot) {
	uses := map[string]int{}
	for _, rt := range s.RouteTables {
		for _, e := range rt.Entries {
			uses[e.Route.Name]++
		}
	}
	for name, u := range p.compiled.routes {
		if u.uses != uses[name] {
			t.Fatalf("%s has %d uses, want %d", name, u.uses, uses[name])
		}
	}
	if len(uses) != len(p.compiled.routes) {
		t.Fatalf("%d routes are kept, want %d", len(p.compiled.routes), len(uses))
	}
}

// BenchmarkApplyOneChanged is a snapshot of 10,000 routes of which one differs.
func BenchmarkApplyOneChanged(b *testing.B) {
	p := idleProxy()
	var entries []model.Entry
	for i := range 10_000 {
		r := &model.Route{
			Name:    fmt.Sprint("r", i),
			Matches: []model.Match{{Path: model.PathMatch{Type: model.MatchPrefix, Value: "/"}}},
			Split:   model.Split{Arms: []model.Arm{{Weight: 1, Cluster: "c0"}}},
		}
		r.Hash = model.HashOf(r)
		entries = append(entries, model.Entry{Hostnames: []string{fmt.Sprintf("h%d.test", i)}, Route: r})
	}
	clusters := []*model.Cluster{{Name: "c0", Balancing: model.Balancing{Algorithm: model.RoundRobin}}}
	var snapshots [2]*model.Snapshot
	for i := range snapshots {
		r := *entries[5000].Route
		r.Hash, r.Split.Name = "", fmt.Sprint(i)
		r.Hash = model.HashOf(r)
		entries = slices.Clone(entries)
		entries[5000].Route = &r
		snapshots[i] = &model.Snapshot{Clusters: clusters, RouteTables: []*model.RouteTable{{Name: "t", Entries: entries}}}
	}
	for i := 0; b.Loop(); i++ {
		if err := p.Apply(snapshots[i%2]); err != nil {
			b.Fatal(err)
		}
	}
}
