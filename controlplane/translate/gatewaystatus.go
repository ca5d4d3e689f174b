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

// Features are what this version claims of Gateway API, sorted.
var Features = []gatewayv1.FeatureName{
	gatewayv1.FeatureName(features.SupportBackendTLSPolicy),
	gatewayv1.FeatureName(features.SupportBackendTLSPolicySANValidation),
	gatewayv1.FeatureName(features.SupportGRPCRoute),
	gatewayv1.FeatureName(features.SupportGRPCRouteNamedRouteRule),
	gatewayv1.FeatureName(features.SupportGateway),
	gatewayv1.FeatureName(features.SupportGatewayAddressEmpty),
	gatewayv1.FeatureName(features.SupportGatewayBackendClientCertificate),
	gatewayv1.FeatureName(features.SupportGatewayFrontendClientCertificateValidation),
	gatewayv1.FeatureName(features.SupportGatewayFrontendClientCertificateValidationInsecureFallback),
	gatewayv1.FeatureName(features.SupportGatewayHTTPListenerIsolation),
	gatewayv1.FeatureName(features.SupportGatewayHTTPSListenerDetectMisdirectedRequests),
	gatewayv1.FeatureName(features.SupportGatewayPort8080),
	gatewayv1.FeatureName(features.SupportGatewayStaticAddresses),
	gatewayv1.FeatureName(features.SupportHTTPRoute),
	gatewayv1.FeatureName(features.SupportHTTPRoute303RedirectStatusCode),
	gatewayv1.FeatureName(features.SupportHTTPRoute307RedirectStatusCode),
	gatewayv1.FeatureName(features.SupportHTTPRoute308RedirectStatusCode),
	gatewayv1.FeatureName(features.SupportHTTPRouteBackendProtocolH2C),
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
	gatewayv1.FeatureName(features.SupportListenerSet),
	gatewayv1.FeatureName(features.SupportReferenceGrant),
	gatewayv1.FeatureName(features.SupportTCPRoute),
	gatewayv1.FeatureName(features.SupportTLSRoute),
	gatewayv1.FeatureName(features.SupportTLSRouteModeMixed),
	gatewayv1.FeatureName(features.SupportTLSRouteModeTerminate),
	gatewayv1.FeatureName(features.SupportUDPRoute),
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
	served, unresolved := 0, []string{}
	for _, l := range v.listeners {
		if l.unresolved != "" {
			unresolved = append(unresolved, string(l.spec.Name))
		}
		if l.served() {
			served++
		}
		status.Listeners = append(status.Listeners, gatewayv1.ListenerStatus{
			Name: l.spec.Name, AttachedRoutes: t.attached[l.name],
			SupportedKinds: append([]gatewayv1.RouteGroupKind{}, l.kinds...), Conditions: l.conditions(),
		})
	}
	if v.setsFrom != gatewayv1.NamespacesFromNone || len(v.sets) > 0 {
		status.AttachedListenerSets = ptr(v.attachedSets())
	}
	generation := v.gateway.Generation
	is := func(kind gatewayv1.GatewayConditionType, holds bool, reason gatewayv1.GatewayConditionReason, message string) {
		status.Conditions = append(status.Conditions, condition(kind, holds, reason, message, generation))
	}
	holds, reason, message := v.acceptance()
	is(gatewayv1.GatewayConditionAccepted, holds, reason, message)
	switch {
	case v.refused == gatewayv1.GatewayReasonAddressNotUsable:
		is(gatewayv1.GatewayConditionProgrammed, false, v.refused, v.message)
	case served == 0:
		is(gatewayv1.GatewayConditionProgrammed, false, gatewayv1.GatewayReasonInvalid, message)
	default:
		is(gatewayv1.GatewayConditionProgrammed, true, gatewayv1.GatewayReasonProgrammed, "")
		status.Addresses = t.statusAddresses(v.addresses)
	}
	switch {
	case v.unresolved != "":
		is(gatewayv1.GatewayConditionResolvedRefs, false, v.unresolved, v.unresolvedMessage)
	case len(unresolved) > 0:
		is(gatewayv1.GatewayConditionResolvedRefs, false, gatewayv1.GatewayReasonListenersNotResolved, "listeners: "+strings.Join(unresolved, ", "))
	default:
		is(gatewayv1.GatewayConditionResolvedRefs, true, gatewayv1.GatewayReasonResolvedRefs, "")
	}
	if text := v.insecureText(); text != "" {
		is(gatewayv1.GatewayConditionInsecureFrontendValidationMode, true, gatewayv1.GatewayReasonConfigurationChanged, text)
	}
	return status
}

// acceptance says whether a gateway is accepted, and why not, or not as a whole. It depends
// on nothing but its own listeners.
func (v *gatewayView) acceptance() (bool, gatewayv1.GatewayConditionReason, string) {
	// An address that cannot be used leaves a gateway accepted but not programmed.
	if v.refused != "" && v.refused != gatewayv1.GatewayReasonAddressNotUsable {
		return false, v.refused, v.message
	}
	broken := brokenListeners(v.listeners)
	if broken == "" {
		return true, gatewayv1.GatewayReasonAccepted, retainedText(v.object)
	}
	some := slices.ContainsFunc(v.listeners, (*listenerView).valid)
	return some, gatewayv1.GatewayReasonListenersNotValid, broken
}

// brokenListeners says which listeners of an object are not valid; empty: all are.
func brokenListeners(listeners []*listenerView) string {
	var broken []string
	for _, l := range listeners {
		if !l.valid() {
			broken = append(broken, fmt.Sprintf("%s: %s", l.spec.Name, cmp.Or(l.message, l.secure.missing)))
		}
	}
	if len(broken) == 0 {
		return ""
	}
	return "listeners that are not served: " + strings.Join(broken, "; ")
}

// attachedSets counts the sets that are attached and accepted.
func (v *gatewayView) attachedSets() int32 {
	var n int32
	for _, set := range v.sets {
		if holds, _, _ := set.acceptance(); holds {
			n++
		}
	}
	return n
}

// maxAddresses is the most that a GatewayStatus holds.
const maxAddresses = 16

// statusAddresses are the addresses that a gateway is bound to. For an unspecified one stand
// those of this machine, if they are known.
func (t *translator) statusAddresses(addresses []netip.Addr) []gatewayv1.GatewayStatusAddress {
	var list []gatewayv1.GatewayStatusAddress
	for _, a := range addresses {
		real := []netip.Addr{a}
		if a.IsUnspecified() {
			own := slices.DeleteFunc(slices.Clone(t.local), func(own netip.Addr) bool { return !overlaps(a, own) })
			if len(own) > 0 {
				real = own
			}
		}
		for _, r := range real {
			list = append(list, gatewayv1.GatewayStatusAddress{Type: ptr(gatewayv1.IPAddressType), Value: r.String()})
		}
	}
	return list[:min(len(list), maxAddresses)]
}

// conditions words what became of a listener.
func (l *listenerView) conditions() []metav1.Condition {
	var conditions []metav1.Condition
	is := func(kind gatewayv1.ListenerConditionType, holds bool, reason gatewayv1.ListenerConditionReason, message string) {
		conditions = append(conditions, condition(kind, holds, reason, message, generationOf(l.in.object)))
	}
	if l.refused != "" {
		is(gatewayv1.ListenerConditionAccepted, false, l.refused, l.message)
	} else {
		is(gatewayv1.ListenerConditionAccepted, true, gatewayv1.ListenerReasonAccepted, "")
	}
	if l.conflict != "" {
		is(gatewayv1.ListenerConditionConflicted, true, l.conflict, l.conflictMessage)
	} else {
		is(gatewayv1.ListenerConditionConflicted, false, gatewayv1.ListenerReasonNoConflicts, "")
	}
	switch {
	case l.refused != "":
		is(gatewayv1.ListenerConditionProgrammed, false, l.unprogrammed(), l.message)
	case !l.served():
		is(gatewayv1.ListenerConditionProgrammed, false, gatewayv1.ListenerReasonInvalid, l.unservedText())
	default:
		is(gatewayv1.ListenerConditionProgrammed, true, gatewayv1.ListenerReasonProgrammed, l.closedText())
	}
	if l.unresolved != "" {
		is(gatewayv1.ListenerConditionResolvedRefs, false, l.unresolved, strings.Join(l.unresolvedMessages, "; "))
	} else {
		is(gatewayv1.ListenerConditionResolvedRefs, true, gatewayv1.ListenerReasonResolvedRefs, strings.Join(l.secure.retained, "; "))
	}
	if text := l.secure.overlapText(); text != "" {
		is(gatewayv1.ListenerConditionOverlappingTLSConfig, true, gatewayv1.ListenerReasonOverlappingHostnames, text)
	}
	return conditions
}

// unprogrammed is the reason why a refused listener is not programmed: of a Gateway's there
// is one for all, of a ListenerSet's the conflict or the port that it could not have.
func (l *listenerView) unprogrammed() gatewayv1.ListenerConditionReason {
	if l.set != nil && (l.refused == l.conflict || l.refused == gatewayv1.ListenerReasonPortUnavailable) {
		return l.refused
	}
	return gatewayv1.ListenerReasonInvalid
}

// parentOf names a Gateway or ListenerSet in the status of a policy or route.
func parentOf(k resource.Key) gatewayv1.ParentReference {
	return gatewayv1.ParentReference{
		Group: ptr(gatewayv1.Group(k.Group)), Kind: ptr(gatewayv1.Kind(k.Kind)),
		Namespace: ptr(gatewayv1.Namespace(k.Namespace)), Name: gatewayv1.ObjectName(k.Name),
	}
}
