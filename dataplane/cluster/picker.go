package cluster

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/balance"
)

// picker chooses in two steps: a group by the shares that levels and zones have, and a host
// of it by the cluster's algorithm. It is built when anything of it changes and swapped as
// a whole.
//
//	endpoints ─► level (priority, health, panic) ─► zone (proxy's own, spill) ─► algorithm
//	             balance.Overflow                   balance.Spill                balance.Picker
type picker struct {
	groups   []group // those with a share; none: no host may be chosen
	division balance.Division
	timed    bool // the algorithm needs the time
	wary     bool // it needs the time while tries fail
	hashes   bool // the algorithm, and the choice of group, go by the request's hash

	all     []*Host // of the cluster, as placed
	usable  []*Host // all that a session may hold on to, whatever their weight
	indexed sync.Once
	tokens  map[uint64]*Host // usable by token
}

// group is hosts of one priority, and of one zone where zones count.
type group struct {
	balance.Picker
	hosts []*Host
}

// pick chooses a host, one that was tried only if there is no other.
func (p *picker) pick(q balance.Request, tried []*Host) (*Host, error) {
	at := 0
	switch len(p.groups) {
	case 0:
		return nil, ErrNoHost
	case 1:
	default:
		bits := q.Random
		if p.hashes {
			bits = q.Hash
		}
		at = p.division.Of(bits)
	}
	g := &p.groups[at]
	if len(tried) > 0 {
		g, q.Tried = p.untried(at, tried)
	}
	i := g.Pick(q)
	if i < 0 {
		return nil, ErrNoHost
	}
	return g.hosts[i], nil
}

// untried returns the group at a place, or if all of its hosts were tried the next one where
// some were not, and the indices of those that were.
func (p *picker) untried(at int, tried []*Host) (*group, []int) {
	for i := range p.groups {
		g := &p.groups[(at+i)%len(p.groups)]
		if list := g.indices(tried); len(list) < len(g.hosts) {
			return g, list
		}
	}
	return &p.groups[at], nil
}

// indices translates hosts to their places in this group, each once.
func (g *group) indices(hosts []*Host) []int {
	list := make([]int, 0, len(hosts))
	for _, h := range hosts {
		if i := slices.Index(g.hosts, h); i >= 0 && !slices.Contains(list, i) {
			list = append(list, i)
		}
	}
	return list
}

// Eligible returns the hosts that Pick may choose now, at most limit of them. It takes no lock.
func (c *Cluster) Eligible(limit int) []*Host {
	var list []*Host
	if p := c.picker.Load(); p != nil {
		for _, g := range p.groups {
			list = append(list, g.hosts[:min(len(g.hosts), limit-len(list))]...)
		}
	}
	return list
}

// level is the hosts of one priority that have a weight.
type level struct {
	priority       uint32
	hosts, healthy []*Host
	panics         bool
}

// levels sorts the hosts that have a weight by priority. Those that are held back for their
// first check are not there yet: they make nobody panic.
func levels(hosts []*Host) []level {
	var list []level
	for _, h := range hosts {
		if h.endpoint.Weight == 0 || h.check.held {
			continue
		}
		at, found := slices.BinarySearchFunc(list, h.endpoint.Priority, func(l level, p uint32) int { return cmp.Compare(l.priority, p) })
		if !found {
			list = slices.Insert(list, at, level{priority: h.endpoint.Priority})
		}
		l := &list[at]
		l.hosts = append(l.hosts, h)
		if h.healthy() {
			l.healthy = append(l.healthy, h)
		}
	}
	return list
}

// weigh sums up the weights of hosts.
func weigh(hosts []*Host) uint64 {
	sum := uint64(0)
	for _, h := range hosts {
		sum += uint64(h.endpoint.Weight)
	}
	return sum
}

// build makes a picker over the hosts as they are now.
func (c *Cluster) build(hosts []*Host, now transport.Instant) (*picker, error) {
	spec := c.spec.Load().Balancing
	p := &picker{all: hosts, timed: spec.Algorithm == model.PeakEWMA, wary: spec.Algorithm == model.LeastRequest, hashes: balance.Hashes(spec.Algorithm)}
	b := builder{cluster: c, spec: spec, picker: p}
	b.weights(hosts, now)
	list := levels(hosts)
	sums := make([]balance.Level, len(list))
	for i, l := range list {
		sums[i] = balance.Level{Weight: weigh(l.hosts), Healthy: weigh(l.healthy)}
	}
	for i, use := range balance.Overflow(sums, spec.PanicThreshold) {
		list[i].panics = use.Panics
		if use.Share > 0 {
			if err := b.level(&list[i], use.Share); err != nil {
				return nil, err
			}
		}
	}
	for _, h := range hosts {
		panics := func(l level) bool { return l.panics && l.priority == h.endpoint.Priority }
		if h.healthy() || !h.check.held && slices.ContainsFunc(list, panics) {
			p.usable = append(p.usable, h)
		}
	}
	if len(p.groups) > 1 {
		p.division = balance.NewDivision(b.shares)
	}
	b.count(hosts)
	c.warmUp(hosts, now)
	return p, nil
}

// builder gathers groups and their shares of all requests.
type builder struct {
	cluster *Cluster
	spec    model.Balancing
	weight  func(*Host) uint32 // as slow start has it now
	picker  *picker
	shares  []float64
}

// weights decides how much of its weight each host has now. While one warms up, all weights
// are multiplied by wholeWarmth so that parts of them are whole numbers, unless they are
// too large to need it.
func (b *builder) weights(hosts []*Host, now transport.Instant) {
	b.weight = func(h *Host) uint32 { return h.endpoint.Weight }
	warming, greatest := false, uint32(0)
	for _, h := range hosts {
		warming = warming || h.warmth(now) < wholeWarmth
		greatest = max(greatest, h.endpoint.Weight)
	}
	if !warming {
		return
	}
	divisor := uint64(1)
	if greatest > math.MaxUint32/wholeWarmth {
		divisor = wholeWarmth
	}
	b.weight = func(h *Host) uint32 {
		return uint32(max(1, uint64(h.endpoint.Weight)*uint64(h.warmth(now))/divisor))
	}
}

// level adds the groups of one level. Where it panics its zones' capacities are not known,
// and a hash must mean the same host in every zone: then zones do not count.
func (b *builder) level(l *level, share float64) error {
	zone := b.cluster.set.config.Zone
	if l.panics {
		return b.add(l.hosts, share)
	}
	if zone == "" || !b.spec.ZoneAware || b.picker.hashes {
		return b.add(l.healthy, share)
	}
	hosts := map[string][]*Host{}
	sums := map[string]uint64{}
	for _, h := range l.healthy {
		hosts[h.endpoint.Zone] = append(hosts[h.endpoint.Zone], h)
		sums[h.endpoint.Zone] += uint64(b.weight(h))
	}
	if hosts[zone] == nil {
		return b.add(l.healthy, share)
	}
	names := slices.Sorted(maps.Keys(hosts))
	weights := make([]uint64, len(names))
	for i, name := range names {
		weights[i] = sums[name]
	}
	for i, part := range balance.Spill(weights, slices.Index(names, zone)) {
		if part > 0 {
			if err := b.add(hosts[names[i]], share*part); err != nil {
				return err
			}
		}
	}
	return nil
}

// add makes a group of the hosts, with a share of all requests.
func (b *builder) add(hosts []*Host, share float64) error {
	options := balance.Options{Algorithm: b.spec.Algorithm, Seed: b.cluster.set.config.Random()}
	if b.bounded() {
		if b.cluster.total == nil {
			b.cluster.total = &balance.Total{}
		}
		options.Bound = balance.Bound{Factor: max(1, b.spec.BoundedLoad), Part: share, Total: b.cluster.total}
	}
	list := make([]balance.Host, len(hosts))
	for i, h := range hosts {
		list[i] = balance.Host{Weight: b.weight(h), Load: &h.load}
		if b.picker.hashes {
			list[i].Identity = h.address.String()
		}
	}
	p, err := balance.New(options, list)
	if err != nil {
		return err
	}
	b.picker.groups = append(b.picker.groups, group{p, hosts})
	b.shares = append(b.shares, share)
	return nil
}

func (b *builder) bounded() bool { return b.picker.hashes && b.spec.BoundedLoad > 0 }

// count makes the hosts of the groups count in the total of requests in flight, if load is
// bounded, and no others.
func (b *builder) count(hosts []*Host) {
	if b.cluster.total == nil {
		return
	}
	in := map[*Host]bool{}
	if b.bounded() {
		for _, g := range b.picker.groups {
			for _, h := range g.hosts {
				in[h] = true
				h.load.Join(b.cluster.total)
			}
		}
	}
	for _, h := range hosts {
		if !in[h] {
			h.load.Leave()
		}
	}
}
