package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/bench/load"
	"weir.dev/weir/bench/peer"
	"weir.dev/weir/bench/process"
	"weir.dev/weir/bench/report"
)

// few is how many connections a proxy holds before the idle ones are counted.
const few = 64

// memoryRound starts every proxy afresh and reads what is resident: at rest,
// with a few connections, with many idle ones (after one second and after
// some more), and after load. The waits are shared; memory is not.
func (b *bench) memoryRound(ctx context.Context, m measure, proxies []peer.Proxy, round int) error {
	var all []*tenant
	defer func() {
		for _, t := range all {
			t.close()
		}
	}()
	for _, p := range proxies {
		b.done++
		t := &tenant{sample: report.Sample{Measure: m.name, Proxy: p.Name, Round: round, Figures: map[string]float64{}}}
		s, err := b.start(ctx, p, m.setup, m.load)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			b.note("%s is left out of %q: %v", p.Name, m.title, err)
			continue
		}
		t.server = s
		all = append(all, t)
	}
	idle := m.load
	steps := []struct {
		wait time.Duration
		do   func(t *tenant)
	}{
		{time.Second, func(t *tenant) { t.read(report.MemoryStart) }},
		{0, func(t *tenant) {
			t.hold(b, idle, few)
			t.base = t.resident()
			t.hold(b, idle, idle.Connections)
		}},
		{time.Second, func(t *tenant) {
			t.read(report.MemoryIdle)
			t.sample.Figures[report.PerConnection] = float64(t.resident()-t.base) / float64(idle.Connections)
		}},
		{b.parked - time.Second, func(t *tenant) {
			t.sample.Figures[report.PerParked] = float64(t.resident()-t.base) / float64(idle.Connections)
			t.release()
		}},
		{0, func(t *tenant) {
			t.load(ctx, b, idle.Client)
			t.read(report.MemoryLoad)
		}},
	}
	for _, step := range steps {
		if err := pause(ctx, step.wait); err != nil {
			return err
		}
		for _, t := range all {
			if t.sample.Refused == "" {
				step.do(t)
			}
		}
	}
	for _, t := range all {
		if t.sample.Refused != "" {
			t.sample.Figures = nil
		}
		b.add(m, t.sample)
	}
	return nil
}

// tenant is a proxy whose memory is read.
type tenant struct {
	server *server
	sample report.Sample
	held   []*holder
	base   int64 // bytes resident before the idle connections
}

// holder is a process that keeps connections open.
type holder struct {
	*process.Process
	lines *bufio.Reader
	input *os.File
}

func (t *tenant) refuse(err error) {
	if err != nil && t.sample.Refused == "" {
		t.sample.Refused = err.Error()
	}
}

func (t *tenant) resident() int64 {
	bytes, err := process.Resident(t.server.PID)
	t.refuse(err)
	return bytes
}

func (t *tenant) read(figure string) { t.sample.Figures[figure] = float64(t.resident()) }

// hold opens n connections, with one request each, and keeps them.
func (t *tenant) hold(b *bench, spec load.Spec, n int) {
	spec.Address, spec.Connections = t.server.address, n
	text, err := json.Marshal(spec)
	if err != nil {
		t.refuse(err)
		return
	}
	in, input, err := os.Pipe()
	if err != nil {
		t.refuse(err)
		return
	}
	defer func() { _ = in.Close() }()
	_, pin := cores(runtime.NumCPU(), 1)
	child, err := process.Start(process.Command{
		Name: "idle connections", Path: b.self, Args: []string{"idle-process"}, Cores: pin, Stdin: in, Pipe: true, Err: os.Stderr,
	})
	if err != nil {
		t.refuse(errors.Join(err, input.Close()))
		return
	}
	h := &holder{Process: child, lines: bufio.NewReader(child.Stdout), input: input}
	t.held = append(t.held, h)
	timer := time.AfterFunc(30*time.Second, child.Kill)
	defer timer.Stop()
	if _, err := input.Write(append(text, '\n')); err != nil {
		t.refuse(err)
		return
	}
	if _, err := h.lines.ReadString('\n'); err != nil {
		t.refuse(fmt.Errorf("%d idle connections: %w", n, err))
	}
}

// release lets the connections go; the sample does not count if the proxy had
// closed some of them before.
func (t *tenant) release() {
	for _, h := range t.held {
		timer := time.AfterFunc(10*time.Second, h.Kill)
		t.refuse(h.input.Close())
		line, err := h.lines.ReadString('\n')
		timer.Stop()
		t.refuse(err)
		if gone, _ := strconv.Atoi(strings.TrimSpace(line)); gone > 0 {
			t.refuse(fmt.Errorf("the proxy closed %d idle connections", gone))
		}
		_, _ = io.Copy(io.Discard, h.lines)
		t.refuse(h.Wait())
	}
	t.held = nil
}

// load runs two seconds of large answers.
func (t *tenant) load(ctx context.Context, b *bench, client load.Client) {
	spec := by(client, few, 1, get(few, large, "/bytes/65536"))
	spec.Address, spec.Window = t.server.address, min(2*time.Second, 2*b.window)
	_, pin := cores(runtime.NumCPU(), 1)
	result, err := b.generate(ctx, spec, pin)
	t.refuse(err)
	if why := result.Failed(); err == nil && why != "" {
		t.refuse(errors.New(why))
	}
}

func (t *tenant) close() {
	for _, h := range t.held {
		_ = h.input.Close()
		h.Stop(time.Second)
	}
	t.server.Stop(2 * time.Second)
}
