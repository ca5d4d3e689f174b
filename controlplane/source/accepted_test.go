package source

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
)

// routes returns a file of HTTPRoutes. A name with a star has an error; what stands behind
// an equals sign is a hostname, so that versions differ.
func routes(names ...string) string {
	var b strings.Builder
	for _, name := range names {
		name, broken := strings.CutSuffix(name, "*")
		name, host, _ := strings.Cut(name, "=")
		if host == "" {
			host = "a"
		}
		fmt.Fprintf(&b, "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: %s}\nspec:\n  hostnames: [%s.example.com]\n", name, host)
		if broken {
			b.WriteString("  foo: 1\n")
		}
	}
	return b.String()
}

// live returns the routes that serve, as routes takes them.
func live(s *resource.Set) string {
	var all []string
	for o, r := range resource.All[*gatewayv1.HTTPRoute](s) {
		name := o.Key.Name
		if host, _, _ := strings.Cut(string(r.Spec.Hostnames[0]), "."); host != "a" {
			name += "=" + host
		}
		if len(o.Problems) > 0 {
			name += "*"
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}

func TestAccepted(t *testing.T) {
	const (
		unknown = ": spec.foo: unknown field; expected \"hostnames\", \"parentRefs\", \"rules\" or \"useDefaultGateways\""
		many    = "r1 r2 r3 r4 r5"
		deleted = ": no longer declared: the file was deleted. That would delete "
		consent = " live until --allow-mass-delete, or POST /api/v1/mass-delete with -H \"Authorization: Bearer $(cat TOKENFILE)\", consents"
	)
	type change struct {
		files   string // name: content; a file that is not named is as before
		consent bool
		want    string
		says    []string
	}
	for name, changes := range map[string][]change{
		"a wrong version is quarantined alone": {
			{files: "f: a b c", want: "a b c"},
			{files: "f: a=x b=x* c=x", want: "a=x b* c=x", says: []string{"f:13:3: HTTPRoute default/b" + unknown}},
			{files: "f: a=x b=y c=x", want: "a=x b=y c=x"},
		},
		"never accepted": {
			{files: "f: a b*", want: "a", says: []string{"f:13:3: HTTPRoute default/b" + unknown}},
			{files: "f: a b", want: "a b"},
		},
		"not YAML": {
			{files: "f: a b|g: c", want: "a b c"},
			{files: "f: {|g: c=x", want: "a b c=x", says: []string{
				"f: info: 2 objects of its last version stay live",
				"f:1:1: did not find expected node content",
			}},
			{files: "f: a=x b c|g: ", want: "a=x b c"},
		},
		"newly empty": {
			{files: "f: a b|g: ", want: "a b"},
			{files: "f: ", want: "a b", says: []string{"f: the file is empty: 2 objects of its last version stay live; delete the file to delete them"}},
			{files: "f: a", want: "a"},
		},
		"an object without a name": {
			{files: "f: a b c d", want: "a b c d"},
			{files: "f: a=x b ?", want: "a=x b c d", says: []string{
				"f: info: 2 objects of its last version stay live", "f:14:1: metadata.name: required: this Namespace has no name",
			}},
		},
		"deletions": {
			{files: "f: r1 r2|g: r3 r4 r5", want: many},
			{files: "f: r1 r2|g: r3 r5", want: "r1 r2 r3 r5"},
			{files: "f: -", want: "r3 r5"},
		},
		"mass deletion waits": {
			{files: "f: r1 r2|g: r3 r4 r5", want: many},
			{files: "g: -", want: many, says: []string{
				"g: HTTPRoute default/r3" + deleted + "3 of 5 routes, which stay" + consent,
			}},
			{files: "f: r1=x r2", want: "r1=x r2 r3 r4 r5", says: []string{"g: HTTPRoute default/r3" + deleted + "3 of 5 routes"}},
			{files: "f: r1=x r2", consent: true, want: "r1=x r2"},
		},
		"mass deletion is taken back": {
			{files: "f: r1|g: r3 r4 r5", want: "r1 r3 r4 r5"},
			{files: "g: -", want: "r1 r3 r4 r5", says: []string{"g: HTTPRoute default/r3: no longer declared"}},
			{files: "h: r3=x r4 r5", want: "r1 r3=x r4 r5"},
		},
		"the only route": {
			{files: "f: r1", want: "r1"},
			{files: "f: -", want: "r1", says: []string{"f: HTTPRoute default/r1" + deleted + "1 of 1 routes, which stays" + consent}},
		},
		"one object of an unclear file": {
			{files: "f: r1", want: "r1"},
			{files: "f: ?", want: "r1", says: []string{"f: info: 1 object of its last version stays live", "f:2:1: metadata.name: required"}},
		},
		"moved to another file": {
			{files: "f: a b|g: c", want: "a b c"},
			{files: "f: |g: a b c", want: "a b c"},
			{files: "f: -|g: a b=x c", want: "a b=x c"},
		},
		"declared twice": {
			{files: "f: a|g: a=x b", want: "a b", says: []string{"g:2:1: HTTPRoute default/a: declared twice: f:2:1 comes first and counts, g:2:1 does not"}},
			{files: "e: a=y", want: "a=y b", says: []string{
				"f:2:1: HTTPRoute default/a: declared twice: e:2:1 comes first and counts, f:2:1 does not",
				"g:2:1: HTTPRoute default/a: declared twice: e:2:1 comes first and counts, g:2:1 does not",
			}},
			{files: "e: -|f: -", want: "a=x b"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := NewAccepted(nil)
			var decoder resource.Decoder
			var order []string
			for i, c := range changes {
				update := Change{Consent: c.consent}
				for file := range strings.SplitSeq(c.files, "|") {
					name, content, _ := strings.Cut(file, ": ")
					order = slices.DeleteFunc(order, func(s string) bool { return s == name })
					if content == "-" {
						continue
					}
					order = append(order, name)
					text := routes(strings.Fields(content)...)
					if content == "{" {
						text = "{"
					}
					text = strings.Replace(text, "kind: HTTPRoute\nmetadata: {name: ?}", "kind: Namespace\nmetadata: {}", 1)
					if strings.Contains(text, "kind: Namespace") {
						text = strings.Replace(text, "apiVersion: gateway.networking.k8s.io/v1\nkind: Namespace", "apiVersion: v1\nkind: Namespace", 1)
						text = strings.Replace(text, "metadata: {}", "# none", 1)
					}
					f := &File{Name: name}
					f.Objects, f.Diagnostics = decoder.Decode(name, []byte(text))
					f.Unclear = resource.MustRetain(f.Diagnostics)
					update.Changed = append(update.Changed, f)
				}
				slices.Sort(order)
				update.Order = slices.Clone(order)
				set := a.Update(update)
				if got := live(set); got != c.want {
					t.Errorf("change %d: live %q, want %q", i, got, c.want)
				}
				var says []string
				for j, d := range set.Diagnostics {
					s := d.String()
					if j < len(c.says) && strings.HasPrefix(s, c.says[j]) {
						s = c.says[j] // a beginning is enough
					}
					says = append(says, s)
				}
				if diff := cmp.Diff(c.says, says); diff != "" {
					t.Errorf("change %d (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

// A file that is gone and whose objects are elsewhere has moved; nothing is declared twice.
func TestAcceptedMove(t *testing.T) {
	a := NewAccepted(nil)
	var decoder resource.Decoder
	file := func(name string) *File {
		f := &File{Name: name}
		f.Objects, f.Diagnostics = decoder.Decode(name, []byte(routes("a", "b")))
		return f
	}
	a.Update(Change{Order: []string{"old"}, Changed: []*File{file("old")}})
	order := []string{"new", "old"}
	set := a.Update(Change{Order: order, Changed: []*File{file("new")}, Missing: []string{"old"}})
	if got := live(set); got != "a b" || len(set.Diagnostics) != 0 {
		t.Errorf("while it moves: live %q, diagnostics %v", got, set.Diagnostics)
	}
	if set = a.Update(Change{Order: order}); len(set.Diagnostics) != 2 {
		t.Errorf("when it is back: diagnostics %v", set.Diagnostics)
	}
	if set = a.Update(Change{Order: order[:1]}); len(set.Diagnostics) != 0 {
		t.Errorf("when it is gone: diagnostics %v", set.Diagnostics)
	}
}

// What is said of objects that stay live although their file is gone says so.
func TestAcceptedMarksDeleted(t *testing.T) {
	a := NewAccepted(nil)
	var decoder resource.Decoder
	f := &File{Name: "f"}
	f.Objects, f.Diagnostics = decoder.Decode("f", []byte(routes("a")))
	a.Update(Change{Order: []string{"f"}, Changed: []*File{f}})
	said := []resource.Diagnostic{{At: resource.Position{File: "f", Line: 2}, Message: "x"}, {At: resource.Position{File: "g"}, Message: "y"}}
	a.Update(Change{}).MarkDeleted(said)
	if said[0].Message != "x (the file was deleted)" || said[1].Message != "y" {
		t.Errorf("%v", said)
	}
}

// naive says what Accepted does, in the plainest way and all anew each time.
type naive struct {
	files map[string]string            // by name: as routes takes them, or "{" for what is not YAML
	live  map[string]map[string]string // by route: its host, and the file it is from
	held  map[string]bool              // routes that wait for consent
}

func (n *naive) update(changed map[string]string, consent bool) string {
	maps.Copy(n.files, changed)
	maps.DeleteFunc(n.files, func(_, content string) bool { return content == "-" })
	routes := len(n.live)
	next, broken, removed := map[string]map[string]string{}, map[string]bool{}, map[string]bool{}
	for _, file := range slices.Sorted(maps.Keys(n.files)) {
		for _, r := range strings.Fields(strings.TrimPrefix(n.files[file], "{")) {
			r, wrong := strings.CutSuffix(r, "*")
			name, host, _ := strings.Cut(r, "=")
			if _, ok := next[name]; ok {
				continue // the first counts
			}
			next[name], broken[name] = map[string]string{"host": host, "file": file}, wrong
			if wrong {
				next[name] = n.live[name]
			}
		}
	}
	for name, was := range n.live {
		if _, ok := next[name]; ok {
			continue
		}
		next[name] = was
		if content, ok := n.files[was["file"]]; !ok || (content != "{" && content != "") {
			removed[name] = true
		}
	}
	maps.DeleteFunc(n.held, func(name string, _ bool) bool { return !removed[name] })
	if 2*len(removed) > routes {
		maps.Copy(n.held, removed)
	}
	if consent {
		clear(n.held)
	}
	maps.DeleteFunc(next, func(name string, _ map[string]string) bool { return removed[name] && !n.held[name] })
	maps.DeleteFunc(next, func(_ string, r map[string]string) bool { return r == nil })
	n.live = next
	var all []string
	for _, name := range slices.Sorted(maps.Keys(next)) {
		text := name
		if host := next[name]["host"]; host != "" {
			text += "=" + host
		}
		if broken[name] {
			text += "*"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// Whatever the changes, Accepted comes to what the naive one comes to. What a retained
// version's mark is once nothing declares it any more is left open.
func TestAcceptedAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, oracle := NewAccepted(nil), &naive{files: map[string]string{}, live: map[string]map[string]string{}, held: map[string]bool{}}
		var decoder resource.Decoder
		for step := range rapid.IntRange(1, 8).Draw(t, "steps") {
			update := Change{Consent: rapid.IntRange(0, 4).Draw(t, "consent") == 0}
			changed := map[string]string{}
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"f", "g", "h"}), 1, 2, rapid.ID).Draw(t, "changed") {
				content := rapid.SampledFrom([]string{"-", "{", "", "some", "some", "some", "some"}).Draw(t, name)
				if content == "some" {
					names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), 1, 5, rapid.ID).Draw(t, "routes")
					for i := range names {
						names[i] += rapid.SampledFrom([]string{"", "=x", "=y", "=x*", "=z*"}).Draw(t, "version")
					}
					content = strings.Join(names, " ")
				}
				changed[name] = content
				if content == "-" {
					continue
				}
				text := routes(strings.Fields(content)...)
				if content == "{" {
					text = "{"
				}
				f := &File{Name: name}
				f.Objects, f.Diagnostics = decoder.Decode(name, []byte(text))
				f.Unclear = resource.MustRetain(f.Diagnostics)
				update.Changed = append(update.Changed, f)
			}
			want := oracle.update(changed, update.Consent)
			update.Order = slices.Sorted(maps.Keys(oracle.files))
			got := live(a.Update(update))
			if strings.ReplaceAll(got, "*", "") != strings.ReplaceAll(want, "*", "") {
				t.Fatalf("step %d: live %q, want %q", step, got, want)
			}
		}
	})
}

// BenchmarkUpdate changes one route of 10,000 in 100 files.
func BenchmarkUpdate(b *testing.B) {
	a := NewAccepted(nil)
	var decoder resource.Decoder
	change := Change{}
	file := func(i int, host string) *File {
		var names []string
		for j := range 100 {
			names = append(names, fmt.Sprintf("r%d-%d=%s", i, j, host))
		}
		f := &File{Name: fmt.Sprint("f", i)}
		f.Objects, f.Diagnostics = decoder.Decode(f.Name, []byte(routes(names...)))
		return f
	}
	for i := range 100 {
		change.Changed = append(change.Changed, file(i, "a"))
		change.Order = append(change.Order, fmt.Sprint("f", i))
	}
	if set := a.Update(change); set.Len() != 10_000 {
		b.Fatal(set.Len(), set.Diagnostics)
	}
	versions := [2]*File{file(7, "x"), file(7, "y")}
	i := 0
	for b.Loop() {
		change.Changed = []*File{versions[i%2]}
		a.Update(change)
		i++
	}
}

// TestIsRoute: routes of every kind count for what a mass deletion is.
func TestIsRoute(t *testing.T) {
	const gateway, ours = "gateway.networking.k8s.io", "weir.dev"
	for key, want := range map[resource.Key]bool{
		{Group: gateway, Kind: "HTTPRoute"}:   true,
		{Group: gateway, Kind: "GRPCRoute"}:   true,
		{Group: gateway, Kind: "TLSRoute"}:    true,
		{Group: gateway, Kind: "TCPRoute"}:    true,
		{Group: gateway, Kind: "UDPRoute"}:    true,
		{Group: gateway, Kind: "Gateway"}:     false,
		{Group: ours, Kind: "RouteCondition"}: false,
		{Kind: "Service"}:                     false,
	} {
		if got := isRoute(&resource.Object{Key: key, Value: key}); got != want {
			t.Errorf("%v: %v", key, got)
		}
		if isRoute(&resource.Object{Key: key}) {
			t.Errorf("%v that was never accepted serves", key)
		}
	}
}
