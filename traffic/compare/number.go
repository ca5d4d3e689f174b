package compare

import "bytes"

// sameNumber reports whether two JSON numbers have one value, exactly: 1, 1.0 and 10e-1 do. Numbers whose
// exponent has more than nine digits have one value only if they are written alike.
//
// Worked example: 12.50e1 has the digits 1250, whose last is worth 10^-1; without zeros at the ends these are
// 125 and 10^0. 125 has the same.
func sameNumber(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, known := parseNumber(a)
	if !known {
		return false
	}
	y, known := parseNumber(b)
	return known && x.same(&y)
}

// number is ±digits × 10^exponent. Its digits are what whole and part have together, in this order, from
// the first to the last that is not 0.
type number struct {
	negative    bool
	whole, part []byte
	exponent    int64
}

const maxExponentDigits = 9

// parseNumber takes a valid JSON number apart. Every zero is the same one.
func parseNumber(text []byte) (n number, known bool) {
	if text[0] == '-' {
		n.negative, text = true, text[1:]
	}
	if i := bytes.IndexAny(text, "eE"); i >= 0 {
		if n.exponent, known = parseExponent(text[i+1:]); !known {
			return n, false
		}
		text = text[:i]
	}
	n.whole = text
	if i := bytes.IndexByte(text, '.'); i >= 0 {
		n.whole, n.part = text[:i], bytes.TrimRight(text[i+1:], "0")
	}
	n.whole = bytes.TrimLeft(n.whole, "0")
	n.exponent -= int64(len(n.part))
	if len(n.whole) == 0 {
		n.part = bytes.TrimLeft(n.part, "0")
	}
	if len(n.part) == 0 {
		digits := bytes.TrimRight(n.whole, "0")
		n.exponent += int64(len(n.whole) - len(digits))
		n.whole = digits
	}
	if len(n.whole) == 0 && len(n.part) == 0 {
		return number{}, true
	}
	return n, true
}

func parseExponent(text []byte) (e int64, known bool) {
	negative := text[0] == '-'
	if negative || text[0] == '+' {
		text = text[1:]
	}
	text = bytes.TrimLeft(text, "0")
	if len(text) > maxExponentDigits {
		return 0, false
	}
	for _, c := range text {
		e = 10*e + int64(c-'0')
	}
	if negative {
		e = -e
	}
	return e, true
}

func (n *number) same(m *number) bool {
	size := len(n.whole) + len(n.part)
	if n.negative != m.negative || n.exponent != m.exponent || size != len(m.whole)+len(m.part) {
		return false
	}
	for i := range size {
		if n.digit(i) != m.digit(i) {
			return false
		}
	}
	return true
}

func (n *number) digit(i int) byte {
	if i < len(n.whole) {
		return n.whole[i]
	}
	return n.part[i-len(n.whole)]
}
