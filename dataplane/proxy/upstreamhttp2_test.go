package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/model"
)

// serveH2C starts a net/http upstream that speaks HTTP/2 without TLS, and nothing else.
func serveH2C(t testing.TB, h http.HandlerFunc, change ...func(*http.Server)) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	for _, f := range change {
		f(s.Config)
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// speaking sets what is spoken with every cluster.
func speaking(s *model.Snapshot, protocol model.Protocol) *model.Snapshot {
	for _, c := range s.Clusters {
		c.Protocol = protocol
		c.Hash = model.HashOf(c)
	}
	return s
}

// echoAll says what it has seen, and has the ways in which answers differ.
func echoAll(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 2 {
		http.Error(w, "not HTTP/2", http.StatusTeapot)
		return
	}
	switch r.URL.Path {
	case "/empty":
		w.WriteHeader(http.StatusNoContent)
	case "/notmodified":
		w.WriteHeader(http.StatusNotModified)
	case "/hints":
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, "hinted")
	case "/large":
		_, _ = io.WriteString(w, strings.Repeat("0123456789abcdef", 64<<10))
	case "/early":
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	default:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("Trailer", "T")
		fmt.Fprintf(w, "%s %s %s %s %q %q", r.Method, r.Host, r.RequestURI, r.Header.Get("X-A"), body, r.Trailer.Get("X-T"))
		w.Header().Set("T", "end")
	}
}

func TestHTTP2Upstream(t *testing.T) {
	s := speaking(snapshotOf(map[string]string{"up": serveH2C(t, echoAll)}, to("up")), model.ProtocolH2C)
	r := startRig(t, s, Config{})
	c := r.dial()
	for range 3 {
		resp := c.send("GET /a?b=c HTTP/1.1\nHost: h.test\nX-A:  b \nConnection: x-gone\nX-Gone: 1\n\n").want(200, "", `GET h.test /a?b=c b "" ""`)
		if resp.Trailer.Get("T") != "end" {
			t.Errorf("trailers %v", resp.Trailer)
		}
	}
	c.send("PUT / HTTP/1.1\nHost: h\nContent-Length: 5\n\nhello").want(200, "", `PUT h /  "hello" ""`)
	c.send("POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\nTrailer: X-T\n\n5\nhello\n1\n!\n0\nX-T: tail\n\n").want(200, "", `POST h /  "hello!" "tail"`)
	c.send("PURGE / HTTP/1.1\nHost: h\n\n").want(200, "", "PURGE")
	c.send("GET /empty HTTP/1.1\nHost: h\n\n").want(204, "", "")
	c.send("GET /notmodified HTTP/1.1\nHost: h\n\n").want(304, "", "")
	c.send("HEAD /large HTTP/1.1\nHost: h\n\n")
	if resp, body := c.answer("HEAD"); resp.StatusCode != 200 || body != "" {
		t.Errorf("HEAD: %d %q", resp.StatusCode, body)
	}
	c.send("GET /hints HTTP/1.1\nHost: h\n\n")
	if resp, _ := c.answer("GET"); resp.StatusCode != 103 || resp.Header.Get("Link") == "" {
		t.Errorf("got %d", resp.StatusCode)
	}
	c.want(200, "", "hinted")
	c.send("GET /large HTTP/1.1\nHost: h\n\n")
	if _, body := c.answer("GET"); len(body) != 1<<20 {
		t.Errorf("%d bytes", len(body))
	}
	large := strings.Repeat("x", 3<<20)
	if _, body := c.send("PUT / HTTP/1.1\nHost: h\nContent-Length: 3145728\n\n" + large).answer("PUT"); !strings.Contains(body, large) {
		t.Errorf("%d bytes", len(body))
	}
	if n := r.proxy.Hosts()[0]; n.Opened != 1 || n.Open != 1 {
		t.Errorf("host %+v", n)
	}
	r.dial().send("PUT /early HTTP/1.1\nHost: h\nContent-Length: 3145728\n\n"+large[:200<<10]).want(413, "", "too much")
}

// TestHTTP2UpstreamMultiplexes: a hundred at once need one connection for each shard.
func TestHTTP2UpstreamMultiplexes(t *testing.T) {
	var at atomic.Int32
	all := make(chan struct{})
	const n = 100
	up := serveH2C(t, func(w http.ResponseWriter, _ *http.Request) {
		if at.Add(1) == n {
			close(all)
		}
		<-all
		fmt.Fprint(w, "ok")
	})
	r := startRig(t, speaking(snapshotOf(map[string]string{"up": up}, to("up")), model.ProtocolH2C), Config{})
	var wait sync.WaitGroup
	for range n {
		c := r.dial()
		wait.Go(func() { c.send("GET / HTTP/1.1\nHost: h\n\n").want(200, "", "ok") })
	}
	wait.Wait()
	if h := r.proxy.Hosts()[0]; h.Opened > 2 {
		t.Errorf("host %+v", h)
	}
}

// TestHTTP2OnBothSides is TestHTTP2Bodies with hosts that speak HTTP/2.
func TestHTTP2OnBothSides(t *testing.T) {
	carriesBodies(t, speaking(snapshotOf(map[string]string{"up": serveH2C(t, mix)}, to("up")), model.ProtocolH2C))
	ca := newNotary(t)
	s := secure(snapshotOf(map[string]string{"up": serveH2(t, ca.good(), mix)}, to("up")), &model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem()})
	carriesBodies(t, speaking(s, model.ProtocolHTTP2))
}

// serveH2 starts a net/http upstream with TLS that speaks what ALPN agrees on.
func serveH2(t testing.TB, config *tls.Config, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.TLS = config
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TestHostsChoose: with TLS a handshake agrees on what is spoken, and who cannot speak what the
// cluster wants is told so.
func TestHostsChoose(t *testing.T) {
	ca := newNotary(t)
	proto := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, " ", r.TLS.NegotiatedProtocol) }
	old, both := serveTLS(t, ca.good(), proto), serveH2(t, ca.good(), proto)
	mute := ca.good()
	for name, test := range map[string]struct {
		host     string
		protocol model.Protocol
		status   int
		flag     string
		says     string
	}{
		"both, auto":      {both, model.ProtocolAuto, 200, "", "HTTP/2.0 h2"},
		"both, HTTP/1.1":  {both, model.ProtocolHTTP1, 200, "", "HTTP/1.1"},
		"both, HTTP/2":    {both, model.ProtocolHTTP2, 200, "", "HTTP/2.0 h2"},
		"old, auto":       {old, model.ProtocolAuto, 200, "", "HTTP/1.1 http/1.1"},
		"old, HTTP/2":     {old, model.ProtocolHTTP2, 503, "UF", "the host does not speak HTTP/2"},
		"no ALPN, auto":   {serveNoALPN(t, mute), model.ProtocolAuto, 200, "", "old and mute"},
		"no ALPN, HTTP/2": {serveNoALPN(t, mute), model.ProtocolHTTP2, 503, "UF", "the host does not speak HTTP/2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := secure(snapshotOf(map[string]string{"up": test.host}, to("up")), &model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem()})
			r := startRig(t, speaking(s, test.protocol), Config{})
			c := r.dial()
			for range 3 {
				c.send("GET / HTTP/1.1\nHost: h\n\n")
				if test.flag != "" {
					c.want(test.status, test.flag, "")
				} else {
					c.want(test.status, "", test.says)
				}
			}
			h := r.proxy.Hosts()[0]
			if test.flag == "" && h.Opened != 1 || test.flag != "" && (h.Open != 0 || !strings.Contains(h.LastError, test.says)) {
				t.Errorf("host %+v", h)
			}
		})
	}
}

// serveNoALPN starts an upstream that knows TLS and nothing of ALPN.
func serveNoALPN(t testing.TB, config *tls.Config) string {
	return serveRaw(t, func(c net.Conn, _ *bufio.Reader) {
		s := tls.Server(c, config)
		r := bufio.NewReader(s)
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			fmt.Fprint(s, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nold and mute")
		}
	})
}

// TestWebSocketsWhereTheHostChooses: one that takes none over HTTP/2 is asked over HTTP/1.1.
func TestWebSocketsWhereTheHostChooses(t *testing.T) {
	ca := newNotary(t)
	up := serveH2(t, ca.good(), func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprint(w, r.Proto)
			return
		}
		c, both, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, both)
	})
	s := secure(snapshotOf(map[string]string{"up": up}, to("up")), &model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem()})
	r := startRig(t, s, Config{})
	for range 2 {
		r.dial().send("GET / HTTP/1.1\nHost: h\n\n").want(200, "", "HTTP/2.0")
		c := r.dial().send("GET / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: websocket\n\nhello")
		if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 101 {
			t.Fatalf("got %v, %v", resp, err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(c.r, got); err != nil || string(got) != "hello" {
			t.Errorf("got %q, %v", got, err)
		}
		c.Close()
	}
}

// cannedH2C answers every stream with the same head and body, and allocates nothing.
func cannedH2C(t testing.TB, fields ...string) string {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	e.SetMaxDynamicTableSize(0)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	head := append([]byte{0, 0, byte(block.Len()), 1, 4, 0, 0, 0, 0}, block.Bytes()...)
	answer := append(head, "\x00\x00\x05\x00\x01\x00\x00\x00\x00hello"...)
	return serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = r.Discard(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
		_, _ = c.Write([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
		out := bytes.Clone(answer)
		for {
			h, err := r.Peek(9)
			if err != nil {
				return
			}
			stream := binary.BigEndian.Uint32(h[5:])
			opens := h[3] == 1
			_, _ = r.Discard(9 + int(h[0])<<16 + int(h[1])<<8 + int(h[2]))
			if opens {
				binary.BigEndian.PutUint32(out[5:], stream)
				binary.BigEndian.PutUint32(out[len(head)+5:], stream)
				if _, err := c.Write(out); err != nil {
					return
				}
			}
		}
	})
}

// TestHTTP2UpstreamAllocatesLittle: the strings of fields that no table has, and what runs the
// writer.
func TestHTTP2UpstreamAllocatesLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, test := range map[string]struct {
		fields []string
		most   float64
	}{
		"all in the table": {[]string{":status", "200"}, 0},
		"two literals":     {[]string{":status", "200", "content-type", "text/plain", "content-length", "5"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := speaking(snapshotOf(map[string]string{"up": cannedH2C(t, test.fields...)}, to("up")), model.ProtocolH2C)
			c := startRig(t, s, Config{}).dial()
			request := []byte("GET /some/path?q=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nAccept: */*\r\nCookie: a=b\r\n\r\n")
			buf := make([]byte, 4096)
			exchange := func() {
				if _, err := c.Write(request); err != nil {
					t.Fatal(err)
				}
				for n := 0; !bytes.Contains(buf[:n], []byte("hello")) || len(test.fields) == 2 && !bytes.HasSuffix(buf[:n], []byte("0\r\n\r\n")); {
					k, err := c.Read(buf[n:])
					if n += k; err != nil {
						t.Fatal(err)
					}
				}
			}
			for range 200 {
				exchange()
			}
			if n := testing.AllocsPerRun(2000, exchange); n > test.most {
				t.Errorf("%v allocations per request, want %v at most", n, test.most)
			} else {
				t.Logf("%v allocations per request", n)
			}
		})
	}
}

// TestManyFindOutAtOnce: requests that wait for the first handshake go on alone if the host
// has chosen HTTP/1.1.
func TestManyFindOutAtOnce(t *testing.T) {
	ca := newNotary(t)
	const n = 10
	var at atomic.Int32
	all := make(chan struct{})
	up := serveTLS(t, ca.good(), func(w http.ResponseWriter, r *http.Request) {
		if at.Add(1) == n {
			close(all)
		}
		<-all
		fmt.Fprint(w, r.Proto)
	})
	s := secure(snapshotOf(map[string]string{"up": up}, to("up")), &model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem()})
	r := startRig(t, s, Config{})
	var wait sync.WaitGroup
	for range n {
		c := r.dial()
		wait.Go(func() { c.send("GET / HTTP/1.1\nHost: h\n\n").want(200, "", "HTTP/1.1") })
	}
	wait.Wait()
	if h := r.proxy.Hosts()[0]; h.Opened != n || h.ConnectFailures != 0 {
		t.Errorf("host %+v", h)
	}
}
