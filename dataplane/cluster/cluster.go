package cluster

import (
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/balance"
)

// ErrNoHost means that a cluster has no host that may receive requests (flag UH).
var ErrNoHost = errors.New("no host")

// Cluster is one backend: its hosts and the picker over them.
type Cluster struct {
	name   string
	set    *Set
	spec   atomic.Pointer[model.Cluster] // timeouts, read on the request path
	picker atomic.Pointer[picker]        // nil: no host

	// Guarded by set.mu.
	endpoints *model.EndpointSet
	hosts     map[netip.AddrPort]*Host // current and draining ones
	names     resolution
	retired   bool // its name is gone
}

// picker is an algorithm over the hosts it was built from, swapped as a whole.
type picker struct {
	balance.Picker
	hosts []*Host
	timed bool // the algorithm needs the time
}

// Request is what a choice of host depends on.
type Request struct {
	Hash  uint64  // of the policy's key, for algorithms that hash; none does yet
	Tried []*Host // to avoid while another host exists; not retained
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
	if p.timed {
		q.Now = int64(transport.Now())
	}
	if len(r.Tried) > 0 {
		q.Tried = p.indices(r.Tried)
	}
	i := p.Pick(q)
	if i < 0 {
		return nil, ErrNoHost
	}
	return p.hosts[i], nil
}

// indices translates hosts to their places in this picker.
func (p *picker) indices(hosts []*Host) []int {
	list := make([]int, 0, len(hosts))
	for _, h := range hosts {
		if i := slices.Index(p.hosts, h); i >= 0 {
			list = append(list, i)
		}
	}
	return list
}

// apply takes over a new specification and new endpoints.
func (c *Cluster) apply(spec *model.Cluster, endpoints *model.EndpointSet) error {
	old := c.spec.Load()
	if !c.retired && old != nil && same(old, spec) && sameEndpoints(c.endpoints, endpoints) {
		return nil
	}
	if _, err := balance.New(spec.Balancing.Algorithm, nil, 0); err != nil {
		return err
	}
	c.retired = false
	c.spec.Store(spec)
	c.endpoints = endpoints
	c.follow(spec.DNS)
	return c.reconcile()
}

func same(a, b *model.Cluster) bool { return a == b || (a.Hash != "" && a.Hash == b.Hash) }

func sameEndpoints(a, b *model.EndpointSet) bool {
	return a == b || (a != nil && b != nil && a.Hash != "" && a.Hash == b.Hash)
}

// current returns the endpoints as configured or as last resolved.
func (c *Cluster) current() []model.Endpoint {
	if c.spec.Load().DNS != nil {
		return c.names.endpoints()
	}
	if c.endpoints == nil {
		return nil
	}
	return c.endpoints.Endpoints
}

// reconcile brings hosts and picker in line with the current endpoints. New hosts are
// there before the picker knows them, and old ones drain after it has forgotten them.
func (c *Cluster) reconcile() error {
	endpoints := c.current()
	keep := make(map[netip.AddrPort]bool, len(endpoints))
	hosts := make([]*Host, 0, len(endpoints))
	for _, e := range endpoints {
		h, ok := c.hosts[e.Address]
		if !ok {
			h = newHost(c, e.Address)
			c.hosts[e.Address] = h
		}
		h.endpoint = e
		h.draining.Store(c.set.ended)
		delete(c.set.draining, h)
		keep[e.Address] = true
		hosts = append(hosts, h)
	}
	p, err := c.build(hosts)
	if err != nil {
		return err
	}
	c.picker.Store(p)
	for address, h := range c.hosts {
		if !keep[address] {
			h.drain()
		}
	}
	return nil
}

// build makes a picker over the hosts of the first priority that has a weight.
func (c *Cluster) build(hosts []*Host) (*picker, error) {
	first, usable := uint32(0), 0
	for _, h := range hosts {
		if h.endpoint.Weight == 0 {
			continue
		}
		if usable == 0 || h.endpoint.Priority < first {
			first = h.endpoint.Priority
		}
		usable++
	}
	if usable == 0 {
		return nil, nil
	}
	p := &picker{}
	var list []balance.Host
	for _, h := range hosts {
		if h.endpoint.Weight > 0 && h.endpoint.Priority == first {
			p.hosts = append(p.hosts, h)
			list = append(list, balance.Host{Weight: h.endpoint.Weight, Load: &h.load})
		}
	}
	algorithm := c.spec.Load().Balancing.Algorithm
	p.timed = algorithm == model.PeakEWMA
	var err error
	p.Picker, err = balance.New(algorithm, list, c.set.config.Random())
	return p, err
}

// retire drains everything after the cluster's name is gone. The picker stays for
// requests that hold the cluster from before.
func (c *Cluster) retire() {
	if c.retired {
		return
	}
	c.retired = true
	c.follow(nil)
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
