package expression

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// request is an Input made of maps. It counts what it is asked for.
type request struct {
	texts   map[Attribute]string
	port    int64
	now     time.Time
	entries map[Attribute]map[string]string
	asked   []string
}

func (r *request) Text(a Attribute) string {
	r.asked = append(r.asked, a.String())
	return r.texts[a]
}

func (r *request) Number(a Attribute) int64 {
	r.asked = append(r.asked, a.String())
	if a == Now {
		return r.now.UnixNano()
	}
	return r.port
}

func (r *request) Lookup(a Attribute, name string) (string, bool) {
	r.asked = append(r.asked, a.String()+"/"+name)
	v, ok := r.entries[a][name]
	return v, ok
}

func sample() *request {
	return &request{
		texts: map[Attribute]string{
			Method: "GET", Scheme: "https", Host: "shop.example.com", Path: "/tenants/acme/cart", SourceAddress: "192.0.2.1",
			Identity: "spiffe://prod/ns/shop/sa/cart", RouteNamespace: "shop", RouteName: "cart", RouteRule: "all",
		},
		port: 4711,
		now:  time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC),
		entries: map[Attribute]map[string]string{
			Headers: {"x-user": "Ann", "x-empty": ""},
			Query:   {"q": "a b"},
			Cookies: {"sid": "1"},
		},
	}
}

func TestText(t *testing.T) {
	for source, want := range map[string]string{
		`request.method`:                             "GET",
		`request.scheme + "://" + request.host`:      "https://shop.example.com",
		`request.path`:                               "/tenants/acme/cart",
		`request.path.split("/")[2]`:                 "acme",
		`request.path.split("/")[2].upperAscii()`:    "ACME",
		`request.headers["x-user"]`:                  "Ann",
		`request.headers["x-user"].lowerAscii()`:     "ann",
		`request.headers["x-none"]`:                  "",
		`request.headers.none`:                       "",
		`request.headers["x-" + "user"]`:             "Ann",
		`request.headers[request.query.q]`:           "",
		`request.query["q"]`:                         "a b",
		`request.cookies.sid + request.cookies.no`:   "1",
		`source.address + ":" + string(source.port)`: "192.0.2.1:4711",
		`identity`: "spiffe://prod/ns/shop/sa/cart",
		`route.namespace + "/" + route.name + "/" + route.rule`: "shop/cart/all",
		`string(now)`: "2026-11-21T16:00:00Z",
		`"x-user" in request.headers ? "user" : "nobody"`:                        "user",
		`has(request.headers.none) ? "some" : "none"`:                            "none",
		`["x-none", "x-user"].filter(n, n in request.headers)[0]`:                "x-user",
		`request.path.startsWith("/tenants/") ? request.path.split("/")[2] : ""`: "acme",
		`request.path.matches("^/tenants/[a-z]+/") ? "tenant" : "other"`:         "tenant",
		"\n  request\n  .path": "/tenants/acme/cart",
	} {
		p, err := Compile(source, Forwarding, String)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := p.Text(sample()); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", source, got, err, want)
		}
	}
}

func TestBoolAndInt(t *testing.T) {
	for source, want := range map[string]any{
		`request.method in ["GET", "HEAD"]`:                                true,
		`request.headers["x-batch"] == "1"`:                                false,
		`identity == ""`:                                                   false,
		`"x-empty" in request.headers && request.headers["x-empty"] == ""`: true,
		`"x-none" in request.headers || has(request.cookies.none)`:         false,
		`has(request.headers.none) == ("none" in request.headers)`:         true,
		`now < timestamp("2026-12-01T00:00:00Z") && now.getHours() == 16`:  true,
		`request.path.split("/").exists(s, s == "acme")`:                   true,
		`request.path.startsWith("/export") ? 10 : 1`:                      int64(1),
		`size(request.path)`:                                               int64(18),
		`source.port % 10`:                                                 int64(1),
		`request.path.indexOf("acme")`:                                     int64(9),
	} {
		var got any
		var err error
		if _, ok := want.(bool); ok {
			got, err = evaluate(source, Bool, (*Program).Bool)
		} else {
			got, err = evaluate(source, Int, (*Program).Int)
		}
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", source, got, err, want)
		}
	}
}

func evaluate[T any](source string, result Result, eval func(*Program, Input) (T, error)) (any, error) {
	p, err := Compile(source, Matching, result)
	if err != nil {
		return nil, err
	}
	return eval(p, sample())
}

// TestRefused has what does not compile, with everything that is said about it.
func TestRefused(t *testing.T) {
	long := strings.Repeat(" ", MaxSource) + "1"
	for _, test := range []struct{ source, want string }{
		{``, `1:1: mismatched input '<EOF>'`},
		{`request.path +`, `1:15: mismatched input '<EOF>'`},
		{long, `1:1: longer than 4096 bytes`},
		{"\"\xff\"", `1:1: not UTF-8`},
		{`nobody`, `1:1: undeclared reference to 'nobody'`},
		{"request.path +\n  nobody + none", `2:3: undeclared reference to 'nobody'; 2:12: undeclared reference to 'none'`},
		{`request.paht`, `1:8: request has no paht; it has method, scheme, host, path, query, headers and cookies`},
		{`source.ip`, `1:7: source has no ip; it has address and port`},
		{`.request.path`, `1:2: write request without the dot before it`},
		{`identity + .request.headers["X-A"]`, `1:13: write request without the dot before it`},
		{`.identity`, `1:2: write identity without the dot before it`},
		{`matches() ? "a" : "b"`, `1:8: found no matching overload`},
		{`identity.matches() ? "a" : "b"`, `1:17: found no matching overload`},
		{`request`, `1:1: request is not a value: it has method, scheme, host, path, query, headers and cookies`},
		{`string(route)`, `1:8: route is not a value: it has namespace, name and rule`},
		{`jwt.sub`, `1:1: jwt is not available here: it needs verified claims, which come with AccessPolicy`},
		{`string(response.code)`, `1:8: response is not available here: there is none yet when the expression is evaluated`},
		{`request.headers["X-User"]`, `1:17: names of headers are lower case here: write "x-user"`},
		{`request.headers.Host`, `1:16: names of headers are lower case here: write "host"`},
		{`"X-A" in request.headers ? "a" : "b"`, `1:1: names of headers are lower case here: write "x-a"`},
		{`request.headers`, `1:8: request.headers cannot be listed: look a name up, as in request.headers["x-user"]`},
		{`string(size(request.cookies))`, `1:20: request.cookies cannot be listed: look a name up, as in request.cookies["sid"]`},
		{`request.query.map(k, k)[0]`, `1:8: request.query cannot be listed: look a name up, as in request.query["q"]`},
		{`request.headers == {} ? "a" : "b"`, `1:8: request.headers cannot be listed`},
		{`(true ? request.headers : request.cookies)["a"]`, `1:16: request.headers cannot be listed`},
		{`has(request.path) ? "a" : "b"`, `request.path is always there; compare its value`},
		{`request.headers[1]`, `found no matching overload for '_[_]' applied to '(map(string, string), int)'`},
		{`["a"].map(request, request)[0]`, `request has a meaning of its own: name the variable otherwise`},
		{`["a"].map(jwt, "a")[0]`, `jwt has a meaning of its own`},
		{`request.path.matches(request.query["p"]) ? "a" : "b"`, `1:35: the pattern of matches must be written out as a string`},
		{`request.path.matches("(") ? "a" : "b"`, "1:22: error parsing regexp: missing closing ): `(`"},
		{`"%s".format([identity])`, `1:12: format is not available here`},
		{`google.protobuf.StringValue{value: "a"}`, `messages cannot be made here`},
		{`source.port`, `1:1: is of type int, not string; write string(...) around it`},
		{`dyn(identity)`, `1:1: is of type dyn, not string`},
		{`string(1/0)`, `division by zero`},
		{`string(timestamp("yesterday"))`, `1:18: invalid timestamp argument`},
		{`request.path.replace("", request.path)`, `1:1: may take too long: up to `},
		{`request.path.split("").exists(a, request.path.split("").exists(b, a == b)) ? "a" : "b"`, `may take too long: up to `},
		{`[1, 2].map(a, [1, 2].map(b, [1, 2].map(c, a)))[0] == [] ? "a" : "b"`, `comprehension exceeds nesting limit`},
		{strings.Repeat("(", 400) + "identity" + strings.Repeat(")", 400), `expression recursion limit exceeded`},
	} {
		_, err := Compile(test.source, Forwarding, String)
		var known *Error
		if !errors.As(err, &known) {
			t.Errorf("%.80q: %v is no *Error", test.source, err)
			continue
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.80q: %q; want %q", test.source, err, test.want)
		}
		for _, p := range known.Problems {
			if p.Line < 1 || p.Column < 1 || p.Message == "" || strings.Contains(p.Message, "\n") {
				t.Errorf("%.80q: %+v", test.source, p)
			}
		}
	}
	if _, err := Compile("jwt.sub", Matching, String); err == nil || !strings.Contains(err.Error(), "only when the route is known") {
		t.Errorf("jwt while matching: %v", err)
	}
	if _, err := Compile(strings.Repeat("a+", 40)+"a", Matching, String); err == nil || strings.Count(err.Error(), "undeclared") != maxProblems {
		t.Errorf("many problems: %v", err)
	}
}

// TestFails has what compiles and has no value for some requests.
func TestFails(t *testing.T) {
	long := sample()
	long.texts[Path] = "/" + strings.Repeat("a", maxValue)
	long.entries[Headers]["x-long"] = strings.Repeat("a", maxValue+1)
	for source, want := range map[string]string{
		`request.path.split("/")[7]`:                 "index out of bounds: 7",
		`string(int(request.headers["x-user"]) + 1)`: "type conversion error",
		`string(1 / (source.port - 4711))`:           "division by zero",
		`request.path`:                               "",
		`request.headers["x-long"]`:                  "",
		`identity.startsWith("s") || request.headers["x-long"] == "a" ? "yes" : "no"`: "",
	} {
		p, err := Compile(source, Forwarding, String)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		got, err := p.Text(sample())
		if want == "" != (err == nil) || err != nil && (!strings.Contains(err.Error(), want) || got != "") {
			t.Errorf("%s: %q, %v; want %q", source, got, err, want)
		}
	}
	for source, want := range map[string]string{
		`request.path`:              "request.path is longer than 8192 bytes",
		`request.headers["x-long"]`: "request.headers is longer than 8192 bytes",
	} {
		p, err := Compile(source, Forwarding, String)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Text(long); err == nil || !strings.Contains(err.Error(), want) || got != "" {
			t.Errorf("%s: %.20q, %v", source, got, err)
		}
		if got, err := p.Text(sample()); err != nil {
			t.Errorf("%s, after an error: %q, %v", source, got, err)
		}
	}
	p, err := Compile("true", Forwarding, Bool)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Text(sample()); err == nil {
		t.Error("a bool was given as a string")
	}
}

// TestCounted: evaluations are counted where they can cost much, and only there.
func TestCounted(t *testing.T) {
	for source, counted := range map[string]bool{
		`request.path`: false,
		`"x-user" in request.headers ? request.headers["x-user"] : request.cookies["sid"]`: false,
		`request.path.split("/")[2]`:                                         true,
		`request.path.matches("^/[a-z]+/([a-z]+)/cart$") ? "cart" : "other"`: true,
	} {
		p, err := Compile(source, Forwarding, String)
		if err != nil {
			t.Fatal(err)
		}
		a := newActivation().(*activation)
		a.in = sample()
		_, details, err := p.cel.Eval(a)
		if err != nil {
			t.Fatal(err)
		}
		if cost := details.ActualCost(); (cost != nil) != counted || counted && (*cost == 0 || *cost > maxCost) {
			t.Errorf("%s: counted %v, want %v", source, cost != nil, counted)
		}
	}
}

// TestAsksOnlyWhatItNeeds: evaluation stops where the result is known.
func TestAsksOnlyWhatItNeeds(t *testing.T) {
	for source, want := range map[string]string{
		`"constant"`: "",
		`"x-user" in request.headers ? request.headers["x-user"] : request.cookies["sid"]`: "request.headers/x-user request.headers/x-user",
		`request.method == "PUT" && request.path == "/" ? identity : "none"`:               "request.method",
	} {
		p, err := Compile(source, Forwarding, String)
		if err != nil {
			t.Fatal(err)
		}
		in := sample()
		if _, err := p.Text(in); err != nil || strings.Join(in.asked, " ") != want {
			t.Errorf("%s asks for %q, %v; want %q", source, in.asked, err, want)
		}
	}
}

func TestUses(t *testing.T) {
	for source, want := range map[string]struct {
		uses     string
		constant bool
	}{
		`"a"`:                                 {"", true},
		`route.name + route.rule`:             {"route.name route.rule", true},
		`string(now) + route.namespace`:       {"route.namespace now", true},
		`request.headers["a"] + identity`:     {"request.headers identity", false},
		`["a"].map(x, x + source.address)[0]`: {"source.address", false},
		`"a" in request.query ? "a" : "b"`:    {"request.query", false},
		`has(request.cookies.a) ? "a" : "b"`:  {"request.cookies", false},
		`true ? "a" : request.path`:           {"request.path", false},
	} {
		p, err := Compile(source, Forwarding, String)
		if err != nil {
			t.Fatal(err)
		}
		var uses []string
		for a := range attributes {
			if p.Uses(a) {
				uses = append(uses, a.String())
			}
		}
		if got := strings.Join(uses, " "); got != want.uses || p.Constant() != want.constant {
			t.Errorf("%s: uses %q, constant %v; want %+v", source, got, p.Constant(), want)
		}
	}
}

// TestAttributes: each is declared, and there.
func TestAttributes(t *testing.T) {
	for a := range attributes {
		source, result := a.String(), String
		switch {
		case a.collection():
			source += ".a"
		case a == SourcePort:
			result = Int
		case a == Now:
			source = "string(now)"
		}
		if p, err := Compile(source, Matching, result); err != nil || !p.Uses(a) {
			t.Errorf("%s: %v", source, err)
		} else if _, err := p.eval(sample(), result); err != nil {
			t.Errorf("%s: %v", source, err)
		}
	}
}

// TestShared: equal expressions are one program while somebody holds it, and none is kept
// when nobody does.
func TestShared(t *testing.T) {
	source := `request.path + "shared"`
	p, err := Compile(source, Forwarding, String)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := Compile(source, Forwarding, String); again != p {
		t.Error("compiled twice")
	}
	if other, _ := Compile(source, Matching, String); other == p {
		t.Error("two phases share a program")
	}
	if _, err := Compile(source, Forwarding, Bool); err == nil {
		t.Error("a program for another result was given")
	}
	runtime.KeepAlive(p)
	known := func() (n int) {
		programs.Range(func(any, any) bool { n++; return true })
		return n
	}
	for range 100 {
		if known() == 0 {
			return
		}
		runtime.GC()
		runtime.Gosched()
	}
	t.Errorf("%d programs are kept that nobody holds", known())
}

func TestConcurrently(t *testing.T) {
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			in := sample()
			in.entries[Headers]["x-user"] = fmt.Sprint("user", i)
			for range 200 {
				p, err := Compile(`request.headers["x-user"] + request.path.split("/")[1]`, Forwarding, String)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := p.Text(in); err != nil || got != fmt.Sprint("user", i, "tenants") {
					t.Errorf("%q, %v", got, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// FuzzCompile: whatever compiles ends within its cost for the longest values, without a panic.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		`request.path`, `request.headers["x-user"]`, `request.path.split("/")[1]`, `jwt.sub`, `has(request.query.a) ? identity : ""`,
		`["a", "b"].filter(n, n in request.headers)[0]`, `request.path.matches("^/a+$") ? "a" : "b"`, `string(now)`, `{"a": identity}["a"]`,
		`request.path.replace("a", "b").trim()`, `[1, 2].map(a, a * 2)`, "a\n.b", `b"\x00"`, `"\u00fc" + request.host`, `type(1) == int`,
		`optional.of(1)`, `request.?path`, `request.headers[?"a"]`, `a.b.c{d: 1}`, `duration("1s") + now`, `1u + 2u`, `-9223372036854775808 / -1`, `matches()`, `identity.matches()`, `.identity`, `identity.format()`, `[1].map()`, `has()`, `a.exists(b)`,
	} {
		f.Add(seed)
	}
	long := fixed(strings.Repeat("/a", maxValue/2))
	f.Fuzz(func(t *testing.T, source string) {
		for _, result := range []Result{Bool, String, Int} {
			p, err := Compile(source, Forwarding, result)
			if err != nil {
				var known *Error
				if !errors.As(err, &known) || len(known.Problems) == 0 {
					t.Fatalf("%q: %v", source, err)
				}
				continue
			}
			for _, in := range []Input{sample(), long} {
				_, err := p.eval(in, result)
				if err != nil && (strings.Contains(err.Error(), "cost limit") || strings.Contains(err.Error(), "internal error")) {
					t.Fatalf("%q: %v", source, err)
				}
			}
		}
	})
}

// fixed is an Input whose every string is the same.
type fixed string

func (f fixed) Text(a Attribute) string                 { return string(f)[:min(uint64(len(f)), table[a].size)] }
func (f fixed) Number(Attribute) int64                  { return 1 }
func (f fixed) Lookup(Attribute, string) (string, bool) { return string(f), true }

func BenchmarkText(b *testing.B) {
	for _, source := range []string{
		`request.path`,
		`request.headers["x-user"]`,
		`request.path.split("/")[2]`,
		`"x-user" in request.headers ? request.headers["x-user"] : request.cookies["sid"]`,
		`request.path.startsWith("/tenants/") && request.method == "GET" ? request.headers["x-user"] : ""`,
		`request.path.matches("^/tenants/[a-z]+/") ? identity : ""`,
	} {
		b.Run(source, func(b *testing.B) {
			p, err := Compile(source, Forwarding, String)
			if err != nil {
				b.Fatal(err)
			}
			var in Input = fixed("/tenants/acme/cart")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Text(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := compile(`"x-user" in request.headers ? request.headers["x-user"] : request.cookies["sid"]`, Forwarding, String); err != nil {
			b.Fatal(err)
		}
	}
}
