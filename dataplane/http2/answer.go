package http2

import (
	"bytes"

	"weir.dev/weir/dataplane/http1"
)

// answerLimits: what the engine writes has been bounded by the engine.
var answerLimits = http1.Limits{MaxHead: 1 << 20, MaxFields: 1000}

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
		status = 502 // 2xx would say that the tunnel is open (RFC 8441 section 5)
		fallthrough
	default:
		s.tunnel = s.tunnel && s.part == partTunnel
		switch r.Body {
		case http1.BodyNone:
			s.part = partOver
		case http1.BodyLength:
			s.part, s.left = partBody, r.Length
		case http1.BodyChunked:
			s.part = partSize
		default:
			return 0, errAnswer
		}
	}
	return n, s.sendHead(status, s.part == partOver)
}

// sendHead queues the head that has been parsed.
func (s *Stream) sendHead(status int, end bool) error {
	m, r := s.m, &s.resp
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := s.broken(); err != nil {
		return err
	}
	out := m.buffer()
	at := len(out)
	out = appendFrame(out, 0, kindHeaders, 0, s.id)
	if !m.noTable {
		m.noTable = true
		out = appendNoTable(out)
	}
	out = appendStatus(out, status)
	for i := range r.Fields {
		if f := &r.Fields[i]; !f.Hop && !f.Dropped && (!s.tunnel || !bytes.EqualFold(r.Name(i), acceptName)) {
			out = appendField(out, r.Name(i), r.Value(i))
		}
	}
	s.close(out, at, end)
	return nil
}

var acceptName = []byte("sec-websocket-accept")
