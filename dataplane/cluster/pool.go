package cluster

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/transport"
)

const (
	// staleAfter is the idle time from which a connection is looked at before it is used.
	staleAfter = time.Second
	// restedAfter is the idle time from which an exchange looks for bytes or an end that
	// came since the last one. What comes sooner could as well still be on the wire.
	restedAfter = 200 * time.Microsecond
	// maxDiscards bounds the dead connections that one Acquire closes on its way.
	maxDiscards = 8
	// maxStaleSweep bounds the dead connections that one sweep closes in one shard.
	maxStaleSweep = 64
)

// shard is a part of a host's pool: idle connections, the one used last at the end, so
// that a burst's surplus stays at the front and expires.
type shard struct {
	mu      sync.Mutex
	idle    []*transport.Conn
	links   []*link
	opening *opening // for those who wait for another link; nil: nobody opens one
}

func (s *shard) pop() *transport.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.idle) - 1
	if last < 0 {
		return nil
	}
	c := s.idle[last]
	s.idle[last] = nil
	s.idle = s.idle[:last]
	return c
}

// pool is the connections to a host that any of its callers may use.
type pool struct {
	shards  []shard
	waiting atomic.Int64  // requests without a stream
	room    chan struct{} // wakes one of them

	whose *transport.Ends // nil: everybody's; see lane.go
	used  atomic.Bool     // lately, of a private one
	gone  atomic.Bool     // nothing is pooled here any more
}

// shard returns a caller's shard.
func (p *pool) shard(of int) *shard { return &p.shards[of%len(p.shards)] }

// Acquire returns a connection to the host: an idle one of the caller's shard, the one
// used last first, else one of another shard, else a new one. With HTTP/2 it is a stream of a
// connection, which others may share. Every connection must be
// given back by one Release. Dialling ends with ctx, at by (0: none) or after the
// cluster's connect timeout, whichever is first; ctx is used for nothing else. Where the
// cluster has as many connections as it may it waits for one, as long again; the error is a
// *Refusal then.
func (l Lane) Acquire(ctx context.Context, now, by transport.Instant, shard int) (c *transport.Conn, reused bool, err error) {
	h := l.host
	if h.idle.Load() > 0 {
		if c := h.take(l.pool, now, shard); c != nil {
			return c, true, nil
		}
	}
	if h.shares(h.wiring.Load()) {
		return l.stream(ctx, now, by, shard)
	}
	if c, _, err = l.stand(ctx, h.patience(by), shard, true, nil); err != nil {
		return nil, false, h.named(err)
	}
	if c != nil {
		return c, true, nil
	}
	c, err = l.connect(ctx, by, h.wiring.Load(), shard)
	return c, false, err
}

// take returns an idle connection that can be used, or nil. The newest of a shard comes
// first, so once that has expired the rest of the shard has too and is left to the sweep.
func (h *Host) take(p *pool, now transport.Instant, shard int) *transport.Conn {
	keepAlive := h.cluster.spec.Load().KeepAlive
	discards := 0
	for i := range p.shards {
		s := p.shard(shard + i)
		for discards < maxDiscards {
			c := s.pop()
			if c == nil {
				break
			}
			h.idle.Add(-1)
			if usable(c, now, keepAlive) {
				return c
			}
			h.close(c)
			discards++
			if now.Sub(c.Since) >= keepAlive {
				break
			}
		}
	}
	return nil
}

// usable reports whether an idle connection can be used, as far as can be told.
func usable(c *transport.Conn, now transport.Instant, keepAlive time.Duration) bool {
	age := now.Sub(c.Since)
	c.Rested = age >= restedAfter
	return age < keepAlive && (age < staleAfter || !c.Stale())
}

// Release gives a connection back. One that is reusable (between two exchanges, nothing
// unread) goes to the pool of the shard with the time, unless the pool is full, the host is
// draining or the cluster reuses none; any other comes without a time and is closed. A stream
// is over, with or without a time, and c may be another one's at once.
func (h *Host) Release(c *transport.Conn, shard int, now transport.Instant) {
	if s, ok := c.NetConn().(*http2.Stream); ok {
		s.Release()
		h.cluster.offer() // its link may have no other
		return
	}
	if now == 0 || h.cluster.spec.Load().KeepAlive <= 0 || h.cluster.crowded() || !h.put(c, shard, now) {
		h.close(c)
	} else {
		h.cluster.offer()
	}
}

func (h *Host) put(c *transport.Conn, shard int, now transport.Instant) bool {
	p := h.poolOf(c)
	if p == nil {
		return false
	}
	if h.idle.Add(1) > int64(h.cluster.set.config.MaxIdlePerHost) {
		h.idle.Add(-1)
		return false
	}
	s := p.shard(shard)
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.draining.Load() || p.gone.Load() || c.Era != h.wiring.Load().era {
		h.idle.Add(-1)
		return false
	}
	c.Since = now
	s.idle = append(s.idle, c)
	h.enlist()
	return true
}

// enlist makes sure that the sweep comes by.
func (h *Host) enlist() {
	if h.pooled.Load() || h.pooled.Swap(true) {
		return
	}
	s := h.cluster.set
	s.pooledMu.Lock()
	defer s.pooledMu.Unlock()
	s.pooled = append(s.pooled, h)
}

func (h *Host) close(c *transport.Conn) {
	_ = c.Close() // nothing depends on how an idle or broken connection ends
	h.Stats.Open.Add(-1)
	h.cluster.vacate()
}

// drain closes what is idle and lets nothing become idle again. Whoever puts a
// connection into a shard looks at draining under the shard's lock: either they see it,
// or drain, which locks later, sees their connection. It is called with set.mu held.
func (h *Host) drain() {
	if h.draining.Swap(true) {
		return
	}
	h.cluster.set.draining[h] = struct{}{}
	h.load.Leave()
	h.eachShard(h.empty)
	h.leaveAll()
}

// empty closes what is idle in a shard.
func (h *Host) empty(s *shard) {
	s.mu.Lock()
	dropped := s.idle
	s.idle = nil
	s.mu.Unlock()
	h.drop(dropped)
	h.unlinked(s.cutAll())
}

// drained reports whether a draining host has nothing left to finish.
func (h *Host) drained() bool {
	return h.draining.Load() && h.Stats.Open.Load() == 0 && h.load.InFlight() == 0
}

// sweep closes the idle connections of all hosts that are too old, and from the oldest on
// those that the peer has closed. Hosts without idle connections leave the list.
func (s *Set) sweep(now transport.Instant) {
	s.pooledMu.Lock()
	hosts := s.pooled
	s.pooled = nil
	s.pooledMu.Unlock()
	for _, h := range hosts {
		h.sweep(now)
		h.pooled.Store(false)
		if h.idle.Load() > 0 || h.links.Load() > 0 || h.private.has.Load() {
			h.enlist()
		}
	}
	s.forgetQuiet()
}

func (h *Host) sweep(now transport.Instant) {
	keepAlive := h.cluster.spec.Load().KeepAlive
	h.eachShard(func(s *shard) {
		h.drop(s.expired(now, keepAlive))
		h.unlinked(s.cutIdle(now, keepAlive))
	})
	h.leaveUnused()
}

func (h *Host) drop(dropped []*transport.Conn) {
	h.idle.Add(-int64(len(dropped)))
	for _, c := range dropped {
		h.close(c)
	}
}

// expired takes the connections out that are too old or dead, a prefix of the shard's.
func (s *shard) expired(now transport.Instant, keepAlive time.Duration) []*transport.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, stale := 0, 0
	for n < len(s.idle) {
		age := now.Sub(s.idle[n].Since)
		if age < keepAlive {
			if age < staleAfter || stale == maxStaleSweep || !s.idle[n].Stale() {
				break
			}
			stale++
		}
		n++
	}
	if n == 0 {
		return nil
	}
	dropped := append([]*transport.Conn(nil), s.idle[:n]...)
	rest := copy(s.idle, s.idle[n:])
	clear(s.idle[rest:])
	s.idle = s.idle[:rest]
	return dropped
}
