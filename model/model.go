// Package model is the vocabulary that the control plane and the data plane share:
// the Snapshot and the plain objects in it. Everything here is data, immutable once
// published, named and hashed; nothing here holds runtime state, knows Kubernetes,
// or imports more than the standard library.
package model

import (
	"net/netip"
	"time"
)

// Snapshot is everything a data plane needs to serve, decided as a whole by the control
// plane. Slices are sorted by Name; names are unique within each slice.
type Snapshot struct {
	// Version is the hash of all objects: equal snapshots have equal versions.
	Version string
	// Revision counts what the source delivered, from 1; it only grows within a process.
	Revision    uint64
	Listeners   []*Listener
	RouteTables []*RouteTable
	Streams     []*StreamRoute
	Clusters    []*Cluster
	Endpoints   []*EndpointSet
	// Unserved are listeners that are written, and why they are not among the others. They are for
	// people: nobody acts on them, and they are no part of Version.
	Unserved []Unserved `json:",omitempty"`
}

// Unserved is a listener of a gateway that has no socket.
type Unserved struct {
	Name      string // as route tables are named
	Port      uint16
	Transport Transport `json:",omitempty"`
	Hostname  string    `json:",omitempty"` // as in a TableBinding
	Why       string
}

// Origin says where a value was written: a position in a file and the object that holds it.
type Origin struct {
	Object string `json:"object,omitempty"` // kind/namespace/name
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"` // from 1
	Column int    `json:"column,omitempty"`
}

// Origins names, by the path of an effective field (timeouts.request), who set it.
// A field that nobody set is absent: its value is the default.
type Origins map[string]Origin

// Listener is one socket and what it serves: route tables, stream routes, or with TLS both.
type Listener struct {
	// Name is the socket's address, the stable key of its state: "0.0.0.0:8080", "[::]:8080",
	// for UDP "0.0.0.0:53/udp".
	Name      string
	Hash      Hash
	Address   netip.AddrPort
	Transport Transport `json:",omitempty"`
	// Tables are ordered from the most specific hostname to the least; a request is
	// served by the first whose Hostname matches, and by no other (listener isolation).
	Tables []TableBinding
	// Streams are ordered like Tables. Of a table and a stream route the one with the more
	// specific hostname takes a connection; no hostname has both. Without TLS and on UDP there is at most one,
	// and no table beside it.
	Streams []StreamBinding `json:",omitempty"`
	Client  Client
	TLS     *TLS `json:",omitempty"` // nil: clear text, but for handshakes that Streams pass through
}

// TableBinding gives the requests for one hostname of a listener to a route table.
type TableBinding struct {
	// Hostname is exact ("shop.example.com"), a wildcard ("*.example.com", any number of
	// labels in place of the star), or empty for every host.
	Hostname string
	Table    string // RouteTable.Name
}

// Client is how a listener treats its clients: TrafficPolicy's client side, merged and
// with defaults filled in.
type Client struct {
	HeadTimeout    time.Duration // from a request's first byte to the end of its head; 0: none
	BodyTimeout    time.Duration // longest gap between two pieces of a body, either way; 0: none
	KeepAlive      time.Duration // idle time before a connection is closed; 0: close after each answer
	MaxConnections int           // open connections; 0: no limit of its own
	MaxHead        int           // bytes of a request head, request line included
	Underscores    NamePolicy    // header names with underscores
	Escapes        EscapePolicy  // %2F, %5C and %00 in paths
	FlagHeaders    bool          // send x-weir-flag and x-weir-blame on answers of our own
	// HTTP3 serves HTTP/3 too, on the port of the same number, and says so in Alt-Svc: for
	// listeners with TLS.
	HTTP3 bool `json:",omitempty"`
	// Streams bounds the streams of a connection of HTTP/2 or HTTP/3.
	Streams Streams
	// ProxyProtocol has connections of trusted addresses begin with a PROXY header, which says
	// whose they are. Those of others must not have one: it is taken for what they send.
	ProxyProtocol  bool `json:",omitempty"`
	TrustHops      int  // number of proxies in front whose forwarded headers count; 0: none
	TrustAddresses []netip.Prefix
	// TrustIdentities are SPIFFE ids, verified by client certificate, of callers whose x-weir-*
	// fields count as those of a trusted address do.
	TrustIdentities []string `json:",omitempty"`
	Origins         Origins
}

// Streams bounds what one connection of HTTP/2 or HTTP/3 may have a listener do. What is 0 is
// the codec's own default.
type Streams struct {
	MaxConcurrent int // requests at once (SETTINGS_MAX_CONCURRENT_STREAMS, RFC 9113 section 6.5.2; initial_max_streams_bidi, RFC 9000 section 18.2)
	Window        int // bytes of a body that may be sent ahead of who reads it; of one that is read, and of all together, a multiple
	// Resets is how many streams may be opened and given up at once before the connection is ended
	// (ENHANCE_YOUR_CALM, H3_EXCESSIVE_LOAD), and a tenth of it is how many a second after that.
	Resets int
}

// NamePolicy says what happens to header names with underscores.
type NamePolicy string

// EscapePolicy says what happens to escaped slashes, backslashes and NULs in paths.
type EscapePolicy string

// The policies of Client.
const (
	NameReject NamePolicy = "Reject" // 400
	NameDrop   NamePolicy = "Drop"   // the field is removed, the request goes on
	NameKeep   NamePolicy = "Keep"

	EscapeReject EscapePolicy = "Reject" // 400
	EscapeKeep   EscapePolicy = "Keep"   // kept as written, never decoded (%00 is refused all the same)
)

// RouteTable is what one listener of a Gateway or ListenerSet serves.
type RouteTable struct {
	// Name is namespace/gateway/listener, and for one of a ListenerSet
	// ListenerSet/namespace/set/listener: no namespace has an upper-case letter.
	Name string
	Hash Hash
	// Entries are in the order that breaks ties between equal matches: the oldest route
	// first, then by namespace/name, then the order of rules.
	Entries []Entry
}

// Entry attaches a route to a table under the hostnames that both allow.
type Entry struct {
	Hostnames []string // exact or wildcard, as in TableBinding; empty: every host of the table
	Route     *Route   // shared between tables
}

// Cluster is a backend or service, never a route's view of one: routes that refer to the
// same backend share its hosts, health, pools and limits.
type Cluster struct {
	// Name is backend/namespace/name, service/namespace/name/port, with /udp behind a port of
	// UDP and /passthrough where TLS of clients goes to a backend that is spoken to by TLS
	// otherwise, or for a gateway with backend defaults of its own the same with
	// @namespace/gateway behind it.
	Name           string
	Hash           Hash
	ConnectTimeout time.Duration
	KeepAlive      time.Duration // idle time before a pooled connection is closed; 0: no reuse
	Balancing      Balancing
	Protocol       Protocol     `json:",omitempty"`
	TLS            *UpstreamTLS `json:",omitempty"` // nil: clear text
	// ProxyProtocol begins connections with a PROXY header, so that each is of one client only.
	ProxyProtocol ProxyProtocol `json:",omitempty"`
	HealthCheck   *HealthCheck  `json:",omitempty"` // nil: hosts are not checked
	Breaker       Breaker       `json:",omitzero"`
	Outlier       Outlier       `json:",omitzero"`
	RetryBudget   *RetryBudget  `json:",omitempty"` // of all routes; nil: only theirs
	// Calls are the clusters or, where no cluster is known, the kind/namespace/name that the
	// backend says it calls itself: for people and tools, no request goes by it.
	Calls []string `json:",omitempty"`
	// DNS is set for a backend that is resolved by name instead of having endpoints.
	DNS     *DNSName
	Origins Origins
}

// DNSName is a backend's host name and port.
type DNSName struct {
	Hostname string
	Port     uint16
}

// EndpointSet is where a cluster's requests can go. It changes without its cluster.
type EndpointSet struct {
	Cluster   string // Cluster.Name
	Hash      Hash
	Endpoints []Endpoint // sorted by Address, which is unique
}

// Endpoint is one address of a backend.
type Endpoint struct {
	Address  netip.AddrPort
	Weight   uint32 // relative; 0 receives nothing
	Zone     string
	Priority uint32 // 0 first
	// Unready says that the control plane knows this endpoint not to be ready: it receives
	// requests only while its cluster panics (Balancing.PanicThreshold).
	Unready bool `json:",omitempty"`
	Labels  map[string]string
}
