package http3

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
)

// endGrace is how long the end of a stream may come behind the head of a request whose method
// has no body as a rule. Where it is known to have none it is forwarded so, not as a body in
// chunks of which none comes.
const endGrace = 5 * time.Millisecond

// readRequest reads a stream's first field section and puts the HTTP/1.1 head into In.
func (s *Stream) readRequest() error {
	limit := s.m.cfg.HeadTimeout
	if limit > 0 {
		_ = s.q.SetReadDeadline(time.Now().Add(limit)) // a stream that has ended says so when it is read
	}
	for {
		err := s.frame()
		switch {
		case errors.Is(err, io.EOF):
			return errHeadCut
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errHeadLate
		case err != nil:
			return err
		case s.kind == kindData:
			return errOrder
		case s.kind == kindHeaders:
			return s.request()
		}
	}
}

// request reads the section that begins, and judges it.
func (s *Stream) request() error {
	m, h := s.m, &s.head
	cut, err := s.section()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errHeadLate
	case err != nil:
		return err
	}
	h.Reset(m.cfg.MaxHead, false)
	if whole := s.decode(); !whole && !cut {
		return errBlock
	}
	if cut {
		h.Cut()
	}
	if err := h.Finish(false); err != nil {
		return streamFault(codeMessage, err.Error())
	}
	s.rest, s.tunnel = h.Length(), h.Tunnels()
	if s.rest < 0 && !s.tunnel {
		s.awaitEnd()
	}
	ended := s.eof && s.from == s.to && s.left == 0
	if err := h.Finish(ended); err != nil {
		return streamFault(codeMessage, err.Error())
	}
	if ended {
		s.endIn()
		s.over = true
	}
	_ = s.q.SetReadDeadline(time.Time{})
	s.chunked = !ended && s.rest < 0 && !s.tunnel
	s.method = append(s.method[:0], h.Method()...)
	s.block = h.AppendTo(s.block[:0], s.chunked)
	s.In.Append(s.block)
	s.block = small(s.block)
	h.Reset(0, true) // the handler may take long, and has a long head in In already
	return nil
}

// awaitEnd waits a moment for the end of a request that has no body as a rule.
func (s *Stream) awaitEnd() {
	if s.eof || s.from < s.to {
		return
	}
	switch s.head.Method() {
	case "GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "CONNECT":
	default:
		return
	}
	_ = s.q.SetReadDeadline(time.Now().Add(endGrace))
	_ = s.fill() // whatever else comes is found by who reads on
}

// decode takes the fields of the block, as many as the head wants, and reports whether all
// that it looked at was well formed.
func (s *Stream) decode() (whole bool) {
	var d qpack.Decoder
	next := d.Decode(s.block)
	for {
		f, err := next()
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			return false
		}
		if !s.head.Add(f.Name, f.Value) {
			return true
		}
	}
}

// section reads a field section into block, but no more of it than a head within its limit may
// take: it takes less than the lines that are made of it. cut is whether there is more.
func (s *Stream) section() (cut bool, err error) {
	limit := s.m.cfg.MaxHead + bufSize
	for s.left > 0 && len(s.block) < limit {
		if s.from == s.to {
			if err := s.fill(); err != nil {
				return false, err
			}
			if s.from == s.to {
				return false, errCut
			}
		}
		n := int(min(uint64(s.to-s.from), s.left))
		s.block = append(s.block, s.buf[s.from:s.from+n]...)
		s.from += n
		s.left -= uint64(n)
	}
	return s.left > 0, nil
}

// frame reads up to the payload of the next frame that means something here. io.EOF: there is
// none.
func (s *Stream) frame() error {
	for {
		if err := s.skip(); err != nil {
			return err
		}
		k, length, n := parseFrame(s.buf[s.from:s.to])
		if n == 0 {
			switch {
			case !s.eof:
				if err := s.fill(); err != nil {
					return err
				}
				continue
			case s.from < s.to:
				return errCut
			}
			return io.EOF
		}
		s.from += n
		s.kind, s.left = k, length
		switch {
		case k == kindData || k == kindHeaders:
			return nil
		case k.formerly():
			return errFormer
		case k == kindPushPromise:
			return errPushPromise
		case k.controls():
			return errNotHere
		case !s.m.charge(costFrame):
			return errReset
		}
	}
}

// skip passes over the rest of a frame.
func (s *Stream) skip() error {
	for s.left > 0 {
		if s.from == s.to {
			if err := s.fill(); err != nil {
				return err
			}
			if s.from == s.to {
				return errCut
			}
		}
		n := min(uint64(s.to-s.from), s.left)
		s.from += int(n)
		s.left -= n
	}
	return nil
}

// fill reads more into buf, or finds that nothing comes.
func (s *Stream) fill() error {
	if s.eof {
		return nil
	}
	if s.from > 0 {
		s.to = copy(s.buf, s.buf[s.from:s.to])
		s.from = 0
	}
	n, err := s.pull(s.buf[s.to:])
	s.to += n
	return err
}

// pull reads from QUIC. At the end it sets eof, and returns no error.
func (s *Stream) pull(p []byte) (int, error) {
	n, err := s.q.Read(p)
	switch {
	case err == nil || n > 0 && !errors.Is(err, io.EOF):
		return n, nil // an error comes again
	case errors.Is(err, io.EOF):
		s.eof = true
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, os.ErrDeadlineExceeded
	}
	var reset *quic.StreamError
	s.lose(errors.As(err, &reset) && reset.Remote)
	return 0, errReset
}

func (s *Stream) endIn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inEnded = true
}

// Read reads the body in the form that the head announces, or the bytes of a tunnel.
func (s *Stream) Read(p []byte) (int, error) {
	if err := s.broken(); err != nil {
		return 0, err
	}
	for len(p) > 0 {
		if n := s.unpend(p); n > 0 {
			return n, nil
		}
		if s.over {
			return 0, io.EOF
		}
		n, err := s.read(p)
		var wrong *fault
		if errors.As(err, &wrong) {
			s.m.wrong(s, wrong)
			return 0, errReset
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// read reads a piece of the body, or nothing where something else came.
func (s *Stream) read(p []byte) (int, error) {
	if s.trailing {
		return 0, s.readTrailers()
	}
	if s.left == 0 || s.kind != kindData {
		if again, err := s.nextPiece(); again || err != nil {
			return 0, err
		}
	}
	switch {
	case !s.chunked:
		return s.data(p)
	case len(p) < len(s.memory):
		n, err := s.chunk(s.memory[:])
		s.pending = s.memory[:n]
		return 0, err
	}
	return s.chunk(p)
}

// nextPiece reads up to the next bytes of the body. again: there are none yet.
func (s *Stream) nextPiece() (again bool, err error) {
	err = s.frame()
	switch {
	case errors.Is(err, io.EOF):
		return true, s.end()
	case err != nil:
		return false, err
	case s.trailed:
		return false, errBehind
	case s.kind == kindHeaders && s.tunnel:
		return false, errTunnelFrame
	case s.kind == kindHeaders:
		s.trailed, s.trailing = true, true
		s.block = s.block[:0]
		return true, nil
	case s.rest >= 0 && s.left > uint64(s.rest):
		return false, errLengthBody
	case s.left == 0 && !s.m.charge(costFrame): // a frame without bytes
		return false, errReset
	}
	return s.left == 0, nil
}

// readTrailers reads the section that ends a body. Trailers of a body with a length are left
// out: HTTP/1.1 has no place for them.
func (s *Stream) readTrailers() error {
	cut, err := s.section()
	switch {
	case err != nil:
		return err
	case cut:
		return errTrailerLong
	}
	s.head.Reset(s.m.cfg.MaxHead, true)
	if !s.decode() {
		return errBlock
	}
	lines, err := s.head.FinishTrailers()
	if err != nil {
		return streamFault(codeMessage, err.Error())
	}
	s.trailers = append(s.trailers[:0], lines...)
	s.trailing = false
	return nil
}

// end settles that the body has come to its end.
func (s *Stream) end() error {
	if s.rest > 0 {
		return errLengthBody
	}
	s.over = true
	s.endIn()
	if s.chunked {
		s.pending = lastChunk
		if len(s.trailers) > 0 {
			s.pending = []byte("0\r\n" + string(s.trailers) + "\r\n")
		}
	}
	return nil
}

// lastChunk ends a body without trailers.
var lastChunk = []byte("0\r\n\r\n")

func (s *Stream) unpend(p []byte) int {
	n := copy(p, s.pending)
	s.pending = s.pending[n:]
	return n
}

// data reads bytes of a DATA frame.
func (s *Stream) data(p []byte) (int, error) {
	p = p[:min(uint64(len(p)), s.left)]
	var n int
	if s.from < s.to {
		n = copy(p, s.buf[s.from:s.to])
		s.from += n
	} else {
		if s.eof {
			return 0, errCut
		}
		var err error
		if n, err = s.pull(p); err != nil {
			return 0, err
		}
	}
	s.left -= uint64(n)
	if s.rest >= 0 {
		s.rest -= int64(n)
	}
	return n, nil
}

// chunk makes one chunk of what is there: four digits, CRLF, the bytes, CRLF.
func (s *Stream) chunk(p []byte) (int, error) {
	const front, digits = 6, "0123456789abcdef"
	n, err := s.data(p[front : front+min(len(p)-front-2, 0xffff)])
	if n == 0 {
		return 0, err
	}
	p[0], p[1], p[2], p[3] = digits[n>>12], digits[n>>8&15], digits[n>>4&15], digits[n&15]
	p[4], p[5], p[front+n], p[front+n+1] = '\r', '\n', '\r', '\n'
	return front + n + 2, nil
}
