package console

import (
	"net/http"
	"slices"
	"strings"

	"weir.dev/weir/model"
)

func (c *Console) serveRoutes(w http.ResponseWriter, r *http.Request) {
	s, _ := c.cfg.Live.Snapshot()
	q := r.URL.Query()
	ix := c.index.of(s)
	text := strings.ToLower(q.Get("q"))
	if text != "" {
		ix.write()
	}
	fits := func(it *servedRoute) bool {
		if q.Has("name") && q.Get("name") != it.route.Name || !strings.Contains(it.text, text) ||
			q.Has("cluster") && !slices.Contains(it.clusters(), q.Get("cluster")) {
			return false
		}
		state, _ := it.state()
		return !q.Has("state") || q.Get("state") == state
	}
	ordered[*servedRoute, routeView]{
		items:  filter(ix.routes, fits),
		series: func(it *servedRoute) seriesKey { return seriesKey{ofRoute, it.route.Name, ""} },
		lately: func(v *routeView) *lately { return &v.Traffic.Lately },
		show: func(it *servedRoute) routeView {
			v := c.showRoute(it)
			if q.Get("policy") == "true" {
				v.Policy = it.policy()
			}
			return v
		},
	}.serve(c, w, q)
}

func (c *Console) showRoute(it *servedRoute) routeView {
	r := it.route
	v := routeView{
		Name: r.Name, Object: r.Kind + " " + r.Namespace + "/" + r.Object, Rule: r.Rule,
		At:     Position{r.Origin.File, r.Origin.Line, r.Origin.Column},
		Tables: it.tables, Hostnames: it.hostnames, Matches: []string{}, Backends: []backendView{},
	}
	if v.Hostnames == nil {
		v.Hostnames = []string{}
	}
	for i := range r.Matches {
		v.Matches = append(v.Matches, inWords(&r.Matches[i]))
	}
	whole := wholeWeight(r.Split.Arms)
	for i, weight := range r.Split.Resting() {
		a := &r.Split.Arms[i]
		b := backendView{Name: a.Name, Cluster: a.Cluster, Weight: a.Weight}
		if whole > 0 {
			b.Percent = 100 * float64(weight) / float64(whole)
		}
		if a.Refusal != nil {
			b.Refused = a.Refusal.Reason
		}
		v.Backends = append(v.Backends, b)
	}
	v.State, v.Reasons = it.state()
	v.Traffic = c.trafficOf(seriesKey{ofRoute, r.Name, ""}, routeStats(c.cfg.Metrics, r.Name))
	return v
}

// policy is what holds for the route.
func (r *servedRoute) policy() []model.PolicyField {
	if r.stream != nil {
		return r.stream.Policy()
	}
	return model.EffectivePolicy(nil, r.route, nil)
}

// state is stateOf, but for a stream route that others leave nothing.
func (r *servedRoute) state() (string, []string) {
	state, reasons := stateOf(r.route)
	if r.stream != nil && len(r.tables) == 0 {
		return "refused", append(reasons, "other routes have all connections of its listeners")
	}
	return state, reasons
}

// stateOf says whether a route serves all its requests, a part of them or none, and why.
func stateOf(r *model.Route) (state string, reasons []string) {
	state = "serving"
	for i := range r.Split.Arms {
		if a := &r.Split.Arms[i]; a.Refusal != nil {
			state, reasons = "partial", append(reasons, a.Name+": "+a.Refusal.Reason)
		}
	}
	switch {
	case r.Refusal != nil:
		return "refused", append(reasons, r.Refusal.Reason)
	case wholeWeight(r.Split.Arms) == 0 && r.Redirect == nil:
		return "refused", append(reasons, "no backend has any weight")
	case state == "partial" && allRefused(r.Split.Arms):
		return "refused", reasons
	}
	return state, reasons
}

func wholeWeight(arms []model.Arm) (whole uint64) {
	for i := range arms {
		whole += uint64(arms[i].Weight)
	}
	return whole
}

func allRefused(arms []model.Arm) bool {
	for i := range arms {
		if arms[i].Weight > 0 && arms[i].Refusal == nil {
			return false
		}
	}
	return true
}
