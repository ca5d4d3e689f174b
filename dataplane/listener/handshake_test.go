package listener

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// hall is a set with one socket on loopback, whose handler answers each line with who asked.
type hall struct {
	t        testing.TB
	set      *Set
	stats    *telemetry.ConnStats
	addr     string
	refusals chan Refusal
}

const handshakePatience = 20 * time.Second

func newHall(t testing.TB, spec *model.TLS, change func(*Config)) *hall {
	t.Helper()
	h := &hall{t: t, refusals: make(chan Refusal, 1000)}
	metrics := telemetry.NewMetrics(1)
	cfg := Config{
		Listen: func(ctx context.Context, a netip.AddrPort) (net.Listener, error) {
			return (&net.ListenConfig{}).Listen(ctx, "tcp", a.String())
		},
		Handle: tell, Log: slog.New(slog.DiscardHandler), Metrics: metrics, Shards: 1,
		Refuse: func(_ *Conn, r Refusal) { h.refusals <- r },
	}
	if change != nil {
		change(&cfg)
	}
	h.set = New(cfg)
	t.Cleanup(func() { h.set.Drain(context.Background()) })
	h.apply(spec)
	h.addr = h.set.Addresses()["front"].String()
	h.stats = metrics.Listener("front")
	return h
}

func (h *hall) apply(spec *model.TLS) {
	h.t.Helper()
	if err := h.try(spec); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hall) try(spec *model.TLS) error {
	return h.set.Apply([]*model.Listener{{Name: "front", Address: netip.MustParseAddrPort("127.0.0.1:0"), TLS: spec}})
}

// tell answers each piece with what the handshake has settled, and the piece.
func tell(c *Conn) transport.Instant {
	var b transport.Buffer
	defer b.Release()
	for {
		if _, err := c.ReadInto(&b, transport.Wait{Stop: c.Socket.StopIdle()}); err != nil {
			return 0
		}
		s := c.Secured
		if s == nil {
			s = &Secured{}
		}
		text := fmt.Sprintf("%s|%s|%s|%s", s.ServerName, s.Protocol, s.Identity, b.Bytes())
		b.Consume(b.Len())
		if c.Write([]byte(text), transport.Wait{Gap: time.Second}) != nil {
			return 0
		}
	}
}

// ask makes a connection and asks for an echo.
func (h *hall) ask(config *tls.Config) (*tls.Conn, string, error) {
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		return nil, "", err
	}
	_ = nc.SetDeadline(time.Now().Add(handshakePatience))
	c := tls.Client(nc, config)
	if err := c.Handshake(); err != nil {
		_ = nc.Close()
		return nil, "", err
	}
	text, err := again(c)
	if err != nil {
		_ = nc.Close()
		return nil, "", err
	}
	h.t.Cleanup(func() { _ = nc.Close() })
	return c, text, nil
}

// until waits for something that other goroutines bring about.
func until(t testing.TB, what string, claim func() bool) {
	t.Helper()
	for limit := time.Now().Add(handshakePatience); !claim(); runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatalf("never came: %s", what)
		}
	}
}

func again(c *tls.Conn) (string, error) {
	if _, err := c.Write([]byte("x")); err != nil {
		return "", err
	}
	var b [4096]byte
	n, err := c.Read(b[:])
	return string(b[:n]), err
}

func names(list ...model.TLSName) *model.TLS {
	return &model.TLS{Names: list, Handshake: 10 * time.Second}
}

func TestNamesChooseCertificates(t *testing.T) {
	ca := newAuthority(t, "ca")
	spec := names(
		model.TLSName{Hostname: "shop.example.com", Certificates: []model.Certificate{ca.serve("shop.example.com")}},
		model.TLSName{Hostname: "*.example.com", Certificates: []model.Certificate{ca.serve("wild.test", "*.example.com")}},
	)
	rest := names(append(spec.Names, model.TLSName{Certificates: []model.Certificate{ca.serve("any.test")}})...)
	for _, tt := range []struct {
		name string
		spec *model.TLS
		sni  string
		want string // the first name of the certificate, or a part of the error
		end  telemetry.Handshake
	}{
		{"exact", spec, "shop.example.com", "shop.example.com", telemetry.HandshakeFull},
		{"upper case", spec, "SHOP.example.com", "shop.example.com", telemetry.HandshakeFull},
		{"wildcard", spec, "a.b.example.com", "wild.test", telemetry.HandshakeFull},
		{"not under the wildcard", spec, "example.com", "unrecognized name", telemetry.HandshakeName},
		{"unknown", spec, "other.test", "unrecognized name", telemetry.HandshakeName},
		{"no name", spec, "", "unrecognized name", telemetry.HandshakeName},
		{"default for the unknown", rest, "other.test", "any.test", telemetry.HandshakeFull},
		{"default for none", rest, "", "any.test", telemetry.HandshakeFull},
		{"exact before default", rest, "shop.example.com", "shop.example.com", telemetry.HandshakeFull},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tt.name+"/"+tls.VersionName(version), func(t *testing.T) {
				h := newHall(t, tt.spec, nil)
				c, text, err := h.ask(&tls.Config{ServerName: tt.sni, InsecureSkipVerify: true, MaxVersion: version})
				if tt.end != telemetry.HandshakeFull {
					if err == nil || !strings.Contains(err.Error(), tt.want) {
						t.Fatalf("got %v, want %q", err, tt.want)
					}
					if r := <-h.refusals; r.End != tt.end {
						t.Errorf("counted as %v: %v", r.End, r.Err)
					}
				} else {
					if err != nil {
						t.Fatal(err)
					}
					if got := c.ConnectionState().PeerCertificates[0].DNSNames[0]; got != tt.want {
						t.Errorf("certificate for %s, want %s", got, tt.want)
					}
					if want := strings.ToLower(tt.sni) + "|||x"; text != want {
						t.Errorf("got %q, want %q", text, want)
					}
				}
				if n := h.stats.Handshakes(tt.end); n != 1 {
					t.Errorf("%v counted %d times", tt.end, n)
				}
			})
		}
	}
}

func TestWhatIsNegotiated(t *testing.T) {
	ca := newAuthority(t, "ca")
	one := []model.TLSName{{Hostname: "a.test", Certificates: []model.Certificate{ca.serve("a.test")}}}
	for _, tt := range []struct {
		name   string
		spec   model.TLS
		http2  bool
		client *tls.Config
		want   string // the protocol, or a part of the error
		end    telemetry.Handshake
	}{
		{name: "both, HTTP/2 is not served", client: &tls.Config{NextProtos: []string{"h2", "http/1.1"}}, want: "http/1.1"},
		{name: "both", http2: true, client: &tls.Config{NextProtos: []string{"http/1.1", "h2"}}, want: "h2"},
		{name: "neither names one", http2: true, client: &tls.Config{}, want: ""},
		{name: "only HTTP/2, which is not served", client: &tls.Config{NextProtos: []string{"h2"}}, want: "no application protocol", end: telemetry.HandshakeMismatch},
		{name: "old version", client: &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, want: "protocol version", end: telemetry.HandshakeMismatch},
		{name: "below the minimum", spec: model.TLS{MinVersion: model.TLS13}, client: &tls.Config{MaxVersion: tls.VersionTLS12}, want: "protocol version", end: telemetry.HandshakeMismatch},
		{
			name: "suite", spec: model.TLS{CipherSuites: []string{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}},
			client: &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}},
			want:   "handshake failure", end: telemetry.HandshakeMismatch,
		},
		{
			name: "suites do not concern TLS 1.3", spec: model.TLS{CipherSuites: []string{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}},
			client: &tls.Config{NextProtos: []string{"http/1.1"}}, want: "http/1.1",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.spec.Names = one
			h := newHall(t, &tt.spec, func(c *Config) { c.HTTP2 = tt.http2 })
			tt.client.ServerName, tt.client.RootCAs = "a.test", ca.pool()
			c, text, err := h.ask(tt.client)
			if tt.end != 0 {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("got %v, want %q", err, tt.want)
				}
				if r := <-h.refusals; r.End != tt.end {
					t.Errorf("counted as %v: %v", r.End, r.Err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := c.ConnectionState().NegotiatedProtocol; got != tt.want || text != "a.test|"+tt.want+"||x" {
				t.Errorf("the client has %q, the handler %q, want %q", got, text, tt.want)
			}
		})
	}
}

func TestClientCertificates(t *testing.T) {
	ca, clients, strangers := newAuthority(t, "ca"), newAuthority(t, "clients"), newAuthority(t, "strangers")
	const id = "spiffe://prod.test/ns/shop/sa/cart"
	for _, tt := range []struct {
		name   string
		cert   *tls.Certificate
		want   string // identity of a valid one
		refuse string // part of the error where one is required; empty: it passes
		alert  string
	}{
		{"valid", new(clients.issue(uris(t, id))), id, "", ""},
		{"valid without URI", new(clients.issue(nil)), "", "", ""},
		{"two URIs", new(clients.issue(uris(t, id, "spiffe://prod.test/b"))), "", "", ""},
		{"other URI", new(clients.issue(uris(t, "https://prod.test/ns"))), "", "", ""},
		{"SPIFFE ID with a query", new(clients.issue(uris(t, id+"?a=b"))), "", "", ""},
		{"SPIFFE ID with a port", new(clients.issue(uris(t, "spiffe://prod.test:80/a"))), "", "", ""},
		{"none", nil, "", "didn't provide a certificate", ""},
		{"unknown authority", new(strangers.issue(uris(t, id))), "", "unknown authority", "unknown certificate authority"},
		{"expired", new(clients.issue(func(c *x509.Certificate) {
			uris(t, id)(c)
			c.NotAfter = time.Now().Add(-time.Hour)
		})), "", "expired", "expired certificate"},
		{"for servers", new(clients.issue(func(c *x509.Certificate) {
			uris(t, id)(c)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})), "", "incompatible key usage", "bad certificate"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for _, insecure := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/insecure=%v", tt.name, tls.VersionName(version), insecure), func(t *testing.T) {
					h := newHall(t, names(model.TLSName{
						Hostname: "a.test", Certificates: []model.Certificate{ca.serve("a.test")},
						Client: &model.ClientValidation{CAs: clients.pem, Insecure: insecure},
					}), nil)
					_, text, err := h.ask(&tls.Config{ServerName: "a.test", RootCAs: ca.pool(), MaxVersion: version, GetClientCertificate: giving(tt.cert)})
					if !insecure && tt.refuse != "" {
						if err == nil || !strings.Contains(err.Error(), tt.alert) {
							t.Errorf("the client saw %v, want %q", err, tt.alert)
						}
						r := <-h.refusals
						if r.End != telemetry.HandshakeCertificate || !strings.Contains(r.Err.Error(), tt.refuse) {
							t.Errorf("%v: %v, want %q", r.End, r.Err, tt.refuse)
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					if want := "a.test||" + tt.want + "|x"; text != want {
						t.Errorf("got %q, want %q", text, want)
					}
				})
			}
		}
	}
}

// giving presents a certificate whatever authorities the server names.
func giving(c *tls.Certificate) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if c == nil {
			return &tls.Certificate{}, nil
		}
		return c, nil
	}
}

// TestTicketsStayWithTheirName resumes sessions where the name and what it asks of clients
// are the same, and nowhere else.
func TestTicketsStayWithTheirName(t *testing.T) {
	ca, clients, others := newAuthority(t, "ca"), newAuthority(t, "clients"), newAuthority(t, "others")
	name := func(host string, v *model.ClientValidation) model.TLSName {
		return model.TLSName{Hostname: host, Certificates: []model.Certificate{ca.serve(host, "a.test", "b.test")}, Client: v}
	}
	must := &model.ClientValidation{CAs: clients.pem}
	open := names(name("a.test", nil), name("b.test", nil))
	for _, tt := range []struct {
		name          string
		first, second *model.TLS
		sni           string // of the second handshake
		resumes       bool
		fails         bool
	}{
		{"the same", open, open, "a.test", true, false},
		{"rotated", open, names(name("a.test", nil), name("b.test", nil)), "a.test", true, false},
		{"another name", open, open, "b.test", false, false},
		{"validation has come", open, names(name("a.test", must)), "a.test", false, false},
		{"another name with validation", names(name("a.test", nil), name("b.test", must)), names(name("a.test", nil), name("b.test", must)), "b.test", false, false},
		{"with validation", names(name("a.test", must)), names(name("a.test", must)), "a.test", true, false},
		{"other authorities", names(name("a.test", must)), names(name("a.test", &model.ClientValidation{CAs: others.pem})), "a.test", false, true},
		{"insecure before", names(name("a.test", &model.ClientValidation{CAs: clients.pem, Insecure: true})), names(name("a.test", must)), "a.test", false, false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tt.name+"/"+tls.VersionName(version), func(t *testing.T) {
				h := newHall(t, tt.first, nil)
				cache := &oneSession{}
				cert := clients.issue(nil)
				config := &tls.Config{ServerName: "a.test", RootCAs: ca.pool(), MaxVersion: version, ClientSessionCache: cache, GetClientCertificate: giving(&cert)}
				c, _, err := h.ask(config)
				if err != nil {
					t.Fatal(err)
				}
				h.apply(tt.second)
				if _, err := again(c); err != nil {
					t.Errorf("the first connection was dropped: %v", err)
				}
				config.ServerName = tt.sni
				c, _, err = h.ask(config)
				if tt.fails != (err != nil) {
					t.Fatalf("the second handshake: %v", err)
				}
				if tt.fails {
					return
				}
				if got := c.ConnectionState().DidResume; got != tt.resumes {
					t.Errorf("resumed: %v", got)
				}
				if n := h.stats.Handshakes(telemetry.HandshakeResumed); (n == 1) != tt.resumes {
					t.Errorf("%d counted as resumed", n)
				}
			})
		}
	}
}

// oneSession offers the last session to whoever is asked.
type oneSession struct {
	last atomic.Pointer[tls.ClientSessionState]
}

func (s *oneSession) Get(string) (*tls.ClientSessionState, bool) {
	last := s.last.Load()
	return last, last != nil
}

func (s *oneSession) Put(_ string, state *tls.ClientSessionState) {
	if state != nil {
		s.last.Store(state)
	}
}

func TestTicketKeysRotate(t *testing.T) {
	var k ticketry
	now := time.Unix(1_000_000, 0)
	secrets := func(at time.Duration) (list [][32]byte) {
		k.current(now.Add(at))
		for _, key := range k.keys {
			list = append(list, key.Secret)
		}
		return list
	}
	first := secrets(0)
	if again := secrets(ticketPeriod - time.Second); len(first) != 1 || !slices.Equal(first, again) {
		t.Fatalf("%d keys, then %d", len(first), len(again))
	}
	second, third := secrets(ticketPeriod), secrets(2*ticketPeriod)
	if len(second) != 2 || len(third) != 3 || third[2] != first[0] || third[1] != second[0] {
		t.Error("old keys do not follow new ones")
	}
	if fourth := secrets(3 * ticketPeriod); len(fourth) != 3 || slices.Contains(fourth, first[0]) {
		t.Error("a key outlives its time")
	}
	if late := secrets(100 * ticketPeriod); len(late) != 1 {
		t.Errorf("%d keys after a long rest", len(late))
	}
}

// TestTicketKeysOfNoUse: a key of another process that is none, or of a time to come, is not gone on
// with: anybody could know the one, and the other would never be too old.
func TestTicketKeysOfNoUse(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	good := ticketKey{Secret: [32]byte{1}, Made: now.Add(-ticketPeriod / 2)}
	for name, bad := range map[string]ticketKey{"no secret": {Made: now}, "of tomorrow": {Secret: [32]byte{2}, Made: now.Add(24 * time.Hour)}} {
		for _, keys := range [][]ticketKey{{bad}, {bad, good}} {
			text, err := json.Marshal(keys)
			if err != nil {
				t.Fatal(err)
			}
			var k ticketry
			if err := k.take(text, now); err != nil {
				t.Fatal(err)
			}
			k.current(now)
			if len(k.keys) != 1 || k.keys[0].Secret == bad.Secret || k.next.Load() > now.Add(ticketPeriod).Unix() {
				t.Errorf("%s, of %d: %v are in use", name, len(keys), k.keys)
			}
		}
	}
}

// TestTicketsOutliveTheirKey resumes with a ticket of the key before the last, and not later.
func TestTicketsOutliveTheirKey(t *testing.T) {
	ca := newAuthority(t, "ca")
	h := newHall(t, names(model.TLSName{Hostname: "a.test", Certificates: []model.Certificate{ca.serve("a.test")}}), nil)
	first := &oneSession{}
	config := &tls.Config{ServerName: "a.test", RootCAs: ca.pool(), ClientSessionCache: first}
	if _, _, err := h.ask(config); err != nil {
		t.Fatal(err)
	}
	ticket := first.last.Load()
	for age := 1; age <= ticketKeys; age++ {
		h.set.tickets.next.Store(0) // it is time for a new key
		old := &oneSession{}
		old.last.Store(ticket)
		config.ClientSessionCache = old
		c, _, err := h.ask(config)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.ConnectionState().DidResume; got != (age < ticketKeys) {
			t.Errorf("after %d new keys: resumed %v", age, got)
		}
	}
}

// TestHandshakesOfOneHost: who begins handshakes and leaves them unfinished keeps nobody else out, where
// the listener bounds them, and is refused. A handshake that has ended makes room.
func TestHandshakesOfOneHost(t *testing.T) {
	const most, half = 16, 8
	ca := newAuthority(t, "ca")
	spec := names(model.TLSName{Hostname: "a.test", Certificates: []model.Certificate{ca.serve("a.test")}})
	spec.MaxHandshakes = most
	h := newHall(t, spec, nil)
	config := &tls.Config{ServerName: "a.test", RootCAs: ca.pool()}
	for range 2 * most { // none of them stays
		if _, _, err := h.ask(config); err != nil {
			t.Fatal(err)
		}
	}
	var silent []net.Conn
	for range half {
		c, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent = append(silent, c)
	}
	sock := h.set.sockets["front"]
	until(t, "all are silent", func() bool { return sock.shaking.UnderWay() == half })
	if _, _, err := h.ask(config); err == nil {
		t.Error("the same host has one more")
	}
	if n := h.stats.Handshakes(telemetry.HandshakeBusy); n != 1 {
		t.Errorf("%d counted as refused", n)
	}
	if r := <-h.refusals; r.End != telemetry.HandshakeBusy || r.Err == nil {
		t.Errorf("told of %+v", r)
	}
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	nc, err := other.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := tls.Client(nc, config).Handshake(); err != nil {
		t.Errorf("another host: %v", err)
	}
	_ = silent[0].Close()
	until(t, "room for one more", func() bool { return sock.shaking.UnderWay() < half })
	if _, _, err := h.ask(config); err != nil {
		t.Errorf("when one has gone: %v", err)
	}
}

// TestTicketsOfAnother resumes a session that another process has begun, whose keys this one has; and
// what are no keys keeps nobody out.
func TestTicketsOfAnother(t *testing.T) {
	ca := newAuthority(t, "ca")
	spec := names(model.TLSName{Hostname: "a.test", Certificates: []model.Certificate{ca.serve("a.test")}})
	session := &oneSession{}
	config := &tls.Config{ServerName: "a.test", RootCAs: ca.pool(), ClientSessionCache: session}
	first := newHall(t, spec, nil)
	if _, _, err := first.ask(config); err != nil {
		t.Fatal(err)
	}
	ticket := session.last.Load()
	keys, err := first.set.TicketKeys()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		keys    string
		resumes bool
	}{{"nonsense", false}, {"null", false}, {string(keys), true}} {
		h := newHall(t, spec, func(cfg *Config) { cfg.TicketKeys = []byte(c.keys) })
		session.last.Store(ticket)
		conn, _, err := h.ask(config)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().DidResume; got != c.resumes {
			t.Errorf("with the keys %q resumed %v", c.keys, got)
		}
	}
}

// TestRotationUnderTraffic changes the certificate all the time, and no handshake fails.
func TestRotationUnderTraffic(t *testing.T) {
	ca := newAuthority(t, "ca")
	specs := make([]*model.TLS, 4)
	for i := range specs {
		specs[i] = names(model.TLSName{Hostname: "a.test", Certificates: []model.Certificate{ca.serve("a.test")}})
	}
	h := newHall(t, specs[0], nil)
	var work sync.WaitGroup
	var done atomic.Bool
	seen := map[string]bool{}
	var mu sync.Mutex
	for range 4 {
		work.Go(func() {
			old, _, err := h.ask(&tls.Config{ServerName: "a.test", RootCAs: ca.pool()})
			if err != nil {
				t.Error(err)
				return
			}
			for !done.Load() {
				c, _, err := h.ask(&tls.Config{ServerName: "a.test", RootCAs: ca.pool()})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				seen[c.ConnectionState().PeerCertificates[0].SerialNumber.String()] = true
				enough := len(seen) == len(specs)
				mu.Unlock()
				_ = c.Close()
				if _, err := again(old); err != nil {
					t.Errorf("a connection from before: %v", err)
					return
				}
				if enough {
					done.Store(true)
				}
			}
		})
	}
	for i := 0; !done.Load() && !t.Failed(); i++ {
		h.apply(specs[i%len(specs)])
	}
	work.Wait()
}

// TestBrokenCertificates: what cannot be used is reported by name, and what was live stays.
func TestBrokenCertificates(t *testing.T) {
	ca := newAuthority(t, "ca")
	good := ca.serve("a.test")
	h := newHall(t, names(model.TLSName{Hostname: "a.test", Certificates: []model.Certificate{good}}), nil)
	for what, bad := range map[string]model.TLSName{
		"key":         {Hostname: "a.test", Certificates: []model.Certificate{{Name: "secret/ns/bad", Chain: good.Chain, Key: ca.serve("a.test").Key}}},
		"chain":       {Hostname: "a.test", Certificates: []model.Certificate{{Name: "secret/ns/bad", Chain: "nothing", Key: good.Key}}},
		"authorities": {Hostname: "a.test", Certificates: []model.Certificate{good}, Client: &model.ClientValidation{CAs: "nothing"}},
	} {
		err := h.try(names(bad, model.TLSName{Hostname: "b.test", Certificates: []model.Certificate{ca.serve("b.test")}}))
		if err == nil || !strings.Contains(err.Error(), `hostname "a.test"`) || what != "authorities" && !strings.Contains(err.Error(), "secret/ns/bad") {
			t.Errorf("%s: %v", what, err)
		}
		if strings.Contains(fmt.Sprint(err), "PRIVATE") {
			t.Errorf("%s: the error shows a key", what)
		}
		for _, name := range []string{"a.test", "b.test"} {
			if _, _, err := h.ask(&tls.Config{ServerName: name, RootCAs: ca.pool()}); err != nil {
				t.Errorf("%s: %s: %v", what, name, err)
			}
		}
	}
}

// TestSlowClientsKeepNobodyWaiting: clients that stall within their handshakes hold no turn.
func TestSlowClientsKeepNobodyWaiting(t *testing.T) {
	ca := newAuthority(t, "ca")
	spec := names(model.TLSName{Certificates: []model.Certificate{ca.serve("a.test")}})
	spec.Handshake = time.Hour
	h := newHall(t, spec, nil)
	for range 4 * cap(h.set.turns.slots) {
		nc, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_, _ = nc.Write([]byte{22, 3, 1, 2, 0, 1}) // the beginning of a ClientHello
		stalled, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer stalled.Close()
		_ = stalled.SetDeadline(time.Now().Add(handshakePatience))
		// This one says all of it, hears the answer and falls silent.
		if err := tls.Client(&mute{Conn: stalled}, &tls.Config{ServerName: "a.test", RootCAs: ca.pool()}).Handshake(); !errors.Is(err, errMute) {
			t.Fatal(err)
		}
	}
	if _, _, err := h.ask(&tls.Config{ServerName: "a.test", RootCAs: ca.pool()}); err != nil {
		t.Error(err)
	}
	if n := len(h.set.turns.slots); n != 0 {
		t.Errorf("%d turns are held", n)
	}
}

var errMute = errors.New("silent")

// mute lets one message pass.
type mute struct {
	net.Conn
	said bool
}

func (m *mute) Write(p []byte) (int, error) {
	if m.said {
		return 0, errMute
	}
	m.said = true
	return m.Conn.Write(p)
}

// TestFloodIsBounded fills all turns and the queue: the next handshake is refused, and those
// that wait give up in time.
func TestFloodIsBounded(t *testing.T) {
	ca := newAuthority(t, "ca")
	spec := names(model.TLSName{Certificates: []model.Certificate{ca.serve("a.test")}})
	spec.Handshake = time.Second
	h := newHall(t, nil, nil)
	h.set.turns.queue = 2
	h.apply(spec)
	h.addr = h.set.Addresses()["front"].String()
	for range cap(h.set.turns.slots) {
		h.set.turns.slots <- struct{}{}
	}
	var work sync.WaitGroup
	for range 5 {
		work.Go(func() {
			if _, _, err := h.ask(&tls.Config{ServerName: "a.test", RootCAs: ca.pool()}); err == nil {
				t.Error("a handshake without a turn")
			}
		})
	}
	work.Wait()
	ends := map[telemetry.Handshake]int{}
	for range 5 {
		ends[(<-h.refusals).End]++
	}
	if ends[telemetry.HandshakeBusy] != 3 || ends[telemetry.HandshakeTimeout] != 2 {
		t.Errorf("ends: %v", ends)
	}
	if n := h.set.turns.queued.Load(); n != 0 {
		t.Errorf("%d are queued", n)
	}
	for range cap(h.set.turns.slots) {
		h.set.turns.give()
	}
	if _, _, err := h.ask(&tls.Config{ServerName: "a.test", RootCAs: ca.pool()}); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}

func TestHandshakeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFake()
		var got []Refusal
		set := New(Config{
			Listen: func(context.Context, netip.AddrPort) (net.Listener, error) { return l, nil },
			Handle: waiting, Log: slog.New(slog.DiscardHandler), Metrics: telemetry.NewMetrics(1), Shards: 1,
			Refuse: func(_ *Conn, r Refusal) { got = append(got, r) },
		})
		spec := names(model.TLSName{Certificates: []model.Certificate{newAuthority(t, "ca").serve("a.test")}})
		if err := set.Apply([]*model.Listener{{Name: "front", TLS: spec}}); err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		l.come <- theirs
		start := time.Now()
		if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if took := time.Since(start); took != spec.Handshake {
			t.Errorf("ended after %v", took)
		}
		synctest.Wait()
		if len(got) != 1 || got[0].End != telemetry.HandshakeTimeout {
			t.Errorf("refusals: %v", got)
		}
		set.Drain(t.Context())
	})
}

func TestNotTLS(t *testing.T) {
	ca := newAuthority(t, "ca")
	h := newHall(t, names(model.TLSName{Certificates: []model.Certificate{ca.serve("a.test")}}), nil)
	for text, http := range map[string]bool{"GET / HTTP/1.1\r\n\r\n": true, "PRI * HTTP/2.0\r\n\r\n": true, "\x00\x01\x02\x03\x04\x05": false, "SSH-2.0-x\r\n": false} {
		nc, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = nc.Write([]byte(text))
		if r := <-h.refusals; r.End != telemetry.HandshakeNotTLS || r.HTTP != http {
			t.Errorf("%q: %v, HTTP %v: %v", text, r.End, r.HTTP, r.Err)
		}
		_ = nc.Close()
	}
}

// TestTLSComesAndGoes: a socket that gets TLS, or loses it, is a new one, and the
// connections of the old are at their end.
func TestTLSComesAndGoes(t *testing.T) {
	ca := newAuthority(t, "ca")
	h := newHall(t, nil, nil)
	plain, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	var b [100]byte
	if _, err := plain.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := plain.Read(b[:]); err != nil || string(b[:n]) != "|||x" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	h.apply(names(model.TLSName{Certificates: []model.Certificate{ca.serve("a.test")}}))
	h.addr = h.set.Addresses()["front"].String()
	if _, err := io.ReadAll(plain); err != nil { // as soon as there has been no grace
		t.Error(err)
	}
	c, _, err := h.ask(&tls.Config{ServerName: "a.test", RootCAs: ca.pool()})
	if err != nil {
		t.Fatal(err)
	}
	h.apply(nil)
	if _, err := io.ReadAll(c); err != nil {
		t.Error(err)
	}
}
