package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// upgradable is a running weir whose program file a test can replace.
type upgradable struct {
	*process
	program string
	front   string
	pids    chan int // what the service manager is told
}

// launchUpgradable runs a copy of the program before an upstream, with a service manager
// listening.
func launchUpgradable(t *testing.T, upstream string, args ...string) *upgradable {
	t.Helper()
	front := freePort(t)
	u := launchService(t, append([]string{"--listen", front, "--to", upstream}, args...)...)
	u.front = front
	return u
}

// launchService runs a copy of the program with a service manager listening.
func launchService(t *testing.T, args ...string) *upgradable {
	t.Helper()
	original, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	u := &upgradable{program: filepath.Join(dir, "weir"), pids: make(chan int, 16)}
	if err := os.Link(original, u.program); err != nil {
		t.Fatal(err)
	}
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		buf := make([]byte, 256)
		for {
			n, err := manager.Read(buf)
			if err != nil {
				return
			}
			if text, ok := strings.CutPrefix(string(buf[:n]), "MAINPID="); ok {
				pid, _ := strconv.Atoi(text)
				u.pids <- pid
			}
		}
	}()
	t.Cleanup(func() { manager.Close(); <-told })
	args = append([]string{"--drain-timeout", "20s"}, args...)
	u.process = launchProgram(t, []string{"env", "NOTIFY_SOCKET=" + filepath.Join(dir, "notify"), u.program}, args...)
	return u
}

// replace puts another program in the place of the one that was started, as a package manager
// does: in one step.
func (u *upgradable) replace(t *testing.T, content string) {
	t.Helper()
	// A process that another test starts meanwhile would have the file open, which then cannot be run.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	next := u.program + ".new"
	if err := os.WriteFile(next, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, u.program); err != nil {
		t.Fatal(err)
	}
}

// replaceUntil puts a script in the place of the program that says which process it is, and waits until
// proceed is called; then it does what follows.
func (u *upgradable) replaceUntil(t *testing.T, then string) (pidFile string, proceed func()) {
	t.Helper()
	dir := t.TempDir()
	pidFile, gate := filepath.Join(dir, "pid"), filepath.Join(dir, "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	u.replace(t, fmt.Sprintf("#!/bin/sh\necho $$ > %s\nread line < %s\n%s\n", pidFile, gate, then))
	return pidFile, func() {
		t.Helper()
		if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// pidIn waits for a process to write its number to a file. It ends with the test.
func pidIn(t *testing.T, file string) (pid int) {
	t.Helper()
	eventually(t, func() (bool, string) {
		text, err := os.ReadFile(file)
		if err != nil {
			return false, err.Error()
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil, fmt.Sprint(err)
	})
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	return pid
}

// newPid waits for the service manager to be told of a new process, which ends with the test.
func (u *upgradable) newPid(t *testing.T) int {
	t.Helper()
	select {
	case pid := <-u.pids:
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
		return pid
	case <-time.After(patience):
		t.Fatalf("nothing was told of a new process\n%s", u.log)
		return 0
	}
}

// traffic asks a front door all the time, half over kept connections, half over new ones,
// until stop, which returns how many requests went well. Any failure fails the test.
func traffic(t *testing.T, front string) (stop func() int64) {
	ctx, cancel := context.WithCancel(t.Context())
	var good atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 0}, Timeout: patience}
		wg.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				resp, err := client.Get("http://" + front + "/")
				if err != nil {
					t.Errorf("request failed: %v", err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || string(body) != "hello" {
					t.Errorf("got %s %q %v", resp.Status, body, err)
					return
				}
				good.Add(1)
			}
		})
	}
	return func() int64 {
		cancel()
		wg.Wait()
		return good.Load()
	}
}

// TestUpgrade replaces the running program twice under traffic: no request fails, and one that
// takes long gets the whole of its answer from the process that began it.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello")
		if r.URL.Path == "/long" {
			w.(http.Flusher).Flush()
			<-release
			io.WriteString(w, " and goodbye")
		}
	}))
	defer upstream.Close()
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	u := launchUpgradable(t, upstream.URL)
	stop := traffic(t, u.front)

	long, err := http.Get("http://" + u.front + "/long")
	if err != nil {
		t.Fatal(err)
	}
	defer long.Body.Close()
	pid := u.cmd.Process.Pid
	for range 2 {
		revision := liveRevision(t, u.admin)
		if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		next := u.newPid(t)
		if next == pid {
			t.Fatalf("the new process has the old one's pid %d", pid)
		}
		pid = next
		if now := liveRevision(t, u.admin); now <= revision {
			t.Errorf("revision %d after %d: it must grow", now, revision)
		}
		if status, body := fetch("http://" + u.admin + "/readyz"); status != 200 {
			t.Errorf("readyz of the new process: %d %s", status, body)
		}
	}
	letGo()
	body, err := io.ReadAll(long.Body)
	if err != nil || string(body) != "hello and goodbye" {
		t.Errorf("the long answer: %q, %v", body, err)
	}
	if code := u.end(t); code != 0 {
		t.Errorf("the first process ended with %d", code)
	}
	if n := stop(); n < 100 {
		t.Errorf("only %d requests: the test shows nothing", n)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		c, err := net.Dial("tcp", u.front)
		if err == nil {
			c.Close()
		}
		return err != nil, "the last process still accepts connections: a socket was left open"
	})
}

// liveRevision asks a running weir for the revision that it serves.
func liveRevision(t *testing.T, admin string) uint64 {
	t.Helper()
	status, body := fetch("http://" + admin + "/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, "weir_config_revision "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return uint64(n)
		}
	}
	t.Fatalf("no revision in the metrics: %d %s", status, body)
	return 0
}

// TestUpgradeFails: whatever is put in the program's place, the old process goes on and says
// why; and with the right one there, the next upgrade works.
func TestUpgradeFails(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	defer upstream.Close()
	u := launchUpgradable(t, upstream.URL, "--upgrade-timeout", "1500ms")
	stop := traffic(t, u.front)
	failures := 0
	refused := func(want string) {
		t.Helper()
		failures++
		if err := u.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() (bool, string) {
			log := u.log.String()
			return strings.Count(log, "no upgrade; this process goes on") == failures && strings.Contains(log, want), log
		})
	}
	u.replace(t, "#!/bin/sh\nexit 3\n")
	refused("ended before it served")
	u.replace(t, "#!/bin/sh\nexec sleep 600\n")
	refused("does not serve after 1.5s (--upgrade-timeout)")
	u.replace(t, "this is no program")
	refused("exec format error")
	if err := os.Remove(u.program); err != nil {
		t.Fatal(err)
	}
	refused("no such file or directory")
	if status, body := fetch("http://" + u.admin + "/readyz"); status != 200 {
		t.Errorf("readyz: %d %s", status, body)
	}

	original, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(original, u.program); err != nil {
		t.Fatal(err)
	}
	if err := u.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	u.newPid(t)
	if code := u.end(t); code != 0 {
		t.Errorf("the first process ended with %d", code)
	}
	if n := stop(); n < 100 {
		t.Errorf("only %d requests: the test shows nothing", n)
	}
}

// TestUpgradeOrphan kills the old process while the new one starts: the new one serves all the
// same.
func TestUpgradeOrphan(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	defer upstream.Close()
	u := launchUpgradable(t, upstream.URL)
	original, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	pidFile, proceed := u.replaceUntil(t, "exec "+original+` "$@"`)
	if err := u.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	pidIn(t, pidFile)
	if err := u.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-u.exited
	proceed()
	eventually(t, func() (bool, string) {
		status, body := fetch("http://" + u.front + "/")
		return status == 200 && body == "hello", fmt.Sprint(status, body)
	})
}

// TestUpgradeRefused: what a new process could not do is refused with advice.
func TestUpgradeRefused(t *testing.T) {
	t.Parallel()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	refused := func(p *process, pid int, advice string) {
		t.Helper()
		if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() (bool, string) {
			return strings.Contains(p.log.String(), advice), p.log.String()
		})
		if status, body := fetch("http://" + p.admin + "/readyz"); status != 200 {
			t.Errorf("readyz: %d %s", status, body)
		}
	}
	u := launchProgram(t, []string{program}, "-f", "/dev/stdin")
	refused(u, u.cmd.Process.Pid, "put them in a file")

	// Process 1 of a container, which unshare makes here. Its other name is that of
	// unshare's child.
	u = launchProgram(t, []string{"unshare", "--user", "--pid", "--fork", "--kill-child", program},
		"--listen", freePort(t), "--to", "http://127.0.0.1:1")
	children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", u.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil {
		t.Fatal(err)
	}
	refused(u, pid, "kubectl rollout restart")
}

// TestUpgradeProbes: whoever asks for readiness, as load balancers do, gets a yes at every
// moment, whichever process answers.
func TestUpgradeProbes(t *testing.T) {
	t.Parallel()
	u := launchUpgradable(t, "http://127.0.0.1:1")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if status, body := fetch("http://" + u.admin + "/readyz"); status != 200 {
					t.Errorf("readyz: %d %s", status, body)
					return
				}
			}
		})
	}
	pid := u.cmd.Process.Pid
	for range 5 {
		if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		pid = u.newPid(t)
	}
}

// TestUpgradeKeepsConsent: a new process takes the files for what is wanted, so there is none
// while a deletion of most routes waits for somebody's consent.
func TestUpgradeKeepsConsent(t *testing.T) {
	t.Parallel()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir, front := t.TempDir(), freePort(t)
	_, port, err := net.SplitHostPort(front)
	if err != nil {
		t.Fatal(err)
	}
	var routes strings.Builder
	for i := range 9 {
		fmt.Fprintf(&routes, "---\n%s", strings.Replace(split(1, 1), "name: split", fmt.Sprintf("name: r%d", i), 1))
	}
	base, file := filepath.Join(dir, "base.yaml"), filepath.Join(dir, "routes.yaml")
	if err := errors.Join(
		os.WriteFile(base, []byte(strings.Replace(gateway, "port: 80}\n---", "port: "+port+"}\n---", 1)), 0o600),
		os.WriteFile(file, []byte(routes.String()), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	p := launchProgram(t, []string{program}, "-f", dir)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) { return strings.Contains(p.log.String(), "mass-delete"), p.log.String() })
	if err := p.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		return strings.Contains(p.log.String(), "no upgrade; this process goes on") && strings.Contains(p.log.String(), "waits for consent"), p.log.String()
	})
}

// TestUpgradeGivenUp: told to end while a new process starts that does not care, the old one
// drains at once.
func TestUpgradeGivenUp(t *testing.T) {
	t.Parallel()
	u := launchUpgradable(t, "http://127.0.0.1:1", "--drain-timeout", "1s")
	pidFile := filepath.Join(t.TempDir(), "pid")
	u.replace(t, fmt.Sprintf("#!/bin/sh\ntrap '' TERM\necho $$ > %s\nwhile :; do sleep 1; done\n", pidFile))
	if err := u.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	pid := pidIn(t, pidFile)
	if err := u.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) { return strings.Contains(u.log.String(), "msg=draining"), u.log.String() })
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the new process: %v; the old one has waited for it", err)
	}
	if code := u.end(t); code != 0 {
		t.Errorf("the old process ended with %d", code)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the new process is left: %v", err)
	}
}

// TestUpgradeHandsOver: the new process has the standard streams, three pipes (it is ready; QUIC is
// its own; keys for session tickets) and the sockets, and no other descriptor.
func TestUpgradeHandsOver(t *testing.T) {
	t.Parallel()
	u := launchUpgradable(t, "http://127.0.0.1:1")
	list := filepath.Join(t.TempDir(), "list")
	u.replace(t, fmt.Sprintf("#!/bin/sh\nls -l /proc/$$/fd > %s\nenv | grep -c ^WEIR_HANDOVER= >> %[1]s\nexit 1\n", list))
	if err := u.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		return strings.Contains(u.log.String(), "no upgrade; this process goes on"), u.log.String()
	})
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for line := range strings.Lines(string(text)) {
		_, target, _ := strings.Cut(line, " -> ")
		kind, _, _ := strings.Cut(strings.TrimSpace(target), ":")
		found[kind]++
	}
	// A shell has some of its own from 10 up, and what starts the tests may have left others.
	pipes := strings.Contains(string(text), " 3 -> pipe") && strings.Contains(string(text), " 4 -> pipe") && strings.Contains(string(text), " 5 -> pipe")
	if found["socket"] != 2 || found["anon_inode"] != 0 || !pipes || !strings.Contains(string(text), " 6 -> socket") || strings.Contains(string(text), " 8 -> ") {
		t.Errorf("want 3 to 7, three pipes and two sockets:\n%s", text)
	}
	if !strings.HasSuffix(string(text), "\n1\n") {
		t.Errorf("want one message in the environment:\n%s", text)
	}
}
