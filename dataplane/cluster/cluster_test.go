package cluster

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var algorithms = []model.Algorithm{model.RoundRobin, model.Random, model.LeastRequest, model.PeakEWMA, model.RingHash, model.Maglev}

// network hands out in-memory connections and keeps the servers' ends.
type network struct {
	mu      sync.Mutex
	servers []net.Conn
}

func (n *network) dial(context.Context, netip.AddrPort) (net.Conn, error) {
	client, server := net.Pipe()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.servers = append(n.servers, server)
	return client, nil
}

// closed reports whether we have closed the i-th connection.
func (n *network) closed(t *testing.T, i int) bool {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if i >= len(n.servers) {
		t.Fatalf("there is no connection %d", i)
	}
	return n.servers[i].SetReadDeadline(time.Time{}) != nil // a pipe tells that its other end is closed
}

func address(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// testCluster is a cluster named "c".
func testCluster(change ...func(*model.Cluster)) *model.Cluster {
	c := &model.Cluster{Name: "c", ConnectTimeout: 250 * time.Millisecond, KeepAlive: time.Minute, Balancing: model.Balancing{Algorithm: model.RoundRobin}}
	for _, f := range change {
		f(c)
	}
	c.Hash = model.HashOf(c)
	return c
}

// endpoints are the cluster's, "10.0.0.N:80" each with a weight.
func endpoints(weights ...uint32) *model.EndpointSet {
	e := &model.EndpointSet{Cluster: "c"}
	for i, w := range weights {
		e.Endpoints = append(e.Endpoints, model.Endpoint{Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 80), Weight: w})
	}
	e.Hash = model.HashOf(e)
	return e
}

func apply(t rapid.TB, s *Set, c *model.Cluster, e *model.EndpointSet) {
	t.Helper()
	var clusters []*model.Cluster
	if c != nil {
		clusters = append(clusters, c)
	}
	var sets []*model.EndpointSet
	if e != nil {
		sets = append(sets, e)
	}
	if err := s.Apply(clusters, sets); err != nil {
		t.Fatal(err)
	}
}

// setHealthy ejects a host for good, or ends that, as if it were the only rule; nothing happens
// if there is no such host.
func setHealthy(s *Set, address netip.AddrPort, healthy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clusters["c"]
	h := c.hosts[address]
	if h == nil {
		return
	}
	c.turn(func() {
		c.judging.acts = true
		if e := &h.outlying.ejection; healthy {
			e.End(int64(transport.Now()))
		} else {
			e.Begin(int64(transport.Now()), health.Consecutive5xx, &model.Outlier{BaseEjection: 1 << 60}, 0)
		}
	})
	if len(s.warming) > 0 {
		s.rouse()
	}
}

func pick(t rapid.TB, c *Cluster, tried ...*Host) *Host {
	t.Helper()
	h, err := c.Pick(Request{Tried: tried})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func status(t rapid.TB, s *Set, addr string) HostStatus {
	t.Helper()
	for _, h := range s.Hosts() {
		if h.Address == address(addr) {
			return h
		}
	}
	t.Fatalf("no host %s", addr)
	return HostStatus{}
}

// one returns a set with one host behind the network, and that host.
func one(t rapid.TB, config Config) (*Set, *Host) {
	t.Helper()
	s := New(config)
	apply(t, s, testCluster(), endpoints(1))
	return s, pick(t, s.Cluster("c"))
}

func TestPickWithoutHosts(t *testing.T) {
	s := New(Config{})
	apply(t, s, testCluster(), nil)
	for _, e := range []*model.EndpointSet{nil, endpoints(), endpoints(0, 0)} {
		apply(t, s, testCluster(), e)
		if h, err := s.Cluster("c").Pick(Request{}); !errors.Is(err, ErrNoHost) {
			t.Errorf("%v: got %v, %v", e, h, err)
		}
	}
	if s.Cluster("other") != nil {
		t.Error("a cluster that nobody applied")
	}
}

func TestPickAvoidsTriedHosts(t *testing.T) {
	for _, a := range algorithms {
		s := New(Config{})
		apply(t, s, testCluster(func(c *model.Cluster) { c.Balancing.Algorithm = a }), endpoints(1, 1, 1, 0))
		c := s.Cluster("c")
		for range 50 {
			first := pick(t, c)
			second := pick(t, c, first)
			third := pick(t, c, first, second)
			if first == second || third == first || third == second {
				t.Fatalf("%s: %v, %v, %v", a, first.Address(), second.Address(), third.Address())
			}
			if again := pick(t, c, first, second, third); again.Address() == address("10.0.0.4:80") {
				t.Fatalf("%s: picked the host of weight 0", a)
			}
		}
	}
}

func TestPickTakesTheFirstPriority(t *testing.T) {
	s := New(Config{})
	e := endpoints(0, 1, 1)
	e.Endpoints[1].Priority, e.Endpoints[2].Priority = 2, 1
	apply(t, s, testCluster(), e)
	for range 4 {
		if h := pick(t, s.Cluster("c")); h.Address() != address("10.0.0.3:80") {
			t.Fatalf("got %s", h.Address())
		}
	}
}

func TestApplyRefusesUnknownAlgorithms(t *testing.T) {
	s := New(Config{})
	bad := testCluster(func(c *model.Cluster) { c.Balancing.Algorithm = "Fastest" })
	if err := s.Apply([]*model.Cluster{bad}, []*model.EndpointSet{endpoints(1)}); err == nil || !strings.Contains(err.Error(), `cluster c: unknown balancing algorithm "Fastest"`) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Cluster("c").Pick(Request{}); !errors.Is(err, ErrNoHost) {
		t.Errorf("got %v", err)
	}
	apply(t, s, testCluster(), endpoints(1))
	if err := s.Apply([]*model.Cluster{bad}, []*model.EndpointSet{endpoints(0)}); err == nil {
		t.Error("no error")
	}
	pick(t, s.Cluster("c")) // what it had before
}

func TestLiveChangesKeepHostsAndPools(t *testing.T) {
	changes := map[string]struct {
		cluster *model.Cluster
		hosts   *model.EndpointSet
	}{
		"nothing":    {testCluster(), endpoints(1, 1)},
		"algorithm":  {testCluster(func(c *model.Cluster) { c.Balancing.Algorithm = model.PeakEWMA }), endpoints(1, 1)},
		"timeouts":   {testCluster(func(c *model.Cluster) { c.ConnectTimeout, c.KeepAlive = time.Hour, time.Hour }), endpoints(1, 1)},
		"weights":    {testCluster(), endpoints(5, 7)},
		"weight 0":   {testCluster(), endpoints(0, 1)},
		"more hosts": {testCluster(), endpoints(1, 1, 1)},
		"fewer":      {testCluster(), endpoints(1)},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			n := &network{}
			s := New(Config{Dial: n.dial})
			apply(t, s, testCluster(), endpoints(1))
			c := s.Cluster("c")
			h := pick(t, c)
			h.Begin()
			h.End(transport.Now(), Outcome{Latency: time.Millisecond})
			h.Begin()
			used, _, _ := h.Acquire(t.Context(), transport.Now(), 0, 0)
			idle, _, _ := h.Acquire(t.Context(), transport.Now(), 0, 0)
			h.Release(idle, 0, transport.Now())

			apply(t, s, change.cluster, change.hosts)
			if s.Cluster("c") != c {
				t.Error("another cluster")
			}
			got := status(t, s, "10.0.0.1:80")
			if got.Requests != 2 || got.InFlight != 1 || got.Latency == 0 || got.Open != 2 || got.Idle != 1 || got.Draining {
				t.Errorf("the host's state: %+v", got)
			}
			if again, reused, _ := h.Acquire(t.Context(), transport.Now(), 0, 0); !reused || again != idle {
				t.Error("the pool lost its connection")
			}
			h.Release(used, 0, transport.Now())
			if h.idle.Load() != 1 {
				t.Error("a connection in use could not come back")
			}
		})
	}
}

func TestRemovedHostDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := running(t, Config{Dial: n.dial, Shards: 2})
		apply(t, s, testCluster(), endpoints(1))
		h := pick(t, s.Cluster("c"))
		h.Begin()
		used, _, _ := h.Acquire(t.Context(), transport.Now(), 0, 0)
		a, _, _ := h.Acquire(t.Context(), transport.Now(), 0, 0)
		b, _, _ := h.Acquire(t.Context(), transport.Now(), 0, 1)
		h.Release(a, 0, transport.Now())
		h.Release(b, 1, transport.Now())
		apply(t, s, testCluster(), endpoints())
		if n.closed(t, 0) || !n.closed(t, 1) || !n.closed(t, 2) {
			t.Error("want the idle connections closed, and not the one in use")
		}
		time.Sleep(10 * time.Second)
		if got := status(t, s, "10.0.0.1:80"); !got.Draining || got.Open != 1 || got.InFlight != 1 {
			t.Errorf("while a request is in flight: %+v", got)
		}
		h.Release(used, 0, transport.Now())
		h.End(transport.Now(), Outcome{Latency: 0})
		if !n.closed(t, 0) {
			t.Error("the last connection was kept")
		}
		time.Sleep(2 * sweepEvery)
		if hosts := s.Hosts(); len(hosts) != 0 {
			t.Errorf("not forgotten: %+v", hosts)
		}
	})
}

func TestHostThatComesBackWhileDrainingIsTheSame(t *testing.T) {
	n := &network{}
	s, h := one(t, Config{Dial: n.dial})
	c, _, _ := h.Acquire(t.Context(), transport.Now(), 0, 0)
	apply(t, s, testCluster(), endpoints())
	apply(t, s, testCluster(), endpoints(1))
	if pick(t, s.Cluster("c")) != h {
		t.Fatal("another host")
	}
	h.Release(c, 0, transport.Now())
	if got := status(t, s, "10.0.0.1:80"); got.Idle != 1 || got.Draining {
		t.Errorf("got %+v", got)
	}
	if len(s.draining) != 0 {
		t.Error("it still counts as draining")
	}
}

func TestRemovedClusterServesWhoHoldsIt(t *testing.T) {
	n := &network{}
	s, h := one(t, Config{Dial: n.dial})
	c := s.Cluster("c")
	idle, _, _ := h.Acquire(t.Context(), transport.Now(), 0, 0)
	h.Release(idle, 0, transport.Now())
	apply(t, s, nil, nil)
	if s.Cluster("c") != nil {
		t.Error("the name is still there")
	}
	if !n.closed(t, 0) {
		t.Error("an idle connection was kept")
	}
	if got := pick(t, c); got != h {
		t.Error("another host")
	}
	used, reused, err := h.Acquire(t.Context(), transport.Now(), 0, 0)
	if err != nil || reused {
		t.Fatalf("got %v, %v", reused, err)
	}
	apply(t, s, testCluster(), endpoints(1))
	if s.Cluster("c") != c {
		t.Error("the name came back while it drained, as another cluster")
	}
	h.Release(used, 0, transport.Now())
	if n.closed(t, 1) {
		t.Error("the name is back: the connection could have been kept")
	}
	apply(t, s, nil, nil)
	s.tend()
	if len(s.clusters) != 0 {
		t.Error("not forgotten")
	}
}

func TestFailingHostIsNotAttractive(t *testing.T) {
	s := New(Config{})
	apply(t, s, testCluster(func(c *model.Cluster) { c.Balancing.Algorithm = model.PeakEWMA }), endpoints(1, 1))
	c := s.Cluster("c")
	bad := pick(t, c)
	good := pick(t, c, bad)
	good.Begin()
	good.End(transport.Now(), Outcome{Latency: 20 * time.Millisecond})
	bad.Begin()
	bad.End(transport.Now(), Outcome{Result: health.Unanswered, Latency: time.Millisecond})
	for range 20 {
		if pick(t, c) != good {
			t.Fatal("picked the host that fails fast")
		}
	}
	bad.Begin()
	bad.Cancel()
	if got := status(t, s, bad.Address().String()); got.Failures != 1 || got.Requests != 2 || got.InFlight != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestHostsAreSorted(t *testing.T) {
	s := New(Config{})
	other := testCluster(func(c *model.Cluster) { c.Name = "b" })
	e := endpoints(3, 4)
	e.Endpoints[0].Zone = "z"
	f := endpoints(1)
	f.Cluster = "b"
	if err := s.Apply([]*model.Cluster{testCluster(), other}, []*model.EndpointSet{e, f}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range s.Hosts() {
		got = append(got, h.Cluster+" "+h.Address.String()+" "+h.Zone)
		if !h.Healthy || h.Latency != 0 {
			t.Errorf("got %+v", h)
		}
	}
	if want := "b 10.0.0.1:80 |c 10.0.0.1:80 z|c 10.0.0.2:80 "; strings.Join(got, "|") != want {
		t.Errorf("got %q", got)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	never := func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	tests := []struct {
		name    string
		by      time.Duration // from now; 0: none
		cancel  time.Duration
		after   time.Duration
		counted uint64
	}{
		{"connect timeout", 0, time.Hour, 250 * time.Millisecond, 1},
		{"the request's deadline", 100 * time.Millisecond, time.Hour, 100 * time.Millisecond, 1},
		{"a later deadline", time.Second, time.Hour, 250 * time.Millisecond, 1},
		{"the caller gave up", 0, 50 * time.Millisecond, 50 * time.Millisecond, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, h := one(t, Config{Dial: never})
				ctx, cancel := context.WithTimeout(t.Context(), tt.cancel)
				defer cancel()
				start := time.Now()
				_, _, err := h.Acquire(ctx, transport.Now(), transport.Now().Add(tt.by)*min(1, transport.Instant(tt.by)), 0)
				if took := time.Since(start); took != tt.after {
					t.Errorf("gave up after %v, want %v", took, tt.after)
				}
				if err == nil || !strings.HasPrefix(err.Error(), "cluster c: endpoint 10.0.0.1:80: ") || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got error %v", err)
				}
				if n := h.Stats.ConnectFailures.Load(); n != tt.counted || h.Stats.Open.Load() != 0 {
					t.Errorf("counted %d failures, %d open", n, h.Stats.Open.Load())
				}
			})
		})
	}
}

// TestARevivedClusterForgetsItsHosts: a name that comes back while hosts of its first life
// drain has the hosts that it comes back with, and no others.
func TestARevivedClusterForgetsItsHosts(t *testing.T) {
	for what, spec := range map[string]*model.Cluster{"without endpoints": testCluster(), "by a DNS name": named("a.test")} {
		s := New(Config{})
		apply(t, s, testCluster(), endpoints(1))
		pick(t, s.Cluster("c")).Begin()
		apply(t, s, nil, nil)
		apply(t, s, spec, nil)
		if h, err := s.Cluster("c").Pick(Request{}); !errors.Is(err, ErrNoHost) {
			t.Errorf("%s: picked %v, %v", what, h.Address(), err)
		}
	}
}
