package proxy

import (
	"bytes"
	"strconv"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// keeping is an answer that is being kept while it is sent. It is made once for an exchange, and
// what it has becomes memory of its own only when it is stored.
type keeping struct {
	answer kept // but for its texts
	key    []byte
	fields []byte
	body   []byte
	begun  bool // its head has been judged
	chunks bool // the body's bytes are in chunks
	failed bool // it is too long, or not all of it was seen
	who    asker
}

// add takes bytes of the body as they are sent on.
func (k *keeping) add(p []byte) {
	if k == nil || !k.begun || k.failed {
		return
	}
	room := staleBody
	if k.chunks { // with its framing
		room *= 2
	}
	if k.failed = len(k.body)+len(p) > room; !k.failed {
		k.body = append(k.body, p...)
	}
}

// decoded says that bytes come without the chunks around them.
func (k *keeping) decoded() {
	if k != nil {
		k.chunks = false
	}
}

// staleKey appends what tells apart the requests that have one answer. HEAD shares GET's. Accept-Encoding
// is among it, so that nobody's strange wish takes the place of what others can read. What trusted
// proxies say about the name that the client used may be in the links of an answer.
func (x *exchange) staleKey(dst []byte) []byte {
	dst = append(append(append(dst, x.route.model.Name...), 0), x.view.listener.Name...)
	for _, part := range [...][]byte{x.req.Authority, x.req.Path, x.req.Query} {
		dst = append(append(dst, 0), part...)
	}
	if x.req.HasQuery {
		dst = append(dst, '?')
	}
	coding, _ := x.req.Joined("accept-encoding")
	dst = append(append(dst, 0), coding...)
	if !x.caller.Trusted {
		return dst
	}
	for i := range x.req.Fields {
		switch known := x.req.Fields[i].Known; known {
		case http1.NameXForwardedHost, http1.NameXForwardedProto, http1.NameXForwardedPort, http1.NameForwarded:
			dst = append(append(dst, 0, byte(known)), x.req.Value(i)...)
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
func (x *exchange) asker() asker {
	who := anybody
	if x.c.Secured != nil && x.c.Secured.Verified {
		who = somebody
	}
	for i := range x.req.Fields {
		switch {
		case x.req.Fields[i].Known == http1.NameCookie:
			who = somebody
		case !impersonal(x.req.Name(i)):
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

// considerKeeping makes ready to keep the answer, once a second.
func (x *exchange) considerKeeping() {
	if string(x.req.Method) != "GET" || x.req.Minor == 0 || x.req.Body != http1.BodyNone || x.req.GRPC || x.forbids("no-store") {
		return
	}
	o := &x.overload
	if o.keeper == nil {
		o.keeper = new(keeping)
	}
	k := o.keeper
	who := x.asker()
	if who == whoKnows { // it may ask for another thing than others do
		return
	}
	k.key = x.staleKey(k.key[:0])
	if !x.p.stale.due(k.key, who, x.asked) {
		return
	}
	*k = keeping{key: k.key, fields: k.fields[:0], body: k.body[:0], who: who}
	o.keeping = k
}

// forbids reports whether the request's Cache-Control has a directive.
func (x *exchange) forbids(directive string) bool {
	value, ok := x.req.Joined("cache-control")
	if !ok {
		return false
	}
	c := parseCacheControl(value)
	return directive == "no-store" && c.noStore || directive == "no-cache" && (c.noCache || c.noStore)
}

// beginKeeping looks at the answer's head, and notes it if a cache that many share might store
// the answer (RFC 9111 section 3). An answer of another kind ends what was kept before it.
func (x *exchange) beginKeeping() {
	k := x.overload.keeping
	resp := &x.up.resp
	if !x.storable(k) {
		if k.ends(resp.Status) {
			x.p.stale.remove(k.key)
		}
		x.overload.keeping = nil
		return
	}
	if x.route.session != nil {
		x.route.session.Claim(&resp.Head)
	}
	edit, cors := x.arm.response, x.route.cors
	for i := range resp.Fields {
		f := &resp.Fields[i]
		if f.Hop || f.Dropped || f.Known == http1.NameAge || f.Known == http1.NameContentLength ||
			edit.Drops(&resp.Head, i) || cors != nil && cors.Owns(resp.Name(i)) {
			continue
		}
		k.fields = resp.AppendRaw(k.fields, i)
	}
	k.fields = edit.AppendTo(k.fields)
	k.answer.made = transport.Now()
	k.begun, k.chunks = true, resp.Body == http1.BodyChunked
}

// ends reports whether an answer that is not kept says that the one before it holds no more. One
// that is for its asker alone does not, nor one that says that there was nothing to do, that
// something else was wrong, or that the asker may not: else anybody could take from all others
// what they would be given.
func (k *keeping) ends(status int) bool {
	if k.who != anybody {
		return false
	}
	return status == 404 || status == 410 || status < 400 && status != 304
}

// storable judges the answer's head, and fills in what it says.
func (x *exchange) storable(k *keeping) bool {
	resp := &x.up.resp
	switch {
	case resp.Status != 200,
		resp.Body != http1.BodyNone && resp.Body != http1.BodyLength && resp.Body != http1.BodyChunked,
		resp.Body == http1.BodyLength && resp.Length > staleBody:
		return false
	}
	if _, set := resp.Get(http1.NameSetCookie); set || x.arm.response.Decides("set-cookie") {
		return false
	}
	value, _ := resp.Joined("cache-control")
	c := parseCacheControl(value)
	k.answer.public = c.public || c.shared
	if c.noStore || c.private || c.noCache || !k.answer.public && k.who != anybody {
		return false
	}
	if c.revalidate || c.shared { // it must not be given once it is stale (section 4.2.4)
		if c.lifetime <= 0 {
			return false
		}
		k.answer.fresh = c.lifetime
	}
	if vary, has := resp.Joined("vary"); has && !bytes.EqualFold(bytes.TrimSpace(vary), []byte("accept-encoding")) { // which is in the key
		return false
	}
	if age, has := resp.Get(http1.NameAge); has {
		seconds, err := strconv.ParseUint(string(age), 10, 31)
		if err != nil {
			return false
		}
		k.answer.aged = time.Duration(seconds) * time.Second
	}
	return true
}

// endKeeping keeps the answer, if all of it was sent.
func (x *exchange) endKeeping(whole bool) {
	k := x.overload.keeping
	x.overload.keeping = nil
	if k == nil {
		return
	}
	if k.begun && !k.failed && whole {
		x.store(k)
	}
	if cap(k.body) > transport.Small { // an exchange does not keep what one long answer needed
		k.body = nil
	}
}

func (x *exchange) store(k *keeping) {
	body := k.body
	if k.chunks {
		var ok bool
		if body, ok = unchunk(body); !ok {
			return
		}
	}
	if len(body) > staleBody || x.up.resp.Body == http1.BodyLength && int64(len(body)) != x.up.resp.Length {
		return
	}
	made := k.answer
	made.key, made.fields, made.body = string(k.key), string(k.fields), string(body)
	x.p.stale.keep(&made)
}

// unchunk returns the content of a whole chunked body; false if there is a trailer, which
// could not be given again.
func unchunk(body []byte) (content []byte, ok bool) {
	chunks := http1.Chunked{Answer: true}
	for {
		data, n, _, err := chunks.Next(body)
		if err != nil {
			return nil, false
		}
		content = append(content, data...)
		body = body[n:]
		if chunks.Trailing() {
			return content, string(body) == "\r\n" || len(body) == 0
		}
		if n == 0 {
			return nil, false
		}
	}
}

// serveStale answers with what was kept, if it is no older than maxAge and for whoever asks.
func (x *exchange) serveStale(maxAge time.Duration) bool {
	method := string(x.req.Method)
	if method != "GET" && method != "HEAD" || x.req.Body != http1.BodyNone || x.req.GRPC || !x.p.stale.used.Load() || x.forbids("no-cache") {
		return false
	}
	x.scratch = x.staleKey(x.scratch[:0])
	k := x.p.stale.find(x.scratch)
	if k == nil || !k.public && x.asker() != anybody {
		return false
	}
	age := k.aged + x.asked.Sub(k.made)
	if age > maxAge || k.fresh > 0 && age > k.fresh {
		return false
	}
	x.result.flag, x.result.detail = model.FlagPD, "an answer of "+age.Round(time.Second).String()+" ago, because there is too much to do"
	fields := append(x.scratch[:0], k.fields...)
	fields = append(fields, "Age: "...)
	fields = append(strconv.AppendInt(fields, int64(max(age, 0)/time.Second), 10), "\r\n"...)
	fields = x.appendFlag(fields, model.FlagPD)
	if x.route.cors != nil {
		origin, _ := x.req.Get(http1.NameOrigin)
		fields = x.route.cors.AppendResponse(fields, origin)
	}
	x.scratch = fields
	x.send(answer{status: 200, fields: fields, body: k.body, dated: true})
	return true
}

// cacheControl is what of a Cache-Control field matters here.
type cacheControl struct {
	noStore, noCache, private, public, shared, revalidate bool
	lifetime                                              time.Duration // of s-maxage, else of max-age
}

// parseCacheControl reads a field's value (RFC 9111 section 5.2). What cannot be read counts
// as no-store.
func parseCacheControl(value []byte) (c cacheControl) {
	for item := range bytes.SplitSeq(value, []byte{','}) {
		name, argument, _ := bytes.Cut(bytes.TrimSpace(item), []byte{'='})
		switch string(bytes.ToLower(name)) {
		case "no-store":
			c.noStore = true
		case "no-cache":
			c.noCache = true
		case "private":
			c.private = true
		case "public":
			c.public = true
		case "must-revalidate", "proxy-revalidate":
			c.revalidate = true
		case "max-age", "s-maxage":
			seconds, err := strconv.ParseUint(string(bytes.Trim(argument, `"`)), 10, 31)
			if err != nil {
				c.noStore = true
				continue
			}
			whole := len(name) == len("s-maxage")
			if whole || !c.shared {
				c.lifetime = time.Duration(seconds) * time.Second
			}
			c.shared = c.shared || whole
		}
	}
	return c
}
