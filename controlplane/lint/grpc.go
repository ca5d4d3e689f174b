package lint

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// mixedProtocols finds backends that say nothing of their protocol, and that are spoken to by
// HTTP/2 for the sake of GRPCRoutes, although requests of HTTPRoutes go there as well.
func mixedProtocols(p *pass) {
	calls, requests := map[string]*model.Route{}, map[string]*model.Route{} // by cluster, the first route
	for _, r := range p.routes() {
		first := requests
		if r.Kind == "GRPCRoute" {
			first = calls
		}
		for _, cluster := range clustersOf(r) {
			if first[cluster] == nil {
				first[cluster] = r
			}
		}
	}
	for _, c := range p.out.Snapshot.Clusters {
		call, request := calls[c.Name], requests[c.Name]
		if call == nil || request == nil || c.Protocol != model.ProtocolH2C {
			continue
		}
		key, port := clusterOf(c.Name)
		if o := p.set.Get(key); o != nil {
			if field, remedy := unsaid(o, port); field != "" {
				p.report(o, field, "%s and %s refer to it, and it does not say that it speaks HTTP/2: requests of both go there by HTTP/2 without TLS (h2c); %s, or give calls of gRPC a place of their own",
					ruleText(call), ruleText(request), remedy)
			}
		}
	}
}

// clustersOf are the clusters that requests of a route go to, copies included.
func clustersOf(r *model.Route) []string {
	var names []string
	for _, arm := range r.Split.Arms {
		if arm.Cluster != "" {
			names = append(names, arm.Cluster)
		}
	}
	for _, m := range r.Mirrors {
		names = append(names, m.Cluster)
	}
	for _, s := range r.Shadows {
		if s.Cluster != "" {
			names = append(names, s.Cluster)
		}
	}
	return names
}

// unsaid returns where a backend would say what it speaks, and how; an empty field: it does.
func unsaid(o *resource.Object, port string) (field, remedy string) {
	switch v := o.Value.(type) {
	case *v1alpha1.Backend:
		if v.Spec.Protocol == nil || *v.Spec.Protocol == v1alpha1.ProtocolHTTP {
			return "spec", "write protocol: H2C if it takes that"
		}
	case *corev1.Service:
		for i, s := range v.Spec.Ports {
			if fmt.Sprint(s.Port) == port && (s.AppProtocol == nil || strings.EqualFold(*s.AppProtocol, "http")) {
				return fmt.Sprintf("spec.ports[%d]", i), "write appProtocol: kubernetes.io/h2c if it takes that"
			}
		}
	}
	return "", ""
}
