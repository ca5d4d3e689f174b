package cluster

import (
	"errors"
	"net/netip"
	"sync/atomic"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/balance"
	"weir.dev/weir/traffic/stats"
)

// ErrNoHost means that a cluster has no host that may receive requests (flag UH).
var ErrNoHost = errors.New("no host")

// faltering is how long a failure counts for pickers: until what balance.Load makes of it is
// as good as nothing.
const faltering = int64(5 * balance.Decay)

// Cluster is one backend: its hosts and the picker over them.
type Cluster struct {
	name   string
	set    *Set
	spec   atomic.Pointer[model.Cluster] // timeouts, read on the request path
	picker atomic.Pointer[picker]        // nil: not applied yet

	detection atomic.Pointer[detection] // of outliers; nil: none
	faltered  atomic.Int64              // the Instant at which a try failed last; 0: not lately

	protection protection                   // breaker, retry budget, places of connections
	latency    atomic.Pointer[stats.Recent] // of its answers; nil: nobody asks

	total *balance.Total // of requests in flight; nil until load has once been bounded

	// Guarded by set.mu.
	endpoints *model.EndpointSet
	wiring    *wiring                  // of hosts that are placed, unless a name is awaited
	placed    []model.Endpoint         // what the hosts are of, see current
	hosts     map[netip.AddrPort]*Host // current and draining ones
	names     resolution
	checked   *model.HealthCheck // as the hosts are enrolled for; see health.go
	step      transport.Instant  // when warming hosts get more; 0: none is warming
	judging   judging            // see outlier.go
	retired   bool               // its name is gone
}

// Request is what a choice of host depends on.
type Request struct {
	Hash   uint64  // of the route's key; only if Hashed
	Hashed bool    // the request has such a key; without, algorithms that hash draw at random
	Tried  []*Host // to avoid while the levels in use have another host; not retained
}

// Name returns the cluster's name.
func (c *Cluster) Name() string { return c.name }

// Pick chooses a host, or returns ErrNoHost. It counts nothing: Begin does. It never
// blocks, and allocates only when hosts were tried before.
func (c *Cluster) Pick(r Request) (*Host, error) {
	p := c.picker.Load()
	if p == nil {
		return nil, ErrNoHost
	}
	q := balance.Request{Random: c.set.config.Random()}
	if p.timed || p.wary && c.faltered.Load() != 0 {
		q.Now = c.present()
	}
	if q.Hash = q.Random; r.Hashed {
		q.Hash = r.Hash
	}
	return p.pick(q, r.Tried)
}

// falter notes a failed try. One that is as good as the last is not noted: every request reads
// what stands beside it.
func (c *Cluster) falter(now int64) {
	if now-c.faltered.Load() > faltering/100 {
		c.faltered.Store(now)
	}
}

// present returns the time for pickers, and notes when no failure is recent any more.
func (c *Cluster) present() int64 {
	now := int64(transport.Now())
	if last := c.faltered.Load(); last != 0 && now-last > faltering {
		c.faltered.CompareAndSwap(last, 0)
	}
	return now
}

// apply takes over a new specification and new endpoints.
func (c *Cluster) apply(spec *model.Cluster, endpoints *model.EndpointSet) error {
	old, revived := c.spec.Load(), c.retired
	c.retired = false
	if !revived && old != nil && same(old, spec) && sameEndpoints(c.endpoints, endpoints) {
		return nil
	}
	if _, err := balance.New(balance.Options{Algorithm: spec.Balancing.Algorithm}, nil); err != nil {
		return err
	}
	w, err := c.set.wire(c.wiring, spec)
	if err != nil {
		return err
	}
	// Who held a retired cluster kept its picker: of that nothing may stay.
	rebuild := revived || old != nil && old.Balancing != spec.Balancing
	c.spec.Store(spec)
	c.protect(spec, transport.Now())
	c.set.rewired = c.set.rewired || c.wiring != w
	c.endpoints, c.wiring = endpoints, w
	c.follow(spec.DNS)
	return c.reconcile(rebuild)
}

func same(a, b *model.Cluster) bool { return a == b || (a.Hash != "" && a.Hash == b.Hash) }

func sameEndpoints(a, b *model.EndpointSet) bool {
	return a == b || (a != nil && b != nil && a.Hash != "" && a.Hash == b.Hash)
}

// current returns the endpoints as configured or as last resolved. While a new name has been
// neither resolved nor failed to, the cluster keeps what it had: make before break.
func (c *Cluster) current() []model.Endpoint {
	if c.awaits() {
		return c.placed
	}
	if c.spec.Load().DNS != nil {
		return c.names.endpoints()
	}
	if c.endpoints == nil {
		return nil
	}
	return c.endpoints.Endpoints
}

// awaits reports whether the cluster has a name that has not been answered for yet.
func (c *Cluster) awaits() bool { return c.spec.Load().DNS != nil && c.names.awaited() }

// reconcile brings hosts and picker in line with the current endpoints; the picker stays
// where nothing of it changed, unless it is to be rebuilt anyway. New hosts are there before the
// picker knows them, and old ones drain after it has forgotten them, wired as they were.
func (c *Cluster) reconcile(rebuild bool) error {
	endpoints := c.current()
	served, proven := c.serves(), c.proven()
	keep := make(map[netip.AddrPort]bool, len(endpoints))
	for _, e := range endpoints {
		h, ok := c.hosts[e.Address]
		if !ok {
			h = newHost(c, e.Address)
			c.hosts[e.Address] = h
		}
		if !ok || h.draining.Load() { // nothing that was known before counts
			c.set.checking.remove(h)
			h.check = check{round: h.check.round, newcomer: proven}
			h.acquit()
		}
		if !ok || !c.awaits() {
			h.rewire(c.wiring)
		}
		wasHealthy := ok && h.healthy()
		rebuild = rebuild || !ok || h.draining.Load() || differ(h.endpoint, e)
		h.endpoint = e
		h.draining.Store(c.set.ended)
		delete(c.set.draining, h)
		keep[e.Address] = true
		if !wasHealthy {
			h.warm(served)
		}
	}
	c.placed = endpoints
	rebuild = c.enrol(func(h *Host) bool { return keep[h.address] }) || rebuild
	for address, h := range c.hosts {
		rebuild = rebuild || !keep[address] && !h.draining.Load()
	}
	if rebuild {
		if err := c.rebuild(); err != nil {
			return err
		}
	}
	for address, h := range c.hosts {
		if !keep[address] {
			h.drain()
		}
	}
	c.detect()
	return nil
}

// differ reports whether a picker must know the difference of two endpoints of one address.
func differ(a, b model.Endpoint) bool {
	return a.Weight != b.Weight || a.Zone != b.Zone || a.Priority != b.Priority || a.Unready != b.Unready
}

// serves reports whether any host receives requests for its health's sake.
func (c *Cluster) serves() bool {
	for _, h := range c.hosts {
		if h.endpoint.Weight > 0 && h.healthy() && !h.draining.Load() {
			return true
		}
	}
	return false
}

// rebuild swaps the picker for a new one over the hosts of what is placed.
func (c *Cluster) rebuild() error {
	c.hold()
	hosts := make([]*Host, len(c.placed))
	for i, e := range c.placed {
		hosts[i] = c.hosts[e.Address]
	}
	p, err := c.build(hosts, transport.Now())
	if err != nil {
		return err
	}
	c.picker.Store(p)
	return nil
}

// retire drains everything after the cluster's name is gone. The picker stays for
// requests that hold the cluster from before.
func (c *Cluster) retire() {
	if c.retired {
		return
	}
	c.retired, c.placed, c.set.rewired = true, nil, true
	c.follow(nil)
	c.cool()
	c.enrol(func(*Host) bool { return false })
	c.detect()
	for _, h := range c.hosts {
		h.drain()
	}
	c.forget()
}

// forget lets go of a retired cluster that has no host left.
func (c *Cluster) forget() {
	if c.retired && len(c.hosts) == 0 {
		delete(c.set.clusters, c.name)
	}
}
