package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// Environment of the processes that TestResilience consists of.
const (
	// namespacesVariable is "off" where the machine allows no network namespaces, and whoever
	// runs the tests knows that.
	namespacesVariable = "WEIR_E2E_NAMESPACES"
	// rigVariable is the path of the program, for the process that has a network of its own.
	rigVariable = "WEIR_E2E_RIG"
	// boardVariable is the path of a host's board, and what the host is called.
	boardVariable = "WEIR_E2E_BOARD"
)

// isolate runs a test of this package again, in a process with a network and a view of the
// file system of its own, both gone when it ends: nothing that it does to them meets anybody
// else. It returns what the test has printed.
func isolate(t *testing.T, test string) string {
	t.Helper()
	if os.Getenv(namespacesVariable) == "off" {
		t.Skip(namespacesVariable + "=off")
	}
	const remedy = "run it as root, or where users may make namespaces; " + namespacesVariable + "=off leaves it out"
	if _, err := exec.LookPath("ip"); err != nil {
		t.Fatalf("%v: `make deps` installs it", err)
	}
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	itself, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), itself, "-test.run=^"+test+"$", "-test.v", "-test.timeout=4m")
	cmd.Env = append(os.Environ(), rigVariable+"="+program, "TMPDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("no network of its own: %v: %s", err, remedy)
	}
	err = cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it may have left, stopped hosts too
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, logFile(log.Name()), "if it could not set up its network: "+remedy)
	}
	return logFile(log.Name()).String()
}

// Behaviours of a host of a rig.
const (
	serves uint32 = iota
	isSlow
	resets
	fails
)

// What a host of a rig takes for an answer.
const (
	usualTime = 20 * time.Millisecond
	slowTime  = 400 * time.Millisecond
)

// A board is memory that a host shares with the test: it can be read, and written, while the
// host is stopped or cut off, and outlives it.
type board struct {
	behaviour atomic.Uint32
	received  atomic.Uint64 // requests
}

func openBoard(path string) (*board, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := int(unsafe.Sizeof(board{}))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*board)(unsafe.Pointer(&data[0])), nil
}

// ServeHTTP does what the board says.
func (b *board) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.received.Add(1)
	d, behaviour := usualTime, b.behaviour.Load()
	if behaviour == isSlow {
		d = slowTime
	}
	select {
	case <-time.After(d):
	case <-r.Context().Done():
		return
	}
	switch behaviour {
	case resets:
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	case fails:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		io.WriteString(w, "here you are")
	}
}

// TestAsRigHost is no test: it is a host in a network namespace.
func TestAsRigHost(t *testing.T) {
	path := os.Getenv(boardVariable)
	if path == "" {
		return // of an ordinary run
	}
	b, err := openBoard(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", rigPort)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: patience, Handler: b}
	t.Fatal(server.Serve(l)) // until it is killed
}

const rigPort = ":8080"

// rigHost is a host that has a network namespace to itself, joined to a bridge.
type rigHost struct {
	*board
	name, ip, file string
	cmd            *exec.Cmd
}

func (h *rigHost) address() string { return h.ip + rigPort }

// ip runs the command of that name, and fails the test when it does.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// bridge makes a bridge at 10.77.0.1 that hosts are joined to. It must be called in a
// process of isolate's.
func bridge(t *testing.T) {
	t.Helper()
	// What ip(8) keeps of namespaces is kept here, and for nobody else to see.
	if err := errors.Join(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
		syscall.Mount("tmpfs", "/run", "tmpfs", 0, "")); err != nil {
		t.Fatal("mount: ", err)
	}
	ip(t, "link", "set", "lo", "up")
	ip(t, "link", "add", "bridge", "type", "bridge")
	ip(t, "addr", "add", "10.77.0.1/24", "dev", "bridge")
	ip(t, "link", "set", "bridge", "up")
}

// join makes the i-th host's namespace and cable, and the host. It runs once start is called.
func join(t *testing.T, i int) *rigHost {
	t.Helper()
	h := &rigHost{name: fmt.Sprintf("host%d", i), ip: fmt.Sprintf("10.77.0.%d", 10+i)}
	h.file = filepath.Join(t.TempDir(), "board")
	var err error
	if h.board, err = openBoard(h.file); err != nil {
		t.Fatal(err)
	}
	ip(t, "netns", "add", h.name)
	ip(t, "link", "add", h.name, "type", "veth", "peer", "name", "eth0", "netns", h.name)
	ip(t, "link", "set", h.name, "master", "bridge", "up")
	ip(t, "-n", h.name, "addr", "add", h.ip+"/24", "dev", "eth0")
	ip(t, "-n", h.name, "link", "set", "eth0", "up")
	t.Cleanup(h.kill)
	return h
}

func (h *rigHost) start(t *testing.T) {
	t.Helper()
	itself, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h.cmd = exec.Command("ip", "netns", "exec", h.name, itself, "-test.run=^TestAsRigHost$")
	h.cmd.Env = append(os.Environ(), boardVariable+"="+h.file)
	h.cmd.Stderr = os.Stderr
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		status, body := fetch("http://" + h.address())
		return status == http.StatusOK, body
	})
}

func (h *rigHost) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := h.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (h *rigHost) kill() {
	if h.cmd == nil {
		return
	}
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}
