package compare

import (
	"bytes"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Bounds on a document. What is deeper or has more values is no JSON to a Comparer.
const (
	maxDepth  = 64
	maxValues = 1 << 16
)

// document is a JSON text (RFC 8259) and where its values are: a tree as one slice, whose memory is
// used again.
//
//	{"a":[1,2]}    0 object, first 1    1 "a" array, first 2    2 number, next 3    3 number
type document struct {
	text   []byte
	values []value
}

// value is one value of a document. Offsets are into its text.
type value struct {
	from, to       uint32 // a string's are within its quotes
	keyFrom, keyTo uint32 // of a member, within its quotes
	first, next    int32  // value; none: -1
	count          int32  // members or elements
	kind           kind
	escaped, keyed bool // the string, or the key, has escapes
}

type kind uint8

const (
	isNull kind = iota
	isFalse
	isTrue
	isNumber
	isString
	isArray
	isObject
)

// kindNames are what differences call the values that they do not show.
var kindNames = [...]string{"null", "false", "true", "a number", "a string", "an array", "an object"}

// parser reads one text.
type parser struct {
	*document
	at int
}

// parse reports whether text is JSON within the bounds.
func (d *document) parse(text []byte) bool {
	d.text, d.values = text, d.values[:0]
	p := parser{document: d}
	p.space()
	if _, ok := p.value(0); !ok {
		return false
	}
	p.space()
	return p.at == len(text)
}

func (p *parser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// value reads one value and returns its place.
func (p *parser) value(depth int) (at int32, ok bool) {
	if p.at >= len(p.text) || len(p.values) >= maxValues {
		return -1, false
	}
	at = int32(len(p.values))
	p.values = append(p.values, value{from: uint32(p.at), first: -1, next: -1})
	k := isNull
	switch c := p.text[p.at]; {
	case c == '{' || c == '[':
		return at, depth < maxDepth && p.container(at, c == '{', depth)
	case c == '"':
		k = isString
		v := &p.values[at]
		v.from, v.to, v.escaped, ok = p.quoted()
	case c == '-' || isDigit(c):
		k, ok = isNumber, p.number()
	case c == 't':
		k, ok = isTrue, p.word("true")
	case c == 'f':
		k, ok = isFalse, p.word("false")
	case c == 'n':
		ok = p.word("null")
	}
	v := &p.values[at]
	if v.kind = k; k != isString {
		v.to = uint32(p.at)
	}
	return at, ok
}

// container reads an array, or an object.
func (p *parser) container(at int32, object bool, depth int) bool {
	k, end := isArray, byte(']')
	if object {
		k, end = isObject, '}'
	}
	p.at++
	last := int32(-1)
	count := int32(0)
	for p.space(); !p.take(end); p.space() {
		if count > 0 {
			if !p.take(',') {
				return false
			}
			p.space()
		}
		var key value
		if object {
			ok := false
			if key.keyFrom, key.keyTo, key.keyed, ok = p.quoted(); !ok {
				return false
			}
			if p.space(); !p.take(':') {
				return false
			}
			p.space()
		}
		child, ok := p.value(depth + 1)
		if !ok {
			return false
		}
		v := &p.values[child]
		v.keyFrom, v.keyTo, v.keyed = key.keyFrom, key.keyTo, key.keyed
		if last < 0 {
			p.values[at].first = child
		} else {
			p.values[last].next = child
		}
		last = child
		count++
	}
	v := &p.values[at]
	v.kind, v.count, v.to = k, count, uint32(p.at)
	return true
}

func (p *parser) take(c byte) bool {
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) word(w string) bool {
	if !bytes.HasPrefix(p.text[p.at:], []byte(w)) {
		return false
	}
	p.at += len(w)
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func (p *parser) digits() bool {
	from := p.at
	for p.at < len(p.text) && isDigit(p.text[p.at]) {
		p.at++
	}
	return p.at > from
}

func (p *parser) number() bool {
	p.take('-')
	if !p.take('0') && !p.digits() {
		return false
	}
	if p.take('.') && !p.digits() {
		return false
	}
	if p.take('e') || p.take('E') {
		_ = p.take('+') || p.take('-')
		return p.digits()
	}
	return true
}

// quoted reads a string and returns where it is within its quotes.
func (p *parser) quoted() (from, to uint32, escaped, ok bool) {
	if !p.take('"') {
		return 0, 0, false, false
	}
	from = uint32(p.at)
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return from, uint32(p.at - 1), escaped, true
		case c < ' ':
			return 0, 0, false, false
		case c == '\\':
			escaped = true
			if !p.escape() {
				return 0, 0, false, false
			}
		default:
			p.at++
		}
	}
	return 0, 0, false, false
}

func (p *parser) escape() bool {
	if p.at += 2; p.at > len(p.text) {
		return false
	}
	switch p.text[p.at-1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		_, ok := codeUnit(p.text[p.at:])
		p.at += 4
		return ok
	}
	return false
}

// codeUnit reads four hexadecimal digits.
func codeUnit(text []byte) (rune, bool) {
	if len(text) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[:4]), 16, 16)
	return rune(n), err == nil
}

var plainEscapes = map[byte]byte{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape appends what a valid string means. Half a surrogate pair stays different from any
// other half.
func unescape(dst, text []byte) []byte {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return append(dst, text...)
		}
		dst = append(dst, text[:i]...)
		c := text[i+1]
		text = text[i+2:]
		if c != 'u' {
			if plain, ok := plainEscapes[c]; ok {
				c = plain
			}
			dst = append(dst, c)
			continue
		}
		r, _ := codeUnit(text)
		text = text[4:]
		if 0xd800 <= r && r < 0xdc00 && bytes.HasPrefix(text, []byte(`\u`)) {
			if low, ok := codeUnit(text[2:]); ok && 0xdc00 <= low && low < 0xe000 {
				r = (r-0xd800)<<10 + (low - 0xdc00) + 0x10000
				text = text[6:]
			}
		}
		if 0xd800 <= r && r < 0xe000 {
			dst = append(dst, 0xed, byte(0x80|r>>6&0x3f), byte(0x80|r&0x3f))
		} else {
			dst = utf8.AppendRune(dst, r)
		}
	}
}

// key returns the name of a member.
func (d *document) key(v *value) []byte {
	text := d.text[v.keyFrom:v.keyTo]
	if v.keyed {
		return unescape(nil, text)
	}
	return text
}

// content returns what a string means.
func (d *document) content(v *value) []byte {
	text := d.text[v.from:v.to]
	if v.escaped {
		return unescape(nil, text)
	}
	return text
}

// members appends the places of an object's members, by their names; those of one name stay in order.
func (d *document) members(dst []int32, v *value) []int32 {
	for at := v.first; at >= 0; at = d.values[at].next {
		dst = append(dst, at)
	}
	slices.SortStableFunc(dst, func(a, b int32) int { return bytes.Compare(d.key(&d.values[a]), d.key(&d.values[b])) })
	return dst
}
