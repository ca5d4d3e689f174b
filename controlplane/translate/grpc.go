package translate

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/match"
)

// compileGRPCRules compiles the rules of a GRPCRoute. A call is a POST to /service/method
// (gRPC over HTTP/2, section Requests), and all but matches is as in an HTTPRoute.
func compileGRPCRules(b *routeBuild, value any) {
	rules := value.(*gatewayv1.GRPCRoute).Spec.Rules
	for i := range rules {
		r := b.newRule(i)
		r.compileGRPCMatches(rules[i].Matches)
		r.compileFilters(httpFilters(rules[i].Filters))
		r.compileBackends(httpBackends(rules[i].BackendRefs))
		r.compileSession(rules[i].SessionPersistence)
		b.add(r)
	}
}

// httpFilters are a GRPCRoute's filters as those of an HTTPRoute, of which they are a part:
// types and fields have the same names.
func httpFilters(filters []gatewayv1.GRPCRouteFilter) []gatewayv1.HTTPRouteFilter {
	out := make([]gatewayv1.HTTPRouteFilter, len(filters))
	for i, f := range filters {
		out[i] = gatewayv1.HTTPRouteFilter{
			Type: gatewayv1.HTTPRouteFilterType(f.Type), RequestHeaderModifier: f.RequestHeaderModifier,
			ResponseHeaderModifier: f.ResponseHeaderModifier, RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef,
		}
	}
	return out
}

func httpBackends(refs []gatewayv1.GRPCBackendRef) []gatewayv1.HTTPBackendRef {
	out := make([]gatewayv1.HTTPBackendRef, len(refs))
	for i, r := range refs {
		out[i] = gatewayv1.HTTPBackendRef{BackendRef: r.BackendRef, Filters: httpFilters(r.Filters)}
	}
	return out
}

// compileGRPCMatches compiles the rule's matches; see compileMatches.
func (r *ruleView) compileGRPCMatches(matches []gatewayv1.GRPCRouteMatch) {
	if len(matches) == 0 {
		matches = []gatewayv1.GRPCRouteMatch{{}}
	}
	for i := range matches {
		if m, ok := r.compileGRPCMatch(&matches[i], fmt.Sprintf("%s.matches[%d]", r.path, i)); ok {
			r.route.Matches = append(r.route.Matches, m)
		}
	}
}

func (r *ruleView) compileGRPCMatch(m *gatewayv1.GRPCRouteMatch, field string) (model.Match, bool) {
	path, ok := model.PathMatch{Type: model.MatchPrefix, Value: "/"}, true
	if m.Method != nil {
		path, ok = r.compileGRPCMethod(m.Method, field+".method")
	}
	out := model.Match{Path: path, Method: http.MethodPost}
	for i, h := range m.Headers {
		kind, at := deref(h.Type, gatewayv1.GRPCHeaderMatchExact), fmt.Sprintf("%s.headers[%d]", field, i)
		if kind != gatewayv1.GRPCHeaderMatchExact && kind != gatewayv1.GRPCHeaderMatchRegularExpression {
			r.refuse(RuleUnsupported, at+".type", "%q is not supported", kind)
			ok = false
		}
		v, good := r.compileValue(strings.ToLower(string(h.Name)), kind == gatewayv1.GRPCHeaderMatchRegularExpression, h.Value, at+".value")
		ok = ok && good
		out.Headers = appendFirst(out.Headers, v)
	}
	return out, ok
}

// compileGRPCMethod makes a path match of a service, a method or both. What has no path of
// its own is an expression, which stands behind those that have one.
func (r *ruleView) compileGRPCMethod(m *gatewayv1.GRPCMethodMatch, field string) (model.PathMatch, bool) {
	service, method := deref(m.Service, ""), deref(m.Method, "")
	if service == "" && method == "" {
		r.refuse(RuleInvalidValue, field, "needs a service, a method or both")
		return model.PathMatch{}, false
	}
	switch kind := deref(m.Type, gatewayv1.GRPCMethodMatchExact); {
	case kind == gatewayv1.GRPCMethodMatchRegularExpression:
		good := r.checkRegex(field+".service", service)
		good = r.checkRegex(field+".method", method) && good
		if !good {
			return model.PathMatch{}, false
		}
		path := callExpression(group(service), group(method), specificity(service, false), specificity(method, false))
		return path, r.checkRegex(field, path.Value)
	case kind != gatewayv1.GRPCMethodMatchExact:
		r.refuse(RuleUnsupported, field+".type", "%q is not supported", kind)
		return model.PathMatch{}, false
	case strings.Contains(service+method, "/"):
		r.refuse(RuleInvalidValue, field, "service and method are names, without /")
		return model.PathMatch{}, false
	case method == "":
		return model.PathMatch{Type: model.MatchPrefix, Value: "/" + service}, true
	case service == "":
		return callExpression("", regexp.QuoteMeta(method), 0, specificity(method, true)), true
	}
	return model.PathMatch{Type: model.MatchExact, Value: "/" + service + "/" + method}, true
}

// callExpression matches the paths of calls by expressions for service and method; empty is
// any. Of several the more specific service comes first, then the more specific method, as
// GRPCRouteRule.matches has it.
func callExpression(service, method string, serviceSpecificity, methodSpecificity uint32) model.PathMatch {
	const every = "[^/]+"
	service, method = cmp.Or(service, every), cmp.Or(method, every)
	return model.PathMatch{
		Type: model.MatchRegex, Value: "/" + service + "/" + method,
		Precedence: serviceSpecificity<<specificityBits | methodSpecificity,
	}
}

// specificityBits hold a specificity: names have up to 1024 characters.
const specificityBits = 12

// specificity counts the characters of a name or expression; a name is more specific than
// any expression, and that than nothing.
func specificity(text string, exact bool) uint32 {
	const longest = 1024
	n := uint32(min(len(text), longest))
	if exact {
		n += longest
	}
	return n
}

// group keeps what an expression says together; an empty one says nothing.
func group(expression string) string {
	if expression == "" {
		return ""
	}
	return match.Group(expression)
}
