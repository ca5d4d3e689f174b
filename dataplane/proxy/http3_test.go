package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"weir.dev/weir/model"
)

// startHTTP3 serves s with HTTP/3 on its first listener.
func startHTTP3(t testing.TB, s *model.Snapshot, cfg Config) *rig {
	t.Helper()
	s.Listeners[0].Client.HTTP3 = true
	var beside net.PacketConn // at the port of the listener: clients have those of UDP that nobody holds
	cfg.Listen = func(ctx context.Context, a netip.AddrPort) (net.Listener, error) {
		for {
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.String())
			if err != nil {
				return nil, err
			}
			if beside, err = (&net.ListenConfig{}).ListenPacket(ctx, "udp", l.Addr().String()); err == nil {
				return l, nil
			}
			l.Close()
		}
	}
	cfg.ListenPacket = func(ctx context.Context, a netip.AddrPort) (net.PacketConn, error) {
		if pc := beside; pc != nil {
			beside = nil
			return pc, nil
		}
		return (&net.ListenConfig{}).ListenPacket(ctx, "udp", a.String())
	}
	return startRig(t, s, cfg)
}

// h3 returns a client of quic-go's, all of whose requests go to the proxy.
func (r *rig) h3(config *tls.Config) *http3.Transport {
	r.t.Helper()
	rt := &http3.Transport{
		TLSClientConfig: config, DisableCompression: true,
		Dial: func(ctx context.Context, _ string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, r.addr, tc, qc)
		},
	}
	r.t.Cleanup(func() { _ = rt.Close() })
	return rt
}

// secureOne has one listener, with a certificate for a.test.
func secureOne(t testing.TB, up string, routes ...*model.Route) (*notary, *model.Snapshot) {
	ca := newNotary(t)
	s := snapshotOf(map[string]string{"up": up}, append(routes, to("up"))...)
	s.Listeners[0].TLS = &model.TLS{Names: []model.TLSName{ca.name(nil, "a.test")}}
	s.Listeners[0].Tables[0].Hostname = "a.test"
	return ca, s
}

func request(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// TestHTTP3Bodies compares what goes through with what was sent: with and without lengths,
// both ways, with trailers, more streams at once than may be open.
func TestHTTP3Bodies(t *testing.T) {
	ca, s := secureOne(t, serveHTTP(t, mix))
	s.Clusters[0].ConnectTimeout = patience
	r := startHTTP3(t, s, Config{})
	c := &http.Client{Transport: r.h3(ca.config("a.test", nil)), Timeout: patience}
	sizes := []int{0, 1, 100, 4095, 4096, 65535, 65536, 200_000, 1_000_000}
	var wait sync.WaitGroup
	for i := range 140 {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			sent := bytes.Repeat([]byte{byte(i), 7}, sizes[random.IntN(len(sizes))]/2)
			size := sizes[random.IntN(len(sizes))]
			url := fmt.Sprintf("https://a.test/?size=%d", size)
			if i%2 == 0 {
				url += "&length"
			}
			req, err := http.NewRequest("POST", url, io.MultiReader(bytes.NewReader(sent))) // of which net/http does not know the length
			if err != nil {
				t.Error(err)
				return
			}
			if i%3 != 0 {
				req.ContentLength = int64(len(sent))
			} else {
				req.Trailer = http.Header{"X-Sent": {"yes"}}
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Error(i, err)
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(body, bytes.Repeat([]byte("weir"), size/4+1)[:size]) || resp.ProtoMajor != 3 {
				t.Errorf("%d: %s, %d bytes of %d, %.100q: %v", i, resp.Proto, len(body), size, body, err)
			}
			if i%2 == 0 {
				return // an answer with a length has no trailers
			}
			if want := fmt.Sprintf("%x", sha256.Sum256(sent)); resp.Trailer.Get("X-Sum") != want {
				t.Errorf("%d: the upstream got something else than %d bytes: %v", i, len(sent), resp.Trailer)
			}
			if i%3 == 0 && resp.Trailer.Get("X-Got-Trailer") != "yes" {
				t.Errorf("%d: the request's trailer is lost: %v", i, resp.Trailer)
			}
		})
	}
	wait.Wait()
}

// TestHTTP3ReachesTheUpstreamAsHTTP1 shows the request as it arrives.
func TestHTTP3ReachesTheUpstreamAsHTTP1(t *testing.T) {
	got := make(chan *http.Request, 1)
	ca, s := secureOne(t, serveHTTP(t, func(_ http.ResponseWriter, req *http.Request) { got <- req }))
	r := startHTTP3(t, s, Config{})
	for range 20 {
		req := request(t, "GET", "https://a.test/path?q=1", nil)
		req.Header.Add("Cookie", "a=1")
		req.Header.Set("X-One", "1")
		resp, err := r.h3(ca.config("a.test", nil)).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		up := <-got
		if up.ProtoMajor != 1 || up.Host != "a.test" || up.RequestURI != "/path?q=1" || up.Header.Get("Cookie") != "a=1" || up.Header.Get("X-One") != "1" ||
			up.Header.Get("Via") != "3.0 weir" || up.Header.Get("X-Forwarded-Proto") != "https" || len(up.TransferEncoding) > 0 {
			t.Fatalf("the upstream got %s %v %v", up.RequestURI, up.Header, up.TransferEncoding)
		}
		if resp.Header.Get("Alt-Svc") != "" {
			t.Errorf("offered to who has it: %v", resp.Header)
		}
	}
}

// TestHTTP3IsOffered: a client that is told of it by HTTP/1.1 and HTTP/2 finds it there.
func TestHTTP3IsOffered(t *testing.T) {
	upstream := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/own" {
			w.Header().Set("Alt-Svc", "clear")
		}
	})
	away := to("up")
	away.Name, away.Matches, away.Redirect = "ns/away/0", prefix("/away"), &model.Redirect{Status: 302, Hostname: "b.test"}
	quiet := to("up")
	quiet.Name, quiet.Matches = "ns/quiet/0", prefix("/quiet")
	quiet.ResponseHeaders = &model.HeaderEdit{Remove: []string{"alt-svc"}}
	set := to("up")
	set.Name, set.Matches = "ns/set/0", prefix("/set")
	set.ResponseHeaders = &model.HeaderEdit{Set: []model.Header{{Name: "alt-svc", Value: "h3=\":9\""}}}
	ca, s := secureOne(t, upstream, away, quiet, set)
	s.Listeners[0].TLS.Names = append(s.Listeners[0].TLS.Names, ca.name(nil, "b.test"))
	s.Listeners[0].Tables = append(s.Listeners[0].Tables, model.TableBinding{Hostname: "b.test", Table: "table"})
	r := startHTTP3(t, s, Config{})
	_, port, _ := net.SplitHostPort(r.addr)
	offer := fmt.Sprintf("h3=\":%s\"; ma=86400", port)
	for _, major := range []int{1, 2} {
		rt := &http.Transport{
			TLSClientConfig: ca.config("a.test", nil), ForceAttemptHTTP2: major == 2,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", r.addr)
			},
		}
		t.Cleanup(rt.CloseIdleConnections)
		for _, tt := range []struct {
			host, path string
			status     int
			want       string
		}{
			{"a.test", "/", 200, offer},
			{"a.test", "/away", 302, offer},
			{"a.test", "/own", 200, "clear"},
			{"a.test", "/quiet", 200, ""},
			{"a.test", "/set", 200, `h3=":9"`},
			{"b.test", "/", 421, ""},
		} {
			req := request(t, "GET", "https://a.test"+tt.path, nil)
			req.Host = tt.host
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := strings.Join(resp.Header.Values("Alt-Svc"), "|"); got != tt.want || resp.StatusCode != tt.status || resp.ProtoMajor != major {
				t.Errorf("%s %s%s: %d, offered %q, want %q", resp.Proto, tt.host, tt.path, resp.StatusCode, got, tt.want)
			}
		}
	}
	resp, err := r.h3(ca.config("a.test", nil)).RoundTrip(request(t, "GET", "https://a.test/", nil))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// TestHTTP3Misdirected: what the handshake has proved holds for streams, too.
func TestHTTP3Misdirected(t *testing.T) {
	ca := newNotary(t)
	s := twoListeners(serveHTTP(t, mix), &model.TLS{Names: []model.TLSName{ca.name(nil, "a.test"), ca.name(nil, "b.test")}})
	r := startHTTP3(t, s, Config{})
	req := request(t, "GET", "https://a.test/", nil)
	req.Host = "b.test"
	resp, err := r.h3(ca.config("a.test", nil)).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("the other listener's host: %d", resp.StatusCode)
	}
	if _, err := r.h3(ca.config("c.test", nil)).RoundTrip(request(t, "GET", "https://c.test/", nil)); err == nil {
		t.Error("a name that nobody has is served")
	}
}

// TestHTTP3Cancel: a client that gives a request up is noticed, and its request ends.
func TestHTTP3Cancel(t *testing.T) {
	begun, gone := make(chan struct{}), make(chan error, 1)
	ca, s := secureOne(t, serveHTTP(t, func(_ http.ResponseWriter, req *http.Request) {
		close(begun)
		<-req.Context().Done()
		gone <- req.Context().Err()
	}))
	r := startHTTP3(t, s, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.test/", nil)
	go func() {
		<-begun
		cancel()
	}()
	if _, err := r.h3(ca.config("a.test", nil)).RoundTrip(req); !errors.Is(err, context.Canceled) {
		t.Errorf("answered: %v", err)
	}
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("the upstream still works for nobody")
	}
}

// TestHTTP3Drains: a request that is under way at the end is answered, its client told to go,
// and what comes after is not.
func TestHTTP3Drains(t *testing.T) {
	begun, on := make(chan struct{}), make(chan struct{})
	ca, s := secureOne(t, serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-on
		_, _ = io.WriteString(w, "late")
	}))
	r := startHTTP3(t, s, Config{DrainTimeout: patience})
	rt := r.h3(ca.config("a.test", nil))
	done := make(chan string, 1)
	go func() {
		resp, err := rt.RoundTrip(request(t, "GET", "https://a.test/", nil))
		if err != nil {
			done <- err.Error()
			return
		}
		body, err := io.ReadAll(resp.Body)
		done <- fmt.Sprint(string(body), err)
	}()
	<-begun
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	close(on)
	if got := <-done; got != "late<nil>" {
		t.Errorf("got %q", got)
	}
	<-stopped
}
