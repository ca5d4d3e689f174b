package model

import "time"

// Transport is what a listener's socket carries.
type Transport string

// The transports.
const (
	TransportTCP Transport = "" // connections: HTTP, TLS, or bytes
	TransportUDP Transport = "UDP"
)

// StreamBinding gives the connections of a listener for one hostname to a stream route, which
// carries their bytes as they are.
type StreamBinding struct {
	// Hostname is compared with the name that the client's TLS handshake asks for (SNI), as in
	// TableBinding. Empty is every name and none at all, and all there is without TLS.
	Hostname string
	// Terminate ends TLS here, with the certificates of Listener.TLS; else a client's handshake
	// goes on to the backend as it is.
	Terminate bool `json:",omitempty"`
	// Route is the StreamRoute.Name. Empty: no route has the hostname, and its connections are
	// closed, its datagrams dropped. Every listener has a binding for its own hostname.
	Route string
	// Listener is whose binding it is, named as a RouteTable.
	Listener string
}

// StreamRoute is where connections, or sessions of UDP, go as bytes: one rule of a TLSRoute,
// TCPRoute or UDPRoute.
type StreamRoute struct {
	// Name is as Route.Name, with the kind in front: TCPRoute/namespace/route/rule. The parts
	// are in Namespace, Object and Rule.
	Name                          string
	Hash                          Hash
	Kind, Namespace, Object, Rule string
	Origin                        Origin
	// Refusal, when set, closes every connection at once, and drops every datagram.
	Refusal *Refusal
	// Idle is the longest time without a byte either way; 0: none. A session of UDP always has one.
	Idle    time.Duration
	Split   Split // of connections, or sessions
	Origins Origins
}

// ProxyProtocol is a version of the PROXY protocol, which tells a host who its client is.
type ProxyProtocol string

// The versions; none is empty.
const (
	ProxyProtocolV1 ProxyProtocol = "V1" // text
	ProxyProtocolV2 ProxyProtocol = "V2" // binary
)
