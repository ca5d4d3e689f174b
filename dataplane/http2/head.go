package http2

import (
	"crypto/rand"
	"encoding/base64"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// Faults of header blocks (RFC 9113 section 8).
var (
	errPseudoUnknown = streamFault(codeProtocol, "unknown pseudo-header")
	errPseudoTwice   = streamFault(codeProtocol, "pseudo-header twice")
	errPseudoLate    = streamFault(codeProtocol, "pseudo-header behind a field")
	errPseudoTrailer = streamFault(codeProtocol, "pseudo-header in trailers")
	errPseudoMissing = streamFault(codeProtocol, "pseudo-header missing")
	errPseudoExtra   = streamFault(codeProtocol, "pseudo-header that CONNECT may not have")
	errProtocol      = streamFault(codeProtocol, ":protocol without CONNECT")
	errMethod        = streamFault(codeProtocol, "malformed :method")
	errPath          = streamFault(codeProtocol, "malformed :path")
	errScheme        = streamFault(codeProtocol, "malformed :scheme")
	errAuthority     = streamFault(codeProtocol, "malformed :authority")
	errHost          = streamFault(codeProtocol, ":authority and Host disagree")
	errName          = streamFault(codeProtocol, "bad character in a field's name")
	errValue         = streamFault(codeProtocol, "bad character in a field's value")
	errHopField      = streamFault(codeProtocol, "field that belongs to a connection")
	errTE            = streamFault(codeProtocol, "TE other than trailers")
	errLength        = streamFault(codeProtocol, "malformed content-length")
	errLengthBody    = streamFault(codeProtocol, "content-length and DATA disagree")
)

// pseudo is a set of pseudo-headers.
type pseudo uint8

const (
	hasMethod pseudo = 1 << iota
	hasScheme
	hasPath
	hasAuthority
	hasProtocol
	hasStatus
)

// head makes an HTTP/1.1 head, or trailer lines, of a header block. It is strict where a
// field could change what the bytes mean; the rest is judged by whoever parses the head.
type head struct {
	limit   int // bytes of fields; what comes beyond it is left out, and over is set
	trailer bool
	answer  bool // of an answer, not of a request
	over    bool
	fault   *fault

	seen                              pseudo
	method, scheme, path, auth, proto string
	host                              string
	hosts                             int
	status                            string
	announced                         bool  // of an answer: trailers may follow
	length                            int64 // -1: not announced
	fields                            []byte
	cookie                            []byte // the crumbs joined (RFC 9113 section 8.2.3)
}

// reset makes h ready for another block.
func (h *head) reset(limit int, trailer bool) {
	fields, cookie := h.fields[:0], h.cookie[:0]
	if cap(fields)+cap(cookie) > 8<<10 { // an idle connection does not keep what one long head needed
		fields, cookie = nil, nil
	}
	*h = head{limit: limit, trailer: trailer, length: -1, fields: fields, cookie: cookie}
}

// field takes the next field of the block.
func (h *head) field(f hpack.HeaderField) { h.take(f.Name, f.Value) }

// take takes a field.
func (h *head) take(name, value string) {
	if h.fault != nil || h.over {
		return
	}
	if len(name) > 0 && name[0] == ':' {
		h.fault = h.pseudo(name, value)
		return
	}
	h.fault = h.regular(name, value)
	h.over = len(h.fields)+len(h.cookie) > h.limit
}

func (h *head) pseudo(name, value string) *fault {
	if h.trailer {
		return errPseudoTrailer
	}
	if len(h.fields) > 0 || len(h.cookie) > 0 || h.hosts > 0 || h.length >= 0 {
		return errPseudoLate
	}
	var bit pseudo
	var to *string
	switch name {
	case ":method":
		bit, to = hasMethod, &h.method
	case ":scheme":
		bit, to = hasScheme, &h.scheme
	case ":path":
		bit, to = hasPath, &h.path
	case ":authority":
		bit, to = hasAuthority, &h.auth
	case ":protocol":
		bit, to = hasProtocol, &h.proto
	case ":status":
		bit, to = hasStatus, &h.status
	default:
		return errPseudoUnknown
	}
	if h.answer != (bit == hasStatus) {
		return errPseudoUnknown
	}
	if h.seen&bit != 0 {
		return errPseudoTwice
	}
	h.seen |= bit
	*to = value
	return nil
}

func (h *head) regular(name, value string) *fault {
	if !isName(name) {
		return errName
	}
	if !isValue(value) {
		return errValue
	}
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return errHopField
	default:
		if h.answer {
			return h.ofAnswer(name, value)
		}
	}
	switch name {
	case "te":
		if value != "trailers" {
			return errTE
		}
	case "host":
		h.hosts++
		h.host = value
		return nil
	case "cookie":
		if len(h.cookie) > 0 {
			h.cookie = append(h.cookie, "; "...)
		}
		h.cookie = append(h.cookie, value...)
		return nil
	case "content-length":
		if h.length >= 0 || !h.number(value) {
			return errLength
		}
	case "sec-websocket-key":
		if h.seen&hasProtocol != 0 {
			return nil // HTTP/2 has none (RFC 8441 section 5): ours stands there
		}
	}
	h.add(name, value)
	return nil
}

func (h *head) add(name, value string) {
	h.fields = append(h.fields, name...)
	h.fields = append(h.fields, ": "...)
	h.fields = append(h.fields, value...)
	h.fields = append(h.fields, "\r\n"...)
}

// ofAnswer takes a field of an answer. The length is written by whoever knows how the body is
// sent on.
func (h *head) ofAnswer(name, value string) *fault {
	switch name {
	case "content-length":
		if h.length >= 0 || !h.number(value) {
			return errLength
		}
		if !h.trailer {
			return nil
		}
	case "trailer":
		h.announced = true
	}
	h.add(name, value)
	return nil
}

// finishAnswer judges the complete block of an answer.
func (h *head) finishAnswer() *fault {
	switch {
	case h.fault != nil:
		return h.fault
	case h.seen&hasStatus == 0:
		return errPseudoMissing
	case h.statusCode() == 0:
		return errStatus
	}
	return nil
}

// statusCode is 100 to 599; 0: malformed.
func (h *head) statusCode() int {
	s := h.status
	if len(s) != 3 || s[0] < '1' || s[0] > '5' || s[1] < '0' || s[1] > '9' || s[2] < '0' || s[2] > '9' {
		return 0
	}
	return int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0')
}

// number reads the content-length: digits only, below 10^18.
func (h *head) number(value string) bool {
	if len(value) == 0 || len(value) > 18 {
		return false
	}
	h.length = 0
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' {
			return false
		}
		h.length = h.length*10 + int64(value[i]-'0')
	}
	return true
}

// finish judges the complete block of a request.
func (h *head) finish(ended bool) *fault {
	if h.fault != nil {
		return h.fault
	}
	connect := h.method == "CONNECT"
	plain := connect && h.seen&hasProtocol == 0
	switch {
	case h.seen&hasMethod == 0, plain && h.seen&hasAuthority == 0, !plain && h.seen&(hasScheme|hasPath) != hasScheme|hasPath:
		return errPseudoMissing
	case plain && h.seen&(hasScheme|hasPath) != 0:
		return errPseudoExtra
	case h.seen&hasProtocol != 0 && (!connect || h.seen&hasAuthority == 0):
		return errProtocol
	case !isToken(h.method):
		return errMethod
	case !plain && !isTarget(h.path), !plain && h.path[0] != '/' && (h.path != "*" || h.method != "OPTIONS"):
		return errPath
	case !plain && !isScheme(h.scheme):
		return errScheme
	case h.seen&hasAuthority != 0 && !isTarget(h.auth):
		return errAuthority
	case h.hosts > 1, h.hosts == 1 && h.seen&hasAuthority != 0 && !strings.EqualFold(h.host, h.auth):
		return errHost
	case h.length > 0 && ended, h.length >= 0 && connect:
		return errLengthBody
	}
	return nil
}

// tunnels reports whether the request opens a WebSocket (RFC 8441). Nothing else can be
// tunnelled.
func (h *head) tunnels() bool { return h.method == "CONNECT" && h.proto == "websocket" }

// appendTo appends the HTTP/1.1 head. One that went over its limit is longer than that, and no
// whole head, whatever follows.
func (h *head) appendTo(dst []byte, chunked bool) []byte {
	method, target := h.method, h.path
	switch {
	case h.tunnels():
		method = "GET"
	case method == "CONNECT":
		target = h.auth
	}
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, target...)
	dst = append(dst, " HTTP/1.1\r\n"...)
	host := h.host
	if h.seen&hasAuthority != 0 {
		host = h.auth
	}
	if h.hosts > 0 || h.seen&hasAuthority != 0 {
		dst = append(dst, "host: "...)
		dst = append(dst, host...)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, h.fields...)
	if h.over { // longer than the limit, and malformed: or the body might pass for the rest of it
		return append(append(dst, make([]byte, max(h.limit-len(dst), 0)+1)...), "\r\n"...)
	}
	if len(h.cookie) > 0 {
		dst = append(dst, "cookie: "...)
		dst = append(dst, h.cookie...)
		dst = append(dst, "\r\n"...)
	}
	if h.tunnels() {
		var nonce [16]byte
		_, _ = rand.Read(nonce[:]) // it never fails
		dst = append(dst, "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: "...)
		dst = base64.StdEncoding.AppendEncode(dst, nonce[:])
		dst = append(dst, "\r\n"...)
	}
	if chunked {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// names has the characters of field names: tokens without upper case (RFC 9113 section 8.2.1).
var names = nameTable()

func nameTable() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~") {
		t[c] = true
	}
	return t
}

func isName(s string) bool {
	for i := range len(s) {
		if !names[s[i]] {
			return false
		}
	}
	return len(s) > 0
}

// isToken is for methods, which may have upper case.
func isToken(s string) bool {
	for i := range len(s) {
		if !names[lower[s[i]]] {
			return false
		}
	}
	return len(s) > 0
}

// isValue reports whether a value has no byte that ends a line, no NUL and no white space
// around it.
func isValue(s string) bool {
	if len(s) == 0 {
		return true
	}
	if isSpace(s[0]) || isSpace(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c == 0 || c == '\r' || c == '\n' {
			return false
		}
	}
	return true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// isTarget reports whether s is visible ASCII, so that it cannot end a request line early.
func isTarget(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return len(s) > 0
}

// isScheme is RFC 3986 section 3.1.
func isScheme(s string) bool {
	for i := range len(s) {
		c := lower[s[i]]
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return len(s) > 0
}
