package http3

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/transport"
)

// TestStreamFaults: each ends its stream, is reported, and disturbs nobody.
func TestStreamFaults(t *testing.T) {
	const codeOfReset = codeMessage
	w := newSite(t, echo, nil)
	for name, tt := range map[string]struct {
		in   string
		want code
		bad  string
	}{
		"upper case":             {ask("GET", "X-A: b"), codeOfReset, "bad character in a field's name"},
		"line in a value":        {ask("GET", "x-a: b\r\nhost: c"), codeOfReset, "bad character in a field's value"},
		"connection":             {ask("GET", "connection: close"), codeOfReset, "field that belongs to a connection"},
		"chunked":                {ask("GET", "transfer-encoding: chunked"), codeOfReset, "field that belongs to a connection"},
		"no path":                {section(":method: GET", ":scheme: https", ":authority: a.test"), codeOfReset, "pseudo-header missing"},
		"status":                 {ask("GET", ":status: 200"), codeOfReset, "unknown pseudo-header"},
		"other host":             {ask("GET", "host: b"), codeOfReset, ":authority and Host disagree"},
		"line in a path":         {section(":method: GET", ":scheme: https", ":path: / HTTP/1.1\r\nx: y", ":authority: a"), codeOfReset, "malformed :path"},
		"length without body":    {ask("POST", "content-length: 1"), codeOfReset, ""},
		"less than announced":    {ask("POST", "content-length: 3") + framed(kindData, "ab"), codeOfReset, errLengthBody.reason},
		"more than announced":    {ask("POST", "content-length: 3") + framed(kindData, "abcd"), codeOfReset, errLengthBody.reason},
		"more in a second frame": {ask("POST", "content-length: 3") + framed(kindData, "ab") + framed(kindData, "cd"), codeOfReset, errLengthBody.reason},
		"pseudo in trailers":     {ask("POST") + section(":path: /"), codeOfReset, "pseudo-header in trailers"},
		"no head":                {"", codeIncomplete, errHeadCut.reason},
		"only unknown frames":    {framed(0x21, "x"), codeIncomplete, errHeadCut.reason},
		"long trailers":          {ask("POST") + section("x-a: "+strings.Repeat("x", 30_000)), codeExcessive, errTrailerLong.reason},
	} {
		t.Run(name, func(t *testing.T) {
			g := w.greet()
			_, err := got(g.open(tt.in, true))
			var reset *quic.StreamError
			if !errors.As(err, &reset) || code(reset.ErrorCode) != tt.want {
				t.Errorf("got %v, want %#x", err, tt.want)
			}
			w.mu.Lock()
			if w.bad[tt.bad] == 0 && tt.bad != "" {
				t.Errorf("%q was not reported: %v", tt.bad, w.bad)
			}
			w.mu.Unlock()
			if answer, err := got(g.open(ask("GET"), true)); err != nil || !strings.HasPrefix(answer, ":status=200") {
				t.Errorf("the next one: %q, %v", answer, err)
			}
		})
	}
}

// TestConnectionFaults: each ends the connection, with the code of the RFCs, and no other.
func TestConnectionFaults(t *testing.T) {
	w := newSite(t, echo, nil)
	other := w.greet()
	settings := func(p ...byte) string { return string([]byte{streamControl}) + framed(kindSettings, string(p)) }
	plain := settings()
	for name, tt := range map[string]struct {
		uni    []string // streams
		stream string   // a request's
		end    bool     // of the last stream
		want   code
	}{
		"DATA first":              {stream: framed(kindData, "x"), want: codeFrameUnexpected},
		"SETTINGS in a request":   {stream: framed(kindSettings, ""), want: codeFrameUnexpected},
		"GOAWAY in a request":     {stream: ask("POST") + framed(kindGoAway, "\x00"), want: codeFrameUnexpected},
		"PUSH_PROMISE":            {stream: ask("POST") + framed(kindPushPromise, "\x00\x00"), want: codeFrameUnexpected},
		"PING of HTTP/2":          {stream: framed(0x6, "12345678"), want: codeFrameUnexpected},
		"DATA behind trailers":    {stream: ask("POST") + section("a: b") + framed(kindData, "x"), want: codeFrameUnexpected},
		"trailers twice":          {stream: ask("POST") + section("a: b") + section("a: b"), want: codeFrameUnexpected},
		"frame cut in its header": {stream: ask("POST") + "\x00", end: true, want: codeFrame},
		"frame cut":               {stream: ask("POST") + "\x00\x05abc", end: true, want: codeFrame},
		"head cut":                {stream: ask("POST")[:10], end: true, want: codeFrame},
		"dynamic table":           {stream: framed(kindHeaders, "\x02\x00\x80"), want: codeDecompression},
		"malformed section":       {stream: framed(kindHeaders, "\x00\x00\xff\xff\xff"), want: codeDecompression},
		"no SETTINGS":             {uni: []string{string([]byte{streamControl}) + framed(kindGoAway, "\x00")}, want: codeMissingSettings},
		"SETTINGS twice":          {uni: []string{plain + framed(kindSettings, "")}, want: codeFrameUnexpected},
		"setting of HTTP/2":       {uni: []string{settings(0x3, 1)}, want: codeSettings},
		"setting twice":           {uni: []string{settings(0x6, 1, 0x6, 1)}, want: codeSettings},
		"connect is 2":            {uni: []string{settings(0x8, 2)}, want: codeSettings},
		"half a setting":          {uni: []string{settings(0x6)}, want: codeFrame},
		"long SETTINGS":           {uni: []string{string([]byte{streamControl}) + framed(kindSettings, strings.Repeat("\x21\x00", 5000))}, want: codeExcessive},
		"many settings":           {uni: []string{settings(many(100)...)}, want: codeExcessive},
		"DATA in control":         {uni: []string{plain + framed(kindData, "x")}, want: codeFrameUnexpected},
		"HEADERS in control":      {uni: []string{plain + framed(kindHeaders, "x")}, want: codeFrameUnexpected},
		"PING in control":         {uni: []string{plain + framed(0x6, "x")}, want: codeFrameUnexpected},
		"CANCEL_PUSH":             {uni: []string{plain + framed(kindCancelPush, "\x00")}, want: codeID},
		"MAX_PUSH_ID shrinks":     {uni: []string{plain + framed(kindMaxPush, "\x05") + framed(kindMaxPush, "\x04")}, want: codeID},
		"malformed GOAWAY":        {uni: []string{plain + framed(kindGoAway, "\x00\x00")}, want: codeFrame},
		"control ends":            {uni: []string{plain}, end: true, want: codeClosedCritical},
		"two control streams":     {uni: []string{plain, plain}, want: codeStreamCreation},
		"two encoder streams":     {uni: []string{"\x02", "\x02"}, want: codeStreamCreation},
		"push stream":             {uni: []string{"\x01"}, want: codeStreamCreation},
		"encoder inserts":         {uni: []string{"\x02\xc0\x00"}, want: codeEncoderStream},
		"table made larger":       {uni: []string{"\x02\x3f\x00"}, want: codeEncoderStream},
		"encoder ends":            {uni: []string{"\x02\x20"}, end: true, want: codeClosedCritical},
		"decoder acknowledges":    {uni: []string{"\x03\x80"}, want: codeDecoderStream},
	} {
		t.Run(name, func(t *testing.T) {
			g := w.dial()
			var last io.Closer
			for _, p := range tt.uni {
				last = g.uni(p)
			}
			if tt.stream != "" {
				last = g.open(tt.stream, false)
			}
			if tt.end {
				last.Close()
			}
			if c := g.ended(); c != tt.want {
				t.Errorf("ended with %#x, want %#x", c, tt.want)
			}
		})
	}
	if answer, err := got(other.open(ask("GET"), true)); err != nil || !strings.HasPrefix(answer, ":status=200") {
		t.Errorf("a neighbour: %q, %v", answer, err)
	}
}

func many(n int) (p []byte) {
	for i := range n {
		p = append(p, 0x40|byte(i>>8)+1, byte(i), 0)
	}
	return p
}

// TestHarmlessStreams: what a client may send and is of no use here is let pass.
func TestHarmlessStreams(t *testing.T) {
	w := newSite(t, echo, nil)
	g := w.dial()
	g.uni(string([]byte{streamControl}) + framed(kindSettings, "\x06\x40\x64\x08\x01\x21\x07") + framed(0x21, strings.Repeat("grease", 2000)) + framed(kindMaxPush, "\x05") + framed(kindGoAway, "\x00"))
	g.uni("\x02\x20")
	g.uni("\x03\x41\x7f\x80\x01")
	unknown := g.uni("\x21 whatever this is")
	if answer, err := got(g.open(ask("GET"), true)); err != nil || !strings.HasPrefix(answer, ":status=200") {
		t.Errorf("got %q, %v", answer, err)
	}
	select {
	case <-unknown.Context().Done(): // it has been stopped
	case <-time.After(patience):
		t.Error("a stream of an unknown kind is read on and on")
	}
}

// TestLongHead: a head beyond the limit is refused for that, and never taken for a whole one:
// neither without what had no room, nor with what follows, nor where the limit has been raised.
func TestLongHead(t *testing.T) {
	head := make(chan string, 1)
	w := newSite(t, func(s *Stream) {
		head <- string(s.In.Bytes())
		_ = write(s, "HTTP/1.1 431 \nContent-Length: 0\n\n")
	}, nil)
	var fields [2000]string
	for i := range fields {
		fields[i] = fmt.Sprintf("x-%d: %s", i, strings.Repeat("x", 500))
	}
	for name, in := range map[string]string{
		"9 kB":      ask("GET", fields[:18]...),
		"100 kB":    ask("GET", fields[:200]...),
		"1 MB":      ask("GET", fields[:]...),
		"cookies":   ask("POST", "content-length: 10", "cookie: a="+strings.Repeat("x", 9_000)) + framed(kindData, "x-b: 1\r\n\r\n"),
		"cut value": ask("POST", "x-a: "+strings.Repeat("\xf9", 6_000), "x-b: 1"), // of which Huffman's code makes 20 kB
		"cut": section(append([]string{":method: CONNECT", ":protocol: websocket", ":scheme: https", ":path: /", ":authority: a.test"},
			slices.Repeat([]string{"sec-websocket-key: " + strings.Repeat("x", 100)}, 500)...)...), // which have no place in the head
	} {
		t.Run(name, func(t *testing.T) {
			s := w.greet().open("", false)
			go io.WriteString(s, in)
			text := <-head
			if len(text) <= w.cfg.MaxHead || len(text) > w.cfg.MaxHead+2000 {
				t.Errorf("%d bytes", len(text))
			}
			for limit, want := range map[int]int{w.cfg.MaxHead: 431, 1 << 20: 400} {
				var fault *http1.Error
				if _, err := new(http1.Request).Parse([]byte(text), &http1.Limits{MaxHead: limit, MaxFields: 5000}); !errors.As(err, &fault) || fault.Status != want {
					t.Errorf("with a limit of %d: %v", limit, err)
				}
			}
			if answer, err := got(s); err != nil || !strings.HasPrefix(answer, ":status=431") {
				t.Errorf("got %q, %v", answer, err)
			}
		})
	}
}

// TestStreamsAreBounded: no more handlers than streams are allowed, even where the client
// resets the streams that it has opened.
func TestStreamsAreBounded(t *testing.T) {
	var now, most atomic.Int64
	on := make(chan struct{})
	full := make(chan struct{}, maxStreams)
	w := newSite(t, func(s *Stream) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		full <- struct{}{}
		<-on
		now.Add(-1)
		_ = write(s, "HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	}, nil)
	g := w.greet()
	for range maxStreams {
		s := g.open(ask("GET"), true)
		<-full
		s.CancelRead(codeCancelled.stream())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := g.OpenStreamSync(ctx); err == nil {
		t.Error("another stream could be opened")
	}
	close(on)
	s := g.open(ask("GET"), true)
	if _, err := got(s); err != nil {
		t.Errorf("when there was room again: %v", err)
	}
	if n := most.Load(); n > int64(maxStreams) {
		t.Errorf("%d handlers at once", n)
	}
}

// TestRapidReset: a client that does nothing but open and reset streams is cut off, and
// another is served meanwhile (CVE-2023-44487, as HTTP/3 has it).
func TestRapidReset(t *testing.T) {
	w := newSite(t, func(s *Stream) {
		_, _ = s.Conn.ReadInto(&s.In, transport.Wait{Gap: patience})
		_ = write(s, "HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	}, nil)
	other := w.greet()
	g := w.greet()
	go func() {
		for {
			s, err := g.OpenStreamSync(context.Background())
			if err != nil {
				return
			}
			_, _ = io.WriteString(s, ask("POST"))
			s.CancelWrite(codeCancelled.stream())
			s.CancelRead(codeCancelled.stream())
		}
	}()
	if c := g.ended(); c != codeExcessive {
		t.Errorf("ended with %#x", c)
	}
	if answer, err := got(other.open(ask("GET"), true)); err != nil || !strings.HasPrefix(answer, ":status=200") {
		t.Errorf("a neighbour: %q, %v", answer, err)
	}
}

// TestEmptyFrames: frames without bytes are paid for.
func TestEmptyFrames(t *testing.T) {
	w := newSite(t, echo, nil)
	g := w.greet()
	s := g.open(ask("POST"), false)
	go func() {
		for {
			if _, err := io.WriteString(s, strings.Repeat(framed(kindData, "")+framed(0x21, ""), 500)); err != nil {
				return
			}
		}
	}()
	if c := g.ended(); c != codeExcessive {
		t.Errorf("ended with %#x", c)
	}
}

// TestUnreadBodies: bodies that nobody reads do not hold up other requests, and a client cannot
// send more of them ahead than the windows.
func TestUnreadBodies(t *testing.T) {
	on := make(chan struct{})
	w := newSite(t, func(s *Stream) {
		if strings.HasPrefix(string(s.In.Bytes()), "POST") {
			<-on
		}
		echo(s)
	}, nil)
	defer close(on)
	g := w.greet()
	var sent int64
	body := framed(kindData, strings.Repeat("x", grownWindow))
	push := func(streams int) {
		var wait sync.WaitGroup
		var all atomic.Int64
		for range streams {
			s := g.open(ask("POST"), false)
			wait.Go(func() {
				_ = s.SetWriteDeadline(time.Now().Add(time.Second))
				n, _ := io.WriteString(s, body)
				all.Add(int64(n))
			})
		}
		wait.Wait()
		sent += all.Load()
	}
	push(connWindow / streamWindow / 2)
	if answer, err := got(g.open(ask("GET"), true)); err != nil || !strings.HasPrefix(answer, ":status=200") {
		t.Errorf("beside %d bytes that nobody reads: %q, %v", sent, answer, err)
	}
	push(connWindow / streamWindow)
	if sent > int64(connWindow) || sent < int64(grownWindow) {
		t.Errorf("%d bytes could be sent that nobody reads", sent)
	}
}

// TestHeadTimeout: a head that does not come ends its stream.
func TestHeadTimeout(t *testing.T) {
	w := newSite(t, echo, func(cfg *Config) { cfg.HeadTimeout = 50 * time.Millisecond })
	g := w.greet()
	_, err := got(g.open(ask("GET")[:5], false))
	var reset *quic.StreamError
	if !errors.As(err, &reset) || code(reset.ErrorCode) != codeIncomplete {
		t.Errorf("got %v", err)
	}
}

// TestIdle: a connection without streams ends after a while, one whose policy says so after
// its first answer.
func TestIdle(t *testing.T) {
	for name, change := range map[string]func(cfg *Config){
		"nothing comes":    func(cfg *Config) { cfg.HeadTimeout = time.Millisecond },
		"nothing more":     func(cfg *Config) { cfg.KeepAlive = time.Millisecond },
		"no keep-alive":    func(cfg *Config) { cfg.KeepAlive = 0 },
		"the proxy drains": func(cfg *Config) { cfg.Draining = func() bool { return true } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t, echo, change)
			g := w.greet()
			if name != "nothing comes" {
				if _, err := got(g.open(ask("GET"), true)); err != nil {
					t.Fatal(err)
				}
			}
			if c := g.ended(); c != codeNo {
				t.Errorf("ended with %#x", c)
			}
		})
	}
}

// TestDrain: the client is told twice, streams that come in between are served, and those
// under way answered.
func TestDrain(t *testing.T) {
	on := make(chan struct{})
	w := newSite(t, func(s *Stream) { <-on; echo(s) }, nil)
	g := w.greet()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	control, err := g.AcceptUniStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var head [1]byte
	if _, err := io.ReadFull(control, head[:]); err != nil || head[0] != streamControl {
		t.Fatalf("%x, %v", head, err)
	}
	told := &frames{r: control}
	if k, p := told.next(t); k != kindSettings || p != "\x06\x60\x00\x08\x01" {
		t.Errorf("settings: %#x %x", uint64(k), p)
	}
	first := g.open(ask("GET"), true)
	close(w.draining)
	if k, p := told.next(t); k != kindGoAway || p != "\xff\xff\xff\xff\xff\xff\xff\xfc" {
		t.Errorf("first: %#x %x", uint64(k), p)
	}
	second := g.open(ask("GET"), true)
	if k, p := told.next(t); k != kindGoAway || p != "\x08" {
		t.Errorf("second: %#x %x", uint64(k), p)
	}
	_, err = got(g.open(ask("GET"), true))
	var reset *quic.StreamError
	if !errors.As(err, &reset) || code(reset.ErrorCode) != codeRejected {
		t.Errorf("behind the last: %v", err)
	}
	close(on)
	for _, s := range []*quic.Stream{first, second} {
		if answer, err := got(s); err != nil || !strings.HasPrefix(answer, ":status=200") {
			t.Errorf("got %q, %v", answer, err)
		}
	}
	if c := g.ended(); c != codeNo {
		t.Errorf("ended with %#x", c)
	}
	select {
	case err := <-w.done:
		w.done <- err
	case <-time.After(patience):
		t.Error("the socket is still served")
	}
}

// TestPanic: a defect ends the connection that meets it, and no other.
func TestPanic(t *testing.T) {
	faults := make(chan any, 1)
	w := newSite(t, func(s *Stream) {
		if strings.HasPrefix(string(s.In.Bytes()), "DELETE") {
			panic("defect")
		}
		echo(s)
	}, func(cfg *Config) { cfg.Panicked = func(fault any) { faults <- fault } })
	other, g := w.greet(), w.greet()
	g.open(ask("DELETE"), true)
	if c := g.ended(); c != codeInternal {
		t.Errorf("ended with %#x", c)
	}
	if fault := <-faults; fault != "defect" {
		t.Errorf("heard of %v", fault)
	}
	if answer, err := got(other.open(ask("GET"), true)); err != nil || !strings.HasPrefix(answer, ":status=200") {
		t.Errorf("a neighbour: %q, %v", answer, err)
	}
}

// TestResetHeadIsNoRequest: who resets a stream before its head is complete has asked nothing,
// and done nothing wrong.
func TestResetHeadIsNoRequest(t *testing.T) {
	w := newSite(t, echo, nil)
	g := w.greet()
	s := g.open(ask("GET")[:5], false)
	s.CancelWrite(codeCancelled.stream())
	if answer, err := got(g.open(ask("GET"), true)); err != nil || !strings.HasPrefix(answer, ":status=200") {
		t.Errorf("got %q, %v", answer, err)
	}
	_ = g.CloseWithError(codeNo.conn(), "")
	w.stop()
	if len(w.bad) > 0 {
		t.Errorf("malformed: %v", w.bad)
	}
}

// frames reads the frames of a stream.
type frames struct{ r io.Reader }

func (f *frames) next(t *testing.T) (kind, string) {
	t.Helper()
	var b [2]byte
	if _, err := io.ReadFull(f.r, b[:]); err != nil || b[0]|b[1] >= 0x40 {
		t.Fatalf("%x: %v", b, err)
	}
	p := make([]byte, b[1])
	if _, err := io.ReadFull(f.r, p); err != nil {
		t.Fatal(err)
	}
	return kind(b[0]), string(p)
}

// TestLastAnswerArrives: a connection that ends behind an answer does so when that has arrived,
// however often packets are lost.
func TestLastAnswerArrives(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 20_000)
	w := startSite(t, siteSpec{lossy: true, serve: func(s *Stream) {
		_ = write(s, "HTTP/1.1 200 OK\nContent-Length: 320000\n\n")
		_ = write(s, body)
	}, change: func(cfg *Config) { cfg.KeepAlive = 0 }})
	for range 5 {
		g := w.greet()
		if answer, err := got(g.open(ask("GET"), true)); err != nil || answer != ":status=200 content-length=320000|"+body+"|" {
			t.Errorf("%d bytes, %v", len(answer), err)
		}
	}
}

// TestCut: what is left of draining ends at once.
func TestCut(t *testing.T) {
	begun := make(chan struct{})
	w := newSite(t, func(s *Stream) {
		close(begun)
		_, _ = io.ReadAll(s)
	}, nil)
	g := w.greet()
	g.open(ask("POST"), false)
	<-begun
	close(w.draining)
	w.stop()
	if c := g.ended(); c != codeNo {
		t.Errorf("ended with %#x", c)
	}
}

// oneWay lets packets of its owner out, and none in.
type oneWay struct {
	net.PacketConn
	out, in atomic.Int64
}

func (o *oneWay) WriteTo(p []byte, to net.Addr) (int, error) {
	o.out.Add(int64(len(p)))
	return o.PacketConn.WriteTo(p, to)
}

func (o *oneWay) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := o.PacketConn.ReadFrom(p)
		if err != nil {
			return 0, from, err
		}
		o.in.Add(int64(n))
	}
}

// spoof sends what a client sends that nothing reaches: its address is another's.
func (w *site) spoof(ctx context.Context) *oneWay {
	w.t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	o := &oneWay{PacketConn: pc}
	tr := &quic.Transport{Conn: o}
	w.t.Cleanup(func() { tr.Close(); pc.Close() })
	go func() { _, _ = tr.Dial(ctx, w.addr, w.config, &quic.Config{HandshakeIdleTimeout: patience}) }()
	return o
}

// TestAmplification: who cannot show that it receives gets three times what it sends, at most
// (RFC 9000 section 8.1). And what made-up addresses hold is bounded: from some number on, an
// address is verified first, and clients that have one are served all the same.
func TestAmplification(t *testing.T) {
	w := newSite(t, echo, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all []*oneWay
	for range 3 * verifyAbove / 2 {
		all = append(all, w.spoof(ctx))
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for _, o := range all { // until each has been answered: with a handshake, or asked for its address
		for o.in.Load() == 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatal("not everybody is answered")
			}
		}
	}
	for _, o := range all {
		if in, out := o.in.Load(), o.out.Load(); in > 3*out {
			t.Errorf("%d bytes for %d", in, out)
		}
	}
	if n := w.admitted.Load(); n != verifyAbove {
		t.Errorf("%d made-up addresses hold a place, %d may", n, verifyAbove)
	}
	if answer, err := got(w.greet().open(ask("GET"), true)); err != nil || !strings.HasPrefix(answer, ":status=200") {
		t.Errorf("a client with an address: %q, %v", answer, err)
	}
}

// TestHandshakesAreBounded: beyond so many at once, connections are refused, and that is told.
func TestHandshakesAreBounded(t *testing.T) {
	var busy, admitted int
	p := &endpoint{Endpoint: &Endpoint{
		Busy:  func() { busy++ },
		Admit: func(netip.AddrPort) Visit { admitted++; return nil },
	}}
	for most, unproved := range map[int]int{0: verifyAbove, maxHandshakes: verifyAbove, 8: 2, 20: 5, 64: 16, 128: verifyAbove} {
		busy, admitted = 0, 0
		p.MaxHandshakes = func() int { return most }
		most := cmp.Or(most, maxHandshakes)
		for i := range most - 1 { // each from a host of its own
			if got := p.asksProof(); got != (i >= unproved) {
				t.Errorf("of %d, with %d under way: asks for proof: %v", most, i, got)
			}
			p.shaking.Enter(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), most)
		}
		for _, n := range []int{most - 1, most} {
			for p.shaking.UnderWay() < n {
				p.shaking.Enter(netip.AddrFrom4([4]byte{10, 1, 0, 0}), most)
			}
			if _, err := p.begin(t.Context(), &quic.ClientInfo{RemoteAddr: &net.UDPAddr{}}); err == nil || p.shaking.UnderWay() != n {
				t.Errorf("with %d: %v, and %d then", n, err, p.shaking.UnderWay())
			}
		}
		if busy != 1 || admitted != 1 {
			t.Errorf("of %d refused %d times, and admitted %d times", most, busy, admitted)
		}
		p.shaking = transport.Handshakes{}
	}
}

// unfinished is a handshake that its client has left.
type unfinished struct{}

func (unfinished) Refused(error, tls.ConnectionState) {}
func (unfinished) Serve(*Conn)                        {}

// TestUnfinishedHandshakesLeaveRoom: who begins handshakes and leaves them keeps nobody else
// out, and its place is free again once they have ended.
func TestUnfinishedHandshakesLeaveRoom(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	busy := 0
	p := &endpoint{Endpoint: &Endpoint{Busy: func() { busy++ }, Admit: func(netip.AddrPort) Visit { return unfinished{} }}}
	const crowded, maxOfOne = maxHandshakes / 2, maxHandshakes / 8
	begin := func(from netip.Addr, times int) (begun int) {
		for i := range times {
			to := &net.UDPAddr{IP: from.AsSlice(), Port: 1 + i}
			if _, err := p.begin(ctx, &quic.ClientInfo{RemoteAddr: to}); err == nil {
				begun++
			}
		}
		return begun
	}
	for _, step := range []struct {
		from       string
		asks, want int
	}{
		{"192.0.2.1", maxHandshakes, crowded},
		{"192.0.2.2", maxHandshakes, maxOfOne},
		{"2001:db8::1", maxOfOne / 2, maxOfOne / 2},
		{"2001:db8::2:1", maxHandshakes, maxOfOne - maxOfOne/2}, // a host has a /64
		{"2001:db8:0:1::1", 1, 1},
	} {
		if n := begin(netip.MustParseAddr(step.from), step.asks); n != step.want {
			t.Errorf("%s begins %d, want %d", step.from, n, step.want)
		}
	}
	if want := 3*maxHandshakes - crowded - 2*maxOfOne + maxOfOne/2; busy != want {
		t.Errorf("%d were told of as refused, want %d", busy, want)
	}
	end()
	p.work.Wait()
	if n := p.shaking.UnderWay(); n != 0 {
		t.Errorf("all have ended, and %d are counted", n)
	}
}

// TestLimitsOfAPolicy: a client may open as many streams, and send as much ahead, as a policy says.
func TestLimitsOfAPolicy(t *testing.T) {
	release := make(chan struct{})
	w := startSite(t, siteSpec{limits: http2.Limits{Streams: 3, Window: 16 << 10}, serve: func(s *Stream) {
		<-release
		_ = write(s, "HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	}})
	g := w.greet()
	first := g.open(ask("POST"), false)
	_ = first.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := io.WriteString(first, framed(kindData, strings.Repeat("x", 64<<10))); err == nil || n > 16<<10 {
		t.Errorf("%d bytes could be sent ahead (%v)", n, err)
	}
	g.open(ask("GET"), true)
	third := g.open(ask("GET"), true)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := g.OpenStreamSync(ctx); err == nil {
		t.Error("a fourth stream could be opened")
	}
	close(release)
	if _, err := got(third); err != nil {
		t.Error(err)
	}
}

// TestCrowd: while memory is short, a connection has few streams at once, and can try others again.
func TestCrowd(t *testing.T) {
	var crowded atomic.Bool
	release, begun := make(chan struct{}), make(chan struct{}, 100)
	w := newSite(t, func(s *Stream) {
		begun <- struct{}{}
		<-release
		_ = write(s, "HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	}, func(cfg *Config) { cfg.Room = http2.NewRoom(0, crowded.Load, nil) })
	g := w.greet()
	crowded.Store(true)
	for range 8 {
		g.open(ask("GET"), true)
		<-begun
	}
	_, err := got(g.open(ask("GET"), true))
	var reset *quic.StreamError
	if !errors.As(err, &reset) || code(reset.ErrorCode) != codeRejected {
		t.Errorf("one more: %v", err)
	}
	crowded.Store(false)
	s := g.open(ask("GET"), true)
	<-begun
	close(release)
	if _, err := got(s); err != nil {
		t.Errorf("when it is over: %v", err)
	}
}
