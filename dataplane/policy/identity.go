package policy

import "weir.dev/weir/dataplane/http1"

// maxRequestID bounds an incoming request id, in bytes.
const maxRequestID = 128

// Identity is how a request is told from others across processes: its id and its place in a
// trace.
type Identity struct {
	// ID is the request id, never empty. It aliases the head's buffer or the scratch.
	ID []byte
	// Made says that the id is new: the request came without one, with several, or with one
	// that is too long or not visible ASCII.
	Made bool
	// Traced says that the request has one valid traceparent, which is forwarded with its
	// tracestate. Without it both fields are dropped (W3C Trace Context, sections 3.2 and 3.3).
	Traced bool
	// Marked says that the request has an x-weir- field: something may be asked of us.
	Marked bool
}

// Identify returns the identity of a request. A new id is a UUID of version 4, made from two
// numbers of random and appended to scratch, which is cut to length 0 first.
func Identify(scratch []byte, h *http1.Head, random func() uint64) Identity {
	var id Identity
	var trace []byte
	ids, traces := 0, 0
	for i := range h.Fields {
		switch h.Fields[i].Known {
		case http1.NameXRequestID:
			id.ID = h.Value(i)
			ids++
		case http1.NameTraceparent:
			trace = h.Value(i)
			traces++
		case http1.NameXWeir:
			id.Marked = true
		}
	}
	if ids != 1 || !isVisible(id.ID, maxRequestID) {
		id.ID, id.Made = appendUUID(scratch[:0], random(), random()), true
	}
	id.Traced = traces == 1 && isTraceparent(trace)
	return id
}

// Drops reports whether a request's field with the given name is not forwarded.
func (id *Identity) Drops(name http1.Name) bool {
	switch name {
	case http1.NameXRequestID:
		return id.Made
	case http1.NameTraceparent, http1.NameTracestate:
		return !id.Traced
	}
	return false
}

// AppendTo appends the X-Request-ID field to a request that is forwarded, if the id is new
// and not in skip (HeaderEdit.Covers).
func (id *Identity) AppendTo(dst []byte, skip Generated) []byte {
	if !id.Made || skip&GeneratedRequestID != 0 {
		return dst
	}
	return http1.AppendField(dst, "X-Request-ID", id.ID)
}

// appendUUID appends a UUID of version 4 (RFC 9562 section 5.4) made from 122 of the bits.
func appendUUID(dst []byte, high, low uint64) []byte {
	const hex = "0123456789abcdef"
	high = high&^0xf000 | 0x4000
	low = low&^(3<<62) | 1<<63
	for i := range 16 {
		if i == 8 || i == 12 {
			dst = append(dst, '-')
		}
		dst = append(dst, hex[high>>(60-4*i)&15])
	}
	dst = append(dst, '-')
	for i := range 16 {
		if i == 4 {
			dst = append(dst, '-')
		}
		dst = append(dst, hex[low>>(60-4*i)&15])
	}
	return dst
}

// isTraceparent checks a traceparent field's value (W3C Trace Context section 3.2):
// version "00" exactly, higher versions by the part that this one defines.
//
//	00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
func isTraceparent(b []byte) bool {
	const size = 55
	if len(b) < size || b[2] != '-' || b[35] != '-' || b[52] != '-' {
		return false
	}
	version := b[:2]
	if !isHex(version) || string(version) == "ff" {
		return false
	}
	if len(b) > size && (string(version) == "00" || b[size] != '-') {
		return false
	}
	trace, parent, flags := b[3:35], b[36:52], b[53:55]
	return isHex(trace) && isHex(parent) && isHex(flags) && !isZero(trace) && !isZero(parent)
}

// isHex reports whether b is lower-case hexadecimal.
func isHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != '0' {
			return false
		}
	}
	return true
}
