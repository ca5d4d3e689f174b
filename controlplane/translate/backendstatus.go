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
		for len(old) > 0 && old[0].object.Key.Compare(o.Key) < 0 {
			old = old[1:]
		}
		if len(old) > 0 && old[0].object == o {
			t.backendViews[i] = old[0]
		} else {
			t.backendViews[i] = viewBackend(o)
		}
		t.backendStatus[i] = t.backendViews[i].status
		t.backendDiagnostics = append(t.backendDiagnostics, t.backendViews[i].diagnostics...)
	}
	return t.backendStatus
}

func viewBackend(o *resource.Object) backendView {
	r := reporter{object: o}
	backend, _ := o.Value.(*v1alpha1.Backend)
	accepted := condition(gatewayv1.PolicyConditionAccepted, true, gatewayv1.PolicyReasonAccepted, retainedText(o), generationOf(o))
	if backend == nil {
		accepted = condition(gatewayv1.PolicyConditionAccepted, false, gatewayv1.PolicyReasonInvalid, problemText(o.Problems), 0)
	} else if field, message := unsupportedBackend(backend); message != "" {
		r.error(RuleUnsupported, field, "%s; requests for it are answered with 500", message)
		accepted = condition(gatewayv1.PolicyConditionAccepted, false, gatewayv1.RouteReasonUnsupportedValue, field+": "+message, backend.Generation)
	}
	status := Status{Key: o.Key, Value: v1alpha1.BackendStatus{Conditions: []metav1.Condition{accepted}}}
	return backendView{object: o, status: status, diagnostics: r.diagnostics}
}
