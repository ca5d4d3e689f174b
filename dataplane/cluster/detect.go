package cluster

import (
	"context"
	"log/slog"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/health"
	"weir.dev/weir/traffic/stats"
)

// protectMaxEjected is, behind telemetry.ProtectOutlier, the ejections that the ceiling prevented.
const protectMaxEjected = "maxEjected"

// protectShared is, in the same place, those that did not come about because others do as badly.
const protectShared = "shared"

// detects reports whether there is anything to find.
func detects(o *model.Outlier) bool {
	return o.Mode != model.ModeDisabled && (health.Consecutive5xx.On(o) || health.ConsecutiveLocal.On(o) || health.Compares(o))
}

// detect has outliers found as the cluster now says, among the hosts that it now has. Ejections
// stay as far as the rules that they come from, the ceiling and the mode do; how often hosts were
// ejected stays anyhow. It is called with set.mu held, as are the others.
func (c *Cluster) detect() {
	spec := c.spec.Load().Outlier
	on := !c.retired && detects(&spec)
	if !on && c.detection.Load() == nil {
		return
	}
	now := transport.Now()
	c.turn(func() {
		if on {
			c.watch(&spec, now)
		} else {
			c.unwatch(now)
		}
	})
	c.await()
	c.set.judges.rouse()
}

// watch finds outliers as spec says from now on.
func (c *Cluster) watch(spec *model.Outlier, now transport.Instant) {
	j := &c.judging
	compares := health.Compares(spec)
	if d := c.detection.Load(); d == nil || d.Outlier != *spec {
		c.detection.Store(&detection{*spec, compares})
	}
	acts := spec.Mode != model.ModeObserve
	if !acts {
		c.reportBack(c.out()) // if they were out until now
	}
	j.acts = acts
	for _, h := range c.hosts {
		switch {
		case !compares:
			h.tally.Store(nil)
		case h.tally.Load() == nil:
			h.tally.Store(&tally{served: stats.NewLatencies(c.set.config.Shards)})
		}
	}
	interval := max(spec.Interval, leastInterval)
	switch {
	case !compares:
		j.compare = 0
	case j.compare == 0 || j.interval != interval: // clusters that appear together compare apart
		j.compare = now.Add(interval + time.Duration(c.set.config.Random()%uint64(interval/4)))
	}
	j.interval = interval
	c.release(now, spec)
}

// unwatch ends everything.
func (c *Cluster) unwatch(now transport.Instant) {
	c.detection.Store(nil)
	back := c.out()
	for _, h := range back {
		h.outlying.ejection.End(int64(now))
	}
	for _, h := range c.hosts {
		h.record.Reset()
		h.tally.Store(nil)
	}
	c.reportBack(back)
	c.judging.acts, c.judging.compare = false, 0
}

// out returns the hosts that are ejected, or would be.
func (c *Cluster) out() []*Host {
	var list []*Host
	for _, h := range c.hosts {
		if h.outlying.ejection.Out() {
			list = append(list, h)
		}
	}
	return list
}

// countOutlier counts an ejection, or one that the ceiling has prevented. Counters are looked up as
// something happens: of ten thousand clusters most never eject anybody.
func (c *Cluster) countOutlier(kind telemetry.ProtectionKind, mode model.Mode) {
	if m := c.set.config.Metrics; m != nil {
		m.Protection(c.name, telemetry.ProtectOutlier+kind).Count(mode)
	}
}

// await has the cluster judged again when there will be something to judge it by.
func (c *Cluster) await() {
	due := c.judging.compare
	for _, h := range c.out() {
		due = transport.Earlier(due, transport.Instant(h.outlying.ejection.Until()))
	}
	if q := &c.set.judges.queue; due == 0 {
		q.remove(c)
	} else {
		q.put(c, due)
	}
}

// addOutlying adds to a status what is held of the host as an outlier.
func (h *Host) addOutlying(s *HostStatus) {
	o := &h.outlying
	s.Judged, s.Ejected = h.cluster.detection.Load() != nil, h.ejected()
	s.Ejections, s.WouldEject = o.ejections, o.wouldEject
	if e := &o.ejection; e.Out() {
		s.EjectedBy, s.EjectedUntil = e.Rule().String(), transport.Instant(e.Until()).Time()
	}
}

// mostTold bounds the lines of the log about hosts that change at once.
const mostTold = 10

// reportEjected logs who was ejected, or by its mode would have been.
func (c *Cluster) reportEjected(hosts []*Host, now transport.Instant, mode model.Mode) {
	log := c.set.config.Log
	if log == nil {
		return
	}
	for _, h := range hosts[:min(len(hosts), mostTold)] {
		e := &h.outlying.ejection
		log.LogAttrs(context.Background(), slog.LevelWarn, "host is an outlier", slog.String("cluster", c.name), slog.String("host", h.address.String()),
			slog.String("rule", e.Rule().String()), slog.String("mode", string(mode)), slog.Duration("for", transport.Instant(e.Until()).Sub(now)))
	}
	c.reportMore(hosts)
}

// reportBack logs whose ejection has ended.
func (c *Cluster) reportBack(hosts []*Host) {
	log := c.set.config.Log
	if log == nil || !c.judging.acts {
		return
	}
	for _, h := range hosts[:min(len(hosts), mostTold)] {
		log.LogAttrs(context.Background(), slog.LevelInfo, "host returns after its ejection", slog.String("cluster", c.name), slog.String("host", h.address.String()))
	}
	c.reportMore(hosts)
}

// reportMore logs how many there are beyond the bound.
func (c *Cluster) reportMore(hosts []*Host) {
	if more := len(hosts) - mostTold; more > 0 {
		c.set.config.Log.LogAttrs(context.Background(), slog.LevelInfo, "more hosts are outliers or return", slog.String("cluster", c.name), slog.Int("hosts", more))
	}
}
