package cluster

import (
	"context"
	"sync"
	"time"

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
	mu   sync.Mutex
	idle []*transport.Conn
	_    [32]byte // to a cache line
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

// Acquire returns a connection to the host: an idle one of the caller's shard, the one
// used last first, else one of another shard, else a new one. Every connection must be
// given back by one Release. Dialling ends with ctx, at by (0: none) or after the
// cluster's connect timeout, whichever is first; ctx is used for nothing else.
func (h *Host) Acquire(ctx context.Context, now, by transport.Instant, shard int) (c *transport.Conn, reused bool, err error) {
	if h.idle.Load() > 0 {
		if c := h.take(now, shard); c != nil {
			return c, true, nil
		}
	}
	c, err = h.Fresh(ctx, by)
	return c, false, err
}

// take returns an idle connection that can be used, or nil. The newest of a shard comes
// first, so once that has expired the rest of the shard has too and is left to the sweep.
func (h *Host) take(now transport.Instant, shard int) *transport.Conn {
	keepAlive := h.cluster.spec.Load().KeepAlive
	discards := 0
	for i := range h.shards {
		s := &h.shards[(shard+i)%len(h.shards)]
		for discards < maxDiscards {
			c := s.pop()
			if c == nil {
				break
			}
			h.idle.Add(-1)
			age := now.Sub(c.Since)
			if age < keepAlive && (age < staleAfter || !c.Stale()) {
				c.Rested = age >= restedAfter
				return c
			}
			h.close(c)
			discards++
			if age >= keepAlive {
				break
			}
		}
	}
	return nil
}

// Release gives a connection back. One that is reusable (between two exchanges, nothing
// unread) goes to the pool of the shard with the time, unless the pool is full, the host is
// draining or the cluster reuses none; any other comes without a time and is closed.
func (h *Host) Release(c *transport.Conn, shard int, now transport.Instant) {
	if now == 0 || h.cluster.spec.Load().KeepAlive <= 0 || !h.put(c, shard, now) {
		h.close(c)
	}
}

func (h *Host) put(c *transport.Conn, shard int, now transport.Instant) bool {
	if h.idle.Add(1) > int64(h.cluster.set.config.MaxIdlePerHost) {
		h.idle.Add(-1)
		return false
	}
	s := &h.shards[shard%len(h.shards)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.draining.Load() || c.Era != h.wiring.Load().era {
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
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		dropped := s.idle
		s.idle = nil
		s.mu.Unlock()
		h.drop(dropped)
	}
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
		if h.idle.Load() > 0 {
			h.enlist()
		}
	}
}

func (h *Host) sweep(now transport.Instant) {
	keepAlive := h.cluster.spec.Load().KeepAlive
	for i := range h.shards {
		h.drop(h.shards[i].expired(now, keepAlive))
	}
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
