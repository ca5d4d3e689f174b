package proxy

import (
	"errors"
	"fmt"
	"slices"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/match"
)

// memo keeps what was compiled for the last snapshot. The next costs what differs from it:
// a changed route is compiled, and of its table the hostnames it is attached to; the rest is
// shared. Applying holds its lock.
type memo struct {
	last   *model.Snapshot
	routes map[string]*routeUse // by name
	tables map[string]*table    // by name
}

// routeUse is a route and how many entries of tables refer to it.
type routeUse struct {
	route *route
	uses  int
}

// table is a route table ready for use.
type table struct {
	model  *model.RouteTable
	routes *match.Table[*route]
	failed error // what of it could not be compiled
}

// work is the compiling of one snapshot.
type work struct {
	*memo
	proxy    *Proxy
	stale    map[string]struct{} // routes that have looked up a cluster that is another one now
	released []string            // routes that an entry refers to no more
	named    bool                // a route has come or gone
}

// compile compiles the snapshot's route tables. Named is whether a route, a cluster or a
// host has come or gone since the last snapshot.
func (m *memo) compile(p *Proxy, s *model.Snapshot) (tables map[string]*table, named bool, err error) {
	w := work{memo: m, proxy: p}
	if m.last == nil {
		*m = memo{last: &model.Snapshot{}, routes: map[string]*routeUse{}}
	}
	sameCluster := func(a, b *model.Cluster) bool { return a == b || a.Name == b.Name }
	if !slices.EqualFunc(m.last.Clusters, s.Clusters, sameCluster) {
		w.named = true
		w.findStale()
	}
	w.named = w.named || !slices.Equal(m.last.Endpoints, s.Endpoints)

	tables = make(map[string]*table, len(s.RouteTables))
	var errs []error
	for _, rt := range s.RouteTables {
		t := m.tables[rt.Name]
		if t == nil || t.model != rt || len(w.stale) > 0 {
			t = w.table(rt, t)
		}
		if t.failed != nil {
			errs = append(errs, fmt.Errorf("route table %s: %w", rt.Name, t.failed))
		}
		tables[rt.Name] = t
	}
	for name, t := range m.tables {
		if tables[name] == nil {
			w.release(t.model.Entries)
		}
	}
	w.forget()
	m.last, m.tables = s, tables
	return tables, w.named, errors.Join(errs...)
}

// findStale finds the routes to compile again because clusters have come or gone.
func (w *work) findStale() {
	w.stale = map[string]struct{}{}
	for name, u := range w.routes {
		if !u.route.current(w.proxy) {
			w.stale[name] = struct{}{}
		}
	}
}

// table compiles a route table, given what was compiled for the last one of its name, nil if
// there was none.
func (w *work) table(rt *model.RouteTable, old *table) *table {
	if old == nil {
		old = &table{model: &model.RouteTable{}, routes: new(match.Table[*route])}
	}
	removed, added := w.differ(old.model.Entries, rt.Entries)
	var changed match.Changed
	for _, e := range removed {
		changed.Add(e.Hostnames)
	}
	for _, e := range added {
		changed.Add(e.Hostnames)
		w.use(e.Route)
	}
	w.release(removed)
	made := &table{model: rt}
	if old.failed == nil && 4*changed.Len() <= len(rt.Entries) {
		made.routes, made.failed = old.routes.Recompile(&changed, w.entries(rt, &changed))
	}
	if made.routes == nil || made.failed != nil {
		made.routes, made.failed = match.Compile(w.entries(rt, nil))
	}
	return made
}

// differ returns the entries that are not in both lists at the same place. Where one list is
// longer, places count from the beginning as far as the lists agree, and then from the end.
func (w *work) differ(from, to []model.Entry) (removed, added []model.Entry) {
	if len(from) != len(to) {
		for len(from) > 0 && len(to) > 0 && w.same(&from[0], &to[0]) {
			from, to = from[1:], to[1:]
		}
		for len(from) > 0 && len(to) > 0 && w.same(&from[len(from)-1], &to[len(to)-1]) {
			from, to = from[:len(from)-1], to[:len(to)-1]
		}
		if len(from) != len(to) {
			return from, to
		}
	}
	for i := range to {
		if !w.same(&from[i], &to[i]) {
			removed, added = append(removed, from[i]), append(added, to[i])
		}
	}
	return removed, added
}

// same tells whether what was compiled for an entry serves another.
func (w *work) same(a, b *model.Entry) bool {
	if a.Route != b.Route && (a.Route.Name != b.Route.Name || !sameRoute(a.Route, b.Route)) {
		return false
	}
	if len(w.stale) > 0 {
		if _, stale := w.stale[b.Route.Name]; stale {
			return false
		}
	}
	shared := len(a.Hostnames) == len(b.Hostnames) && (len(a.Hostnames) == 0 || &a.Hostnames[0] == &b.Hostnames[0])
	return shared || slices.Equal(a.Hostnames, b.Hostnames)
}

func sameRoute(a, b *model.Route) bool { return a == b || a.Hash != "" && a.Hash == b.Hash }

// entries lists the entries of a table that concern the changed hostnames, or all of them.
func (w *work) entries(rt *model.RouteTable, changed *match.Changed) []match.Entry[*route] {
	var list []match.Entry[*route]
	if changed == nil {
		list = make([]match.Entry[*route], 0, len(rt.Entries))
	}
	for i := range rt.Entries {
		e := &rt.Entries[i]
		if changed != nil && !changed.Concerns(e.Hostnames) {
			continue
		}
		list = append(list, match.Entry[*route]{
			Hostnames: e.Hostnames, Matches: e.Route.Matches, Rank: e.Route.Rank, Value: w.routes[e.Route.Name].route,
		})
	}
	return list
}

// use compiles a route, unless that has been done, for one more entry.
func (w *work) use(r *model.Route) {
	u := w.routes[r.Name]
	switch {
	case u == nil:
		u = &routeUse{route: newRoute(w.proxy, r)}
		w.routes[r.Name] = u
		w.named = true
	case !sameRoute(u.route.model, r) || len(w.stale) > 0 && !u.route.current(w.proxy):
		u.route = newRoute(w.proxy, r)
	}
	u.uses++
}

func (w *work) release(entries []model.Entry) {
	for _, e := range entries {
		w.routes[e.Route.Name].uses--
		w.released = append(w.released, e.Route.Name)
	}
}

// forget drops the routes that no entry refers to.
func (w *work) forget() {
	for _, name := range w.released {
		if u := w.routes[name]; u != nil && u.uses == 0 {
			delete(w.routes, name)
			w.named = true
		}
	}
}
