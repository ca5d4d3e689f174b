package http2

import (
	"bytes"
	"errors"
	"net"
	"os"
)

// part is what a stream's user writes next.
//
//	head ──interim──► head
//	     ──101──────► tunnel
//	     ──length───► body ───────────────────────────────────────► over
//	     ──chunks───► size ──► chunk ──► size … ──► last ──lines──► over
type part uint8

const (
	partHead part = iota
	partBody
	partSize   // a line with a chunk's size, behind the CRLF of the chunk before
	partChunk  // left bytes
	partLast   // trailer lines
	partTunnel // bytes as they are
	partOver
)

// errAnswer: what has been written is no message, or comes behind its end. The first cannot
// be: the engine writes them.
var errAnswer = errors.New("malformed message")

// Write takes the next bytes of the answer, or of the request.
func (s *Stream) Write(p []byte) (int, error) { return s.write(p, false) }

// WriteNow takes as much of p as it can without waiting, and returns how many bytes that was. The error is
// os.ErrDeadlineExceeded if the rest has to wait, or Write's.
func (s *Stream) WriteNow(p []byte) (int, error) { return s.write(p, true) }

func (s *Stream) write(p []byte, now bool) (n int, err error) {
	s.now = now
	for n < len(p) && err == nil {
		var used int
		used, err = s.put(p[n:])
		n += used
	}
	s.m.mu.Lock()
	s.m.kick()
	s.m.mu.Unlock()
	return n, err
}

// put takes the next piece.
func (s *Stream) put(p []byte) (int, error) {
	switch s.part {
	case partHead:
		if s.m.client != nil {
			return s.putLines(p, s.putAsk)
		}
		return s.putLines(p, s.putHead)
	case partBody:
		p = p[:min(int64(len(p)), s.left)]
		n, err := s.send(p, int64(len(p)) == s.left)
		if s.left -= int64(n); s.left == 0 {
			s.part = partOver
		}
		return n, err
	case partSize:
		return s.putLines(p, s.putSize)
	case partChunk:
		return s.putChunk(p)
	case partLast:
		return s.putLines(p, s.putTrailer)
	case partTunnel:
		return s.send(p, false)
	}
	return 0, errAnswer
}

// putLines has f read lines at the start of p, or of line and p where they are not whole. f
// returns 0 when there is not enough.
func (s *Stream) putLines(p []byte, f func([]byte) (int, error)) (int, error) {
	if len(s.line) == 0 {
		n, err := f(p)
		if n == 0 && err == nil {
			s.line = append(s.line, p...)
			n = len(p)
		}
		return n, err
	}
	had := len(s.line)
	s.line = append(s.line, p...)
	n, err := f(s.line)
	if n == 0 && err == nil {
		return len(p), nil
	}
	s.line = s.line[:0]
	return max(n-had, 0), err
}

// close completes the HEADERS frame that starts at, and cuts what is too long for it into
// CONTINUATION frames. It is called with mu held.
func (s *Stream) close(out []byte, at int, end bool) {
	var flags uint8
	if end {
		flags = flagEndStream
		s.endOut()
	}
	block := out[at+headerSize:]
	if len(block) <= maxFrame {
		appendFrame(out[:at], len(block), kindHeaders, flags|flagEndHeaders, s.id)
		s.m.out = out
		return
	}
	block = bytes.Clone(block)
	out = append(appendFrame(out[:at], maxFrame, kindHeaders, flags, s.id), block[:maxFrame]...)
	for block = block[maxFrame:]; len(block) > 0; {
		n := min(len(block), maxFrame)
		flags = 0
		if n == len(block) {
			flags = flagEndHeaders
		}
		out = append(appendFrame(out, n, kindContinuation, flags, s.id), block[:n]...)
		block = block[n:]
	}
	s.m.out = out
}

// endOut notes that what we send is complete. It is called with mu held.
func (s *Stream) endOut() {
	s.outEnded = true
	if s.m.client == nil {
		s.m.calm.earn(earnAnswer)
	}
	s.settle()
}

func (s *Stream) broken() error {
	switch {
	case s.closed:
		return net.ErrClosed
	case s.gone:
		return s.why
	case s.outEnded:
		return errAnswer
	}
	return nil
}

// putSize reads the line before a chunk.
func (s *Stream) putSize(p []byte) (int, error) {
	at := 0
	if len(p) > 0 && p[0] == '\r' { // of the chunk before
		at = 2
	}
	end := -1
	if len(p) > at {
		end = bytes.IndexByte(p[at:], '\n')
	}
	if end < 0 {
		return 0, nil
	}
	s.left = 0
	for _, c := range p[at : at+end-1] {
		s.left = s.left<<4 | int64(digit(c))
	}
	s.part = partChunk
	if s.left == 0 {
		s.part = partLast
		s.tail = s.tail[:0]
	}
	return at + end + 1, nil
}

// digit returns the value of a hexadecimal digit.
func digit(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return lower[c] - 'a' + 10
}

// plainEnd is the end of a body without trailers.
var plainEnd = []byte("\r\n0\r\n\r\n")

// putChunk sends bytes of a chunk. If the body ends right behind it, they end the stream, and
// no empty frame has to.
func (s *Stream) putChunk(p []byte) (int, error) {
	data := p[:min(int64(len(p)), s.left)]
	end := int64(len(data)) == s.left && bytes.Equal(p[len(data):], plainEnd)
	n, err := s.send(data, end)
	if s.left -= int64(n); s.left > 0 {
		return n, err
	}
	s.part = partSize
	if end {
		s.part = partOver
		n += len(plainEnd)
	}
	return n, err
}

// putTrailer takes a trailer line, and ends the answer at the empty one.
func (s *Stream) putTrailer(p []byte) (int, error) {
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		return 0, nil
	}
	line := bytes.TrimSuffix(p[:end], []byte("\r"))
	if len(line) > 0 {
		name, value, _ := bytes.Cut(line, []byte(":"))
		s.tail = appendField(s.tail, name, trim(value))
		return end + 1, nil
	}
	s.part = partOver
	if len(s.tail) == 0 {
		_, err := s.send(nil, true)
		return end + 1, err
	}
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := s.broken(); err != nil {
		return 0, err
	}
	out := m.buffer()
	at := len(out)
	out = append(appendFrame(out, 0, kindHeaders, 0, s.id), s.tail...)
	s.close(out, at, true)
	return end + 1, nil
}

// send queues a body's bytes as the windows allow, and returns how many it has queued.
func (s *Stream) send(p []byte, end bool) (n int, err error) {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		if err := s.broken(); err != nil {
			m.leave(s)
			s.yield()
			return n, err
		}
		if len(p) == 0 {
			if end {
				m.out = appendFrame(m.buffer(), 0, kindData, flagEndStream, s.id)
				s.endOut()
			}
			return 0, nil
		}
		if s.outWindow > 0 && m.outWindow > 0 && len(m.out) < maxOut && (s.turn || len(m.waiting) == 0 && !m.turn) {
			n += s.queue(p[n:], end)
			s.yield()
			if n == len(p) {
				return n, nil
			}
			continue
		}
		s.yield()
		if s.now {
			return n, os.ErrDeadlineExceeded
		}
		if s.outWindow > 0 && !s.queued {
			s.queued = true
			m.waiting = append(m.waiting, s)
			if m.pass(); s.turn {
				continue
			}
		}
		if err := s.wait(&s.writes); err != nil {
			m.leave(s)
			s.yield()
			return n, err
		}
	}
}

// yield passes the turn on. It is called with mu held.
func (s *Stream) yield() {
	if s.turn {
		s.turn = false
		s.m.turn = false
		s.m.pass()
	}
}

// queue appends one DATA frame.
func (s *Stream) queue(p []byte, end bool) int {
	m := s.m
	n := int(min(int64(len(p)), s.outWindow, m.outWindow, maxFrame))
	var flags uint8
	if end && n == len(p) {
		flags = flagEndStream
		s.endOut()
	}
	m.out = append(appendFrame(m.buffer(), n, kindData, flags, s.id), p[:n]...)
	s.outWindow -= int64(n)
	m.outWindow -= int64(n)
	switch {
	case n == len(p):
		m.calm.earn(earnSent)
	case n >= usefulData:
		m.calm.earn(earnData)
	}
	return n
}
