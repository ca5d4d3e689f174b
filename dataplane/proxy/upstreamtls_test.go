package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// pair returns a certificate for a.test, valid until then, as Weir and as hosts have it.
func (i *notary) pair(until time.Time) (*model.Certificate, tls.Certificate) {
	i.t.Helper()
	cert, key := i.sign(&x509.Certificate{DNSNames: []string{"a.test"}, NotAfter: until})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		i.t.Fatal(err)
	}
	return &model.Certificate{
		Name: "secret/ns/own", Chain: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
		Key: model.PrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}, tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (i *notary) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(i.cert)
	return pool
}

// good is the certificate of a host that is as it should be.
func (i *notary) good() *tls.Config {
	_, pair := i.pair(time.Now().Add(time.Hour))
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

// serveTLS starts a net/http upstream with TLS.
func serveTLS(t testing.TB, config *tls.Config, h http.HandlerFunc, change ...func(*http.Server)) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	config.NextProtos = []string{"http/1.1"}
	s.TLS = config
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	for _, f := range change {
		f(s.Config)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// secure gives every cluster of a snapshot TLS.
func secure(s *model.Snapshot, spec *model.UpstreamTLS) *model.Snapshot {
	for _, c := range s.Clusters {
		c.TLS, c.ConnectTimeout = spec, patience
		c.Hash = model.HashOf(c)
	}
	return s
}

func TestRequestsOverTLS(t *testing.T) {
	ca := newNotary(t)
	large := strings.Repeat("0123456789abcdef", 64<<10)
	up := serveTLS(t, ca.good(), func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.ServerName != "a.test" || r.TLS.NegotiatedProtocol != "http/1.1" {
			t.Errorf("SNI %q, ALPN %q", r.TLS.ServerName, r.TLS.NegotiatedProtocol)
		}
		switch r.URL.Path {
		case "/large":
			_, _ = io.WriteString(w, large)
		case "/tunnel":
			nc, both, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			fmt.Fprint(nc, lines("HTTP/1.1 101 Go\nConnection: upgrade\nUpgrade: x\n\n"))
			_, _ = io.Copy(nc, both) // until the client has ended its side
			_, _ = io.WriteString(nc, "bye")
		default:
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("Trailer", "T")
			_, _ = w.Write(body)
			w.Header().Set("T", "end")
		}
	})
	r := startRig(t, secure(snapshotOf(map[string]string{"up": up}, to("up")), &model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem()}), Config{})
	c := r.dial()
	for range 2 {
		c.send("PUT / HTTP/1.1\nHost: h\nContent-Length: 5\n\nhello").want(200, "", "hello")
		c.send("POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n").want(200, "", "hello")
		go fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(large), large)
		if resp, body := c.answer("POST"); body != large || resp.Trailer.Get("T") != "end" {
			t.Errorf("%d bytes came back, trailers %v", len(body), resp.Trailer)
		}
		c.send(get("/large"))
		if _, body := c.answer("GET"); body != large {
			t.Errorf("%d bytes came", len(body))
		}
	}
	hosts := r.proxy.Hosts()
	if len(hosts) != 1 || hosts[0].Opened != 1 || !hosts[0].TLS {
		t.Errorf("%+v", hosts)
	}
	c.send("GET /tunnel HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: x\n\n")
	if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v, %v", resp, err)
	}
	go func() {
		_, _ = io.WriteString(c, large)
		_ = c.Conn.(*net.TCPConn).CloseWrite()
	}()
	if back, err := io.ReadAll(c.r); err != nil || string(back) != large+"bye" {
		t.Errorf("%d bytes came back through the tunnel, %v", len(back), err)
	}
}

// TestFailedHandshakesAreFailedConnections: flag UF, with what is wrong in the log.
func TestFailedHandshakesAreFailedConnections(t *testing.T) {
	ca, other := newNotary(t), newNotary(t)
	_, expired := ca.pair(time.Now().Add(-time.Minute))
	wants := ca.good()
	wants.ClientAuth, wants.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool()
	stranger, _ := other.pair(time.Now().Add(time.Hour))
	spec := model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem()}
	for name, test := range map[string]struct {
		config *tls.Config
		client *model.Certificate
		want   string
	}{
		"expired":            {&tls.Config{Certificates: []tls.Certificate{expired}}, nil, "its certificate has expired at"},
		"unknown authority":  {other.good(), nil, "its certificate is from an unknown authority"},
		"client certificate": {wants, nil, "the host wants a client certificate"},
		"another one":        {wants, stranger, "the host does not know the authority of our client certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := serveTLS(t, test.config, func(http.ResponseWriter, *http.Request) { t.Error("the request was served") })
			var out bytes.Buffer
			accessLog := telemetry.NewAccessLog(telemetry.AccessLogConfig{Writer: &out, Shards: 2})
			own := spec
			own.Client = test.client
			r := startRig(t, secure(snapshotOf(map[string]string{"up": bad}, to("up")), &own), Config{AccessLog: accessLog})
			const post = "POST /x HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi"
			r.dial().send(post).want(503, "UF", "no connection to the upstream host")
			if h := r.proxy.Hosts()[0]; h.ConnectFailures != 1 || !strings.Contains(h.LastError, test.want) || h.Open != 0 {
				t.Errorf("%+v", h)
			}

			// What is streamed meets the refusal on its way.
			large := strings.Repeat("x", 200<<10)
			streaming := r.dial()
			go fmt.Fprintf(streaming, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(large), large)
			streaming.want(503, "UF", "")

			// Nothing has been looked at: any request may be tried at another host.
			good := serveTLS(t, ca.good(), func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
			retrying := to("up")
			retrying.Retry = &model.Retry{Attempts: 1}
			both := secure(snapshotOf(map[string]string{"up": bad + "," + good}, retrying), &own)
			if err := r.proxy.Apply(both); err != nil {
				t.Fatal(err)
			}
			c := r.dial()
			for range 10 {
				c.send(post).want(200, "", "hi")
			}
			r.stop()
			if err := accessLog.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			var line struct{ Flag, Detail string }
			for lines := json.NewDecoder(&out); line.Flag == "" && lines.More(); {
				if err := lines.Decode(&line); err != nil {
					t.Fatal(err)
				}
			}
			if want := "cluster up: endpoint " + bad + ": tls: " + test.want; line.Flag != "UF" || !strings.HasPrefix(line.Detail, want) {
				t.Errorf("logged %+v, want %s", line, want)
			}
		})
	}
}

// TestHostsThatCloseIdleConnectionsOverTLS: whenever it happens, no request fails.
func TestHostsThatCloseIdleConnectionsOverTLS(t *testing.T) {
	ca := newNotary(t)
	for version, name := range map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"} {
		t.Run(name, func(t *testing.T) {
			config := ca.good()
			config.MaxVersion = version
			var served atomic.Int64
			up := serveTLS(t, config, func(w http.ResponseWriter, r *http.Request) {
				served.Add(1)
				_, _ = io.Copy(w, r.Body)
			}, func(s *http.Server) { s.IdleTimeout = 2 * time.Millisecond })
			r := startRig(t, secure(snapshotOf(map[string]string{"up": up}, to("up")), &model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem()}), Config{})
			var sending sync.WaitGroup
			const clients, requests = 4, 100
			for k := range clients {
				sending.Go(func() {
					c := r.dial()
					for i := range requests {
						c.send("PUT / HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi").want(200, "", "hi")
						// Around the time when the host closes.
						timer := time.NewTimer(time.Duration(1900+(i*37+k*11)%200) * time.Microsecond)
						<-timer.C
					}
				})
			}
			sending.Wait()
			if h := r.proxy.Hosts()[0]; h.Failures != 0 || h.Opened < 2 {
				t.Errorf("%d failures with %d connections", h.Failures, h.Opened)
			}
		})
	}
}

// TestMirrorsAndNamesOverTLS: copies and hosts found by name go the same way.
func TestMirrorsAndNamesOverTLS(t *testing.T) {
	ca := newNotary(t)
	copies := make(chan string, 10)
	up := serveTLS(t, ca.good(), func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	copied := serveTLS(t, ca.good(), func(_ http.ResponseWriter, r *http.Request) {
		copies <- r.TLS.ServerName + r.URL.Path
	})
	route := to("up")
	route.Mirrors = []model.Mirror{{Cluster: "mirror", Numerator: 1, Denominator: 1}}
	s := secure(snapshotOf(map[string]string{"up": up, "mirror": copied}, route), &model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem()})
	for i, c := range s.Clusters {
		if c.Name == "up" {
			c.DNS = &model.DNSName{Hostname: "elsewhere.test", Port: netip.MustParseAddrPort(up).Port()}
			c.Hash = model.HashOf(c)
			s.Endpoints = append(s.Endpoints[:i], s.Endpoints[i+1:]...)
			break
		}
	}
	r := startRig(t, s, Config{Resolve: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}})
	if err := r.proxy.Apply(s); err != nil { // by now the name can be asked for
		t.Fatal(err)
	}
	c := r.dial()
	for range 3 {
		c.send(get("/x")).want(200, "", "ok")
		if got := <-copies; got != "a.test/x" {
			t.Errorf("copied %q", got)
		}
	}
}

// TestRotationUnderLoad changes authority and client certificate under load. No request fails,
// and no descriptor is left.
func TestRotationUnderLoad(t *testing.T) {
	descriptors := func() int {
		runtime.GC() // what nobody closed but the collector does not count
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc")
		}
		return len(list)
	}
	before := descriptors()
	t.Run("load", func(t *testing.T) {
		first, second := newNotary(t), newNotary(t)
		config := first.good()
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, first.pool()
		config.ClientCAs.AddCert(second.cert)
		var seen [2]atomic.Int64
		up := serveTLS(t, config, func(w http.ResponseWriter, r *http.Request) {
			if r.TLS.PeerCertificates[0].CheckSignatureFrom(first.cert) == nil {
				seen[0].Add(1)
			} else {
				seen[1].Add(1)
			}
			_, _ = io.Copy(w, r.Body)
		})
		var snapshots []*model.Snapshot
		for i, ca := range []*notary{first, second} {
			cert, _ := ca.pair(time.Now().Add(time.Hour))
			trusted := first.pem()
			if i == 1 {
				trusted += second.pem()
			}
			snapshots = append(snapshots, secure(snapshotOf(map[string]string{"up": up}, to("up")), &model.UpstreamTLS{Hostname: "a.test", CAs: trusted, Client: cert}))
		}
		r := startRig(t, snapshots[0], Config{})
		stop := make(chan struct{})
		var sending sync.WaitGroup
		for range 4 {
			sending.Go(func() {
				c := r.dial()
				for {
					c.send("POST / HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi").want(200, "", "hi")
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		c := r.dial()
		for i := range 40 {
			if err := r.proxy.Apply(snapshots[i%2]); err != nil {
				t.Error(err)
			}
			c.send(get("/")).want(200, "", "")
		}
		close(stop)
		sending.Wait()
		if h := r.proxy.Hosts()[0]; h.Failures != 0 || h.ConnectFailures != 0 || seen[0].Load() == 0 || seen[1].Load() == 0 {
			t.Errorf("%+v; by the first %d, by the second %d", h, seen[0].Load(), seen[1].Load())
		}
	})
	for by := transport.Now().Add(patience); descriptors() > before; { // the servers' ends close in their own time
		if transport.Now() > by {
			t.Fatalf("%d descriptors, %d before", descriptors(), before)
		}
	}
}
