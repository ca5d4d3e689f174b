package source

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir.dev/weir/controlplane/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a Files whose sets a test waits for.
type running struct {
	t      *testing.T
	dir    string
	files  *Files
	sets   chan *resource.Set
	last   *resource.Set
	cancel func()
	blind  bool // looks when it is asked to, and by time alone
}

// start runs a Files over paths below a fresh folder, which prepare fills.
func start(t *testing.T, o Options, prepare map[string]string, paths ...string) *running {
	t.Helper()
	r := &running{t: t, dir: t.TempDir()}
	r.start(o, prepare, paths...)
	return r
}

func (r *running) start(o Options, prepare map[string]string, paths ...string) {
	r.t.Helper()
	for name, content := range prepare {
		r.write(name, content)
	}
	r.run(o, paths...)
}

func (r *running) run(o Options, paths ...string) {
	r.t.Helper()
	for i, p := range paths {
		if p != "-" && !filepath.IsAbs(p) {
			paths[i] = filepath.Join(r.dir, p)
		}
	}
	r.sets = make(chan *resource.Set, 1000)
	r.files = NewFiles(paths, o)
	if r.blind {
		r.files.notify = func() (*watch, error) { return &watch{failed: errors.New("blind")}, errors.New("blind") }
	}
	r.resume()
}

// resume runs the Files, anew if it has run before.
func (r *running) resume() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.files.Run(ctx, func(s *resource.Set) { r.sets <- s }) }()
	stopped := false
	r.cancel = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	}
	r.t.Cleanup(r.cancel)
	r.last = <-r.sets
}

func (r *running) path(name string) string { return filepath.Join(r.dir, name) }

func (r *running) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) write(name, content string) {
	r.t.Helper()
	r.must(os.MkdirAll(filepath.Dir(r.path(name)), 0o755))
	r.must(os.WriteFile(r.path(name), []byte(content), 0o644))
}

// patience is how long a test waits for a set that should come; only failures take it.
const patience = 20 * time.Second

// next receives the next set.
func (r *running) next(want string) {
	r.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case r.last = <-r.sets:
	case <-timer.C:
		r.t.Fatalf("want %q; live is %q, diagnostics are %v", want, live(r.last), r.last.Diagnostics)
	}
}

// wait receives sets until one has these routes live.
func (r *running) wait(want string) {
	r.t.Helper()
	for live(r.last) != want {
		r.next(want)
	}
}

// says waits until a diagnostic contains text.
func (r *running) says(text string) {
	r.t.Helper()
	for {
		for _, d := range r.last.Diagnostics {
			if strings.Contains(strings.ReplaceAll(d.String(), r.dir+"/", ""), text) {
				return
			}
		}
		r.next(text)
	}
}

func TestFilesFollowsChanges(t *testing.T) {
	r := start(t, Options{}, map[string]string{
		"conf/a.yaml": routes("a1", "a2"), "conf/sub/b.json": "", "conf/.hidden.yaml": routes("h"), "conf/c.txt": routes("c"),
	}, "conf")
	r.wait("a1 a2")
	if r.last.Revision != 1 {
		t.Errorf("revision %d", r.last.Revision)
	}

	r.write("conf/a.yaml", routes("a1=x", "a2")) // in place
	r.wait("a1=x a2")

	r.write("conf/.a.yaml.swp", routes("a1=y", "a2")) // by renaming, as editors do
	r.must(os.Rename(r.path("conf/.a.yaml.swp"), r.path("conf/a.yaml")))
	r.wait("a1=y a2")

	r.must(os.Rename(r.path("conf/a.yaml"), r.path("conf/a.yaml~"))) // with a backup, and a moment without the file
	r.write("conf/a.yaml", routes("a1=z", "a2"))
	r.wait("a1=z a2")

	r.write("conf/sub/b.json", routes("b")) // one level down
	r.wait("a1=z a2 b")
	r.write("conf/new/deeper/d.yml", routes("d")) // in folders that were not there
	r.wait("a1=z a2 b d")

	r.must(os.Remove(r.path("conf/sub/b.json")))
	r.wait("a1=z a2 d")
	r.must(os.Rename(r.path("conf/new"), r.path("away")))
	r.wait("a1=z a2")
	r.must(os.Rename(r.path("away"), r.path("conf/new")))
	r.wait("a1=z a2 d")
}

func TestFilesQuarantine(t *testing.T) {
	r := start(t, Options{}, map[string]string{"f.yaml": routes("a", "b")}, "f.yaml")
	r.wait("a b")
	r.write("f.yaml", routes("a=x", "b=x*"))
	r.wait("a=x b*")
	r.says("f.yaml:13:3: HTTPRoute default/b: spec.foo: unknown field")
	r.write("f.yaml", "{")
	r.says("f.yaml:1:1: did not find expected node content")
	r.wait("a=x b*")
	r.write("f.yaml", "# nothing\n")
	r.says("the file is empty: 2 objects of its last version stay live")
	r.wait("a=x b*")
	r.write("f.yaml", routes("a=y", "b=y"))
	r.wait("a=y b=y")
}

// TestFilesRunAgain: what has gone between two runs, as while an upgrade fails, is a change like any
// other, which may have to wait for consent; and what is there is delivered, changed or not.
func TestFilesRunAgain(t *testing.T) {
	r := start(t, Options{}, map[string]string{"conf/a.yaml": routes("a1", "a2", "a3", "a4"), "conf/b.yaml": routes("b")}, "conf")
	r.wait("a1 a2 a3 a4 b")
	r.cancel()
	r.resume()
	if got := live(r.last); got != "a1 a2 a3 a4 b" || r.last.Revision != 2 {
		t.Errorf("again: %s, revision %d", got, r.last.Revision)
	}
	r.cancel()
	r.must(os.Remove(r.path("conf/a.yaml")))
	r.write("conf/b.yaml", routes("b=x"))
	r.resume()
	r.wait("a1 a2 a3 a4 b=x")
	r.says("stay live until --allow-mass-delete")
	r.files.AllowMassDelete()
	r.wait("b=x")
}

func TestFilesMassDelete(t *testing.T) {
	r := start(t, Options{}, map[string]string{"conf/a.yaml": routes("a"), "conf/b.yaml": routes("b", "c", "d")}, "conf")
	r.wait("a b c d")
	r.must(os.Remove(r.path("conf/b.yaml")))
	r.says("conf/b.yaml: HTTPRoute default/b: no longer declared: the file was deleted. That would delete 3 of 4 routes")
	r.wait("a b c d")
	r.files.AllowMassDelete()
	r.wait("a")
	r.must(os.Remove(r.path("conf/a.yaml"))) // consent was for one change
	r.says("conf: the folder holds no resources any more: 1 object of its last version stays live until")
	r.wait("a")

	r = start(t, Options{MassDelete: true}, map[string]string{"conf/a.yaml": routes("a")}, "conf")
	r.must(os.Remove(r.path("conf/a.yaml")))
	r.wait("")
}

// A ConfigMap that is mounted changes by replacing the link ..data.
func TestFilesConfigMap(t *testing.T) {
	for _, path := range []string{"mount", "mount/a.yaml"} {
		r := start(t, Options{}, nil)
		r.cancel()
		r.write("mount/..1/a.yaml", routes("a=one"))
		r.must(os.Symlink("..1", r.path("mount/..data")))
		r.must(os.Symlink("..data/a.yaml", r.path("mount/a.yaml")))
		r.run(Options{}, path)
		r.wait("a=one")
		if got := r.last.Get(resource.Key{Group: "gateway.networking.k8s.io", Kind: "HTTPRoute", Namespace: "default", Name: "a"}).At.File; got != r.path("mount/a.yaml") {
			t.Errorf("the route is in %s", got)
		}
		for _, version := range []string{"two", "three"} {
			r.write("mount/.."+version+"/a.yaml", routes("a="+version))
			r.must(os.Symlink(".."+version, r.path("mount/..tmp")))
			r.must(os.Rename(r.path("mount/..tmp"), r.path("mount/..data")))
			r.wait("a=" + version)
		}
		r.cancel()
	}
}

func TestFilesFollowsLinks(t *testing.T) {
	r := start(t, Options{}, nil)
	r.cancel()
	r.write("real/a.yaml", routes("a"))
	r.write("elsewhere/b.yaml", routes("b"))
	r.must(os.Symlink("../elsewhere/b.yaml", r.path("real/b.yaml")))
	r.must(os.Symlink("../real", r.path("real/loop")))
	r.must(os.Symlink("nowhere", r.path("real/broken.yaml")))
	r.must(os.Symlink("real", r.path("link")))
	r.run(Options{}, "link")
	r.wait("a b")
	if len(r.last.Diagnostics) != 0 {
		t.Errorf("diagnostics %v", r.last.Diagnostics)
	}
	r.write("elsewhere/b.yaml", routes("b=x")) // in a folder that only a link leads to
	r.wait("a b=x")
	r.write("other/a.yaml", routes("a=y", "b=y"))
	r.must(os.Symlink("other", r.path("link2")))
	r.must(os.Rename(r.path("link2"), r.path("link"))) // the whole folder at once
	r.wait("a=y b=y")
}

func TestFilesFolderComesAndGoes(t *testing.T) {
	r := start(t, Options{MassDelete: true}, nil, "a/b/conf")
	r.says("a/b/conf: not readable: no such file or directory")
	r.wait("")
	r.write("a/b/conf/a.yaml", routes("a"))
	r.wait("a")
	for _, version := range []string{"x", "y"} {
		r.must(os.RemoveAll(r.path("a")))
		r.wait("")
		r.write("a/b/conf/a.yaml", routes("a="+version))
		r.wait("a=" + version)
	}
}

func TestFilesUnreadable(t *testing.T) {
	r := start(t, Options{}, map[string]string{"conf/a.yaml": routes("a"), "conf/b.yaml": routes("b")}, "conf")
	r.wait("a b")
	r.must(os.Remove(r.path("conf/a.yaml")))
	r.must(os.Mkdir(r.path("conf/x"), 0o755))
	r.must(os.Symlink("a.yaml", r.path("conf/a.yaml"))) // leads to itself: neither there nor absent
	r.says("conf/a.yaml: not readable")
	r.wait("a b")
}

func TestFilesStdin(t *testing.T) {
	r := start(t, Options{Stdin: strings.NewReader(routes("a", "b*"))}, map[string]string{"f.yaml": routes("a=x", "c")}, "-", "f.yaml")
	r.wait("a c")
	r.says("stdin:13:3: HTTPRoute default/b: spec.foo: unknown field")
	r.says("f.yaml:2:1: HTTPRoute default/a: declared twice")
	r.write("f.yaml", routes("c=x"))
	r.wait("a c=x")
}

func TestFilesReload(t *testing.T) {
	r := start(t, Options{}, map[string]string{"f.yaml": routes("a")}, "f.yaml")
	r.files.Reload()
	r.write("f.yaml", routes("a=x"))
	r.wait("a=x")
}

// What was accepted before a restart stays live while the file is wrong.
func TestFilesRestart(t *testing.T) {
	o := Options{Cache: Cache{Dir: filepath.Join(t.TempDir(), "cache")}}
	r := start(t, o, map[string]string{"f.yaml": routes("a", "b"), "g.yaml": routes("g"), "h.yaml": routes("h")}, "f.yaml", "g.yaml", "h.yaml")
	r.wait("a b g h")
	r.write("f.yaml", routes("a=x", "b"))
	r.wait("a=x b g h")
	r.cancel()

	r.write("f.yaml", routes("a=y*", "b=y"))
	r.write("g.yaml", "{")
	r.must(os.Remove(r.path("h.yaml")))
	r.run(o, "f.yaml", "g.yaml", "h.yaml")
	r.wait("a=x* b=y g")
	r.cancel()

	r.run(o, "f.yaml", "g.yaml") // nothing changed, twice
	r.wait("a=x* b=y g")
	r.write("f.yaml", routes("a=z", "b"))
	r.wait("a=z b g")
	r.cancel()

	for _, e := range must(os.ReadDir(o.Cache.Dir)) {
		r.must(os.WriteFile(filepath.Join(o.Cache.Dir, e.Name()), []byte("{"), 0o600))
	}
	r.write("f.yaml", "{")
	r.run(o, "f.yaml") // a broken cache is as good as none
	r.wait("")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestFilesFollowsAReplacedParent replaces the folder that holds a followed file, twice.
func TestFilesFollowsAReplacedParent(t *testing.T) {
	r := start(t, Options{}, map[string]string{
		"deploy/f.yaml": routes("a", "b"), "second/f.yaml": routes("a=2", "b=2"), "third/f.yaml": routes("a=3", "b=3"),
	}, "deploy/f.yaml")
	r.wait("a b")
	for name, want := range map[string]string{"second": "a=2 b=2", "third": "a=3 b=3"} {
		r.must(os.Rename(r.path("deploy"), r.path("before-"+name)))
		r.must(os.Rename(r.path(name), r.path("deploy")))
		r.wait(want)
	}
	r.write("deploy/f.yaml", routes("a=4", "b=4"))
	r.wait("a=4 b=4")
}
