package policy

import (
	"slices"
	"strings"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
)

// Generated is a set of fields that the proxy itself writes into a forwarded request.
type Generated uint8

// The generated fields.
const (
	GeneratedFor       Generated = 1 << iota // X-Forwarded-For
	GeneratedProto                           // X-Forwarded-Proto
	GeneratedHost                            // X-Forwarded-Host
	GeneratedPort                            // X-Forwarded-Port
	GeneratedForwarded                       // Forwarded
	GeneratedVia                             // Via
	GeneratedRequestID                       // X-Request-ID
)

var generatedNames = map[string]Generated{
	"x-forwarded-for":   GeneratedFor,
	"x-forwarded-proto": GeneratedProto,
	"x-forwarded-host":  GeneratedHost,
	"x-forwarded-port":  GeneratedPort,
	"forwarded":         GeneratedForwarded,
	"via":               GeneratedVia,
	"x-request-id":      GeneratedRequestID,
}

// protectedNames are the fields that no edit touches. They frame the message or belong to one
// connection, so changing them would break or smuggle messages; Expect is answered by the
// proxy. Host is changed by a Rewrite's Hostname, as Gateway API provides, never by an edit:
// a second source for it could not agree with the first.
var protectedNames = []string{
	"connection", "content-length", "expect", "host", "http2-settings", "keep-alive",
	"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
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
	effects []effect
	drops   []string // lower case
	lengths uint64   // bit n&63 is set when a name of n bytes is in drops
	lines   []byte
	covers  Generated
}

// effect is what all edits together do to one name.
type effect struct {
	name   string
	drop   bool // the values that are there go
	values []string
}

// CompileHeaderEdit prepares the sequence of edits (the rule's, then the backend's). It
// returns nil when they change nothing; nil edits are skipped.
func CompileHeaderEdit(edits ...*model.HeaderEdit) *HeaderEdit {
	var all []effect
	for _, edit := range edits {
		if edit != nil {
			all = applyEdit(all, edit)
		}
	}
	return newHeaderEdit(all)
}

func applyEdit(all []effect, edit *model.HeaderEdit) []effect {
	for _, name := range edit.Remove {
		if e := find(&all, strings.ToLower(name)); e != nil {
			e.drop, e.values = true, nil
		}
	}
	for i, header := range edit.Set {
		if e := find(&all, strings.ToLower(header.Name)); e != nil && counts(edit.Set, i) {
			e.drop, e.values = true, []string{header.Value}
		}
	}
	for i, header := range edit.Add {
		if e := find(&all, strings.ToLower(header.Name)); e != nil && counts(edit.Add, i) {
			e.values = append(e.values, header.Value)
		}
	}
	return all
}

// counts reports whether entry i of list is well formed and the first of its name.
func counts(list []model.Header, i int) bool {
	if !isFieldValue(list[i].Value) {
		return false
	}
	return !slices.ContainsFunc(list[:i], func(h model.Header) bool {
		return strings.EqualFold(h.Name, list[i].Name)
	})
}

// find returns the effect on name, a new one if there is none yet, nil if it is not editable.
func find(all *[]effect, name string) *effect {
	if !isToken(name) || slices.Contains(protectedNames, name) {
		return nil
	}
	i := slices.IndexFunc(*all, func(e effect) bool { return e.name == name })
	if i < 0 {
		i = len(*all)
		*all = append(*all, effect{name: name})
	}
	return &(*all)[i]
}

// isFieldValue reports whether s can stand in a field line (RFC 9110 section 5.5).
func isFieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c == 0x7f || c < ' ' && c != '\t' {
			return false
		}
	}
	return true
}

func newHeaderEdit(effects []effect) *HeaderEdit {
	effects = slices.DeleteFunc(effects, func(e effect) bool { return !e.drop && len(e.values) == 0 })
	if len(effects) == 0 {
		return nil
	}
	h := &HeaderEdit{effects: effects}
	for _, e := range effects {
		if e.drop {
			h.drops = append(h.drops, e.name)
			h.lengths |= 1 << (len(e.name) & 63)
			h.covers |= generatedNames[e.name]
		}
		for _, v := range e.values {
			h.lines = http1.AppendFieldString(h.lines, e.name, v)
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
	return newHeaderEdit(slices.DeleteFunc(slices.Clone(h.effects), func(e effect) bool {
		return owned([]byte(e.name))
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
