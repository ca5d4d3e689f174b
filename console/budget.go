package console

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"weir.dev/weir/controlplane/explain"
	"weir.dev/weir/model"
)

// budgetsBody asks what the policies of a route add up to.
type budgetsBody struct {
	Route   string   `json:"route" doc:"NAMESPACE/NAME or NAMESPACE/NAME/RULE"`
	Rate    float64  `json:"rate,omitempty" doc:"requests per second, which tells what the floor of a retry budget adds; 0: so many that it adds nothing"`
	Failing *float64 `json:"failing,omitempty" doc:"share of tries that fails in what is expected, 0 to 1; default 0.1"`
}

// budgetsView is the answer.
type budgetsView struct {
	Revision uint64           `json:"revision"`
	Version  string           `json:"version"`
	Budgets  []explain.Budget `json:"budgets" doc:"one for each rule that the question names"`
}

// defaultFailing is the share of tries that fails in what is expected, if nobody says another.
const defaultFailing = 0.1

// budgetsEndpoint answers by the live snapshot. It changes nothing and so needs no token.
func (c *Console) budgetsEndpoint() endpoint {
	return endpoint{
		method: "POST", path: "/api/v1/budgets", summary: "How long requests of a route may take at worst, how many one may become, and why.",
		body: budgetsBody{}, status: http.StatusOK, answer: budgetsView{}, media: "application/json",
		problems: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable},
		handle:   c.serveBudgets,
	}
}

func (c *Console) serveBudgets(w http.ResponseWriter, r *http.Request) {
	wrong := problem{
		Status: http.StatusBadRequest, Title: "not a question", Where: "request body",
		Remedy: `send {"route": "NAMESPACE/NAME", "rate": 100, "failing": 0.1}, of which only route is needed`,
	}
	var body budgetsBody
	if !readBody(w, r, &body, wrong) {
		return
	}
	q := explain.BudgetQuestion{Route: body.Route, Rate: body.Rate, Failing: defaultFailing, Observed: c.observedCalls()}
	if body.Failing != nil {
		q.Failing = *body.Failing
	}
	if q.Route == "" || q.Rate < 0 || q.Failing < 0 || q.Failing > 1 {
		wrong.Detail = "want a route, a rate of 0 or more, and failing from 0 to 1"
		wrong.write(w)
		return
	}
	s, _ := c.cfg.Live.Snapshot()
	if s == nil {
		noSnapshot(c.cfg.Live.State().Reason).write(w)
		return
	}
	budgets, err := c.budgets(s, q)
	if err != nil {
		problem{Status: http.StatusNotFound, Title: "no such route", Detail: err.Error(), Where: "route", Remedy: "`weir get routes` lists them"}.write(w)
		return
	}
	answer(w, budgetsView{Revision: s.Revision, Version: s.Version, Budgets: budgets})
}

// budgets asks one question at a time, as explain does.
func (c *Console) budgets(s *model.Snapshot, q explain.BudgetQuestion) ([]explain.Budget, error) {
	c.explaining.Lock()
	defer c.explaining.Unlock()
	return explain.New(s).Budgets(q)
}

// observedCalls are the calls between services that telemetry has seen: of clients whose address
// is that of a host, and of one service only.
func (c *Console) observedCalls() []explain.Call {
	seen := c.cfg.Metrics.Callers.Seen(c.cfg.Now())
	if len(seen) == 0 {
		return nil
	}
	const several = ""
	services := map[netip.Addr]string{}
	for _, h := range c.cfg.Hosts.Hosts() {
		at, err := netip.ParseAddrPort(h.Address)
		if err != nil {
			continue
		}
		name := explain.ServiceName(h.Cluster)
		if known, ok := services[at.Addr().Unmap()]; ok && known != name {
			name = several
		}
		services[at.Addr().Unmap()] = name
	}
	var calls []explain.Call
	for _, s := range seen {
		if from := services[s.Client]; from != several {
			service := func(name string) explain.Node { return explain.Node{Kind: explain.NodeService, Name: name} }
			calls = append(calls, explain.Call{From: service(from), To: service(s.Cluster)})
		}
	}
	slices.SortFunc(calls, func(a, b explain.Call) int {
		return cmp.Or(strings.Compare(a.From.Name, b.From.Name), strings.Compare(a.To.Name, b.To.Name))
	})
	return calls
}
