package compare

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
)

func jsonOnly(ignore ...string) *model.Compare {
	return &model.Compare{Body: model.CompareJSON, Ignore: ignore}
}

// fieldsOf are the places where two bodies differ.
func fieldsOf(t *testing.T, m *model.Compare, a, b string) []string {
	t.Helper()
	c, err := Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	found, ok := c.Compare(nil, &Answer{Body: []byte(a)}, &Answer{Body: []byte(b)}, 1<<20)
	if !ok {
		t.Fatal("not comparable")
	}
	var fields []string
	for _, d := range found {
		fields = append(fields, d.Field)
	}
	return fields
}

func TestJSON(t *testing.T) {
	for _, test := range []struct {
		a, b   string
		ignore []string
		want   string // joined by spaces
	}{
		{`{"a":1}`, ` { "a" : 1 } `, nil, ""},
		{`{"a":1,"b":2}`, `{"b":2,"a":1}`, nil, ""},
		{`{"a":1}`, `{"a":2}`, nil, "$.a"},
		{`{"a":1}`, `{"a":"1"}`, nil, "$.a"},
		{`{"a":null}`, `{}`, nil, "$.a"},
		{`{}`, `{"a":{"b":1}}`, nil, "$.a"},
		{`[1,2]`, `[2,1]`, nil, "$[*]"},
		{`[1,2]`, `[1]`, nil, "$"},
		{`{"l":[{"x":1,"y":1},{"x":2,"y":1}]}`, `{"l":[{"x":1,"y":2},{"y":2,"x":3}]}`, nil, "$.l[*].y $.l[*].x"},
		{`1`, `1.0`, nil, ""},
		{`[100, 0.10, -0, 1e2, 12.50e1]`, `[1E+2, 1e-1, 0.0, 100.00, 125]`, nil, ""},
		{`9007199254740993`, `9007199254740992`, nil, "$"},
		{`1e999999999999`, `1e999999999999`, nil, ""},
		{`1e999999999999`, `1e999999999998`, nil, "$"},
		{`"a\u0062\n"`, `"\u0061b\u000A"`, nil, ""},
		{`"😀"`, `"\ud83d\ude00"`, nil, ""},
		{`"\ud83d"`, `"\ud83e"`, nil, "$"},
		{`{"a b":1}`, `{"a\u0020b":2}`, nil, "$['a b']"},
		{`{"a":1,"a":2}`, `{"a":1,"a":2}`, nil, ""},
		{`{"a":1,"a":2}`, `{"a":1}`, nil, "$.a"},
		{`{"t":1,"v":1}`, `{"t":2,"v":1}`, []string{"$.t"}, ""},
		{`{"t":{"x":1}}`, `{"t":[]}`, []string{"$.t"}, ""},
		{`{"t":1}`, `{}`, []string{"$.t"}, ""},
		{`{}`, `{"t":1}`, []string{"$.t"}, ""},
		{`[{"t":1,"v":1}]`, `[{"t":2,"v":2}]`, []string{"$[*].t"}, "$[*].v"},
		{`[1,2]`, `[3,4]`, []string{"$[1]"}, "$[*]"},
		{`[1,2]`, `[1,4]`, []string{"$[1]"}, ""},
		{`{"a":{"t":1},"b":{"t":1}}`, `{"a":{"t":2},"b":{"t":2}}`, []string{"$.*.t"}, ""},
		{`{"a":{"t":1,"u":1}}`, `{"a":{"t":2,"u":2}}`, []string{"$['a'].t"}, "$.a.u"},
		{`{"a":1}`, `{"a":2}`, []string{"$"}, ""},
		{`{"a":1}`, `{"a":2}`, []string{"$.a.b"}, "$.a"},
		{`{"a":1`, `{"a":1}`, nil, "body"}, // no JSON: bytes
		{`nonsense`, `nonsense`, nil, ""},
		{`01`, `1`, nil, "body"},
		{`"` + "\x01" + `"`, `"\u0001"`, nil, "body"},
	} {
		if got := strings.Join(fieldsOf(t, jsonOnly(test.ignore...), test.a, test.b), " "); got != test.want {
			t.Errorf("%s and %s, ignoring %v: %q, want %q", test.a, test.b, test.ignore, got, test.want)
		}
	}
}

func TestCompare(t *testing.T) {
	all := &model.Compare{Status: true, Headers: []string{"etag", "set-cookie"}, Body: model.CompareBytes}
	c, err := Compile(all)
	if err != nil {
		t.Fatal(err)
	}
	values := func(s ...string) (out [][]byte) {
		for _, v := range s {
			if v == "-" {
				out = append(out, nil)
			} else {
				out = append(out, []byte(v))
			}
		}
		return out
	}
	a := &Answer{Status: 200, Headers: values("x", "sid=1"), Body: []byte("abcdef")}
	b := &Answer{Status: 503, Headers: values("-", "sid=2"), Body: []byte("abxdef!")}
	got, ok := c.Compare(nil, a, b, 100)
	want := []Difference{
		{"status", "200", "503"},
		{"header etag", `"x"`, "absent"},
		{"header set-cookie", model.Redacted, model.Redacted},
		{"body", "6 bytes, the first 2 of them alike", "7 bytes, the first 2 of them alike"},
	}
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v %q", ok, got)
	}
	if got, ok := c.Compare(nil, a, a, 100); !ok || got != nil {
		t.Errorf("with itself: %v", got)
	}
	empty := &Answer{Status: 200, Headers: values("", "sid=1"), Body: []byte("abcdef")}
	none := &Answer{Status: 200, Headers: values("-", "sid=1"), Body: []byte("abcdef")}
	if got, _ := c.Compare(nil, empty, none, 100); len(got) != 1 {
		t.Errorf("an empty header is like none: %v", got)
	}
}

// TestSecretsAreNotShown: neither values nor what is in bodies that are no JSON.
func TestSecretsAreNotShown(t *testing.T) {
	c, _ := Compile(jsonOnly())
	a, b := `{"user":{"accessToken":"s3cret","name":"ann"},"session":{"x":["s3cret"]}}`, `{"user":{"accessToken":"s3cret2","name":"bob"},"session":{"x":["s3cret2"]}}`
	got, _ := c.Compare(nil, &Answer{Body: []byte(a)}, &Answer{Body: []byte(b)}, 1000)
	raw, _ := c.Compare(nil, &Answer{Body: []byte(a)}, &Answer{Body: []byte(b + "s3cret")}, 1000)
	if len(got) != 3 || len(raw) != 1 {
		t.Errorf("%v %v", got, raw)
	}
	for _, d := range append(got, raw...) {
		if strings.Contains(d.Primary+d.Other, "s3cret") {
			t.Errorf("shown: %v", d)
		}
	}
	if !slices.Contains(got, Difference{"$.user.name", `"ann"`, `"bob"`}) {
		t.Errorf("nothing is shown: %v", got)
	}
}

// TestSecretsInValues: nor what looks like a secret inside a value, or below a name that is too long to be told.
func TestSecretsInValues(t *testing.T) {
	c, _ := Compile(&model.Compare{Body: model.CompareJSON, Headers: []string{"location", "x-note"}})
	const secret = "hunter2hunter2"
	for _, text := range []string{
		"https://shop.example/cb?code=1&access_token=" + secret + "&state=2", "/a?x=1;session_id=" + secret, "Bearer " + secret, "see basic " + secret,
		"https://ann:" + secret + "@shop.example/", "eyJhbGciOiJIUzI1NiJ9." + secret + "." + secret,
	} {
		one := &Answer{Headers: [][]byte{[]byte(text), nil}, Body: []byte(`{"a":"` + text + `"}`)}
		two := &Answer{Headers: [][]byte{nil, []byte(text)}, Body: []byte(`{"a":1}`)}
		got, _ := c.Compare(nil, one, two, 1000)
		if len(got) != 3 {
			t.Fatalf("%v", got)
		}
		for _, d := range got {
			if strings.Contains(d.Primary+d.Other, secret) || !strings.Contains(d.Primary+d.Other, model.Redacted) {
				t.Errorf("%s: shown: %v", text, d)
			}
		}
	}
	long := strings.Repeat("n", maxField)
	got, _ := c.Compare(nil, &Answer{Body: []byte(`{"` + long + `":{"password":"` + secret + `"}}`)}, &Answer{Body: []byte(`{"` + long + `":{"password":""}}`)}, 1000)
	if len(got) != 1 || strings.Contains(got[0].Primary, secret) {
		t.Errorf("below a long name: %v", got)
	}
	if got := shorten([]byte("https://shop.example/a/b?page=2&sort=up")); got != "https://shop.example/a/b?page=2&sort=up" {
		t.Errorf("hidden without need: %s", got)
	}
}

func zipped(s string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.Bytes()
}

func TestCodings(t *testing.T) {
	c, _ := Compile(jsonOnly())
	plain := &Answer{Body: []byte(`{"a":1}`)}
	for _, test := range []struct {
		name       string
		other      Answer
		limit      int
		comparable bool
		want       int
	}{
		{"gzip, the same", Answer{Coding: []byte("gzip"), Body: zipped(`{"a": 1}`)}, 100, true, 0},
		{"gzip, another", Answer{Coding: []byte("GZIP"), Body: zipped(`{"a": 2}`)}, 100, true, 1},
		{"gzip, too long", Answer{Coding: []byte("gzip"), Body: zipped(strings.Repeat(" ", 1<<20))}, 1000, false, 0},
		{"gzip, broken", Answer{Coding: []byte("gzip"), Body: []byte("nonsense")}, 100, false, 0},
		{"br", Answer{Coding: []byte("br"), Body: []byte("?")}, 100, false, 0},
		{"identity", Answer{Coding: []byte("identity"), Body: []byte(`{"a":1}`)}, 100, true, 0},
	} {
		got, ok := c.Compare(nil, plain, &test.other, test.limit)
		if ok != test.comparable || len(got) != test.want {
			t.Errorf("%s: %v %v", test.name, ok, got)
		}
	}
}

// TestBounds: whatever comes, what is found and shown is bounded, and soon done.
func TestBounds(t *testing.T) {
	list := func(open, item, end string, n int) string {
		return open + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + end
	}
	var a, b strings.Builder
	for i := range 5000 { // names in the opposite order, all different in value
		a.WriteString(`,"` + strings.Repeat("n", i%7) + string(rune('a'+i%26)) + big.NewInt(int64(i)).String() + `":1`)
		b.WriteString(`,"` + strings.Repeat("n", (4999-i)%7) + string(rune('a'+(4999-i)%26)) + big.NewInt(int64(4999-i)).String() + `":2`)
	}
	if got := fieldsOf(t, jsonOnly(), "{"+a.String()[1:]+"}", "{"+b.String()[1:]+"}"); len(got) != maxDifferences {
		t.Errorf("%d places", len(got))
	}
	deep := strings.Repeat("[", 100_000)
	if got := fieldsOf(t, jsonOnly(), deep, deep+"["); len(got) != 1 || got[0] != "body" {
		t.Errorf("deep: %v", got)
	}
	if got := fieldsOf(t, jsonOnly(), list("[", "1", "]", maxValues), list("[", "1", "]", maxValues+1)); len(got) != 1 || got[0] != "body" {
		t.Errorf("many: %v", got)
	}
	long := strings.Repeat("x", 1<<16)
	c, _ := Compile(jsonOnly())
	found, _ := c.Compare(nil, &Answer{Body: []byte(`{"` + long + `":{"` + long + `":"` + long + `"}}`)}, &Answer{Body: []byte(`{"` + long + `":{"` + long + `":1}}`)}, 1<<20)
	digits := strings.Repeat("1", 1<<16)
	found, _ = c.Compare(found, &Answer{Body: []byte(`{"n":` + digits + `}`)}, &Answer{Body: []byte(`{"n":2}`)}, 1<<20)
	for _, d := range found {
		if len(d.Field) > 2*maxField || len(d.Primary) > 2*maxShown {
			t.Errorf("shown at length: %d, %d", len(d.Field), len(d.Primary))
		}
	}
}

func TestParsePath(t *testing.T) {
	for _, good := range []string{"$", "$.a", "$.a.b[*].c", "$['odd name']", "$.list[3]", "$.*", "$[*]", "$.a-b._c", "$['a.b[0]']"} {
		if err := ParsePath(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "a.b", "$.", "$..a", "$a", "$[", "$[]", "$[-1]", "$[01]", "$[x]", "$['a]", "$.a b", "$.a*", "$ .a", "$" + strings.Repeat(".a", 65)} {
		if err := ParsePath(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if c, err := Compile(jsonOnly("$.a", "bad")); err == nil || len(c.ignored) != 1 {
		t.Error("a bad path among good ones")
	}
	if _, err := Compile(jsonOnly(slices.Repeat([]string{"$.a"}, maxPaths+1)...)); err == nil {
		t.Error("more paths than a set has")
	}
}

// anyJSON draws a document.
func anyJSON(depth int) *rapid.Generator[any] {
	scalar := rapid.OneOf(
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.SampledFrom([]any{"", "a", "é", "\n"}),
		rapid.Float64Range(-1e6, 1e6).AsAny(), rapid.IntRange(-5, 5).AsAny(),
	)
	if depth == 0 {
		return scalar
	}
	return rapid.OneOf(
		scalar,
		rapid.SliceOfN(anyJSON(depth-1), 0, 4).AsAny(),
		rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c d", "é", "$"}), anyJSON(depth-1), 0, 4).AsAny(),
	)
}

// TestAgreesWithEncodingJSON: what encoding/json takes for equal is, and nothing else.
func TestAgreesWithEncodingJSON(t *testing.T) {
	c, _ := Compile(jsonOnly())
	rapid.Check(t, func(t *rapid.T) {
		x, y := anyJSON(3).Draw(t, "x"), anyJSON(3).Draw(t, "y")
		if rapid.Bool().Draw(t, "same") {
			y = x
		}
		a, _ := json.Marshal(x)
		b, _ := json.MarshalIndent(y, "", " ")
		var u, v any
		_, _ = json.Unmarshal(a, &u), json.Unmarshal(b, &v)
		found, ok := c.Compare(nil, &Answer{Body: a}, &Answer{Body: b}, 1<<20)
		if !ok || reflect.DeepEqual(u, v) != (len(found) == 0) {
			t.Fatalf("%s and %s: %v", a, b, found)
		}
	})
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.0e1,"x\u00e9"],"b":{"c":null}}`, `[]`, `"\ud800"`, `{"a":1,"a":2}`, `-0.0E-0`, `x`} {
		f.Add([]byte(s), []byte(`{"b":{"c":true},"a":[1,20,"xé",false]}`))
	}
	c, err := Compile(jsonOnly("$.t", "$.a[*].b"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		x, y := &Answer{Body: a}, &Answer{Body: b}
		if valid := new(document).parse(a); valid != json.Valid(a) && len(a) < 64 {
			t.Errorf("%q is JSON: %v", a, valid)
		}
		spaced := &Answer{Body: append(append([]byte(" "), a...), '\n')}
		if found, _ := c.Compare(nil, x, spaced, 1<<20); json.Valid(a) && len(a) < 64 && found != nil {
			t.Errorf("%q differs from itself: %v", a, found)
		}
		there, _ := c.Compare(nil, x, y, 1<<20)
		back, _ := c.Compare(nil, y, x, 1<<20)
		for i := range back {
			back[i].Primary, back[i].Other = back[i].Other, back[i].Primary
		}
		if len(there) < maxDifferences && !reflect.DeepEqual(there, back) {
			t.Errorf("%q and %q: %v one way, %v the other", a, b, there, back)
		}
	})
}

func BenchmarkCompareJSON(b *testing.B) {
	c, _ := Compile(jsonOnly("$.time"))
	item := `{"id":17,"name":"thing","price":12.50,"tags":["a","b"],"stock":{"eu":3,"us":0}}`
	body := `{"time":1,"items":[` + strings.TrimSuffix(strings.Repeat(item+",", 40), ",") + `]}`
	x, y := &Answer{Body: []byte(body)}, &Answer{Body: []byte(strings.Replace(body, "1", "2", 1))}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if found, _ := c.Compare(nil, x, y, 1<<20); found != nil {
			b.Fatal(found)
		}
	}
}
