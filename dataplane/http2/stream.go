package http2

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
)

// errReset: a client has reset its stream, or its connection has ended.
var errReset = errors.New("stream reset")

// Stream is one stream as its user sees it: a connection of HTTP/1.1 that carries one
// request. It is a net.Conn; one goroutine may read while another writes. It is valid until
// the handler returns, or, of a Client's, until Release.
type Stream struct {
	// In has the head of a client's request and what came of the body at once; the rest is read
	// from Conn.
	In transport.Buffer
	// Conn is the stream for those who need more than a net.Conn.
	Conn *transport.Conn

	m       *mux // whose mu guards all that follows, but what one side alone uses
	id      uint32
	method  []byte
	tunnel  bool   // a WebSocket: after the answer's head, bytes are carried as they are
	scratch []byte // of the reader, then of the writing side

	counted bool  // in current
	gone    bool  // reset by either side, or the connection is over
	why     error // of gone
	closed  bool  // by its user
	reads   gate
	writes  gate

	// Of a Client's stream.
	answered bool              // the head of the final answer has come
	released transport.Instant // when its user gave it up before it was closed; 0: it has not
	heads    []byte            // of answers, to be read from headAt on
	headAt   int
	key      []byte // of a WebSocket

	// What comes: the body of a request, or of an answer.
	got      queue
	inEnded  bool
	chunked  bool   // it is read in chunks
	closing  bool   // the last chunk is in pending, or has been read
	rest     int64  // bytes that are to come; -1: not announced
	trailers []byte // behind the last chunk, with that
	pending  []byte // bytes to be read before those in got
	memory   [64]byte
	inWindow int64
	inOwed   int
	inRead   int
	grown    bool

	// What goes: an answer, or a request.
	outEnded  bool
	outWindow int64
	queued    bool // waits for its turn
	turn      bool
	part      part // of the writing side, as are these:
	now       bool // it does not wait
	resp      http1.Response
	left      int64 // bytes of the body or chunk
	line      []byte
	tail      []byte // the trailers' header block
}

// streamPool has streams that nobody uses.
type streamPool struct{ sync.Pool }

// stream returns a stream that has been opened. It is called with mu held.
func (v *streamPool) stream(m *mux, id uint32) *Stream {
	s, ok := v.Get().(*Stream)
	if ok {
		s.Conn.Renew()
	} else {
		s = &Stream{reads: newGate(), writes: newGate()}
		s.Conn = transport.New(s)
	}
	s.m, s.id, s.counted = m, id, true
	s.inWindow, s.outWindow = int64(m.cfg.Limits.Window), m.outFirst
	return s
}

// recycle makes a stream ready for another one. Nobody uses it, and no frame finds it.
func (v *streamPool) recycle(s *Stream) {
	s.In.Release()
	s.resp.Reset()
	*s = Stream{
		Conn: s.Conn, reads: s.reads.reuse(), writes: s.writes.reuse(), resp: s.resp,
		method: s.method[:0], scratch: small(s.scratch), trailers: small(s.trailers), line: small(s.line), tail: small(s.tail),
		heads: small(s.heads), key: s.key[:0],
	}
	v.Put(s)
}

// small returns b empty, or nothing if it has become large.
func small(b []byte) []byte {
	if cap(b) > 4<<10 {
		return nil
	}
	return b[:0]
}

// endIn notes that the other side sends no more. It is called with mu held.
func (s *Stream) endIn() {
	s.inEnded = true
	s.settle()
}

// settle counts the stream as closed once both sides have ended it, as the other side does.
func (s *Stream) settle() {
	if s.counted && (s.gone || s.inEnded && s.outEnded) {
		s.counted = false
		s.m.current--
		if !s.gone {
			s.m.unsaid++
		}
		if c := s.m.client; c != nil {
			c.settled(s)
		}
	}
}

// lose ends the stream for its user. It is called with mu held.
func (s *Stream) lose(why error) {
	s.gone = true
	if s.why == nil {
		s.why = why
	}
	s.m.creditRead(s.got.drop())
	s.settle()
	s.reads.open()
	s.writes.open()
}

// hangUp ends what its user has left open: an answer that is not complete is broken off,
// a request that it did not read is not wanted. An answer that has come whole may do without
// its end for now. It is called with mu held.
func (s *Stream) hangUp() {
	s.closed = true
	if s.gone {
		return
	}
	client := s.m.client
	switch {
	case s.outEnded && s.inEnded:
		return
	case client != nil && s.id == 0:
	case client != nil && s.outEnded && s.answered && s.rest == 0 && client.lingering < maxLingering:
		return
	case client != nil:
		s.m.reset(s.id, codeCancel)
	case s.outEnded:
		s.m.reset(s.id, codeNo)
	case s.tunnel:
		s.m.reset(s.id, codeCancel)
	default:
		s.m.reset(s.id, codeInternal)
	}
	s.lose(errReset)
}

// Read reads the heads of answers, the body in the form that the head announces, or the bytes
// of a tunnel.
func (s *Stream) Read(p []byte) (int, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for {
		if n, err := s.take(p); n > 0 || err != nil || len(p) == 0 {
			s.m.kick()
			return n, err
		}
		if err := s.wait(&s.reads); err != nil {
			return 0, err
		}
	}
}

// take reads what is there: behind a head as much of the body as there is room for, so that an answer
// that has come whole is read at once.
func (s *Stream) take(p []byte) (int, error) {
	switch {
	case s.closed:
		return 0, net.ErrClosed
	case s.gone:
		return 0, s.why
	}
	n := s.unhead(p)
	if len(s.heads) > 0 || n > 0 && s.tunnel {
		return n, nil
	}
	n += s.unpend(p[n:])
	switch room := len(p) - n; {
	case s.got.size == 0 || len(s.pending) > 0 || room == 0:
	case !s.chunked:
		k := s.got.pull(p[n:])
		s.creditBoth(k)
		n += k
	case room >= len(s.memory):
		n += s.chunk(p[n:])
	case n == 0:
		s.pending = s.memory[:s.chunk(s.memory[:])]
		n = s.unpend(p)
	}
	if s.got.size > 0 || !s.inEnded || len(s.pending) > 0 || len(s.heads) > 0 {
		return n, nil
	}
	if s.chunked && !s.closing {
		s.closing = true
		s.pending = lastChunk
		if len(s.trailers) > 0 {
			s.pending = s.trailers
		}
		n += s.unpend(p[n:])
	}
	if n == 0 && len(s.pending) == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// gather puts behind a request's head what has come of its body meanwhile: of a short one, all. What
// is whole the engine sends on at once; what is not, from a goroutine of its own.
func (s *Stream) gather() {
	s.m.mu.Lock()
	came := !s.tunnel && (s.got.size > 0 || s.inEnded && s.chunked)
	s.m.mu.Unlock()
	if came {
		_, _ = s.Conn.ReadInto(&s.In, transport.Wait{}) // it does not wait, and an error comes again
	}
}

// lastChunk ends a body without trailers.
var lastChunk = []byte("0\r\n\r\n")

// unhead moves the next bytes of heads into p.
func (s *Stream) unhead(p []byte) int {
	n := copy(p, s.heads[s.headAt:])
	if s.headAt += n; s.headAt == len(s.heads) {
		s.heads, s.headAt = s.heads[:0], 0
	}
	return n
}

func (s *Stream) unpend(p []byte) int {
	n := copy(p, s.pending)
	s.pending = s.pending[n:]
	return n
}

// chunk makes one chunk of what is there: four digits, CRLF, the bytes, CRLF.
func (s *Stream) chunk(p []byte) int {
	const front, digits = 6, "0123456789abcdef"
	n := s.got.pull(p[front : front+min(len(p)-front-2, s.got.size, 0xffff)])
	p[0], p[1], p[2], p[3] = digits[n>>12], digits[n>>8&15], digits[n>>4&15], digits[n&15]
	p[4], p[5], p[front+n], p[front+n+1] = '\r', '\n', '\r', '\n'
	s.creditBoth(n)
	return front + n + 2
}

// wait waits at a gate, and lets out what has been said before. It is called with mu held and
// gives it up meanwhile. The caller looks again, unless its deadline has passed.
func (s *Stream) wait(g *gate) error {
	s.m.kick()
	return g.wait(&s.m.mu)
}

// Close ends the stream, with a reset if either side has not ended.
func (s *Stream) Close() error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.hangUp()
	s.reads.open()
	s.writes.open()
	s.m.kick()
	return nil
}

// Calm ends the stream as one that its client has brought upon itself: it takes nothing, and we
// are short of memory.
func (s *Stream) Calm() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.gone || s.outEnded && s.inEnded {
		return
	}
	s.m.reset(s.id, codeCalm)
	s.lose(errReset)
	s.m.kick()
}

// CloseWrite ends our side of a tunnel. Anything else has ended itself.
func (s *Stream) CloseWrite() error {
	if s.part != partTunnel {
		return nil
	}
	_, err := s.send(nil, true)
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.kick()
	return err
}

// Peer says whether the other side has reset the stream: see transport.Conn.
func (s *Stream) Peer() transport.Peer {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.gone || s.closed {
		return transport.PeerReset
	}
	return transport.PeerQuiet
}

// SetReadDeadline is net.Conn's.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.reads.until(t)
	return nil
}

// SetWriteDeadline is net.Conn's.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.writes.until(t)
	return nil
}

// SetDeadline is net.Conn's.
func (s *Stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// LocalAddr is the connection's.
func (s *Stream) LocalAddr() net.Addr { return s.m.conn.LocalAddr() }

// RemoteAddr is the connection's.
func (s *Stream) RemoteAddr() net.Addr { return s.m.conn.RemoteAddr() }
