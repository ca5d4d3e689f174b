package guard

import (
	"flag"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the simulated tables of docs/guard.md")

const page = "../../docs/guard.md"

var writing sync.Mutex // of the page, by tests that run in parallel

// onPage compares a table with the one of this name in docs/guard.md, or puts it there.
func onPage(t *testing.T, name, table string) {
	t.Helper()
	writing.Lock()
	defer writing.Unlock()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- simulated: "+name+" -->\n", "<!-- end -->"
	before, rest, found := strings.Cut(string(text), begin)
	old, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("docs/guard.md has no place for %q", name)
	}
	if old == table || runtime.GOARCH != "amd64" { // others round otherwise, and a median may move by one
		return
	}
	if !*update {
		t.Errorf("docs/guard.md has other figures; go test ./traffic/guard -update rewrites them:\n%s", table)
		return
	}
	if err := os.WriteFile(page, []byte(before+begin+table+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
