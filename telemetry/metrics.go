// Package telemetry counts what really happened and writes it down: per-route, per-cluster
// and per-host counters, the Prometheus page made from them, and the access log. The
// request path touches only atomics and buffers that were resolved beforehand; it never
// looks anything up by label, blocks or allocates. What the figures mean for a rollout or
// an objective is decided elsewhere.
package telemetry

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weir.dev/weir/model"
)

// Bounds of Metrics.
const (
	// SeriesLimit is how many series of one kind (routes, clusters, hosts) exist at once.
	// Objects beyond it share the series named Other.
	SeriesLimit = 20_000
	// ForgetAfter is how long the series of an object that is gone is still kept, so that
	// a removal that is taken back soon, and the last scrape, lose nothing.
	ForgetAfter = 15 * time.Minute
)

// Names of series that belong to no object.
const (
	// Other is shared by all objects beyond SeriesLimit.
	Other = "other"
	// Unmatched is the route of requests that no route took: malformed or not found.
	Unmatched = "unmatched"
)

// Metrics holds every counter of a process. Its methods may be called at any time by any
// goroutine, but those that look names up belong on the control path.
type Metrics struct {
	shards   int
	start    time.Time
	routes   table[string]
	clusters table[string]
	hosts    table[hostKey]
	streams  table[string]

	listenersMu sync.Mutex
	listeners   map[string]*ConnStats

	// Mirrors counts mirrored copies of requests.
	Mirrors Mirrors
	// LateChecks counts health checks that began much later than they were due: too many others
	// took too long, or the machine is too busy.
	LateChecks atomic.Uint64
	// Uncompressed counts answers that were not compressed for want of memory.
	Uncompressed atomic.Uint64

	// Callers remembers which clients call which clusters.
	Callers Callers

	protections protections
	pressure    atomic.Pointer[func() []PressureState]
	breakers    atomic.Pointer[func() []BreakerState]
	overloads   atomic.Pointer[func() []OverloadState]
	faults      atomic.Pointer[func() []FaultStats]
	shadows     atomic.Pointer[func() []model.ShadowReport]
	releases    atomic.Pointer[func() []ReleaseState]

	config    configState
	accessLog atomic.Pointer[AccessLog]
	watch     atomic.Pointer[func() []HostState]

	store      atomic.Pointer[func() StoreState]
	objectives atomic.Pointer[func() []ObjectiveState]

	runtimeOnce sync.Once
	runtime     *prometheus.Registry // what Figures has of the Go runtime
}

type hostKey struct{ cluster, address string }

// NewMetrics returns empty metrics whose series have the given number of shards (at least
// one): as many as goroutines count at the same time, GOMAXPROCS as a rule.
func NewMetrics(shards int) *Metrics {
	shards = max(shards, 1)
	m := &Metrics{shards: shards, start: time.Now(), listeners: make(map[string]*ConnStats)}
	m.Callers.seed = maphash.MakeSeed()
	m.routes.setUp(shards, Other)
	m.clusters.setUp(shards, Other)
	m.hosts.setUp(shards, hostKey{Other, Other})
	m.streams.setUp(shards, Other)
	return m
}

// Started returns when the metrics were made: the beginning of every counter.
func (m *Metrics) Started() time.Time { return m.start }

// Route returns the series of a route, made if need be. The same name gives the same
// series for as long as the route exists, whatever snapshots come.
func (m *Metrics) Route(name string) *Series { return m.routes.series(name) }

// Cluster returns the series of a cluster, made if need be.
func (m *Metrics) Cluster(name string) *Series { return m.clusters.series(name) }

// Host returns the series of one host of a cluster, made if need be.
func (m *Metrics) Host(cluster, address string) *Series {
	return m.hosts.series(hostKey{cluster, address})
}

// Stream returns the series of a stream route, made if need be: of its connections, or its
// sessions of UDP. [Unmatched] is for those that no route takes.
func (m *Metrics) Stream(name string) *Series { return m.streams.series(name) }

// StreamStats returns what a stream route's series counted; false if there is none.
func (m *Metrics) StreamStats(name string) (Stats, bool) { return m.streams.stats(name) }

// RouteStats returns what a route's series counted; false if there is none.
func (m *Metrics) RouteStats(name string) (Stats, bool) { return m.routes.stats(name) }

// HostStats returns what a host's series counted; false if there is none.
func (m *Metrics) HostStats(cluster, address string) (Stats, bool) {
	return m.hosts.stats(hostKey{cluster, address})
}

// Totals returns the sum over all routes, forgotten ones included, so that it only grows
// (but for InFlight).
func (m *Metrics) Totals() Stats { return m.routes.totals() }

// StreamTotals is Totals for stream routes: their connections and sessions are no requests.
func (m *Metrics) StreamTotals() Stats { return m.streams.totals() }

// Live says which objects exist. A nil function says that all do.
type Live struct {
	Route, Cluster, Stream func(name string) bool
	Host                   func(cluster, address string) bool
	// Scope is of what requests are counted at under overload (model.Overload.Scope).
	Scope func(name string) bool
}

// target reports whether protections have such a target.
func (l *Live) target(name string) bool {
	if name == Process {
		return true
	}
	for _, live := range []func(string) bool{l.Route, l.Cluster, l.Stream, l.Scope} {
		if live == nil || live(name) {
			return true
		}
	}
	return false
}

// Retain notes which objects exist now. The series of the others are forgotten once they
// have been gone for ForgetAfter and have no request in flight.
func (m *Metrics) Retain(live Live) {
	now := time.Now()
	if live.Route != nil {
		m.routes.retain(now, func(name string) bool { return name == Unmatched || live.Route(name) })
	}
	if live.Stream != nil {
		m.streams.retain(now, func(name string) bool { return name == Unmatched || live.Stream(name) })
	}
	if live.Cluster != nil {
		m.clusters.retain(now, live.Cluster)
	}
	if live.Host != nil {
		m.hosts.retain(now, func(k hostKey) bool { return live.Host(k.cluster, k.address) })
	}
	m.protections.retain(now, live.target)
}

// table holds the series of one kind of object.
type table[K comparable] struct {
	shards   int
	otherKey K
	other    *Series
	overflow atomic.Uint64 // times an object had to share other

	mu    sync.RWMutex
	byKey map[K]*Series
	gone  map[K]time.Time // since when, of those in byKey that no object stands for
	past  Stats           // the sum of forgotten series
}

func (t *table[K]) setUp(shards int, other K) {
	t.shards, t.otherKey, t.other = shards, other, newSeries(shards)
	t.byKey, t.gone = make(map[K]*Series), make(map[K]time.Time)
}

func (t *table[K]) series(key K) *Series {
	t.mu.RLock()
	s, known := t.byKey[key]
	_, gone := t.gone[key]
	t.mu.RUnlock()
	if known && !gone {
		return s
	}
	if key == t.otherKey {
		return t.other
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.gone, key) // whoever asks for it is about to use it
	if s = t.byKey[key]; s != nil {
		return s
	}
	if len(t.byKey) >= SeriesLimit && len(t.gone) > 0 {
		t.forget(func(time.Time) bool { return true })
	}
	if len(t.byKey) >= SeriesLimit {
		t.overflow.Add(1)
		return t.other
	}
	s = newSeries(t.shards)
	t.byKey[key] = s
	return s
}

func (t *table[K]) stats(key K) (Stats, bool) {
	t.mu.RLock()
	s := t.byKey[key]
	t.mu.RUnlock()
	if s == nil {
		return Stats{}, false
	}
	return s.Snapshot(), true
}

// used reports whether there is a series that has counted something.
func (t *table[K]) used(key K) bool {
	t.mu.RLock()
	s := t.byKey[key]
	t.mu.RUnlock()
	return s != nil && s.used()
}

func (t *table[K]) totals() Stats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	sum := t.past
	t.other.addTo(&sum)
	for _, s := range t.byKey {
		s.addTo(&sum)
	}
	sum.settle()
	return sum
}

func (t *table[K]) retain(now time.Time, live func(K) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.byKey {
		_, gone := t.gone[key]
		switch {
		case live(key):
			delete(t.gone, key)
		case !gone:
			t.gone[key] = now
		}
	}
	t.forget(func(since time.Time) bool { return now.Sub(since) >= ForgetAfter })
}

// sweep forgets what has been gone for long enough at now.
func (t *table[K]) sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(func(since time.Time) bool { return now.Sub(since) >= ForgetAfter })
}

// forget drops the gone series whose time has come. t.mu is held.
func (t *table[K]) forget(due func(since time.Time) bool) {
	for key, since := range t.gone {
		s := t.byKey[key]
		if !due(since) || s.Snapshot().InFlight > 0 {
			continue
		}
		s.addTo(&t.past)
		delete(t.byKey, key)
		delete(t.gone, key)
	}
}

// each calls f for every series, Other last if it was ever used.
func (t *table[K]) each(f func(K, *Series)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for key, s := range t.byKey {
		f(key, s)
	}
	if t.overflow.Load() > 0 {
		f(t.otherKey, t.other)
	}
}
