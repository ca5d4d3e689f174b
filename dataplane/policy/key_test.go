package policy

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
)

func TestKeys(t *testing.T) {
	header := model.Key{Source: model.KeyHeader, Name: "x-user"}
	cookie := model.Key{Source: model.KeyCookie, Name: "sid"}
	query := model.Key{Source: model.KeyQuery, Name: "q 1"}
	client := model.Key{Source: model.KeyClientIP, IPv6Prefix: 60}
	for _, test := range []struct {
		name   string
		keys   []model.Key
		target string
		client string
		fields []string
		want   string // the value; empty: none
	}{
		{"header", []model.Key{header}, "/", "", []string{"X-User: ann"}, "ann"},
		{"headers", []model.Key{header}, "/", "", []string{"X-User: ann", "A: b", "x-user: bob"}, "ann,bob"},
		{"empty header", []model.Key{header, cookie}, "/", "", []string{"X-User:", "Cookie: sid=1"}, "1"},
		{"first key counts", []model.Key{cookie, header}, "/", "", []string{"X-User: ann", "Cookie: sid=1"}, "1"},
		{"cookie", []model.Key{cookie}, "/", "", []string{"Cookie: xsid=0;sid = 1 ; sid=2"}, "1"},
		{"cookie names have case", []model.Key{cookie}, "/", "", []string{"Cookie: SID=0"}, ""},
		{"cookie in a second field", []model.Key{cookie}, "/", "", []string{"Cookie: a=0", "Cookie: sid=\"a b\""}, `"a b"`},
		{"cookie without name", []model.Key{cookie}, "/", "", []string{"Cookie: sid; ; =1; sid=2=3"}, "2=3"},
		{"empty first cookie", []model.Key{cookie}, "/", "", []string{"Cookie: sid=; sid=1"}, ""},
		{"query", []model.Key{query}, "/?q=0&q+1=a+b%2f%2&q%201=x", "", nil, "a b/%2"},
		{"plain query", []model.Key{query}, "/?&&q%201=ab", "", nil, "ab"},
		{"query without value", []model.Key{query}, "/?q+1", "", nil, ""},
		{"query with a longer name", []model.Key{query}, "/?q+12=3&q+=4", "", nil, ""},
		{"no query", []model.Key{query}, "/", "", nil, ""},
		{"IPv4", []model.Key{client}, "/", "192.0.2.1", nil, "\xc0\x00\x02\x01"},
		{"IPv6", []model.Key{client}, "/", "2001:db8:1:abcd:1:2:3:4", nil, "\x20\x01\x0d\xb8\x00\x01\xab\xc0\x00\x00\x00\x00\x00\x00\x00\x00"},
		{"no address", []model.Key{client}, "/", "", nil, ""},
		{"unknown source", []model.Key{{Source: "Moon"}}, "/", "", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			req := request(t, append([]string{"GET " + test.target + " HTTP/1.1", "Host: h"}, test.fields...)...)
			addr, _ := netip.ParseAddr(test.client)
			keys := CompileKeys(test.keys)
			got, ok := keys.Append([]byte("before "), req, addr)
			if want := "before " + test.want; string(got) != want || ok != (test.want != "") {
				t.Errorf("Append = %q, %v, want %q", got, ok, want)
			}
			hash, ok := keys.Hash(req, addr)
			again, _ := keys.Hash(req, addr)
			if ok != (test.want != "") || hash != again || ok == (hash == 0) {
				t.Errorf("Hash = %d, then %d, %v", hash, again, ok)
			}
		})
	}
	if CompileKeys(nil) != nil {
		t.Error("no keys are not nil")
	}
}

// TestHashIsForever pins hashes: another value would move every user of every deployment.
// The first is the test value that XXH64 implementations share.
func TestHashIsForever(t *testing.T) {
	for _, test := range []struct {
		key    model.Key
		client string
		want   uint64
	}{
		{model.Key{Source: model.KeyHeader, Name: "x-user"}, "", 0xd24ec4f1a98c6e5b},
		{model.Key{Source: model.KeyClientIP}, "192.0.2.1", 0x9c3163f48c1ed6ff},
		{model.Key{Source: model.KeyClientIP, IPv6Prefix: 64}, "2001:db8::1", 0xe50a5c7a39491c19},
	} {
		req := get(t, "X-User: a")
		addr, _ := netip.ParseAddr(test.client)
		if got, ok := CompileKeys([]model.Key{test.key}).Hash(req, addr); got != test.want || !ok {
			t.Errorf("%v: %#x, want %#x", test.key, got, test.want)
		}
	}
}

func TestKeysAllocateNothing(t *testing.T) {
	req := request(t, "GET /?q=a%20b HTTP/1.1", "Host: h", "Cookie: a=b; sid="+strings.Repeat("x", 2000), "X-User: a", "X-User: b")
	addr := netip.MustParseAddr("2001:db8::1")
	for _, key := range []model.Key{
		{Source: model.KeyHeader, Name: "x-user"},
		{Source: model.KeyCookie, Name: "sid"},
		{Source: model.KeyQuery, Name: "q"},
		{Source: model.KeyClientIP, IPv6Prefix: 64},
	} {
		keys := CompileKeys([]model.Key{{Source: model.KeyCookie, Name: "none"}, key})
		t.Run(key.String(), func(t *testing.T) {
			noAllocations(t, func() {
				if _, ok := keys.Hash(req, addr); !ok {
					t.Fatal("no hash")
				}
			})
		})
	}
}

func BenchmarkHash(b *testing.B) {
	req := get(b, "User-Agent: curl/8.0", "Cookie: theme=dark; lang=en; sid=0123456789abcdef")
	keys := CompileKeys([]model.Key{{Source: model.KeyCookie, Name: "sid"}})
	b.ReportAllocs()
	for b.Loop() {
		keys.Hash(req, netip.Addr{})
	}
}

// FuzzCookies compares with net/http, where that takes the line for legal: it refuses some
// values that are passed on here as they are, takes the quotes off, and counts a name without
// "=" as a cookie.
func FuzzCookies(f *testing.F) {
	for _, seed := range []string{
		"a=b", "a=b; c=d", `a="b c"; a=d`, "a; a=b", "=b", ";;a=b;", " a = b ;c", "a==b", "a=\x80", "\ta=b\t", `a="`, `a=""`, "A=b",
	} {
		f.Add(seed, "a")
	}
	f.Fuzz(func(t *testing.T, line, name string) {
		raw := "GET / HTTP/1.1\r\nHost: h\r\nCookie: " + line + "\r\n\r\n"
		req := &http1.Request{}
		if n, err := req.Parse([]byte(raw), &testLimits); err != nil || n != len(raw) {
			t.Skip("no field value")
		}
		var got []string
		for v := range cookies(&req.Head, name) {
			got = append(got, string(v))
		}
		oracle := http.Request{Header: http.Header{"Cookie": {line}}}
		at := 0
		for _, c := range oracle.CookiesNamed(name) {
			want := strings.Trim(c.Value, " \t")
			if c.Quoted {
				want = `"` + c.Value + `"`
			}
			if want == "" {
				continue // without "=", perhaps
			}
			for at < len(got) && got[at] != want {
				at++
			}
			if at == len(got) {
				t.Fatalf("%q of %q: got %q, net/http has %q", name, line, got, want)
			}
			at++
		}
		for _, v := range got {
			if !strings.Contains(line, v) || strings.Contains(v, ";") {
				t.Fatalf("%q is not from %q", v, line)
			}
		}
		if isToken(name) && len(got) == 0 && len(oracle.CookiesNamed(name)) > 0 && strings.Contains(line, name+"=") &&
			oracle.CookiesNamed(name)[0].Value != "" {
			t.Fatalf("net/http finds %q in %q", name, line)
		}
	})
}

// FuzzParameter compares with net/url, where that can decode the query.
func FuzzParameter(f *testing.F) {
	for _, seed := range []string{"a=b", "a=%20+", "a&a=b", "%61=b&a=c", "a=b;c", "=a", "a==b", "&&a=1", "a=%zz"} {
		f.Add(seed, "a")
	}
	f.Fuzz(func(t *testing.T, query, name string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Skip("not decodable")
		}
		if got := parameter(nil, []byte(query), name); string(got) != values.Get(name) {
			t.Fatalf("%q of %q: got %q, want %q", name, query, got, values.Get(name))
		}
	})
}
