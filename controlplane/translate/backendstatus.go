package translate

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
)

// backendView is what became of a Backend by itself.
type backendView struct {
	object      *resource.Object
	own         *securing // by its spec.tls; nil: it has none
	secured     bool      // by that or a policy
	status      Status
	diagnostics []resource.Diagnostic
}

// backendStatuses are those of the Backends.
func (t *translator) backendStatuses() []Status {
	if !t.structural && t.backendStatus != nil {
		return t.backendStatus
	}
	objects, old := t.objectsOf(groupWeir, kindBackend), t.backendViews
	t.backendViews = make([]backendView, len(objects))
	t.backendStatus, t.backendDiagnostics = make([]Status, len(objects)), nil
	for i, o := range objects {
		by, closed := t.securityOf(o.Key, "")
		view := backendView{object: o, own: t.securings.backends[o.Key], secured: by != nil || closed != nil}
		for len(old) > 0 && old[0].object.Key.Compare(o.Key) < 0 {
			old = old[1:]
		}
		if len(old) > 0 && old[0].object == o && old[0].own == view.own && old[0].secured == view.secured {
			view = old[0]
		} else {
			view.read()
		}
		t.backendViews[i] = view
		t.backendStatus[i] = view.status
		t.backendDiagnostics = append(t.backendDiagnostics, view.diagnostics...)
	}
	return t.backendStatus
}

func (v *backendView) read() {
	o, r := v.object, reporter{object: v.object}
	backend, _ := o.Value.(*v1alpha1.Backend)
	accepted := condition(gatewayv1.PolicyConditionAccepted, true, gatewayv1.PolicyReasonAccepted, retainedText(o), generationOf(o))
	refuse := func(reason gatewayv1.PolicyConditionReason, field, message string) {
		accepted = condition(gatewayv1.PolicyConditionAccepted, false, reason, field+": "+message, backend.Generation)
	}
	conditions := []metav1.Condition{}
	switch {
	case backend == nil:
		accepted = condition(gatewayv1.PolicyConditionAccepted, false, gatewayv1.PolicyReasonInvalid, problemText(o.Problems), 0)
	case v.own != nil && v.own.tls == nil:
		refuse(v.own.refused, v.own.refusedField, v.own.refusedText)
	default:
		if protocol, field, message := backendProtocol(backend, v.secured); message != "" {
			instead := "requests for it are answered with 500"
			if refusesRequests(protocol) != "" {
				instead = "nothing is sent to it"
			}
			r.error(RuleUnsupported, field, "%s; %s", message, instead)
			refuse(gatewayv1.PolicyConditionReason(gatewayv1.RouteReasonUnsupportedValue), field, message)
		}
	}
	conditions = append(conditions, accepted)
	if v.own != nil {
		conditions = append(conditions, v.own.resolution(backend.Generation))
	}
	v.status = Status{Key: o.Key, Value: v1alpha1.BackendStatus{Conditions: conditions}}
	v.diagnostics = r.diagnostics
}
