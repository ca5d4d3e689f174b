package telemetry

import (
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/model"
)

// ProtectionKind names what a protection does.
type ProtectionKind string

// The kinds. Those that end in a slash are followed by a name: of the rule that ejects, of what
// is given up, or of what became of a hedge.
const (
	ProtectMaxConnections  ProtectionKind = "maxConnections"  // a try found no connection and no room for one: it waits
	ProtectMaxPending      ProtectionKind = "maxPending"      // and too many others wait already
	ProtectMaxRequests     ProtectionKind = "maxRequests"     // too many tries in flight
	ProtectMaxRetries      ProtectionKind = "maxRetries"      // too many retries in flight
	ProtectTrip            ProtectionKind = "trip"            // the breaker is open, or as many probe as may
	ProtectRetryBudget     ProtectionKind = "retryBudget"     // a retry beyond the budget
	ProtectOutlier         ProtectionKind = "outlier/"        // a host ejected
	ProtectConcurrency     ProtectionKind = "concurrency"     // a request beyond a scope's limit
	ProtectQueue           ProtectionKind = "queue"           // one that waited in vain, or found no place to wait
	ProtectPriority        ProtectionKind = "priority"        // one that gave way to more important ones
	ProtectThrottle        ProtectionKind = "throttle"        // one that the cluster would probably have refused
	ProtectDegrade         ProtectionKind = "degrade/"        // one that was given less than usual
	ProtectDeadline        ProtectionKind = "deadline"        // one whose deadline had passed
	ProtectNestedRetry     ProtectionKind = "nestedRetry"     // a retry left to the caller, who retries itself
	ProtectHedge           ProtectionKind = "hedge/"          // a try sent beside a slow one, and one that won
	ProtectProcessOverload ProtectionKind = "processOverload" // the whole process is short of something
)

// Protection counts what one protection of one target did. A nil *Protection counts nothing.
type Protection struct {
	acted, wouldHave atomic.Uint64
}

// Count counts one action, or under model.ModeObserve one that was not taken.
func (p *Protection) Count(mode model.Mode) {
	switch {
	case p == nil:
	case mode == model.ModeObserve:
		p.wouldHave.Add(1)
	default:
		p.acted.Add(1)
	}
}

// Acted returns how often the protection acted.
func (p *Protection) Acted() uint64 {
	if p == nil {
		return 0
	}
	return p.acted.Load()
}

// WouldHave returns how often it would have, had it not only observed.
func (p *Protection) WouldHave() uint64 {
	if p == nil {
		return 0
	}
	return p.wouldHave.Load()
}

// ProtectionStats is what one protection did.
type ProtectionStats struct {
	Target           string // the cluster, route or scope
	Kind             ProtectionKind
	Acted, WouldHave uint64
}

type protectionKey struct {
	target string
	kind   ProtectionKind
}

// protections are the counters of all targets. There are as many as of other series at most;
// those beyond share the target Other.
type protections struct {
	mu    sync.Mutex
	byKey map[protectionKey]*Protection
	gone  map[protectionKey]time.Time // since when, of those in byKey that no object stands for

	overflow uint64 // times that one had to share
}

// Protection returns the counter of one kind of protection of a target: a cluster, a route or
// a scope. It is made if need be, and the same for as long as the target exists; whoever holds
// one of a target that was gone asks again.
func (m *Metrics) Protection(target string, kind ProtectionKind) *Protection {
	t := &m.protections
	key := protectionKey{target, kind}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.gone, key)
	if p := t.byKey[key]; p != nil {
		return p
	}
	if len(t.byKey) >= SeriesLimit && len(t.gone) > 0 {
		t.forget(func(time.Time) bool { return true })
	}
	if len(t.byKey) >= SeriesLimit {
		t.overflow++
		if key.target = Other; t.byKey[key] != nil {
			return t.byKey[key]
		}
	}
	if t.byKey == nil {
		t.byKey, t.gone = map[protectionKey]*Protection{}, map[protectionKey]time.Time{}
	}
	p := new(Protection)
	t.byKey[key] = p
	return p
}

// Protections returns what every protection did so far, in no order.
func (m *Metrics) Protections() []ProtectionStats {
	t := &m.protections
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]ProtectionStats, 0, len(t.byKey))
	for key, p := range t.byKey {
		list = append(list, ProtectionStats{key.target, key.kind, p.Acted(), p.WouldHave()})
	}
	return list
}

func (t *protections) retain(now time.Time, live func(target string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.byKey {
		_, gone := t.gone[key]
		switch {
		case key.target == Other || live(key.target):
			delete(t.gone, key)
		case !gone:
			t.gone[key] = now
		}
	}
	t.forget(func(since time.Time) bool { return now.Sub(since) >= ForgetAfter })
}

// sweep forgets what has been gone for long enough at now.
func (t *protections) sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(func(since time.Time) bool { return now.Sub(since) >= ForgetAfter })
}

// forget drops the counters that are gone and whose time has come. t.mu is held.
func (t *protections) forget(due func(since time.Time) bool) {
	for key, since := range t.gone {
		if due(since) {
			delete(t.byKey, key)
			delete(t.gone, key)
		}
	}
}

// BreakerState is what a cluster's breaker is like now. It comes from who owns it.
type BreakerState struct {
	Cluster string
	Trips   bool // it can
	State   int  // 0 closed, 1 half open, 2 open; only if Trips
	// Remaining is how much of each bound that the cluster has is left, by the bound's kind.
	Remaining map[ProtectionKind]int64
	// RetryBudget is how many retries the cluster's own budget lets through now; nil: it has none.
	RetryBudget *int64
}

// WatchBreakers has the metrics of breakers read from f at every scrape.
func (m *Metrics) WatchBreakers(f func() []BreakerState) { m.breakers.Store(&f) }

func (e *emitter) protections(m *Metrics) {
	for _, s := range m.Protections() {
		e.value(famProtection, float64(s.Acted), s.Target, string(s.Kind), "enforce")
		e.value(famProtection, float64(s.WouldHave), s.Target, string(s.Kind), "observe")
	}
	m.protections.mu.Lock()
	overflow := m.protections.overflow
	m.protections.mu.Unlock()
	e.value(famOverflow, float64(overflow), "protection")
	watch := m.breakers.Load()
	if watch == nil {
		return
	}
	seen := make(map[string]bool)
	for _, b := range (*watch)() {
		if seen[b.Cluster] || len(seen) >= SeriesLimit {
			continue // a cluster stands once on the page, or the whole page fails
		}
		seen[b.Cluster] = true
		if b.Trips {
			e.value(famBreakerState, float64(b.State), b.Cluster)
		}
		for kind, n := range b.Remaining {
			e.value(famBreakerRemaining, float64(n), b.Cluster, string(kind))
		}
		if b.RetryBudget != nil {
			e.value(famRetryBudget, float64(*b.RetryBudget), b.Cluster)
		}
	}
}
