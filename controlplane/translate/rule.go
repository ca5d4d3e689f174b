package translate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/match"
)

// ruleView is one rule of a route, without what its listeners add to it.
type ruleView struct {
	b     *routeBuild
	path  string // spec.rules[2]
	given string // its name; empty: it has none
	route model.Route

	armRefs    []backendRef         // by arm
	mirrorRefs []backendRef         // by mirror
	shadowRefs []backendRef         // by shadow
	request    requestSide          // the rule's own timeouts and retry
	levels     []level[requestSide] // those of policies on the rule and the route
	problems   []ruleProblem
	// sessionOrigin is where the rule's session was written, if it has one.
	sessionOrigin model.Origin
	// prefixOnly: something in the rule replaces the prefix that its match matched.
	prefixOnly string
}

// ruleProblem is something in a rule that is not done.
type ruleProblem struct {
	reason         gatewayv1.RouteConditionReason
	field, message string
}

// refused reports whether nothing of the rule is done as written.
func (r *ruleView) refused() bool {
	if r.route.Refusal != nil || len(r.route.Matches) == 0 {
		return true
	}
	refusedArm := func(i int) bool { return r.armRefs[i] == refusedRef }
	for i := range r.route.Split.Arms {
		if !refusedArm(i) {
			return false
		}
	}
	return len(r.route.Split.Arms) > 0
}

// problem notes something that is not done, in status and diagnostics.
func (r *ruleView) problem(rule string, reason gatewayv1.RouteConditionReason, field, format string, args ...any) {
	p := ruleProblem{reason: reason, field: field, message: fmt.Sprintf(format, args...)}
	r.problems = append(r.problems, p)
	r.b.error(rule, field, "%s", p.message)
}

// refuse makes the rule answer every request with 500 instead of doing half of it.
func (r *ruleView) refuse(rule, field, format string, args ...any) {
	r.refuseFor(gatewayv1.RouteReasonUnsupportedValue, rule, field, format, args...)
}

func (r *ruleView) refuseFor(reason gatewayv1.RouteConditionReason, rule, field, format string, args ...any) {
	r.problem(rule, reason, field, format, args...)
	if r.route.Refusal == nil {
		r.route.Refusal = refusal(field + ": " + fmt.Sprintf(format, args...))
	}
}

// refusal is the answer to what does not resolve or is not supported.
func refusal(reason string) *model.Refusal {
	return &model.Refusal{Status: model.FlagInfos[model.FlagNC].Status, Flag: model.FlagNC.String(), Reason: reason}
}

// compileHTTPRules compiles the rules of an HTTPRoute.
func compileHTTPRules(b *routeBuild, value any) {
	rules := value.(*gatewayv1.HTTPRoute).Spec.Rules
	for i := range rules {
		r := b.newRule(i)
		r.compileMatches(rules[i].Matches)
		r.compileFilters(rules[i].Filters)
		r.compileBackends(rules[i].BackendRefs)
		r.compileTimeouts(rules[i].Timeouts)
		r.compileRetry(rules[i].Retry)
		r.compileSession(rules[i].SessionPersistence)
		b.add(r)
	}
}

// newRule begins a rule of the route with what all kinds of rules have. Its name is the one
// that it was given, or its index.
func (b *routeBuild) newRule(i int) *ruleView {
	given, name := string(deref(b.spec.rules[i], "")), strconv.Itoa(i)
	if given != "" {
		name = given
	} else if slices.ContainsFunc(b.spec.rules, func(n *gatewayv1.SectionName) bool { return n != nil && string(*n) == name }) {
		name = "#" + name // another rule is named like this one's index
	}
	r := &ruleView{b: b, path: fmt.Sprintf("spec.rules[%d]", i), given: given}
	full := routeTitle(b.key) + "/" + name
	r.route = model.Route{
		Name: full, Kind: b.key.Kind, Namespace: b.key.Namespace, Object: b.key.Name, Rule: name,
		Origin: originOf(b.object, r.path), Split: model.Split{Name: full},
	}
	if given != "" {
		r.levels = appendLevel(r.levels, b.t.policy(b.key, name), target{b.key, name})
	}
	r.levels = appendLevel(r.levels, b.t.policy(b.key, ""), target{b.key, ""})
	if c := b.t.closed(b.key, given); c != nil {
		r.problems = append(r.problems, ruleProblem{gatewayv1.RouteReasonUnsupportedValue, r.path, c.reason()})
		r.route.Refusal = c.refusal()
	}
	return r
}

// routeTitle is namespace/name of an HTTPRoute, and kind/namespace/name of any other route: no
// namespace has an upper-case letter.
func routeTitle(k resource.Key) string {
	if k.Kind == kindHTTPRoute {
		return pathName(k)
	}
	return k.Kind + "/" + pathName(k)
}

// add adds a compiled rule to its route.
func (b *routeBuild) add(r *ruleView) {
	if r.prefixOnly != "" && !r.onePrefixMatch() {
		r.refuse(RuleInvalidValue, r.prefixOnly, "ReplacePrefixMatch needs exactly one match, of type PathPrefix")
	}
	r.clearRefused()
	r.addAdditions()
	b.rules = append(b.rules, r)
}

// clearRefused takes out of a refused rule whatever it would do, so that a data plane
// cannot do it by mistake.
func (r *ruleView) clearRefused() {
	if r.route.Refusal == nil {
		return
	}
	r.route = refused(r.route, r.route.Refusal)
	r.armRefs, r.mirrorRefs = nil, nil
}

// refused is a route that does nothing but refuse what it matches.
func refused(o model.Route, refusal *model.Refusal) model.Route {
	return model.Route{
		Name: o.Name, Kind: o.Kind, Namespace: o.Namespace, Object: o.Object, Rule: o.Rule,
		Origin: o.Origin, Matches: o.Matches, Refusal: refusal, Split: model.Split{Name: o.Split.Name},
	}
}

func (r *ruleView) onePrefixMatch() bool {
	return len(r.route.Matches) == 1 && r.route.Matches[0].Path.Type == model.MatchPrefix
}

// compileMatches compiles the rule's matches. One that cannot be compiled is left out and
// the rule refuses the others, so that requests for it do not fall to a broader rule.
func (r *ruleView) compileMatches(matches []gatewayv1.HTTPRouteMatch) {
	if len(matches) == 0 {
		matches = []gatewayv1.HTTPRouteMatch{{}}
	}
	for i := range matches {
		if m, ok := r.compileMatch(&matches[i], fmt.Sprintf("%s.matches[%d]", r.path, i)); ok {
			r.route.Matches = append(r.route.Matches, m)
		}
	}
}

var pathMatchTypes = map[gatewayv1.PathMatchType]model.MatchType{
	gatewayv1.PathMatchExact:             model.MatchExact,
	gatewayv1.PathMatchPathPrefix:        model.MatchPrefix,
	gatewayv1.PathMatchRegularExpression: model.MatchRegex,
}

func (r *ruleView) compileMatch(m *gatewayv1.HTTPRouteMatch, field string) (model.Match, bool) {
	out := model.Match{Path: model.PathMatch{Type: model.MatchPrefix, Value: "/"}, Method: string(deref(m.Method, ""))}
	ok := true
	if p := m.Path; p != nil {
		kind := deref(p.Type, gatewayv1.PathMatchPathPrefix)
		out.Path = model.PathMatch{Type: pathMatchTypes[kind], Value: deref(p.Value, "/")}
		switch {
		case out.Path.Type == "":
			r.refuse(RuleUnsupported, field+".path.type", "%q is not supported", kind)
			ok = false
		case out.Path.Type == model.MatchRegex:
			ok = r.checkRegex(field+".path.value", out.Path.Value)
		case !strings.HasPrefix(out.Path.Value, "/"):
			r.refuse(RuleInvalidValue, field+".path.value", "%q must begin with /", out.Path.Value)
			ok = false
		}
	}
	for i, h := range m.Headers {
		name := strings.ToLower(string(h.Name))
		v, good := r.compileValue(name, deref(h.Type, gatewayv1.HeaderMatchExact) == gatewayv1.HeaderMatchRegularExpression, h.Value, fmt.Sprintf("%s.headers[%d].value", field, i))
		ok = ok && good
		out.Headers = appendFirst(out.Headers, v)
	}
	for i, q := range m.QueryParams {
		v, good := r.compileValue(string(q.Name), deref(q.Type, gatewayv1.QueryParamMatchExact) == gatewayv1.QueryParamMatchRegularExpression, q.Value, fmt.Sprintf("%s.queryParams[%d].value", field, i))
		ok = ok && good
		out.Query = appendFirst(out.Query, v)
	}
	return out, ok
}

// appendFirst appends a match unless its name is there: the first entry counts.
func appendFirst(list []model.ValueMatch, v model.ValueMatch) []model.ValueMatch {
	if slices.ContainsFunc(list, func(o model.ValueMatch) bool { return o.Name == v.Name }) {
		return list
	}
	return append(list, v)
}

func (r *ruleView) compileValue(name string, regex bool, value, field string) (model.ValueMatch, bool) {
	if regex {
		return model.ValueMatch{Name: name, Type: model.MatchRegex, Value: value}, r.checkRegex(field, value)
	}
	return model.ValueMatch{Name: name, Type: model.MatchExact, Value: value}, true
}

func (r *ruleView) checkRegex(field, value string) bool {
	if _, err := match.Whole(value); err != nil {
		r.refuse(RuleInvalidValue, field, "%v (the syntax is RE2's)", err)
		return false
	}
	return true
}

// compileTimeouts reads the rule's own timeouts, which beat every policy.
func (r *ruleView) compileTimeouts(t *gatewayv1.HTTPRouteTimeouts) {
	if t == nil {
		return
	}
	r.request.request = r.duration(r.path+".timeouts.request", t.Request)
	r.request.perTry = r.duration(r.path+".timeouts.backendRequest", t.BackendRequest)
}

func (r *ruleView) duration(field string, d *gatewayv1.Duration) *setting[time.Duration] {
	if d == nil {
		return nil
	}
	value, err := parseDuration(*d)
	if err != nil {
		r.refuse(RuleInvalidValue, field, "%v", err)
		return nil
	}
	return &setting[time.Duration]{value: value, origin: originOf(r.b.object, field)}
}

func (r *ruleView) compileRetry(retry *gatewayv1.HTTPRouteRetry) {
	if retry == nil {
		return
	}
	out := &model.Retry{Attempts: deref(retry.Attempts, defaultRetryAttempts), Backoff: defaultRetryBackoff}
	for _, code := range retry.Codes {
		out.Codes = append(out.Codes, int(code))
	}
	slices.Sort(out.Codes)
	out.Codes = slices.Compact(out.Codes)
	if d := r.duration(r.path+".retry.backoff", retry.Backoff); d != nil {
		out.Backoff = d.value
	}
	r.request.retry.own = &setting[model.Retry]{value: *out, origin: originOf(r.b.object, r.path+".retry")}
}
