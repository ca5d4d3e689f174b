package http2

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/dataplane/transport"
)

func TestPlainRequest(t *testing.T) {
	head := make(chan string, 1)
	r := serve(t, func(s *Stream) {
		head <- string(s.In.Bytes())
		answer(hello)(s)
	}, nil).greet()
	r.ask(1, flagEndStream, "x-b: c", "cookie: a=1", "cookie: b=2")
	if g := r.until(kindHeaders, 1); g.fields != ":status=200 x-a=b content-length=5" || g.has(flagEndStream) {
		t.Errorf("head %q %x", g.fields, g.flags)
	}
	if g := r.until(kindData, 1); string(g.payload) != "hello" || !g.has(flagEndStream) {
		t.Errorf("body %q %x", g.payload, g.flags)
	}
	if got, want := <-head, "GET / HTTP/1.1\r\nhost: a\r\nx-b: c\r\ncookie: a=1; b=2\r\n\r\n"; got != want {
		t.Errorf("the handler saw %q, want %q", got, want)
	}
}

// TestRequestBodies: what a handler reads is a body of HTTP/1.1.
func TestRequestBodies(t *testing.T) {
	for _, test := range []struct {
		name   string
		fields []string
		frames func(r *rig)
		want   string
	}{
		{"length", []string{"content-length: 6"}, func(r *rig) {
			r.frame(kindData, 0, 1, "abc").frame(kindData, flagEndStream, 1, "def")
		}, "abcdef"},
		{"padded", []string{"content-length: 3"}, func(r *rig) {
			r.frame(kindData, flagEndStream|flagPadded, 1, "\x02abc\x00\x00")
		}, "abc"},
		{"chunks", nil, func(r *rig) { r.frame(kindData, flagEndStream, 1, "abc") }, "0003\r\nabc\r\n0\r\n\r\n"},
		{"empty end", nil, func(r *rig) { r.frame(kindData, flagEndStream, 1, "") }, "0\r\n\r\n"},
		{"trailers", nil, func(r *rig) {
			r.frame(kindData, 0, 1, "abc").frame(kindHeaders, flagEndStream|flagEndHeaders, 1, r.encode("x-t: u", "x-v: w"))
		}, "0003\r\nabc\r\n0\r\nx-t: u\r\nx-v: w\r\n\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := make(chan string, 1)
			r := serve(t, func(s *Stream) {
				_, front, _ := strings.Cut(string(s.In.Bytes()), "\r\n\r\n")
				got, err := io.ReadAll(s)
				body <- fmt.Sprintf("%s%s%v", front, got, err)
				answer(hello)(s)
			}, nil).greet()
			r.ask(1, 0, test.fields...)
			test.frames(r)
			if got := strings.ReplaceAll(<-body, "<nil>", ""); got != test.want {
				t.Errorf("read %q, want %q", got, test.want)
			}
			r.until(kindData, 1)
		})
	}
}

// TestGathered: what has come of a body is behind the head, and the rest is read as ever.
func TestGathered(t *testing.T) {
	for _, test := range []struct {
		name, field, come, end, front, rest string
	}{
		{"nothing", "", "", "abc", "", "0003\r\nabc\r\n0\r\n\r\n"},
		{"a part", "", "abc", "de", "0003\r\nabc\r\n", "0002\r\nde\r\n0\r\n\r\n"},
		{"a part of a length", "content-length: 5", "abc", "de", "abc", "de"},
	} {
		t.Run(test.name, func(t *testing.T) {
			come, got := make(chan struct{}), make(chan string, 2)
			r := serve(t, func(s *Stream) {
				got <- ""
				<-come
				s.gather()
				_, front, _ := strings.Cut(string(s.In.Bytes()), "\r\n\r\n")
				got <- front
				rest, _ := io.ReadAll(s)
				got <- string(rest)
				answer(hello)(s)
			}, nil).greet()
			fields := []string{test.field}
			if test.field == "" {
				fields = nil
			}
			r.ask(1, 0, fields...)
			<-got // else the stream might gather by itself
			if test.come != "" {
				r.frame(kindData, 0, 1, test.come)
			}
			r.frame(kindPing, 0, 0, "12345678").until(kindPing, 0)
			close(come)
			if front := <-got; front != test.front {
				t.Errorf("behind the head is %q, want %q", front, test.front)
			}
			r.frame(kindData, flagEndStream, 1, test.end)
			if rest := <-got; rest != test.rest {
				t.Errorf("then comes %q, want %q", rest, test.rest)
			}
		})
	}
}

// TestSmallReads reads chunks through a buffer that cannot hold one.
func TestSmallReads(t *testing.T) {
	begun, body := make(chan struct{}), make(chan string, 1)
	r := serve(t, func(s *Stream) {
		close(begun)
		var all []byte
		var one [1]byte
		for {
			n, err := s.Read(one[:])
			if all = append(all, one[:n]...); err != nil {
				break
			}
		}
		body <- string(all)
		answer(hello)(s)
	}, nil).greet().ask(1, 0)
	<-begun // else what comes would be behind the head
	r.frame(kindData, 0, 1, strings.Repeat("x", 70)).frame(kindData, flagEndStream, 1, "")
	got := <-body
	for _, framing := range []string{"0038\r\n", "000e\r\n", "\r\n0\r\n\r\n"} {
		if !strings.Contains(got, framing) {
			t.Errorf("%q is missing in %q", framing, got)
		}
	}
	if n := strings.Count(got, "x"); n != 70 {
		t.Errorf("%d bytes, want 70", n)
	}
}

// TestAnswers: what a handler writes, whatever its pieces, leaves as the same frames.
func TestAnswers(t *testing.T) {
	const early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
	for _, test := range []struct{ name, answer, want string }{
		{"length", hello, "200:hello;"},
		{"none", "HTTP/1.1 204 No Content\r\n\r\n", "204;"},
		{"interim", early + hello, "103:200:hello;"},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "200:abcde;"},
		{"no chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200:;"},
		{"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: u\r\n\r\n", "200:abc x-t=u;"},
	} {
		for _, piece := range []int{1, 7, len(test.answer)} {
			t.Run(fmt.Sprint(test.name, " by ", piece), func(t *testing.T) {
				r := serve(t, func(s *Stream) {
					for p := []byte(test.answer); len(p) > 0; {
						n := min(piece, len(p))
						if err := s.Conn.Write(p[:n], transport.Wait{}); err != nil {
							t.Error(err)
							return
						}
						p = p[n:]
					}
				}, nil).greet().ask(1, flagEndStream)
				if got := r.summary(1); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		}
	}
}

// summary reads one answer: its statuses, body, trailers, and a semicolon where it ends.
func (r *rig) summary(stream uint32) string {
	r.t.Helper()
	var out strings.Builder
	for {
		g, ok := r.next()
		if !ok {
			return out.String() + "!"
		}
		if g.stream != stream {
			continue
		}
		switch g.kind {
		case kindHeaders:
			if status, ok := strings.CutPrefix(g.fields, ":status="); ok {
				out.WriteString(status[:3])
				if !g.has(flagEndStream) {
					out.WriteString(":")
				}
			} else {
				out.WriteString(" " + g.fields)
			}
		case kindData:
			out.Write(g.payload)
		case kindReset:
			return out.String() + "reset"
		}
		if g.has(flagEndStream) {
			return out.String() + ";"
		}
	}
}

func TestLongHeadsAreContinued(t *testing.T) {
	long := strings.Repeat("v", 40_000)
	r := serve(t, answer("HTTP/1.1 200 OK\r\nX-Long: "+long+"\r\nContent-Length: 0\r\n\r\n"), nil).greet().ask(1, flagEndStream)
	var block []byte
	for k := kindHeaders; ; k = kindContinuation {
		for {
			var h [headerSize]byte
			if _, err := io.ReadFull(r, h[:]); err != nil {
				t.Fatal(err)
			}
			f, _ := parseFrame(h[:])
			p := make([]byte, f.length)
			if _, err := io.ReadFull(r, p); err != nil {
				t.Fatal(err)
			}
			if f.stream != 1 {
				continue
			}
			if f.kind != k || f.has(flagEndStream) != (k == kindHeaders) {
				t.Fatalf("frame %+v", f)
			}
			block = append(block, p...)
			if !f.has(flagEndHeaders) {
				break
			}
			fields, err := r.decoder.DecodeFull(block)
			if err != nil || len(fields) != 3 || fields[1].Value != long {
				t.Errorf("%d fields, %v", len(fields), err)
			}
			return
		}
	}
}

// TestWindows: an answer never exceeds what the client allows, and goes on when it allows more.
func TestWindows(t *testing.T) {
	r := serve(t, answer(hello), nil).greet(setting{settingWindow, 1}).ask(1, flagEndStream)
	want := func(body string) {
		t.Helper()
		if g := r.until(kindData, 1); string(g.payload) != body {
			t.Fatalf("got %q, want %q", g.payload, body)
		}
	}
	want("h")
	r.send(appendWindow(nil, 1, 2))
	want("el")
	r.send(appendSetting(appendFrame(nil, settingSize, kindSettings, 0, 0), settingWindow, 3))
	want("lo")
}

// TestConnectionWindow: streams that wait for the connection's window share it in turns.
func TestConnectionWindow(t *testing.T) {
	const size = 200_000
	body := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
	const streams = 4
	connection := make(chan *mux, streams)
	r := serve(t, func(s *Stream) {
		connection <- s.m
		answer(body)(s)
	}, nil).greet(setting{settingWindow, maxWindow})
	for i := range uint32(streams) {
		r.ask(2*i+1, flagEndStream)
	}
	m := <-connection
	waiting := func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.waiting)
	}
	for waiting() < streams { // until the first window has been used up, and all want more
		runtime.Gosched()
	}
	left, ended, window := map[uint32]int{}, 0, firstWindow
	for ended < streams {
		g, ok := r.next()
		if !ok {
			t.Fatal("ended")
		}
		if g.kind != kindData {
			continue
		}
		if window -= g.length; window < 0 {
			t.Fatal("more than the connection's window")
		}
		left[g.stream] += g.length
		if g.has(flagEndStream) {
			ended++
			if left[g.stream] != size {
				t.Errorf("stream %d: %d bytes", g.stream, left[g.stream])
			}
			if ended == 1 && len(left) < streams {
				t.Error("one stream came before all others had a turn")
			}
		}
		if window < maxFrame {
			r.send(appendWindow(nil, 0, firstWindow))
			window += firstWindow
		}
	}
}

// TestReceiveWindows: bodies larger than any window pass, because what is read is given back.
func TestReceiveWindows(t *testing.T) {
	r := serve(t, answer(hello), nil).greet().ask(1, 0)
	conn, stream := connWindow, streamWindow
	for sent := 0; sent < 3*connWindow; {
		n := min(maxFrame, conn, stream)
		if n == 0 {
			g := r.any(kindWindow)
			add := int(g.payload[1])<<16 | int(g.payload[2])<<8 | int(g.payload[3])
			if g.stream == 0 {
				conn += add
			} else {
				stream += add
			}
			if conn > connWindow+firstWindow || stream > grownWindow+streamWindow {
				t.Fatalf("windows of %d and %d bytes", conn, stream)
			}
			continue
		}
		r.frame(kindData, 0, 1, strings.Repeat("x", n))
		sent += n
		conn -= n
		stream -= n
	}
	r.frame(kindData, flagEndStream, 1, "")
	r.until(kindData, 1)
}

// any reads up to a frame of a kind on any stream, but the first update of the connection's.
func (r *rig) any(k kind) got {
	r.t.Helper()
	for {
		g, ok := r.next()
		if !ok {
			r.t.Fatal("the connection ended")
		}
		first := g.stream == 0 && string(g.payload) == string(appendWindow(nil, 0, connWindow-firstWindow)[headerSize:])
		if g.kind == k && !first {
			return g
		}
	}
}

// TestEarlyAnswer: a request that is not read to its end is given up without an error.
func TestEarlyAnswer(t *testing.T) {
	r := serve(t, func(s *Stream) { _ = s.Conn.Write([]byte(hello), transport.Wait{}) }, nil).greet().ask(1, 0)
	r.until(kindData, 1)
	r.wantReset(1, codeNo)
	r.frame(kindData, 0, 1, "late").ask(3, flagEndStream) // what was on its way disturbs nobody
	r.until(kindData, 3)
}

func TestBrokenAnswers(t *testing.T) {
	r := serve(t, func(s *Stream) {
		_ = s.Conn.Write([]byte(hello[:len(hello)-1]), transport.Wait{})
		s.Conn.Abort()
	}, nil).greet().ask(1, flagEndStream)
	r.wantReset(1, codeInternal)
	r.ask(3, flagEndStream).wantReset(3, codeInternal)
}

// TestResetWakesTheHandler: reads, writes and looks at the peer see it at once.
func TestResetWakesTheHandler(t *testing.T) {
	for _, writing := range []bool{false, true} {
		ended := make(chan error, 1)
		r := serve(t, func(s *Stream) {
			var err error
			if writing {
				err = s.Conn.Write([]byte(hello), transport.Wait{Gap: time.Hour})
			} else {
				_, err = s.Read(make([]byte, 100))
			}
			if s.Conn.Peer() != transport.PeerReset {
				t.Error("the peer is not seen as reset")
			}
			ended <- err
		}, nil).greet(setting{settingWindow, 0})
		r.ask(1, 0).frame(kindReset, 0, 1, "\x00\x00\x00\x08")
		select {
		case err := <-ended:
			if err == nil {
				t.Error("no error")
			}
		case <-time.After(patience):
			t.Fatal("the handler still waits")
		}
	}
}

func TestDeadlines(t *testing.T) {
	ended := make(chan error, 2)
	r := serve(t, func(s *Stream) {
		_, err := s.Conn.ReadInto(new(transport.Buffer), transport.Wait{By: transport.Now() + 1e6})
		ended <- err
		ended <- s.Conn.Write([]byte(hello), transport.Wait{Gap: time.Millisecond})
	}, nil).greet(setting{settingWindow, 2}).ask(1, 0)
	for range 2 {
		if err := <-ended; !errors.Is(err, transport.ErrTimeout) {
			t.Errorf("got %v", err)
		}
	}
	r.wantReset(1, codeInternal)
}

// TestDrain: GOAWAY of everything, then of what has come, then the end.
func TestDrain(t *testing.T) {
	release := make(chan struct{})
	r := serve(t, func(s *Stream) { <-release; answer(hello)(s) }, nil).greet().ask(1, flagEndStream)
	r.frame(kindPing, 0, 0, "01234567").until(kindPing, 0)
	r.stop.Store(true)
	r.server.Wake()
	if g := r.until(kindGoAway, 0); string(g.payload) != "\x7f\xff\xff\xff\x00\x00\x00\x00" {
		t.Fatalf("first GOAWAY %x", g.payload)
	}
	ping := r.until(kindPing, 0)
	r.ask(3, flagEndStream) // on its way before the client knew
	r.frame(kindPing, flagAck, 0, string(ping.payload))
	if g := r.until(kindGoAway, 0); g.payload[3] != 3 || g.payload[7] != 0 {
		t.Fatalf("second GOAWAY %x", g.payload)
	}
	r.ask(5, flagEndStream).wantReset(5, codeRefused)
	close(release)
	r.until(kindData, 1)
	r.wantAway(codeNo)
}

func TestIdleConnectionEnds(t *testing.T) {
	r := serve(t, answer(hello), func(cfg *Config) { cfg.KeepAlive = 20 * time.Millisecond }).greet().ask(1, flagEndStream)
	r.until(kindData, 1)
	r.wantAway(codeNo)
}

// TestResetWhileWaiting: a stream that is reset while it waits for the connection's window
// does not keep its turn from the others.
func TestResetWhileWaiting(t *testing.T) {
	body := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", firstWindow, strings.Repeat("x", firstWindow))
	ended := make(chan bool, 4)
	r := serve(t, func(s *Stream) {
		answer(body)(s)
		ended <- true
	}, nil).greet(setting{settingWindow, maxWindow}).ask(1, flagEndStream)
	for left := firstWindow; left > 0; {
		left -= r.until(kindData, 1).length
	}
	for i := range uint32(3) {
		r.ask(2*i+3, flagEndStream).until(kindHeaders, 2*i+3)
	}
	r.send(appendReset(nil, 3, codeCancel)).send(appendReset(nil, 5, codeCancel))
	for range 3 { // 1, 3 and 5
		<-ended
	}
	r.send(appendWindow(nil, 0, firstWindow))
	for g := (got{}); !g.has(flagEndStream); {
		g = r.until(kindData, 7)
	}
}
