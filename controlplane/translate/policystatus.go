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
	t.collectRejections()
	for _, o := range t.objectsOf(groupWeir, kindTrafficPolicy) {
		if users == nil {
			users = t.backendUsers()
		}
		t.policyStatus = append(t.policyStatus, t.statusOfPolicy(o, t.policies.views[o.Key].targets, users, func(targets []targetView) []metav1.Condition {
			return policyConditions(targets, generationOf(o), retainedText(o))
		}))
	}
	t.policyStatus = append(t.policyStatus, t.additionStatuses()...)
	t.policyStatus = append(t.policyStatus, t.closureStatuses()...)
	t.policyStatus = append(t.policyStatus, t.securingStatuses()...)
	return t.policyStatus
}

// statusOfPolicy is the status of one policy: its conditions below each gateway through which
// its targets are reached.
func (t *translator) statusOfPolicy(
	o *resource.Object, targets []targetView, users map[resource.Key][]resource.Key, conditions func([]targetView) []metav1.Condition,
) Status {
	var order []resource.Key
	ancestors := map[resource.Key][]targetView{}
	for _, at := range targets {
		for _, key := range t.ancestorsOf(at, users) {
			if ancestors[key] == nil {
				order = append(order, key)
			}
			ancestors[key] = append(ancestors[key], at)
		}
	}
	slices.SortFunc(order, resource.Key.Compare)
	status := gatewayv1.PolicyStatus{Ancestors: []gatewayv1.PolicyAncestorStatus{}}
	add := func(key resource.Key, conditions []metav1.Condition) {
		status.Ancestors = append(status.Ancestors, gatewayv1.PolicyAncestorStatus{
			AncestorRef: parentOf(key), ControllerName: gatewayv1.GatewayController(t.controller), Conditions: conditions,
		})
	}
	for _, key := range order[:min(len(order), maxAncestors)] {
		add(key, conditions(t.rejected(o.Key, key, ancestors[key])))
	}
	if o.Value == nil {
		text := problemText(o.Problems)
		text += t.closures.widestText(o)
		if s := t.securings.unreadable[o.Key.Namespace]; s != nil && s.object == o {
			text += "; " + s.widestText()
		}
		add(o.Key, []metav1.Condition{condition(gatewayv1.PolicyConditionAccepted, false, gatewayv1.PolicyReasonInvalid, text, 0)})
	}
	return Status{Key: o.Key, Value: status}
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
	case kindListenerSet:
		if set := t.gateways.sets[at.object]; set != nil {
			gateways = []resource.Key{set.gateway.key}
		}
	case kindGatewayClass:
		for _, g := range t.gateways.ordered {
			if classKey(g.gateway) == at.object {
				gateways = append(gateways, g.key)
			}
		}
	default:
		gateways = users[at.object]
		if slot := t.route(at.object); slot != nil {
			gateways = slot.view.gateways
		}
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
			users[u.backend.object] = appendMissing(users[u.backend.object], slot.view.gateways...)
		}
	}
	return users
}

// appendMissing appends what is not in the list.
func appendMissing[T comparable](list []T, keys ...T) []T {
	for _, k := range keys {
		if !slices.Contains(list, k) {
			list = append(list, k)
		}
	}
	return list
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
