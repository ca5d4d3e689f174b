package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// scratch is the folder that everything of these tests is in: what they build, and all their temporary folders.
var scratch string

// scratchSpace is how much has to be free for it, in MiB: what a whole run takes (116 MiB, measured), and what a
// store of time series wants to leave to others (128 MiB), twice.
const scratchSpace = 512

// makeScratch makes scratch and returns what removes it. A shell does that, and ends the programs in it that still run,
// so that it happens as well when these tests are killed, or run into their time limit.
func makeScratch() (remove func() error, err error) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(os.TempDir(), &disk); err != nil {
		return nil, err
	}
	if free := disk.Bavail * uint64(disk.Bsize) >> 20; free < scratchSpace {
		return nil, fmt.Errorf("%s has %d MiB free; these tests need %d: remove something there (`go clean -cache` removes what Go keeps of builds), or set TMPDIR to a folder elsewhere",
			os.TempDir(), free, scratchSpace)
	}
	if scratch, err = os.MkdirTemp("", "weir-e2e-"); err != nil {
		return nil, err
	}
	const sweep = `cat; for p in /proc/[0-9]*; do
		case "$(readlink $p/exe) $(tr '\0' ' ' < $p/cmdline)" in "$0"/* | *" /bin/sh $0/"*) kill -9 ${p#/proc/};; esac
	done; rm -rf "$0"`
	sweeper := exec.Command("sh", "-c", sweep, scratch)
	sweeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is not for it
	alive, err := sweeper.StdinPipe()                        // ends with this process, at the latest
	if err != nil {
		return nil, err
	}
	if err := sweeper.Start(); err != nil {
		return nil, err
	}
	if err := os.Setenv("TMPDIR", scratch); err != nil {
		return nil, err
	}
	return func() error {
		_ = alive.Close()
		return sweeper.Wait()
	}, nil
}

// scratchVariable makes TestScratchIsLeft wait to be killed.
const scratchVariable = "WEIR_E2E_SCRATCH"

// TestScratchIsLeft: tests that are killed leave neither files nor programs.
func TestScratchIsLeft(t *testing.T) {
	if os.Getenv(scratchVariable) != "" {
		sleep, err := exec.LookPath("sleep")
		if err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(sleep)
		if err != nil {
			t.Fatal(err)
		}
		for _, content := range [][]byte{program, []byte("#!/bin/sh\nkill -STOP $$\n")} {
			file := filepath.Join(t.TempDir(), "sleep")
			if err := os.WriteFile(file, content, 0o755); err != nil {
				t.Fatal(err)
			}
			left := exec.Command(file, "3600")
			if err := left.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = left.Wait() }()
			fmt.Println(left.Process.Pid)
		}
		return
	}
	t.Parallel()
	folder := t.TempDir()
	tests := exec.Command("/proc/self/exe", "-test.run=^TestScratchIsLeft$")
	tests.Env = append(os.Environ(), scratchVariable+"=1", "TMPDIR="+folder)
	out, err := tests.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tests.Start(); err != nil {
		t.Fatal(err)
	}
	var program, script int
	if _, err := fmt.Fscan(out, &program, &script); err != nil {
		t.Fatal(err)
	}
	_ = tests.Process.Kill()
	_ = tests.Wait()
	eventually(t, func() (bool, string) {
		files, err := os.ReadDir(folder)
		one, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", program)) // none of what has ended, waited for or not
		other, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", script))
		return err == nil && len(files) == 0 && one+other == "", fmt.Sprint(files, one, other, err)
	})
}
