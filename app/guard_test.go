package app

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/traffic/pressure"
)

// guarded is a guard with readings that a test makes up.
type guarded struct {
	*guard
	memory    atomic.Uint64 // used, of 1,000
	collected atomic.Int64
	relieved  atomic.Int64 // connections, of 100 that are parked
	lines     strings.Builder
}

func newGuarded() *guarded {
	g := new(guarded)
	read := func() (r pressure.Readings) {
		r[pressure.Memory] = pressure.Reading{Used: g.memory.Load(), Limit: 1000}
		return r
	}
	log := slog.New(slog.NewTextHandler(&g.lines, nil))
	g.guard = newGuard(log, read, func(share float64) int {
		n := int(100 * share)
		g.relieved.Add(int64(n))
		return n
	})
	g.collect = func() { g.collected.Add(1) }
	return g
}

// TestGuard goes through the layers with time, and says each once.
func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			g.run(ctx)
		}()
		state := g.monitor.State()
		at := func(used uint64, d time.Duration, want pressure.Layer, served int) {
			t.Helper()
			g.memory.Store(used)
			time.Sleep(d)
			synctest.Wait()
			if state.Layer() != want || state.Served() != served {
				t.Errorf("with %d of 1000 for %s: %s, %d %% served; want %s, %d %%", used, d, state.Layer(), state.Served(), want, served)
			}
		}
		at(500, time.Minute, pressure.None, 100)
		if g.collected.Load() != 0 || g.relieved.Load() != 0 {
			t.Errorf("%d collections, %d connections ended without need", g.collected.Load(), g.relieved.Load())
		}
		at(820, 300*time.Millisecond, pressure.Trim, 100)
		at(820, 10*time.Second, pressure.Trim, 100)
		if n := g.relieved.Load(); n < 90 || n > 120 {
			t.Errorf("%d of 100 connections ended in ten seconds", n)
		}
		if n := g.collected.Load(); n < 9 || n > 12 {
			t.Errorf("%d collections in ten seconds", n)
		}
		at(960, 300*time.Millisecond, pressure.Refuse, 0)
		at(500, 300*time.Millisecond, pressure.Refuse, 0)
		at(500, 1100*time.Millisecond, pressure.Hold, 10)
		at(500, 20*time.Second, pressure.None, 100)
		stop()
		<-done
		for _, layer := range []string{"layer=trim before=none", "layer=refuse before=trim", "layer=hold before=refuse", "layer=trim before=hold", "layer=none before=trim"} {
			if n := strings.Count(g.lines.String(), layer); n != 1 {
				t.Errorf("%q is logged %d times:\n%s", layer, n, g.lines.String())
			}
		}
		if states := g.states(); len(states) != 1 || states[0].Resource != "memory" || states[0].Share != 0.5 {
			t.Errorf("metrics have %+v", states)
		}
	})
}

// TestCrowdsAreSeen: many connections have it look at once.
func TestCrowdsAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			g.run(ctx)
		}()
		synctest.Wait()
		g.memory.Store(990)
		g.hurry()
		g.hurry()
		synctest.Wait()
		if got := g.monitor.State().Layer(); got != pressure.Refuse {
			t.Errorf("%s with no time in between", got)
		}
		stop()
		<-done
	})
}

// TestLargeBuffersShrink with memory, and come back.
func TestLargeBuffersShrink(t *testing.T) {
	g := newGuarded()
	g.large = 1 << 20
	defer transport.BoundLarge(0)
	now := time.Unix(1000, 0)
	var held []*transport.Buffer
	large := func() bool {
		b := new(transport.Buffer)
		held = append(held, b)
		before := transport.LargeHeld()
		b.Expect(transport.Large)
		b.Append([]byte("x"))
		return transport.LargeHeld() > before
	}
	for _, s := range []struct {
		used uint64
		want bool
	}{{500, true}, {910, false}, {100, true}} {
		for range 40 {
			now = now.Add(time.Second)
			g.memory.Store(s.used)
			g.look(now)
		}
		if got := large(); got != s.want {
			t.Errorf("with %d of 1000: a large buffer %v, want %v", s.used, got, s.want)
		}
	}
	for _, b := range held {
		b.Release()
	}
}

// TestGroupLimit finds the lowest limit of the groups that a process is in.
func TestGroupLimit(t *testing.T) {
	for _, test := range []struct {
		name, groups string
		files        map[string]string
		want         int64
	}{
		{"second version", "0::/pod/box\n", map[string]string{"/pod/box/memory.max": "max\n", "/pod/memory.max": "1073741824\n"}, 1 << 30},
		{"the inner one is lower", "0::/pod/box\n", map[string]string{"/pod/box/memory.max": "536870912\n", "/pod/memory.max": "1073741824\n"}, 512 << 20},
		{"in a container", "0::/../../elsewhere\n", map[string]string{"/memory.max": "268435456\n"}, 256 << 20},
		{"first version", "9:cpu:/a\n4:memory:/a\n0::/\n", map[string]string{"memory/a/memory.limit_in_bytes": "134217728\n", "memory/memory.limit_in_bytes": "9223372036854771712\n"}, 128 << 20},
		{"none", "0::/a\n", map[string]string{"/a/memory.max": "max\n"}, 0},
		{"nonsense", "hello\n\n0:\n", nil, 0},
	} {
		if got := groupLimit(test.groups, func(path string) string { return test.files[path] }); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// TestUsage: what is live counts, whether it has been touched or not, because Go's own limit counts
// it so; garbage does not.
func TestUsage(t *testing.T) {
	u := newUsage(1<<30, func() (int64, int64) { return 3, 10 })
	runtime.GC()
	before := u.read()
	if before[pressure.Memory].Used == 0 || before[pressure.Memory].Used > 1<<30 || before[pressure.Connections] != (pressure.Reading{Used: 3, Limit: 10}) {
		t.Fatalf("%+v", before)
	}
	const size = 256 << 20
	block := make([]byte, size)
	runtime.GC()
	live := u.read()[pressure.Memory].Used
	if live < before[pressure.Memory].Used+size/2 {
		t.Errorf("%d bytes used, and %d with %d more", before[pressure.Memory].Used, live, size)
	}
	runtime.KeepAlive(block)
	runtime.GC()
	if after := u.read()[pressure.Memory].Used; after > live-size/2 {
		t.Errorf("%d bytes used, and %d when %d are garbage", live, after, size)
	}
	if machineMemory() <= 0 {
		t.Error("the machine has no memory")
	}
}

// TestSlowCollection: while garbage is being collected, which takes long just when there is much to
// do, readings go on.
func TestSlowCollection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded()
		g.collect = func() {
			g.collected.Add(1)
			time.Sleep(5 * time.Second)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			g.run(ctx)
		}()
		g.memory.Store(820)
		time.Sleep(time.Second)
		g.memory.Store(960)
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if got := g.monitor.State().Layer(); got != pressure.Refuse || g.collected.Load() != 1 {
			t.Errorf("%s during a collection, of which %d are running", got, g.collected.Load())
		}
		time.Sleep(time.Minute)
		if n := g.collected.Load(); n != 2 {
			t.Errorf("%d collections of 5 s in a minute, want them to be a tenth of it", n)
		}
		stop()
		<-done
	})
}

// TestStreamsIn: half of memory is for streams.
func TestStreamsIn(t *testing.T) {
	for limit, want := range map[int64]int64{512 << 20: 8192, 0: 0, -1: 0} {
		if got := streamsIn(limit); got != want {
			t.Errorf("%d of %d bytes, want %d", got, limit, want)
		}
	}
}
