package proxy

import (
	"sync/atomic"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/match"
)

// door is a listener as its connections know it. It outlives snapshots: a request looks
// through it once, at its start, and keeps what it sees.
type door struct {
	view   atomic.Pointer[view]
	altSvc atomic.Pointer[[]byte] // the line that offers HTTP/3; nil: it is not served
}

// view is one listener of one snapshot, ready for use.
type view struct {
	snapshot   *model.Snapshot
	listener   *model.Listener
	client     *model.Client
	limits     http1.Limits
	forwarding *policy.Forwarding
	tables     match.Hosts[*table]
	names      names
	scheme     string // of the listener
	port       uint16
	unmatched  *telemetry.Series // requests that no route takes
}

func newView(p *Proxy, s *model.Snapshot, l *model.Listener, tables map[string]*table) *view {
	scheme := "http"
	if l.TLS != nil {
		scheme = "https"
	}
	v := &view{
		snapshot:   s,
		listener:   l,
		client:     &l.Client,
		forwarding: policy.CompileForwarding(&l.Client, scheme, l.Address.Port()),
		names:      newNames(l),
		scheme:     scheme,
		port:       l.Address.Port(),
		unmatched:  p.cfg.Metrics.Route(telemetry.Unmatched),
		limits: http1.Limits{
			MaxHead: l.Client.MaxHead, Underscores: l.Client.Underscores, Escapes: l.Client.Escapes,
		},
	}
	for _, b := range l.Tables {
		if t := tables[b.Table]; t != nil {
			v.tables.Set(b.Hostname, t)
		}
	}
	return v
}

// live says which routes, clusters and hosts exist, for their metrics.
func live(s *model.Snapshot) telemetry.Live {
	routes, streams, clusters, scopes := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	hosts := map[string]map[string]bool{}
	for _, rt := range s.RouteTables {
		for _, e := range rt.Entries {
			routes[e.Route.Name] = true
			if o := e.Route.Overload; o != nil {
				scopes[o.Scope] = true
			}
		}
	}
	for _, r := range s.Streams {
		streams[r.Name] = true
	}
	for _, c := range s.Clusters {
		clusters[c.Name] = true
		if c.DNS != nil {
			hosts[c.Name] = nil // its hosts are the resolver's
		}
	}
	for _, set := range s.Endpoints {
		addresses := make(map[string]bool, len(set.Endpoints))
		for _, e := range set.Endpoints {
			addresses[e.Address.String()] = true
		}
		hosts[set.Cluster] = addresses
	}
	return telemetry.Live{
		Route:   func(name string) bool { return routes[name] },
		Stream:  func(name string) bool { return streams[name] },
		Scope:   func(name string) bool { return scopes[name] },
		Cluster: func(name string) bool { return clusters[name] },
		Host: func(cluster, address string) bool {
			addresses, known := hosts[cluster]
			return known && (addresses == nil || addresses[address])
		},
	}
}
