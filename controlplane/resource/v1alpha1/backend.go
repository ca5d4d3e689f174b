package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Backend says where requests can go: a list of addresses, or a name that DNS resolves.
// Routes refer to it by group weir.dev and kind Backend, without a port.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=weir,scope=Namespaced,singular=backend,path=backends
// +kubebuilder:printcolumn:name="Protocol",type=string,JSONPath=`.spec.protocol`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Backend struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the backend is.
	// +required
	Spec BackendSpec `json:"spec"`

	// Status is what became of it.
	// +optional
	Status BackendStatus `json:"status,omitempty"`
}

// BackendSpec has exactly one of endpoints and dns.
//
// +kubebuilder:validation:ExactlyOneOf=endpoints;dns
type BackendSpec struct {
	// Endpoints are the backend's addresses.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	Endpoints []Endpoint `json:"endpoints,omitempty"`

	// DNS is a host name whose addresses are the endpoints.
	// +optional
	DNS *DNS `json:"dns,omitempty"`

	// ProxyProtocol is the version of the PROXY protocol that opens each connection to the
	// backend. Absent: none.
	// +optional
	ProxyProtocol *ProxyProtocol `json:"proxyProtocol,omitempty"`

	// Protocol is what the backend speaks. Absent is HTTP: with tls what ALPN chooses,
	// otherwise HTTP/1.1, or HTTP/2 where a GRPCRoute refers to the backend.
	// +optional
	Protocol *Protocol `json:"protocol,omitempty"`

	// TLS is how connections to the backend are secured. Absent: clear text.
	// +optional
	TLS *BackendTLS `json:"tls,omitempty"`
}

// Endpoint is one address of a backend.
type Endpoint struct {
	// Address is an IPv4 or IPv6 address, never a name.
	// +required
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="must be an IPv4 or IPv6 address; use dns for a host name"
	Address string `json:"address"`

	// Port is the TCP or UDP port.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`

	// Weight is the endpoint's share relative to the others of its priority. Absent is 1;
	// 0 receives nothing.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Weight *int32 `json:"weight,omitempty"`

	// Zone is where the endpoint runs, for zone-aware balancing.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Zone *string `json:"zone,omitempty"`

	// Priority is the endpoint's rank: 0, the default, is used first, higher numbers only
	// when the lower ones lack healthy endpoints.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=127
	Priority *int32 `json:"priority,omitempty"`

	// Labels are facts about the endpoint, such as its cost.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	Labels map[string]LabelValue `json:"labels,omitempty"`
}

// LabelValue is the value of an endpoint's label.
//
// +kubebuilder:validation:MaxLength=63
type LabelValue string

// DNS names a backend by its host name.
type DNS struct {
	// Hostname is the name to resolve, without a trailing dot and never an IP address.
	// +required
	// +kubebuilder:validation:XValidation:rule="!isIP(self)",message="must be a host name; use endpoints for an address"
	Hostname gatewayv1.PreciseHostname `json:"hostname"`

	// Port is the TCP or UDP port at every address.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}

// ProxyProtocol is a version of the PROXY protocol.
//
// +kubebuilder:validation:Enum=V1;V2
type ProxyProtocol string

// The versions of the PROXY protocol.
const (
	ProxyProtocolV1 ProxyProtocol = "V1"
	ProxyProtocolV2 ProxyProtocol = "V2"
)

// Protocol is what a backend speaks.
//
// +kubebuilder:validation:Enum=HTTP;HTTP11;HTTP2;H2C;GRPC;TCP;UDP
type Protocol string

// The protocols of a backend.
const (
	ProtocolHTTP   Protocol = "HTTP"
	ProtocolHTTP11 Protocol = "HTTP11"
	ProtocolHTTP2  Protocol = "HTTP2"
	ProtocolH2C    Protocol = "H2C"
	ProtocolGRPC   Protocol = "GRPC"
	ProtocolTCP    Protocol = "TCP"
	ProtocolUDP    Protocol = "UDP"
)

// BackendTLS says how a backend is verified and how Weir identifies itself to it.
type BackendTLS struct {
	// Validation is whom to expect and whose word to take for it, as in BackendTLSPolicy.
	// +required
	Validation gatewayv1.BackendTLSPolicyValidation `json:"validation"`

	// ClientCertificateRef is a Secret of type kubernetes.io/tls that Weir shows to the
	// backend. Absent: none.
	// +optional
	ClientCertificateRef *gatewayv1.SecretObjectReference `json:"clientCertificateRef,omitempty"`
}

// BackendStatus is what became of a backend.
type BackendStatus struct {
	// Conditions are Accepted and ResolvedRefs.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
