package http2

import (
	"bytes"
	"strings"
)

// ask is what a request's head says about how it is sent.
type ask struct {
	method, target, host []byte
	length               int64 // -1: not announced
	chunked              bool
	websocket            bool
	key                  []byte // of the WebSocket
	grpc                 bool
}

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

// field cuts the next line of a head. At the head's end name is empty.
func field(lines []byte) (name, value, rest []byte) {
	line, rest, _ := bytes.Cut(lines, []byte("\r\n"))
	name, value, _ = bytes.Cut(line, []byte(":"))
	return name, trim(value), rest
}

// read reads a head up to its end, which is there, and returns where its fields begin.
func (a *ask) read(head []byte) (fields []byte) {
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	a.method, line, _ = bytes.Cut(line, []byte(" "))
	a.target, _, _ = bytes.Cut(line, []byte(" "))
	a.length = -1
	for rest := fields; ; {
		var name, value []byte
		if name, value, rest = field(rest); len(name) == 0 {
			return fields
		}
		switch roleOf(name) {
		case roleHost:
			a.host = value
		case roleLength:
			a.length = 0
			for _, c := range value {
				a.length = a.length*10 + int64(c-'0')
			}
		case roleCoding:
			a.chunked = true // the engine sends no other
		case roleUpgrade:
			a.websocket = folds(value, "websocket")
		case roleKey:
			a.key = value
		case roleType:
			a.grpc = bytes.HasPrefix(value, []byte("application/grpc"))
		}
	}
}

// putAsk sends the head of a request.
func (s *Stream) putAsk(p []byte) (int, error) {
	n := bytes.Index(p, []byte("\r\n\r\n")) + 4
	if n < 4 {
		return 0, nil
	}
	var a ask
	fields := a.read(p[:n])
	c := s.m.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed || s.gone {
		return 0, s.broken()
	}
	if c.away || c.phase >= phaseEnding {
		s.lose(&Broken{Reason: strings.TrimRight("the connection has ended before the request began: "+c.goodbye, ": "), Unsent: true})
		return 0, s.broken()
	}
	s.tunnel = a.websocket && c.tunnels
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
	s.close(a.appendFields(a.appendPseudo(out, s.tunnel, c.secured), fields, s.tunnel), at, s.part == partOver)
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
func (a *ask) appendFields(dst, fields []byte, tunnel bool) []byte {
	for {
		var name, value []byte
		if name, value, fields = field(fields); len(name) == 0 {
			break
		}
		switch r := roleOf(name); {
		case r == rolePlain, r == roleType, r == roleLength, r == roleKey && !tunnel:
			dst = appendField(dst, name, value)
		}
	}
	if a.grpc { // its servers want to know that trailers come through, which they do
		dst = appendField(dst, []byte("te"), []byte("trailers"))
	}
	return dst
}
