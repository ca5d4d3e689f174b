package http1

import "bytes"

// survey is what a head's fields say about framing and the connection: the index of the
// field, or -1. Fields that may stand only once are refused when they stand twice.
type survey struct {
	host, length, coding, upgrade, expect, kind int

	closes, keeps, upgrades bool // Connection options
}

// maxOptions bounds the Connection options other than the usual ones, so that marking
// the fields that they name stays cheap.
const maxOptions = 32

func (h *Head) survey() (survey, *Error) {
	s := survey{host: -1, length: -1, coding: -1, upgrade: -1, expect: -1, kind: -1}
	var err *Error
	options := 0
	for i := range h.Fields {
		switch h.Fields[i].Known {
		case NameHost:
			err = once(&s.host, i, errHosts)
		case NameContentLength:
			err = once(&s.length, i, errLengths)
		case NameTransferEncoding:
			err = once(&s.coding, i, errCodings)
		case NameConnection:
			err = h.options(&s, h.Value(i), &options)
		case NameUpgrade:
			if s.upgrade < 0 {
				s.upgrade = i
			}
		case NameExpect:
			if s.expect < 0 {
				s.expect = i
			}
		case NameContentType:
			if s.kind < 0 {
				s.kind = i
			}
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

func once(index *int, i int, twice *Error) *Error {
	if *index >= 0 {
		return twice
	}
	*index = i
	return nil
}

// options reads a list of Connection options (RFC 9110 7.6.1) and marks the fields that
// they name as hop-by-hop. Empty elements are skipped, as RFC 9110 5.6.1.2 asks for.
//
// A client could otherwise use Connection to have the proxy remove what a server behind it relies on:
// the length that frames the message, the Host, the forwarded address, credentials. Such
// options are refused.
func (h *Head) options(s *survey, list []byte, count *int) *Error {
	for len(list) > 0 {
		var option []byte
		option, list = nextElement(list)
		if len(option) == 0 {
			continue
		}
		if !allIn(option, isToken) {
			return errOption
		}
		switch {
		case foldEqual(option, "close"):
			s.closes = true
		case foldEqual(option, "keep-alive"):
			s.keeps = true
		case foldEqual(option, "upgrade"):
			s.upgrades = true
		default:
			if *count++; *count > maxOptions {
				return errOptions
			}
			if recognise(option).has(pinned) {
				return errOptionPinned
			}
			h.markHop(option)
		}
	}
	return nil
}

// nextElement splits a comma-separated list after its first element, which it trims.
func nextElement(list []byte) (element, rest []byte) {
	if i := bytes.IndexByte(list, ','); i >= 0 {
		list, rest = list[:i], list[i+1:]
	}
	return trimSpace(list), rest
}

func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func (h *Head) markHop(name []byte) {
	for i := range h.Fields {
		if foldSame(h.Name(i), name) {
			h.Fields[i].Hop = true
		}
	}
}

// keepAlive says whether the connection may serve another message (RFC 9112 9.3).
func (s *survey) keepAlive(minor int) bool {
	return !s.closes && (minor == 1 || s.keeps)
}

// upgradeValue returns the protocols offered or chosen, nil without the Connection option.
func (h *Head) upgradeValue(s *survey, minor int) []byte {
	if !s.upgrades || s.upgrade < 0 || minor == 0 {
		return nil
	}
	if v := h.Value(s.upgrade); len(v) > 0 {
		return v
	}
	return nil
}
