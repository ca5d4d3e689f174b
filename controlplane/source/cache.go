package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"weir.dev/weir/controlplane/resource"
)

// Cache keeps the last accepted objects of each file in a folder, so that a file that is
// wrong when Weir starts has its former objects. Secrets are in it: the folder is private.
// It may be lost at any time. The zero Cache keeps nothing.
type Cache struct {
	Dir string
}

// prefix and entry are the names of what is kept of a file: by its name, and by its content,
// which tells without reading whether the entry is that of the file as it is.
func (c Cache) prefix(file string) string {
	sum := sha256.Sum256([]byte(file))
	return filepath.Join(c.Dir, hex.EncodeToString(sum[:12])+"-")
}

func (c Cache) entry(file string, content [sha256.Size]byte) string {
	return c.prefix(file) + hex.EncodeToString(content[:12]) + ".json"
}

// Load returns the objects that were last saved for a file. Those that cannot be restored
// are left out, and the error says why.
func (c Cache) Load(file string) ([]*resource.Object, error) {
	if c.Dir == "" {
		return nil, nil
	}
	names, err := filepath.Glob(c.prefix(file) + "*.json")
	if err != nil || len(names) == 0 {
		return nil, err
	}
	data, err := os.ReadFile(names[len(names)-1])
	if err != nil {
		return nil, err
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("%s: %w", names[len(names)-1], err)
	}
	var (
		objects []*resource.Object
		errs    []error
	)
	for _, e := range entries {
		o, err := resource.Restore(e)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", names[len(names)-1], err))
			continue
		}
		objects = append(objects, o)
	}
	return objects, errors.Join(errs...)
}

// Save keeps the live objects of a file with the given content, in the place of what was
// kept of it. It replaces atomically.
func (c Cache) Save(file string, content [sha256.Size]byte, objects []*resource.Object) error {
	if c.Dir == "" {
		return nil
	}
	entry := c.entry(file, content)
	if _, err := os.Stat(entry); err == nil {
		return nil
	}
	parts := [][]byte{[]byte("[")}
	for _, o := range objects {
		e, err := resource.Store(o)
		if err != nil {
			return err
		}
		if e == nil {
			continue
		}
		if len(parts) > 1 {
			parts = append(parts, []byte(","))
		}
		parts = append(parts, e)
	}
	data := slices.Concat(append(parts, []byte("]"))...)
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	if err := writeAtomically(entry, data); err != nil {
		return err
	}
	return c.remove(file, entry)
}

// Remove drops what is kept of a file.
func (c Cache) Remove(file string) error {
	if c.Dir == "" {
		return nil
	}
	return c.remove(file, "")
}

func (c Cache) remove(file, except string) error {
	names, err := filepath.Glob(c.prefix(file) + "*.json")
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != except {
			err = errors.Join(err, os.Remove(name))
		}
	}
	return err
}

// writeAtomically writes a file that only its owner can read, by renaming. What has its name
// is whole even after a crash: the content is on disk before.
func writeAtomically(name string, data []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(data)
	if err == nil {
		err = temporary.Sync()
	}
	err = errors.Join(err, temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}
