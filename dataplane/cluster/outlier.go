package cluster

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/health"
	"weir.dev/weir/traffic/stats"
)

// Outliers: hosts of a cluster that has a model.Outlier are watched by what becomes of the
// requests to them. What comes in a row is found as it ends, without a lock: the host is
// suspected, and the one goroutine of judgeHosts is woken. What must be compared is found
// once in an interval.
//
//	Host.End ──► row of failures ──► suspects ─┐
//	         └─► tally of the interval ────────┤
//	                                           ▼
//	   queue: intervals, ends of ejections ──► judge ──► picker
//
// An ejected host is as unhealthy as one that fails its checks; which those are makes no
// difference to the other. When its time is over it returns through slow start, with nothing
// held against it but that it had to go. All routes share what is known, for it is the host's. A
// host that leaves its cluster is forgotten.
//
// Where outliers are only observed everything goes the same way, so that as much is counted,
// but pickers do not hear of it.
const (
	// judgeEvery is the least time between two passes, so that requests that fail fast do not
	// keep anybody busy with suspicions. The first after quiet is at once.
	judgeEvery = 5 * time.Millisecond
	// maxJudged bounds the clusters of one pass, as long as which nobody else may change hosts.
	maxJudged = 64
	// leastInterval bounds how often hosts are compared.
	leastInterval = 100 * time.Millisecond
)

// detection is how outliers are found, as the path of requests needs it.
type detection struct {
	model.Outlier
	compares bool // what ends is tallied
}

// watched is what is known of a host's requests, for outliers' sake.
type watched struct {
	record  health.Record
	tally   atomic.Pointer[tally] // nil: nobody compares
	suspect atomic.Uint32         // the health.Rule that it has broken; 0: none
	next    *Host                 // in judges.suspects, of a suspect
}

// outlying is what is held of a host as an outlier. It is guarded by set.mu.
type outlying struct {
	ejection              health.Ejection
	ejections, wouldEject uint64
	fares                 [health.Rules]float64 // by the rules about rows, in the present pass
}

// judging is what finding outliers needs of a cluster. It is guarded by set.mu.
type judging struct {
	slot                                   // in judges.queue
	acts     bool                          // ejections count, and are not only observed
	compare  transport.Instant             // when hosts are compared next; 0: they are not
	interval time.Duration                 // as compare was set by
	suspects []suspicion                   // of the present pass
	incident [health.Rules]health.Incident // of all hosts at once, by the rules about rows
}

type suspicion struct {
	host *Host
	rule health.Rule
}

// judges is what judges hosts. All but wake and suspects is guarded by set.mu.
type judges struct {
	wake     chan struct{}
	suspects atomic.Pointer[Host] // a list by watched.next
	queue    queue[*Cluster]
	rested   transport.Instant // from when on there may be another pass
}

// slot is the cluster's place in the queue of judges.
func (c *Cluster) slot() *slot { return &c.judging.slot }

// tally counts how the tries of an interval ended.
type tally struct {
	served             *stats.Latencies
	faulty, unanswered atomic.Uint64
}

// judge takes the outcome of a try. It is on the path of every request.
func (h *Host) judge(now transport.Instant, d *detection, o Outcome) {
	if length := h.record.Observe(int64(now), o.Latency, o.Result); length > 0 {
		if rule := health.Row(&d.Outlier, o.Result, length); rule != health.NoRule {
			h.suspected(rule)
		}
	}
	t := h.tally.Load()
	if t == nil {
		return
	}
	switch o.Result {
	case health.Faulty:
		t.faulty.Add(1)
	case health.Unanswered:
		t.unanswered.Add(1)
	default:
		t.served.Observe(o.Shard, o.Latency)
	}
}

// suspected has the host looked at soon, if it is not to be already.
func (h *Host) suspected(rule health.Rule) {
	if !h.suspect.CompareAndSwap(0, uint32(rule)) {
		return
	}
	j := &h.cluster.set.judges
	for {
		h.next = j.suspects.Load()
		if j.suspects.CompareAndSwap(h.next, h) {
			break
		}
	}
	j.rouse()
}

// rouse makes judgeHosts look.
func (j *judges) rouse() {
	select {
	case j.wake <- struct{}{}:
	default: // it has not yet looked since the last time
	}
}

// take returns the sample of the interval that ends now.
func (t *tally) take() health.Sample {
	var s health.Sample
	var counts stats.Counts
	t.served.Drain(&counts)
	s.Ended = [health.Results]uint64{health.Served: counts.Count(), health.Faulty: t.faulty.Swap(0), health.Unanswered: t.unanswered.Swap(0)}
	s.Median = counts.Quantile(0.5)
	return s
}

// judgeHosts judges hosts until ctx ends.
func (s *Set) judgeHosts(ctx context.Context) {
	timer := time.NewTimer(noStep)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(s.judgeDue())
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.judges.wake:
		}
	}
}

// judgeDue judges what is due and returns the time until the next pass.
func (s *Set) judgeDue() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, now := &s.judges, transport.Now()
	if now < j.rested {
		return j.rested.Sub(now)
	}
	for h := j.suspects.Swap(nil); h != nil; {
		next, c := h.next, h.cluster
		if rule := health.Rule(h.suspect.Swap(0)); c.detection.Load() != nil {
			c.judging.suspects = append(c.judging.suspects, suspicion{h, rule})
			j.queue.put(c, now)
		}
		h = next
	}
	judged := 0
	for judged < maxJudged {
		c, ok := j.queue.next(now)
		if !ok {
			break
		}
		judged++
		c.turn(func() { c.pass(now) })
		c.await()
	}
	ended := transport.Now()
	if judged > 0 {
		j.rested = ended.Add(max(judgeEvery, 9*ended.Sub(now))) // as checking.rested
	}
	if len(s.warming) > 0 {
		s.rouse()
	}
	if len(j.queue) == 0 {
		return noStep
	}
	return max(j.queue[0].judging.due, j.rested).Sub(ended)
}

// pass ends the ejections that are over and begins those that are due. It is called with set.mu
// held, as are the others that do not lock it, and within turn, for it changes who is healthy.
func (c *Cluster) pass(now transport.Instant) {
	d := c.detection.Load()
	// What ended while a host was out is not held against it, even if its time is over now.
	verdicts := slices.DeleteFunc(c.judging.suspects, func(s suspicion) bool { return s.host.outlying.ejection.Out() })
	c.judging.suspects = nil
	c.release(now, &d.Outlier)
	if c.judging.compare != 0 && now >= c.judging.compare {
		verdicts = append(verdicts, c.compare(&d.Outlier)...)
		c.judging.compare = now.Add(c.judging.interval)
	}
	if len(verdicts) == 0 {
		return
	}
	n := c.census(now)
	var ejected []*Host
	for _, v := range verdicts {
		if c.eject(v, now, &d.Outlier, &n) {
			ejected = append(ejected, v.host)
		}
	}
	c.reportEjected(ejected, now, d.Mode)
}

// compare judges the interval that ends now.
func (c *Cluster) compare(o *model.Outlier) []suspicion {
	var hosts []*Host
	var samples []health.Sample
	for _, h := range c.hosts {
		t := h.tally.Load()
		if t == nil {
			continue
		}
		if sample := t.take(); h.stays() && !h.outlying.ejection.Out() {
			hosts, samples = append(hosts, h), append(samples, sample)
		}
	}
	var found []suspicion
	for _, f := range health.Judge(o, samples) {
		found = append(found, suspicion{hosts[f.Host], f.Rule})
	}
	return found
}

// stays reports whether the host is one that ceilings count.
func (h *Host) stays() bool { return h.endpoint.Weight > 0 && !h.draining.Load() }

// rowRules are the rules by which hosts that fail in a row are compared with the others.
var rowRules = [...]health.Rule{health.Consecutive5xx, health.ConsecutiveLocal}

// census is the hosts with a weight: how many there are, are ejected, and serve. What is
// only observed counts as if it acted.
type census struct {
	hosts, out, serving int
	peers               [health.Rules]health.Peers // those that serve, by the rules about rows
}

func (c *Cluster) census(now transport.Instant) census {
	var n census
	var shares [health.Rules][]float64
	for _, h := range c.hosts {
		switch {
		case !h.stays():
			continue
		case h.outlying.ejection.Out():
			n.out++
		case h.sound():
			n.serving++
			for _, rule := range rowRules {
				h.outlying.fares[rule] = h.record.Fares(rule, int64(now))
				shares[rule] = append(shares[rule], h.outlying.fares[rule])
			}
		}
		n.hosts++
	}
	for _, rule := range rowRules {
		n.peers[rule] = health.NewPeers(shares[rule])
	}
	return n
}

// eject ejects a host, if it is in, does worse than others do, and there is room. The last one that
// serves is never ejected.
func (c *Cluster) eject(v suspicion, now transport.Instant, o *model.Outlier, n *census) bool {
	h := v.host
	e := &h.outlying.ejection
	if e.Out() || !h.stays() {
		return false
	}
	if row := h.record.Row(v.rule, o); row > 0 && !c.judging.incident[v.rule].Odd(int64(now), n.peers[v.rule], h.outlying.fares[v.rule], row) {
		c.countOutlier(protectShared, o.Mode)
		return false
	}
	if n.out >= health.Ceiling(o, n.hosts) || h.sound() && n.serving < 2 {
		c.countOutlier(protectMaxEjected, o.Mode)
		return false
	}
	n.out++
	if h.sound() {
		n.serving--
	}
	e.Begin(int64(now), v.rule, o, c.set.config.Random())
	if o.Mode == model.ModeObserve {
		h.outlying.wouldEject++
	} else {
		h.outlying.ejections++
	}
	c.countOutlier(telemetry.ProtectionKind(v.rule.String()), o.Mode)
	return true
}

// release lets hosts return: whose time is over, and where there are fewer hosts or a lower
// ceiling than there were, those first whose time would have been over first.
func (c *Cluster) release(now transport.Instant, o *model.Outlier) {
	var back, out []*Host
	hosts := 0
	for _, h := range c.hosts {
		if h.stays() {
			hosts++
		}
		switch e := &h.outlying.ejection; {
		case e.Over(int64(now), o):
			back = append(back, h)
		case e.Out() && h.stays():
			out = append(out, h)
		}
	}
	if over := len(out) - health.Ceiling(o, hosts); over > 0 {
		slices.SortFunc(out, func(a, b *Host) int {
			return cmp.Compare(a.outlying.ejection.Until(), b.outlying.ejection.Until())
		})
		back = append(back, out[:over]...)
	}
	for _, h := range back {
		h.outlying.ejection.End(int64(now))
		h.pardon()
	}
	c.reportBack(back)
}

// pardon forgets what was found in the host's requests so far.
func (h *Host) pardon() {
	h.record.Reset()
	if t := h.tally.Load(); t != nil {
		t.take()
	}
}

// acquit forgets everything, but how often it was ejected.
func (h *Host) acquit() {
	h.outlying.ejection = health.Ejection{}
	h.pardon()
}

// ejected reports whether the host is to get no requests for being an outlier.
func (h *Host) ejected() bool { return h.cluster.judging.acts && h.outlying.ejection.Out() }
