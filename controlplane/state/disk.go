package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
)

// Names in the state folder.
const (
	fileName = "state.db"
	lockName = "state.lock" // whoever has locked this file holds the folder; the data may be moved aside, this is not
	lostName = "state.lost" // why what was kept is gone
)

// disk is the file of a store. Every value has a checksum, and a manifest counts and sums them all, so
// that a file that was damaged is never taken for one that keeps less.
type disk struct {
	folder string
	lock   *os.File
	db     *bbolt.DB
	have   manifest
}

// manifest is what a whole file adds up to.
type manifest struct {
	Format  int    `json:"format"`
	Entries int    `json:"entries"`
	Sum     uint32 `json:"sum"` // of all checksums, by exclusive or
}

const format = 1

// errVersion says that a file is whole, and not for this version.
var errVersion = errors.New("another version of the program wrote it")

// The bucket and the key of the manifest.
var manifestBucket, manifestKey = []byte("weir"), []byte("manifest")

func openDisk(folder string) (*disk, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(folder, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrHeld
			if holder, _ := os.ReadFile(lock.Name()); len(holder) > 0 {
				err = fmt.Errorf("%w (%s)", ErrHeld, bytes.TrimSpace(holder))
			}
		}
		return nil, errors.Join(err, lock.Close())
	}
	if lock.Truncate(0) == nil { // for people only: without room on the disk it goes on without
		_, _ = fmt.Fprintf(lock, "process %d\n", os.Getpid())
	}
	return &disk{folder: folder, lock: lock}, nil
}

func (d *disk) path(name string) string { return filepath.Join(d.folder, name) }

// load reads everything. What cannot be read is moved aside, and lost says why.
func (d *disk) load(log *slog.Logger) (values map[string]map[string][]byte, lost string, err error) {
	damage, err := d.open(&values)
	if err != nil {
		return nil, "", err
	}
	if damage != nil {
		aside := d.path(fmt.Sprintf("%s.damaged-%d", fileName, time.Now().UnixNano()))
		lost = fmt.Sprintf("%s was damaged (%v) and is now %s", d.path(fileName), damage, aside)
		log.Error("the state is lost: canaries stay on stable until somebody starts them again", slog.String("file", d.path(fileName)),
			slog.Any("error", damage), slog.String("aside", aside))
		if err := os.WriteFile(d.path(lostName), []byte(lost), 0o600); err != nil {
			return nil, "", err
		}
		if err := os.Rename(d.path(fileName), aside); err != nil {
			return nil, "", err
		}
		if damage, err = d.open(&values); err != nil || damage != nil {
			return nil, "", errors.Join(damage, err)
		}
	}
	text, err := os.ReadFile(d.path(lostName))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return values, string(text), err
}

func (d *disk) regain() error {
	err := os.Remove(d.path(lostName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// open opens the file, or makes it, and reads it. damage is what is wrong with its content; err is
// anything else.
func (d *disk) open(values *map[string]map[string][]byte) (damage, err error) {
	path := d.path(fileName)
	info, err := os.Stat(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	switch {
	case fresh:
		if err := create(path); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case info.Size() == 0:
		return errors.New("it is empty"), nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if *values, d.have, err = examine(data); errors.Is(err, errVersion) {
		return nil, err
	} else if err != nil {
		return err, nil
	}
	d.db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	return nil, err
}

// create makes an empty file of its full form, or none: a process that is killed half-way leaves nothing
// that looks like damage.
func create(path string) error {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bbolt.Open(fresh, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error { return writeManifest(tx, manifest{Format: format}) })
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// guarded turns what the library does about a file that is damaged while it is open, which is to panic
// or to touch pages that are not there, into an error.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged: %v", p)
		}
	}()
	return f()
}

// write makes changes durable.
func (d *disk) write(changes []change) error {
	next := d.have
	err := guarded(func() error {
		return d.db.Update(func(tx *bbolt.Tx) error {
			for _, c := range changes {
				if err := writeChange(tx, c, &next); err != nil {
					return fmt.Errorf("%s: %w", c.bucket, err)
				}
			}
			return writeManifest(tx, next)
		})
	})
	if err == nil {
		d.have = next
	}
	return err
}

func writeChange(tx *bbolt.Tx, c change, total *manifest) error {
	b, err := tx.CreateBucketIfNotExists([]byte(c.bucket))
	if err != nil {
		return err
	}
	key := []byte(c.key)
	if old := b.Get(key); old != nil {
		_, sum, err := unseal(c.bucket, c.key, old)
		if err != nil {
			return err
		}
		total.Entries--
		total.Sum ^= sum
	}
	if c.value == nil {
		return b.Delete(key)
	}
	stored, sum := seal(c.bucket, c.key, c.value)
	total.Entries++
	total.Sum ^= sum
	return b.Put(key, stored)
}

func writeManifest(tx *bbolt.Tx, m manifest) error {
	b, err := tx.CreateBucketIfNotExists(manifestBucket)
	if err != nil {
		return err
	}
	value, err := json.Marshal(m)
	if err != nil {
		return err
	}
	stored, _ := seal(string(manifestBucket), string(manifestKey), value)
	return b.Put(manifestKey, stored)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(bucket, key string, value []byte) uint32 {
	sum := crc32.Update(0, castagnoli, []byte(bucket))
	sum = crc32.Update(sum, castagnoli, []byte{0xff}) // so that no key is part of its bucket's name
	sum = crc32.Update(sum, castagnoli, []byte(key))
	sum = crc32.Update(sum, castagnoli, []byte{0xff})
	return crc32.Update(sum, castagnoli, value)
}

// seal puts the checksum of a value, of its bucket and its key in front of it, in eight characters.
func seal(bucket, key string, value []byte) ([]byte, uint32) {
	sum := checksum(bucket, key, value)
	return append(fmt.Appendf(make([]byte, 0, len(value)+9), "%08x ", sum), value...), sum
}

// unseal returns a copy of a value.
func unseal(bucket, key string, stored []byte) (value []byte, sum uint32, err error) {
	if len(stored) < 10 {
		return nil, 0, fmt.Errorf("%s %q: %d bytes are no value", bucket, key, len(stored))
	}
	value = bytes.Clone(stored[9:])
	sum = checksum(bucket, key, value)
	if string(fmt.Appendf(nil, "%08x ", sum)) != string(stored[:9]) {
		return nil, 0, fmt.Errorf("%s %q: its checksum is wrong", bucket, key)
	}
	return value, sum, nil
}

func (d *disk) close() error {
	var err error
	if d.db != nil {
		err = guarded(d.db.Close)
	}
	return errors.Join(err, d.lock.Close()) // which unlocks it
}
