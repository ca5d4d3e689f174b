// Package process starts the programs that a benchmark compares, pinned to
// cores and in process groups of their own, and reads from /proc what they
// cost: run time and resident memory of the whole process tree.
//
// It ends only what it started. It is Linux only, as the benchmarks are.
package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Command says what to start and where.
type Command struct {
	Name  string   // for error messages
	Path  string   // looked up on PATH when it has no slash
	Args  []string // without the program itself
	Env   []string // NAME=value pairs, added to the environment of the caller
	Dir   string   // working directory; empty is the caller's
	Cores string   // a list as taskset takes it, "0" or "0,1"; empty is unpinned
	Stdin io.Reader
	Out   *os.File // standard output; nil discards it
	Err   *os.File // standard error; nil discards it
	Pipe  bool     // hand standard output to the caller, as Process.Stdout
}

// Process is a started program. The caller must Stop it.
type Process struct {
	Name   string
	PID    int
	Stdout io.ReadCloser // set when Command.Pipe was
	cmd    *exec.Cmd
	ended  chan struct{}
	err    error // why it ended; read after ended is closed
}

// Start runs c in a process group of its own, which dies with the caller.
func Start(c Command) (*Process, error) {
	path, err := exec.LookPath(c.Path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	args := append([]string{path}, c.Args...)
	if c.Cores != "" {
		args = append([]string{"taskset", "-c", c.Cores}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Dir = c.Dir
	cmd.Stdin = c.Stdin
	if c.Err != nil {
		cmd.Stderr = c.Err
	}
	p := &Process{Name: c.Name, cmd: cmd, ended: make(chan struct{})}
	if c.Pipe {
		if p.Stdout, err = cmd.StdoutPipe(); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
	} else if c.Out != nil {
		cmd.Stdout = c.Out
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	p.PID = cmd.Process.Pid
	if !c.Pipe {
		go p.reap()
	}
	return p, nil
}

// Wait blocks until the program ended and returns why it failed. A caller that
// set Command.Pipe reads Stdout to its end first.
func (p *Process) Wait() error {
	if p.Stdout != nil {
		p.reap()
		p.Stdout = nil
	}
	<-p.ended
	return p.err
}

func (p *Process) reap() {
	p.err = p.cmd.Wait()
	close(p.ended)
}

// Ended reports whether the program is gone. It is always false for one whose
// output is piped and that nobody waited for.
func (p *Process) Ended() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// Stop asks the process group to end and kills it after grace.
func (p *Process) Stop(grace time.Duration) {
	if p == nil || p.Ended() {
		return
	}
	_ = syscall.Kill(-p.PID, syscall.SIGTERM)
	if p.Stdout != nil {
		_ = p.Stdout.Close()
		p.Stdout = nil
		go p.reap()
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		_ = syscall.Kill(-p.PID, syscall.SIGKILL)
		<-p.ended
	}
}

// Kill ends the process group at once. The caller still has to Wait or Stop.
func (p *Process) Kill() { _ = syscall.Kill(-p.PID, syscall.SIGKILL) }

// Version runs a program with args and returns the first line that it prints
// on either stream, at most 120 characters, without paths of this machine.
func Version(path string, args ...string) (string, error) {
	out, err := exec.Command(path, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	words := slices.DeleteFunc(strings.Fields(line), func(word string) bool { return strings.HasPrefix(word, "/") })
	line = strings.Join(words, " ")
	if line == "" {
		return "", errors.Join(errors.New("no version printed"), err)
	}
	return line[:min(len(line), 120)], nil
}
