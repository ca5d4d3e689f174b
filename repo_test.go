// Package weir_test holds the rules of the house: which room may import which, who may
// use which outside module, and how a file looks. A rule that fails names the place and
// the rule, never a way around it.
package weir_test

import (
	"bytes"
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "weir.dev/weir"

// A room is a folder of packages with the rooms it may import and nothing else. A name
// that ends in /... stands for all packages below it.
type room struct {
	name    string
	imports []string
}

// rooms is a statement of policy; do not change it to fix a build. Imports go down only:
//
//	cmd, e2e → cli → app → console → {controlplane} | {dataplane} → telemetry, traffic, wire → model
//
// The two planes never import each other. A new room gets a line here.
var rooms = []room{
	{"model", nil},
	{"wire", []string{"model"}},
	{"traffic/...", []string{"model", "traffic/..."}},
	{"telemetry", []string{"model", "traffic/..."}},
	{"telemetry/store", []string{"model", "telemetry"}},
	{"telemetry/store/unused/...", nil}, // modules of their own, in the place of others

	{"controlplane/resource/v1alpha1", nil},
	{"controlplane/resource", []string{"model", "traffic/compare", "traffic/retry", "traffic/expression", "controlplane/resource/v1alpha1"}},
	{"controlplane/resource/crdgen", nil},
	{"controlplane/source", []string{"model", "controlplane/resource"}},
	{"controlplane/translate", []string{"model", "traffic/expression", "traffic/match", "controlplane/resource", "controlplane/resource/v1alpha1"}},
	{"controlplane/lint", []string{"model", "traffic/...", "controlplane/resource", "controlplane/resource/v1alpha1", "controlplane/translate", "controlplane/explain"}},
	{"controlplane/explain", []string{"model", "traffic/...", "controlplane/resource", "controlplane/resource/v1alpha1", "controlplane/translate"}},
	{"controlplane/simulate", []string{"model", "traffic/...", "controlplane/resource", "controlplane/translate", "controlplane/explain"}},

	{"controlplane/state", []string{"model"}},
	{"controlplane/rollout", []string{"model", "traffic/...", "controlplane/resource", "controlplane/resource/v1alpha1", "controlplane/translate", "controlplane/state"}},
	{"controlplane/slo", []string{"model", "traffic/...", "controlplane/resource", "controlplane/resource/v1alpha1", "controlplane/translate"}},

	{"dataplane/transport", []string{"model"}},
	{"dataplane/http1", []string{"model", "traffic/uri"}},
	{"dataplane/http2", []string{"dataplane/transport", "dataplane/http1"}},
	{"dataplane/http3", []string{"dataplane/transport", "dataplane/http1", "dataplane/http2"}},
	{"dataplane/policy", []string{"model", "traffic/uri", "traffic/fields", "traffic/expression", "dataplane/http1"}},
	{"dataplane/listener", []string{"model", "telemetry", "traffic/...", "dataplane/transport"}},
	{"dataplane/cluster", []string{"model", "telemetry", "traffic/...", "dataplane/transport", "dataplane/http1", "dataplane/http2"}},
	{"dataplane/stream", []string{"model", "telemetry", "traffic/...", "dataplane/transport", "dataplane/listener", "dataplane/cluster"}},
	{"dataplane/release", []string{"model", "telemetry", "traffic/...", "dataplane/transport", "dataplane/http1", "dataplane/policy"}},
	{"dataplane/shadow", []string{"model", "telemetry", "traffic/...", "dataplane/transport", "dataplane/http1", "dataplane/http2", "dataplane/policy", "dataplane/cluster"}},
	{"dataplane/stale", []string{"dataplane/transport", "dataplane/http1", "dataplane/policy"}},
	{"dataplane/overload", []string{"model", "telemetry", "traffic/...", "dataplane/transport", "dataplane/policy"}},
	{"dataplane/proxy", []string{
		"model", "telemetry", "traffic/...",
		"dataplane/transport", "dataplane/http1", "dataplane/http2", "dataplane/http3", "dataplane/policy", "dataplane/listener",
		"dataplane/cluster", "dataplane/stream", "dataplane/release", "dataplane/overload", "dataplane/shadow", "dataplane/stale",
	}},

	{"console", []string{"model", "telemetry/...", "traffic/...", "controlplane/...", "dataplane/..."}},
	{"app", []string{"model", "telemetry/...", "traffic/...", "controlplane/...", "dataplane/...", "console"}},
	{"cli", []string{"model", "telemetry/...", "controlplane/...", "console", "app"}},
	{"cmd/weir", []string{"cli"}},
	{"e2e", []string{"model", "controlplane/...", "app", "cli", "bench/release"}}, // the same trials are tested and measured
	{"e2e/suites/autobahn/wsecho", nil},                                           // a module of its own
	{"e2e/suites/grafana", nil},                                                   // another
	{"docs", []string{"model", "telemetry", "controlplane/...", "console", "cli"}},

	{"examples/demo", nil},
	{"bench/...", []string{"bench/..."}}, // measures from outside, as it measures the others
}

// A fence names the rooms that may import an outside module. A module that no fence names
// is imported nowhere. Kubernetes never leaves the control plane.
type fence struct {
	module string
	rooms  []string
}

// fences is a statement of policy as well.
var fences = []fence{
	{"k8s.io/", []string{"controlplane/..."}},
	{"sigs.k8s.io/", []string{"controlplane/..."}},
	{"github.com/google/cel-go/", []string{"controlplane/resource", "traffic/expression"}},
	{"github.com/quic-go/", []string{"dataplane/http3", "bench/..."}}, // QUIC, and the decoder of QPACK
	{"golang.org/x/net/http2", []string{"bench/..."}},                 // a client by others
	{"github.com/pires/go-proxyproto", []string{"dataplane/listener", "dataplane/cluster"}},
	{"go.yaml.in/yaml/v3", []string{"controlplane/resource", "e2e/suites/grafana"}},
	{"github.com/prometheus/prometheus/", []string{"telemetry/store"}},                                       // the database and its query language
	{"github.com/prometheus/prometheus/promql/parser", []string{"telemetry/store", "controlplane/resource"}}, // queries are judged when they are read
	{"github.com/prometheus/common/model", []string{"telemetry/store"}},                                      // how names are written in paths
	{"go.etcd.io/bbolt", []string{"controlplane/state"}},
	{"gonum.org/v1/gonum", []string{"traffic/sample", "traffic/guard"}}, // distributions
	{"github.com/fsnotify/fsnotify", []string{"controlplane/source"}},
	{"github.com/coreos/go-systemd/v22/daemon", []string{"app"}},
	{"github.com/prometheus/client_golang", []string{"telemetry"}},
	{"github.com/prometheus/client_model", []string{"telemetry"}},
	{"github.com/cespare/xxhash/v2", []string{"dataplane/policy", "dataplane/stream", "traffic/sample"}}, // a hash that every proxy and version shares
	{"github.com/andybalholm/brotli", []string{"dataplane/policy"}},                                      // the coding that the standard library lacks
	{"github.com/klauspost/compress", []string{"dataplane/policy"}},                                      // zstd, and gzip at a fraction of the standard library's cost
	{"github.com/spf13/", []string{"cli", "docs"}},
	{"github.com/mccutchen/go-httpbin/v2", []string{"examples/demo"}},
	{"google.golang.org/grpc", []string{"examples/demo"}},                    // a server that others know
	{"github.com/gorilla/websocket", []string{"e2e/suites/autobahn/wsecho"}}, // a server by others
	{"github.com/grafana/", []string{"e2e/suites/grafana"}},                  // Grafana's own data source
	{"golang.org/x/net/netutil", []string{"console"}},                        // a bound on admin connections
	{"golang.org/x/net/http2/hpack", []string{"dataplane/http2"}},            // the decoder
	{"golang.org/x/sys", []string{"dataplane/listener", "dataplane/transport", "dataplane/cluster", "bench/..."}},
	{"github.com/rogpeppe/go-internal/txtar", []string{"docs"}}, // examples of lint rules
	{"sigs.k8s.io/yaml", []string{"cli", "console", "docs"}},
}

// testFences are the modules that tests of every room may import besides.
var testFences = []string{
	"github.com/andybalholm/brotli", // decoders
	"github.com/google/go-cmp/",
	"github.com/klauspost/compress/",
	"github.com/pires/go-proxyproto",
	"github.com/rogpeppe/go-internal/",
	"golang.org/x/net/http2",          // frames by others
	"golang.org/x/net/dns/dnsmessage", // names and addresses
	"google.golang.org/grpc",          // clients and servers by others
	"github.com/quic-go/",
	"go.uber.org/goleak",
	"pgregory.net/rapid",
}

// bannedNames say nothing about what a package is for.
var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "types", "pkg", "misc", "shared", "base"}

// Limits of a file's length, in lines. A table of cases may be longer than code.
const (
	maxLines     = 500
	maxTestLines = 800
)

// source is one parsed Go file of this repository.
type source struct {
	path string // relative to the root, with slashes
	room string // its folder
	test bool
	made bool // generated: not for people to read
	file *ast.File
	fset *token.FileSet
	data []byte
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if d.IsDir() {
			if base := path.Base(name); name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{
			path: name, room: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
			made: ast.IsGenerated(file), file: file, fset: fset, data: data,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d Go files found: the walk is broken", len(all))
	}
	return all
}

// within reports whether folder is the room, or below it when the room ends in /... .
func within(folder, room string) bool {
	if parent, ok := strings.CutSuffix(room, "/..."); ok {
		return folder == parent || strings.HasPrefix(folder, parent+"/")
	}
	return folder == room
}

func withinAny(folder string, rooms []string) bool {
	return slices.ContainsFunc(rooms, func(r string) bool { return within(folder, r) })
}

func roomOf(folder string) (room, bool) {
	i := slices.IndexFunc(rooms, func(r room) bool { return within(folder, r.name) })
	if i < 0 {
		return room{}, false
	}
	return rooms[i], true
}

// TestRooms checks every import of one of our packages against rooms.
func TestRooms(t *testing.T) {
	missing := map[string]bool{}
	for _, s := range sources(t) {
		if s.room == "." {
			continue
		}
		from, ok := roomOf(s.room)
		if !ok {
			missing[s.room] = true
			continue
		}
		for _, spec := range s.file.Imports {
			to, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module+"/")
			if !ours || to == s.room || withinAny(to, from.imports) {
				continue
			}
			t.Errorf("%s: %s may not import %s", s.fset.Position(spec.Pos()), s.room, to)
		}
	}
	for folder := range missing {
		t.Errorf("%s: no line in rooms says what it may import", folder)
	}
}

// TestRoomsGoDown checks the table itself: no room can reach itself, and the planes
// cannot reach each other.
func TestRoomsGoDown(t *testing.T) {
	reach := func(from string) map[string]bool {
		seen := map[string]bool{}
		queue := []string{from}
		for len(queue) > 0 {
			at := queue[0]
			queue = queue[1:]
			for _, r := range rooms {
				if r.name != at {
					continue
				}
				for _, to := range rooms {
					self := to.name == r.name // packages of one room may share, without a cycle of Go's own
					if !self && !seen[to.name] && withinAny(strings.TrimSuffix(to.name, "/..."), r.imports) {
						seen[to.name] = true
						queue = append(queue, to.name)
					}
				}
			}
		}
		return seen
	}
	for _, r := range rooms {
		below := reach(r.name)
		if below[r.name] {
			t.Errorf("%s can import itself through the rooms below it", r.name)
		}
		for to := range below {
			if strings.HasPrefix(r.name, "controlplane/") && strings.HasPrefix(to, "dataplane/") ||
				strings.HasPrefix(r.name, "dataplane/") && strings.HasPrefix(to, "controlplane/") {
				t.Errorf("%s can reach %s: the planes never import each other", r.name, to)
			}
		}
	}
}

// TestFences checks every import of an outside module against fences.
func TestFences(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		for _, spec := range s.file.Imports {
			target := strings.Trim(spec.Path.Value, `"`)
			first, _, _ := strings.Cut(target, "/")
			if !strings.Contains(first, ".") || first == path.Dir(module) {
				continue
			}
			if s.test && slices.ContainsFunc(testFences, func(p string) bool { return strings.HasPrefix(target, p) }) {
				continue
			}
			allowed := false
			for _, f := range fences {
				if strings.HasPrefix(target, f.module) {
					used[f.module] = true
					allowed = allowed || withinAny(s.room, f.rooms)
				}
			}
			if !allowed {
				t.Errorf("%s: %s may not import %s", s.fset.Position(spec.Pos()), s.room, target)
			}
		}
	}
	for _, f := range fences {
		if !used[f.module] {
			t.Errorf("fence %s: nobody imports it; remove the line", f.module)
		}
	}
}

// TestDeadCode checks that the program has no package whose methods are chosen by name at run time: one that can be
// reached has the linker keep every exported method of every type, a fifth of the program. text/template is imported by
// cobra and cel-go, but nothing of theirs that is called executes one.
func TestDeadCode(t *testing.T) {
	list, err := exec.Command("go", "list", "-deps", "./cmd/weir").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(list)) {
		if name == "html/template" || name == "golang.org/x/net/trace" {
			t.Errorf("%s is part of the program; go list -deps tells who imports it", name)
		}
	}
}

// TestPackages checks names, and that each package has one comment that says what it is.
func TestPackages(t *testing.T) {
	comments := map[string][]string{}
	for _, s := range sources(t) {
		if slices.Contains(bannedNames, path.Base(s.room)) || slices.Contains(bannedNames, s.file.Name.Name) {
			t.Errorf("%s: a package is named after what it is for, not %s", s.path, path.Base(s.room))
		}
		if s.test && s.room != "." {
			continue
		}
		if _, ok := comments[s.room]; !ok {
			comments[s.room] = nil
		}
		if s.file.Doc != nil {
			comments[s.room] = append(comments[s.room], s.path)
			checkPackageComment(t, s)
		}
	}
	for folder, where := range comments {
		if len(where) != 1 {
			t.Errorf("%s: %d package comments %v; want exactly one", folder, len(where), where)
		}
	}
}

func checkPackageComment(t *testing.T, s source) {
	t.Helper()
	want := "Package " + s.file.Name.Name + " "
	if s.file.Name.Name == "main" {
		want = "Command "
	}
	text := strings.TrimSpace(s.file.Doc.Text())
	if !strings.HasPrefix(text, want) {
		t.Errorf("%s: the package comment starts %.30q; want %q", s.path, text, want)
	}
	if n := strings.Count(text, "\n") + 1; n < 2 {
		t.Errorf("%s: the package comment has %d line; say what it is and what it is not", s.path, n)
	}
}

// TestFiles checks the length of files and that nothing happens before main.
func TestFiles(t *testing.T) {
	for _, s := range sources(t) {
		if s.made {
			continue
		}
		limit := maxLines
		if s.test {
			limit = maxTestLines
		}
		if n := bytes.Count(s.data, []byte("\n")); n > limit {
			t.Errorf("%s: %d lines; a file is one idea of at most %d", s.path, n, limit)
		}
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: no init; registration is a slice literal in one place", s.fset.Position(f.Pos()))
			}
		}
	}
}

// packagePath finds the paths of packages in prose: `dataplane/proxy`.
var packagePath = regexp.MustCompile("`((?:cmd|cli|app|console|controlplane|dataplane|traffic|telemetry|wire|model|bench|e2e|docs|examples)(?:/[a-z0-9]+)*)/?`")

// TestArchitecture checks that docs/architecture.md names only packages that exist, and
// names every one that does.
func TestArchitecture(t *testing.T) {
	page, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, m := range packagePath.FindAllSubmatch(page, -1) {
		folder := string(m[1])
		named[folder] = true
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			t.Errorf("docs/architecture.md names %s, which is gone", folder)
		}
	}
	folders := map[string]bool{}
	for _, s := range sources(t) {
		if s.room != "." && !s.test {
			folders[s.room] = true
		}
	}
	for _, folder := range sorted(folders) {
		if !named[folder] && !named[path.Dir(folder)] {
			t.Errorf("docs/architecture.md says nothing of %s", folder)
		}
	}
}

// TestVocabulary checks the form of docs/vocabulary.md: sorted, one sentence a term.
func TestVocabulary(t *testing.T) {
	page, err := os.ReadFile("docs/vocabulary.md")
	if err != nil {
		t.Fatal(err)
	}
	entry := regexp.MustCompile(`(?m)^\*\*([^*]+)\*\*: ([^\n]+)$`)
	var terms []string
	for _, m := range entry.FindAllSubmatch(page, -1) {
		terms = append(terms, strings.ToLower(string(m[1])))
		sentence, _, _ := strings.Cut(string(m[2]), " *Avoid:*")
		if !strings.HasSuffix(sentence, ".") || strings.Count(sentence, ". ") > 0 {
			t.Errorf("docs/vocabulary.md: %s: want one sentence", m[1])
		}
	}
	if len(terms) < 20 {
		t.Fatalf("docs/vocabulary.md: only %d terms found", len(terms))
	}
	if !slices.IsSorted(terms) {
		t.Errorf("docs/vocabulary.md: terms are not sorted: %v", terms)
	}
}

func sorted[K cmp.Ordered](set map[K]bool) []K {
	keys := make([]K, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
