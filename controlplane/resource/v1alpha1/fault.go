package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// FaultPolicy breaks something on purpose, for a share of a route's requests and for a time.
// What it does is marked on the wire, in logs and metrics, and weir fault stop ends it at once.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=weir,scope=Namespaced,singular=faultpolicy,path=faultpolicies
// +kubebuilder:metadata:labels="gateway.networking.k8s.io/policy=Direct"
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.spec.expires`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.spec.reason`
type FaultPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what breaks, where and until when.
	// +required
	Spec FaultPolicySpec `json:"spec"`

	// Status is what became of it, Gateway by Gateway.
	// +optional
	Status gatewayv1.PolicyStatus `json:"status,omitempty"`
}

// FaultPolicySpec is what breaks, where and until when.
type FaultPolicySpec struct {
	// TargetRefs are the HTTPRoutes and GRPCRoutes whose requests are broken, in the policy's own
	// namespace, or with a sectionName one of their rules.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(t, t.group == 'gateway.networking.k8s.io' && t.kind in ['HTTPRoute', 'GRPCRoute'])",message="must name an HTTPRoute or GRPCRoute of group gateway.networking.k8s.io"
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.group == b.group && a.kind == b.kind && a.name == b.name && (has(a.sectionName) ? a.sectionName : '') == (has(b.sectionName) ? b.sectionName : '')))",message="must not name the same target twice"
	TargetRefs []gatewayv1.LocalPolicyTargetReferenceWithSectionName `json:"targetRefs"`

	// Faults are what breaks. Each is drawn by itself; a request can have several.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Faults []Fault `json:"faults"`

	// Expires is when all of it ends by itself, such as 2026-12-01T10:00:00Z.
	// +required
	Expires metav1.Time `json:"expires"`

	// Reason is why, for whoever finds it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason"`
}

// Fault is one thing that breaks. It has exactly one of delay, abort, reset and throttle.
//
// +kubebuilder:validation:ExactlyOneOf=delay;abort;reset;throttle
type Fault struct {
	// Name tells it apart in headers, logs and metrics.
	// +required
	Name ItemName `json:"name"`

	// Share is how many of the requests it meets, above 0%.
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.matches('^0([.]0+)?%$')",message="must be above 0%"
	Share Percentage `json:"share"`

	// When is CEL that holds for the requests it can meet; absent: every one. It sees what the
	// expression of a key sees.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	When *string `json:"when,omitempty"`

	// Delay lets the request wait before it goes on.
	// +optional
	Delay *FaultDelay `json:"delay,omitempty"`

	// Abort answers in place of the backend.
	// +optional
	Abort *FaultAbort `json:"abort,omitempty"`

	// Reset breaks the client's connection, or with HTTP/2 and HTTP/3 its stream.
	// +optional
	Reset *FaultReset `json:"reset,omitempty"`

	// Throttle slows down the answer's body.
	// +optional
	Throttle *FaultThrottle `json:"throttle,omitempty"`
}

// FaultDelay lets a request wait.
type FaultDelay struct {
	// Fixed is how long, above 0s and up to 1h.
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(0+(h|m|s|ms))+$')",message="must be above 0s"
	Fixed gatewayv1.Duration `json:"fixed"`
}

// FaultAbort is an answer in place of the backend's. It has exactly one of status and grpc.
//
// +kubebuilder:validation:ExactlyOneOf=status;grpc
type FaultAbort struct {
	// Status is that of HTTP.
	// +optional
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	Status *int32 `json:"status,omitempty"`

	// GRPC is the name of a code of gRPC, such as UNAVAILABLE.
	// +optional
	GRPC *GRPCCode `json:"grpc,omitempty"`
}

// GRPCCode is the name of a code of gRPC but OK.
//
// +kubebuilder:validation:Enum=CANCELLED;UNKNOWN;INVALID_ARGUMENT;DEADLINE_EXCEEDED;NOT_FOUND;ALREADY_EXISTS;PERMISSION_DENIED;RESOURCE_EXHAUSTED;FAILED_PRECONDITION;ABORTED;OUT_OF_RANGE;UNIMPLEMENTED;INTERNAL;UNAVAILABLE;DATA_LOSS;UNAUTHENTICATED
type GRPCCode string

// FaultReset breaks a connection or stream. It has no fields.
type FaultReset struct{}

// FaultThrottle slows down an answer's body.
type FaultThrottle struct {
	// BytesPerSecond is how fast it goes, from 1 to 1Gi.
	// +required
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 && self <= 1073741824 : isQuantity(self) && quantity(self).compareTo(quantity('1')) >= 0 && quantity(self).compareTo(quantity('1Gi')) <= 0",message="must be between 1 and 1Gi"
	BytesPerSecond resource.Quantity `json:"bytesPerSecond"`
}
