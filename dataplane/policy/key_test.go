package policy

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

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
		{"identity", []model.Key{{Source: model.KeyIdentity}}, "/", "", nil, testIdentity},
		{"expression", []model.Key{cel(`request.path.split("/")[1]`)}, "/acme/cart", "", nil, "acme"},
		{"expression without a value", []model.Key{cel(`request.path.split("/")[2]`), header}, "/acme", "", []string{"X-User: ann"}, "ann"},
		{"empty expression", []model.Key{cel(`request.headers["x-none"]`), header}, "/", "", []string{"X-User: ann"}, "ann"},
		{"expression that does not compile", []model.Key{cel(`nobody`), header}, "/", "", []string{"X-User: ann"}, "ann"},
		{"long expression", []model.Key{cel(`request.headers["x-user"] + "!"`)}, "/", "", []string{"X-User: " + strings.Repeat("x", 1000)}, strings.Repeat("x", 1000) + "!"},
		{"unknown source", []model.Key{{Source: "Moon"}}, "/", "", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			req := request(t, append([]string{"GET " + test.target + " HTTP/1.1", "Host: h"}, test.fields...)...)
			s := factsOf(req, test.client)
			keys := CompileKeys(test.keys)
			got, ok := keys.Append([]byte("before "), s)
			if want := "before " + test.want; string(got) != want || ok != (test.want != "") {
				t.Errorf("Append = %q, %v, want %q", got, ok, want)
			}
			hash, ok := keys.Hash(s)
			again, _ := keys.Hash(s)
			if ok != (test.want != "") || hash != again || ok == (hash == 0) {
				t.Errorf("Hash = %d, then %d, %v", hash, again, ok)
			}
		})
	}
	if CompileKeys(nil) != nil {
		t.Error("no keys are not nil")
	}
}

const testIdentity = "spiffe://prod/ns/shop/sa/cart"

func cel(source string) model.Key { return model.Key{Source: model.KeyExpression, Name: source} }

// factsOf is a request of a client that is the peer itself, over a listener for http.
func factsOf(req *http1.Request, client string) *Facts {
	addr, _ := netip.ParseAddr(client)
	f := CompileForwarding(&model.Client{}, "http", 80)
	c := f.Judge(addr, "", &req.Head)
	return &Facts{
		Request: req, Caller: &c, Forwarding: f, Port: 4711, Identity: testIdentity,
		Route: &model.Route{Namespace: "shop", Object: "cart", Rule: "all"},
		Clock: func() time.Time { return time.Unix(1_700_000_000, 5) },
	}
}

// TestFacts has everything that expressions see.
func TestFacts(t *testing.T) {
	fields := []string{
		"X-User: ann", "x-user: bob", "X-Empty:", "Cookie: a=1; sid=2; sid=3", "X-Forwarded-Proto: https", "X-Forwarded-For: 198.51.100.7",
	}
	req := request(t, append([]string{"POST /Shop/%7Eann/../cart?q=a%20b&q=c&flag HTTP/1.1", "Host: Shop.Example.com:8080"}, fields...)...)
	direct, behind := factsOf(req, "192.0.2.1"), factsOf(req, "192.0.2.1")
	behind.Forwarding = CompileForwarding(&model.Client{TrustHops: 1}, "http", 80)
	*behind.Caller = behind.Forwarding.Judge(netip.MustParseAddr("192.0.2.1"), "", &req.Head)
	nobody := factsOf(get(t), "")
	nobody.Identity = ""
	for _, test := range []struct {
		s            *Facts
		source, want string
	}{
		{direct, `request.method`, "POST"},
		{direct, `request.host`, "shop.example.com"},
		{direct, `request.path`, string(req.Path)},
		{direct, `request.headers["x-user"]`, "ann,bob"},
		{direct, `request.headers["host"]`, "Shop.Example.com:8080"},
		{direct, `"x-empty" in request.headers ? "yes" : "no"`, "yes"},
		{direct, `"x-none" in request.headers ? "yes" : "no"`, "no"},
		{direct, `request.query["q"]`, "a b"},
		{direct, `"flag" in request.query && !("none" in request.query) ? "yes" : "no"`, "yes"},
		{direct, `request.cookies.sid`, "2"},
		{direct, `has(request.cookies.none) ? "yes" : "no"`, "no"},
		{direct, `identity`, testIdentity},
		{direct, `route.namespace + "/" + route.name + "/" + route.rule`, "shop/cart/all"},
		{direct, `string(now)`, "2023-11-14T22:13:20.000000005Z"},
		{direct, `source.address + " " + string(source.port)`, "192.0.2.1 4711"},
		{behind, `source.address + " " + string(source.port)`, "198.51.100.7 0"},
		{nobody, `source.address + identity`, ""},
		{direct, `request.scheme`, "http"},
		{behind, `request.scheme`, "https"},
	} {
		got, _ := CompileKeys([]model.Key{cel(test.source)}).Append(nil, test.s)
		if string(got) != test.want {
			t.Errorf("%s: %q, want %q", test.source, got, test.want)
		}
	}
	if string(req.Path) == "/Shop/%7Eann/../cart" {
		t.Error("the path is not in normal form")
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
		{cel(`request.headers["x-user"]`), "", 0xd24ec4f1a98c6e5b}, // as the header itself
	} {
		req := get(t, "X-User: a")
		if got, ok := CompileKeys([]model.Key{test.key}).Hash(factsOf(req, test.client)); got != test.want || !ok {
			t.Errorf("%v: %#x, want %#x", test.key, got, test.want)
		}
	}
}

func TestKeysAllocateNothing(t *testing.T) {
	req := request(t, "GET /?q=a%20b HTTP/1.1", "Host: h", "Cookie: a=b; sid="+strings.Repeat("x", 2000), "X-User: a", "X-User: b")
	s := factsOf(req, "2001:db8::1")
	for _, key := range []model.Key{
		{Source: model.KeyHeader, Name: "x-user"},
		{Source: model.KeyCookie, Name: "sid"},
		{Source: model.KeyQuery, Name: "q"},
		{Source: model.KeyClientIP, IPv6Prefix: 64},
		{Source: model.KeyIdentity},
	} {
		keys := CompileKeys([]model.Key{{Source: model.KeyCookie, Name: "none"}, key})
		t.Run(key.String(), func(t *testing.T) {
			noAllocations(t, func() {
				if _, ok := keys.Hash(s); !ok {
					t.Fatal("no hash")
				}
			})
		})
	}
}

func BenchmarkHash(b *testing.B) {
	req := get(b, "User-Agent: curl/8.0", "Cookie: theme=dark; lang=en; sid=0123456789abcdef", "X-User: ann")
	s := factsOf(req, "")
	for _, key := range []model.Key{
		{Source: model.KeyCookie, Name: "sid"},
		{Source: model.KeyHeader, Name: "x-user"},
		cel(`request.cookies["sid"]`),
		cel(`request.headers["x-user"]`),
		cel(`"x-user" in request.headers ? "user " + request.headers["x-user"] : identity`),
		cel(`request.path.split("/")[0] + request.method`),
	} {
		b.Run(key.String(), func(b *testing.B) {
			keys := CompileKeys([]model.Key{key})
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := keys.Hash(s); !ok {
					b.Fatal("no key")
				}
			}
		})
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
		if got, ok := parameter(nil, []byte(query), name); string(got) != values.Get(name) || ok != values.Has(name) {
			t.Fatalf("%q of %q: got %q, %v, want %q", name, query, got, ok, values.Get(name))
		}
	})
}
