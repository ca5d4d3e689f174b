// Package http1 is Weir's HTTP/1.1 codec (RFC 9110, RFC 9112): it parses and validates
// heads and chunked bodies in byte slices, and appends heads to byte slices. It does no I/O,
// keeps no goroutine, and allocates nothing once its values are warm. What is malformed or
// could be read in two ways is refused, never repaired. It does not decide what a proxy
// does with a message: that is dataplane/proxy.
package http1

import (
	"bytes"

	"weir.dev/weir/model"
)

// Limits bound a head. Zero values mean the defaults named below; a policy that is empty
// is Reject.
type Limits struct {
	MaxHead   int // bytes of a head with its request line and empty line; default 64 KiB, at most 16 MiB
	MaxLine   int // bytes of a request line without CRLF; default and at most MaxHead
	MaxFields int // header fields; default 100
	// Underscores applies to requests only: an answer's names are never mapped to variables.
	Underscores model.NamePolicy
	Escapes     model.EscapePolicy
}

const (
	defaultHead   = 64 << 10
	maxHead       = 16 << 20
	defaultFields = 100
)

func (l *Limits) head() int {
	if l.MaxHead <= 0 {
		return defaultHead
	}
	return min(l.MaxHead, maxHead)
}

func (l *Limits) line() int {
	if l.MaxLine <= 0 {
		return l.head()
	}
	return min(l.MaxLine, l.head())
}

func (l *Limits) fields() int {
	if l.MaxFields <= 0 {
		return defaultFields
	}
	return l.MaxFields
}

// Field is one header field of a Head, as offsets into the head's bytes.
type Field struct {
	nameAt, nameEnd, valueAt, valueEnd uint32

	// Known is the header's Name.
	Known Name
	// Hop marks a hop-by-hop field or one that Connection names: it is never forwarded.
	Hop bool
	// Dropped marks a field that policy removes: it is never forwarded, and Get, Lookup
	// and Joined do not see it.
	Dropped bool
}

// Head is the fields of a message, hop-by-hop ones included. Its slices point into the buffer that was given to
// the last Parse and are valid as long as those bytes are.
type Head struct {
	// Fields is in the order received and is reused by the next message.
	Fields []Field

	buf    []byte // the whole head, once it is complete
	joined []byte // scratch of Joined

	at      int // where the next line starts
	scanned int // where to look for the end of that line
	stage   stage
}

// stage is how far a head has been parsed.
type stage uint8

const (
	stageStart  stage = iota
	stageLine         // an empty line before the request line was skipped
	stageFields       // the first line is parsed
)

// reset forgets everything but the memory.
func (h *Head) reset() {
	h.Fields, h.buf = h.Fields[:0], nil
	h.at, h.scanned, h.stage = 0, 0, stageStart
}

// Name returns the name of field i as received.
func (h *Head) Name(i int) []byte {
	f := &h.Fields[i]
	return h.buf[f.nameAt:f.nameEnd:f.nameEnd]
}

// Value returns the value of field i without the white space around it.
func (h *Head) Value(i int) []byte {
	f := &h.Fields[i]
	return h.buf[f.valueAt:f.valueEnd:f.valueEnd]
}

// Get returns the value of the first field with a known name.
func (h *Head) Get(n Name) (value []byte, ok bool) {
	for i := range h.Fields {
		if h.Fields[i].Known == n && !h.Fields[i].Dropped {
			return h.Value(i), true
		}
	}
	return nil, false
}

// Lookup returns the value of the first field with a name, given in lower case.
func (h *Head) Lookup(lower string) (value []byte, ok bool) {
	i := h.find(lower, 0)
	if i < 0 {
		return nil, false
	}
	return h.Value(i), true
}

// Joined returns the values of all fields with a name, given in lower case, joined by
// commas (RFC 9110 5.3). The value is valid until the next Joined.
func (h *Head) Joined(lower string) (value []byte, ok bool) {
	first := h.find(lower, 0)
	if first < 0 {
		return nil, false
	}
	i := h.find(lower, first+1)
	if i < 0 {
		return h.Value(first), true
	}
	h.joined = append(h.joined[:0], h.Value(first)...)
	for ; i >= 0; i = h.find(lower, i+1) {
		h.joined = append(h.joined, ',')
		h.joined = append(h.joined, h.Value(i)...)
	}
	return h.joined, true
}

// find returns the index of the first field from i on with a name, or -1.
func (h *Head) find(lower string, i int) int {
	for ; i < len(h.Fields); i++ {
		f := &h.Fields[i]
		if int(f.nameEnd-f.nameAt) == len(lower) && !f.Dropped && foldEqual(h.Name(i), lower) {
			return i
		}
	}
	return -1
}

// AppendRaw appends field i as received, with CRLF.
func (h *Head) AppendRaw(dst []byte, i int) []byte {
	f := &h.Fields[i]
	dst = append(dst, h.buf[f.nameAt:f.valueEnd]...)
	return append(dst, '\r', '\n')
}

// line returns the next line without CRLF, and steps over it. A line that does not end
// within the first limit bytes of buf is the fault tooLong, whatever of it has arrived.
func (h *Head) line(buf []byte, limit int, tooLong *Error) (line []byte, ok bool, err *Error) {
	i := bytes.IndexByte(buf[h.scanned:], '\n')
	if i < 0 {
		h.scanned = len(buf)
		if len(buf) >= limit {
			return nil, false, tooLong
		}
		return nil, false, nil
	}
	start, end := h.at, h.scanned+i
	if end >= limit {
		return nil, false, tooLong
	}
	if end == start || buf[end-1] != '\r' {
		return nil, false, errBareLF
	}
	h.at, h.scanned = end+1, end+1
	return buf[start : end-1], true, nil
}
