package cluster

import (
	"cmp"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/breaker"
	"weir.dev/weir/traffic/retry"
)

// Refusal is why a cluster takes nothing more now: a bound or the trip of its breaker (flag UO).
// It is an error of Lane's methods as well. It is no host's fault, and nothing has been sent.
type Refusal struct {
	Kind telemetry.ProtectionKind
	// RetryAfter is when it may be otherwise; 0: nobody knows.
	RetryAfter time.Duration
}

// Error implements error.
func (r *Refusal) Error() string { return "circuit breaker: " + refusals[r.Kind] }

var refusals = map[telemetry.ProtectionKind]string{
	telemetry.ProtectTrip:           "it is open: too many of the last requests failed",
	telemetry.ProtectMaxRequests:    "as many requests are in flight as may be (maxRequests)",
	telemetry.ProtectMaxRetries:     "as many retries are in flight as may be (maxRetries)",
	telemetry.ProtectMaxConnections: "every connection is busy, and there are as many as may be (maxConnections)",
	telemetry.ProtectMaxPending:     "as many requests wait for a connection as may (maxPending)",
}

// The refusals without a time, made once.
var (
	refusedRequests    = &Refusal{Kind: telemetry.ProtectMaxRequests}
	refusedRetries     = &Refusal{Kind: telemetry.ProtectMaxRetries}
	refusedConnections = &Refusal{Kind: telemetry.ProtectMaxConnections}
	refusedPending     = &Refusal{Kind: telemetry.ProtectMaxPending}
)

// leastRetryAfter is what is said while probes decide: they take some time.
const leastRetryAfter = time.Second

// protection is what guards a cluster as a whole. It lasts as long as the Cluster: no edit
// resets it.
type protection struct {
	guard  atomic.Pointer[guard]        // nil: no request is judged
	budget atomic.Pointer[retry.Budget] // nil: nobody retries
	counts atomic.Pointer[counts]       // never nil once applied
	denied atomic.Pointer[telemetry.Protection]
	links  connections

	kept *guard // the guard, also while nothing is judged; guarded by set.mu
}

// guard is what a request passes.
type guard struct {
	spec              atomic.Pointer[model.Breaker]
	counts            *atomic.Pointer[counts]
	trip              *breaker.Trip
	requests, retries places
}

// counts are what a cluster's breaker did. What is not configured counts nothing.
type counts struct{ connections, pending, requests, retries, trip *telemetry.Protection }

// places are what there is so much of.
type places struct{ used atomic.Int64 }

// take takes one unless there are most already; 0: any number. Less than most is never refused,
// and more are never taken, whatever happens at the same time.
func (s *places) take(most int) bool {
	if most <= 0 {
		s.used.Add(1)
		return true
	}
	for {
		n := s.used.Load()
		if n >= int64(most) {
			return false
		}
		if s.used.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (s *places) give() { s.used.Add(-1) }

// Pass is a try that a cluster has let through. The zero Pass is one that nobody counts.
type Pass struct {
	guard *guard
	trip  breaker.Pass
	retry bool
}

// Admit asks whether the cluster takes one more try now. Where the Refusal is nil it does, and
// exactly one of Done and Excuse follows.
//
// Under model.ModeObserve everything is admitted. What would have been refused is counted, and
// then counts nowhere: it takes no place and says nothing to the trip, as if it had not been sent.
func (c *Cluster) Admit(now transport.Instant, retry bool) (Pass, *Refusal) {
	g := c.protection.guard.Load()
	if g == nil {
		return Pass{}, nil
	}
	return g.admit(now, retry, g.spec.Load().MaxRequests)
}

// AdmitSpare is Admit for a request that nobody waits for, and that is sent to where others are that
// somebody does wait for. It gets a place only while half of the cluster's are free.
func (c *Cluster) AdmitSpare(now transport.Instant) (Pass, *Refusal) {
	g := c.protection.guard.Load()
	if g == nil {
		return Pass{}, nil
	}
	return g.admit(now, false, (g.spec.Load().MaxRequests+1)/2)
}

// admit is Admit with a bound on requests, of which 0 is none.
func (g *guard) admit(now transport.Instant, retry bool, most int) (Pass, *Refusal) {
	spec, counts := g.spec.Load(), g.counts.Load()
	trip, wait, ok := g.trip.Admit(int64(now))
	if !ok {
		if observed(spec, counts.trip) {
			return Pass{}, nil
		}
		return Pass{}, &Refusal{telemetry.ProtectTrip, max(wait, leastRetryAfter)}
	}
	if !g.requests.take(most) {
		g.trip.Excuse(trip)
		if observed(spec, counts.requests) {
			return Pass{}, nil
		}
		return Pass{}, refusedRequests
	}
	if retry && !g.retries.take(spec.MaxRetries) {
		g.requests.give()
		g.trip.Excuse(trip)
		if observed(spec, counts.retries) {
			return Pass{}, nil
		}
		return Pass{}, refusedRetries
	}
	return Pass{g, trip, retry}, nil
}

// observed counts an action, and reports whether it is only observed.
func observed(spec *model.Breaker, count *telemetry.Protection) bool {
	count.Count(spec.Mode)
	return spec.Mode == model.ModeObserve
}

// Judge says how the try went that goes on: its answer is there, but not whole yet, or it has
// become a tunnel. Done and Excuse say nothing about that any more.
func (p *Pass) Judge(now transport.Instant, failed bool) {
	if p.guard != nil {
		p.guard.trip.Done(int64(now), p.trip, failed)
		p.trip = breaker.Pass{}
	}
}

// Answered says that an answer has begun, with the status of a failure or without, and may go on for
// long. A probe is judged by that: where all answers last, nothing else would close the breaker.
func (p *Pass) Answered(now transport.Instant, failed bool) {
	if p.trip.Probe() {
		p.Judge(now, failed)
	}
}

// Done ends a try, now, that the cluster has failed or not: with a status 5xx or a faulty code of
// gRPC, or without an answer. A second time it does nothing.
func (p *Pass) Done(now transport.Instant, failed bool) {
	p.Judge(now, failed)
	p.leave()
}

// Excuse ends a try that says nothing about the cluster: the client went away, or it was us who
// did not send it. A second time it does nothing.
func (p *Pass) Excuse() {
	if p.guard != nil {
		p.guard.trip.Excuse(p.trip)
		p.leave()
	}
}

func (p *Pass) leave() {
	if p.guard == nil {
		return
	}
	p.guard.requests.give()
	if p.retry {
		p.guard.retries.give()
	}
	*p = Pass{}
}

// protect takes over what a new specification says about protection. It is called with set.mu
// held.
func (c *Cluster) protect(spec *model.Cluster, now transport.Instant) {
	p := &c.protection
	b := &spec.Breaker
	c.resolveCounts(b)
	judges := b.Mode != model.ModeDisabled && (b.MaxRequests > 0 || b.MaxRetries > 0 || b.Trip != nil)
	if judges && p.kept == nil {
		p.kept = &guard{counts: &p.counts, trip: breaker.New(c.set.config.Random)}
	}
	if p.kept != nil {
		p.kept.spec.Store(b)
		p.kept.trip.Configure(int64(now), b.Trip)
	}
	if judges {
		p.guard.Store(p.kept)
	} else {
		p.guard.Store(nil)
	}
	if spec.RetryBudget != nil {
		c.CountTries()
	}
	if budget := p.budget.Load(); budget != nil {
		budget.Configure(spec.RetryBudget)
	}
	c.thin()
	c.serve()
}

// resolveCounts finds the counters of what is configured. A cluster that was gone may have others now.
func (c *Cluster) resolveCounts(b *model.Breaker) {
	of := func(kind telemetry.ProtectionKind, configured bool) *telemetry.Protection {
		if !configured {
			return nil
		}
		return c.counter(kind)
	}
	on := b.Mode != model.ModeDisabled
	c.protection.counts.Store(&counts{
		connections: of(telemetry.ProtectMaxConnections, on && b.MaxConnections > 0),
		pending:     of(telemetry.ProtectMaxPending, on && b.MaxConnections > 0 && b.MaxPending > 0),
		requests:    of(telemetry.ProtectMaxRequests, on && b.MaxRequests > 0),
		retries:     of(telemetry.ProtectMaxRetries, on && b.MaxRetries > 0),
		trip:        of(telemetry.ProtectTrip, on && b.Trip != nil),
	})
	if c.protection.budget.Load() != nil {
		c.protection.denied.Store(c.counter(telemetry.ProtectRetryBudget))
	}
}

func (c *Cluster) counter(kind telemetry.ProtectionKind) *telemetry.Protection {
	if m := c.set.config.Metrics; m != nil {
		return m.Protection(c.name, kind)
	}
	return nil
}

// CountTries has first tries counted from now on: a route to the cluster retries. Until ten
// seconds later its budget knows of fewer than there were, and is smaller.
func (c *Cluster) CountTries() {
	if c.protection.budget.Load() == nil {
		b := retry.NewBudget(c.set.config.Shards)
		if spec := c.spec.Load(); spec != nil {
			b.Configure(spec.RetryBudget)
		}
		if c.protection.budget.CompareAndSwap(nil, b) {
			c.protection.denied.Store(c.counter(telemetry.ProtectRetryBudget))
		}
	}
}

// First counts the first try of a request, if anybody retries.
func (c *Cluster) First(now transport.Instant, shard int) {
	c.protection.budget.Load().First(int64(now), shard)
}

// MayRetry takes a retry from the budget, within the cluster's own bound and the route's, which
// may be nil, and reports whether it may be made.
func (c *Cluster) MayRetry(now transport.Instant, route *model.RetryBudget) bool {
	b := c.protection.budget.Load()
	if b == nil && route == nil {
		return true
	}
	if b == nil {
		c.CountTries()
		b = c.protection.budget.Load()
	}
	may, within := b.Take(int64(now), route)
	switch {
	case !may:
		c.protection.denied.Load().Count(model.ModeEnforce)
	case !within:
		c.protection.denied.Load().Count(model.ModeObserve)
	}
	return may
}

// WouldHedge reports whether the budgets would let a retry through that is not made, because hedging
// only observes.
func (c *Cluster) WouldHedge(now transport.Instant, route *model.RetryBudget) bool {
	b := c.protection.budget.Load()
	return b == nil || b.Pretend(int64(now), route)
}

// Bound is one bound of a breaker, and how much of it is used: of connections those in use, for
// idle ones make room.
type Bound struct {
	Kind telemetry.ProtectionKind
	Used int64
	Most int64 // 0: there is none
}

// BreakerStatus is the protection of a cluster as people and programs see it.
type BreakerStatus struct {
	Cluster string
	Mode    model.Mode // of the breaker
	Trips   bool       // it has a trip
	Trip    breaker.Status
	Since   time.Time // when the trip came to its state; zero: it has always been closed
	Bounds  []Bound   // by the order of telemetry's kinds; requests and retries only while they are judged
	// Budget is whether tries are counted; First and Retries are those of the last ten seconds,
	// Remaining how many more retries the cluster's own budget lets through, or would where it only
	// observes (retry.Unlimited: any).
	Budget                    bool
	First, Retries, Remaining int64
	BudgetMode                model.Mode // of the cluster's own budget; empty: it has none
}

// Breakers returns the protection of every live cluster that has one, by name.
func (s *Set) Breakers() []BreakerStatus {
	now := transport.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []BreakerStatus
	for _, c := range s.order {
		if b, any := c.breaker(now); any {
			list = append(list, b)
		}
	}
	return list
}

// CloseBreaker closes the breaker of a cluster, also of those that are the same backend behind a gateway with
// settings of its own (name@gateway), and returns the state that it was in, of several the one furthest from closed.
// False if none of them trips.
func (s *Set) CloseBreaker(name string) (was breaker.State, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.order {
		own, _, _ := strings.Cut(c.name, "@")
		g, spec := c.protection.guard.Load(), c.spec.Load()
		if (c.name == name || own == name) && g != nil && spec != nil && spec.Breaker.Trip != nil {
			was, ok = max(was, g.trip.Close(int64(transport.Now()))), true
		}
	}
	return was, ok
}

// breaker is called with set.mu held.
func (c *Cluster) breaker(now transport.Instant) (b BreakerStatus, any bool) {
	p, spec := &c.protection, c.spec.Load()
	if spec == nil {
		return b, false
	}
	m := &spec.Breaker
	b = BreakerStatus{Cluster: c.name, Mode: m.Mode}
	any = *m != model.Breaker{}
	if b.Mode == "" {
		b.Mode = model.ModeEnforce
	}
	if any && b.Mode != model.ModeDisabled {
		b.Bounds = append(b.Bounds, Bound{telemetry.ProtectMaxConnections, c.busy(), int64(m.MaxConnections)},
			Bound{telemetry.ProtectMaxPending, p.links.waiting.Load(), int64(m.MaxPending)})
	}
	if g := p.guard.Load(); g != nil {
		b.Bounds = append(b.Bounds, Bound{telemetry.ProtectMaxRequests, g.requests.used.Load(), int64(m.MaxRequests)},
			Bound{telemetry.ProtectMaxRetries, g.retries.used.Load(), int64(m.MaxRetries)})
		if b.Trips = m.Trip != nil; b.Trips {
			if b.Trip = g.trip.Status(int64(now)); b.Trip.Since != 0 {
				b.Since = transport.Instant(b.Trip.Since).Time()
			}
		}
	}
	if budget := p.budget.Load(); budget != nil {
		any, b.Budget = true, true
		b.First, b.Retries = budget.Use(int64(now))
		b.Remaining = budget.Remaining(int64(now), nil)
		if own := spec.RetryBudget; own != nil {
			b.BudgetMode = cmp.Or(own.Mode, model.ModeEnforce)
		}
	}
	return b, any
}

// busy returns how many connections are in use, or being opened.
func (c *Cluster) busy() int64 {
	n := c.protection.links.open.used.Load()
	if p := c.picker.Load(); p != nil {
		for _, h := range p.all {
			if n -= h.idle.Load(); h.links.Load() > 0 { // else there is nothing to lock for
				n -= int64(len(h.resting()))
			}
		}
	}
	return max(n, 0)
}

// State is the status as metrics have it.
func (b *BreakerStatus) State() telemetry.BreakerState {
	s := telemetry.BreakerState{Cluster: b.Cluster, Trips: b.Trips, State: int(b.Trip.State), Remaining: map[telemetry.ProtectionKind]int64{}}
	for _, bound := range b.Bounds {
		if bound.Most > 0 {
			s.Remaining[bound.Kind] = max(bound.Most-bound.Used, 0)
		}
	}
	if b.Budget && b.Remaining < math.MaxInt64 {
		s.RetryBudget = &b.Remaining
	}
	return s
}
