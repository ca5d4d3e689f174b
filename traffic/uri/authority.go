package uri

import "bytes"

// maxHost is the longest host, in bytes: a DNS name with its final dot, or an IPv6 literal.
const maxHost = 254

// SplitAuthority validates uri-host [":" port] (RFC 9112 3.2, RFC 3986 3.2.2) and splits it.
// Of the registered names that RFC 3986 allows it accepts those that DNS can hold: letters, digits,
// "-", "_" and single dots. IPv6 literals keep their brackets. A port is 1 to 65535 without
// leading zeros, or absent altogether.
func SplitAuthority(a []byte) (host, port []byte, err *Error) {
	end := 0
	if len(a) > 0 && a[0] == '[' {
		end = bytes.IndexByte(a, ']') + 1
		if end == 0 || !isIPv6(a[1:end-1]) {
			return nil, nil, ErrIPv6
		}
	} else {
		for end < len(a) && classes[a[end]]&isHost != 0 {
			end++
		}
		if end < len(a) && a[end] != ':' || !isName(a[:end]) {
			if bytes.IndexByte(a, '@') >= 0 {
				return nil, nil, ErrUserinfo
			}
			return nil, nil, ErrHost
		}
	}
	if end == len(a) {
		return a, nil, nil
	}
	if a[end] != ':' || !isPort(a[end+1:]) {
		if bytes.IndexByte(a, '@') >= 0 {
			return nil, nil, ErrUserinfo
		}
		return nil, nil, ErrPort
	}
	return a[:end], a[end+1:], nil
}

// isName reports whether b, whose bytes may stand in hosts, has no empty label but for a
// final dot, and is not too long.
func isName(b []byte) bool {
	if len(b) == 0 || len(b) > maxHost || b[0] == '.' {
		return false
	}
	for i := 1; i < len(b); i++ {
		if b[i] == '.' && b[i-1] == '.' {
			return false
		}
	}
	return true
}

func isPort(b []byte) bool {
	if len(b) == 0 || len(b) > 5 || b[0] == '0' {
		return false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}

// isIPv6 reports whether b is an IPv6 address (RFC 3986 3.2.2 IPv6address) without a zone.
func isIPv6(b []byte) bool {
	groups, gap := 0, false
	for len(b) > 0 {
		if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
			if gap {
				return false
			}
			gap, b = true, b[2:]
			if len(b) == 0 {
				break
			}
		} else if groups > 0 {
			if b[0] != ':' {
				return false
			}
			b = b[1:]
		}
		n := 0
		for n < len(b) && classes[b[n]]&isHex != 0 {
			n++
		}
		if n < len(b) && b[n] == '.' {
			if !isIPv4(b) {
				return false
			}
			groups, b = groups+2, nil
			break
		}
		if n == 0 || n > 4 {
			return false
		}
		groups, b = groups+1, b[n:]
	}
	if gap {
		return groups < 8
	}
	return groups == 8
}

// isIPv4 reports whether b is four decimal octets without leading zeros.
func isIPv4(b []byte) bool {
	for octet := range 4 {
		if octet > 0 {
			if len(b) == 0 || b[0] != '.' {
				return false
			}
			b = b[1:]
		}
		n, i := 0, 0
		for i < len(b) && i < 3 && b[i] >= '0' && b[i] <= '9' {
			n = n*10 + int(b[i]-'0')
			i++
		}
		if i == 0 || n > 255 || i > 1 && b[0] == '0' {
			return false
		}
		b = b[i:]
	}
	return len(b) == 0
}

// NormalHost returns host in lower case and without a final dot, in scratch if it differs.
func NormalHost(host []byte, scratch *[]byte) []byte {
	if n := len(host); n > 1 && host[n-1] == '.' {
		host = host[:n-1]
	}
	for _, c := range host {
		if lower(c) != c {
			out := (*scratch)[:0]
			for _, c := range host {
				out = append(out, lower(c))
			}
			*scratch = out
			return out
		}
	}
	return host
}
