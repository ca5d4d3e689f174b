package listener

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// acceptPause is how long a socket that cannot accept (no file descriptors) waits before
// it tries again.
const acceptPause = 50 * time.Millisecond

// Socket is one listening address and its connections.
type Socket struct {
	Name string

	nl    net.Listener
	set   *Set
	stats *telemetry.ConnStats
	limit atomic.Int64 // 0: none
	full  atomic.Int64 // when it was last said that there is no room; see Set.refuse

	security atomic.Pointer[security] // of handshakes to come; nil: there are none
	carrier  atomic.Pointer[Carrier]  // of connections to come, without a handshake; nil: they are HTTP
	heralds  atomic.Pointer[heralds]  // of connections to come; nil: none begins with a PROXY header
	shaking  transport.Handshakes     // under way, where they are bounded
	stopping atomic.Bool              // no new connections; answers close
	stopIdle atomic.Bool              // idle connections end now
	stop     chan struct{}
	work     sync.WaitGroup // goroutines, and connections: parked ones have none

	mu        sync.Mutex
	conns     []*Conn       // in no order; each knows its place, which costs less than a map
	accepting bool          // the accept loop is running: there may be more
	empty     chan struct{} // closed when a draining socket's last connection has gone
}

func newSocket(l *model.Listener, nl net.Listener, set *Set) *Socket {
	s := &Socket{
		Name: l.Name, nl: nl, set: set,
		stats:     set.cfg.Metrics.Listener(l.Name),
		stop:      make(chan struct{}),
		empty:     make(chan struct{}),
		accepting: true,
	}
	return s
}

// follow makes connections from now on follow l. Those that are there stay.
func (s *Socket) follow(l *model.Listener) error {
	s.limit.Store(int64(l.Client.MaxConnections))
	s.heralds.Store(heraldsOf(&l.Client))
	if carriesAll(l) {
		to := s.set.cfg.Carrier(l.Streams[0].Route)
		s.carrier.Store(&to)
		return nil
	}
	s.carrier.Store(nil)
	shaken := handshakes(l)
	if shaken == nil {
		return nil
	}
	sec, err := s.set.secure(shaken, s.security.Load())
	sec.sorting = s.set.sortingOf(l)
	s.security.Store(sec)
	return err
}

// Draining reports whether connections should end after the request they are at.
func (s *Socket) Draining() bool { return s.stopping.Load() }

// StopIdle is the Stop of a wait for the next request.
func (s *Socket) StopIdle() *atomic.Bool { return &s.stopIdle }

// Drain stops accepting and ends the connections: those at work after their request, the
// idle ones after the grace. It returns at once.
func (s *Socket) Drain() {
	s.stopping.Store(true)
	close(s.stop)
	_ = s.nl.Close() // its accept loop sees it
	s.work.Go(func() {
		timer := time.NewTimer(s.set.cfg.IdleGrace)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.empty:
			return
		}
		s.stopIdle.Store(true)
		for _, c := range s.all() {
			if !s.dismiss(c) {
				c.Wake()
			}
		}
	})
}

// signalEmpty closes empty once a draining socket has no connections and gets no more.
func (s *Socket) signalEmpty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) > 0 || s.accepting {
		return
	}
	select {
	case <-s.empty:
	default:
		close(s.empty)
	}
}

// cut closes every connection that is left.
func (s *Socket) cut() {
	s.stopIdle.Store(true) // one that is about to be parked must not rest closed
	busy := 0
	for _, c := range s.all() {
		if !s.unpark(c) {
			s.cutOff(c)
			busy++
		}
	}
	if busy > 0 {
		s.set.cfg.Log.Warn("connections cut off: the time for draining is up", slog.String("listener", s.Name), slog.Int("connections", busy))
	}
}

// cutOff closes c, with a reset if what it carries has no end of its own: nobody is to take that
// for it.
func (s *Socket) cutOff(c *Conn) {
	if s.set.lot.carries(c) {
		c.Abort()
		return
	}
	_ = c.Close()
}

// unpark ends c if it is parked, and reports whether it was.
func (s *Socket) unpark(c *Conn) bool {
	parked := s.set.lot.take(c)
	if parked {
		s.evict(c)
	}
	return parked
}

// dismiss ends c if it is parked, or has its handler end it, and reports whether it was.
func (s *Socket) dismiss(c *Conn) bool {
	parked := s.set.lot.take(c)
	if parked {
		s.expire(c)
	}
	return parked
}

// expire ends a connection that has been taken out of the lot, or has its handler end it.
func (s *Socket) expire(c *Conn) {
	if c.Kept != nil {
		s.resume(c)
		return
	}
	s.evict(c)
}

func (s *Socket) all() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.conns)
}

// accept takes connections until the socket is closed.
func (s *Socket) accept() {
	defer s.accepted()
	shard := 0
	for {
		if !s.holdOff() {
			return
		}
		nc, err := s.nl.Accept()
		if err != nil {
			if !s.pauseAfter(err) {
				return
			}
			continue
		}
		shard++
		s.admit(nc, shard%s.set.cfg.Shards)
	}
}

// accepted notes that no more connections come.
func (s *Socket) accepted() {
	s.mu.Lock()
	s.accepting = false
	s.mu.Unlock()
	s.signalEmpty()
}

// pauseAfter waits after a failed accept and reports whether to go on.
func (s *Socket) pauseAfter(err error) bool {
	if s.stopping.Load() && errors.Is(err, net.ErrClosed) {
		return false
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		s.stats.Refuse(telemetry.RefusedDescriptors)
	} else {
		s.stats.Refuse(telemetry.RefusedOther)
		s.set.cfg.Log.Warn("accept", slog.String("listener", s.Name), slog.Any("error", err))
	}
	timer := time.NewTimer(acceptPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stop:
		return false
	}
}

// admit starts the handler for one connection, or refuses it.
func (s *Socket) admit(nc net.Conn, shard int) {
	if !s.take() {
		s.set.refuse(s.Name, s.stats, s.limit.Load(), s.set.total, &s.full)
		_ = nc.Close() // nothing was promised
		return
	}
	c := &Conn{
		Conn: transport.New(nc), Socket: s, Shard: shard,
		Remote: addrPort(nc.RemoteAddr()),
	}
	sec := s.security.Load()
	if sec != nil {
		c.Secure(sec.server)
	}
	s.mu.Lock()
	c.at = int32(len(s.conns))
	s.conns = append(s.conns, c)
	s.mu.Unlock()
	s.stats.Open()
	s.work.Add(1)
	s.work.Go(func() { s.begin(c, sec) })
}

// begin takes up a new connection in a goroutine of its own. What precedes everything else on
// a connection, TLS included, belongs here.
func (s *Socket) begin(c *Conn, sec *security) {
	if h := s.heralds.Load(); h != nil && h.have(c.Remote.Addr()) && !s.announced(c, h) {
		s.release(c)
		return
	}
	if sec != nil {
		s.greet(c, sec)
		return
	}
	if to := s.carrier.Load(); to != nil {
		s.carry(c, *to, new(transport.Buffer))
		return
	}
	s.serve(c)
}

// serve calls the handler until c is done or parked.
func (s *Socket) serve(c *Conn) {
	ours := true
	defer func() {
		if ours {
			s.release(c)
		}
	}()
	for {
		until := s.set.cfg.Handle(c)
		if until == 0 {
			return
		}
		if ours = !s.park(c, until); !ours {
			return
		}
	}
}

// park parks c and reports whether it has another owner now, if any.
func (s *Socket) park(c *Conn, until transport.Instant) bool {
	s.stats.Park()
	if err := s.set.lot.park(c, until); err != nil {
		s.stats.Unpark()
		return false // it goes on in its goroutine
	}
	if s.stopIdle.Load() { // Drain may have looked before it was there
		s.dismiss(c)
	}
	return true
}

// resume serves a connection that has been taken out of the lot.
func (s *Socket) resume(c *Conn) {
	s.stats.Unpark()
	s.work.Go(func() {
		if err := c.Resume(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.set.cfg.Log.Warn("take up a parked connection", slog.String("listener", s.Name), slog.Any("error", err))
		}
		s.serve(c) // after an error it ends at once
	})
}

// evict ends a connection that has been taken out of the lot.
func (s *Socket) evict(c *Conn) {
	s.stats.Unpark()
	s.release(c)
}

// take takes a place for one connection within the process's limit and the socket's.
func (s *Socket) take() bool { return s.set.take(s.stats, s.limit.Load()) }

func (s *Socket) release(c *Conn) {
	_ = c.Close() // may have been closed by its handler
	s.set.left(c)
	s.mu.Lock()
	last := len(s.conns) - 1
	s.conns[c.at], s.conns[last] = s.conns[last], nil
	if s.conns = s.conns[:last]; int(c.at) < last {
		s.conns[c.at].at = c.at
	}
	s.mu.Unlock()
	s.signalEmpty()
	s.stats.Close(c.BytesIn, c.BytesOut)
	s.set.total.give()
	s.work.Done()
}

// addrPort reads an address of any kind; the zero AddrPort for those without one (pipes).
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return ap
}
