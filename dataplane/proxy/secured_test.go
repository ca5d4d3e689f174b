package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// notary signs certificates for tests.
type notary struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newNotary(t testing.TB) *notary {
	i := &notary{t: t}
	i.cert, i.key = i.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)})
	return i
}

func (i *notary) sign(spec *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	spec.SerialNumber, spec.NotBefore = big.NewInt(time.Now().UnixNano()), time.Now().Add(-2*time.Hour)
	parent, signer := i.cert, i.key
	if parent == nil {
		parent, signer = spec, key
	}
	der, err := x509.CreateCertificate(rand.Reader, spec, parent, key.Public(), signer)
	if err != nil {
		i.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return cert, key
}

func (i *notary) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}))
}

// name returns what clients get that ask for one of the hostnames, the first in the model.
func (i *notary) name(v *model.ClientValidation, hostnames ...string) model.TLSName {
	cert, key := i.sign(&x509.Certificate{DNSNames: hostnames, NotAfter: time.Now().Add(time.Hour)})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		i.t.Fatal(err)
	}
	return model.TLSName{Hostname: hostnames[0], Client: v, Certificates: []model.Certificate{{
		Name: "secret/ns/" + hostnames[0], Chain: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
		Key: model.PrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}}}
}

func (i *notary) client(id string, until time.Time) *tls.Certificate {
	u, err := url.Parse(id)
	if err != nil {
		i.t.Fatal(err)
	}
	cert, key := i.sign(&x509.Certificate{URIs: []*url.URL{u}, NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// config is a client's, that presents cert.
func (i *notary) config(name string, cert *tls.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(i.cert)
	return &tls.Config{
		ServerName: name, RootCAs: pool,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if cert == nil {
				return &tls.Certificate{}, nil
			}
			return cert, nil
		},
	}
}

// secured returns a client that has done its handshake.
func (r *rig) secured(config *tls.Config) *client {
	r.t.Helper()
	c := r.dial()
	over := tls.Client(c.Conn, config)
	if err := over.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	return &client{r.t, over, bufio.NewReader(over)}
}

// twoListeners has a listener for a.test and one for the names under wild.test, each with a
// route of its own to the same upstream.
func twoListeners(up string, t *model.TLS) *model.Snapshot {
	s := snapshotOf(map[string]string{"up": up}, to("up"))
	l := s.Listeners[0]
	l.TLS = t
	l.Tables = nil
	for _, n := range t.Names {
		l.Tables = append(l.Tables, model.TableBinding{Hostname: n.Hostname, Table: "table"})
	}
	return s
}

func TestClientsOverTLS(t *testing.T) {
	up := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Proto", r.Header.Get("X-Forwarded-Proto"))
		w.Header().Set("X-Client-Cert", r.Header.Get("X-Forwarded-Client-Cert"))
		if r.URL.Path == "/chunked" {
			w.(http.Flusher).Flush()
		}
		_, _ = w.Write(body)
	})
	ca := newNotary(t)
	away := to("up")
	away.Name, away.Matches, away.Redirect = "ns/away/0", prefix("/away"), &model.Redirect{Status: 302, Path: nil, Hostname: "b.test"}
	s := snapshotOf(map[string]string{"up": up}, to("up"), away)
	s.Listeners[0].TLS = &model.TLS{Names: []model.TLSName{ca.name(nil, "a.test")}}
	s.Listeners[0].Tables[0].Hostname = "a.test"
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := startRig(t, s, Config{})
			config := ca.config("a.test", nil)
			config.MaxVersion = version
			c := r.secured(config)
			for _, size := range []int{0, 1, 100, 16 << 10, 100 << 10, 3 << 20} {
				for _, path := range []string{"/length", "/chunked"} {
					body := make([]byte, size)
					_, _ = rand.Read(body)
					go func() { // the answer comes while this is sent
						_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Client-Cert: forged\r\nContent-Length: %d\r\n\r\n", path, size)
						_, _ = c.Write(body)
					}()
					resp, got := c.answer("POST")
					if resp.StatusCode != 200 || got != string(body) || resp.Header.Get("X-Proto") != "https" || resp.Header.Get("X-Client-Cert") != "" {
						t.Fatalf("%s of %d bytes: %d bytes, %v", path, size, len(got), resp.Header)
					}
				}
			}
			resp, _ := c.send("GET /away HTTP/1.1\nHost: a.test\n\n").answer("GET")
			if got := resp.Header.Get("Location"); got != "https://b.test:0/away" && got != "https://b.test/away" {
				t.Errorf("redirected to %q", got)
			}
			c.send("GET / HTTP/1.1\nHost: a.test\nConnection: close\n\n").want(200, "", "")
			if _, err := c.r.ReadByte(); err != io.EOF {
				t.Errorf("the end is not said: %v", err)
			}
		})
	}
}

func TestMisdirectedRequests(t *testing.T) {
	up := serveHTTP(t, func(http.ResponseWriter, *http.Request) {})
	ca := newNotary(t)
	s := twoListeners(up, &model.TLS{Names: []model.TLSName{
		ca.name(nil, "a.test"), ca.name(nil, "b.wild.test"), ca.name(nil, "*.wild.test"),
	}})
	// The first is the name for which there is no certificate.
	s.Listeners[0].Tables = append(s.Listeners[0].Tables, model.TableBinding{Table: "table"})
	r := startRig(t, s, Config{})
	for _, tt := range []struct {
		sni, host string
		status    int
		flag      string
	}{
		{"a.test", "a.test", 200, ""},
		{"a.test", "A.test", 200, ""},
		{"a.test", "a.test:8443", 200, ""},
		{"a.test", "x.wild.test", 421, "DPE"},
		{"x.wild.test", "y.wild.test", 200, ""},
		{"x.wild.test", "b.wild.test", 421, "DPE"},
		{"b.wild.test", "x.wild.test", 421, "DPE"},
		{"x.wild.test", "a.test", 421, "DPE"},
		{"a.test", "nobody.test", 200, ""}, // no listener with TLS has it: as its routes say
	} {
		c := r.secured(ca.config(tt.sni, nil))
		for range 2 { // the connection stays
			c.send("GET / HTTP/1.1\nHost: "+tt.host+"\n\n").want(tt.status, tt.flag, "")
		}
		_ = c.Close()
		h2 := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: ca.config(tt.sni, nil), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", r.addr)
		}}
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+tt.sni+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tt.host
		resp, err := h2.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.StatusCode != tt.status || resp.Header.Get("X-Weir-Flag") != tt.flag {
			t.Errorf("%s for %s over %s: %d, flag %q", tt.sni, tt.host, resp.Proto, resp.StatusCode, resp.Header.Get("X-Weir-Flag"))
		}
		h2.CloseIdleConnections()
	}
}

// TestValidationComesLive: who has proved less than the listener has come to ask for is not
// served on its old connection, and whose rules have changed otherwise is, once.
func TestValidationComesLive(t *testing.T) {
	up := serveHTTP(t, func(http.ResponseWriter, *http.Request) {})
	ca, other := newNotary(t), newNotary(t)
	must := &model.ClientValidation{CAs: ca.pem()}
	cert := ca.client("spiffe://test/a", time.Now().Add(time.Hour))
	for _, tt := range []struct {
		name          string
		before, after *model.ClientValidation
		status        int
		open          bool
	}{
		{"the same", must, &model.ClientValidation{CAs: ca.pem()}, 200, true},
		{"none before", nil, must, 421, false},
		{"none after", must, nil, 200, false},
		{"more authorities", must, &model.ClientValidation{CAs: ca.pem() + other.pem()}, 200, false},
		{"proved though it need not", &model.ClientValidation{CAs: ca.pem(), Insecure: true}, must, 200, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := func(v *model.ClientValidation) *model.Snapshot {
				return twoListeners(up, &model.TLS{Names: []model.TLSName{ca.name(v, "a.test")}})
			}
			r := startRig(t, spec(tt.before), Config{})
			c := r.secured(ca.config("a.test", cert))
			c.send("GET / HTTP/1.1\nHost: a.test\n\n").want(200, "", "")
			if err := r.proxy.Apply(spec(tt.after)); err != nil {
				t.Fatal(err)
			}
			resp := c.send("GET / HTTP/1.1\nHost: a.test\n\n").want(tt.status, map[bool]string{true: "DPE"}[tt.status == 421], "")
			if resp.Close == tt.open {
				t.Errorf("closes: %v", resp.Close)
			}
			r.secured(ca.config("a.test", cert)).send("GET / HTTP/1.1\nHost: a.test\n\n").want(200, "", "")
		})
	}
}

// TestIdentityIsTold looks for the caller's identity in the access log and in explanations,
// and for refused certificates in the log.
func TestIdentityIsTold(t *testing.T) {
	up := serveHTTP(t, func(http.ResponseWriter, *http.Request) {})
	ca := newNotary(t)
	s := twoListeners(up, &model.TLS{Names: []model.TLSName{ca.name(&model.ClientValidation{CAs: ca.pem()}, "a.test")}})
	s.Listeners[0].Client.TrustHops = 1
	var out bytes.Buffer
	log := telemetry.NewAccessLog(telemetry.AccessLogConfig{Writer: &out, Shards: 2})
	r := startRig(t, s, Config{AccessLog: log})
	const id = "spiffe://prod.test/ns/shop/sa/cart"
	resp, e := r.secured(ca.config("a.test", ca.client(id, time.Now().Add(time.Hour)))).send("GET / HTTP/1.1\nHost: a.test\nX-Weir-Explain: 1\n\n").explained()
	if resp.StatusCode != 200 || e.Identity != id {
		t.Errorf("%d, explained as %q", resp.StatusCode, e.Identity)
	}
	c := tls.Client(r.dial().Conn, ca.config("a.test", ca.client(id, time.Now().Add(-time.Hour))))
	if err := c.Handshake(); err == nil { // in TLS 1.3 the client hears of it later
		if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("an expired certificate: %v", err)
		}
	}
	plain := r.dial()
	plain.send("GET / HTTP/1.1\nHost: a.test\n\n").want(400, "", "HTTPS")
	plain.ended()
	r.stop()
	if err := log.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	type line struct {
		Identity, Flag, Detail, Client string
		Status                         int
	}
	var lines []line
	for text := range strings.Lines(out.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	if len(lines) != 3 {
		t.Fatalf("%d lines: %s", len(lines), out.String())
	}
	found := 0
	for _, l := range lines { // in no order: there are two shards
		switch {
		case l.Identity == id && l.Status == 200:
			found++
		case l.Flag == "CC" && l.Status == 0 && strings.Contains(l.Detail, "expired") && l.Client != "":
			found++
		case l.Flag == "DPE" && l.Status == 400 && l.Client != "":
			found++
		}
	}
	if found != 3 {
		t.Errorf("got %+v", lines)
	}
}

// TestTunnelOverTLS switches protocols, and ends one way before the other.
func TestTunnelOverTLS(t *testing.T) {
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
		text, _ := io.ReadAll(r)
		_, _ = fmt.Fprintf(c, "%d bytes", len(text))
	})
	ca := newNotary(t)
	r := startRig(t, twoListeners(up, &model.TLS{Names: []model.TLSName{ca.name(nil, "a.test")}}), Config{})
	c := r.secured(ca.config("a.test", nil)).send("GET / HTTP/1.1\nHost: a.test\nConnection: upgrade\nUpgrade: x\n\n")
	if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	if _, err := c.Write(make([]byte, 300<<10)); err != nil {
		t.Fatal(err)
	}
	if err := c.Conn.(*tls.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c.r); err != nil || string(got) != fmt.Sprint(300<<10, " bytes") {
		t.Errorf("%q, %v", got, err)
	}
}

// TestBrokenAnswersAreCutOffOverTLS: the client must see that an answer is not whole.
func TestBrokenAnswersAreCutOffOverTLS(t *testing.T) {
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
	})
	ca := newNotary(t)
	r := startRig(t, twoListeners(up, &model.TLS{Names: []model.TLSName{ca.name(nil, "a.test")}}), Config{})
	c := r.secured(ca.config("a.test", nil)).send("GET / HTTP/1.1\nHost: a.test\n\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); err == nil || len(got) > 4 {
		t.Errorf("%q, %v", got, err)
	}
}
