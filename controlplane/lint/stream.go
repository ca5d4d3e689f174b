package lint

import (
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
)

// emptyListener finds listeners of TCP, TLS and UDP that no route has anything of: of requests
// for which there is no route the client is told so, of bytes nobody is.
func emptyListener(p *pass) {
	used, order := map[string]bool{}, []string{}
	for _, l := range p.out.Snapshot.Listeners {
		for _, b := range l.Streams {
			if _, known := used[b.Listener]; !known {
				order = append(order, b.Listener)
			}
			used[b.Listener] = used[b.Listener] || b.Route != ""
		}
	}
	for _, name := range order {
		if o, listener := p.listener(name); o != nil && !used[name] {
			p.report(o, listener+".name", "no route has anything of this listener: whatever comes is closed at once or dropped")
		}
	}
}

// idleBackendTLS finds backends whose TLS settings have no effect, since TLS passes through to
// them as it is and nobody else sends there.
func idleBackendTLS(p *pass) {
	const suffix = "/passthrough"
	others := map[string]bool{} // clusters without scope
	for _, c := range p.out.Snapshot.Clusters {
		name, _, _ := strings.Cut(c.Name, "@")
		others[name] = true
	}
	for _, r := range p.out.Snapshot.Streams {
		for _, arm := range r.Split.Arms {
			name, _, _ := strings.Cut(arm.Cluster, "@")
			plain, untouched := strings.CutSuffix(name, suffix)
			o := p.set.Get(resource.Key{Group: gatewayv1.GroupName, Kind: r.Kind, Namespace: r.Namespace, Name: r.Object})
			if untouched && !others[plain] && o != nil {
				p.report(o, ruleField(o.Value, r.Rule)+".backendRefs", "TLS passes through to %s as it is, and no other route sends there: the TLS settings of the backend, or the BackendTLSPolicy for it, have no effect", clusterText(plain))
			}
		}
	}
}
