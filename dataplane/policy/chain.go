package policy

import (
	"bytes"
	"net/netip"
)

// maxChain is how many proxies in a row are looked behind, counted from the right.
const maxChain = 32

// chain holds the right-most addresses of a forwarded chain, in a ring. An element that is no
// address is kept as the invalid Addr, so that positions stay right.
type chain struct {
	addresses [maxChain]netip.Addr
	n         int // elements seen in all
}

func (c *chain) push(a netip.Addr) {
	c.addresses[c.n%maxChain] = a
	c.n++
}

// fromRight returns the k-th element from the right, 0 the right-most; ok is false behind the
// left end and behind what the ring holds.
func (c *chain) fromRight(k int) (a netip.Addr, ok bool) {
	if k >= min(c.n, maxChain) {
		return netip.Addr{}, false
	}
	return c.addresses[(c.n-1-k)%maxChain], true
}

// pushList adds the elements of an X-Forwarded-For value. Empty elements do not count
// (RFC 9110 section 5.6.1.2).
func (c *chain) pushList(b []byte) {
	for len(b) > 0 {
		element := b
		if i := bytes.IndexByte(b, ','); i >= 0 {
			element, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		if element = trim(element); len(element) > 0 {
			c.push(parseNode(element))
		}
	}
}

// pushForwarded adds the elements of a Forwarded value (RFC 7239 section 4) and reports
// whether it is well formed. An element without for= counts as one without an address.
//
//	for=192.0.2.60;proto=http, for="[2001:db8::17]:4711"
func (c *chain) pushForwarded(b []byte) bool {
	for {
		node, seen, rest, ok := forwardedElement(b)
		if !ok {
			return false
		}
		if seen != 0 {
			c.push(node)
		}
		if len(rest) == 0 {
			return true
		}
		b = rest[1:] // the comma
	}
}

// forwardedElement reads the pairs up to a comma or the end. seen has a bit for each
// parameter of the RFC and one for any other; a parameter may stand only once.
func forwardedElement(b []byte) (node netip.Addr, seen uint8, rest []byte, ok bool) {
	for {
		b = trimLeft(b)
		if n := tokenLength(b); n > 0 {
			bit := parameterBit(b[:n])
			if b = b[n:]; len(b) == 0 || b[0] != '=' {
				return node, seen, b, false
			}
			value, after := forwardedValue(b[1:])
			if value == nil || bit != otherParameter && seen&bit != 0 {
				return node, seen, b, false
			}
			seen |= bit
			if bit == forParameter {
				node = parseNode(value)
			}
			b = trimLeft(after)
		}
		if len(b) == 0 || b[0] == ',' {
			return node, seen, b, true
		}
		if b[0] != ';' {
			return node, seen, b, false
		}
		b = b[1:]
	}
}

const (
	forParameter uint8 = 1 << iota
	byParameter
	hostParameter
	protoParameter
	otherParameter
)

func parameterBit(name []byte) uint8 {
	switch {
	case foldEqual(name, "for"):
		return forParameter
	case foldEqual(name, "by"):
		return byParameter
	case foldEqual(name, "host"):
		return hostParameter
	case foldEqual(name, "proto"):
		return protoParameter
	}
	return otherParameter
}

// forwardedValue reads a token or a quoted-string, whose escapes it leaves in; value is nil
// when b starts with neither.
func forwardedValue(b []byte) (value, rest []byte) {
	if len(b) == 0 || b[0] != '"' {
		n := tokenLength(b)
		if n == 0 {
			return nil, b
		}
		return b[:n], b[n:]
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return b[1:i], b[i+1:]
		}
	}
	return nil, b
}

func tokenLength(b []byte) int {
	n := 0
	for n < len(b) && tokenByte(b[n]) {
		n++
	}
	return n
}

func trimLeft(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	return b
}
