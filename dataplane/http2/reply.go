package http2

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it, and not for its strength
	"encoding/base64"
	"strconv"

	"weir.dev/weir/dataplane/http1"
)

// hear makes HTTP/1.1 of the head of an answer, for Read. It is called with mu held.
func (s *Stream) hear(h *head, ended bool) *fault {
	status := h.statusCode()
	switch {
	case h.over || len(s.heads)-s.headAt > 2*h.limit:
		return errAnswerLong
	case status == 101: // HTTP/2 has none (RFC 9113 section 8.6)
		return errStatus
	case status < 200 && ended:
		return errInterimEnd
	case status < 200:
		s.heads = append(append(http1.AppendStatusLine(s.heads, status), h.fields...), "\r\n"...)
		s.reads.open()
		return nil
	case s.tunnel && status < 300:
		s.openTunnel(h)
	default:
		s.tunnel = false
		if wrong := s.hearFinal(h, status, ended); wrong != nil {
			return wrong
		}
	}
	s.answered = true
	s.m.calm.earn(earnAnswer)
	if ended {
		s.endIn()
	}
	s.reads.open()
	return nil
}

// hearFinal is hear for an answer with a body or without.
func (s *Stream) hearFinal(h *head, status int, ended bool) *fault {
	s.rest = h.length
	length := h.length
	switch {
	case status == 204 || status == 304 || string(s.method) == "HEAD":
		s.rest = 0
	case ended && length > 0:
		return errLengthBody
	case ended:
		length = 0
	case length < 0 || h.announced: // HTTP/1.1 has trailers behind chunks only
		s.chunked = true
		length = -1
	}
	out := append(http1.AppendStatusLine(s.heads, status), h.fields...)
	if length >= 0 {
		out = strconv.AppendInt(append(out, "content-length: "...), length, 10)
		out = append(out, "\r\n"...)
	}
	if s.chunked {
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	}
	s.heads = append(out, "\r\n"...)
	return nil
}

// openTunnel says that the host has taken a WebSocket, as HTTP/1.1 does, with the proof that
// HTTP/2 has no need of.
func (s *Stream) openTunnel(h *head) {
	const magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 section 1.3
	sum := sha1.Sum(append(s.key, magic...))             //nolint:gosec // as above
	s.rest = -1
	out := append(http1.AppendStatusLine(s.heads, 101), h.fields...)
	out = append(out, "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "...)
	s.heads = append(base64.StdEncoding.AppendEncode(out, sum[:]), "\r\n\r\n"...)
}
