package http3

import (
	"bytes"
	"errors"
	"os"

	"weir.dev/weir/dataplane/http1"
)

// part is what the handler writes next.
//
//	head ──interim──► head
//	     ──101──────► tunnel
//	     ──length───► body ─────────────────► over
//	     ──chunks───► chunks ──► trailers ──► over
type part uint8

const (
	partHead part = iota
	partBody
	partChunks
	partTrailers
	partTunnel // bytes as they are
	partOver
)

// errAnswer: what the handler wrote is no answer. It cannot be: the engine writes them.
var errAnswer = errors.New("malformed answer")

// answerLimits: what the engine writes has been bounded by the engine.
var answerLimits = http1.Limits{MaxHead: 1 << 20, MaxFields: 1000}

// maxCopied is how many bytes of frames and bodies are gathered for one write. What is longer
// goes to QUIC from where it is.
const maxCopied = 4 << 10

// Write takes the next bytes of the answer. After an error of a deadline it may be called
// again with what it has not taken, or nothing: what it has taken is sent first.
func (s *Stream) Write(p []byte) (n int, err error) {
	if err := s.broken(); err != nil {
		return 0, err
	}
	for n < len(p) && err == nil {
		var used int
		used, err = s.put(p[n:])
		n += used
	}
	if errors.Is(err, errAnswer) {
		s.breakOff(codeInternal) // or what follows might make it look whole
	}
	if err == nil {
		err = s.flush()
	}
	if err == nil && s.part == partOver {
		s.mu.Lock()
		err = s.endOut()
		s.mu.Unlock()
	}
	return n, err
}

// endOut ends our side. It is called with mu held.
func (s *Stream) endOut() error {
	if s.outEnded || s.gone {
		return nil
	}
	s.outEnded = true
	return s.q.Close()
}

// put takes the next piece.
func (s *Stream) put(p []byte) (int, error) {
	switch s.part {
	case partHead:
		return s.putLines(p, s.putHead)
	case partBody:
		n, err := s.send(p[:min(int64(len(p)), s.unsent)])
		if s.unsent -= int64(n); s.unsent == 0 {
			s.part = partOver
		}
		return n, err
	case partChunks:
		return s.putLines(p, s.putChunks)
	case partTrailers:
		return s.putLines(p, s.putTrailers)
	case partTunnel:
		return s.putData(p)
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
	switch {
	case n == 0 && err == nil:
		return len(p), nil
	case n == 0: // all of it comes again
		s.line = s.line[:had]
		return 0, err
	}
	s.line = s.line[:0]
	return max(n-had, 0), err
}

// putHead sends a head.
func (s *Stream) putHead(p []byte) (int, error) {
	r := &s.resp
	r.Reset()
	n, err := r.Parse(p, &answerLimits, s.method)
	if n == 0 || err != nil {
		return 0, err
	}
	status := r.Status
	switch {
	case status == 101 && s.tunnel:
		status, s.part = 200, partTunnel
	case status < 200:
	case s.tunnel && status < 300:
		status = 502 // 2xx would say that the tunnel is open (RFC 9220)
		fallthrough
	default:
		s.tunnel = false
		switch r.Body {
		case http1.BodyNone:
			s.part = partOver
		case http1.BodyLength:
			s.part, s.unsent = partBody, r.Length // which is not 0: that is no body
		case http1.BodyChunked:
			s.part = partChunks
			s.chunks = http1.Chunked{Answer: true}
		default:
			return 0, errAnswer
		}
	}
	s.appendHead(status)
	if s.part == partBody {
		s.out = appendFrame(s.out, kindData, uint64(r.Length)) // one frame for all of it
	}
	return n, nil
}

// appendHead appends the head that has been parsed.
func (s *Stream) appendHead(status int) {
	r := &s.resp
	at := len(s.out)
	s.out = appendStatus(appendPrefix(s.out), status)
	for i := range r.Fields {
		if f := &r.Fields[i]; !f.Hop && !f.Dropped && (s.part != partTunnel || !bytes.EqualFold(r.Name(i), acceptName)) {
			s.out = appendField(s.out, r.Name(i), r.Value(i))
		}
	}
	s.frameBehind(at)
}

var acceptName = []byte("sec-websocket-accept")

// frameBehind makes a HEADERS frame of what out has behind at.
func (s *Stream) frameBehind(at int) {
	var memory [16]byte
	front := appendFrame(memory[:0], kindHeaders, uint64(len(s.out)-at))
	s.out = append(s.out, front...) // for the room
	copy(s.out[at+len(front):], s.out[at:len(s.out)-len(front)])
	copy(s.out[at:], front)
}

// putChunks sends content of a body in chunks.
func (s *Stream) putChunks(p []byte) (int, error) {
	before := s.chunks
	data, n, _, err := s.chunks.Next(p)
	if err != nil {
		return 0, errAnswer
	}
	if s.chunks.Trailing() {
		s.part = partTrailers
		return n, nil
	}
	if len(data) == 0 {
		return n, nil
	}
	sent, err := s.putData(data)
	if sent == len(data) {
		return n, err
	}
	s.chunks = before // the rest comes again
	if sent == 0 {
		return 0, err
	}
	n -= len(data) - sent
	_, _, _, _ = s.chunks.Next(p[:n]) // it took as much before
	return n, err
}

// putTrailers takes the trailer section, and ends the answer with it.
func (s *Stream) putTrailers(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("\r\n")) {
		s.part = partOver
		return 2, nil
	}
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, nil
	}
	at := len(s.out)
	s.out = appendPrefix(s.out)
	for line := range bytes.SplitSeq(p[:end], []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		s.out = appendField(s.out, name, bytes.Trim(value, " \t"))
	}
	s.frameBehind(at)
	s.part = partOver
	return end + 4, nil
}

// putData sends bytes in a frame of their own.
func (s *Stream) putData(p []byte) (int, error) {
	if s.framed == 0 {
		s.framed = len(p)
		s.out = appendFrame(s.out, kindData, uint64(len(p)))
	}
	n, err := s.send(p[:min(len(p), s.framed)])
	s.framed -= n
	return n, err
}

// send sends bytes behind what is in out, or puts them there.
func (s *Stream) send(p []byte) (int, error) {
	if len(s.out)+len(p) <= maxCopied {
		s.out = append(s.out, p...)
		return len(p), nil
	}
	if err := s.flush(); err != nil {
		return 0, err
	}
	return s.push(p)
}

// flush sends what is in out.
func (s *Stream) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	n, err := s.push(s.out)
	s.out = s.out[:copy(s.out, s.out[n:])]
	return err
}

// push writes to QUIC, as much as it takes in time.
func (s *Stream) push(p []byte) (int, error) {
	n, err := s.q.Write(p)
	if err == nil {
		return n, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	s.lose(true)
	return n, errReset
}
