package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/console"
	"weir.dev/weir/controlplane/lint"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// retryAfter is how long a snapshot that could not be put into effect as a whole, because
// a port was taken for instance, waits before it is tried again.
const retryAfter = 5 * time.Second

// state is what the last delivered set became. It is immutable once published.
type state struct {
	set         *resource.Set
	output      translate.Output
	diagnostics []resource.Diagnostic   // of reading, translating and linting, by position
	objects     func() []console.Object // made when first asked for
	applied     time.Time
	problem     error // of the engines; nil when everything is in effect
}

// pipeline carries each set from the source to the engines.
type pipeline struct {
	engines []Engine
	metrics *telemetry.Metrics
	log     *slog.Logger
	closed  func() map[string]error                           // sockets that are not open, and why, by listener name; may be nil
	remedy  func(*resource.Set, *model.Snapshot, error) error // adds what to do to an error of engines; may be nil

	mu    sync.Mutex // held while a set is carried
	memo  *translate.Memo
	dates transitions
	known map[string]bool // problems already logged

	now   atomic.Pointer[state]
	ready chan struct{} // closed when the first set has been carried
}

func newPipeline(engines []Engine, metrics *telemetry.Metrics, log *slog.Logger) *pipeline {
	return &pipeline{
		engines: engines, metrics: metrics, log: log,
		memo: translate.NewMemo(), ready: make(chan struct{}),
	}
}

// deliver translates a set and has every engine apply it, then finds out what else there is
// to say about it: what people read must not hold up what is served.
func (p *pipeline) deliver(set *resource.Set) {
	p.mu.Lock()
	defer p.mu.Unlock()
	begin := time.Now()
	out := translate.Translate(translate.Input{Set: set, Memo: p.memo})
	next := &state{set: set, output: out, problem: p.apply(set, out.Snapshot), applied: time.Now()}

	p.judge(next)
	next.diagnostics = slices.Concat(set.Diagnostics, out.Diagnostics, lint.Run(set, out))
	resource.SortDiagnostics(next.diagnostics)
	last := p.now.Swap(next)
	p.metrics.SetQuarantined(quarantined(set))
	p.logChanges(next.diagnostics)
	p.report(last, next, next.applied.Sub(begin))
	if last == nil {
		close(p.ready)
	}
}

// judge says of every object what became of it, the sockets that could not be opened included.
func (p *pipeline) judge(s *state) {
	var closed map[string]error
	if p.closed != nil {
		closed = p.closed()
	}
	s.objects = objectsOf(s.set, p.dates.follow(s.output.WithClosed(closed), time.Now()))
}

// report logs whether what was delivered, or tried again, is live. A problem is logged once;
// that of the first set is left to App.wait, which may end the program with it.
func (p *pipeline) report(last, next *state, took time.Duration) {
	same := last != nil && last.output.Snapshot.Version == next.output.Snapshot.Version
	level := slog.LevelInfo
	switch {
	case next.problem != nil:
		if last != nil && (!same || last.problem == nil || last.problem.Error() != next.problem.Error()) {
			p.logProblem(next)
		}
		return
	case same && last.problem == nil:
		level = slog.LevelDebug
	}
	p.log.LogAttrs(context.Background(), level, "configuration is live",
		slog.Uint64("revision", next.output.Snapshot.Revision), slog.String("version", next.output.Snapshot.Version),
		slog.Int("objects", next.set.Len()), slog.Int("problems", len(next.diagnostics)),
		slog.Duration("took", took))
}

// logProblem logs that a part of a configuration is not in effect.
func (p *pipeline) logProblem(s *state) {
	p.log.LogAttrs(context.Background(), slog.LevelError, "configuration is not live as a whole",
		slog.Uint64("revision", s.output.Snapshot.Revision), slog.Any("error", s.problem))
}

// apply reports what of s, made from set, is not in effect. The rest is.
func (p *pipeline) apply(set *resource.Set, s *model.Snapshot) error {
	var errs []error
	for _, e := range p.engines {
		errs = append(errs, e.Apply(s))
	}
	err := errors.Join(errs...)
	if err != nil {
		p.metrics.ConfigRefused()
		if p.remedy != nil {
			err = p.remedy(set, s, err)
		}
	}
	p.metrics.ConfigApplied(s.Revision, s.Version)
	return err
}

// retry applies what was not in effect again, from time to time, until ctx ends.
func (p *pipeline) retry(ctx context.Context) {
	tick := time.NewTicker(retryAfter)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		if now := p.now.Load(); now != nil && now.problem != nil {
			begin, next := time.Now(), *now
			next.problem = p.apply(now.set, now.output.Snapshot)
			p.judge(&next)
			p.now.Store(&next)
			p.report(now, &next, time.Since(begin))
		}
		p.mu.Unlock()
	}
}

// logChanges logs the problems that are new, and how many are gone.
func (p *pipeline) logChanges(diagnostics []resource.Diagnostic) {
	now := make(map[string]bool, len(diagnostics))
	for _, d := range diagnostics {
		text := d.String()
		if now[text] {
			continue
		}
		now[text] = true
		if !p.known[text] {
			p.log.LogAttrs(context.Background(), levels[d.Severity], "problem in a resource", slog.String("problem", text))
		}
	}
	for text := range p.known {
		if !now[text] {
			p.log.LogAttrs(context.Background(), slog.LevelInfo, "problem is gone", slog.String("problem", text))
		}
	}
	p.known = now
}

var levels = map[resource.Severity]slog.Level{
	resource.Error: slog.LevelError, resource.Warning: slog.LevelWarn, resource.Info: slog.LevelInfo,
}

func quarantined(set *resource.Set) int {
	n := 0
	for o := range set.Objects() {
		if len(o.Problems) > 0 {
			n++
		}
	}
	return n
}

// inline is a source whose resources never change.
type inline struct {
	name string
	data []byte
}

// Run delivers once.
func (i inline) Run(ctx context.Context, deliver func(*resource.Set)) error {
	var d resource.Decoder
	objects, diagnostics := d.Decode(i.name, i.data)
	for _, problem := range diagnostics {
		if problem.Severity == resource.Error {
			return fmt.Errorf("%s", problem)
		}
	}
	set := resource.NewSet(objects, diagnostics)
	set.Revision = 1
	deliver(set)
	<-ctx.Done()
	return nil
}
