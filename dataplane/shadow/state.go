package shadow

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/compare"
	"weir.dev/weir/traffic/stats"
)

// dropReason is why a copy is not sent.
type dropReason string

// The reasons.
const (
	dropInFlight   dropReason = "in-flight"  // too many are under way
	dropBody       dropReason = "body"       // the request's is too long, or its head is for the shadow's host
	dropUnfinished dropReason = "unfinished" // its body never became whole
	dropUpgrade    dropReason = "upgrade"    // it asks for a tunnel
	dropBreaker    dropReason = "breaker"    // a limit of the shadow's cluster
	dropCopy       dropReason = "copy"       // it is one itself
	dropUnresolved dropReason = "unresolved" // the shadow's backend is not there
)

// dropReasons is the order of reports.
var dropReasons = [...]dropReason{dropInFlight, dropBody, dropUnfinished, dropUpgrade, dropBreaker, dropCopy, dropUnresolved}

// state is what one Shadow has under way and has counted, whatever snapshots come; or what all
// mirrors have.
type state struct {
	name     string
	limits   atomic.Pointer[model.ShadowLimits]
	spec     atomic.Pointer[model.Shadow] // the newest; nil: mirrors
	mirrors  *telemetry.Mirrors           // nil: a Shadow
	inFlight atomic.Int64
	answered atomic.Uint64
	failed   atomic.Uint64
	dropped  [len(dropReasons)]atomic.Uint64
	tally    compare.Tally
	ours     *stats.Latencies // of the primary
	theirs   *stats.Latencies

	mu           sync.Mutex
	since        time.Time
	ourTotals    stats.Counts
	theirsTotals stats.Counts
}

// state returns the state of a Shadow, made if need be and told what it says now.
func (s *Set) state(m *model.Shadow) *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.states[m.Name]
	if st == nil {
		st = &state{
			name: m.Name, since: time.Now(),
			ours: stats.NewLatencies(s.cfg.Shards), theirs: stats.NewLatencies(s.cfg.Shards),
		}
		if s.states == nil {
			s.states = map[string]*state{}
		}
		s.states[m.Name] = st
	}
	st.limits.Store(&m.Limits)
	st.spec.Store(m)
	return st
}

// Retain forgets the Shadows that no route of a snapshot has.
func (s *Set) Retain(snap *model.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.states) == 0 {
		return
	}
	named := map[string]bool{}
	for _, table := range snap.RouteTables {
		for _, e := range table.Entries {
			for i := range e.Route.Shadows {
				named[e.Route.Shadows[i].Name] = true
			}
		}
	}
	for name := range s.states {
		if !named[name] {
			delete(s.states, name)
		}
	}
}

// take takes a place for a copy, if there is one.
func (s *state) take(limit int) bool {
	if s.inFlight.Add(1) > int64(limit) {
		s.inFlight.Add(-1)
		return false
	}
	return true
}

// leave gives it back.
func (s *state) leave() { s.inFlight.Add(-1) }

// count counts a copy that was sent.
func (s *state) count(answered bool) {
	switch {
	case s.mirrors != nil && answered:
		s.mirrors.Count(telemetry.MirrorSent)
	case s.mirrors != nil:
		s.mirrors.Count(telemetry.MirrorFailed)
	case answered:
		s.answered.Add(1)
	default:
		s.failed.Add(1)
	}
}

// drop counts one that was not. A mirror of what does not resolve is none, as Gateway API has it.
func (s *state) drop(why dropReason) {
	if s.mirrors == nil {
		s.dropped[slices.Index(dropReasons[:], why)].Add(1)
	} else if why != dropUnresolved {
		s.mirrors.Count(telemetry.MirrorDropped)
	}
}

// Reports returns what has been seen of every Shadow that a live route has, by name.
func (s *Set) Reports() []model.ShadowReport {
	var list []model.ShadowReport
	for _, st := range s.list() {
		list = append(list, st.report())
	}
	return list
}

// Reset forgets what has been counted and compared of a Shadow, of all if the name is empty. It
// reports whether there was one. What is under way is counted when it ends.
func (s *Set) Reset(name string) (found bool) {
	for _, st := range s.list() {
		if name == "" || st.name == name {
			st.reset()
			found = true
		}
	}
	return found
}

func (s *Set) list() []*state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.states), func(a, b *state) int { return cmp.Compare(a.name, b.name) })
}

func (s *state) report() model.ShadowReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := model.ShadowReport{Shadow: s.name, Since: s.since, Copies: model.ShadowCopies{
		InFlight: int(s.inFlight.Load()), Answered: s.answered.Load(), Failed: s.failed.Load(),
	}}
	for i := range s.dropped {
		if n := s.dropped[i].Load(); n > 0 {
			r.Copies.Dropped = append(r.Copies.Dropped, model.ShadowDrop{Reason: string(dropReasons[i]), Count: n})
		}
	}
	spec := s.spec.Load()
	if spec.Compare == nil {
		return r
	}
	r.Comparison = s.tally.Report()
	if spec.Compare.Latency {
		s.ours.Drain(&s.ourTotals)
		s.theirs.Drain(&s.theirsTotals)
		r.Comparison.Latency = &model.ShadowLatency{Primary: quantilesOf(&s.ourTotals), Shadow: quantilesOf(&s.theirsTotals)}
	}
	return r
}

func quantilesOf(c *stats.Counts) model.ShadowQuantiles {
	return model.ShadowQuantiles{P50: c.Quantile(0.5), P95: c.Quantile(0.95), P99: c.Quantile(0.99)}
}

func (s *state) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = time.Now()
	s.answered.Store(0)
	s.failed.Store(0)
	for i := range s.dropped {
		s.dropped[i].Store(0)
	}
	s.tally.Reset()
	s.ours.Drain(&s.ourTotals)
	s.theirs.Drain(&s.theirsTotals)
	s.ourTotals, s.theirsTotals = stats.Counts{}, stats.Counts{}
}
