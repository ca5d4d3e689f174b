package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Shadow copies a share of a route's requests to another backend and compares the answers. It
// changes neither what the client gets nor when.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=weir,scope=Namespaced,singular=shadow,path=shadows
// +kubebuilder:metadata:labels="gateway.networking.k8s.io/policy=Direct"
// +kubebuilder:printcolumn:name="Share",type=string,JSONPath=`.spec.share`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Shadow struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is copied where, and compared how.
	// +required
	Spec ShadowSpec `json:"spec"`

	// Status is what became of it, Gateway by Gateway. What it has found, weir shadow tells.
	// +optional
	Status gatewayv1.PolicyStatus `json:"status,omitempty"`
}

// ShadowSpec is what is copied where, and compared how.
//
// +kubebuilder:validation:XValidation:rule="!has(self.compare) || !has(self.compare.baseline) || !self.compare.baseline || !has(self.methods) || self.methods.all(m, m in ['GET', 'HEAD', 'OPTIONS', 'TRACE'])",fieldPath=".compare.baseline",message="sends a second copy to the route's own backend: methods must all be safe ones (GET, HEAD, OPTIONS, TRACE)"
type ShadowSpec struct {
	// TargetRefs are the HTTPRoutes and GRPCRoutes whose requests are copied, in the Shadow's own
	// namespace, or with a sectionName one of their rules.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(t, t.group == 'gateway.networking.k8s.io' && t.kind in ['HTTPRoute', 'GRPCRoute'])",message="must name an HTTPRoute or GRPCRoute of group gateway.networking.k8s.io"
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.group == b.group && a.kind == b.kind && a.name == b.name && (has(a.sectionName) ? a.sectionName : '') == (has(b.sectionName) ? b.sectionName : '')))",message="must not name the same target twice"
	TargetRefs []gatewayv1.LocalPolicyTargetReferenceWithSectionName `json:"targetRefs"`

	// BackendRef is where the copies go.
	// +required
	BackendRef gatewayv1.BackendObjectReference `json:"backendRef"`

	// Share is how many of the requests are copied, above 0%.
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.matches('^0([.]0+)?%$')",message="must be above 0%"
	Share Percentage `json:"share"`

	// Methods are those of the requests that are copied. Absent: GET and HEAD. A copy of any other
	// does at the shadow what the request does, so write one only where that is wanted.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Methods []RetryMethod `json:"methods,omitempty"`

	// Compare is what is compared of the two answers; absent: nothing is.
	// +optional
	Compare *Comparison `json:"compare,omitempty"`

	// Limits bound what copies take.
	// +optional
	Limits *ShadowLimits `json:"limits,omitempty"`
}

// Comparison is what is compared of two answers.
//
// +kubebuilder:validation:XValidation:rule="!has(self.ignore) || !has(self.body) || self.body == 'JSON'",fieldPath=".ignore",message="needs body: JSON"
type Comparison struct {
	// Status compares the statuses.
	// +optional
	Status *bool `json:"status,omitempty"`

	// Headers are the names of headers that are compared.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Headers []gatewayv1.HTTPHeaderName `json:"headers,omitempty"`

	// Body is how bodies are compared: JSON, by what they mean; Bytes; or None.
	// +optional
	Body *BodyComparison `json:"body,omitempty"`

	// Ignore are paths in JSON whose values may differ, such as $.timestamp or $.items[*].id.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Ignore []JSONPath `json:"ignore,omitempty"`

	// Latency compares the times to the answers' heads.
	// +optional
	Latency *bool `json:"latency,omitempty"`

	// Baseline sends a second copy to the route's own backend: what differs between two of its own
	// answers is noise and not counted. It is for safe methods only.
	// +optional
	Baseline *bool `json:"baseline,omitempty"`
}

// BodyComparison is how bodies are compared.
//
// +kubebuilder:validation:Enum=JSON;Bytes;None
type BodyComparison string

// JSONPath is a path of names, ['any name'], indexes and * (RFC 9535), such as $.items[*].id.
//
// +kubebuilder:validation:MinLength=3
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:Pattern=`^\$[.\[]`
type JSONPath string

// ShadowLimits bound what copies take. What goes beyond is not copied, and counted.
//
// +kubebuilder:validation:MinProperties=1
type ShadowLimits struct {
	// Inflight is how many copies may be under way at once.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Inflight *int32 `json:"inflight,omitempty"`

	// Body is how long a request's body may be to be copied, and an answer's to be compared, up to
	// 1Mi.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 && self <= 1048576 : isQuantity(self) && quantity(self).compareTo(quantity('0')) >= 0 && quantity(self).compareTo(quantity('1Mi')) <= 0",message="must be between 0 and 1Mi"
	Body *resource.Quantity `json:"body,omitempty"`
}
