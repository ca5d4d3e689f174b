// Package http3 speaks HTTP/3 (RFC 9114, RFC 9204, RFC 9220) with clients, over QUIC as
// quic-go has it, and gives each stream to a handler as a connection of HTTP/1.1, as http2
// does. Requests are judged by the same code as HTTP/2's. The package frames, keeps the
// streams that a connection needs besides requests, and bounds what a client may cost; it
// knows nothing of routes or policies.
//
//	datagrams ─► Run: handshakes ─► Conn, a goroutine ─► streams of requests ─► Handler, a goroutine a stream
//	                                   └─► control and QPACK streams, a goroutine each
//	Stream.Read:  HEADERS ─► head in Stream.In    DATA ─► length, chunks or raw
//	Stream.Write: an answer's head, body ─► frames ─► QUIC's own buffers and windows
package http3
