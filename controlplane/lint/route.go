package lint

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

func duplicateHostname(p *pass) {
	for o := range p.set.Objects() {
		seen := map[string]bool{}
		for i, h := range hostnamesOf(o.Value) {
			name := strings.ToLower(string(h))
			if seen[name] {
				p.report(o, fmt.Sprintf("spec.hostnames[%d]", i), "%s is there already", h)
			}
			seen[name] = true
		}
	}
}

// noDestination finds rules that can only refuse. Rules that are refused for what they ask
// have been reported by then.
func noDestination(p *pass) {
	for o := range p.set.Objects() {
		for i, rule := range rulesOf(o.Value) {
			weighted := slices.ContainsFunc(rule.backends, func(b gatewayv1.BackendRef) bool {
				return b.Weight == nil || *b.Weight > 0
			})
			field := fmt.Sprintf("spec.rules[%d]", i)
			switch {
			case rule.redirects || weighted:
			case len(rule.backends) == 0:
				p.report(o, field, "has no backendRefs: %s", consequence(o.Key.Kind))
			default:
				p.report(o, field+".backendRefs", "all weights are zero: %s", consequence(o.Key.Kind))
			}
		}
	}
}

func unattachedRoute(p *pass) {
	refusals := []gatewayv1.RouteConditionReason{
		gatewayv1.RouteReasonNoMatchingParent, gatewayv1.RouteReasonNotAllowedByListeners,
		gatewayv1.RouteReasonNoMatchingListenerHostname, translate.RouteReasonConflict,
	}
	for _, s := range p.out.Statuses {
		status, ok := translate.RouteStatus(s.Value)
		o := p.set.Get(s.Key)
		if !ok || o.Value == nil {
			continue
		}
		taken := slices.ContainsFunc(status.Parents, func(parent gatewayv1.RouteParentStatus) bool {
			return slices.ContainsFunc(parent.Conditions, func(c metav1.Condition) bool {
				apart := slices.Contains(refusals, gatewayv1.RouteConditionReason(c.Reason))
				return c.Type == string(gatewayv1.RouteConditionAccepted) && !apart
			})
		})
		if !taken {
			p.report(o, "spec.parentRefs", "no listener of a Gateway or ListenerSet takes the route: no request reaches it")
		}
	}
}

// mirrorToSelf compares a rule's mirrors with the backends that requests go to.
func mirrorToSelf(p *pass) {
	for o := range p.set.Objects() {
		for i, rule := range rulesOf(o.Value) {
			for _, m := range rule.mirrors {
				same := slices.IndexFunc(rule.backends, func(b gatewayv1.BackendRef) bool {
					return backendOf(o.Key, b.BackendObjectReference) == backendOf(o.Key, m.to)
				})
				if same >= 0 {
					p.report(o, fmt.Sprintf("spec.rules[%d].filters[%d].requestMirror.backendRef", i, m.filter), "is the backend of backendRefs[%d]", same)
				}
			}
		}
	}
}

// backend is what a backendRef names.
type backend struct {
	resource.Key
	port gatewayv1.PortNumber
}

func backendOf(from resource.Key, ref gatewayv1.BackendObjectReference) backend {
	b := backend{Key: translate.BackendKey(from.Namespace, ref)}
	if ref.Port != nil {
		b.port = *ref.Port
	}
	return b
}

// unusedBackend is silent while it is unknown what some route or file refers to.
func unusedBackend(p *pass) {
	if resource.MustRetain(p.set.Diagnostics) {
		return
	}
	used := map[resource.Key]bool{}
	for o := range p.set.Objects() {
		if o.Key.Group == gatewayv1.GroupName && strings.HasSuffix(o.Key.Kind, "Route") && len(o.Problems) > 0 {
			return
		}
		for _, rule := range rulesOf(o.Value) {
			for _, b := range rule.backends {
				used[backendOf(o.Key, b.BackendObjectReference).Key] = true
			}
			for _, m := range rule.mirrors {
				used[backendOf(o.Key, m.to).Key] = true
			}
		}
	}
	for o, rollout := range resource.All[*v1alpha1.Rollout](p.set) {
		used[backendOf(o.Key, rollout.Spec.Canary).Key] = true
	}
	for o, shadow := range resource.All[*v1alpha1.Shadow](p.set) {
		used[backendOf(o.Key, shadow.Spec.BackendRef).Key] = true
	}
	for o := range resource.All[*v1alpha1.Backend](p.set) {
		if !used[o.Key] {
			p.report(o, "metadata.name", "no route refers to it")
		}
	}
}

// noEndpoints looks at the clusters that routes use, whose names say what they are of.
func noEndpoints(p *pass) {
	for _, e := range p.out.Snapshot.Endpoints {
		if slices.ContainsFunc(e.Endpoints, func(e model.Endpoint) bool { return e.Weight > 0 && !e.Unready }) {
			continue
		}
		outcome := "every request is answered with 503"
		if strings.HasSuffix(e.Cluster, "/udp") {
			outcome = "every datagram is dropped"
		}
		if c := p.cluster(e.Cluster); c != nil && c.Balancing.PanicThreshold > 0 && len(e.Endpoints) > 0 && e.Endpoints[0].Unready {
			outcome = "requests go to those that are not ready"
		}
		key, port := clusterOf(e.Cluster)
		switch o := p.set.Get(key); {
		case o == nil:
		case port != "":
			p.report(o, "spec.ports", "port %s has no ready endpoint in an EndpointSlice: %s", port, outcome)
		default:
			p.report(o, "spec.endpoints", "no endpoint has weight: %s", outcome)
		}
	}
}

func routeKey(r *model.Route) resource.Key {
	return resource.Key{Group: gatewayv1.GroupName, Kind: r.Kind, Namespace: r.Namespace, Name: r.Object}
}
