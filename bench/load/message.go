package load

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// message reads HTTP/1.1 messages, requests or answers, out of the pieces in
// which they arrive. It checks framing only, not form: it trusts what it reads.
//
//	head ──► fixed ──► done
//	   └───► size ──► data ──► size ... ──► trailer ──► done
type message struct {
	line    []byte // the first line of the current or last message
	body    int64  // bytes of its body so far
	closing bool   // it said Connection: close

	phase   phase
	left    int64  // bytes left of a fixed body, or of a chunk and its line end
	partial []byte // an incomplete head or line
}

type phase uint8

const (
	inHead phase = iota
	inFixed
	inSize
	inData
	inTrailer
)

// maxHead bounds a head, a chunk line or a trailer line, in bytes.
const maxHead = 64 << 10

var (
	errHead  = errors.New("head too long")
	errChunk = errors.New("bad chunk")
)

// next reads data up to the end of one message. It returns what follows it and
// whether the end was reached; after that the next call begins a new message.
func (m *message) next(data []byte) (rest []byte, done bool, err error) {
	for {
		switch m.phase {
		case inHead:
			if len(data) == 0 {
				return nil, false, nil
			}
			head, rest, ok := m.until(data, "\r\n\r\n")
			if !ok {
				return nil, false, m.tooLong()
			}
			data = rest
			if done, err := m.begin(head); done || err != nil {
				return data, done, err
			}
		case inFixed, inData:
			n := min(int64(len(data)), m.left)
			m.left -= n
			data = data[n:]
			if m.phase == inFixed {
				m.body += n
			}
			if m.left > 0 {
				return nil, false, nil
			}
			if m.phase == inFixed {
				m.phase = inHead
				return data, true, nil
			}
			m.phase = inSize
		case inSize, inTrailer:
			line, rest, ok := m.until(data, "\r\n")
			if !ok {
				return nil, false, m.tooLong()
			}
			data = rest
			if m.phase == inTrailer {
				if len(line) == 2 {
					m.phase = inHead
					return data, true, nil
				}
				continue
			}
			if err := m.chunk(line); err != nil {
				return data, false, err
			}
		}
	}
}

// until returns everything up to and including mark. When data does not hold
// it, it keeps data for the next call.
func (m *message) until(data []byte, mark string) (found, rest []byte, ok bool) {
	if len(m.partial) == 0 {
		if i := bytes.Index(data, []byte(mark)); i >= 0 {
			return data[:i+len(mark)], data[i+len(mark):], true
		}
		m.partial = append(m.partial, data...)
		return nil, nil, false
	}
	old := len(m.partial)
	m.partial = append(m.partial, data...)
	i := bytes.Index(m.partial[max(0, old-len(mark)+1):], []byte(mark))
	if i < 0 {
		return nil, nil, false
	}
	end := max(0, old-len(mark)+1) + i + len(mark)
	found = m.partial[:end]
	m.partial = m.partial[:0]
	return found, data[end-old:], true
}

func (m *message) tooLong() error {
	if len(m.partial) > maxHead {
		return errHead
	}
	return nil
}

// begin reads a head. It reports whether the message ends with it.
func (m *message) begin(head []byte) (bool, error) {
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	m.line = append(m.line[:0], line...)
	m.body, m.left, m.closing = 0, 0, false
	chunked := false
	for len(fields) > 2 {
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		switch {
		case len(line) == 0:
		case line[0]|0x20 == 'c':
			if v, ok := value(line, "content-length:"); ok {
				n, err := strconv.ParseInt(string(v), 10, 64)
				if err != nil || n < 0 {
					return false, fmt.Errorf("content-length %q", v)
				}
				m.left = n
			} else if v, ok := value(line, "connection:"); ok {
				m.closing = bytes.EqualFold(v, []byte("close"))
			}
		case line[0]|0x20 == 't':
			if v, ok := value(line, "transfer-encoding:"); ok {
				chunked = bytes.EqualFold(v, []byte("chunked"))
			}
		}
	}
	switch {
	case chunked:
		m.phase, m.left = inSize, 0
	case m.left > 0:
		m.phase = inFixed
	default:
		return true, nil
	}
	return false, nil
}

// value returns what follows a header name (lower case, with its colon).
func value(line []byte, name string) ([]byte, bool) {
	if len(line) < len(name) || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimSpace(line[len(name):]), true
}

// chunk reads the line with a chunk's size.
func (m *message) chunk(line []byte) error {
	digits := line[:len(line)-2]
	if i := bytes.IndexByte(digits, ';'); i >= 0 {
		digits = digits[:i]
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(digits)), 16, 48)
	if err != nil || n < 0 {
		return errChunk
	}
	if n == 0 {
		m.phase = inTrailer
		return nil
	}
	m.body += n
	m.left = n + 2 // the line end behind the data
	m.phase = inData
	return nil
}

// success reports whether the message is an answer with a 2xx status.
func (m *message) success() bool {
	return len(m.line) > 12 && m.line[9] == '2' && m.line[12] == ' '
}
