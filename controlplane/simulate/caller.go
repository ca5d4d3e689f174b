package simulate

import (
	"time"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/traffic/stats"
)

// caller is who sends requests: many who do the same.
type caller struct {
	s    *simulation
	spec *resource.ScenarioCaller
	call *call
	site *site

	rate    float64 // a second, without surges; 0: they are counted
	people  int     // that go round
	think   time.Duration
	timeout time.Duration
	backoff time.Duration
	surge   float64
	next    *timer // of a rate

	counts callerCounts // of the step under way
	total  callerCounts
}

// begin has the first requests come.
func (c *caller) begin() {
	c.surge = 1
	c.surges(1)
}

// surges changes how much there is, from now on. Moments of a rate are without memory, so that
// the next one may be drawn anew.
func (c *caller) surges(times float64) {
	c.surge = times
	if c.rate > 0 {
		c.next.stop()
		c.arrivals()
		return
	}
	for c.people < c.wanted() {
		c.people++
		p := &person{caller: c}
		// Nobody begins in step with the others.
		c.s.after(time.Duration(c.s.random.Float64()*float64(max(c.think, 100*time.Millisecond))), p.ask)
	}
}

func (c *caller) wanted() int { return int(float64(c.spec.Count)*c.surge + 0.5) }

// arrivals plans the next request of a rate.
func (c *caller) arrivals() {
	rate := c.rate * c.surge
	if rate == 0 {
		return
	}
	wait := time.Duration(c.s.random.ExpFloat64() / rate * float64(time.Second))
	c.next = c.s.after(wait, func() {
		(&person{caller: c}).ask()
		c.arrivals()
	})
}

// person is one who wants something, and of those that are counted one after the other.
type person struct {
	caller  *caller
	root    *root
	hash    uint64
	asked   moment
	tries   int
	request *request
	timeout *timer
}

// ask begins a new wish.
func (p *person) ask() {
	c := p.caller
	if c.rate == 0 && c.people > c.wanted() {
		c.people--
		return
	}
	if p.hash == 0 {
		p.hash = c.s.random.Uint64()
	}
	c.counts.asked++
	p.root, p.asked, p.tries = &root{}, c.s.now, 0
	p.send()
}

func (p *person) send() {
	c := p.caller
	p.tries++
	p.timeout = nil
	if c.timeout > 0 {
		p.timeout = c.s.after(c.timeout, func() {
			p.request.leave()
			c.counts.timedOut++
			p.failed()
		})
	}
	p.request = c.s.send(sending{call: c.call, site: c.site, root: p.root, marked: c.spec.Marked && c.spec.Retries > 0, hash: p.hash, done: p.answered})
}

func (p *person) answered(a answer) {
	p.timeout.stop()
	if a.status >= 500 {
		p.failed()
		return
	}
	p.ends(true)
}

// failed tries again, if callers do so.
func (p *person) failed() {
	c := p.caller
	if p.tries > int(c.spec.Retries) {
		p.ends(false)
		return
	}
	wait := min(c.backoff<<min(p.tries-1, 20), time.Hour)
	c.s.after(wait/2+time.Duration(c.s.random.Float64()*float64(wait/2)), p.send)
}

// ends ends the wish, and has those that are counted think about the next.
func (p *person) ends(well bool) {
	c := p.caller
	took := c.s.now.sub(p.asked)
	c.counts.ended++
	if well {
		c.counts.succeeded++
		c.counts.latency.Observe(took)
	}
	if c.rate > 0 {
		return
	}
	c.s.after(time.Duration(c.s.random.ExpFloat64()*float64(c.think)), p.ask)
}

// callerCounts is what became of wishes.
type callerCounts struct {
	asked, ended, succeeded uint64
	timedOut                uint64 // tries that callers gave up
	latency                 stats.Counts
}

func (c *callerCounts) add(o *callerCounts) {
	c.asked += o.asked
	c.ended += o.ended
	c.succeeded += o.succeeded
	c.timedOut += o.timedOut
	c.latency.Add(&o.latency)
}

// serviceCounts is what a service was asked, and what it did.
type serviceCounts struct {
	tries   uint64 // that proxies began
	needed  uint64 // of these, the first ones for what a caller wanted
	retries uint64 // of these, those that proxies made after or beside another

	done      uint64 // answers that hosts gave
	wasted    uint64 // of these, those for which nobody waited
	refused   uint64 // connections
	overflown uint64 // refused for a full queue
	ejections uint64
	busy      time.Duration
}

func (c *serviceCounts) add(o *serviceCounts) {
	c.tries += o.tries
	c.needed += o.needed
	c.retries += o.retries
	c.done += o.done
	c.wasted += o.wasted
	c.refused += o.refused
	c.overflown += o.overflown
	c.ejections += o.ejections
	c.busy += o.busy
}
