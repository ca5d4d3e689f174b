package compare

import (
	"bytes"
	"strconv"

	"weir.dev/weir/model"
)

// walk looks for what differs between two documents. Where it is is kept as text, with [*] for any index, and
// as the set of the paths that may lead there.
type walk struct {
	a, b  document
	paths paths
	field []byte
	found findings
}

// maxField bounds the text of a place, in bytes.
const maxField = 200

// compare looks at one value of each document, at a depth.
func (w *walk) compare(at, bt int32, set uint64, depth int) {
	if set != 0 && w.paths.ends(set, depth) || w.found.full() {
		return
	}
	a, b := &w.a.values[at], &w.b.values[bt]
	switch {
	case a.kind != b.kind:
		w.differs(a, b)
	case a.kind == isObject:
		w.objects(a, b, set, depth)
	case a.kind == isArray:
		w.arrays(a, b, set, depth)
	case a.kind == isNumber:
		if !sameNumber(w.a.text[a.from:a.to], w.b.text[b.from:b.to]) {
			w.differs(a, b)
		}
	case a.kind == isString:
		if !w.sameString(a, b) {
			w.differs(a, b)
		}
	}
}

func (w *walk) sameString(a, b *value) bool {
	if bytes.Equal(w.a.text[a.from:a.to], w.b.text[b.from:b.to]) {
		return true
	}
	return (a.escaped || b.escaped) && bytes.Equal(w.a.content(a), w.b.content(b))
}

func (w *walk) arrays(a, b *value, set uint64, depth int) {
	if a.count != b.count {
		w.found.add(string(w.field), items(a.count), items(b.count))
	}
	from := len(w.field)
	w.field = append(w.field, "[*]"...)
	i := 0
	for at, bt := a.first, b.first; at >= 0 && bt >= 0; at, bt = w.a.values[at].next, w.b.values[bt].next {
		w.compare(at, bt, w.paths.indexed(set, depth, i), depth+1)
		i++
	}
	w.field = w.field[:from]
}

func items(n int32) string { return strconv.Itoa(int(n)) + " items" }

// objects compares two objects by name. As a rule their members come in one order.
func (w *walk) objects(a, b *value, set uint64, depth int) {
	if w.alike(a, b) {
		for at, bt := a.first, b.first; at >= 0; at, bt = w.a.values[at].next, w.b.values[bt].next {
			w.member(at, bt, set, depth)
		}
		return
	}
	as, bs := w.a.members(nil, a), w.b.members(nil, b)
	for len(as) > 0 || len(bs) > 0 {
		order := 0
		switch {
		case len(as) == 0:
			order = 1
		case len(bs) == 0:
			order = -1
		default:
			order = bytes.Compare(w.a.key(&w.a.values[as[0]]), w.b.key(&w.b.values[bs[0]]))
		}
		switch {
		case order == 0:
			w.member(as[0], bs[0], set, depth)
			as, bs = as[1:], bs[1:]
		case order < 0:
			w.member(as[0], -1, set, depth)
			as = as[1:]
		default:
			w.member(-1, bs[0], set, depth)
			bs = bs[1:]
		}
	}
}

// alike reports whether two objects have the same names in one order.
func (w *walk) alike(a, b *value) bool {
	if a.count != b.count {
		return false
	}
	for at, bt := a.first, b.first; at >= 0; {
		x, y := &w.a.values[at], &w.b.values[bt]
		if !bytes.Equal(w.a.text[x.keyFrom:x.keyTo], w.b.text[y.keyFrom:y.keyTo]) {
			return false
		}
		at, bt = x.next, y.next
	}
	return true
}

// member compares the members of one name; -1: the object has none.
func (w *walk) member(at, bt int32, set uint64, depth int) {
	var name []byte
	if at >= 0 {
		name = w.a.key(&w.a.values[at])
	} else {
		name = w.b.key(&w.b.values[bt])
	}
	from := len(w.field)
	w.field = appendName(w.field, name)
	set = w.paths.named(set, depth, name)
	switch {
	case at >= 0 && bt >= 0:
		w.compare(at, bt, set, depth+1)
	case set != 0 && w.paths.ends(set, depth+1):
	case at >= 0:
		w.found.add(string(w.field), w.a.show(&w.a.values[at]), absent)
	default:
		w.found.add(string(w.field), absent, w.b.show(&w.b.values[bt]))
	}
	w.field = w.field[:from]
}

// appendName appends a step to a place, as a path has it, unless the place is too long to be told.
func appendName(dst, name []byte) []byte {
	if len(dst)+len(name) > maxField {
		if model.Hidden(string(name), "") == model.Redacted {
			return append(dst, "~secret"...) // so that its values stay hidden
		}
		return append(dst, '~')
	}
	for _, c := range name {
		if c != '_' && c != '-' && !isDigit(c) && (c|0x20 < 'a' || 'z' < c|0x20) {
			return append(append(append(dst, "['"...), name...), "']"...)
		}
	}
	if len(name) == 0 {
		return append(dst, "['']"...)
	}
	return append(append(dst, '.'), name...)
}

func (w *walk) differs(a, b *value) {
	if w.found.has(w.field) {
		return
	}
	w.found.add(string(w.field), w.a.show(a), w.b.show(b))
}

// show returns a value as a difference has it.
func (d *document) show(v *value) string {
	switch v.kind {
	case isNumber:
		return shorten(d.text[v.from:v.to])
	case isString:
		return strconv.Quote(shorten(d.content(v)))
	}
	return kindNames[v.kind]
}
