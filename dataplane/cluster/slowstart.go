package cluster

import (
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/traffic/balance"
)

// Slow start: a host that is new or recovered beside others that serve gets 10 % of its
// weight at first, and all of it after Balancing.SlowStart, growing evenly: its caches are
// cold and its code is not compiled. Hosts of a cluster that served nobody before are whole
// at once, for there is no one to take the load meanwhile. When it began belongs to the
// host, so that a reload, or another SlowStart, changes nothing about that.
//
// Weights grow in steps, and each step is a new picker. Worked example, SlowStart 10 s, two
// hosts of weight 1 beside a new one: from 0 s on the weights are 20, 20 and 2, from 0.56 s on
// 20, 20 and 3, ... from 9.44 s on 20, 20 and 19, from 10 s on 1, 1 and 1.
const (
	// Warmth is in twentieths: 2 is 10 %, and each step is 5 %.
	leastWarmth = 2
	wholeWarmth = 20
	// leastStep bounds how often a picker is rebuilt for slow start.
	leastStep = 100 * time.Millisecond
	// noStep is when to look again while nothing warms up. A change rouses earlier.
	noStep = time.Hour
)

// warm starts slow start now, if others served.
func (h *Host) warm(served bool) {
	h.warms = 0
	if served {
		h.warms = transport.Now()
	}
}

// warmth returns how many twentieths of its weight the host has now.
func (h *Host) warmth(now transport.Instant) int {
	spec := h.cluster.spec.Load().Balancing
	if h.warms == 0 || spec.SlowStart <= 0 || balance.Hashes(spec.Algorithm) {
		return wholeWarmth
	}
	age := min(max(0, now.Sub(h.warms)), spec.SlowStart)
	return leastWarmth + int(float64(wholeWarmth-leastWarmth)*float64(age)/float64(spec.SlowStart))
}

// warmUp plans the next step of the hosts that a new picker is built from. It is called with
// set.mu held, as are the others.
func (c *Cluster) warmUp(hosts []*Host, now transport.Instant) {
	c.cool()
	for _, h := range hosts {
		if h.healthy() && h.endpoint.Weight > 0 && h.warmth(now) < wholeWarmth {
			steps := time.Duration(wholeWarmth - leastWarmth)
			// Rounded up: a moment too early it would be for nothing.
			c.step = now.Add(max(leastStep, c.spec.Load().Balancing.SlowStart/steps+1))
			c.set.warming[c] = struct{}{}
			return
		}
	}
}

// cool ends the steps.
func (c *Cluster) cool() {
	c.step = 0
	delete(c.set.warming, c)
}

// stepWarming rebuilds the pickers whose step is due, and returns the time until the next one.
func (s *Set) stepWarming() time.Duration {
	now := transport.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	next := now.Add(noStep)
	for c := range s.warming {
		if now >= c.step {
			// It has been built before with the same algorithm: that cannot fail.
			_ = c.rebuild()
		}
		if c.step != 0 {
			next = transport.Earlier(next, c.step)
		}
	}
	return max(next.Sub(transport.Now()), time.Millisecond)
}
