package http3

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/transport"
)

// Bounds of one connection, besides http2.Limits: of these, Streams counts requests whose handlers
// are still at work, too.
const (
	maxUniStreams = 16              // in all: control, two of QPACK, and some of kinds unknown to us
	maxControl    = 4 << 10         // bytes of a frame on the control stream
	maxSettings   = 64              // settings of a client
	lingerTime    = 2 * time.Second // at least, for what has been sent to arrive before a connection is closed
	drainTime     = time.Second     // how long after the first GOAWAY streams are still accepted
	lastStream    = 1<<62 - 4       // the first GOAWAY's: none is refused
)

// What a client can do at will costs units of about a microsecond of work that it causes, as
// with HTTP/2.
const (
	costFrame  = 2
	costFault  = 20
	costNoRoom = 2
	costReset  = 20 // a stream that the client gave up before its answer was complete
	earnAnswer = 10
)

// Config is what a connection's streams need from outside.
type Config struct {
	// Handle serves one stream, in a goroutine of its own.
	Handle func(s *Stream)
	// Draining says that the client should take its requests elsewhere soon.
	Draining func() bool
	// Drain is closed when the connection is to end soon, even if it is idle.
	Drain <-chan struct{}
	// Malformed hears of each request that could not be given to Handle, and why a connection
	// or stream was ended for its client's fault.
	Malformed func(reason string)
	// Panicked hears of a defect in this package, which has ended one connection.
	Panicked func(fault any)

	MaxHead     int           // bytes of a request's head
	HeadTimeout time.Duration // longest time for a head; 0: none
	KeepAlive   time.Duration // longest time without streams; 0: the connection ends after its first
	Resets      int           // requests that a client may begin and give up at once; 0: as with HTTP/2
	// Room is what the requests of all connections share: beyond it they are rejected; nil: there is
	// no bound.
	Room *http2.Room
}

// Server serves connections. What their streams need is pooled in it.
type Server struct{ streams sync.Pool }

// session is one connection at work.
type session struct {
	server  *Server
	cfg     *Config
	q       *quic.Conn
	control *quic.SendStream
	work    sync.WaitGroup // handlers and readers of control streams

	mu     sync.Mutex
	open   int           // handlers at work
	next   quic.StreamID // the lowest request that has not come
	phase  phase
	timer  *time.Timer
	due    transport.Instant // when the phase ends if nothing comes; 0: not by time
	calm   http2.Allowance
	share  http2.Share
	unique [4]bool           // kinds of unidirectional streams that have come
	rested transport.Instant // when the last handler ended
}

// phase is how far a connection is on its way to its end.
//
//	open ──drain──► warned (GOAWAY of none) ──time──► last (GOAWAY of what has come) ──no streams, time──► over
//	  └───────────────────────idle───────────────────────▲
type phase uint8

const (
	phaseOpen phase = iota
	phaseWarned
	phaseLast
	phaseOver
)

// Serve serves a connection until it has ended and every handler has returned.
func (v *Server) Serve(c *Conn, cfg *Config) {
	m := &session{server: v, cfg: cfg, q: c.q, calm: http2.NewAllowance(cfg.Resets), share: http2.NewShare(cfg.Room)}
	defer func() {
		m.mu.Lock()
		m.phase = phaseOver
		if m.timer != nil {
			m.timer.Stop()
		}
		m.mu.Unlock()
		m.work.Wait()
		m.share.Less(0) // of requests whose handlers have panicked, too
	}()
	if !m.begin() {
		return
	}
	m.work.Go(func() { m.guard(m.acceptUni) })
	m.work.Go(func() {
		select {
		case <-cfg.Drain:
			m.drain()
		case <-m.q.Context().Done():
		}
	})
	for {
		q, err := m.q.AcceptStream(context.Background())
		if err != nil {
			return // the connection is over
		}
		if m.admit(q) {
			m.work.Go(func() { m.serveStream(q) })
		} else if !m.charge(costNoRoom) {
			return
		}
	}
}

// begin opens our control stream.
func (m *session) begin() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.idle()
	var err error
	if m.control, err = m.q.OpenUniStream(); err != nil {
		m.fail(connFault(codeInternal, "no control stream can be opened"))
		return false
	}
	_, err = m.control.Write(appendSettings(quicvarint.Append(nil, streamControl), m.cfg.MaxHead))
	return err == nil
}

// guard runs f; a panic of it ends the connection.
func (m *session) guard(f func()) {
	defer func() {
		if fault := recover(); fault != nil {
			m.cfg.Panicked(fault)
			m.close(codeInternal, "")
		}
	}()
	f()
}

// admit takes a new stream, or refuses it: the client has been told to send it elsewhere.
func (m *session) admit(q *quic.Stream) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.phase >= phaseLast || !m.share.More(m.open) {
		q.CancelRead(codeRejected.stream())
		q.CancelWrite(codeRejected.stream())
		q.ReleaseStreamCredit()
		return false
	}
	m.next = q.StreamID() + 4
	if m.open++; m.phase == phaseOpen {
		m.due = 0
	}
	return true
}

// serveStream reads a request's head and runs the handler.
func (m *session) serveStream(q *quic.Stream) {
	s := m.server.stream(m, q)
	m.guard(func() {
		if m.take(s) {
			m.cfg.Handle(s)
		}
		m.finish(s)
	})
}

// take reads a stream up to its request's head.
func (m *session) take(s *Stream) bool {
	err := s.readRequest()
	if err == nil {
		return true
	}
	var wrong *fault
	if errors.As(err, &wrong) {
		m.wrong(s, wrong)
	}
	return false // else the client has thought better of it, or is gone
}

// wrong ends what a client's fault ends.
func (m *session) wrong(s *Stream, wrong *fault) {
	m.cfg.Malformed(wrong.reason)
	if !wrong.stream {
		m.close(wrong.code, wrong.reason)
		return
	}
	s.breakOff(wrong.code)
	m.charge(costFault)
}

// fail ends the connection for its client's fault on a stream that is no request's.
func (m *session) fail(wrong *fault) {
	m.cfg.Malformed(wrong.reason)
	m.close(wrong.code, wrong.reason)
}

// charge takes units of the client's allowance, and ends the connection when there are none.
func (m *session) charge(units int) bool {
	m.mu.Lock()
	ok := m.calm.Spend(units)
	m.mu.Unlock()
	if !ok {
		m.fail(errCalm)
	}
	return ok
}

// finish ends a stream whose handler has returned.
func (m *session) finish(s *Stream) {
	answered, given, again := s.finish()
	if given {
		m.charge(costReset)
	}
	s.q.ReleaseStreamCredit()
	m.mu.Lock()
	if answered {
		m.calm.Earn(earnAnswer)
	}
	m.open--
	m.share.Less(m.open)
	if m.open == 0 {
		m.rested = transport.Now()
		m.idle()
	}
	m.mu.Unlock()
	if m.cfg.KeepAlive <= 0 || m.cfg.Draining() {
		m.drain()
	}
	if again {
		m.server.recycle(s)
	} else {
		s.In.Release()
	}
}

// idle has the connection end after a time without streams. It is called with mu held.
func (m *session) idle() {
	switch m.phase {
	case phaseOpen:
		limit := m.cfg.KeepAlive
		if m.next == 0 && m.cfg.HeadTimeout > 0 {
			limit = m.cfg.HeadTimeout // the first request has to come as soon as on any connection
		}
		m.after(max(limit, time.Second))
	case phaseLast:
		var limit time.Duration
		if m.rested > 0 {
			limit = max(lingerTime, 4*m.q.ConnectionStats().SmoothedRTT) - transport.Now().Sub(m.rested)
		}
		m.after(max(limit, 0))
	}
}

// after has the phase end in a while. It is called with mu held.
func (m *session) after(d time.Duration) {
	m.due = transport.Now().Add(max(d, 1))
	if m.timer == nil {
		m.timer = time.AfterFunc(d, m.ring)
	} else {
		m.timer.Reset(d)
	}
}

// ring ends the phase, if it is still time.
func (m *session) ring() {
	if m.ended() {
		m.close(codeNo, "") // its client has had the time to do so itself
	}
}

// ended reports whether the phase that ends was the last one.
func (m *session) ended() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := transport.Now()
	switch {
	case m.phase == phaseOver, m.due == 0:
		return false
	case now < m.due: // it has been put off meanwhile
		m.timer.Reset(m.due.Sub(now))
		return false
	case m.phase < phaseLast:
		m.last()
		return false
	}
	m.phase = phaseOver
	return true
}

// drain begins the end of the connection: the client is told to open no more streams, and
// those that are on their way are served.
func (m *session) drain() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.phase != phaseOpen {
		return
	}
	m.phase = phaseWarned
	m.goAway(lastStream)
	m.after(drainTime)
}

// last says which streams are served, and has the connection end when they have. It is called
// with mu held.
func (m *session) last() {
	m.phase, m.due = phaseLast, 0
	m.goAway(m.next)
	if m.open == 0 {
		m.idle()
	}
}

// goAway is called with mu held. A frame as short as this one is queued at once.
func (m *session) goAway(id quic.StreamID) {
	if m.control == nil {
		return
	}
	_ = m.control.SetWriteDeadline(time.Now().Add(drainTime))
	frame := appendFrame(nil, kindGoAway, uint64(quicvarint.Len(uint64(id))))
	_, _ = m.control.Write(quicvarint.Append(frame, uint64(id))) // a connection that has ended needs none
}

func (m *session) close(c code, reason string) { _ = m.q.CloseWithError(c.conn(), reason) }
