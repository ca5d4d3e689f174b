package stream

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/listener"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// rig is an engine with clusters and sockets, as package proxy puts them together.
type rig struct {
	t        testing.TB
	engine   *Engine
	clusters *cluster.Set
	sockets  *listener.Set
	metrics  *telemetry.Metrics
	log      *telemetry.AccessLog
	snapshot *model.Snapshot
	addr     string
	dial     func(ctx context.Context, a netip.AddrPort) (net.Conn, error)

	cut   context.CancelFunc
	drain context.CancelFunc
	end   func()

	mu    sync.Mutex
	lines bytes.Buffer
}

// Write takes what the access log writes.
func (r *rig) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lines.Write(p)
}

// record is a line of the access log.
type record struct {
	Client, Protocol, Flag, Blame, Detail, Route, Cluster, Upstream, Host string

	BytesIn  int64 `json:"bytes_in"`
	BytesOut int64 `json:"bytes_out"`
	Attempts []struct {
		Host, Flag, Error string
	}
	Timings struct {
		Total float64 `json:"total_ms"`
	}
}

// newRig starts an engine in front of hosts, with one route, TCPRoute/ns/db/0, on one listener.
// change may be nil.
func newRig(t testing.TB, hosts []string, change func(r *rig, s *model.Snapshot)) *rig {
	t.Helper()
	r := bareRig(t, hosts)
	listen := func(ctx context.Context, a netip.AddrPort) (net.Listener, error) {
		return (&net.ListenConfig{}).Listen(ctx, "tcp", a.String())
	}
	if change != nil {
		change(r, r.snapshot)
	}
	r.start(listen)
	return r
}

// bareRig is a rig that has not been started.
func bareRig(t testing.TB, hosts []string) *rig {
	r := &rig{t: t, metrics: telemetry.NewMetrics(2), snapshot: snapshotOf(hosts...)}
	r.log = telemetry.NewAccessLog(telemetry.AccessLogConfig{Writer: r, Shards: 2})
	r.dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", a.String())
	}
	return r
}

// start starts it, with sockets that listen opens.
func (r *rig) start(listen func(ctx context.Context, a netip.AddrPort) (net.Listener, error)) {
	r.t.Helper()
	log := slog.New(slog.DiscardHandler)
	ctx, cut := context.WithCancel(context.Background())
	r.cut = cut
	r.clusters = cluster.New(cluster.Config{
		Dial:   func(ctx context.Context, a netip.AddrPort) (net.Conn, error) { return r.dial(ctx, a) },
		Shards: 2, Metrics: r.metrics,
	})
	r.engine = New(Config{
		Context: ctx, Clusters: r.clusters, Log: log, Metrics: r.metrics, AccessLog: r.log, Random: rand.Uint64,
	})
	r.sockets = listener.New(listener.Config{
		Listen: listen, Log: log, Metrics: r.metrics, Shards: 2, Carrier: r.engine.Carrier,
		Handle: func(*listener.Conn) transport.Instant { return 0 },
	})
	r.apply(r.snapshot)
	r.addr = r.sockets.Addresses()["front"].String()
	pools, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.clusters.Run(pools) }()
	over, drain := context.WithCancel(context.Background())
	r.drain = drain
	r.end = sync.OnceFunc(func() {
		r.sockets.Drain(over)
		stop()
		cut()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
		r.balanced()
		if err := r.log.Close(context.Background()); err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(func() {
		cut()
		drain()
		r.end()
	})
}

// apply puts a snapshot into effect in the order of package proxy.
func (r *rig) apply(s *model.Snapshot) {
	r.t.Helper()
	r.snapshot = s
	err := r.clusters.Apply(s.Clusters, s.Endpoints)
	r.engine.Apply(s)
	if err := errors.Join(err, r.sockets.Apply(s.Listeners)); err != nil {
		r.t.Fatal(err)
	}
}

// balanced checks that whatever was counted as begun has been counted as ended, once.
func (r *rig) balanced() {
	check := func(what string, s *telemetry.Series) {
		s.Begin(0) // snapshots show nothing below zero
		if n := s.Snapshot().InFlight; n != 1 {
			r.t.Errorf("%s: %d in flight after the end", what, n-1)
		}
	}
	for _, s := range r.snapshot.Streams {
		check(s.Name, r.metrics.Stream(s.Name))
	}
	check("unmatched", r.metrics.Stream(telemetry.Unmatched))
	for _, c := range r.snapshot.Clusters {
		check(c.Name, r.metrics.Cluster(c.Name))
	}
	for _, h := range r.clusters.Hosts() {
		check(h.Address.String(), r.metrics.Host(h.Cluster, h.Address.String()))
		if h.InFlight != 0 || h.Open != 0 {
			r.t.Errorf("host %v: %d in flight, %d connections after the end", h.Address, h.InFlight, h.Open)
		}
	}
	if n := r.metrics.Listener("front").Active(); n != 0 {
		r.t.Errorf("%d client connections after the end", n)
	}
}

// records ends the rig and returns what it has logged.
func (r *rig) records() []record {
	r.t.Helper()
	r.end()
	var list []record
	for line := range strings.Lines(r.lines.String()) {
		var rec record
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			r.t.Fatalf("%v in %s", err, line)
		}
		list = append(list, rec)
	}
	return list
}

// record ends the rig, which has had one connection, and returns its record.
func (r *rig) record() record {
	r.t.Helper()
	list := r.records()
	if len(list) != 1 {
		r.t.Fatalf("%d records, want 1: %s", len(list), r.lines.String())
	}
	return list[0]
}

// name is the route of every rig.
const name = "TCPRoute/ns/db/0"

func snapshotOf(hosts ...string) *model.Snapshot {
	set := &model.EndpointSet{Cluster: "db"}
	slices.Sort(hosts)
	for _, h := range hosts {
		set.Endpoints = append(set.Endpoints, model.Endpoint{Address: netip.MustParseAddrPort(h), Weight: 1})
	}
	return &model.Snapshot{
		Clusters:  []*model.Cluster{{Name: "db", ConnectTimeout: 5 * time.Second, Balancing: model.Balancing{Algorithm: model.LeastRequest}}},
		Endpoints: []*model.EndpointSet{set},
		Streams:   []*model.StreamRoute{to("db")},
		Listeners: []*model.Listener{{
			Name: "front", Address: netip.MustParseAddrPort("127.0.0.1:0"), Client: model.Client{HeadTimeout: 5 * time.Second},
			Streams: []model.StreamBinding{{Route: name}},
		}},
	}
}

// to is the route to a cluster.
func to(cluster string) *model.StreamRoute {
	return &model.StreamRoute{
		Name: name, Kind: "TCPRoute", Namespace: "ns", Object: "db", Rule: "0", Idle: time.Minute,
		Split: model.Split{Name: name, Arms: []model.Arm{{Name: "Service/ns/" + cluster, Weight: 1, Cluster: cluster}}},
	}
}

// connect connects to the rig.
func (r *rig) connect() *net.TCPConn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// host starts a host that serves each connection with f and closes it after.
func host(t testing.TB, f func(c *net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				f(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { l.Close(); work.Wait() })
	return l.Addr().String()
}

// echo sends back what comes, until its end.
func echo(c *net.TCPConn) {
	_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
	_ = c.CloseWrite()
}

// certificate returns one for example.com, and it again in PEM, as it is its own authority's.
func certificate(t testing.TB) (own tls.Certificate, chain string) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	server.Close()
	chain = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return server.TLS.Certificates[0], chain
}

// terminate has the listener end TLS, and returns what its clients trust.
func terminate(t testing.TB, l *model.Listener) *tls.Config {
	t.Helper()
	own, chain := certificate(t)
	der, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	l.TLS = &model.TLS{Names: []model.TLSName{{Certificates: []model.Certificate{{Name: "own", Chain: chain, Key: model.PrivateKey(key)}}}}}
	l.Streams[0].Terminate = true
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(chain))
	return &tls.Config{ServerName: "example.com", RootCAs: roots}
}

// dead returns an address where nobody listens.
func dead(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// say writes and reads as many bytes back.
func say(t testing.TB, c net.Conn, text string) string {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("%v after %q", err, b)
	}
	return string(b)
}
