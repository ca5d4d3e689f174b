package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Retries say which failed tries are made again, at another host if there is one. A rule's own
// retry says in their place how many, after what and when; for what it cannot say, these hold
// beside it. What a host has begun to answer is never asked for again.
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

	// IdempotencyHeader names a header, such as idempotency-key: a request that has it may be sent
	// again whatever its method, because whoever sent it sees to it that nothing is done twice. An
	// empty name takes away what a Gateway's policy says.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]*$`
	IdempotencyHeader *string `json:"idempotencyHeader,omitempty"`

	// BodyReplay is how much of a request's body is kept to be sent again, up to 1Mi; a longer
	// body is sent once. 0: no request with a body is sent again.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 && self <= 1048576 : isQuantity(self) && quantity(self).compareTo(quantity('0')) >= 0 && quantity(self).compareTo(quantity('1Mi')) <= 0",message="must be between 0 and 1Mi"
	BodyReplay *resource.Quantity `json:"bodyReplay,omitempty"`

	// Backoff is how long to wait before each.
	// +optional
	Backoff *RetryBackoff `json:"backoff,omitempty"`

	// Budget bounds what retries and hedges add to the load of a backend. Of the budgets of a
	// route and of its backend that enforce the stricter holds.
	// +optional
	Budget *RetryBudget `json:"budget,omitempty"`

	// Hedge sends a second try beside a slow first one, and takes the first good answer.
	// +optional
	Hedge *Hedge `json:"hedge,omitempty"`

	// Nested also tries again what a trusted caller tries again itself, as its x-weir-attempt
	// says. Without it such a request is tried again only where no host has acted upon it, so that
	// the tries of a chain of callers do not multiply.
	// +optional
	Nested *bool `json:"nested,omitempty"`
}

// RetryBudget bounds retries and hedges by the first tries to a backend over the last ten
// seconds, of all callers in one proxy together.
//
// +kubebuilder:validation:MinProperties=1
type RetryBudget struct {
	// Percent is the share of first tries that may be tried again, up to 100%.
	// +optional
	Percent *Percentage `json:"percent,omitempty"`

	// MinPerSecond is how many retries a second are allowed on top of that, so that a backend of
	// little traffic has some.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	MinPerSecond *int32 `json:"minPerSecond,omitempty"`

	// Mode says whether retries beyond the budget are denied. Of the budgets of a route and of its
	// backend each has its own.
	// +optional
	Mode *Mode `json:"mode,omitempty"`
}

// Hedge sends further tries beside a slow one. Only what may be sent again is hedged: see
// methods and idempotencyHeader.
//
// +kubebuilder:validation:XValidation:rule="[has(self.after), has(self.afterQuantile)].filter(set, set).size() == 1",message="needs exactly one of after and afterQuantile"
type Hedge struct {
	// After is how long the tries so far may take before the next is sent beside them.
	// +optional
	After *gatewayv1.Duration `json:"after,omitempty"`

	// AfterQuantile is the same as a quantile of the backend's own latencies over the last minute,
	// from p50 to p99.9.
	// +optional
	AfterQuantile *Quantile `json:"afterQuantile,omitempty"`

	// Max is how many tries may be sent beside the first; 0: none.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3
	Max *int32 `json:"max,omitempty"`

	// Mode says whether tries are sent. Under Observe those are counted that would be.
	// +optional
	Mode *Mode `json:"mode,omitempty"`
}

// Quantile is a quantile of latencies, such as p95.
//
// +kubebuilder:validation:Pattern=`^p[5-9][0-9](\.[0-9])?$`
type Quantile string

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
