package resource

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

// Values that follow each other, on one line or not, are objects with positions of their own.
func TestJSONStream(t *testing.T) {
	const file = `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"b"}}
{
  "apiVersion": "v1", "kind": "Namespace",
  "metadata": {"name": "c", "foo": 1}
} {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"d"}}
`
	var d Decoder
	objects, diagnostics := d.Decode("f.json", []byte(file))
	var got []string
	for _, o := range objects {
		got = append(got, fmt.Sprint(o.Key, " ", o.At, " ", o.Position("metadata.name")))
	}
	for _, x := range diagnostics {
		got = append(got, x.String())
	}
	want := []string{
		"Namespace a f.json:1:1 f.json:1:51", "Namespace b f.json:1:63 f.json:1:113",
		"Namespace c f.json:2:1 f.json:4:16", "Namespace d f.json:5:3 f.json:5:53",
		"f.json:4:29: Namespace c: metadata.foo: unknown field",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A stream that is cut short is not a shorter stream.
func TestJSONStreamBroken(t *testing.T) {
	var d Decoder
	objects, diagnostics := d.Decode("f.json", []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}{"apiVersion":`))
	if len(objects) != 0 || !MustRetain(diagnostics) {
		t.Errorf("%v, %v", objects, diagnostics)
	}
}

// YAML that passes for JSON is read, with a warning in a file that says it is JSON.
func TestNotJSON(t *testing.T) {
	for text, want := range map[string]string{
		"{\"apiVersion\":\"v1\",\n\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\",}}": `f.JSON:2:43: warning: not valid JSON: no value follows the comma before '}'; it was read as YAML`,
		`{"apiVersion":"v1",}`: `f.JSON:1:20: not valid JSON: no value follows the comma before '}'`,
		`{"apiVersion":"v1"`:   `f.JSON:1:19: not valid JSON: it ends too early`,
		`{"apiVersion":"v1"}`:  `f.JSON:1:1: kind: required: a string such as HTTPRoute`,
	} {
		var d Decoder
		_, diagnostics := d.Decode("f.JSON", []byte(text))
		if len(diagnostics) != 1 || diagnostics[0].String() != want {
			t.Errorf("%s: %v, want %s", text, diagnostics, want)
		}
	}
}

// Text is what JSON says it is, however it is escaped, and moves nothing behind it.
func TestSurrogates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune(`aZ"\é😀𝄞 	`)), 0, 8, -1).Draw(t, "text")
		var quoted strings.Builder
		for _, r := range text {
			if !rapid.Bool().Draw(t, "escaped") {
				plain, _ := json.Marshal(string(r))
				quoted.WriteString(strings.Trim(string(plain), `"`))
				if r == '"' {
					quoted.WriteByte('"') // that Trim took away
				}
				continue
			}
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&quoted, `\u%04X`, unit)
			}
		}
		object := fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"annotations":{"a":"%s","b":"c"},"name":"n"}}`, quoted.String())
		var plain corev1.Namespace
		if err := json.Unmarshal([]byte(object), &plain); err != nil {
			t.Fatal(err)
		}
		var d Decoder
		objects, diagnostics := d.Decode("f.json", []byte(object))
		if len(objects) != 1 || len(diagnostics) != 0 {
			t.Fatalf("%s: %v", object, diagnostics)
		}
		if got := objects[0].Value.(*corev1.Namespace).Annotations["a"]; got != plain.Annotations["a"] {
			t.Fatalf("%s: %q, want %q", object, got, plain.Annotations["a"])
		}
		before, _, _ := strings.Cut(object, `"name"`)
		if got, want := objects[0].Position("metadata.name").Column, len([]rune(before))+1; got != want {
			t.Fatalf("%s: name at column %d, want %d", object, got, want)
		}
	})
}

func TestLoneSurrogate(t *testing.T) {
	var d Decoder
	_, diagnostics := d.Decode("f.json", []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n","labels":{"a":"\uD83D"}}}`))
	if !MustRetain(diagnostics) {
		t.Errorf("accepted: %v", diagnostics)
	}
}

// What is restored is what was stored, the positions of its fields included.
func TestRestore(t *testing.T) {
	var d Decoder
	objects, diagnostics := d.Decode("f.yaml", []byte("# one\n---\n"+route("cart", "    backendRefs: [{name: a, port: 80}]\n")))
	if len(diagnostics) > 0 {
		t.Fatal(diagnostics)
	}
	data, err := Store(objects[0])
	if err != nil {
		t.Fatal(err)
	}
	got, err := Restore(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(objects[0], got, cmp.AllowUnexported(Object{}, place{})); diff != "" {
		t.Error(diff)
	}
	if at := got.Position("spec.rules[0].backendRefs[0].port").String(); at != "f.yaml:10:29" {
		t.Errorf("the port is at %s", at)
	}
	// What older versions stored has no positions.
	var old map[string]json.RawMessage
	if err := json.Unmarshal(data, &old); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hash", "line", "places"} {
		if old[name] == nil {
			t.Errorf("%s is not stored", name)
		}
		delete(old, name)
	}
	if data, err = json.Marshal(old); err != nil {
		t.Fatal(err)
	}
	if got, err = Restore(data); err != nil || got.Position("spec.rules[0]") != objects[0].At {
		t.Errorf("%v, %v", got, err)
	}
}
