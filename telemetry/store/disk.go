package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/fileutil"
)

// The library panics, in a goroutine of its own that nobody can contain, when it cannot write a full chunk
// of the head to the disk. So a store is closed while little of its disk is free, and who has
// appended writes the chunks that are full, where a panic can be contained.

// leastFree is how many bytes of the disk are free while a store is open, or an eighth of a small disk. It is
// opened with twice as many, so that it does not come and go.
const leastFree = 64 << 20

// blockName is the length of the name of a block's folder, a ULID.
const blockName = 26

// spacious returns an error if less is free on the disk of a folder than parts times the least.
func (s *Store) spacious(dir string, parts int64) error {
	free, size, err := s.disk(dir)
	if err != nil {
		return nil //nolint:nilerr // nobody knows: writing will tell
	}
	if least := parts * min(leastFree, size/8); free < least {
		return broken{fmt.Errorf("%s has %d MiB free; %d are needed, so that the disk is not filled", dir, free>>20, least>>20)}
	}
	return nil
}

// flush writes what is full of the head.
func (s *Store) flush(db *tsdb.DB) (err error) {
	defer contain(&err)
	db.ForceHeadMMap()
	return nil
}

// shut closes a database, whatever state a full disk has left it in.
func shut(db *tsdb.DB) (err error) {
	defer contain(&err)
	return db.Close()
}

func contain(err *error) {
	if fault := recover(); fault != nil {
		*err = broken{fmt.Errorf("%v", fault)}
	}
}

// openOrMend opens the store in a folder. What is in the way and cannot be read is put aside, as little of it
// as will do.
func (s *Store) openOrMend(dir string) error {
	err := s.openAt(dir)
	for _, put := range []func(string) (bool, error){blocksAside, chunksAside, allAside} {
		if err == nil || !damaged(err) {
			return err
		}
		some, wrong := put(dir)
		if wrong != nil {
			return wrong
		}
		if some {
			s.cfg.Log.LogAttrs(context.Background(), slog.LevelError, "time series cannot be read; they were put aside",
				slog.Any("error", err), slog.String("folder", filepath.Clean(dir)+aside))
			err = s.openAt(dir)
		}
	}
	return err
}

// damaged reports whether an error is about what files say. What the system says against them may pass, but for
// a file that is gone.
func damaged(err error) bool {
	_, system := errors.AsType[syscall.Errno](err)
	return !system || errors.Is(err, fs.ErrNotExist)
}

// blocksAside puts the blocks aside that cannot be opened.
func blocksAside(dir string) (some bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if len(e.Name()) != blockName || !e.IsDir() {
			continue
		}
		block, err := tsdb.OpenBlock(slog.New(slog.DiscardHandler), filepath.Join(dir, e.Name()), nil, nil)
		if err == nil {
			err = block.Close()
		}
		if err == nil || !damaged(err) {
			continue
		}
		if err := partAside(dir, e.Name(), some); err != nil {
			return some, err
		}
		some = true
	}
	return some, nil
}

// chunksAside puts the chunks of the head aside, whose samples the log has, too.
func chunksAside(dir string) (some bool, err error) {
	err = partAside(dir, "chunks_head", false)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func allAside(dir string) (some bool, err error) {
	to, err := asideOf(dir)
	if err == nil {
		err = os.Rename(dir, to)
	}
	return err == nil, err
}

// asideOf names where something of a folder is put, and makes room there: the last that was put aside and the largest
// before it are kept.
func asideOf(dir string) (to string, err error) {
	to = filepath.Clean(dir) + aside
	last, err := fileutil.DirSize(to)
	if err != nil {
		return to, err
	}
	most, err := fileutil.DirSize(to + largest)
	if err != nil {
		return to, err
	}
	if last <= most {
		return to, os.RemoveAll(to)
	}
	if err := os.RemoveAll(to + largest); err != nil {
		return to, err
	}
	return to, os.Rename(to, to+largest)
}

// partAside moves a part of a folder aside: more of it, if some was before.
func partAside(dir, name string, some bool) error {
	to := filepath.Clean(dir) + aside
	if !some {
		if _, err := asideOf(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	return os.Rename(filepath.Join(dir, name), filepath.Join(to, name))
}
