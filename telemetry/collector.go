package telemetry

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"weir.dev/weir/model"
)

// maxScrapes is how many scrapes are answered at the same time; more get 503.
const maxScrapes = 4

// Handler serves the metrics in Prometheus's text format, or OpenMetrics where the client
// asks for it. A series that never counted a request shows one zero line only.
func (m *Metrics) Handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(m))
	registry.MustRegister(runtimeCollectors()...)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, EnableOpenMetrics: true})
}

// collector reads the atomics at every scrape. Between scrapes no Prometheus type exists
// for a series.
type collector struct {
	metrics *Metrics
	descs   [famCount]*prometheus.Desc
}

func newCollector(m *Metrics) *collector {
	c := &collector{metrics: m}
	for i, f := range Families {
		c.descs[i] = prometheus.NewDesc(f.Name, f.Help, f.Labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	now := time.Now()
	c.metrics.sweep(now)
	c.metrics.collect(&emitter{descs: &c.descs, out: out}, now)
}

// sweep forgets what has been gone for long enough.
func (m *Metrics) sweep(now time.Time) {
	m.routes.sweep(now)
	m.clusters.sweep(now)
	m.hosts.sweep(now)
	m.streams.sweep(now)
	m.protections.sweep(now)
}

// collect emits everything.
func (m *Metrics) collect(e *emitter, now time.Time) {
	var labels []string // of the series at hand, room for one series' labels and two more
	m.routes.each(func(name string, s *Series) {
		labels = append(labels[:0], name)
		e.series(famRoute, s, labels)
	})
	m.clusters.each(func(name string, s *Series) {
		labels = append(labels[:0], name)
		e.series(famCluster, s, labels)
	})
	m.hosts.each(func(k hostKey, s *Series) {
		labels = append(labels[:0], k.cluster, k.address)
		e.series(famHost, s, labels)
	})
	m.streams.each(func(name string, s *Series) { e.stream(s, name) })
	e.value(famOverflow, float64(m.routes.overflow.Load()), "route")
	e.value(famOverflow, float64(m.streams.overflow.Load()), "stream")
	e.value(famOverflow, float64(m.clusters.overflow.Load()), "cluster")
	e.value(famOverflow, float64(m.hosts.overflow.Load()), "host")
	e.hostStates(m)
	e.protections(m)
	e.overloads(m)
	e.faults(m)
	e.shadows(m)
	e.releases(m)
	e.pressure(m)
	e.listeners(m)
	e.objectives(m)
	e.store(m)
	e.process(m, now)
}

// emitter turns figures into metrics.
type emitter struct {
	descs *[famCount]*prometheus.Desc
	out   chan<- prometheus.Metric

	figures func(*Figure) // instead of out, if not nil
	figure  *Figure       // what it was given last
}

func (e *emitter) value(family int, v float64, labels ...string) {
	if e.figures != nil {
		e.give(family, v, labels)
		return
	}
	kind := prometheus.GaugeValue
	if Families[family].Type == Counter {
		kind = prometheus.CounterValue
	}
	e.out <- &sample{desc: e.descs[family], kind: kind, value: v, labels: pairs(family, labels)}
}

// histogram emits the durations of stats, of which it keeps a copy: series whose stats nobody
// keeps cost no memory.
func (e *emitter) histogram(family int, stats *Stats, labels []string) {
	if e.figures != nil {
		e.giveHistogram(family, stats, labels)
		return
	}
	kept := *stats
	e.out <- &sample{desc: e.descs[family], stats: &kept, labels: pairs(family, labels)}
}

// series emits one series; base is famRoute, famCluster or famHost.
func (e *emitter) series(base int, s *Series, labels []string) {
	stats := s.Snapshot()
	with := func(extra ...string) []string { return append(labels[:len(labels):len(labels)], extra...) }
	if stats.Requests == 0 && stats.InFlight == 0 {
		if e.figures == nil {
			e.value(base+famRequests, 0, with(classNames[2])...)
		}
		return
	}
	for class, n := range stats.Classes {
		// Zero for the two that ratios are made of, so that their first rise is seen.
		if n > 0 || class == 2 || class == 5 {
			e.value(base+famRequests, float64(n), with(classNames[class])...)
		}
	}
	for f, n := range stats.Flags {
		if n > 0 {
			e.value(base+famFlags, float64(n), with(model.Flag(f).String(), model.Flag(f).Blame().String())...)
		}
	}
	for end, n := range stats.Calls {
		if n > 0 {
			e.value(base+famCalls, float64(n), with(GRPCEnd(end).String())...)
		}
	}
	e.histogram(base+famDuration, &stats, labels)
	e.value(base+famInFlight, float64(stats.InFlight), labels...)
	e.value(base+famRetries, float64(stats.Retries), labels...)
	e.value(base+famBytesIn, float64(stats.BytesIn), labels...)
	e.value(base+famBytesOut, float64(stats.BytesOut), labels...)
}

// stream emits the series of one stream route.
func (e *emitter) stream(s *Series, name string) {
	stats := s.Snapshot()
	e.value(famStreamConnections, float64(stats.Requests), name)
	e.value(famStreamActive, float64(stats.InFlight), name)
	if stats.Requests == 0 && stats.InFlight == 0 {
		return
	}
	for f, n := range stats.Flags {
		if n > 0 {
			e.value(famStreamFlags, float64(n), name, model.Flag(f).String(), model.Flag(f).Blame().String())
		}
	}
	e.histogram(famStreamDuration, &stats, []string{name})
	e.value(famStreamRetries, float64(stats.Retries), name)
	e.value(famStreamBytesIn, float64(stats.BytesIn), name)
	e.value(famStreamBytesOut, float64(stats.BytesOut), name)
}

func (e *emitter) hostStates(m *Metrics) {
	watch := m.watch.Load()
	if watch == nil {
		return
	}
	seen := make(map[hostKey]bool)
	ejected := make(map[string]float64)
	for _, h := range (*watch)() {
		key := hostKey{h.Cluster, h.Address}
		if seen[key] || len(seen) >= SeriesLimit {
			continue // a host stands once on the page, or the whole page fails
		}
		seen[key] = true
		if h.Judged {
			ejected[h.Cluster] += truth(h.Ejected)
		}
		if e.figures != nil && !m.hosts.used(key) {
			continue
		}
		e.value(famHostHealthy, truth(h.Healthy), h.Cluster, h.Address)
		e.value(famHostConnections, float64(h.Open-h.Idle), h.Cluster, h.Address, "active")
		e.value(famHostConnections, float64(h.Idle), h.Cluster, h.Address, "idle")
		e.value(famHostOpened, float64(h.Opened), h.Cluster, h.Address)
		e.value(famHostConnectFailures, float64(h.ConnectFailures), h.Cluster, h.Address)
		e.value(famHostRaces, float64(h.Races), h.Cluster, h.Address)
		for i, n := range h.Checks {
			if h.Checked {
				e.value(famHostChecks, float64(n), h.Cluster, h.Address, checkNames[i])
			}
		}
	}
	for name, n := range ejected {
		if e.figures != nil && n == 0 && !m.clusters.used(name) {
			continue
		}
		e.value(famEjectedHosts, n, name)
	}
}

func (e *emitter) listeners(m *Metrics) {
	m.listenersMu.Lock()
	defer m.listenersMu.Unlock()
	for name, c := range m.listeners {
		e.value(famListenerActive, float64(c.Active()), name)
		e.value(famListenerParked, float64(c.Parked()), name)
		e.value(famListenerConnections, float64(c.accepted.Load()), name)
		for reason := range c.refused {
			e.value(famListenerRefused, float64(c.refused[reason].Load()), name, refusalNames[reason])
		}
		e.handshakes(name, c)
		e.datagrams(name, c)
		e.value(famListenerBytesIn, float64(c.bytesIn.Load()), name)
		e.value(famListenerBytesOut, float64(c.bytesOut.Load()), name)
	}
}

func (e *emitter) process(m *Metrics, now time.Time) {
	for r := range m.Mirrors {
		e.value(famMirrors, float64(m.Mirrors[r].Load()), mirrorNames[r])
	}
	e.value(famLateChecks, float64(m.LateChecks.Load()))
	e.value(famUncompressed, float64(m.Uncompressed.Load()))
	s := &m.config
	s.mu.Lock()
	revision, version, appliedAt, build := s.revision, s.version, s.appliedAt, s.build
	s.mu.Unlock()
	e.value(famConfigRevision, float64(revision))
	if !appliedAt.IsZero() {
		e.value(famConfigInfo, 1, version)
		e.value(famConfigAge, now.Sub(appliedAt).Seconds())
	}
	e.value(famConfigApplies, float64(s.applied.Load()), "applied")
	e.value(famConfigApplies, float64(s.refused.Load()), "refused")
	e.value(famConfigQuarantined, float64(s.quarantined.Load()))
	e.value(famReady, truth(s.ready.Load()))
	l := m.accessLog.Load()
	e.value(famLogWritten, float64(l.Written()))
	e.value(famLogDropped, float64(l.Dropped()))
	e.value(famBuildInfo, 1, build, runtime.Version())
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// sample is one metric: a value, or the histogram of stats.
type sample struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	value  float64
	stats  *Stats
	labels []*dto.LabelPair
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.desc }

// Write implements prometheus.Metric.
func (s *sample) Write(out *dto.Metric) error {
	out.Label = s.labels
	switch {
	case s.stats != nil:
		out.Histogram = histogram(s.stats)
	case s.kind == prometheus.CounterValue:
		out.Counter = &dto.Counter{Value: &s.value}
	default:
		out.Gauge = &dto.Gauge{Value: &s.value}
	}
	return nil
}

// exportedBounds are the upper bounds, in seconds, of the buckets that are exported: the
// ends of the octaves.
var exportedBounds = func() (bounds [bucketCount / 2]float64) {
	for i := range bounds {
		bounds[i] = float64(scale.Upper(2*i+1)) / float64(time.Second) // Seconds() would round twice
	}
	return bounds
}()

func histogram(s *Stats) *dto.Histogram {
	count, sum := s.Buckets.Count(), s.Duration.Seconds()
	h := &dto.Histogram{SampleCount: &count, SampleSum: &sum, Bucket: make([]*dto.Bucket, len(exportedBounds))}
	var below uint64
	for i := range exportedBounds {
		below += s.Buckets[2*i] + s.Buckets[2*i+1]
		upTo := below
		h.Bucket[i] = &dto.Bucket{CumulativeCount: &upTo, UpperBound: &exportedBounds[i]}
	}
	return h
}

// pairs joins a family's label names with values, sorted by name as Prometheus wants them.
func pairs(family int, values []string) []*dto.LabelPair {
	names := Families[family].Labels
	out := make([]*dto.LabelPair, len(names))
	for i := range names {
		value := values[i]
		pair := &dto.LabelPair{Name: &names[i], Value: &value}
		at := i
		for ; at > 0 && out[at-1].GetName() > names[i]; at-- {
			out[at] = out[at-1]
		}
		out[at] = pair
	}
	return out
}
