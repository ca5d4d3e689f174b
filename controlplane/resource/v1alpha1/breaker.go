package v1alpha1

import gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

// Mode says whether a protection acts: Enforce; Observe, which judges and counts what it would
// have done; or Disabled. A change of mode keeps what the protection knows.
//
// +kubebuilder:validation:Enum=Enforce;Observe;Disabled
type Mode string

// CircuitBreaker bounds what a backend is given at once by one proxy, and stops giving it
// anything while it fails. What goes beyond is answered 503, flag UO.
//
// +kubebuilder:validation:MinProperties=1
type CircuitBreaker struct {
	// MaxConnections are the connections to all hosts, idle ones included; 0: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	MaxConnections *int32 `json:"maxConnections,omitempty"`

	// MaxPending are the requests that wait because maxConnections are open and busy; 0: no
	// limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	MaxPending *int32 `json:"maxPending,omitempty"`

	// MaxRequests are the tries in flight; 0: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	MaxRequests *int32 `json:"maxRequests,omitempty"`

	// MaxRetries are the retries in flight; 0: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	MaxRetries *int32 `json:"maxRetries,omitempty"`

	// Trip opens the breaker by the share of failed tries; absent: it never opens.
	// +optional
	Trip *Trip `json:"trip,omitempty"`

	// Mode says whether the breaker acts.
	// +optional
	Mode *Mode `json:"mode,omitempty"`
}

// Trip opens a breaker by the share of failures among the last tries. It counts tries, not
// time, so that it works at any rate. An open breaker lets real requests through as probes after
// a while, and closes when they succeed.
//
// +kubebuilder:validation:MinProperties=1
type Trip struct {
	// Failures is the share of the last tries that opens the breaker, above 0%. A failure is a
	// 5xx, a faulty code of gRPC, or no answer.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^0([.]0+)?%$')",message="must be above 0%; openFor: 0s is how a breaker never opens"
	Failures *Percentage `json:"failures,omitempty"`

	// Of is how many tries are looked at, and how many there must be.
	// +optional
	// +kubebuilder:validation:Minimum=5
	// +kubebuilder:validation:Maximum=1000
	Of *int32 `json:"of,omitempty"`

	// OpenFor is how long nothing is sent before the first probe, longer each time that probes
	// fail. 0s: the breaker never opens.
	// +optional
	OpenFor *gatewayv1.Duration `json:"openFor,omitempty"`

	// Probes is how many successes in a row close the breaker; as many probes run at once.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Probes *int32 `json:"probes,omitempty"`
}
