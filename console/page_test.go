package console

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPageAsksOnlyForWhatIsServed keeps the page free of other servers and of what the
// content policy would refuse. That it works, a browser finds out in e2e.
func TestPageAsksOnlyForWhatIsServed(t *testing.T) {
	h := newHarness(1)
	paths := regexp.MustCompile("[\"'`](/[a-z][a-zA-Z0-9/._-]*)")
	modules := regexp.MustCompile(`from "\./([a-z]+\.js)"`)
	served := map[string]bool{}
	for _, e := range h.console.endpoints {
		served[e.path] = true
	}
	for _, f := range files {
		text := h.do("GET", f.path, "").Body.String()
		for _, forbidden := range []string{
			"https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", " style=", " onclick=", "import(",
		} {
			if strings.Contains(text, forbidden) {
				t.Errorf("%s contains %s", f.path, forbidden)
			}
		}
		for _, match := range paths.FindAllStringSubmatch(text, -1) {
			if !served[match[1]] {
				t.Errorf("%s asks for %s, which nobody serves", f.path, match[1])
			}
		}
		for _, match := range modules.FindAllStringSubmatch(text, -1) {
			if !served["/"+match[1]] {
				t.Errorf("%s imports %s, which nobody serves", f.path, match[1])
			}
		}
	}
}

// TestEveryFileIsServed: what is embedded has its line in the table.
func TestEveryFileIsServed(t *testing.T) {
	entries, err := os.ReadDir("web")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := path.Join("web", e.Name())
		if !slices.ContainsFunc(files, func(f struct{ path, file, media, summary string }) bool { return f.file == name }) {
			t.Errorf("%s is not served", name)
		}
	}
}
