package http2

import (
	"bytes"
	"fmt"
	"strings"
)

// ask is what a request's head says about how it is sent.
type ask struct {
	method, target, host []byte
	length               int64 // -1: not announced
	size                 int   // of the fields that are just sent, as SETTINGS_MAX_HEADER_LIST_SIZE counts it
	chunked              bool
	websocket            bool
	key                  []byte // of the WebSocket
	fields               []byte // those that are just sent, as a header block
	grpc                 bool
}

var space, colon = []byte(" "), []byte(":")

// role is what becomes of a field of a request.
type role uint8

const (
	rolePlain role = iota
	roleDrop       // it belongs to a connection
	roleHost
	roleLength
	roleCoding
	roleUpgrade
	roleKey
	roleType
)

// roleOf knows the fields that are not just sent.
func roleOf(name []byte) role {
	is := func(s string, r role) role {
		if folds(name, s) {
			return r
		}
		return rolePlain
	}
	switch len(name) {
	case 2:
		return is("te", roleDrop)
	case 4:
		return is("host", roleHost)
	case 7:
		return is("upgrade", roleUpgrade)
	case 10:
		return max(is("connection", roleDrop), is("keep-alive", roleDrop))
	case 12:
		return is("content-type", roleType)
	case 14:
		return max(is("content-length", roleLength), is("http2-settings", roleDrop))
	case 16:
		return is("proxy-connection", roleDrop)
	case 17:
		return max(is("transfer-encoding", roleCoding), is("sec-websocket-key", roleKey))
	}
	return rolePlain
}

// folds reports whether b is s, which is in lower case, but for the case of letters.
func folds(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if lower[c] != s[i] {
			return false
		}
	}
	return true
}

// line cuts the next line of a head, without its CRLF. It is false if the line is not whole.
func line(head []byte) (first, rest []byte, whole bool) {
	for at := 0; ; at++ {
		i := bytes.IndexByte(head[at:], '\r')
		if at += i; i < 0 || at+1 == len(head) {
			return nil, nil, false
		}
		if head[at+1] == '\n' {
			return head[:at], head[at+2:], true
		}
	}
}

// fieldOverhead is what a field counts for beside its name and value (RFC 9113 section 6.5.2).
const fieldOverhead = 32

// listed is the size of all that appendPseudo and appendFields append, as SETTINGS_MAX_HEADER_LIST_SIZE
// counts it.
func (a *ask) listed(tunnel, secured bool) int {
	size := a.size + 3*fieldOverhead + len(":method:path:schemehttp") + len(a.method) + len(a.target)
	if secured {
		size++
	}
	if len(a.host) > 0 {
		size += fieldOverhead + len(":authority") + len(a.host)
	}
	switch {
	case tunnel:
		size += fieldOverhead + len(":protocolwebsocket") + len("CONNECT") - len(a.method)
	case len(a.key) > 0:
		size += fieldOverhead + len("sec-websocket-key") + len(a.key)
	}
	if a.grpc {
		size += fieldOverhead + len("tetrailers")
	}
	return size
}

// HeadLong ends a stream before it has begun: its host would not take a head of so many bytes.
type HeadLong struct{ Size, Most int }

// Error says so.
func (h *HeadLong) Error() string {
	return fmt.Sprintf("the head has %d bytes, and the host takes %d (SETTINGS_MAX_HEADER_LIST_SIZE)", h.Size, h.Most)
}

// read reads a head and encodes the fields that are just sent. It returns how long the head is, 0 if
// its end is not there.
func (a *ask) read(head []byte) int {
	first, rest, whole := line(head)
	a.method, first, _ = bytes.Cut(first, space)
	a.target, _, _ = bytes.Cut(first, space)
	a.length = -1
	for whole {
		if first, rest, whole = line(rest); len(first) == 0 {
			break
		}
		name, value, _ := bytes.Cut(first, colon)
		value = trim(value)
		switch roleOf(name) {
		case roleHost:
			a.host = value
		case roleLength:
			a.length = 0
			for _, c := range value {
				a.length = a.length*10 + int64(c-'0')
			}
			a.send(name, value)
		case roleCoding:
			a.chunked = true // the engine sends no other
		case roleUpgrade:
			a.websocket = folds(value, "websocket")
		case roleKey:
			a.key = value
		case roleType:
			a.grpc = bytes.HasPrefix(value, []byte("application/grpc"))
			a.send(name, value)
		case rolePlain:
			a.send(name, value)
		}
	}
	if !whole {
		return 0
	}
	return len(head) - len(rest)
}

// send adds a field to those that are just sent.
func (a *ask) send(name, value []byte) {
	a.size += fieldOverhead + len(name) + len(value)
	a.fields = appendField(a.fields, name, value)
}

// putAsk sends the head of a request.
func (s *Stream) putAsk(p []byte) (int, error) {
	o := outputs.Get().(*output)
	defer outputs.Put(o)
	a := ask{fields: o.p[:0]}
	n := a.read(p)
	if o.p = a.fields; cap(o.p) > 4*maxOut {
		o.p = nil
	}
	if n == 0 {
		return 0, nil
	}
	c := s.m.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed || s.gone {
		return 0, s.broken()
	}
	tunnel := a.websocket && c.tunnels
	if size := a.listed(tunnel, c.secured); c.maxAsk > 0 && size > c.maxAsk {
		s.lose(&HeadLong{size, c.maxAsk})
		return 0, s.broken()
	}
	if c.away || c.phase >= phaseEnding {
		s.lose(&Broken{Reason: strings.TrimRight("the connection has ended before the request began: "+c.goodbye, ": "), Unsent: true})
		return 0, s.broken()
	}
	s.tunnel = tunnel
	switch {
	case s.tunnel:
		s.key = append(s.key[:0], a.key...)
		s.part = partTunnel
	case a.chunked:
		s.part = partSize
	case a.length > 0:
		s.part, s.left = partBody, a.length
	default:
		s.part = partOver
	}
	s.method = append(s.method[:0], a.method...)
	c.start(s)
	out := c.buffer()
	at := len(out)
	out = appendFrame(out, 0, kindHeaders, 0, s.id)
	if !c.noTable {
		c.noTable = true
		out = appendNoTable(out)
	}
	s.close(a.appendFields(a.appendPseudo(out, s.tunnel, c.secured), s.tunnel), at, s.part == partOver)
	return n, nil
}

// start gives a stream its number. It is called with mu held.
func (c *Client) start(s *Stream) {
	s.id = c.next
	c.last = c.next
	if c.next += 2; c.next > maxWindow-1 {
		c.retired, c.away = true, true // there are no more numbers
	}
	s.outWindow = c.outFirst
	c.streams[s.id] = s
}

// Indices of the static table (RFC 7541 appendix A).
const (
	indexAuthority = 1
	indexMethod    = 2 // GET; POST follows
	indexPath      = 4 // "/"
	indexHTTP      = 6 // https follows
)

// appendPseudo appends the pseudo-headers.
func (a *ask) appendPseudo(dst []byte, tunnel, secured bool) []byte {
	switch {
	case tunnel:
		dst = appendString(AppendInteger(dst, 0, 4, indexMethod), []byte("CONNECT"))
		dst = appendField(dst, []byte(":protocol"), []byte("websocket"))
	case string(a.method) == "GET":
		dst = append(dst, 0x80|indexMethod)
	case string(a.method) == "POST":
		dst = append(dst, 0x80|indexMethod+1)
	default:
		dst = appendString(AppendInteger(dst, 0, 4, indexMethod), a.method)
	}
	if secured {
		dst = append(dst, 0x80|indexHTTP+1)
	} else {
		dst = append(dst, 0x80|indexHTTP)
	}
	if len(a.target) == 1 && a.target[0] == '/' {
		dst = append(dst, 0x80|indexPath)
	} else {
		dst = appendString(AppendInteger(dst, 0, 4, indexPath), a.target)
	}
	if len(a.host) > 0 {
		dst = appendString(AppendInteger(dst, 0, 4, indexAuthority), a.host)
	}
	return dst
}

// appendFields appends the others.
func (a *ask) appendFields(dst []byte, tunnel bool) []byte {
	dst = append(dst, a.fields...)
	if len(a.key) > 0 && !tunnel {
		dst = appendField(dst, []byte("sec-websocket-key"), a.key)
	}
	if a.grpc { // its servers want to know that trailers come through, which they do
		dst = appendField(dst, []byte("te"), []byte("trailers"))
	}
	return dst
}
