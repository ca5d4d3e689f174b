package cluster

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/health"
)

// Health checks: hosts of a cluster that has a HealthCheck wait in one queue, by when each is
// due. A host that is checked for the first time is due within a moment, those of one snapshot
// one after the other; from then on every interval, give or take a tenth.
//
//	enrol ──► queue ──► check (maxChecking at once) ──► State ──► settle ──► picker
//	            ▲                    │                  health    verdicts of 5 ms together
//	            └────────────────────┘
//
// Until its first check has ended a host is as good as healthy, so that a proxy that starts can
// serve at once; but a newcomer, one that appears beside hosts that are known to be healthy, is
// held back until then. Nothing is known of a host any more when its cluster is no longer
// checked, or when it has left its cluster.
const (
	// maxChecking bounds the checks at one time.
	maxChecking = 512
	// firstSpacing is between the first checks of hosts that appear at once, give or take
	// firstJitter: proxies that start at once need not all come to a host at the same time.
	firstSpacing = time.Millisecond
	firstJitter  = 20 * time.Millisecond
	// settleWithin is how long verdicts wait for others, so that a picker is rebuilt once for
	// many of them.
	settleWithin = 5 * time.Millisecond
	// lateAfter is the delay from which a check counts as late.
	lateAfter = 250 * time.Millisecond
)

// check is what is known of a host by its checks. It is guarded by set.mu.
type check struct {
	state    health.State
	verdict  health.Verdict // of state, as pickers know it
	newcomer bool           // it came to a cluster with a host that was known to be healthy
	held     bool           // a newcomer without a verdict, while another host is known to be healthy

	since   time.Time // of the verdict
	failure string    // why the last check failed; empty: it passed

	slot           // in the queue
	running bool   // a check of this round
	round   uint64 // the host has been enrolled so often: an earlier round's check is nobody's
}

// CheckResult is how a health check ended.
type CheckResult uint8

// The results of health checks.
const (
	CheckPassed CheckResult = iota
	CheckFailed
	CheckTimedOut // it has failed for want of time
	checkResults
)

// checking is what checks hosts. All but wake is guarded by set.mu.
type checking struct {
	wake      chan struct{}
	queue     queue[*Host]
	running   int
	unsettled map[*Cluster]struct{} // with verdicts that pickers do not know
	settle    transport.Instant     // when they are to; 0: there are none
	rested    transport.Instant     // from when on it may be: at most a tenth of the time goes into new pickers
	first     transport.Instant     // from when on there is time for the next first check
}

// healthCheck returns how the cluster's hosts are checked; nil: not at all.
func (c *Cluster) healthCheck() *model.HealthCheck {
	if c.retired {
		return nil
	}
	return c.spec.Load().HealthCheck
}

// enrol has the hosts that stay checked as the cluster says, and no others. It reports whether
// the picker must be rebuilt, because nothing is known of its hosts any more. It is called with
// set.mu held, as are the others that do not lock it.
func (c *Cluster) enrol(stays func(*Host) bool) (rebuild bool) {
	spec := c.healthCheck()
	changed := !reflect.DeepEqual(spec, c.checked)
	c.checked = spec
	q := &c.set.checking
	for _, h := range c.hosts {
		k := &h.check
		switch {
		case spec == nil || !stays(h):
			q.remove(h)
			if spec == nil {
				rebuild = rebuild || k.verdict == health.Unhealthy || k.held
				*k = check{round: k.round}
			}
		case changed || k.place == 0 && !k.running:
			q.remove(h)
			wait := q.nextFirst() % max(spec.Interval, 1) // closer together where they would not fit otherwise
			wait += time.Duration(c.set.config.Random() % uint64(firstJitter))
			q.add(h, transport.Now().Add(wait))
		}
	}
	return rebuild
}

// nextFirst returns how long it is until there is time for another first check.
func (q *checking) nextFirst() time.Duration {
	now := transport.Now()
	at := max(q.first, now)
	q.first = at.Add(firstSpacing)
	return at.Sub(now)
}

// remove takes a host out of the queue. What is being found out of it is of no interest.
func (q *checking) remove(h *Host) {
	k := &h.check
	q.queue.remove(h)
	k.running = false
	k.round++
}

func (q *checking) add(h *Host, due transport.Instant) {
	q.queue.put(h, due)
	q.rouse()
}

// rouse makes checkHosts look what is due.
func (q *checking) rouse() {
	select {
	case q.wake <- struct{}{}:
	default: // it has not yet looked since the last time
	}
}

// checkHosts checks hosts until ctx ends, and waits for its checks.
func (s *Set) checkHosts(ctx context.Context) {
	var checks sync.WaitGroup
	defer checks.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.checking.wake:
		}
		s.settleChecks()
		due, next := s.dueChecks()
		for _, d := range due {
			checks.Go(func() { s.check(ctx, d) })
		}
		timer.Reset(next)
	}
}

// dueCheck is a check that has begun.
type dueCheck struct {
	host  *Host
	spec  *model.HealthCheck
	round uint64
	began transport.Instant
}

// dueChecks returns the checks that are to run now, counted as running, and the time until the
// next ones, or until verdicts are to be settled.
func (s *Set) dueChecks() ([]dueCheck, time.Duration) {
	now := transport.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.checking
	var list []dueCheck
	for q.running < maxChecking {
		h, ok := q.queue.next(now)
		if !ok {
			break
		}
		h.check.running = true
		q.running++
		if m := s.config.Metrics; m != nil && now.Sub(h.check.due) >= lateAfter {
			m.LateChecks.Add(1)
		}
		list = append(list, dueCheck{h, h.cluster.healthCheck(), h.check.round, now})
	}
	next := now.Add(noStep)
	if q.running < maxChecking && len(q.queue) > 0 { // else the end of a check rouses
		next = q.queue[0].check.due
	}
	if q.settle != 0 {
		next = transport.Earlier(next, q.settle)
	}
	return list, max(next.Sub(now), 0)
}

// check checks a host once.
func (s *Set) check(ctx context.Context, d dueCheck) {
	late, err := d.host.askContained(ctx, d.began.Add(d.spec.Timeout), d.spec)
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.checking
	q.running--
	q.rouse()
	if k := &d.host.check; k.round != d.round || ctx.Err() != nil {
		return
	}
	d.host.checked(late, err)
	interval := d.host.cluster.healthCheck().Interval
	jitter := time.Duration(s.config.Random() % uint64(interval/5+1))
	q.add(d.host, max(d.began.Add(interval-interval/10+jitter), transport.Now()))
}

// askContained is ask, but that a defect of ours is a failure like any other.
func (h *Host) askContained(ctx context.Context, by transport.Instant, spec *model.HealthCheck) (late bool, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			h.report(fault)
			late, err = false, errors.New("the check itself failed; see the log")
		}
	}()
	return h.ask(ctx, by, spec)
}

// checked takes the result of a check.
func (h *Host) checked(late bool, err error) {
	k, spec, q := &h.check, h.cluster.healthCheck(), &h.cluster.set.checking
	k.running = false
	result := CheckPassed
	switch {
	case late:
		result = CheckTimedOut
	case err != nil:
		result = CheckFailed
	}
	h.Stats.Checks[result].Add(1)
	k.failure = ""
	if err != nil {
		k.failure = err.Error()
	}
	if ours(err) {
		return // and is found out the next time
	}
	if k.state.Observe(err == nil, health.Thresholds{Healthy: spec.HealthyAfter, Unhealthy: spec.UnhealthyAfter}) {
		if q.unsettled[h.cluster] = struct{}{}; q.settle == 0 {
			q.settle = max(transport.Now().Add(settleWithin), q.rested)
		}
	}
}

// settleChecks lets pickers know the verdicts of the last moment, when it is over.
func (s *Set) settleChecks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.checking
	if q.settle == 0 || transport.Now() < q.settle {
		return
	}
	began := transport.Now()
	for c := range q.unsettled {
		c.settle()
	}
	clear(q.unsettled)
	ended := transport.Now()
	q.settle, q.rested = 0, ended.Add(9*ended.Sub(began))
	if len(s.warming) > 0 {
		s.rouse()
	}
}

// settle takes the verdicts on the cluster's hosts over.
func (c *Cluster) settle() {
	var turned []*Host
	c.turn(func() {
		for _, h := range c.hosts {
			k := &h.check
			if v := k.state.Verdict(); v != k.verdict {
				if k.verdict != health.Unknown || v == health.Unhealthy {
					turned = append(turned, h)
				}
				k.verdict, k.since = v, time.Now()
			}
		}
	})
	c.report(turned)
}

// standing is what a picker goes by.
type standing struct{ healthy, held bool }

func (h *Host) standing() standing { return standing{h.healthy(), h.check.held} }

// turn makes a change to what is held of the cluster's hosts, and lets the picker know if there
// is anything in it for pickers. Hosts that become healthy by it start slowly.
func (c *Cluster) turn(change func()) {
	for _, h := range c.hosts {
		h.stood = h.standing()
	}
	served := c.serves()
	change()
	c.hold()
	rebuild := false
	for _, h := range c.hosts {
		was, now := h.stood, h.standing()
		rebuild = rebuild || was != now
		if now.healthy && !was.healthy {
			h.warm(served)
		}
	}
	if rebuild && !c.retired {
		// The algorithm is known, so nothing can go wrong: apply has built such a picker.
		_ = c.rebuild()
	}
}

// proven reports whether a host that receives requests has passed a check.
func (c *Cluster) proven() bool {
	for _, h := range c.hosts {
		if h.check.verdict == health.Healthy && h.endpoint.Weight > 0 && h.healthy() && !h.draining.Load() {
			return true
		}
	}
	return false
}

// hold decides which newcomers wait for their first check.
func (c *Cluster) hold() {
	if c.checked == nil {
		return
	}
	proven := c.proven()
	for _, h := range c.hosts {
		h.check.held = proven && h.check.newcomer && h.check.verdict == health.Unknown
	}
}

// report logs whose health has turned.
func (c *Cluster) report(turned []*Host) {
	log := c.set.config.Log
	if log == nil {
		return
	}
	for i, h := range turned {
		attributes := []slog.Attr{slog.String("cluster", c.name), slog.String("host", h.address.String())}
		if i == mostTold {
			log.LogAttrs(context.Background(), slog.LevelWarn, "the health of more hosts has changed", slog.String("cluster", c.name), slog.Int("hosts", len(turned)-mostTold))
			return
		}
		if h.check.verdict == health.Healthy {
			log.LogAttrs(context.Background(), slog.LevelInfo, "host is healthy again", attributes...)
			continue
		}
		log.LogAttrs(context.Background(), slog.LevelWarn, "host is unhealthy", append(attributes, slog.String("reason", h.check.failure))...)
	}
}
