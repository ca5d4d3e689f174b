package translate

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// setReasonParentNotProgrammed is a reason that upstream names in its comments only.
const setReasonParentNotProgrammed gatewayv1.ListenerSetConditionReason = "ParentNotProgrammed"

// listenerSetStatuses are those of the ListenerSets of our gateways, and of sets that never
// had an accepted version.
func (t *translator) listenerSetStatuses() []Status {
	var statuses []Status
	for _, o := range t.objectsOf(groupGateway, kindListenerSet) {
		if o.Value == nil {
			text := problemText(o.Problems)
			statuses = append(statuses, Status{Key: o.Key, Value: gatewayv1.ListenerSetStatus{Conditions: []metav1.Condition{
				condition(gatewayv1.ListenerSetConditionAccepted, false, gatewayv1.ListenerSetReasonInvalid, text, 0),
				condition(gatewayv1.ListenerSetConditionProgrammed, false, gatewayv1.ListenerSetReasonInvalid, text, 0),
			}}})
			continue
		}
		if v := t.gateways.sets[o.Key]; v != nil {
			statuses = append(statuses, Status{Key: o.Key, Value: t.listenerSetStatus(v)})
		}
	}
	return statuses
}

func (t *translator) listenerSetStatus(v *setView) gatewayv1.ListenerSetStatus {
	var status gatewayv1.ListenerSetStatus
	for _, l := range v.listeners {
		status.Listeners = append(status.Listeners, gatewayv1.ListenerEntryStatus{
			Name: l.spec.Name, AttachedRoutes: t.attached[l.name],
			SupportedKinds: append([]gatewayv1.RouteGroupKind{}, l.kinds...), Conditions: l.conditions(),
		})
	}
	is := func(kind gatewayv1.ListenerSetConditionType, holds bool, reason gatewayv1.ListenerSetConditionReason, message string) {
		status.Conditions = append(status.Conditions, condition(kind, holds, reason, message, v.set.Generation))
	}
	accepted, reason, message := v.acceptance()
	is(gatewayv1.ListenerSetConditionAccepted, accepted, reason, message)
	switch {
	case v.refused == gatewayv1.ListenerSetReasonParentNotAccepted:
		is(gatewayv1.ListenerSetConditionProgrammed, false, setReasonParentNotProgrammed, message)
	case !accepted:
		is(gatewayv1.ListenerSetConditionProgrammed, false, reason, message)
	case v.gateway.refused != "":
		is(gatewayv1.ListenerSetConditionProgrammed, false, setReasonParentNotProgrammed, v.gateway.message)
	default:
		is(gatewayv1.ListenerSetConditionProgrammed, true, gatewayv1.ListenerSetReasonProgrammed, "")
	}
	return status
}

// acceptance says whether a set is accepted, and why not, or not as a whole.
func (v *setView) acceptance() (bool, gatewayv1.ListenerSetConditionReason, string) {
	if v.refused != "" {
		return false, v.refused, v.message
	}
	broken := brokenListeners(v.listeners)
	if broken == "" {
		return true, gatewayv1.ListenerSetReasonAccepted, retainedText(v.object)
	}
	some := slices.ContainsFunc(v.listeners, (*listenerView).valid)
	return some, gatewayv1.ListenerSetReasonListenersNotValid, broken
}
