package simulate

import (
	"math"
	"slices"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/balance"
	"weir.dev/weir/traffic/breaker"
	"weir.dev/weir/traffic/health"
	"weir.dev/weir/traffic/overload"
	"weir.dev/weir/traffic/retry"
	"weir.dev/weir/traffic/stats"
)

// cluster is what the proxy keeps of a backend: dataplane/cluster's Cluster, with the same
// algorithms.
type cluster struct {
	s       *simulation
	spec    *model.Cluster
	service *service
	hosts   []*host
	groups  []group
	total   balance.Total
	parts   balance.Division

	trip     *breaker.Trip
	budget   *retry.Budget
	latency  *stats.Recent      // of answers; nil: nobody hedges by them
	requests int                // tries in flight
	retrying int                // of these, other than first ones
	open     int                // connections that are busy
	pending  []*try             // that wait for one
	throttle *overload.Throttle // nil: no route has one
	incident [health.Rules]health.Incident
}

// group is hosts that share a part of the requests.
type group struct {
	balance.Picker
	hosts []*host
}

// host is what the proxy keeps of one address.
type host struct {
	cluster  *cluster
	server   *server
	index    int
	endpoint model.Endpoint
	load     balance.Load
	served   bool // a try has ended well: there are connections to use again

	check health.State
	warms moment // since when slow start counts; 0: it is whole
	eject ejecting
}

// newCluster makes the state of a cluster. Its hosts are the service's, each a server.
func (s *simulation) newCluster(spec *model.Cluster, v *service, endpoints []model.Endpoint) *cluster {
	c := &cluster{s: s, spec: spec, service: v}
	c.trip = breaker.New(s.random.Uint64)
	if spec.Breaker.Mode != model.ModeDisabled {
		c.trip.Configure(int64(s.now), spec.Breaker.Trip)
	}
	c.budget = retry.NewBudget(1)
	c.budget.Configure(spec.RetryBudget)
	for i, e := range endpoints {
		h := &host{cluster: c, server: v.servers[i], index: i, endpoint: e}
		h.load.Join(&c.total)
		c.hosts = append(c.hosts, h)
	}
	c.rebuild()
	c.watch()
	return c
}

// guards reports whether the breaker looks at tries at all.
func (c *cluster) guards() bool { return c.spec.Breaker.Mode != model.ModeDisabled }

// enforces reports whether the breaker acts.
func (c *cluster) enforces() bool { return c.guards() && c.spec.Breaker.Mode != model.ModeObserve }

// pass is a try that the breaker has let through. The zero pass counts nowhere.
type pass struct {
	cluster *cluster // nil: nobody counts
	trip    breaker.Pass
	again   bool
}

// admit asks the breaker for a try. While it only observes, what would have been refused is
// admitted and counts nowhere.
func (c *cluster) admit(again bool) (pass, next) {
	b := &c.spec.Breaker
	if !c.guards() {
		return pass{}, goesOn
	}
	refusal := goesOn
	trip, _, ok := c.trip.Admit(int64(c.s.now))
	switch {
	case !ok:
		refusal = gaveUp
	case b.MaxRequests > 0 && c.requests >= b.MaxRequests:
		c.trip.Excuse(trip)
		refusal = gaveUp
	case again && b.MaxRetries > 0 && c.retrying >= b.MaxRetries:
		c.trip.Excuse(trip)
		refusal = overBudget
	}
	switch {
	case refusal == goesOn:
	case b.Mode == model.ModeObserve:
		return pass{}, goesOn
	default:
		return pass{}, refusal
	}
	c.requests++
	if again {
		c.retrying++
	}
	return pass{c, trip, again}, goesOn
}

func (p pass) release() {
	p.cluster.requests--
	if p.again {
		p.cluster.retrying--
	}
}

func (p pass) done(failed bool) {
	if p.cluster == nil {
		return
	}
	p.release()
	p.cluster.trip.Done(int64(p.cluster.s.now), p.trip, failed)
}

func (p pass) excuse() {
	if p.cluster == nil {
		return
	}
	p.release()
	p.cluster.trip.Excuse(p.trip)
}

// admitExtra asks for a try that is not a request's first. The budget comes last, so that
// nothing is taken from it for what another bound denies.
func (c *cluster) admitExtra(route *model.RetryBudget) (pass, next) {
	p, refusal := c.admit(true)
	if refusal != goesOn {
		return pass{}, refusal
	}
	if may, _ := c.budget.Take(int64(c.s.now), route); !may {
		p.excuse()
		return pass{}, overBudget
	}
	return p, goesOn
}

// observe takes the latency of an answer, for hedging.
func (c *cluster) observe(d time.Duration) {
	if c.latency != nil {
		c.latency.Observe(0, d)
	}
}

// leastBeyond is how many answers must have taken longer than a quantile for it to mean
// something, as dataplane/cluster has it.
const leastBeyond = 5

func (c *cluster) quantile(q float64) (time.Duration, bool) {
	if c.latency == nil {
		return 0, false
	}
	d, n := c.latency.Quantile(int64(c.s.now), q)
	return d, float64(n)*(1-q) >= leastBeyond-1e-6
}

// connect gives the try a connection as soon as there may be one more.
func (c *cluster) connect(t *try) {
	b := &c.spec.Breaker
	if !c.enforces() || b.MaxConnections == 0 || c.open < b.MaxConnections {
		c.open++
		t.connected(t.host.served)
		return
	}
	if b.MaxPending > 0 && len(c.pending) >= b.MaxPending {
		c.s.after(0, func() { t.refuse() })
		return
	}
	c.pending = append(c.pending, t)
	if c.spec.ConnectTimeout > 0 {
		c.s.after(c.spec.ConnectTimeout, func() {
			if slices.Contains(c.pending, t) {
				t.refuse()
			}
		})
	}
}

// refuse ends a try that gets no connection: that is no host's fault.
func (t *try) refuse() {
	if t.over {
		return
	}
	t.over = true
	t.timeout.stop()
	t.host.cluster.disconnect(t)
	t.host.cancel()
	t.pass.excuse()
	t.request.ended(t, result{flag: model.FlagUO, unsent: true})
}

// connectedTry reports whether a try has its connection.
func (c *cluster) connectedTry(t *try) bool { return !slices.Contains(c.pending, t) }

// disconnect gives the connection of a try to the one that has waited longest.
func (c *cluster) disconnect(t *try) {
	if i := slices.Index(c.pending, t); i >= 0 {
		c.pending = slices.Delete(c.pending, i, i+1)
		return
	}
	c.open--
	for len(c.pending) > 0 {
		next := c.pending[0]
		c.pending = c.pending[1:]
		if !next.over {
			c.open++
			next.connected(next.host.served)
			return
		}
	}
}

// end ends a try that says something about its host.
func (h *host) end(r health.Result, latency time.Duration) {
	now := h.cluster.s.now
	h.load.End()
	if r.Failed() {
		h.load.Fail(int64(now), latency)
	} else {
		h.load.Observe(int64(now), latency)
		h.served = true
	}
	h.judge(r, latency)
}

// cancel ends one that says nothing.
func (h *host) cancel() { h.load.End() }

// pick chooses a host, one that was tried only if there is no other.
func (c *cluster) pick(r *request) *host {
	if len(c.groups) == 0 {
		return nil
	}
	q := balance.Request{Random: c.s.random.Uint64(), Now: int64(c.s.now)}
	if q.Hash = q.Random; len(r.route.model.HashOn) > 0 && r.hash != 0 {
		q.Hash = r.hash
	}
	at := 0
	if len(c.groups) > 1 {
		bits := q.Random
		if balance.Hashes(c.spec.Balancing.Algorithm) {
			bits = q.Hash
		}
		at = c.parts.Of(bits)
	}
	g := &c.groups[at]
	if len(r.tried) > 0 {
		g, q.Tried = c.untried(at, r.tried)
	}
	i := g.Pick(q)
	if i < 0 {
		return nil
	}
	return g.hosts[i]
}

func (c *cluster) untried(at int, tried []*host) (*group, []int) {
	for i := range c.groups {
		g := &c.groups[(at+i)%len(c.groups)]
		if list := g.indices(tried); len(list) < len(g.hosts) {
			return g, list
		}
	}
	return &c.groups[at], nil
}

func (g *group) indices(hosts []*host) []int {
	var list []int
	for _, h := range hosts {
		if i := slices.Index(g.hosts, h); i >= 0 && !slices.Contains(list, i) {
			list = append(list, i)
		}
	}
	return list
}

// healthy reports whether requests may come here without a panic.
func (h *host) healthy() bool {
	return !h.eject.out && !h.endpoint.Unready && h.check.Verdict() != health.Unhealthy
}

// rebuild makes the groups anew, as dataplane/cluster does: levels by priority, panic where
// few are healthy. The proxy of a run is in no zone.
func (c *cluster) rebuild() {
	var priorities []uint32
	for _, h := range c.hosts {
		if h.endpoint.Weight > 0 && !slices.Contains(priorities, h.endpoint.Priority) {
			priorities = append(priorities, h.endpoint.Priority)
		}
	}
	slices.Sort(priorities)
	all, healthy := make([][]*host, len(priorities)), make([][]*host, len(priorities))
	levels := make([]balance.Level, len(priorities))
	for _, h := range c.hosts {
		if h.endpoint.Weight == 0 {
			continue
		}
		i := slices.Index(priorities, h.endpoint.Priority)
		all[i] = append(all[i], h)
		levels[i].Weight += uint64(h.endpoint.Weight)
		if h.healthy() {
			healthy[i] = append(healthy[i], h)
			levels[i].Healthy += uint64(h.endpoint.Weight)
		}
	}
	c.groups = nil
	var shares []float64
	for i, use := range balance.Overflow(levels, c.spec.Balancing.PanicThreshold) {
		hosts := healthy[i]
		if use.Panics {
			hosts = all[i]
		}
		if use.Share > 0 && len(hosts) > 0 {
			c.groups, shares = append(c.groups, c.group(hosts, use.Share)), append(shares, use.Share)
		}
	}
	if len(shares) > 1 {
		c.parts = balance.NewDivision(shares)
	}
}

func (c *cluster) group(hosts []*host, share float64) group {
	spec := &c.spec.Balancing
	o := balance.Options{Algorithm: spec.Algorithm, Seed: c.s.random.Uint64()}
	hashes := balance.Hashes(spec.Algorithm)
	if hashes && spec.BoundedLoad > 0 {
		o.Bound = balance.Bound{Factor: max(1, spec.BoundedLoad), Part: share, Total: &c.total}
	}
	list := make([]balance.Host, len(hosts))
	for i, h := range hosts {
		weight := max(1, uint64(h.endpoint.Weight)*uint64(h.warmth())/wholeWarmth)
		if h.endpoint.Weight <= math.MaxUint32/wholeWarmth {
			weight = uint64(h.endpoint.Weight) * uint64(h.warmth())
		}
		list[i] = balance.Host{Weight: uint32(weight), Load: &h.load, Identity: h.endpoint.Address.String()}
	}
	p, err := balance.New(o, list)
	if err != nil { // translation makes no algorithm that there is not
		p = balance.NewRandom(list)
	}
	return group{p, hosts}
}
