package simulate

import (
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/balance"
	"weir.dev/weir/traffic/health"
)

// Slow start, as dataplane/cluster has it: twentieths of the weight, from two on.
const (
	leastWarmth = 2
	wholeWarmth = 20
	leastStep   = 100 * time.Millisecond
)

// warmth returns how many twentieths of its weight a host has now.
func (h *host) warmth() int {
	spec := &h.cluster.spec.Balancing
	if h.warms == 0 || spec.SlowStart <= 0 || balance.Hashes(spec.Algorithm) {
		return wholeWarmth
	}
	age := min(h.cluster.s.now.sub(h.warms), spec.SlowStart)
	return leastWarmth + int(float64(wholeWarmth-leastWarmth)*float64(age)/float64(spec.SlowStart))
}

// turned puts a change of a host's health into effect; one that has become healthy warms up.
func (h *host) turned(healthy bool) {
	c := h.cluster
	if healthy {
		h.warms = c.s.now
		h.warmUp()
	}
	c.rebuild()
}

// warmUp rebuilds the groups at each step of slow start.
func (h *host) warmUp() {
	c := h.cluster
	if h.warmth() >= wholeWarmth {
		return
	}
	c.s.after(max(leastStep, c.spec.Balancing.SlowStart/(wholeWarmth-leastWarmth)+1), func() {
		c.rebuild()
		h.warmUp()
	})
}

// watch begins what goes on for as long as the run: health checks and the comparisons of hosts.
func (c *cluster) watch() {
	if check := c.spec.HealthCheck; check != nil {
		for _, h := range c.hosts {
			c.s.after(time.Duration(c.s.random.Int64N(int64(check.Interval))), func() { h.checkNow(check) })
		}
	}
	c.watchOutliers()
}

// checkNow asks a host whether it can serve, and again an interval later. Checks cost the
// hosts nothing.
func (h *host) checkNow(check *model.HealthCheck) {
	s := h.cluster.s
	wait := s.oneWay() * 2
	passes := h.server.alive() && (check.Type == model.HealthCheckTCP || !h.server.errs())
	if h.server.hung && !h.server.down {
		passes, wait = check.Type == model.HealthCheckTCP, check.Timeout
	}
	s.after(wait, func() {
		was := h.healthy()
		h.check.Observe(passes, health.Thresholds{Healthy: check.HealthyAfter, Unhealthy: check.UnhealthyAfter})
		if h.healthy() != was {
			h.turned(!was)
		}
	})
	s.after(max(check.Interval, wait), func() { h.checkNow(check) })
}
