package console

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// States of a protection, the first first in lists.
const (
	StateActing    = "acting"
	StateObserving = "observing"
	StateIdle      = "idle"
)

// maxEjected bounds the ejected hosts of one backend in a list; the list of hosts has all.
const maxEjected = 100

func (c *Console) resilienceEndpoints(get func(path, summary string, parameters []parameter, answer any, handle http.HandlerFunc, problems ...int) endpoint) []endpoint {
	return []endpoint{
		get("/api/v1/resilience", "What protects backends, routes and the process, and what it does; what acts now first.", join(paging, byName, []parameter{
			{"kind", "string", "backend, scope, route or process"},
			{"state", "string", "acting, observing or idle"},
		}), list[Protection]{}, c.serveResilience, http.StatusBadRequest),
		get("/api/v1/resilience/history", "What protections did in the last ten minutes.",
			historyParameters[len(historyParameters)-1:], actsView{}, c.serveActHistory, http.StatusBadRequest),
		{
			method: "POST", path: "/api/v1/breakers/close", summary: "Closes an open breaker at once, whatever its probes say.",
			body: BreakerOrder{}, status: 200, answer: breakerDoneView{}, media: "application/json", problems: []int{400, 404, 413},
			mutation: true, handle: c.closeBreaker,
		},
	}
}

func (c *Console) closeBreaker(w http.ResponseWriter, r *http.Request) {
	wrong := problem{Status: http.StatusBadRequest, Title: "which breaker", Where: "request body", Remedy: `send {"target": "backend/namespace/name"}`}
	var order BreakerOrder
	if !readBody(w, r, &order, wrong) {
		return
	}
	if order.Target == "" {
		wrong.write(w)
		return
	}
	order.By = PrincipalOf(r.Context()).Name
	was, ok := c.cfg.Resilience.CloseBreaker(order)
	if !ok {
		problem{
			Status: http.StatusNotFound, Title: "no such breaker", Where: "request body",
			Detail: "no live backend of that name has a breaker that trips", Remedy: "see /api/v1/resilience",
		}.write(w)
		return
	}
	answer(w, breakerDoneView{"closed", was})
}

func (c *Console) serveResilience(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p, ok := pageOf(w, q)
	if !ok {
		return
	}
	ranks := map[string]string{StateActing: "0 ", StateObserving: "1 ", StateIdle: "2 "}
	var items []keyed[Protection]
	for _, it := range c.protections() {
		if fits(q, "kind", it.Kind) && fits(q, "state", it.State) && named(q, it.Target) {
			items = append(items, keyed[Protection]{ranks[it.State] + it.Target + "\x00" + it.Kind, it})
		}
	}
	serveList(c, w, p, sorted(items), func(it Protection) Protection { return it })
}

func fits(q url.Values, parameter, value string) bool {
	return !q.Has(parameter) || q.Get(parameter) == value
}

// protections returns all that protects something, in no order.
func (c *Console) protections() []Protection {
	byTarget := map[string]*Protection{}
	item := func(target, kind string) *Protection {
		p := byTarget[target]
		if p == nil {
			p = &Protection{Target: target, Kind: kind}
			byTarget[target] = p
		}
		return p
	}
	for _, p := range c.cfg.Resilience.Protections() {
		byTarget[p.Target] = &p
	}
	s, _ := c.cfg.Live.Snapshot()
	ix := c.index.of(s)
	c.addEjections(s, item)
	c.addActions(func(target string) *Protection {
		switch {
		case target == telemetry.Process:
			return item(target, OfProcess)
		case ix.clusterNamed(target) != nil:
			return item(target, OfBackend)
		case ix.routeNamed(target) != nil:
			return item(target, OfRoute)
		}
		return byTarget[target] // a scope; or something that is gone
	})
	out := make([]Protection, 0, len(byTarget))
	for _, p := range byTarget {
		p.State = p.state()
		out = append(out, *p)
	}
	return out
}

// addEjections adds the outliers of each backend that has some, or that was told to look for them.
func (c *Console) addEjections(s *model.Snapshot, item func(target, kind string) *Protection) {
	if s == nil {
		return
	}
	asked := map[string]*model.Cluster{}
	for _, m := range s.Clusters {
		asked[m.Name] = m
	}
	found := map[string]*Ejections{}
	for _, h := range c.cfg.Hosts.Hosts() {
		m := asked[h.Cluster]
		if m == nil || h.Draining {
			continue
		}
		e := found[h.Cluster]
		if e == nil {
			e = &Ejections{Mode: string(cmp.Or(m.Outlier.Mode, model.ModeEnforce))}
			found[h.Cluster] = e
		}
		e.Hosts++
		if h.EjectedBy == "" {
			continue
		}
		if e.Count++; e.Count <= maxEjected {
			e.Ejected = append(e.Ejected, EjectedHost{h.Address, h.EjectedBy, h.EjectedUntil, !h.Ejected})
		}
	}
	for name, e := range found {
		if e.Count > 0 || e.Mode != string(model.ModeDisabled) && asksForEjection(asked[name]) {
			slices.SortFunc(e.Ejected, func(a, b EjectedHost) int { return cmp.Compare(a.Address, b.Address) })
			item(name, OfBackend).Ejections = e
		}
	}
}

// asksForEjection says whether a policy says something of outliers: all backends have a little
// by default.
func asksForEjection(m *model.Cluster) bool {
	for field := range maps.Keys(m.Origins) {
		if strings.HasPrefix(field, "outlierDetection") {
			return true
		}
	}
	return false
}

// addActions adds what was counted to the targets that item knows.
func (c *Console) addActions(item func(target string) *Protection) {
	before, span := c.recorder.actsLately(c.cfg.Now())
	rate := func(from, to uint64) float64 {
		if span <= 0 {
			return 0
		}
		return float64(rise(from, to)) / span.Seconds()
	}
	for _, s := range c.cfg.Metrics.Protections() {
		if s.Acted == 0 && s.WouldHave == 0 {
			continue
		}
		p := item(s.Target)
		if p == nil {
			continue
		}
		then := before[actKey{s.Target, s.Kind}]
		p.Actions = append(p.Actions, Action{
			Protection: string(s.Kind), Acted: s.Acted, WouldHave: s.WouldHave,
			ActedRate: rate(then.Acted, s.Acted), WouldHaveRate: rate(then.WouldHave, s.WouldHave),
		})
		slices.SortFunc(p.Actions, func(a, b Action) int { return cmp.Compare(a.Protection, b.Protection) })
	}
}

// state says whether the protection does something now.
func (p *Protection) state() string {
	acts, would := p.presses(), false
	for _, a := range p.Actions {
		acts = acts || a.ActedRate > 0
		would = would || a.WouldHaveRate > 0
	}
	note := func(now bool, mode string) {
		acts = acts || now && mode != string(model.ModeObserve)
		would = would || now && mode == string(model.ModeObserve)
	}
	if p.Breaker != nil && p.Breaker.Trip != nil {
		note(p.Breaker.Trip.State != TripClosed, p.Breaker.Mode)
	}
	if p.Overload != nil {
		note(slices.ContainsFunc(p.Overload.Steps, func(s Step) bool { return s.Active }), p.Overload.Mode)
	}
	if p.Ejections != nil {
		for _, o := range p.Ejections.Ejected {
			acts, would = acts || !o.Would, would || o.Would
		}
	}
	switch {
	case acts:
		return StateActing
	case would:
		return StateObserving
	}
	return StateIdle
}

// TripClosed is the state of a trip that lets everything through.
const TripClosed = "closed"

func (p *Protection) presses() bool {
	return slices.ContainsFunc(p.Pressure, func(r Pressure) bool { return r.Layer != "none" })
}
