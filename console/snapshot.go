package console

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"weir.dev/weir/model"
)

// snapshotView is a page of the live snapshot. Listeners, route tables, clusters and
// endpoints count as one list in this order, a table as one item and each of its entries as
// another.
type snapshotView struct {
	Revision    uint64               `json:"revision"`
	Version     string               `json:"version"`
	Applied     *time.Time           `json:"applied,omitempty"`
	Counts      counts               `json:"counts"`
	Total       int                  `json:"total" doc:"items that fit the filters, on all pages"`
	Listeners   []*model.Listener    `json:"listeners"`
	RouteTables []tableView          `json:"routeTables"`
	Streams     []*model.StreamRoute `json:"streams" doc:"routes whose connections or datagrams are carried as they are"`
	Clusters    []*model.Cluster     `json:"clusters"`
	Endpoints   []*model.EndpointSet `json:"endpoints"`
	Continue    string               `json:"continue,omitempty" doc:"give it back to get the next page; absent on the last"`
}

// tableView is a route table with those of its entries that are on the page.
type tableView struct {
	Name    string        `json:"name" doc:"namespace/gateway/listener"`
	Hash    string        `json:"hash"`
	Total   int           `json:"total" doc:"entries in the table"`
	Entries []model.Entry `json:"entries" doc:"those on this page"`
}

func (c *Console) serveSnapshot(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p, ok := pageOf(w, q)
	if !ok {
		return
	}
	s, applied := c.cfg.Live.Snapshot()
	if s == nil {
		noSnapshot(c.cfg.Live.State().Reason).write(w)
		return
	}
	ix := c.index.of(s)
	parts := filter(ix.parts(), func(it part) bool { return named(q, it.name()) })
	items, next := cut(p, parts)
	v := snapshotView{
		Revision: s.Revision, Version: s.Version, Applied: &applied, Counts: c.counts(ix), Total: len(parts), Continue: next,
		Listeners: []*model.Listener{}, RouteTables: []tableView{}, Streams: []*model.StreamRoute{}, Clusters: []*model.Cluster{}, Endpoints: []*model.EndpointSet{},
	}
	for _, it := range items {
		v.add(it.item)
	}
	answer(w, v.plain())
}

func (v *snapshotView) add(p part) {
	switch {
	case p.listener != nil:
		v.Listeners = append(v.Listeners, p.listener)
	case p.stream != nil:
		v.Streams = append(v.Streams, p.stream)
	case p.cluster != nil:
		v.Clusters = append(v.Clusters, p.cluster)
	case p.endpoints != nil:
		v.Endpoints = append(v.Endpoints, p.endpoints)
	default:
		last := len(v.RouteTables) - 1
		if last < 0 || v.RouteTables[last].Name != p.table.Name {
			v.RouteTables = append(v.RouteTables, tableView{
				Name: p.table.Name, Hash: string(p.table.Hash), Total: len(p.table.Entries), Entries: []model.Entry{},
			})
			last++
		}
		if p.entry != nil {
			v.RouteTables[last].Entries = append(v.RouteTables[last].Entries, *p.entry)
		}
	}
}

// plain is v with its model objects made plain; all its lists are there even if empty.
func (v *snapshotView) plain() map[string]any {
	out := map[string]any{
		"revision": v.Revision, "version": v.Version, "applied": v.Applied, "counts": v.Counts, "total": v.Total,
		"listeners": plainOf(v.Listeners), "streams": plainOf(v.Streams), "clusters": plainOf(v.Clusters), "endpoints": plainOf(v.Endpoints),
	}
	tables := make([]map[string]any, len(v.RouteTables))
	for i, t := range v.RouteTables {
		tables[i] = map[string]any{"name": t.Name, "hash": t.Hash, "total": t.Total, "entries": plainOf(t.Entries)}
	}
	out["routeTables"] = tables
	if v.Continue != "" {
		out["continue"] = v.Continue
	}
	return out
}

func filter[T any](items []keyed[T], keep func(T) bool) []keyed[T] {
	var out []keyed[T]
	for _, it := range items {
		if keep(it.item) {
			out = append(out, it)
		}
	}
	return out
}

// named says whether a name fits ?name (equal) and ?q (contained, in any case).
func named(q url.Values, name string) bool {
	return (!q.Has("name") || q.Get("name") == name) &&
		strings.Contains(strings.ToLower(name), strings.ToLower(q.Get("q")))
}
