package policy

// lower returns the lower-case form of an ASCII letter, any other byte as it is.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// foldEqual reports whether b is s, which is lower case, in any case of ASCII letters.
func foldEqual(b []byte, s string) bool {
	return len(b) == len(s) && foldPrefix(b, s)
}

// foldPrefix reports whether b starts with s, which is lower case, in any case of ASCII letters.
func foldPrefix(b []byte, s string) bool {
	if len(b) < len(s) {
		return false
	}
	for i := range len(s) {
		if lower(b[i]) != s[i] {
			return false
		}
	}
	return true
}

// isToken reports whether s is a token of RFC 9110 section 5.6.2: a field name or a method.
func isToken[S ~string | ~[]byte](s S) bool {
	for i := range len(s) {
		if !tokenByte(s[i]) {
			return false
		}
	}
	return len(s) > 0
}

func tokenByte(c byte) bool {
	switch {
	case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return true
	}
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return false
}

// isVisible reports whether b is visible ASCII (0x21 to 0x7e) alone, at least one byte and
// at most limit bytes.
func isVisible(b []byte, limit int) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(b) > 0 && len(b) <= limit
}

// trim returns b without spaces and tabs at its ends (OWS of RFC 9110 section 5.6.3).
func trim(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
