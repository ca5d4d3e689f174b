// Package proxy is the request engine: it serves HTTP/1.1 connections, matches each
// request to a route, applies the route's policies in one written order, and carries the
// request to a host of the chosen cluster and the answer back. A goroutine a connection,
// straight-line code, nothing allocated for a plain request. It never parses policy: what
// to do comes as a model.Snapshot, which Apply makes ready for use.
package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/http3"
	"weir.dev/weir/dataplane/listener"
	"weir.dev/weir/dataplane/overload"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/release"
	"weir.dev/weir/dataplane/shadow"
	"weir.dev/weir/dataplane/stale"
	"weir.dev/weir/dataplane/stream"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/breaker"
	"weir.dev/weir/traffic/pressure"
)

// Config is what a Proxy needs from outside.
type Config struct {
	Log       *slog.Logger
	Metrics   *telemetry.Metrics
	AccessLog *telemetry.AccessLog // nil: none
	Listen    func(ctx context.Context, addr netip.AddrPort) (net.Listener, error)
	Dial      func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
	Resolve   func(ctx context.Context, host string) ([]netip.Addr, error)
	// ListenPacket and DialPacket are for UDP. Begin and what follows it are as in
	// listener.Packets.
	ListenPacket func(ctx context.Context, addr netip.AddrPort) (net.PacketConn, error)
	DialPacket   func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
	Begin        <-chan struct{}
	BeginQUIC    <-chan struct{}
	QUICEnded    func()
	TicketKeys   []byte
	Random       func() uint64
	// Shards is how many shards connections, idle pools and counters are dealt out to: GOMAXPROCS.
	Shards int
	// Zone is where this proxy runs, for clusters that are aware of zones; empty: none is.
	Zone string
	// MaxConnections bounds client connections; 0 derives it from the limit on open files.
	MaxConnections int
	// MaxMirrors bounds the mirrored copies under way at once; 0 is 1,000.
	MaxMirrors int
	// DrainTimeout is how long requests may go on once Run's context has ended.
	DrainTimeout time.Duration
	// IdleGrace is how long idle connections stay open while draining.
	IdleGrace time.Duration
	// Pressure is how near the process is to the end of what it has; nil: never near.
	Pressure *pressure.State
	// Crowd is told now and then while many connections come; nil: nobody.
	Crowd func()
	// MaxStreams is how many streams of HTTP/2 and HTTP/3 the connections of clients have together
	// beyond the few that each may have; 0: any number.
	MaxStreams int64
	// ParkAfter is how long a connection is idle before it is parked; 0 is listener.ParkAfter.
	ParkAfter time.Duration
}

// Proxy is an engine: it puts snapshots into effect.
type Proxy struct {
	cfg       Config
	ctx       context.Context // of dials, pauses and copies: it ends when draining has taken too long
	cut       context.CancelFunc
	clusters  *cluster.Set
	streams   *stream.Engine
	datagrams *stream.Datagrams
	listeners *listener.Set
	shadows   *shadow.Set
	overloads *overload.Set
	faults    faults
	releases  *release.Set
	stale     stale.Store
	sides     sync.WaitGroup // of hedges
	draining  atomic.Bool

	pressedOut *telemetry.Protection // counts who got nothing because the process had nothing left
	room       *http2.Room           // of the streams of clients

	doors sync.Map // listener name → *door

	exchanges sync.Pool // of *exchange
	http2     http2.Server
	http3     http3.Server
	encoders  policy.Encoders

	applying sync.Mutex
	compiled memo
}

// warmTimeout is how long a snapshot waits for the addresses of backends that are new in
// it and known by name only.
const warmTimeout = time.Second

// New returns a proxy that serves nothing yet.
func New(cfg Config) *Proxy {
	if cfg.MaxMirrors == 0 {
		cfg.MaxMirrors = 1000
	}
	if cfg.ParkAfter == 0 {
		cfg.ParkAfter = listener.ParkAfter
	}
	cfg.Shards = max(cfg.Shards, 1)
	p := &Proxy{cfg: cfg, exchanges: sync.Pool{New: newExchange}}
	p.pressedOut = cfg.Metrics.Protection(telemetry.Process, telemetry.ProtectProcessOverload)
	p.room = http2.NewRoom(cfg.MaxStreams, p.crowded, func() { p.pressedOut.Count(model.ModeEnforce) })
	p.ctx, p.cut = context.WithCancel(context.Background())
	p.clusters = cluster.New(cluster.Config{
		Dial: cfg.Dial, DialPacket: cfg.DialPacket, Resolve: cfg.Resolve, Shards: cfg.Shards, Random: cfg.Random,
		Zone: cfg.Zone, Metrics: cfg.Metrics, Log: cfg.Log,
	})
	p.streams = stream.New(stream.Config{
		Context: p.ctx, Clusters: p.clusters, Log: cfg.Log, Metrics: cfg.Metrics,
		AccessLog: cfg.AccessLog, Random: cfg.Random,
	})
	p.datagrams = stream.NewDatagrams(p.streams)
	p.listeners = listener.New(listener.Config{
		Listen: cfg.Listen, Handle: p.serve, Log: cfg.Log, Metrics: cfg.Metrics,
		Shards: cfg.Shards, MaxConnections: cfg.MaxConnections, IdleGrace: cfg.IdleGrace,
		Refuse: p.refuseHandshake, HTTP2: true, Carrier: p.streams.Carrier, Left: p.clusters.Leave, Pressure: cfg.Pressure, Crowd: cfg.Crowd,
		TicketKeys: cfg.TicketKeys,
		Packets: listener.Packets{
			Listen: cfg.ListenPacket, Datagrams: p.datagrams.Serve, QUIC: p.serveHTTP3,
			Begin: cfg.Begin, BeginQUIC: cfg.BeginQUIC, QUICEnded: cfg.QUICEnded,
		},
	})
	p.shadows = shadow.NewSet(shadow.Config{
		Context: p.ctx, Clusters: p.clusters, Metrics: &cfg.Metrics.Mirrors, Report: p.report, Shards: cfg.Shards,
		Mirrors: model.ShadowLimits{InFlight: cfg.MaxMirrors, Body: replayLimit},
	})
	p.overloads = overload.NewSet(cfg.Metrics, cfg.Random)
	cfg.Metrics.WatchOverloads(p.overloads.States)
	cfg.Metrics.WatchFaults(p.faultStats)
	cfg.Metrics.WatchShadows(p.shadows.Reports)
	p.releases = release.NewSet(cfg.Log, cfg.Shards)
	cfg.Metrics.WatchReleases(p.releases.States)
	return p
}

// Apply makes s live: new requests use it, requests under way finish on what they
// started with. Clusters come before the routes that use them, routes before the sockets.
// What cannot be put into effect is reported, and the rest is live all the same.
func (p *Proxy) Apply(s *model.Snapshot) error {
	p.applying.Lock()
	defer p.applying.Unlock()
	errs := []error{p.clusters.Apply(s.Clusters, s.Endpoints)}
	p.clusters.Warm(warmTimeout)
	tables, named, err := p.compiled.compile(p, s)
	p.overloads.Retain(s)
	p.shadows.Retain(s)
	p.faults.retain(s)
	p.releases.Retain(s)
	errs = append(errs, err)
	named = p.streams.Apply(s) || named
	p.datagrams.Apply(s.Listeners)
	for _, l := range s.Listeners {
		p.door(l.Name).view.Store(newView(p, s, l, tables))
	}
	errs = append(errs, p.listeners.Apply(s.Listeners))
	if named {
		p.cfg.Metrics.Retain(live(s))
	}
	return errors.Join(errs...)
}

func (p *Proxy) door(name string) *door {
	d, _ := p.doors.LoadOrStore(name, new(door))
	return d.(*door)
}

// Run serves until ctx ends, then drains: answers close their connections, listening
// stops, requests under way get DrainTimeout. It returns when every connection has ended.
func (p *Proxy) Run(ctx context.Context) error {
	pools, stopPools := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- p.clusters.Run(pools) }()
	swept := make(chan struct{})
	go func() { p.releases.Run(pools); close(swept) }()
	<-ctx.Done()
	p.Drain()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.DrainTimeout)
	defer cancel()
	over, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	context.AfterFunc(limit, func() {
		p.cut() // first, so that what the end of connections breaks knows why
		end()
	})
	p.listeners.Drain(over)
	p.shadows.Wait()
	p.sides.Wait()
	stopPools()
	<-swept
	return <-done
}

// Succeed says that another process has the same sockets and serves: datagrams are its own from
// now on. The end of Run's context follows.
func (p *Proxy) Succeed() { p.listeners.Succeed() }

// TicketKeys returns the keys for session tickets, for the Config of a proxy in another process.
func (p *Proxy) TicketKeys() ([]byte, error) { return p.listeners.TicketKeys() }

// Drain makes every answer from now on close its connection. Listening goes on.
func (p *Proxy) Drain() { p.draining.Store(true) }

// Hosts returns every host with its live state.
func (p *Proxy) Hosts() []cluster.HostStatus { return p.clusters.Hosts() }

// Breakers returns the protection of every cluster that has one.
func (p *Proxy) Breakers() []cluster.BreakerStatus { return p.clusters.Breakers() }

// CloseBreaker closes a cluster's breaker, and returns the state that it was in; false if there is none that trips.
func (p *Proxy) CloseBreaker(name string) (was breaker.State, ok bool) {
	return p.clusters.CloseBreaker(name)
}

// Closed returns why listeners of the live snapshot are not open, by their names.
func (p *Proxy) Closed() map[string]error { return p.listeners.Failed() }

// Addresses returns where each listener really listens, by its name.
func (p *Proxy) Addresses() map[string]net.Addr { return p.listeners.Addresses() }
