package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// besieged is a real weir that is given bad input while it serves. What it serves is in two
// folders, infra and conf; beside it are routes that only make it less than half of all.
type besieged struct {
	*process
	t     *testing.T
	dir   string
	front string
}

const besiegedRoute = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s}
spec:
  parentRefs: [{name: edge}]
  hostnames: [%[1]s.example.com]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: v1}]
`

func besiegedRoutes(names ...string) (text string) {
	for _, name := range names {
		text += fmt.Sprintf(besiegedRoute, name)
	}
	return text
}

// besiege starts it in a mount namespace of its own.
func besiege(t *testing.T) *besieged {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "v1") }))
	t.Cleanup(upstream.Close)
	b := &besieged{t: t, dir: t.TempDir(), front: freePort(t)}
	_, port, _ := net.SplitHostPort(b.front)
	_, upstreamPort, _ := net.SplitHostPort(upstream.Listener.Addr().String())
	b.write("infra/edge.yaml", strings.NewReplacer(
		"  listeners:", "  addresses: [{type: IPAddress, value: 127.0.0.1}]\n  listeners:",
		"port: 80}\n---", "port: "+port+"}\n---",
		"address: 10.0.0.1, port: 80", "address: 127.0.0.1, port: "+upstreamPort,
	).Replace(gateway[:strings.LastIndex(gateway, "---")])) // without v2
	b.write("conf/ab.yaml", besiegedRoutes("a", "b"))
	b.write("conf/c.yaml", besiegedRoutes("c"))
	b.write("conf/rest.yaml", besiegedRoutes("r1", "r2", "r3", "r4"))
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	b.process = launchProgram(t, []string{"unshare", "--user", "--map-root-user", "--mount", program},
		"-f", b.path("infra"), "-f", b.path("conf"))
	return b
}

func (b *besieged) path(name string) string { return filepath.Join(b.dir, name) }

func (b *besieged) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// write writes a file in place.
func (b *besieged) write(name, text string) {
	b.t.Helper()
	b.must(os.MkdirAll(filepath.Dir(b.path(name)), 0o755))
	b.must(os.WriteFile(b.path(name), []byte(text), 0o644))
}

// says waits until a diagnostic says something, and calm until none does.
func (b *besieged) says(what string) {
	b.t.Helper()
	eventually(b.t, func() (bool, string) {
		_, body := fetch("http://" + b.admin + "/api/v1/diagnostics?limit=500")
		return strings.Contains(body, what), what + ": " + body
	})
}

func (b *besieged) calm() {
	b.t.Helper()
	eventually(b.t, func() (bool, string) {
		_, body := fetch("http://" + b.admin + "/api/v1/diagnostics?limit=500")
		return !strings.Contains(body, `"message"`), body
	})
}

// inside runs a command in the program's mount namespace.
func (b *besieged) inside(args ...string) {
	b.t.Helper()
	args = append([]string{"--target", strconv.Itoa(b.cmd.Process.Pid), "--user", "--mount", "--preserve-credentials"}, args...)
	if out, err := exec.Command("nsenter", args...).CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// askAll asks for a, b and c in turn until the function that it returns is called: that fails
// the test if not all were answered.
func (b *besieged) askAll() (end func()) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	quit := make(chan struct{})
	var (
		caller   sync.WaitGroup
		answered atomic.Int64
		failed   atomic.Pointer[string]
	)
	caller.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			req, _ := http.NewRequest(http.MethodGet, "http://"+b.front+"/", nil)
			req.Host = string("abc"[i%3]) + ".example.com"
			resp, err := client.Do(req)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err == nil && resp.StatusCode != http.StatusOK {
					err = fmt.Errorf("%s, flag %s", resp.Status, resp.Header.Get("X-Weir-Flag"))
				}
			}
			if err != nil {
				text := fmt.Sprintf("%s at %s: %v", req.Host, time.Now().Format(time.StampMicro), err)
				failed.CompareAndSwap(nil, &text)
				continue
			}
			answered.Add(1)
		}
	})
	stop := sync.OnceFunc(func() { close(quit); caller.Wait(); client.CloseIdleConnections() })
	b.t.Cleanup(stop)
	return func() {
		b.t.Helper()
		stop()
		if why := failed.Load(); why != nil || answered.Load() == 0 {
			b.t.Errorf("%d requests were answered, the first that failed: %s", answered.Load(), *why)
		}
	}
}

// status returns a number of /proc/PID/status, in KiB if it is a size.
func (b *besieged) status(name string) (n int) {
	b.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	b.must(err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			fmt.Sscan(rest, &n)
		}
	}
	return n
}

func (b *besieged) descriptors() int {
	b.t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.cmd.Process.Pid))
	b.must(err)
	return len(list)
}

// TestBadInput gives the real program everything that is no configuration, and configuration
// in every way that it may come and go, while requests are sent. Each problem is told, no
// request fails, and the memory is bounded.
func TestBadInput(t *testing.T) {
	b := besiege(t)
	end := b.askAll()
	b.calm()
	before := b.descriptors()
	t.Run("files", func(*testing.T) { b.badFiles() })
	t.Run("places", func(*testing.T) { b.badPlaces() })
	t.Run("writing", func(*testing.T) { b.restlessFiles() })
	t.Run("mounts", func(*testing.T) { b.mounts() })
	end()
	if peak := b.status("VmHWM"); peak > 500<<10 {
		t.Errorf("the program took %d KiB of memory", peak)
	}
	if after := b.descriptors(); after > before+20 {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
}

// badFiles puts bad files beside the good ones, then in their place.
func (b *besieged) badFiles() {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 8 {
		bomb += fmt.Sprintf("%c: &%[1]c [%s]\n", 'b'+i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", 'a'+i), 10), ", "))
	}
	for _, bad := range []struct{ text, says string }{
		{"\xff\xfeh\x00", "not UTF-8 but UTF-16; save the file as UTF-8"},
		{strings.Repeat("\x00", 4096), "control characters are not allowed"},
		{bomb, "aliases expand to more than 100000 values"},
		{"a: &a {<<: *a}\n", "nested deeper than 64 levels"},
		{"a: " + strings.Repeat("[", 50_000), "exceeded max depth of 10000"},
		{"a: [" + strings.Repeat("a,", 4_000_000) + "]", "more than 500000 values"},
		{strings.Repeat("{}", 1_000_000), "the file has more than 50000 documents"},
		{strings.Repeat("#", 17<<20), "the file has more than 16777216 bytes"},
		{besiegedRoutes("x") + "  bad: \"\n", "found unexpected end of stream"},
		{"{{ include \"x\" . }}: {\n", "is it a template that must be rendered first?"},
		{besiegedRoutes("a"), "declared twice"},
	} {
		b.write("conf/bad.yaml", bad.text)
		b.says(bad.says)
		b.must(os.Remove(b.path("conf/bad.yaml")))
		b.calm()
		if bad.says == "declared twice" {
			continue
		}
		b.write("conf/c.yaml", bad.text)
		b.says(bad.says)
		b.write("conf/c.yaml", besiegedRoutes("c"))
		b.calm()
	}
	b.write("conf/c.yaml", "")
	b.says("the file is empty")
	b.write("conf/c.yaml", "\ufeff"+strings.ReplaceAll(besiegedRoutes("c"), "\n", "\r\n"))
	b.calm()
}

// badPlaces puts what is no file where files are.
func (b *besieged) badPlaces() {
	at := b.path("conf/bad.yaml")
	for says, put := range map[string]func() error{
		"a named pipe, not a file":          func() error { return syscall.Mkfifo(at, 0o600) },
		"a device, not a file":              func() error { return os.Symlink("/dev/zero", at) },
		"not readable: too many levels":     func() error { return os.Symlink("bad.yaml", at) },
		"not readable: input/output error":  func() error { return os.Symlink("/proc/self/mem", at) },
		"folders are nested deeper than 32": func() error { return os.MkdirAll(at+strings.Repeat("/d", 1000), 0o755) },
	} {
		b.must(put())
		b.says(says)
		b.must(os.RemoveAll(at))
		b.calm()
	}
	b.must(os.Mkdir(at, 0o755)) // a folder with the name of a file is a folder
	b.must(os.Symlink("..", at+"/loop"))
	b.write("conf/bad.yaml/d.yaml", besiegedRoutes("c"))
	b.says("declared twice")
	b.must(os.RemoveAll(at))
	b.calm()
}

// restlessFiles moves and rewrites what is served, in steps.
func (b *besieged) restlessFiles() {
	good := besiegedRoutes("a", "b")
	for i := range 100 {
		text := good + fmt.Sprintf("# %s\n", strings.Repeat("x", i%7))
		f, err := os.Create(b.path("conf/ab.yaml"))
		b.must(err)
		for _, part := range []string{text[:len(text)/2], text[len(text)/2 : len(text)-30], text[len(text)-30:]} {
			_, err = f.WriteString(part)
			b.must(err)
		}
		b.must(f.Close())
		switch i % 4 {
		case 0: // out of one file, then into another
			b.write("conf/ab.yaml", besiegedRoutes("a"))
			b.write("conf/c.yaml", besiegedRoutes("c", "b"))
		case 1: // into one, then out of the other
			b.write("conf/ab.yaml", good)
			b.write("conf/c.yaml", besiegedRoutes("c"))
		case 2:
			b.must(os.Rename(b.path("conf/ab.yaml"), b.path("conf/ba.yaml")))
			b.must(os.Rename(b.path("conf/ba.yaml"), b.path("conf/ab.yaml")))
		}
	}
	b.write("conf/ab.yaml", good)
	b.write("conf/c.yaml", besiegedRoutes("c"))
	b.calm()
}

// mounts takes away each folder, and has something else in its place.
func (b *besieged) mounts() {
	for _, folder := range []string{"conf", "infra"} {
		b.inside("mount", "-t", "tmpfs", "none", b.path(folder))
		b.says("the folder holds no resources any more")
		b.inside("umount", b.path(folder))
		b.calm()
	}
	b.write("other/ab.yaml", besiegedRoutes("a", "b", "c", "new"))
	b.inside("mount", "--bind", b.path("other"), b.path("conf"))
	b.says("would delete 4 of 8 routes")
	b.write("other/ab.yaml", besiegedRoutes("a", "b", "c", "new", "newer")) // and what is mounted is followed; what would go meanwhile would wait as well
	b.serves("newer")
	b.inside("umount", "-l", b.path("conf"))
	b.calm()
}

// serves waits until a route is served.
func (b *besieged) serves(name string) {
	b.t.Helper()
	eventually(b.t, func() (bool, string) {
		req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, "http://"+b.front+"/", nil)
		b.must(err)
		req.Host = name + ".example.com"
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, err.Error()
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK, resp.Status
	})
}

// TestUnwatchable starts the real program where the system has no watches left: it says so,
// and follows files all the same.
func TestUnwatchable(t *testing.T) {
	t.Parallel()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []string{"max_inotify_watches", "max_inotify_instances"} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "routes.yaml")
			put := func(text string) {
				t.Helper()
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			put(besiegedRoutes("a"))
			script := "echo 0 >/proc/sys/user/" + limit + ` && exec "$0" "$@"`
			p := launchProgram(t, []string{"unshare", "--user", "--map-root-user", "sh", "-c", script, program}, "-f", file)
			if text := p.log.String(); strings.Count(text, "files are scanned, not watched") != 1 || !strings.Contains(text, "raise fs.inotify") {
				t.Errorf("the log does not say it once:\n%s", text)
			}
			put(besiegedRoutes("a") + "  foo: 1\n")
			eventually(t, func() (bool, string) {
				return strings.Contains(p.log.String(), "spec.foo: unknown field"), p.log.String()
			})
		})
	}
}
