package policy

import (
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/expression"
)

// Facts are what is known of a request: its head, who sent it and which route it takes. Keys
// are taken from them, and expressions see them (expression.Input); nothing is worked out
// before it is asked for.
type Facts struct {
	Request    *http1.Request
	Caller     *Caller
	Forwarding *Forwarding
	Port       uint16 // of the peer
	Identity   string // the client's verified SPIFFE id; empty: none
	Route      *model.Route
	Clock      func() time.Time
}

// Text returns an attribute that is a string.
func (f *Facts) Text(a expression.Attribute) string {
	switch a {
	case expression.Method:
		return string(f.Request.Method)
	case expression.Scheme:
		if f.Forwarding.HTTPS(f.Caller, &f.Request.Head) {
			return "https"
		}
		return "http"
	case expression.Host:
		return string(f.Request.Host)
	case expression.Path:
		return string(f.Request.Path)
	case expression.SourceAddress:
		if !f.Caller.Client.IsValid() {
			return ""
		}
		return f.Caller.Client.String()
	case expression.Identity:
		return f.Identity
	case expression.RouteNamespace:
		return f.Route.Namespace
	case expression.RouteName:
		return f.Route.Object
	case expression.RouteRule:
		return f.Route.Rule
	}
	return ""
}

// Number returns the client's port, as far as it is known, or the time in nanoseconds.
func (f *Facts) Number(a expression.Attribute) int64 {
	switch {
	case a == expression.Now:
		return f.Clock().UnixNano()
	case f.Caller.Client == f.Caller.Peer:
		return int64(f.Port)
	}
	return 0 // a proxy in front has said the address alone
}

// Lookup returns the value of a header, query parameter or cookie, and whether there is one.
func (f *Facts) Lookup(c expression.Attribute, name string) (string, bool) {
	value, ok := f.View(c, name)
	return string(value), ok
}

// View implements expression.Viewer. It allocates only for a query parameter that is escaped.
func (f *Facts) View(a expression.Attribute, name string) (value []byte, ok bool) {
	switch a {
	case expression.Method:
		return f.Request.Method, true
	case expression.Host:
		return f.Request.Host, true
	case expression.Path:
		return f.Request.Path, true
	case expression.Headers:
		return f.Request.Joined(name)
	case expression.Cookies:
		return cookie(&f.Request.Head, name)
	case expression.Query:
		return parameter(nil, f.Request.Query, name)
	}
	return nil, false
}
