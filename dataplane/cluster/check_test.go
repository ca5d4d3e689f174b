package cluster

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"pgregory.net/rapid"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// byHTTP is a check of /healthz that takes 200 to 299.
func byHTTP(change ...func(*model.HealthCheck)) *model.HealthCheck {
	c := &model.HealthCheck{
		Type: model.HealthCheckHTTP, Path: "/healthz", Expect: []model.StatusRange{{First: 200, Last: 299}},
		Interval: 5 * time.Second, Timeout: 10 * time.Second, HealthyAfter: 2, UnhealthyAfter: 3,
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func byGRPC(service string) *model.HealthCheck {
	return byHTTP(func(c *model.HealthCheck) { c.Type, c.Service = model.HealthCheckGRPC, service })
}

func byTCP() *model.HealthCheck {
	return byHTTP(func(c *model.HealthCheck) { c.Type = model.HealthCheckTCP })
}

// verdictOf checks the host of a cluster once and returns why it failed; empty: it passed.
func verdictOf(t testing.TB, cluster *model.Cluster, address netip.AddrPort, spec *model.HealthCheck) string {
	t.Helper()
	s := New(Config{Dial: dialTCP})
	apply(t, s, cluster, at(address))
	h := pick(t, s.Cluster("c"))
	_, err := h.ask(t.Context(), transport.Now().Add(spec.Timeout), spec)
	if n := h.Stats.Open.Load(); n != 0 || h.Stats.Opened.Load() != 0 || h.Stats.ConnectFailures.Load() != 0 || h.idle.Load() != 0 || h.failure.Load() != nil {
		t.Errorf("a check left its traces in what requests do: %+v", status(t, s, address.String()))
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// wantVerdict compares a verdict: empty for a check that passes, else a part of the reason.
func wantVerdict(t testing.TB, what, got, want string) {
	t.Helper()
	if (got == "") != (want == "") || !strings.Contains(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// webServer serves over HTTP/1.1 and HTTP/2 in clear text.
func webServer(t testing.TB, handler http.HandlerFunc) netip.AddrPort {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func TestHTTPChecks(t *testing.T) {
	asked := make(chan *http.Request, 1)
	address := webServer(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		switch r.URL.Path {
		case "/healthz":
			w.WriteHeader(http.StatusNoContent)
		case "/hints":
			w.WriteHeader(http.StatusEarlyHints)
			fmt.Fprint(w, "well")
		case "/moved":
			http.Redirect(w, r, "/healthz", http.StatusFound)
		case "/long":
			for range 20 {
				_, _ = w.Write(make([]byte, 10<<10))
			}
		default:
			http.Error(w, "not well", http.StatusServiceUnavailable)
		}
	})
	for _, protocol := range []model.Protocol{model.ProtocolAuto, model.ProtocolHTTP1, model.ProtocolTCP, model.ProtocolH2C} {
		cluster := testCluster(func(c *model.Cluster) { c.Protocol = protocol })
		for path, want := range map[string]string{
			"/healthz?full=1": "", "/hints": "", "/long": "", "/no": "status 503, expected 200-299, 401", "/moved": "status 302, expected 200-299, 401",
		} {
			spec := byHTTP(func(c *model.HealthCheck) {
				c.Path = path
				c.Expect = append(c.Expect, model.StatusRange{First: 401, Last: 401})
			})
			wantVerdict(t, fmt.Sprintf("%s %s", protocol, path), verdictOf(t, cluster, address, spec), want)
			r := <-asked
			major := 1
			if protocol == model.ProtocolH2C {
				major = 2
			}
			if r.Method != "GET" || r.RequestURI != path || r.Host != address.String() || r.UserAgent() != "weir-health-check" || r.ProtoMajor != major || r.Close != (major == 1) {
				t.Errorf("%s: asked %s %s of %s by %s, %v, close: %v", protocol, r.Method, r.RequestURI, r.Host, r.UserAgent(), r.Proto, r.Close)
			}
		}
	}
}

func TestWhatHostsAreAskedFor(t *testing.T) {
	asked := make(chan string, 1)
	address := webServer(t, func(_ http.ResponseWriter, r *http.Request) { asked <- r.Host })
	s := New(Config{Dial: func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) { return dialTCP(ctx, address) }})
	apply(t, s, testCluster(), endpoints(1))
	h := pick(t, s.Cluster("c"))
	for _, test := range []struct {
		cluster  model.Cluster
		hostname string
		want     string
	}{
		{model.Cluster{DNS: &model.DNSName{Hostname: "dns.test", Port: 80}}, "own.test", "own.test"},
		{model.Cluster{DNS: &model.DNSName{Hostname: "dns.test", Port: 80}}, "", "dns.test"},
		{model.Cluster{}, "", "10.0.0.1:80"},
	} {
		h.cluster.spec.Store(&test.cluster)
		if _, err := h.ask(t.Context(), transport.Now().Add(10*time.Second), byHTTP(func(c *model.HealthCheck) { c.Hostname = test.hostname })); err != nil {
			t.Fatal(err)
		}
		if got := <-asked; got != test.want {
			t.Errorf("asked for %s, want %s", got, test.want)
		}
	}
}

// rawServer answers every connection with bytes, once it has seen a request.
func rawServer(t testing.TB, answer string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.WriteString(c, answer)
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestMalformedAnswersFailChecks(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab":                "", // the head decides
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk": "",
		"HTTP/1.1 200 OK\r\n\r\nuntil the end":                          "",
		"SSH-2.0-OpenSSH\r\n":                                           "malformed answer",
		"HTTP/1.1 200 OK\r\nA\r\n\r\n":                                  "malformed answer",
		"":                                                              "EOF",
		"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n":      "answered 101",
		strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", maxCheckInterim+1):      "answered 103",
		"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", maxAnswerHead) + "\r\n\r\n": "malformed answer",
	} {
		wantVerdict(t, fmt.Sprintf("%.40q", answer), verdictOf(t, testCluster(), rawServer(t, answer), byHTTP()), want)
	}
}

func TestChecksOverTLS(t *testing.T) {
	ca := newAuthority(t, "our CA")
	pair := keyPair(t, ca.issue(t))
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "a.test" {
			w.WriteHeader(http.StatusMisdirectedRequest)
		}
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	address := netip.MustParseAddrPort(s.Listener.Addr().String())
	trusted := &model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem}
	stranger := &model.UpstreamTLS{Hostname: "a.test", CAs: newAuthority(t, "somebody").pem}
	for _, protocol := range []model.Protocol{model.ProtocolAuto, model.ProtocolHTTP1, model.ProtocolHTTP2} {
		for _, spec := range []*model.HealthCheck{byHTTP(), byTCP()} {
			over := func(u *model.UpstreamTLS) *model.Cluster {
				return testCluster(func(c *model.Cluster) { c.Protocol, c.TLS = protocol, u })
			}
			wantVerdict(t, fmt.Sprint(protocol, spec.Type), verdictOf(t, over(trusted), address, spec), "")
			wantVerdict(t, fmt.Sprint(protocol, spec.Type, " of a stranger"), verdictOf(t, over(stranger), address, spec), "tls: ")
		}
	}
	wantVerdict(t, "gRPC of a web server", verdictOf(t, testCluster(func(c *model.Cluster) { c.TLS = trusted }), address, byGRPC("")), "answered as HTTP, not as gRPC, with status 200")
	old := serve(t, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
	wantVerdict(t, "gRPC of a host by HTTP/1.1", verdictOf(t, testCluster(func(c *model.Cluster) { c.TLS = trusted }), old.address, byGRPC("")), "tls: the host does not speak HTTP/2")
	older := serve(t, &tls.Config{Certificates: []tls.Certificate{pair}})
	wantVerdict(t, "gRPC of a host without ALPN", verdictOf(t, testCluster(func(c *model.Cluster) { c.TLS = trusted }), older.address, byGRPC("")), "tls: the host does not speak HTTP/2")
}

func TestChecksShowTheClientCertificate(t *testing.T) {
	ca := newAuthority(t, "our CA")
	pair, ours := keyPair(t, ca.issue(t)), ca.issue(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	address := netip.MustParseAddrPort(s.Listener.Addr().String())
	with := func(c *model.Certificate) *model.Cluster {
		return secured(&model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem, Client: c})
	}
	wantVerdict(t, "ours", verdictOf(t, with(ours), address, byHTTP()), "")
	wantVerdict(t, "none", verdictOf(t, with(nil), address, byHTTP()), "tls: the host wants a client certificate")
}

func TestConnectionsThatCannotBeMade(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddrPort(l.Addr().String())
	wantVerdict(t, "a listener", verdictOf(t, testCluster(), address, byTCP()), "")
	wantVerdict(t, "a listener of HTTP/2 that says nothing", verdictOf(t, testCluster(func(c *model.Cluster) { c.Protocol = model.ProtocolH2C }), address, byTCP()), "")
	_ = l.Close()
	for _, spec := range []*model.HealthCheck{byHTTP(), byGRPC(""), byTCP()} {
		wantVerdict(t, string(spec.Type), verdictOf(t, testCluster(), address, spec), "connection refused")
	}
}

// grpcServer serves gRPC's health protocol, unless it has none.
func grpcServer(t testing.TB, service *health.Server, options ...grpc.ServerOption) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(options...)
	if service != nil {
		grpc_health_v1.RegisterHealthServer(s, service)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestGRPCChecks(t *testing.T) {
	ca := newAuthority(t, "our CA")
	service := health.NewServer()
	clear := grpcServer(t, service)
	pair := keyPair(t, ca.issue(t))
	secure := grpcServer(t, service, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}})))
	without := grpcServer(t, nil)
	long := strings.Repeat("a", 256)
	service.SetServingStatus("shop.Cart", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	service.SetServingStatus("shop.Till", grpc_health_v1.HealthCheckResponse_UNKNOWN)
	service.SetServingStatus(long, grpc_health_v1.HealthCheckResponse_SERVING)
	for _, protocol := range []model.Protocol{model.ProtocolAuto, model.ProtocolHTTP1, model.ProtocolTCP, model.ProtocolH2C} {
		cluster := testCluster(func(c *model.Cluster) { c.Protocol = protocol })
		for name, want := range map[string]string{
			"": "", long: "", "shop.Cart": "answered NOT_SERVING", "shop.Till": "answered UNKNOWN",
			"shop.Nobody": `the host does not know a service "shop.Nobody" (NOT_FOUND)`,
		} {
			wantVerdict(t, fmt.Sprint(protocol, " ", name), verdictOf(t, cluster, clear, byGRPC(name)), want)
		}
	}
	for _, protocol := range []model.Protocol{model.ProtocolAuto, model.ProtocolHTTP1, model.ProtocolTCP, model.ProtocolHTTP2} {
		over := testCluster(func(c *model.Cluster) {
			c.Protocol, c.TLS = protocol, &model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem}
		})
		wantVerdict(t, fmt.Sprint(protocol, " over TLS"), verdictOf(t, over, secure, byGRPC("")), "")
		wantVerdict(t, fmt.Sprint(protocol, " over TLS"), verdictOf(t, over, secure, byGRPC("shop.Cart")), "answered NOT_SERVING")
	}
	wantVerdict(t, "no health service", verdictOf(t, testCluster(), without, byGRPC("")), "the host does not serve gRPC's health protocol (UNIMPLEMENTED)")
	wantVerdict(t, "a web server", verdictOf(t, testCluster(), rawServer(t, "HTTP/1.1 200 OK\r\n\r\n"), byGRPC("")), "the host does not speak HTTP/2")

	service.SetServingStatus("shop.Cart", grpc_health_v1.HealthCheckResponse_SERVING)
	wantVerdict(t, "once it serves", verdictOf(t, testCluster(), clear, byGRPC("shop.Cart")), "")
}

func TestGRPCAnswersThatAreNone(t *testing.T) {
	trailers := func(status string, body ...byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = w.Write(body)
			if status != "" {
				w.Header().Set("Grpc-Status", status)
			}
		}
	}
	only := func(status, message string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", status)
			w.Header().Set("Grpc-Message", message)
		}
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"serving":           {trailers("0", 0, 0, 0, 0, 2, 8, 1), ""},
		"with more fields":  {trailers("0", 0, 0, 0, 0, 6, 0x12, 2, 'a', 'b', 8, 1), ""},
		"an empty message":  {trailers("0", 0, 0, 0, 0, 0), "answered UNKNOWN"},
		"another status":    {trailers("0", 0, 0, 0, 0, 2, 8, 9), "answered a status without a name, 9"},
		"no message":        {trailers("0"), "malformed HealthCheckResponse"},
		"a short message":   {trailers("0", 0, 0, 0, 0, 2, 8), "malformed HealthCheckResponse"},
		"two messages":      {trailers("0", 0, 0, 0, 0, 2, 8, 1, 0, 0, 0, 0, 2, 8, 1), "malformed HealthCheckResponse"},
		"compressed":        {trailers("0", 1, 0, 0, 0, 2, 8, 1), "malformed HealthCheckResponse"},
		"a long message":    {trailers("0", make([]byte, maxCheckMessage+1)...), "too long"},
		"a longer message":  {trailers("0", make([]byte, 2*maxCheckBody)...), "too long"},
		"no status":         {trailers("", 0, 0, 0, 0, 2, 8, 1), "without a grpc-status"},
		"an error later":    {trailers("14"), "the call ended with UNAVAILABLE"},
		"an error":          {only("14", "shutting\tdown"), "the call ended with UNAVAILABLE: shutting?down"},
		"an unknown status": {only("x", ""), "the call ended with UNKNOWN"},
	} {
		wantVerdict(t, name, verdictOf(t, testCluster(), webServer(t, test.handler), byGRPC("")), test.want)
	}
}

func TestServingStatusReadsAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "message")
		_, _ = servingStatus(body)
		_, _ = servingStatus(append([]byte{0, 0, 0, 0, byte(len(body))}, body...))
	})
}

func TestGRPCTimeouts(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Microsecond: "1m", time.Second: "1000m", 99_999_999 * time.Millisecond: "99999999m", 100_000 * time.Second: "100000S",
	} {
		if got := grpcTimeout(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestChecksSayThatTheConnectionIsNobodys(t *testing.T) {
	for version, want := range map[model.ProxyProtocol]string{
		model.ProxyProtocolV1: "PROXY UNKNOWN\r\n",
		model.ProxyProtocolV2: "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan string, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				heard <- err.Error()
				return
			}
			header := make([]byte, len(want))
			_, _ = io.ReadFull(c, header)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
			heard <- string(header)
		}()
		cluster := testCluster(func(c *model.Cluster) { c.ProxyProtocol = version })
		wantVerdict(t, string(version), verdictOf(t, cluster, netip.MustParseAddrPort(l.Addr().String()), byHTTP()), "")
		if got := <-heard; got != want {
			t.Errorf("%s: the host heard %q, want %q", version, got, want)
		}
		_ = l.Close()
	}
}

// TestChecksEndInTime: a host may be silent wherever it likes.
func TestChecksEndInTime(t *testing.T) {
	ca := newAuthority(t, "our CA")
	over := &model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem}
	silent := func(said string) func(context.Context, netip.AddrPort) (net.Conn, error) {
		return func(context.Context, netip.AddrPort) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				go func() { _, _ = io.WriteString(theirs, said) }()
				_, _ = io.Copy(io.Discard, theirs)
				_ = theirs.Close()
			}()
			return ours, nil
		}
	}
	for name, test := range map[string]struct {
		dial    func(context.Context, netip.AddrPort) (net.Conn, error)
		cluster *model.Cluster
		spec    *model.HealthCheck
		want    string
	}{
		"dialling": {func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, testCluster(), byTCP(), "no connection within 1s"},
		"handshake": {silent(""), secured(over), byTCP(), "no connection within 1s: tls: the handshake took too long"},
		"greeting":  {silent(""), h2c(), byHTTP(), "no connection within 1s: http2: the host did not greet in time"},
		"answer":    {silent(""), testCluster(), byHTTP(), "no answer within 1s"},
		"rest":      {silent("HTTP/1.1 200 OK\r\nContent-Len"), testCluster(), byHTTP(), "no answer within 1s"},
		"call":      {silent("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), testCluster(), byGRPC(""), "no answer within 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(Config{Dial: test.dial})
				apply(t, s, test.cluster, endpoints(1))
				spec := *test.spec
				spec.Timeout = time.Second
				began := time.Now()
				late, err := pick(t, s.Cluster("c")).ask(t.Context(), transport.Now().Add(time.Second), &spec)
				if err == nil || !late || !strings.Contains(err.Error(), test.want) || time.Since(began) != time.Second {
					t.Errorf("after %v, late %v: %v, want %s", time.Since(began), late, err, test.want)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				began = time.Now()
				if _, err := pick(t, s.Cluster("c")).ask(ctx, transport.Now().Add(time.Hour), &spec); err == nil || time.Since(began) > time.Second {
					t.Errorf("after the end of everything: %v, after %v", err, time.Since(began))
				}
			})
		})
	}
}
