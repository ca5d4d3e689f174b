package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a whole proxy on loopback sockets with one listener.
type rig struct {
	t       testing.TB
	proxy   *Proxy
	metrics *telemetry.Metrics
	snap    *model.Snapshot
	addr    string
	open    func(ctx context.Context, a netip.AddrPort) (net.Conn, error)
	stop    func() // ends it and checks its balance; once, at the latest at the end of the test
}

// defaultClient is the client side of listeners in tests.
func defaultClient() model.Client {
	return model.Client{
		HeadTimeout: 5 * time.Second, BodyTimeout: 5 * time.Second, KeepAlive: 30 * time.Second,
		MaxHead: 16 << 10, Underscores: model.NameReject, Escapes: model.EscapeReject, FlagHeaders: true,
	}
}

// newRig serves routes on loopback; see snapshotOf.
func newRig(t testing.TB, hosts map[string]string, routes ...*model.Route) *rig {
	t.Helper()
	return startRig(t, snapshotOf(hosts, routes...), Config{})
}

// snapshotOf has routes, which name clusters; each cluster has the hosts given, a comma between them.
func snapshotOf(hosts map[string]string, routes ...*model.Route) *model.Snapshot {
	s := &model.Snapshot{Version: "test", Revision: 1}
	for name, host := range hosts {
		s.Clusters = append(s.Clusters, &model.Cluster{
			Name: name, ConnectTimeout: time.Second, KeepAlive: time.Minute, Balancing: model.Balancing{Algorithm: model.LeastRequest},
		})
		set := &model.EndpointSet{Cluster: name}
		for _, address := range strings.FieldsFunc(host, func(r rune) bool { return r == ',' }) {
			set.Endpoints = append(set.Endpoints, model.Endpoint{Address: netip.MustParseAddrPort(address), Weight: 1})
		}
		s.Endpoints = append(s.Endpoints, set)
	}
	table := &model.RouteTable{Name: "table"}
	for i, r := range routes {
		r.Rank = uint32(i)
		if len(r.Matches) == 0 {
			r.Matches = []model.Match{{Path: model.PathMatch{Type: model.MatchPrefix, Value: "/"}}}
		}
		if r.Retry != nil && r.Retry.BodyReplay == 0 { // as translation has it by default
			filled := *r.Retry
			filled.BodyReplay = replayLimit
			r.Retry = &filled
		}
		r.Hash = model.HashOf(r)
		table.Entries = append(table.Entries, model.Entry{Route: r})
	}
	s.RouteTables = []*model.RouteTable{table}
	s.Listeners = []*model.Listener{{
		Name: "front", Address: netip.MustParseAddrPort("127.0.0.1:0"),
		Tables: []model.TableBinding{{Table: "table"}}, Client: defaultClient(),
	}}
	return s
}

func startRig(t testing.TB, s *model.Snapshot, cfg Config) *rig {
	t.Helper()
	r := &rig{t: t, snap: s, metrics: telemetry.NewMetrics(2)}
	cfg.Log, cfg.Metrics, cfg.Shards = slog.New(slog.DiscardHandler), r.metrics, 2
	if cfg.Random == nil {
		cfg.Random = rand.Uint64
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 2 * time.Second
	}
	if cfg.Listen == nil {
		cfg.Listen = func(ctx context.Context, a netip.AddrPort) (net.Listener, error) {
			return (&net.ListenConfig{}).Listen(ctx, "tcp", a.String())
		}
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", a.String())
		}
	}
	r.open = cfg.Dial
	r.proxy = New(cfg)
	if err := r.proxy.Apply(s); err != nil {
		t.Fatal(err)
	}
	r.addr = r.proxy.Addresses()["front"].String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.proxy.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.balanced()
	})
	t.Cleanup(r.stop)
	return r
}

// balanced checks that whatever was counted as begun has been counted as ended, once.
func (r *rig) balanced() {
	r.t.Helper()
	check := func(what string, s *telemetry.Series) {
		s.Begin(0) // snapshots show nothing below zero
		if n := s.Snapshot().InFlight; n != 1 {
			r.t.Errorf("%s: %d in flight after the end", what, n-1)
		}
	}
	for _, table := range r.snap.RouteTables {
		for _, e := range table.Entries {
			check("route "+e.Route.Name, r.metrics.Route(e.Route.Name))
		}
	}
	check("unmatched", r.metrics.Route(telemetry.Unmatched))
	for _, c := range r.snap.Clusters {
		check("cluster "+c.Name, r.metrics.Cluster(c.Name))
	}
	for _, h := range r.proxy.Hosts() {
		check("host "+h.Address.String(), r.metrics.Host(h.Cluster, h.Address.String()))
		if h.InFlight != 0 || h.Open != 0 {
			r.t.Errorf("host %v: %d in flight, %d connections after the end", h.Address, h.InFlight, h.Open)
		}
	}
	for _, s := range r.proxy.Overloads() {
		if s.InFlight != 0 || s.Queued != 0 {
			r.t.Errorf("scope %s: %d in flight, %d waiting after the end", s.Scope, s.InFlight, s.Queued)
		}
	}
	if n := r.metrics.Listener("front").Active(); n != 0 {
		r.t.Errorf("%d client connections after the end", n)
	}
}

// to returns a route that sends everything to one cluster.
func to(cluster string) *model.Route {
	return &model.Route{
		Name: "ns/to-" + cluster + "/0", Kind: "HTTPRoute", Timeouts: model.Timeouts{Idle: 10 * time.Second},
		Split: model.Split{Arms: []model.Arm{{Name: cluster, Weight: 1, Cluster: cluster}}},
	}
}

// serveHTTP starts a net/http upstream.
func serveHTTP(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// serveRaw starts an upstream that handles each connection with f and closes it after.
func serveRaw(t testing.TB, f func(c net.Conn, r *bufio.Reader)) string {
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
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				f(c, bufio.NewReader(c))
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// patience is how long anything in a test may take that does not wait for time itself, on a machine that ten
// others keep busy.
const patience = time.Minute

// client is a raw connection to the proxy.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (r *rig) dial() *client {
	r.t.Helper()
	c, err := r.open(context.Background(), netip.MustParseAddrPort(r.addr))
	if err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { c.Close() })
	return &client{r.t, c, bufio.NewReader(c)}
}

// send writes raw bytes; "\n" stands for CRLF.
func (c *client) send(s string) *client {
	c.t.Helper()
	if _, err := io.WriteString(c, strings.ReplaceAll(s, "\n", "\r\n")); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// answer reads one answer with its body.
func (c *client) answer(method string) (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("body: %v after %q", err, body)
	}
	return resp, string(body)
}

// want reads an answer and checks its status, its flag and a part of its body.
func (c *client) want(status int, flag, part string) *http.Response {
	c.t.Helper()
	resp, body := c.answer("GET")
	if resp.StatusCode != status || resp.Header.Get("X-Weir-Flag") != flag || !strings.Contains(body, part) {
		c.t.Fatalf("got %d flag %q body %q, want %d flag %q body with %q",
			resp.StatusCode, resp.Header.Get("X-Weir-Flag"), body, status, flag, part)
	}
	return resp
}

// ended checks that the proxy has closed the connection, in order or not.
func (c *client) ended() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err == nil {
		c.t.Fatalf("the connection is still open: %q", b)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection is still open")
	}
}
