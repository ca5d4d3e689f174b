package stale

import (
	"bytes"
	"strconv"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/transport"
)

// Keeping is an answer that is being kept while it is sent. It is made once for many requests, one after the other, and
// what it has becomes memory of its own only when it is stored:
//
//	Begin ─► Stores ─► Head ─► Add, Decoded ─► End
type Keeping struct {
	store  *Store
	answer Answer // but for its texts
	key    []byte
	fields []byte
	body   []byte
	begun  bool // its head has been judged
	chunks bool // the body's bytes are in chunks
	failed bool // it is too long, or not all of it was seen
	who    asker
}

// Begin makes ready to keep the answer to a request, and reports whether it is due: of those that may be kept, one a
// second.
func (k *Keeping) Begin(s *Store, r *Request, now transport.Instant) bool {
	who := r.asker()
	if who == whoKnows { // it may ask for another thing than others do
		return false
	}
	k.key = r.key(k.key[:0])
	if !s.due(k.key, who, now) {
		return false
	}
	*k = Keeping{store: s, key: k.key, fields: k.fields[:0], body: k.body[:0], who: who}
	return true
}

// Stores looks at the answer's head, of which edit changes fields, and reports whether a cache that many share might
// store the answer (RFC 9111 section 3). An answer of another kind ends what was kept before it.
func (k *Keeping) Stores(resp *http1.Response, edit *policy.HeaderEdit) bool {
	if k.storable(resp, edit) {
		return true
	}
	if k.ends(resp.Status) {
		k.store.remove(k.key)
	}
	return false
}

// Head notes the head of an answer that Stores has passed, as the client gets it but for what cors says.
func (k *Keeping) Head(resp *http1.Response, edit *policy.HeaderEdit, cors *policy.CORS) {
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

// Add takes bytes of the body as they are sent on. A nil Keeping takes none.
func (k *Keeping) Add(p []byte) {
	if k == nil || !k.begun || k.failed {
		return
	}
	room := maxBody
	if k.chunks { // with its framing
		room *= 2
	}
	if k.failed = len(k.body)+len(p) > room; !k.failed {
		k.body = append(k.body, p...)
	}
}

// Decoded says that bytes come without the chunks around them.
func (k *Keeping) Decoded() {
	if k != nil {
		k.chunks = false
	}
}

// ends reports whether an answer that is not kept says that the one before it holds no more. One
// that is for its asker alone does not, nor one that says that there was nothing to do, that
// something else was wrong, or that the asker may not: else anybody could take from all others
// what they would be given.
func (k *Keeping) ends(status int) bool {
	if k.who != anybody {
		return false
	}
	return status == 404 || status == 410 || status < 400 && status != 304
}

// storable judges the answer's head, and fills in what it says.
func (k *Keeping) storable(resp *http1.Response, edit *policy.HeaderEdit) bool {
	switch {
	case resp.Status != 200,
		resp.Body != http1.BodyNone && resp.Body != http1.BodyLength && resp.Body != http1.BodyChunked,
		resp.Body == http1.BodyLength && resp.Length > maxBody:
		return false
	}
	if _, set := resp.Get(http1.NameSetCookie); set || edit.Decides("set-cookie") {
		return false
	}
	value, _ := resp.Joined("cache-control")
	c := policy.ParseCacheControl(value)
	k.answer.public = c.Public || c.Shared
	if c.NoStore || c.Private || c.NoCache || !k.answer.public && k.who != anybody {
		return false
	}
	if c.Revalidate || c.Shared { // it must not be given once it is stale (section 4.2.4)
		if c.Lifetime <= 0 {
			return false
		}
		k.answer.fresh = c.Lifetime
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

// End keeps the answer, if all of it was sent: that is whole, and as long as resp says.
func (k *Keeping) End(whole bool, resp *http1.Response) {
	if k.begun && !k.failed && whole {
		k.keep(resp)
	}
	if cap(k.body) > transport.Small { // what one long answer needed is not kept for the next
		k.body = nil
	}
}

func (k *Keeping) keep(resp *http1.Response) {
	body := k.body
	if k.chunks {
		var ok bool
		if body, ok = unchunk(body); !ok {
			return
		}
	}
	if len(body) > maxBody || resp.Body == http1.BodyLength && int64(len(body)) != resp.Length {
		return
	}
	made := k.answer
	made.key, made.Fields, made.Body = string(k.key), string(k.fields), string(body)
	k.store.keep(&made)
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
