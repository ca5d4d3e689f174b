package explain

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/match"
)

var update = flag.Bool("update", false, "rewrite the want/ files of testdata")

// setOf decodes the manifests of an archive: its files that end in .yaml and lie in a folder.
func setOf(t testing.TB, archive *txtar.Archive, folder string) *resource.Set {
	t.Helper()
	var decoder resource.Decoder
	var objects []*resource.Object
	for _, f := range archive.Files {
		if !strings.HasSuffix(f.Name, ".yaml") || !strings.HasPrefix(f.Name, folder) {
			continue
		}
		o, diagnostics := decoder.Decode(f.Name, f.Data)
		for _, d := range diagnostics {
			t.Fatal(d)
		}
		objects = append(objects, o...)
	}
	return resource.NewSet(objects, nil)
}

func snapshotOf(t testing.TB, archive *txtar.Archive, folder string) *model.Snapshot {
	t.Helper()
	return translate.Translate(translate.Input{Set: setOf(t, archive, folder)}).Snapshot
}

// archives runs a test for each archive that fits a pattern, and compares or rewrites what
// it returns by the name of the file.
func archives(t *testing.T, pattern string, run func(t *testing.T, archive *txtar.Archive) map[string]string) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := run(t, archive)
			if *update {
				rewrite(t, file, archive, got)
				return
			}
			wanted := 0
			for _, f := range archive.Files {
				if strings.HasPrefix(f.Name, "want/") {
					wanted++
					if diff := cmp.Diff(string(f.Data), got[f.Name]); diff != "" {
						t.Errorf("%s (-want +got; -update rewrites):\n%s", f.Name, diff)
					}
				}
			}
			if wanted != len(got) {
				t.Errorf("%d results, but %d are wanted", len(got), wanted)
			}
		})
	}
}

func rewrite(t *testing.T, file string, archive *txtar.Archive, got map[string]string) {
	t.Helper()
	var kept []txtar.File
	for _, f := range archive.Files {
		if !strings.HasPrefix(f.Name, "want/") {
			kept = append(kept, f)
		}
	}
	for i := range len(got) {
		name := fmt.Sprintf("want/%d", i+1)
		kept = append(kept, txtar.File{Name: name, Data: []byte(got[name])})
	}
	archive.Files = kept
	if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestExplain answers the lines of each archive's file questions: method, URL, and headers
// as name=value. Policies are left out of the answers but for the first.
func TestExplain(t *testing.T) {
	archives(t, "testdata/explain-*.txtar", func(t *testing.T, archive *txtar.Archive) map[string]string {
		e := New(snapshotOf(t, archive, ""))
		got := map[string]string{}
		for i, line := range questions(archive) {
			text := "# " + line + "\n"
			x, err := e.Explain(requestOf(line))
			if err != nil {
				text += "error: " + err.Error() + "\n"
			} else {
				if i > 0 {
					x.Policy = nil
				}
				x.Version = ""
				b, err := yaml.Marshal(x)
				if err != nil {
					t.Fatal(err)
				}
				text += string(b)
			}
			got[fmt.Sprintf("want/%d", i+1)] = text
		}
		return got
	})
}

func questions(archive *txtar.Archive) []string {
	for _, f := range archive.Files {
		if f.Name == "questions" {
			return strings.Split(strings.TrimSpace(string(f.Data)), "\n")
		}
	}
	return nil
}

func requestOf(line string) Request {
	words := strings.Fields(line)
	r := Request{Method: words[0], URL: words[1]}
	for _, w := range words[2:] {
		name, value, _ := strings.Cut(w, "=")
		if name == "@" {
			r.Listener = value
			continue
		}
		r.Headers = append(r.Headers, Header{name, value})
	}
	return r
}

// TestHeaderValue: what no request can have is a wrong question.
func TestHeaderValue(t *testing.T) {
	e := New(&model.Snapshot{})
	for value, right := range map[string]bool{"1": true, " a b ": true, "": true, "a\nb": false, "a\r\nx: b": false, "\x00": false} {
		_, err := e.Explain(Request{URL: "http://127.0.0.1/", Headers: []Header{{"x-a", value}}})
		if right != (err == nil) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// TestWinner: whatever the routes and the request, the route that Explain names is the one
// that a table of the data plane's making finds, every other route for the host is accounted
// for, and what is said of it is true.
func TestWinner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		routes := rapid.SliceOfN(rapid.Custom(drawRoute), 1, 12).Draw(t, "routes")
		s := &model.Snapshot{
			Listeners:   []*model.Listener{{Name: "0.0.0.0:80", Address: anywhere, Tables: []model.TableBinding{{Table: "t"}}}},
			RouteTables: []*model.RouteTable{{Name: "t"}},
		}
		var entries []match.Entry[string]
		for i, r := range routes {
			r.route.Name = fmt.Sprint("r", i)
			s.RouteTables[0].Entries = append(s.RouteTables[0].Entries, model.Entry{Hostnames: r.hostnames, Route: r.route})
			entries = append(entries, match.Entry[string]{Hostnames: r.hostnames, Matches: r.route.Matches, Value: r.route.Name})
		}
		table, err := match.Compile(entries)
		if err != nil {
			t.Fatal(err)
		}
		q := Request{
			Method: rapid.SampledFrom([]string{"GET", "POST"}).Draw(t, "method"),
			URL: "http://" + rapid.SampledFrom([]string{"a.b.c", "x.b.c", "d"}).Draw(t, "host") +
				rapid.SampledFrom([]string{"/", "/a", "/a/b", "/a/b/c", "/ab"}).Draw(t, "path") +
				rapid.SampledFrom([]string{"", "?q=1", "?q=2&p=1"}).Draw(t, "query"),
			Headers: rapid.SampledFrom([][]Header{nil, {{"x", "1"}}, {{"x", "1"}, {"y", "2"}}}).Draw(t, "headers"),
		}
		p, err := q.parse()
		if err != nil {
			t.Fatal(err)
		}
		request := match.Request{Host: []byte(p.host), Method: []byte(p.method), Path: []byte(p.rawPath), Query: []byte(p.query), Headers: p}
		x, err := New(s).Explain(q)
		if err != nil {
			t.Fatal(err)
		}
		if hit, _ := table.Find(&request); hit.Value != x.Route {
			t.Fatalf("explained %q, found %q", x.Route, hit.Value)
		}
		checkLost(t, x, entries, &request)
	})
}

// checkLost checks what is said of the losers.
func checkLost(t *rapid.T, x model.Explanation, entries []match.Entry[string], request *match.Request) {
	matching := func(chosen ...match.Entry[string]) string {
		table, err := match.Compile(chosen)
		if err != nil {
			t.Fatal(err)
		}
		hit, _ := table.Find(request)
		return hit.Value
	}
	why := map[string]string{}
	for _, l := range x.Lost {
		why[l.Route] = l.Why
	}
	byName := map[string]match.Entry[string]{}
	for _, e := range entries {
		byName[e.Value] = e
	}
	for _, e := range entries {
		reason, listed := why[e.Value]
		holds := matching(e) != ""
		said := strings.HasPrefix(reason, "matches too, but ")
		switch {
		case e.Value == x.Route:
			if listed {
				t.Fatalf("the winner %s lost: %s", e.Value, reason)
			}
		case holds != said:
			t.Fatalf("%s: matches: %v, but explained %q", e.Value, holds, reason)
		case holds && matching(byName[x.Route], e) != x.Route && matching(e, byName[x.Route]) != x.Route:
			t.Fatalf("%s beats %s, but explained %q", e.Value, x.Route, reason)
		case holds && !strings.Contains(reason, "of equal matches") && matching(e, byName[x.Route]) != x.Route:
			t.Fatalf("%s would win if it came first, but explained %q", e.Value, reason)
		}
	}
}
