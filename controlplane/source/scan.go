package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"weir.dev/weir/controlplane/resource"
)

// Bounds of what is scanned.
const (
	maxFolderDepth = 32
	maxFiles       = 100_000
	maxTotal       = 256 << 20 // bytes of all files
)

// found is a file on disk.
type found struct {
	name string // as the user would write it
	stat stat
}

// stat is how a file looks from outside: equal, and it was most likely not changed.
type stat struct {
	size, modified int64
	device, inode  uint64
}

// trouble is a path that could not be scanned, or that is nothing to read.
type trouble struct {
	name string
	err  error
}

// notRegular is the trouble with a path that is no regular file: to read it may block, or
// never end.
type notRegular fs.FileMode

func (m notRegular) Error() string {
	what := "neither a file nor a folder"
	switch mode := fs.FileMode(m); {
	case mode&fs.ModeNamedPipe != 0:
		what = "a named pipe, not a file"
	case mode&fs.ModeSocket != 0:
		what = "a socket, not a file"
	case mode&fs.ModeDevice != 0:
		what = "a device, not a file"
	case mode.IsDir():
		what = "a folder, not a file"
	}
	return what
}

// excess is the trouble with a path behind a bound of what is scanned.
type excess string

func (e excess) Error() string { return string(e) }

// scan is one walk over the paths that were given.
type scan struct {
	files    []found             // in the order of paths, then by name
	troubles []trouble           // what could not be read
	seen     map[string]struct{} // names in files

	// barren says of folders that were given that they hold nothing to read.
	barren    []resource.Diagnostic
	absent    []string // paths that were given and are not there
	total     int64    // bytes of files
	full      bool     // there are more or larger files than are read
	manifests int      // that were come across
	ignored   string   // the last thing that was none, and why

	// What to watch: folders of which every entry matters, and single names.
	folders map[string]struct{}
	names   map[string]struct{}
	enter   func(folder string) // called before a folder is read, so that nothing is missed
}

// walk scans paths: files, and folders recursively.
func walk(paths []string, enter func(folder string)) *scan {
	s := &scan{seen: map[string]struct{}{}, folders: map[string]struct{}{}, names: map[string]struct{}{}, enter: enter}
	for _, path := range paths {
		s.links(path)
		info, err := os.Stat(path)
		switch {
		case err != nil:
			s.troubles = append(s.troubles, trouble{path, err})
			if errors.Is(err, fs.ErrNotExist) {
				s.absent = append(s.absent, path)
			}
		case info.IsDir():
			s.given(path)
		default:
			s.file(path, info)
		}
	}
	return s
}

// given scans a folder that was given by name: whoever gives one expects something in it.
func (s *scan) given(path string) {
	manifests, troubles := s.manifests, len(s.troubles)
	s.ignored = ""
	s.folder(path, nil)
	if s.manifests == manifests && len(s.troubles) == troubles {
		s.barren = append(s.barren, resource.Diagnostic{
			Severity: resource.Warning, Rule: resource.RuleRead, At: resource.Position{File: path},
			Message: "no resources in this folder: files end in .yaml, .yml or .json" + s.ignored,
		})
	}
}

// links notes every name on the way to path whose change could change what path is: path
// itself, its parents as far as they may be replaced, symbolic links and their targets.
func (s *scan) links(path string) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return
	}
	for hops := 0; hops < 40; hops++ {
		next, link := firstLink(absolute)
		s.names[link] = struct{}{}
		if next == "" {
			return
		}
		absolute = next
	}
}

// firstLink returns the first symbolic link among path and its parents, and where path
// leads through it; or path itself and nothing if there is none.
func firstLink(path string) (next, link string) {
	prefix := string(filepath.Separator)
	parts := strings.Split(strings.TrimPrefix(path, prefix), prefix)
	for i, part := range parts {
		prefix = filepath.Join(prefix, part)
		target, err := os.Readlink(prefix)
		if err != nil {
			continue
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(prefix), target)
		}
		return filepath.Join(append([]string{target}, parts[i+1:]...)...), prefix
	}
	return "", path
}

// folder scans one folder. Above are the folders it is in, by which loops end.
func (s *scan) folder(path string, above []stat) {
	info, err := os.Stat(path)
	if err != nil {
		s.troubles = append(s.troubles, trouble{path, err})
		return
	}
	self := statOf(info)
	self.size, self.modified = 0, 0
	if slices.Contains(above, self) {
		return // a loop: everything in it has been seen
	}
	if len(above) == maxFolderDepth {
		s.troubles = append(s.troubles, trouble{path, excess(fmt.Sprintf("folders are nested deeper than %d", maxFolderDepth))})
		return
	}
	s.folders[path] = struct{}{}
	s.enter(path)
	entries, err := os.ReadDir(path)
	if err != nil {
		s.troubles = append(s.troubles, trouble{path, err})
	}
	for _, e := range entries {
		name := filepath.Join(path, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue // ..data among them: what it holds is reached by links beside it
		}
		if e.Type()&fs.ModeSymlink != 0 {
			s.links(name)
		}
		info, err := os.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// It went since, or is a link to nothing: no file.
			s.ignored = fmt.Sprintf("; %s leads to nothing", e.Name())
		case err != nil:
			s.troubles = append(s.troubles, trouble{name, err})
		case info.IsDir():
			s.folder(name, append(above, self))
		case isManifest(name):
			s.file(name, info)
		default:
			s.ignored = fmt.Sprintf("; %s does not", e.Name())
		}
	}
}

func (s *scan) file(name string, info fs.FileInfo) {
	s.manifests++
	if !info.Mode().IsRegular() {
		s.troubles = append(s.troubles, trouble{name, notRegular(info.Mode())})
		return
	}
	if _, ok := s.seen[name]; ok {
		return
	}
	if s.full {
		return
	}
	size := min(info.Size(), resource.MaxFile)
	switch {
	case len(s.files) == maxFiles:
		s.full = true
		s.troubles = append(s.troubles, trouble{name, excess(fmt.Sprintf("there are more than %d files; neither are those behind it", maxFiles))})
		return
	case s.total+size > maxTotal:
		s.full = true
		s.troubles = append(s.troubles, trouble{name, excess(fmt.Sprintf("the files have more than %d bytes together; neither are those behind it", maxTotal))})
		return
	}
	s.total += size
	s.seen[name] = struct{}{}
	s.files = append(s.files, found{name: name, stat: statOf(info)})
}

func isManifest(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func statOf(info fs.FileInfo) stat {
	st := stat{size: info.Size(), modified: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		st.device, st.inode = uint64(sys.Dev), sys.Ino
	}
	return st
}

// hides tells whether a file may be there although it was not found, because something
// above it could not be read, or not everything was looked at.
func (s *scan) hides(name string) bool {
	if s.full {
		return true
	}
	for _, t := range s.troubles {
		if errors.Is(t.err, fs.ErrNotExist) {
			continue
		}
		if below, err := filepath.Rel(t.name, name); err == nil && filepath.IsLocal(below) {
			return true
		}
	}
	return false
}

// emptied returns the paths that were given and under which nothing is now.
func (s *scan) emptied() (paths []string) {
	for _, d := range s.barren {
		paths = append(paths, d.At.File)
	}
	return append(paths, s.absent...)
}

// silent tells whether what was wrong with a path may end without an event.
func silent(err error) bool {
	special, bound := notRegular(0), excess("")
	return !errors.Is(err, fs.ErrNotExist) && !errors.As(err, &special) && !errors.As(err, &bound)
}
