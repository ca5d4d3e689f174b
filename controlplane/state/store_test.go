package state

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

var quiet = slog.New(slog.DiscardHandler)

func open(t *testing.T, folder string) *Store {
	t.Helper()
	s, err := Open(folder, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s *Store, bucket, key string, value any) {
	t.Helper()
	var b Batch
	b.Put(bucket, key, value)
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
}

func read[T any](t *testing.T, s *Store, bucket, key string) (value T, found bool) {
	t.Helper()
	found, err := s.Read(bucket, key, &value)
	if err != nil {
		t.Fatal(err)
	}
	return value, found
}

// TestStore: a store in memory and one on disk do the same; the latter remembers.
func TestStore(t *testing.T) {
	for _, folder := range []string{"", filepath.Join(t.TempDir(), "made/on/demand")} {
		s := open(t, folder)
		put(t, s, "a", "one", 1)
		put(t, s, "a", "two", map[string]string{"x": "y"})
		put(t, s, "a", "one", 11)
		var b Batch
		b.Remove("a", "two")
		b.Remove("a", "never")
		for i := range 7 {
			b.Append("h", "one", i, 5)
		}
		b.Append("h", "one/more", "other", 5)
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
		secret, err := s.Secret("sample", 32)
		if err != nil || len(secret) != 32 || bytes.Equal(secret, make([]byte, 32)) {
			t.Errorf("secret %x, %v", secret, err)
		}
		if folder != "" {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(&b); !errors.Is(err, ErrClosed) {
				t.Errorf("commit after close: %v", err)
			}
			s = open(t, folder)
		}
		if one, found := read[int](t, s, "a", "one"); one != 11 || !found {
			t.Errorf("one is %d, %t", one, found)
		}
		if _, found := read[any](t, s, "a", "two"); found {
			t.Error("two is still there")
		}
		if keys := s.Keys("a"); !slices.Equal(keys, []string{"one"}) {
			t.Errorf("keys %q", keys)
		}
		if got := fmt.Sprintf("%s", s.History("h", "one")); got != "[2 3 4 5 6]" {
			t.Errorf("history %s", got)
		}
		if again, _ := s.Secret("sample", 32); !bytes.Equal(again, secret) {
			t.Error("the secret is another one")
		}
		b = Batch{}
		b.Append("h", "one", 7, 5)
		b.Append("h", "one", 8, 5)
		b.Forget(s, "h", "one/more")
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%s %s", s.History("h", "one"), s.History("h", "one/more")); got != "[4 5 6 7 8] []" {
			t.Errorf("history %s", got)
		}
		if s.Lost() != "" {
			t.Errorf("lost: %s", s.Lost())
		}
	}
}

// TestAllOrNothing: a batch of which one change cannot be made makes none.
func TestAllOrNothing(t *testing.T) {
	for _, folder := range []string{"", t.TempDir()} {
		s := open(t, folder)
		for _, wrong := range []any{make(chan int), strings.Repeat("x", maxValue)} {
			var b Batch
			b.Put("a", "one", 1)
			b.Put("a", "two", wrong)
			if err := s.Commit(&b); err == nil {
				t.Error("it was committed")
			}
		}
		if keys := s.Keys("a"); len(keys) > 0 {
			t.Errorf("keys %q", keys)
		}
	}
}

func TestModes(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "state")
	s := open(t, folder)
	put(t, s, "a", "one", 1)
	for name, want := range map[string]os.FileMode{".": os.ModeDir | 0o700, fileName: 0o600, lockName: 0o600} {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

// TestLease: one process at a time holds a folder, and who waits gets it when it is free.
func TestLease(t *testing.T) {
	folder := t.TempDir()
	s := open(t, folder)
	put(t, s, "a", "one", 1)
	if _, err := Open(folder, quiet); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Fatalf("a second one: %v, want ErrHeld and who holds it", err)
	}
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		k := NewKeeper(folder, slog.New(slog.NewTextHandler(&log, nil)))
		got := make(chan *Store)
		go func() {
			s, err := k.Wait(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- s
		}()
		synctest.Wait()
		if n := strings.Count(log.String(), "waits for the state"); n != 1 {
			t.Errorf("said %d times: %s", n, &log)
		}
		put(t, s, "a", "one", 2) // the holder goes on
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		second := <-got
		if one, _ := read[int](t, second, "a", "one"); one != 2 {
			t.Errorf("it reads %d", one)
		}
		if again, err := k.Try(); again != second || err != nil {
			t.Error("another store in the same process")
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
		if _, err := k.Try(); err != nil {
			t.Error(err)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestDamage: whatever byte is another one, whatever length the file has: what was kept is there, or it
// is said that it is not. Nothing is ever silently less, or another.
func TestDamage(t *testing.T) {
	folder := t.TempDir()
	s := open(t, folder)
	for i := range 20 {
		put(t, s, "a", strconv.Itoa(i), map[string]int{"generation": i})
	}
	var b Batch
	for i := range 3 {
		b.Append("h", "a", i, 10)
	}
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(folder, fileName))
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, data []byte) {
		t.Helper()
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, fileName), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(folder, quiet)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer s.Close()
		aside, _ := filepath.Glob(filepath.Join(folder, fileName+".damaged-*"))
		if s.Lost() != "" {
			if len(s.Keys("a")) > 0 || len(aside) != 1 {
				t.Errorf("%s: lost, with %d keys and %d files aside", what, len(s.Keys("a")), len(aside))
			}
			if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, data) {
				t.Errorf("%s: what is aside is not what was there", what)
			}
			put(t, s, "a", "new", 1) // it can be used
			return
		}
		for i := range 20 {
			if v, found := read[map[string]int](t, s, "a", strconv.Itoa(i)); !found || v["generation"] != i {
				t.Fatalf("%s: key %d is %v, and nothing is said", what, i, v)
			}
		}
		if len(s.History("h", "a")) != 3 {
			t.Fatalf("%s: the history is %d long, and nothing is said", what, len(s.History("h", "a")))
		}
	}
	try("as it was", whole)
	for _, n := range []int{0, 1, 100, 4096, 8192, 12288, 16384, len(whole) - 4096, len(whole) - 1} {
		try(fmt.Sprintf("%d bytes of %d", n, len(whole)), whole[:min(max(n, 0), len(whole))])
	}
	step := 61 // a prime, so that every place in a page has its turn
	if testing.Short() {
		step = 1009
	}
	for at := 0; at < len(whole); at += step {
		if whole[at] == 0 && at%4096 > 512 { // mostly room that nothing uses
			continue
		}
		data := bytes.Clone(whole)
		data[at] ^= 0x41
		try(fmt.Sprintf("byte %d", at), data)
	}
	try("zeros", make([]byte, len(whole)))
	try("text", bytes.Repeat([]byte("no database\n"), 1000))
}

// TestLostIsKept: that something was lost is said until whoever has to know does.
func TestLostIsKept(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, fileName), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	for range 2 {
		s, err := Open(folder, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil || s.Lost() == "" {
			t.Fatalf("lost %q, %v", s.Lost(), err)
		}
		put(t, s, "a", "one", 1)
		s.Close()
	}
	if n := strings.Count(log.String(), "the state is lost"); n != 1 {
		t.Errorf("logged %d times: %s", n, &log)
	}
	s := open(t, folder)
	if err := s.Regain(); err != nil || s.Lost() != "" {
		t.Errorf("lost %q, %v", s.Lost(), err)
	}
	s.Close()
	s = open(t, folder)
	if one, _ := read[int](t, s, "a", "one"); s.Lost() != "" || one != 1 {
		t.Errorf("lost %q, one is %d", s.Lost(), one)
	}
}

// TestOtherVersion: a file of another version is left as it is.
func TestOtherVersion(t *testing.T) {
	folder := t.TempDir()
	s := open(t, folder)
	s.disk.have.Format = format + 1
	put(t, s, "a", "one", 1)
	s.Close()
	if _, err := Open(folder, quiet); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Errorf("opened: %v", err)
	}
	if aside, _ := filepath.Glob(filepath.Join(folder, "*.damaged-*")); len(aside) > 0 {
		t.Errorf("moved aside: %v", aside)
	}
}

func TestUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(file, "state"), quiet); err == nil {
		t.Error("a folder below a file")
	}
}

// TestMain is also the process that is killed, or has no room.
func TestMain(m *testing.M) {
	if folder := os.Getenv("STATE_TEST_WRITER"); folder != "" {
		write(folder)
		return
	}
	os.Exit(m.Run())
}

// write counts, and says each number that is durable. What fails it says, and goes on.
func write(folder string) {
	s, err := Open(folder, quiet)
	if err != nil {
		fmt.Println("open", err)
		return
	}
	if room := os.Getenv("STATE_TEST_ROOM"); room != "" {
		n, _ := strconv.ParseUint(room, 10, 64)
		_ = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: 1 << 40})
	}
	padding := strings.Repeat("x", 3000)
	for i, failed := 1, 0; failed < 3; i++ {
		var b Batch
		b.Put("counts", "last", i)
		b.Put("counts", fmt.Sprint("padding", i%50), padding)
		b.Append("history", "counts", i, 20)
		if err := s.Commit(&b); err != nil {
			failed++
			fmt.Println("failed", i, err)
			continue
		}
		if last := 0; true {
			_, _ = s.Read("counts", "last", &last)
			fmt.Println(last)
		}
	}
	_ = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 40, Max: 1 << 40})
	var b Batch
	b.Put("counts", "after", "there is room again")
	fmt.Println("after", s.Commit(&b))
}

func writer(t *testing.T, folder string, env ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "STATE_TEST_WRITER="+folder), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

// TestKill: what was said to be durable is there after a process was killed in the middle of its work,
// and the next one may begin at once.
func TestKill(t *testing.T) {
	folder := t.TempDir()
	for round := range 5 {
		cmd, out := writer(t, folder)
		lines := bufio.NewScanner(out)
		said := 0
		for lines.Scan() {
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatalf("it said %q", lines.Text())
			}
			if said = n; n > 5+round*7 && cmd.Process != nil {
				_ = cmd.Process.Kill()
				break
			}
		}
		for lines.Scan() { // what it had said before it died
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				said = n
			}
		}
		_ = cmd.Wait()
		s := open(t, folder)
		last, found := read[int](t, s, "counts", "last")
		history := s.History("history", "counts")
		var newest int
		if err := json.Unmarshal(history[len(history)-1], &newest); err != nil {
			t.Fatal(err)
		}
		if !found || last < said || newest != last || s.Lost() != "" {
			t.Errorf("round %d: %d is kept and %d in the history, %d was said to be; lost %q", round, last, newest, said, s.Lost())
		}
		s.Close()
	}
}

// TestFullDisk: without room a change fails as a whole and is said to, what was there stays, and with
// room it goes on.
func TestFullDisk(t *testing.T) {
	folder := t.TempDir()
	cmd, out := writer(t, folder, "STATE_TEST_ROOM="+strconv.Itoa(96<<10))
	text, err := io.ReadAll(out)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Fatal(err, string(text))
	}
	var said int
	failed := 0
	for line := range strings.Lines(string(text)) {
		if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			said = n
		} else if strings.HasPrefix(line, "failed") {
			failed++
		}
	}
	if failed != 3 || said == 0 || !strings.HasSuffix(string(text), "after <nil>\n") {
		t.Fatalf("it said:\n%s", text)
	}
	s := open(t, folder)
	if last, _ := read[int](t, s, "counts", "last"); last != said || s.Lost() != "" {
		t.Errorf("%d is kept, %d was said to be; lost %q", last, said, s.Lost())
	}
	if after, _ := read[string](t, s, "counts", "after"); after == "" {
		t.Error("what was written with room again is not there")
	}
}

// FuzzExamine: no file has the examiner fail, and what it calls whole adds up.
func FuzzExamine(f *testing.F) {
	folder := f.TempDir()
	s, err := Open(folder, quiet)
	if err != nil {
		f.Fatal(err)
	}
	var b Batch
	for i := range 40 {
		b.Put("a", strconv.Itoa(i), strings.Repeat("x", i*20))
	}
	if err := errors.Join(s.Commit(&b), s.Close()); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(folder, fileName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, 0, byte(0))
	f.Add(whole[:8192], 100, byte(1))
	f.Fuzz(func(t *testing.T, data []byte, at int, flip byte) {
		if at >= 0 && at < len(data) {
			data = bytes.Clone(data)
			data[at] ^= flip
		}
		values, have, err := examine(data)
		n := 0
		for _, bucket := range values {
			n += len(bucket)
		}
		if err == nil && n != have.Entries {
			t.Errorf("%d values, %d in the manifest", n, have.Entries)
		}
	})
}

// TestKeeperOfDiskThatHangs: a store that could not be closed is still the keeper's, who would else wait for itself.
func TestKeeperOfDiskThatHangs(t *testing.T) {
	k := NewKeeper(t.TempDir(), quiet)
	s, err := k.Try()
	if err != nil {
		t.Fatal(err)
	}
	s.writing <- struct{}{} // somebody writes, and is not through
	if err := k.Close(); !errors.Is(err, ErrHangs) {
		t.Errorf("closed: %v", err)
	}
	if again, err := k.Try(); again != s || err != nil {
		t.Errorf("it has %p, %v, want %p", again, err, s)
	}
	<-s.writing
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if again, err := k.Try(); again == s || err != nil {
		t.Errorf("it has %p, %v after it was closed", again, err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

// TestDiskThatHangs: whoever writes is told in time, whoever reads does not wait, and what comes to be on disk in the end
// is what is read.
func TestDiskThatHangs(t *testing.T) {
	folder := t.TempDir()
	s := open(t, folder)
	put(t, s, "a", "one", 1)
	other, err := s.disk.db.Begin(true) // nobody else gets to write
	if err != nil {
		t.Fatal(err)
	}
	commit := func(value int) error {
		var b Batch
		b.Put("a", "one", value)
		return s.Commit(&b)
	}
	var begun *Slow
	for i := range 3 {
		err := commit(2 + i)
		slow, isSlow := errors.AsType[*Slow](err)
		if !errors.Is(err, ErrHangs) || isSlow != (i == 0) {
			t.Errorf("commit %d: %v", i, err)
		}
		if isSlow {
			begun = slow
		}
		if v, _ := read[int](t, s, "a", "one"); v != 1 {
			t.Errorf("%d is read, which is not on disk", v)
		}
	}
	if err := s.Close(); !errors.Is(err, ErrHangs) {
		t.Errorf("closed: %v", err)
	}
	if err := other.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-begun.Done; err != nil {
		t.Errorf("what the disk had begun with: %v", err)
	}
	if v, _ := read[int](t, s, "a", "one"); v != 2 {
		t.Errorf("%d is read, want the one that the disk had begun with", v)
	}
	if err := commit(9); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if v, _ := read[int](t, open(t, folder), "a", "one"); v != 9 {
		t.Errorf("%d is on disk", v)
	}
}
