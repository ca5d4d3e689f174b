package http2

import (
	"encoding/binary"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"weir.dev/weir/dataplane/transport"
)

// TestLimitsOfAPolicy: what a policy says is what a client is told, and what holds.
func TestLimitsOfAPolicy(t *testing.T) {
	limits := Limits{Streams: 3, Window: 16 << 10, Resets: 20}
	release := make(chan struct{})
	r := serve(t, func(s *Stream) {
		<-release
		_ = s.Conn.Write([]byte(hello), transport.Wait{Gap: patience})
	}, func(cfg *Config) { cfg.Limits = limits }).greet()
	told := map[uint16]uint32{}
	for p := r.until(kindSettings, 0).payload; len(p) > 0; p = p[settingSize:] {
		told[binary.BigEndian.Uint16(p)] = binary.BigEndian.Uint32(p[2:])
	}
	if told[settingStreams] != 3 || told[settingWindow] != 16<<10 {
		t.Errorf("SETTINGS say %v", told)
	}
	if grow := binary.BigEndian.Uint32(r.until(kindWindow, 0).payload); grow != 16*16<<10-firstWindow {
		t.Errorf("the connection's window grows by %d", grow)
	}
	for id := uint32(1); id <= 5; id += 2 {
		r.ask(id, 0)
	}
	r.ask(7, flagEndStream).wantReset(7, codeRefused)
	// No byte beyond the window is taken.
	for range 2 {
		r.frame(kindData, 0, 1, strings.Repeat("x", 8<<10))
	}
	r.frame(kindData, 0, 1, "x").wantReset(1, codeFlow)
	close(release)
	r.until(kindHeaders, 3)
	// Of streams that are opened and given up there may be a few.
	block := hpackPlain()
	for id := uint32(9); id < 9+2*100; id += 2 {
		p := append(appendFrame(nil, len(block), kindHeaders, flagEndHeaders, id), block...)
		if _, err := r.Write(appendReset(p, id, codeCancel)); err != nil {
			return // who goes on may lose what we say
		}
	}
	for {
		g, ok := r.next()
		if !ok {
			return
		}
		if g.kind == kindGoAway {
			if code(g.payload[7]) != codeCalm {
				t.Errorf("GOAWAY with code %d", g.payload[7])
			}
			return
		}
	}
}

// TestCrowd: while memory is short, a connection has few streams at once, and can try others again.
func TestCrowd(t *testing.T) {
	var crowded atomic.Bool
	release := make(chan struct{})
	r := serve(t, func(s *Stream) { <-release; answer(hello)(s) }, func(cfg *Config) { cfg.Room = NewRoom(0, crowded.Load, nil) }).greet()
	crowded.Store(true)
	for i := range uint32(fewStreams) {
		r.ask(2*i+1, flagEndStream)
	}
	r.ask(2*fewStreams+1, flagEndStream).wantReset(2*fewStreams+1, codeRefused)
	crowded.Store(false)
	r.ask(2*fewStreams+3, flagEndStream)
	close(release)
	r.until(kindData, 2*fewStreams+3)
}

// TestStandingStill: while memory is short, a stream whose client gives no window is ended for that,
// and its neighbour that does is served.
func TestStandingStill(t *testing.T) {
	var patient atomic.Int64
	ended := make(chan error, 1)
	r := serve(t, func(s *Stream) {
		if s.id == 3 {
			answer(hello)(s)
			return
		}
		head := "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
		err := s.Conn.Write([]byte(head+strings.Repeat("x", 1000)), transport.Wait{Gap: patience, Patience: &patient})
		ended <- err
		s.Calm()
		s.Conn.Abort()
	}, nil)
	r.greet(setting{settingWindow, 100}).ask(1, flagEndStream)
	r.until(kindData, 1)
	patient.Store(1)
	r.wantReset(1, codeCalm)
	if err := <-ended; !errors.Is(err, transport.ErrPressed) {
		t.Errorf("the write ended with %v", err)
	}
	r.ask(3, flagEndStream).until(kindData, 3)
}

// TestConnectionStandingStill: a client that reads nothing at all loses its connection.
func TestConnectionStandingStill(t *testing.T) {
	var patient atomic.Int64
	patient.Store(1)
	ended := make(chan error, 1)
	r := serve(t, func(s *Stream) {
		err := s.Conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"), transport.Wait{})
		for p := make([]byte, 64<<10); err == nil; {
			err = s.Conn.Write(p, transport.Wait{Gap: patience})
		}
		ended <- err
	}, func(cfg *Config) { cfg.Patience = &patient })
	r.greet(setting{settingWindow, maxWindow}).send(appendWindow(nil, 0, 1<<30)).ask(1, flagEndStream)
	if err := <-ended; !errors.Is(err, transport.ErrPressed) {
		t.Errorf("the write ended with %v", err)
	}
	<-r.done
}
