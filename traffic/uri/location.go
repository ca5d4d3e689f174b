package uri

import (
	"strconv"

	"weir.dev/weir/model"
)

// Location is a compiled model.Redirect: where it sends a client.
type Location struct {
	scheme, hostname string
	port             uint16
	path             Change
}

// Requested is what a Location takes from the request.
type Requested struct {
	Scheme   string // "http" or "https": how the request came
	Host     []byte // lower case, without a port
	Port     uint16 // the listener's
	Path     []byte // in its normal form
	Query    []byte // without the question mark
	HasQuery bool
	Prefix   string // value of the prefix match that chose the route, empty for none
}

// CompileLocation prepares r.
func CompileLocation(r *model.Redirect) Location {
	return Location{scheme: r.Scheme, hostname: r.Hostname, port: r.Port, path: CompileChange(r.Path)}
}

// Append appends the value of the Location field: an absolute URI by Gateway API's
// rules for HTTPRequestRedirectFilter. The port is the configured one, else the configured
// scheme's well-known one, else the listener's, and left out when it is the scheme's own. The
// query is kept. A request without a host (HTTP/1.0) gets a reference that is a path.
//
// Whatever the request holds, the result is visible ASCII without backslashes, its path
// starts with exactly one slash, and its host is the configured or the requested one.
func (l *Location) Append(dst []byte, in Requested) []byte {
	dst = l.appendAuthority(dst, in)
	start := len(dst)
	dst = l.path.Append(dst, in.Path, in.Prefix)
	dst = escapeTail(dst, start)
	if in.HasQuery {
		dst = append(dst, '?')
		dst = appendEscaped(dst, in.Query, queryBytes)
	}
	return dst
}

func (l *Location) appendAuthority(dst []byte, in Requested) []byte {
	scheme, port := in.Scheme, in.Port
	if l.scheme != "" {
		scheme = l.scheme
		if known := wellKnownPort(scheme); known != 0 {
			port = known
		}
	}
	if l.port != 0 {
		port = l.port
	}
	switch {
	case l.hostname != "":
		dst = append(append(dst, scheme...), "://"...)
		dst = append(dst, l.hostname...)
	case len(in.Host) > 0:
		dst = append(append(dst, scheme...), "://"...)
		dst = appendEscaped(dst, in.Host, hostBytes)
	default:
		return dst
	}
	if port != 0 && port != wellKnownPort(scheme) {
		dst = append(dst, ':')
		dst = strconv.AppendUint(dst, uint64(port), 10)
	}
	return dst
}

// wellKnownPort returns the default port of a scheme, 0 if it has none.
func wellKnownPort(scheme string) uint16 {
	switch scheme {
	case "http":
		return 80
	case "https":
		return 443
	}
	return 0
}

// escapeTail escapes dst[start:], a path, in place, and makes it start with a slash. A path
// that needs no change, which is nearly every one, costs one walk.
func escapeTail(dst []byte, start int) []byte {
	rooted := len(dst) > start && dst[start] == '/'
	more := 0
	for _, c := range dst[start:] {
		if !pathBytes[c] {
			more += 2
		}
	}
	if !rooted {
		more++
	}
	if more == 0 {
		return dst
	}
	path := dst[start:]
	end := len(dst)
	// Written behind the old path, then moved over it: the scratch is the caller's buffer.
	if !rooted {
		dst = append(dst, '/')
	}
	dst = appendEscaped(dst, path, pathBytes)
	n := copy(dst[start:], dst[end:])
	return dst[:start+n]
}
