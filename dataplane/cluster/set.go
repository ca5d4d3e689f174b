// Package cluster holds what the data plane knows about where requests go: clusters,
// their hosts, one picker for each cluster and a pool of connections for each host. The
// state is keyed by names and addresses, so that a change of algorithm, weights or hosts
// resets nothing it does not name. It opens connections and keeps them, and shares those of
// HTTP/2; it does not speak HTTP otherwise, and does not decide what is tried again.
package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// DefaultMaxIdle is the default bound on idle connections to one host.
const DefaultMaxIdle = 1024

// Config is what a Set needs from outside.
type Config struct {
	// Dial opens a connection. It must give up when ctx ends. Required.
	Dial func(ctx context.Context, address netip.AddrPort) (net.Conn, error)
	// DialPacket opens a socket of UDP that is connected to the address; nil: no cluster takes
	// datagrams.
	DialPacket func(ctx context.Context, address netip.AddrPort) (net.Conn, error)
	// Resolve returns the addresses of a host name. Required where clusters have a DNS name.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Shards is the number of parts of every pool, the callers' shards. At least 1.
	Shards int
	// MaxIdlePerHost bounds the idle connections to one host, all shards together;
	// 0: DefaultMaxIdle.
	MaxIdlePerHost int
	// Metrics gives each host its Series; nil: hosts count nothing there.
	Metrics *telemetry.Metrics
	// Zone is where this proxy runs: Balancing.ZoneAware keeps requests there. Empty: nowhere,
	// and no cluster is aware of zones.
	Zone string
	// Log hears of hosts whose health has turned, and of defects that have been contained; nil:
	// nobody does.
	Log *slog.Logger
	// Random returns uniformly random bits and is safe for concurrent use; nil: math/rand/v2.
	Random func() uint64
}

// Set is all clusters. Its methods are safe for concurrent use.
type Set struct {
	config Config
	live   atomic.Pointer[map[string]*Cluster]
	wake   chan struct{} // to Run: something is due
	dialer http2.Dialer
	linked linked

	checking checking // see health.go
	judges   judges   // see outlier.go

	mu       sync.Mutex
	clusters map[string]*Cluster   // live ones, and removed ones whose hosts still drain
	order    []*Cluster            // live ones as last applied
	named    map[*Cluster]struct{} // live ones with a DNS name
	warming  map[*Cluster]struct{} // live ones with a host in slow start
	draining map[*Host]struct{}
	configs  map[string]*tls.Config // by wiring.key, of live clusters
	rewired  bool                   // a cluster has let go of one
	eras     uint32                 // wirings made so far
	answered chan struct{}          // closed, and made anew, when a name has been answered for
	ended    bool                   // Run is over: nothing is pooled any more

	telling telling

	pooledMu sync.Mutex
	pooled   []*Host // hosts that may have idle connections, each once: Host.pooled
}

// New returns an empty set.
func New(config Config) *Set {
	config.Shards = max(config.Shards, 1)
	if config.MaxIdlePerHost <= 0 {
		config.MaxIdlePerHost = DefaultMaxIdle
	}
	if config.Random == nil {
		config.Random = rand.Uint64
	}
	s := &Set{
		config:   config,
		wake:     make(chan struct{}, 1),
		answered: make(chan struct{}),
		clusters: map[string]*Cluster{},
		named:    map[*Cluster]struct{}{},
		warming:  map[*Cluster]struct{}{},
		draining: map[*Host]struct{}{},
		configs:  map[string]*tls.Config{},
		checking: checking{wake: make(chan struct{}, 1), unsettled: map[*Cluster]struct{}{}},
		judges:   judges{wake: make(chan struct{}, 1)},
	}
	s.live.Store(&map[string]*Cluster{})
	return s
}

// Cluster returns the named cluster, or nil. The pointer is the same for the life of
// that name. It stays usable after the name is gone: a request that began before then
// can still pick a host and connect, only nothing is pooled any more.
func (s *Set) Cluster(name string) *Cluster { return (*s.live.Load())[name] }

// Apply makes the set consist of these clusters and endpoints. It compares by hash (an
// object without hash counts as changed) and keeps the state of every host that stays.
// Hosts that go are drained: their idle connections are closed now, those in use when
// they are released. Call it before requests can refer to new clusters. What did not
// change costs a comparison, provided that both slices are sorted as in a Snapshot.
//
// The error joins the clusters that could not be applied; each keeps what it had before.
func (s *Set) Apply(clusters []*model.Cluster, endpoints []*model.EndpointSet) error {
	clusters = sorted(clusters, func(c *model.Cluster) string { return c.Name })
	endpoints = sorted(endpoints, func(e *model.EndpointSet) string { return e.Cluster })
	s.mu.Lock()
	defer s.mu.Unlock()
	order := make([]*Cluster, 0, len(clusters))
	var errs []error
	for _, spec := range clusters {
		c := s.known(len(order), spec.Name)
		order = append(order, c)
		for len(endpoints) > 0 && endpoints[0].Cluster < spec.Name {
			endpoints = endpoints[1:]
		}
		var own *model.EndpointSet
		if len(endpoints) > 0 && endpoints[0].Cluster == spec.Name {
			own = endpoints[0]
		}
		if err := c.apply(spec, own); err != nil {
			errs = append(errs, fmt.Errorf("cluster %s: %w", spec.Name, err))
		}
	}
	s.publish(order)
	s.forgetConfigs()
	if len(s.named) > 0 || len(s.warming) > 0 {
		s.rouse()
	}
	return errors.Join(errs...)
}

// sorted returns the list in the order of its names, itself if it is.
func sorted[T any](list []T, name func(T) string) []T {
	compare := func(a, b T) int { return cmp.Compare(name(a), name(b)) }
	if slices.IsSortedFunc(list, compare) {
		return list
	}
	list = slices.Clone(list)
	slices.SortFunc(list, compare)
	return list
}

// known returns the named cluster, the same as ever or a new one. It is probably at the
// same place as last time.
func (s *Set) known(at int, name string) *Cluster {
	if at < len(s.order) && s.order[at].name == name {
		return s.order[at]
	}
	c, ok := s.clusters[name]
	if !ok {
		c = &Cluster{name: name, set: s, hosts: map[netip.AddrPort]*Host{}}
		s.clusters[name] = c
	}
	return c
}

// publish makes these the live clusters and retires the others.
func (s *Set) publish(order []*Cluster) {
	if slices.Equal(order, s.order) {
		return
	}
	s.order = order
	live := make(map[string]*Cluster, len(order))
	for _, c := range order {
		live[c.name] = c
	}
	for name, c := range s.clusters {
		if live[name] == nil {
			c.retire()
		}
	}
	s.live.Store(&live)
}

// rouse makes Run look what is due.
func (s *Set) rouse() {
	select {
	case s.wake <- struct{}{}:
	default: // it has not yet looked since the last time
	}
}

// Hosts returns the status of every host, by cluster and address, draining ones included.
func (s *Set) Hosts() []HostStatus {
	now := transport.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []HostStatus
	for _, c := range s.clusters {
		for _, h := range c.hosts {
			list = append(list, h.status(now))
		}
	}
	slices.SortFunc(list, func(a, b HostStatus) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), a.Address.Compare(b.Address))
	})
	return list
}
