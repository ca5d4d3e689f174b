package policy

import (
	"slices"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/fields"
)

// Generated is a set of fields that the proxy itself writes into a forwarded request.
type Generated uint8

// The generated fields.
const (
	GeneratedFor         Generated = 1 << iota // X-Forwarded-For
	GeneratedProto                             // X-Forwarded-Proto
	GeneratedHost                              // X-Forwarded-Host
	GeneratedPort                              // X-Forwarded-Port
	GeneratedForwarded                         // Forwarded
	GeneratedVia                               // Via
	GeneratedRequestID                         // X-Request-ID
	GeneratedGRPCTimeout                       // grpc-timeout, of calls of gRPC
)

var generatedNames = map[string]Generated{
	"x-forwarded-for":   GeneratedFor,
	"x-forwarded-proto": GeneratedProto,
	"x-forwarded-host":  GeneratedHost,
	"x-forwarded-port":  GeneratedPort,
	"forwarded":         GeneratedForwarded,
	"via":               GeneratedVia,
	"x-request-id":      GeneratedRequestID,
	"grpc-timeout":      GeneratedGRPCTimeout,
}

// HeaderEdit is the effect of one or several header edits, one after the other, on a head:
// some fields are left out, then a fixed block of lines is appended. A nil HeaderEdit changes
// nothing.
//
// A value is added as a line of its own behind the existing ones, which RFC 9110 section 5.3
// defines to be the same as one line with a comma. Of several entries for one name in the
// same list of an edit, the first counts, as Gateway API says. Fields that frame messages,
// hop-by-hop fields, Host, names that are no tokens and values with control characters are
// ignored, never forwarded.
type HeaderEdit struct {
	effects []fields.Effect
	drops   []string // lower case
	lengths uint64   // bit n&63 is set when a name of n bytes is in drops
	lines   []byte
	covers  Generated
}

// CompileHeaderEdit prepares the sequence of edits (the rule's, then the backend's). It
// returns nil when they change nothing; nil edits are skipped.
func CompileHeaderEdit(edits ...*model.HeaderEdit) *HeaderEdit {
	return newHeaderEdit(fields.Effects(edits...))
}

func newHeaderEdit(effects []fields.Effect) *HeaderEdit {
	if len(effects) == 0 {
		return nil
	}
	h := &HeaderEdit{effects: effects}
	for _, e := range effects {
		if e.Drop {
			h.drops = append(h.drops, e.Name)
			h.lengths |= 1 << (len(e.Name) & 63)
			h.covers |= generatedNames[e.Name]
		}
		for _, v := range e.Values {
			h.lines = http1.AppendFieldString(h.lines, e.Name, v)
		}
	}
	return h
}

// Without returns the edit less what it does to the names for which owned holds: for response
// fields that another policy decides, such as CORS. h itself is not changed.
func (h *HeaderEdit) Without(owned func(name []byte) bool) *HeaderEdit {
	if h == nil {
		return nil
	}
	return newHeaderEdit(slices.DeleteFunc(slices.Clone(h.effects), func(e fields.Effect) bool {
		return owned([]byte(e.Name))
	}))
}

// Covers returns the generated fields that the edit removes or sets: the proxy leaves its own
// out of a request that is edited so.
func (h *HeaderEdit) Covers() Generated {
	if h == nil {
		return 0
	}
	return h.covers
}

// Decides reports whether the edit sets, adds or removes fields of a name, in lower case.
func (h *HeaderEdit) Decides(name string) bool {
	return h != nil && slices.ContainsFunc(h.effects, func(e fields.Effect) bool { return e.Name == name })
}

// Drops reports whether field i of head is left out: it is removed, or another value is set.
func (h *HeaderEdit) Drops(head *http1.Head, i int) bool {
	if h == nil || h.lengths == 0 {
		return false
	}
	name := head.Name(i)
	if h.lengths&(1<<(len(name)&63)) == 0 {
		return false
	}
	for _, d := range h.drops {
		if foldEqual(name, d) {
			return true
		}
	}
	return false
}

// AppendTo appends the field lines that are set and added, behind the fields that stay.
func (h *HeaderEdit) AppendTo(dst []byte) []byte {
	if h == nil {
		return dst
	}
	return append(dst, h.lines...)
}
