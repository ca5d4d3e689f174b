package console

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"weir.dev/weir/model"
)

// index is a snapshot sorted for questions. It is made once per snapshot.
type index struct {
	snapshot *model.Snapshot
	routes   []keyed[*servedRoute] // by name
	users    map[string]int        // routes that send to a cluster, by its name
	parts    func() []keyed[part]  // made when first asked for
	write    func()                // writes the text of every route, once
	hosts    int
}

// servedRoute is a route and where it is served.
type servedRoute struct {
	route     *model.Route
	stream    *model.StreamRoute // that route stands for; nil: none
	tables    []string
	hostnames []string
	text      string // what ?q looks in, in lower case; see index.write
}

// part is one piece of the snapshot's API form; exactly one member is set.
type part struct {
	listener  *model.Listener
	table     *model.RouteTable
	entry     *model.Entry // of table
	stream    *model.StreamRoute
	cluster   *model.Cluster
	endpoints *model.EndpointSet
}

type indexCache struct {
	mu   sync.Mutex
	last *index
}

func (c *indexCache) of(s *model.Snapshot) *index {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || c.last.snapshot != s {
		c.last = newIndex(s)
	}
	return c.last
}

func newIndex(s *model.Snapshot) *index {
	ix := &index{snapshot: s, users: map[string]int{}}
	if s == nil {
		ix.parts, ix.write = func() []keyed[part] { return nil }, func() {}
		return ix
	}
	byName := make(map[string]*servedRoute)
	for _, t := range s.RouteTables {
		for i := range t.Entries {
			e := &t.Entries[i]
			sr := byName[e.Route.Name]
			if sr == nil {
				sr = &servedRoute{route: e.Route}
				byName[e.Route.Name] = sr
				ix.routes = append(ix.routes, keyed[*servedRoute]{e.Route.Name, sr})
			}
			sr.tables = append(sr.tables, t.Name)
			sr.hostnames = append(sr.hostnames, e.Hostnames...)
		}
	}
	ix.addStreams(s)
	for _, it := range ix.routes {
		it.item.tables = unique(it.item.tables)
		it.item.hostnames = unique(it.item.hostnames)
		for _, cluster := range it.item.clusters() {
			ix.users[cluster]++
		}
	}
	ix.routes = sorted(ix.routes)
	ix.parts = sync.OnceValue(func() []keyed[part] { return parts(s) })
	ix.write = sync.OnceFunc(func() {
		for _, it := range ix.routes {
			it.item.text = it.item.searchText()
		}
	})
	for _, e := range s.Endpoints {
		ix.hosts += len(e.Endpoints)
	}
	return ix
}

// addStreams adds the stream routes, each with the listeners that give it their connections.
func (ix *index) addStreams(s *model.Snapshot) {
	byName := make(map[string]*servedRoute, len(s.Streams))
	for _, r := range s.Streams {
		sr := &servedRoute{stream: r, route: &model.Route{
			Name: r.Name, Kind: r.Kind, Namespace: r.Namespace, Object: r.Object, Rule: r.Rule, Origin: r.Origin, Refusal: r.Refusal, Split: r.Split,
		}}
		byName[r.Name] = sr
		ix.routes = append(ix.routes, keyed[*servedRoute]{r.Name, sr})
	}
	for _, l := range s.Listeners {
		for _, b := range l.Streams {
			if sr := byName[b.Route]; sr != nil {
				sr.tables = append(sr.tables, b.Listener)
				if b.Hostname != "" {
					sr.hostnames = append(sr.hostnames, b.Hostname)
				}
			}
		}
	}
}

// routeNamed returns the route with a name, nil if there is none.
func (ix *index) routeNamed(name string) *servedRoute {
	i, found := slices.BinarySearchFunc(ix.routes, name, func(it keyed[*servedRoute], name string) int { return cmp.Compare(it.key, name) })
	if !found {
		return nil
	}
	return ix.routes[i].item
}

// clusterNamed returns the cluster with a name, nil if there is none.
func (ix *index) clusterNamed(name string) *model.Cluster {
	if ix.snapshot == nil {
		return nil
	}
	clusters := ix.snapshot.Clusters
	i, found := slices.BinarySearchFunc(clusters, name, func(c *model.Cluster, name string) int { return cmp.Compare(c.Name, name) })
	if !found {
		return nil
	}
	return clusters[i]
}

// clusters are those that a route's arms send to.
func (r *servedRoute) clusters() []string {
	names := make([]string, 0, len(r.route.Split.Arms))
	for i := range r.route.Split.Arms {
		a := &r.route.Split.Arms[i]
		if a.Cluster != "" {
			names = append(names, a.Cluster)
		}
	}
	return unique(names)
}

// searchText is a route's name, hosts, matches and destinations.
func (r *servedRoute) searchText() string {
	words := append([]string{r.route.Name}, r.hostnames...)
	for i := range r.route.Matches {
		words = append(words, inWords(&r.route.Matches[i]))
	}
	for _, a := range r.route.Split.Arms {
		words = append(words, a.Name)
	}
	return strings.ToLower(strings.Join(words, "\n"))
}

// parts lists listeners, route tables entry by entry, stream routes, clusters and endpoints, in
// this order.
func parts(s *model.Snapshot) []keyed[part] {
	var out []keyed[part]
	for _, l := range s.Listeners {
		out = append(out, keyed[part]{"1/" + l.Name, part{listener: l}})
	}
	for _, t := range s.RouteTables {
		out = append(out, keyed[part]{"2/" + t.Name, part{table: t}})
		for i := range t.Entries {
			key := fmt.Sprintf("2/%s\x00%s\x00%08d", t.Name, t.Entries[i].Route.Name, i)
			out = append(out, keyed[part]{key, part{table: t, entry: &t.Entries[i]}})
		}
	}
	for _, r := range s.Streams {
		out = append(out, keyed[part]{"3/" + r.Name, part{stream: r}})
	}
	for _, c := range s.Clusters {
		out = append(out, keyed[part]{"4/" + c.Name, part{cluster: c}})
	}
	for _, e := range s.Endpoints {
		out = append(out, keyed[part]{"5/" + e.Cluster, part{endpoints: e}})
	}
	return sorted(out)
}

// name is what ?name and ?q of the snapshot are compared with.
func (p part) name() string {
	switch {
	case p.listener != nil:
		return p.listener.Name
	case p.entry != nil:
		return p.entry.Route.Name
	case p.table != nil:
		return p.table.Name
	case p.stream != nil:
		return p.stream.Name
	case p.cluster != nil:
		return p.cluster.Name
	default:
		return p.endpoints.Cluster
	}
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// inWords describes a match for people: "GET /cart/* x-user=7".
func inWords(m *model.Match) string {
	var b strings.Builder
	if m.Method != "" {
		b.WriteString(m.Method + " ")
	}
	switch m.Path.Type {
	case model.MatchPrefix:
		b.WriteString(strings.TrimSuffix(m.Path.Value, "/") + "/*")
	case model.MatchRegex:
		b.WriteString("~" + m.Path.Value)
	default:
		b.WriteString(cmp.Or(m.Path.Value, "/"))
	}
	for _, h := range m.Headers {
		b.WriteString(" " + h.Name + operator(h.Type) + hidden(h.Name, h.Value))
	}
	for _, q := range m.Query {
		b.WriteString(" ?" + q.Name + operator(q.Type) + hidden(q.Name, q.Value))
	}
	return b.String()
}

func operator(t model.MatchType) string {
	if t == model.MatchRegex {
		return "~"
	}
	return "="
}
