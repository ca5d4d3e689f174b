package http2

import (
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/dataplane/transport"
)

// TestMalformedRequests: each ends its stream and nothing else.
func TestMalformedRequests(t *testing.T) {
	for _, test := range []struct {
		name   string
		fields []string
		want   *fault
	}{
		{"upper case", append(plain[:4:4], "X-A: b"), errName},
		{"space in name", append(plain[:4:4], "x a: b"), errName},
		{"line in value", append(plain[:4:4], "x-a: b\r\nhost: c"), errValue},
		{"NUL in value", append(plain[:4:4], "x-a: b\x00"), errValue},
		{"space around value", append(plain[:4:4], "x-a:  b"), errValue},
		{"connection", append(plain[:4:4], "connection: close"), errHopField},
		{"transfer-encoding", append(plain[:4:4], "transfer-encoding: chunked"), errHopField},
		{"te", append(plain[:4:4], "te: gzip"), errTE},
		{"no path", []string{":method: GET", ":scheme: http", ":authority: a"}, errPseudoMissing},
		{"no method", []string{":path: /", ":scheme: http", ":authority: a"}, errPseudoMissing},
		{"two paths", append(plain[:4:4], ":path: /b"), errPseudoTwice},
		{"unknown pseudo", append(plain[:4:4], ":status: 200"), errPseudoUnknown},
		{"late pseudo", append(plain[:3:3], "x-a: b", ":authority: a"), errPseudoLate},
		{"line in path", []string{":method: GET", ":scheme: http", ":path: / HTTP/1.1\r\nx: y", ":authority: a"}, errPath},
		{"space in path", []string{":method: GET", ":scheme: http", ":path: /a b", ":authority: a"}, errPath},
		{"path without slash", []string{":method: GET", ":scheme: http", ":path: a", ":authority: a"}, errPath},
		{"line in method", []string{":method: GET / HTTP/1.1\r\n\r\n", ":scheme: http", ":path: /", ":authority: a"}, errMethod},
		{"scheme", []string{":method: GET", ":scheme: ht tp", ":path: /", ":authority: a"}, errScheme},
		{"line in authority", append(plain[:3:3], ":authority: a\r\nx: y"), errAuthority},
		{"other host", append(plain[:4:4], "host: b"), errHost},
		{"two hosts", append(plain[:3:3], "host: b", "host: b"), errHost},
		{"CONNECT with path", []string{":method: CONNECT", ":path: /", ":authority: a"}, errPseudoExtra},
		{"protocol without CONNECT", append(plain[:4:4], ":protocol: websocket"), errProtocol},
		{"length without body", append(plain[:4:4], "content-length: 1"), errLengthBody},
		{"two lengths", append(plain[:4:4], "content-length: 0", "content-length: 0"), errLength},
		{"signed length", append(plain[:4:4], "content-length: +0"), errLength},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := serve(t, answer(hello), nil).greet()
			r.frame(kindHeaders, flagEndStream|flagEndHeaders, 1, r.encode(test.fields...)).wantReset(1, codeProtocol)
			if _, ok := r.bad.Load(test.want.reason); !ok {
				t.Errorf("%q was not reported", test.want.reason)
			}
			r.ask(3, flagEndStream)
			r.until(kindData, 3)
		})
	}
}

// TestLengthAndDataDisagree: more or less of a body than was announced.
func TestLengthAndDataDisagree(t *testing.T) {
	for _, data := range []string{"ab", "abcd"} {
		read := make(chan error, 1)
		r := serve(t, func(s *Stream) {
			_, err := io.ReadAll(s)
			read <- err
		}, nil).greet().ask(1, 0, "content-length: 3")
		r.frame(kindData, flagEndStream, 1, data).wantReset(1, codeProtocol)
		if err := <-read; err == nil {
			t.Error("the handler saw a complete body")
		}
	}
}

// TestLongHeadIsLeftIncomplete: what comes beyond the limit is dropped, and the head cannot be
// taken for a whole one.
func TestLongHeadIsLeftIncomplete(t *testing.T) {
	head := make(chan string, 1)
	r := serve(t, func(s *Stream) {
		head <- string(s.In.Bytes())
		answer("HTTP/1.1 431 Too Large\r\nContent-Length: 0\r\n\r\n")(s)
	}, nil).greet()
	r.ask(1, flagEndStream, "x-a: "+strings.Repeat("a", 8000), "x-b: "+strings.Repeat("b", 4000), "x-c: "+strings.Repeat("c", 8000), "x-d: e")
	if got := <-head; len(got) < 16<<10 || strings.Contains(got, "x-d") || strings.HasSuffix(got, "\r\n\r\n") {
		t.Errorf("the handler saw %d bytes, at their end %q", len(got), got[len(got)-20:])
	}
	r.until(kindHeaders, 1)
	r.ask(3, flagEndStream) // the table of names is intact
	r.until(kindHeaders, 3)
}

// hpackPlain is the header block of a plain request, which changes no table.
func hpackPlain() string { return "\x82\x86\x84\x01\x01a" }

// TestFloods: whatever does no work ends the connection when there is too much of it.
func TestFloods(t *testing.T) {
	block := hpackPlain()
	for _, test := range []struct {
		name string
		next func(p []byte, i uint32) []byte
	}{
		{"rapid reset", func(p []byte, i uint32) []byte {
			p = append(appendFrame(p, len(block), kindHeaders, flagEndHeaders|flagEndStream, 2*i+3), block...)
			return appendReset(p, 2*i+3, codeCancel)
		}},
		{"ping", func(p []byte, _ uint32) []byte { return appendPing(p, 0, []byte("01234567")) }},
		{"settings", func(p []byte, _ uint32) []byte { return appendFrame(p, 0, kindSettings, 0, 0) }},
		{"empty data", func(p []byte, _ uint32) []byte { return appendFrame(p, 0, kindData, 0, 1) }},
		{"window updates", func(p []byte, _ uint32) []byte { return appendWindow(p, 1, 1) }},
		{"priority", func(p []byte, i uint32) []byte {
			return append(appendFrame(p, 5, kindPriority, 0, 2*i+3), 0, 0, 0, 1, 1)
		}},
		{"unknown", func(p []byte, _ uint32) []byte { return appendFrame(p, 0, 0xee, 0, 0) }},
		{"data on a closed stream", func(p []byte, _ uint32) []byte { return append(appendFrame(p, 1, kindData, 0, 1), 'x') }},
	} {
		t.Run(test.name, func(t *testing.T) {
			release := make(chan struct{})
			r := serve(t, func(s *Stream) { <-release }, nil).greet()
			if test.name == "data on a closed stream" {
				close(release)
			} else {
				t.Cleanup(func() { close(release) })
			}
			r.ask(1, 0)
			go func() {
				for i := uint32(0); ; {
					var p []byte
					for range 100 {
						p = test.next(p, i)
						i++
					}
					if _, err := r.Write(p); err != nil {
						return
					}
				}
			}()
			for {
				g, ok := r.next()
				if !ok {
					return // who floods on may lose what we say
				}
				if g.kind == kindGoAway {
					if code(g.payload[7]) != codeCalm && code(g.payload[7]) != codeClosed {
						t.Errorf("GOAWAY with code %d", g.payload[7])
					}
					return
				}
			}
		})
	}
}

// TestEndlessHeaderBlock: CONTINUATION frames are bounded in number and in bytes.
func TestEndlessHeaderBlock(t *testing.T) {
	for _, size := range []int{0, 1, 16 << 10} {
		r := serve(t, answer(hello), nil).greet()
		r.frame(kindHeaders, 0, 1, "")
		go func() {
			p := append(appendFrame(nil, size, kindContinuation, 0, 1), strings.Repeat("\x00", size)...)
			for range 1000 {
				if _, err := r.Write(p); err != nil {
					return
				}
			}
		}()
		for {
			g, ok := r.next()
			if !ok {
				break // who floods on may lose what we say
			}
			if g.kind == kindGoAway && code(g.payload[7]) != codeCalm {
				t.Errorf("GOAWAY with code %d", g.payload[7])
			}
		}
	}
}

// TestTooManyStreams: those beyond the limit are refused, and may be tried again.
func TestTooManyStreams(t *testing.T) {
	release := make(chan struct{})
	r := serve(t, func(s *Stream) { <-release; answer(hello)(s) }, nil).greet()
	for i := range uint32(maxStreams + 1) {
		r.ask(2*i+1, flagEndStream)
	}
	r.wantReset(2*maxStreams+1, codeRefused)
	close(release)
	r.until(kindData, 1)
}

// TestResetStreamsKeepTheirHandlers: a client cannot have more handlers at work by resetting.
func TestResetStreamsKeepTheirHandlers(t *testing.T) {
	release := make(chan struct{})
	r := serve(t, func(s *Stream) { <-release }, nil).greet()
	for i := range uint32(maxHandlers) {
		r.ask(2*i+1, flagEndStream)
		r.send(appendReset(nil, 2*i+1, codeCancel))
	}
	r.ask(2*maxHandlers+1, flagEndStream).wantReset(2*maxHandlers+1, codeRefused)
	close(release)
}

// TestClientThatDoesNotRead: nothing piles up, and the connection ends in time.
func TestClientThatDoesNotRead(t *testing.T) {
	ended := make(chan error, 1)
	r := serve(t, func(s *Stream) {
		head := "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
		err := s.Conn.Write([]byte(head), transport.Wait{})
		for p := make([]byte, 64<<10); err == nil; {
			err = s.Conn.Write(p, transport.Wait{Gap: patience})
		}
		ended <- err
	}, func(cfg *Config) { cfg.BodyTimeout = 50 * time.Millisecond })
	r.greet(setting{settingWindow, maxWindow}).send(appendWindow(nil, 0, 1<<30)).ask(1, flagEndStream)
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the handler still writes")
	}
	<-r.done
}

// TestSlowHead: a header block must come within the time for a head.
func TestSlowHead(t *testing.T) {
	r := serve(t, answer(hello), func(cfg *Config) { cfg.HeadTimeout = 50 * time.Millisecond }).greet()
	r.frame(kindHeaders, 0, 1, "\x82")
	r.wantAway(codeNo)
}

// TestNeighbours: faults of streams leave others alone.
func TestNeighbours(t *testing.T) {
	release := make(chan struct{})
	r := serve(t, func(s *Stream) { <-release; answer(hello)(s) }, nil).greet().ask(1, flagEndStream)
	r.ask(3, 0).send(appendWindow(nil, 3, maxWindow)).wantReset(3, codeFlow)
	r.ask(5, 0).frame(kindWindow, 0, 5, "\x00\x00\x00\x00").wantReset(5, codeProtocol)
	r.ask(7, flagEndStream).frame(kindData, 0, 7, "x").wantReset(7, codeClosed)
	r.ask(9, 0, "x-a: b").frame(kindHeaders, flagEndHeaders, 9, r.encode("x-t: u")).wantReset(9, codeProtocol)
	close(release)
	r.until(kindData, 1)
}

// TestAnswersThatNobodyReads: answers without a body wait for no window, and yet do not pile up for
// a client that asks and does not read.
func TestAnswersThatNobodyReads(t *testing.T) {
	var m atomic.Pointer[mux]
	waits := make(chan int, 1) // bytes of answers, after each
	ours, theirs := net.Pipe() // which has no memory
	r := serveOn(t, ours, theirs, func(s *Stream) {
		m.Store(s.m)
		_ = s.Conn.Write([]byte("HTTP/1.1 204 No Content\r\nX-A: "+strings.Repeat("b", 1000)+"\r\n\r\n"), transport.Wait{})
		s.m.mu.Lock()
		defer s.m.mu.Unlock()
		waits <- len(s.m.out)
	}, nil).greet()
	refused := func() bool {
		m := m.Load()
		if m == nil {
			return false
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.resetAt > 0
	}
	most := 0
	for id := uint32(1); most < 1<<20 && !refused(); id += 2 {
		r.ask(id, flagEndStream)
		for served := false; !served && !refused(); runtime.Gosched() {
			select {
			case n := <-waits:
				most, served = max(most, n), true
			default:
			}
		}
	}
	if most > 1100*maxUnsaid {
		t.Errorf("%d bytes of answers waited", most)
	}
}
