package simulate

import (
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/health"
	"weir.dev/weir/traffic/stats"
)

// ejecting is what outlier detection knows of a host.
type ejecting struct {
	out       bool // and it acts
	record    health.Record
	ejection  health.Ejection
	ended     [health.Results]uint64 // tries of the interval
	latencies *stats.Counts          // of those that were served; nil: nobody compares them
}

// judges reports whether outlier detection looks at the cluster at all.
func (c *cluster) judges() bool {
	return c.spec.Outlier.Mode != model.ModeDisabled && c.spec.Outlier.Interval > 0
}

// judge takes the end of a try.
func (h *host) judge(r health.Result, latency time.Duration) {
	c := h.cluster
	if !c.judges() {
		return
	}
	h.eject.ended[r]++
	if h.eject.latencies != nil && r == health.Served {
		h.eject.latencies.Observe(latency)
	}
	if rule := health.Row(&c.spec.Outlier, r, h.eject.record.Observe(int64(c.s.now), latency, r)); rule != health.NoRule {
		c.expel(h, rule)
	}
}

// expel ejects a host, if the ceiling allows one more and it is not the last one that serves.
func (c *cluster) expel(h *host, rule health.Rule) {
	o := &c.spec.Outlier
	if h.eject.ejection.Out() || h.endpoint.Weight == 0 {
		return
	}
	out, serving, weighed := 0, 0, 0
	var shares []float64
	for _, other := range c.hosts {
		switch {
		case other.endpoint.Weight == 0:
			continue
		case other.eject.ejection.Out():
			out++
		case other.healthy():
			serving++
			shares = append(shares, other.eject.record.Fares(rule, int64(c.s.now)))
		}
		weighed++
	}
	row, fares := h.eject.record.Row(rule, o), h.eject.record.Fares(rule, int64(c.s.now))
	if row > 0 && !c.incident[rule].Odd(int64(c.s.now), health.NewPeers(shares), fares, row) {
		return
	}
	if out >= health.Ceiling(o, weighed) || h.healthy() && serving < 2 {
		return
	}
	s := c.s
	h.eject.ejection.Begin(int64(s.now), rule, o, s.random.Uint64())
	if o.Mode != model.ModeObserve {
		h.eject.out = true
		c.service.counts.ejections++
		c.rebuild()
	}
	s.at(moment(h.eject.ejection.Until()), func() { c.readmit(h) })
}

// readmit ends an ejection.
func (c *cluster) readmit(h *host) {
	now := c.s.now
	if !h.eject.ejection.Over(int64(now), &c.spec.Outlier) {
		return
	}
	h.eject.ejection.End(int64(now))
	h.eject.record.Reset()
	if h.eject.out {
		h.eject.out = false
		if h.healthy() {
			h.turned(true)
		}
	}
}

// watchOutliers compares the hosts at the end of each interval.
func (c *cluster) watchOutliers() {
	o := &c.spec.Outlier
	if !c.judges() || !health.Compares(o) {
		return
	}
	for _, h := range c.hosts {
		h.eject.latencies = &stats.Counts{}
	}
	var compare func()
	compare = func() {
		var hosts []*host
		var samples []health.Sample
		for _, h := range c.hosts {
			if h.endpoint.Weight > 0 && !h.eject.ejection.Out() {
				hosts = append(hosts, h)
				samples = append(samples, health.Sample{Ended: h.eject.ended, Median: h.eject.latencies.Quantile(0.5)})
			}
			h.eject.ended, *h.eject.latencies = [health.Results]uint64{}, stats.Counts{}
		}
		for _, f := range health.Judge(o, samples) {
			c.expel(hosts[f.Host], f.Rule)
		}
		c.s.after(o.Interval, compare)
	}
	c.s.after(o.Interval, compare)
}

// ejected returns how many hosts are out.
func (c *cluster) ejected() int {
	n := 0
	for _, h := range c.hosts {
		if h.eject.out {
			n++
		}
	}
	return n
}
