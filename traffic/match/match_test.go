package match

import (
	"strings"
	"testing"

	"weir.dev/weir/model"
)

// fields are a request's headers in a test, already joined.
type fields map[string]string

func (f fields) Joined(name string) ([]byte, bool) {
	v, ok := f[name]
	return []byte(v), ok
}

func exact(path string) model.Match  { return pathMatch(model.MatchExact, path) }
func prefix(path string) model.Match { return pathMatch(model.MatchPrefix, path) }
func regex(path string) model.Match  { return pathMatch(model.MatchRegex, path) }

// call is an expression of a GRPCRoute.
func call(path string, precedence uint32) model.Match {
	m := regex(path)
	m.Path.Precedence = precedence
	return m
}

func pathMatch(t model.MatchType, path string) model.Match {
	return model.Match{Path: model.PathMatch{Type: t, Value: path}}
}

func withMethod(m model.Match, method string) model.Match {
	m.Method = method
	return m
}

func withHeaders(m model.Match, names ...string) model.Match {
	for _, n := range names {
		m.Headers = append(m.Headers, model.ValueMatch{Name: n, Type: model.MatchExact, Value: "1"})
	}
	return m
}

func withQuery(m model.Match, names ...string) model.Match {
	for _, n := range names {
		m.Query = append(m.Query, model.ValueMatch{Name: n, Type: model.MatchExact, Value: "1"})
	}
	return m
}

func rule(name string, rank uint32, hosts string, matches ...model.Match) Entry[string] {
	return Entry[string]{Hostnames: strings.Fields(hosts), Matches: matches, Rank: rank, Value: name}
}

// padding are entries that push a host over to the maps and never match a test's request.
func padding(hosts ...string) []Entry[string] {
	var list []Entry[string]
	for _, h := range append(hosts, "") {
		e := Entry[string]{Value: "padding"}
		if h != "" {
			e.Hostnames = []string{h}
		}
		for c := 'a'; c < 'a'+2*few; c++ {
			e.Matches = append(e.Matches, exact("/padding/"+string(c)))
		}
		list = append(list, e)
	}
	return list
}

func TestFind(t *testing.T) {
	tests := []struct {
		name    string
		entries []Entry[string]
		request string // METHOD host path?query
		headers fields
		want    string // "" for none
	}{
		{"nothing", nil, "GET a.test /", nil, ""},
		{"root prefix", []Entry[string]{rule("r", 0, "", prefix("/"))}, "GET a.test /x/y", nil, "r"},
		{"root prefix, root", []Entry[string]{rule("r", 0, "", prefix("/"))}, "GET a.test /", nil, "r"},
		{"prefix itself", []Entry[string]{rule("r", 0, "", prefix("/foo"))}, "GET a.test /foo", nil, "r"},
		{"prefix below", []Entry[string]{rule("r", 0, "", prefix("/foo"))}, "GET a.test /foo/bar", nil, "r"},
		{"prefix is whole segments", []Entry[string]{rule("r", 0, "", prefix("/foo"))}, "GET a.test /foobar", nil, ""},
		{"trailing slash of the prefix", []Entry[string]{rule("r", 0, "", prefix("/foo/"))}, "GET a.test /foo", nil, "r"},
		{"trailing slash of the path", []Entry[string]{rule("r", 0, "", prefix("/foo"))}, "GET a.test /foo/", nil, "r"},
		{"exact knows the trailing slash", []Entry[string]{rule("r", 0, "", exact("/foo"))}, "GET a.test /foo/", nil, ""},
		{"case counts", []Entry[string]{rule("r", 0, "", exact("/foo"))}, "GET a.test /Foo", nil, ""},
		{"exact beats all", []Entry[string]{rule("p", 0, "", withHeaders(prefix("/foo"), "a")), rule("x", 0, "", regex("/fo+")), rule("e", 9, "", exact("/foo"))}, "GET a.test /foo", fields{"a": "1"}, "e"},
		{"regex beats prefix", []Entry[string]{rule("p", 0, "", prefix("/foo")), rule("x", 9, "", regex("/f.*"))}, "GET a.test /foo", nil, "x"},
		{"longest regex first", []Entry[string]{rule("x", 0, "", regex("/f.*")), rule("y", 9, "", regex("/fo+.*"))}, "GET a.test /foo", nil, "y"},
		{"service before calls", []Entry[string]{rule("any", 9, "", call("/[^/]+/Get", 3)), rule("service", 0, "", prefix("/a.B"))}, "POST a.test /a.B/Get", nil, "service"},
		{"calls before everything", []Entry[string]{rule("all", 0, "", withHeaders(prefix("/"), "a")), rule("any", 9, "", call("/[^/]+/Get", 3))}, "POST a.test /a.B/Get", fields{"a": "1"}, "any"},
		{"the highest call", []Entry[string]{rule("longer", 0, "", call("/[^/]+/(Get|Put)", 3)), rule("higher", 9, "", call("/a.*/Get", 4))}, "POST a.test /a.B/Get", nil, "higher"},
		{"no call", []Entry[string]{rule("all", 0, "", prefix("/")), rule("any", 9, "", call("/[^/]+/Get", 3))}, "POST a.test /a.B/Put", nil, "all"},
		{"regex is the whole path", []Entry[string]{rule("x", 0, "", regex("/fo"))}, "GET a.test /foo", nil, ""},
		{"regex with an open quotation", []Entry[string]{rule("x", 0, "", regex(`/\Qa.b`)), rule("p", 0, "", prefix("/"))}, "GET a.test /a.b", nil, "x"},
		{"regex alternatives are the whole path", []Entry[string]{rule("x", 0, "", regex("/fo|/bar"))}, "GET a.test /foo", nil, ""},
		{"longest prefix", []Entry[string]{rule("a", 0, "", prefix("/")), rule("b", 9, "", prefix("/foo/bar")), rule("c", 0, "", prefix("/foo"))}, "GET a.test /foo/bar/x", nil, "b"},
		{"falls back to a shorter prefix", []Entry[string]{rule("b", 0, "", withMethod(prefix("/foo/bar"), "PUT")), rule("c", 0, "", prefix("/foo"))}, "GET a.test /foo/bar/x", nil, "c"},
		{"method beats headers", []Entry[string]{rule("h", 0, "", withHeaders(prefix("/"), "a", "b")), rule("m", 9, "", withMethod(prefix("/"), "GET"))}, "GET a.test /", fields{"a": "1", "b": "1"}, "m"},
		{"method counts", []Entry[string]{rule("m", 0, "", withMethod(prefix("/"), "GET"))}, "POST a.test /", nil, ""},
		{"most headers", []Entry[string]{rule("a", 0, "", withHeaders(prefix("/"), "a")), rule("b", 9, "", withHeaders(prefix("/"), "a", "b"))}, "GET a.test /", fields{"a": "1", "b": "1"}, "b"},
		{"headers beat query", []Entry[string]{rule("q", 0, "", withQuery(prefix("/"), "a", "b")), rule("h", 9, "", withHeaders(prefix("/"), "a"))}, "GET a.test /?a=1&b=1", fields{"a": "1"}, "h"},
		{"most query", []Entry[string]{rule("a", 0, "", withQuery(prefix("/"), "a")), rule("b", 9, "", withQuery(prefix("/"), "a", "b"))}, "GET a.test /?a=1&b=1", nil, "b"},
		{"a repeated name does not count", []Entry[string]{rule("a", 0, "", withHeaders(prefix("/"), "a")), rule("b", 9, "", withHeaders(prefix("/"), "a", "a"))}, "GET a.test /", fields{"a": "1"}, "a"},
		{"rank", []Entry[string]{rule("a", 2, "", prefix("/")), rule("b", 1, "", prefix("/"))}, "GET a.test /", nil, "b"},
		{"order", []Entry[string]{rule("a", 1, "", prefix("/")), rule("b", 1, "", prefix("/"))}, "GET a.test /", nil, "a"},
		{"any of the matches", []Entry[string]{rule("a", 0, "", prefix("/x"), withMethod(exact("/y"), "PUT"))}, "PUT a.test /y", nil, "a"},
		{"exact host beats wildcard", []Entry[string]{rule("w", 0, "*.test", exact("/")), rule("h", 9, "a.test", prefix("/"))}, "GET a.test /", nil, "h"},
		{"longest wildcard", []Entry[string]{rule("w", 0, "*.test", exact("/")), rule("v", 9, "*.b.test", prefix("/"))}, "GET a.b.test /", nil, "v"},
		{"wildcard beats none", []Entry[string]{rule("n", 0, "", exact("/")), rule("w", 9, "*.test", prefix("/"))}, "GET a.b.test /", nil, "w"},
		{"wildcard needs a label", []Entry[string]{rule("w", 0, "*.test", prefix("/"))}, "GET test /", nil, ""},
		{"wildcard takes many labels", []Entry[string]{rule("w", 0, "*.test", prefix("/"))}, "GET a.b.c.test /", nil, "w"},
		{"falls through to the wildcards", []Entry[string]{rule("h", 0, "a.b.test", prefix("/x")), rule("v", 0, "*.b.test", prefix("/y")), rule("w", 0, "*.test", prefix("/z"))}, "GET a.b.test /z", nil, "w"},
		{"falls through to none", []Entry[string]{rule("h", 0, "a.test", prefix("/x")), rule("w", 0, "*.test", prefix("/y")), rule("n", 0, "", prefix("/z"))}, "GET a.test /z", nil, "n"},
		{"several hosts", []Entry[string]{rule("h", 0, "a.test b.test", prefix("/"))}, "GET b.test /", nil, "h"},
		{"another host", []Entry[string]{rule("h", 0, "a.test", prefix("/"))}, "GET b.test /", nil, ""},
		{"no host", []Entry[string]{rule("h", 0, "a.test *.test", prefix("/")), rule("n", 0, "", prefix("/"))}, "GET - /", nil, "n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, many := range []bool{false, true} {
				entries := tt.entries
				if many {
					entries = append(entries[:len(entries):len(entries)], padding("a.test", "*.test", "*.b.test")...)
				}
				table, err := Compile(entries)
				if err != nil {
					t.Fatal(err)
				}
				hit, ok := table.Find(request(tt.request, tt.headers))
				if hit.Value != tt.want || ok != (tt.want != "") || ok != (hit.Match != nil) {
					t.Errorf("with maps %v: Find(%s) = %q, %v; want %q", many, tt.request, hit.Value, ok, tt.want)
				}
			}
		})
	}
}

// request parses "METHOD host path?query"; the host "-" is empty.
func request(line string, headers fields) *Request {
	part := strings.Fields(line)
	path, query, _ := strings.Cut(part[2], "?")
	if part[1] == "-" {
		part[1] = ""
	}
	return &Request{
		Host: []byte(part[1]), Method: []byte(part[0]), Path: []byte(path), Query: []byte(query), Headers: headers,
	}
}

func TestHitNamesTheMatch(t *testing.T) {
	entries := []Entry[int]{{Matches: []model.Match{prefix("/a/"), prefix("/b")}, Value: 7}}
	table, err := Compile(entries)
	if err != nil {
		t.Fatal(err)
	}
	hit, _ := table.Find(&Request{Path: []byte("/a/x")})
	if hit.Value != 7 || hit.Match != &entries[0].Matches[0] {
		t.Errorf("got %+v, want the first match", hit)
	}
}

func TestHeaderMatches(t *testing.T) {
	tests := []struct {
		match model.ValueMatch
		have  fields
		want  bool
	}{
		{model.ValueMatch{Name: "a", Type: model.MatchExact, Value: "x"}, fields{"a": "x"}, true},
		{model.ValueMatch{Name: "a", Type: model.MatchExact, Value: "x"}, fields{"a": "X"}, false},
		{model.ValueMatch{Name: "a", Type: model.MatchExact, Value: "x,y"}, fields{"a": "x,y"}, true},
		{model.ValueMatch{Name: "a", Type: model.MatchExact, Value: ""}, fields{"a": ""}, true},
		{model.ValueMatch{Name: "a", Type: model.MatchExact, Value: ""}, fields{}, false},
		{model.ValueMatch{Name: "a", Type: model.MatchRegex, Value: "x+"}, fields{"a": "xx"}, true},
		{model.ValueMatch{Name: "a", Type: model.MatchRegex, Value: "x+"}, fields{"a": "xxy"}, false},
		{model.ValueMatch{Name: "a", Type: model.MatchRegex, Value: ".*"}, fields{}, false},
	}
	for _, tt := range tests {
		m := prefix("/")
		m.Headers = []model.ValueMatch{tt.match}
		table, err := Compile([]Entry[string]{rule("r", 0, "", m)})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := table.Find(request("GET a.test /", tt.have)); ok != tt.want {
			t.Errorf("%+v against %v: got %v", tt.match, tt.have, ok)
		}
	}
}

func TestQueryMatches(t *testing.T) {
	tests := []struct {
		name, kind, value, query string
		want                     bool
	}{
		{"a", "Exact", "x", "a=x", true},
		{"a", "Exact", "x", "b=1&a=x", true},
		{"a", "Exact", "x", "a=y&a=x", false},
		{"a", "Exact", "x", "a=x&a=y", true},
		{"a", "Exact", "x", "A=x", false},
		{"a", "Exact", "", "a", true},
		{"a", "Exact", "", "a=", true},
		{"a", "Exact", "", "", false},
		{"a", "Exact", "", "&&b", false},
		{"a", "Exact", "x y", "a=x+y", true},
		{"a", "Exact", "x y", "a=x%20y", true},
		{"a", "Exact", "x+y", "a=x%2By", true},
		{"a", "Exact", "x&y", "a=x%26y", true},
		{"a", "Exact", "x=y", "a=x=y", true},
		{"a b", "Exact", "x", "a%20b=x", true},
		{"a", "Exact", "x", "%61=%78", true},
		{"a", "Exact", "%zz", "a=%zz", true},
		{"a", "Exact", "%2", "a=%2", true},
		{"a", "Exact", "ä", "a=%C3%a4", true},
		{"a", "Exact", "xy", "a=x", false},
		{"a", "Exact", "x", "a=xy", false},
		{"a", "Regex", "x+", "a=xx", true},
		{"a", "Regex", "x+", "a=xxy", false},
		{"a", "Regex", "x y", "a=x+y", true},
		{"a", "Regex", "[xä]+", "a=x%c3%a4x", true},
		{"a", "Regex", ".*", "b=1", false},
	}
	for _, tt := range tests {
		m := prefix("/")
		m.Query = []model.ValueMatch{{Name: tt.name, Type: model.MatchType(tt.kind), Value: tt.value}}
		table, err := Compile([]Entry[string]{rule("r", 0, "", m)})
		if err != nil {
			t.Fatal(err)
		}
		r := request("GET a.test /", nil)
		r.Query = []byte(tt.query)
		if _, ok := table.Find(r); ok != tt.want {
			t.Errorf("%s %s %q against %q: got %v", tt.name, tt.kind, tt.value, tt.query, ok)
		}
	}
}

func TestCompileLeavesOutWhatIsWrong(t *testing.T) {
	badHeader, badQuery, badKind := prefix("/b"), prefix("/c"), prefix("/d")
	badHeader.Headers = []model.ValueMatch{{Name: "h", Type: model.MatchRegex, Value: "("}}
	badQuery.Query = []model.ValueMatch{{Name: "q", Type: model.MatchRegex, Value: "*"}}
	badKind.Headers = []model.ValueMatch{{Name: "k", Type: "Fuzzy", Value: "x"}}
	table, err := Compile([]Entry[string]{
		rule("bad", 0, "bad.test", regex("/a)|(/b")),
		rule("part", 0, "", badHeader, badQuery, badKind, pathMatch("Fuzzy", "/e"), prefix("/ok")),
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`entry 0: match 0: path "/a)|(/b"`, "entry 1: match 0: header h", "query parameter q", `k: match of unknown type "Fuzzy"`, "path match of unknown type"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %q", err, want)
		}
	}
	for _, path := range []string{"/a", "/b", "/c", "/d", "/e"} {
		if hit, ok := table.Find(request("GET bad.test "+path, nil)); ok {
			t.Errorf("%s: got %q from a match that is wrong", path, hit.Value)
		}
	}
	if hit, ok := table.Find(request("GET bad.test /ok", nil)); !ok || hit.Value != "part" {
		t.Errorf("the good match is gone: %q", hit.Value)
	}
}
