package console

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Token returns the admin token in a file, made if there is none.
func Token(path string) (string, error) {
	token, err := ReadToken(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newToken(path)
	}
	return token, err
}

// ReadToken returns the admin token in a file. The file is readable by its owner only; one that
// others can read is refused.
func ReadToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("admin token: %s: mode %04o lets others read it; run chmod 600 on it, or delete it to have a new one made", path, info.Mode().Perm())
	}
	token := strings.TrimSpace(string(b))
	if len(token) < 16 || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("admin token: %s: not one word of at least 16 characters; delete it to have a new one made", path)
	}
	return token, nil
}

// newToken writes a token beside path and links it there, so that of two processes that
// start together one wins and no one reads half a token.
func newToken(path string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".token-*") // CreateTemp's mode is 0600
	if err != nil {
		// The temporary file's name would say nothing to anyone.
		if wrong, ok := errors.AsType[*fs.PathError](err); ok {
			err = wrong.Err
		}
		return "", fmt.Errorf("admin token: %s: cannot be made: %w; name another file with --token-file", path, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // a left-over temporary file harms nobody
	token := rand.Text() + rand.Text()
	_, err = f.WriteString(token + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("admin token: %w; make room, or name another file with --token-file", err)
	}
	err = os.Link(f.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return Token(path)
	}
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	return token, nil
}
