package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/explain"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/retry"
)

// defaultAmplification is the product of tries along a path from which on it is too much: two
// tiers that each try once more make four.
const defaultAmplification = 3

// graph is the call graph, made once.
func (p *pass) graph() *explain.Graph {
	if p.calls == nil {
		p.calls = explain.NewGraph(p.out.Snapshot, p.observed)
	}
	return p.calls
}

// paths are the worst paths of the call graph, by what is written, made once.
func (p *pass) paths() explain.Paths {
	if p.worst == nil {
		worst := p.graph().Paths(writtenFactor)
		p.worst = &worst
	}
	return *p.worst
}

// retryAmplification looks at paths on which more than one tier retries. What is a part of a path
// that was spoken of is not spoken of again.
func retryAmplification(p *pass) {
	s := p.sayings()
	graph := p.graph()
	paths := p.paths()
	threshold := cmp.Or(p.amplification, defaultAmplification)
	told := map[string]bool{}
	for _, called := range []bool{false, true} {
		for _, r := range p.routes() {
			if graph.Called(r) != called || told[r.Name] {
				continue
			}
			hops := paths.From(r.Name)
			if tiers(hops) < 2 || hops[0].Factor <= 1 || hops[len(hops)-1].Total <= threshold {
				continue
			}
			for _, h := range hops[1:] {
				told[h.Rule] = true
			}
			s.rule(r, []string{"retries.attempts", "retries.hedge.max", "retries.budget.percent"}, resource.Warning,
				"one request may become ×%s at the end of the calls: %s; retry in one tier only, or write a retries.budget in each", explain.Times(hops[len(hops)-1].Total), pathText(hops))
		}
	}
	s.report()
}

// tiers is how many steps of a path retry.
func tiers(hops []explain.Hop) (n int) {
	for _, h := range hops {
		if h.Factor > 1 {
			n++
		}
	}
	return n
}

// pathText is a path with what each step multiplies by, the middle of a long one left out.
func pathText(hops []explain.Hop) string {
	const most = 6
	steps := make([]string, len(hops))
	for i, h := range hops {
		steps[i] = h.Service
		if h.Factor > 1 {
			steps[i] = "×" + explain.Times(h.Factor) + " " + steps[i]
		}
	}
	if left := len(steps) - most; left > 0 {
		steps = slices.Replace(steps, most-1, len(steps)-1, fmt.Sprintf("%d more", left))
	}
	return strings.Join(steps, " → ")
}

// callCycle finds services that call themselves, by way of others.
func callCycle(p *pass) {
	for _, cycle := range p.graph().Cycles() {
		const most = 8
		names := make([]string, 0, most)
		for _, n := range cycle[:min(len(cycle), most)] {
			names = append(names, n.Name)
		}
		if left := len(cycle) - most; left > 0 {
			names = append(names, fmt.Sprintf("%d more", left))
		}
		names = append(names, cycle[0].Name)
		at, ok := p.callPlace(cycle)
		if !ok {
			continue
		}
		p.reportAt(at.at, at.object, at.field, fmt.Sprintf("calls go round in a circle: %s; each retry on the way multiplies the next round, and a request may never end", strings.Join(names, " → ")))
	}
}

// callPlace is where one of the calls among nodes was declared, else a rule among them.
func (p *pass) callPlace(nodes []explain.Node) (saying, bool) {
	for _, n := range nodes {
		for _, c := range p.out.Snapshot.Clusters {
			if n.Kind == explain.NodeService && explain.ServiceName(c.Name) == n.Name {
				if at, ok := p.placeOf(c.Origins, []string{"calls"}); ok {
					return at, true
				}
			}
		}
	}
	for _, r := range p.routes() {
		if o := p.set.Get(routeKey(r)); o != nil && slices.Contains(nodes, explain.Node{Kind: explain.NodeRule, Name: r.Name}) {
			field := ruleField(o.Value, r.Rule)
			return saying{at: o.Position(field), object: o.Key, field: field}, true
		}
	}
	return saying{}, false
}

// outlivedByCallee finds services that work on for a caller that has given up.
func outlivedByCallee(p *pass) {
	s := p.sayings()
	byName := map[string]*model.Route{}
	for _, r := range p.routes() {
		byName[r.Name] = r
	}
	said := map[[2]string]bool{}
	paths := p.paths()
	for _, r := range p.routes() {
		caller := r
		for i, h := range paths.From(r.Name) {
			callee := byName[h.Rule]
			if i == 0 || callee == nil || caller == nil || said[[2]string{caller.Name, h.Rule}] {
				caller = cmp.Or(callee, caller)
				continue
			}
			said[[2]string{caller.Name, h.Rule}] = true
			patience := tryTime(caller)
			worst, bounded := retry.WorstCase(callee.Timeouts, callee.Retry)
			if patience > 0 && (wrote(callee.Origins, "timeouts.request") || wrote(callee.Origins, "timeouts.perTry")) && (!bounded || worst > patience) {
				text := "has no end"
				if bounded {
					text = fmt.Sprintf("may take %v", worst)
				}
				s.rule(callee, []string{"timeouts.request", "timeouts.perTry"}, resource.Warning, "%s on behalf of %s, whose tries end after %v: the rest is work for nobody; give it less than its callers have", text, ruleText(caller), patience)
			}
			caller = callee
		}
	}
	s.report()
}

// tryTime is how long a rule waits for one try; 0: any time.
func tryTime(r *model.Route) time.Duration { return cmp.Or(r.Timeouts.PerTry, r.Timeouts.Request) }

// unknownCallee finds calls to what is not there, as of a name that is mistyped: the graph ends in it.
func unknownCallee(p *pass) {
	for o, policy := range resource.All[*v1alpha1.TrafficPolicy](p.set) {
		for i, c := range policy.Spec.Calls {
			if key := translate.BackendKey(o.Key.Namespace, c.BackendRef); p.set.Get(key) == nil {
				p.report(o, fmt.Sprintf("spec.calls[%d].backendRef.name", i), "there is no %v: retries and timeouts behind it are not counted; name a Backend or Service as routes do", key)
			}
		}
	}
}

// streamLoop finds routes of connections and datagrams that lead back to their own listener.
func streamLoop(p *pass) {
	endpoints := map[string]*model.EndpointSet{}
	for _, set := range p.out.Snapshot.Endpoints {
		endpoints[set.Cluster] = set
	}
	streams := map[string]*model.StreamRoute{}
	for _, r := range p.out.Snapshot.Streams {
		streams[r.Name] = r
	}
	for _, l := range p.out.Snapshot.Listeners {
		for _, b := range l.Streams {
			r := streams[b.Route]
			if r == nil {
				continue
			}
			o := p.set.Get(resource.Key{Group: gatewayv1.GroupName, Kind: r.Kind, Namespace: r.Namespace, Name: r.Object})
			for _, arm := range r.Split.Arms {
				set := endpoints[arm.Cluster]
				if o == nil || set == nil || arm.Weight == 0 {
					continue
				}
				for _, e := range set.Endpoints {
					if e.Weight > 0 && explain.Listens(l, e.Address) {
						p.report(o, ruleField(o.Value, r.Rule)+".backendRefs", "%v of %s is the listener %s itself: what comes goes round in a circle, each time as something new, until a limit is reached", e.Address, clusterText(arm.Cluster), l.Name)
					}
				}
			}
		}
	}
}
