package http2

import (
	"slices"
	"time"

	"weir.dev/weir/dataplane/transport"
)

// Bounds of a crew.
const (
	maxCrew  = fewStreams  // goroutines that wait for work
	crewTime = time.Second // of which so long nobody has needed them, those end
)

// crew is the goroutines of a connection that wait for work. What begins is done by the one that was
// done last: to make one for each stream, and to grow its stack, would be some twelfth of what a call of
// gRPC costs. The connection's mu guards it. The zero value is ready.
type crew struct {
	idle  []chan *Stream // of each what it waits at, and what it is to do: see labour
	spare int            // so many have not been needed since the timer went off
	timer *time.Timer
	timed bool // it runs
}

// begin has a goroutine serve a stream; nil: write what is in out. It is called with mu held.
func (m *mux) begin(s *Stream) {
	c := &m.crew
	var jobs chan *Stream
	if last := len(c.idle) - 1; last >= 0 {
		jobs = c.idle[last]
		c.idle[last] = nil
		c.idle = c.idle[:last]
		c.spare = min(c.spare, last)
	} else {
		jobs = make(chan *Stream, 1)
		m.work.Add(1)
		go m.labour(jobs)
	}
	jobs <- s // there is room: who waits has nothing to do
}

// labour does one thing after the other until its goroutine is not wanted any more.
func (m *mux) labour(jobs chan *Stream) {
	defer m.work.Done()
	transport.Deepen(len(jobs))
	for s := range jobs {
		stays := false
		if s == nil {
			stays = m.write(jobs)
		} else {
			stays = m.serveStream(s, jobs)
		}
		if !stays {
			return
		}
	}
}

// stay notes that a goroutine will be done in a moment, and reports whether it is to wait for more.
// It is called with mu held.
func (m *mux) stay(jobs chan *Stream) bool {
	c := &m.crew
	if m.phase == phaseOver || len(c.idle) >= maxCrew {
		return false
	}
	c.idle = append(c.idle, jobs)
	switch {
	case c.timed:
		return true
	case c.timer == nil:
		c.timer = time.AfterFunc(crewTime, m.thin)
	default:
		c.timer.Reset(crewTime)
	}
	c.timed, c.spare = true, 0
	return true
}

// thin lets those go that have not been needed since it was called last.
func (m *mux) thin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &m.crew
	c.dismiss(c.spare)
	c.spare = len(c.idle)
	if c.timed = c.spare > 0; c.timed {
		c.timer.Reset(crewTime)
	}
}

// dismiss ends the n that have waited longest.
func (c *crew) dismiss(n int) {
	for _, jobs := range c.idle[:n] {
		close(jobs)
	}
	c.idle = slices.Delete(c.idle, 0, n)
	c.spare -= min(c.spare, n)
}

// disband ends all that wait.
func (c *crew) disband() {
	c.dismiss(len(c.idle))
	if c.timer != nil {
		c.timer.Stop()
	}
	*c = crew{}
}
