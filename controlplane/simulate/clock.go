package simulate

import "time"

// moment is a time of the run, in nanoseconds. The run begins at epoch, so that 0 can mean
// never, as it does in the algorithms.
type moment int64

// epoch is the moment at which runs begin.
const epoch = moment(time.Hour)

// never is later than all that happens.
const never = moment(1<<63 - 1)

func (m moment) add(d time.Duration) moment { return m + moment(d) }

func (m moment) sub(o moment) time.Duration { return time.Duration(m - o) }

// timer is something that will happen, unless it is stopped.
type timer struct {
	run func() // nil: it has happened, or was stopped
	c   *clock
}

// stop has it never happen. A nil timer may be stopped.
func (t *timer) stop() {
	if t != nil && t.run != nil {
		t.run = nil
		t.c.stopped++
	}
}

// happening is an entry of the heap.
type happening struct {
	at    moment
	order uint64 // of two at one moment the first planned comes first
	timer *timer
}

func (h *happening) before(o *happening) bool {
	return h.at < o.at || h.at == o.at && h.order < o.order
}

// clock is virtual time: a heap of what will happen, in the order of moments.
type clock struct {
	now     moment
	order   uint64
	heap    []happening
	stopped int    // entries of the heap that were stopped
	done    uint64 // happenings so far
}

// fan is how many children a node of the heap has: four have less cache misses than two.
const fan = 4

// at plans what happens at a moment, now at the earliest.
func (c *clock) at(when moment, run func()) *timer {
	t := &timer{run, c}
	c.order++
	c.heap = append(c.heap, happening{max(when, c.now), c.order, t})
	c.up(len(c.heap) - 1)
	return t
}

func (c *clock) after(d time.Duration, run func()) *timer { return c.at(c.now.add(d), run) }

// next has the next thing happen, if it does so before the end. It returns false at the end.
func (c *clock) next(end moment) bool {
	c.sweep()
	for len(c.heap) > 0 {
		first := c.heap[0]
		if first.at >= end {
			break
		}
		last := len(c.heap) - 1
		c.heap[0] = c.heap[last]
		c.heap[last] = happening{}
		c.heap = c.heap[:last]
		c.down(0)
		if run := first.timer.run; run != nil {
			first.timer.run = nil
			c.now = first.at
			c.done++
			run()
			return true
		}
		c.stopped--
	}
	c.now = end
	return false
}

// sweep removes what was stopped once it is most of the heap: timeouts are rarely reached, and
// long ones would be remembered for long.
func (c *clock) sweep() {
	if c.stopped < 1024 || c.stopped < len(c.heap)/2 {
		return
	}
	kept := c.heap[:0]
	for _, h := range c.heap {
		if h.timer.run != nil {
			kept = append(kept, h)
		}
	}
	clear(c.heap[len(kept):])
	c.heap, c.stopped = kept, 0
	for i := len(c.heap)/fan + 1; i >= 0; i-- {
		c.down(i)
	}
}

func (c *clock) up(i int) {
	for i > 0 {
		parent := (i - 1) / fan
		if !c.heap[i].before(&c.heap[parent]) {
			return
		}
		c.heap[i], c.heap[parent] = c.heap[parent], c.heap[i]
		i = parent
	}
}

func (c *clock) down(i int) {
	for {
		least := i
		for child := fan*i + 1; child <= fan*i+fan && child < len(c.heap); child++ {
			if c.heap[child].before(&c.heap[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		c.heap[i], c.heap[least] = c.heap[least], c.heap[i]
		i = least
	}
}
