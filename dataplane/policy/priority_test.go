package policy

import (
	"net/netip"
	"testing"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
)

// priorityFacts parses a head.
func priorityFacts(t testing.TB, head string, client string) *Facts {
	t.Helper()
	req := &http1.Request{}
	if _, err := req.Parse([]byte(head), &http1.Limits{}); err != nil {
		t.Fatal(err)
	}
	caller := &Caller{}
	if client != "" {
		caller.Client = netip.MustParseAddr(client)
	}
	return &Facts{Request: req, Caller: caller, Route: &model.Route{}, Clock: time.Now}
}

func TestPriorities(t *testing.T) {
	p := CompilePriorities([]model.Priority{
		{When: `request.path == "/health"`, Class: model.ClassCriticalPlus},
		{When: `int(request.headers["x-n"]) > 1`, Class: model.ClassCritical}, // in error without a number
		{When: `this does not compile`, Class: model.ClassCriticalPlus},
		{When: `request.headers["x-batch"] == "1"`, Class: model.ClassSheddable},
	})
	for head, want := range map[string]model.Class{
		"GET /health HTTP/1.1\r\nHost: h\r\nX-Batch: 1\r\n\r\n": model.ClassCriticalPlus,
		"GET / HTTP/1.1\r\nHost: h\r\nX-Batch: 1\r\n\r\n":       model.ClassSheddable,
		"GET / HTTP/1.1\r\nHost: h\r\nX-N: 2\r\n\r\n":           model.ClassCritical,
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n":                     model.ClassNone,
	} {
		if got := p.Class(priorityFacts(t, head, "")); got != want {
			t.Errorf("%q: %v, want %v", head, got, want)
		}
	}
	if CompilePriorities(nil) != nil {
		t.Error("none are something")
	}
	all := CompilePriorities([]model.Priority{{Class: model.ClassSheddablePlus}})
	if got := all.Class(priorityFacts(t, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "")); got != model.ClassSheddablePlus {
		t.Errorf("without a condition: %v", got)
	}
}

func FuzzParsePriority(f *testing.F) {
	for _, value := range []string{"", "Critical", "critical", "CriticalPlus", "Sheddable", "SheddablePlus", "None", "Critical,Sheddable"} {
		f.Add([]byte(value))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		got, ok := ParsePriority(value)
		if want, known := model.ParseClass(string(value)); got != want || ok != known {
			t.Errorf("%q: %v, %v; want %v, %v", value, got, ok, want, known)
		}
	})
}

func TestTenants(t *testing.T) {
	for _, test := range []struct {
		name, head, client string
		key                model.Key
		want               string
	}{
		{"a header", "X-Tenant: acme\r\n", "", model.Key{Source: model.KeyHeader, Name: "x-tenant"}, "acme"},
		{"none", "", "", model.Key{Source: model.KeyHeader, Name: "x-tenant"}, ""},
		{"an address", "", "192.0.2.7", model.Key{Source: model.KeyClientIP}, "192.0.2.7"},
		{"a network", "", "2001:db8:1:2:3::4", model.Key{Source: model.KeyClientIP, IPv6Prefix: 64}, "2001:db8:1:2::/64"},
		{"bytes", "X-Tenant: a\xffb\tc\r\n", "", model.Key{Source: model.KeyHeader, Name: "x-tenant"}, "a?b?c"},
	} {
		keys := CompileKeys([]model.Key{test.key})
		got := string(keys.AppendTenant(nil, priorityFacts(t, "GET / HTTP/1.1\r\nHost: h\r\n"+test.head+"\r\n", test.client)))
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	// What may be a credential is told apart, and not shown.
	for _, key := range []model.Key{
		{Source: model.KeyHeader, Name: "authorization"},
		{Source: model.KeyHeader, Name: "x-api-key"},
		{Source: model.KeyCookie, Name: "sid"},
		{Source: model.KeyQuery, Name: "access_token"},
		{Source: model.KeyExpression, Name: `request.headers["authorization"]`},
	} {
		keys := CompileKeys([]model.Key{key})
		shown := func(secret string) string {
			head := "GET /?access_token=" + secret + " HTTP/1.1\r\nHost: h\r\nAuthorization: " + secret + "\r\nX-Api-Key: " + secret +
				"\r\nCookie: sid=" + secret + "\r\n\r\n"
			return string(keys.AppendTenant(nil, priorityFacts(t, head, "")))
		}
		a, b := shown("hunter2"), shown("hunter3")
		if len(a) != len("hash:0123456789abcdef") || a[:5] != "hash:" || a == b || a != shown("hunter2") {
			t.Errorf("%v: %q and %q", key, a, b)
		}
	}
}

func BenchmarkPriorities(b *testing.B) {
	p := CompilePriorities([]model.Priority{{When: `request.headers["x-batch"] == "1"`, Class: model.ClassSheddable}})
	f := priorityFacts(b, "GET / HTTP/1.1\r\nHost: h\r\nX-Batch: 1\r\n\r\n", "")
	b.ReportAllocs()
	for b.Loop() {
		p.Class(f)
	}
}
