package policy

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
)

// PreflightStatus is the status of every preflight answer. The specification allows 200 and
// 204, for origins that are not allowed too; 200 is the one that every client takes.
const PreflightStatus = 200

// defaultMaxAge is Access-Control-Max-Age when the policy names none.
const defaultMaxAge = 5 * time.Second

// CORS is a cross-origin policy as Gateway API's HTTPCORSFilter (GEP-1767) words it, on the
// CORS protocol of the Fetch standard. Where the filter leaves a choice between "*" and
// echoing what the request names, the answer echoes: that is right with and without
// credentials, and the reason why every answer carries "Vary: Origin".
type CORS struct {
	anyOrigin             bool
	origins               []originPattern
	anyMethod, anyHeader  bool
	preflight, everywhere []byte // field lines that are the same for every allowed origin
}

// CompileCORS prepares c; nil gives nil. No allowed origin at all allows none.
func CompileCORS(c *model.CORS) *CORS {
	if c == nil {
		return nil
	}
	p := &CORS{}
	for _, o := range c.AllowOrigins {
		if o == "*" {
			p.anyOrigin = true
			continue
		}
		if pattern, ok := compileOrigin(o); ok {
			p.origins = append(p.origins, pattern)
		}
	}
	methods, anyMethod := list(c.AllowMethods)
	headers, anyHeader := list(c.AllowHeaders)
	expose, exposeAny := list(c.ExposeHeaders)
	p.anyMethod, p.anyHeader = anyMethod, anyHeader
	if !anyMethod && methods != "" {
		p.preflight = http1.AppendFieldString(p.preflight, "Access-Control-Allow-Methods", methods)
	}
	if !anyHeader && headers != "" {
		p.preflight = http1.AppendFieldString(p.preflight, "Access-Control-Allow-Headers", headers)
	}
	age := c.MaxAge
	if age < time.Second {
		age = defaultMaxAge
	}
	p.preflight = http1.AppendFieldString(p.preflight, "Access-Control-Max-Age", strconv.FormatInt(int64(age/time.Second), 10))
	if c.AllowCredentials {
		p.everywhere = http1.AppendFieldString(p.everywhere, "Access-Control-Allow-Credentials", "true")
	}
	// With credentials "*" would be taken for a header of that name, so only the names are sent.
	if exposeAny && !c.AllowCredentials {
		expose = "*"
	}
	if expose != "" {
		p.everywhere = http1.AppendFieldString(p.everywhere, "Access-Control-Expose-Headers", expose)
	}
	return p
}

// list joins the tokens of names other than "*" and reports whether "*" is among them.
func list(names []string) (joined string, wildcard bool) {
	var kept []string
	for _, n := range names {
		switch {
		case n == "*":
			wildcard = true
		case isToken(n):
			kept = append(kept, n)
		}
	}
	return strings.Join(kept, ", "), wildcard
}

// Preflight appends the fields of the answer to req when req is a preflight: OPTIONS with
// Origin and Access-Control-Request-Method. handled says so; such a request is answered with
// PreflightStatus and no body, and never forwarded. An origin that is not allowed gets the
// same answer without any CORS field. Fields other than CORS and Vary are the caller's.
func (c *CORS) Preflight(dst []byte, req *http1.Request) (head []byte, handled bool) {
	if string(req.Method) != "OPTIONS" {
		return dst, false
	}
	origin, ok := req.Get(http1.NameOrigin)
	if !ok {
		return dst, false
	}
	method, ok := req.Get(http1.NameAccessControlRequestMethod)
	if !ok {
		return dst, false
	}
	dst = http1.AppendFieldString(dst, "Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	if !c.allows(origin) {
		return dst, true
	}
	dst = http1.AppendField(dst, "Access-Control-Allow-Origin", origin)
	dst = append(dst, c.everywhere...)
	dst = append(dst, c.preflight...)
	if c.anyMethod && isToken(method) {
		dst = http1.AppendField(dst, "Access-Control-Allow-Methods", method)
	}
	if c.anyHeader {
		if names, ok := req.Joined("access-control-request-headers"); ok && len(names) > 0 && isNameList(names) {
			dst = http1.AppendField(dst, "Access-Control-Allow-Headers", names)
		}
	}
	return dst, true
}

// AppendResponse appends the fields of an answer that is not a preflight's. origin is the
// value of the request's Origin field, nil if there is none. Fields of the upstream's for
// which Owns holds must not be forwarded beside them.
func (c *CORS) AppendResponse(dst, origin []byte) []byte {
	// Vary stands on answers without an Origin too: a cache would otherwise serve one of
	// those to a cross-origin request.
	dst = http1.AppendFieldString(dst, "Vary", "Origin")
	if !c.allows(origin) {
		return dst
	}
	dst = http1.AppendField(dst, "Access-Control-Allow-Origin", origin)
	return append(dst, c.everywhere...)
}

// Owns reports whether the policy decides the response field with the given name, in any
// case: the upstream's field is dropped, whether or not the origin is allowed.
func (*CORS) Owns(name []byte) bool {
	const prefix = "access-control-"
	if len(name) <= len(prefix) || !foldPrefix(name, prefix) {
		return false
	}
	rest := name[len(prefix):]
	return foldEqual(rest, "allow-origin") || foldEqual(rest, "allow-credentials") ||
		foldEqual(rest, "allow-methods") || foldEqual(rest, "allow-headers") ||
		foldEqual(rest, "expose-headers") || foldEqual(rest, "max-age")
}

// maxOrigin bounds an Origin that is echoed, in bytes: a scheme, a DNS name and a port fit.
const maxOrigin = 512

func (c *CORS) allows(origin []byte) bool {
	if !isVisible(origin, maxOrigin) {
		return false
	}
	if c.anyOrigin {
		return true
	}
	for i := range c.origins {
		if c.origins[i].matches(origin) {
			return true
		}
	}
	return false
}

// isNameList reports whether b is a comma-separated list of field names.
func isNameList(b []byte) bool {
	for len(b) > 0 {
		name := b
		i := bytes.IndexByte(b, ',')
		if i >= 0 {
			name, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		if name = trim(name); len(name) > 0 && !isToken(name) {
			return false
		}
	}
	return true
}
