package v1alpha1

import gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

// LoadBalancing is how a host of a backend is chosen.
//
// +kubebuilder:validation:MinProperties=1
type LoadBalancing struct {
	// Algorithm is RoundRobin (weighted, smooth), Random (weighted), LeastRequest (the less
	// busy of two), PeakEWMA (the one with the lower expected latency of two), RingHash or
	// Maglev (the host that the request's key, hashOn, belongs to: RingHash moves fewer keys
	// when hosts come and go, Maglev spreads them more evenly).
	// +optional
	Algorithm *Algorithm `json:"algorithm,omitempty"`

	// SlowStart is how long the share of a new or recovered host grows until it is whole;
	// 0s: it is whole at once. RingHash and Maglev ignore it.
	// +optional
	SlowStart *gatewayv1.Duration `json:"slowStart,omitempty"`

	// ZoneAware keeps requests in the proxy's own zone as far as that zone's hosts carry
	// their part of all requests; the rest spills over to the other zones. RingHash and Maglev
	// ignore it, and so does a proxy that was not told its zone.
	// +optional
	ZoneAware *bool `json:"zoneAware,omitempty"`

	// PanicThreshold is the share of healthy hosts below which health is ignored, because
	// what judges the hosts is then more likely wrong than they are; 0%: health is never
	// ignored. Each priority has its own share.
	// +optional
	PanicThreshold *Percentage `json:"panicThreshold,omitempty"`

	// BoundedLoad is how many times the average of requests in flight a host may have before
	// RingHash or Maglev asks the next one, such as "1.25"; "0": any number.
	// +optional
	BoundedLoad *LoadFactor `json:"boundedLoad,omitempty"`
}

// Algorithm is a way to choose a host.
//
// +kubebuilder:validation:Enum=RoundRobin;Random;LeastRequest;PeakEWMA;RingHash;Maglev
type Algorithm string

// The algorithms.
const (
	RoundRobin   Algorithm = "RoundRobin"
	Random       Algorithm = "Random"
	LeastRequest Algorithm = "LeastRequest"
	PeakEWMA     Algorithm = "PeakEWMA"
	RingHash     Algorithm = "RingHash"
	Maglev       Algorithm = "Maglev"
)

// Percentage is a share of up to 100%, with at most two decimals.
//
// +kubebuilder:validation:Pattern=`^(100(\.0{1,2})?|[1-9]?[0-9](\.[0-9]{1,2})?)%$`
type Percentage string

// LoadFactor is a decimal of at least 1 with at most three digits on each side, or 0.
//
// +kubebuilder:validation:Pattern=`^(0|[1-9][0-9]{0,2}(\.[0-9]{1,3})?)$`
type LoadFactor string

// Key is one way to tell requests apart. It has exactly one member.
//
// +kubebuilder:validation:ExactlyOneOf=header;cookie;query;clientIP;identity;expression
type Key struct {
	// Header is the name of a header, in any case.
	// +optional
	Header *gatewayv1.HTTPHeaderName `json:"header,omitempty"`

	// Cookie is the name of a cookie.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$`
	Cookie *string `json:"cookie,omitempty"`

	// Query is the name of a query parameter.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Query *string `json:"query,omitempty"`

	// ClientIP is the client's address, after the proxies that the listener trusts. Every
	// request has one.
	// +optional
	ClientIP *ClientIP `json:"clientIP,omitempty"`

	// Identity is the client's SPIFFE id, as its certificate proves it. Only listeners that ask
	// for client certificates know one.
	// +optional
	Identity *ClientIdentity `json:"identity,omitempty"`

	// Expression is CEL that makes a string of the request, such as
	// request.path.split("/")[1]. It sees request.method, scheme, host, path, query, headers
	// and cookies, source.address and port, identity, route.namespace, name and rule, and now.
	// Names of headers are lower case; a header, parameter or cookie that the request does not
	// have is "". A request for which the expression is in error or "" does not have the key.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Expression *string `json:"expression,omitempty"`
}

// ClientIdentity is a client's verified SPIFFE id. It has no fields.
type ClientIdentity struct{}

// ClientIP is a client's address, or the network that it is in.
type ClientIP struct {
	// IPv6Prefix is how many bits of an IPv6 address count, such as 64: one client often has
	// a whole network of them. Absent: all 128.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=128
	IPv6Prefix *int32 `json:"ipv6Prefix,omitempty"`
}
