package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// ServiceLevelObjective is what users are promised of a route or backend: the share of requests
// that are good, over a window. What is not good burns a budget; how fast, alerts and gates tell.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=weir,scope=Namespaced,singular=servicelevelobjective,path=servicelevelobjectives,shortName=slo
// +kubebuilder:metadata:labels="gateway.networking.k8s.io/policy=Direct"
// +kubebuilder:printcolumn:name="Objective",type=string,JSONPath=`.spec.objective`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ServiceLevelObjective struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is promised of what.
	// +required
	Spec ServiceLevelObjectiveSpec `json:"spec"`

	// Status is what became of it, Gateway by Gateway. Whether it is kept, weir slo tells.
	// +optional
	Status gatewayv1.PolicyStatus `json:"status,omitempty"`
}

// ServiceLevelObjectiveSpec is what is promised of what.
type ServiceLevelObjectiveSpec struct {
	// TargetRefs are what the promise is about, all together, in the objective's own namespace: a
	// route or, with a sectionName, one of its rules; a Backend; a Service or, with a sectionName,
	// the port of that name.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(t, t.group == 'gateway.networking.k8s.io' && t.kind in ['HTTPRoute', 'GRPCRoute'] || t.group == 'weir.dev' && t.kind == 'Backend' || t.group == '' && t.kind == 'Service')",message="must name an HTTPRoute or GRPCRoute of group gateway.networking.k8s.io, a Backend of group weir.dev or a Service of group \"\""
	// +kubebuilder:validation:XValidation:rule="self.all(t, t.group == 'gateway.networking.k8s.io') || self.all(t, t.group != 'gateway.networking.k8s.io')",message="must be routes or backends, not both: requests would count twice"
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.group == b.group && a.kind == b.kind && a.name == b.name && (has(a.sectionName) ? a.sectionName : '') == (has(b.sectionName) ? b.sectionName : '')))",message="must not name the same target twice"
	TargetRefs []gatewayv1.LocalPolicyTargetReferenceWithSectionName `json:"targetRefs"`

	// Indicator says which requests are good.
	// +required
	Indicator Indicator `json:"indicator"`

	// Objective is the share of good requests that is promised, above 0% and below 100%, with at
	// most three decimals.
	// +required
	Objective Objective `json:"objective"`

	// Window is how long a time the promise is about, from 1h to 8784h. Absent: 720h.
	// +optional
	Window *gatewayv1.Duration `json:"window,omitempty"`

	// OnBurn is what happens while the budget burns too fast or is spent; absent: alerts.
	// +optional
	OnBurn *OnBurn `json:"onBurn,omitempty"`
}

// Indicator says which requests are good. It has exactly one of availability and latency.
//
// +kubebuilder:validation:ExactlyOneOf=availability;latency
type Indicator struct {
	// Availability counts as bad what failed: 5xx, faulty codes of gRPC, no answer.
	// +optional
	Availability *AvailabilityIndicator `json:"availability,omitempty"`

	// Latency counts as bad what took too long.
	// +optional
	Latency *LatencyIndicator `json:"latency,omitempty"`
}

// AvailabilityIndicator counts failures. It has no fields.
type AvailabilityIndicator struct{}

// LatencyIndicator counts slow requests.
type LatencyIndicator struct {
	// Below is the time to the end of the answer that a good request takes at most, up to 1h.
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(0+(h|m|s|ms))+$')",message="must be above 0s"
	Below gatewayv1.Duration `json:"below"`
}

// Objective is a share above 0% and below 100%, with at most three decimals.
//
// +kubebuilder:validation:Pattern=`^[0-9]{1,2}(\.[0-9]{1,3})?%$`
// +kubebuilder:validation:XValidation:rule="!self.matches('^0+([.]0+)?%$')",message="must be above 0%"
type Objective string

// OnBurn is what happens while a budget burns too fast or is spent.
type OnBurn struct {
	// FreezeRollouts holds Rollouts on the same rules or to the same backends where they are.
	// +required
	FreezeRollouts bool `json:"freezeRollouts"`
}
