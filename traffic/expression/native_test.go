package expression

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// viewed is a request that shows its values. They are all in the same memory, so that whoever
// looks at one after the next has been asked for sees another.
type viewed struct {
	*request
	memory []byte
}

func (v *viewed) View(a Attribute, name string) ([]byte, bool) {
	text, ok := v.texts[a], true
	if a.collection() {
		text, ok = v.entries[a][name]
	}
	v.memory = append(v.memory[:0], text...)
	return v.memory, ok
}

// agree evaluates a program by its shape and by cel-go.
func agree(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, p *Program, in *viewed, source string,
) {
	t.Helper()
	got := p.simple.evaluate(in)
	v, err := p.eval(in, Bool)
	want := failed
	if err == nil {
		want = outcomeOf(v.Value().(bool))
	}
	if got != want {
		t.Fatalf("%s for %.999s: %d, and %d by cel-go (%v)", source, fmt.Sprint(in.texts, in.entries), got, want, err)
	}
	holds, failure := p.Bool(in)
	if (failure != nil) != (err != nil) || holds != (want == yes) || failure != nil && failure.Error() != err.Error() {
		t.Fatalf("%s: %v, %v; want %v, %v", source, holds, failure, want, err)
	}
}

func TestShapes(t *testing.T) {
	for source, simple := range map[string]bool{
		`request.headers["x-batch"] == "1"`:                      true,
		`"1" != request.headers.batch`:                           true,
		`request.path.startsWith("/pay")`:                        true,
		`request.host.endsWith(".example.com")`:                  true,
		`request.method in ["PUT", "DELETE"]`:                    true,
		`"sid" in request.cookies && !has(request.headers.none)`: true,
		`!(identity == "" || route.name != "cart") && request.query["q"] == "a b" && source.address == "192.0.2.1"`: true,
		`request.path == request.host`:                                        false, // the values may be in the same memory
		`request.headers[request.path] == ""`:                                 false,
		`request.path.matches("^/a")`:                                         false,
		`"/pay".startsWith(request.path)`:                                     false,
		`request.method in []`:                                                false,
		`source.port == 1`:                                                    false,
		`request.method in ["a", identity]`:                                   false,
		`"a" == "b"`:                                                          false,
		`request.path == "/" ? true : false`:                                  false,
		`request.path == "/" && source.port == 1`:                             false,
		`["a", "b"].exists(n, n in request.headers)`:                          false,
		`request.path.startsWith("/") == true`:                                false,
		`request.path.split("/")[1] == "a"`:                                   false,
		`has(request.headers.a) == has(request.query.a)`:                      false,
		`request.headers["a"].startsWith("a") || timestamp(identity) < now`:   false,
		`["/a", "/b"].exists(p, request.path.startsWith(p))`:                  false,
		`{"a": identity}["a"] == "spiffe://prod/ns/shop/sa/cart"`:             false,
		`request.headers["x-a"] + "b" == "ab" || request.headers["a"] == "1"`: false,
	} {
		p, err := Compile(source, Forwarding, Bool)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if (p.simple != nil) != simple {
			t.Errorf("%s: simple is %v", source, p.simple != nil)
		}
		if p.simple != nil {
			agree(t, p, &viewed{request: sample()}, source)
		}
	}
}

// TestSimpleIsCEL compares conditions of all shapes with cel-go, for values of all kinds, among
// them such as are too long.
func TestSimpleIsCEL(t *testing.T) {
	words := rapid.SampledFrom([]string{"", "a", "ab", "b", "ba", "ü", "\xff"})
	literals := rapid.SampledFrom([]string{`""`, `"a"`, `"ab"`, `"b"`, `"ü"`, `r"a"`, `"\u0061b"`})
	long := strings.Repeat("a", maxValue)
	rapid.Check(t, func(t *rapid.T) {
		source := drawCondition(t, literals, 3)
		p, err := compile(source, Forwarding, Bool)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		if p.simple == nil {
			t.Fatalf("%s is not simple", source)
		}
		values := rapid.OneOf(words, words, words, words, rapid.SampledFrom([]string{long, long + "b"}))
		in := &viewed{request: &request{texts: map[Attribute]string{}, entries: map[Attribute]map[string]string{}}}
		for a := range attributes {
			in.entries[a] = map[string]string{}
			switch {
			case a.collection():
				for _, name := range []string{"a", "b"} {
					if rapid.Bool().Draw(t, "there") {
						in.entries[a][name] = values.Draw(t, "value")
					}
				}
			default:
				in.texts[a] = values.Draw(t, a.String())
			}
		}
		agree(t, p, in, source)
	})
}

func drawCondition(t *rapid.T, literals *rapid.Generator[string], depth int) string {
	operand := func() string {
		if rapid.Bool().Draw(t, "looked up") {
			from := rapid.SampledFrom([]Attribute{Headers, Query, Cookies}).Draw(t, "collection")
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
			return fmt.Sprintf(rapid.SampledFrom([]string{"%s.%s", "%s[%q]"}).Draw(t, "form"), from, name)
		}
		return rapid.SampledFrom([]Attribute{Method, Scheme, Host, Path, SourceAddress, Identity, RouteName}).Draw(t, "attribute").String()
	}
	kinds := 8
	if depth == 0 {
		kinds = 5
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return operand() + rapid.SampledFrom([]string{" == ", " != "}).Draw(t, "comparison") + literals.Draw(t, "text")
	case 1:
		return literals.Draw(t, "text") + rapid.SampledFrom([]string{" == ", " != "}).Draw(t, "comparison") + operand()
	case 2:
		return operand() + rapid.SampledFrom([]string{".startsWith(", ".endsWith("}).Draw(t, "function") + literals.Draw(t, "text") + ")"
	case 3:
		list := rapid.SliceOfN(literals, 1, 3).Draw(t, "texts")
		return operand() + " in [" + strings.Join(list, ", ") + "]"
	case 4:
		return rapid.SampledFrom([]string{`"a" in request.headers`, `has(request.cookies.b)`, `"c" in request.query`}).Draw(t, "presence")
	case 5:
		return "!(" + drawCondition(t, literals, depth-1) + ")"
	default:
		list := []string{drawCondition(t, literals, depth-1), drawCondition(t, literals, depth-1), drawCondition(t, literals, depth-1)}
		join := rapid.SampledFrom([]string{" && ", " || "}).Draw(t, "join")
		return "(" + strings.Join(list[:rapid.IntRange(2, 3).Draw(t, "parts")], join) + ")"
	}
}

// FuzzSimple: whatever has a simple shape is what cel-go says.
func FuzzSimple(f *testing.F) {
	for _, seed := range []string{
		`request.headers["x-batch"] == "1"`, `!(request.path.startsWith("/t") && identity != "") || request.method in ["GET", 'HEAD']`,
		`"sid" in request.cookies`, `has(request.headers.a)`, `!!("a" == identity)`, `b"a" == b"a"`, `request.host in ["a", 1]`,
	} {
		f.Add(seed, "GET", strings.Repeat("a", maxValue+1))
	}
	f.Fuzz(func(t *testing.T, source, one, two string) {
		p, err := Compile(source, Forwarding, Bool)
		if err != nil {
			if known := (*Error)(nil); !errors.As(err, &known) {
				t.Fatal(err)
			}
			return
		}
		if p.simple == nil {
			return
		}
		in := &viewed{request: sample()}
		agree(t, p, in, source)
		in.texts[Method], in.texts[Path], in.texts[Identity] = one, two, one
		in.entries[Headers]["x-batch"], in.entries[Cookies]["sid"] = two, one
		agree(t, p, in, source)
	})
}

func TestSimpleAllocatesNothing(t *testing.T) {
	p, err := Compile(`request.headers["x-user"] == "Bob" || request.path.startsWith("/pay") || request.method in ["PUT", "PATCH"] || identity == ""`, Forwarding, Bool)
	if err != nil {
		t.Fatal(err)
	}
	in := &still{&viewed{request: sample(), memory: make([]byte, 0, 100)}}
	if n := testing.AllocsPerRun(100, func() {
		if holds, err := p.Bool(in); holds || err != nil {
			t.Error(holds, err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// still is viewed without a record of what it is asked for.
type still struct{ *viewed }

func (s *still) Text(a Attribute) string { return s.texts[a] }

func BenchmarkSimple(b *testing.B) {
	p, err := Compile(`request.headers["x-user"] == "1"`, Forwarding, Bool)
	if err != nil {
		b.Fatal(err)
	}
	in := fixed("/tenants/acme/cart")
	var shown Input = &still{&viewed{request: sample(), memory: make([]byte, 0, 100)}}
	for name, in := range map[string]Input{"shape": shown, "cel-go": in} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Bool(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
