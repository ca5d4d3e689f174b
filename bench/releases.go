package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/bench/process"
	"weir.dev/weir/bench/release"
)

// releases is the group of measures that has a page of its own and no peers: how soon Weir takes
// back a release that goes bad.
const releases = "release"

const (
	releaseUsers = 40_000
	releaseRate  = 2000 // requests a second
	quickRate    = 500
)

// scenario is a way in which a canary goes bad.
type scenario struct {
	title  string
	share  string // of the canary
	guard  string
	times  release.Times
	fault  release.Fault
	trials int
	most   int     // requests of the canary after which it is left alone
	spared bool    // it must not trip
	goal   goal    // none: nothing is asked
	failed float64 // share of its requests that users see fail, for comparison
}

// goal is what is asked of a scenario.
type goal struct {
	completed   int // failures before the trip, at most
	median, p95 int // requests of the canary, at most
}

const (
	strict   = "{errors: {maxDifference: 0%, confidence: 99.9%}, consecutiveFailures: 5}"
	lenient  = "{errors: {maxDifference: 1%, confidence: 99.9%}, consecutiveFailures: 5}"
	slowness = "{errors: {maxDifference: 1%, confidence: 99.9%}, latency: {quantile: p99, maxRatio: \"1.5\", confidence: 99.9%}, consecutiveFailures: 5}"
)

// A canary is good for a while before it is bad.
const quiet = 100

func scenarios(quick bool) []scenario {
	all := []scenario{
		{title: "100 % fail, canary 1 %", share: "1%", guard: lenient, fault: release.Fault{After: quiet, Share: 1}, trials: 20, most: 100, goal: goal{completed: 5}, failed: 1},
		{title: "100 % fail, canary 10 %", share: "10%", guard: lenient, fault: release.Fault{After: quiet, Share: 1}, trials: 20, most: 100, goal: goal{completed: 5}, failed: 1},
		{title: "5 % fail, canary 1 %, `maxDifference: 0%`", share: "1%", guard: strict, fault: release.Fault{After: quiet, Share: 0.05}, trials: 20, most: 2000, goal: goal{median: 150, p95: 400}, failed: 0.05},
		{title: "5 % fail, canary 10 %, `maxDifference: 0%`", share: "10%", guard: strict, fault: release.Fault{After: quiet, Share: 0.05}, trials: 20, most: 4000, failed: 0.05},
		{title: "1 % fail, canary 10 %, `maxDifference: 0%`", share: "10%", guard: strict, fault: release.Fault{After: quiet, Share: 0.01}, trials: 10, most: 20_000, failed: 0.01},
		{title: "1 % fail, canary 10 %, `maxDifference: 1%`", share: "10%", guard: lenient, fault: release.Fault{After: quiet, Share: 0.01}, trials: 3, most: 6000, spared: true, failed: 0.01},
		{title: "p99 doubled, canary 10 %, `maxRatio: 1.5`", share: "10%", guard: slowness, times: release.Times{Median: 20 * time.Millisecond, Spread: 0.5}, fault: release.Fault{After: quiet, Tail: 2}, trials: 5, most: 20_000},
	}
	if quick {
		for i := range all {
			all[i].trials, all[i].most = 1, min(all[i].most, 400)
		}
	}
	return all
}

// releaseBench plays the scenarios.
type releaseBench struct {
	*bench
	rate int
}

// runReleases measures the group and returns its page.
func runReleases(ctx context.Context, o options, progress io.Writer) (string, error) {
	program, err := filepath.Abs(o.weir)
	if err != nil {
		return "", err
	}
	version, err := process.Version(program, "version")
	if err != nil {
		return "", fmt.Errorf("weir: %w", err)
	}
	dir, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system's folder for such
	b := &releaseBench{bench: &bench{options: o, progress: progress, began: time.Now(), dir: dir, versions: map[string]string{"weir": version}}, rate: releaseRate}
	if o.quick {
		b.rate = quickRate
	}
	var found []played
	for _, s := range scenarios(o.quick) {
		results, err := b.play(ctx, program, s)
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if err != nil {
			b.note("%s: %v", s.title, err)
		}
		found = append(found, played{s, results})
	}
	return b.releasePage(found), nil
}

// play plays all trials of a scenario before one Weir, a run of its Rollout each.
func (b *releaseBench) play(ctx context.Context, program string, s scenario) (results []release.Result, err error) {
	stable, err := release.Serve("stable", s.times, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stable.Close() }() // it ends with this program
	canary, err := release.Serve("canary", s.times, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = canary.Close() }()
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "release-")
	if err != nil {
		return nil, err
	}
	weir, err := startReleased(program, dir, ports, release.Service{Port: ports[0], Stable: stable.Port(), Canary: canary.Port(), Share: s.share, Guard: s.guard})
	if err != nil {
		return nil, err
	}
	defer weir.Stop(2 * time.Second)
	ctx, cancel := context.WithTimeoutCause(ctx, b.limit, errors.New("it takes too long"))
	defer cancel()
	r := release.Rollout{Admin: local(ports[1]), Name: "default/app"}
	if _, err := r.Until(ctx, func(now release.Status) bool { return now.Phase == "Progressing" }); err != nil {
		return nil, fmt.Errorf("%w%s", err, lastWords(filepath.Join(dir, "output")))
	}
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		return nil, err
	}
	r.Token = strings.TrimSpace(string(token))
	traffic := release.Load{Address: local(ports[0]), Users: releaseUsers, Rate: b.rate, Seed: 1}.Begin(ctx)
	defer traffic.Stop()
	for i := range s.trials {
		trial := release.Trial{
			Rollout: r, Stable: stable, Canary: canary, Traffic: traffic, Fault: s.fault, Seed: uint64(i) + 1, Most: s.most,
		}
		found, err := trial.Run(ctx)
		if err != nil {
			return results, err
		}
		results = append(results, found)
		b.say("%s, trial %d of %d: %s", s.title, i+1, s.trials, brief(found))
	}
	if late := traffic.Late.Load(); late > 0 {
		b.note("%s: %d of %d requests came late, because %s", s.title, late, traffic.Sent.Load(), "too many were under way")
	}
	return results, nil
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// startReleased starts a Weir with everything in one folder.
func startReleased(program, dir string, ports []int, s release.Service) (*process.Process, error) {
	file := filepath.Join(dir, "app.yaml")
	if err := os.WriteFile(file, []byte(s.Resources()), 0o644); err != nil {
		return nil, err
	}
	output, err := appendTo(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = output.Close() }()
	return process.Start(process.Command{
		Name: "weir", Path: program, Err: output,
		Args: []string{"run", "-f", file, "--admin", local(ports[1]), "--state-dir", filepath.Join(dir, "state"), "--token-file", filepath.Join(dir, "token")},
	})
}

func brief(r release.Result) string {
	if !r.Tripped {
		return fmt.Sprintf("not taken back; %d of %d requests bad", r.Bad, r.Canary)
	}
	return fmt.Sprintf("%s after %d failures (%d under way) and %d requests, last one %v after the first; users saw %d; %d after it",
		r.Test, r.Completed, r.InFlight, r.Canary, r.Took.Round(time.Millisecond), r.Visible, r.After)
}

// played is a scenario and what became of it.
type played struct {
	scenario
	results []release.Result
}

// column returns one figure of all trials that tripped, in rising order.
func (p played) column(of func(release.Result) float64) []float64 {
	var all []float64
	for _, r := range p.results {
		if r.Tripped {
			all = append(all, of(r))
		}
	}
	slices.Sort(all)
	return all
}

func quantile(sorted []float64, q float64) float64 {
	return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
}
