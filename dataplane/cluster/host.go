package cluster

import (
	"net/netip"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/balance"
	"weir.dev/weir/traffic/health"
)

// Host is one address of a cluster, with its load, its counters and its connections.
// It stays the same object while its address stays in its cluster.
type Host struct {
	cluster  *Cluster
	address  netip.AddrPort
	token    uint64
	common   pool                   // everybody's connections
	private  private                // those of one client each
	wiring   atomic.Pointer[wiring] // never nil
	tls      atomic.Pointer[hostConfig]
	draining atomic.Bool // see drain
	pooled   atomic.Bool // it is in set.pooled

	// Of links, see streams.go.
	links atomic.Int64  // in shards, or being opened
	http1 atomic.Uint32 // the era in which the host has last chosen HTTP/1.1

	// Guarded by set.mu.
	check    check
	endpoint model.Endpoint
	outlying outlying          // see outlier.go
	stood    standing          // before turn
	warms    transport.Instant // since when slow start counts; 0: it is whole

	// Series counts the tries at this host; nil if nobody counts.
	Series *telemetry.Series

	watched
	load  balance.Load
	idle  atomic.Int64 // connections in shards
	Stats Stats

	failure atomic.Pointer[connectFailure] // nil: the last connection could be made
}

// Stats counts what happened at a host since it appeared.
type Stats struct {
	Requests        atomic.Uint64 // tries begun
	Failures        atomic.Uint64 // tries ended as failed
	ConnectFailures atomic.Uint64
	Opened          atomic.Uint64 // connections
	Open            atomic.Int64  // connections now, idle ones included
	Races           atomic.Uint64 // tries begun anew, free of charge: a pooled connection was dead, or a stream refused unseen

	Checks [checkResults]atomic.Uint64 // health checks by CheckResult
}

// HostStatus is a host as people and programs see it.
type HostStatus struct {
	Cluster         string
	Address         netip.AddrPort
	Zone            string
	Weight          uint32
	Priority        uint32
	Healthy         bool    // ready, not ejected, not failing its checks, nor waiting for the first
	Warmth          float64 // the part of its weight that slow start lets it have, 0.1 to 1
	Draining        bool    // removed, or its cluster is; finishing what is in flight
	InFlight        int64
	Idle, Open      int64         // connections
	Latency         time.Duration // peak-sensitive average; 0: none yet
	Requests        uint64
	Failures        uint64
	ConnectFailures uint64
	Races           uint64 // tries begun anew, free of charge
	Opened          uint64
	TLS             bool      // connections are secured
	LastError       string    // why the last connection could not be made; empty: it could
	LastErrorAt     time.Time // when that was

	Check      health.Verdict // of its health checks
	Checked    bool           // its cluster has health checks
	CheckSince time.Time      // when the verdict turned last; zero: it has not
	CheckError string         // why the last health check failed; empty: it passed, or there was none
	// CheckResults counts health checks by CheckResult.
	CheckResults [checkResults]uint64

	Judged  bool // its cluster detects outliers
	Ejected bool // it is kept from requests for being one
	// EjectedBy is the rule (health.Rule) that it is ejected by, or would be in place of what
	// is only observed, and EjectedUntil when that ends. Empty and zero: none.
	EjectedBy    string
	EjectedUntil time.Time
	Ejections    uint64 // so far
	WouldEject   uint64 // of those that were only observed
}

func newHost(c *Cluster, address netip.AddrPort) *Host {
	h := &Host{cluster: c, address: address, token: tokenOf(c.name, address), common: pool{shards: make([]shard, c.set.config.Shards), room: make(chan struct{}, 1)}}
	if m := c.set.config.Metrics; m != nil {
		h.Series = m.Host(c.name, address.String())
	}
	return h
}

// Address returns the host's address.
func (h *Host) Address() netip.AddrPort { return h.address }

// Cluster returns the cluster that the host belongs to.
func (h *Host) Cluster() *Cluster { return h.cluster }

// healthy reports whether requests may come here without a panic. It is called with set.mu
// held, as is warm.
func (h *Host) healthy() bool {
	return h.sound() && !h.ejected()
}

// sound reports whether the host is healthy but for ejections.
func (h *Host) sound() bool {
	return !h.endpoint.Unready && h.check.verdict != health.Unhealthy && !h.check.held
}

// slot is the host's place in the queue of checks.
func (h *Host) slot() *slot { return &h.check.slot }

// Begin counts a try: in flight until exactly one of End and Cancel is called.
func (h *Host) Begin() {
	h.load.Begin()
	h.Stats.Requests.Add(1)
}

// Outcome is how a try ended that says something about its host.
type Outcome struct {
	Shard   int // the caller's, below Config.Shards
	Result  health.Result
	Latency time.Duration // until the answer, or the failure; not until a slow client has it
	// Copy says that nobody waited for the answer. What becomes of copies ejects nobody.
	Copy bool
}

// End ends a try, now. A failed one feeds a penalty into the load (balance.Load.Fail), so that
// a host that fails fast attracts nothing, and may be the one that has the host ejected.
func (h *Host) End(now transport.Instant, o Outcome) {
	h.load.End()
	h.observe(now, o)
}

// observe takes an outcome for the balancing and for the detection of outliers.
func (h *Host) observe(now transport.Instant, o Outcome) {
	if o.Result.Failed() {
		h.Stats.Failures.Add(1)
		h.load.Fail(int64(now), o.Latency)
		h.cluster.falter(int64(now))
	} else {
		h.load.Observe(int64(now), o.Latency)
	}
	if d := h.cluster.detection.Load(); d != nil && !o.Copy {
		h.judge(now, d, o)
	}
}

// Outrun ends a try that was given up after so long because another one, sent later, was faster: its
// answer would have taken longer. Whether it would have been an error nobody knows.
func (h *Host) Outrun(now transport.Instant, shard int, took time.Duration) {
	h.load.End()
	h.load.Lag(int64(now), took)
	if t := h.tally.Load(); t != nil {
		t.served.Observe(shard, took)
	}
}

// Cancel ends a try that says nothing about the host, or no more than Reached has said: the
// client went away, or the caller's own time was over.
func (h *Host) Cancel() { h.load.End() }

// InFlight returns the number of tries in flight.
func (h *Host) InFlight() int64 { return h.load.InFlight() }

// status is called with set.mu held.
func (h *Host) status(now transport.Instant) HostStatus {
	s := HostStatus{
		Cluster:         h.cluster.name,
		Address:         h.address,
		Zone:            h.endpoint.Zone,
		Weight:          h.endpoint.Weight,
		Priority:        h.endpoint.Priority,
		Healthy:         h.healthy(),
		Warmth:          float64(h.warmth(now)) / wholeWarmth,
		Draining:        h.draining.Load(),
		TLS:             h.wiring.Load().config != nil,
		InFlight:        h.load.InFlight(),
		Idle:            h.idle.Load() + int64(len(h.resting())),
		Open:            h.Stats.Open.Load(),
		Requests:        h.Stats.Requests.Load(),
		Failures:        h.Stats.Failures.Load(),
		ConnectFailures: h.Stats.ConnectFailures.Load(),
		Races:           h.Stats.Races.Load(),
		Opened:          h.Stats.Opened.Load(),
		Check:           h.check.verdict,
		Checked:         h.cluster.checked != nil,
		CheckSince:      h.check.since,
		CheckError:      h.check.failure,
	}
	for i := range s.CheckResults {
		s.CheckResults[i] = h.Stats.Checks[i].Load()
	}
	if h.load.Tried() {
		s.Latency = h.load.Latency(int64(now))
	}
	if f := h.failure.Load(); f != nil {
		s.LastError, s.LastErrorAt = f.text, f.at
	}
	h.addOutlying(&s)
	return s
}
