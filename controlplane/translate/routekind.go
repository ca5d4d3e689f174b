package translate

import (
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
)

// routeKind is a kind of route. What the kinds have in common (parents, hostnames, backends,
// statuses) is translated by the same code; what a rule is, each kind says for itself.
type routeKind struct {
	name string
	// stream: its rules carry connections or datagrams as they are, not requests.
	stream bool
	// compile compiles the rules into routeBuild.rules.
	compile func(b *routeBuild, value any)
	// place gives the compiled rules to the listeners that take the route.
	place func(b *routeBuild, parents []parentView)
	// status is upstream's status struct of the kind.
	status func(gatewayv1.RouteStatus) any
}

// routeSpec is what all kinds of routes have in common.
type routeSpec struct {
	gatewayv1.CommonRouteSpec
	hostnames []gatewayv1.Hostname // none: every host, or the kind has no hosts
	rules     []*gatewayv1.SectionName
}

// routeKinds are those that are served, in the order of names.
var routeKinds = []*routeKind{
	{
		name: kindGRPCRoute, compile: compileGRPCRules, place: (*routeBuild).place,
		status: func(s gatewayv1.RouteStatus) any { return gatewayv1.GRPCRouteStatus{RouteStatus: s} },
	},
	{
		name: kindHTTPRoute, compile: compileHTTPRules, place: (*routeBuild).place,
		status: func(s gatewayv1.RouteStatus) any { return gatewayv1.HTTPRouteStatus{RouteStatus: s} },
	},
	{
		name: kindTCPRoute, compile: compileStreamRule, place: (*routeBuild).placeStreams, stream: true,
		status: func(s gatewayv1.RouteStatus) any { return gatewayv1.TCPRouteStatus{RouteStatus: s} },
	},
	{
		name: kindTLSRoute, compile: compileStreamRule, place: (*routeBuild).placeStreams, stream: true,
		status: func(s gatewayv1.RouteStatus) any { return gatewayv1.TLSRouteStatus{RouteStatus: s} },
	},
	{
		name: kindUDPRoute, compile: compileStreamRule, place: (*routeBuild).placeStreams, stream: true,
		status: func(s gatewayv1.RouteStatus) any { return gatewayv1.UDPRouteStatus{RouteStatus: s} },
	},
}

// routeKindOf returns the kind of a route that is served, nil of anything else.
func routeKindOf(k resource.Key) *routeKind {
	if k.Group != groupGateway {
		return nil
	}
	i := slices.IndexFunc(routeKinds, func(kind *routeKind) bool { return kind.name == k.Kind })
	if i < 0 {
		return nil
	}
	return routeKinds[i]
}

// RouteStatus returns what the statuses of all kinds of routes have in common, false if the
// value of a Status is of another kind.
func RouteStatus(value any) (gatewayv1.RouteStatus, bool) {
	switch s := value.(type) {
	case gatewayv1.HTTPRouteStatus:
		return s.RouteStatus, true
	case gatewayv1.GRPCRouteStatus:
		return s.RouteStatus, true
	case gatewayv1.TCPRouteStatus:
		return s.RouteStatus, true
	case gatewayv1.TLSRouteStatus:
		return s.RouteStatus, true
	case gatewayv1.UDPRouteStatus:
		return s.RouteStatus, true
	}
	return gatewayv1.RouteStatus{}, false
}

// protocolKinds are the kinds of routes that listeners of a protocol take; none: the protocol
// is not served.
var protocolKinds = map[gatewayv1.ProtocolType][]gatewayv1.Kind{
	gatewayv1.HTTPProtocolType:  {kindHTTPRoute, kindGRPCRoute},
	gatewayv1.HTTPSProtocolType: {kindHTTPRoute, kindGRPCRoute},
	gatewayv1.TLSProtocolType:   {kindTLSRoute},
	gatewayv1.TCPProtocolType:   {kindTCPRoute},
	gatewayv1.UDPProtocolType:   {kindUDPRoute},
}

// takes reports whether a listener takes routes of a kind.
func (l *listenerView) takes(kind string) bool {
	return slices.ContainsFunc(l.kinds, func(k gatewayv1.RouteGroupKind) bool { return string(k.Kind) == kind })
}

// specOf reads a route of any kind, false if the value is none.
func specOf(value any) (routeSpec, bool) {
	switch r := value.(type) {
	case *gatewayv1.HTTPRoute:
		return routeSpec{r.Spec.CommonRouteSpec, r.Spec.Hostnames, namesOf(r.Spec.Rules, func(r *gatewayv1.HTTPRouteRule) *gatewayv1.SectionName { return r.Name })}, true
	case *gatewayv1.GRPCRoute:
		return routeSpec{r.Spec.CommonRouteSpec, r.Spec.Hostnames, namesOf(r.Spec.Rules, func(r *gatewayv1.GRPCRouteRule) *gatewayv1.SectionName { return r.Name })}, true
	case *gatewayv1.TLSRoute:
		return routeSpec{r.Spec.CommonRouteSpec, r.Spec.Hostnames, namesOf(r.Spec.Rules, func(r *gatewayv1.TLSRouteRule) *gatewayv1.SectionName { return r.Name })}, true
	case *gatewayv1.TCPRoute:
		return routeSpec{r.Spec.CommonRouteSpec, nil, namesOf(r.Spec.Rules, func(r *gatewayv1.TCPRouteRule) *gatewayv1.SectionName { return r.Name })}, true
	case *gatewayv1.UDPRoute:
		return routeSpec{r.Spec.CommonRouteSpec, nil, namesOf(r.Spec.Rules, func(r *gatewayv1.UDPRouteRule) *gatewayv1.SectionName { return r.Name })}, true
	}
	return routeSpec{}, false
}

// namesOf lists the names of rules.
func namesOf[R any](rules []R, name func(*R) *gatewayv1.SectionName) []*gatewayv1.SectionName {
	names := make([]*gatewayv1.SectionName, len(rules))
	for i := range rules {
		names[i] = name(&rules[i])
	}
	return names
}
