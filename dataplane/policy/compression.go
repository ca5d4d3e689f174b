package policy

import (
	"bytes"
	"slices"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
)

// Compression decides which answers are compressed, and with which coding.
//
// An answer is eligible that has a body of one of the types, of at least the minimal size
// where it announces one, and that nobody else has a say about: it has no Content-Encoding,
// no Content-Range, no digest of its content, no Cache-Control: no-transform (RFC 9110
// section 7.7), and a status that stands for a whole representation. It is compressed if the
// client takes a coding as gladly as none (RFC 9110 section 12.5.3), and if it holds no secret
// as far as that shows: BREACH needs a request that carries the victim's credentials by
// itself, so cookies, Authorization and client certificates count, and cookies that the answer
// sets. Vary says of every eligible answer that another request may get another one.
//
// The coding makes another representation of the answer, whose bytes are not reproducible:
// so its ETag becomes weak (RFC 9110 section 8.8.1), and ranges of it are not offered.
type Compression struct {
	algorithms  []model.Coding
	minSize     int64
	types       []mediaType
	credentials bool

	typeKnown  bool // the response edit sets the type, to one that is compressed
	varyEdited bool // the response edit takes away the upstream's Vary
	etagEdited bool // and its ETag
}

// CompileCompression prepares m for answers that edit is applied to. It returns nil where
// nothing is compressed: m is nil, or edit sets what the decision would have to know or
// change, such as Content-Encoding or ETag.
func CompileCompression(m *model.Compression, edit *HeaderEdit) *Compression {
	if m == nil || len(m.Algorithms) == 0 {
		return nil
	}
	c := &Compression{algorithms: m.Algorithms, minSize: m.MinSize, credentials: m.Credentials}
	for _, t := range m.Types {
		c.types = append(c.types, parseMediaType(t))
	}
	if edit == nil {
		return c
	}
	for _, e := range edit.effects {
		switch e.Name {
		case "content-encoding", "etag":
			if len(e.Values) > 0 {
				return nil
			}
			c.etagEdited = c.etagEdited || e.Name == "etag"
		case "content-type":
			if !e.Drop || len(e.Values) != 1 || !c.covers([]byte(e.Values[0])) {
				return nil
			}
			c.typeKnown = true
		case "cache-control":
			if slices.ContainsFunc(e.Values, func(v string) bool { return listHas([]byte(v), "no-transform") }) {
				return nil
			}
		case "vary":
			c.varyEdited = c.varyEdited || e.Drop
		}
	}
	return c
}

// Verdict is what becomes of an answer.
type Verdict struct {
	Coding model.Coding // empty: it is sent as it is
	vary   bool         // Accept-Encoding must be added to Vary
	weaken bool         // its ETag must be weak
	etag   []byte       // the strong ETag that was taken out
}

// Judge decides about the answer to a request. identified is whether the client has shown a
// certificate. Nothing is changed yet.
func (c *Compression) Judge(req *http1.Request, resp *http1.Response, identified bool) Verdict {
	if resp.Status == 304 {
		return c.notModified(req, resp)
	}
	if !c.eligible(req, resp) {
		return Verdict{}
	}
	v := Verdict{vary: c.addsVary(&resp.Head)}
	if req.Minor == 0 || !c.credentials && (identified || secret(req, resp)) {
		return v
	}
	if accepted, ok := req.Joined("accept-encoding"); ok {
		v.Coding = negotiate(accepted, c.algorithms)
	}
	v.weaken = v.Coding != "" && !c.etagEdited
	return v
}

// notModified decides about an answer that stands for what the client has (304), whether
// that was compressed or not: it must vary as that did, and give back the weak ETag that the
// client asked about.
func (c *Compression) notModified(req *http1.Request, resp *http1.Response) Verdict {
	if kind, ok := resp.Get(http1.NameContentType); ok && !c.typeKnown && !c.covers(kind) || !transformable(resp) {
		return Verdict{}
	}
	v := Verdict{vary: c.addsVary(&resp.Head)}
	etag, ok := resp.Lookup("etag")
	ok = ok && !c.etagEdited
	for i := range req.Fields {
		if ok && req.Fields[i].Known == http1.NameIfNoneMatch && weakly(req.Value(i), etag) {
			v.weaken = true
		}
	}
	return v
}

// weakly reports whether a list of entity tags has etag as a weak one.
func weakly(list, etag []byte) bool {
	for len(etag) > 0 {
		i := bytes.Index(list, etag)
		if i < 0 {
			return false
		}
		if i >= 2 && list[i-2] == 'W' && list[i-1] == '/' {
			return true
		}
		list = list[i+len(etag):]
	}
	return false
}

// eligible reports whether the answer would be compressed for some client.
func (c *Compression) eligible(req *http1.Request, resp *http1.Response) bool {
	switch resp.Status {
	case 204, 205, 206, 226:
		return false
	}
	switch resp.Body {
	case http1.BodyNone:
		if string(req.Method) != "HEAD" {
			return false
		}
		// A HEAD's answer has the fields that the GET's would have.
		if text, ok := resp.Get(http1.NameContentLength); ok && (shorter(text, c.minSize) || shorter(text, 1)) {
			return false
		}
	case http1.BodyLength:
		if resp.Length < c.minSize {
			return false
		}
	}
	if !c.typeKnown {
		if kind, ok := resp.Get(http1.NameContentType); !ok || !c.covers(kind) {
			return false
		}
	}
	return transformable(resp)
}

// shorter reports whether a valid Content-Length is less than n.
func shorter(text []byte, n int64) bool {
	var v int64
	for _, digit := range text {
		if v = v*10 + int64(digit-'0'); v >= n {
			return false
		}
	}
	return v < n
}

// transformable reports whether the answer's content is whole, not encoded, and anybody's
// to encode. gRPC compresses its messages itself, and its clients know no other way.
func transformable(resp *http1.Response) bool {
	if resp.GRPC {
		return false
	}
	for i := range resp.Fields {
		switch resp.Fields[i].Known {
		case http1.NameContentEncoding, http1.NameContentRange:
			return false
		case http1.NameCacheControl:
			if listHas(resp.Value(i), "no-transform") {
				return false
			}
		case http1.NameOther:
			name := resp.Name(i)
			for _, digest := range [...]string{"content-digest", "repr-digest", "digest", "content-md5"} {
				if foldEqual(name, digest) {
					return false
				}
			}
		}
	}
	return true
}

// secret reports whether the answer may hold what is meant for its reader alone.
func secret(req *http1.Request, resp *http1.Response) bool {
	for i := range req.Fields {
		if k := req.Fields[i].Known; k == http1.NameCookie || k == http1.NameAuthorization {
			return true
		}
	}
	for i := range resp.Fields {
		if resp.Fields[i].Known == http1.NameSetCookie {
			return true
		}
	}
	return false
}

// addsVary reports whether the answer's own Vary says nothing of Accept-Encoding.
func (c *Compression) addsVary(h *http1.Head) bool {
	if c.varyEdited {
		return true
	}
	for i := range h.Fields {
		if h.Fields[i].Known == http1.NameVary && (listHas(h.Value(i), "accept-encoding") || listHas(h.Value(i), "*")) {
			return false
		}
	}
	return true
}

// Mark takes out of the head what is not true any more once the verdict holds.
func (v *Verdict) Mark(h *http1.Head) {
	for i := range h.Fields {
		f := &h.Fields[i]
		switch {
		case f.Known == http1.NameContentLength, f.Known == http1.NameOther && foldEqual(h.Name(i), "accept-ranges"):
			f.Dropped = f.Dropped || v.Coding != ""
		case v.weaken && !f.Dropped && f.Known == http1.NameOther && foldEqual(h.Name(i), "etag"):
			if value := h.Value(i); !bytes.HasPrefix(value, []byte("W/")) {
				f.Dropped, v.etag = true, value
			}
		}
	}
}

// AppendTo appends the fields that say what was done.
func (v *Verdict) AppendTo(dst []byte) []byte {
	if v.Coding != "" {
		dst = http1.AppendFieldString(dst, "Content-Encoding", string(v.Coding))
	}
	if v.etag != nil {
		dst = append(dst, "ETag: W/"...)
		dst = append(dst, v.etag...)
		dst = append(dst, "\r\n"...)
	}
	if v.vary {
		dst = append(dst, "Vary: Accept-Encoding\r\n"...)
	}
	return dst
}

// AsItIs changes the verdict to sending the answer as it is.
func (v *Verdict) AsItIs() { v.Coding, v.weaken = "", false }
