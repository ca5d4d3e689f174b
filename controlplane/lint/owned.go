package lint

import (
	"fmt"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// ownField is a field of an HTTPRoute's rule that comes before a TrafficPolicy's.
type ownField struct {
	rule, policy string
	onRule       func(*gatewayv1.HTTPRouteRule) bool
	onPolicy     func(*v1alpha1.TrafficSettings) bool
}

var ownFields = []ownField{
	{
		"timeouts.request", "timeouts.request",
		func(r *gatewayv1.HTTPRouteRule) bool { return r.Timeouts != nil && r.Timeouts.Request != nil },
		func(s *v1alpha1.TrafficSettings) bool { return s.Timeouts != nil && s.Timeouts.Request != nil },
	},
	{
		"timeouts.backendRequest", "timeouts.perTry",
		func(r *gatewayv1.HTTPRouteRule) bool { return r.Timeouts != nil && r.Timeouts.BackendRequest != nil },
		func(s *v1alpha1.TrafficSettings) bool { return s.Timeouts != nil && s.Timeouts.PerTry != nil },
	},
	{
		"retry", "retries.attempts",
		func(r *gatewayv1.HTTPRouteRule) bool { return r.Retry != nil },
		func(s *v1alpha1.TrafficSettings) bool { return s.Retries != nil && s.Retries.Attempts != nil },
	},
}

// policyBeatenByRule finds fields of policies for routes that all of the rules they target set
// themselves. A Gateway's policy is meant for other routes as well.
func policyBeatenByRule(p *pass) {
	for o, policy := range resource.All[*v1alpha1.TrafficPolicy](p.set) {
		for _, f := range ownFields {
			if !f.onPolicy(&policy.Spec.TrafficSettings) {
				continue
			}
			all, beaten := 0, 0
			for _, ref := range policy.Spec.TargetRefs {
				rules, ok := p.targetedRules(o.Key.Namespace, string(ref.Kind), string(ref.Name), ref.SectionName)
				if !ok {
					beaten = -1
					break
				}
				for _, r := range rules {
					all++
					if f.onRule(r) {
						beaten++
					}
				}
			}
			if all > 0 && beaten == all {
				p.report(o, "spec."+f.policy, "has no effect: every rule that it is for says its own %s, which comes first; leave one of them out", f.rule)
			}
		}
	}
}

// targetedRules are the rules of an HTTPRoute that a targetRef is for; false: it is for something
// else.
func (p *pass) targetedRules(namespace, kind, name string, section *gatewayv1.SectionName) (rules []*gatewayv1.HTTPRouteRule, ok bool) {
	o := p.set.Get(resource.Key{Group: gatewayv1.GroupName, Kind: kind, Namespace: namespace, Name: name})
	if o == nil {
		return nil, false
	}
	route, ok := o.Value.(*gatewayv1.HTTPRoute)
	if !ok {
		return nil, false
	}
	for i := range route.Spec.Rules {
		if r := &route.Spec.Rules[i]; section == nil || r.Name != nil && *r.Name == *section {
			rules = append(rules, r)
		}
	}
	return rules, true
}

// ruleBeatenByOverride finds fields of rules in whose place the overrides of a Gateway or
// GatewayClass hold.
func ruleBeatenByOverride(p *pass) {
	for _, r := range p.routes() {
		o := p.set.Get(routeKey(r))
		if o == nil {
			continue
		}
		route, ok := o.Value.(*gatewayv1.HTTPRoute)
		i := ruleIndex(o.Value, r.Rule)
		if !ok || i >= len(route.Spec.Rules) {
			continue
		}
		for _, f := range ownFields {
			if policy := p.overrider(r.Origins, f.policy); policy != "" && f.onRule(&route.Spec.Rules[i]) {
				p.report(o, fmt.Sprintf("spec.rules[%d].%s", i, f.rule), "has no effect: the overrides of %s hold in its place; leave it out", policy)
			}
		}
	}
}

// overrider is the policy whose overrides have set a field; empty: none has.
func (p *pass) overrider(origins model.Origins, path string) string {
	origin := origins[path]
	parts := strings.Split(origin.Object, "/")
	if len(parts) != 3 || parts[0] != v1alpha1.KindTrafficPolicy {
		return ""
	}
	key := resource.Key{Group: v1alpha1.Group, Kind: parts[0], Namespace: parts[1], Name: parts[2]}
	o := p.set.Get(key)
	if o == nil {
		return ""
	}
	if policy, ok := o.Value.(*v1alpha1.TrafficPolicy); !ok || policy.Spec.Overrides == nil {
		return ""
	}
	at := o.Position("spec.overrides." + path)
	if at.File != origin.File || at.Line != origin.Line || at.Column != origin.Column {
		return ""
	}
	return key.String()
}
