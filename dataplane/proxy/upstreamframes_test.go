package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/model"
)

// frames is a host that speaks HTTP/2 frame by frame, with a codec that others wrote.
type frames struct {
	net.Conn
	*http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
}

// serveFrames starts a host that greets each connection and gives it to f.
func serveFrames(t testing.TB, f func(h *frames), settings ...http2.Setting) string {
	return serveRaw(t, framing(f, settings...))
}

func framing(f func(h *frames), settings ...http2.Setting) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		if _, err := io.CopyN(io.Discard, r, int64(len(http2.ClientPreface))); err != nil {
			return
		}
		h := &frames{Conn: c, Framer: http2.NewFramer(c, r)}
		h.encoder = hpack.NewEncoder(&h.block)
		h.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		if h.WriteSettings(settings...) == nil {
			f(h)
		}
	}
}

// request returns the next stream that has been opened; 0: there are no more.
func (h *frames) request() (stream uint32, path string) {
	for {
		f, err := h.ReadFrame()
		if err != nil {
			return 0, ""
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			return f.StreamID, f.PseudoValue("path")
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = h.WriteSettingsAck()
			}
		}
	}
}

// head sends the head of an answer.
func (h *frames) head(stream uint32, end bool, fields ...string) {
	h.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = h.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: h.block.Bytes(), EndHeaders: true, EndStream: end})
}

// ok answers.
func (h *frames) ok(stream uint32, text string) {
	h.head(stream, false, ":status", "200")
	_ = h.WriteData(stream, true, []byte(text))
}

// TestHTTP2UpstreamFailures: what breaks has its flag, and only the one request.
func TestHTTP2UpstreamFailures(t *testing.T) {
	halfway := make(chan struct{})
	var asked atomic.Int32
	up := serveFrames(t, func(h *frames) {
		for {
			stream, path := h.request()
			if stream > 0 {
				asked.Add(1)
			}
			switch path {
			case "":
				return
			case "/cut":
				return
			case "/reset":
				_ = h.WriteRSTStream(stream, http2.ErrCodeInternal)
			case "/broken":
				_ = h.WriteRSTStream(stream, http2.ErrCodeProtocol)
			case "/malformed":
				h.head(stream, true, ":status", "xyz")
			case "/push":
				_ = h.WritePushPromise(http2.PushPromiseParam{StreamID: stream, PromiseID: 2, EndHeaders: true})
			case "/refused":
				_ = h.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
			case "/half":
				h.head(stream, false, ":status", "200")
				_ = h.WriteData(stream, false, []byte("half"))
				<-halfway
				_ = h.WriteRSTStream(stream, http2.ErrCodeInternal)
			default:
				h.ok(stream, "fine")
			}
		}
	})
	for path, want := range map[string]struct {
		status int
		flag   string
		detail string
	}{
		"/cut":       {502, "UC", "the host closed the connection"},
		"/reset":     {502, "UR", "INTERNAL_ERROR"},
		"/broken":    {502, "UPE", "PROTOCOL_ERROR"},
		"/malformed": {502, "UPE", "malformed :status"},
		"/push":      {502, "UPE", "PUSH_PROMISE"},
		"/refused":   {502, "UR", "REFUSED_STREAM"},
	} {
		t.Run(path, func(t *testing.T) {
			r := startRig(t, speaking(snapshotOf(map[string]string{"up": up}, to("up")), model.ProtocolH2C), Config{})
			c := r.dial()
			c.send("GET / HTTP/1.1\nHost: h\n\n").want(200, "", "fine")
			c.send("POST "+path+" HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi").want(want.status, want.flag, "")
			if path != "/cut" { // which a GET may survive
				before := asked.Load()
				c.send("GET "+path+" HTTP/1.1\nHost: h\n\n").want(want.status, want.flag, "")
				if n := asked.Load() - before; n != 1 && path != "/refused" {
					t.Errorf("asked %d times", n)
				}
			}
			c.send("GET / HTTP/1.1\nHost: h\n\n").want(200, "", "fine")
			if stats := r.metrics.Cluster("up").Snapshot(); stats.Flags[model.ParseFlag(want.flag)] == 0 {
				t.Errorf("counted %+v", stats)
			}
		})
	}
	r := startRig(t, speaking(snapshotOf(map[string]string{"up": up}, to("up")), model.ProtocolH2C), Config{})
	c := r.dial().send("GET /half HTTP/1.1\nHost: h\n\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	close(halfway)
	if rest, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("half an answer looks whole: %q", rest)
	}
}

// TestRefusedStreamsAreFree: any request may be sent again, for free, and where there is nothing
// else to be had the answer says why.
func TestRefusedStreamsAreFree(t *testing.T) {
	var refusals atomic.Int32
	up := serveFrames(t, func(h *frames) {
		for {
			stream, _ := h.request()
			switch {
			case stream == 0:
				return
			case refusals.Add(-1) >= 0:
				_ = h.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
			default:
				h.ok(stream, "fine")
			}
		}
	})
	r := startRig(t, speaking(snapshotOf(map[string]string{"up": up}, to("up")), model.ProtocolH2C), Config{})
	c := r.dial()
	refusals.Store(maxRaces)
	c.send("POST / HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi").want(200, "", "fine")
	refusals.Store(maxRaces + 1)
	c.send("POST / HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi").want(502, "UR", "")
}

// TestHostsGoAwayUnderLoad: each connection carries a few requests and is taken leave of while
// more of them come, which loses none.
func TestHostsGoAwayUnderLoad(t *testing.T) {
	const each = 20
	up := serveFrames(t, func(h *frames) {
		for n := 1; ; n++ {
			stream, _ := h.request()
			switch {
			case stream == 0:
				return
			case n < each:
				h.ok(stream, "fine")
				continue
			}
			_ = h.WriteGoAway(stream-2, http2.ErrCodeNo, nil) // this one is not looked at, nor what follows
			for stream > 0 {
				stream, _ = h.request()
			}
			return
		}
	})
	r := startRig(t, speaking(snapshotOf(map[string]string{"up": up}, to("up")), model.ProtocolH2C), Config{})
	var wait sync.WaitGroup
	const workers, requests = 8, 60
	for w := range workers {
		c := r.dial()
		request := "GET / HTTP/1.1\nHost: h\n\n"
		if w%2 == 0 {
			request = "POST / HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi"
		}
		wait.Go(func() {
			for range requests {
				c.send(request).want(200, "", "fine")
			}
		})
	}
	wait.Wait()
	if h := r.proxy.Hosts()[0]; h.Opened < workers*requests/each {
		t.Errorf("host %+v", h)
	}
}

// TestWebSocketsToHTTP2Hosts: where the host takes them, over HTTP/2; else the answer says
// what to do.
func TestWebSocketsToHTTP2Hosts(t *testing.T) {
	echo := func(h *frames) {
		for {
			f, err := h.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				if f.PseudoValue("method") != "CONNECT" || f.PseudoValue("protocol") != "websocket" {
					h.ok(f.StreamID, "no WebSocket")
					continue
				}
				h.head(f.StreamID, false, ":status", "200")
			case *http2.DataFrame:
				_ = h.WriteData(f.StreamID, f.StreamEnded(), bytes.ToUpper(f.Data()))
			case *http2.SettingsFrame:
				if !f.IsAck() {
					_ = h.WriteSettingsAck()
				}
			}
		}
	}
	const request = "GET /chat HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: WebSocket\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\n\n"
	willing := serveFrames(t, echo, http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
	r := startRig(t, speaking(snapshotOf(map[string]string{"up": willing}, to("up")), model.ProtocolH2C), Config{})
	c := r.dial().send(request)
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("got %v, %v", resp, err)
	}
	_, _ = io.WriteString(c, "hello")
	got := make([]byte, 5)
	if _, err := io.ReadFull(c.r, got); err != nil || string(got) != "HELLO" {
		t.Errorf("got %q, %v", got, err)
	}
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		t.Errorf("got %q, %v", rest, err)
	}

	unwilling := serveFrames(t, echo)
	r = startRig(t, speaking(snapshotOf(map[string]string{"up": unwilling}, to("up")), model.ProtocolH2C), Config{})
	r.dial().send(request).want(502, "UPE", "")
	r.dial().send(strings.Replace(request, "WebSocket", "else", 1)).want(200, "", "no WebSocket")
	if h := r.proxy.Hosts()[0]; h.Opened != 1 {
		t.Errorf("host %+v", h)
	}
}

// TestWebSocketOverHTTP2OnBothSides is RFC 8441 from end to end.
func TestWebSocketOverHTTP2OnBothSides(t *testing.T) {
	up := serveFrames(t, func(h *frames) {
		for {
			f, err := h.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				h.head(f.StreamID, false, ":status", "200")
				_ = h.WriteData(f.StreamID, false, []byte("hello "))
			case *http2.DataFrame:
				_ = h.WriteData(f.StreamID, f.StreamEnded(), f.Data())
			}
		}
	}, http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
	startRig(t, speaking(snapshotOf(map[string]string{"up": up}, to("up")), model.ProtocolH2C), Config{}).opensWebSocket(t)
}

// TestHTTP2HostThatStalls: a client that does not read holds up nobody else on the connection.
func TestHTTP2HostThatStalls(t *testing.T) {
	large := bytes.Repeat([]byte("x"), 8<<20)
	up := serveH2C(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/large" {
			_, _ = w.Write(large)
			return
		}
		fmt.Fprint(w, "fine")
	})
	s := speaking(snapshotOf(map[string]string{"up": up}, to("up")), model.ProtocolH2C)
	r := startRig(t, s, Config{})
	var stalled []*client
	for range 30 {
		c := r.dial()
		c.send("GET /large HTTP/1.1\nHost: h\n\n")
		if _, err := c.r.Peek(1); err != nil {
			t.Fatal(err)
		}
		stalled = append(stalled, c)
	}
	for range 20 {
		r.dial().send("GET / HTTP/1.1\nHost: h\n\n").want(200, "", "fine")
	}
	if _, body := stalled[3].answer("GET"); len(body) != len(large) {
		t.Errorf("%d bytes", len(body))
	}
	for _, c := range stalled {
		c.Close()
	}
}
