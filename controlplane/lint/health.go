package lint

import (
	"slices"

	"weir.dev/weir/model"
)

// checkFields are what types of health checks are called in policies.
var checkFields = []string{"healthCheck.http", "healthCheck.grpc", "healthCheck.tcp"}

// idleHealthCheck finds checks of hosts that translation leaves without.
func idleHealthCheck(p *pass) {
	for _, path := range checkFields {
		p.unheeded(path, "has no effect on %s: hosts of UDP are not checked, for nothing tells that one listens; leave it out there",
			func(c *model.Cluster) bool { return hasOrigin(c, path) }, func(c *model.Cluster) bool { return c.HealthCheck != nil })
	}
}

// passthroughCheck finds checks of hosts to which TLS passes through. Where the backend has TLS
// settings translation has made them connections; where it has none, they ask in clear text.
func passthroughCheck(p *pass) {
	through := p.passedThrough()
	for _, path := range checkFields[:2] {
		p.unheeded(path, "is no more than a connection to %s: TLS passes through to it, so that nothing can be asked; write tcp: {} there",
			func(c *model.Cluster) bool { return c.HealthCheck != nil && hasOrigin(c, path) },
			func(c *model.Cluster) bool { return c.HealthCheck.Type != model.HealthCheckTCP })
		w := written{path: path}
		for _, c := range p.out.Snapshot.Clusters {
			if through[c.Name] && c.TLS == nil && c.HealthCheck != nil && c.HealthCheck.Type != model.HealthCheckTCP {
				w.add(c.Origins, clusterText(c.Name))
			}
		}
		w.order = slices.DeleteFunc(w.order, func(o model.Origin) bool { return o == model.Origin{} })
		w.report(p, "asks in clear text at %s, to which clients' TLS passes through: write tcp: {} there, or give the Backend tls")
	}
}

// passedThrough returns the clusters that get TLS of clients as it is.
func (p *pass) passedThrough() map[string]bool {
	routes := map[string]bool{}
	for _, l := range p.out.Snapshot.Listeners {
		for _, b := range l.Streams {
			routes[b.Route] = routes[b.Route] || !b.Terminate
		}
	}
	clusters := map[string]bool{}
	for _, r := range p.out.Snapshot.Streams {
		for _, arm := range r.Split.Arms {
			if r.Kind == "TLSRoute" && routes[r.Name] {
				clusters[arm.Cluster] = true
			}
		}
	}
	return clusters
}

// hasOrigin reports whether somebody has set a field of a cluster.
func hasOrigin(c *model.Cluster, path string) bool {
	_, ok := c.Origins[path]
	return ok
}

func grpcCheckByHTTP1(p *pass) {
	p.unheeded("healthCheck.grpc", "calls %s by HTTP/2, as gRPC needs, while its protocol is HTTP11: set protocol GRPC on the Backend, or check by http or tcp",
		func(c *model.Cluster) bool {
			return c.HealthCheck != nil && c.HealthCheck.Type == model.HealthCheckGRPC
		},
		func(c *model.Cluster) bool { return c.Protocol != model.ProtocolHTTP1 })
}

// checkLongerThanInterval says so where the timeout was written, else where the interval was.
func checkLongerThanInterval(p *pass) {
	timeout, interval := written{path: "healthCheck.timeout"}, written{path: "healthCheck.interval"}
	for _, c := range p.out.Snapshot.Clusters {
		switch h := c.HealthCheck; {
		case h == nil || h.Timeout <= h.Interval:
		case hasOrigin(c, timeout.path):
			timeout.add(c.Origins, clusterText(c.Name))
		default:
			interval.add(c.Origins, clusterText(c.Name))
		}
	}
	const format = "a check of a host of %s may take longer (timeout) than there is from one to the next (interval): then the next one comes late, and a host that hangs is found later; lower timeout, or raise interval"
	timeout.report(p, format)
	interval.report(p, format)
}
