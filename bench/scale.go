package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"weir.dev/weir/bench/load"
	"weir.dev/weir/bench/peer"
	"weir.dev/weir/bench/process"
	"weir.dev/weir/bench/report"
)

// What the measures of many routes do.
const (
	restAfterStart = 5 * time.Second        // before memory is read
	changePause    = 100 * time.Millisecond // between two changes
	stormRate      = 50                     // changes per second
	brokenEvery    = 11                     // of them is not YAML, and mended when its file has its next turn
	liveWithin     = 10 * time.Second       // a change, or something is wrong
)

// scaleRound starts each proxy afresh with many routes, changes one of them again and again,
// and then many in a storm with traffic on.
func (b *bench) scaleRound(ctx context.Context, m measure, proxies []peer.Proxy, round int) error {
	for _, p := range proxies {
		b.done++
		first := m.load
		first.Request.Hosts = m.setup.routes
		s, err := b.start(ctx, p, m.setup, first)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			b.note("%s is left out of %q: %v", p.Name, m.title, err)
			continue
		}
		sample := report.Sample{Measure: m.name, Proxy: p.Name, Round: round, Figures: map[string]float64{}}
		if err := b.scale(ctx, m, s, sample.Figures); err != nil {
			sample.Refused, sample.Figures = err.Error(), nil
		}
		s.Stop(2 * time.Second)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b.add(m, sample)
	}
	return nil
}

func (b *bench) scale(ctx context.Context, m measure, s *server, found map[string]float64) error {
	found[report.Start] = float64(s.took.Microseconds())
	if err := pause(ctx, restAfterStart); err != nil {
		return err
	}
	for figure, read := range map[string]func(int) (int64, error){report.MemoryStart: process.Resident, report.MemoryPeak: process.Peak} {
		bytes, err := read(s.PID)
		if err != nil {
			return err
		}
		found[figure] = float64(bytes)
	}
	e := editor{dir: s.dir, address: s.address, routes: m.setup.routes}
	if err := b.changes(ctx, &e, found); err != nil {
		return err
	}
	calm, err := b.traffic(ctx, m, s, b.paced)
	if err != nil {
		return err
	}
	if why := calm.Failed(); why != "" {
		return fmt.Errorf("before the storm: %s", why)
	}
	for _, figure := range []string{report.P50, report.P99, report.Foreign} {
		found[figure] = figures(calm)[figure]
	}
	return b.stormOver(ctx, m, s, &e, found)
}

// changes makes one change after another and measures until each is live.
func (b *bench) changes(ctx context.Context, e *editor, found map[string]float64) error {
	var all []float64
	for i := range b.times.changes {
		took, err := e.change(ctx, i%e.files(), fmt.Sprintf("change-%d", i))
		if err != nil {
			return err
		}
		all = append(all, float64(took.Microseconds()))
		if err := pause(ctx, changePause); err != nil {
			return err
		}
	}
	slices.Sort(all)
	found[report.Change50], found[report.Change99] = report.Of(all).Median, all[(len(all)-1)*99/100]
	return nil
}

// traffic sends requests to all hosts at the fixed rate.
func (b *bench) traffic(ctx context.Context, m measure, s *server, window time.Duration) (load.Result, error) {
	spec := m.load
	spec.Address, spec.Warmup, spec.Window, spec.Rate = s.address, b.warmup, window, b.rate
	spec.Request.Hosts = m.setup.routes
	spec.Watch = map[string]int{"upstream": b.upstream.PID, "proxy": s.PID}
	_, pin := cores(runtime.NumCPU(), m.setup.workers)
	return b.generate(ctx, spec, pin)
}

// stormOver has traffic and changes at the same time. The last change must be live when it
// is over.
func (b *bench) stormOver(ctx context.Context, m measure, s *server, e *editor, found map[string]float64) error {
	over, stop := context.WithTimeout(ctx, b.warmup+b.storm)
	defer stop()
	type outcome struct {
		edits int
		took  time.Duration
		err   error
	}
	ended := make(chan outcome, 1)
	go func() {
		began := time.Now()
		edits, err := e.storm(over)
		ended <- outcome{edits, time.Since(began), err}
	}()
	result, err := b.traffic(ctx, m, s, b.storm)
	stop()
	storm := <-ended
	if err != nil {
		return err
	}
	if storm.err != nil {
		return storm.err
	}
	if _, err := e.change(ctx, 0, "after the storm"); err != nil {
		return err
	}
	if result.Completed == 0 {
		return fmt.Errorf("in the storm: %s", result.Failed())
	}
	found[report.StormEdits] = float64(storm.edits) / storm.took.Seconds()
	found[report.StormP50], found[report.StormP99] = float64(result.Latency.P50.Microseconds()), float64(result.Latency.P99.Microseconds())
	failed := result.BadStatus + result.BadLength + result.Broken + result.Unfinished
	found[report.StormFailed] = float64(failed)
	if failed > 0 {
		b.note("in the storm of changes %s", result.Failed())
	}
	return nil
}

// editor changes the files of a running Weir.
type editor struct {
	dir, address string
	routes       int
}

func (e *editor) files() int { return min(e.routes, 100) }

// write replaces a file as editors do: beside it first, then by renaming.
func (e *editor) write(file int, mark string, broken bool) error {
	name, text := peer.WeirFile(e.routes, file, mark)
	if broken {
		text += "---\nkind: [\n"
	}
	name = filepath.Join(e.dir, name)
	beside := filepath.Join(filepath.Dir(name), ".new")
	if err := os.WriteFile(beside, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(beside, name)
}

// change changes the first route of a file and returns how long it took until an answer
// showed it.
func (e *editor) change(ctx context.Context, file int, mark string) (time.Duration, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", e.address)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(liveWithin)); err != nil {
		return 0, err
	}
	answers := bufio.NewReader(conn)
	if err := e.write(file, mark, false); err != nil {
		return 0, err
	}
	for began := time.Now(); ; {
		if _, err := fmt.Fprintf(conn, "GET /bytes/200 HTTP/1.1\r\nHost: %s\r\n\r\n", load.Host(file)); err != nil {
			return 0, err
		}
		answer, err := http.ReadResponse(answers, nil)
		if err != nil {
			return 0, fmt.Errorf("change %q: %w", mark, err)
		}
		if _, err := answers.Discard(int(answer.ContentLength)); err != nil {
			return 0, err
		}
		if answer.Header.Get("X-Mark") == mark {
			return time.Since(began), nil
		}
		if err := pause(ctx, 200*time.Microsecond); err != nil { // the asking must not take the cores
			return 0, err
		}
	}
}

// storm changes files, one after another, until ctx ends, and returns how many.
func (e *editor) storm(ctx context.Context) (edits int, err error) {
	tick := time.NewTicker(time.Second / stormRate)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return edits, nil
		case <-tick.C:
		}
		if err := e.write(edits%e.files(), fmt.Sprintf("storm-%d", edits), edits%brokenEvery == 0); err != nil {
			return edits, err
		}
		edits++
	}
}
