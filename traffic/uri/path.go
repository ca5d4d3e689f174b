package uri

import (
	"bytes"

	"weir.dev/weir/model"
)

// Every path is matched and forwarded in one normal form, so that a route, an access rule
// and the server behind them cannot read it differently:
//
//   - an escaped unreserved character is unescaped: /%7Eme is /~me;
//   - every other escape has upper-case digits: /caf%c3%a9 is /caf%C3%A9;
//   - a printable character that may not stand in a path is escaped: /a|b is /a%7Cb;
//   - several slashes are one: //a///b is /a/b;
//   - dot segments are removed, after the slashes were merged: /a/b//../c is /a/c.
//
// Escaped slashes and backslashes stay escaped or are refused, by policy. Where they stay,
// a dot segment beside them (/a/..%2Fb) is refused: a server that decodes them would
// leave the path that was matched. An escaped NUL, a raw backslash and dot segments that
// lead above the root are always refused.

// NormalPath returns the normal form of a path that starts with "/" and has no query. It is
// path itself when path is in that form; otherwise it is in *scratch, which grows as needed.
func NormalPath(path []byte, scratch *[]byte, escapes model.EscapePolicy) ([]byte, *Error) {
	if len(path) == 0 || path[0] != '/' {
		return nil, ErrForm
	}
	if isNormalPath(path) {
		return path, nil
	}
	out, err := rewritePath((*scratch)[:0], path, escapes == model.EscapeKeep)
	*scratch = out[:0]
	switch {
	case err != nil:
		return nil, err
	case bytes.Equal(out, path):
		return path, nil
	}
	return out, nil
}

// isNormalPath reports whether path needs no change. It may say no too often.
func isNormalPath(path []byte) bool {
	for i := 0; i < len(path); {
		c := path[i]
		switch {
		case classes[c]&isPath != 0:
			i++
		case c == '/':
			i++
			if i < len(path) && (path[i] == '/' || path[i] == '.' && startsDots(path[i:])) {
				return false
			}
		case c == '%':
			b, ok := unescape(path[i:])
			if !ok || classes[b]&isUnreserved != 0 || b == 0 || b == '/' || b == '\\' ||
				path[i+1] >= 'a' || path[i+2] >= 'a' {
				return false
			}
			i += 3
		default:
			return false
		}
	}
	return true
}

// startsDots reports whether b starts with a dot segment.
func startsDots(b []byte) bool {
	n := 0
	for n < len(b) && n < 2 && b[n] == '.' {
		n++
	}
	return n == len(b) || b[n] == '/'
}

// unescape returns the byte that an escape at the start of b stands for.
func unescape(b []byte) (byte, bool) {
	if len(b) < 3 || classes[b[1]]&isHex == 0 || classes[b[2]]&isHex == 0 {
		return 0, false
	}
	return hexValue(b[1])<<4 | hexValue(b[2]), true
}

// hexValue returns the value of a hexadecimal digit.
func hexValue(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return lower(c) - 'a' + 10
}

// rewritePath appends the normal form of path to out, which is empty.
func rewritePath(out, path []byte, keep bool) ([]byte, *Error) {
	out = append(out, '/')
	start := 1 // of the current segment in out; out[start-1] is its slash
	separators := false
	for i := 1; i < len(path); {
		c := path[i]
		i++
		switch {
		case c == '/':
			end, err := endSegment(out, start, separators)
			if err != nil {
				return out, err
			}
			if out, separators = out[:end], false; out[end-1] != '/' {
				out = append(out, '/')
			}
			start = len(out)
		case c == '%':
			b, ok := unescape(path[i-1:])
			if !ok {
				return out, ErrEscape
			}
			i += 2
			switch {
			case classes[b]&isUnreserved != 0:
				out = append(out, b)
				continue
			case b == 0:
				return out, ErrEscapedNUL
			case b == '/' || b == '\\':
				if !keep {
					return out, ErrEscapedSeparator
				}
				separators = true
			}
			out = appendEscape(out, b)
		case classes[c]&isPath != 0:
			out = append(out, c)
		case c == '\\':
			return out, ErrBackslash
		case classes[c]&isTarget == 0 || c == '?':
			return out, ErrTarget
		default:
			out = appendEscape(out, c)
		}
	}
	end, err := endSegment(out, start, separators)
	if err != nil {
		return out, err
	}
	return out[:end], nil
}

// endSegment says how much of out remains after the segment that begins at start: what
// remains ends with a slash if the segment was empty or a dot segment.
func endSegment(out []byte, start int, separators bool) (int, *Error) {
	segment := out[start:]
	if separators && hidesDots(segment) {
		return 0, ErrDotEscape
	}
	if len(segment) == 0 || segment[0] != '.' || len(segment) > 2 {
		return len(out), nil
	}
	if len(segment) == 1 {
		return start, nil
	}
	if segment[1] != '.' {
		return len(out), nil
	}
	if start == 1 {
		return 0, ErrAboveRoot
	}
	return bytes.LastIndexByte(out[:start-1], '/') + 1, nil
}

// hidesDots reports whether a segment would have a dot segment if its escaped slashes and
// backslashes were unescaped.
func hidesDots(segment []byte) bool {
	start := 0
	for i := 0; i <= len(segment); i++ {
		if i < len(segment) && segment[i] != '%' {
			continue
		}
		if i < len(segment) {
			if b, _ := unescape(segment[i:]); b != '/' && b != '\\' {
				continue
			}
		}
		if piece := segment[start:i]; len(piece) == 1 && piece[0] == '.' || len(piece) == 2 && piece[0] == '.' && piece[1] == '.' {
			return true
		}
		start = i + 3
	}
	return false
}

func appendEscape(out []byte, b byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(out, '%', digits[b>>4], digits[b&15])
}
