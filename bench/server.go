package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"weir.dev/weir/bench/load"
	"weir.dev/weir/bench/peer"
	"weir.dev/weir/bench/process"
	"weir.dev/weir/bench/report"
)

// instance names a running proxy.
type instance struct {
	setup setup
	proxy string
}

// server is a running proxy.
type server struct {
	*process.Process
	address string
	log     string        // its access log, if it writes one
	output  string        // what it prints
	dir     string        // its files
	took    time.Duration // until its first answer
}

// start configures and starts p, and waits until it answers a request as in first.
func (b *bench) start(ctx context.Context, p peer.Proxy, s setup, first load.Spec) (*server, error) {
	dir, err := os.MkdirTemp(b.dir, p.Name+"-")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	want := peer.Setup{
		Dir: dir, Port: ports[0], AdminPort: ports[1], Routes: s.routes, Workers: s.workers, Guarded: s.guarded, Copied: s.copied,
		Front: s.front, Back: s.back, Cert: b.cert, Key: b.cert + ".key",
	}
	if want.Upstream, err = b.upstreams(s.back); err != nil {
		return nil, err
	}
	running := &server{address: fmt.Sprintf("127.0.0.1:%d", ports[0]), output: filepath.Join(dir, "output"), dir: dir}
	if s.log {
		running.log = filepath.Join(dir, "access.log")
		want.Log = running.log
	}
	how, err := p.Configure(want)
	if err != nil {
		return nil, err
	}
	output, err := appendTo(running.output)
	if err != nil {
		return nil, err
	}
	defer func() { _ = output.Close() }()
	stdout := output
	if how.Stdout != "" {
		if stdout, err = appendTo(how.Stdout); err != nil {
			return nil, err
		}
		defer func() { _ = stdout.Close() }()
	}
	pin, _ := cores(runtime.NumCPU(), s.workers)
	b.say("starting %s (%d routes, %d workers)", p.Name, max(s.routes, 1), s.workers)
	began := time.Now()
	running.Process, err = process.Start(process.Command{
		Name: p.Name, Path: p.Program, Args: how.Args, Env: how.Env, Dir: dir, Cores: pin, Out: stdout, Err: output,
	})
	if err != nil {
		return nil, err
	}
	if err := b.ready(ctx, running, first); err != nil {
		running.Stop(time.Second)
		return nil, fmt.Errorf("%w%s", err, lastWords(running.output))
	}
	running.took = time.Since(began)
	return running, nil
}

func appendTo(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
}

// ready asks s until it answers.
func (b *bench) ready(ctx context.Context, s *server, first load.Spec) error {
	first.Address = s.address
	began := time.Now()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := load.Try(first)
		if err == nil {
			if took := time.Since(began); took > time.Second {
				b.say("%s took %v to answer", s.Name, took.Round(10*time.Millisecond))
			}
			return nil
		}
		if s.Ended() {
			return fmt.Errorf("ended at once: %w", errors.Join(s.Wait(), err))
		}
		if time.Since(began) > b.times.start {
			return fmt.Errorf("no answer within %v: %w", b.times.start, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// lastWords returns the end of what a program has printed, for an error.
func lastWords(path string) string {
	text, err := os.ReadFile(path)
	text = bytes.TrimSpace(text)
	if err != nil || len(text) == 0 {
		return ""
	}
	return "; it said: " + strings.ReplaceAll(string(text[max(0, len(text)-400):]), "\n", " | ")
}

// freePorts returns ports that nothing listens on now.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// generate runs the generator as a process of its own.
func (b *bench) generate(ctx context.Context, spec load.Spec, pin string) (load.Result, error) {
	var result load.Result
	text, err := json.Marshal(spec)
	if err != nil {
		return result, err
	}
	child, err := process.Start(process.Command{
		Name: "generator", Path: b.self, Args: []string{"load-process"}, Env: childEnv, Cores: pin,
		Stdin: bytes.NewReader(text), Pipe: true, Err: os.Stderr,
	})
	if err != nil {
		return result, err
	}
	ctx, cancel := context.WithTimeout(ctx, spec.Warmup+spec.Window+30*time.Second)
	defer cancel()
	defer context.AfterFunc(ctx, child.Kill)()
	out, err := io.ReadAll(child.Stdout)
	if err := errors.Join(err, child.Wait()); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return result, fmt.Errorf("generator: %w", err)
	}
	return result, json.Unmarshal(out, &result)
}

// rateSlack is how far from a fixed rate the answers may come, below it or
// above it after a stall, for latencies to say anything but that.
const rateSlack = 0.1

// minAnswers is how many answers a window needs to say anything.
const minAnswers = 20

// sample measures m once with the proxy at s.
func (b *bench) sample(ctx context.Context, m measure, s *server, round int) (report.Sample, error) {
	sample := report.Sample{Measure: m.name, Proxy: s.Name, Round: round}
	if s.log != "" {
		if err := os.Truncate(s.log, 0); err != nil {
			sample.Refused = err.Error()
			return sample, nil
		}
	}
	spec := m.load
	spec.Address, spec.Warmup, spec.Window = s.address, b.warmup, b.window
	if m.kind == paced {
		spec.Rate, spec.Window = b.rate, b.paced
	}
	up := b.upstream.PID
	if other := b.others[m.setup.back]; other != nil {
		up = other.PID
	}
	spec.Watch = map[string]int{"upstream": up}
	if s.Process != nil && s.PID != b.upstream.PID {
		spec.Watch["proxy"] = s.PID
	}
	_, pin := cores(runtime.NumCPU(), m.setup.workers)
	result, err := b.generate(ctx, spec, pin)
	if err != nil {
		if ctx.Err() != nil {
			return sample, context.Cause(ctx)
		}
		sample.Refused = err.Error()
	} else {
		sample.Refused = result.Failed()
	}
	if sample.Refused != "" {
		if s.Ended() {
			sample.Refused += "; the proxy has ended" + lastWords(s.output)
		}
		return sample, nil
	}
	if result.Completed < minAnswers {
		sample.Refused = fmt.Sprintf("only %d answers in %v", result.Completed, result.Elapsed.Round(time.Millisecond))
		return sample, nil
	}
	sample.Figures = figures(result)
	if got := sample.Figures[report.Rate]; spec.Rate > 0 && math.Abs(got/float64(spec.Rate)-1) > rateSlack {
		sample.Refused, sample.Figures = fmt.Sprintf("%.0f requests/s instead of %d: the fixed rate was not held", got, spec.Rate), nil
		return sample, nil
	}
	if s.log != "" {
		lines, err := b.logged(ctx, s.log)
		switch {
		case err != nil:
			sample.Refused, sample.Figures = err.Error(), nil
		case lines == 0:
			sample.Refused, sample.Figures = "no line in the access log", nil
		default:
			sample.Figures[report.Logged] = float64(lines) / float64(result.Total)
		}
	}
	return sample, nil
}

// logged counts the lines of an access log once its buffers had time to reach it.
func (b *bench) logged(ctx context.Context, path string) (int, error) {
	if err := pause(ctx, 1500*time.Millisecond); err != nil {
		return 0, err
	}
	return countLines(path)
}

func countLines(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	lines, buf := 0, make([]byte, 1<<20)
	for {
		n, err := f.Read(buf)
		lines += bytes.Count(buf[:n], []byte("\n"))
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// figures turns a clean result into what is reported.
func figures(r load.Result) map[string]float64 {
	micros := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	share := func(d time.Duration) float64 { return d.Seconds() / r.Elapsed.Seconds() }
	found := map[string]float64{
		report.Rate:         float64(r.Completed) / r.Elapsed.Seconds(),
		report.UpstreamBusy: share(r.CPU["upstream"]), report.GeneratorBusy: share(r.Generator),
		report.Late: micros(r.Late.P99), report.Foreign: share(r.Machine - r.CPU["proxy"] - r.CPU["upstream"] - r.Generator),
	}
	if r.Latency.P50 > 0 { // h2load does not tell quantiles
		found[report.P50], found[report.P99], found[report.P999] = micros(r.Latency.P50), micros(r.Latency.P99), micros(r.Latency.P999)
	}
	if used, ok := r.CPU["proxy"]; ok {
		found[report.CPU] = micros(used) / float64(r.Completed)
		found[report.ProxyBusy] = share(used)
	}
	return found
}

// direct measures a paced load on the upstream itself.
func (b *bench) direct(ctx context.Context, m measure, round int) (report.Sample, error) {
	s := &server{Process: b.upstream, address: fmt.Sprintf("127.0.0.1:%d", b.ports[0])}
	sample, err := b.sample(ctx, m, s, round)
	sample.Proxy = report.Direct
	b.samples = append(b.samples, sample)
	return sample, err
}

// subtract leaves of a proxy's latency what it adds to the direct one of the
// same round.
func subtract(s *report.Sample, direct report.Sample) {
	if s.Refused != "" {
		return
	}
	if direct.Refused != "" {
		s.Refused, s.Figures = "nothing to compare with: "+direct.Refused, nil
		return
	}
	for _, q := range []string{report.P50, report.P99, report.P999} {
		s.Figures[q] -= direct.Figures[q]
	}
}
