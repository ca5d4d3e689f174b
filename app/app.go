// Package app builds every part of Weir from one Config, connects them, runs them, drains
// and stops them. It is the only place that knows all parts; it decides nothing itself
// about policy or traffic.
package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"weir.dev/weir/console"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/rollout"
	"weir.dev/weir/controlplane/slo"
	"weir.dev/weir/controlplane/source"
	durable "weir.dev/weir/controlplane/state"
	"weir.dev/weir/dataplane/proxy"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/telemetry/store"
)

// Engine puts snapshots into effect.
type Engine interface {
	// Apply has new work use s; work in flight finishes on the snapshot before.
	Apply(s *model.Snapshot) error
	// Tune puts the live changes beside the snapshot into effect, all of them each time.
	Tune(k *model.Knobs) error
	// Run serves until ctx ends, then drains.
	Run(ctx context.Context) error
}

// Source delivers a whole set of resources at the start and after every change.
type Source interface {
	// Run delivers until ctx ends. It calls deliver from one goroutine at a time.
	Run(ctx context.Context, deliver func(*resource.Set)) error
}

// Config is everything that one Weir is made from. Zero values are the defaults.
type Config struct {
	Version string // of the program

	// Paths are files and folders with resources, "-" for Stdin; or else Inline is one
	// document stream that never changes, named InlineName in diagnostics.
	Paths           []string
	Stdin           io.Reader
	Inline          []byte
	InlineName      string
	StateDir        string // keeps accepted versions across restarts; empty: they are not kept
	AllowMassDelete bool   // changes that remove most routes need no consent

	Admin      string   // address of the admin API; empty: none
	AdminNames []string // host names under which it may be asked, beside IP addresses and localhost
	Probe      string   // address that serves only health and metrics; empty: none
	TokensFile string   // further tokens, with names and groups; empty: there are none
	TokenFile  string   // where the admin token is kept, created with mode 0600; empty: none

	// Greet gets the link that opens the page at the admin address with its token: a person's
	// terminal, never a log. Nil: nobody.
	Greet io.Writer

	AccessLog       io.Writer        // nil: none
	AccessLogFormat telemetry.Format // FormatJSON if empty

	Log      *slog.Logger   // discarded if nil
	LogLevel *slog.LevelVar // of Log, so that the API can change it; may be nil

	// DrainDelay is how long connections are still accepted after readiness has failed.
	DrainDelay time.Duration
	// DrainTimeout bounds what is in flight after that; 10 s if zero.
	DrainTimeout time.Duration

	// Handover is what a process has left whose place this one is to take; nil: nobody.
	Handover *Handover
	// Program is what Upgrade starts; nil: it is refused.
	Program *Program
	// UpgradeTimeout is how long the new process may take until it serves; a minute if zero.
	UpgradeTimeout time.Duration

	// MaxMemory is how much memory this process may take, in bytes: well before, it begins to give
	// way, and Go collects its garbage more often. 0: what maxMemory finds; below 0: there is no
	// limit.
	MaxMemory int64

	// Zone is where this process runs, for backends that prefer hosts of the same zone; empty:
	// nowhere in particular.
	Zone string

	// Series says what time series are kept.
	Series Series

	// Listen, Dial and Resolve are the network; the real one if nil. Listen serves the data
	// plane and the admin API.
	Listen listenFunc
	Dial   func(ctx context.Context, address netip.AddrPort) (net.Conn, error)
	// ListenPacket and DialPacket are the same for UDP.
	ListenPacket packetFunc
	DialPacket   func(ctx context.Context, address netip.AddrPort) (net.Conn, error)
	Resolve      func(ctx context.Context, host string) ([]netip.Addr, error)
}

// App is one Weir.
type App struct {
	cfg       Config
	log       *slog.Logger
	metrics   *telemetry.Metrics
	accessLog *telemetry.AccessLog
	proxy     *proxy.Proxy
	guard     *guard
	engines   []Engine
	pipeline  *pipeline
	source    Source
	files     *source.Files // nil when resources are inline
	console   *console.Console
	token     string

	admin    atomic.Pointer[[]netip.AddrPort] // addresses that no backend may lead to
	draining atomic.Bool
	drain    chan struct{} // closed by Drain
	serving  chan struct{} // closed when this process serves, and may be asked whether it does
	begin    chan struct{} // closed when datagrams may be read, soon after serving

	beginQUIC chan struct{}           // closed when packets of QUIC may be read
	quic      atomic.Pointer[os.File] // while it is open, a successor does not read those; may be nil

	drills     drills
	faults     *faultControl
	keeper     *durable.Keeper // of what survives a restart
	knobs      *knobs
	rollouts   *rollout.Loop
	series     *store.Store
	objectives *slo.Tracker
	sockets    *sockets
	revision   atomic.Uint64 // of the set delivered last
	upgrade    chan struct{} // asks for one
	upgrading  atomic.Bool
}

// New builds a Weir that does nothing yet.
func New(cfg Config) (*App, error) {
	cfg.fill()
	a := &App{cfg: cfg, log: cfg.Log, drain: make(chan struct{}), serving: make(chan struct{}), begin: make(chan struct{}), beginQUIC: make(chan struct{}), upgrade: make(chan struct{}, 1)}
	a.sockets = newSockets(cfg.Listen, cfg.ListenPacket, cfg.Handover)
	if cfg.Handover != nil {
		a.revision.Store(cfg.Handover.revision)
	}
	if cfg.TokenFile != "" {
		var err error
		if a.token, err = console.Token(cfg.TokenFile); err != nil {
			return nil, err
		}
	}
	shards := runtime.GOMAXPROCS(0)
	a.metrics = telemetry.NewMetrics(shards)
	a.metrics.SetBuild(cfg.Version)
	if cfg.AccessLog != nil {
		a.accessLog = telemetry.NewAccessLog(telemetry.AccessLogConfig{
			Writer: cfg.AccessLog, Format: cfg.AccessLogFormat, Shards: shards, Log: cfg.Log,
		})
		a.metrics.WatchAccessLog(a.accessLog)
	}
	use := newUsage(cfg.MaxMemory, func() (open, most int64) { return a.proxy.Connections() })
	a.guard = newGuard(cfg.Log, use.read, func(share float64) int { return a.proxy.Relieve(share) })
	a.guard.keepTo(cfg.MaxMemory)
	a.metrics.WatchPressure(a.guard.states)
	a.proxy = proxy.New(proxy.Config{
		Pressure: a.guard.monitor.State(), Crowd: a.guard.hurry, MaxStreams: streamsIn(cfg.MaxMemory),
		Log: cfg.Log, Metrics: a.metrics, AccessLog: a.accessLog,
		Listen: a.sockets.Listen, ListenPacket: a.sockets.packets.Listen,
		Begin: a.begin, BeginQUIC: a.beginQUIC, QUICEnded: a.quicEnded, TicketKeys: cfg.Handover.ticketKeys(),
		Dial: a.dial, DialPacket: cfg.DialPacket, Resolve: cfg.Resolve, Random: rand.Uint64, Zone: cfg.Zone,
		Shards: shards, DrainTimeout: cfg.DrainTimeout, IdleGrace: min(cfg.DrainTimeout/4, time.Second),
	})
	a.guard.streams = a.proxy.Room().Used
	a.metrics.WatchHosts(a.hostStates)
	a.metrics.WatchBreakers(a.breakerStates)
	a.faults = &faultControl{log: cfg.Log, faults: a.proxy.Faults}
	a.engines = []Engine{a.proxy}
	a.pipeline = newPipeline(a.engines, a.metrics, cfg.Log)
	a.pipeline.closed = a.proxy.Closed
	a.pipeline.remedy = a.remedy
	a.series = a.newSeries()
	a.objectives = a.newObjectives()
	a.buildRollouts()
	a.source = inline{cfg.InlineName, cfg.Inline}
	if cfg.Inline == nil {
		a.files = source.NewFiles(cfg.Paths, source.Options{
			Log: cfg.Log, Stdin: cfg.Stdin, Cache: source.Cache{Dir: cfg.cacheDir()}, MassDelete: cfg.AllowMassDelete,
		})
		a.source = a.files
	}
	w := window{a}
	a.console = console.New(console.Config{
		Version: cfg.Version, Token: a.token, TokensFile: cfg.TokensFile, Names: cfg.AdminNames, Log: cfg.Log, Level: cfg.LogLevel, Metrics: a.metrics,
		Live: w, Objects: w, Hosts: w, Control: w, Resilience: w, Shadows: a.proxy, Faults: w, Drills: w, Releases: w,
		Objectives: w, Series: a.series.Handler(),
	})
	return a, nil
}

func (c *Config) fill() {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.LogLevel == nil {
		c.LogLevel = new(slog.LevelVar)
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 10 * time.Second
	}
	if c.UpgradeTimeout == 0 {
		c.UpgradeTimeout = time.Minute
	}
	if c.MaxMemory == 0 {
		c.MaxMemory = maxMemory()
	}
	if c.Listen == nil {
		c.Listen = func(ctx context.Context, address netip.AddrPort) (net.Listener, error) {
			var lc net.ListenConfig
			network, where := "tcp", address.String()
			switch address.Addr() {
			case netip.IPv6Unspecified(): // both stacks, or IPv4 where there is no other
				where = fmt.Sprintf(":%d", address.Port())
			case netip.IPv4Unspecified(): // of "tcp" it would be both stacks, too
				network = "tcp4"
			}
			return lc.Listen(ctx, network, where)
		}
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address.String())
		}
	}
	if c.ListenPacket == nil {
		c.ListenPacket = listenPacket
	}
	if c.DialPacket == nil {
		c.DialPacket = func(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "udp", address.String())
		}
	}
	if c.Resolve == nil {
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
}

// dial reaches an upstream, but never the admin server: its guards trust its address.
func (a *App) dial(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
	if admin := a.admin.Load(); admin != nil {
		for _, own := range *admin {
			// Connecting to an unspecified address is connecting to this machine.
			local := own.Addr() == address.Addr() || own.Addr().IsUnspecified() || address.Addr().IsUnspecified()
			if local && own.Port() == address.Port() {
				return nil, fmt.Errorf("dial %s: this is the admin address, which no backend may be", address)
			}
		}
	}
	return a.cfg.Dial(ctx, address)
}

// Ready is closed when the first configuration is live.
func (a *App) Ready() <-chan struct{} { return a.pipeline.ready }

// Addresses returns where each listener really listens, by its name in the model.
func (a *App) Addresses() map[string]net.Addr { return a.proxy.Addresses() }

// Reload has the source read everything again. Inline resources never change.
func (a *App) Reload() {
	if a.files == nil {
		return
	}
	a.log.LogAttrs(context.Background(), slog.LevelInfo, "reading everything again")
	a.files.Reload()
}

// Drain begins to end Run as the end of its context does; false if that has begun.
func (a *App) Drain() bool {
	if a.draining.Swap(true) {
		return false
	}
	close(a.drain)
	return true
}

// cacheDir is where the last accepted versions are kept; empty: nowhere.
func (c *Config) cacheDir() string {
	if c.StateDir == "" {
		return ""
	}
	return filepath.Join(c.StateDir, "accepted")
}
