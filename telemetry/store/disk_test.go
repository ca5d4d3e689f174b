package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/telemetry"
)

// TestFullDisk checks that the store is closed before its disk is full, and opened again when there is
// room.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Dir: t.TempDir(), Metrics: telemetry.NewMetrics(1), Log: slog.New(slog.DiscardHandler)})
		var free atomic.Int64
		s.disk = func(string) (int64, int64, error) { return free.Load() << 20, 10 << 30, nil }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for i, step := range []struct {
			free int64
			open bool
		}{{10, false}, {100, false}, {200, true}, {100, true}, {60, false}, {100, false}, {200, true}} {
			failures := s.state().Failures
			free.Store(step.free)
			time.Sleep(3 * DefaultInterval)
			synctest.Wait()
			_, err := s.Query(t.Context(), "1", time.Now())
			if open := err == nil; open != step.open || !open && !errors.Is(err, ErrClosed) || open != (s.Problem() == "") {
				t.Errorf("step %d, %d MiB free: %v, want it open: %v; problem %q", i, step.free, err, step.open, s.Problem())
			}
			if why := fmt.Sprintf("%d MiB free; 128 are needed, so that the disk is not filled; opening it is tried again every 2s", step.free); err != nil &&
				(!strings.HasSuffix(err.Error(), why) || !strings.HasSuffix(s.Problem(), why)) {
				t.Errorf("step %d: %v, problem %q; want %s", i, err, s.Problem(), why)
			}
			if failed := s.state().Failures > failures; failed == step.open {
				t.Errorf("step %d, %d MiB free: failures counted: %v", i, step.free, failed)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestChunksCannotBeWritten checks that a head which cannot be written to the disk ends the store, and
// not the process.
func TestChunksCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, Config{Dir: dir})
	var left error
	r.leave = func(err error) { left = err }
	r.round()
	if err := os.RemoveAll(filepath.Join(dir, "chunks_head")); err != nil {
		t.Fatal(err)
	}
	for range 400 {
		r.round()
	}
	if _, ok := errors.AsType[broken](left); !ok {
		t.Fatalf("%v, want an error of what cannot be written", left)
	}
	r.close()
	if err := r.openAt(dir); err != nil {
		t.Fatal(err)
	}
	r.own = newFeed(r.Store, "weir", "self")
	r.round()
	if got := r.one("weir_ready"); got != 0 {
		t.Errorf("weir_ready %v, want 0", got)
	}
}

// TestEndsWhileItOpens checks that a store whose time is over when it is open is closed.
func TestEndsWhileItOpens(t *testing.T) {
	dir := t.TempDir()
	s := New(Config{Dir: dir, Metrics: telemetry.NewMetrics(1), Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	s.disk = func(string) (int64, int64, error) { cancel(); return 0, 0, errors.ErrUnsupported }
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.openAt(dir); err != nil {
		t.Fatalf("who comes after: %v", err)
	}
	s.close()
}

// TestDamage checks that what cannot be read is put aside, and as much of the rest kept as can be.
func TestDamage(t *testing.T) {
	for _, what := range []string{"index", "meta.json", "chunks/000001", "tombstones", "wal", "chunks_head", "wbl"} {
		t.Run(strings.ReplaceAll(what, "/", "-"), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "series")
			r := newRig(t, Config{Dir: dir})
			from := r.clock()
			r.requests("a", 200, 5)
			for range 60 {
				r.pass(2 * time.Minute)
				r.own.own()
			}
			if err := r.db.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.close()
			spoil(t, dir, what)
			if err := r.openOrMend(dir); err != nil {
				t.Fatal(err)
			}
			if got := r.one(fmt.Sprintf("sum(count_over_time(weir_ready[%ds]))", int(r.clock().Sub(from).Seconds()))); got < 20 {
				t.Errorf("kept %v samples of 60", got)
			}
			r.own = newFeed(r.Store, "weir", "self")
			r.round()
			if got := r.one("weir_ready"); got != 0 {
				t.Errorf("weir_ready %v, want 0", got)
			}
		})
	}
}

// spoil turns the first file around that a name fits, of a block or below the folder.
func spoil(t *testing.T, dir, what string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", what))
	if len(files) == 0 {
		files, err = filepath.Glob(filepath.Join(dir, what, "0*"))
	}
	if err != nil || len(files) == 0 {
		t.Fatal(what, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		text[i] ^= 0x5a
	}
	if err := os.WriteFile(files[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAside checks that of all that was put aside the last is there, and the largest.
func TestAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "series")
	folder := func(end string) string {
		text, err := os.ReadFile(filepath.Join(dir+end, "wal", "0"))
		if err != nil {
			return ""
		}
		return string(text)
	}
	for _, step := range []struct{ text, largest string }{{"dd", ""}, {"a", "dd"}, {"b", "dd"}, {"eeee", "dd"}, {"fff", "eeee"}, {"c", "eeee"}} {
		wal := filepath.Join(dir, "wal")
		if err := errors.Join(os.MkdirAll(wal, 0o700), os.WriteFile(filepath.Join(wal, "0"), []byte(step.text), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := partAside(dir, "wal", false); err != nil {
			t.Fatal(err)
		}
		if last, most := folder(aside), folder(aside+largest); last != step.text || most != step.largest {
			t.Errorf("last %q, largest before it %q; want %q and %q", last, most, step.text, step.largest)
		}
	}
	if some, err := allAside(dir); err != nil || !some || folder(aside+largest) != "eeee" {
		t.Errorf("the whole folder: %v, %v; largest %q", some, err, folder(aside+largest))
	}
}

// TestOthersStoreIsLeftAlone checks that a store which another one has is not taken for a damaged one.
func TestOthersStoreIsLeftAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "series")
	r := newRig(t, Config{Dir: dir})
	r.round()
	s := New(Config{Dir: dir, Metrics: telemetry.NewMetrics(1), Log: slog.New(slog.DiscardHandler)})
	if err := s.openOrMend(dir); err == nil {
		t.Error("it was opened twice")
	}
	if _, err := os.Stat(dir + aside); err == nil {
		t.Error("it was put aside")
	}
	r.round()
	if got := r.one("weir_ready"); got != 0 {
		t.Errorf("weir_ready %v, want 0", got)
	}
}

// TestTargetsLeaveRoom checks that a target with more series than there is room for leaves some for this
// process.
func TestTargetsLeaveRoom(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for i := range 2000 {
			fmt.Fprintf(w, "flood{n=\"%d\"} 1\n", i)
		}
	}))
	defer server.Close()
	r := newRig(t, Config{Series: 1000})
	r.round()
	target := Target{"hostile", server.URL}
	f := newFeed(r.Store, target.Name, target.instance())
	f.scrape(t.Context(), target)
	if got := r.one(`count(flood)`); got > 800 {
		t.Errorf("%v series of the target's", got)
	}
	if got := r.one(`up`); got != 1 {
		t.Errorf("up %v, want 1", got)
	}
	before := r.state().Refused
	r.metrics.WatchObjectives(func() []telemetry.ObjectiveState {
		return []telemetry.ObjectiveState{{Name: "shop/cart", Objective: 0.99, Good: 7}}
	})
	r.round()
	if got := r.one(`weir_slo_events_total{slo="shop/cart",result="good"}`); got != 7 {
		t.Errorf("good %v, want 7", got)
	}
	if after := r.state().Refused; after != before {
		t.Errorf("%d samples of this process's refused", after-before)
	}
}
