package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TrafficPolicy says how requests are sent, as one budget. The closest policy wins field by
// field: rule, route, listener, ListenerSet, Gateway, GatewayClass for what is decided per
// request; port, Backend or Service, Gateway, GatewayClass for what belongs to a backend.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=weir,scope=Namespaced,singular=trafficpolicy,path=trafficpolicies
// +kubebuilder:metadata:labels="gateway.networking.k8s.io/policy=Inherited"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type TrafficPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the policy and what it is attached to.
	// +required
	Spec TrafficPolicySpec `json:"spec"`

	// Status is what became of it, Gateway by Gateway.
	// +optional
	Status gatewayv1.PolicyStatus `json:"status,omitempty"`
}

// TrafficPolicySpec has three sides: per request, per backend and towards clients. A field
// on the wrong side's target is invalid; a Gateway takes all three.
//
// +kubebuilder:validation:XValidation:rule="!has(self.client) || self.targetRefs.all(t, t.kind in ['Gateway', 'ListenerSet'])",fieldPath=".client",message="is for clients: target a Gateway or ListenerSet"
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancing) || self.targetRefs.all(t, t.kind in ['Backend', 'Service', 'Gateway', 'GatewayClass'])",fieldPath=".loadBalancing",message="is for backends: target a Backend or Service, or a Gateway for all backends behind it"
// +kubebuilder:validation:XValidation:rule="!has(self.healthCheck) || self.targetRefs.all(t, t.kind in ['Backend', 'Service', 'Gateway', 'GatewayClass'])",fieldPath=".healthCheck",message="is for backends: target a Backend or Service, or a Gateway for all backends behind it"
// +kubebuilder:validation:XValidation:rule="!has(self.timeouts) || !has(self.timeouts.connect) || self.targetRefs.all(t, t.kind in ['Backend', 'Service', 'Gateway', 'GatewayClass'])",fieldPath=".timeouts.connect",message="is for backends: target a Backend or Service, or a Gateway for all backends behind it"
// +kubebuilder:validation:XValidation:rule="!has(self.timeouts) || !has(self.timeouts.keepAlive) || self.targetRefs.all(t, t.kind in ['Backend', 'Service', 'Gateway', 'GatewayClass'])",fieldPath=".timeouts.keepAlive",message="is for backends: target a Backend or Service, or a Gateway for all backends behind it"
// +kubebuilder:validation:XValidation:rule="!has(self.timeouts) || !has(self.timeouts.request) || self.targetRefs.all(t, !(t.kind in ['Backend', 'Service']))",fieldPath=".timeouts.request",message="is for requests: target a Gateway, ListenerSet or route"
// +kubebuilder:validation:XValidation:rule="!has(self.timeouts) || !has(self.timeouts.perTry) || self.targetRefs.all(t, !(t.kind in ['Backend', 'Service']))",fieldPath=".timeouts.perTry",message="is for requests: target a Gateway, ListenerSet or route"
// +kubebuilder:validation:XValidation:rule="!has(self.timeouts) || !has(self.timeouts.idle) || self.targetRefs.all(t, !(t.kind in ['Backend', 'Service']))",fieldPath=".timeouts.idle",message="is for requests: target a Gateway, ListenerSet or route"
// +kubebuilder:validation:XValidation:rule="!has(self.hashOn) || self.targetRefs.all(t, !(t.kind in ['Backend', 'Service']))",fieldPath=".hashOn",message="is for requests: target a Gateway, ListenerSet or route"
// +kubebuilder:validation:XValidation:rule="!has(self.retries) || self.targetRefs.all(t, !(t.kind in ['Backend', 'Service'])) || !has(self.retries.attempts) && !has(self.retries.retryOn) && !has(self.retries.methods) && !has(self.retries.idempotencyHeader) && !has(self.retries.bodyReplay) && !has(self.retries.backoff) && !has(self.retries.hedge) && !has(self.retries.nested)",fieldPath=".retries",message="is for requests, all but budget: target a Gateway, ListenerSet or route"
// +kubebuilder:validation:XValidation:rule="!has(self.overload) || self.targetRefs.all(t, !(t.kind in ['Backend', 'Service']))",fieldPath=".overload",message="is for requests: target a Gateway, ListenerSet or route"
// +kubebuilder:validation:XValidation:rule="!has(self.circuitBreaker) || self.targetRefs.all(t, t.kind in ['Backend', 'Service', 'Gateway', 'GatewayClass'])",fieldPath=".circuitBreaker",message="is for backends: target a Backend or Service, or a Gateway for all backends behind it"
// +kubebuilder:validation:XValidation:rule="!has(self.outlierDetection) || self.targetRefs.all(t, t.kind in ['Backend', 'Service', 'Gateway', 'GatewayClass'])",fieldPath=".outlierDetection",message="is for backends: target a Backend or Service, or a Gateway for all backends behind it"
// +kubebuilder:validation:XValidation:rule="!has(self.calls) || self.targetRefs.all(t, t.kind in ['Backend', 'Service'])",fieldPath=".calls",message="is what one backend calls: target a Backend or Service"
// +kubebuilder:validation:XValidation:rule="!has(self.overrides) || self.targetRefs.all(t, t.kind in ['Gateway', 'GatewayClass'] && !has(t.sectionName))",fieldPath=".overrides",message="are the organisation's: target a Gateway or GatewayClass as a whole"
// +kubebuilder:validation:XValidation:rule="!has(self.require) || self.targetRefs.all(t, t.kind in ['Gateway', 'GatewayClass'] && !has(t.sectionName))",fieldPath=".require",message="is the organisation's: target a Gateway or GatewayClass as a whole"
// +kubebuilder:validation:XValidation:rule="!has(self.compression) || self.targetRefs.all(t, !(t.kind in ['Backend', 'Service']))",fieldPath=".compression",message="is for requests: target a Gateway, ListenerSet or route"
type TrafficPolicySpec struct {
	// TargetRefs are what the policy is attached to, in its own namespace. The sectionName is
	// a listener of a Gateway or ListenerSet, a rule of a route or a port name of a Service.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(t, (t.group == 'gateway.networking.k8s.io' && t.kind in ['GatewayClass', 'Gateway', 'ListenerSet', 'HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute', 'UDPRoute']) || (t.group == 'weir.dev' && t.kind == 'Backend') || (t.group == '' && t.kind == 'Service'))",message="must name a GatewayClass, Gateway, ListenerSet or route of group gateway.networking.k8s.io, a Backend of group weir.dev or a Service of group \"\""
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.group == b.group && a.kind == b.kind && a.name == b.name && (has(a.sectionName) ? a.sectionName : '') == (has(b.sectionName) ? b.sectionName : '')))",message="must not name the same target twice"
	TargetRefs []gatewayv1.LocalPolicyTargetReferenceWithSectionName `json:"targetRefs"`

	TrafficSettings `json:",inline"`

	// Overrides are fields that hold whatever a policy or route below says, of several the highest:
	// GatewayClass, then Gateway. Their fields are those of spec but for targetRefs, overrides and
	// require. They are for targets that are whole Gateways and GatewayClasses.
	// +optional
	Overrides *TrafficSettings `json:"overrides,omitempty"`

	// Require are bounds on the policy that results. A policy below that breaks one is invalid
	// where it does, and fields of a route that do have no effect: what is above them holds, so write
	// a default that meets each. They are for targets that are whole
	// Gateways and GatewayClasses.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Require []Requirement `json:"require,omitempty"`
}

// Requirement is a bound on the effective policy.
type Requirement struct {
	// Rule is CEL that must hold of policy, the effective policy with defaults filled in and its
	// fields named as here: policy.retries.attempts <= 3, or policy.timeouts.request <=
	// duration("5s"). Durations are durations, percentages shares from 0 to 1, sizes and decimals
	// numbers; a bound that is none is above all others; has() tells whether there is a part such as policy.overload.concurrency. A rule is about
	// requests, about backends or about clients, not about several of them.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Rule string `json:"rule"`

	// Message is what is said where the rule does not hold.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message"`
}

// TrafficSettings are the fields of a policy.
type TrafficSettings struct {
	// Timeouts bound how long things take.
	// +optional
	Timeouts *Timeouts `json:"timeouts,omitempty"`

	// Retries say which failed tries are made again; absent: none.
	// +optional
	Retries *Retries `json:"retries,omitempty"`

	// HashOn are the keys by which RingHash and Maglev choose a host of the backend; the first
	// that the request has counts. Requests with no key go to a random host. An empty list
	// takes away what a Gateway's policy says. A rule's sessionPersistence comes first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	HashOn []Key `json:"hashOn,omitempty"`

	// Overload is what a route does when there is more than can be carried.
	// +optional
	Overload *Overload `json:"overload,omitempty"`

	// Compression says which answers are compressed; absent: none.
	// +optional
	Compression *Compression `json:"compression,omitempty"`

	// HealthCheck is how hosts of the backend are asked whether they can serve; absent: they are
	// not.
	// +optional
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`

	// CircuitBreaker bounds what a backend is given at once, and stops giving it anything while it
	// fails; absent: no bounds.
	// +optional
	CircuitBreaker *CircuitBreaker `json:"circuitBreaker,omitempty"`

	// OutlierDetection ejects hosts that do worse than the others of their backend for a while.
	// +optional
	OutlierDetection *OutlierDetection `json:"outlierDetection,omitempty"`

	// LoadBalancing is how a host of the backend is chosen.
	// +optional
	LoadBalancing *LoadBalancing `json:"loadBalancing,omitempty"`

	// Calls are the backends that this one calls itself, through Weir or not: what lint and
	// weir budget know of a chain of calls. No request goes by it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Calls []Call `json:"calls,omitempty"`

	// Client is how a listener treats its clients.
	// +optional
	Client *Client `json:"client,omitempty"`
}

// Call is a backend that another one calls.
type Call struct {
	// BackendRef names it.
	// +required
	BackendRef gatewayv1.BackendObjectReference `json:"backendRef"`
}

// Timeouts bound how long things take. Each is a duration; 0s switches it off. Request,
// perTry and idle are decided per request, connect and keepAlive belong to the backend.
//
// +kubebuilder:validation:MinProperties=1
type Timeouts struct {
	// Request is for all tries together, from the end of the request's head to the end of
	// the answer.
	// +optional
	Request *gatewayv1.Duration `json:"request,omitempty"`

	// PerTry is for one try, until its answer is complete.
	// +optional
	PerTry *gatewayv1.Duration `json:"perTry,omitempty"`

	// Idle is the longest time without a byte either way on a stream or tunnel, a connection of
	// a TCPRoute or TLSRoute, or a session of a UDPRoute. Nothing else ends such a session: there
	// 0s stands for the default.
	// +optional
	Idle *gatewayv1.Duration `json:"idle,omitempty"`

	// Connect is for making a connection to a host of the backend.
	// +optional
	Connect *gatewayv1.Duration `json:"connect,omitempty"`

	// KeepAlive is how long an idle connection to the backend is kept for reuse; 0s: not at
	// all.
	// +optional
	KeepAlive *gatewayv1.Duration `json:"keepAlive,omitempty"`
}

// Client is how a listener treats its clients.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.proxyProtocol) || !self.proxyProtocol || has(self.trust) && has(self.trust.addresses) && size(self.trust.addresses) > 0",fieldPath=".proxyProtocol",message="needs trust.addresses: without them nobody could be trusted to say whose a connection is"
type Client struct {
	// HeadTimeout is from a request's first byte to the end of its head, and as long again for
	// the TLS handshake before the first, where tls.handshakeTimeout says nothing; 0s: none.
	// +optional
	HeadTimeout *gatewayv1.Duration `json:"headTimeout,omitempty"`

	// BodyTimeout is the longest gap between two pieces of a body, either way; 0s: none.
	// +optional
	BodyTimeout *gatewayv1.Duration `json:"bodyTimeout,omitempty"`

	// KeepAlive is how long an idle connection stays open; 0s: it closes after each answer.
	// +optional
	KeepAlive *gatewayv1.Duration `json:"keepAlive,omitempty"`

	// MaxConnections is how many connections the listener has open; 0: no limit of its own.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	MaxConnections *int32 `json:"maxConnections,omitempty"`

	// MaxHead is the size of a request's head, request line included, from 1Ki to 1Mi.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1024 && self <= 1048576 : isQuantity(self) && quantity(self).compareTo(quantity('1Ki')) >= 0 && quantity(self).compareTo(quantity('1Mi')) <= 0",message="must be between 1Ki and 1Mi"
	MaxHead *resource.Quantity `json:"maxHead,omitempty"`

	// UnderscoreHeaders says what happens to header names with underscores: Reject answers
	// 400, Drop removes the field, Keep passes it on.
	// +optional
	UnderscoreHeaders *UnderscoreHeaders `json:"underscoreHeaders,omitempty"`

	// PathEscapes says what happens to escaped slashes and backslashes in paths: Reject
	// answers 400, Keep passes them on as written.
	// +optional
	PathEscapes *PathEscapes `json:"pathEscapes,omitempty"`

	// FlagHeaders puts x-weir-flag and x-weir-blame on answers of Weir's own.
	// +optional
	FlagHeaders *bool `json:"flagHeaders,omitempty"`

	// Streams bounds the streams of a connection of HTTP/2 or HTTP/3.
	// +optional
	Streams *ClientStreams `json:"streams,omitempty"`

	// HTTP3 serves HTTP/3 as well on the ports of HTTPS listeners, and says so in Alt-Svc.
	// +optional
	HTTP3 *bool `json:"http3,omitempty"`

	// ProxyProtocol has connections from trust.addresses begin with a PROXY header, version 1
	// or 2, which says whose they are. Nobody else's may have one.
	// +optional
	ProxyProtocol *bool `json:"proxyProtocol,omitempty"`

	// TLS is what HTTPS listeners, and TLS listeners of mode Terminate, speak.
	// +optional
	TLS *ClientTLS `json:"tls,omitempty"`

	// Trust is whose forwarded, priority, attempt and deadline headers count.
	// +optional
	Trust *Trust `json:"trust,omitempty"`
}

// ClientTLS is what HTTPS listeners speak. One socket has one such setting.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.minVersion) || self.minVersion != '1.3' || !has(self.cipherSuites) || size(self.cipherSuites) == 0",fieldPath=".cipherSuites",message="has no effect with minVersion 1.3: the suites of TLS 1.3 are fixed"
type ClientTLS struct {
	// MinVersion is the oldest version of TLS that is spoken: "1.2" or "1.3".
	// +optional
	MinVersion *TLSVersion `json:"minVersion,omitempty"`

	// CipherSuites are those of TLS 1.2, by their IANA names; their order means nothing. An
	// empty list: Go's own choice. Those of TLS 1.3 are fixed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	CipherSuites []CipherSuite `json:"cipherSuites,omitempty"`

	// HandshakeTimeout is the longest time for a handshake, of QUIC too; 0s: none. Without it
	// client.headTimeout is.
	// +optional
	HandshakeTimeout *gatewayv1.Duration `json:"handshakeTimeout,omitempty"`

	// MaxHandshakes is how many handshakes of connections may be under way at once, and how many of
	// QUIC, 8 to 100000. Beyond half of them one client's address (of IPv6: its /64) has an eighth, so
	// that nobody who leaves them unfinished keeps others out; further ones are refused. Behind a
	// balancer that says nothing of its clients all have one address. 0: connections have no such
	// limit but maxConnections, and QUIC has 1000.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	// +kubebuilder:validation:XValidation:rule="self == 0 || self >= 8",message="must be 0, or between 8 and 100000"
	MaxHandshakes *int32 `json:"maxHandshakes,omitempty"`
}

// TLSVersion is a version of TLS.
//
// +kubebuilder:validation:Enum="1.2";"1.3"
type TLSVersion string

// CipherSuite is a suite of TLS 1.2.
//
// +kubebuilder:validation:Enum=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384;TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256;TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA;TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA;TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA;TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA
type CipherSuite string

// UnderscoreHeaders says what happens to header names with underscores.
//
// +kubebuilder:validation:Enum=Reject;Drop;Keep
type UnderscoreHeaders string

// PathEscapes says what happens to escaped slashes and backslashes in paths.
//
// +kubebuilder:validation:Enum=Reject;Keep
type PathEscapes string

// What a listener does with odd names and paths.
const (
	UnderscoreReject UnderscoreHeaders = "Reject"
	UnderscoreDrop   UnderscoreHeaders = "Drop"
	UnderscoreKeep   UnderscoreHeaders = "Keep"

	EscapesReject PathEscapes = "Reject"
	EscapesKeep   PathEscapes = "Keep"
)

// Trust is whose forwarded, priority, attempt and deadline headers count.
//
// +kubebuilder:validation:MinProperties=1
type Trust struct {
	// Hops is the number of proxies in front whose forwarded headers count; 0: none.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=32
	Hops *int32 `json:"hops,omitempty"`

	// Addresses are the networks of trusted proxies in CIDR form, such as 10.0.0.0/8.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Addresses []CIDR `json:"addresses,omitempty"`

	// Identities are SPIFFE ids, such as spiffe://prod/ns/shop/sa/cart, of callers whose x-weir-*
	// headers count wherever they call from. Only listeners that ask for client certificates know
	// one.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Identities []SPIFFEID `json:"identities,omitempty"`
}

// SPIFFEID is the name of a workload: a trust domain and a path.
//
// +kubebuilder:validation:MinLength=10
// +kubebuilder:validation:MaxLength=2048
// +kubebuilder:validation:Pattern=`^spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+$`
type SPIFFEID string

// CIDR is a network: an address, a slash and the length of the prefix.
//
// +kubebuilder:validation:MinLength=4
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="must be a network such as 10.0.0.0/8"
type CIDR string
