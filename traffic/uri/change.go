package uri

import (
	"strings"

	"weir.dev/weir/model"
)

// Change is a compiled model.PathChange: Gateway API's HTTPPathModifier:
//
//	Request path | Prefix match | Replacement | Result
//	/foo/bar     | /foo         | /xyz        | /xyz/bar
//	/foo/bar     | /foo/        | /xyz/       | /xyz/bar
//	/foo         | /foo         | /xyz        | /xyz
//	/foo/        | /foo         | /xyz        | /xyz/
//	/foo/bar     | /foo         |             | /bar
//	/foo         | /foo         | (or /)      | /
//
// A slash at the end of the prefix or of its replacement is ignored.
type Change struct {
	kind  changeKind
	value string // the whole path, or the prefix's replacement without a slash at its end
}

type changeKind uint8

const (
	keepPath changeKind = iota
	replaceFull
	replacePrefix
)

// CompileChange prepares c; nil gives a Change that changes nothing.
func CompileChange(c *model.PathChange) Change {
	switch {
	case c == nil:
		return Change{}
	case c.Full != nil:
		return Change{replaceFull, literalPath(*c.Full)}
	case c.Prefix != nil:
		return Change{replacePrefix, strings.TrimRight(literalPath(*c.Prefix), "/")}
	}
	return Change{}
}

// literalPath returns a configured path in the normal form of request paths: it starts with
// exactly one slash, and everything is escaped that would end a path or a request line, so
// that a "?" is part of the path. What has no normal form (dot segments above the root, bad
// escapes) stays as written but for that.
func literalPath(s string) string {
	escaped := appendEscaped([]byte("/"), []byte(strings.TrimLeft(s, `/\`)), pathBytes)
	var scratch []byte
	normal, err := NormalPath(escaped, &scratch, model.EscapeKeep)
	if err != nil {
		return string(escaped)
	}
	return string(normal)
}

// Append appends what becomes of a path in its normal form. prefix is the value of the prefix
// match that chose the route, with or without a slash at its end, and empty when something
// else chose it. The result starts with one slash, never with two, except that a path that
// does not start with a slash ("*") is appended as it is, unless the whole path is replaced.
func (c Change) Append(dst, path []byte, prefix string) []byte {
	if c.kind == replaceFull {
		return append(dst, c.value...)
	}
	if len(path) == 0 || path[0] != '/' {
		return append(dst, path...)
	}
	if c.kind == replacePrefix {
		if rest, ok := cutPrefix(path, prefix); ok {
			return appendJoined(dst, c.value, rest)
		}
	}
	return appendJoined(dst, "", path)
}

// cutPrefix returns what follows the segments of prefix in path: nothing, or a slash and more.
func cutPrefix(path []byte, prefix string) (rest []byte, ok bool) {
	if prefix == "" {
		return nil, false
	}
	prefix = strings.TrimRight(prefix, "/")
	if len(path) < len(prefix) || string(path[:len(prefix)]) != prefix {
		return nil, false
	}
	rest = path[len(prefix):]
	return rest, len(rest) == 0 || rest[0] == '/'
}

// appendJoined appends head (empty, or a path without a slash at its end) and rest (empty, or
// starting with a slash). "//host" would be another authority to whoever resolves it, and
// browsers take "/\host" for the same.
func appendJoined(dst []byte, head string, rest []byte) []byte {
	if head != "" {
		dst = append(dst, head...)
		return append(dst, rest...)
	}
	for len(rest) > 0 && (rest[0] == '/' || rest[0] == '\\') {
		rest = rest[1:]
	}
	dst = append(dst, '/')
	return append(dst, rest...)
}
