package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"weir.dev/weir/controlplane/resource"
)

// Timing of Files.
const (
	settle = 5 * time.Millisecond   // between two updates, and before a missing file counts as deleted
	poll   = 2 * time.Second        // between scans, where watching is not possible, and looks at what makes no events
	still  = 20 * time.Millisecond  // without a change, before a file that became shorter is read
	unrest = 500 * time.Millisecond // the longest that it is waited for

	restFactor = 10 // scans by poll take a tenth of one processor at most
)

// Options are how Files reads.
type Options struct {
	Log   *slog.Logger // nil: nothing is logged
	Stdin io.Reader    // what the path "-" reads, once; nil: nothing
	Cache Cache        // of last accepted versions, for restarts

	// MassDelete consents to every removal of more than half of the routes.
	MassDelete bool
}

// Files is the source that reads files and folders and follows their changes. Of folders it
// reads every .yaml, .yml and .json file, at any depth, that is not hidden. It reads regular
// files only: nothing that it opens can block it.
type Files struct {
	paths   []string
	options Options
	notify  func() (*watch, error)
	reload  chan struct{}
	consent chan struct{}
	reader  *reader // of the Run before; nil: there was none
}

// NewFiles returns a source that reads paths: files, folders, or "-" for standard input. A
// pipe that a shell hands over, such as /dev/stdin or /dev/fd/63, is read once as well.
// What is in the path that comes first wins over what has the same key in a later one.
func NewFiles(paths []string, o Options) *Files {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Files{paths: paths, options: o, notify: newWatch, reload: make(chan struct{}, 1), consent: make(chan struct{}, 1)}
}

// Reload reads every file again, soon. It does not wait for it.
func (f *Files) Reload() { poke(f.reload) }

// AllowMassDelete consents, once, to the removal of routes that is being held back.
func (f *Files) AllowMassDelete() { poke(f.consent) }

// poke leaves a signal, unless one is waiting already.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run delivers what the files hold, once at the start whatever is wrong with them, and
// after every change, until ctx ends. It returns an error if it can no longer follow them.
// Run again, after it has returned, it goes on with what it knew: what has gone meanwhile is a change
// like any other.
func (f *Files) Run(ctx context.Context, deliver func(*resource.Set)) error {
	w, err := f.notify()
	if err != nil {
		f.logUnwatched(ctx, err)
	}
	r := f.reader
	if r == nil {
		r = &reader{Files: f, known: map[string]*known{}}
		f.reader = r
		r.readStreams(ctx)
	}
	r.watch, r.deliver, r.saver, r.resumed = w, deliver, newSaver(f.options), r.accepted != nil
	defer func() {
		if err := w.close(); err != nil {
			f.options.Log.LogAttrs(ctx, slog.LevelWarn, "file watcher did not close", slog.Any("error", err))
		}
	}()
	r.saver.start(ctx)
	defer r.saver.wait()
	r.update(ctx, true, f.options.MassDelete)
	return r.loop(ctx)
}

// reader is a Run of Files, and those after it.
type reader struct {
	*Files
	watch    *watch
	deliver  func(*resource.Set)
	saver    *saver
	resumed  bool // there was a Run before, and this one has delivered nothing yet
	decoder  resource.Decoder
	accepted *Accepted
	known    map[string]*known
	streams  []*File // what could be read once
	revision uint64
	troubled []resource.Diagnostic // of the last scan
	missing  []string              // files that may be about to come back
	written  bool                  // a file is being written; it is still to be read
	retry    bool                  // something could not be read, and no event will tell when it can
	took     time.Duration         // the last update
}

// known is what is known of a file.
type known struct {
	stat    stat
	read    time.Time
	content [sha256.Size]byte
	unread  bool // the last attempt to read it ended in an error
	missing time.Time
	file    *File

	shrunk        stat // how it looks since it became shorter
	shorter, calm time.Time
}

// beingWritten tells whether a file is most likely being written in several steps: it was
// cut short, in place, and has not been left alone since.
func (k *known) beingWritten(now stat, at time.Time) bool {
	if now.device != k.stat.device || now.inode != k.stat.inode || now.size >= k.stat.size {
		k.shorter = time.Time{}
		return false
	}
	if k.shorter.IsZero() {
		k.shorter = at
	}
	if now != k.shrunk {
		k.shrunk, k.calm = now, at
	}
	return at.Sub(k.calm) < still && at.Sub(k.shorter) < unrest
}

// racy tells whether the file was read so soon after it was written that it may have changed
// since without looking different: within the resolution of the file system's clock.
func (k *known) racy() bool {
	resolution := 100 * time.Millisecond // that of kernels is 10 ms at worst
	if k.stat.modified%int64(time.Second) == 0 {
		resolution = 2 * time.Second // a file system that keeps seconds, or as FAT two of them
	}
	return k.read.UnixNano()-k.stat.modified < int64(resolution)
}

// loop updates after every change: at once after quiet, in a storm every settle.
func (r *reader) loop(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	last := time.Now() // update
	looked := last
	events, errs := r.watch.events()
	var again, all bool // an update is due, with every file read
	for {
		timer.Reset(max(0, r.wait(again)-time.Since(looked)))
		consent := false
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-events:
			if !ok {
				return errors.New("file watcher closed")
			}
			again = again || r.watch.concerns(event)
		case err := <-errs:
			r.options.Log.LogAttrs(ctx, slog.LevelWarn, "file watcher lost events; reading everything", slog.Any("error", err))
			again, all = true, true
		case <-r.reload:
			again, all = true, true
		case <-r.consent:
			again, consent = true, true
		case <-timer.C:
			if !again && !r.dueAt(time.Now()) {
				looked = time.Now()
				continue
			}
			again = true
		}
		if !again || (!consent && time.Since(last) < settle) {
			continue
		}
		r.update(ctx, all, consent || r.options.MassDelete)
		again, all, last = false, false, time.Now()
		looked = last
	}
}

// wait returns how long after the last update there is something to do, if no event comes.
func (r *reader) wait(again bool) time.Duration {
	wait := max(poll, restFactor*r.took)
	if due := r.accepted.Due(); !due.IsZero() {
		wait = min(wait, max(settle, time.Until(due)))
	}
	if again || r.written || len(r.missing) > 0 {
		wait = settle
	}
	return wait
}

// dueAt tells whether there is something to do although no event came.
func (r *reader) dueAt(now time.Time) bool {
	due := r.accepted.Due()
	return !due.IsZero() && !now.Before(due) || r.written || r.retry || len(r.missing) > 0 || r.watch.failed != nil || r.watch.mounted()
}

// update scans, reads what changed and delivers if that makes a difference.
func (r *reader) update(ctx context.Context, all, consent bool) {
	now := time.Now()
	defer func() { r.took = time.Since(now) }()
	s := r.scan(ctx)
	first := r.accepted == nil
	order, changed := r.read(s, all)
	if first {
		r.accepted = NewAccepted(r.cached(ctx, changed))
		changed = append(changed, r.streams...)
	}
	gone := r.forget(order)
	troubles := r.troubles(s)
	troubled := !slices.Equal(r.troubled, troubles)
	r.troubled = troubles
	change := Change{Order: order, Changed: changed, Missing: r.missing, Emptied: s.emptied(), Consent: consent || first}
	if !first {
		due := r.accepted.Due()
		if !r.resumed && len(changed) == 0 && gone == nil && !troubled && (!consent || r.accepted.Held() == 0) && (due.IsZero() || now.Before(due)) {
			return
		}
		change.Now = now
	}
	r.resumed = false
	set := r.accepted.Update(change)
	r.revision++
	set.Revision = r.revision
	set.Diagnostics = append(set.Diagnostics, troubles...)
	r.deliver(set)
	r.save(set, changed, gone)
}

// troubles returns what there is to say of a scan. A folder whose only file is missing for a
// moment is not yet one that has none.
func (r *reader) troubles(s *scan) (all []resource.Diagnostic) {
	r.retry = false
	for _, t := range s.troubles {
		all = append(all, unreadable(t.name, t.err))
		r.retry = r.retry || silent(t.err)
	}
	for _, k := range r.known {
		r.retry = r.retry || k.unread
	}
	if len(r.missing) == 0 {
		all = append(all, s.barren...)
	}
	return all
}

// scan walks the paths, watching what it enters, and again if it found places that were
// not watched when it passed them.
func (r *reader) scan(ctx context.Context) *scan {
	var paths []string
	for _, path := range r.paths {
		if !r.streamed(path) {
			paths = append(paths, path)
		}
	}
	failed := r.watch.failed
	if r.watch.watcher != nil {
		r.watch.failed = nil
	}
	s := walk(paths, r.watch.add)
	if r.watch.follow(s) {
		s = walk(paths, r.watch.add)
		r.watch.follow(s)
	}
	if failed == nil && r.watch.failed != nil {
		r.logUnwatched(ctx, r.watch.failed)
	}
	return s
}

func (f *Files) logUnwatched(ctx context.Context, err error) {
	attributes := []slog.Attr{slog.Duration("every", poll), slog.Any("error", err)}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE) {
		attributes = append(attributes, slog.String("remedy", "raise fs.inotify.max_user_watches or fs.inotify.max_user_instances"))
	}
	f.options.Log.LogAttrs(ctx, slog.LevelWarn, "files are scanned, not watched", attributes...)
}

// read decodes the files that changed since they were last read. It returns the names of
// all files, in order, and those that differ.
func (r *reader) read(s *scan, all bool) (order []string, changed []*File) {
	for _, f := range r.streams {
		order = append(order, f.Name)
	}
	var stale []found
	now := time.Now()
	r.written = false
	for _, f := range s.files {
		order = append(order, f.name)
		k := r.known[f.name]
		if k != nil {
			k.missing = time.Time{}
			if k.beingWritten(f.stat, now) {
				r.written = true
				continue
			}
		}
		if all || k == nil || k.unread || k.stat != f.stat || k.racy() {
			stale = append(stale, f)
		}
	}
	r.missing = nil
	for name, k := range r.known { // editors remove a file for a moment when they save
		// What is unclear or newly empty has no objects of its own, but retained ones.
		if _, ok := s.seen[name]; ok || len(k.file.Objects) == 0 && !k.file.Unclear && !k.file.empty() {
			continue
		}
		if s.hides(name) {
			order = append(order, name)
			continue
		}
		if k.missing.IsZero() {
			k.missing = now
		}
		if now.Sub(k.missing) < settle {
			order = append(order, name)
			r.missing = append(r.missing, name)
		}
	}
	for _, k := range r.decode(stale) {
		if k != nil {
			r.known[k.file.Name] = k
			changed = append(changed, k.file)
		}
	}
	return order, changed
}

// decode reads and decodes files, as many at once as there are processors. The result has
// nil for files that have not changed.
func (r *reader) decode(stale []found) []*known {
	results := make([]*known, len(stale))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(stale)) {
		workers.Go(func() {
			for i := range next {
				results[i] = r.readFile(stale[i], r.known[stale[i].name])
			}
		})
	}
	for i := range stale {
		next <- i
	}
	close(next)
	workers.Wait()
	return results
}

// readFile reads one file and decodes it if its content differs; otherwise it returns nil.
func (r *reader) readFile(f found, before *known) *known {
	k := &known{stat: f.stat, read: time.Now(), file: &File{Name: f.name}}
	data, err := readRegular(f.name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the next scan will miss it
		}
		k.unread, k.file.Unclear = true, true
		k.file.Diagnostics = []resource.Diagnostic{unreadable(f.name, err)}
		if before != nil && before.unread && before.file.Diagnostics[0] == k.file.Diagnostics[0] {
			return nil
		}
		return k
	}
	k.content = sha256.Sum256(data)
	if before != nil && !before.unread && before.content == k.content {
		before.stat, before.read = k.stat, k.read
		return nil
	}
	k.file.Objects, k.file.Diagnostics = r.decoder.Decode(f.name, data)
	k.file.Unclear = resource.MustRetain(k.file.Diagnostics)
	return k
}

// forget drops what is known of files that are not in order, and returns their names.
func (r *reader) forget(order []string) (gone []string) {
	present := make(map[string]struct{}, len(order))
	for _, name := range order {
		present[name] = struct{}{}
	}
	for name := range r.known {
		if _, ok := present[name]; !ok {
			delete(r.known, name)
			r.decoder.Forget(name)
			gone = append(gone, name)
		}
	}
	return gone
}

// cached returns the last accepted objects, from before the start, of files that are wrong.
func (r *reader) cached(ctx context.Context, files []*File) (objects []*resource.Object) {
	for _, f := range files {
		wrong := f.Unclear || f.empty()
		for _, d := range f.Diagnostics {
			wrong = wrong || d.Severity == resource.Error
		}
		if !wrong {
			continue
		}
		restored, err := r.options.Cache.Load(f.Name)
		if err != nil {
			r.options.Log.LogAttrs(ctx, slog.LevelWarn, "the last accepted version of objects is lost: what is wrong in their file is not served until it is corrected",
				slog.String("file", f.Name), slog.Int("restored", len(restored)), slog.Any("error", err))
		}
		objects = append(objects, restored...)
	}
	return objects
}
