package http1

import (
	"bytes"
	"encoding/binary"
)

// class is a set of bits that say where a byte may stand.
type class uint8

const (
	isToken      class = 1 << iota // RFC 9110 5.6.2
	isUnderscore                   // "_", which CGI-like servers confuse with "-"
	isValue                        // HTAB, SP, VCHAR, obs-text: RFC 9110 5.5
	isTarget                       // VCHAR without "#"
	isHex                          // either case
)

var classes = classTable()

func classTable() (t [256]class) {
	const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	set := func(c class, chars string) {
		for i := range len(chars) {
			t[chars[i]] |= c
		}
	}
	set(isToken, alnum+"!#$%&'*+-.^_`|~")
	set(isUnderscore, "_")
	set(isHex, "0123456789abcdefABCDEF")
	set(isValue, "\t ")
	for b := 0x21; b < 0x7f; b++ {
		t[b] |= isValue | isTarget
	}
	for b := 0x80; b < 0x100; b++ {
		t[b] |= isValue
	}
	t['#'] &^= isTarget
	return t
}

// lower folds ASCII letters, and nothing else, to lower case.
var lower = lowerTable()

func lowerTable() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
	}
	for b := 'A'; b <= 'Z'; b++ {
		t[b] = byte(b) + 'a' - 'A'
	}
	return t
}

// hexValue returns the value of a hexadecimal digit.
func hexValue(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return lower[c] - 'a' + 10
}

// foldEqual reports whether b in lower case is want, which is in lower case.
func foldEqual(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	for i, c := range b {
		if lower[c] != want[i] {
			return false
		}
	}
	return true
}

// foldSame reports whether a and b are equal but for the case of ASCII letters.
func foldSame(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if lower[c] != lower[b[i]] {
			return false
		}
	}
	return true
}

// allIn reports whether every byte of b has the class.
func allIn(b []byte, c class) bool {
	for _, x := range b {
		if classes[x]&c == 0 {
			return false
		}
	}
	return true
}

// cleanValue reports whether every byte of b may stand in a field value. It looks at
// eight bytes at once: a word with no byte below 0x20 and no 0x7f needs no closer look.
func cleanValue(b []byte) bool {
	for len(b) >= 8 {
		if suspicious(binary.LittleEndian.Uint64(b)) && !allIn(b[:8], isValue) {
			return false
		}
		b = b[8:]
	}
	return allIn(b, isValue)
}

// suspicious reports whether one of x's bytes is below 0x20 or is 0x7f.
func suspicious(x uint64) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	del := x ^ ones*0x7f
	return ((x-ones*0x20)&^x|(del-ones)&^del)&highs != 0
}

// valueFault says which fault a value has that is not clean.
func valueFault(b []byte) *Error {
	if bytes.IndexByte(b, '\r') >= 0 {
		return errBareCR
	}
	return errValue
}
