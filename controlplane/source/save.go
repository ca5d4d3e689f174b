package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"sync"
	"time"

	"weir.dev/weir/controlplane/resource"
)

// saver keeps accepted objects for the next start. It writes in the background, because
// what is on disk must not hold up the next change, and rests in between: of a file that
// changes all the time it keeps every now and then a version, and in the end the last.
type saver struct {
	cache Cache
	log   *slog.Logger
	wake  chan struct{}
	ended sync.WaitGroup

	mu    sync.Mutex
	set   *resource.Set          // the last one
	files map[string]unsavedFile // since the last round, by name
}

// unsavedFile is a file whose objects are to be kept, or to be dropped because it is gone.
type unsavedFile struct {
	content [sha256.Size]byte
	gone    bool
}

func newSaver(o Options) *saver {
	return &saver{cache: o.Cache, log: o.Log, wake: make(chan struct{}, 1), files: map[string]unsavedFile{}}
}

// start saves until ctx has ended, and once more then.
func (s *saver) start(ctx context.Context) {
	if s.cache.Dir == "" {
		return
	}
	s.ended.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-s.wake:
			}
			begin := time.Now()
			s.save(ctx)
			if pause(ctx, saverRest*time.Since(begin)) != nil {
				return
			}
		}
	})
}

// saverRest is how many times as long as saving took the saver rests.
const saverRest = 9

// lastSave is how long the end may wait for the disk: what is kept there may be lost.
const lastSave = 5 * time.Second

// wait returns when the saver has ended and everything is saved, or lastSave is over.
func (s *saver) wait() {
	s.ended.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), lastSave)
	defer cancel()
	s.save(ctx)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// save notes what has changed with a set.
func (r *reader) save(set *resource.Set, changed []*File, gone []string) {
	s := r.saver
	if s.cache.Dir == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = set
	for _, f := range changed {
		if k := r.known[f.Name]; k != nil && !k.unread {
			s.files[f.Name] = unsavedFile{content: k.content}
		}
	}
	for _, name := range gone {
		s.files[name] = unsavedFile{gone: true}
	}
	poke(s.wake)
}

// save writes what has been noted since the last time. What it has not come to when ctx ends
// is noted for the next.
func (s *saver) save(ctx context.Context) {
	s.mu.Lock()
	set, files := s.set, s.files
	s.set, s.files = nil, map[string]unsavedFile{}
	s.mu.Unlock()
	if len(files) == 0 {
		return
	}
	live := make(map[string][]*resource.Object, len(files))
	for o := range set.Objects() {
		if _, ok := files[o.At.File]; ok {
			live[o.At.File] = append(live[o.At.File], o)
		}
	}
	var err error
	for name, f := range files {
		if ctx.Err() != nil {
			break
		}
		delete(files, name)
		switch {
		case !f.gone:
			err = errors.Join(err, s.cache.Save(name, f.content, live[name]))
		case len(live[name]) == 0:
			err = errors.Join(err, s.cache.Remove(name))
		}
	}
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "accepted objects are not cached", slog.Any("error", err))
	}
	if len(files) > 0 {
		s.again(set, files)
	}
}

// again notes what could not be saved of a set, unless there is something newer.
func (s *saver) again(set *resource.Set, files map[string]unsavedFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		s.set = set
	}
	for name, f := range files {
		if _, newer := s.files[name]; !newer {
			s.files[name] = f
		}
	}
}
