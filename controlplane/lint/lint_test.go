package lint

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
)

var update = flag.Bool("update", false, "rewrite the want files of testdata")

// TestRules runs each rule on its archive: bad.yaml gives the diagnostics in want, and
// good.yaml none. The rules' pages show these examples.
func TestRules(t *testing.T) {
	for _, rule := range Rules {
		t.Run(rule.Name, func(t *testing.T) {
			file := filepath.Join("testdata", rule.Name+".txtar")
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := lines(lintFile(t, archive, "bad.yaml"), rule.Name)
			if got == "" {
				t.Error("finds nothing in bad.yaml")
			}
			if good := lines(lintFile(t, archive, "good.yaml"), ""); good != "" {
				t.Errorf("good.yaml is not good:\n%s", good)
			}
			if *update {
				archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want" })
				archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(content(t, archive, "want")), got); diff != "" {
				t.Errorf("-want +got; -update rewrites:\n%s", diff)
			}
		})
	}
}

// What a route that is wrong refers to is unknown, so no Backend is called unused.
func TestUnusedBackendBesideWrongRoute(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/unused-backend.txtar")
	if err != nil {
		t.Fatal(err)
	}
	bad := string(content(t, archive, "bad.yaml"))
	for want, text := range map[string]string{
		"a wrong route": strings.Replace(bad, "  rules:", "  ruls: []\n  rules:", 1),
		"not YAML":      bad + "---\n'",
		"no kind":       bad + "---\napiVersion: v1\n",
	} {
		var decoder resource.Decoder
		objects, diagnostics := decoder.Decode("bad.yaml", []byte(text))
		if len(diagnostics) == 0 {
			t.Fatalf("%s: nothing is wrong", want)
		}
		set := resource.NewSet(objects, diagnostics)
		if got := lines(Config{}.Run(set, translate.Translate(translate.Input{Set: set})), "unused-backend"); got != "" {
			t.Errorf("%s: %s", want, got)
		}
	}
}

// Findings in a file that was deleted, and whose objects stay live, say so.
func TestDeletedFile(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/unused-backend.txtar")
	if err != nil {
		t.Fatal(err)
	}
	set := decode(t, archive, "bad.yaml")
	set.AddDeleted("bad.yaml")
	if got := lines(Config{}.Run(set, translate.Translate(translate.Input{Set: set})), ""); !strings.Contains(got, "no route refers to it (the file was deleted)") {
		t.Error(got)
	}
}

// TestNoStrayArchives: an archive without a rule would never run.
func TestNoStrayArchives(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txtar")
		if !slices.ContainsFunc(Rules, func(r Rule) bool { return r.Name == name }) {
			t.Errorf("%s is of no rule", f)
		}
	}
	if !slices.IsSortedFunc(Rules, func(a, b Rule) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the rules are not in the order of names")
	}
}

func TestOverrides(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/unused-backend.txtar")
	if err != nil {
		t.Fatal(err)
	}
	set := decode(t, archive, "bad.yaml")
	out := translate.Translate(translate.Input{Set: set})
	for _, level := range []Level{Error, Warning} {
		got := Config{Overrides: []Override{{"unused-backend", level, "test"}}}.Run(set, out)
		if len(got) != 1 || got[0].Severity.String() != string(level) {
			t.Errorf("%s: %v", level, got)
		}
	}
	if got := (Config{Overrides: []Override{{"unused-backend", Disabled, "test"}}}).Run(set, out); len(got) != 0 {
		t.Errorf("disabled: %v", got)
	}
}

// TestOverrideOfTranslation: the levels of what translation reports can be set, too.
func TestOverrideOfTranslation(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/foreign-class.txtar")
	if err != nil {
		t.Fatal(err)
	}
	set := decode(t, archive, "bad.yaml")
	out := translate.Translate(translate.Input{Set: set})
	got := Config{Overrides: []Override{{translate.RuleForeignClass, Error, "test"}}}.Apply(out.Diagnostics)
	if len(got) != 1 || got[0].Severity != resource.Error {
		t.Errorf("error: %v", got)
	}
	if out.Diagnostics[0].Severity != resource.Warning {
		t.Error("the translation's own diagnostics were changed")
	}
	if got := (Config{Overrides: []Override{{translate.RuleForeignClass, Disabled, "test"}}}).Apply(out.Diagnostics); len(got) != 0 {
		t.Errorf("disabled: %v", got)
	}
}

func TestCheck(t *testing.T) {
	for want, o := range map[string]Override{
		"there is no rule": {"nonsense", Error, "r"},
		"is not one of":    {"unused-backend", "loud", "r"},
		"needs a reason":   {"unused-backend", Error, ""},
	} {
		if err := (Config{Overrides: []Override{o}}).Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	if err := (Config{Overrides: []Override{{"unused-backend", Disabled, "a library"}}}).Check(); err != nil {
		t.Error(err)
	}
}

// testNow is when the examples' certificates are judged.
var testNow = time.Date(2030, time.January, 1, 0, 0, 0, 0, time.UTC)

func lintFile(t *testing.T, archive *txtar.Archive, name string) []resource.Diagnostic {
	t.Helper()
	set := decode(t, archive, name)
	out := translate.Translate(translate.Input{Set: set})
	found := append(slices.Clone(out.Diagnostics), Config{Now: testNow}.Run(set, out)...)
	resource.SortDiagnostics(found)
	return found
}

func decode(t *testing.T, archive *txtar.Archive, name string) *resource.Set {
	t.Helper()
	var decoder resource.Decoder
	objects, diagnostics := decoder.Decode(name, content(t, archive, name))
	if len(diagnostics) > 0 {
		t.Fatalf("%s: %v", name, diagnostics)
	}
	return resource.NewSet(objects, nil)
}

func content(t *testing.T, archive *txtar.Archive, name string) []byte {
	t.Helper()
	for _, f := range archive.Files {
		if f.Name == name {
			return f.Data
		}
	}
	if name == "want" {
		return nil
	}
	t.Fatalf("no %s", name)
	panic("unreachable")
}

// lines lists the diagnostics of one rule, or of all.
func lines(list []resource.Diagnostic, rule string) string {
	var b strings.Builder
	for _, d := range list {
		if rule == "" || d.Rule == rule {
			b.WriteString(d.String() + "\n")
		}
	}
	return b.String()
}
