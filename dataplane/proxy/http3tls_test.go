package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// TestHTTP3HasTheSamePolicies sends the same requests over all versions, and compares the answers.
func TestHTTP3HasTheSamePolicies(t *testing.T) {
	var tries atomic.Int64
	upstream := serveHTTP(t, func(w http.ResponseWriter, req *http.Request) {
		if n := tries.Add(1); req.URL.Path == "/retried" && n%2 == 1 {
			w.WriteHeader(503)
			return
		}
		w.Header().Set("X-Path", req.RequestURI)
		w.Header().Set("X-Host", req.Host)
		w.Header().Set("X-Added", req.Header.Get("X-Added"))
		w.Header().Set("Content-Type", "text/plain")
		switch req.URL.Path {
		case "/slow":
			<-req.Context().Done()
		case "/text":
			_, _ = io.WriteString(w, article(100_000))
		}
	})
	part := "/new"
	var routes []*model.Route
	with := func(path string, change func(r *model.Route)) {
		r := to("up")
		r.Name, r.Matches = "ns"+path+"/0", prefix(path)
		change(r)
		routes = append(routes, r)
	}
	with("/away", func(r *model.Route) { r.Redirect = &model.Redirect{Hostname: "to.test", Status: 301} })
	with("/cors", func(r *model.Route) {
		r.CORS = &model.CORS{AllowOrigins: []string{"https://good.example"}, AllowMethods: []string{"PUT"}, MaxAge: time.Minute}
	})
	with("/old", func(r *model.Route) {
		r.Rewrite = &model.Rewrite{Hostname: "in.test", Path: &model.PathChange{Prefix: &part}}
		r.RequestHeaders = &model.HeaderEdit{Add: []model.Header{{Name: "x-added", Value: "yes"}}}
		r.ResponseHeaders = &model.HeaderEdit{Set: []model.Header{{Name: "x-set", Value: "1"}}, Remove: []string{"x-host"}}
	})
	with("/text", func(r *model.Route) {
		r.Compression = &model.Compression{Algorithms: []model.Coding{model.CodingGzip}, MinSize: 1 << 10, Types: []string{"text/*"}}
	})
	with("/slow", func(r *model.Route) { r.Timeouts.Request = 50 * time.Millisecond })
	with("/retried", func(r *model.Route) { r.Retry = &model.Retry{Attempts: 1, Codes: []int{503}} })
	with("/refused", func(r *model.Route) { r.Refusal = &model.Refusal{Status: 500, Flag: "NC", Reason: "no such Service"} })
	ca, s := secureOne(t, upstream, routes...)
	s.Listeners[0].Client.TrustHops = 1
	r := startHTTP3(t, s, Config{})
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", r.addr)
	}
	h1 := &http.Transport{TLSClientConfig: ca.config("a.test", nil), DialContext: dial, DisableCompression: true}
	h2 := &http.Transport{TLSClientConfig: ca.config("a.test", nil), DialContext: dial, DisableCompression: true, ForceAttemptHTTP2: true}
	t.Cleanup(h1.CloseIdleConnections)
	t.Cleanup(h2.CloseIdleConnections)
	for _, tt := range []struct {
		method, path, field, value string
		status                     int
	}{
		{"GET", "/away/x", "", "", 301},
		{"OPTIONS", "/cors", "Origin", "https://good.example", 200},
		{"GET", "/cors", "Origin", "https://good.example", 200},
		{"GET", "/old/x?q", "", "", 200},
		{"GET", "/text", "Accept-Encoding", "gzip", 200},
		{"HEAD", "/text", "", "", 200},
		{"GET", "/slow", "", "", 504},
		{"GET", "/retried", "", "", 200},
		{"GET", "/refused", "", "", 500},
		{"GET", "/%00", "", "", 400},
		{"GET", "/", "X_Bad", "1", 400},
		{"GET", "/", "X-Weir-Explain", "1", 200},
	} {
		var first string
		for i, rt := range []http.RoundTripper{h1, h2, r.h3(ca.config("a.test", nil))} {
			req := request(t, tt.method, "https://a.test"+tt.path, nil)
			if tt.field != "" {
				req.Header[tt.field] = []string{tt.value}
			}
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatalf("%s %s: %v", tt.method, tt.path, err)
			}
			plain := resp.Body.(io.Reader)
			if tt.value == "gzip" { // the encoder's bytes depend on how they came
				plain = decoder(t, model.CodingGzip, plain)
			}
			body, err := io.ReadAll(plain)
			resp.Body.Close()
			if err != nil || resp.StatusCode != tt.status || resp.ProtoMajor != i+1 {
				t.Errorf("%s %s %s: %d, %v", tt.method, tt.path, resp.Proto, resp.StatusCode, err)
			}
			explained := resp.Header.Get("X-Weir-Explain") != ""
			if explained != (tt.field == "X-Weir-Explain") {
				t.Errorf("%s: explained: %v", resp.Proto, explained)
			}
			for _, name := range []string{"Alt-Svc", "Date", "X-Request-Id", "X-Weir-Explain", "Connection"} {
				resp.Header.Del(name)
			}
			got := fmt.Sprintf("%d %v %d %q", resp.StatusCode, resp.Header, len(body), body[:min(len(body), 200)])
			if i == 0 {
				first = got
			} else if d := cmp.Diff(first, got); d != "" {
				t.Errorf("%s %s: %s differs:\n%s", tt.method, tt.path, resp.Proto, d)
			}
		}
	}
}

// TestHTTP3Identity: a client's certificate counts as over TCP, one that is not valid is
// refused and logged, and requests are logged as what they are.
func TestHTTP3Identity(t *testing.T) {
	const id = "spiffe://prod.test/ns/shop/sa/cart"
	ca := newNotary(t)
	s := twoListeners(serveHTTP(t, mix), &model.TLS{Names: []model.TLSName{ca.name(&model.ClientValidation{CAs: ca.pem()}, "a.test")}})
	var out bytes.Buffer
	log := telemetry.NewAccessLog(telemetry.AccessLogConfig{Writer: &out, Shards: 2})
	r := startHTTP3(t, s, Config{AccessLog: log})
	resp, err := r.h3(ca.config("a.test", ca.client(id, time.Now().Add(time.Hour)))).RoundTrip(request(t, "GET", "https://a.test/", nil))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for _, cert := range []*tls.Certificate{nil, ca.client(id, time.Now().Add(-time.Hour))} {
		if _, err := r.h3(ca.config("a.test", cert)).RoundTrip(request(t, "GET", "https://a.test/", nil)); err == nil {
			t.Error("a client without a valid certificate is served")
		}
	}
	if _, err := r.h3(ca.config("b.test", nil)).RoundTrip(request(t, "GET", "https://b.test/", nil)); err == nil {
		t.Error("a name that nobody has is served")
	}
	r.stop()
	if err := log.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if !strings.Contains(text, `"protocol":"HTTP/3"`) || !strings.Contains(text, id) || !strings.Contains(text, "didn't provide") || !strings.Contains(text, "expired") {
		t.Errorf("logged %s", text)
	}
	// The client may have tried again by itself.
	stats := r.metrics.Listener("front")
	refused := stats.Handshakes(telemetry.HandshakeCertificate)
	if full := stats.Handshakes(telemetry.HandshakeFull); full != 1 || refused < 2 || int(refused) != strings.Count(text, `"CC"`) {
		t.Errorf("%d handshakes, and %d refused, of which the log has %d", full, refused, strings.Count(text, `"CC"`))
	}
	if stats.Handshakes(telemetry.HandshakeName) == 0 {
		t.Error("the unknown name is not counted")
	}
}

// TestHTTP3Handshakes: each is counted by how it ended.
func TestHTTP3Handshakes(t *testing.T) {
	ca, s := secureOne(t, serveHTTP(t, mix))
	s.Listeners[0].Client.HeadTimeout = 500 * time.Millisecond
	r := startHTTP3(t, s, Config{})
	stats := r.metrics.Listener("front")
	dial := func(change func(c *tls.Config)) {
		config := ca.config("a.test", nil)
		config.NextProtos = []string{"h3"}
		change(config)
		if c, err := quic.DialAddr(t.Context(), r.addr, config, nil); err == nil {
			<-c.Context().Done()
		}
	}
	for end, do := range map[telemetry.Handshake]func(){
		telemetry.HandshakeRejected: func() { dial(func(c *tls.Config) { c.RootCAs = newNotary(t).pool() }) },
		telemetry.HandshakeMismatch: func() { dial(func(c *tls.Config) { c.NextProtos = []string{"other"} }) },
		telemetry.HandshakeName:     func() { dial(func(c *tls.Config) { c.ServerName = "b.test" }) },
		telemetry.HandshakeTimeout: func() { // the client hears nothing, and so its part of the handshake never comes
			deaf, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			tr := &quic.Transport{Conn: deafConn{deaf}}
			defer deaf.Close()
			defer tr.Close()
			at, err := net.ResolveUDPAddr("udp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			config := ca.config("a.test", nil)
			config.NextProtos = []string{"h3"}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, _ = tr.Dial(ctx, at, config, nil)
		},
	} {
		do()
		tick := time.NewTicker(5 * time.Millisecond)
		for by := time.Now().Add(patience); stats.Handshakes(end) == 0; <-tick.C {
			if time.Now().After(by) {
				t.Errorf("no handshake has ended so: %v", end)
				break
			}
		}
		tick.Stop()
	}
}

// deafConn receives nothing.
type deafConn struct{ net.PacketConn }

func (d deafConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		if _, from, err := d.PacketConn.ReadFrom(p); err != nil {
			return 0, from, err
		}
	}
}

// TestHTTP3NoEarlyData: a session is resumed, and what the client would send before the
// handshake is complete is not read: it could be a replay.
func TestHTTP3NoEarlyData(t *testing.T) {
	ca, s := secureOne(t, serveHTTP(t, mix))
	r := startHTTP3(t, s, Config{})
	config := ca.config("a.test", nil)
	config.NextProtos, config.ClientSessionCache = []string{"h3"}, tls.NewLRUClientSessionCache(1)
	for i := range 2 {
		c, err := quic.DialAddrEarly(t.Context(), r.addr, config, nil)
		if err != nil {
			t.Fatal(err)
		}
		early := c.ConnectionState().Used0RTT
		client := (&http3.Transport{}).NewClientConn(c)
		resp, err := client.RoundTrip(request(t, http3.MethodGet0RTT, "https://a.test/", nil))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body) // behind the handshake: the ticket has come
		<-c.HandshakeComplete()
		state := c.ConnectionState()
		if early || state.Used0RTT || state.TLS.DidResume != (i == 1) {
			t.Errorf("connection %d: 0-RTT %v, resumed %v", i, state.Used0RTT, state.TLS.DidResume)
		}
		_ = c.CloseWithError(0x100, "")
	}
}

// TestHTTP3ConnectionsAreLimited: they count with those over TCP.
func TestHTTP3ConnectionsAreLimited(t *testing.T) {
	ca, s := secureOne(t, serveHTTP(t, mix))
	s.Listeners[0].Client.MaxConnections = 2
	r := startHTTP3(t, s, Config{})
	c := r.secured(ca.config("a.test", nil))
	c.send("GET / HTTP/1.1\nHost: a.test\n\n").want(200, "", "")
	second := r.h3(ca.config("a.test", nil))
	resp, err := second.RoundTrip(request(t, "GET", "https://a.test/", nil))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if _, err := r.h3(ca.config("a.test", nil)).RoundTrip(request(t, "GET", "https://a.test/", nil)); err == nil || !strings.Contains(err.Error(), "CONNECTION_REFUSED") {
		t.Errorf("a third: %v", err)
	}
	if n := r.metrics.Listener("front").Active(); n != 2 {
		t.Errorf("%d connections are counted", n)
	}
}

// TestHTTP3ComesAndGoes with the snapshot, and its certificate changes, without an end to the
// listener's other connections.
func TestHTTP3ComesAndGoes(t *testing.T) {
	up := serveHTTP(t, mix)
	ca, s := secureOne(t, up)
	r := startHTTP3(t, s, Config{})
	c := r.secured(ca.config("a.test", nil))
	serial := func() string {
		rt := r.h3(ca.config("a.test", nil))
		resp, err := rt.RoundTrip(request(t, "GET", "https://a.test/", nil))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.TLS.PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	apply := func(http3 bool, name model.TLSName) {
		t.Helper()
		next := *s.Listeners[0]
		next.Client.HTTP3, next.TLS = http3, &model.TLS{Names: []model.TLSName{name}}
		snap := *s
		snap.Listeners = []*model.Listener{&next}
		if err := r.proxy.Apply(&snap); err != nil {
			t.Fatal(err)
		}
	}
	name := ca.name(nil, "a.test")
	apply(true, name)
	if after := serial(); after == before {
		t.Error("the old certificate is shown")
	}
	apply(false, name)
	if offer := c.send("GET / HTTP/1.1\nHost: a.test\n\n").want(200, "", "").Header.Get("Alt-Svc"); offer != "" {
		t.Errorf("offered %q, which is not served", offer)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := r.h3(ca.config("a.test", nil)).RoundTrip(request(t, "GET", "https://a.test/", nil).WithContext(ctx)); err == nil {
		t.Error("served where it is switched off")
	}
	apply(true, name)
	serial()
	if offer := c.send("GET / HTTP/1.1\nHost: a.test\n\n").want(200, "", "").Header.Get("Alt-Svc"); offer == "" {
		t.Error("not offered again")
	}
}

// TestHTTP3WebSocket opens a tunnel by extended CONNECT (RFC 9220) to an upstream that knows
// Upgrade only.
func TestHTTP3WebSocket(t *testing.T) {
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil || req.Method != "GET" || req.Header.Get("Upgrade") != "websocket" || len(req.Header.Get("Sec-Websocket-Key")) != 24 {
			fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nhello ")
		io.Copy(c, r)
	})
	ca, s := secureOne(t, up)
	r := startHTTP3(t, s, Config{})
	config := ca.config("a.test", nil)
	config.NextProtos = []string{"h3"}
	c, err := quic.DialAddr(t.Context(), r.addr, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseWithError(0x100, "")
	stream, err := (&http3.Transport{}).NewClientConn(c).OpenRequestStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.SetDeadline(time.Now().Add(patience))
	req := request(t, "CONNECT", "https://a.test/chat", nil)
	req.Proto = "websocket"
	req.Header.Set("Sec-WebSocket-Version", "13")
	if err := stream.SendRequestHeader(req); err != nil {
		t.Fatal(err)
	}
	resp, err := stream.ReadResponse()
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	_, _ = io.WriteString(stream, "world")
	got := make([]byte, len("hello world"))
	if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != "hello world" {
		t.Errorf("got %q, %v", got, err)
	}
	_ = stream.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("the end: %q, %v", rest, err)
	}
}

// TestHTTP3BrokenAnswer resets one stream, and no other.
func TestHTTP3BrokenAnswer(t *testing.T) {
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if req.URL.Path == "/broken" {
				fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf")
				return
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
		}
	})
	ca, s := secureOne(t, up)
	r := startHTTP3(t, s, Config{})
	rt := r.h3(ca.config("a.test", nil))
	for _, path := range []string{"/", "/broken", "/again"} {
		resp, err := rt.RoundTrip(request(t, "GET", "https://a.test"+path, nil))
		var body []byte
		if err == nil { // the reset may come as soon as the head
			body, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if path == "/broken" {
			var reset *http3.Error
			if !errors.As(err, &reset) || reset.ErrorCode != http3.ErrCodeInternalError {
				t.Errorf("%s: %q, %v", path, body, err)
			}
		} else if err != nil || string(body) != "fine" {
			t.Errorf("%s: %q, %v", path, body, err)
		}
	}
}

// TestHTTP3SlowStreamHoldsNobody: a client that does not read one answer gets the others.
func TestHTTP3SlowStreamHoldsNobody(t *testing.T) {
	ca, s := secureOne(t, serveHTTP(t, mix))
	r := startHTTP3(t, s, Config{})
	rt := r.h3(ca.config("a.test", nil))
	slow, err := rt.RoundTrip(request(t, "GET", "https://a.test/?size=50000000", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Body.Close()
	for range 20 {
		if _, body := ask(t, &http.Client{Transport: rt}, request(t, "GET", "https://a.test/?size=100000", nil)); len(body) != 100_000 {
			t.Fatalf("%d bytes", len(body))
		}
	}
}
