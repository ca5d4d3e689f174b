package explain

import (
	"iter"
	"net/netip"
	"slices"
	"strings"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/match"
)

// NodeKind says what calls or is called.
type NodeKind string

// The kinds of nodes of a call graph.
const (
	NodeRule    NodeKind = "rule"    // of a route, by Route.Name
	NodeService NodeKind = "service" // a backend or a port of a service, by Cluster.Name without its scope
)

// Node is what calls or is called.
type Node struct {
	Kind NodeKind `json:"kind"`
	Name string   `json:"name"`
}

// compareNodes orders rules before services, then by name.
func compareNodes(a, b Node) int {
	if a.Kind != b.Kind {
		return strings.Compare(string(a.Kind), string(b.Kind))
	}
	return strings.Compare(a.Name, b.Name)
}

// CallReason is how a call is known.
type CallReason string

// The reasons.
const (
	CallRoute    CallReason = "route"    // the rule sends requests there
	CallDeclared CallReason = "calls"    // a TrafficPolicy of the backend says so
	CallAddress  CallReason = "address"  // the backend's address is a listener of Weir's own
	CallObserved CallReason = "observed" // telemetry has seen it
)

// Call is an edge of a call graph. Whoever knows calls from telemetry gives them to NewGraph:
// From and To are services, by the name of a cluster.
type Call struct {
	From   Node         `json:"from"`
	To     Node         `json:"to"`
	Reason CallReason   `json:"reason"`
	Origin model.Origin `json:"origin,omitzero"` // where it was said
}

// Graph is who calls whom: rules call the backends that they send requests to; backends call
// what a TrafficPolicy of theirs declares, what telemetry has seen them call, and, where their
// address is a listener of Weir's own, the rules that requests meet there.
//
// A call of one service by another goes by way of Weir wherever a rule leads to what is called:
// which one, nobody says, so that the worst of them counts.
type Graph struct {
	calls    map[Node][]Call
	nodes    []Node // sorted
	rules    map[string]*model.Route
	clusters map[string]*model.Cluster
	leading  map[string][]way // the rules that lead to a service
	called   map[string]bool  // services that other services call
	groups   map[Node]int     // of nodes that all reach each other
	members  [][]Node
}

// way is one way to a service: by a rule, to the cluster that the service is for the rule.
type way struct {
	rule    *model.Route
	cluster *model.Cluster
}

// ServiceName returns the name of a cluster without the scope of a gateway and without what
// tells its forms apart: what all of them are of.
func ServiceName(cluster string) string {
	name, _, _ := strings.Cut(cluster, "@")
	return strings.TrimSuffix(name, "/passthrough")
}

// NewGraph returns the call graph of a snapshot, with the calls that telemetry has seen, if
// there are any.
func NewGraph(s *model.Snapshot, observed []Call) *Graph {
	g := &Graph{
		calls: map[Node][]Call{}, rules: map[string]*model.Route{}, clusters: map[string]*model.Cluster{},
		leading: map[string][]way{}, called: map[string]bool{},
	}
	for _, c := range s.Clusters {
		g.clusters[c.Name] = c
		name := ServiceName(c.Name)
		for _, called := range c.Calls {
			g.add(Call{Node{NodeService, name}, Node{NodeService, ServiceName(called)}, CallDeclared, c.Origins["calls"]})
		}
	}
	for _, table := range s.RouteTables {
		for _, e := range table.Entries {
			g.addRule(e.Route)
		}
	}
	for _, c := range observed {
		c.Reason = CallObserved
		c.From.Name, c.To.Name = ServiceName(c.From.Name), ServiceName(c.To.Name)
		g.add(c)
	}
	g.addAddresses(s)
	g.finish()
	return g
}

func (g *Graph) add(c Call) {
	if c.From.Kind == NodeService && c.To.Kind == NodeService && c.From != c.To {
		g.called[c.To.Name] = true
	}
	if !slices.ContainsFunc(g.calls[c.From], func(known Call) bool { return known.To == c.To }) {
		g.calls[c.From] = append(g.calls[c.From], c)
	}
}

func (g *Graph) addRule(r *model.Route) {
	if g.rules[r.Name] != nil {
		return // in several tables
	}
	g.rules[r.Name] = r
	for service, w := range g.ways(r) {
		g.leading[service] = append(g.leading[service], w)
		g.add(Call{Node{NodeRule, r.Name}, Node{NodeService, service}, CallRoute, r.Origin})
	}
}

// ways returns the services that a rule leads to, and how.
func (g *Graph) ways(r *model.Route) iter.Seq2[string, way] {
	return func(yield func(string, way) bool) {
		for i := range r.Split.Arms {
			arm := &r.Split.Arms[i]
			if r.Split.Sends(arm) && arm.Cluster != "" && !yield(ServiceName(arm.Cluster), way{r, g.clusters[arm.Cluster]}) {
				return
			}
		}
	}
}

// addAddresses finds the services that are Weir itself, and the rules that their requests may
// meet: those of the listener at the address for the host that they are sent with.
func (g *Graph) addAddresses(s *model.Snapshot) {
	tables := make(map[string]*model.RouteTable, len(s.RouteTables))
	for _, t := range s.RouteTables {
		tables[t.Name] = t
	}
	for _, set := range s.Endpoints {
		name := ServiceName(set.Cluster)
		for _, l := range s.Listeners {
			if len(l.Tables) == 0 || !slices.ContainsFunc(set.Endpoints, func(e model.Endpoint) bool { return e.Weight > 0 && Listens(l, e.Address) }) {
				continue
			}
			for _, w := range g.leading[name] {
				if w.cluster != nil && w.cluster.Name == set.Cluster {
					g.addMet(w.rule, name, l, tables)
				}
			}
		}
	}
}

// Listens reports whether a listener is what answers at an address. Of addresses that are not
// written, only loopback is known to be this machine's.
func Listens(l *model.Listener, at netip.AddrPort) bool {
	own := l.Address.Addr()
	return l.Address.Port() == at.Port() && (own == at.Addr() || own.IsUnspecified() && at.Addr().IsLoopback())
}

// addMet adds the rules of a listener that requests of a rule may meet, once they have gone
// there as if to a service. A rule that changes what it forwards is not taken to meet itself.
func (g *Graph) addMet(from *model.Route, service string, l *model.Listener, tables map[string]*model.RouteTable) {
	changes := from.RequestHeaders != nil || from.Rewrite != nil
	for _, host := range hostsOf(from, tables) {
		var bindings match.Hosts[string]
		for _, b := range l.Tables {
			bindings.Set(b.Hostname, b.Table)
		}
		name, ok := bindings.Find([]byte(host))
		if !ok || tables[name] == nil {
			continue
		}
		for _, e := range tables[name].Entries {
			if _, covers := covering(e.Hostnames, []byte(host)); covers && (e.Route != from || !changes) {
				g.add(Call{Node{NodeService, service}, Node{NodeRule, e.Route.Name}, CallAddress, from.Origin})
			}
		}
	}
}

// hostsOf are hosts that requests of a rule are forwarded with, one for each hostname.
func hostsOf(r *model.Route, tables map[string]*model.RouteTable) []string {
	if r.Rewrite != nil && r.Rewrite.Hostname != "" {
		return []string{r.Rewrite.Hostname}
	}
	found := map[string]bool{}
	for _, t := range tables {
		for _, e := range t.Entries {
			if e.Route != r {
				continue
			}
			if len(e.Hostnames) == 0 {
				found["any.invalid"] = true // whatever it is
			}
			for _, h := range e.Hostnames {
				found[strings.Replace(h, "*", "any", 1)] = true
			}
		}
	}
	hosts := make([]string, 0, len(found))
	for h := range found {
		hosts = append(hosts, h)
	}
	slices.Sort(hosts)
	return hosts
}

// Cycles returns the nodes that reach themselves, those of each circle together, in the order
// of a way around it, beginning with the first by name.
func (g *Graph) Cycles() [][]Node {
	var cycles [][]Node
	for i, group := range g.members {
		if len(group) > 1 || slices.ContainsFunc(g.calls[group[0]], func(c Call) bool { return c.To == group[0] }) {
			cycles = append(cycles, g.around(group[0], i))
		}
	}
	slices.SortFunc(cycles, func(a, b []Node) int { return compareNodes(a[0], b[0]) })
	return cycles
}

// around is a shortest way from a node of a group back to itself.
func (g *Graph) around(start Node, group int) []Node {
	before := map[Node]Node{}
	queue := []Node{start}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		for _, c := range g.calls[n] {
			if c.To == start {
				way := []Node{n}
				for n != start {
					n = before[n]
					way = append(way, n)
				}
				slices.Reverse(way)
				return way
			}
			if _, seen := before[c.To]; !seen && g.groups[c.To] == group {
				before[c.To] = n
				queue = append(queue, c.To)
			}
		}
	}
	return []Node{start}
}

// finish sorts the nodes and groups those that reach each other (Tarjan 1972).
func (g *Graph) finish() {
	seen := make(map[Node]bool, len(g.calls))
	note := func(n Node) {
		if !seen[n] {
			seen[n] = true
			g.nodes = append(g.nodes, n)
		}
	}
	for from, calls := range g.calls {
		note(from)
		for _, c := range calls {
			note(c.To)
		}
		slices.SortFunc(calls, func(a, b Call) int { return compareNodes(a.To, b.To) })
	}
	slices.SortFunc(g.nodes, compareNodes)
	n := len(g.nodes)
	g.groups = make(map[Node]int, n)
	t := tarjan{graph: g, index: make(map[Node]int, n), low: make(map[Node]int, n), on: map[Node]bool{}}
	for _, n := range g.nodes {
		if t.index[n] == 0 {
			t.visit(n)
		}
	}
}

// tarjan finds groups of nodes that reach each other, each group after those that it calls.
type tarjan struct {
	graph      *Graph
	index, low map[Node]int // from 1
	stack      []Node
	on         map[Node]bool
}

func (t *tarjan) visit(n Node) {
	t.index[n] = len(t.index) + 1
	t.low[n] = t.index[n]
	t.stack, t.on[n] = append(t.stack, n), true
	for _, c := range t.graph.calls[n] {
		switch {
		case t.index[c.To] == 0:
			t.visit(c.To)
			t.low[n] = min(t.low[n], t.low[c.To])
		case t.on[c.To]:
			t.low[n] = min(t.low[n], t.index[c.To])
		}
	}
	if t.low[n] != t.index[n] {
		return
	}
	at := slices.Index(t.stack, n)
	group := slices.Clone(t.stack[at:])
	t.stack = t.stack[:at]
	slices.SortFunc(group, compareNodes)
	for _, m := range group {
		delete(t.on, m)
		t.graph.groups[m] = len(t.graph.members)
	}
	t.graph.members = append(t.graph.members, group)
}
