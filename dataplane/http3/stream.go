package http3

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/transport"
)

// errReset: the client has reset the stream, or its connection has ended.
var errReset = errors.New("stream reset")

// Stream is one stream as its handler sees it: a connection of HTTP/1.1 that carries one
// request. It is a net.Conn; one goroutine may read while another writes. It is valid until
// the handler returns.
type Stream struct {
	// In has the request's head; the body is read from Conn.
	In transport.Buffer
	// Conn is the stream for those who need more than a net.Conn.
	Conn *transport.Conn

	m      *session
	q      *quic.Stream
	method []byte
	tunnel bool // a WebSocket: after the answer's head, bytes are carried as they are

	mu       sync.Mutex // of these
	inEnded  bool       // the client has sent all
	outEnded bool       // so have we
	gone     bool       // reset by either side, or the connection is over
	given    bool       // by the client
	closed   bool       // by the handler

	// The reading side's.
	head     http2.RequestHead
	buf      []byte // what has been read of frames' headers and whatever came with them
	from, to int
	eof      bool   // nothing comes behind buf
	kind     kind   // of the frame that is being read
	left     uint64 // bytes of it that are to come
	block    []byte // what has come of a field section
	trailed  bool   // trailers have begun to come
	trailing bool   // and have not all come
	chunked  bool   // the body is read in chunks
	over     bool   // and has been, but for pending
	rest     int64  // bytes of it that are to come; -1: not announced
	trailers []byte
	pending  []byte // bytes to be read before others
	memory   [64]byte

	// The writing side's.
	part   part
	resp   http1.Response
	chunks http1.Chunked
	unsent int64  // bytes of a body with a length
	framed int    // bytes of a DATA frame that has begun
	line   []byte // what has come of a head, a chunk's line, trailers
	out    []byte // to be written
}

const (
	bufSize = 2 << 10
	maxKept = 4 << 10 // bytes of memory that an idle stream keeps of each kind
)

// stream returns a stream for q.
func (v *Server) stream(m *session, q *quic.Stream) *Stream {
	s, ok := v.streams.Get().(*Stream)
	if ok {
		s.Conn.Renew()
	} else {
		s = &Stream{buf: make([]byte, bufSize)}
		s.Conn = transport.New(s)
	}
	s.m, s.q, s.rest = m, q, -1
	return s
}

// recycle makes a stream ready for another one. Its handler has returned, and closed nothing.
func (v *Server) recycle(s *Stream) {
	s.In.Release()
	s.resp.Reset()
	s.head.Reset(0, false) // a pool does not keep what one long head needed
	*s = Stream{
		Conn: s.Conn, buf: s.buf, resp: s.resp, head: s.head,
		method: s.method[:0], block: small(s.block), trailers: small(s.trailers), line: small(s.line), out: small(s.out),
	}
	v.streams.Put(s)
}

// small returns b empty, or nothing if it has become large.
func small(b []byte) []byte {
	if cap(b) > maxKept {
		return nil
	}
	return b[:0]
}

// finish ends what the handler has left open. It returns whether the answer was complete,
// whether the client gave up before, and whether nobody can use the stream any more.
func (s *Stream) finish() (answered, given, again bool) {
	if s.abandoned() {
		s.lose(true)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	again = !s.closed // else a goroutine that the handler left behind might still use it
	s.hangUp()
	return s.outEnded, s.given && !s.outEnded, again
}

// lose notes that the stream cannot be used any more. given: it is the client who says so.
func (s *Stream) lose(given bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given = s.given || given && !s.gone
	s.gone = true
}

// breakOff resets both sides.
func (s *Stream) breakOff(c code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset(c)
}

// reset is called with mu held.
func (s *Stream) reset(c code) {
	if !s.outEnded {
		s.q.CancelWrite(c.stream())
	}
	s.q.CancelRead(c.stream())
	s.gone = true
}

// hangUp ends what is open: an answer that is not complete is broken off, a request that was
// not read is not wanted. It is called with mu held.
func (s *Stream) hangUp() {
	s.closed = true
	switch {
	case s.gone:
		s.reset(codeCancelled) // whatever the client has not reset
	case s.outEnded && s.inEnded:
	case s.outEnded:
		s.reset(codeNo)
	case s.tunnel:
		s.reset(codeCancelled)
	default:
		s.reset(codeInternal)
	}
}

// broken is why nothing can be read or written; nil: it can.
func (s *Stream) broken() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return net.ErrClosed
	case s.gone:
		return errReset
	}
	return nil
}

// Close ends the stream, with a reset if either side has not ended.
func (s *Stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangUp()
	return nil
}

// Calm ends the stream as one that its client has brought upon itself: it takes nothing, and we
// are short of memory.
func (s *Stream) Calm() { s.breakOff(codeExcessive) }

// CloseWrite ends the answer's side of a tunnel. Any other answer has ended itself.
func (s *Stream) CloseWrite() error {
	if s.part != partTunnel {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endOut()
}

// Peer says whether the client has given the stream up: see transport.Conn. A client that only
// resets its own side is noticed by who reads.
func (s *Stream) Peer() transport.Peer {
	if s.broken() != nil || s.abandoned() {
		return transport.PeerReset
	}
	return transport.PeerQuiet
}

// abandoned reports whether nobody wants the answer any more, as far as QUIC knows.
func (s *Stream) abandoned() bool {
	ctx := s.q.Context()
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), quic.ErrStreamClosed) || s.m.q.Context().Err() != nil
}

// SetReadDeadline is net.Conn's.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.q.SetReadDeadline(t) }

// SetWriteDeadline is net.Conn's.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.q.SetWriteDeadline(t) }

// SetDeadline is net.Conn's.
func (s *Stream) SetDeadline(t time.Time) error { return s.q.SetDeadline(t) }

// LocalAddr is the connection's.
func (s *Stream) LocalAddr() net.Addr { return s.m.q.LocalAddr() }

// RemoteAddr is the connection's.
func (s *Stream) RemoteAddr() net.Addr { return s.m.q.RemoteAddr() }
