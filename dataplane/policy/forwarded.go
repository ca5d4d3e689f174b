package policy

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
)

// Forwarding says who in front of a listener is believed, and writes the fields that tell the
// upstream where a request came from: X-Forwarded-For, -Proto, -Host and -Port, and Via.
//
// Trust. Position 0 is the peer of the connection; position k is the k-th address from the
// right of the chain that the peer sent in X-Forwarded-For (in Forwarded, when there is no
// X-Forwarded-For). An address is trusted when it lies within the trusted addresses, if any
// are configured, and at a position below the trusted hops, if those are; with neither nobody
// is. A peer that has proved by its certificate to be one of the trusted identities is trusted
// wherever it is; an identity says nothing about the addresses behind it. The effective client is the first address from the right that is not trusted, or the
// last one before something that is no address, or the left-most of all.
//
//	X-Forwarded-For: 198.51.100.9, 203.0.113.7, 10.0.0.5     peer 10.0.0.9
//	addresses 10.0.0.0/8         10.0.0.9, 10.0.0.5 trusted: the client is 203.0.113.7
//	hops 1                       10.0.0.9 trusted:           the client is 10.0.0.5
//	hops 2                       10.0.0.9, 10.0.0.5 trusted: the client is 203.0.113.7
//	hops 1, addresses 10/8       as hops 1, and nothing is believed from a peer outside 10/8
//	neither                      the client is 10.0.0.9
//	only 10.0.0.9's identity     10.0.0.9 trusted:           the client is 10.0.0.5
//
// 198.51.100.9 is never believed: the client wrote it itself.
//
// Fields. From an untrusted peer every forwarded field (X-Forwarded-*, Forwarded, X-Real-Ip)
// and every x-weir-* field is dropped, and only what the proxy saw itself is sent. From a
// trusted peer X-Forwarded-For is continued with the peer's address, X-Forwarded-Proto, -Host
// and -Port are kept where present, and a well-formed Forwarded is continued; a malformed one
// is dropped. Forwarded is only ever continued, never started: upstreams get one account.
type Forwarding struct {
	hops       int
	addresses  []netip.Prefix
	identities []string
	scheme     string
	proto      []byte // field lines
	port       []byte
	both       []byte // proto and port, for the common case of one append
}

// Caller is what a request's peer is and says about where it comes from.
type Caller struct {
	Peer    netip.Addr // without zone, IPv4 in its own form; invalid when it has no address
	Client  netip.Addr // the effective client
	Trusted bool       // the peer's forwarded and x-weir-* fields count
	// Inside says that the effective client is trusted itself: no stranger sent the request
	// through a trusted proxy, which may pass on x-weir-* fields of anybody. Where trust is by
	// hops or identities alone only the peer can be inside, because an address in a chain proves
	// nothing.
	Inside bool
	// Major is the version of HTTP that the request came over, for Via: 2 or 3, and 0 for
	// HTTP/1, where the request knows it.
	Major      int
	kept       Generated // incoming fields that stand, or are continued
	identified bool      // the peer is trusted by its identity, whatever its address
}

// CompileForwarding prepares c's trust for a listener that serves scheme ("http" or "https")
// on port, which upstreams are told.
func CompileForwarding(c *model.Client, scheme string, port uint16) *Forwarding {
	f := &Forwarding{hops: c.TrustHops, identities: c.TrustIdentities, scheme: scheme}
	for _, p := range c.TrustAddresses {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		f.addresses = append(f.addresses, p.Masked())
	}
	f.proto = http1.AppendFieldString(nil, "X-Forwarded-Proto", scheme)
	f.port = http1.AppendFieldString(nil, "X-Forwarded-Port", strconv.Itoa(int(port)))
	f.both = append(append(f.both, f.proto...), f.port...)
	return f
}

// Judge says who sent a request with the given head from peer. identity is the SPIFFE id that
// the peer has proved by its certificate, empty for none.
func (f *Forwarding) Judge(peer netip.Addr, identity string, h *http1.Head) Caller {
	peer = peer.Unmap().WithZone("")
	c := Caller{Peer: peer, Client: peer}
	c.identified = identity != "" && slices.Contains(f.identities, identity)
	if !c.identified && !f.trusts(peer, 0) {
		return c
	}
	c.Trusted = true
	f.believe(&c, h)
	return c
}

// trusts reports whether the address at a position of the chain is a proxy in front.
func (f *Forwarding) trusts(a netip.Addr, position int) bool {
	if len(f.addresses) == 0 {
		return position < f.hops
	}
	if f.hops > 0 && position >= f.hops {
		return false
	}
	for i := range f.addresses {
		if f.addresses[i].Contains(a) {
			return true
		}
	}
	return false
}

// believe fills in what a trusted peer's fields say.
func (f *Forwarding) believe(c *Caller, h *http1.Head) {
	var legacy, standard chain
	malformed := false
	for i := range h.Fields {
		bit := generatedBit(h.Fields[i].Known)
		if bit == 0 || len(h.Value(i)) == 0 {
			continue
		}
		c.kept |= bit
		switch bit {
		case GeneratedFor:
			legacy.pushList(h.Value(i))
		case GeneratedForwarded:
			malformed = !standard.pushForwarded(h.Value(i)) || malformed
		}
	}
	if malformed {
		c.kept &^= GeneratedForwarded
	}
	switch {
	case c.kept&GeneratedFor != 0:
		c.Client, c.Inside = f.client(c, &legacy)
	case c.kept&GeneratedForwarded != 0:
		c.Client, c.Inside = f.client(c, &standard)
	default:
		c.Inside = !malformed
	}
}

// client walks the chain from the right, as the comment of Forwarding says. inside is as in
// Caller, of a request that has a chain.
func (f *Forwarding) client(c *Caller, list *chain) (client netip.Addr, inside bool) {
	client = c.Peer
	for position := 0; position == 0 && c.identified || f.trusts(client, position); position++ {
		next, ok := list.fromRight(position)
		if !ok || !next.IsValid() {
			return client, position == list.n && len(f.addresses) > 0
		}
		client = next
	}
	return client, false
}

// HTTPS reports whether the client spoke https, to us or to a proxy in front that is believed
// (the first value of X-Forwarded-Proto counts).
func (f *Forwarding) HTTPS(c *Caller, h *http1.Head) bool {
	if c.kept&GeneratedProto != 0 {
		if proto, ok := h.Get(http1.NameXForwardedProto); ok {
			first, _, _ := bytes.Cut(proto, []byte{','})
			return foldEqual(trim(first), "https")
		}
	}
	return f.scheme == "https"
}

// generatedBit returns the forwarded field that name is, 0 for any other.
func generatedBit(name http1.Name) Generated {
	switch name {
	case http1.NameXForwardedFor:
		return GeneratedFor
	case http1.NameXForwardedProto:
		return GeneratedProto
	case http1.NameXForwardedHost:
		return GeneratedHost
	case http1.NameXForwardedPort:
		return GeneratedPort
	case http1.NameForwarded:
		return GeneratedForwarded
	}
	return 0
}

// Drops reports whether a request's fields of the given name are not forwarded as they are:
// they are not to be believed, or AppendTo writes them anew.
func (c *Caller) Drops(name http1.Name) bool {
	switch bit := generatedBit(name); bit {
	case 0:
		return !c.Trusted && forgeable(name)
	case GeneratedFor, GeneratedForwarded:
		return true
	default:
		return c.kept&bit == 0
	}
}

// forgeable reports whether a field is one that only a trusted peer may send, apart from
// those with a Generated bit.
func forgeable(name http1.Name) bool {
	switch name {
	case http1.NameXWeir, http1.NameXForwarded, http1.NameXRealIP:
		return true
	}
	return false
}

// AppendTo appends the fields about c and Via to a request that is forwarded, but none of
// those in skip (HeaderEdit.Covers).
func (f *Forwarding) AppendTo(dst []byte, c *Caller, req *http1.Request, skip Generated) []byte {
	if skip&GeneratedFor == 0 {
		dst = append(dst, "X-Forwarded-For: "...)
		if c.kept&GeneratedFor != 0 {
			dst = appendValues(dst, &req.Head, http1.NameXForwardedFor)
		}
		dst = append(appendAddress(dst, c.Peer), "\r\n"...)
	}
	if c.kept&GeneratedForwarded&^skip != 0 {
		dst = f.appendForwarded(dst, c, req)
	}
	done := c.kept | skip
	switch done & (GeneratedProto | GeneratedPort) {
	case 0:
		dst = append(dst, f.both...)
	case GeneratedPort:
		dst = append(dst, f.proto...)
	case GeneratedProto:
		dst = append(dst, f.port...)
	}
	if done&GeneratedHost == 0 && len(req.Authority) > 0 {
		dst = http1.AppendField(dst, "X-Forwarded-Host", req.Authority)
	}
	switch {
	case skip&GeneratedVia != 0:
	case c.Major == 2:
		dst = append(dst, "Via: 2.0 weir\r\n"...)
	case c.Major == 3:
		dst = append(dst, "Via: 3.0 weir\r\n"...)
	default:
		dst = AppendVia(dst, req.Minor)
	}
	return dst
}

// AppendVia appends the Via field for a message that was received as HTTP/1.minor (RFC 9110
// section 7.6.3). Via fields that are there already go in front of it.
func AppendVia(dst []byte, minor int) []byte {
	if minor == 0 {
		return append(dst, "Via: 1.0 weir\r\n"...)
	}
	return append(dst, "Via: 1.1 weir\r\n"...)
}

// appendForwarded appends the incoming Forwarded with an element of our own (RFC 7239).
func (f *Forwarding) appendForwarded(dst []byte, c *Caller, req *http1.Request) []byte {
	dst = append(dst, "Forwarded: "...)
	dst = appendValues(dst, &req.Head, http1.NameForwarded)
	dst = append(dst, "for="...)
	if c.Peer.Is6() {
		// Section 6: an IPv6 address is in brackets, and so the value in quotes.
		dst = append(appendAddress(append(dst, `"[`...), c.Peer), `]"`...)
	} else {
		dst = appendAddress(dst, c.Peer)
	}
	if len(req.Authority) > 0 {
		dst = appendQuoted(append(dst, ";host="...), req.Authority)
	}
	dst = append(dst, ";proto="...)
	dst = append(dst, f.scheme...)
	return append(dst, "\r\n"...)
}

// appendValues appends every value of the named field and a comma behind each.
func appendValues(dst []byte, h *http1.Head, name http1.Name) []byte {
	for i := range h.Fields {
		// Dropped is not asked: it may be set already because of Drops.
		if h.Fields[i].Known != name {
			continue
		}
		if v := h.Value(i); len(v) > 0 {
			dst = append(append(dst, v...), ", "...)
		}
	}
	return dst
}

// appendAddress appends a, or the word of RFC 7239 section 6.2 for a peer without address.
func appendAddress(dst []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return append(dst, "unknown"...)
	}
	return a.AppendTo(dst)
}

// appendQuoted appends v as a token where it is one, else as a quoted-string.
func appendQuoted(dst, v []byte) []byte {
	if isToken(v) {
		return append(dst, v...)
	}
	dst = append(dst, '"')
	for _, c := range v {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}
