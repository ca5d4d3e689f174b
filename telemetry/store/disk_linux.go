package store

import "syscall"

// diskOf returns how many bytes a process may still write to the disk of a folder, and the size of all.
func diskOf(dir string) (free, size int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	return int64(s.Bavail) * s.Bsize, int64(s.Blocks) * s.Bsize, nil
}
