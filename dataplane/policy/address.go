package policy

import (
	"bytes"
	"net/netip"
)

// parseNode reads the address in an element of X-Forwarded-For or the value of a for=
// parameter (RFC 7239 section 6): an IPv4 address, or an IPv6 address bare or in brackets,
// with or without a port where there are brackets or dots. The result is invalid for anything
// else: "unknown", obfuscated names, zones.
func parseNode(b []byte) netip.Addr {
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 || !isPortSuffix(b[end+1:]) {
			return netip.Addr{}
		}
		return parseIPv6(b[1:end])
	}
	colon := bytes.IndexByte(b, ':')
	if colon >= 0 && bytes.IndexByte(b[colon+1:], ':') >= 0 {
		return parseIPv6(b)
	}
	if colon >= 0 {
		if !isPortSuffix(b[colon:]) {
			return netip.Addr{}
		}
		b = b[:colon]
	}
	v4, ok := parseIPv4(b)
	if !ok {
		return netip.Addr{}
	}
	return netip.AddrFrom4(v4)
}

// isPortSuffix reports whether b is empty or a colon and one to five digits.
func isPortSuffix(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' || len(b) < 2 || len(b) > 6 {
		return false
	}
	for _, c := range b[1:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// parseIPv4 and parseIPv6 read what netip.ParseAddr reads, but from bytes and without an
// allocation for the error: the text is the client's.
func parseIPv4(b []byte) (a [4]byte, ok bool) {
	for i := range a {
		if i > 0 {
			if len(b) == 0 || b[0] != '.' {
				return a, false
			}
			b = b[1:]
		}
		n, digits := 0, 0
		for digits < len(b) && '0' <= b[digits] && b[digits] <= '9' && digits < 4 {
			n = n*10 + int(b[digits]-'0')
			digits++
		}
		if digits == 0 || n > 255 || digits > 1 && b[0] == '0' {
			return a, false
		}
		a[i], b = byte(n), b[digits:]
	}
	return a, len(b) == 0
}

// parseIPv6 returns the invalid Addr for what is no IPv6 address or has a zone, and IPv4
// addresses in their IPv6 form (::ffff:192.0.2.1) as IPv4.
func parseIPv6(b []byte) netip.Addr {
	var a [16]byte
	at, gap := 0, -1 // bytes written; where "::" stands, -1 if nowhere
	if bytes.HasPrefix(b, []byte("::")) {
		gap, b = 0, b[2:]
	}
	for len(b) > 0 {
		if at == len(a) {
			return netip.Addr{}
		}
		n, digits := hextet(b)
		if digits < len(b) && b[digits] == '.' {
			v4, ok := parseIPv4(b)
			if !ok || at > 12 {
				return netip.Addr{}
			}
			at += copy(a[at:], v4[:])
			break
		}
		if digits == 0 {
			return netip.Addr{}
		}
		a[at], a[at+1] = byte(n>>8), byte(n)
		at += 2
		if b = b[digits:]; len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return netip.Addr{}
		}
		if b = b[1:]; b[0] == ':' {
			if gap >= 0 {
				return netip.Addr{}
			}
			gap, b = at, b[1:]
		}
	}
	switch {
	case gap < 0 && at < len(a), gap >= 0 && at == len(a):
		return netip.Addr{}
	case gap >= 0:
		tail := copy(a[len(a)-(at-gap):], a[gap:at])
		clear(a[gap : len(a)-tail])
	}
	return netip.AddrFrom16(a).Unmap()
}

// hextet reads up to four hexadecimal digits.
func hextet(b []byte) (n, digits int) {
	for digits < len(b) && digits < 4 {
		c := lower(b[digits])
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | int(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | int(c-'a'+10)
		default:
			return n, digits
		}
		digits++
	}
	return n, digits
}
