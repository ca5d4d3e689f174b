package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// issue returns a certificate for a.test that servers and clients may use, or what change
// makes of it.
func (a *authority) issue(t testing.TB, change ...func(*x509.Certificate)) *model.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"a.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, f := range change {
		f(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &model.Certificate{
		Name:  "secret/ns/own",
		Chain: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key:   model.PrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func keyPair(t testing.TB, c *model.Certificate) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(c.Chain), []byte(c.Key))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// server is a TLS server that sends back what it gets.
type server struct {
	address netip.AddrPort
	config  *tls.Config

	mu    sync.Mutex
	seen  []tls.ConnectionState
	by    map[string]tls.ConnectionState // by the client's end
	conns map[net.Conn]bool
}

func serve(t testing.TB, config *tls.Config) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{address: netip.MustParseAddrPort(l.Addr().String()), config: config, conns: map[net.Conn]bool{}, by: map[string]tls.ConnectionState{}}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = true
			s.mu.Unlock()
			work.Go(func() { s.echo(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		work.Wait()
	})
	return s
}

func (s *server) echo(nc net.Conn) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, nc)
	}()
	c := tls.Server(nc, s.config)
	defer c.Close()
	if c.Handshake() != nil {
		return
	}
	s.mu.Lock()
	s.seen = append(s.seen, c.ConnectionState())
	s.by[nc.RemoteAddr().String()] = c.ConnectionState()
	s.mu.Unlock()
	_, _ = io.Copy(c, c)
}

func (s *server) handshakes() []tls.ConnectionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]tls.ConnectionState(nil), s.seen...)
}

func dialTCP(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", a.String())
}

// secured is a cluster "c" with TLS.
func secured(spec *model.UpstreamTLS) *model.Cluster {
	return testCluster(func(c *model.Cluster) { c.TLS, c.ConnectTimeout = spec, 10*time.Second })
}

func at(address netip.AddrPort) *model.EndpointSet {
	e := &model.EndpointSet{Cluster: "c", Endpoints: []model.Endpoint{{Address: address, Weight: 1}}}
	e.Hash = model.HashOf(e)
	return e
}

// ask makes a request of a new connection or one of the pool.
func ask(t testing.TB, h *Host) (reused bool, err error) {
	t.Helper()
	c, reused, err := h.Acquire(t.Context(), transport.Now(), 0, 0)
	if err != nil {
		return reused, err
	}
	var b transport.Buffer
	defer b.Release()
	if _, _, err = c.Exchange([]byte("ping"), &b, transport.Wait{By: transport.Now().Add(20 * time.Second)}); err != nil {
		h.Release(c, 0, 0)
		return reused, err
	}
	if string(b.Bytes()) != "ping" {
		t.Errorf("got %q", b.Bytes())
	}
	h.Release(c, 0, transport.Now())
	return reused, nil
}

func TestHandshakes(t *testing.T) {
	ca, other := newAuthority(t, "our CA"), newAuthority(t, "somebody")
	good := keyPair(t, ca.issue(t))
	uri, _ := url.Parse("spiffe://mesh/ns/shop")
	spiffe := keyPair(t, ca.issue(t, func(c *x509.Certificate) { c.DNSNames, c.URIs = nil, []*url.URL{uri} }))
	wants := func(version uint16) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(), MaxVersion: version}
	}
	speaking := func(c *tls.Config, protocols ...string) *tls.Config {
		c.NextProtos = protocols
		return c
	}
	plain := &model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem}
	sans := func(names ...model.SubjectAltName) *model.UpstreamTLS {
		return &model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem, SANs: names}
	}
	own := func(c *model.Certificate) *model.UpstreamTLS {
		return &model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem, Client: c}
	}
	with := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	for name, test := range map[string]struct {
		spec *model.UpstreamTLS
		host *tls.Config
		want string // of the error
	}{
		"good":                    {plain, with(good), ""},
		"good, TLS 1.2":           {plain, &tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12}, ""},
		"without tickets":         {plain, &tls.Config{Certificates: []tls.Certificate{good}, SessionTicketsDisabled: true}, ""},
		"with ALPN":               {plain, &tls.Config{Certificates: []tls.Certificate{good}, NextProtos: []string{"http/1.1"}}, ""},
		"two authorities":         {&model.UpstreamTLS{Hostname: "a.test", CAs: other.pem + ca.pem}, with(good), ""},
		"expired":                 {plain, with(keyPair(t, ca.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))), "tls: its certificate has expired at 2"},
		"not yet valid":           {plain, with(keyPair(t, ca.issue(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }))), "tls: its certificate is not valid before 2"},
		"wrong name":              {&model.UpstreamTLS{Hostname: "b.test", CAs: ca.pem}, with(good), "tls: its certificate is for a.test, not for b.test"},
		"no name":                 {plain, with(keyPair(t, ca.issue(t, func(c *x509.Certificate) { c.DNSNames = nil }))), "tls: its certificate is for no name, not for a.test"},
		"unknown authority":       {plain, with(keyPair(t, other.issue(t))), `tls: its certificate is from an unknown authority ("somebody")`},
		"not for servers":         {plain, with(keyPair(t, ca.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }))), "tls: its certificate is not for servers"},
		"system roots":            {&model.UpstreamTLS{Hostname: "a.test"}, with(good), "unknown authority"},
		"names":                   {sans(model.SubjectAltName{Type: model.SANHostname, Value: "x.test"}, model.SubjectAltName{Type: model.SANHostname, Value: "A.test"}), with(good), ""},
		"a wildcard name":         {sans(model.SubjectAltName{Type: model.SANHostname, Value: "*.test"}), with(good), ""},
		"a wildcard certificate":  {sans(model.SubjectAltName{Type: model.SANHostname, Value: "x.a.test"}), with(keyPair(t, ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"*.a.test"} }))), ""},
		"not its wildcard":        {sans(model.SubjectAltName{Type: model.SANHostname, Value: "*.a.test"}), with(good), "tls: its certificate is for a.test, not for *.a.test"},
		"the hostname is no name": {sans(model.SubjectAltName{Type: model.SANHostname, Value: "x.test"}), with(good), "tls: its certificate is for a.test, not for x.test"},
		"a URI":                   {sans(model.SubjectAltName{Type: model.SANURI, Value: "spiffe://mesh/ns/shop"}), with(spiffe), ""},
		"another URI":             {sans(model.SubjectAltName{Type: model.SANURI, Value: "spiffe://mesh/ns/sho"}), with(spiffe), "tls: its certificate is for spiffe://mesh/ns/shop, not for spiffe://mesh/ns/sho"},
		"a URI as a hostname":     {sans(model.SubjectAltName{Type: model.SANHostname, Value: "spiffe://mesh/ns/shop"}), with(spiffe), "not for spiffe"},
		"a URI, another CA":       {&model.UpstreamTLS{CAs: other.pem, SANs: []model.SubjectAltName{{Type: model.SANURI, Value: "spiffe://mesh/ns/shop"}}}, with(spiffe), "unknown authority"},
		"a URI, no hostname":      {&model.UpstreamTLS{CAs: ca.pem, SANs: []model.SubjectAltName{{Type: model.SANURI, Value: "spiffe://mesh/ns/shop"}}}, with(spiffe), ""},
		"names, expired":          {sans(model.SubjectAltName{Type: model.SANHostname, Value: "a.test"}), with(keyPair(t, ca.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))), "expired"},
		"names, not for servers":  {sans(model.SubjectAltName{Type: model.SANHostname, Value: "a.test"}), with(keyPair(t, ca.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }))), "not for servers"},
		"client certificate":      {own(ca.issue(t)), wants(0), ""},
		"client certificate, 1.2": {own(ca.issue(t)), wants(tls.VersionTLS12), ""},
		"none given":              {plain, wants(0), "tls: the host wants a client certificate"},
		"none given, HTTP/2":      {plain, speaking(wants(0), "h2"), "tls: the host wants a client certificate"},
		"none given, 1.2":         {plain, wants(tls.VersionTLS12), "or it wants a client certificate"},
		"wrong one given":         {own(other.issue(t)), wants(0), "tls: the host does not know the authority of our client certificate"},
		"wrong one given, 1.2":    {own(other.issue(t)), wants(tls.VersionTLS12), "tls: the host does not know the authority of our client certificate"},
		"too old":                 {plain, &tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "tls: the host speaks neither TLS 1.2 nor 1.3"},
		"only FTP":                {plain, &tls.Config{Certificates: []tls.Certificate{good}, NextProtos: []string{"ftp"}}, "tls: the host speaks neither HTTP/2 nor HTTP/1.1"},
		"name unknown to it":      {plain, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }}, "tls: the host does not know the name that it was asked for"},
	} {
		t.Run(name, func(t *testing.T) {
			up := serve(t, test.host)
			s := New(Config{Dial: dialTCP})
			apply(t, s, secured(test.spec), at(up.address))
			h := pick(t, s.Cluster("c"))
			_, err := ask(t, h)
			if why := h.Rejected(err); why != nil {
				err = why
			}
			got := status(t, s, up.address.String())
			if test.want == "" {
				if reused, again := ask(t, h); err != nil || again != nil || !reused {
					t.Errorf("got %v, then %v, reused %v", err, again, reused)
				}
				if got.ConnectFailures != 0 || got.LastError != "" || !got.TLS {
					t.Errorf("status %+v", got)
				}
				if sent := up.handshakes()[0].ServerName; sent != test.spec.Hostname {
					t.Errorf("SNI %q", sent)
				}
				h.drain()
				return
			}
			prefix := "cluster c: endpoint " + up.address.String() + ": tls: "
			if err == nil || !strings.HasPrefix(err.Error(), prefix) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
			if got.ConnectFailures != 1 || !strings.Contains(got.LastError, test.want) || got.LastErrorAt.IsZero() || got.Open != 0 {
				t.Errorf("status %+v", got)
			}
		})
	}
}

// TestHostsThatDoNotSpeakTLS has no handshake to fail.
func TestHostsThatDoNotSpeakTLS(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(net.Conn)
		want string
	}{
		"clear text": {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, "tls: the host does not speak TLS"},
		"closing":    {func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }, "tls: the host closed the connection within the handshake"},
		"silent":     {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, "tls: the handshake took too long"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			done := make(chan struct{})
			go func() {
				defer close(done)
				if c, err := l.Accept(); err == nil {
					test.do(c)
					c.Close()
				}
			}()
			address := netip.MustParseAddrPort(l.Addr().String())
			s := New(Config{Dial: dialTCP})
			spec := secured(&model.UpstreamTLS{Hostname: "a.test"})
			spec.ConnectTimeout = 100 * time.Millisecond
			if name != "silent" {
				spec.ConnectTimeout = 20 * time.Second
			}
			apply(t, s, spec, at(address))
			if _, err := ask(t, pick(t, s.Cluster("c"))); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
			<-done
		})
	}
}

// TestSystemRoots runs itself again with an authority of its own in the system's place.
func TestSystemRoots(t *testing.T) {
	if os.Getenv("WEIR_TEST_ROOTS") == "" {
		ca := newAuthority(t, "the system's")
		dir := t.TempDir()
		cert := ca.issue(t)
		for file, data := range map[string]string{"roots.pem": ca.pem, "chain.pem": cert.Chain, "key.pem": string(cert.Key)} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		again := exec.Command(os.Args[0], "-test.run=^TestSystemRoots$", "-test.v")
		again.Env = append(os.Environ(), "WEIR_TEST_ROOTS="+dir, "SSL_CERT_FILE="+filepath.Join(dir, "roots.pem"), "SSL_CERT_DIR="+dir)
		if out, err := again.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS: TestSystemRoots") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	dir := os.Getenv("WEIR_TEST_ROOTS")
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	up := serve(t, &tls.Config{Certificates: []tls.Certificate{pair}})
	for _, spec := range []*model.UpstreamTLS{
		{Hostname: "a.test"},
		{SANs: []model.SubjectAltName{{Type: model.SANHostname, Value: "a.test"}}},
	} {
		s := New(Config{Dial: dialTCP})
		apply(t, s, secured(spec), at(up.address))
		h := pick(t, s.Cluster("c"))
		if _, err := ask(t, h); err != nil {
			t.Error(err)
		}
		h.drain()
	}
}

func TestWrongSpecificationsKeepTheClusterAsItWas(t *testing.T) {
	ca := newAuthority(t, "our CA")
	up := serve(t, &tls.Config{Certificates: []tls.Certificate{keyPair(t, ca.issue(t))}})
	s := New(Config{Dial: dialTCP})
	apply(t, s, secured(&model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem}), at(up.address))
	h := pick(t, s.Cluster("c"))
	cert := ca.issue(t)
	for want, spec := range map[string]*model.UpstreamTLS{
		"cluster c: tls: no name that":                         {CAs: ca.pem},
		"cluster c: tls: no certificate authority can be read": {Hostname: "a.test", CAs: "nonsense"},
		"cluster c: tls: secret/ns/own: ":                      {Hostname: "a.test", CAs: ca.pem, Client: &model.Certificate{Name: "secret/ns/own", Chain: cert.Chain, Key: ca.issue(t).Key}},
	} {
		if err := s.Apply([]*model.Cluster{secured(spec)}, []*model.EndpointSet{at(up.address)}); err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("got %v, want %s", err, want)
		}
		if _, err := ask(t, h); err != nil {
			t.Error(err)
		}
	}
	if n := len(up.handshakes()); n != 1 {
		t.Errorf("%d handshakes", n)
	}
	h.drain()
}

// TestRotation changes authority and client certificate while connections are used: they are
// finished, nothing fails, and what follows has the new ones.
func TestRotation(t *testing.T) {
	first, second := newAuthority(t, "first"), newAuthority(t, "second")
	pairs := map[*authority]tls.Certificate{first: keyPair(t, first.issue(t)), second: keyPair(t, second.issue(t))}
	clients := first.pool()
	clients.AddCert(second.cert)
	var mu sync.Mutex
	now := first
	up := serve(t, &tls.Config{
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			mu.Lock()
			defer mu.Unlock()
			pair := pairs[now]
			return &pair, nil
		},
	})
	s := New(Config{Dial: dialTCP})
	spec := func(ca *authority) *model.Cluster {
		return secured(&model.UpstreamTLS{Hostname: "a.test", CAs: first.pem + second.pem, Client: ca.issue(t)})
	}
	apply(t, s, spec(first), at(up.address))
	h := pick(t, s.Cluster("c"))
	stop := make(chan struct{})
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for {
				if _, err := ask(t, h); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range 20 {
		ca := first
		if i%2 == 0 {
			ca = second
		}
		mu.Lock()
		now = ca
		mu.Unlock()
		apply(t, s, spec(ca), at(up.address))
		c, _, err := h.Acquire(t.Context(), transport.Now(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b transport.Buffer
		if _, _, err := c.Exchange([]byte("x"), &b, transport.Wait{}); err != nil {
			t.Fatal(err)
		}
		b.Release()
		up.mu.Lock()
		there := up.by[c.LocalAddr().String()].PeerCertificates[0].Issuer.CommonName
		up.mu.Unlock()
		here, _ := c.TLS()
		if want := ca.cert.Subject.CommonName; there != want || here.PeerCertificates[0].Issuer.CommonName != want {
			t.Errorf("after the change to %s: a client certificate from %s, a server's from %v", want, there, here.PeerCertificates[0].Issuer)
		}
		h.Release(c, 0, transport.Now())
	}
	close(stop)
	users.Wait()
	if n := status(t, s, up.address.String()).ConnectFailures; n != 0 {
		t.Errorf("%d connections failed", n)
	}
	h.drain()
	if n := h.Stats.Open.Load(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestSessionsAreResumedUntilTheWiringChanges(t *testing.T) {
	ca := newAuthority(t, "our CA")
	for version, name := range map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"} {
		t.Run(name, func(t *testing.T) {
			up := serve(t, &tls.Config{Certificates: []tls.Certificate{keyPair(t, ca.issue(t))}, MaxVersion: version})
			s := New(Config{Dial: dialTCP})
			sans := []model.SubjectAltName{{Type: model.SANHostname, Value: "a.test"}}
			h := (*Host)(nil)
			for i, spec := range []*model.UpstreamTLS{
				{Hostname: "a.test", CAs: ca.pem},
				{Hostname: "a.test", CAs: ca.pem, SANs: sans},
				{Hostname: "a.test", CAs: ca.pem, Client: ca.issue(t)},
			} {
				apply(t, s, secured(spec), at(up.address))
				h = pick(t, s.Cluster("c"))
				for range 3 {
					if _, err := ask(t, h); err != nil {
						t.Fatal(err)
					}
					h.drop(h.common.shards[0].outdated(0))
				}
				var resumed []bool
				for _, state := range up.handshakes()[3*i:] {
					resumed = append(resumed, state.DidResume)
				}
				if len(resumed) != 3 || resumed[0] || !resumed[1] || !resumed[2] {
					t.Errorf("resumed %v", resumed)
				}
			}
		})
	}
}

// TestConfigurationsAreSharedAndForgotten: a thousand backends with one authority parse it once.
func TestConfigurationsAreSharedAndForgotten(t *testing.T) {
	ca := newAuthority(t, "our CA")
	s := New(Config{})
	var list []*model.Cluster
	for _, name := range []string{"a", "b"} {
		c := secured(&model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem})
		c.Name = name
		c.Hash = model.HashOf(c)
		list = append(list, c)
	}
	if err := s.Apply(list, nil); err != nil {
		t.Fatal(err)
	}
	if a, b := s.Cluster("a").wiring, s.Cluster("b").wiring; a.config != b.config || a.era == b.era || len(s.configs) != 1 {
		t.Errorf("%+v and %+v of %d", a, b, len(s.configs))
	}
	apply(t, s, nil, nil)
	if len(s.configs) != 0 {
		t.Errorf("%d are kept", len(s.configs))
	}
}

// TestFromClearTextToTLSAndBack: no connection of one kind serves the other.
func TestFromClearTextToTLSAndBack(t *testing.T) {
	ca := newAuthority(t, "our CA")
	up := serve(t, &tls.Config{Certificates: []tls.Certificate{keyPair(t, ca.issue(t))}})
	s := New(Config{Dial: dialTCP})
	apply(t, s, testCluster(), at(up.address))
	h := pick(t, s.Cluster("c"))
	held, _ := acquire(t, h, 0)
	idle, _ := acquire(t, h, 0)
	h.Release(idle, 0, transport.Now())
	apply(t, s, secured(&model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem}), at(up.address))
	h.Release(held, 0, transport.Now())
	for _, want := range []bool{false, true} {
		if reused, err := ask(t, h); err != nil || reused != want {
			t.Errorf("reused %v, %v", reused, err)
		}
	}
	apply(t, s, testCluster(), at(up.address))
	if c, reused := acquire(t, h, 0); reused {
		t.Error("clear text on a secured connection")
	} else {
		h.Release(c, 0, 0)
	}
	if n := h.Stats.Open.Load(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// TestHostsThatGoKeepTheirWiring: who moves a backend to another port and to TLS in one edit
// loses no request that has chosen a host before.
func TestHostsThatGoKeepTheirWiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, z := &network{}, &zone{}
		s := New(Config{Dial: n.dial, Resolve: z.resolve})
		apply(t, s, testCluster(), endpoints(1))
		before := pick(t, s.Cluster("c"))
		clear := before.wiring.Load()
		spec := &model.UpstreamTLS{Hostname: "a.test"}
		apply(t, s, secured(spec), at(address("10.0.0.9:443")))
		after := pick(t, s.Cluster("c"))
		if before.wiring.Load() != clear || after.wiring.Load().config == nil {
			t.Errorf("wired by %+v, then by %+v", before.wiring.Load(), after.wiring.Load())
		}
		c, err := before.Fresh(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		before.Release(c, 0, transport.Now())
		if !n.closed(t, 0) {
			t.Error("a host that goes keeps a connection")
		}

		// While a name is asked for, what was there stays as it was.
		z.set(nil, "a.test", "192.0.2.1")
		byName := named("a.test")
		byName.Hash = ""
		apply(t, s, byName, nil)
		if still := pick(t, s.Cluster("c")); still != after || still.wiring.Load().config == nil {
			t.Errorf("before the answer: %+v", still.status(transport.Now()))
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		if now := pick(t, s.Cluster("c")); now.address != address("192.0.2.1:8080") || now.wiring.Load().config != nil {
			t.Errorf("after the answer: %+v", now.status(transport.Now()))
		}
		cancel()
		<-done
	})
}

func TestHandshakeEndsWithItsCaller(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := New(Config{Dial: dialTCP})
	apply(t, s, secured(&model.UpstreamTLS{Hostname: "a.test"}), at(netip.MustParseAddrPort(l.Addr().String())))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Read(make([]byte, 1))
			cancel()
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	h := pick(t, s.Cluster("c"))
	if _, err := h.Fresh(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := h.Stats.ConnectFailures.Load(); n != 0 {
		t.Error("the host is blamed")
	}
}

// TestHostsDoNotWriteOnTerminals: what a host's certificate says is bounded and printable.
func TestHostsDoNotWriteOnTerminals(t *testing.T) {
	leaf := &x509.Certificate{DNSNames: []string{"a\x1b[2J\n" + strings.Repeat("ü", 400) + "\xff"}}
	got := (&handshakeError{&nameError{leaf, []model.SubjectAltName{{Value: "b.test"}}}, "", nil}).Error()
	if !strings.HasPrefix(got, "tls: its certificate is for a?[2J?ü") || len(got) > maxReason+20 || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
		t.Errorf("got %q", got)
	}
}

// TestTheLastErrorIsForgottenWithTheNextConnection: only the last attempt counts.
func TestTheLastErrorIsForgottenWithTheNextConnection(t *testing.T) {
	n := &network{}
	refused := errors.New("connection refused")
	s, h := one(t, Config{Dial: func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
		if refused != nil {
			return nil, refused
		}
		return n.dial(ctx, a)
	}})
	if _, err := h.Fresh(t.Context(), 0); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	if got := status(t, s, "10.0.0.1:80"); got.LastError != "connection refused" || got.LastErrorAt.IsZero() || got.TLS {
		t.Errorf("%+v", got)
	}
	refused = nil
	c, err := h.Fresh(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	h.Release(c, 0, 0)
	if got := status(t, s, "10.0.0.1:80"); got.LastError != "" || got.ConnectFailures != 1 {
		t.Errorf("%+v", got)
	}
}
