package explain

import (
	"slices"
	"strings"

	"weir.dev/weir/model"
)

// Inventory is one pair of a route's rule and a backend that it sends requests to, with the
// policy that holds for them.
type Inventory struct {
	Route  string       `json:"route" doc:"namespace/route/rule"`
	Origin model.Origin `json:"origin,omitzero"`
	// Backend is a cluster; empty: the rule sends nothing to any.
	Backend string `json:"backend,omitempty"`
	// Policy is what the rule does, BackendPolicy what the backend does.
	Policy        []model.PolicyField `json:"policy"`
	BackendPolicy []model.PolicyField `json:"backendPolicy,omitempty"`
}

// Inventories lists the effective policies of a snapshot: of each rule that some listener serves
// with each of its backends, sorted by route, then by backend.
func Inventories(s *model.Snapshot) []Inventory {
	clusters := map[string][]model.PolicyField{}
	for _, c := range s.Clusters {
		clusters[c.Name] = model.EffectivePolicy(nil, nil, c)
	}
	list := []Inventory{}
	seen := map[string]bool{}
	for _, t := range s.RouteTables {
		for _, e := range t.Entries {
			r := e.Route
			if seen[r.Name] {
				continue
			}
			seen[r.Name] = true
			var backends []string
			for _, a := range r.Split.Arms {
				backends = append(backends, a.Cluster)
			}
			list = append(list, Pairs(r.Name, r.Origin, backends, model.EffectivePolicy(nil, r, nil), clusters)...)
		}
	}
	slices.SortStableFunc(list, func(a, b Inventory) int { return strings.Compare(a.Route, b.Route) })
	return list
}

// Pairs returns the pairs of one rule. Backends that are "" are those that refuse; clusters are
// the policies of backends by name.
func Pairs(route string, origin model.Origin, backends []string, policy []model.PolicyField, clusters map[string][]model.PolicyField) []Inventory {
	backends = slices.DeleteFunc(slices.Sorted(slices.Values(backends)), func(b string) bool { return b == "" })
	if len(backends) == 0 {
		return []Inventory{{Route: route, Origin: origin, Policy: policy}}
	}
	var pairs []Inventory
	for _, b := range slices.Compact(backends) {
		pairs = append(pairs, Inventory{Route: route, Origin: origin, Backend: b, Policy: policy, BackendPolicy: clusters[b]})
	}
	return pairs
}

// Value returns the value of a field of the rule's or the backend's side, as it would be
// written; empty: there is none. For a field that both have, it is the rule's.
func (v *Inventory) Value(field string) string {
	for _, list := range [][]model.PolicyField{v.Policy, v.BackendPolicy} {
		if i := slices.IndexFunc(list, func(f model.PolicyField) bool { return f.Field == field }); i >= 0 {
			return list[i].Value
		}
	}
	return ""
}
