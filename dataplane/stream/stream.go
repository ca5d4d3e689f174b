// Package stream is the engine for what is carried as it is: the bytes of connections that a
// TCPRoute or TLSRoute takes, to a host of its split and back, the datagrams of UDPRoutes, and
// what follows a request that switches protocols (Tunnel). A connection chooses its host once
// and keeps it. It knows no protocol: TLS is package listener's with clients and package
// cluster's with hosts.
package stream

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/listener"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// Config is what an Engine needs from outside.
type Config struct {
	// Context is that of connections being made. When it ends, draining has taken too long, and
	// what breaks from then on was cut off.
	Context   context.Context
	Clusters  *cluster.Set
	Log       *slog.Logger
	Metrics   *telemetry.Metrics
	AccessLog *telemetry.AccessLog // nil: none
	Random    func() uint64
}

// Engine carries what the stream routes of the live snapshot take.
type Engine struct {
	cfg      Config
	unrouted *route // of connections that no route takes

	mu     sync.Mutex
	routes map[string]*route // by name
}

// New returns an engine that has no routes yet.
func New(cfg Config) *Engine {
	e := &Engine{cfg: cfg, routes: map[string]*route{}}
	e.unrouted = &route{engine: e}
	e.unrouted.now.Store(&routing{
		model:  &model.StreamRoute{Refusal: &model.Refusal{Flag: model.FlagNR.String(), Reason: "no route has this name or port"}},
		series: cfg.Metrics.Stream(telemetry.Unmatched),
	})
	return e
}

// Apply makes the snapshot's stream routes live, whose clusters are: new connections follow
// them, and those that are there keep their hosts. It reports whether a route has come or gone.
// Those that have gone still serve who holds them, as they were: the sockets follow the routes.
func (e *Engine) Apply(s *model.Snapshot) (named bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	routes := make(map[string]*route, len(s.Streams))
	for _, m := range s.Streams {
		r := e.routes[m.Name]
		if r == nil {
			r, named = &route{engine: e}, true
		}
		if old := r.now.Load(); old == nil || !same(old.model, m) || !old.current(e.cfg.Clusters) {
			r.now.Store(e.routing(m))
		}
		routes[m.Name] = r
	}
	named = named || len(routes) != len(e.routes)
	e.routes = routes
	return named
}

func same(a, b *model.StreamRoute) bool { return a == b || a.Hash != "" && a.Hash == b.Hash }

// Carrier returns what carries the connections of a route. The same name gives the same carrier
// for as long as there is such a route. A name that no route has gives one that closes them.
func (e *Engine) Carrier(name string) listener.Carrier { return e.route(name) }

// route returns the route of a name, never nil.
func (e *Engine) route(name string) *route {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.routes[name]; r != nil {
		return r
	}
	return e.unrouted
}

// cutOff reports whether draining has taken too long: what breaks from then on, we broke.
func (e *Engine) cutOff() bool { return e.cfg.Context.Err() != nil }

// report logs a panic that has been contained.
func (e *Engine) report(fault any) {
	e.cfg.Log.Error("panic contained", slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
}

// route is the stream route of a name.
type route struct {
	engine *Engine
	now    atomic.Pointer[routing]
}

// routing is a model.StreamRoute ready for use. It is immutable.
type routing struct {
	model  *model.StreamRoute
	series *telemetry.Series
	arms   []arm
	total  uint64 // sum of the arms' weights
}

// arm is one destination of a route.
type arm struct {
	model   *model.Arm
	upTo    uint64           // a draw below this, and not below the arm before, is this arm's
	cluster *cluster.Cluster // nil if the arm refuses
	series  *telemetry.Series
}

func (e *Engine) routing(m *model.StreamRoute) *routing {
	r := &routing{model: m, series: e.cfg.Metrics.Stream(m.Name)}
	for i := range m.Split.Arms {
		a := &m.Split.Arms[i]
		r.total += uint64(a.Weight)
		made := arm{model: a, upTo: r.total}
		if a.Refusal == nil {
			made.cluster = e.cfg.Clusters.Cluster(a.Cluster)
			made.series = e.cfg.Metrics.Cluster(a.Cluster)
		}
		r.arms = append(r.arms, made)
	}
	return r
}

// current reports whether the clusters that r looked up are still the ones of their names.
func (r *routing) current(clusters *cluster.Set) bool {
	for i := range r.arms {
		a := &r.arms[i]
		if a.model.Refusal == nil && a.cluster != clusters.Cluster(a.model.Cluster) {
			return false
		}
	}
	return true
}

// noWeight refuses when a split can choose nothing.
var noWeight = &model.Refusal{Flag: model.FlagNC.String(), Reason: "no backend has any weight"}

// choose returns the arm that a new connection goes to, by weight, or why it is refused.
func (r *routing) choose(random func() uint64) (*arm, *model.Refusal) {
	switch {
	case r.model.Refusal != nil:
		return nil, r.model.Refusal
	case r.total == 0:
		return nil, noWeight
	}
	a := &r.arms[0]
	if len(r.arms) > 1 {
		at := random() % r.total
		for i := range r.arms {
			if a = &r.arms[i]; at < a.upTo {
				break
			}
		}
	}
	switch {
	case a.model.Refusal != nil:
		return nil, a.model.Refusal
	case a.cluster == nil:
		return nil, &model.Refusal{Flag: model.FlagNC.String(), Reason: "there is no cluster " + a.model.Cluster}
	}
	return a, nil
}

// hashOf returns the hash of a client for algorithms that hash: the same as a request's whose
// key is its client's address, in every proxy.
func hashOf(client netip.Addr) uint64 {
	if client = client.Unmap(); client.Is4() {
		b := client.As4()
		return xxhash.Sum64(b[:])
	}
	b := client.As16()
	return xxhash.Sum64(b[:])
}
