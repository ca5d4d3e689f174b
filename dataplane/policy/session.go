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

// Token is what a client of a session holds: where its requests go, and since when.
//
// On the wire it is the URL-safe base64 of 21 bytes, 28 characters without padding:
//
//	version (1) | host (8) | began (6) | seen (6)      version 1, big-endian, times in Unix milliseconds
//
// It names a host only to those who know the cluster, and grants nothing: it is not signed.
// Whoever makes one up can choose among the hosts that the route leads to anyway.
type Token struct {
	Host  uint64    // cluster.Host.Token
	Began time.Time // when the session began
	Seen  time.Time // its last request, to a tenth of the idle timeout
}

const (
	tokenVersion = 1
	tokenBytes   = 1 + 8 + 6 + 6
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
	carrier        model.SessionType
	name           string
	absolute, idle time.Duration
	permanent      bool
	front, back    []byte // of the field line, around the token
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
	s := &Session{carrier: m.Type, name: m.Name, absolute: m.AbsoluteTimeout, idle: m.IdleTimeout}
	if m.Type == model.SessionHeader {
		s.front = append([]byte(m.Name), ": "...)
		return s
	}
	s.permanent = m.Permanent && m.AbsoluteTimeout > 0
	s.front = append([]byte("Set-Cookie: "+m.Name), '=')
	s.back = append([]byte("; Path="+cookiePath(m.Path)), "; HttpOnly; SameSite=Lax"...)
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

// Read returns the token that a request brings. Without one, or with one that is malformed,
// forged as far as that shows, or too old, ok is false: the request begins a new session.
// Of several cookies with the session's name the first counts that holds a token.
func (s *Session) Read(h *http1.Head, now time.Time) (t Token, ok bool) {
	if s.carrier == model.SessionHeader {
		text, _ := h.Lookup(s.name)
		t, ok = parseToken(text)
		return t, ok && s.lives(t, now)
	}
	for text := range cookies(h, s.name) {
		if t, ok = parseToken(text); ok {
			return t, s.lives(t, now)
		}
	}
	return Token{}, false
}

// lives reports whether a session has not timed out. A token tells the last request to a
// tenth of the idle timeout only, so a session may live that much longer, never shorter.
func (s *Session) lives(t Token, now time.Time) bool {
	switch {
	case t.Seen.Before(t.Began), t.Seen.Sub(now) > clockSkew:
		return false
	case s.absolute > 0 && now.Sub(t.Began) >= s.absolute:
		return false
	case s.idle > 0 && now.Sub(t.Seen) >= s.idle+s.idle/10:
		return false
	}
	return true
}

// Renews reports whether the client of a living session is to get its token anew, so that
// it does not become idle.
func (s *Session) Renews(t Token, now time.Time) bool {
	return s.idle > 0 && now.Sub(t.Seen) >= s.idle/10
}

// AppendTo appends the field of an answer that gives the client a token.
func (s *Session) AppendTo(dst []byte, t Token, now time.Time, https bool) []byte {
	dst = append(dst, s.front...)
	dst = appendToken(dst, t)
	dst = append(dst, s.back...)
	if https && s.carrier == model.SessionCookie {
		dst = append(dst, "; Secure"...)
	}
	if s.permanent {
		left := t.Began.Add(s.absolute).Sub(now)
		dst = append(dst, "; Max-Age="...)
		dst = strconv.AppendInt(dst, int64((left+time.Second-1)/time.Second), 10)
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

func appendToken(dst []byte, t Token) []byte {
	var raw [tokenBytes]byte
	raw[0] = tokenVersion
	binary.BigEndian.PutUint64(raw[1:], t.Host)
	putMillis(raw[9:], t.Began)
	putMillis(raw[15:], t.Seen)
	return base64.RawURLEncoding.AppendEncode(dst, raw[:])
}

// parseToken reads what appendToken writes.
func parseToken(text []byte) (Token, bool) {
	var raw [tokenBytes]byte
	if len(text) != tokenText {
		return Token{}, false
	}
	n, err := base64.RawURLEncoding.Decode(raw[:], text) // which passes over line ends
	if err != nil || n != tokenBytes || raw[0] != tokenVersion {
		return Token{}, false
	}
	return Token{Host: binary.BigEndian.Uint64(raw[1:]), Began: millis(raw[9:]), Seen: millis(raw[15:])}, true
}

// putMillis writes the lower six bytes of t in milliseconds: they last until the year 10889.
func putMillis(b []byte, t time.Time) {
	ms := uint64(t.UnixMilli())
	binary.BigEndian.PutUint16(b, uint16(ms>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(ms))
}

func millis(b []byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint16(b))<<32 | int64(binary.BigEndian.Uint32(b[2:])))
}
