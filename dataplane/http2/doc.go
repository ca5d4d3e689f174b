// Package http2 speaks HTTP/2 (RFC 9113, RFC 7541, RFC 8441) with clients and with hosts.
// Either way a stream is a connection of HTTP/1.1 to whoever uses it: of a client's stream the
// equivalent request is read, and the answer written to it goes out as frames; to a stream of
// a Client the request is written, and the answer read. So the request engine needs to know
// one protocol only. The package multiplexes, keeps windows and bounds what the other side
// may cost; it knows nothing of routes, policies or pools.
//
//	reader ─► frames ─► header block ─┬► Stream.In: a request's head ─► Handler, a goroutine a stream
//	             │                    └► Stream.Read: an answer's head
//	             └────► DATA ─► queue of the stream ─► Stream.Read: length, chunks or raw; what of a request
//	                            has come before its Handler begins is in Stream.In, behind the head
//	Stream.Write: a head, a body ─► frames in one buffer ─► writer, while there is anything
package http2
