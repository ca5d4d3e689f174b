package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weir.dev/weir/controlplane/lint"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// TestReference renders every page and checks that each says what it is there for.
func TestReference(t *testing.T) {
	folder := t.TempDir()
	var out bytes.Buffer
	if err := run([]string{"-o", folder, "-root", ".."}, &out); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"kinds.md":          {"| HTTPRoute | gateway.networking.k8s.io |", "| TrafficPolicy | weir.dev |"},
		"backend.md":        {"`apiVersion: weir.dev/v1alpha1`", "`spec.endpoints[].address`", "`spec.dns.hostname`"},
		"trafficpolicy.md":  {"`spec.timeouts.request`", "`spec.client.maxHead`", "`LeastRequest`", "`Maglev`", "`spec.hashOn[].clientIP.ipv6Prefix`"},
		"commands.md":       {"## weir run", "`--drain-timeout`", "## weir get routes", "## weir lint"},
		"defaults.md":       {"`timeouts.connect`", "`loadBalancing.panicThreshold` | `50%`"},
		"lint.md":           {},
		"metrics.md":        {},
		"response-flags.md": {},
	}
	for _, f := range telemetry.Families {
		want["metrics.md"] = append(want["metrics.md"], "`"+f.Name+"`")
	}
	for _, f := range model.FlagInfos[1:] {
		want["response-flags.md"] = append(want["response-flags.md"], "| `"+f.Name+"` |")
	}
	for _, r := range lint.Rules {
		want["lint.md"] = append(want["lint.md"], "["+r.Name+"]")
		want["lint-"+r.Name+".md"] = []string{"## Found\n\n```yaml\napiVersion", "## What is said", "## Well\n\n```yaml\napiVersion"}
	}
	for name, texts := range want {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, text := range texts {
			if !strings.Contains(string(data), text) {
				t.Errorf("%s lacks %q", name, text)
			}
		}
		if !strings.Contains(out.String(), name) {
			t.Errorf("%s is not in what was printed", name)
		}
	}
}

// TestEveryFieldIsDescribed: a field without a doc comment has an empty cell.
func TestEveryFieldIsDescribed(t *testing.T) {
	pages, err := kindPages("../controlplane/resource/crds")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages {
		if p.name == "kinds.md" {
			continue
		}
		for line := range strings.Lines(p.text) {
			if strings.HasPrefix(line, "| `spec") && regexp.MustCompile(`\|  \|\n$`).MatchString(line) {
				t.Errorf("%s: not described: %s", p.name, line)
			}
		}
	}
}

// TestLinks checks that every relative link in the hand-written pages leads somewhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	pages, err := filepath.Glob("*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("pages %q, %v", pages, err)
	}
	for _, name := range append(pages, "../README.md") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllSubmatch(data, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), string(m[1]))); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
