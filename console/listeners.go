package console

import (
	"net/http"
	"slices"

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
			Policy: l.Policy(), Protocols: protocols(l), Secured: secured(l.TLS),
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

// protocols are what a listener's clients may speak.
func protocols(l *model.Listener) []string {
	if l.Transport == model.TransportUDP {
		return []string{"UDP"}
	}
	out := []string{}
	if len(l.Tables) > 0 {
		out = append(out, "HTTP/1.1", "HTTP/2")
		if l.Client.HTTP3 && l.TLS != nil {
			out = append(out, "HTTP/3")
		}
	}
	if len(l.Streams) > 0 {
		carried := "TCP"
		if slices.ContainsFunc(l.Streams, func(b model.StreamBinding) bool { return !b.Terminate && b.Hostname != "" }) {
			carried = "TLS"
		}
		out = append(out, carried)
	}
	return out
}

func secured(t *model.TLS) []securedView {
	if t == nil {
		return nil
	}
	var out []securedView
	for _, n := range t.Names {
		v := securedView{Hostname: n.Hostname, Certificates: []string{}}
		for _, c := range n.Certificates {
			v.Certificates = append(v.Certificates, c.Name)
		}
		out = append(out, v)
	}
	return out
}
