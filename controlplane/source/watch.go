package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// watch tells when something that a scan saw may have changed. It watches folders, for
// files are replaced more often than written.
type watch struct {
	watcher *fsnotify.Watcher   // nil: watching is not possible at all
	folders map[string]struct{} // every entry matters
	names   map[string]struct{} // absolute; these matter wherever they are
	watched map[string]stat
	failed  error // a folder that could not be watched since the last scan
}

// newWatch returns a watch. On an error, such as no more inotify instances, it never tells
// anything.
func newWatch() (*watch, error) {
	watcher, err := fsnotify.NewBufferedWatcher(1024)
	if err != nil {
		return &watch{failed: err}, fmt.Errorf("watch files: %w", err)
	}
	return &watch{watcher: watcher, watched: map[string]stat{}}, nil
}

// events returns where events and errors come from; nil channels if nowhere.
func (w *watch) events() (<-chan fsnotify.Event, <-chan error) {
	if w.watcher == nil {
		return nil, nil
	}
	return w.watcher.Events, w.watcher.Errors
}

func (w *watch) close() error {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Close()
}

// add watches a folder. Folders that are gone are no failure: their parents are watched.
func (w *watch) add(folder string) {
	if w.watcher == nil {
		return
	}
	absolute, err := filepath.Abs(folder)
	if err != nil {
		w.failed = err
		return
	}
	now := identity(absolute)
	if was, ok := w.watched[absolute]; ok && was != now {
		_ = w.watcher.Remove(absolute) // that of another folder
	}
	w.watched[absolute] = now // also if it cannot be watched: it will be scanned
	if err := w.watcher.Add(absolute); err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.failed = fmt.Errorf("watch %s: %w", absolute, err)
	}
}

// identity returns which folder a path leads to now, the zero stat if to none.
func identity(path string) stat {
	info, err := os.Stat(path)
	if err != nil {
		return stat{}
	}
	is := statOf(info)
	return stat{device: is.device, inode: is.inode}
}

// mounted tells whether a watched path leads to another folder than when its watch began: no
// event tells what is mounted there, or no longer.
func (w *watch) mounted() bool {
	for path, was := range w.watched {
		if identity(path) != was {
			return true
		}
	}
	return false
}

// follow watches what a scan found and nothing else. It returns whether something is
// watched that was not before: the scan may then have missed a change.
func (w *watch) follow(s *scan) (grown bool) {
	if w.watcher == nil {
		return false
	}
	w.folders, w.names = map[string]struct{}{}, map[string]struct{}{}
	wanted := map[string]struct{}{}
	for folder := range s.folders {
		if absolute, err := filepath.Abs(folder); err == nil {
			w.folders[absolute] = struct{}{}
			wanted[absolute] = struct{}{}
		}
	}
	for name := range s.names {
		// The nearest parent that is there, and each name on the way down from it.
		for {
			w.names[name] = struct{}{}
			parent := filepath.Dir(name)
			wanted[parent] = struct{}{}
			if parent == name {
				break
			}
			if _, err := os.Stat(parent); err == nil {
				break
			}
			name = parent
		}
	}
	present := map[string]struct{}{}
	for _, p := range w.watcher.WatchList() {
		present[p] = struct{}{}
		if _, ok := wanted[p]; !ok {
			_ = w.watcher.Remove(p) // gone with its folder, at worst
		}
	}
	for p := range w.watched {
		if _, ok := wanted[p]; !ok {
			delete(w.watched, p)
		}
	}
	for p := range wanted {
		was, entered := w.watched[p]
		same := entered && was == identity(p)
		if _, ok := present[p]; ok && same {
			continue
		}
		grown = grown || !same
		w.add(p)
	}
	return grown
}

// concerns tells whether an event is about something that a scan saw or would see. Files
// that editors put beside the one they save are not: the event of the save itself must be
// the first after quiet.
func (w *watch) concerns(e fsnotify.Event) bool {
	if _, ok := w.watched[e.Name]; ok && (e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)) {
		return true // a watched folder itself is gone, and its watch with it
	}
	if _, ok := w.names[e.Name]; ok {
		return true
	}
	if _, ok := w.folders[e.Name]; ok {
		return true
	}
	if _, ok := w.folders[filepath.Dir(e.Name)]; !ok || strings.HasPrefix(filepath.Base(e.Name), ".") {
		return false
	}
	if isManifest(e.Name) || !e.Has(fsnotify.Create) {
		return isManifest(e.Name)
	}
	info, err := os.Lstat(e.Name)
	return err == nil && !info.Mode().IsRegular() // a folder or a link
}
