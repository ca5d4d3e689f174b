package e2e_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// column is a protocol of the table: how to get through the front door by it.
type column struct {
	name string // as in the table
	host string // the kind of the hosts behind it
	// secure columns have TLS that ends at the front door.
	secure bool
	// Exactly one of them: ways for requests, and for bytes.
	requests func(f *front, o options) (*requester, error)
	bytes    func(ctx context.Context, f *front, stream string, o options) (net.Conn, error)
	route    string // of streams: how their routes' names begin
}

// options are what a client does otherwise than usual.
type options struct {
	member bool   // it has a certificate
	name   string // that its TLS handshake asks for, if not the host's
	from   string // its address, if not 127.0.0.1
}

// columns are those of the table. Clients are by others, the last four differ in the hosts.
var columns = []column{
	{name: "HTTP/1.1", host: "http", requests: overHTTP1},
	{name: "HTTPS", host: "http", secure: true, requests: overHTTPS},
	{name: "HTTP/2", host: "http", secure: true, requests: overHTTP2},
	{name: "h2c", host: "http", requests: overH2C},
	{name: "HTTP/3", host: "http", secure: true, requests: overHTTP3},
	{name: "gRPC", host: "grpc", secure: true, requests: overGRPC},
	{name: "TCP", bytes: overTCP, route: "TCPRoute/default/tcp-"},
	{name: "TLS through", bytes: throughTLS("through.test"), route: "TLSRoute/default/through-"},
	{name: "TLS ended", secure: true, bytes: throughTLS("ending.test"), route: "TLSRoute/default/ending-"},
	{name: "UDP", bytes: overUDP, route: "UDPRoute/default/udp-"},
	{name: "to TLS", host: "tls", requests: overHTTP1},
	{name: "to HTTP/2", host: "h2", requests: overHTTP1},
	{name: "to h2c", host: "h2c", requests: overHTTP1},
}

// question is a request, or a call of gRPC.
type question struct {
	method, host, path string // GET if there is no body; the column's host; "/x" of gRPC becomes a method
	header             map[string]string
	body               string
}

// answer is what came of it. Of a call, failed is whether its status is not OK.
type answer struct {
	failed          bool
	status          int        // of HTTP
	code            codes.Code // of gRPC
	flag            string
	header, trailer http.Header
	body            string
}

// echoed is what the host said that it was asked.
func (a *answer) echoed(t *testing.T) (e echoed) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || a.failed {
		t.Fatalf("the answer is no echo: %d, flag %q, %q", a.status, a.flag, a.body)
	}
	return e
}

// requester sends requests on a connection of its own, or connections.
type requester struct {
	host  string // that is asked if nothing else is said
	ask   func(ctx context.Context, a question) (*answer, error)
	talk  func(ctx context.Context, a question) (*talk, error)
	plain http.RoundTripper // nil: gRPC
	base  string            // the scheme
	// connect makes a CONNECT an extended one; nil: WebSockets come by an upgrade.
	connect func(*http.Request)
}

// talk is a request whose body and answer's body go on at the same time, in lines.
type talk struct {
	send  func(line string) error
	hear  func() (string, error)
	end   func() error // of what is sent
	close func()
}

func overHTTP1(f *front, _ options) (*requester, error) {
	rt := &http.Transport{DisableCompression: true}
	rt.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return f.dial(ctx, "tcp", "clear") }
	f.atEnd(rt.CloseIdleConnections)
	return newRequester(rt, "http"), nil
}

func overHTTPS(f *front, o options) (*requester, error) {
	rt := &http.Transport{DisableCompression: true}
	rt.DialTLSContext = func(ctx context.Context, _, address string) (net.Conn, error) {
		return f.dialTLS(ctx, f.config(o.serverName(address), o, "http/1.1"))
	}
	f.atEnd(rt.CloseIdleConnections)
	return newRequester(rt, "https"), nil
}

func overH2C(f *front, _ options) (*requester, error) {
	return overFrames(f, "http", func(ctx context.Context, _ string) (net.Conn, error) { return f.dial(ctx, "tcp", "clear") }), nil
}

func overHTTP2(f *front, o options) (*requester, error) {
	return overFrames(f, "https", func(ctx context.Context, address string) (net.Conn, error) {
		return f.dialTLS(ctx, f.config(o.serverName(address), o, "h2"))
	}), nil
}

// overFrames is a client of HTTP/2 on connections that dial makes.
//
//nolint:staticcheck // net/http's own has no extended CONNECT, by which WebSockets come
func overFrames(f *front, scheme string, dial func(ctx context.Context, address string) (net.Conn, error)) *requester {
	rt := &http2.Transport{DisableCompression: true, AllowHTTP: true}
	rt.DialTLSContext = func(ctx context.Context, _, address string, _ *tls.Config) (net.Conn, error) {
		return dial(ctx, address)
	}
	f.atEnd(rt.CloseIdleConnections)
	r := newRequester(rt, scheme)
	r.connect = func(req *http.Request) { req.Header[":protocol"] = []string{"websocket"} }
	return r
}

func overHTTP3(f *front, o options) (*requester, error) {
	rt := &http3.Transport{DisableCompression: true, TLSClientConfig: f.config(o.name, o)}
	rt.Dial = func(ctx context.Context, _ string, config *tls.Config, settings *quic.Config) (*quic.Conn, error) {
		return quic.DialAddr(ctx, f.at("secure"), config, settings)
	}
	f.atEnd(func() { _ = rt.Close() })
	r := newRequester(rt, "https")
	r.connect = func(req *http.Request) { req.Proto = "websocket" }
	return r, nil
}

// serverName is the name to ask for at an address.
func (o *options) serverName(address string) string {
	host, _, err := net.SplitHostPort(address)
	if o.name != "" || err != nil {
		return o.name
	}
	return host
}

// dialTLS connects to the front door's port for TLS.
func (f *front) dialTLS(ctx context.Context, config *tls.Config) (net.Conn, error) {
	c, err := f.dial(ctx, "tcp", "secure")
	if err != nil {
		return nil, err
	}
	secure := tls.Client(c, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return secure, nil
}

func newRequester(rt http.RoundTripper, scheme string) *requester {
	r := &requester{plain: rt, base: scheme}
	r.ask = r.askHTTP
	r.talk = r.talkHTTP
	return r
}

// request makes a request of HTTP.
func (r *requester) request(ctx context.Context, a question, body io.Reader) (*http.Request, error) {
	if a.method == "" {
		a.method = http.MethodGet
		if body != nil {
			a.method = http.MethodPost
		}
	}
	req, err := http.NewRequestWithContext(ctx, a.method, r.base+"://"+cmp.Or(a.host, r.host)+a.path, body)
	if err != nil {
		return nil, err
	}
	for name, value := range a.header {
		req.Header.Set(name, value)
	}
	return req, nil
}

func (r *requester) askHTTP(ctx context.Context, a question) (*answer, error) {
	var body io.Reader
	if a.body != "" {
		body = strings.NewReader(a.body)
	}
	req, err := r.request(ctx, a, body)
	if err != nil {
		return nil, err
	}
	if value, ok := a.header["x-trailer"]; ok { // sent behind the body, not before it
		req.Header.Del("x-trailer")
		req.ContentLength = -1
		req.Trailer = http.Header{"X-Trailer": {value}}
	}
	resp, err := r.plain.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return &answer{
		failed: resp.StatusCode >= 400, status: resp.StatusCode, flag: resp.Header.Get("X-Weir-Flag"),
		header: resp.Header, trailer: resp.Trailer, body: string(text),
	}, err
}

func (r *requester) talkHTTP(ctx context.Context, a question) (*talk, error) {
	out, in := io.Pipe()
	a.method = http.MethodPost
	req, err := r.request(ctx, a, out)
	if err != nil {
		return nil, err
	}
	return r.begin(req, in)
}

// tunnel opens what becomes a WebSocket: by an upgrade, or by extended CONNECT.
func (r *requester) tunnel(ctx context.Context, a question) (*talk, error) {
	a.method = http.MethodConnect
	if r.connect == nil {
		a.method = http.MethodGet
	}
	req, err := r.request(ctx, a, nil)
	if err != nil {
		return nil, err
	}
	out, in := io.Pipe()
	req.Header.Set("Sec-WebSocket-Version", "13")
	if r.connect != nil {
		req.Body = out
		r.connect(req)
	} else {
		req.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "websocket")
	}
	return r.begin(req, in)
}

// begin sends a request that goes on while its answer comes.
func (r *requester) begin(req *http.Request, in *io.PipeWriter) (*talk, error) {
	context.AfterFunc(req.Context(), func() { _ = in.Close() }) // net/http waits for it
	resp, err := r.plain.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	var w *talk
	switch resp.StatusCode {
	case http.StatusSwitchingProtocols:
		both := resp.Body.(io.ReadWriteCloser)
		w = lines(both, both, func() { _ = both.Close() })
	case http.StatusOK:
		w = lines(in, resp.Body, func() { _ = in.Close(); _ = resp.Body.Close() })
	}
	if w != nil {
		context.AfterFunc(req.Context(), w.close)
		return w, nil
	}
	_ = resp.Body.Close()
	return nil, fmt.Errorf("status %s, flag %s", resp.Status, resp.Header.Get("X-Weir-Flag"))
}

// lines is a talk over two streams.
func lines(out io.WriteCloser, in io.Reader, closed func()) *talk {
	read := bufio.NewReader(in)
	return &talk{
		send:  func(line string) error { _, err := io.WriteString(out, line+"\n"); return err },
		hear:  func() (string, error) { line, err := read.ReadString('\n'); return strings.TrimSuffix(line, "\n"), err },
		end:   out.Close,
		close: closed,
	}
}

func overGRPC(f *front, o options) (*requester, error) {
	r := &requester{}
	conn, err := grpc.NewClient(
		"passthrough:///"+f.at("secure"), grpc.WithTransportCredentials(credentials.NewTLS(f.config(cmp.Or(o.name, "grpc.test"), o))),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return f.dial(ctx, "tcp", "secure") }),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})), grpc.WithDisableRetry(),
	)
	if err != nil {
		return nil, err
	}
	f.atEnd(func() { _ = conn.Close() })
	open := func(ctx context.Context, a question) (grpc.ClientStream, error) {
		for name, value := range a.header {
			ctx = metadata.AppendToOutgoingContext(ctx, name, value)
		}
		path := a.path
		if strings.Count(path, "/") < 2 {
			path += "/Call"
		}
		both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
		return conn.NewStream(ctx, both, path, grpc.CallAuthority(cmp.Or(a.host, r.host)))
	}
	r.ask = func(ctx context.Context, a question) (*answer, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s, err := open(ctx, a)
		if err != nil {
			return nil, err
		}
		return callGRPC(s, a.body)
	}
	r.talk = func(ctx context.Context, a question) (*talk, error) {
		ctx, cancel := context.WithCancel(ctx)
		s, err := open(ctx, a)
		if err != nil {
			cancel()
			return nil, err
		}
		return &talk{
			send: func(line string) error { m := []byte(line); return s.SendMsg(&m) },
			hear: func() (string, error) {
				var m []byte
				err := s.RecvMsg(&m)
				return strings.TrimSuffix(string(m), "\n"), err
			},
			end: s.CloseSend, close: cancel,
		}, nil
	}
	return r, nil
}

// flagged finds the flag in a message of ours.
var flagged = regexp.MustCompile(`\(([A-Z0-9]{2,4})\)$`)

// callGRPC sends one message and takes all that come.
func callGRPC(s grpc.ClientStream, body string) (*answer, error) {
	m := []byte(body)
	if err := s.SendMsg(&m); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := s.CloseSend(); err != nil {
		return nil, err
	}
	a := &answer{header: http.Header{}, trailer: http.Header{}}
	for {
		var m []byte
		err := s.RecvMsg(&m)
		if err == nil {
			a.body += string(m)
			continue
		}
		header, _ := s.Header()
		for to, from := range map[*http.Header]metadata.MD{&a.header: header, &a.trailer: s.Trailer()} {
			for name, values := range from {
				(*to)[http.CanonicalHeaderKey(name)] = values
			}
		}
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		end := status.Convert(err)
		a.failed, a.code, a.body = true, end.Code(), a.body+end.Message()
		if found := flagged.FindStringSubmatch(end.Message()); found != nil {
			a.flag = found[1]
		}
		return a, nil
	}
}

func overTCP(ctx context.Context, f *front, stream string, o options) (net.Conn, error) {
	return f.dialFrom(ctx, "tcp", "tcp-"+stream, o)
}

func overUDP(ctx context.Context, f *front, stream string, o options) (net.Conn, error) {
	return f.dialFrom(ctx, "udp", "udp-"+stream, o)
}

func throughTLS(domain string) func(context.Context, *front, string, options) (net.Conn, error) {
	return func(ctx context.Context, f *front, stream string, o options) (net.Conn, error) {
		c, err := f.dialFrom(ctx, "tcp", "secure", o)
		if err != nil {
			return nil, err
		}
		secure := tls.Client(c, f.config(cmp.Or(o.name, stream+"."+domain), o))
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			return nil, err
		}
		return secure, nil
	}
}
