package policy

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/fields"
)

// token is what a client of a session holds: where its requests go, and since when.
//
// On the wire it is the URL-safe base64 of 15 bytes, 20 characters:
//
//	version (1) | host (8) | began (6)      version 1, big-endian, the time in Unix milliseconds
//
// It names a host only to those who know the cluster, and grants nothing: it is not signed.
// Whoever makes one up can choose among the hosts that the route leads to anyway.
type token struct {
	host  uint64    // cluster.Host.Token
	began time.Time // when the session began
}

const (
	tokenVersion = 1
	tokenBytes   = 1 + 8 + 6
	tokenText    = tokenBytes / 3 * 4
)

// clockSkew is how far ahead of ours the clock of a proxy may be that issued a token.
const clockSkew = 5 * time.Minute

// Session reads and writes the tokens of model.Session (GEP-1619).
//
// A session's cookie is HttpOnly, because no script needs it, and Secure where the client
// speaks https. It is SameSite=Lax and not Strict as the GEP suggests: with Strict, a link
// from elsewhere would come without the token, and the answer would move the session. It
// authorises nothing, so there is nothing that Strict would protect.
//
// The upstream sees the token as the client sent it: the GEP has backends see what a session
// goes by. So do mirrors, whose answers reach no client and set nothing. An upstream that sets a
// cookie of the same name takes the token's place or loses its own: the name must be ours alone.
type Session struct {
	carrier     model.SessionType
	name        string
	absolute    time.Duration
	front, back []byte // of the field line, around the token
}

// CompileSession prepares m; nil for nil, and for a name that no cookie can have or that is
// a header which is not to be touched (see package fields).
func CompileSession(m *model.Session) *Session {
	if m == nil || !isToken(m.Name) {
		return nil
	}
	if m.Type == model.SessionHeader && len(fields.Effects(&model.HeaderEdit{Remove: []string{m.Name}})) == 0 {
		return nil
	}
	s := &Session{carrier: m.Type, name: m.Name, absolute: m.AbsoluteTimeout}
	if m.Type == model.SessionHeader {
		s.front = append([]byte(m.Name), ": "...)
		return s
	}
	s.front = append([]byte("Set-Cookie: "+m.Name), '=')
	s.back = append([]byte("; Path="+cookiePath(m.Path)), "; HttpOnly; SameSite=Lax"...)
	if m.Permanent && m.AbsoluteTimeout > 0 {
		s.back = append(s.back, "; Max-Age="...)
		s.back = strconv.AppendInt(s.back, int64((m.AbsoluteTimeout+time.Second-1)/time.Second), 10)
	}
	return s
}

// cookiePath returns the Path attribute for path: "/" where it could not stand in one
// (RFC 6265 section 4.1.1) or would be ignored by clients.
func cookiePath(path string) string {
	if path == "" || path[0] != '/' {
		return "/"
	}
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c > '~' || c == ';' {
			return "/"
		}
	}
	return path
}

// Read returns the token of the host that a request's session lives at. Without a session, or
// with one that is malformed, forged as far as that shows, or too old, ok is false: the request
// begins a new one.
// Of several cookies with the session's name the first counts that holds a token.
func (s *Session) Read(h *http1.Head, now time.Time) (host uint64, ok bool) {
	if s.carrier == model.SessionHeader {
		text, _ := h.Lookup(s.name)
		t, ok := parseToken(text)
		return t.host, ok && s.lives(t, now)
	}
	for text := range cookies(h, s.name) {
		if t, ok := parseToken(text); ok {
			return t.host, s.lives(t, now)
		}
	}
	return 0, false
}

// lives reports whether a session has begun and not timed out.
func (s *Session) lives(t token, now time.Time) bool {
	age := now.Sub(t.began)
	return age >= -clockSkew && (s.absolute == 0 || age < s.absolute)
}

// AppendTo appends the field of an answer that begins a session at a host, by its token.
func (s *Session) AppendTo(dst []byte, host uint64, now time.Time, https bool) []byte {
	dst = append(dst, s.front...)
	dst = appendToken(dst, token{host, now})
	dst = append(dst, s.back...)
	if https && s.carrier == model.SessionCookie {
		dst = append(dst, "; Secure"...)
	}
	return append(dst, "\r\n"...)
}

// Claim takes the session's header out of an upstream's answer: the name is the session's.
// Cookies of an upstream are left alone.
func (s *Session) Claim(h *http1.Head) {
	if s.carrier != model.SessionHeader {
		return
	}
	for i := range h.Fields {
		if foldEqual(h.Name(i), s.name) {
			h.Fields[i].Dropped = true
		}
	}
}

func appendToken(dst []byte, t token) []byte {
	var raw [tokenBytes]byte
	raw[0] = tokenVersion
	binary.BigEndian.PutUint64(raw[1:], t.host)
	ms := uint64(t.began.UnixMilli()) // its lower six bytes last until the year 10889
	binary.BigEndian.PutUint16(raw[9:], uint16(ms>>32))
	binary.BigEndian.PutUint32(raw[11:], uint32(ms))
	return base64.RawURLEncoding.AppendEncode(dst, raw[:])
}

// parseToken reads what appendToken writes.
func parseToken(text []byte) (token, bool) {
	var raw [tokenBytes]byte
	if len(text) != tokenText {
		return token{}, false
	}
	n, err := base64.RawURLEncoding.Decode(raw[:], text) // which passes over line ends
	if err != nil || n != tokenBytes || raw[0] != tokenVersion {
		return token{}, false
	}
	began := int64(binary.BigEndian.Uint16(raw[9:]))<<32 | int64(binary.BigEndian.Uint32(raw[11:]))
	return token{binary.BigEndian.Uint64(raw[1:]), time.UnixMilli(began)}, true
}
