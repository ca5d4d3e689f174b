package policy

import (
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/uri"
)

// Rewrite changes the host and the path that are forwarded. A nil Rewrite changes nothing.
type Rewrite struct {
	hostname string
	path     uri.Change
}

// CompileRewrite prepares r; nil gives nil.
func CompileRewrite(r *model.Rewrite) *Rewrite {
	if r == nil {
		return nil
	}
	return &Rewrite{hostname: r.Hostname, path: uri.CompileChange(r.Path)}
}

// Hostname returns the Host to forward, empty when the request's own is kept.
func (r *Rewrite) Hostname() string {
	if r == nil {
		return ""
	}
	return r.hostname
}

// AppendPath appends the path to forward for a request path in its normal form. prefix is
// the value of the prefix match that chose the route, with or without a slash at its end,
// and empty when something else chose it. The result starts with one slash, never with two,
// except that a path that does not start with a slash ("*") is appended as it is, unless the
// whole path is replaced.
func (r *Rewrite) AppendPath(dst, path []byte, prefix string) []byte {
	if r == nil {
		return append(dst, path...)
	}
	return r.path.Append(dst, path, prefix)
}
