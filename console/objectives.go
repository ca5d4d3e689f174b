package console

import (
	"net/http"

	"weir.dev/weir/controlplane/slo"
)

// Objectives tells how ServiceLevelObjectives are kept.
type Objectives interface {
	Objectives() []slo.Status
}

// seriesPrefix is where a part of Prometheus's HTTP API is answered.
const seriesPrefix = "/prometheus/"

func (c *Console) objectiveEndpoints(get func(path, summary string, parameters []parameter, answer any, handle http.HandlerFunc, problems ...int) endpoint) []endpoint {
	return []endpoint{
		get("/api/v1/slos", "How ServiceLevelObjectives are kept: what burns first.", join(paging, byName, []parameter{
			{"state", "string", "Healthy, Burning, Exhausted or NoData"},
		}), list[slo.Status]{}, c.serveObjectives, http.StatusBadRequest),
	}
}

func (c *Console) serveObjectives(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p, ok := pageOf(w, q)
	if !ok {
		return
	}
	ranks := map[slo.State]string{slo.Exhausted: "0 ", slo.Burning: "1 ", slo.NoData: "2 ", slo.Healthy: "3 "}
	var items []keyed[slo.Status]
	for _, s := range c.cfg.Objectives.Objectives() {
		if named(q, s.Name) && fits(q, "state", string(s.State)) {
			items = append(items, keyed[slo.Status]{ranks[s.State] + s.Name, s})
		}
	}
	serveList(c, w, p, sorted(items), func(s slo.Status) slo.Status { return s })
}
