package http3

import (
	"io"
	"testing"

	"weir.dev/weir/dataplane/transport"
)

// BenchmarkStreams is plain requests, one after the other on one connection: the cost of
// everything but the engine, QUIC's of both sides included.
func BenchmarkStreams(b *testing.B) {
	text := []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	w := newSite(b, func(s *Stream) { _ = s.Conn.Write(text, transport.Wait{}) }, nil)
	g := w.greet()
	in := ask("GET")
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		s := g.open(in, true)
		if _, err := io.Copy(io.Discard, s); err != nil {
			b.Fatal(err)
		}
	}
}
