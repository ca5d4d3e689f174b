package source

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"weir.dev/weir/controlplane/resource"
)

// documents are what files are made of at random: versions of a few routes, one of them
// wrong, and what is no route.
func documents(t *rapid.T) []string {
	n := rapid.IntRange(1, 8).Draw(t, "documents")
	var list []string
	for range n {
		name := rapid.IntRange(0, 9).Draw(t, "name")
		switch rapid.IntRange(0, 9).Draw(t, "form") {
		case 0:
			list = append(list, "# nothing but a comment\n")
		case 1:
			list = append(list, fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r%d}\nspec: {wrong: 1}\n", name))
		case 2:
			list = append(list, fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: r%d}\n", name))
		case 3:
			list = append(list, fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r%d, name: twice}\n", name))
		default:
			host := rapid.SampledFrom([]string{"a.test", "b.test"}).Draw(t, "host")
			comment := strings.Repeat("# a line\n", rapid.IntRange(0, 2).Draw(t, "comments"))
			list = append(list, fmt.Sprintf("%sapiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r%d}\nspec: {hostnames: [%s]}\n", comment, name, host))
		}
	}
	return list
}

// TestIncrementalIsFresh edits files at random and compares what reading only the changes
// leads to with what reading everything does. Objects that were wrong from the beginning have
// no former version; the others' are compared where both have none.
func TestIncrementalIsFresh(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var decoder resource.Decoder
		accepted := NewAccepted(nil)
		files := map[string][]string{}
		for range rapid.IntRange(1, 10).Draw(t, "edits") {
			changed := editFiles(t, files)
			var order []string
			for name := range files {
				order = append(order, name)
			}
			slices.Sort(order)
			var read []*File
			for _, name := range changed {
				if files[name] != nil {
					read = append(read, decodeFile(&decoder, name, files[name]))
				} else {
					decoder.Forget(name)
				}
			}
			got := accepted.Update(Change{Order: order, Changed: read, Consent: true})

			var all []*File
			for _, name := range order {
				all = append(all, decodeFile(new(resource.Decoder), name, files[name]))
			}
			want := NewAccepted(nil).Update(Change{Order: order, Changed: all, Consent: true})
			compareSets(t, got, want)
		}
	})
}

func decodeFile(d *resource.Decoder, name string, documents []string) *File {
	f := &File{Name: name}
	// A file that is empty would retain what it had.
	documents = append([]string{fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", name[:1])}, documents...)
	f.Objects, f.Diagnostics = d.Decode(name, []byte(strings.Join(documents, "---\n")))
	f.Unclear = resource.MustRetain(f.Diagnostics)
	return f
}

// editFiles edits, adds and removes files, and returns the names of those that it touched.
func editFiles(t *rapid.T, files map[string][]string) (changed []string) {
	for range rapid.IntRange(1, 3).Draw(t, "files") {
		name := rapid.SampledFrom([]string{"a.yaml", "b.yaml", "c.yaml"}).Draw(t, "file")
		if slices.Contains(changed, name) {
			continue
		}
		changed = append(changed, name)
		old := files[name]
		switch rapid.IntRange(0, 5).Draw(t, "edit") {
		case 0:
			delete(files, name)
		case 1, 2:
			files[name] = documents(t)
		default: // one document, wherever it is
			if old == nil {
				old = documents(t)
			}
			at := rapid.IntRange(0, len(old)-1).Draw(t, "at")
			files[name] = slices.Replace(slices.Clone(old), at, at+1, documents(t)[0])
		}
	}
	return changed
}

func compareSets(t *rapid.T, got, want *resource.Set) {
	ignore := cmpopts.IgnoreUnexported(resource.Object{})
	gotObjects, wantObjects := slices.Collect(got.Objects()), slices.Collect(want.Objects())
	for _, o := range wantObjects {
		if o.Value != nil {
			continue
		}
		// Only a former version can differ, and is asked of no fresh start.
		i := slices.IndexFunc(gotObjects, func(g *resource.Object) bool { return g.Key == o.Key })
		if i >= 0 && gotObjects[i].Value != nil && cmp.Equal(gotObjects[i].Problems, o.Problems) {
			gotObjects[i] = o
		}
	}
	if diff := cmp.Diff(wantObjects, gotObjects, ignore); diff != "" {
		t.Fatalf("objects (-fresh +incremental):\n%s", diff)
	}
	for i := range wantObjects {
		for _, field := range []string{"metadata.name", "spec.hostnames[0]", "spec"} {
			if g, w := gotObjects[i].Position(field), wantObjects[i].Position(field); g != w {
				t.Fatalf("%v: %s is at %v, want %v", wantObjects[i].Key, field, g, w)
			}
		}
	}
	if diff := cmp.Diff(want.Diagnostics, got.Diagnostics); diff != "" {
		t.Fatalf("diagnostics (-fresh +incremental):\n%s", diff)
	}
}
