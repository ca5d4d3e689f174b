package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
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
	set     *resource.Set
	output  translate.Output
	judged  time.Time // when output was made, but for its snapshot
	applied time.Time
	problem error // of the engines; nil when everything is in effect
}

// account is what there is to say about a state. It is immutable once published.
type account struct {
	of          *state
	diagnostics []resource.Diagnostic   // of reading, translating and linting, by position
	expires     time.Time               // when the same would be judged differently; zero: never
	objects     func() []console.Object // made when first asked for
}

// pipeline carries each set from the source to the engines.
type pipeline struct {
	engines []Engine
	metrics *telemetry.Metrics
	log     *slog.Logger
	closed  func() map[string]error                           // sockets that are not open, and why, by listener name; may be nil
	remedy  func(*resource.Set, *model.Snapshot, error) error // adds what to do to an error of engines; may be nil
	planned func(translate.Output)                            // has engines get the knobs that go with what they have applied; may be nil

	mu    sync.Mutex // held while a set is carried
	begun bool       // ready is closed
	memo  *translate.Memo
	now   atomic.Pointer[state]
	ready chan struct{} // closed when the first set is live that is not hopeless

	changed chan struct{} // to tend: now differs from what was told

	telling sync.Mutex // held while an account is made
	told    *account   // the last one; nil: none yet
	dates   transitions
	known   map[string]bool // problems already logged
}

func newPipeline(engines []Engine, metrics *telemetry.Metrics, log *slog.Logger) *pipeline {
	return &pipeline{
		engines: engines, metrics: metrics, log: log,
		memo: translate.NewMemo(), ready: make(chan struct{}), changed: make(chan struct{}, 1),
	}
}

// deliver translates a set and has every engine apply it. What else there is to say about
// it, account finds out later: what people read must not hold up what is served.
func (p *pipeline) deliver(set *resource.Set) {
	p.mu.Lock()
	defer p.mu.Unlock()
	begin := time.Now()
	out := translate.Translate(translate.Input{Set: set, Memo: p.memo, Local: localAddresses(), Now: begin})
	next := &state{set: set, output: out, judged: begin, problem: p.apply(set, out.Snapshot), applied: time.Now()}
	if p.planned != nil {
		p.planned(out)
	}
	last := p.publish(next)
	if !p.begun && !hopeless(set) {
		p.begun = true
		close(p.ready)
	}
	p.metrics.SetQuarantined(quarantined(set))
	p.report(last, next, next.applied.Sub(begin))
}

// hopeless reports whether a set has nothing but errors. A process that begins with one is not
// ready: whoever replaces instances one by one must not go on. Later none comes: objects
// that were accepted once are retained.
func hopeless(set *resource.Set) bool {
	wrong := slices.ContainsFunc(set.Diagnostics, func(d resource.Diagnostic) bool { return d.Severity == resource.Error })
	for o := range set.Objects() {
		if o.Value != nil {
			return false
		}
		wrong = true
	}
	return wrong
}

// publish makes a state the one that people ask about, and returns the one before.
func (p *pipeline) publish(next *state) (last *state) {
	last = p.now.Swap(next)
	select {
	case p.changed <- struct{}{}:
	default: // tend has not yet looked since the last time
	}
	return last
}

// account returns what there is to say about what is live now, nil before anything is. It is
// made for whoever asks first: people, or tend. States that nobody has asked about in time
// are passed over.
func (p *pipeline) account() *account {
	p.telling.Lock()
	defer p.telling.Unlock()
	now := p.now.Load()
	if now == nil || p.told != nil && p.told.of == now {
		return p.told
	}
	var closed map[string]error
	if p.closed != nil {
		closed = p.closed()
	}
	next := &account{of: now, objects: objectsOf(now.set, p.dates.follow(now.output.WithClosed(closed), time.Now()))}
	if p.told != nil && p.told.of.set == now.set && p.told.of.judged.Equal(now.judged) { // only tried again
		next.diagnostics, next.expires = p.told.diagnostics, p.told.expires
	} else {
		found, until := lint.RunUntil(now.set, now.output)
		next.diagnostics = slices.Concat(now.set.Diagnostics, now.output.Diagnostics, found)
		next.expires = earlier(nextExpiry(now.set, now.judged), until)
		resource.SortDiagnostics(next.diagnostics)
		p.logChanges(next.diagnostics)
	}
	p.told = next
	return next
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
	case hopeless(next.set):
		p.log.LogAttrs(context.Background(), slog.LevelError, hopelessText, slog.Uint64("revision", next.output.Snapshot.Revision))
		return
	case same && last.problem == nil:
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{
		slog.Uint64("revision", next.output.Snapshot.Revision), slog.String("version", next.output.Snapshot.Version),
		slog.Int("objects", next.set.Len()), slog.Duration("took", took),
	}
	if at := addressesText(next.output.Snapshot); last == nil || at != addressesText(last.output.Snapshot) {
		attrs = append(attrs, slog.String("listeners", at))
	}
	p.log.LogAttrs(context.Background(), level, "configuration is live", attrs...)
}

// addressesText tells where clients are served, the first addresses of many.
func addressesText(s *model.Snapshot) string {
	const most = 8
	if len(s.Listeners) == 0 {
		return "none"
	}
	var names []string
	for _, l := range s.Listeners[:min(most, len(s.Listeners))] {
		names = append(names, l.Name)
	}
	if more := len(s.Listeners) - most; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// hopelessText says why a process is not ready that could read nothing.
const hopelessText = "not ready: no resource is valid, and there is no older version; mend one of the problems"

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

// restFactor is how many times as long as an account took the next is not made unasked, so
// that in a storm of changes accounts take a tenth of one core at most.
const restFactor = 9

// tidyAfter is how long nothing has changed when the memory is given back to the system that
// the changes needed: to read ten thousand routes takes twice what it takes to have them,
// and serving requests makes no garbage that would ever be collected. By then, what is kept
// on disk of so many objects has been written.
func tidyAfter(objects int) time.Duration {
	return 500*time.Millisecond + time.Duration(objects)*200*time.Microsecond
}

// tend follows what is live, until ctx ends: it logs what there is to say about it, says what has
// expired, and tries again, from time to time, what could not be put into effect.
func (p *pipeline) tend(ctx context.Context) {
	startPacing()
	tick := time.NewTicker(retryAfter)
	defer tick.Stop()
	rest := time.NewTimer(0)
	defer rest.Stop()
	quiet := time.NewTimer(time.Hour)
	quiet.Stop() // until there has been a change
	var expires time.Time
	expiry := time.NewTimer(clockCheck)
	defer expiry.Stop()
	changed := p.changed
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.retry()
		case <-rest.C:
			changed = p.changed
		case <-quiet.C:
			memory.tidy()
		case <-expiry.C:
			if !expires.IsZero() && !time.Now().Before(expires) {
				p.rejudge()
				expires = time.Time{}
			}
			expiry.Reset(untilExpiry(expires))
		case <-changed:
			begin := time.Now()
			told := p.account()
			changed = nil
			expires = told.expires
			expiry.Reset(untilExpiry(expires))
			quiet.Reset(tidyAfter(told.of.set.Len()))
			rest.Reset(restFactor * time.Since(begin))
		}
	}
}

// retry applies what was not in effect again.
func (p *pipeline) retry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now.Load()
	if now == nil || now.problem == nil {
		return
	}
	begin, next := time.Now(), *now
	next.problem = p.apply(now.set, now.output.Snapshot)
	p.publish(&next)
	p.report(now, &next, time.Since(begin))
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
