package uri

// class is a set of bits that say where a byte may stand.
type class uint8

const (
	isTarget     class = 1 << iota // VCHAR without "#"
	isPath                         // may stand unescaped in a path segment: pchar of RFC 3986 without "%"
	isUnreserved                   // RFC 3986 2.3: never needs an escape
	isHost                         // letters, digits, "-", ".", "_"
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
	set(isPath, alnum+"-._~!$&'()*+,;=:@")
	set(isUnreserved, alnum+"-._~")
	set(isHost, alnum+"-._")
	set(isHex, "0123456789abcdefABCDEF")
	for b := 0x21; b < 0x7f; b++ {
		t[b] |= isTarget
	}
	t['#'] &^= isTarget
	return t
}

// lower returns the lower-case form of an ASCII letter, any other byte as it is.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
