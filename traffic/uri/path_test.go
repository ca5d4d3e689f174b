package uri

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"weir.dev/weir/model"
)

func TestNormalPath(t *testing.T) {
	for _, test := range []struct{ path, want string }{
		{"/", "/"},
		{"/a/b", "/a/b"},
		{"/a/", "/a/"},
		{"/.a/..b/.../a.", "/.a/..b/.../a."},
		{"/~!$&'()*+,;=:@-._", "/~!$&'()*+,;=:@-._"},
		{"/%20%C3%A9", "/%20%C3%A9"},
		{"/%c3%a9", "/%C3%A9"},
		{"/%7E%41%2d", "/~A-"},
		{"/%25", "/%25"},
		{"/%252e%252e/", "/%252e%252e/"},
		{"/%2B%26", "/%2B%26"},
		{"//", "/"},
		{"//a//b//", "/a/b/"},
		{"//.a/..b", "/.a/..b"},
		{"/.", "/"},
		{"/./", "/"},
		{"/a/.", "/a/"},
		{"/a/..", "/"},
		{"/a/../", "/"},
		{"/a/../b", "/b"},
		{"/a/b/..", "/a/"},
		{"/a/b/../../c", "/c"},
		{"/a//../b", "/b"},
		{"/a/%2E%2e/b", "/b"},
		{"/a/.%2e/b", "/b"},
		{"/a/%2e/b", "/a/b"},
		{`/a"<>[]^` + "`{|}", "/a%22%3C%3E%5B%5D%5E%60%7B%7C%7D"},
		{"/a;b=../c", "/a;b=../c"},
		{"/%0d%0A%7f", "/%0D%0A%7F"},
		{"", "refused: request target is neither a path nor an http URI"},
		{"a", "refused: request target is neither a path nor an http URI"},
		{"/..", "refused: dot segments lead above the root"},
		{"/a/../../b", "refused: dot segments lead above the root"},
		{"/./..", "refused: dot segments lead above the root"},
		{"//..", "refused: dot segments lead above the root"},
		{"/%", "refused: malformed escape in the path"},
		{"/%4", "refused: malformed escape in the path"},
		{"/%4g", "refused: malformed escape in the path"},
		{"/%%41", "refused: malformed escape in the path"},
		{"/%00", "refused: escaped NUL in the path"},
		{"/%2f", "refused: escaped slash or backslash in the path"},
		{"/%5C", "refused: escaped slash or backslash in the path"},
		{`/\`, "refused: backslash in the path"},
		{"/a?b", "refused: bad character in the request target"},
		{"/a b", "refused: bad character in the request target"},
	} {
		if got := normalize(test.path, model.EscapeReject); got != test.want {
			t.Errorf("%q: got %q, want %q", test.path, got, test.want)
		}
		if got := normalize(test.path, ""); got != test.want {
			t.Errorf("%q: empty policy: got %q, want %q", test.path, got, test.want)
		}
	}
}

func TestNormalPathKeepsEscapes(t *testing.T) {
	const beside = "refused: dot segment beside an escaped slash or backslash"
	for _, test := range []struct{ path, want string }{
		{"/a%2Fb", "/a%2Fb"},
		{"/a%2fb%5c", "/a%2Fb%5C"},
		{"/a%2F%2Fb", "/a%2F%2Fb"},
		{"/a%2F.b", "/a%2F.b"},
		{"/a%2F%20..", "/a%2F%20.."},
		{"/a%2Fb/..", "/"},
		{"/%2F", "/%2F"},
		{"/a%2F..", beside},
		{"/..%2Fa", beside},
		{"/.%5Ca", beside},
		{"/a%2f%2e%2E%2fb", beside},
		{"/a%2F.", beside},
		{"/%00", "refused: escaped NUL in the path"},
	} {
		if got := normalize(test.path, model.EscapeKeep); got != test.want {
			t.Errorf("%q: got %q, want %q", test.path, got, test.want)
		}
	}
}

// A normal path is returned as it is, so that it needs no copy.
func TestNormalPathInPlace(t *testing.T) {
	var scratch []byte
	for _, s := range []string{"/", "/a/b.c", "/.well-known/x", "/caf%C3%A9", "/a%2Fb"} {
		path := []byte(s)
		got, err := NormalPath(path, &scratch, model.EscapeKeep)
		if err != nil || &got[0] != &path[0] || len(got) != len(path) {
			t.Errorf("%s: got a copy %q, error %v", s, got, err)
		}
	}
}

func normalize(path string, escapes model.EscapePolicy) string {
	var scratch []byte
	got, err := NormalPath([]byte(path), &scratch, escapes)
	if err != nil {
		return "refused: " + err.Reason
	}
	return string(got)
}

// naivePath normalises a path step by step on strings. ok is false where it is refused.
func naivePath(path string, keep bool) (normal string, ok bool) {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, `\?# `) {
		return "", false
	}
	var out []string
	segments := strings.Split(path, "/")[1:]
	for i, segment := range segments {
		plain, err := url.PathUnescape(segment)
		if err != nil || strings.Contains(plain, "\x00") || !keep && strings.ContainsAny(plain, `/\`) {
			return "", false
		}
		for _, c := range []byte(segment) {
			if c <= ' ' || c >= 0x7f {
				return "", false
			}
		}
		last := i == len(segments)-1
		switch plain {
		case "", ".":
		case "..":
			if len(out) == 0 {
				return "", false
			}
			out = out[:len(out)-1]
		default:
			for _, piece := range strings.FieldsFunc(plain, func(r rune) bool { return r == '/' || r == '\\' }) {
				if strings.ContainsAny(plain, `/\`) && (piece == "." || piece == "..") {
					return "", false
				}
			}
			out = append(out, naiveSegment(segment))
			continue
		}
		if last {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/"), true
}

// naiveSegment gives one segment its normal escapes.
func naiveSegment(segment string) string {
	const unreserved = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
	var b strings.Builder
	for i := 0; i < len(segment); i++ {
		c := segment[i]
		switch {
		case c == '%':
			escape := segment[i : i+3]
			i += 2
			plain, _ := url.PathUnescape(escape)
			if strings.Contains(unreserved, plain) {
				b.WriteString(plain)
			} else {
				b.WriteString(strings.ToUpper(escape))
			}
		case strings.IndexByte(unreserved+"!$&'()*+,;=:@", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func FuzzNormalPath(f *testing.F) {
	for _, s := range []string{
		"/", "/a/../b/./c//d", "/%2e%2E/%7e%c3%a9", "/a%2fb/..%5c", "/a|b", "/..", "/.%2e", "/%00", "/%zz", "/a/b/../..", "//..//", `/\`, "/a/.b/..c/...",
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, path string, keep bool) {
		policy := model.EscapeReject
		if keep {
			policy = model.EscapeKeep
		}
		var scratch []byte
		got, err := NormalPath([]byte(path), &scratch, policy)
		want, ok := naivePath(path, keep)
		if (err == nil) != ok || ok && string(got) != want {
			t.Fatalf("%q: got %q, %v; want %q, %v", path, got, err, want, ok)
		}
		if err != nil {
			return
		}
		again, err := NormalPath(got, new([]byte), policy)
		if err != nil || &again[0] != &got[0] {
			t.Errorf("%q: its normal form %q is not normal: %q, %v", path, got, again, err)
		}
	})
}

func BenchmarkNormalPath(b *testing.B) {
	var scratch []byte
	path := []byte("/a/../%7eb//c%c3%a9/d/e/f")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NormalPath(path, &scratch, ""); err != nil {
			b.Fatal(err)
		}
	}
}
