package cluster

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// The connections to all hosts of a cluster are bounded together (model.Breaker.MaxConnections),
// idle ones included. Every connection has a place, taken before it is opened and given up when
// it is closed. Who finds no place stands in line, for one of three things, whichever is first:
//
//	an idle connection that serves as well ─┐
//	a place that was given up ──────────────┼─► the first in line
//	the place of another's idle connection ─┘    (who stands further behind is first served only
//	 that is closed for it                        with a connection that is idle at its own host)
//
// so that a connection is not closed, and another opened, whenever the line is longer than one.

const (
	// maxPassed is how often the first in line is passed over for the sake of connections that
	// serve others as they are.
	maxPassed = 16
	// maxLooked bounds how far behind the first in line others are looked at.
	maxLooked = 256
)

// connections are the places of a cluster's connections.
type connections struct {
	open    places       // places taken, whether or not there is a bound
	waiting atomic.Int64 // in line

	mu      sync.Mutex
	line    []*waiter
	leaving int // idle connections of HTTP/2 that end to make room
}

// waiter is one who stands in line.
type waiter struct {
	lane   Lane
	shard  int
	pooled bool // an idle connection of the lane would do
	passed int

	served chan struct{}   // closed when there is a place or a connection
	conn   *transport.Conn // nil: it is a place
}

// bound is how many connections there may be, 0: any number, and whether more are refused.
func (c *Cluster) bound() (most int, enforced bool) {
	b := &c.spec.Load().Breaker
	if b.MaxConnections <= 0 || b.Mode == model.ModeDisabled {
		return 0, false
	}
	return b.MaxConnections, b.Mode != model.ModeObserve
}

// place takes the place of one more connection if there is one at once.
func (c *Cluster) place() bool {
	most, enforced := c.bound()
	open := &c.protection.links.open
	if enforced && c.protection.links.waiting.Load() > 0 {
		return false // who stands in line comes first
	}
	if open.take(most) {
		return true
	}
	if enforced {
		return false
	}
	if open.take(0); c.busy() > int64(most) { // else an idle one would have made room
		c.protection.counts.Load().connections.Count(model.ModeObserve)
	}
	return true
}

// vacate gives a place up.
func (c *Cluster) vacate() {
	c.protection.links.open.give()
	c.offer()
}

// offer is for what there may be now for those in line: a place, or what nobody uses.
func (c *Cluster) offer() {
	if c.protection.links.waiting.Load() > 0 {
		c.serve()
	}
}

// stand takes a place, and waits for one if need be: until by, or the end of ctx. Where pooled
// is true it may return an idle connection of the lane instead. room, which may be nil, ends the
// wait with neither. The error is a *Refusal, or why ctx has ended.
func (l Lane) stand(ctx context.Context, by transport.Instant, shard int, pooled bool, room <-chan struct{}) (conn *transport.Conn, placed bool, err error) {
	c := l.host.cluster
	if c.place() {
		return nil, true, nil
	}
	w := &waiter{lane: l, shard: shard, pooled: pooled, served: make(chan struct{})}
	if err := c.queue(w); err != nil {
		return nil, false, err
	}
	var timeout <-chan time.Time
	if by != 0 {
		timer := time.NewTimer(by.Sub(transport.Now()))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-w.served:
		return w.conn, w.conn == nil, nil
	case <-room:
	case <-timeout:
		err = refusedConnections
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if c.protection.links.leave(w) {
		return nil, false, err
	}
	<-w.served // at the last moment
	return w.conn, w.conn == nil, nil
}

// patience is until when a try waits for a connection that it has until by to make; 0: for ever.
func (h *Host) patience(by transport.Instant) transport.Instant {
	return transport.Earlier(by, transport.Now().Add(h.cluster.spec.Load().ConnectTimeout))
}

// queue puts w in line. As many may stand there as the bound on those who wait says, unless they
// are served at once.
func (c *Cluster) queue(w *waiter) error {
	n, spec := &c.protection.links, &c.spec.Load().Breaker
	n.mu.Lock()
	n.line = append(n.line, w)
	n.waiting.Store(int64(len(n.line)))
	e := c.serveLine()
	at := slices.Index(n.line, w)
	defer func() {
		n.mu.Unlock()
		c.swap(e)
	}()
	if at < 0 {
		return nil
	}
	counts := c.protection.counts.Load()
	if spec.MaxPending > 0 && at >= spec.MaxPending {
		n.remove(at)
		counts.pending.Count(spec.Mode)
		return refusedPending
	}
	counts.connections.Count(spec.Mode)
	return nil
}

// leave takes w out of the line, and reports whether it still stood there.
func (n *connections) leave(w *waiter) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := slices.Index(n.line, w)
	if at < 0 {
		return false
	}
	n.remove(at)
	return true
}

// remove is called with mu held.
func (n *connections) remove(at int) {
	n.line = slices.Delete(n.line, at, at+1)
	n.waiting.Store(int64(len(n.line)))
}

// grant serves who stands first or further behind. It is called with mu held.
func (n *connections) grant(at int, conn *transport.Conn) {
	w := n.line[at]
	n.remove(at)
	w.conn = conn
	close(w.served)
}

// swaps are connections that are closed before others are opened in their places.
type swaps struct {
	closing []*transport.Conn
	served  []*waiter // by those places
}

// swap is called without mu: to close a connection may take a moment.
func (c *Cluster) swap(e swaps) {
	for _, conn := range e.closing {
		_ = conn.Close() // it was idle
	}
	for _, w := range e.served {
		close(w.served)
	}
}

// replace serves who stands first or further behind with the place of a connection, which is
// closed before. It is called with mu held.
func (n *connections) replace(at int, conn *transport.Conn, e *swaps) {
	e.closing, e.served = append(e.closing, conn), append(e.served, n.line[at])
	n.remove(at)
}

// serve serves those in line for whom there is something. Whoever puts a connection into a
// pool, or gives up a place, looks for a line afterwards; whoever stands in line is served as
// far as possible afterwards. So either of them sees the other.
func (c *Cluster) serve() {
	n := &c.protection.links
	n.mu.Lock()
	e := c.serveLine()
	n.mu.Unlock()
	c.swap(e)
}

// serveLine is called with mu held; swap follows.
func (c *Cluster) serveLine() (e swaps) {
	n := &c.protection.links
	now := transport.Now()
	for at := 0; at < min(len(n.line), maxLooked) && n.line[0].passed < maxPassed; {
		if !n.reuse(at, now, &e) {
			at++
		} else if at > 0 {
			n.line[0].passed++
		}
	}
	for len(n.line) > 0 {
		if n.reuse(0, now, &e) {
			continue
		}
		most, enforced := c.bound()
		if !enforced {
			most = 0
		}
		if n.open.take(most) {
			n.grant(0, nil)
			continue
		}
		idle, ends := c.evict(n, len(n.line))
		if idle == nil && !ends {
			break
		}
		if idle != nil {
			n.replace(0, idle, &e)
		}
	}
	return e
}

// reuse serves who stands first or further behind with an idle connection, or the place of one
// that is of no use any more, and reports whether there is one. It is called with mu held.
func (n *connections) reuse(at int, now transport.Instant, e *swaps) bool {
	w := n.line[at]
	h, p := w.lane.host, w.lane.pool
	if !w.pooled || h.idle.Load() == 0 {
		return false
	}
	for i := range p.shards {
		conn := p.shard(w.shard + i).pop()
		if conn == nil {
			continue
		}
		h.idle.Add(-1)
		if usable(conn, now, h.cluster.spec.Load().KeepAlive) {
			n.grant(at, conn)
		} else {
			h.Stats.Open.Add(-1)
			n.replace(at, conn, e)
		}
		return true
	}
	return false
}

// evict takes an idle connection of any host out of its pool, to be closed for the sake of its
// place. Where there are only such of HTTP/2 it has one end, unless as many as are wanted do
// already. It is called with n.mu held.
func (c *Cluster) evict(n *connections, wanted int) (idle *transport.Conn, ends bool) {
	p := c.picker.Load()
	if p == nil {
		return nil, false
	}
	for _, h := range p.all {
		if h.idle.Load() > 0 {
			if idle := h.oldest(); idle != nil {
				return idle, false
			}
		}
	}
	if n.leaving >= wanted {
		return nil, false
	}
	for _, h := range p.all {
		if h.links.Load() > 0 && h.endOne() {
			n.leaving++
			return nil, true
		}
	}
	return nil, false
}

// oldest takes the connection that was used least lately out of one of the host's shards. Its
// place stays taken.
func (h *Host) oldest() (oldest *transport.Conn) {
	h.eachShard(func(s *shard) {
		if oldest != nil {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.idle) > 0 {
			oldest = s.idle[0]
			s.idle = slices.Delete(s.idle, 0, 1)
		}
	})
	if oldest != nil {
		h.idle.Add(-1)
		h.Stats.Open.Add(-1)
	}
	return oldest
}

// endOne has an idle link of the host end, and reports whether there is one. Where requests wait
// for a stream they take the link that is idle: there is none then.
func (h *Host) endOne() (found bool) {
	h.eachShard(func(s *shard) {
		if found {
			return
		}
		h.unlinked(s.cut(func(l *link) bool {
			if _, idle := l.client.Idle(); found || !idle || l.pool.waiting.Load() > 0 {
				return false
			}
			found = true
			l.leaving.Store(true)
			return true
		}))
	})
	return found
}

// left notes that a link has ended. placed is whether it had a place.
func (c *Cluster) left(l *link, placed bool) {
	if l.leaving.Load() {
		n := &c.protection.links
		n.mu.Lock()
		n.leaving--
		n.mu.Unlock()
	}
	if placed {
		c.vacate()
	}
}

// crowded reports whether there are more connections than may be: the bound is lower than it was.
func (c *Cluster) crowded() bool { return c.surplus() > 0 }

// surplus is how many connections there are beyond the bound.
func (c *Cluster) surplus() int {
	most, enforced := c.bound()
	if most <= 0 || !enforced {
		return 0
	}
	return int(c.protection.links.open.used.Load()) - most
}

// thin closes what is idle as long as there are more connections than may be. Those in use
// follow when they are released.
func (c *Cluster) thin() {
	n := &c.protection.links
	for surplus := c.surplus(); surplus > 0; surplus = c.surplus() {
		n.mu.Lock()
		idle, ends := c.evict(n, surplus)
		n.mu.Unlock()
		if idle == nil && !ends {
			return
		}
		if idle != nil {
			_ = idle.Close() // it was idle
			n.open.give()
		}
	}
}
