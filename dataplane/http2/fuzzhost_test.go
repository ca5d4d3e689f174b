package http2

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
)

// FuzzHost has a host send anything behind a good greeting: it may not panic or hang, and what
// the streams' users read is well-formed answers up to where they break.
func FuzzHost(f *testing.F) {
	frame := func(k kind, flags uint8, stream uint32, p string) string {
		return string(append(appendFrame(nil, len(p), k, flags, stream), p...))
	}
	const ok = "\x88"
	for _, seed := range []string{
		frame(kindHeaders, 5, 1, ok) + frame(kindHeaders, 5, 3, "\x8d"),
		frame(kindHeaders, 4, 1, ok) + frame(kindData, 0, 1, "body") + frame(kindHeaders, 5, 1, "\x00\x01t\x01u") + frame(kindReset, 0, 3, "\x00\x00\x00\x07"),
		frame(kindHeaders, 4, 3, "\x08\x03100") + frame(kindHeaders, 4, 3, ok+"\x0f\x0d\x014") + frame(kindData, flagEndStream|flagPadded, 3, "\x01body\x00"),
		frame(kindSettings, 0, 0, "\x00\x04\x00\x00\x00\x01\x00\x03\x00\x00\x00\x01") + frame(kindWindow, 0, 3, "\x00\x00\x00\x09"),
		frame(kindGoAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00bye") + frame(kindHeaders, 0, 1, "") + frame(kindContinuation, 4, 1, ok),
		frame(kindPing, 0, 0, "01234567") + frame(kindHeaders, 4, 5, ok) + frame(kindData, 0, 5, "tunnel"),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		h := connect(t, setting{settingConnect, 1})
		var users sync.WaitGroup
		for _, request := range []string{
			get, "POST / HTTP/1.1\nHost: a\nContent-Length: 9\n\n123456789",
			"GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n\n",
		} {
			s := h.ask(request)
			users.Go(func() {
				checkHeard(t, s)
				s.Release()
			})
		}
		_, _ = h.Write(p)
		_ = h.Conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, h)
		users.Wait()
	})
}

// checkHeard reads an answer as the engine would, and judges what it sees.
func checkHeard(t *testing.T, s *Stream) {
	limits := http1.Limits{MaxHead: 64 << 10}
	var resp http1.Response
	var b transport.Buffer
	defer b.Release()
	chunks := http1.Chunked{Answer: true}
	head, left := true, int64(0)
	for {
		if _, err := s.Conn.ReadInto(&b, transport.Wait{Gap: patience}); err != nil {
			return
		}
		for head && b.Len() > 0 {
			n, err := resp.Parse(b.Bytes(), &limits, s.method)
			if err != nil { // fields may be such as the engine refuses
				if !strings.Contains(string(b.Bytes()), "\r\n\r\n") {
					t.Errorf("%v in %q", err, b.Bytes())
				}
				return
			}
			if n == 0 {
				break
			}
			b.Consume(n)
			if head, left = resp.Status < 200 && resp.Status != 101, resp.Length; head {
				resp.Reset()
			}
		}
		switch used := b.Len(); {
		case head:
			continue
		case resp.Body == http1.BodyChunked:
			used, _, err := chunks.Scan(b.Bytes())
			if err != nil && !chunks.Trailing() { // as above
				t.Errorf("%v in %q", err, b.Bytes())
			}
			if err != nil {
				return
			}
			b.Consume(used)
		case resp.Body == http1.BodyLength:
			if left -= int64(used); left < 0 {
				t.Errorf("%d bytes too many", -left)
			}
			b.Consume(used)
		default:
			b.Consume(used)
		}
	}
}
