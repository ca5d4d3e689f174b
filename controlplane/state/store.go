// Package state keeps what must survive a restart: what was decided about releases, their history,
// secrets. It is one small file in the state folder, which one process at a time holds. It knows
// nothing of what it keeps, and it is no place for telemetry.
package state

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Store keeps JSON values by bucket and key. Reads are answered from memory; what Commit has returned
// without an error is on disk. It is safe for concurrent use.
//
// A disk that hangs holds nobody up for longer than Patience: reads go on, and one write at a time waits for it.
type Store struct {
	writing chan struct{} // has room for the one that writes
	hangs   atomic.Bool   // it has had its time, unless nobody writes by now
	hinder  func() error  // of Hinder

	mu     sync.RWMutex
	values map[string]map[string][]byte // by bucket and key
	bytes  int                          // of all values
	tails  map[tail][]string            // the keys of what was appended, in their order
	disk   *disk                        // nil: nothing is kept
	lost   string
	closed bool
}

// ErrHeld says that another process holds the state folder.
var ErrHeld = errors.New("another process holds the state folder")

// ErrFull says that a store keeps as much as it may. What is smaller than before it takes nevertheless.
var ErrFull = errors.New("the state is full")

// ErrHangs says that the disk has not answered in time. What was to be written is not on it and will not be, unless the
// error is a *Slow.
var ErrHangs = fmt.Errorf("the disk has not answered for %v", Patience)

// Slow is the ErrHangs of a write that the disk has begun. Done has what becomes of it once, if it ever ends.
type Slow struct{ Done <-chan error }

func (*Slow) Error() string { return ErrHangs.Error() }

// Unwrap makes it an ErrHangs.
func (*Slow) Unwrap() error { return ErrHangs }

// Patience is how long Commit waits for the disk.
const Patience = 2 * time.Second

// ErrClosed says that a store has been closed.
var ErrClosed = errors.New("the state is closed")

// Bounds of what a store keeps, in bytes.
const (
	maxValue = 1 << 20
	maxBytes = 64 << 20
)

// Open opens the store in a folder, which it makes if it is absent; empty: a store in memory that
// nothing survives. While another process holds the folder the error is ErrHeld. A file that is damaged
// is moved aside, and Lost says so: only what cannot be opened or made at all is an error.
func Open(folder string, log *slog.Logger) (*Store, error) {
	s := &Store{writing: make(chan struct{}, 1), hinder: func() error { return nil }, values: map[string]map[string][]byte{}, tails: map[tail][]string{}}
	if folder == "" {
		return s, nil
	}
	d, err := openDisk(folder)
	if err != nil {
		return nil, fmt.Errorf("state folder %s: %w", folder, err)
	}
	s.disk = d
	if s.values, s.lost, err = d.load(log); err != nil {
		return nil, errors.Join(fmt.Errorf("state folder %s: %w", folder, err), d.close())
	}
	for name, bucket := range s.values {
		for key, value := range bucket {
			s.bytes += len(value)
			s.index(change{name, key, value})
		}
	}
	return s, nil
}

// Lost says why nothing is left of what was kept; empty: everything is. It says so for as long as
// Regain has not been called, over restarts too.
func (s *Store) Lost() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.lost
}

// Regain forgets that something was lost: whoever had to know does.
func (s *Store) Regain() error {
	if err := s.turn(time.After(Patience)); err != nil {
		return err
	}
	defer func() { <-s.writing }()
	if s.Lost() == "" {
		return nil
	}
	if s.disk != nil {
		if err := s.disk.regain(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = ""
	return nil
}

// Read decodes the value of a key into a pointer and reports whether there is one.
func (s *Store) Read(bucket, key string, into any) (found bool, err error) {
	s.mu.RLock()
	value, found := s.values[bucket][key]
	s.mu.RUnlock()
	if !found {
		return false, nil
	}
	if err := json.Unmarshal(value, into); err != nil {
		return true, fmt.Errorf("state: %s %s: %w", bucket, key, err)
	}
	return true, nil
}

// Keys returns the keys of a bucket in their order.
func (s *Store) Keys(bucket string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	keys := make([]string, 0, len(s.values[bucket]))
	for key := range s.values[bucket] {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// History returns what was appended to a key, the oldest first.
func (s *Store) History(bucket, key string) []json.RawMessage {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var entries []json.RawMessage
	for _, k := range s.tails[tail{bucket, key}] {
		entries = append(entries, json.RawMessage(s.values[bucket][k]))
	}
	return entries
}

// numbered separates a key from the number of what was appended to it. No name has it.
const numbered = "\x00"

// tail is a key that something was appended to.
type tail struct{ bucket, key string }

// index keeps in mind what was appended.
func (s *Store) index(c change) {
	key, _, appended := strings.Cut(c.key, numbered)
	if !appended {
		return
	}
	of := tail{c.bucket, key}
	keys := s.tails[of]
	switch at, there := slices.BinarySearch(keys, c.key); {
	case there && c.value == nil:
		if keys = slices.Delete(keys, at, at+1); len(keys) == 0 {
			delete(s.tails, of)
			return
		}
	case !there && c.value != nil:
		keys = slices.Insert(keys, at, c.key)
	}
	s.tails[of] = keys
}

// Secret returns a secret of so many random bytes, which it makes the first time.
func (s *Store) Secret(name string, size int) ([]byte, error) {
	var secret []byte
	if found, err := s.Read(secrets, name, &secret); err != nil || found && len(secret) == size {
		return secret, err
	}
	secret = make([]byte, size)
	_, _ = rand.Read(secret) // never fails
	var b Batch
	b.Put(secrets, name, secret)
	return secret, s.Commit(&b)
}

// secrets is the bucket of secrets. The file as a whole is for its owner's eyes alone.
const secrets = "secrets"

// turn waits until nobody else writes, which is for as long as they may take.
func (s *Store) turn(late <-chan time.Time) error {
	select {
	case s.writing <- struct{}{}:
	default:
		if s.hangs.Load() {
			return ErrHangs
		}
		select {
		case s.writing <- struct{}{}:
		case <-late:
			s.hangs.Store(true)
			return ErrHangs
		}
	}
	s.hangs.Store(false)
	return nil
}

// Hinder has each write call a function first, and fail if that does, as on a slow or broken disk, for tests. Call it
// before the first Commit.
func (s *Store) Hinder(f func() error) { s.hinder = f }

// Commit makes all changes of a batch, or none and returns why. It takes no longer than Patience: of a *Slow nobody
// knows yet which.
func (s *Store) Commit(b *Batch) error {
	late := time.NewTimer(Patience)
	defer late.Stop()
	if err := s.turn(late.C); err != nil {
		return err
	}
	changes, bytes, err := s.plan(b)
	if err != nil || len(changes) == 0 {
		<-s.writing
		return err
	}
	if s.disk == nil {
		s.keep(changes, bytes)
		<-s.writing
		return nil
	}
	done := make(chan error, 1)
	go func() {
		err := s.hinder()
		if err == nil {
			err = s.disk.write(changes)
		}
		if err == nil {
			s.keep(changes, bytes)
		} else {
			err = fmt.Errorf("state: %w", err)
		}
		<-s.writing
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-late.C:
		s.hangs.Store(true)
		return &Slow{done}
	}
}

// plan is what a batch changes, and how many bytes there are then.
func (s *Store) plan(b *Batch) (changes []change, bytes int, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, 0, ErrClosed
	}
	if changes, err = s.changes(b); err != nil {
		return nil, 0, err
	}
	bytes = s.bytes
	for _, c := range changes {
		bytes += len(c.value) - len(s.values[c.bucket][c.key])
	}
	if bytes > maxBytes && bytes > s.bytes {
		return nil, 0, fmt.Errorf("%w: %d bytes, want at most %d", ErrFull, bytes, maxBytes)
	}
	return changes, bytes, nil
}

// keep has reads answered by what is on disk now.
func (s *Store) keep(changes []change, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		apply(s.values, c)
		s.index(c)
	}
	s.bytes = bytes
}

// change is one key with what it becomes. nil removes it.
type change struct {
	bucket, key string
	value       []byte
}

func apply(values map[string]map[string][]byte, c change) {
	switch {
	case c.value == nil:
		delete(values[c.bucket], c.key)
	case values[c.bucket] == nil:
		values[c.bucket] = map[string][]byte{c.key: c.value}
	default:
		values[c.bucket][c.key] = c.value
	}
}

// changes encodes a batch.
func (s *Store) changes(b *Batch) ([]change, error) {
	changes := make([]change, 0, len(b.steps))
	for _, step := range b.steps {
		c := change{bucket: step.bucket, key: step.key}
		if step.value != nil {
			value, err := json.Marshal(step.value)
			if err != nil {
				return nil, fmt.Errorf("state: %s %s: %w", step.bucket, step.key, err)
			}
			if len(value) > maxValue {
				return nil, fmt.Errorf("state: %s %s: %d bytes, want at most %d", step.bucket, step.key, len(value), maxValue)
			}
			c.value = value
		}
		if step.keep > 0 {
			var oldest []change
			c.key, oldest = s.room(step, changes)
			changes = append(changes, oldest...)
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// room returns the key of what is appended next, and the removal of what there is no room for then.
// before are the changes of the same batch so far.
func (s *Store) room(st step, before []change) (key string, oldest []change) {
	keys := slices.Clone(s.tails[tail{st.bucket, st.key}])
	for _, c := range before {
		if c.bucket != st.bucket || !strings.HasPrefix(c.key, st.key+numbered) {
			continue
		}
		if at, there := slices.BinarySearch(keys, c.key); there && c.value == nil {
			keys = slices.Delete(keys, at, at+1)
		} else if !there && c.value != nil {
			keys = slices.Insert(keys, at, c.key)
		}
	}
	next := uint64(1)
	if len(keys) > 0 {
		var last uint64
		_, _ = fmt.Sscanf(strings.TrimPrefix(keys[len(keys)-1], st.key+numbered), "%d", &last) // our own keys
		next = last + 1
	}
	for len(keys) >= st.keep {
		oldest = append(oldest, change{bucket: st.bucket, key: keys[0]})
		keys = keys[1:]
	}
	return fmt.Sprintf("%s%s%020d", st.key, numbered, next), oldest
}

// Close gives the folder to whoever waits for it. Later calls of Commit fail. While the disk hangs it cannot be
// closed: the end of the process does it.
func (s *Store) Close() error {
	if err := s.turn(time.After(Patience)); err != nil {
		return err
	}
	defer func() { <-s.writing }()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.disk == nil {
		return nil
	}
	return s.disk.close()
}

// Batch is a list of changes that happen together. The zero value is empty.
type Batch struct{ steps []step }

type step struct {
	bucket, key string
	value       any // nil removes
	keep        int // above 0: append
}

// Put sets the value of a key to one that JSON can tell.
func (b *Batch) Put(bucket, key string, value any) {
	b.steps = append(b.steps, step{bucket, key, value, 0})
}

// Remove removes a key, if it is there.
func (b *Batch) Remove(bucket, key string) { b.steps = append(b.steps, step{bucket, key, nil, 0}) }

// Append adds an entry to the history of a key, of which the last keep entries stay; keep is 1 or more.
func (b *Batch) Append(bucket, key string, entry any, keep int) {
	b.steps = append(b.steps, step{bucket, key, entry, max(keep, 1)})
}

// Forget removes the history of a key.
func (b *Batch) Forget(s *Store, bucket, key string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, k := range s.tails[tail{bucket, key}] {
		b.Remove(bucket, k)
	}
}
