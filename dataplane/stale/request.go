package stale

import (
	"bytes"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/transport"
)

// Request is one whose answer may be kept, or that may be given one that was.
type Request struct {
	*http1.Request
	Route, Listener string // their names
	Trusted         bool   // it comes from a proxy that is believed
	Verified        bool   // its client has a certificate
}

// MayKeep reports whether the answer to it may be kept.
func (r *Request) MayKeep() bool {
	return string(r.Method) == "GET" && r.Minor > 0 && r.Body == http1.BodyNone && !r.GRPC && !r.forbids("no-store")
}

// forbids reports whether the request's Cache-Control has a directive.
func (r *Request) forbids(directive string) bool {
	value, ok := r.Joined("cache-control")
	if !ok {
		return false
	}
	c := policy.ParseCacheControl(value)
	return directive == "no-store" && c.NoStore || directive == "no-cache" && (c.NoCache || c.NoStore)
}

// Find returns the answer that a request may be given and how old that is, at most maxAge; nil if there is none. Keys are made
// in memory, which it returns, grown if need be.
func (s *Store) Find(memory []byte, r *Request, maxAge time.Duration, now transport.Instant) (_ *Answer, age time.Duration, _ []byte) {
	method := string(r.Method)
	if method != "GET" && method != "HEAD" || r.Body != http1.BodyNone || r.GRPC || !s.used.Load() || r.forbids("no-cache") {
		return nil, 0, memory
	}
	memory = r.key(memory[:0])
	a := s.find(memory)
	if a == nil || !a.public && r.asker() != anybody {
		return nil, 0, memory
	}
	age = a.aged + now.Sub(a.made)
	if age > maxAge || a.fresh > 0 && age > a.fresh {
		return nil, 0, memory
	}
	return a, age, memory
}

// key appends what tells apart the requests that have one answer. HEAD shares GET's. Accept-Encoding
// is among it, so that nobody's strange wish takes the place of what others can read. What trusted
// proxies say about the name that the client used may be in the links of an answer.
func (r *Request) key(dst []byte) []byte {
	dst = append(append(append(dst, r.Route...), 0), r.Listener...)
	for _, part := range [...][]byte{r.Authority, r.Path, r.Query} {
		dst = append(append(dst, 0), part...)
	}
	if r.HasQuery {
		dst = append(dst, '?')
	}
	coding, _ := r.Joined("accept-encoding")
	dst = append(append(dst, 0), coding...)
	if !r.Trusted {
		return dst
	}
	for i := range r.Fields {
		switch known := r.Fields[i].Known; known {
		case http1.NameXForwardedHost, http1.NameXForwardedProto, http1.NameXForwardedPort, http1.NameForwarded:
			dst = append(append(dst, 0, byte(known)), r.Value(i)...)
		}
	}
	return dst
}

// asker is what a request says about whom its answer is for.
type asker uint8

const (
	anybody asker = iota
	somebody
	// whoKnows is who sends a field that is not known to say nothing, and is no Cookie: it may say who
	// asks, or what for.
	whoKnows
)

// asker says for whom the answer to the request may be: for anybody if it has no client
// certificate and no field but those that are known to say nothing of the kind. Whoever is told
// users by a field of its own has it respected so.
func (r *Request) asker() asker {
	who := anybody
	if r.Verified {
		who = somebody
	}
	for i := range r.Fields {
		switch {
		case r.Fields[i].Known == http1.NameCookie:
			who = somebody
		case !impersonal(r.Name(i)):
			return whoKnows
		}
	}
	return who
}

// impersonal reports whether a request's field says nothing about who sends it.
func impersonal(name []byte) bool {
	var memory [40]byte
	if len(name) > len(memory) {
		return false
	}
	lower := memory[:len(name)]
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	switch string(lower) {
	case "host", "user-agent", "referer", "origin", "accept", "accept-encoding", "accept-language", "accept-charset",
		"cache-control", "pragma", "connection", "keep-alive", "te", "priority", "dnt", "save-data", "upgrade-insecure-requests",
		"via", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip",
		"x-request-id", "traceparent", "tracestate", "date", "content-length", "if-none-match", "if-modified-since",
		"x-weir-priority", "x-weir-attempt", "x-weir-timeout-ms", "x-weir-explain":
		return true
	}
	return bytes.HasPrefix(lower, []byte("sec-fetch-")) || bytes.HasPrefix(lower, []byte("sec-ch-")) || string(lower) == "sec-gpc"
}
