package v1alpha1

import gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

// OutlierDetection ejects hosts that do worse than the others of their backend: for a while they
// are sent nothing, then they come back. It goes by what becomes of requests, and it is the
// backend's: all routes see the same.
//
// +kubebuilder:validation:MinProperties=1
type OutlierDetection struct {
	// Consecutive5xx is after how many answers in a row that are 5xx, or a faulty code of gRPC,
	// a host is ejected; 0: never.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Consecutive5xx *int32 `json:"consecutive5xx,omitempty"`

	// ConsecutiveLocal is after how many failures in a row without an answer (no connection,
	// reset, timeout) a host is ejected; 0: never.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	ConsecutiveLocal *int32 `json:"consecutiveLocal,omitempty"`

	// FailureShare is the share of failed tries of an interval, of both kinds, from which on a
	// host is ejected; 0%: never.
	// +optional
	FailureShare *Percentage `json:"failureShare,omitempty"`

	// SuccessRateDeviation is how many standard deviations below the mean of all hosts a host's
	// share of successes may be, such as "1.9"; "0": any number.
	// +optional
	SuccessRateDeviation *Deviation `json:"successRateDeviation,omitempty"`

	// SlowerThanMedian is how many times the median latency of all hosts a host's own may be, such
	// as "3.0": it finds hosts that are slow but answer 200. "0": any number.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^1([.]0+)?$')",message="must be above 1, or 0 for any number"
	SlowerThanMedian *LoadFactor `json:"slowerThanMedian,omitempty"`

	// Interval is how often hosts are compared, at least 100ms.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms')",message="must be at least 100ms"
	Interval *gatewayv1.Duration `json:"interval,omitempty"`

	// MinRequests is how many tries a host must have had in an interval to be compared.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MinRequests *int32 `json:"minRequests,omitempty"`

	// BaseEjectionTime is how long a first ejection lasts, above 0s; each further one soon after
	// lasts as much longer again.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="must be above 0s"
	BaseEjectionTime *gatewayv1.Duration `json:"baseEjectionTime,omitempty"`

	// MaxEjectionTime is how long an ejection lasts at most; absent: 5m, or baseEjectionTime where
	// that is longer.
	// +optional
	MaxEjectionTime *gatewayv1.Duration `json:"maxEjectionTime,omitempty"`

	// MaxEjected is the share of hosts that may be ejected at once, rounded down, but one host of
	// two or more always may; 0%: none is.
	// +optional
	MaxEjected *Percentage `json:"maxEjected,omitempty"`

	// MaxEjectedHosts is the number of hosts that may be ejected at once; 0: any within
	// maxEjected.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	MaxEjectedHosts *int32 `json:"maxEjectedHosts,omitempty"`

	// Mode says whether hosts are ejected.
	// +optional
	Mode *Mode `json:"mode,omitempty"`
}

// Deviation is a number of standard deviations: a decimal with at most two digits before the
// point and three behind it.
//
// +kubebuilder:validation:Pattern=`^(0|[1-9][0-9]?)(\.[0-9]{1,3})?$`
type Deviation string
