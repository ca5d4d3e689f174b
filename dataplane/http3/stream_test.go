package http3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"weir.dev/weir/dataplane/transport"
)

// echo answers with the request as it was read.
func echo(s *Stream) {
	in := readAll(s)
	_ = write(s, "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n")
	if in != "" {
		_, _ = io.WriteString(s, chunkOf(in))
	}
	_ = write(s, "0\n\n")
}

func chunkOf(text string) string {
	const digits = "0123456789abcdef"
	n := len(text)
	return string([]byte{digits[n>>12&15], digits[n>>8&15], digits[n>>4&15], digits[n&15]}) + "\r\n" + text + "\r\n"
}

const front = "POST / HTTP/1.1\r\nhost: a.test\r\n"

func TestRequests(t *testing.T) {
	w := newSite(t, echo, nil)
	g := w.greet()
	for name, tt := range map[string]struct{ in, want string }{
		"no body":        {ask("GET"), "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"},
		"empty body":     {ask("POST"), front + "\r\n"},
		"length":         {ask("POST", "content-length: 5") + framed(kindData, "hel") + framed(kindData, "lo"), front + "content-length: 5\r\n\r\nhello"},
		"chunks":         {ask("POST") + framed(kindData, "hello"), front + "Transfer-Encoding: chunked\r\n\r\n0005\r\nhello\r\n0\r\n\r\n"},
		"trailers":       {ask("POST") + framed(kindData, "hello") + section("x-sum: 1"), front + "Transfer-Encoding: chunked\r\n\r\n0005\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"},
		"no data":        {ask("POST") + section("x-sum: 1"), front + "Transfer-Encoding: chunked\r\n\r\n0\r\nx-sum: 1\r\n\r\n"},
		"left out":       {ask("POST", "content-length: 1") + framed(kindData, "h") + section("x-sum: 1"), front + "content-length: 1\r\n\r\nh"},
		"unknown frames": {framed(0x21, "?") + ask("POST") + framed(0x21, "") + framed(kindData, "a") + framed(0x1f*100+0x21, strings.Repeat("x", 9000)) + framed(kindData, "b"), front + "Transfer-Encoding: chunked\r\n\r\n0001\r\na\r\n0001\r\nb\r\n0\r\n\r\n"},
		"cookies":        {ask("POST", "cookie: a=1", "cookie: b=2"), front + "cookie: a=1; b=2\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := got(g.open(tt.in, true))
			if want := ":status=200|" + tt.want + "|"; err != nil || answer != want {
				t.Errorf("got %q, %v\nwant %q", answer, err, want)
			}
		})
	}
	// The same, one byte after the other.
	s := g.open("", false)
	for _, b := range []byte(ask("POST") + framed(kindData, "hello") + section("x-sum: 1")) {
		if _, err := s.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	if answer, err := got(s); err != nil || !strings.HasSuffix(answer, "0\r\nx-sum: 1\r\n\r\n|") {
		t.Errorf("got %q, %v", answer, err)
	}
}

func TestAnswers(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 5000)
	for name, tt := range map[string]struct {
		method string
		out    []string
		want   string
	}{
		"no body":       {"GET", []string{"HTTP/1.1 204 No Content\nX-A: 1\n\n"}, ":status=204 x-a=1|"},
		"length":        {"GET", []string{"HTTP/1.1 200 OK\nContent-Length: 5\n\nhel", "lo"}, ":status=200 content-length=5|hello|"},
		"length 0":      {"GET", []string{"HTTP/1.1 418 \nContent-Length: 0\n\n"}, ":status=418 content-length=0|"},
		"long":          {"GET", []string{"HTTP/1.1 200 OK\nContent-Length: 80000\n\n", long}, ":status=200 content-length=80000|" + long + "|"},
		"chunks":        {"GET", []string{"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n", "1\n!\n0\n\n"}, ":status=200|hello|!|"},
		"trailers":      {"GET", []string{"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n1\n!\n0\n", "X-Sum: 1\nX-Two:  2 \n\n"}, ":status=200|!|x-sum=1 x-two=2|"},
		"split lines":   {"GET", []string{"HTTP/1.1 200 OK\nTransfer-", "Encoding: chunked\n\n", "5", "\nhel", "lo", "\n", "0", "\n", "X-Sum:", " 1\n", "\n"}, ":status=200|hel|lo|x-sum=1|"},
		"interim":       {"GET", []string{"HTTP/1.1 103 Early Hints\nLink: </a>\n\n", "HTTP/1.1 200 OK\nContent-Length: 1\n\na"}, ":status=103 link=</a>|:status=200 content-length=1|a|"},
		"HEAD":          {"HEAD", []string{"HTTP/1.1 200 OK\nContent-Length: 5\n\n"}, ":status=200 content-length=5|"},
		"hop by hop":    {"GET", []string{"HTTP/1.1 200 OK\nConnection: close, X-Hop\nX-Hop: 1\nKeep-Alive: 1\nContent-Length: 0\n\n"}, ":status=200 content-length=0|"},
		"folded names":  {"GET", []string{"HTTP/1.1 200 OK\nSET-COOKIE: A=B\nX-Very-Long-Name-That-Has-No-Place-In-Memory: 1\nContent-Length: 0\n\n"}, ":status=200 set-cookie=A=B x-very-long-name-that-has-no-place-in-memory=1 content-length=0|"},
		"long fragment": {"GET", []string{"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n13880\n" + long + "\n0\n\n"}, ":status=200|" + long + "|"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSite(t, func(s *Stream) {
				for _, out := range tt.out {
					if err := write(s, out); err != nil {
						t.Error(err)
					}
				}
			}, nil)
			if answer, err := got(w.greet().open(ask(tt.method), true)); err != nil || answer != tt.want {
				t.Errorf("got %.300q, %v", answer, err)
			}
		})
	}
}

// TestWritesGoOn: a write that ran into its deadline goes on where it was, whatever the piece.
func TestWritesGoOn(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 40_000)
	for name, out := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 640000\r\n\r\n" + body,
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9c400\r\n" + body + "\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
		"small":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("3e8\r\n"+body[:1000]+"\r\n", 640) + "0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			stuck := make(chan struct{})
			w := newSite(t, func(s *Stream) {
				for p, late := []byte(out), 0; ; {
					_ = s.SetWriteDeadline(time.Now().Add(time.Millisecond))
					n, err := s.Write(p)
					p = p[n:]
					switch {
					case err == nil && len(p) == 0:
						return
					case isTimeout(err):
						if late++; late == 5 {
							close(stuck)
						}
					default:
						t.Errorf("%d left: %v", len(p), err)
						return
					}
				}
			}, nil)
			s := w.greet().open(ask("GET"), true)
			<-stuck // the client's window is full
			var all bytes.Buffer
			if _, err := io.Copy(&all, s); err != nil {
				t.Fatal(err)
			}
			answer, err := got(&all)
			if err != nil {
				t.Fatal(err)
			}
			head, rest, _ := strings.Cut(answer, "|")
			rest = strings.TrimSuffix(strings.ReplaceAll(rest, "|", ""), "x-sum=1")
			if want := map[string]string{"length": body, "chunks": body + "hello", "small": strings.Repeat(body[:1000], 640)}[name]; rest != want || !strings.HasPrefix(head, ":status=200") {
				t.Errorf("%s: %d bytes of %d", head, len(rest), len(want))
			}
		})
	}
}

func isTimeout(err error) bool {
	var late interface{ Timeout() bool }
	return errors.As(err, &late) && late.Timeout()
}

// TestUnfinishedAnswers: what the handler leaves open is reset, so that nobody takes it for whole.
func TestUnfinishedAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		out  string
		end  bool // of the request
		want code
	}{
		"nothing":      {"", true, codeInternal},
		"half a body":  {"HTTP/1.1 200 OK\nContent-Length: 5\n\nhe", true, codeInternal},
		"half a chunk": {"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhe", true, codeInternal},
		"half a head":  {"HTTP/1.1 200 OK\nContent-", true, codeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSite(t, func(s *Stream) { _ = write(s, tt.out) }, nil)
			_, err := got(w.greet().open(ask("POST"), tt.end))
			var reset *quic.StreamError
			if !errors.As(err, &reset) || code(reset.ErrorCode) != tt.want {
				t.Errorf("got %v, want %#x", err, tt.want)
			}
		})
	}
}

// TestEndBehindHead: a request whose end comes a little later has no body all the same, and its
// stream makes room for another one.
func TestEndBehindHead(t *testing.T) {
	w := newSite(t, echo, nil)
	g := w.greet()
	whole := 0
	for range 2 * maxStreams {
		s := g.open(ask("GET"), false)
		if _, err := got(g.open(ask("GET"), true)); err != nil { // so long it takes that the head has come
			t.Fatal(err)
		}
		s.Close()
		answer, err := got(s)
		if err != nil {
			t.Fatal(err)
		}
		if answer == ":status=200|GET / HTTP/1.1\r\nhost: a.test\r\n\r\n|" {
			whole++ // the rest has an empty body in chunks: the end was too late
		}
	}
	if whole < 10 {
		t.Errorf("of %d requests %d were known to be whole", 2*maxStreams, whole)
	}
}

// TestEarlyAnswer: a request that nobody reads is stopped, and its answer whole.
func TestEarlyAnswer(t *testing.T) {
	w := newSite(t, func(s *Stream) { _ = write(s, "HTTP/1.1 413 \nContent-Length: 0\n\n") }, nil)
	s := w.greet().open(ask("POST"), false)
	if answer, err := got(s); err != nil || answer != ":status=413 content-length=0|" {
		t.Errorf("got %q, %v", answer, err)
	}
	select {
	case <-s.Context().Done():
	case <-time.After(patience):
		t.Fatal("the client may go on sending")
	}
	var reset *quic.StreamError
	if err := context.Cause(s.Context()); !errors.As(err, &reset) || code(reset.ErrorCode) != codeNo {
		t.Errorf("stopped with %v", err)
	}
}

// TestWebSocket: an extended CONNECT becomes an upgrade, and bytes go both ways.
func TestWebSocket(t *testing.T) {
	heads := make(chan string, 1)
	w := newSite(t, func(s *Stream) {
		heads <- string(s.In.Bytes())
		_ = write(s, "HTTP/1.1 101 Switching Protocols\nConnection: upgrade\nUpgrade: websocket\nSec-WebSocket-Accept: x\nX-A: 1\n\n")
		var b transport.Buffer
		defer b.Release()
		for {
			if _, err := s.Conn.ReadInto(&b, transport.Wait{Gap: patience}); err != nil {
				_ = s.Conn.CloseWrite()
				return
			}
			_ = s.Conn.Write(b.Bytes(), transport.Wait{Gap: patience})
			b.Consume(b.Len())
		}
	}, nil)
	s := w.greet().open(section(":method: CONNECT", ":protocol: websocket", ":scheme: https", ":path: /chat", ":authority: a.test", "sec-websocket-version: 13")+framed(kindData, "hello"), false)
	head := <-heads
	for _, want := range []string{"GET /chat HTTP/1.1\r\n", "Upgrade: websocket\r\n", "Connection: upgrade\r\n", "Sec-WebSocket-Key: ", "sec-websocket-version: 13\r\n"} {
		if !strings.Contains(head, want) {
			t.Errorf("no %q in %q", want, head)
		}
	}
	_, _ = io.WriteString(s, framed(kindData, "again"))
	s.Close()
	answer, err := got(s)
	if err != nil || !strings.HasPrefix(answer, ":status=200 x-a=1|") || strings.ReplaceAll(answer[len(":status=200 x-a=1|"):], "|", "") != "helloagain" {
		t.Errorf("got %q, %v", answer, err)
	}
}
