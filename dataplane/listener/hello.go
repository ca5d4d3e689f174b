package listener

import (
	"encoding/binary"
	"strings"
)

// hello finds the name that a client asks for in what a TLS connection begins with, bytes that
// belong to somebody else: nothing of them is consumed or computed. The zero hello is ready.
type hello struct {
	next int // where the next record begins
	have int // bytes of the handshake message in the records before
}

// What a TLS connection begins with (RFC 8446 sections 4 and 5.1).
const (
	recordHeader    = 5
	recordHandshake = 22
	maxRecord       = 1 << 14
	messageHeader   = 4
	messageHello    = 1
	extensionSNI    = 0
)

// complete reports whether all of the message has come, or it is certain that there is none.
// It is asked again with the same bytes and more of them, and looks at each record once.
func (h *hello) complete(seen []byte) bool {
	for {
		if len(seen) > h.next && seen[h.next] != recordHandshake {
			return true
		}
		if len(seen) < h.next+recordHeader {
			return false
		}
		n := int(binary.BigEndian.Uint16(seen[h.next+3:]))
		if n == 0 || n > maxRecord {
			return true
		}
		if len(seen) < h.next+recordHeader+n {
			return false
		}
		h.next += recordHeader + n
		h.have += n
		if h.have >= messageHeader {
			m := h.message(seen)
			if m[0] != messageHello || h.have >= messageHeader+uint24(m[1:]) {
				return true
			}
		}
	}
}

// message returns what the records that complete has passed hold. A hello is in one record as
// a rule, and its bytes are those seen.
func (h *hello) message(seen []byte) []byte {
	if h.next == h.have+recordHeader {
		return seen[recordHeader:h.next]
	}
	m := make([]byte, 0, messageHeader)
	for at := 0; at < h.next; {
		n := int(binary.BigEndian.Uint16(seen[at+3:]))
		m = append(m, seen[at+recordHeader:at+recordHeader+n]...)
		at += recordHeader + n
	}
	return m
}

// serverName returns the name that a complete hello asks for (RFC 6066 section 3), in lower
// case, empty if for none; false if it is no hello, or one that crypto/tls would refuse.
func (h *hello) serverName(seen []byte) (name string, ok bool) {
	if h.have < messageHeader {
		return "", false
	}
	m := fields(h.message(seen))
	kind, body := m.byte(), m.vector(3)
	version, _ := body.take(2), body.take(32) // and the random
	if m == nil || kind != messageHello || version == nil {
		return "", false
	}
	_, _, _ = body.vector(1), body.vector(2), body.vector(1) // session, suites, compression
	if body == nil {
		return "", false
	}
	if len(body) == 0 {
		return "", true // no extensions
	}
	list := body.vector(2)
	if body == nil || len(body) > 0 {
		return "", false
	}
	seenSNI := false
	for len(list) > 0 {
		kind, data := list.number(2), list.vector(2)
		if list == nil {
			return "", false
		}
		if kind != extensionSNI {
			continue
		}
		if name, ok = hostName(data); !ok || seenSNI {
			return "", false
		}
		seenSNI = true
	}
	return name, true
}

// hostName reads the extension: a list with one name of a host.
func hostName(data fields) (string, bool) {
	names := data.vector(2)
	if data == nil || len(data) > 0 || len(names) == 0 {
		return "", false
	}
	name := ""
	for len(names) > 0 {
		kind, value := names.byte(), names.vector(2)
		if names == nil || len(value) == 0 {
			return "", false
		}
		if kind != 0 {
			continue
		}
		if name != "" || value[len(value)-1] == '.' {
			return "", false
		}
		name = strings.ToLower(string(value))
	}
	return name, true
}

// fields is a sequence of fields of TLS's presentation language (RFC 8446 section 3). When one
// is cut off, all that follow are, and the rest is nil; else it is not.
type fields []byte

func (f *fields) take(n int) fields {
	if *f == nil || len(*f) < n {
		*f = nil
		return nil
	}
	taken := (*f)[:n:n]
	*f = (*f)[n:]
	return taken
}

func (f *fields) number(size int) int {
	n := 0
	for _, b := range f.take(size) {
		n = n<<8 | int(b)
	}
	return n
}

func (f *fields) byte() int { return f.number(1) }

// vector takes as many bytes as the number of size bytes says that stands in front.
func (f *fields) vector(size int) fields { return f.take(f.number(size)) }

func uint24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }
