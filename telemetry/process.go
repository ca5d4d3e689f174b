package telemetry

import (
	"sync"
	"sync/atomic"
	"time"
)

// HostState is what a host's connections are like now. It comes from who owns them.
type HostState struct {
	Cluster, Address string
	Healthy          bool
	Judged, Ejected  bool   // its cluster detects outliers, and it is ejected as one
	Open, Idle       int    // connections; the idle ones are open too
	Opened           uint64 // connections made so far
	ConnectFailures  uint64 // connections that could not be made so far
	Races            uint64 // tries begun anew, free of charge, so far

	// Checked says that the host's health is checked; Checks are how often it has passed, failed,
	// and failed for want of time.
	Checked bool
	Checks  [3]uint64
}

// checkNames are the results of health checks in metrics.
var checkNames = [len(HostState{}.Checks)]string{"passed", "failed", "timed_out"}

// configState is what the process-level metrics of configuration need.
type configState struct {
	mu          sync.Mutex
	version     string
	revision    uint64
	appliedAt   time.Time
	build       string
	applied     atomic.Uint64
	refused     atomic.Uint64
	quarantined atomic.Int64
	ready       atomic.Bool
}

// SetBuild names the version of the program, once at start.
func (m *Metrics) SetBuild(version string) {
	m.config.mu.Lock()
	defer m.config.mu.Unlock()
	m.config.build = version
}

// ConfigApplied notes that a snapshot is live from now on.
func (m *Metrics) ConfigApplied(revision uint64, version string) {
	m.config.mu.Lock()
	defer m.config.mu.Unlock()
	m.config.revision, m.config.version, m.config.appliedAt = revision, version, time.Now()
	m.config.applied.Add(1)
}

// ConfigRefused counts a snapshot that an engine refused; the one before stays live.
func (m *Metrics) ConfigRefused() { m.config.refused.Add(1) }

// SetQuarantined notes how many objects have a newest version that is not live because
// it is wrong.
func (m *Metrics) SetQuarantined(objects int) { m.config.quarantined.Store(int64(objects)) }

// SetReady notes whether the process wants traffic.
func (m *Metrics) SetReady(ready bool) { m.config.ready.Store(ready) }

// WatchHosts has the connection metrics of hosts read from f at every scrape.
func (m *Metrics) WatchHosts(f func() []HostState) { m.watch.Store(&f) }

// WatchAccessLog has the metrics of the access log read from l.
func (m *Metrics) WatchAccessLog(l *AccessLog) { m.accessLog.Store(l) }
