package process

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	text := "42 (a) odd) name) S 1 42 42 0 -1 4194560 100 0 0 0 123 77 5 6 20 0 1 0 100 1000 50\n"
	got, err := parseStat(text)
	if err != nil || got != 2*time.Second {
		t.Fatalf("parseStat = %v, %v; want 2s", got, err)
	}
	for _, bad := range []string{"", "42 name S", "42 (n) S 1 2", "42 (n) S 1 2 3 4 5 6 7 8 9 10 x y 13"} {
		if got, err := parseStat(bad); err == nil {
			t.Errorf("parseStat(%q) = %v, want an error", bad, got)
		}
	}
}

func TestParseSchedstat(t *testing.T) {
	for text, want := range map[string]time.Duration{"394101 0 1\n": 394101, "": 0, "x 1 2": 0} {
		if got := parseSchedstat(text); got != want {
			t.Errorf("parseSchedstat(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestParseBusy(t *testing.T) {
	got, err := parseBusy("cpu  100 20 30 9999 999 4 5 41 70 80\ncpu0 1 2 3\n")
	if err != nil || got != 2*time.Second {
		t.Errorf("parseBusy = %v, %v; want 2s", got, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu a 2 3 4 5 6 7 8"} {
		if got, err := parseBusy(bad); err == nil {
			t.Errorf("parseBusy(%q) = %v, want an error", bad, got)
		}
	}
	if now, err := Busy(); err != nil || now <= 0 {
		t.Errorf("Busy = %v, %v", now, err)
	}
}

func TestParseStatm(t *testing.T) {
	got, err := parseStatm("1000 250 20 1 0 30 0\n")
	if err != nil || got != 250 {
		t.Fatalf("parseStatm = %d, %v; want 250", got, err)
	}
	if _, err := parseStatm("1000"); err == nil {
		t.Error("parseStatm accepts one field")
	}
}

// TestTreeCountsChildren starts a shell with a child that computes: both are
// in the tree, and run time of the child counts.
func TestTreeCountsChildren(t *testing.T) {
	p, err := Start(Command{Name: "shell", Path: "sh", Args: []string{
		// A command in the background has no input of its own, hence descriptor 3.
		"-c", `exec 3<&0; sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo ready; read line <&3' & wait`,
	}, Stdin: neverEnding(t), Pipe: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop(time.Second)
	if _, err := p.Stdout.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	if n := len(tree(p.PID)); n != 2 {
		t.Errorf("tree has %d processes, want the shell and its child", n)
	}
	all, err := CPU(p.PID)
	if err != nil {
		t.Fatal(err)
	}
	if own := threads(p.PID); all <= own {
		t.Errorf("CPU of the tree is %v, of the shell alone %v", all, own)
	}
	if bytes, err := Resident(p.PID); err != nil || bytes < 1<<16 {
		t.Errorf("Resident = %d, %v", bytes, err)
	}
}

func neverEnding(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r
}

func TestStopEndsTheWholeGroup(t *testing.T) {
	p, err := Start(Command{Name: "shell", Path: "sh", Args: []string{
		"-c", `trap '' TERM; sh -c 'trap "" TERM; echo ready; while :; do sleep 1; done' & wait`,
	}, Pipe: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Stdout.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	pids := tree(p.PID)
	if len(pids) < 2 {
		t.Fatalf("tree has %d processes", len(pids))
	}
	p.Stop(50 * time.Millisecond)
	if !p.Ended() {
		t.Error("not ended after Stop")
	}
	deadline := time.Now().Add(5 * time.Second)
	for _, pid := range pids {
		for alive(pid) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d outlives Stop", pid)
			}
		}
	}
}

// alive is false for zombies: an orphan may stay one until its new parent looks.
func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(after, "Z")
}

func TestVersionTakesEitherStream(t *testing.T) {
	got, err := Version("sh", "-c", "echo one >&2; echo two >&2")
	if err != nil || got != "one" {
		t.Errorf("Version = %q, %v", got, err)
	}
	if _, err := Version("sh", "-c", "exit 3"); err == nil {
		t.Error("Version of a silent program has no error")
	}
}

func TestParsePeak(t *testing.T) {
	got, err := parsePeak("Name:\tweir\nVmPeak:\t  999 kB\nVmHWM:\t  151272 kB\nVmRSS:\t 1 kB\n")
	if err != nil || got != 151272<<10 {
		t.Errorf("parsePeak = %d, %v; want %d", got, err, 151272<<10)
	}
	for _, bad := range []string{"", "VmRSS: 1 kB\n", "VmHWM: x kB\n"} {
		if got, err := parsePeak(bad); err == nil {
			t.Errorf("parsePeak(%q) = %d, want an error", bad, got)
		}
	}
}
