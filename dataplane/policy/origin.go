package policy

import (
	"bytes"
	"strings"
)

// originPattern is one allowed origin: "https://shop.example.com:8443" or with a star at the
// left of its host, which stands for one or more labels ("https://*.example.com"), or for
// every host ("https://*").
type originPattern struct {
	scheme string // with "://"
	host   string // lower case; behind the star if there is one, so with its leading dot
	star   bool
	port   string // never empty: the scheme's own if none is written
}

// compileOrigin reads one origin; ok is false for what can match nothing: another scheme
// than http and https, no host, a path.
func compileOrigin(s string) (p originPattern, ok bool) {
	scheme, host, port, ok := splitOrigin([]byte(strings.ToLower(s)))
	if !ok {
		return p, false
	}
	p = originPattern{scheme: scheme, host: string(host), port: string(port)}
	if port == nil {
		p.port = defaultPort(scheme)
	}
	p.host, p.star = strings.CutPrefix(p.host, "*")
	return p, !strings.Contains(p.host, "*")
}

// matches compares an Origin field's value. Ports that are not written are the scheme's.
func (p *originPattern) matches(origin []byte) bool {
	scheme, host, port, ok := splitOrigin(origin)
	if !ok || scheme != p.scheme {
		return false
	}
	if port == nil {
		if p.port != defaultPort(scheme) {
			return false
		}
	} else if string(port) != p.port {
		return false
	}
	if !p.star {
		return foldEqual(host, p.host)
	}
	return len(host) > len(p.host) && foldEqual(host[len(host)-len(p.host):], p.host)
}

// splitOrigin takes apart an origin as RFC 6454 section 6.2 writes it. The parts of host and
// port alias b; port is nil when there is none.
func splitOrigin(b []byte) (scheme string, host, port []byte, ok bool) {
	switch {
	case foldPrefix(b, "http://"):
		scheme = "http://"
	case foldPrefix(b, "https://"):
		scheme = "https://"
	default:
		return "", nil, nil, false
	}
	host = b[len(scheme):]
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && i > bytes.LastIndexByte(host, ']') {
		host, port = host[:i], host[i+1:]
		if len(port) == 0 {
			return "", nil, nil, false
		}
	}
	if len(host) == 0 || bytes.ContainsAny(host, "/?#@\\") {
		return "", nil, nil, false
	}
	return scheme, host, port, true
}

func defaultPort(scheme string) string {
	if scheme == "http://" {
		return "80"
	}
	return "443"
}
