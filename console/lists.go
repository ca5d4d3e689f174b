package console

import (
	"fmt"
	"net/http"
	"strings"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// serveList answers one page of sorted items, each shown by show.
func serveList[T, V any](c *Console, w http.ResponseWriter, r *http.Request, items []keyed[T], show func(T) V) {
	p, ok := pageOf(w, r.URL.Query())
	if !ok {
		return
	}
	part, next := cut(p, items)
	out := list[V]{Total: len(items), Items: make([]V, len(part)), Continue: next}
	if s, _ := c.cfg.Live.Snapshot(); s != nil {
		out.Revision = s.Revision
	}
	for i, it := range part {
		out.Items[i] = show(it.item)
	}
	answer(w, out)
}

func (c *Console) serveRoutes(w http.ResponseWriter, r *http.Request) {
	s, _ := c.cfg.Live.Snapshot()
	q := r.URL.Query()
	items := filter(c.index.of(s).routes, func(it *servedRoute) bool {
		if q.Has("q") && strings.Contains(strings.ToLower(strings.Join(it.hostnames, " ")), strings.ToLower(q.Get("q"))) {
			return !q.Has("name") || q.Get("name") == it.route.Name
		}
		return named(q, it.route.Name)
	})
	serveList(c, w, r, items, c.showRoute)
}

func (c *Console) showRoute(it *servedRoute) routeView {
	r := it.route
	v := routeView{
		Name: r.Name, Object: r.Kind + " " + r.Namespace + "/" + r.Object, Rule: r.Rule,
		At:     Position{r.Origin.File, r.Origin.Line, r.Origin.Column},
		Tables: it.tables, Hostnames: it.hostnames, Matches: []string{}, Backends: []backendView{}, State: "serving",
	}
	if v.Hostnames == nil {
		v.Hostnames = []string{}
	}
	for i := range r.Matches {
		v.Matches = append(v.Matches, words(&r.Matches[i]))
	}
	var whole uint64
	for _, a := range r.Split.Arms {
		whole += uint64(a.Weight)
	}
	for _, a := range r.Split.Arms {
		b := backendView{Name: a.Name, Cluster: a.Cluster, Weight: a.Weight}
		if whole > 0 {
			b.Percent = 100 * float64(a.Weight) / float64(whole)
		}
		if a.Refusal != nil {
			b.Refused = a.Refusal.Reason
			v.State, v.Reasons = "partial", append(v.Reasons, a.Name+": "+a.Refusal.Reason)
		}
		v.Backends = append(v.Backends, b)
	}
	switch {
	case r.Refusal != nil:
		v.State, v.Reasons = "refused", append(v.Reasons, r.Refusal.Reason)
	case whole == 0 && r.Redirect == nil:
		v.State, v.Reasons = "refused", append(v.Reasons, "no backend has any weight")
	case v.State == "partial" && allRefused(r.Split.Arms):
		v.State = "refused"
	}
	stats, _ := c.cfg.Metrics.RouteStats(r.Name)
	v.Traffic = c.trafficOf("route/"+r.Name, stats)
	return v
}

func allRefused(arms []model.Arm) bool {
	for i := range arms {
		if arms[i].Weight > 0 && arms[i].Refusal == nil {
			return false
		}
	}
	return true
}

func (c *Console) serveHosts(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var items []keyed[Host]
	for _, h := range c.cfg.Hosts.Hosts() {
		if q.Has("cluster") && q.Get("cluster") != h.Cluster {
			continue
		}
		if q.Has("name") && q.Get("name") != h.Address || !strings.Contains(h.Cluster+" "+h.Address, q.Get("q")) {
			continue
		}
		items = append(items, keyed[Host]{h.Cluster + "\x00" + h.Address, h})
	}
	serveList(c, w, r, sorted(items), func(h Host) hostView {
		stats, _ := c.cfg.Metrics.HostStats(h.Cluster, h.Address)
		return hostView{
			Cluster: h.Cluster, Address: h.Address, Zone: h.Zone, Weight: h.Weight, Healthy: h.Healthy, InFlight: h.InFlight,
			Open: h.Open, Idle: h.Idle, EWMA: milliseconds(h.EWMA), Traffic: c.trafficOf("host/"+h.Cluster+"\x00"+h.Address, stats),
		}
	})
}

func (c *Console) serveObjects(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	fits := func(parameter, value string) bool { return !q.Has(parameter) || q.Get(parameter) == value }
	var items []keyed[Object]
	for _, o := range c.cfg.Objects.Objects() {
		if !fits("namespace", o.Namespace) || !fits("name", o.Name) ||
			q.Has("kind") && !strings.EqualFold(q.Get("kind"), o.Kind) {
			continue
		}
		if text := q.Get("accepted"); text != "" && (text == "true") != o.Accepted {
			continue
		}
		items = append(items, keyed[Object]{strings.Join([]string{o.Kind, o.Namespace, o.Name, o.Group}, "\x00"), o})
	}
	serveList(c, w, r, sorted(items), func(o Object) Object {
		problems := make([]Diagnostic, len(o.Problems))
		for i, d := range o.Problems {
			problems[i] = withoutSecrets(o.Kind, d)
		}
		o.Problems = problems
		return o
	})
}

func (c *Console) serveDiagnostics(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	ranks := map[string]int{"error": 0, "warning": 1, "info": 2}
	var items []keyed[Diagnostic]
	for _, d := range c.cfg.Objects.Diagnostics() {
		if q.Has("severity") && q.Get("severity") != d.Severity || q.Has("object") && q.Get("object") != d.Object {
			continue
		}
		key := fmt.Sprintf("%d %s\x00%08d:%08d %s %s", ranks[d.Severity], d.At.File, d.At.Line, d.At.Column, d.Rule, d.Message)
		items = append(items, keyed[Diagnostic]{key, d})
	}
	serveList(c, w, r, sorted(items), func(d Diagnostic) Diagnostic {
		kind, _, _ := strings.Cut(d.Object, " ")
		return withoutSecrets(kind, d)
	})
}

func (c *Console) serveStatus(w http.ResponseWriter, r *http.Request) {
	s, applied := c.cfg.Live.Snapshot()
	v := statusView{
		Program: c.cfg.Version, Started: c.started, State: c.cfg.Live.State(),
		Counts: c.counts(c.index.of(s)), Traffic: c.trafficOf("total", c.totals()), MutationsOpen: c.authorised(r),
	}
	if s != nil {
		v.Revision, v.Version, v.Applied = s.Revision, s.Version, &applied
		v.AgeSeconds = c.cfg.Now().Sub(applied).Seconds()
	}
	answer(w, v)
}

func (c *Console) totals() telemetry.Stats { return c.cfg.Metrics.Totals() }

func (c *Console) counts(ix *index) counts {
	n := counts{Routes: len(ix.routes), Hosts: ix.hosts}
	if ix.snapshot != nil {
		n.Listeners, n.Clusters = len(ix.snapshot.Listeners), len(ix.snapshot.Clusters)
	}
	for _, d := range c.cfg.Objects.Diagnostics() {
		switch d.Severity {
		case "error":
			n.Errors++
		case "warning":
			n.Warnings++
		}
	}
	return n
}
