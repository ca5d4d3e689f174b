package http3

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"go.uber.org/goleak"

	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything in a test may take that does not wait for time itself.
const patience = 20 * time.Second

// site is a socket that is served.
type site struct {
	t        testing.TB
	addr     net.Addr
	config   *tls.Config // of clients
	cfg      *Config
	draining chan struct{}
	cut      chan struct{}
	done     chan error
	admitted atomic.Int64

	mu      sync.Mutex
	bad     map[string]int // reasons of malformed requests
	refused []error
	served  int
}

// newSite serves a socket, streams with f.
func newSite(t testing.TB, f func(s *Stream), change func(cfg *Config)) *site {
	t.Helper()
	return startSite(t, siteSpec{serve: f, change: change})
}

// siteSpec is what is special about a site.
type siteSpec struct {
	serve  func(s *Stream)
	change func(cfg *Config) // nil: nothing
	lossy  bool              // its path loses packets
	limits http2.Limits
}

func startSite(t testing.TB, spec siteSpec) *site {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if spec.lossy {
		pc = &lossyConn{PacketConn: pc}
	}
	w := &site{
		t: t, addr: pc.LocalAddr(), bad: map[string]int{},
		draining: make(chan struct{}), cut: make(chan struct{}), done: make(chan error, 1),
	}
	server, client := pair(t)
	w.config = client
	w.cfg = &Config{
		Handle: spec.serve, Draining: func() bool { return false }, Drain: w.draining,
		Malformed: func(reason string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.bad[reason]++
		},
		Panicked: func(fault any) { t.Errorf("panic: %v", fault) },
		MaxHead:  8 << 10, HeadTimeout: patience, KeepAlive: patience,
	}
	if spec.change != nil {
		spec.change(w.cfg)
	}
	e := &Endpoint{
		TLS:    &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h3"}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return server, nil }},
		Times:  func() (handshake, silence time.Duration) { return 2 * patience, 2 * patience },
		Limits: func() http2.Limits { return spec.limits },
		Admit: func(netip.AddrPort) Visit {
			w.admitted.Add(1)
			return &visitor{w}
		},
		Busy:     func() { t.Error("too many handshakes") },
		Panicked: w.cfg.Panicked,
		Draining: w.draining, Cut: w.cut,
	}
	go func() { w.done <- Run(pc, e) }()
	t.Cleanup(func() {
		w.stop()
		pc.Close()
	})
	return w
}

// lossyConn loses every tenth packet that is sent.
type lossyConn struct {
	net.PacketConn
	sent atomic.Int64
}

func (l *lossyConn) WriteTo(p []byte, to net.Addr) (int, error) {
	if l.sent.Add(1)%10 == 9 {
		return len(p), nil
	}
	return l.PacketConn.WriteTo(p, to)
}

// stop cuts everything off and waits for the end.
func (w *site) stop() {
	select {
	case <-w.cut:
		return
	default:
	}
	close(w.cut)
	select {
	case err := <-w.done:
		if err != nil {
			w.t.Error(err)
		}
	case <-time.After(patience):
		w.t.Error("the socket does not come to its end")
	}
}

type visitor struct{ *site }

func (v *visitor) Refused(err error, _ tls.ConnectionState) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refused = append(v.refused, err)
}

func (v *visitor) Serve(c *Conn) {
	v.mu.Lock()
	v.served++
	v.mu.Unlock()
	new(Server).Serve(c, v.cfg)
}

// pair makes the two sides of TLS for a.test.
func pair(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spec := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"a.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, spec, spec, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	server = &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h3"}, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return server, &tls.Config{ServerName: "a.test", RootCAs: pool, NextProtos: []string{"h3"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
}

// guest is a raw client.
type guest struct {
	t testing.TB
	*quic.Conn
	control *quic.SendStream
}

// dial connects. Nothing is sent on streams.
func (w *site) dial() *guest {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := quic.DialAddr(ctx, w.addr.String(), w.config, &quic.Config{MaxIdleTimeout: 2 * patience})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.CloseWithError(0x100, "") })
	return &guest{t: w.t, Conn: c}
}

// greet connects and opens the control stream with SETTINGS that say nothing.
func (w *site) greet() *guest {
	w.t.Helper()
	g := w.dial()
	g.control = g.uni(string([]byte{streamControl, byte(kindSettings), 0}))
	return g
}

// uni opens a unidirectional stream.
func (g *guest) uni(p string) *quic.SendStream {
	g.t.Helper()
	s, err := g.OpenUniStream()
	if err != nil {
		g.t.Fatal(err)
	}
	_, _ = io.WriteString(s, p) // the server may have had enough before the end
	return s
}

// open opens a stream and sends p on it, and its end.
func (g *guest) open(p string, end bool) *quic.Stream {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := g.OpenStreamSync(ctx)
	if err != nil {
		g.t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(s, p)
	if end {
		_ = s.Close()
	}
	return s
}

// ended waits for the end of the connection and returns its code.
func (g *guest) ended() code {
	g.t.Helper()
	select {
	case <-g.Context().Done():
	case <-time.After(patience):
		g.t.Fatal("the connection is still open")
	}
	var app *quic.ApplicationError
	if !errors.As(context.Cause(g.Context()), &app) {
		g.t.Fatalf("the connection ended with %v", context.Cause(g.Context()))
	}
	return code(app.ErrorCode)
}

// got reads a whole answer: each frame as its fields or bytes, "|" behind each.
func got(s io.Reader) (string, error) {
	var out strings.Builder
	r := quicvarint.NewReader(s)
	for {
		k, err := quicvarint.Read(r)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return out.String(), err
		}
		n, err := quicvarint.Read(r)
		if err != nil {
			return out.String(), err
		}
		p := make([]byte, n)
		if _, err := io.ReadFull(r, p); err != nil {
			return out.String(), err
		}
		if kind(k) == kindHeaders {
			p = []byte(fieldsOf(p))
		}
		out.Write(p)
		out.WriteByte('|')
	}
}

func fieldsOf(block []byte) string {
	var d qpack.Decoder
	next := d.Decode(block)
	var all []string
	for {
		f, err := next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				all = append(all, err.Error())
			}
			return strings.Join(all, " ")
		}
		all = append(all, f.Name+"="+f.Value)
	}
}

// framed is one frame.
func framed(k kind, p string) string { return string(appendFrame(nil, k, uint64(len(p)))) + p }

// section is a HEADERS frame of fields, "name: value".
func section(fields ...string) string {
	var b bytes.Buffer
	e := qpack.NewEncoder(&b)
	for _, f := range fields {
		at := strings.Index(f[1:], ": ") + 1
		_ = e.WriteField(qpack.HeaderField{Name: f[:at], Value: f[at+2:]})
	}
	return framed(kindHeaders, b.String())
}

// ask is a request's HEADERS with more fields.
func ask(method string, more ...string) string {
	return section(append([]string{":method: " + method, ":scheme: https", ":path: /", ":authority: a.test"}, more...)...)
}

// readAll reads the request as it comes to the handler: the head and all that follows.
func readAll(s *Stream) string {
	in := string(s.In.Bytes())
	s.In.Consume(s.In.Len())
	var b transport.Buffer
	defer b.Release()
	for {
		_, err := s.Conn.ReadInto(&b, transport.Wait{Gap: patience})
		in += string(b.Bytes())
		b.Consume(b.Len())
		if err != nil {
			if !errors.Is(err, io.EOF) {
				in += " " + err.Error()
			}
			return in
		}
	}
}

func write(s *Stream, text string) error {
	return s.Conn.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n")), transport.Wait{Gap: patience})
}

// What holds where nobody says otherwise.
var defaults = http2.Limits{}.Filled()

var (
	maxStreams   = defaults.Streams
	streamWindow = defaults.Window
	grownWindow  = defaults.Grown()
	connWindow   = connBy * grownWindow
)
