package console

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

const (
	// sampleStep is the time between two samples of a history.
	sampleStep = 2 * time.Second
	// historySpan is how far a history goes back.
	historySpan = 10 * time.Minute
	// windowStep is the shortest window that recent rates and quantiles are of; the longest
	// is twice that.
	windowStep = 10 * time.Second
	// busiest is how many routes, and how many clusters, always have a history: those with
	// the highest rates. Others have one from the moment at which somebody asks for it.
	busiest = 50
	// maxTracks is how many histories of routes, and how many of clusters, are kept at once.
	maxTracks = 2 * busiest
)

// recorder reads the counters from time to time, so that rates and quantiles can be of a
// short while ago and charts of the last minutes. Nothing of it is on the request path.
//
// It keeps two moments of everything that was ever used. What happened lately is the
// difference between now and the older of them, ten to twenty seconds ago:
//
//	──────┬───────────┬──────────┬──▶
//	    older       newer       now      lately: now − older
//	      └── windowStep ──┘
type recorder struct {
	metrics *telemetry.Metrics

	mu           sync.Mutex
	older, newer *moment
	spare        *moment // what older was before: its memory is used again
	tracks       map[seriesKey]*track
	acts         actTrack
}

// seriesKey names a series; address is of hosts only, name is empty for the total.
type seriesKey struct {
	kind          seriesKind
	name, address string
}

type seriesKind uint8

const (
	ofTotal seriesKind = iota
	ofRoute
	ofCluster
	ofHost
	ofStreams // the total of stream routes
)

// moment is what everything had counted at one time.
type moment struct {
	at    time.Time
	index map[seriesKey]int32 // into tallies; what is not there had counted nothing
	all   []tally
	acts  map[actKey]telemetry.ProtectionStats
}

// tally is what one series had counted, in the few words that rates and quantiles need.
// Differences are right even where a number has passed its end and begun anew.
type tally struct {
	requests uint32
	blame    [blames]uint32 // by model.Blame; the first stays zero
	buckets  [len(telemetry.Buckets{})]uint32
	standing standing
}

const blames = int(model.BlameProxy) + 1

// standing is what lists are sorted by: figures of the step that ended with the tally.
type standing struct{ rate, errors, p99 float32 }

func newRecorder(m *telemetry.Metrics) *recorder {
	r := &recorder{metrics: m, newer: &moment{at: m.Started()}, spare: &moment{}, tracks: map[seriesKey]*track{}}
	r.older = r.newer
	r.tracks[seriesKey{}] = newTrack(&telemetry.Stats{}, m.Started())
	r.acts.past = []actMark{{at: m.Started()}}
	return r
}

// Record reads the counters every two seconds until ctx ends.
func (c *Console) Record(ctx context.Context) {
	tick := time.NewTicker(sampleStep)
	defer tick.Stop()
	for {
		now := c.cfg.Now()
		c.recorder.step(now)
		c.evidence.step(c.cfg.Releases, now)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// step adds a sample to each history and, when its time has come, begins a new window.
func (r *recorder) step(now time.Time) {
	r.mu.Lock()
	due := now.Sub(r.newer.at) >= windowStep
	next, before := r.spare, r.newer
	r.mu.Unlock()
	if due {
		next.fill(r.metrics, before, now) // only step uses spare
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if due {
		if r.older != r.newer {
			r.spare = r.older
		} else {
			r.spare = &moment{}
		}
		r.older, r.newer = r.newer, next
		r.follow(now)
	}
	for key, t := range r.tracks {
		stats := r.stats(key)
		t.add(&stats, now)
	}
	r.acts.add(r.metrics.Protections(), now)
}

// stats reads the series that has a history under key.
func (r *recorder) stats(key seriesKey) telemetry.Stats {
	var stats telemetry.Stats
	switch key.kind {
	case ofRoute:
		stats = routeStats(r.metrics, key.name)
	case ofCluster:
		stats, _ = r.metrics.ClusterStats(key.name)
	default:
		stats = r.metrics.Totals()
	}
	return stats
}

// routeStats reads the series of a route, or of a stream route, whose names are others.
func routeStats(m *telemetry.Metrics, name string) telemetry.Stats {
	stats, known := m.RouteStats(name)
	if !known {
		stats, _ = m.StreamStats(name)
	}
	return stats
}

// lately returns what a series counted in the current window, and how long that is. Before
// the first window has passed it is since the start.
func (r *recorder) lately(key seriesKey, s *telemetry.Stats, now time.Time) (tally, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := tallyOf(s)
	t.since(r.older.of(key))
	return t, now.Sub(r.older.at)
}

// standings returns how each of the series stood when the newest window began.
func (r *recorder) standings(keys []seriesKey) []standing {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]standing, len(keys))
	for i, key := range keys {
		if t := r.newer.of(key); t != nil {
			out[i] = t.standing
		}
	}
	return out
}

// follow gives the busiest routes and clusters a history. r.mu is held.
func (r *recorder) follow(now time.Time) {
	type ranked struct {
		key  seriesKey
		rate float32
	}
	byKind := map[seriesKind][]ranked{}
	for key, i := range r.newer.index {
		if rate := r.newer.all[i].standing.rate; rate > 0 && (key.kind == ofRoute || key.kind == ofCluster) {
			byKind[key.kind] = append(byKind[key.kind], ranked{key, rate})
		}
	}
	for _, list := range byKind {
		slices.SortFunc(list, func(a, b ranked) int { return cmp.Compare(b.rate, a.rate) })
		for _, it := range list[:min(len(list), busiest)] {
			r.track(it.key, now)
		}
	}
}

// track returns the history of a series, which begins now if it had none. Where there are
// too many, the one that was wanted longest ago makes room. r.mu is held.
func (r *recorder) track(key seriesKey, now time.Time) *track {
	if t := r.tracks[key]; t != nil {
		t.wanted = now
		return t
	}
	var oldest *seriesKey
	same := 0
	for k, other := range r.tracks {
		if k.kind != key.kind {
			continue
		}
		same++
		if oldest == nil || other.wanted.Before(r.tracks[*oldest].wanted) {
			oldest = &k
		}
	}
	if same >= maxTracks {
		delete(r.tracks, *oldest)
	}
	stats := r.stats(key)
	t := newTrack(&stats, now)
	r.tracks[key] = t
	return t
}

// fill reads everything that was ever used; before is the moment before it.
func (m *moment) fill(metrics *telemetry.Metrics, before *moment, now time.Time) {
	seconds := now.Sub(before.at).Seconds()
	m.at, m.all = now, m.all[:0]
	if m.index == nil {
		m.index = make(map[seriesKey]int32)
	}
	clear(m.index)
	add := func(key seriesKey, s *telemetry.Stats) {
		t := tallyOf(s)
		step := t
		step.since(before.of(key))
		t.standing = step.stand(seconds)
		m.index[key] = int32(len(m.all))
		m.all = append(m.all, t)
	}
	total := metrics.Totals()
	add(seriesKey{}, &total)
	streams := metrics.StreamTotals()
	add(seriesKey{kind: ofStreams}, &streams)
	metrics.VisitRoutes(func(name string, s *telemetry.Stats) { add(seriesKey{ofRoute, name, ""}, s) })
	metrics.VisitStreams(func(name string, s *telemetry.Stats) {
		if name != telemetry.Unmatched { // which is requests'
			add(seriesKey{ofRoute, name, ""}, s)
		}
	})
	metrics.VisitClusters(func(name string, s *telemetry.Stats) { add(seriesKey{ofCluster, name, ""}, s) })
	metrics.VisitHosts(func(cluster, address string, s *telemetry.Stats) { add(seriesKey{ofHost, cluster, address}, s) })
	m.acts = actsByKey(metrics.Protections())
}

// of returns a series' tally; nil if it had counted nothing.
func (m *moment) of(key seriesKey) *tally {
	if i, ok := m.index[key]; ok {
		return &m.all[i]
	}
	return nil
}

func tallyOf(s *telemetry.Stats) tally {
	t := tally{requests: uint32(s.Requests)}
	for f, n := range s.Flags {
		if f != 0 && n > 0 {
			t.blame[model.Flag(f).Blame()] += uint32(n)
		}
	}
	for i, n := range s.Buckets {
		t.buckets[i] = uint32(n)
	}
	return t
}

// since takes away what was counted earlier; nil: nothing. If the series began anew in
// between, nothing was.
func (t *tally) since(earlier *tally) {
	if earlier == nil || t.requests-earlier.requests > math.MaxInt32 {
		return
	}
	t.requests -= earlier.requests
	for i := range t.blame {
		t.blame[i] -= earlier.blame[i]
	}
	for i := range t.buckets {
		t.buckets[i] -= earlier.buckets[i]
	}
}

// quantiles returns p50, p95 and p99 in milliseconds; zero without requests.
func (t *tally) quantiles() (p50, p95, p99 float64) {
	var b telemetry.Buckets
	for i, n := range t.buckets {
		b[i] = uint64(n)
	}
	return milliseconds(b.Quantile(0.50)), milliseconds(b.Quantile(0.95)), milliseconds(b.Quantile(0.99))
}

func (t *tally) errors() uint32 {
	var n uint32
	for _, b := range t.blame {
		n += b
	}
	return n
}

func (t *tally) stand(seconds float64) standing {
	if seconds <= 0 || t.requests == 0 {
		return standing{}
	}
	_, _, p99 := t.quantiles()
	return standing{float32(float64(t.requests) / seconds), float32(float64(t.errors()) / seconds), float32(p99)}
}
