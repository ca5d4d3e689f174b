package v1alpha1

import (
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// HealthCheck asks each host of a backend, again and again, whether it can serve: over HTTP,
// by gRPC's health protocol, or by no more than a connection. Checks go the way that requests
// go, with the backend's protocol and TLS.
//
// +kubebuilder:validation:ExactlyOneOf=http;grpc;tcp
type HealthCheck struct {
	// HTTP asks by GET.
	// +optional
	HTTP *HTTPHealthCheck `json:"http,omitempty"`

	// GRPC calls grpc.health.v1.Health/Check, by HTTP/2 whatever protocol the backend names: a
	// host is healthy if it answers SERVING.
	// +optional
	GRPC *GRPCHealthCheck `json:"grpc,omitempty"`

	// TCP makes a connection, with a handshake where the backend has TLS, and closes it.
	// +optional
	TCP *TCPHealthCheck `json:"tcp,omitempty"`

	// Interval is from the beginning of one check of a host to that of the next, give or take a
	// tenth, at least 100ms; 0s: hosts are not checked.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration('0s') || duration(self) >= duration('100ms')",message="must be at least 100ms, or 0s to check no host"
	Interval *gatewayv1.Duration `json:"interval,omitempty"`

	// Timeout is how long one check may take, connecting included.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="must be above 0s"
	Timeout *gatewayv1.Duration `json:"timeout,omitempty"`

	// HealthyAfter is how many checks in a row an unhealthy host must pass. The first check of a
	// host decides alone.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	HealthyAfter *int32 `json:"healthyAfter,omitempty"`

	// UnhealthyAfter is how many checks in a row a healthy host must fail.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	UnhealthyAfter *int32 `json:"unhealthyAfter,omitempty"`
}

// HTTPHealthCheck is a request and what its answer must be.
type HTTPHealthCheck struct {
	// Path is what to GET, with a query if need be, such as /healthz.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^/[!-"$-~]*$`
	Path string `json:"path"`

	// Expect are the statuses that a healthy host answers with: numbers or ranges, such as
	// ["200-299", 401]. Redirects are not followed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:XIntOrString
	// +kubebuilder:validation:items:XValidation:rule="type(self) != int || self >= 200 && self <= 599",message="must be a status from 200 to 599"
	// +kubebuilder:validation:items:Pattern=`^[2-5][0-9]{2}(-[2-5][0-9]{2})?$`
	Expect []intstr.IntOrString `json:"expect,omitempty"`

	// Hostname is what hosts are asked for. Absent: the hostname of the backend's TLS or DNS,
	// or else the host's own address.
	// +optional
	Hostname *gatewayv1.PreciseHostname `json:"hostname,omitempty"`
}

// GRPCHealthCheck is a call of gRPC's health protocol.
type GRPCHealthCheck struct {
	// Service is what is asked about. Absent: the host as a whole.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Service *string `json:"service,omitempty"`
}

// TCPHealthCheck is a connection. It has no fields.
type TCPHealthCheck struct{}
