package translate

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
)

// maxAncestors is the most that upstream's PolicyStatus holds.
const maxAncestors = 16

// The conditions of our own beside upstream's Accepted.
const (
	policyResolvedRefs        gatewayv1.PolicyConditionType   = "ResolvedRefs"
	policyProgrammed          gatewayv1.PolicyConditionType   = "Programmed"
	policyReasonProgrammed    gatewayv1.PolicyConditionReason = "Programmed"
	policyReasonPartially     gatewayv1.PolicyConditionReason = "PartiallyProgrammed"
	policyReasonNotProgrammed gatewayv1.PolicyConditionReason = "Invalid"
	policyReasonResolved      gatewayv1.PolicyConditionReason = "ResolvedRefs"
)

// policyStatuses are those of the policies, gateway by gateway.
func (t *translator) policyStatuses() []Status {
	if !t.structural && !t.reshaped && t.policyStatus != nil {
		return t.policyStatus
	}
	t.policyStatus = []Status{}
	var users map[resource.Key][]resource.Key
	for _, o := range t.objectsOf(groupWeir, kindTrafficPolicy) {
		if users == nil {
			users = t.backendUsers()
		}
		view := t.policies.views[o.Key]
		var order []resource.Key
		ancestors := map[resource.Key][]targetView{}
		for _, at := range view.targets {
			for _, key := range t.ancestorsOf(at, users) {
				if ancestors[key] == nil {
					order = append(order, key)
				}
				ancestors[key] = append(ancestors[key], at)
			}
		}
		slices.SortFunc(order, resource.Key.Compare)
		status := gatewayv1.PolicyStatus{Ancestors: []gatewayv1.PolicyAncestorStatus{}}
		for _, key := range order[:min(len(order), maxAncestors)] {
			status.Ancestors = append(status.Ancestors, gatewayv1.PolicyAncestorStatus{
				AncestorRef: parentOf(key), ControllerName: gatewayv1.GatewayController(t.controller),
				Conditions: policyConditions(ancestors[key], generationOf(o), retainedText(o)),
			})
		}
		if o.Value == nil {
			status.Ancestors = append(status.Ancestors, gatewayv1.PolicyAncestorStatus{
				AncestorRef: parentOf(o.Key), ControllerName: gatewayv1.GatewayController(t.controller),
				Conditions: []metav1.Condition{condition(gatewayv1.PolicyConditionAccepted, false, gatewayv1.PolicyReasonInvalid, problemText(o.Problems), 0)},
			})
		}
		t.policyStatus = append(t.policyStatus, Status{Key: o.Key, Value: status})
	}
	return t.policyStatus
}

// ancestorsOf are the gateways through which a target is reached. A target that no gateway
// reaches stands for itself, so that what is wrong with it has a place.
func (t *translator) ancestorsOf(at targetView, users map[resource.Key][]resource.Key) []resource.Key {
	var gateways []resource.Key
	switch at.object.Kind {
	case kindGateway:
		if t.gateways.views[at.object] != nil {
			gateways = []resource.Key{at.object}
		}
	case kindGatewayClass:
		for _, g := range t.gateways.ordered {
			if classKey(g.gateway) == at.object {
				gateways = append(gateways, g.key)
			}
		}
	case kindHTTPRoute:
		if slot := t.routes[at.object]; slot != nil {
			gateways = slot.view.gateways
		}
	default:
		gateways = users[at.object]
	}
	if len(gateways) == 0 {
		return []resource.Key{at.object}
	}
	return gateways
}

// backendUsers are the gateways through which each backend is reached.
func (t *translator) backendUsers() map[resource.Key][]resource.Key {
	users := map[resource.Key][]resource.Key{}
	for _, slot := range t.routeSlots {
		for _, u := range slot.view.uses {
			if !slices.Contains(users[u.backend.object], u.gateway) {
				users[u.backend.object] = append(users[u.backend.object], u.gateway)
			}
		}
	}
	return users
}

// policyConditions sums up what became of a policy's targets below one ancestor: accepted
// if one is, programmed if all are.
func policyConditions(targets []targetView, generation int64, retained string) []metav1.Condition {
	accepted := slices.ContainsFunc(targets, func(v targetView) bool { return v.reason == gatewayv1.PolicyReasonAccepted })
	var failed *targetView
	var messages, missing []string
	for i, at := range targets {
		if at.reason == gatewayv1.PolicyReasonAccepted {
			continue
		}
		if failed == nil {
			failed = &targets[i]
		}
		messages = append(messages, at.message)
		if at.reason == gatewayv1.PolicyReasonTargetNotFound {
			missing = append(missing, at.message)
		}
	}
	text := strings.Join(messages, "; ")
	var conditions []metav1.Condition
	is := func(kind gatewayv1.PolicyConditionType, holds bool, reason gatewayv1.PolicyConditionReason, message string) {
		conditions = append(conditions, condition(kind, holds, reason, message, generation))
	}
	switch {
	case failed == nil:
		is(gatewayv1.PolicyConditionAccepted, true, gatewayv1.PolicyReasonAccepted, retained)
		is(policyProgrammed, true, policyReasonProgrammed, "")
	case accepted:
		is(gatewayv1.PolicyConditionAccepted, true, gatewayv1.PolicyReasonAccepted, retained)
		is(policyProgrammed, false, policyReasonPartially, text)
	default:
		is(gatewayv1.PolicyConditionAccepted, false, failed.reason, text)
		is(policyProgrammed, false, policyReasonNotProgrammed, text)
	}
	if len(missing) > 0 {
		is(policyResolvedRefs, false, gatewayv1.PolicyReasonTargetNotFound, strings.Join(missing, "; "))
	} else {
		is(policyResolvedRefs, true, policyReasonResolved, "")
	}
	return conditions
}
