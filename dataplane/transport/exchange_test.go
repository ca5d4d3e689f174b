package transport

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// certificate returns one for "a.test" by itself, and the pool that trusts it.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"a.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// gathering is a connection whose writes go out in one piece.
type gathering struct {
	net.Conn
	on   bool
	held bytes.Buffer
}

func (g *gathering) Write(p []byte) (int, error) {
	if g.on {
		return g.held.Write(p)
	}
	return g.Conn.Write(p)
}

// flush sends what was held.
func (g *gathering) flush(t *testing.T) {
	t.Helper()
	g.on = false
	_ = g.SetWriteDeadline(time.Time{}) // crypto/tls lets nobody write after the notice of the end
	if _, err := g.held.WriteTo(g.Conn); err != nil {
		t.Fatal(err)
	}
}

// remote is the server's end of a connection with TLS.
type remote struct {
	t *testing.T
	*tls.Conn
	wire *gathering
	tcp  *net.TCPConn
}

// answer reads a request and writes an answer.
func (r *remote) answer(request, answer string) {
	r.t.Helper()
	got := make([]byte, len(request))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != request {
		r.t.Errorf("the server got %q, %v", got, err)
	}
	if _, err := io.WriteString(r, answer); err != nil {
		r.t.Error(err)
	}
}

// clientPair returns a client's Conn with TLS after the handshake, and the server's end.
func clientPair(t *testing.T, change ...func(client, server *tls.Config)) (*Conn, *remote) {
	t.Helper()
	pair, pool := certificate(t)
	client, server := &tls.Config{ServerName: "a.test", RootCAs: pool}, &tls.Config{Certificates: []tls.Certificate{pair}}
	for _, f := range change {
		f(client, server)
	}
	c, tcp := pairOfTCP(t)
	wire := &gathering{Conn: tcp}
	r := &remote{t, tls.Server(wire, server), wire, tcp}
	done := make(chan error, 1)
	go func() { done <- r.Handshake() }()
	c.Secure(func(nc net.Conn) *tls.Conn { return tls.Client(nc, client) })
	if err := c.Handshake(Wait{By: Now().Add(20 * time.Second)}, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c, r
}

func pairOfTCP(t *testing.T) (*Conn, *net.TCPConn) {
	c, peer := pair(t)
	_ = peer.SetDeadline(time.Now().Add(20 * time.Second))
	return c, peer
}

// ping makes one exchange.
func (r *remote) ping(c *Conn) {
	r.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); r.answer("ping", "pong") }()
	var b Buffer
	defer b.Release()
	n, sent, err := c.Exchange([]byte("ping"), &b, Wait{By: Now().Add(20 * time.Second)})
	if <-done; n != 4 || !sent || err != nil || string(b.Bytes()) != "pong" {
		r.t.Errorf("got %d %v %v %q", n, sent, err, b.Bytes())
	}
}

// arrived waits until the socket has something.
func arrived(c *Conn) {
	for c.Peer() == PeerQuiet { // it is on its way
	}
}

// TestIdleConnectionsOverTLS does things to a connection that is idle: what ends it is seen
// before a request is sent, and what does not leaves it as it was.
func TestIdleConnectionsOverTLS(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(r *remote)
		want error
	}{
		"nothing":               {func(*remote) {}, nil},
		"an orderly end":        {func(r *remote) { r.Close() }, io.EOF},
		"a notice of the end":   {func(r *remote) { _ = r.CloseWrite() }, io.EOF},
		"an end without notice": {func(r *remote) { r.tcp.Close() }, io.EOF},
		"an answer to nothing":  {func(r *remote) { _, _ = io.WriteString(r, "HTTP/1.1 408 Request Timeout\r\n\r\n") }, ErrUnsolicited},
		"an answer, and the end": {func(r *remote) {
			_, _ = io.WriteString(r, "HTTP/1.1 408 Request Timeout\r\n\r\n")
			r.Close()
		}, ErrUnsolicited},
	} {
		for _, used := range []bool{false, true} { // if not, session tickets wait to be read
			for version, suffix := range map[uint16]string{tls.VersionTLS12: ", 1.2", tls.VersionTLS13: ", 1.3"} {
				t.Run(name+suffix, func(t *testing.T) {
					c, r := clientPair(t, func(_, server *tls.Config) { server.MaxVersion = version })
					if used {
						r.ping(c)
					}
					for range 2 {
						if c.Stale() {
							t.Error("stale at once")
						}
					}
					test.do(r)
					c.Rested = true
					if test.want == nil {
						r.ping(c)
						return
					}
					arrived(c)
					var b Buffer
					if _, sent, err := c.Exchange([]byte("ping"), &b, Wait{By: Now().Add(20 * time.Second)}); sent || !errors.Is(err, test.want) {
						t.Errorf("got sent %v, %v", sent, err)
					}
					if !c.Stale() {
						t.Error("not stale")
					}
					b.Release()
				})
			}
		}
	}
}

// TestWhatCameWithTheAnswerIsSeen has more than an answer in one piece of the stream, so that
// the socket has nothing left to tell of it; the connection has not even rested.
func TestWhatCameWithTheAnswerIsSeen(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(r *remote)
		want error
	}{
		"the end":                {func(r *remote) { _ = r.CloseWrite() }, io.EOF},
		"another answer":         {func(r *remote) { _, _ = io.WriteString(r, "junk") }, ErrUnsolicited},
		"another answer, in two": {func(r *remote) { _, _ = io.WriteString(r, "ju"); _, _ = io.WriteString(r, "nk") }, ErrUnsolicited},
	} {
		t.Run(name, func(t *testing.T) {
			c, r := clientPair(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				r.wire.on = true
				r.answer("ping", "pong")
				test.do(r)
				r.wire.flush(t)
			}()
			var b Buffer
			defer b.Release()
			if _, _, err := c.Exchange([]byte("ping"), &b, Wait{By: Now().Add(20 * time.Second)}); err != nil || string(b.Bytes()) != "pong" {
				t.Fatalf("got %v, %q", err, b.Bytes())
			}
			<-done
			b.Consume(4)
			if _, sent, err := c.Exchange([]byte("ping"), &b, Wait{By: Now().Add(20 * time.Second)}); sent || !errors.Is(err, test.want) {
				t.Errorf("got sent %v, %v", sent, err)
			}
		})
	}
}

// TestExchangeOverTLSOfAllSizes crosses the bounds of records, buffers and of what is held.
func TestExchangeOverTLSOfAllSizes(t *testing.T) {
	for _, n := range []int{1, 1 << 10, 4 << 10, maxHeld - 1, maxHeld, maxHeld + 1, 40 << 10, 4 << 20} {
		c, r := clientPair(t)
		for range 2 {
			request := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
			go func() {
				got := make([]byte, n)
				if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, request) {
					t.Errorf("the server got something else, or %v", err)
				}
				_, _ = r.Write(got)
			}()
			var b Buffer
			_, sent, err := c.Exchange(request, &b, Wait{By: Now().Add(20 * time.Second)})
			if !sent || err != nil {
				t.Fatal(err)
			}
			for read := 0; ; {
				if !bytes.Equal(b.Bytes(), request[read:read+b.Len()]) {
					t.Fatal("another answer")
				}
				read += b.Len()
				b.Consume(b.Len())
				if read == n {
					break
				}
				if _, err := c.ReadInto(&b, Wait{By: Now().Add(20 * time.Second)}); err != nil {
					t.Fatal(err)
				}
			}
			b.Release()
		}
	}
}

// TestExchangeWaitsForASlowPeer sends a held request in parts: the socket takes no more at once.
func TestExchangeWaitsForASlowPeer(t *testing.T) {
	c, r := clientPair(t)
	_ = c.nc.(*net.TCPConn).SetWriteBuffer(1) // the least that there is
	request := strings.Repeat("r", maxHeld)
	go r.answer(request, "pong")
	var b Buffer
	defer b.Release()
	if _, _, err := c.Exchange([]byte(request), &b, Wait{By: Now().Add(20 * time.Second)}); err != nil || string(b.Bytes()) != "pong" {
		t.Errorf("got %v, %q", err, b.Bytes())
	}
}

// TestExchangeHearsWhyThePeerIsGone: a server that refuses our certificate, or its lack, may have
// reset the connection by the time of the first request. What it said before is still there.
func TestExchangeHearsWhyThePeerIsGone(t *testing.T) {
	pair, pool := certificate(t)
	c, tcp := pairOfTCP(t)
	refused := make(chan error, 1)
	go func() {
		refused <- tls.Server(tcp, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}).Handshake()
		tcp.Close()
	}()
	c.Secure(func(nc net.Conn) *tls.Conn {
		return tls.Client(nc, &tls.Config{ServerName: "a.test", RootCAs: pool})
	})
	if err := c.Handshake(Wait{By: Now().Add(20 * time.Second)}, nil); err != nil {
		t.Fatal(err)
	}
	if <-refused == nil {
		t.Fatal("the server wants no certificate")
	}
	for c.Peer() == PeerQuiet { // its words are on their way
	}
	_, _ = c.nc.Write([]byte("x")) // for a reset, unless it has come
	for c.Peer() != PeerReset {
	}
	var b Buffer
	_, _, err := c.Exchange([]byte("ping"), &b, Wait{By: Now().Add(20 * time.Second)})
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("got %v", err)
	}
	b.Release()
}

// TestExchangeTimesOutAndGoesOn: the end of a wait for an answer leaves the stream as it was.
func TestExchangeTimesOutAndGoesOn(t *testing.T) {
	c, r := clientPair(t)
	var b Buffer
	defer b.Release()
	if _, sent, err := c.Exchange([]byte("ping"), &b, Wait{By: Now().Add(time.Millisecond)}); !sent || !errors.Is(err, ErrTimeout) {
		t.Fatalf("got %v %v", sent, err)
	}
	r.answer("ping", "pong")
	if _, err := c.ReadInto(&b, Wait{By: Now().Add(20 * time.Second)}); err != nil || string(b.Bytes()) != "pong" {
		t.Errorf("got %v, %q", err, b.Bytes())
	}
}

// TestExchangeOverTLSInMemory has no socket to look at.
func TestExchangeOverTLSInMemory(t *testing.T) {
	pair, pool := certificate(t)
	near, far := net.Pipe()
	r := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{pair}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(r, r)
	}()
	c := New(near)
	c.Secure(func(nc net.Conn) *tls.Conn {
		return tls.Client(nc, &tls.Config{ServerName: "a.test", RootCAs: pool})
	})
	if err := c.Handshake(Wait{By: Now().Add(20 * time.Second)}, nil); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var b Buffer
		c.Rested = true
		if _, _, err := c.Exchange([]byte("ping"), &b, Wait{By: Now().Add(20 * time.Second)}); err != nil || string(b.Bytes()) != "ping" {
			t.Errorf("got %v, %q", err, b.Bytes())
		}
		b.Release()
	}
	far.Close()
	c.Close()
	<-done
}

// BenchmarkExchange is one request and answer of 200 bytes on a pooled connection, the peer's
// half included.
func BenchmarkExchange(b *testing.B) {
	for _, secured := range []bool{false, true} {
		name := "clear"
		if secured {
			name = "tls"
		}
		b.Run(name, func(b *testing.B) {
			c, end := benchPair(b, secured)
			defer end()
			request := bytes.Repeat([]byte("r"), 200)
			var in Buffer
			b.ReportAllocs()
			for b.Loop() {
				c.Rested = true
				if _, _, err := c.Exchange(request, &in, Wait{}); err != nil {
					b.Fatal(err)
				}
				in.Release()
			}
		})
	}
}

func benchPair(b *testing.B, secured bool) (*Conn, func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	c := New(nc)
	if secured {
		pair, pool := certificate(b)
		peer = tls.Server(peer, &tls.Config{Certificates: []tls.Certificate{pair}})
		c.Secure(func(nc net.Conn) *tls.Conn {
			return tls.Client(nc, &tls.Config{ServerName: "a.test", RootCAs: pool})
		})
	}
	done := make(chan struct{})
	go func() { defer close(done); _, _ = io.Copy(peer, onlyReader{peer}) }()
	if secured {
		if err := c.Handshake(Wait{}, nil); err != nil {
			b.Fatal(err)
		}
	}
	return c, func() { c.Close(); <-done; peer.Close() }
}

// onlyReader keeps io.Copy from splicing.
type onlyReader struct{ io.Reader }
