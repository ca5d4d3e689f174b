package model

import "time"

// Balancing is how a cluster's hosts are chosen: TrafficPolicy's loadBalancing, merged and
// with defaults filled in.
type Balancing struct {
	Algorithm Algorithm
	// SlowStart is how long the share of a new or recovered host grows until it is whole;
	// 0: it is whole at once. Algorithms that hash have none.
	SlowStart time.Duration
	// ZoneAware keeps requests in the proxy's own zone as far as that zone's hosts carry
	// their part of all requests; the rest spills over to the other zones.
	ZoneAware bool
	// PanicThreshold is the share of healthy hosts, 0 to 1, below which health is ignored;
	// 0: health is never ignored.
	PanicThreshold float64
	// BoundedLoad is how many times the average of requests in flight a host may have before
	// the next host of the ring or table is asked, at least 1; 0: no bound. Only for
	// algorithms that hash.
	BoundedLoad float64
}

// Algorithm is a way to choose a host.
type Algorithm string

// The algorithms. RingHash and Maglev choose by Route.HashOn, the others by load.
const (
	RoundRobin   Algorithm = "RoundRobin"
	Random       Algorithm = "Random"
	LeastRequest Algorithm = "LeastRequest"
	PeakEWMA     Algorithm = "PeakEWMA"
	RingHash     Algorithm = "RingHash"
	Maglev       Algorithm = "Maglev"
)

// Key is one way to tell requests apart by who or what they are for.
type Key struct {
	Source KeySource
	Name   string // of the header (lower case), cookie or query parameter; of KeyExpression the CEL
	// IPv6Prefix is how many bits of an IPv6 client address count; 0: all.
	IPv6Prefix int `json:",omitempty"`
}

// KeySource is where a key's value is taken from.
type KeySource string

// The sources of keys.
const (
	KeyHeader   KeySource = "Header"   // several of one name joined by commas
	KeyCookie   KeySource = "Cookie"   // the first of that name
	KeyQuery    KeySource = "Query"    // the first parameter of that name
	KeyClientIP KeySource = "ClientIP" // the client's address, after trusted proxies
	KeyIdentity KeySource = "Identity" // the client's verified SPIFFE id

	KeyExpression KeySource = "Expression" // what CEL makes of the request
)

// Session keeps a client at the host that answered it first (GEP-1619).
type Session struct {
	Type SessionType
	Name string // of the cookie, or the header (lower case)
	// Path is the cookie's Path attribute; empty: "/".
	Path string `json:",omitempty"`
	// AbsoluteTimeout ends a session that long after it began; 0: never.
	AbsoluteTimeout time.Duration
	// Permanent gives the cookie a Max-Age, AbsoluteTimeout; else it ends with the browser.
	Permanent bool
}

// SessionType is what carries a session.
type SessionType string

// The carriers of sessions.
const (
	SessionCookie SessionType = "Cookie"
	SessionHeader SessionType = "Header"
)
