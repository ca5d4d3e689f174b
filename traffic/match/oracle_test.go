package match

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
	"weir.dev/weir/model"
)

// oracle finds an entry's match by comparing every match of every entry, from the words
// of the specification and with none of the package's code.
func oracle(entries []Entry[int], r *Request, headers fields) *model.Match {
	var best *model.Match
	var bestKey []int
	order := 0
	for i := range entries {
		hosts := entries[i].Hostnames
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		for j := range entries[i].Matches {
			m := &entries[i].Matches[j]
			order++
			if !oracleMatches(m, r, headers) {
				continue
			}
			for _, h := range hosts {
				exactChars, chars, ok := oracleHost(h, string(r.Host))
				if !ok {
					continue
				}
				key := append([]int{-exactChars, -chars}, oracleKey(m)...)
				key = append(key, int(entries[i].Rank), order)
				if best == nil || slices.Compare(key, bestKey) < 0 {
					best, bestKey = m, key
				}
			}
		}
	}
	return best
}

// oracleHost returns the characters of a matching exact name, of a matching name, and
// whether it matches.
func oracleHost(pattern, host string) (exactChars, chars int, ok bool) {
	if pattern == "" {
		return 0, 0, true
	}
	if after, ok0 := strings.CutPrefix(pattern, "*"); ok0 {
		quoted := regexp.QuoteMeta(after)
		return 0, len(pattern), regexp.MustCompile("^.+" + quoted + "$").MatchString(host)
	}
	return len(pattern), len(pattern), pattern == host
}

// oracleKey is smaller for a match with precedence.
func oracleKey(m *model.Match) []int {
	class := map[model.MatchType]int{model.MatchExact: 0, model.MatchRegex: 1, model.MatchPrefix: 2}[m.Path.Type]
	length := 0
	switch {
	case m.Path.Precedence > 0 && m.Path.Type == model.MatchRegex:
		class = 3
	case m.Path.Type == model.MatchPrefix && m.Path.Value == "/":
		class = 4
	}
	switch m.Path.Type {
	case model.MatchRegex:
		length = len(m.Path.Value)
	case model.MatchPrefix:
		length = len(strings.TrimSuffix(m.Path.Value, "/"))
	}
	precedence := 0
	if class == 3 {
		precedence = int(m.Path.Precedence)
	}
	method := 1
	if m.Method != "" {
		method = 0
	}
	return []int{class, -precedence, -length, method, -len(oracleFirst(m.Headers)), -len(oracleFirst(m.Query))}
}

// oracleFirst keeps the first condition of each name.
func oracleFirst(all []model.ValueMatch) []model.ValueMatch {
	var list []model.ValueMatch
	for _, v := range all {
		if !slices.ContainsFunc(list, func(w model.ValueMatch) bool { return w.Name == v.Name }) {
			list = append(list, v)
		}
	}
	return list
}

func oracleMatches(m *model.Match, r *Request, headers fields) bool {
	path := string(r.Path)
	switch m.Path.Type {
	case model.MatchExact:
		if path != m.Path.Value {
			return false
		}
	case model.MatchRegex:
		if !oracleRegex(m.Path.Value, path) {
			return false
		}
	case model.MatchPrefix:
		want := strings.Split(strings.TrimSuffix(m.Path.Value, "/"), "/")
		have := strings.Split(path, "/")
		if len(have) < len(want) || !slices.Equal(have[:len(want)], want) {
			return false
		}
	}
	if m.Method != "" && m.Method != string(r.Method) {
		return false
	}
	for _, h := range oracleFirst(m.Headers) {
		value, ok := headers[h.Name]
		if !ok || !oracleValue(h, value) {
			return false
		}
	}
	query, _ := url.ParseQuery(string(r.Query)) // generated queries hold no invalid escapes
	for _, q := range oracleFirst(m.Query) {
		if !query.Has(q.Name) || !oracleValue(q, query.Get(q.Name)) {
			return false
		}
	}
	return true
}

func oracleValue(m model.ValueMatch, value string) bool {
	if m.Type == model.MatchRegex {
		return oracleRegex(m.Value, value)
	}
	return m.Value == value
}

func oracleRegex(pattern, value string) bool {
	return regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(value)
}

var (
	oracleHosts   = []string{"a.test", "b.a.test", "c.b.a.test", "*.test", "*.a.test", "*.b.a.test", "*.other"}
	oracleMethods = []string{"", "", "GET", "PUT"}
	oraclePaths   = []string{"/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/b", "/ab", "/a/bc", "/b/a/b/c/a"}
	oracleRegexes = []string{"/.*", "/a.*", "/[ab]+", "/a/.", ".*c", "/|/a"}
	oracleNames   = []string{"x", "y", "z"}
	oracleValues  = []string{"", "1", "2", "1 1"}
)

func genMatch(t *rapid.T) model.Match {
	m := model.Match{Method: rapid.SampledFrom(oracleMethods).Draw(t, "method")}
	m.Path.Type = rapid.SampledFrom([]model.MatchType{model.MatchExact, model.MatchPrefix, model.MatchPrefix, model.MatchRegex}).Draw(t, "type")
	m.Path.Value = rapid.SampledFrom(oraclePaths).Draw(t, "path")
	if m.Path.Type == model.MatchRegex {
		m.Path.Value = rapid.SampledFrom(oracleRegexes).Draw(t, "regex")
		m.Path.Precedence = rapid.SampledFrom([]uint32{0, 0, 1, 2}).Draw(t, "precedence")
	}
	m.Headers = genValues(t)
	m.Query = genValues(t)
	return m
}

func genValues(t *rapid.T) []model.ValueMatch {
	n := rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 3}).Draw(t, "values")
	var list []model.ValueMatch
	for range n {
		v := model.ValueMatch{Name: rapid.SampledFrom(oracleNames).Draw(t, "name"), Type: model.MatchExact}
		v.Value = rapid.SampledFrom(oracleValues).Draw(t, "value")
		if rapid.Bool().Draw(t, "regex") {
			v.Type, v.Value = model.MatchRegex, rapid.SampledFrom([]string{".*", "1", "1|2", "[12 ]+"}).Draw(t, "value")
		}
		list = append(list, v)
	}
	return list
}

func genEntries(t *rapid.T) []Entry[int] {
	n := rapid.SampledFrom([]int{1, 2, 5, 20, 60}).Draw(t, "entries")
	entries := make([]Entry[int], n)
	for i := range entries {
		entries[i] = Entry[int]{
			Hostnames: rapid.SliceOfN(rapid.SampledFrom(oracleHosts), 0, 2).Draw(t, "hosts"),
			Matches:   rapid.SliceOfN(rapid.Custom(genMatch), 1, 3).Draw(t, "matches"),
			Rank:      rapid.Uint32Range(0, 3).Draw(t, "rank"),
			Value:     i,
		}
	}
	return entries
}

func genRequest(t *rapid.T) (*Request, fields) {
	headers := fields(rapid.MapOf(rapid.SampledFrom(oracleNames), rapid.SampledFrom(oracleValues)).Draw(t, "headers"))
	var query []string
	for range rapid.IntRange(0, 3).Draw(t, "parameters") {
		query = append(query, rapid.SampledFrom(oracleNames).Draw(t, "name")+"="+
			url.QueryEscape(rapid.SampledFrom(oracleValues).Draw(t, "value")))
	}
	return &Request{
		Host:    []byte(rapid.SampledFrom([]string{"a.test", "b.a.test", "c.b.a.test", "d.c.b.a.test", "x.other", "test", ""}).Draw(t, "host")),
		Method:  []byte(rapid.SampledFrom([]string{"GET", "PUT"}).Draw(t, "method")),
		Path:    []byte(rapid.SampledFrom(append(oraclePaths, "/a/b/c/d/e/f", "/c", "/a/bb", "//")).Draw(t, "path")),
		Query:   []byte(strings.Join(query, "&")),
		Headers: headers,
	}, headers
}

func TestFindAgreesWithOracle(t *testing.T) {
	rapid.Check(t, checkOracle)
}

func FuzzFind(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(checkOracle))
}

func checkOracle(t *rapid.T) {
	entries := genEntries(t)
	table, err := Compile(entries)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		r, headers := genRequest(t)
		want := oracle(entries, r, headers)
		hit, ok := table.Find(r)
		if hit.Match != want || ok != (want != nil) {
			t.Fatalf("Find(%s %s %s?%s %v) = %s, want %s", r.Method, r.Host, r.Path, r.Query, headers, show(hit.Match), show(want))
		}
	}
}

func show(m *model.Match) string {
	if m == nil {
		return "none"
	}
	return fmt.Sprintf("%+v", *m)
}

// FuzzQuery feeds arbitrary bytes to the decoder beside net/url's.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"a=1", "a=%31&b", "a+b=%2", "%zz=1", "=&=&a==", "a=1;b=2"} {
		f.Add(s, "a", "1")
	}
	f.Fuzz(func(t *testing.T, query, name, value string) {
		k := condition{name: name, exact: value}
		got := k.matchesQuery([]byte(query))
		want := false
		for part := range strings.SplitSeq(query, "&") {
			if part == "" {
				continue
			}
			n, v, _ := strings.Cut(part, "=")
			n, errN := url.QueryUnescape(n)
			v, errV := url.QueryUnescape(v)
			if errN != nil || errV != nil {
				t.Skip("invalid escapes stand for themselves here; net/url drops them")
			}
			if n == name {
				want = v == value
				break
			}
		}
		if got != want {
			t.Errorf("%q: %q=%q: got %v, want %v", query, name, value, got, want)
		}
	})
}

// FuzzPath feeds arbitrary paths and prefixes to both forms of the index.
func FuzzPath(f *testing.F) {
	f.Add("/a/b/c", "/a/b", "/a")
	f.Add("//a//", "/", "//a")
	f.Add("", "", "*")
	f.Fuzz(func(t *testing.T, path, p1, p2 string) {
		entries := []Entry[int]{
			{Matches: []model.Match{prefix(p1)}, Value: 1}, {Matches: []model.Match{prefix(p2), exact(p2)}, Value: 2},
		}
		small, _ := Compile(entries)
		for c := range 2 * few {
			entries = append(entries, Entry[int]{Matches: []model.Match{exact(fmt.Sprintf("\x00%d", c))}})
		}
		large, _ := Compile(entries)
		r := &Request{Path: []byte(path)}
		a, okA := small.Find(r)
		b, okB := large.Find(r)
		if okB && b.Value == 0 {
			t.Skip("the path is one of the padding")
		}
		if okA != okB || a.Value != b.Value {
			t.Errorf("%q among %q, %q: tried one by one %d %v, by map %d %v", path, p1, p2, a.Value, okA, b.Value, okB)
		}
	})
}
