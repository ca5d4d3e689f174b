package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// binary builds the real program once, when it is first needed.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "weir")
	out, err := exec.Command("go", "build", "-o", path, "weir.dev/weir/cmd/weir").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	// Hosts take WebSockets over HTTP/2 only if net/http is told so before it is there.
	if debug := os.Getenv("GODEBUG"); !strings.Contains(debug, "http2xconnect=1") {
		os.Setenv("GODEBUG", strings.Trim(debug+",http2xconnect=1", ","))
		if err := syscall.Exec("/proc/self/exe", os.Args, os.Environ()); err != nil {
			panic(err)
		}
	}
	remove, err := makeScratch()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Most tests wait most of the time: as many as cores would leave the cores idle.
	flag.Parse()
	if cores := strconv.Itoa(runtime.GOMAXPROCS(0)); flag.Lookup("test.parallel").Value.String() == cores {
		_ = flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	}
	code := m.Run()
	if *conformance {
		writeVerdicts(os.Stdout)
	}
	if err := remove(); err != nil {
		fmt.Fprintln(os.Stderr, "removing", scratch+":", err)
	}
	os.Exit(code)
}

// process is one running weir.
type process struct {
	cmd    *exec.Cmd
	log    logFile
	admin  string
	exited chan struct{}
	err    error // valid once exited is closed
}

// logFile is the path of a file that a process writes its log to. Not a pipe: a new process
// that took the old one's place would keep that open.
type logFile string

func (l logFile) String() string {
	text, err := os.ReadFile(string(l))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// ports is how many ports freePort has looked at.
var ports atomic.Int64

// freePort returns an address of 127.0.0.1 that nobody listens on, by TCP or UDP, and that nobody else gets
// before it is listened on: no port twice, and none of those that the kernel gives away.
func freePort(t *testing.T) string {
	t.Helper()
	const first, many = 10_000, 10_000
	for range many {
		port := first + (int64(os.Getpid())*97+ports.Add(1))%many // other processes run these tests, too
		address := fmt.Sprint("127.0.0.1:", port)
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		l.Close()
		if datagrams, err := net.ListenPacket("udp", fmt.Sprint(":", port)); err == nil {
			datagrams.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

// launch runs `weir run` and waits until it is ready.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return launchProgram(t, []string{program}, args...)
}

// launchProgram is launch with a program of one's own, and what comes before it.
func launchProgram(t *testing.T, program []string, args ...string) *process {
	t.Helper()
	stderr, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	p := &process{log: logFile(stderr.Name()), admin: freePort(t), exited: make(chan struct{})}
	if i := slices.Index(args, "--admin"); i >= 0 {
		p.admin = args[i+1]
	}
	p.cmd = exec.Command(program[0], slices.Concat(program[1:], []string{"run", "--admin", p.admin}, args)...)
	p.cmd.Stderr = stderr
	p.cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir()) // so that no two meet, without --state-dir
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("log of weir:\n%s", p.log)
		}
	})
	eventually(t, func() (bool, string) {
		select {
		case <-p.exited:
			t.Fatalf("weir ended: %v\n%s", p.err, p.log)
		default:
		}
		status, _ := fetch("http://" + p.admin + "/readyz")
		return status == 200, p.log.String()
	})
	return p
}

// end waits for the process and returns its exit code.
func (p *process) end(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("weir did not end\n%s", p.log)
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok {
		return exit.ExitCode()
	}
	if p.err != nil {
		t.Fatal(p.err)
	}
	return 0
}

func fetch(url string) (status int, body string) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data)
}

// TestAdminNames: the admin address is asked by a name that it was started with, and by no other.
func TestAdminNames(t *testing.T) {
	t.Parallel()
	p := launch(t, "--admin-name", "weir.internal", "--listen", freePort(t), "--to", "http://127.0.0.1:9")
	for host, want := range map[string]int{"weir.internal": 200, "Weir.Internal.:9901": 200, "evil.example": 421} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.admin+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", host, resp.Status, want)
		}
	}
}

// TestDrain ends the real program while a request is under way: the request gets its
// answer, and the program ends well.
func TestDrain(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(arrived)
			<-release
		}
		io.WriteString(w, "done")
	}))
	defer upstream.Close()
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()

	front := freePort(t)
	p := launch(t, "--listen", front, "--to", upstream.URL)
	type result struct {
		resp *http.Response
		body string
		err  error
	}
	answer := make(chan result, 1)
	go func() {
		resp, err := http.Get("http://" + front + "/slow")
		if err != nil {
			answer <- result{err: err}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		answer <- result{resp, string(body), err}
	}()
	<-arrived
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		status, body := fetch("http://" + p.admin + "/readyz")
		return status == 503 && strings.Contains(body, "draining"), fmt.Sprint(status, body)
	})
	eventually(t, func() (bool, string) {
		c, err := net.Dial("tcp", front)
		if err == nil {
			c.Close()
		}
		return err != nil, "the port still accepts connections"
	})
	letGo()
	got := <-answer
	if got.err != nil || got.body != "done" {
		t.Fatalf("the request under way got %q, %v", got.body, got.err)
	}
	if !got.resp.Close {
		t.Error("its answer did not close the connection")
	}
	if code := p.end(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestRestartRemembers kills the real program while a file is broken: after a restart the
// last accepted version is still served.
func TestRestartRemembers(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "v1") }))
	defer upstream.Close()
	dir, state := t.TempDir(), t.TempDir()
	front := freePort(t)
	config := edge(front) + routed("app", "app") + backend("app", upstream.Listener.Addr().String())
	file := filepath.Join(dir, "all.yaml")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	serves := func() {
		t.Helper()
		if status, body := fetch("http://" + front + "/"); status != 200 || body != "v1" {
			t.Fatalf("got %d %q", status, body)
		}
	}
	put(config)
	p := launch(t, "-f", dir, "--state-dir", state)
	serves()
	put(strings.Replace(config, "backendRefs", "backendRef", 1))
	eventually(t, func() (bool, string) {
		return strings.Contains(p.log.String(), `did you mean`), p.log.String()
	})
	serves()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.exited

	p = launch(t, "-f", dir, "--state-dir", state)
	eventually(t, func() (bool, string) { // what is live comes first, what is wrong soon after it
		return strings.Contains(p.log.String(), "did you mean"), "nothing says that the file is still wrong:\n" + p.log.String()
	})
	serves()
}

// TestHangup: SIGHUP, which ends other programs, reads everything again.
func TestHangup(t *testing.T) {
	t.Parallel()
	p := launch(t, "-f", t.TempDir())
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		return strings.Contains(p.log.String(), "reading everything again"), p.log.String()
	})
	if status, body := fetch("http://" + p.admin + "/readyz"); status != 200 {
		t.Errorf("readyz: %d %s", status, body)
	}
}

// TestPortTaken starts the real program on a port that is in use: it says so and ends.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	_, port, _ := net.SplitHostPort(taken)
	file := filepath.Join(t.TempDir(), "edge.yaml")
	put(t, file, strings.ReplaceAll(gateway, "port: 80}\n---", "port: "+port+"}\n---"))
	for name, c := range map[string]struct {
		args   []string
		remedy string
	}{
		"front": {[]string{"--to", "http://127.0.0.1:9", "--listen", taken, "--admin", ""}, "choose another address with --listen"},
		"admin": {[]string{"--to", "http://127.0.0.1:9", "--listen", freePort(t), "--admin", taken}, "choose another address with --admin"},
		"file":  {[]string{"-f", file, "--admin", ""}, "or change Gateway default/edge (" + file + ":2:1)"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		out, err := exec.CommandContext(ctx, program, append([]string{"run", "--state-dir", t.TempDir()}, c.args...)...).CombinedOutput()
		cancel()
		text := string(out)
		if err == nil || strings.Count(text, "in use") != 1 || strings.Contains(text, "is live") ||
			!strings.Contains(text, port) || !strings.Contains(text, c.remedy) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// TestAdminIsNoBackend: whoever may write a route must not reach the admin API through it.
func TestAdminIsNoBackend(t *testing.T) {
	t.Parallel()
	front, admin := freePort(t), freePort(t)
	launch(t, "--listen", front, "--to", "http://"+admin, "--admin", admin)
	if status, body := fetch("http://" + front + "/api/v1/snapshot"); status != 503 {
		t.Errorf("got %d %s, want 503", status, body)
	}
}

// TestNothingValid: a program that can read nothing, and knows nothing from before, is not
// ready, so that what replaces instances one by one stops; it becomes ready when it can.
func TestNothingValid(t *testing.T) {
	t.Parallel()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "edge.yaml")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	front, admin := freePort(t), freePort(t)
	_, port, _ := net.SplitHostPort(front)
	config := strings.ReplaceAll(gateway, "port: 80}\n---", "port: "+port+"}\n---")
	put(strings.ReplaceAll(config, "kind:", "kinb:"))
	ctx, cancel := context.WithCancel(t.Context())
	p := exec.CommandContext(ctx, program, "run", "-f", file, "--admin", admin, "--state-dir", t.TempDir())
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = p.Wait() }()
	eventually(t, func() (bool, string) {
		status, body := fetch("http://" + admin + "/readyz")
		return status == 503 && strings.Contains(body, "no resource is valid"), fmt.Sprint(status, body)
	})
	put(config)
	eventually(t, func() (bool, string) {
		status, body := fetch("http://" + admin + "/readyz")
		return status == 200, fmt.Sprint(status, body)
	})
}
