package http2

import (
	"testing"
	"time"

	"weir.dev/weir/dataplane/transport"
)

// BenchmarkStreams is ten plain requests at once on one connection, as h2load sends them: the
// cost of everything but the engine, with a client that only counts frames.
func BenchmarkStreams(b *testing.B) {
	text := []byte(hello)
	r := serve(b, func(s *Stream) { _ = s.Conn.Write(text, transport.Wait{}) }, nil).greet()
	r.send(appendWindow(nil, 0, maxWindow-firstWindow))
	_ = r.SetDeadline(time.Time{})
	const streams = 10
	block := hpackPlain()
	var out, in []byte
	buffer := make([]byte, 64<<10)
	b.ReportAllocs()
	b.ResetTimer()
	next := uint32(1)
	for i := 0; i < b.N; i += streams {
		out = out[:0]
		for range streams {
			out = append(appendFrame(out, len(block), kindHeaders, flagEndHeaders|flagEndStream, next), block...)
			next += 2
		}
		r.send(out)
		for ended := 0; ended < streams; {
			n, err := r.Read(buffer)
			if err != nil {
				b.Fatal(err)
			}
			in = append(in, buffer[:n]...)
			for {
				f, ok := parseFrame(in)
				if !ok || len(in) < headerSize+f.length {
					break
				}
				if f.kind == kindData {
					ended++
				}
				in = in[headerSize+f.length:]
			}
			in = append(buffer[:0:0], in...)
		}
	}
}
