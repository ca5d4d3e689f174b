// Package fields is what header edits make of a message's fields: several edits become one
// effect a name. The data plane applies it to bytes and the control plane explains by it. It
// knows no messages.
package fields

import (
	"slices"
	"strings"

	"weir.dev/weir/model"
)

// protectedNames are the fields that no edit touches. They frame the message or belong to one
// connection, so changing them would break or smuggle messages; Expect is answered by the
// proxy. Host is changed by a Rewrite's Hostname, as Gateway API provides, never by an edit:
// a second source for it could not agree with the first.
var protectedNames = []string{
	"connection", "content-length", "expect", "host", "http2-settings", "keep-alive",
	"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

// Effect is what all edits together do to one name.
type Effect struct {
	Name   string // lower case
	Drop   bool   // the values that are there go
	Values []string
}

// Effects returns what a sequence of edits (the rule's, then the backend's) does, a name once
// in the order of first mention, without names to which nothing happens; nil edits are
// skipped.
//
// Of several entries for one name in the same list of an edit, the first counts, as Gateway
// API says. Fields that frame messages, hop-by-hop fields, Host, names that are no tokens and
// values with control characters are ignored.
func Effects(edits ...*model.HeaderEdit) []Effect {
	var all []Effect
	for _, edit := range edits {
		if edit != nil {
			all = apply(all, edit)
		}
	}
	return slices.DeleteFunc(all, func(e Effect) bool { return !e.Drop && len(e.Values) == 0 })
}

// On returns what the effects make of the values of one field, nil where there is none left.
func On(effects []Effect, name string, values []string) []string {
	i := slices.IndexFunc(effects, func(e Effect) bool { return e.Name == name })
	switch {
	case i < 0:
		return values
	case effects[i].Drop:
		return effects[i].Values
	default:
		return slices.Concat(values, effects[i].Values)
	}
}

func apply(all []Effect, edit *model.HeaderEdit) []Effect {
	for _, name := range edit.Remove {
		if e := find(&all, strings.ToLower(name)); e != nil {
			e.Drop, e.Values = true, nil
		}
	}
	for i, header := range edit.Set {
		if e := find(&all, strings.ToLower(header.Name)); e != nil && counts(edit.Set, i) {
			e.Drop, e.Values = true, []string{header.Value}
		}
	}
	for i, header := range edit.Add {
		if e := find(&all, strings.ToLower(header.Name)); e != nil && counts(edit.Add, i) {
			e.Values = append(e.Values, header.Value)
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

// find returns the Effect on name, a new one if there is none yet, nil if it is not editable.
func find(all *[]Effect, name string) *Effect {
	if !isToken(name) || slices.Contains(protectedNames, name) {
		return nil
	}
	i := slices.IndexFunc(*all, func(e Effect) bool { return e.Name == name })
	if i < 0 {
		i = len(*all)
		*all = append(*all, Effect{Name: name})
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

// isToken reports whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}
