package http2

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/dataplane/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything in a test may take that does not wait for time itself.
const patience = 20 * time.Second

// rig is one connection to a Server over loopback, and its raw client.
type rig struct {
	t testing.TB
	net.Conn
	block   bytes.Buffer
	encoder *hpack.Encoder
	decoder *hpack.Decoder
	fields  []hpack.HeaderField
	stop    atomic.Bool
	server  *transport.Conn
	done    chan struct{}
	bad     sync.Map // reasons of malformed requests
}

// serve starts a connection whose streams f handles. cfg may be nil.
func serve(t testing.TB, f func(s *Stream), change func(cfg *Config)) *rig {
	t.Helper()
	client, server := loopback(t)
	return serveOn(t, client, server, f, change)
}

// serveOn is serve on a connection with two ends.
func serveOn(t testing.TB, client, server net.Conn, f func(s *Stream), change func(cfg *Config)) *rig {
	t.Helper()
	r := &rig{t: t, Conn: client, server: transport.New(server), done: make(chan struct{})}
	r.encoder = hpack.NewEncoder(&r.block)
	r.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) { r.fields = append(r.fields, f) })
	cfg := &Config{
		Handle: f, Draining: func() bool { return false }, Stop: &r.stop,
		Malformed: func(reason string) { r.bad.Store(reason, true) },
		Panicked:  func(fault any) { t.Errorf("panic: %v", fault) },
		MaxHead:   16 << 10, HeadTimeout: patience, BodyTimeout: patience, KeepAlive: patience,
	}
	if change != nil {
		change(cfg)
	}
	go func() {
		defer close(r.done)
		defer r.server.Close()
		var in transport.Buffer
		defer in.Release()
		for in.Len() < len(Preface) {
			if _, err := r.server.ReadInto(&in, transport.Wait{}); err != nil {
				return
			}
		}
		new(Server).Begin(r.server, &in, cfg).Serve(&in, 0)
	}()
	_ = client.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() {
		client.Close()
		select {
		case <-r.done:
		case <-time.After(patience):
			t.Error("the connection does not end")
		}
	})
	return r
}

func loopback(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// greet sends the preface and SETTINGS with parameters.
func (r *rig) greet(settings ...setting) *rig {
	p := appendFrame([]byte(Preface), settingSize*len(settings), kindSettings, 0, 0)
	for _, s := range settings {
		p = appendSetting(p, s.id, s.value)
	}
	return r.send(p)
}

func (r *rig) send(p []byte) *rig {
	r.t.Helper()
	if _, err := r.Write(p); err != nil {
		r.t.Fatal(err)
	}
	return r
}

func (r *rig) frame(k kind, flags uint8, stream uint32, p string) *rig {
	r.t.Helper()
	return r.send(append(appendFrame(nil, len(p), k, flags, stream), p...))
}

// encode returns the header block of fields, "name: value".
func (r *rig) encode(fields ...string) string {
	r.block.Reset()
	for _, f := range fields {
		at := strings.Index(f[1:], ": ") + 1
		_ = r.encoder.WriteField(hpack.HeaderField{Name: f[:at], Value: f[at+2:]})
	}
	return r.block.String()
}

var plain = []string{":method: GET", ":scheme: http", ":path: /", ":authority: a"}

// ask opens a stream.
func (r *rig) ask(stream uint32, flags uint8, more ...string) *rig {
	r.t.Helper()
	return r.frame(kindHeaders, flags|flagEndHeaders, stream, r.encode(append(plain[:4:4], more...)...))
}

// got is a frame that has been read.
type got struct {
	frame
	payload []byte
	fields  string // of a header block: name=value, a space between them
}

// next returns the next frame; ok is false at the end of the connection.
func (r *rig) next() (g got, ok bool) {
	r.t.Helper()
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			r.t.Fatal("no frame comes")
		}
		return g, false
	}
	g.frame, _ = parseFrame(h[:])
	g.payload = make([]byte, g.length)
	if _, err := io.ReadFull(r, g.payload); err != nil {
		return g, false
	}
	if g.kind == kindHeaders {
		r.fields = nil
		if _, err := r.decoder.Write(g.payload); err != nil {
			r.t.Fatalf("header block: %v", err)
		}
		_ = r.decoder.Close()
		var list []string
		for _, f := range r.fields {
			list = append(list, f.Name+"="+f.Value)
		}
		g.fields = strings.Join(list, " ")
	}
	return g, true
}

// until reads up to a frame of a kind on a stream.
func (r *rig) until(k kind, stream uint32) got {
	r.t.Helper()
	for {
		g, ok := r.next()
		if !ok {
			r.t.Fatalf("the connection ended before a frame of kind %d on stream %d", k, stream)
		}
		if g.kind == k && g.stream == stream {
			return g
		}
	}
}

// wantReset reads up to RST_STREAM with a code.
func (r *rig) wantReset(stream uint32, want code) {
	r.t.Helper()
	if p := r.until(kindReset, stream).payload; code(p[3]) != want {
		r.t.Fatalf("RST_STREAM with code %d, want %d", p[3], want)
	}
}

// wantAway reads up to GOAWAY with a code, and the end of the connection.
func (r *rig) wantAway(want code) {
	r.t.Helper()
	g := r.until(kindGoAway, 0)
	if code(g.payload[7]) != want {
		r.t.Fatalf("GOAWAY with code %d (%s), want %d", g.payload[7], g.payload[8:], want)
	}
	for ok := true; ok; {
		_, ok = r.next()
	}
}

// answer is a handler that reads the request whole and answers with text.
func answer(text string) func(s *Stream) {
	return func(s *Stream) {
		if strings.Contains(string(s.In.Bytes()), "Transfer-Encoding") || strings.Contains(string(s.In.Bytes()), "content-length") {
			if _, err := io.Copy(io.Discard, s); err != nil {
				return
			}
		}
		_ = s.Conn.Write([]byte(text), transport.Wait{Gap: patience})
	}
}

const hello = "HTTP/1.1 200 OK\r\nX-A: b\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
