package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"weir.dev/weir/bench/peer"
	"weir.dev/weir/bench/process"
	"weir.dev/weir/bench/report"
)

// bench is one run of the program: what it found on the machine, what it
// started, what it measured.
type bench struct {
	options
	times
	progress  io.Writer
	began     time.Time
	dir       string // for the files of all proxies; removed at the end
	self      string // our own executable
	upstream  *process.Process
	ports     []int                          // of the upstream
	others    map[peer.Wire]*process.Process // upstreams that speak something else, once they are wanted
	elsewhere map[peer.Wire][]int            // their ports
	cert      string                         // file of the proxies' certificate; its key is beside it, .key
	proxies   []peer.Proxy
	versions  map[string]string // by proxy
	notes     []string          // what was left out, and why
	samples   report.Samples
	done      int // steps
	total     int
}

// newBench looks for the programs and starts the upstream.
func newBench(o options, progress io.Writer) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if _, err := exec.LookPath("taskset"); err != nil {
		return nil, fmt.Errorf("pinning needs util-linux: %w", err)
	}
	dir, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{
		options: o, times: durations(o.quick), progress: progress, began: time.Now(), dir: dir, self: self,
		versions: map[string]string{}, others: map[peer.Wire]*process.Process{}, elsewhere: map[peer.Wire][]int{},
	}
	if runtime.NumCPU() < 2 {
		b.note("this machine has one core: proxy, generator and upstream share it, and no figure means much")
	}
	b.find()
	if len(b.proxies) == 0 {
		b.close()
		return nil, fmt.Errorf("nothing to measure: neither Weir nor a peer was found")
	}
	if err := errors.Join(b.makeCertificate(), b.startUpstream()); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// find keeps the proxies that are installed.
func (b *bench) find() {
	all := []peer.Proxy{}
	if b.weir != "" {
		path, err := filepath.Abs(b.weir)
		if err != nil {
			path = b.weir
		}
		all = append(all, peer.Weir(path, b.weirArgs, b.weirLog))
	}
	for _, p := range peer.Peers() {
		if slices.Contains(b.peers, p.Name) {
			all = append(all, p)
		}
	}
	for _, p := range all {
		if _, err := exec.LookPath(p.Program); err != nil {
			b.note("%s is not measured: it is not installed (or, Weir, not built)", p.Name)
			continue
		}
		version, err := process.Version(p.Program, p.Version...)
		if err != nil {
			b.note("%s is not measured: %v", p.Name, err)
			continue
		}
		b.versions[p.Name] = version
		b.proxies = append(b.proxies, p)
	}
}

func (b *bench) startUpstream() error {
	_, loadCores := cores(runtime.NumCPU(), 1)
	up, err := process.Start(process.Command{
		Name: "upstream", Path: b.self, Args: []string{"upstream-process"}, Env: childEnv, Cores: loadCores,
		Pipe: true, Err: os.Stderr,
	})
	if err != nil {
		return err
	}
	b.upstream = up
	if err := json.NewDecoder(up.Stdout).Decode(&b.ports); err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	return nil
}

func (b *bench) close() {
	b.upstream.Stop(time.Second)
	for _, other := range b.others {
		other.Stop(time.Second)
	}
	_ = os.RemoveAll(b.dir)
}

// say prints one line of progress.
func (b *bench) say(format string, args ...any) {
	spent := time.Since(b.began).Round(time.Second)
	fmt.Fprintf(b.progress, "[%2d:%02d] %s\n", int(spent.Minutes()), int(spent.Seconds())%60, fmt.Sprintf(format, args...))
}

// note keeps something for the results and says it now.
func (b *bench) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.notes = append(b.notes, text)
	b.say("NOTE: %s", text)
}

// measure runs every chosen group.
func (b *bench) measure(ctx context.Context) error {
	all := chosen(b.only)
	for _, g := range all {
		b.total += len(g.measures) * len(b.of(g)) * b.rounds
	}
	b.say("%d measurements, %d rounds", b.total, b.rounds)
	for _, g := range all {
		if err := b.group(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// of returns the proxies that take part in g.
func (b *bench) of(g group) []peer.Proxy {
	if g.only == nil {
		return b.proxies
	}
	return slices.DeleteFunc(slices.Clone(b.proxies), func(p peer.Proxy) bool { return !slices.Contains(g.only, p.Name) })
}

// group starts all proxies in all setups of g and goes through its measures,
// round by round; every other round runs backwards.
func (b *bench) group(ctx context.Context, g group) error {
	running := map[instance]*server{}
	defer func() {
		for _, s := range running {
			s.Stop(2 * time.Second)
		}
	}()
	for _, m := range g.measures {
		for _, p := range b.of(g) {
			id := instance{m.setup, p.Name}
			if running[id] != nil || m.kind == memory || m.kind == scale {
				continue
			}
			s, err := b.start(ctx, p, m.setup, m.load)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				b.note("%s is left out of %q: %v", p.Name, m.title, err)
				continue
			}
			running[id] = s
		}
	}
	for round := range b.rounds {
		for _, m := range turned(g.measures, round) {
			if err := b.round(ctx, m, turned(b.of(g), round), running, round); err != nil {
				return err
			}
		}
	}
	return nil
}

// turned returns list, backwards in every other round.
func turned[T any](list []T, round int) []T {
	list = slices.Clone(list)
	if round%2 == 1 {
		slices.Reverse(list)
	}
	return list
}

// round measures m once with each proxy.
func (b *bench) round(ctx context.Context, m measure, proxies []peer.Proxy, running map[instance]*server, round int) error {
	if m.kind == memory {
		return b.memoryRound(ctx, m, proxies, round)
	}
	if m.kind == scale {
		return b.scaleRound(ctx, m, proxies, round)
	}
	var direct report.Sample
	if m.kind == paced {
		var err error
		if direct, err = b.direct(ctx, m, round); err != nil {
			return err
		}
	}
	for _, p := range proxies {
		b.done++
		s := running[instance{m.setup, p.Name}]
		if s == nil {
			continue // said when it did not start
		}
		sample, err := b.sample(ctx, m, s, round)
		if err != nil {
			return err
		}
		if m.kind == paced {
			subtract(&sample, direct)
		}
		b.add(m, sample)
	}
	return nil
}

// add keeps a sample and says what it found.
func (b *bench) add(m measure, s report.Sample) {
	b.samples = append(b.samples, s)
	left := "" // not known at first
	if b.done > 3 && b.done < b.total {
		each := time.Since(b.began) / time.Duration(b.done)
		left = fmt.Sprintf(", about %v left", (each * time.Duration(b.total-b.done)).Round(10*time.Second))
	}
	found := "REFUSED: " + s.Refused
	if s.Refused == "" {
		found = report.Brief(s)
	}
	b.say("%d/%d%s  round %d  %s  %s: %s", b.done, b.total, left, s.Round+1, m.name, s.Proxy, found)
}

// cores says which cores a proxy with so many workers gets, and which the
// generator and the upstream get, on a machine of n.
func cores(n, workers int) (proxy, rest string) {
	switch {
	case n < 2:
		return "0", "0"
	case workers < 2:
		return "0", "1"
	case n >= 4:
		return "0,1", "2,3"
	default:
		return "0,1", "0,1"
	}
}
