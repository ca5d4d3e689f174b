package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weir.dev/weir/controlplane/resource"
)

// What could block is named and not opened; what is beside it is served, reloaded and ended.
func TestFilesSpecial(t *testing.T) {
	r := start(t, Options{}, map[string]string{"conf/a.yaml": routes("a")})
	r.cancel()
	r.must(syscall.Mkfifo(r.path("conf/pipe.yaml"), 0o600))
	r.must(syscall.Mkfifo(r.path("given"), 0o600))
	r.must(os.Symlink("/dev/null", r.path("conf/device.json")))
	socket, err := new(net.ListenConfig).Listen(t.Context(), "unix", r.path("conf/socket.yml"))
	r.must(err)
	defer socket.Close()
	r.run(Options{}, "conf", "given")
	r.wait("a")
	r.says("conf/pipe.yaml: warning: not read: it is a named pipe, not a file")
	r.says("conf/device.json: warning: not read: it is a device, not a file")
	r.says("conf/socket.yml: warning: not read: it is a socket, not a file")
	r.says("given: warning: not read: it is a named pipe, not a file")
	r.write("conf/a.yaml", routes("a=x"))
	r.files.Reload()
	r.wait("a=x")
	r.must(os.Remove(r.path("conf/pipe.yaml")))
	r.write("conf/pipe.yaml", routes("p"))
	r.wait("a=x p")
	r.cancel()
}

// A file that becomes something else between scan and read does not block either.
func TestReadRegular(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "socket")
	socket, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for name, want := range map[string]fs.FileMode{pipe: fs.ModeNamedPipe, path: fs.ModeSocket, "/dev/null": fs.ModeDevice, dir: fs.ModeDir} {
		_, err := readRegular(name)
		if got := notRegular(0); !errors.As(err, &got) || fs.FileMode(got)&want == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// handOver returns a path as a shell writes it for <(command), and where to write.
func handOver(t *testing.T) (path string, to *os.File) {
	t.Helper()
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = from.Close()
		_ = to.Close()
	})
	return fmt.Sprintf("/dev/fd/%d", from.Fd()), to
}

func TestFilesHandedOver(t *testing.T) {
	path, to := handOver(t)
	go func() {
		_, _ = to.WriteString(routes("a", "b*"))
		_ = to.Close()
	}()
	r := start(t, Options{}, map[string]string{"f.yaml": routes("c")}, path, "f.yaml", path)
	r.wait("a c")
	r.says(path + ":13:3: HTTPRoute default/b: spec.foo: unknown field")
	r.write("f.yaml", routes("c=x")) // it is read once
	r.files.Reload()
	r.wait("a c=x")
}

// Nothing that is waited for keeps Run from ending.
func TestFilesEndsWhileReading(t *testing.T) {
	path, _ := handOver(t) // nothing is ever written
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	defer to.Close()
	for _, p := range []string{path, "-"} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		var last *resource.Set
		go func() {
			ended <- NewFiles([]string{p}, Options{Stdin: from}).Run(ctx, func(s *resource.Set) { last = s })
		}()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if last == nil || len(last.Diagnostics) != 1 || !strings.Contains(last.Diagnostics[0].Message, "not readable: context canceled") {
			t.Errorf("%s: %+v", p, last)
		}
	}
}

// A folder without anything to read says so, and why.
func TestFilesBarren(t *testing.T) {
	const none = "warning: no resources in this folder: files end in .yaml, .yml or .json"
	r := start(t, Options{MassDelete: true}, map[string]string{"conf/a.txt": "", "upper/d.YAML": routes("d")}, "conf", "upper")
	r.wait("d")
	r.says("conf: " + none + "; a.txt does not")
	r.must(os.Symlink("nowhere", r.path("conf/b.yaml")))
	r.says("conf: " + none + "; b.yaml leads to nothing")
	r.write("conf/c.Json", routes("c"))
	r.wait("c d")
	if len(r.last.Diagnostics) != 0 {
		t.Errorf("diagnostics %v", r.last.Diagnostics)
	}
	r.must(os.Rename(r.path("conf/c.Json"), r.path("upper/c.yml")))
	r.says("conf: " + none)
	r.must(os.Remove(r.path("upper/c.yml")))
	r.must(os.Remove(r.path("upper/d.YAML")))
	r.says("upper: " + none)
}

// A file that gets another name is never declared twice on the way.
func TestFilesMove(t *testing.T) {
	r := start(t, Options{}, map[string]string{"conf/routes.yaml": routes("a", "b")}, "conf")
	r.must(os.Rename(r.path("conf/routes.yaml"), r.path("conf/r2.yaml")))
	key := resource.Key{Group: "gateway.networking.k8s.io", Kind: "HTTPRoute", Namespace: "default", Name: "a"}
	for r.last.Get(key).At.File != r.path("conf/r2.yaml") {
		r.next("r2.yaml")
		if len(r.last.Diagnostics) != 0 {
			t.Errorf("diagnostics %v", r.last.Diagnostics)
		}
	}
	r.cancel()
	for len(r.sets) > 0 {
		if set := <-r.sets; len(set.Diagnostics) != 0 {
			t.Errorf("diagnostics %v", set.Diagnostics)
		}
	}
}

// Of a state folder that cannot be read, the log says what is lost.
func TestFilesLostCache(t *testing.T) {
	var log bytes.Buffer
	o := Options{Cache: Cache{Dir: filepath.Join(t.TempDir(), "cache")}, Log: slog.New(slog.NewTextHandler(&log, nil))}
	r := start(t, o, map[string]string{"f.yaml": routes("a")}, "f.yaml")
	r.wait("a")
	r.cancel()
	for _, e := range must(os.ReadDir(o.Cache.Dir)) {
		r.must(os.WriteFile(filepath.Join(o.Cache.Dir, e.Name()), []byte("{"), 0o600))
	}
	r.write("f.yaml", routes("a*"))
	r.run(o, "f.yaml")
	r.wait("")
	r.cancel()
	for _, want := range []string{"the last accepted version of objects is lost", "file=" + r.path("f.yaml"), "restored=0", o.Cache.Dir} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
}
