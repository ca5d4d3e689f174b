package e2e_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// stage is what the hosts of the protocol table share: which of them does what when.
type stage struct {
	mu    sync.Mutex
	tries map[string]int           // by x-id
	holds map[string]chan struct{} // by x-id: closed when the answer may go on
	seen  map[string]chan string   // by x-id: the hosts at which a request has arrived
}

func newStage() *stage {
	return &stage{tries: map[string]int{}, holds: map[string]chan struct{}{}, seen: map[string]chan string{}}
}

// arrive notes that a request has come to a host and returns the number of its try, from 1.
func (s *stage) arrive(id, host string) int {
	s.mu.Lock()
	s.tries[id]++
	n := s.tries[id]
	s.mu.Unlock()
	select {
	case s.arrivals(id) <- host:
	default: // more than anybody asks for
	}
	return n
}

// arrivals are the hosts that a request has come to.
func (s *stage) arrivals(id string) chan string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[id] == nil {
		s.seen[id] = make(chan string, 16)
	}
	return s.seen[id]
}

// held is closed by release.
func (s *stage) held(id string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holds[id] == nil {
		s.holds[id] = make(chan struct{})
	}
	return s.holds[id]
}

// release lets what waits with this id go on.
func (s *stage) release(id string) { close(s.held(id)) }

// echoed is what a host tells of a request.
type echoed struct {
	Host, Protocol, Method, Authority, Path string
	Header                                  http.Header
	Body                                    string
	Certified                               bool // a certificate of Weir's came with the connection
}

// serveHTTP is a host of HTTP. The header x-do says what it does.
func (s *stage) serveHTTP(name string, w http.ResponseWriter, r *http.Request) {
	id, do := r.Header.Get("x-id"), r.Header.Get("x-do")
	try := s.arrive(id, name)
	control := http.NewResponseController(w)
	switch do {
	case "upgrade":
		s.tunnel(w, r)
		return
	case "duplex":
		_ = control.EnableFullDuplex() // HTTP/2 always is
		_ = control.Flush()
		for lines := bufio.NewScanner(r.Body); lines.Scan(); {
			_, _ = fmt.Fprintf(w, "%s got %s\n", name, lines.Text())
			_ = control.Flush()
		}
		return
	case "early":
		_ = control.EnableFullDuplex() // or net/http reads on before it answers
		w.WriteHeader(http.StatusTeapot)
		_ = control.Flush()
		return
	case "hold", "pause":
		if do == "pause" {
			_, _ = io.WriteString(w, "begun ")
			_ = control.Flush()
		}
		select {
		case <-s.held(id):
			_, _ = io.WriteString(w, "ended")
		case <-r.Context().Done():
		}
		return
	case "hints":
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
	case "fail-first":
		if try == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
	case "text":
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, strings.Repeat("the same again ", 1000))
		return
	}
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Tried", fmt.Sprint(try))
	w.Header().Set("X-Remove", "me")
	w.Header().Set("Trailer", "X-Trailer")
	e := echoed{Host: name, Protocol: r.Proto, Method: r.Method, Authority: r.Host, Path: r.URL.Path, Header: r.Header, Body: string(body)}
	e.Certified = r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	_ = json.NewEncoder(w).Encode(e)
	w.Header().Set("X-Trailer", "told:"+r.Trailer.Get("X-Trailer"))
}

// tunnel switches protocols, as a server of WebSockets does, and then answers each line.
func (s *stage) tunnel(w http.ResponseWriter, r *http.Request) {
	var (
		in  io.Reader = r.Body
		out io.Writer = w
	)
	control := http.NewResponseController(w)
	flush := control.Flush
	if r.ProtoMajor == 1 {
		conn, both, err := control.Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		in, out, flush = both, conn, func() error { return nil }
	} else {
		w.WriteHeader(http.StatusOK)
		_ = flush()
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		_, _ = fmt.Fprintf(out, "got %s\n", lines.Text())
		_ = flush()
	}
}

// raw is a codec of gRPC for messages that are bytes.
type raw struct{}

func (raw) Name() string                  { return "raw" }
func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// serveGRPC is a host of gRPC for every method.
func (s *stage) serveGRPC(name string, in grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(in.Context())
	first := func(field string) string { return append(md[field], "")[0] }
	method, _ := grpc.MethodFromServerStream(in)
	id, do := first("x-id"), first("x-do")
	try := s.arrive(id, name)
	say := func(text string) error { m := []byte(text); return in.SendMsg(&m) }
	switch do {
	case "duplex":
		if err := in.SendHeader(nil); err != nil {
			return err
		}
		for {
			var m []byte
			if err := in.RecvMsg(&m); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := say(fmt.Sprintf("%s got %s", name, strings.TrimSuffix(string(m), "\n")) + "\n"); err != nil {
				return err
			}
		}
	case "early":
		return status.Error(codes.FailedPrecondition, "at once")
	case "hold", "pause":
		if do == "pause" {
			if err := say("begun "); err != nil {
				return err
			}
		}
		select {
		case <-s.held(id):
			return say("ended")
		case <-in.Context().Done():
			return status.FromContextError(in.Context().Err()).Err()
		}
	case "fail-first":
		if try == 1 {
			return status.Error(codes.Unavailable, "not yet")
		}
	}
	var body []byte
	if err := in.RecvMsg(&body); err != nil {
		return err
	}
	e := echoed{Host: name, Protocol: "gRPC", Method: "POST", Authority: first(":authority"), Path: method, Header: http.Header{}, Body: string(body)}
	for field, values := range md {
		e.Header[http.CanonicalHeaderKey(field)] = values
	}
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := in.SetHeader(metadata.Pairs("x-tried", fmt.Sprint(try), "x-remove", "me")); err != nil {
		return err
	}
	in.SetTrailer(metadata.Pairs("x-trailer", "told:"+first("x-trailer")))
	return say(string(text))
}

// answerLines is a host of bytes: it answers each line, and the end with an end.
func answerLines(name string, c net.Conn) {
	defer c.Close()
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if _, err := fmt.Fprintf(c, "%s got %s\n", name, lines.Text()); err != nil {
			return
		}
	}
	_, _ = fmt.Fprintf(c, "%s bids farewell\n", name)
}

// hostHTTP starts a host of HTTP that speaks what protocols says, over TLS if config is given.
func (s *stage) hostHTTP(t *testing.T, name string, config *tls.Config, set func(*http.Protocols, bool)) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serveHTTP(name, w, r) }))
	server.Config.Protocols = new(http.Protocols)
	set(server.Config.Protocols, true)
	if config == nil {
		server.Start()
	} else {
		server.TLS = config.Clone()
		server.EnableHTTP2 = server.Config.Protocols.HTTP2()
		server.StartTLS()
	}
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return server.Listener.Addr().String()
}

// hostGRPC starts a host of gRPC.
func (s *stage) hostGRPC(t *testing.T, name string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(func(_ any, in grpc.ServerStream) error {
		return s.serveGRPC(name, in)
	}))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

// hostBytes starts a host of bytes, over TLS if config is given.
func hostBytes(t *testing.T, name string, config *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			end := context.AfterFunc(ctx, func() { _ = c.Close() })
			open.Go(func() { defer end(); answerLines(name, c) })
		}
	})
	t.Cleanup(func() { cancel(); _ = l.Close(); open.Wait() })
	return l.Addr().String()
}

// hostDatagrams starts a host of UDP.
func hostDatagrams(t *testing.T, name string) string {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(fmt.Appendf(nil, "%s got %s", name, buf[:n]), from)
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-done })
	return c.LocalAddr().String()
}

// relay stands before a host of bytes of any kind. It takes the first line off each connection,
// which is the PROXY header, and keeps it.
func (s *stage) relay(t *testing.T, kind string, host netip.AddrPort) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				in := bufio.NewReader(c)
				header, err := in.ReadString('\n')
				if err != nil {
					return
				}
				s.arrive("header of "+kind, header)
				to, err := net.Dial("tcp", host.String())
				if err != nil {
					return
				}
				defer to.Close()
				defer context.AfterFunc(ctx, func() { _ = to.Close() })()
				open.Go(func() { _, _ = io.Copy(to, in); _ = to.Close() })
				_, _ = io.Copy(c, to)
			})
		}
	})
	t.Cleanup(func() { cancel(); _ = l.Close(); open.Wait() })
	return netip.MustParseAddrPort(l.Addr().String())
}
