package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReadme runs every ```console block of the README, and then of the tutorial, for which the demo runs
// already, word for word in a fresh copy of the repository. A line that starts with "$ " is typed, the lines below it must come out,
// where "..." stands for any text, or lines. A command is typed again until they do, for a while: the
// program may still be starting. Commands that have no end go on in the background.
//
// Where the kernel allows it, all this happens in a network of its own, so that the ports
// that the README names are free.
func TestReadme(t *testing.T) {
	t.Parallel()
	copied := workingCopy(t)
	var steps []*step
	for _, name := range []string{"../README.md", "../docs/tutorial.md"} {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		putFiles(t, copied, string(page))
		found := consoleSteps(string(page))
		if len(found) < 10 {
			t.Fatalf("only %d commands found in %s", len(found), name)
		}
		steps = append(steps, found...)
	}
	shell := newShell(t, copied)
	patience := 4 * time.Minute // what is in the background builds first
	running := map[string]bool{}
	for _, s := range steps {
		t.Log("$ " + s.command)
		if s.endless() {
			if !running[s.command] {
				shell.background(s.command)
			}
			running[s.command] = true
			continue
		}
		limit := time.NewTimer(patience)
		for {
			got, err := shell.enter(s.command)
			if s.want == "" && err == nil || s.want != "" && s.matches(got) {
				break
			}
			select {
			case <-limit.C:
				t.Fatalf("$ %s\nwant:\n%s\ngot (%v):\n%s", s.command, s.want, err, got)
			case <-time.After(200 * time.Millisecond):
			}
		}
		limit.Stop()
		patience = time.Minute // the demo's release goes bad after half of one
	}
}

// step is one command of the tour.
type step struct {
	command string
	want    string // empty: nothing in particular, but no error
}

// endless commands go on until Ctrl-C: the README has them in a terminal of their own.
func (s *step) endless() bool {
	return s.command == "make demo" || strings.HasPrefix(s.command, "bin/weir run ")
}

// matches compares output with what is expected, in which "..." is any text, and on a line
// of its own any number of lines.
func (s *step) matches(got string) bool {
	var pattern strings.Builder
	pattern.WriteString(`^`)
	for line := range strings.Lines(strings.TrimSpace(s.want) + "\n") {
		if line == "...\n" {
			pattern.WriteString(`(?:.*\n)*`)
			continue
		}
		for i, part := range strings.Split(line, "...") {
			if i > 0 {
				pattern.WriteString(`.*`)
			}
			pattern.WriteString(regexp.QuoteMeta(part))
		}
	}
	pattern.WriteString(`$`)
	return regexp.MustCompile(pattern.String()).MatchString(strings.TrimSpace(got) + "\n")
}

func consoleSteps(page string) []*step {
	var steps []*step
	inside := false
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case !inside:
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, &step{command: strings.TrimPrefix(line, "$ ")})
		case len(steps) > 0:
			steps[len(steps)-1].want += line + "\n"
		}
	}
	return steps
}

// workingCopy is a copy of what a clone would hold, committed or not.
func workingCopy(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	list := exec.Command("git", "ls-files", "-co", "--exclude-standard", "-z")
	list.Dir = ".."
	names, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join("..", name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shell types commands into a working folder.
type shell struct {
	t       *testing.T
	dir     string
	network string // pid of the process whose network is used; empty: ours
	env     []string
}

func newShell(t *testing.T, dir string) *shell {
	s := &shell{t: t, dir: dir, env: append(os.Environ(), "XDG_STATE_HOME="+t.TempDir(), "TERM=dumb")}
	keeper := exec.Command("unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep infinity")
	out, err := keeper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Logf("no network of its own (%v): the ports must be free", err)
		return s
	}
	t.Cleanup(func() {
		_ = keeper.Process.Kill()
		_ = keeper.Wait()
	})
	if n, _ := out.Read(make([]byte, 16)); n == 0 {
		t.Log("no network of its own: the ports must be free")
		return s
	}
	s.network = fmt.Sprint(keeper.Process.Pid)
	return s
}

func (s *shell) command(ctx context.Context, line string) *exec.Cmd {
	args := []string{"bash", "-c", line}
	if s.network != "" {
		args = append([]string{"nsenter", "--net", "--target", s.network}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = s.dir, s.env
	return cmd
}

// enter runs a command to its end and returns what it printed.
func (s *shell) enter(line string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	out, err := s.command(ctx, line).CombinedOutput()
	return string(out), err
}

// background starts a command and ends it, as Ctrl-C does, with the test.
func (s *shell) background(line string) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := s.command(ctx, line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out := &logBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		cancel()
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		defer cancel()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) // the whole group, as a terminal does
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(patience):
			s.t.Errorf("%s did not end", line)
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
		}
		if line == "make demo" && !strings.Contains(out.String(), "; 0 failed") {
			s.t.Error("requests failed while the tour edited files")
		}
		if s.t.Failed() {
			s.t.Logf("output of %s:\n%s", line, out)
		}
	})
}
