package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/controlplane/resource"
)

// declared feeds an Accepted with files, each as routes takes them.
type declared struct {
	t        *testing.T
	accepted *Accepted
	decoder  resource.Decoder
	now      time.Time
	change   Change
}

func newDeclared(t *testing.T) *declared {
	return &declared{t: t, accepted: NewAccepted(nil), now: time.Unix(1_000_000, 0)}
}

// update changes one file, "" is a file that is gone, and expects what is live then.
func (d *declared) update(name, content, want string) *resource.Set {
	d.t.Helper()
	d.change.Changed, d.change.Now = nil, d.now
	order := d.change.Order
	d.change.Order = nil
	for _, n := range order {
		if n != name {
			d.change.Order = append(d.change.Order, n)
		}
	}
	if content != "" {
		f := &File{Name: name}
		f.Objects, f.Diagnostics = d.decoder.Decode(name, []byte(strings.TrimPrefix(routes(strings.Fields(content)...), "{")))
		d.change.Order, d.change.Changed = append(d.change.Order, name), []*File{f}
		slices.Sort(d.change.Order)
	}
	return d.passes(0, want)
}

// passes lets time pass without a change.
func (d *declared) passes(time time.Duration, want string) *resource.Set {
	d.t.Helper()
	d.now = d.now.Add(time)
	d.change.Now = d.now
	set := d.accepted.Update(d.change)
	d.change.Changed = nil
	if got := live(set); got != want {
		d.t.Errorf("live %q, want %q", got, want)
	}
	return set
}

// An object that moves from one file to another, one step after the other, is live all along.
func TestMovesHaveNoGap(t *testing.T) {
	d := newDeclared(t)
	d.update("f", "a b", "a b")
	d.update("g", "c", "a b c")
	d.update("f", "a", "a b c")
	if due := d.accepted.Due(); !due.Equal(d.now.Add(quiet)) {
		t.Errorf("deletion is due at %v, it is %v", due, d.now)
	}
	about := []resource.Diagnostic{{Object: resource.Key{Kind: "Gateway"}}}
	for o := range d.passes(0, "a b c").Objects() {
		about = append(about, resource.Diagnostic{Object: o.Key})
	}
	if told := d.accepted.Update(d.change).MarkDeleted(about); len(told) != 3 {
		t.Errorf("%v is told, and b is about to go", told)
	}
	d.passes(quiet/2, "a b c")
	d.update("g", "b=x c", "a b=x c")
	if due := d.accepted.Due(); !due.IsZero() {
		t.Errorf("deletion of nothing is due at %v", due)
	}
	d.passes(unquiet, "a b=x c")
	d.update("f", "a b", "a b c") // and the other way round
	d.update("g", "c", "a b c")
	d.passes(unquiet, "a b c")
	d.update("g", "d", "a b c d")
	d.passes(quiet, "a b d")
}

// Of two declarations the second takes over in the same set in which the first goes.
func TestSecondDeclarationTakesOver(t *testing.T) {
	d := newDeclared(t)
	d.update("f", "a b", "a b")
	d.update("g", "b=x c d", "a b c d")
	set := d.update("f", "a", "a b=x c d")
	if len(set.Diagnostics) != 0 || !d.accepted.Due().IsZero() {
		t.Errorf("diagnostics %v, due %v", set.Diagnostics, d.accepted.Due())
	}
}

// Many files that are removed one after the other, as rm -r does, are one removal.
func TestSlowRemovalIsOne(t *testing.T) {
	d := newDeclared(t)
	var all string
	for i := range 10 {
		all = strings.TrimSpace(fmt.Sprintf("%s r%d", all, i))
		d.update(fmt.Sprint("f", i), fmt.Sprint("r", i), all)
	}
	for i := range 9 {
		d.now = d.now.Add(quiet * 9 / 10)
		d.update(fmt.Sprint("f", i), "", all)
	}
	set := d.passes(quiet, all)
	if d.accepted.Held() != 9 || len(set.Diagnostics) != 1 || !strings.Contains(set.Diagnostics[0].Message, "would delete 9 of 10 routes") {
		t.Errorf("held %d, diagnostics %v", d.accepted.Held(), set.Diagnostics)
	}
	// It waits, whatever else is declared, until it is declared again or consented to.
	for i := range 20 {
		all = fmt.Sprintf("%s z%02d", all, i)
		d.update(fmt.Sprintf("g%02d", i), fmt.Sprintf("z%02d", i), all)
	}
	d.passes(unquiet, all)
	d.update("f0", "r0", all)
	d.change.Consent = true
	d.passes(0, "r0 r9"+strings.TrimPrefix(all, "r0 r1 r2 r3 r4 r5 r6 r7 r8 r9"))
}

// Routes that are all replaced at once wait, and consent lets them go although something else
// has just gone as well.
func TestReplacedRoutesWait(t *testing.T) {
	d := newDeclared(t)
	d.update("f", "a b c", "a b c")
	d.update("f", "c d e", "a b c d e")
	d.passes(quiet, "a b c d e")
	if d.accepted.Held() != 2 {
		t.Fatalf("%d are held", d.accepted.Held())
	}
	d.update("f", "c d", "a b c d e")
	d.change.Consent = true
	d.passes(0, "c d e")
	d.change.Consent = false
	d.passes(quiet, "c d")

	d.change.Missing = []string{"f"} // gone, unless it comes back, when others have come
	d.update("g", "e f", "c d e f")
	d.change.Missing = nil
	d.update("f", "", "c d e f")
	d.passes(quiet, "c d e f")
	if d.accepted.Held() != 2 {
		t.Fatalf("%d are held", d.accepted.Held())
	}
}

// A removal that never comes to rest is judged all the same.
func TestEndlessRemovalEnds(t *testing.T) {
	d := newDeclared(t)
	d.update("keep", "a b c", "a b c")
	d.update("f", "v00", "a b c v00")
	versions := "a b c v00"
	for i := 1; i < int(2*unquiet/quiet); i++ {
		version := fmt.Sprintf("v%02d", i)
		versions += " " + version
		d.update("f", version, versions)
		d.now = d.now.Add(quiet / 2)
	}
	d.now = d.now.Add(quiet / 2)
	d.update("f", "end", "a b c end")
}

// What a given folder held stays when it holds nothing any more, whatever it was.
func TestEmptiedFolderIsHeld(t *testing.T) {
	d := newDeclared(t)
	d.update("conf/f", "a b c", "a b c")
	d.update("infra/f", "x", "a b c x")
	d.change.Emptied = []string{"infra"}
	d.update("infra/f", "", "a b c x")
	set := d.passes(unquiet, "a b c x")
	const want = "infra: the folder holds no resources any more: 1 object of its last version stays live until --allow-mass-delete"
	if len(set.Diagnostics) != 1 || !strings.HasPrefix(set.Diagnostics[0].String(), want) {
		t.Errorf("diagnostics %v", set.Diagnostics)
	}
	d.change.Emptied = nil
	d.update("infra/f", "x=1", "a b c x=1")
	d.change.Emptied = []string{"infra"}
	d.update("infra/f", "", "a b c x=1")
	d.change.Consent = true
	d.passes(unquiet, "a b c")
}

// never fails if a set that came so far lacks one of the routes.
func (r *running) never(lacks ...string) {
	r.t.Helper()
	for len(r.sets) > 0 {
		set := <-r.sets
		for _, name := range lacks {
			if !strings.Contains(" "+strings.NewReplacer("*", "", "=x", "").Replace(live(set))+" ", " "+name+" ") {
				r.t.Fatalf("%s is not live in %q: %v", name, live(set), set.Diagnostics)
			}
		}
		r.last = set
	}
}

// Editors and shells write in many ways. None of them is seen as a removal.
func TestFilesBeingWritten(t *testing.T) {
	r := start(t, Options{}, map[string]string{"conf/f.yaml": routes("a", "b", "c")}, "conf")
	name, other := r.path("conf/f.yaml"), routes("a=x", "b=x", "c=x")
	inSteps := func(flags int, text string) {
		f, err := os.OpenFile(name, flags, 0o644)
		r.must(err)
		for _, part := range []string{text[:len(text)/3], text[len(text)/3 : len(text)-20], text[len(text)-20:]} {
			_, err = f.WriteString(part)
			r.must(err)
		}
		r.must(f.Close())
	}
	ways := map[string]func(text string){
		"truncate and write": func(text string) { inSteps(os.O_WRONLY|os.O_TRUNC, text) },
		"backup and write": func(text string) { // vim
			r.must(os.Rename(name, name+"~"))
			inSteps(os.O_WRONLY|os.O_CREATE|os.O_EXCL, text)
			r.must(os.Remove(name + "~"))
		},
		"remove and write": func(text string) {
			r.must(os.Remove(name))
			inSteps(os.O_WRONLY|os.O_CREATE, text)
		},
		"lock and rename": func(text string) { // emacs
			r.must(os.Symlink("user@host.1:1", r.path("conf/.#f.yaml")))
			r.must(os.WriteFile(r.path("conf/#f.yaml#"), []byte(text[:10]), 0o600))
			r.must(os.WriteFile(r.path("conf/f.yaml.new"), []byte(text), 0o600))
			r.must(os.Rename(r.path("conf/f.yaml.new"), name))
			r.must(os.Remove(r.path("conf/#f.yaml#")))
			r.must(os.Remove(r.path("conf/.#f.yaml")))
		},
		"a hard link": func(text string) {
			r.must(os.WriteFile(r.path("elsewhere"), []byte(text), 0o600))
			r.must(os.Remove(name))
			r.must(os.Link(r.path("elsewhere"), name))
			r.must(os.Remove(r.path("elsewhere")))
		},
		"an old time": func(text string) { // as cp -p and tar do
			inSteps(os.O_WRONLY|os.O_TRUNC, text)
			r.must(os.Chtimes(name, time.Unix(1, 0), time.Unix(1, 0)))
		},
		"a future time": func(text string) {
			inSteps(os.O_WRONLY|os.O_TRUNC, text)
			future := time.Now().Add(time.Hour)
			r.must(os.Chtimes(name, future, future))
		},
	}
	for way, write := range ways {
		t.Run(way, func(t *testing.T) {
			r := *r
			r.t = t
			for range 20 {
				for _, text := range []string{other, routes("a", "b", "c")} {
					write(text)
					r.never("a", "b", "c")
				}
			}
			write(other + "# " + way + "\n") // and what was written last is live
			for live(r.last) != "a=x b=x c=x" {
				r.next(way)
				if got := strings.NewReplacer("*", "", "=x", "").Replace(live(r.last)); got != "a b c" { // half a file may be read, and keeps what was
					t.Fatalf("live %q, %v", live(r.last), r.last.Diagnostics)
				}
			}
		})
	}
}

// A file that became shorter in place, and stays so, is read a moment later.
func TestFilesShorter(t *testing.T) {
	r := start(t, Options{}, map[string]string{"f.yaml": routes("a=much-longer-than-it-will-be", "b")}, "f.yaml")
	r.write("f.yaml", routes("a=x", "b"))
	r.wait("a=x b")
	k := &known{stat: stat{size: 10, inode: 1}}
	begin := time.Unix(1000, 0)
	for i, c := range []struct {
		size   int64
		after  time.Duration
		writes bool
	}{{4, 0, true}, {4, still / 2, true}, {6, still, true}, {6, still * 3 / 2, true}, {6, 2 * still, false}, {4, unrest - 1, true}, {5, unrest, false}, {10, unrest, false}, {3, unrest, true}} {
		if got := k.beingWritten(stat{size: c.size, inode: 1}, begin.Add(c.after)); got != c.writes {
			t.Errorf("step %d: being written %t", i, got)
		}
	}
	if k.beingWritten(stat{size: 1, inode: 2}, begin) {
		t.Error("another file in its place was written elsewhere")
	}
}

// A broken file that an editor takes away for a moment while it saves it, and has empty for another, keeps its
// objects, and nothing is said of a deletion.
func TestFilesBrokenAndGoneForAMoment(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		r := &running{t: t, dir: t.TempDir(), blind: true}
		r.start(Options{}, map[string]string{"conf/f.yaml": routes("a", "b"), "conf/g.yaml": routes("c", "d", "e")}, "conf")
		r.write("conf/f.yaml", "{")
		r.says("conf/f.yaml: info: 2 objects of its last version stay live")
		looks := func(what string, then time.Duration) (sets int) {
			r.files.Reload()
			time.Sleep(then)
			synctest.Wait()
			for ; len(r.sets) > 0; sets++ {
				r.last = <-r.sets
			}
			if got := live(r.last); got != "a b c d e" || strings.Contains(fmt.Sprint(r.last.Diagnostics), "deleted") {
				t.Fatalf("%s: live %q: %v", what, got, r.last.Diagnostics)
			}
			return sets
		}
		for _, away := range []time.Duration{0, ms, settle - ms, settle + ms, quiet / 2} {
			for _, empty := range []time.Duration{0, ms, settle + ms, quiet / 3} {
				what := fmt.Sprintf("away for %v and empty for %v", away, empty)
				r.must(os.Rename(r.path("conf/f.yaml"), r.path("conf/f.yaml~")))
				if sets := looks(what, away); sets > 0 && away < settle {
					t.Fatalf("%s: that was heard of", what)
				}
				r.write("conf/f.yaml", "")
				looks(what, empty)
				r.write("conf/f.yaml", "{")
				looks(what, quiet+settle)
			}
		}
		r.write("conf/f.yaml", routes("a=x", "b"))
		r.wait("a=x b c d e")
		r.write("conf/f.yaml", "{")
		r.says("conf/f.yaml: info: 2 objects")
		r.must(os.Remove(r.path("conf/f.yaml"))) // for good: 2 of 5
		r.wait("c d e")
	})
}

// Where nothing can be watched files are scanned, and the log says so once.
func TestFilesPolls(t *testing.T) {
	for name, notify := range map[string]func() (*watch, error){
		"no watcher": func() (*watch, error) { return &watch{failed: errors.New("none")}, errors.New("none") },
		"no watches": func() (*watch, error) { w, err := newWatch(); w.watched = nil; return w, err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			dir := t.TempDir()
			file := filepath.Join(dir, "f.yaml")
			f := NewFiles([]string{dir}, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
			f.notify = func() (*watch, error) {
				w, err := notify()
				if w.watcher != nil { // it gets no events, and to add to it is an error
					if err := w.watcher.Close(); err != nil {
						t.Error(err)
					}
					w.watcher.Events, w.watcher.Errors, w.watched = nil, nil, map[string]stat{}
				}
				return w, err
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended, sets := make(chan error, 1), make(chan *resource.Set, 100)
			go func() { ended <- f.Run(ctx, func(s *resource.Set) { sets <- s }) }()
			<-sets
			for _, want := range []string{"a", "a=x"} {
				if err := os.WriteFile(file, []byte(routes(want)), 0o600); err != nil {
					t.Fatal(err)
				}
				for live(<-sets) != want { // the test's own timeout ends it
				}
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if n := strings.Count(log.String(), "files are scanned, not watched"); n != 1 {
				t.Errorf("said %d times: %s", n, &log)
			}
		})
	}
}

// Another folder in the place of a watched one is noticed without any event, as when
// something is mounted.
func TestWatchMounted(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"conf", "other"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w, err := newWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	paths := []string{filepath.Join(dir, "conf")}
	w.follow(walk(paths, w.add))
	if w.mounted() {
		t.Error("nothing was mounted")
	}
	if err := os.Rename(paths[0], filepath.Join(dir, "before")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "other"), paths[0]); err != nil {
		t.Fatal(err)
	}
	if !w.mounted() {
		t.Error("another folder is not noticed")
	}
	w.follow(walk(paths, w.add))
	if w.failed != nil || w.mounted() {
		t.Error("it is followed, and still another")
	}
	for _, p := range w.watcher.WatchList() {
		if strings.HasSuffix(p, "before") {
			t.Errorf("%s is watched", p)
		}
	}
}

// More than is read at most hides what is behind it: nothing of that counts as deleted.
func TestScanIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range maxTotal/resource.MaxFile + 1 {
		name := filepath.Join(dir, fmt.Sprintf("f%02d.yaml", i))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, 2<<30); err != nil { // takes no space
			t.Fatal(err)
		}
	}
	s := walk([]string{dir}, func(string) {})
	if len(s.files) != maxTotal/resource.MaxFile || len(s.troubles) != 1 || !s.hides(filepath.Join(dir, "z.yaml")) {
		t.Errorf("%d files, %v", len(s.files), s.troubles)
	}
	top := t.TempDir()
	if err := os.MkdirAll(filepath.Join(top, strings.Repeat("d/", 200)), 0o755); err != nil {
		t.Fatal(err)
	}
	s = walk([]string{top}, func(string) {})
	if len(s.folders) != maxFolderDepth || len(s.troubles) != 1 {
		t.Errorf("%d folders, %v", len(s.folders), s.troubles)
	}
}

// Changes by the thousand leave no descriptor behind.
func TestFilesLeaksNothing(t *testing.T) {
	r := start(t, Options{MassDelete: true}, map[string]string{"v0/f.yaml": routes("a")})
	r.cancel()
	r.must(os.Symlink("v0", r.path("conf")))
	r.run(Options{MassDelete: true}, "conf")
	before := 0
	for i := 1; i <= 1000; i++ {
		version := fmt.Sprint("v", i)
		r.write(version+"/f.yaml", routes("a="+version))
		r.must(os.Symlink(version, r.path("next")))
		r.must(os.Rename(r.path("next"), r.path("conf")))
		r.must(os.RemoveAll(r.path(fmt.Sprint("v", i-1))))
		if i%100 == 0 {
			r.wait("a=" + version)
			open := len(must(os.ReadDir("/proc/self/fd")))
			if before == 0 {
				before = open
			}
			if open > before+5 {
				t.Fatalf("%d descriptors are open, %d were", open, before)
			}
		}
	}
}

// What the saver has not come to when the run ends, it saves at the end.
func TestSaverGoesOn(t *testing.T) {
	s := newSaver(Options{Log: slog.New(slog.DiscardHandler), Cache: Cache{Dir: filepath.Join(t.TempDir(), "cache")}})
	var decoder resource.Decoder
	objects, diagnostics := decoder.Decode("f", []byte(routes("a")))
	s.set, s.files = resource.NewSet(objects, diagnostics), map[string]unsavedFile{"f": {}}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.save(ended)
	if len(s.files) != 1 || s.set == nil {
		t.Fatal("it is forgotten")
	}
	s.wait()
	if got, err := s.cache.Load("f"); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}
