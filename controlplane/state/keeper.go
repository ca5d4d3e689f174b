package state

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Keeper opens the store of a folder when it is first wanted, and gives the same one to whoever wants
// it in this process. It is safe for concurrent use.
type Keeper struct {
	folder string
	log    *slog.Logger
	mu     sync.Mutex
	store  *Store // nil: not open
}

// NewKeeper returns a keeper for a folder; empty: the store is in memory.
func NewKeeper(folder string, log *slog.Logger) *Keeper { return &Keeper{folder: folder, log: log} }

// Try returns the store without waiting. The errors are those of Open.
func (k *Keeper) Try() (*Store, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.store != nil {
		return k.store, nil
	}
	s, err := Open(k.folder, k.log)
	if err == nil {
		k.store = s
	}
	return s, err
}

// Kept reports whether there is anything in the folder, without opening it.
func (k *Keeper) Kept() bool {
	if k.folder == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(k.folder, fileName))
	return err == nil
}

// waitEvery is how long Wait rests before it tries again.
const waitEvery = 200 * time.Millisecond

// Wait returns the store once no other process holds the folder, which it says once. The error is that
// of ctx, or another one of Open.
func (k *Keeper) Wait(ctx context.Context) (*Store, error) {
	for said := false; ; said = true {
		s, err := k.Try()
		if !errors.Is(err, ErrHeld) {
			return s, err
		}
		if !said {
			k.log.LogAttrs(ctx, slog.LevelWarn, "this process waits for the state, and decides nothing until it has it", slog.Any("error", err))
		}
		timer := time.NewTimer(waitEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
}

// Close gives the folder to whoever waits for it, until the store is wanted again. A store in memory
// stays.
func (k *Keeper) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.store == nil || k.folder == "" {
		return nil
	}
	if err := k.store.Close(); errors.Is(err, ErrHangs) {
		return err // it is still held: whoever tries again gets it
	} else if k.store = nil; err != nil {
		return err
	}
	return nil
}
