package http1

import (
	"bytes"

	"weir.dev/weir/traffic/uri"
)

// finishTarget takes the request's target (RFC 9112 3.2) and Host apart.
func (r *Request) finishTarget(s *survey, lim *Limits) *Error {
	var field []byte
	if s.host >= 0 {
		field = r.Value(s.host)
	} else if r.Minor == 1 {
		return errNoHost
	}
	if string(r.Method) == "CONNECT" {
		return errConnect
	}
	var host, port []byte
	if s.host >= 0 {
		var err *Error
		if host, port, err = splitAuthority(field); err != nil {
			return err
		}
		r.Authority = field
	}
	path := r.Target
	switch {
	case path[0] == '/':
	case len(path) == 1 && path[0] == '*':
		if string(r.Method) != "OPTIONS" {
			return errAsterisk
		}
		r.Path = path
	default:
		var err *Error
		if host, path, err = r.absolute(s, host, port); err != nil {
			return err
		}
	}
	r.Host = uri.NormalHost(host, &r.host)
	if r.Path != nil {
		return nil
	}
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		r.Query, r.HasQuery = path[i+1:], true
		path = path[:i]
	}
	if len(path) == 0 {
		path = rootPath
	}
	normal, err := uri.NormalPath(path, &r.path, lim.Escapes)
	r.Path = normal
	return faultOf(err)
}

// splitAuthority is uri.SplitAuthority with this package's faults.
func splitAuthority(a []byte) (host, port []byte, err *Error) {
	host, port, wrong := uri.SplitAuthority(a)
	return host, port, faultOf(wrong)
}

var rootPath, asteriskPath = []byte("/"), []byte("*")

// absolute takes a target in absolute form apart. Its authority must be that of the Host
// field: RFC 9112 3.2.2 has the target win, but a server behind the proxy that looks at the
// other one would serve another site than the one that was matched. Names compare without case, and a
// port that is the scheme's own equals none.
func (r *Request) absolute(s *survey, fieldHost, fieldPort []byte) (host, rest []byte, err *Error) {
	rest, standard := r.Target, "80"
	switch {
	case len(rest) > 7 && foldEqual(rest[:7], "http://"):
		rest = rest[7:]
	case len(rest) > 8 && foldEqual(rest[:8], "https://"):
		rest, standard = rest[8:], "443"
	default:
		return nil, nil, errForm
	}
	authority := rest
	if i := bytes.IndexAny(rest, "/?"); i >= 0 {
		authority, rest = rest[:i], rest[i:]
	} else {
		rest = rest[len(rest):]
	}
	host, port, err := splitAuthority(authority)
	if err != nil {
		return nil, nil, err
	}
	if s.host >= 0 && (!foldSame(host, fieldHost) || !samePort(port, fieldPort, standard)) {
		return nil, nil, errHostDisagree
	}
	r.Authority = authority
	// RFC 9112 3.2.4: OPTIONS for an absolute URI without path and query is OPTIONS *.
	if len(rest) == 0 && string(r.Method) == "OPTIONS" {
		r.Path = asteriskPath
	}
	return host, rest, nil
}

func samePort(a, b []byte, standard string) bool {
	if len(a) == 0 {
		return len(b) == 0 || string(b) == standard
	}
	if len(b) == 0 {
		return string(a) == standard
	}
	return bytes.Equal(a, b)
}
