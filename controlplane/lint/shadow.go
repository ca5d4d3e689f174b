package lint

import (
	"fmt"
	"slices"
	"strings"

	"weir.dev/weir/model"
)

// shadow is a match that never decides, because the same match comes first wherever it is
// attached. Two matches can only tie by being the same: anything that makes one narrower
// gives it precedence.
type shadow struct {
	route *model.Route
	match int
	first *model.Route // in one of the tables
}

// place is where a match is attached.
type place struct {
	table, hostname, match string
}

// claim is a match of a route that other claims are compared with.
type claim struct {
	name  string // of the split: variants of a route share one
	match int
}

// findShadows compares all matches of all tables, whose entries stand in the order that
// breaks ties.
func (p *pass) findShadows() []shadow {
	if p.searched {
		return p.shadows
	}
	p.searched = true
	reaches := map[claim]bool{}
	var order []claim
	found := map[claim]shadow{}
	for _, table := range p.out.Snapshot.RouteTables {
		first := map[place]*model.Route{}
		for _, e := range table.Entries {
			for i, m := range e.Route.Matches {
				c := claim{e.Route.Split.Name, i}
				if _, seen := reaches[c]; !seen {
					reaches[c] = false
					order = append(order, c)
				}
				for _, at := range places(table.Name, e.Hostnames, m) {
					if first[at] == nil {
						first[at] = e.Route
						reaches[c] = true
					} else if _, seen := found[c]; !seen {
						found[c] = shadow{route: e.Route, match: i, first: first[at]}
					}
				}
			}
		}
	}
	for _, c := range order {
		if !reaches[c] {
			p.shadows = append(p.shadows, found[c])
		}
	}
	return p.shadows
}

// places lists a match under each hostname, in a form that is equal for equal matches.
func places(table string, hostnames []string, m model.Match) []place {
	value := m.Path.Value
	if m.Path.Type == model.MatchPrefix {
		value = strings.TrimRight(value, "/")
	}
	key := fmt.Sprintf("%s %q %s%s%s", m.Path.Type, value, m.Method, valuesText(m.Headers), valuesText(m.Query))
	if len(hostnames) == 0 {
		return []place{{table, "", key}}
	}
	var list []place
	for _, h := range hostnames {
		list = append(list, place{table, h, key})
	}
	return list
}

func valuesText(values []model.ValueMatch) string {
	var texts []string
	for _, v := range values {
		texts = append(texts, fmt.Sprintf("%q %s %q", v.Name, v.Type, v.Value))
	}
	slices.Sort(texts)
	return fmt.Sprint(texts)
}

func unreachableRule(p *pass) {
	for _, s := range p.findShadows() {
		if routeKey(s.route) == routeKey(s.first) {
			p.reportShadow(s, "rule "+s.first.Rule+" has the same match and comes first")
		}
	}
}

func shadowedRoute(p *pass) {
	for _, s := range p.findShadows() {
		if routeKey(s.route) != routeKey(s.first) {
			p.reportShadow(s, fmt.Sprintf("%v, rule %s, has the same match for the same hostname and comes first", routeKey(s.first), s.first.Rule))
		}
	}
}

func (p *pass) reportShadow(s shadow, message string) {
	o := p.set.Get(routeKey(s.route))
	field := ruleField(o.Value, s.route.Rule)
	// A refused rule may have lost matches that could not be compiled.
	if s.route.Refusal == nil {
		field += fmt.Sprintf(".matches[%d]", s.match)
	}
	p.report(o, field, "%s", message)
}
