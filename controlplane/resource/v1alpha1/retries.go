package v1alpha1

import (
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Retries say which failed tries are made again, at another host if there is one. A rule's own
// retry comes first, as a whole. What a host has been sent more than 64Ki of, and what it has
// begun to answer, is never sent again.
//
// +kubebuilder:validation:MinProperties=1
type Retries struct {
	// Attempts are how many tries may follow the first one; 0, or absent: none.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	Attempts *int32 `json:"attempts,omitempty"`

	// RetryOn are what a try fails by: ConnectFailure (no connection could be made), Reset (it
	// broke before an answer), RefusedStream (the host said that it did nothing), PerTryTimeout,
	// a status from 400 to 599, or the name of a code of gRPC, such as UNAVAILABLE. A code stands
	// for answers that have nothing but a status, and for failures that Weir would answer so:
	// UNAVAILABLE for a connection that broke, too.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=24
	// +kubebuilder:validation:items:XIntOrString
	// +kubebuilder:validation:items:XValidation:rule="type(self) != int || self >= 400 && self <= 599",message="must be a status from 400 to 599"
	// +kubebuilder:validation:items:Pattern=`^(ConnectFailure|Reset|RefusedStream|PerTryTimeout|[45][0-9][0-9]|CANCELLED|UNKNOWN|INVALID_ARGUMENT|DEADLINE_EXCEEDED|NOT_FOUND|ALREADY_EXISTS|PERMISSION_DENIED|RESOURCE_EXHAUSTED|FAILED_PRECONDITION|ABORTED|OUT_OF_RANGE|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS|UNAUTHENTICATED)$`
	RetryOn []intstr.IntOrString `json:"retryOn,omitempty"`

	// Methods may be sent again where the host may have acted upon them. Calls of gRPC, all of
	// them POST, are without being named if retryOn has their code.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Methods []RetryMethod `json:"methods,omitempty"`

	// Backoff is how long to wait before each.
	// +optional
	Backoff *RetryBackoff `json:"backoff,omitempty"`
}

// RetryMethod is a method of HTTP, in upper case.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:Pattern=`^[A-Z][A-Z-]*$`
type RetryMethod string

// RetryBackoff is how long to wait before a retry: any time up to a bound, so that many clients
// do not come back at once. What a host asks for (Retry-After, grpc-retry-pushback-ms) comes
// first; where that is longer than max, its answer stands.
//
// +kubebuilder:validation:MinProperties=1
type RetryBackoff struct {
	// Base is the bound before the first retry; it doubles with each. 0s: do not wait.
	// +optional
	Base *gatewayv1.Duration `json:"base,omitempty"`

	// Max is the highest that the bound becomes; absent: 250ms, or base where that is longer.
	// +optional
	Max *gatewayv1.Duration `json:"max,omitempty"`
}
