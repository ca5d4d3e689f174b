// Package http2 speaks HTTP/2 (RFC 9113, RFC 7541, RFC 8441) with clients and gives each
// stream to a handler as a connection of HTTP/1.1: what is read from it are the bytes of
// the equivalent request, and the answer written to it goes out as frames. So the request
// engine needs to know one protocol only. The package multiplexes, keeps windows and
// bounds what a client may cost; it knows nothing of routes or policies.
//
//	reader ─► frames ─► header block ─► Stream.In: a request's head ─► Handler, a goroutine a stream
//	             └────► DATA ─► queue of the stream ─► Stream.Read: length, chunks or raw
//	Stream.Write: an answer's head, body ─► frames in one buffer ─► writer, while there is anything
package http2
