package explain

import (
	"slices"

	"weir.dev/weir/model"
)

const (
	// maxHops is how many steps of a path are told: longer ones nobody reads.
	maxHops = 32
	// maxFactor is the greatest product that is told, of which a longer path makes no more.
	maxFactor = 1e6
)

// Factor is what a rule makes of one request, for the cluster that it sends it to: the number
// of tries, 1 or more. cluster is nil where the snapshot does not have it.
type Factor func(rule *model.Route, cluster *model.Cluster) float64

// Hop is one step of a path through the call graph.
type Hop struct {
	// Service is what is called.
	Service string `json:"service"`
	// Rule is by whose policy; empty: the call does not come by way of Weir, or nobody knows.
	Rule   string     `json:"rule,omitempty"`
	Reason CallReason `json:"reason"`
	// Factor is how many tries a request to it may become, on a step that is not the last by
	// failures further on; Total is that times those before.
	Factor float64 `json:"factor"`
	Total  float64 `json:"total"`

	rule    *model.Route
	cluster *model.Cluster
}

// Paths are the worst paths through a call graph: from each node the one to whose end the
// greatest product of factors leads, and of equal ones the longest. A step that is not the last
// counts only where its rule tries again what a failure further on becomes. Calls back to where
// a path has been are left out: Graph.Cycles says them.
type Paths struct{ best map[Node]branch }

// PassesOn reports whether a rule tries again when a service that its own backend calls fails: by
// the answer that this becomes, or because the backend takes too long over it. Failures to connect,
// and resets, stay between two neighbours.
func PassesOn(r *model.Route) bool {
	t := r.Retry
	if t == nil {
		return false
	}
	return len(t.GRPCCodes) > 0 || slices.ContainsFunc(t.Codes, func(code int) bool { return code >= 500 }) ||
		r.Timeouts.PerTry > 0 && (t.On == nil || slices.Contains(t.On, model.RetryPerTryTimeout))
}

// Paths returns the worst paths for a factor.
func (g *Graph) Paths(factor Factor) Paths {
	p := Paths{map[Node]branch{}}
	for _, group := range g.members { // what is called comes first
		for _, n := range group {
			p.best[n] = g.worstOf(n, factor, p.best)
		}
	}
	return p
}

// From returns the worst path from a rule on, by its Name, the first 32 steps of it, with totals
// up to a million; none for a rule that calls nothing.
func (p Paths) From(rule string) []Hop {
	var hops []Hop
	total := 1.0
	for b := p.best[Node{NodeRule, rule}]; b.hop != nil && len(hops) < maxHops; b = p.best[b.next] {
		if b.hop.Service == "" {
			continue
		}
		hop := *b.hop
		total = min(total*hop.Factor, maxFactor)
		hop.Total = total
		hops = append(hops, hop)
	}
	return hops
}

// Called reports whether a rule leads to a service that others call, so that its path may be a
// part of theirs.
func (g *Graph) Called(rule *model.Route) bool {
	return slices.ContainsFunc(rule.Split.Arms, func(a model.Arm) bool { return rule.Split.Sends(&a) && g.called[ServiceName(a.Cluster)] })
}

// branch is the worst that follows a node.
type branch struct {
	product float64
	length  int
	hop     *Hop // nil: nothing follows
	next    Node
}

func (g *Graph) worstOf(n Node, factor Factor, best map[Node]branch) branch {
	passed := func(r *model.Route, c *model.Cluster) float64 {
		if !PassesOn(r) {
			return 1
		}
		return factor(r, c)
	}
	worst := branch{product: 1}
	consider := func(b branch) {
		if worst.hop == nil || b.product > worst.product || b.product == worst.product && b.length > worst.length {
			worst = b
		}
	}
	for _, c := range g.calls[n] {
		if g.groups[c.To] == g.groups[n] {
			continue
		}
		if after := best[c.To]; after.hop != nil {
			hop := g.hop(c, passed)
			consider(branch{min(hop.Factor*after.product, maxFactor), after.length + 1, &hop, c.To})
		}
		if c.To.Kind == NodeService {
			hop := g.hop(c, factor)
			consider(branch{min(hop.Factor, maxFactor), 1, &hop, Node{}})
		}
	}
	return worst
}

// hop is a call as a step: with the worst of the rules that it may come by.
func (g *Graph) hop(c Call, factor Factor) Hop {
	if c.To.Kind == NodeRule {
		return Hop{Factor: 1} // a service that is Weir itself: the rule's own step comes next
	}
	hop := Hop{Service: c.To.Name, Reason: c.Reason, Factor: 1}
	consider := func(w way) {
		if f := factor(w.rule, w.cluster); hop.rule == nil || f > hop.Factor {
			hop.Factor, hop.rule, hop.Rule, hop.cluster = f, w.rule, w.rule.Name, w.cluster
		}
	}
	if c.From.Kind == NodeRule { // its own ways: of all that lead there, there may be ten thousand
		for service, w := range g.ways(g.rules[c.From.Name]) {
			if service == c.To.Name {
				consider(w)
			}
		}
		return hop
	}
	for _, w := range g.leading[c.To.Name] {
		consider(w)
	}
	return hop
}
