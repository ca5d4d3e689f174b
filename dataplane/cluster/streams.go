package cluster

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// Hosts that speak HTTP/2 are reached through links: connections that requests share. A
// shard has as many of them as its requests need at once, and mostly one: a request takes the
// first of its shard with room for a stream, else one of another shard, else it opens a link,
// or waits for whoever opens one. All links of a host together are bounded, as its idle
// connections of HTTP/1.1 are; beyond that requests wait until others have ended.

// maxAnswerHead bounds the head of an answer, in bytes.
const maxAnswerHead = 64 << 10

// link is one connection of HTTP/2.
type link struct {
	client *http2.Client
	era    uint32
	pool   *pool

	leaving atomic.Bool // it ends to make room for another connection

	// Guarded by linked.mu.
	ended  bool
	placed bool // it has one of its cluster's places
}

// linked is the links of a Set that have not ended, those that nobody finds any more included.
type linked struct {
	mu    sync.Mutex
	links map[*link]struct{}
}

func (s *linked) add(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links == nil {
		s.links = map[*link]struct{}{}
	}
	if !l.ended {
		s.links[l] = struct{}{}
	}
}

// remove takes a link out that has ended, and reports whether it had a place.
func (s *linked) remove(l *link) (placed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.ended = true
	delete(s.links, l)
	return l.placed
}

// settle gives a link a place, and reports whether it has not ended yet.
func (s *linked) settle(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.placed = !l.ended
	return l.placed
}

// unused returns those that no request uses.
func (s *linked) unused() []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*link
	for l := range s.links {
		if _, idle := l.client.Idle(); idle {
			list = append(list, l)
		}
	}
	return list
}

// opening is a link that is being opened.
type opening struct {
	done chan struct{}
	err  error // why there is none, if that is the host's doing
}

// errNoRoom: every stream that the host allows is taken.
var errNoRoom = errors.New("every connection carries as many requests as the host allows, and there are as many as there may be")

// errNoStreams: the host allows none, or has said good-bye at once.
var errNoStreams = errors.New("http2: the host takes no requests on a new connection")

// ErrNoUpgrade means that a host does not take WebSockets in the only protocol that it is
// configured for.
var ErrNoUpgrade = errors.New("the host takes no WebSockets over HTTP/2 (RFC 8441); configure protocol HTTP11, or HTTP with TLS, for its backend")

// shares reports whether connections of a wiring are links, as far as is known: of a host that
// can choose only the first one shows it.
func (h *Host) shares(w *wiring) bool {
	switch w.protocol {
	case model.ProtocolHTTP2, model.ProtocolH2C:
		return true
	case model.ProtocolAuto:
		return w.config != nil && h.http1.Load() != w.era
	}
	return false
}

// stream returns a stream of a link, or what the host has chosen instead. reused is whether
// the link was there before.
func (l Lane) stream(ctx context.Context, now, by transport.Instant, shard int) (c *transport.Conn, reused bool, err error) {
	h, p := l.host, l.pool
	if c := p.openStream(h.wiring.Load(), now, shard); c != nil {
		return c, true, nil
	}
	p.waiting.Add(1)
	limit := h.patience(by)
	placed := false
	defer func() {
		if p.waiting.Add(-1); placed {
			h.cluster.vacate()
		} else {
			h.cluster.offer() // an idle link was kept for who waits for a stream
		}
	}()
	for {
		w := h.wiring.Load()
		if alone := h.alone(p); alone || !h.shares(w) {
			if !placed {
				if c, _, err = l.stand(ctx, limit, shard, !alone, nil); err != nil {
					return nil, false, h.named(err)
				}
				if c != nil {
					return c, true, nil
				}
			}
			placed = false // it is the connection's
			c, err = l.connect(ctx, by, w, shard)
			return c, false, err
		}
		if c := p.openStream(w, now, shard); c != nil {
			if p.waiting.Load() > 1 {
				p.roomy() // there may be more
			}
			return c, true, nil
		}
		h.forgetRetired(p)
		o, own := h.begin(p.shard(shard))
		if own || o == nil && p.whose != nil { // the links of other clients are no reason to wait
			ready := placed || h.cluster.place()
			if placed = false; ready {
				c, err = l.connect(ctx, by, w, shard)
			}
			if own {
				h.finish(ctx, p.shard(shard), o, err, by)
			}
			if ready {
				return c, false, err
			}
			if _, placed, err = l.stand(ctx, limit, shard, false, p.room); err != nil {
				return nil, false, h.named(err)
			}
			continue
		}
		if placed {
			h.cluster.vacate()
			placed = false
		}
		if err := p.await(ctx, o, limit); err != nil {
			return nil, false, h.named(err)
		}
	}
}

// alone reports whether a connection is for one request only.
func (h *Host) alone(p *pool) bool {
	return h.draining.Load() || p.gone.Load() || h.cluster.spec.Load().KeepAlive <= 0
}

// openStream opens a stream of a link that is there; nil: none has room.
func (p *pool) openStream(w *wiring, now transport.Instant, shard int) *transport.Conn {
	for i := range p.shards {
		if c := p.shard(shard+i).openStream(w.era, now); c != nil {
			return c
		}
	}
	return nil
}

func (s *shard) openStream(era uint32, now transport.Instant) *transport.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		if l.era != era {
			continue
		}
		if stream := l.client.Open(now); stream != nil {
			return stream.Conn
		}
	}
	return nil
}

// begin returns what is being opened for a shard. If that is nothing it is the caller's own,
// as far as there may be another link; nil: there may not.
func (h *Host) begin(s *shard) (o *opening, own bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opening != nil {
		return s.opening, false
	}
	if h.links.Add(1) > int64(h.cluster.set.config.MaxIdlePerHost) {
		h.links.Add(-1)
		return nil, false
	}
	s.opening = &opening{done: make(chan struct{})}
	return s.opening, true
}

// finish tells those who wait how it went. That the caller has run out of time is nothing to
// them.
func (h *Host) finish(ctx context.Context, s *shard, o *opening, err error, by transport.Instant) {
	s.mu.Lock()
	s.opening = nil
	s.mu.Unlock()
	h.links.Add(-1) // what became a link has been counted as one
	if err != nil && ctx.Err() == nil && (by == 0 || transport.Now() < by) {
		o.err = errors.Unwrap(err)
	}
	close(o.done)
}

// await waits until there may be room for a stream.
func (p *pool) await(ctx context.Context, o *opening, by transport.Instant) error {
	var timeout <-chan time.Time
	if by != 0 {
		timer := time.NewTimer(by.Sub(transport.Now()))
		defer timer.Stop()
		timeout = timer.C
	}
	var done chan struct{}
	if o != nil {
		done = o.done
	}
	select {
	case <-done:
		return o.err
	case <-p.room:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timeout:
		return errNoRoom
	}
}

// roomy wakes one of those who wait for room. It does not block.
func (p *pool) roomy() {
	select {
	case p.room <- struct{}{}:
	default:
	}
}

// freed is for streams that have ended.
func (p *pool) freed() {
	if p.waiting.Load() > 0 {
		p.roomy()
	}
}

// link makes a link of a connection that is new.
func (h *Host) link(ctx context.Context, conn *transport.Conn, era uint32, p *pool) (*link, error) {
	l := &link{era: era, pool: p}
	h.Stats.Open.Add(1)
	var err error
	l.client, err = h.cluster.set.dialer.Connect(ctx, conn, http2.ClientConfig{
		Ended: func() {
			h.unlink(l)
			h.Stats.Open.Add(-1)
			p.freed()
			placed := h.cluster.set.linked.remove(l) // last: the Set's end waits for what is there
			h.cluster.left(l, placed)
		},
		Freed:    p.freed,
		Panicked: h.report,
		MaxHead:  maxAnswerHead,
	})
	if err == nil {
		h.cluster.set.linked.add(l)
	}
	return l, err
}

// report logs a panic that has ended a link.
func (h *Host) report(fault any) {
	if log := h.cluster.set.config.Log; log != nil {
		log.Error("panic contained", slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
	}
}

// begun opens a new link's first stream and lets others have the rest, unless it is for one
// request only.
func (h *Host) begun(l *link, shard int) (*transport.Conn, error) {
	stream := l.client.Open(transport.Now())
	if stream == nil {
		l.client.Retire()
		return nil, errNoStreams
	}
	if !h.list(l, shard) {
		l.client.Retire()
	}
	return stream.Conn, nil
}

// list lets others find a link. As with put, either the link is too late for drain and rewire,
// and sees so, or they find it.
func (h *Host) list(l *link, shard int) bool {
	s := l.pool.shard(shard)
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.alone(l.pool) || l.era != h.wiring.Load().era || !l.client.Usable() {
		return false
	}
	if bound := h.cluster.set.config.MaxIdlePerHost; h.links.Add(1) > int64(bound)+1 && l.pool.whose != nil { // 1: begin's
		h.links.Add(-1)
		return false
	}
	s.links = append(s.links, l)
	h.enlist()
	return true
}

// unlink forgets a link that has ended, if drain, rewire or sweep have not done so before.
func (h *Host) unlink(l *link) {
	for i := range l.pool.shards {
		h.unlinked(l.pool.shards[i].cut(func(other *link) bool { return other == l }))
	}
}

// unlinked counts links that nobody finds any more, and has them end with their last stream.
func (h *Host) unlinked(links []*link) {
	h.links.Add(-int64(len(links)))
	for _, l := range links {
		l.client.Retire()
	}
}

// cut takes links out.
func (s *shard) cut(which func(*link) bool) []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	var dropped []*link
	rest := s.links[:0]
	for _, l := range s.links {
		if which(l) {
			dropped = append(dropped, l)
		} else {
			rest = append(rest, l)
		}
	}
	clear(s.links[len(rest):])
	s.links = rest
	return dropped
}

// cutAll is for hosts that go, and cutOld for another wiring.
func (s *shard) cutAll() []*link { return s.cut(func(*link) bool { return true }) }

func (s *shard) cutOld(era uint32) []*link {
	return s.cut(func(l *link) bool { return l.era != era })
}

// cutIdle is for the sweep.
func (s *shard) cutIdle(now transport.Instant, keepAlive time.Duration) []*link {
	return s.cut(func(l *link) bool {
		since, idle := l.client.Idle()
		return idle && now.Sub(since) >= keepAlive || !l.client.Usable()
	})
}

// forgetRetired makes room for other links in place of those whose hosts have said good-bye, and
// whose last streams may go on for long.
func (h *Host) forgetRetired(p *pool) {
	for i := range p.shards {
		h.unlinked(p.shards[i].cut(func(l *link) bool { return !l.client.Usable() }))
	}
}

// resting returns the links that no request uses.
func (h *Host) resting() []*link {
	var list []*link
	h.eachShard(func(s *shard) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, l := range s.links {
			if _, idle := l.client.Idle(); idle {
				list = append(list, l)
			}
		}
	})
	return list
}

// AcquireUpgrade is Acquire for a request that asks to switch protocols, to a WebSocket or
// another one. Over HTTP/2 there are only WebSockets, where the host takes them; a host that
// can choose is asked over HTTP/1.1 for everything else, on a connection that is used once.
// The error is ErrNoUpgrade where the host has no choice.
func (l Lane) AcquireUpgrade(ctx context.Context, now, by transport.Instant, shard int, websocket bool) (c *transport.Conn, reused bool, err error) {
	h := l.host
	c, reused, err = l.Acquire(ctx, now, by, shard)
	if err != nil {
		return nil, false, err
	}
	stream, ok := c.NetConn().(*http2.Stream)
	if !ok || websocket && stream.Tunnels() {
		return c, reused, nil
	}
	w := h.wiring.Load()
	if w.protocol != model.ProtocolAuto {
		if !websocket {
			return c, reused, nil // any host may overlook such a wish (RFC 9110 section 7.8)
		}
		h.Release(c, shard, 0)
		return nil, false, h.named(ErrNoUpgrade)
	}
	h.Release(c, shard, 0)
	if _, _, err = l.stand(ctx, h.patience(by), shard, false, nil); err != nil {
		return nil, false, h.named(err)
	}
	c, _, err = l.dial(ctx, by, w, forHTTP1)
	if err == nil {
		c.Era = 0 // of no wiring: it is not pooled
	}
	return c, false, err
}
