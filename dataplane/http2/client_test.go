package http2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
)

// host is a rig whose raw side is the host's.
type host struct {
	*rig
	client *Client
	freed  chan struct{}
}

// connect starts a Client and answers its greeting.
func connect(t testing.TB, settings ...setting) *host {
	t.Helper()
	ours, theirs := loopback(t)
	h := &host{rig: newPeer(t, theirs), freed: make(chan struct{}, 1)}
	ready := make(chan error, 1)
	go func() {
		var err error
		h.client, err = new(Dialer).Connect(t.Context(), transport.New(ours), h.config(t))
		ready <- err
	}()
	h.greeting().settle(settings...)
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		theirs.Close()
		select {
		case <-h.done:
		case <-time.After(patience):
			t.Error("the connection does not end")
		}
	})
	return h
}

// newPeer is the raw end of a connection.
func newPeer(t testing.TB, c net.Conn) *rig {
	r := &rig{t: t, Conn: c, done: make(chan struct{})}
	_ = c.SetDeadline(time.Now().Add(patience))
	r.encoder = hpack.NewEncoder(&r.block)
	r.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) { r.fields = append(r.fields, f) })
	return r
}

func (h *host) config(t testing.TB) ClientConfig {
	return ClientConfig{
		Ended:    func() { close(h.done) },
		Freed:    func() { signal(h.freed) },
		Panicked: func(fault any) { t.Errorf("panic: %v", fault) },
		MaxHead:  16 << 10,
	}
}

// greeting reads the client's preface.
func (h *host) greeting() *host {
	h.t.Helper()
	got := make([]byte, len(Preface))
	if _, err := io.ReadFull(h, got); err != nil || string(got) != Preface {
		h.t.Fatalf("preface %q, %v", got, err)
	}
	g := h.until(kindSettings, 0)
	for p := g.payload; len(p) > 0; p = p[settingSize:] {
		if v, wrong := settingAt(p); wrong != nil || v.id == settingPush && v.value != 0 {
			h.t.Errorf("setting %v, %v", v, wrong)
		}
	}
	return h
}

// settle sends SETTINGS.
func (h *host) settle(settings ...setting) *host {
	p := appendFrame(nil, settingSize*len(settings), kindSettings, 0, 0)
	for _, s := range settings {
		p = appendSetting(p, s.id, s.value)
	}
	h.send(p)
	return h
}

// open returns a stream that must be had.
func (h *host) open() *Stream {
	h.t.Helper()
	s := h.client.Open(transport.Now())
	if s == nil {
		h.t.Fatal("no stream")
	}
	_ = s.SetDeadline(time.Now().Add(patience))
	return s
}

// ask opens a stream and writes a request to it.
func (h *host) ask(request string) *Stream {
	h.t.Helper()
	s := h.open()
	if _, err := io.WriteString(s, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		h.t.Fatal(err)
	}
	return s
}

const get = "GET / HTTP/1.1\nHost: a\n\n"

// head sends the head of an answer.
func (h *host) head(stream uint32, flags uint8, fields ...string) *host {
	h.t.Helper()
	h.frame(kindHeaders, flags|flagEndHeaders, stream, h.encode(fields...))
	return h
}

func (h *host) frame(k kind, flags uint8, stream uint32, p string) *host {
	h.t.Helper()
	h.rig.frame(k, flags, stream, p)
	return h
}

// hears reads all of an answer.
func (h *host) hears(s *Stream, want string) {
	h.t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(s, got)
	if string(got[:n]) != want || err != nil {
		h.t.Fatalf("got %q, %v, want %q", got[:n], err, want)
	}
}

// breaks reads until the stream breaks.
func (h *host) breaks(s *Stream) *Broken {
	h.t.Helper()
	_, err := io.Copy(io.Discard, s)
	var b *Broken
	if !errors.As(err, &b) {
		h.t.Fatalf("got %v", err)
	}
	return b
}

const ok200 = "HTTP/1.1 200 OK\r\n"

// TestHostsAnswers has the forms that answers take on their way to HTTP/1.1.
func TestHostsAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		request string
		answer  func(h *host)
		want    string
	}{
		"with a length": {get, func(h *host) {
			h.head(1, 0, ":status: 200", "content-length: 2", "x-a: b").frame(kindData, flagEndStream, 1, "hi")
		}, ok200 + "x-a: b\r\ncontent-length: 2\r\n\r\nhi"},
		"without": {get, func(h *host) {
			h.head(1, 0, ":status: 200").frame(kindData, 0, 1, "hi").frame(kindData, flagEndStream, 1, "")
		}, ok200 + "Transfer-Encoding: chunked\r\n\r\n0002\r\nhi\r\n0\r\n\r\n"},
		"padded": {get, func(h *host) {
			h.head(1, 0, ":status: 200", "content-length: 2").frame(kindData, flagEndStream|flagPadded, 1, "\x03hi\x00\x00\x00")
		}, ok200 + "content-length: 2\r\n\r\nhi"},
		"empty": {get, func(h *host) { h.head(1, flagEndStream, ":status: 500") }, "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"},
		"HEAD": {"HEAD / HTTP/1.1\nHost: a\n\n", func(h *host) {
			h.head(1, flagEndStream, ":status: 200", "content-length: 9")
		}, ok200 + "content-length: 9\r\n\r\n"},
		"304, its end later": {get, func(h *host) {
			h.head(1, 0, ":status: 304", "content-length: 9").frame(kindData, flagEndStream, 1, "")
		}, "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"},
		"trailers": {get, func(h *host) {
			h.head(1, 0, ":status: 200").head(1, flagEndStream, "grpc-status: 0")
		}, ok200 + "Transfer-Encoding: chunked\r\n\r\n0\r\ngrpc-status: 0\r\n\r\n"},
		"trailers announced behind a length": {get, func(h *host) {
			h.head(1, 0, ":status: 200", "content-length: 1", "trailer: t").frame(kindData, 0, 1, "x")
			h.head(1, flagEndStream, "t: u")
		}, ok200 + "trailer: t\r\nTransfer-Encoding: chunked\r\n\r\n0001\r\nx\r\n0\r\nt: u\r\n\r\n"},
		"interim": {get, func(h *host) {
			h.head(1, 0, ":status: 103", "link: </a>").head(1, flagEndStream, ":status: 204")
		}, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"},
		"in pieces": {get, func(h *host) {
			block := h.encode(":status: 200", "x-a: "+strings.Repeat("b", 50))
			h.frame(kindHeaders, flagEndStream, 1, block[:9]).frame(kindContinuation, 0, 1, block[9:20]).frame(kindContinuation, flagEndHeaders, 1, block[20:])
		}, ok200 + "x-a: " + strings.Repeat("b", 50) + "\r\ncontent-length: 0\r\n\r\n"},
		"unknown frames": {get, func(h *host) {
			h.frame(0xbe, 0, 1, "?").frame(kindPriority, 0, 1, "\x00\x00\x00\x00\x01").head(1, flagEndStream, ":status: 200")
		}, ok200 + "content-length: 0\r\n\r\n"},
		"reset behind the end": {"PUT / HTTP/1.1\nHost: a\nContent-Length: 9\n\n", func(h *host) {
			h.head(1, flagEndStream, ":status: 200").frame(kindReset, 0, 1, "\x00\x00\x00\x00")
		}, ok200 + "content-length: 0\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			h := connect(t)
			s := h.ask(test.request)
			h.until(kindHeaders, 1)
			test.answer(h)
			h.hears(s, test.want)
			s.Release()
			// The connection is as it was.
			s = h.ask(get)
			h.until(kindHeaders, 3)
			h.head(3, flagEndStream, ":status: 204")
			h.hears(s, "HTTP/1.1 204 No Content\r\n\r\n")
			s.Release()
		})
	}
}

// TestAnswersAtOnce: an answer that has come whole is one read, and one that fits no buffer is the
// same in pieces.
func TestAnswersAtOnce(t *testing.T) {
	for _, test := range []struct {
		name, length, end, want string
	}{
		{"chunks and trailers", "x-a: b", "grpc-status: 0", ok200 + "x-a: b\r\nTransfer-Encoding: chunked\r\n\r\n0002\r\nhi\r\n0\r\ngrpc-status: 0\r\n\r\n"},
		{"a length", "content-length: 2", "", ok200 + "content-length: 2\r\n\r\nhi"},
	} {
		for _, size := range []int{1 << 10, 60, 7} {
			t.Run(fmt.Sprint(test.name, " by ", size), func(t *testing.T) {
				h := connect(t)
				s := h.ask(get)
				h.until(kindHeaders, 1)
				h.head(1, 0, ":status: 200", test.length).frame(kindData, 0, 1, "hi")
				if test.end != "" {
					h.head(1, flagEndStream, test.end)
				} else {
					h.frame(kindData, flagEndStream, 1, "")
				}
				h.frame(kindPing, 0, 0, "01234567").until(kindPing, 0)
				got, reads := "", 0
				for p := make([]byte, size); len(got) < len(test.want); reads++ {
					n, err := s.Read(p)
					if err != nil || n == 0 {
						t.Fatalf("%d, %v after %q", n, err, got)
					}
					got += string(p[:n])
				}
				if got != test.want || size > len(test.want) && reads != 1 {
					t.Errorf("got %q in %d reads, want %q", got, reads, test.want)
				}
				s.Release()
			})
		}
	}
}

// TestRequestsToHosts has the forms that requests take on their way from HTTP/1.1.
func TestRequestsToHosts(t *testing.T) {
	for name, test := range map[string]struct {
		request, fields string
		frames          string // kind:flags:bytes of what follows
	}{
		"plain":    {"GET / HTTP/1.1\nHost: a:1\nAccept: */*\n\n", ":method=GET :scheme=http :path=/ :authority=a:1 accept=*/*", ""},
		"untidy":   {"GET /x?y HTTP/1.1\nX-Ä:1\nhOST:  a \nX-B:\t2 \n\n", ":method=GET :scheme=http :path=/x?y :authority=a x-Ä=1 x-b=2", ""},
		"no host":  {"OPTIONS * HTTP/1.1\n\n", ":method=OPTIONS :scheme=http :path=*", ""},
		"no hops":  {"GET / HTTP/1.1\nHost: a\nConnection: x\nKeep-Alive: 5\nProxy-Connection: y\nTE: gzip\nUpgrade: foo\nHTTP2-Settings: z\n\n", ":method=GET :scheme=http :path=/ :authority=a", ""},
		"length":   {"POST / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello", ":method=POST :scheme=http :path=/ :authority=a content-length=5", "0:1:hello"},
		"empty":    {"POST / HTTP/1.1\nHost: a\nContent-Length: 0\n\n", ":method=POST :scheme=http :path=/ :authority=a content-length=0", ""},
		"chunks":   {"POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n2\nhi\n1\n!\n0\n\n", ":method=POST :scheme=http :path=/ :authority=a", "0:0:hi 0:1:!"},
		"trailers": {"POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n2\nhi\n0\nX-T: u\n\n", ":method=POST :scheme=http :path=/ :authority=a", "0:0:hi 1:5:x-t=u"},
		"gRPC":     {"POST /s/m HTTP/1.1\nHost: a\nContent-Type: application/grpc+proto\nTransfer-Encoding: chunked\n\n0\n\n", ":method=POST :scheme=http :path=/s/m :authority=a content-type=application/grpc+proto te=trailers", "0:1:"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1 << 20, 1} { // whole, and byte by byte
				h := connect(t)
				s := h.open()
				request := strings.ReplaceAll(test.request, "\n", "\r\n")
				for i := 0; i < len(request); i += size {
					if _, err := io.WriteString(s, request[i:min(i+size, len(request))]); err != nil {
						t.Fatal(err)
					}
				}
				g := h.until(kindHeaders, 1)
				if g.fields != test.fields {
					t.Errorf("got  %s\nwant %s", g.fields, test.fields)
				}
				var frames []string
				for !g.has(flagEndStream) {
					if g, _ = h.next(); g.kind == kindHeaders {
						frames = append(frames, fmt.Sprintf("1:%d:%s", g.flags, g.fields))
					} else if g.stream == 1 {
						frames = append(frames, fmt.Sprintf("%d:%d:%s", g.kind, g.flags, g.payload))
					}
				}
				if got := strings.Join(frames, " "); got != test.frames && size > 1 {
					t.Errorf("got %s, want %s", got, test.frames)
				}
				s.Release()
			}
		})
	}
}

// TestBadAnswersOfHosts: what is wrong with one stream does not disturb its neighbour.
func TestBadAnswersOfHosts(t *testing.T) {
	for name, test := range map[string]struct {
		answer   func(h *host)
		reset    bool // we reset the stream
		unsent   bool
		protocol bool
		reason   string
	}{
		"no status":          {func(h *host) { h.head(3, flagEndStream, "x-a: b") }, true, false, true, "pseudo-header missing"},
		"no number":          {func(h *host) { h.head(3, flagEndStream, ":status: 2x0") }, true, false, true, ":status"},
		"status beyond 599":  {func(h *host) { h.head(3, flagEndStream, ":status: 600") }, true, false, true, ":status"},
		"101":                {func(h *host) { h.head(3, 0, ":status: 101") }, true, false, true, ":status"},
		"two statuses":       {func(h *host) { h.head(3, flagEndStream, ":status: 200", ":status: 200") }, true, false, true, "twice"},
		"late status":        {func(h *host) { h.head(3, flagEndStream, "content-length: 0", ":status: 200") }, true, false, true, "behind a field"},
		"a request's":        {func(h *host) { h.head(3, flagEndStream, ":status: 200", ":path: /") }, true, false, true, "unknown pseudo-header"},
		"an interim end":     {func(h *host) { h.head(3, flagEndStream, ":status: 100") }, true, false, true, "interim"},
		"upper case":         {func(h *host) { h.head(3, flagEndStream, ":status: 200", "X-A: b") }, true, false, true, "name"},
		"line break":         {func(h *host) { h.head(3, flagEndStream, ":status: 200", "x-a: b\r\nx-b: c") }, true, false, true, "value"},
		"transfer-encoding":  {func(h *host) { h.head(3, flagEndStream, ":status: 200", "transfer-encoding: chunked") }, true, false, true, "belongs to a connection"},
		"two lengths":        {func(h *host) { h.head(3, 0, ":status: 200", "content-length: 1", "content-length: 2") }, true, false, true, "content-length"},
		"too short":          {func(h *host) { h.head(3, 0, ":status: 200", "content-length: 3").frame(kindData, 1, 3, "ab") }, true, false, true, "disagree"},
		"too long":           {func(h *host) { h.head(3, 0, ":status: 200", "content-length: 1").frame(kindData, 1, 3, "ab") }, true, false, true, "disagree"},
		"no body but length": {func(h *host) { h.head(3, flagEndStream, ":status: 200", "content-length: 1") }, true, false, true, "disagree"},
		"body of a 304":      {func(h *host) { h.head(3, 0, ":status: 304").frame(kindData, 1, 3, "ab") }, true, false, true, "disagree"},
		"body before head":   {func(h *host) { h.frame(kindData, 1, 3, "ab") }, true, false, true, "before the head"},
		"trailers go on":     {func(h *host) { h.head(3, 0, ":status: 200").head(3, 0, "a: b") }, true, false, true, "do not end"},
		"status in trailers": {func(h *host) { h.head(3, 0, ":status: 200").head(3, 1, ":status: 200") }, true, false, true, "trailers"},
		"head too long":      {func(h *host) { longHead(h) }, true, false, true, "too long"},
		"interim flood":      {func(h *host) { interims(h); h.until(kindReset, 3) }, false, false, true, "too long"},
		"window of 0":        {func(h *host) { h.frame(kindWindow, 0, 3, "\x00\x00\x00\x00") }, true, false, true, "WINDOW_UPDATE"},
		"window too large":   {func(h *host) { h.frame(kindWindow, 0, 3, "\x7f\xff\xff\xff") }, true, false, true, "window"},
		"more than its window": {func(h *host) {
			h.head(3, 0, ":status: 200")
			for range 5 {
				h.frame(kindData, 0, 3, strings.Repeat("x", 16<<10))
			}
			h.until(kindReset, 3) // before anybody reads, and so gives back of the window
		}, false, false, true, "window"},
		"reset":               {func(h *host) { h.frame(kindReset, 0, 3, "\x00\x00\x00\x02") }, false, false, false, "INTERNAL_ERROR"},
		"reset in the answer": {func(h *host) { h.head(3, 0, ":status: 200").frame(kindReset, 0, 3, "\x00\x00\x00\x08") }, false, false, false, "CANCEL"},
		"reset for protocol":  {func(h *host) { h.frame(kindReset, 0, 3, "\x00\x00\x00\x01") }, false, false, true, "PROTOCOL_ERROR"},
		"refused":             {func(h *host) { h.frame(kindReset, 0, 3, "\x00\x00\x00\x07") }, false, true, false, "REFUSED_STREAM"},
		"good-bye":            {func(h *host) { h.frame(kindGoAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x0bcalm\x1b") }, false, true, false, `ENHANCE_YOUR_CALM ("calm\x1b")`},
	} {
		t.Run(name, func(t *testing.T) {
			h := connect(t)
			neighbour, s := h.ask(get), h.ask(get)
			h.until(kindHeaders, 3)
			test.answer(h)
			b := h.breaks(s)
			if b.Unsent != test.unsent || b.Protocol != test.protocol || !strings.Contains(b.Reason, test.reason) {
				t.Errorf("got %+v", b)
			}
			if test.reset {
				h.until(kindReset, 3)
			}
			s.Release()
			h.head(1, 0, ":status: 200", "content-length: 2").frame(kindData, flagEndStream, 1, "ok")
			h.hears(neighbour, ok200+"content-length: 2\r\n\r\nok")
			neighbour.Release()
		})
	}
}

func longHead(h *host) {
	block := h.encode(":status: 200", "x-a: "+strings.Repeat("\x01", 20<<10)) // what Huffman codes cannot shorten
	h.frame(kindHeaders, flagEndStream, 3, block[:maxFrame])
	for block = block[maxFrame:]; len(block) > maxFrame; block = block[maxFrame:] {
		h.frame(kindContinuation, 0, 3, block[:maxFrame])
	}
	h.frame(kindContinuation, flagEndHeaders, 3, block)
}

func interims(h *host) {
	for range 40 {
		h.head(3, 0, ":status: 103", "x-a: "+strings.Repeat("b", 1000))
	}
}

// TestBadHosts: what is wrong with the connection ends all streams, and says why.
func TestBadHosts(t *testing.T) {
	many := func(n int, f func(i int) []byte) func(h *host) {
		return func(h *host) {
			var p []byte
			for i := range n {
				p = append(p, f(i)...)
			}
			_, _ = h.Write(p) // the connection may end before
		}
	}
	for name, test := range map[string]struct {
		act    func(h *host)
		code   code
		reason string
	}{
		"push":                {func(h *host) { h.frame(kindPush, 4, 1, "\x00\x00\x00\x02\x82") }, codeProtocol, "PUSH_PROMISE"},
		"a stream of its own": {func(h *host) { h.head(2, 1, ":status: 200") }, codeProtocol, "even number"},
		"an idle stream":      {func(h *host) { h.head(9, 1, ":status: 200") }, codeProtocol, "never opened"},
		"data, idle stream":   {func(h *host) { h.frame(kindData, 1, 9, "x") }, codeProtocol, "idle"},
		"reset, idle stream":  {func(h *host) { h.frame(kindReset, 0, 9, "\x00\x00\x00\x08") }, codeProtocol, "idle"},
		"a bad block":         {func(h *host) { h.frame(kindHeaders, 5, 1, "\xff\xff\xff\xff\xff\xff\xff") }, codeCompressed, "header block"},
		"a huge frame":        {func(h *host) { h.send([]byte("\x00\x40\x01\x00\x00\x00\x00\x00\x01")) }, codeFrameSize, "longer"},
		"window of 0":         {func(h *host) { h.frame(kindWindow, 0, 0, "\x00\x00\x00\x00") }, codeProtocol, "WINDOW_UPDATE"},
		"too much credit":     {func(h *host) { h.frame(kindWindow, 0, 0, "\x7f\xff\xff\xff") }, codeFlow, "window"},
		"settings too large":  {func(h *host) { h.settle(setting{settingWindow, 1 << 31}) }, codeFlow, "INITIAL_WINDOW"},
		"pushes enabled":      {func(h *host) { h.settle(setting{settingPush, 1}) }, codeProtocol, "enables pushes"},
		"pings":               {many(1200, func(int) []byte { return appendPing(nil, 0, []byte("01234567")) }), codeCalm, "do nothing"},
		"settings":            {many(600, func(int) []byte { return appendFrame(nil, 0, kindSettings, 0, 0) }), codeCalm, "do nothing"},
		"empty data":          {many(1200, func(int) []byte { return appendFrame(nil, 0, kindData, 0, 1) }), codeCalm, "do nothing"},
		"continuations": {func(h *host) {
			h.frame(kindHeaders, 0, 1, "")
			many(100, func(int) []byte { return appendFrame(nil, 0, kindContinuation, 0, 1) })(h)
		}, codeCalm, "too long"},
		"good-byes": {many(600, func(int) []byte { return appendGoAway(nil, 99, codeNo, "") }), codeCalm, "do nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			h := connect(t)
			a, b := h.ask(get), h.ask(get)
			h.until(kindHeaders, 3)
			if strings.HasPrefix(name, "empty") {
				h.head(1, 0, ":status: 200")
			}
			test.act(h)
			for _, s := range []*Stream{a, b} {
				if broken := h.breaks(s); !broken.Protocol || broken.Unsent || !strings.Contains(broken.Reason, test.reason) {
					t.Errorf("got %+v", broken)
				}
				s.Release()
			}
			if h.client.Open(transport.Now()) != nil || h.client.Usable() {
				t.Error("it can still be used")
			}
			h.wantAway(test.code)
		})
	}
}

// TestGreetings: what a host says first decides whether there is a connection.
func TestGreetings(t *testing.T) {
	for name, test := range map[string]struct{ says, want string }{
		"HTTP/1.1": {"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "the host does not speak HTTP/2"},
		"SSH":      {"SSH-2.0-OpenSSH_9\r\n", "the host does not speak HTTP/2"},
		"a ping":   {string(appendPing(nil, 0, []byte("01234567"))), "the host does not speak HTTP/2"},
		"nothing":  {"", "closed the connection instead of a greeting"},
		"silence":  {"...", "in time"},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := loopback(t)
			defer theirs.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			h := &host{rig: newPeer(t, theirs)}
			go func() {
				h.greeting()
				switch test.says {
				case "...":
					cancel()
				case "":
					_ = theirs.(*net.TCPConn).CloseWrite()
				default:
					_, _ = io.WriteString(theirs, test.says)
				}
			}()
			_, err := new(Dialer).Connect(ctx, transport.New(ours), h.config(t))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
			<-h.done
		})
	}
}

// TestHostGoesAway: streams that the host will answer go on, and the connection ends behind them.
func TestHostGoesAway(t *testing.T) {
	h := connect(t)
	reserved := h.open()
	a, b := h.ask(get), h.ask(get)
	h.until(kindHeaders, 3)
	h.frame(kindGoAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00")
	if broken := h.breaks(b); !broken.Unsent {
		t.Errorf("got %+v", broken)
	}
	b.Release()
	if _, err := io.WriteString(reserved, strings.ReplaceAll(get, "\n", "\r\n")); err == nil {
		t.Error("a new stream behind a good-bye")
	}
	if broken := h.breaks(reserved); !broken.Unsent {
		t.Errorf("got %+v", broken)
	}
	reserved.Release()
	if h.client.Open(transport.Now()) != nil {
		t.Error("a stream behind a good-bye")
	}
	h.head(1, flagEndStream, ":status: 204")
	h.hears(a, "HTTP/1.1 204 No Content\r\n\r\n")
	a.Release()
	h.wantAway(codeNo)
	<-h.done
}

// TestStreamLimit: the host's bound holds, and the end of a stream makes room.
func TestStreamLimit(t *testing.T) {
	h := connect(t, setting{settingStreams, 2})
	a, b := h.ask(get), h.ask(get)
	h.until(kindHeaders, 3)
	if h.client.Open(transport.Now()) != nil {
		t.Fatal("three streams of two")
	}
	h.head(1, 0, ":status: 200", "content-length: 0") // its end comes later
	h.hears(a, ok200+"content-length: 0\r\n\r\n")
	a.Release()
	if h.client.Open(transport.Now()) != nil {
		t.Fatal("for the host the first one is still open")
	}
	h.frame(kindData, flagEndStream, 1, "")
	h.frame(kindPing, 0, 0, "01234567").until(kindPing, 0)
	c := h.open()
	c.Release() // was never started
	c = h.ask(get)
	h.until(kindHeaders, 5)
	h.head(5, 0, ":status: 304")
	h.hears(c, "HTTP/1.1 304 Not Modified\r\n\r\n")
	c.Release()
	now := transport.Now()
	if h.client.Open(now) != nil {
		t.Fatal("for the host stream 5 is still open")
	}
	if c = h.client.Open(now.Add(2 * lingerTime)); c == nil {
		t.Fatal("a stream whose end never comes is held for ever")
	}
	h.wantReset(5, codeNo)
	c.Release()
	b.Release()
	h.wantReset(3, codeCancel)
	h.settle(setting{settingStreams, 0})
	h.frame(kindPing, 0, 0, "01234567").until(kindPing, 0)
	if h.client.Open(transport.Now()) != nil {
		t.Fatal("a stream of none")
	}
}

// TestStalledStreams: bodies that nobody reads hold up only their own streams, and what waits
// is bounded.
func TestStalledStreams(t *testing.T) {
	h := connect(t)
	const n = 40 // windows of streams: more than the connection's
	streams := make([]*Stream, n)
	for i := range streams {
		streams[i] = h.ask(get)
	}
	last := uint32(2*n - 1)
	h.until(kindHeaders, last)
	go h.drainFrames()
	for i := range streams {
		h.head(uint32(2*i+1), 0, ":status: 200")
		for range streamWindow / maxFrame {
			h.frame(kindData, 0, uint32(2*i+1), strings.Repeat("x", maxFrame))
		}
	}
	s := h.ask(get)
	h.head(last+2, 0, ":status: 200", "content-length: 2").frame(kindData, flagEndStream, last+2, "ok")
	h.hears(s, ok200+"content-length: 2\r\n\r\nok")
	s.Release()
	for _, s := range streams {
		s.Release()
	}
}

// drainFrames reads and forgets what the client sends.
func (h *host) drainFrames() { _, _ = io.Copy(io.Discard, h.Conn) }

// TestTinyWindows: requests wait for the windows, each its own.
func TestTinyWindows(t *testing.T) {
	h := connect(t, setting{settingWindow, 1})
	var wait sync.WaitGroup
	a := h.open()
	wait.Go(func() {
		_, _ = io.WriteString(a, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
	})
	if g := h.until(kindData, 1); string(g.payload) != "a" {
		t.Fatalf("got %q", g.payload)
	}
	b := h.ask(get)
	h.until(kindHeaders, 3)
	h.head(3, flagEndStream, ":status: 204")
	h.hears(b, "HTTP/1.1 204 No Content\r\n\r\n")
	b.Release()
	h.settle(setting{settingWindow, 2})
	if g := h.until(kindData, 1); string(g.payload) != "b" {
		t.Fatalf("got %q", g.payload)
	}
	h.frame(kindWindow, 0, 1, "\x00\x00\x00\x09")
	if g := h.until(kindData, 1); string(g.payload) != "c" || !g.has(flagEndStream) {
		t.Fatalf("got %q", g.payload)
	}
	wait.Wait()
	a.Release()
	h.wantReset(1, codeCancel)
}

// TestWebSocketToHost is RFC 8441 towards a host, with the example of RFC 6455 section 1.3.
func TestWebSocketToHost(t *testing.T) {
	const request = "GET /chat HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\n\n"
	h := connect(t, setting{settingConnect, 1})
	s := h.ask(request)
	if !s.Tunnels() {
		t.Error("the host takes them")
	}
	if g := h.until(kindHeaders, 1); g.fields != ":method=CONNECT :protocol=websocket :scheme=http :path=/chat :authority=a sec-websocket-version=13" || g.has(flagEndStream) {
		t.Errorf("got %s", g.fields)
	}
	h.head(1, 0, ":status: 200", "sec-websocket-protocol: chat").frame(kindData, 0, 1, "hi")
	h.hears(s, "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-protocol: chat\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhi")
	_, _ = io.WriteString(s, "you")
	if g := h.until(kindData, 1); string(g.payload) != "you" {
		t.Errorf("got %q", g.payload)
	}
	_ = s.CloseWrite()
	if g := h.until(kindData, 1); !g.has(flagEndStream) {
		t.Errorf("got %+v", g)
	}
	h.frame(kindData, flagEndStream, 1, "")
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	s.Release()

	s = h.ask(request)
	h.until(kindHeaders, 3)
	h.head(3, flagEndStream, ":status: 403")
	h.hears(s, "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
	s.Release()
	h.wantReset(3, codeCancel)
}

// TestSilence: a host that says nothing while a stream waits is asked, and given up.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		h := &host{rig: newPeer(t, theirs), freed: make(chan struct{}, 1)}
		_ = theirs.SetDeadline(time.Time{})
		ready := make(chan struct{})
		go func() {
			defer close(ready)
			h.client, _ = new(Dialer).Connect(t.Context(), transport.New(ours), h.config(t))
		}()
		h.greeting().settle()
		<-ready
		frames := make(chan got, 100)
		go func() {
			defer close(frames)
			for g, ok := h.next(); ok; g, ok = h.next() {
				frames <- g
			}
		}()
		time.Sleep(time.Hour) // an idle connection is left alone
		s := h.open()
		_ = s.SetDeadline(time.Time{})
		began := time.Now()
		_, _ = io.WriteString(s, strings.ReplaceAll(get, "\n", "\r\n"))
		broken := h.breaks(s)
		if took := time.Since(began); took < 2*quietTime || took > 4*quietTime || broken.Protocol || broken.Unsent || !errors.Is(broken, io.ErrUnexpectedEOF) {
			t.Errorf("after %v: %+v", took, broken)
		}
		s.Release()
		<-h.done
		pings := 0
		for g := range frames {
			if g.kind == kindPing {
				pings++
			}
		}
		if pings != 1 {
			t.Errorf("%d pings", pings)
		}
	})
}

// TestPatience: a host that answers its PING may take all the time that it wants, and is not
// asked so often that it would take it for an attack.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		h := &host{rig: newPeer(t, theirs), freed: make(chan struct{}, 1)}
		_ = theirs.SetDeadline(time.Time{})
		ready := make(chan struct{})
		go func() {
			defer close(ready)
			h.client, _ = new(Dialer).Connect(t.Context(), transport.New(ours), h.config(t))
		}()
		h.greeting().settle()
		<-ready
		s := h.open()
		_ = s.SetDeadline(time.Time{})
		_, _ = io.WriteString(s, strings.ReplaceAll(get, "\n", "\r\n"))
		asked := time.Now().Add(quietTime - askAgain)
		for range 4 {
			g := h.until(kindPing, 0)
			if pause := time.Since(asked); pause < askAgain || pause > askAgain+2*quietTime {
				t.Errorf("asked after %v", pause)
			}
			asked = time.Now()
			h.frame(kindPing, flagAck, 0, string(g.payload))
		}
		h.head(1, 0, ":status: 103") // then the silence is a new one
		h.until(kindPing, 0)
		if pause := time.Since(asked); pause > 3*quietTime {
			t.Errorf("asked after %v", pause)
		}
		h.frame(kindPing, flagAck, 0, "are you?")
		h.head(1, flagEndStream, ":status: 204")
		h.hears(s, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
		s.Release()
		h.client.Retire()
		h.wantAway(codeNo)
		<-h.done
	})
}

// FuzzClient sends a Client with two streams anything behind a good greeting: it may not
// panic or hang, and what the streams read is HTTP/1.1.
func FuzzClient(f *testing.F) {
	frame := func(k kind, flags uint8, stream uint32, p string) string {
		return string(append(appendFrame(nil, len(p), k, flags, stream), p...))
	}
	for _, seed := range []string{
		frame(kindHeaders, 5, 1, "\x88"),
		frame(kindHeaders, 4, 1, "\x88") + frame(kindData, 1, 1, "body") + frame(kindHeaders, 5, 3, "\x89"),
		frame(kindHeaders, 4, 1, "\x88") + frame(kindHeaders, 5, 1, "\x00\x01t\x01u"),
		frame(kindHeaders, 4, 1, "\x08\x03103") + frame(kindHeaders, 0, 1, "\x88") + frame(kindContinuation, 4, 1, "") + frame(kindData, 9, 1, "\x01x\x00"),
		frame(kindGoAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00") + frame(kindReset, 0, 1, "\x00\x00\x00\x07"),
		frame(kindSettings, 0, 0, "\x00\x03\x00\x00\x00\x01\x00\x04\x00\x00\x00\x00") + frame(kindPing, 0, 0, "01234567"),
		frame(kindWindow, 0, 0, "\x00\x00\x00\x01") + frame(kindPush, 4, 1, "\x00\x00\x00\x02\x82"),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		h := connect(t)
		streams := []*Stream{h.ask(get), h.ask("HEAD / HTTP/1.1\nHost: a\n\n")}
		go h.drainFrames()
		_, _ = h.Write(p)
		_ = h.Conn.(interface{ CloseWrite() error }).CloseWrite()
		for i, s := range streams {
			checkAnswer(t, s, []string{"GET", "HEAD"}[i])
			s.Release()
		}
		<-h.done
	})
}

// checkAnswer reads a stream as the engine would.
func checkAnswer(t *testing.T, s *Stream, method string) {
	all, err := io.ReadAll(s)
	for {
		i := bytes.Index(all, []byte("\r\n\r\n"))
		if i < 0 {
			if err == nil || len(all) > 0 {
				t.Errorf("no head in %q, %v", all, err)
			}
			return
		}
		var resp http1.Response
		n, wrong := resp.Parse(all, &answerLimits, []byte(method))
		if wrong != nil && !strings.Contains(wrong.Error(), "204") || wrong == nil && n != i+4 {
			t.Errorf("head of %d bytes in %q: %v", n, all, wrong)
		}
		if wrong != nil || resp.Status >= 200 {
			return
		}
		all = all[n:]
	}
}
