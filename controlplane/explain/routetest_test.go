package explain

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"weir.dev/weir/controlplane/resource"
)

// TestRouteTests runs the RouteTests in the archives' files t.yaml.
func TestRouteTests(t *testing.T) {
	archives(t, "testdata/tests-*.txtar", func(t *testing.T, archive *txtar.Archive) map[string]string {
		var tests []*resource.Object
		for _, f := range archive.Files {
			if f.Name != "t.yaml" {
				continue
			}
			objects, diagnostics := resource.DecodeTests(f.Name, f.Data)
			for _, d := range diagnostics {
				t.Fatal(d)
			}
			tests = append(tests, objects...)
		}
		r := New(snapshotOf(t, archive, "")).Test(tests)
		var b strings.Builder
		for _, f := range r.Failures {
			fmt.Fprintln(&b, f)
		}
		fmt.Fprintf(&b, "%d of %d tests failed; %d of %d rules reached\n", r.Failed, r.Tests, r.Reached, r.Rules)
		for _, m := range r.Missed {
			fmt.Fprintf(&b, "not reached: %s (%s:%d)\n", m.Name, m.Origin.File, m.Origin.Line)
		}
		return map[string]string{"want/1": b.String()}
	})
}
