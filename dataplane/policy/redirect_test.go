package policy

import (
	"net/url"
	"strings"
	"testing"

	"weir.dev/weir/model"
)

func TestLocation(t *testing.T) {
	text := func(s string) *string { return &s }
	plain := RedirectInput{Scheme: "http", Host: []byte("a.com"), Port: 80, Path: []byte("/p")}
	on8080 := plain
	on8080.Port = 8080
	secure := plain
	secure.Scheme, secure.Port = "https", 443
	query := plain
	query.Query, query.HasQuery = []byte("a=b&c=%20?/"), true
	empty := plain
	empty.HasQuery = true
	matched := plain
	matched.Path, matched.Prefix = []byte("/foo/bar"), "/foo"
	six := on8080
	six.Host = []byte("[2001:db8::1]")
	hostless := plain
	hostless.Host, hostless.Path = nil, []byte("//evil.com")
	odd := plain
	odd.Host, odd.Path = []byte("a.com\r\nx:@/"), []byte("/a\r\nb \\\xe9\"")
	odd.Query, odd.HasQuery = []byte("a\r\nb#c"), true
	star := plain
	star.Path = []byte("*")
	tests := []struct {
		name     string
		redirect model.Redirect
		in       RedirectInput
		want     string
	}{
		{"nothing configured", model.Redirect{}, plain, "http://a.com/p"},
		{"hostname", model.Redirect{Hostname: "b.org"}, plain, "http://b.org/p"},
		{"listener's port", model.Redirect{}, on8080, "http://a.com:8080/p"},
		{"scheme brings its port", model.Redirect{Scheme: "https"}, on8080, "https://a.com/p"},
		{"same scheme brings its port too", model.Redirect{Scheme: "http"}, on8080, "http://a.com/p"},
		{"https to http", model.Redirect{Scheme: "http"}, secure, "http://a.com/p"},
		{"unknown scheme keeps the listener's port", model.Redirect{Scheme: "foo"}, on8080, "foo://a.com:8080/p"},
		{"default port of https", model.Redirect{}, secure, "https://a.com/p"},
		{"https listener on 80", model.Redirect{}, RedirectInput{Scheme: "https", Host: []byte("a"), Port: 80, Path: []byte("/")}, "https://a:80/"},
		{"port", model.Redirect{Port: 8443}, plain, "http://a.com:8443/p"},
		{"port is the default", model.Redirect{Port: 80}, on8080, "http://a.com/p"},
		{"scheme and port", model.Redirect{Scheme: "https", Port: 8443}, plain, "https://a.com:8443/p"},
		{"scheme and the other's port", model.Redirect{Scheme: "https", Port: 80}, plain, "https://a.com:80/p"},
		{"query", model.Redirect{}, query, "http://a.com/p?a=b&c=%20?/"},
		{"empty query", model.Redirect{}, empty, "http://a.com/p?"},
		{"full path keeps the query", model.Redirect{Path: &model.PathChange{Full: text("/x")}}, query, "http://a.com/x?a=b&c=%20?/"},
		{"prefix", model.Redirect{Path: &model.PathChange{Prefix: text("/x")}}, matched, "http://a.com/x/bar"},
		{"prefix removed", model.Redirect{Path: &model.PathChange{Prefix: text("/")}}, matched, "http://a.com/bar"},
		{"IPv6", model.Redirect{}, six, "http://[2001:db8::1]:8080/p"},
		{"no host", model.Redirect{}, hostless, "/evil.com"},
		{"bytes that do not belong", model.Redirect{}, odd, "http://a.com%0D%0Ax:%40%2F/a%0D%0Ab%20%5C%E9%22?a%0D%0Ab%23c"},
		{"no path", model.Redirect{}, star, "http://a.com/*"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(CompileRedirect(&tt.redirect).AppendLocation([]byte("x"), tt.in)); got != "x"+tt.want {
				t.Errorf("%q, want %q", got[1:], tt.want)
			}
		})
	}
}

func TestRedirectStatus(t *testing.T) {
	if CompileRedirect(nil) != nil {
		t.Error("nil became a redirect")
	}
	for status, want := range map[int]int{0: 302, 301: 301, 308: 308} {
		if got := CompileRedirect(&model.Redirect{Status: status}).Status(); got != want {
			t.Errorf("%d became %d", status, got)
		}
	}
}

func TestLocationAllocations(t *testing.T) {
	to := "/xyz"
	r := CompileRedirect(&model.Redirect{Scheme: "https", Path: &model.PathChange{Prefix: &to}})
	in := RedirectInput{Scheme: "http", Host: []byte("a.com"), Port: 80, Path: []byte("/foo/b\\r"), Prefix: "/foo", Query: []byte("q"), HasQuery: true}
	dst := make([]byte, 0, 256)
	noAllocations(t, func() { dst = r.AppendLocation(dst[:0], in) })
}

func FuzzLocation(f *testing.F) {
	f.Add("a.com", "/foo/bar", "a=b", "/foo", "/xyz", uint16(8080))
	f.Add("", "//evil.com", "", "/", "", uint16(0))
	f.Add("[::1]", "/\\evil", "\r\n", "", "//evil.com/", uint16(443))
	f.Add("a.com", "*", "%", "/foo", "?#", uint16(80))
	f.Fuzz(func(t *testing.T, host, path, query, prefix, value string, port uint16) {
		for _, r := range []*model.Redirect{{}, {Scheme: "https", Path: &model.PathChange{Prefix: &value}}, {Path: &model.PathChange{Full: &value}}} {
			in := RedirectInput{
				Scheme: "http", Host: []byte(host), Port: port, Path: []byte(path),
				Query: []byte(query), HasQuery: query != "", Prefix: prefix,
			}
			got := string(CompileRedirect(r).AppendLocation([]byte("x"), in))[1:]
			if !isVisible([]byte(got), len(got)) || strings.ContainsAny(got, `\#"`) {
				t.Fatalf("%q holds what it must not", got)
			}
			rest := got
			if host != "" {
				_, authority, found := strings.Cut(got, "://")
				slash := strings.IndexByte(authority, '/')
				if !found || slash < 0 {
					t.Fatalf("%q has no path", got)
				}
				if strings.ContainsAny(authority[:slash], "?@") {
					t.Fatalf("%q leaves the host", got)
				}
				rest = authority[slash:]
			}
			if rest[0] != '/' || strings.HasPrefix(rest, "//") {
				t.Fatalf("%q does not start its path with one slash", got)
			}
			if u, err := url.Parse(rest); err == nil && u.Host != "" {
				t.Fatalf("%q names another host", got)
			}
		}
	})
}
