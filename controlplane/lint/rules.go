package lint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routeRule is what rules of all kinds of routes have in common, as it is written.
type routeRule struct {
	name      *gatewayv1.SectionName
	backends  []gatewayv1.BackendRef
	mirrors   []mirror
	redirects bool
}

// mirror is a filter that mirrors, by its place among the filters.
type mirror struct {
	filter int
	to     gatewayv1.BackendObjectReference
}

// rulesOf returns a route's rules; none if the value is not a route.
func rulesOf(value any) []routeRule {
	var rules []routeRule
	switch route := value.(type) {
	case *gatewayv1.HTTPRoute:
		for _, r := range route.Spec.Rules {
			rule := routeRule{name: r.Name}
			for _, b := range r.BackendRefs {
				rule.backends = append(rule.backends, b.BackendRef)
			}
			for i, f := range r.Filters {
				rule.filter(i, f.RequestMirror)
				rule.redirects = rule.redirects || f.Type == gatewayv1.HTTPRouteFilterRequestRedirect
			}
			rules = append(rules, rule)
		}
	case *gatewayv1.GRPCRoute:
		for _, r := range route.Spec.Rules {
			rule := routeRule{name: r.Name}
			for _, b := range r.BackendRefs {
				rule.backends = append(rule.backends, b.BackendRef)
			}
			for i, f := range r.Filters {
				rule.filter(i, f.RequestMirror)
			}
			rules = append(rules, rule)
		}
	case *gatewayv1.TLSRoute:
		for _, r := range route.Spec.Rules {
			rules = append(rules, routeRule{name: r.Name, backends: r.BackendRefs})
		}
	case *gatewayv1.TCPRoute:
		for _, r := range route.Spec.Rules {
			rules = append(rules, routeRule{name: r.Name, backends: r.BackendRefs})
		}
	case *gatewayv1.UDPRoute:
		for _, r := range route.Spec.Rules {
			rules = append(rules, routeRule{name: r.Name, backends: r.BackendRefs})
		}
	}
	return rules
}

// filter notes the filter at a place, if it mirrors.
func (r *routeRule) filter(i int, f *gatewayv1.HTTPRequestMirrorFilter) {
	if f != nil {
		r.mirrors = append(r.mirrors, mirror{i, f.BackendRef})
	}
}

// hostnamesOf returns the hostnames that a route is written for.
func hostnamesOf(value any) []gatewayv1.Hostname {
	switch route := value.(type) {
	case *gatewayv1.HTTPRoute:
		return route.Spec.Hostnames
	case *gatewayv1.GRPCRoute:
		return route.Spec.Hostnames
	case *gatewayv1.TLSRoute:
		return route.Spec.Hostnames
	}
	return nil
}

// ruleField finds a rule of a route by the name or index that translation gave it.
func ruleField(route any, name string) string {
	return fmt.Sprintf("spec.rules[%d]", ruleIndex(route, name))
}

func ruleIndex(route any, name string) int {
	i := slices.IndexFunc(rulesOf(route), func(r routeRule) bool { return r.name != nil && string(*r.name) == name })
	if i < 0 {
		i, _ = strconv.Atoi(strings.TrimPrefix(name, "#"))
	}
	return i
}

// consequence says what becomes of what a route cannot send anywhere.
func consequence(kind string) string {
	switch kind {
	case "HTTPRoute":
		return "every request is answered with 500"
	case "GRPCRoute":
		return "every call is answered with UNAVAILABLE"
	case "UDPRoute":
		return "every datagram is dropped"
	}
	return "every connection is closed at once"
}
