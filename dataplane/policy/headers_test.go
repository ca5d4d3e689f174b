package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
)

// edited returns the fields of req after e, in order, one "name: value" each.
func edited(t testing.TB, e *HeaderEdit, req *http1.Request) []string {
	var dst []byte
	for i := range req.Fields {
		if !e.Drops(&req.Head, i) {
			dst = req.AppendRaw(dst, i)
		}
	}
	return fieldLines(t, e.AppendTo(dst))
}

func TestHeaderEdit(t *testing.T) {
	tests := []struct {
		name   string
		edits  []*model.HeaderEdit
		fields []string
		want   []string
	}{
		{"nothing", nil, []string{"A: b"}, []string{"A: b"}},
		{
			"remove, set, add in any case",
			[]*model.HeaderEdit{{
				Remove: []string{"x-remove"}, Set: []model.Header{{Name: "x-set", Value: "new"}},
				Add: []model.Header{{Name: "x-add", Value: "more"}, {Name: "X-New", Value: "n"}},
			}},
			[]string{"X-Remove: 1", "x-SET: old", "X-Set: older", "X-Add: there", "x-removed: 2"},
			[]string{"X-Add: there", "x-removed: 2", "x-set: new", "x-add: more", "x-new: n"},
		},
		{
			"backend after rule",
			[]*model.HeaderEdit{
				{Set: []model.Header{{Name: "a", Value: "rule"}}, Add: []model.Header{{Name: "b", Value: "rule"}}},
				nil,
				{Remove: []string{"a"}, Add: []model.Header{{Name: "b", Value: "backend"}}},
			},
			[]string{"A: 1", "B: 1"},
			[]string{"B: 1", "b: rule", "b: backend"},
		},
		{
			"the first entry of a name counts",
			[]*model.HeaderEdit{{
				Set: []model.Header{{Name: "a", Value: "1"}, {Name: "A", Value: "2"}},
				Add: []model.Header{{Name: "b", Value: "1"}, {Name: "b", Value: "2"}},
			}},
			nil,
			[]string{"a: 1", "b: 1"},
		},
		{
			"framing and bad fields are ignored",
			[]*model.HeaderEdit{{
				Remove: []string{"Content-Length", "host", "a b"},
				Set: []model.Header{
					{Name: "transfer-encoding", Value: "chunked"},
					{Name: "Host", Value: "evil"},
					{Name: "connection", Value: "x"},
					{Name: "ok", Value: "a\r\nb: c"},
					{Name: "", Value: "x"},
					{Name: "a:b", Value: "x"},
				},
				Add: []model.Header{{Name: "te", Value: "trailers"}, {Name: "nul", Value: "\x00"}, {Name: "fine", Value: "\tü"}},
			}},
			[]string{"Ok: stays"},
			[]string{"Ok: stays", "fine: \tü"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := edited(t, CompileHeaderEdit(tt.edits...), get(t, tt.fields...))
			want := append([]string{"Host: shop.example.com:8080"}, tt.want...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHeaderEditAbsent(t *testing.T) {
	if CompileHeaderEdit() != nil || CompileHeaderEdit(nil, &model.HeaderEdit{}) != nil ||
		CompileHeaderEdit(&model.HeaderEdit{Remove: []string{"host"}}) != nil {
		t.Error("an edit without effect is kept")
	}
	var e *HeaderEdit
	if e.Covers() != 0 || e.Without(func([]byte) bool { return true }) != nil || e.AppendTo(nil) != nil {
		t.Error("a nil edit has an effect")
	}
}

func TestHeaderEditCovers(t *testing.T) {
	e := CompileHeaderEdit(&model.HeaderEdit{
		Remove: []string{"via"}, Set: []model.Header{{Name: "X-Forwarded-Proto", Value: "https"}},
		Add: []model.Header{{Name: "x-forwarded-for", Value: "1.2.3.4"}},
	})
	if got, want := e.Covers(), GeneratedVia|GeneratedProto; got != want {
		t.Errorf("covers %b, want %b", got, want)
	}
	less := e.Without(func(name []byte) bool { return string(name) == "via" || string(name) == "x-forwarded-for" })
	if got := less.Covers(); got != GeneratedProto {
		t.Errorf("covers %b", got)
	}
	if got := string(less.AppendTo(nil)); got != "x-forwarded-proto: https\r\n" {
		t.Errorf("%q", got)
	}
	if e.Covers() != GeneratedVia|GeneratedProto || e.Without(func([]byte) bool { return true }) != nil {
		t.Error("Without changed the original, or left something")
	}
}

// naive applies edits one after the other to a list of fields, as Gateway API words them.
func naive(fields [][2]string, edits []*model.HeaderEdit) [][2]string {
	remove := func(name string) {
		var kept [][2]string
		for _, f := range fields {
			if f[0] != name {
				kept = append(kept, f)
			}
		}
		fields = kept
	}
	ignored := func(name string) bool { return name == "host" || name == "te" }
	for _, e := range edits {
		for _, name := range e.Remove {
			if !ignored(name) {
				remove(name)
			}
		}
		seen := map[string]bool{}
		for _, h := range e.Set {
			if !ignored(h.Name) && !seen[h.Name] {
				remove(h.Name)
				fields = append(fields, [2]string{h.Name, h.Value})
			}
			seen[h.Name] = true
		}
		seen = map[string]bool{}
		for _, h := range e.Add {
			if !ignored(h.Name) && !seen[h.Name] {
				fields = append(fields, [2]string{h.Name, h.Value})
			}
			seen[h.Name] = true
		}
	}
	return fields
}

func TestHeaderEditIsSequential(t *testing.T) {
	names := []string{"a", "b", "x-ab", "x-cd", "host", "te", "via"}
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.SampledFrom(names)
		value := rapid.StringMatching(`[a-z0-9,]{1,4}`)
		header := rapid.Custom(func(rt *rapid.T) model.Header {
			return model.Header{Name: name.Draw(rt, "name"), Value: value.Draw(rt, "value")}
		})
		edits := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) *model.HeaderEdit {
			return &model.HeaderEdit{
				Set: rapid.SliceOfN(header, 0, 4).Draw(rt, "set"), Add: rapid.SliceOfN(header, 0, 4).Draw(rt, "add"),
				Remove: rapid.SliceOfN(name, 0, 3).Draw(rt, "remove"),
			}
		}), 0, 3).Draw(rt, "edits")
		fields := [][2]string{{"host", "h"}}
		lines := []string{"GET / HTTP/1.1", "Host: h"}
		for _, f := range rapid.SliceOfN(header, 0, 6).Draw(rt, "fields") {
			if f.Name != "host" && f.Name != "te" {
				fields = append(fields, [2]string{f.Name, f.Value})
				lines = append(lines, strings.ToUpper(f.Name)+": "+f.Value)
			}
		}
		got := edited(t, CompileHeaderEdit(edits...), request(t, lines...))
		if diff := cmp.Diff(byName(naive(fields, edits)), byName(split(got))); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func split(lines []string) (fields [][2]string) {
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		fields = append(fields, [2]string{strings.ToLower(name), value})
	}
	return fields
}

// byName groups values: only the order among fields of one name has a meaning.
func byName(fields [][2]string) map[string]string {
	m := map[string]string{}
	for _, f := range fields {
		m[f[0]] += fmt.Sprintf("%q", f[1])
	}
	return m
}

func TestHeaderEditAllocations(t *testing.T) {
	e := CompileHeaderEdit(&model.HeaderEdit{Remove: []string{"a", "host2"}, Set: []model.Header{{Name: "b", Value: "c"}}})
	req := get(t, "A: 1", "B: 2", "Other: 3")
	dst := make([]byte, 0, 256)
	noAllocations(t, func() {
		dst = dst[:0]
		for i := range req.Fields {
			if !e.Drops(&req.Head, i) {
				dst = req.AppendRaw(dst, i)
			}
		}
		dst = e.AppendTo(dst)
	})
}
