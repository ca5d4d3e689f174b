package policy

import (
	"bytes"
	"strings"
	"testing"

	"weir.dev/weir/model"
)

func TestRewritePath(t *testing.T) {
	prefix := func(s string) *model.PathChange { return &model.PathChange{Prefix: &s} }
	full := func(s string) *model.PathChange { return &model.PathChange{Full: &s} }
	tests := []struct {
		path, prefix string
		change       *model.PathChange
		want         string
	}{
		// The table of HTTPPathModifier.
		{"/foo/bar", "/foo", prefix("/xyz"), "/xyz/bar"},
		{"/foo/bar", "/foo", prefix("/xyz/"), "/xyz/bar"},
		{"/foo/bar", "/foo/", prefix("/xyz"), "/xyz/bar"},
		{"/foo/bar", "/foo/", prefix("/xyz/"), "/xyz/bar"},
		{"/foo", "/foo", prefix("/xyz"), "/xyz"},
		{"/foo/", "/foo", prefix("/xyz"), "/xyz/"},
		{"/foo/bar", "/foo", prefix(""), "/bar"},
		{"/foo/", "/foo", prefix(""), "/"},
		{"/foo", "/foo", prefix(""), "/"},
		{"/foo/", "/foo", prefix("/"), "/"},
		{"/foo", "/foo", prefix("/"), "/"},
		// What follows from it.
		{"/foo", "/foo/", prefix("/xyz/"), "/xyz"},
		{"/bar", "/", prefix("/xyz"), "/xyz/bar"},
		{"/", "/", prefix("/xyz"), "/xyz/"},
		{"/", "/", prefix("/"), "/"},
		{"/foo/bar", "/foo", prefix("xyz"), "/xyz/bar"},
		{"/foo/bar", "/foo", prefix("//evil.com"), "/evil.com/bar"},
		{"/foo/bar", "/foo", prefix(`/\evil.com`), "/evil.com/bar"},
		{"/foo//evil.com", "/foo", prefix("/"), "/evil.com"},
		{`/foo/\evil.com`, "/foo", prefix("/"), "/evil.com"},
		{"/foo/bar", "/foo", prefix("/a/../b c?d#e"), "/b%20c%3Fd%23e/bar"},
		{"/foo/bar", "/foo", prefix("/a\r\nX: y"), "/a%0D%0AX:%20y/bar"},
		// No prefix match chose the route, or not this one.
		{"/foo/bar", "", prefix("/xyz"), "/foo/bar"},
		{"/foobar", "/foo", prefix("/xyz"), "/foobar"},
		{"/f", "/foo", prefix("/xyz"), "/f"},
		{"*", "/", prefix("/xyz"), "*"},
		{"/foo/bar", "/foo", full("/one"), "/one"},
		{"/foo/bar", "/foo", full("/one/"), "/one/"},
		{"/foo/bar", "/foo", full(""), "/"},
		{"/foo/bar", "/foo", full("one?a=b"), "/one%3Fa=b"},
		{"/foo/bar", "/foo", full("/caf\u00e9/%e9"), "/caf%C3%A9/%E9"},
		{"/foo/bar", "/foo", full("//one"), "/one"},
		{"/foo/bar", "/foo", full("/%zz"), "/%zz"},
		{"/foo/bar", "/foo", nil, "/foo/bar"},
		{"/foo/bar", "/foo", &model.PathChange{}, "/foo/bar"},
	}
	for _, tt := range tests {
		r := CompileRewrite(&model.Rewrite{Path: tt.change})
		if got := string(r.AppendPath([]byte("x"), []byte(tt.path), tt.prefix)); got != "x"+tt.want {
			t.Errorf("%s, prefix %s: %q, want %q", tt.path, tt.prefix, got[1:], tt.want)
		}
	}
}

func TestRewriteAbsent(t *testing.T) {
	r := CompileRewrite(nil)
	if r != nil || r.Hostname() != "" || string(r.AppendPath(nil, []byte("/a"), "/")) != "/a" {
		t.Error("a nil rewrite changes something")
	}
	if got := CompileRewrite(&model.Rewrite{Hostname: "a.b"}).Hostname(); got != "a.b" {
		t.Error(got)
	}
}

func TestRewriteAllocations(t *testing.T) {
	to := "/xyz"
	r := CompileRewrite(&model.Rewrite{Path: &model.PathChange{Prefix: &to}})
	dst, path := make([]byte, 0, 64), []byte("/foo/bar")
	noAllocations(t, func() { dst = r.AppendPath(dst[:0], path, "/foo") })
}

func FuzzRewritePath(f *testing.F) {
	f.Add("/foo/bar", "/foo", "/xyz", false)
	f.Add("/foo", "/foo/", "", false)
	f.Add("//evil", "/", "//", false)
	f.Add("/a", "", "/b?c", true)
	f.Add("0", "0", "", false)
	f.Add(`/foo/\/evil`, "/foo", `\/`, false)
	f.Fuzz(func(t *testing.T, path, prefix, value string, full bool) {
		change := &model.PathChange{Prefix: &value}
		if full {
			change = &model.PathChange{Full: &value}
		}
		got := CompileRewrite(&model.Rewrite{Path: change}).AppendPath([]byte("x"), []byte(path), prefix)
		if got[0] != 'x' {
			t.Fatalf("%q was overwritten", got)
		}
		got = got[1:]
		if !full && !strings.HasPrefix(path, "/") {
			if string(got) != path {
				t.Fatalf("%q became %q", path, got)
			}
			return
		}
		if !bytes.HasPrefix(got, []byte("/")) || len(got) > 1 && (got[1] == '/' || got[1] == '\\') {
			t.Fatalf("%q does not start with exactly one slash", got)
		}
		if bytes.ContainsAny(got, "\r\n ?#") && !strings.ContainsAny(path, "\r\n ?#") {
			t.Fatalf("%q ends a path", got)
		}
	})
}
