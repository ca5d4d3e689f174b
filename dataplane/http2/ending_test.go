package http2

import (
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"weir.dev/weir/dataplane/transport"
)

// TestAnswersOutliveTheConnection: a host may answer and close at once; what has come whole
// before anybody has read it is not lost.
func TestAnswersOutliveTheConnection(t *testing.T) {
	for name, bye := range map[string]func(h *host){
		"closed":         func(h *host) {},
		"after good-bye": func(h *host) { h.frame(kindGoAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00") },
		"by its fault":   func(h *host) { h.frame(kindPush, 0, 1, "????") },
	} {
		t.Run(name, func(t *testing.T) {
			h := connect(t)
			s := h.ask(get)
			h.until(kindHeaders, 1)
			h.head(1, 0, ":status: 200").frame(kindData, 0, 1, "hi").head(1, flagEndStream, "x-t: u")
			bye(h)
			_ = h.Close()
			<-h.client.Over()
			h.hears(s, ok200+"Transfer-Encoding: chunked\r\n\r\n0002\r\nhi\r\n0\r\nx-t: u\r\n\r\n")
			if n, err := s.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("behind the answer: %d, %v", n, err)
			}
			s.Release()
		})
	}
}

// TestLastStreamDoesNotGrow: no GOAWAY names a higher stream than one before (RFC 9113 section 6.8).
func TestLastStreamDoesNotGrow(t *testing.T) {
	leave := make(chan struct{})
	r := serve(t, func(s *Stream) {
		<-leave
		_ = s.Conn.Write([]byte(hello), transport.Wait{})
	}, nil).greet()
	r.ask(1, flagEndStream)
	r.until(kindSettings, 0)
	r.stop.Store(true)
	r.server.Wake()
	ping := r.until(kindPing, 0)
	r.frame(kindPing, flagAck, 0, string(ping.payload))
	last := func() uint32 { return binary.BigEndian.Uint32(r.until(kindGoAway, 0).payload) }
	if got := last(); got != 1 {
		t.Fatalf("last stream %d, want 1", got)
	}
	r.ask(3, flagEndStream)
	r.wantReset(3, codeRefused)
	close(leave)
	if got := last(); got != 1 {
		t.Errorf("last stream %d, and 1 before", got)
	}
}
