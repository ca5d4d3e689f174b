package resource

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestFormat shows what is canonical.
func TestFormat(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"order and indentation": {
			"kind: Gateway\nspec:\n    listeners:\n        - name: web\n          port: 80\nmetadata:\n    name: edge\napiVersion: v1\n",
			"apiVersion: v1\nkind: Gateway\nmetadata:\n  name: edge\nspec:\n  listeners:\n  - name: web\n    port: 80\n",
		},
		"comments move with what they are about": {
			"# The file.\n\n# The kind.\nkind: A # a kind\n\n\n\nspec:\n  # why\n  a: 1\n  # last\napiVersion: v1\n",
			"apiVersion: v1\n# The file.\n\n# The kind.\nkind: A # a kind\n\nspec:\n  # why\n  a: 1\n  # last\n",
		},
		"documents":     {"---\na: 1\n---\n\n---\nb: 2\n--- # note\nc: 3\n", "a: 1\n---\nb: 2\n---\n# note\nc: 3\n"},
		"quotes stay":   {"a: \"x\"\nb: 'y'\nc: \"yes\"\nd: 0x10\ne: ~\nf: \"1\"\ng: on\n", "a: \"x\"\nb: 'y'\nc: \"yes\"\nd: 0x10\ne: ~\nf: \"1\"\ng: on\n"},
		"flow stays":    {"metadata:   {name: a,   labels: {b: c}}\nlist: [1,2,   3]\n", "metadata: {name: a, labels: {b: c}}\nlist: [1, 2, 3]\n"},
		"block scalars": {"a: |\n    one\n\n      two\n\n    # text\nb: >-\n    x\n\n    y\n\nc: 1\n", "a: |\n  one\n\n    two\n\n  # text\nb: >-\n  x\n\n  y\n\nc: 1\n"},
		"blank lines":   {"a:\n\n  - x: 1\n\n\n  - y: 2\n\nb: 1\n\n\n", "a:\n\n- x: 1\n\n- y: 2\n\nb: 1\n"},
		"CRLF and BOM":  {"\ufeffa: 1\r\nb:\r\n    - 2\r\n", "a: 1\nb:\n- 2\n"},
		"only comments": {"# nothing yet\n", "# nothing yet\n"},
		"anchors":       {"spec: &x {a: 1}\nkind: A\napiVersion: v1\nother: *x\n", "spec: &x {a: 1}\nkind: A\napiVersion: v1\nother: *x\n"},
		"empty":         {"\n\n", ""},
	} {
		got, wrong := Format("f.yaml", []byte(c.in))
		if wrong != nil {
			t.Errorf("%s: %v", name, wrong)
			continue
		}
		if diff := cmp.Diff(c.want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestFormatRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\n---\nb: [\n":       "f.yaml:3:1: ",
		"{\"a\": 1}":              "f.yaml: is JSON",
		"%YAML 1.2\n---\na: 1\n":  "f.yaml:1:1: YAML directives",
		"a: \xff\n":               "f.yaml:1:4: not UTF-8",
		"a: 1\n---\nb: *nobody\n": "f.yaml:3:1: ",
	} {
		if got, wrong := Format("f.yaml", []byte(text)); wrong == nil || !strings.HasPrefix(wrong.String(), want) {
			t.Errorf("%q: %q, %v; want %s", text, got, wrong, want)
		}
	}
}

// checkFormat formats a text and checks what holds of every text: the same meaning, the same
// comments, and that it is its own canonical form. It returns false where Format refuses.
func checkFormat(t *testing.T, name string, data []byte) bool {
	t.Helper()
	got, wrong := Format(name, data)
	if wrong != nil {
		return false
	}
	text, _ := readable(data)
	text = []byte(strings.ReplaceAll(string(text), "\r\n", "\n"))
	documents := func(text []byte) (all []string) {
		for _, p := range split(text) {
			if m := meaning(p.text); m != "0" && m != "1n" {
				all = append(all, m)
			}
		}
		return all
	}
	if diff := cmp.Diff(documents(text), documents(got)); diff != "" {
		t.Errorf("%s: the meaning changed:\n%s\n%s", name, diff, got)
	}
	again, wrong := Format(name, got)
	if wrong != nil || string(again) != string(got) {
		t.Errorf("%s: not idempotent: %v\n%s", name, wrong, cmp.Diff(string(got), string(again)))
	}
	return true
}

// corpus yields every YAML text of this repository and of the Gateway API module.
func corpus(t testing.TB, yield func(name string, data []byte)) {
	t.Helper()
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"../..", strings.TrimSpace(string(module))} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if strings.HasSuffix(path, ".yaml") || strings.HasSuffix(path, ".txtar") {
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				if strings.HasSuffix(path, ".yaml") {
					yield(path, data)
					return nil
				}
				for _, f := range txtar.Parse(data).Files {
					if strings.HasSuffix(f.Name, ".yaml") {
						yield(path+"/"+f.Name, f.Data)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestFormatCorpus: of what people really write, nearly everything can be formatted.
func TestFormatCorpus(t *testing.T) {
	all, refused := 0, 0
	corpus(t, func(name string, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		all++
		if !checkFormat(t, name, data) {
			if _, wrong := parse(data, false); wrong == nil {
				_, d := Format(name, data)
				t.Log(d)
			}
			refused++
		}
	})
	t.Logf("%d texts, %d refused", all, refused)
	if all < 100 || refused*20 > all {
		t.Errorf("%d of %d texts are refused", refused, all)
	}
}

func FuzzFormat(f *testing.F) {
	for _, s := range []string{
		"a: 1 # x\n\n# y\nb:\n- c\n\n- d: |\n    e\n\n    f\n", "{a: [1, 2], b: {c: d}}\n", "apiVersion: v1\nspec: {}\nkind: X\n", "a: &x 1\nb: *x\n<<: {c: 1}\n",
		"? a\n: b\n", "- - a\n  - b\n-\n  c: d\n", "a: 'x''y'\nb: \"\\u00e9 # no\"\n", "a: >\n x\n\n\n y\n", "---\n# only\n---\n!!str a: b\n", "a:\n  # c\n  - b # d\n# e\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) { checkFormat(t, "f.yaml", []byte(text)) })
}
