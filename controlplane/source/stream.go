package source

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"syscall"
	"time"

	"weir.dev/weir/controlplane/resource"
)

// stdinAs is the name of what the path "-" reads.
const stdinAs = "stdin"

// handedOver matches the names of what a shell has opened for the process: standard input,
// and the pipe of a <(command).
var handedOver = regexp.MustCompile(`^/(dev/stdin|dev/fd/[0-9]+|proc/self/fd/[0-9]+)$`)

// streamName returns the name of what a path reads once, empty if it is a file or folder.
func streamName(path string) string {
	if path == "-" {
		return stdinAs
	}
	if !handedOver.MatchString(path) {
		return ""
	}
	if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() || info.IsDir() {
		return ""
	}
	return path
}

// ReadsStreams tells whether a path can be read only once: standard input or a pipe.
func (f *Files) ReadsStreams() bool {
	return slices.ContainsFunc(f.paths, func(p string) bool { return streamName(p) != "" })
}

// streamed tells whether a path was read once, at the start.
func (r *reader) streamed(path string) bool {
	if path == "-" {
		path = stdinAs
	}
	return slices.ContainsFunc(r.streams, func(f *File) bool { return f.Name == path })
}

// readStreams reads what can be read once. What has not ended when ctx ends is not readable.
func (r *reader) readStreams(ctx context.Context) {
	for _, path := range r.paths {
		name := streamName(path)
		if name == "" || r.streamed(path) {
			continue
		}
		f := &File{Name: name}
		r.streams = append(r.streams, f)
		data, err := r.readStream(ctx, path)
		if err != nil {
			f.Unclear = true
			f.Diagnostics = []resource.Diagnostic{unreadable(name, err)}
			continue
		}
		f.Objects, f.Diagnostics = r.decoder.Decode(name, data)
	}
}

// readStream reads one stream to its end. It returns when ctx ends, even if a reader that
// cannot be interrupted, such as standard input, is still being waited for.
func (r *reader) readStream(ctx context.Context, path string) ([]byte, error) {
	from := r.options.Stdin
	if path != "-" {
		file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		defer file.Close() //nolint:errcheck // it was only read
		from = file
	}
	if from == nil {
		return nil, nil
	}
	type result struct {
		data []byte
		err  error
	}
	ended := make(chan result, 1)
	go func() {
		data, err := limited(from)
		ended <- result{data, err}
	}()
	select {
	case got := <-ended:
		return got.data, got.err
	case <-ctx.Done():
		if file, ok := from.(*os.File); ok {
			_ = file.SetReadDeadline(time.Unix(1, 0)) // frees the goroutine where that is possible
		}
		return nil, ctx.Err()
	}
}

// readRegular reads a file that a scan found to be regular. Should it have become something
// else since, it returns notRegular: to open it has not blocked.
func readRegular(name string) ([]byte, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENXIO) {
		return nil, notRegular(fs.ModeSocket)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, notRegular(info.Mode())
	}
	return limited(file)
}

// limited reads all, but one byte more than Decode takes at most.
func limited(from io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(from, resource.MaxFile+1))
}

// unreadable says why there is nothing from a path.
func unreadable(name string, err error) resource.Diagnostic {
	d := resource.Diagnostic{Rule: resource.RuleRead, At: resource.Position{File: name}}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	d.Message = "not readable: " + err.Error()
	if bound := excess(""); errors.As(err, &bound) {
		d.Message = "not read: " + err.Error()
	}
	if special := notRegular(0); errors.As(err, &special) {
		d.Severity, d.Message = resource.Warning, "not read: it is "+err.Error()
	}
	return d
}
