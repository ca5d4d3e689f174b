package cluster

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pires/go-proxyproto"
	"pgregory.net/rapid"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

func TestHeadersForHosts(t *testing.T) {
	ends := func(client, local string) *transport.Ends {
		return &transport.Ends{Client: address(client), Local: address(local)}
	}
	v6 := ends("[2001:db8::1]:56324", "[2001:db8::2]:443")
	for _, tt := range []struct {
		name   string
		whose  *transport.Ends
		v1, v2 string
	}{
		{
			"IPv4", ends("198.51.100.7:56324", "203.0.113.1:443"),
			"PROXY TCP4 198.51.100.7 203.0.113.1 56324 443\r\n", "\x21\x11\x00\x0c\xc6\x33\x64\x07\xcb\x00\x71\x01\xdc\x04\x01\xbb",
		},
		{
			"IPv6", v6,
			"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n",
			"\x21\x21\x00\x24" + addressBytes(v6.Client.Addr()) + addressBytes(v6.Local.Addr()) + "\xdc\x04\x01\xbb",
		},
		{"one of each", ends("198.51.100.7:56324", "[2001:db8::2]:443"), "PROXY TCP6 ::ffff:198.51.100.7 2001:db8::2 56324 443\r\n", ""},
		{"at a socket for both", ends("198.51.100.7:56324", "[::]:443"), "PROXY TCP4 198.51.100.7 0.0.0.0 56324 443\r\n", ""},
		{"with a zone", ends("[fe80::1%eth0]:56324", "[fe80::2]:443"), "PROXY TCP6 fe80::1 fe80::2 56324 443\r\n", ""},
		{"nobody", nil, "PROXY UNKNOWN\r\n", "\x20\x00\x00\x00"},
		{"of no address", &transport.Ends{}, "PROXY UNKNOWN\r\n", "\x20\x00\x00\x00"},
	} {
		v1, err1 := headerFor(model.ProxyProtocolV1, tt.whose)
		v2, err2 := headerFor(model.ProxyProtocolV2, tt.whose)
		if err1 != nil || err2 != nil || string(v1) != tt.v1 {
			t.Errorf("%s: %q, %v, %v; want %q", tt.name, v1, err1, err2, tt.v1)
		}
		if want := "\r\n\r\n\x00\r\nQUIT\n" + tt.v2; tt.v2 != "" && string(v2) != want {
			t.Errorf("%s, version 2: %q, want %q", tt.name, v2, want)
		}
	}
}

func addressBytes(a netip.Addr) string { return string(a.AsSlice()) }

// Acquire, AcquireUpgrade and Fresh are a lane's for what is no client's: enough for tests of
// everything else.

func (h *Host) Acquire(ctx context.Context, now, by transport.Instant, shard int) (c *transport.Conn, reused bool, err error) {
	return h.nobody().Acquire(ctx, now, by, shard)
}

func (h *Host) AcquireUpgrade(ctx context.Context, now, by transport.Instant, shard int, websocket bool) (c *transport.Conn, reused bool, err error) {
	return h.nobody().AcquireUpgrade(ctx, now, by, shard, websocket)
}

func (h *Host) Fresh(ctx context.Context, by transport.Instant) (*transport.Conn, error) {
	return h.nobody().Fresh(ctx, by)
}

// caller is a client by its port.
type caller uint16

func (c caller) Ends() transport.Ends {
	return transport.Ends{Client: netip.AddrPortFrom(netip.MustParseAddr("198.51.100.7"), uint16(c)), Local: address("203.0.113.1:443")}
}

// hearers are hosts that hear whose each connection is, and then what comes.
type hearers struct {
	t     testing.TB
	mu    sync.Mutex
	more  *sync.Cond
	whose map[net.Conn]netip.AddrPort // by our end; zero: nobody's
	open  int
	work  sync.WaitGroup
}

func newHearers(t testing.TB) *hearers {
	n := &hearers{t: t, whose: map[net.Conn]netip.AddrPort{}}
	n.more = sync.NewCond(&n.mu)
	return n
}

func (n *hearers) dial(context.Context, netip.AddrPort) (net.Conn, error) {
	ours, theirs := net.Pipe()
	n.mu.Lock()
	n.open++
	n.mu.Unlock()
	n.work.Go(func() {
		defer theirs.Close()
		r := bufio.NewReader(theirs)
		h, err := proxyproto.Read(r)
		if err != nil {
			n.t.Errorf("the header: %v", err)
			return
		}
		n.mu.Lock()
		n.whose[ours] = netip.AddrPort{}
		if source, _, ok := h.TCPAddrs(); ok {
			n.whose[ours] = addrPortOf(source)
		}
		n.more.Broadcast()
		n.mu.Unlock()
		if rest, _ := io.ReadAll(r); len(rest) > 0 {
			n.t.Errorf("behind the header: %q", rest)
		}
		n.mu.Lock()
		n.open--
		n.mu.Unlock()
	})
	return ours, nil
}

// heard returns whose the host has heard that a connection is. The host may still be at it.
func (n *hearers) heard(c *transport.Conn) netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if whose, ok := n.whose[c.NetConn()]; ok {
			return whose
		}
		n.more.Wait()
	}
}

func addrPortOf(a *net.TCPAddr) netip.AddrPort {
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

func telling1(c *model.Cluster) { c.ProxyProtocol = model.ProxyProtocolV1 }

// TestConnectionsOfOneClient goes through the life of a connection that belongs to a client.
func TestConnectionsOfOneClient(t *testing.T) {
	n := newHearers(t)
	s, h := one(t, Config{Dial: n.dial, Shards: 4})
	early := h.For(caller(1)) // when the host was told nothing
	apply(t, s, testCluster(telling1), endpoints(1))
	c, err := early.Fresh(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := n.heard(c); got != caller(1).Ends().Client {
		t.Errorf("a lane from before: a connection of %v", got)
	}
	h.Release(c, 0, 0)
	get := func(client Client, shard int) (*transport.Conn, bool) {
		t.Helper()
		l := h.nobody()
		want := netip.AddrPort{}
		if client != nil {
			l, want = h.For(client), client.Ends().Client
		}
		c, reused, err := l.Acquire(t.Context(), transport.Now(), 0, shard)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.heard(c); got != want {
			t.Fatalf("a connection of %v for %v", got, want)
		}
		return c, reused
	}
	a, _ := get(caller(1), 0)
	h.Release(a, 0, transport.Now())
	for _, other := range []Client{caller(2), nil} {
		c, reused := get(other, 0)
		if reused {
			t.Error("a pooled connection, and nobody has had one")
		}
		h.Release(c, 0, transport.Now())
	}
	if c, reused := get(caller(1), 3); c != a || !reused {
		t.Error("the client's own connection is not used again")
	}
	fresh, err := h.For(caller(1)).Fresh(t.Context(), 0)
	if err != nil || n.heard(fresh) != caller(1).Ends().Client {
		t.Errorf("fresh: %v", err)
	}
	h.Release(a, 0, transport.Now())
	if h.idle.Load() != 3 {
		t.Errorf("%d are idle", h.idle.Load())
	}
	s.Leave(caller(1).Ends().Client)
	if h.idle.Load() != 2 || a.Peer() != transport.PeerReset {
		t.Errorf("the client has left, and %d are idle", h.idle.Load())
	}
	h.Release(fresh, 0, transport.Now()) // too late
	if h.idle.Load() != 2 || h.Stats.Open.Load() != 2 {
		t.Errorf("%d are idle, %d open", h.idle.Load(), h.Stats.Open.Load())
	}
	s.Leave(caller(9).Ends().Client) // was never here
	apply(t, s, testCluster(), endpoints(1))
	if h.idle.Load() != 0 || h.Stats.Open.Load() != 0 {
		t.Errorf("other wiring: %d are idle, %d open", h.idle.Load(), h.Stats.Open.Load())
	}
	n.work.Wait()
}

// TestClientsAreForgotten: pools that nobody has used for two sweeps are gone, and with the last
// of them the host from the list that Leave goes through.
func TestClientsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newHearers(t)
		s, h := one(t, Config{Dial: n.dial})
		apply(t, s, testCluster(telling1), endpoints(1))
		for i := range 100 {
			c, _, err := h.For(caller(i)).Acquire(t.Context(), transport.Now(), 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			h.Release(c, 0, transport.Now())
		}
		s.sweep(transport.Now())
		if len(h.private.of) != 100 || !s.telling.any.Load() {
			t.Errorf("%d pools", len(h.private.of))
		}
		time.Sleep(2 * time.Minute)
		s.sweep(transport.Now())
		s.sweep(transport.Now())
		if len(h.private.of) != 0 || s.telling.any.Load() || len(s.telling.hosts) != 0 || h.idle.Load() != 0 {
			t.Errorf("%d pools, %d hosts, %d idle", len(h.private.of), len(s.telling.hosts), h.idle.Load())
		}
		n.work.Wait()
	})
}

// TestWhoseIsNeverMixedUp does things at random: a connection is its client's own, whatever
// happens, and none is lost or left over.
func TestWhoseIsNeverMixedUp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := newHearers(t)
		s, h := one(rt, Config{Dial: n.dial, Shards: 2, MaxIdlePerHost: 3})
		apply(rt, s, testCluster(telling1), endpoints(1))
		var held []*transport.Conn
		rt.Cleanup(func() {
			for _, c := range held {
				h.Release(c, 0, 0)
			}
			s.end()
			n.work.Wait()
			if n.open != 0 || len(h.private.of) != 0 {
				rt.Errorf("%d connections and %d pools are left", n.open, len(h.private.of))
			}
		})
		rt.Repeat(map[string]func(*rapid.T){
			"acquire": func(t *rapid.T) {
				client := caller(rapid.IntRange(0, 3).Draw(t, "client"))
				l, want := h.For(client), client.Ends().Client
				if client == 0 {
					l, want = h.nobody(), netip.AddrPort{}
				}
				c, _, err := l.Acquire(context.Background(), transport.Now(), 0, rapid.IntRange(0, 1).Draw(t, "shard"))
				if err != nil {
					t.Fatal(err)
				}
				if got := n.heard(c); got != want {
					t.Fatalf("%v gets a connection of %v", want, got)
				}
				held = append(held, c)
			},
			"release": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(held)-1).Draw(t, "which")
				h.Release(held[i], rapid.IntRange(0, 1).Draw(t, "shard"), transport.Now())
				held = append(held[:i], held[i+1:]...)
			},
			"leave": func(t *rapid.T) { s.Leave(caller(rapid.IntRange(1, 3).Draw(t, "client")).Ends().Client) },
			"sweep": func(*rapid.T) { s.sweep(transport.Now()) },
			"change": func(t *rapid.T) {
				apply(t, s, testCluster(telling1, func(c *model.Cluster) {
					c.ProxyProtocol = rapid.SampledFrom([]model.ProxyProtocol{model.ProxyProtocolV1, model.ProxyProtocolV2}).Draw(t, "version")
				}), endpoints(make([]uint32, rapid.IntRange(0, 1).Draw(t, "hosts"))...))
			},
			"": func(t *rapid.T) {
				idle, inShards := h.idle.Load(), int64(0)
				h.eachShard(func(s *shard) { inShards += int64(len(s.idle)) })
				if open := h.Stats.Open.Load(); idle != inShards || open != idle+int64(len(held)) || idle > 3 {
					t.Fatalf("%d open, %d idle, %d in shards, %d held", open, idle, inShards, len(held))
				}
			},
		})
	})
}

// TestLinksOfOneClient: streams of a client share a connection, those of two never do, and at the
// bound nobody waits for another's.
func TestLinksOfOneClient(t *testing.T) {
	w := &web{limit: 2, delay: time.Millisecond, told: true}
	withWeb(t, w, Config{Shards: 2, MaxIdlePerHost: 2}, func(t *testing.T, s *Set, h *Host) {
		apply(t, s, h2c(telling1), endpoints(1))
		get := func(client caller) *transport.Conn {
			c, _, err := h.For(client).Acquire(t.Context(), transport.Now(), 0, int(client))
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		var held []*transport.Conn
		for _, tt := range []struct {
			client caller
			dials  int32
		}{{1, 1}, {1, 1}, {2, 2}, {1, 3}, {2, 3}, {3, 4}, {4, 5}} {
			held = append(held, get(tt.client))
			if got := w.dials.Load(); got != tt.dials {
				t.Errorf("client %d: %d connections, want %d", tt.client, got, tt.dials)
			}
		}
		for _, c := range held {
			use(t, h, c)
		}
		synctest.Wait()
		if open := h.Stats.Open.Load(); open > 3 || h.links.Load() != open {
			t.Errorf("%d connections and %d links are kept", open, h.links.Load())
		}
		var wait sync.WaitGroup
		for range 10 {
			wait.Go(func() { use(t, h, get(7)) })
		}
		wait.Wait()
		for client := range caller(8) {
			s.Leave(client.Ends().Client)
		}
		synctest.Wait()
		if open := h.Stats.Open.Load(); open != 0 || h.links.Load() != 0 {
			t.Errorf("all have left: %d connections, %d links", open, h.links.Load())
		}
	})
}

// TestClientsUnderChange: whatever is changed meanwhile, nobody gets another's connection, and
// none is left over.
func TestClientsUnderChange(t *testing.T) {
	n := newHearers(t)
	s := New(Config{Dial: n.dial, Shards: 2, MaxIdlePerHost: 4})
	apply(t, s, testCluster(telling1), endpoints(1))
	c := s.Cluster("c")
	ctx, cancel := context.WithCancel(t.Context())
	var background, users sync.WaitGroup
	background.Go(func() { _ = s.Run(ctx) })
	for worker := range 8 {
		client := caller(worker/2 + 1)
		users.Go(func() {
			for i := range 100 {
				h, err := c.Pick(Request{})
				if err != nil {
					t.Error(err)
					return
				}
				conn, _, err := h.For(client).Acquire(ctx, transport.Now(), 0, worker)
				if err != nil {
					t.Error(err)
					return
				}
				if got := n.heard(conn); got != client.Ends().Client {
					t.Errorf("%v gets a connection of %v", client, got)
				}
				h.Release(conn, worker, transport.Now())
				if i%9 == 0 {
					s.Leave(client.Ends().Client)
				}
			}
		})
	}
	for i := range 100 {
		apply(t, s, testCluster(telling1, func(c *model.Cluster) {
			c.ConnectTimeout = 20 * time.Second
			c.ProxyProtocol = []model.ProxyProtocol{model.ProxyProtocolV1, model.ProxyProtocolV2}[i/10%2]
		}), endpoints([][]uint32{{1}, {1, 1}, {1}}[i%3]...))
		s.sweep(transport.Now())
		s.Hosts()
	}
	users.Wait()
	cancel()
	background.Wait()
	n.work.Wait() // every connection has been closed
	for _, h := range s.Hosts() {
		if h.Open != 0 || h.Idle != 0 {
			t.Errorf("at the end: %+v", h)
		}
	}
}

// TestHeaderComesBeforeTLS has a host that reads the header and then does a handshake.
func TestHeaderComesBeforeTLS(t *testing.T) {
	ca := newAuthority(t, "ca")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		line := make([]byte, len("PROXY TCP4 198.51.100.7 203.0.113.1 5 443\r\n"))
		if _, err := io.ReadFull(nc, line); err != nil {
			t.Error(err)
		}
		if err := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{keyPair(t, ca.issue(t))}}).Handshake(); err != nil {
			t.Error(err)
		}
		heard <- string(line)
	}()
	t.Cleanup(func() { l.Close() })
	s := New(Config{Dial: dialTCP})
	spec := secured(&model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem})
	telling1(spec)
	spec.Hash = model.HashOf(spec)
	apply(t, s, spec, at(netip.MustParseAddrPort(l.Addr().String())))
	h := pick(t, s.Cluster("c"))
	c, err := h.For(caller(5)).Fresh(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "PROXY TCP4 198.51.100.7 203.0.113.1 5 443\r\n" {
		t.Errorf("heard %q", got)
	}
	h.Release(c, 0, 0)
}

// TestHostThatTakesNoHeader: a host that stalls costs no more than the time for connecting.
func TestHostThatTakesNoHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var theirs net.Conn
		s, h := one(t, Config{Dial: func(context.Context, netip.AddrPort) (ours net.Conn, err error) {
			ours, theirs = net.Pipe() // which takes nothing that is not read
			return ours, nil
		}})
		apply(t, s, testCluster(telling1), endpoints(1))
		began := time.Now()
		_, err := h.For(caller(1)).Fresh(t.Context(), 0)
		if took := time.Since(began); !errors.Is(err, transport.ErrTimeout) || took != 250*time.Millisecond {
			t.Errorf("after %v: %v", took, err)
		}
		if n := h.Stats.Open.Load(); n != 0 || h.Stats.ConnectFailures.Load() != 1 {
			t.Errorf("%d are open, %d failed", n, h.Stats.ConnectFailures.Load())
		}
		_ = theirs.Close()
	})
}
