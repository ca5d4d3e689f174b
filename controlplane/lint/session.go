package lint

import (
	"fmt"
	"slices"

	"weir.dev/weir/model"
)

// sessionWithoutWeight: by GEP-1619 a session outlives the weight of its backend.
func sessionWithoutWeight(p *pass) {
	for _, r := range p.routes() {
		if r.Session == nil || r.Session.AbsoluteTimeout > 0 {
			continue
		}
		if !slices.ContainsFunc(r.Split.Arms, func(a model.Arm) bool { return a.Weight > 0 }) {
			continue // which is said elsewhere
		}
		o := p.set.Get(routeKey(r))
		for i, arm := range r.Split.Arms {
			if arm.Weight == 0 && arm.Cluster != "" && !r.Split.Releases(arm.Name) {
				p.report(o, fmt.Sprintf("%s.backendRefs[%d].weight", ruleField(o.Value, r.Rule), i),
					"sessions that began at %s stay there for good; set sessionPersistence.absoluteTimeout to let them end, or remove the backendRef", clusterText(arm.Cluster))
			}
		}
	}
}

// carrier is what two rules must have in common for one's session to reach the other: a
// client keeps cookies by host, name and path. Headers are the client's own affair, and go
// to whatever host it likes.
type carrier struct {
	table, hostname string
	kind            model.SessionType
	name, path      string
}

// sessionNameReused finds rules whose sessions overwrite each other's: one means a host that
// the other does not have.
func sessionNameReused(p *pass) {
	type claim struct{ rule, first string }
	said := map[claim]bool{}
	for _, table := range p.out.Snapshot.RouteTables {
		first := map[carrier]*model.Route{}
		for _, e := range table.Entries {
			r := e.Route
			if r.Session == nil {
				continue
			}
			hostnames := e.Hostnames
			if len(hostnames) == 0 {
				hostnames = []string{""}
			}
			for _, h := range hostnames {
				c := carrier{table.Name, h, r.Session.Type, r.Session.Name, r.Session.Path}
				f := first[c]
				if f == nil {
					first[c] = r
					continue
				}
				if at := (claim{r.Split.Name, f.Split.Name}); !said[at] && !shareClusters(r, f) {
					said[at] = true
					p.reportSessionName(r, f)
				}
			}
		}
	}
}

func (p *pass) reportSessionName(r, first *model.Route) {
	o := p.set.Get(routeKey(r))
	p.report(o, ruleField(o.Value, r.Rule)+".sessionPersistence.sessionName",
		"is the name of the sessions of %s, too, which has other backends: clients lose one session for the other; give each a name of its own, or leave the names out", ruleText(first))
}

// shareClusters reports whether a session of one route could be one of the other.
func shareClusters(a, b *model.Route) bool {
	return slices.ContainsFunc(a.Split.Arms, func(x model.Arm) bool {
		return x.Cluster != "" && slices.ContainsFunc(b.Split.Arms, func(y model.Arm) bool { return x.Cluster == y.Cluster })
	})
}

// sessionWithWeights finds weights that say where sessions begin, not where requests go.
func sessionWithWeights(p *pass) {
	for _, r := range p.routes() {
		if r.Session == nil {
			continue
		}
		weights, arms := map[uint32]bool{}, 0
		for i, weight := range r.Split.Resting() { // a release keeps sessions inside an arm
			if weight > 0 && r.Split.Arms[i].Cluster != "" {
				weights[weight] = true
				arms++
			}
		}
		if arms < 2 || len(weights) < 2 { // equal shares are for load, not for a sample
			continue
		}
		o := p.set.Get(routeKey(r))
		p.report(o, ruleField(o.Value, r.Rule)+".sessionPersistence",
			"the weights of the backendRefs divide new sessions alone: clients that have one stay where they began, however the weights change, so that a small share keeps growing or never does; sample by hashOn or by a match, or leave sessions out here")
	}
}

// keyWithSession finds keys where sessions decide.
func keyWithSession(p *pass) {
	w := written{path: "hashOn"}
	useful := map[model.Origin]bool{}
	for _, r := range p.routes() {
		switch {
		case len(r.HashOn) == 0:
		case r.Session != nil:
			w.add(r.Origins, ruleText(r))
		default:
			useful[r.Origins["hashOn"]] = true
		}
	}
	w.order = slices.DeleteFunc(w.order, func(o model.Origin) bool { return useful[o] })
	w.report(p, "has no effect on %s, whose sessionPersistence decides: leave one of them out")
}
