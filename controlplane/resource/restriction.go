package resource

import (
	"fmt"
	"reflect"
	"slices"
	"sync"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource/v1alpha1"
)

// Restriction is a policy of group weir.dev that lets fewer requests pass, and that this
// version does not enforce: an AccessPolicy, a RateLimitPolicy or a RouteCondition. Only
// what it is attached to is read, so that translation can close that; its other fields may
// say anything.
type Restriction struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              RestrictionSpec `json:"spec"`
}

// RestrictionSpec is the part of a Restriction that is read.
type RestrictionSpec struct {
	TargetRefs []gatewayv1.LocalPolicyTargetReferenceWithSectionName `json:"targetRefs"`
}

// restriction returns one kind of Restriction.
func restriction(name string) *kind {
	return &kind{
		group: v1alpha1.Group, name: name, versions: []string{v1alpha1.Version}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(Restriction) },
		schema: &schema{compile: sync.OnceValues(func() (*compiled, error) {
			sh := shapeOfType(reflect.TypeFor[Restriction]())
			sh.fields["spec"].open = true
			return &compiled{shape: sh}, nil
		})},
		complete: func(v metav1.Object, report reportFunc) { checkTargets(v.(*Restriction).Spec.TargetRefs, report) },
	}
}

// maxTargets is the most targetRefs that the CRDs of our policies allow.
const maxTargets = 16

// restrictable are the kinds that a Restriction can be attached to, by group, those included
// that this version does not serve.
var restrictable = map[string][]string{
	gatewayv1.GroupName: {"GatewayClass", "Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"},
	v1alpha1.Group:      {v1alpha1.KindBackend},
	"":                  {"Service", "Namespace"},
}

// readTargets returns what an object that may be wrong is attached to, nil if that is wrong
// as well.
func readTargets(object map[string]any) []gatewayv1.LocalPolicyTargetReferenceWithSectionName {
	spec, _ := object["spec"].(map[string]any)
	var read RestrictionSpec
	if runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{"targetRefs": spec["targetRefs"]}, &read) != nil {
		return nil
	}
	wrong := false
	checkTargets(read.TargetRefs, func(string, string) { wrong = true })
	if wrong {
		return nil
	}
	return read.TargetRefs
}

// checkTargets reports what would leave it open what a policy is attached to.
func checkTargets(refs []gatewayv1.LocalPolicyTargetReferenceWithSectionName, report reportFunc) {
	if len(refs) == 0 {
		report("spec.targetRefs", "required: what the policy is attached to")
	}
	if len(refs) > maxTargets {
		report("spec.targetRefs", fmt.Sprintf("expected at most %d targets, got %d", maxTargets, len(refs)))
	}
	for i, ref := range refs {
		path := fmt.Sprintf("spec.targetRefs[%d]", i)
		if !slices.Contains(restrictable[string(ref.Group)], string(ref.Kind)) {
			report(path+".kind", fmt.Sprintf("no kind %q of group %q can be a target; such as HTTPRoute of group %s can", ref.Kind, ref.Group, gatewayv1.GroupName))
		}
		for _, message := range validation.IsDNS1123Subdomain(string(ref.Name)) {
			report(path+".name", message)
		}
	}
}
