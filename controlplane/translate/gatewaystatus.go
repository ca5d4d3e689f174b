package translate

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	"weir.dev/weir/controlplane/resource"
)

// Features are what this version claims of Gateway API, sorted. HTTPS, which upstream counts
// in with Gateway, HTTPRoute and ReferenceGrant, is not done yet: the status of such
// listeners says so.
var Features = []gatewayv1.FeatureName{
	gatewayv1.FeatureName(features.SupportGateway),
	gatewayv1.FeatureName(features.SupportGatewayAddressEmpty),
	gatewayv1.FeatureName(features.SupportGatewayHTTPListenerIsolation),
	gatewayv1.FeatureName(features.SupportGatewayPort8080),
	gatewayv1.FeatureName(features.SupportHTTPRoute),
	gatewayv1.FeatureName(features.SupportHTTPRoute303RedirectStatusCode),
	gatewayv1.FeatureName(features.SupportHTTPRoute307RedirectStatusCode),
	gatewayv1.FeatureName(features.SupportHTTPRoute308RedirectStatusCode),
	gatewayv1.FeatureName(features.SupportHTTPRouteBackendProtocolWebSocket),
	gatewayv1.FeatureName(features.SupportHTTPRouteBackendRequestHeaderModification),
	gatewayv1.FeatureName(features.SupportHTTPRouteBackendTimeout),
	gatewayv1.FeatureName(features.SupportHTTPRouteCORS),
	gatewayv1.FeatureName(features.SupportHTTPRouteDestinationPortMatching),
	gatewayv1.FeatureName(features.SupportHTTPRouteHostRewrite),
	gatewayv1.FeatureName(features.SupportHTTPRouteMethodMatching),
	gatewayv1.FeatureName(features.SupportHTTPRouteNamedRouteRule),
	gatewayv1.FeatureName(features.SupportHTTPRouteParentRefPort),
	gatewayv1.FeatureName(features.SupportHTTPRoutePathRedirect),
	gatewayv1.FeatureName(features.SupportHTTPRoutePathRewrite),
	gatewayv1.FeatureName(features.SupportHTTPRoutePortRedirect),
	gatewayv1.FeatureName(features.SupportHTTPRouteQueryParamMatching),
	gatewayv1.FeatureName(features.SupportHTTPRouteRequestMirror),
	gatewayv1.FeatureName(features.SupportHTTPRouteRequestMultipleMirrors),
	gatewayv1.FeatureName(features.SupportHTTPRouteRequestPercentageMirror),
	gatewayv1.FeatureName(features.SupportHTTPRouteRequestTimeout),
	gatewayv1.FeatureName(features.SupportHTTPRouteResponseHeaderModification),
	gatewayv1.FeatureName(features.SupportHTTPRouteRetry),
	gatewayv1.FeatureName(features.SupportHTTPRouteRetryBackendTimeout),
	gatewayv1.FeatureName(features.SupportHTTPRouteRetryConnectionError),
	gatewayv1.FeatureName(features.SupportHTTPRouteSchemeRedirect),
	gatewayv1.FeatureName(features.SupportReferenceGrant),
}

// classStatuses are those of the GatewayClasses of this controller.
func (t *translator) classStatuses() []Status {
	var statuses []Status
	for _, o := range t.objectsOf(groupGateway, kindGatewayClass) {
		class, _ := o.Value.(*gatewayv1.GatewayClass)
		if class == nil || string(class.Spec.ControllerName) != t.controller {
			continue
		}
		var status gatewayv1.GatewayClassStatus
		accepted := condition(gatewayv1.GatewayClassConditionStatusAccepted, true, gatewayv1.GatewayClassReasonAccepted, retainedText(o), class.Generation)
		if class.Spec.ParametersRef != nil {
			accepted = condition(gatewayv1.GatewayClassConditionStatusAccepted, false, gatewayv1.GatewayClassReasonInvalidParameters, "parametersRef is not supported", class.Generation)
		}
		status.Conditions = []metav1.Condition{
			accepted,
			condition(gatewayv1.GatewayClassConditionStatusSupportedVersion, true, gatewayv1.GatewayClassReasonSupportedVersion, "", class.Generation),
		}
		for _, f := range Features {
			status.SupportedFeatures = append(status.SupportedFeatures, gatewayv1.SupportedFeature{Name: f})
		}
		statuses = append(statuses, Status{Key: o.Key, Value: status})
	}
	return statuses
}

// gatewayStatuses are those of our gateways, and of gateways that never had an accepted
// version.
func (t *translator) gatewayStatuses() []Status {
	var statuses []Status
	for _, o := range t.objectsOf(groupGateway, kindGateway) {
		if o.Value == nil {
			text := problemText(o.Problems)
			statuses = append(statuses, Status{Key: o.Key, Value: gatewayv1.GatewayStatus{Conditions: []metav1.Condition{
				condition(gatewayv1.GatewayConditionAccepted, false, gatewayv1.GatewayReasonInvalid, text, 0),
				condition(gatewayv1.GatewayConditionProgrammed, false, gatewayv1.GatewayReasonInvalid, text, 0),
			}}})
			continue
		}
		if view := t.gateways.views[o.Key]; view != nil {
			statuses = append(statuses, Status{Key: o.Key, Value: t.gatewayStatus(view)})
		}
	}
	return statuses
}

func (t *translator) gatewayStatus(v *gatewayView) gatewayv1.GatewayStatus {
	var status gatewayv1.GatewayStatus
	served, broken, unresolved := 0, []string{}, []string{}
	for _, l := range v.listeners {
		if l.refused != "" {
			broken = append(broken, fmt.Sprintf("%s: %s", l.spec.Name, l.message))
		}
		if len(l.badKinds) > 0 {
			unresolved = append(unresolved, string(l.spec.Name))
		}
		if l.served() {
			served++
		}
		status.Listeners = append(status.Listeners, t.listenerStatus(l))
	}
	generation := v.gateway.Generation
	is := func(kind gatewayv1.GatewayConditionType, holds bool, reason gatewayv1.GatewayConditionReason, message string) {
		status.Conditions = append(status.Conditions, condition(kind, holds, reason, message, generation))
	}
	listeners := "listeners that are not served: " + strings.Join(broken, "; ")
	// An address that cannot be used leaves a gateway accepted but not programmed.
	refused := v.refused != "" && v.refused != gatewayv1.GatewayReasonAddressNotUsable
	switch {
	case refused:
		is(gatewayv1.GatewayConditionAccepted, false, v.refused, v.message)
	case len(broken) == len(v.listeners):
		is(gatewayv1.GatewayConditionAccepted, false, gatewayv1.GatewayReasonListenersNotValid, listeners)
	case len(broken) > 0:
		is(gatewayv1.GatewayConditionAccepted, true, gatewayv1.GatewayReasonListenersNotValid, listeners)
	default:
		is(gatewayv1.GatewayConditionAccepted, true, gatewayv1.GatewayReasonAccepted, retainedText(v.object))
	}
	switch {
	case v.refused == gatewayv1.GatewayReasonAddressNotUsable:
		is(gatewayv1.GatewayConditionProgrammed, false, v.refused, v.message)
	case served == 0:
		is(gatewayv1.GatewayConditionProgrammed, false, gatewayv1.GatewayReasonInvalid, cmp.Or(v.message, listeners))
	default:
		is(gatewayv1.GatewayConditionProgrammed, true, gatewayv1.GatewayReasonProgrammed, "")
		status.Addresses = statusAddresses(v.addresses)
	}
	if len(unresolved) > 0 {
		is(gatewayv1.GatewayConditionResolvedRefs, false, gatewayv1.GatewayReasonListenersNotResolved, "listeners: "+strings.Join(unresolved, ", "))
	} else {
		is(gatewayv1.GatewayConditionResolvedRefs, true, gatewayv1.GatewayReasonResolvedRefs, "")
	}
	return status
}

func statusAddresses(addresses []netip.Addr) []gatewayv1.GatewayStatusAddress {
	var list []gatewayv1.GatewayStatusAddress
	for _, a := range addresses {
		list = append(list, gatewayv1.GatewayStatusAddress{Type: ptr(gatewayv1.IPAddressType), Value: a.String()})
	}
	return list
}

func (t *translator) listenerStatus(l *listenerView) gatewayv1.ListenerStatus {
	status := gatewayv1.ListenerStatus{
		Name: l.spec.Name, AttachedRoutes: t.attached[l.name],
		SupportedKinds: append([]gatewayv1.RouteGroupKind{}, l.kinds...),
	}
	generation := l.gateway.gateway.Generation
	is := func(kind gatewayv1.ListenerConditionType, holds bool, reason gatewayv1.ListenerConditionReason, message string) {
		status.Conditions = append(status.Conditions, condition(kind, holds, reason, message, generation))
	}
	if l.refused != "" {
		is(gatewayv1.ListenerConditionAccepted, false, l.refused, l.message)
	} else {
		is(gatewayv1.ListenerConditionAccepted, true, gatewayv1.ListenerReasonAccepted, "")
	}
	if l.conflict != "" {
		is(gatewayv1.ListenerConditionConflicted, true, l.conflict, l.message)
	} else {
		is(gatewayv1.ListenerConditionConflicted, false, gatewayv1.ListenerReasonNoConflicts, "")
	}
	switch {
	case l.refused != "":
		is(gatewayv1.ListenerConditionProgrammed, false, gatewayv1.ListenerReasonInvalid, l.message)
	case !l.served():
		is(gatewayv1.ListenerConditionProgrammed, false, gatewayv1.ListenerReasonInvalid, "the gateway is not served: "+l.gateway.message)
	default:
		is(gatewayv1.ListenerConditionProgrammed, true, gatewayv1.ListenerReasonProgrammed, l.closedText())
	}
	if len(l.badKinds) > 0 {
		is(gatewayv1.ListenerConditionResolvedRefs, false, gatewayv1.ListenerReasonInvalidRouteKinds,
			"kinds of routes that are not supported: "+strings.Join(slices.Compact(l.badKinds), ", "))
	} else {
		is(gatewayv1.ListenerConditionResolvedRefs, true, gatewayv1.ListenerReasonResolvedRefs, "")
	}
	return status
}

// parentOf names a gateway in the status of a policy or route.
func parentOf(k resource.Key) gatewayv1.ParentReference {
	return gatewayv1.ParentReference{
		Group: ptr(gatewayv1.Group(k.Group)), Kind: ptr(gatewayv1.Kind(k.Kind)),
		Namespace: ptr(gatewayv1.Namespace(k.Namespace)), Name: gatewayv1.ObjectName(k.Name),
	}
}
