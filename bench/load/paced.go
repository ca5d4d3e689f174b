package load

import (
	"fmt"
	"time"
)

// pace is the schedule of an open loop: request k is due at begin + k/rate,
// whatever became of the ones before it, on connection k modulo their number.
// A latency counts from the moment a request was due, so that a stall shows
// in every request it delayed and not only in the one it hit.
type pace struct {
	begin, from, to time.Duration
	interval        time.Duration
	due             int // the next request
}

func (p *pace) start(begin, from, to time.Duration, rate int) {
	*p = pace{begin: begin, from: from, to: to, interval: time.Second / time.Duration(rate)}
}

// at returns when the next request is due.
func (p *pace) at() time.Duration { return p.begin + time.Duration(p.due)*p.interval }

// counts reports whether a request due at t belongs to the window.
func (p *pace) counts(t time.Duration) bool { return t >= p.from && t < p.to }

// maxWaiting bounds the requests that wait on one connection.
const maxWaiting = 10_000

// dispatch sends what is due and returns how long there is to wait.
func (c *client) dispatch() time.Duration {
	for {
		at, now := c.paced.at(), c.now()
		if at >= c.paced.to {
			return time.Second
		}
		if at > now {
			return at - now
		}
		d := c.conns[c.paced.due%len(c.conns)]
		c.paced.due++
		if c.paced.counts(at) {
			c.late.add(now - at)
		}
		switch {
		case d.dead:
			c.Unfinished++
		case d.inFlight == 0:
			c.send(d, at, 1)
		case len(d.waiting) < maxWaiting:
			d.waiting = append(d.waiting, at)
		default:
			c.broken(d, fmt.Errorf("%d requests wait on one connection", maxWaiting))
		}
	}
}

// settle bounds how long a run waits for its first or last answers.
const settle = 2 * time.Second

// settled reports whether every request was answered or had its time; in the
// latter case it counts those that were not.
func (c *client) settled(now time.Duration) bool {
	open := 0
	for _, d := range c.conns {
		if !d.dead {
			open += d.inFlight + len(d.waiting)
		}
	}
	if open > 0 && now < c.paced.to+settle {
		return false
	}
	if open > 0 {
		c.Unfinished += uint64(open)
		c.because("no answer in time")
	}
	return true
}
