package model

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"strconv"
	"strings"
	"time"
)

// TLS is how a listener terminates TLS.
type TLS struct {
	// Names are ordered from the most specific hostname to the least; the name that a client
	// sends (SNI) chooses, and no name chooses the one for every host. A client whose name
	// none has gets an alert (unrecognized_name), never another's certificate.
	Names        []TLSName
	MinVersion   TLSVersion
	CipherSuites []string      // IANA names, of TLS 1.2; empty: Go's own choice
	Handshake    time.Duration // longest time for a handshake; 0: none
	// MaxHandshakes is how many may be under way at once, and how many of QUIC; 0: any number, of QUIC
	// as many as by its own default.
	MaxHandshakes int     `json:",omitempty"`
	Origins       Origins `json:",omitempty"`
}

// TLSVersion is a version of TLS.
type TLSVersion string

// The versions that are served.
const (
	TLS12 TLSVersion = "1.2"
	TLS13 TLSVersion = "1.3"
)

// TLSName is what clients that ask for a hostname get.
type TLSName struct {
	Hostname     string        // as in TableBinding
	Certificates []Certificate // the first that the client can use is sent
	Client       *ClientValidation
}

// Certificate is a chain and its key.
type Certificate struct {
	Name  string // where it is from: secret/namespace/name
	Chain string // PEM, the leaf first
	Key   PrivateKey
}

// PrivateKey is a key in PEM. Its JSON form is a hash: different keys make objects differ,
// and none is ever shown.
type PrivateKey string

// MarshalJSON returns the key's hash.
func (k PrivateKey) MarshalJSON() ([]byte, error) {
	sum := sha256.Sum256([]byte(k))
	return json.Marshal("sha256:" + hex.EncodeToString(sum[:16]))
}

// String returns Redacted.
func (PrivateKey) String() string { return Redacted }

// GoString returns Redacted.
func (PrivateKey) GoString() string { return Redacted }

// Fingerprint returns the SHA-256 of the certificate itself, without the rest of its chain, as
// it is usually written: in lower-case hexadecimal. It is empty if there is none.
func (c Certificate) Fingerprint() string {
	block, _ := pem.Decode([]byte(c.Chain))
	if block == nil {
		return ""
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}

// String names the certificate for people: where it is from, and its fingerprint, shortened.
func (c Certificate) String() string {
	fingerprint := c.Fingerprint()
	if fingerprint == "" {
		return c.Name
	}
	return c.Name + ", sha256 " + fingerprint[:16]
}

// AuthoritiesText names authorities for people: how many there are, and a fingerprint of all.
// None are the system's.
func AuthoritiesText(cas string) string {
	if cas == "" {
		return "system"
	}
	unit := " certificates"
	n := strings.Count(cas, "-----BEGIN ")
	if n == 1 {
		unit = " certificate"
	}
	sum := sha256.Sum256([]byte(cas))
	return strconv.Itoa(n) + unit + ", sha256 " + hex.EncodeToString(sum[:8])
}

// ClientValidation is what clients must prove with certificates of theirs.
type ClientValidation struct {
	CAs string `json:"cas"` // PEM
	// Insecure lets clients pass that have no certificate, or one that is not valid (Gateway
	// API's AllowInsecureFallback): they have no identity then.
	Insecure bool
}

// UpstreamTLS is how connections to a cluster's hosts are secured.
type UpstreamTLS struct {
	Hostname string           // sent as SNI, and what the certificate must be for unless SANs says otherwise
	SANs     []SubjectAltName `json:"sans,omitempty"`
	CAs      string           `json:"cas,omitempty"` // PEM; empty: the system's
	// Client is the certificate that the host may ask for; nil: none.
	Client *Certificate
}

// SubjectAltName is a name that a certificate may have instead of the hostname: one of
// several is enough.
type SubjectAltName struct {
	Type  SubjectAltNameType
	Value string
}

// SubjectAltNameType is a kind of name in certificates.
type SubjectAltNameType string

// The kinds of names.
const (
	SANHostname SubjectAltNameType = "Hostname"
	SANURI      SubjectAltNameType = "URI"
)

// Protocol is what is spoken with a cluster's hosts.
type Protocol string

// The protocols.
const (
	ProtocolAuto  Protocol = "" // by ALPN with TLS, else HTTP/1.1
	ProtocolHTTP1 Protocol = "HTTP11"
	ProtocolHTTP2 Protocol = "HTTP2" // over TLS
	ProtocolH2C   Protocol = "H2C"   // HTTP/2 without TLS, by prior knowledge
	ProtocolTCP   Protocol = "TCP"   // bytes, for stream routes only
	ProtocolUDP   Protocol = "UDP"   // datagrams, for stream routes only
)
