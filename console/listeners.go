package console

import (
	"net/http"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

func (c *Console) serveListeners(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p, ok := pageOf(w, q)
	if !ok {
		return
	}
	s, _ := c.cfg.Live.Snapshot()
	sockets := c.cfg.Live.Sockets()
	routes := map[string]int{}
	var items []keyed[*model.Listener]
	if s != nil {
		for _, t := range s.RouteTables {
			routes[t.Name] = len(t.Entries)
		}
		for _, l := range s.Listeners {
			if named(q, l.Name) {
				items = append(items, keyed[*model.Listener]{l.Name, l})
			}
		}
	}
	serveList(c, w, p, sorted(items), func(l *model.Listener) listenerView {
		v := listenerView{
			Name: l.Name, Address: sockets[l.Name].Address, Problem: sockets[l.Name].Problem, Bindings: []bindingView{},
			Policy: l.Policy(),
		}
		for _, b := range l.Tables {
			v.Bindings = append(v.Bindings, bindingView{Hostname: b.Hostname, Table: b.Table, Routes: routes[b.Table]})
		}
		for _, b := range l.Streams {
			v.Bindings = append(v.Bindings, bindingView{Hostname: b.Hostname, Table: b.Listener, Routes: min(len(b.Route), 1), Stream: b.Route})
		}
		connections := c.cfg.Metrics.Listener(l.Name)
		v.Connections = connections.Active()
		for reason := telemetry.RefusedLimit; reason <= telemetry.RefusedOther; reason++ {
			v.Refused += connections.Refused(reason)
		}
		return v
	})
}
