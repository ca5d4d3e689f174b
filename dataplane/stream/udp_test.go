package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/listener"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// patience bounds what a test waits for, so that one that fails ends.
const patience = time.Minute

// udpRig is everything between clients and hosts, over real sockets.
type udpRig struct {
	t         testing.TB
	clusters  *cluster.Set
	engine    *Engine
	datagrams *Datagrams
	set       *listener.Set
	metrics   *telemetry.Metrics
	lines     chan string // of the access log
	said      chan string // the lines of the listeners' log
	tables    chan *table // of sockets as they are opened
	dial      func(context.Context, netip.AddrPort) (net.Conn, error)
	listen    func(context.Context, netip.AddrPort) (net.PacketConn, error)
	snapshot  *model.Snapshot
	end       func()
}

const udpName = "front/udp"

// newUDPRig serves one listener whose route leads to hosts. change may alter the first snapshot.
func newUDPRig(t testing.TB, change func(*udpRig), hosts ...netip.AddrPort) *udpRig {
	t.Helper()
	r := &udpRig{t: t, metrics: telemetry.NewMetrics(2), lines: make(chan string, 10_000), said: make(chan string, 100), tables: make(chan *table, 10)}
	r.listen = func(_ context.Context, address netip.AddrPort) (net.PacketConn, error) {
		return net.ListenUDP("udp", net.UDPAddrFromAddrPort(address))
	}
	r.dial = func(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", address.String())
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.clusters = cluster.New(cluster.Config{
		DialPacket: func(ctx context.Context, a netip.AddrPort) (net.Conn, error) { return r.dial(ctx, a) },
		Metrics:    r.metrics,
	})
	accessLog := telemetry.NewAccessLog(telemetry.AccessLogConfig{Writer: lineWriter(r.lines), Shards: 2})
	random := uint64(0)
	var mu sync.Mutex
	r.engine = New(Config{
		Context: ctx, Clusters: r.clusters, Log: slog.New(slog.DiscardHandler), Metrics: r.metrics, AccessLog: accessLog,
		Random: func() uint64 { mu.Lock(); defer mu.Unlock(); random++; return random },
	})
	r.datagrams = NewDatagrams(r.engine)
	r.set = listener.New(listener.Config{
		Log: slog.New(slog.NewTextHandler(lineWriter(r.said), nil)), Metrics: r.metrics, Shards: 2,
		Packets: listener.Packets{
			Listen: func(ctx context.Context, a netip.AddrPort) (net.PacketConn, error) { return r.listen(ctx, a) },
			Datagrams: func(p *listener.PacketSocket) {
				tbl, err := r.datagrams.table(p)
				if err != nil {
					t.Error(err)
					return
				}
				r.tables <- tbl
				tbl.serve()
			},
		},
	})
	r.snapshot = &model.Snapshot{
		Listeners: []*model.Listener{{
			Name: udpName, Transport: model.TransportUDP, Address: netip.MustParseAddrPort("127.0.0.1:0"),
			Streams: []model.StreamBinding{{Route: "UDPRoute/a/b/0"}},
		}},
		Streams:   []*model.StreamRoute{streamTo("c")},
		Clusters:  []*model.Cluster{{Name: "c", Balancing: model.Balancing{Algorithm: model.RoundRobin}}},
		Endpoints: []*model.EndpointSet{endpoints("c", hosts...)},
	}
	if change != nil {
		change(r)
	}
	r.apply()
	r.end = sync.OnceFunc(func() {
		now, cut := context.WithCancel(context.Background())
		cut()
		r.set.Drain(now)
		cancel()
		accessLog.Close(context.Background())
	})
	t.Cleanup(r.end)
	return r
}

func streamTo(cluster string) *model.StreamRoute {
	return &model.StreamRoute{
		Name: "UDPRoute/a/b/0", Kind: "UDPRoute", Namespace: "a", Object: "b", Idle: time.Minute,
		Split: model.Split{Arms: []model.Arm{{Weight: 1, Cluster: cluster}}},
	}
}

func endpoints(cluster string, hosts ...netip.AddrPort) *model.EndpointSet {
	set := &model.EndpointSet{Cluster: cluster}
	for _, h := range hosts {
		set.Endpoints = append(set.Endpoints, model.Endpoint{Address: h, Weight: 1})
	}
	return set
}

func (r *udpRig) apply() {
	r.t.Helper()
	if err := r.clusters.Apply(r.snapshot.Clusters, r.snapshot.Endpoints); err != nil {
		r.t.Fatal(err)
	}
	r.engine.Apply(r.snapshot)
	r.datagrams.Apply(r.snapshot.Listeners)
	if err := r.set.Apply(r.snapshot.Listeners); err != nil {
		r.t.Fatal(err)
	}
}

func (r *udpRig) stats() *telemetry.ConnStats { return r.metrics.Listener(udpName) }

func (r *udpRig) address() netip.AddrPort {
	return r.set.Addresses()[udpName].(*net.UDPAddr).AddrPort()
}

// line returns the next line of the access log.
func (r *udpRig) line() map[string]any {
	r.t.Helper()
	select {
	case line := <-r.lines:
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			r.t.Fatalf("%v: %s", err, line)
		}
		return fields
	case <-time.After(patience):
		r.t.Fatal("nothing in the access log")
		return nil
	}
}

type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		w <- line
	}
	return len(p), nil
}

// udpHost answers each datagram with its name, the sender's port and what was sent, but for
// those that begin with "silence".
type udpHost struct {
	*net.UDPConn
	name string
	got  chan string
}

func newUDPHost(t *testing.T, name, address string) *udpHost {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if err != nil {
		t.Fatal(err)
	}
	h := &udpHost{c, name, make(chan string, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			switch {
			case string(buf[:n]) == "silence?": // is answered by silence
				continue
			case bytes.HasPrefix(buf[:n], []byte("silence")):
				h.got <- string(buf[:n])
				continue
			}
			if n < 1000 {
				c.WriteToUDPAddrPort(fmt.Appendf(nil, "%s %d %s", name, from.Port(), buf[:n]), from)
				continue
			}
			c.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return h
}

func (h *udpHost) at() netip.AddrPort { return h.LocalAddr().(*net.UDPAddr).AddrPort() }

// udpClient is a connected socket: it hears only where it sent to.
type udpClient struct {
	*net.UDPConn
	t testing.TB
}

func (r *udpRig) client() *udpClient { return dialUDP(r.t, r.address().String()) }

func dialUDP(t testing.TB, address string) *udpClient {
	t.Helper()
	c, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &udpClient{c.(*net.UDPConn), t}
}

// ask sends a datagram and returns the answer.
func (c *udpClient) ask(text string) string {
	c.t.Helper()
	c.say(text)
	return c.hear()
}

func (c *udpClient) say(text string) {
	c.t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *udpClient) hear() string {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, maxDatagram)
	n, err := c.Read(buf)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(buf[:n])
}

// eventually waits for what other goroutines are about to do.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func fieldsOf(answer string) (host, port, text string) {
	host, rest, _ := strings.Cut(answer, " ")
	port, text, _ = strings.Cut(rest, " ")
	return host, port, text
}

func TestDatagramsBothWays(t *testing.T) {
	h := newUDPHost(t, "h", "127.0.0.1:0")
	r := newUDPRig(t, func(r *udpRig) { r.snapshot.Streams[0].Idle = 300 * time.Millisecond }, h.at())
	one, two := r.client(), r.client()
	_, first, text := fieldsOf(one.ask("a"))
	_, other, _ := fieldsOf(two.ask("b"))
	_, again, empty := fieldsOf(one.ask(""))
	if text != "a" || empty != "" || first != again || first == other {
		t.Errorf("%q and %q, from ports %s, %s and %s", text, empty, first, again, other)
	}
	large := strings.Repeat("x", 65507) // the largest that IPv4 has room for
	if got := one.ask(large); got != large {
		t.Errorf("%d bytes of %d came back", len(got), len(large))
	}
	if in, _ := r.stats().Datagrams(); in != 4 || r.stats().Active() != 2 {
		t.Errorf("%d datagrams in, %d sessions", in, r.stats().Active())
	}
	line, last := r.line(), r.line() // both idle
	if line["bytes_in"] == float64(65508) {
		line, last = last, line
	}
	if last["bytes_in"] != float64(65508) || last["route"] != "UDPRoute/a/b/0" || last["cluster"] != "c" || last["flag"] != nil && last["flag"] != "" {
		t.Errorf("access log: %v", last)
	}
	if line["bytes_in"] != float64(1) {
		t.Errorf("access log: %v", line)
	}
	eventually(t, "no session", func() bool { return r.stats().Active() == 0 })
	if _, out := r.stats().Datagrams(); out != 4 {
		t.Errorf("%d datagrams out", out)
	}
	if s, _ := r.metrics.StreamStats("UDPRoute/a/b/0"); s.Requests != 2 || s.InFlight != 0 || s.BytesIn != 65509 {
		t.Errorf("route: %+v", s)
	}
	if hosts := r.clusters.Hosts(); hosts[0].Open != 0 || hosts[0].InFlight != 0 || hosts[0].Opened != 2 || hosts[0].Latency == 0 {
		t.Errorf("host: %+v", hosts[0])
	}
}

func TestSessionsAreBounded(t *testing.T) {
	for _, own := range []int{0, 2} {
		h := newUDPHost(t, "h", "127.0.0.1:0")
		r := newUDPRig(t, func(r *udpRig) {
			r.datagrams.max = 2
			if own > 0 {
				r.datagrams.max = 1
				r.snapshot.Listeners[0].Client.MaxConnections = own
			}
		}, h.at())
		one, two, three := r.client(), r.client(), r.client()
		one.ask("1")
		two.ask("2")
		three.say("3")
		one.ask("4") // who is there goes on
		if got := r.stats().Refused(telemetry.RefusedLimit); got != 1 || r.stats().Dropped(telemetry.DroppedLimit) != 1 {
			t.Errorf("limit %d: %d refused, %d dropped", own, got, r.stats().Dropped(telemetry.DroppedLimit))
		}
		if r.stats().Active() != 2 {
			t.Errorf("limit %d: %d sessions", own, r.stats().Active())
		}
		three.say("5")
		eventually(t, "no second refusal", func() bool { return r.stats().Refused(telemetry.RefusedLimit) == 2 })
		if len(r.said) != 1 {
			t.Errorf("limit %d: said %d times that there is no room", own, len(r.said))
		} else if line := <-r.said; !strings.Contains(line, "room for no more") || !strings.Contains(line, "limit=2 ") {
			t.Errorf("limit %d: said %s", own, line)
		}
		r.end()
	}
}

// TestIdleSessionMakesRoom: the place of a session is free again when it has ended.
func TestIdleSessionMakesRoom(t *testing.T) {
	h := newUDPHost(t, "h", "127.0.0.1:0")
	r := newUDPRig(t, func(r *udpRig) {
		r.datagrams.max = 1
		r.snapshot.Streams[0].Idle = 50 * time.Millisecond
	}, h.at())
	r.client().ask("1")
	r.line()
	r.client().ask("2")
}

// TestFloodOfClients has more clients than there may be sessions: memory is bounded by those.
func TestFloodOfClients(t *testing.T) {
	const bound, clients = 2000, 20_000
	h := newUDPHost(t, "h", "127.0.0.1:0")
	r := newUDPRig(t, func(r *udpRig) { r.datagrams.max = bound }, h.at())
	tbl := <-r.tables
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range clients {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 1000)
		tbl.take(path{client: client}, []byte("silence?"), nil)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if active := r.stats().Active(); active != bound {
		t.Errorf("%d sessions", active)
	}
	if got := r.stats().Dropped(telemetry.DroppedLimit); got != clients-bound {
		t.Errorf("%d dropped", got)
	}
	each := (int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)) / bound
	t.Logf("%d bytes a session", each)
	if each > 32<<10 {
		t.Errorf("%d bytes a session", each)
	}
}
