package cluster

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/health"
)

// acquire returns a connection and whether it was pooled.
func acquire(t testing.TB, h *Host, shard int) (*transport.Conn, bool) {
	t.Helper()
	c, reused, err := h.Acquire(t.Context(), transport.Now(), 0, shard)
	if err != nil {
		t.Fatal(err)
	}
	return c, reused
}

func TestAcquireTakesTheOneUsedLast(t *testing.T) {
	n := &network{}
	_, h := one(t, Config{Dial: n.dial})
	a, reused := acquire(t, h, 0)
	if reused {
		t.Error("a pool that was never filled")
	}
	b, _ := acquire(t, h, 0)
	h.Release(a, 0, transport.Now())
	h.Release(b, 0, transport.Now())
	first, reusedFirst := acquire(t, h, 0)
	second, reusedSecond := acquire(t, h, 0)
	if first != b || second != a || !reusedFirst || !reusedSecond {
		t.Error("want the last one first")
	}
	if _, reused := acquire(t, h, 0); reused || h.Stats.Opened.Load() != 3 {
		t.Errorf("want a third connection, %d opened", h.Stats.Opened.Load())
	}
}

func TestAcquireStealsBeforeItDials(t *testing.T) {
	n := &network{}
	_, h := one(t, Config{Dial: n.dial, Shards: 4})
	a, _ := acquire(t, h, 0)
	b, _ := acquire(t, h, 0)
	h.Release(a, 3, transport.Now())
	h.Release(b, 1, transport.Now())
	if got, reused := acquire(t, h, 1); got != b || !reused {
		t.Error("want the shard's own first")
	}
	if got, reused := acquire(t, h, 1); got != a || !reused {
		t.Error("want another shard's before a new one")
	}
	h.Release(a, 9, transport.Now()) // any number is some shard
	if got, _ := acquire(t, h, 2); got != a {
		t.Error("lost in shard 9")
	}
}

func TestReleaseClosesWhatIsNotReusable(t *testing.T) {
	n := &network{}
	s, h := one(t, Config{Dial: n.dial})
	a, _ := acquire(t, h, 0)
	h.Release(a, 0, 0)
	if !n.closed(t, 0) || h.Stats.Open.Load() != 0 {
		t.Error("it is open")
	}
	apply(t, s, testCluster(func(c *model.Cluster) { c.KeepAlive = 0 }), endpoints(1))
	b, _ := acquire(t, h, 0)
	h.Release(b, 0, transport.Now())
	if !n.closed(t, 1) || h.idle.Load() != 0 {
		t.Error("kept by a cluster that reuses none")
	}
	apply(t, s, testCluster(), endpoints(1))
	c, _ := acquire(t, h, 0)
	h.Release(c, 0, transport.Now())
	apply(t, s, testCluster(func(c *model.Cluster) { c.KeepAlive = 0 }), endpoints(1))
	if _, reused := acquire(t, h, 0); reused || !n.closed(t, 2) {
		t.Error("used by a cluster that reuses none any more")
	}
}

func TestPoolIsBounded(t *testing.T) {
	n := &network{}
	_, h := one(t, Config{Dial: n.dial, Shards: 2, MaxIdlePerHost: 3})
	var held []*transport.Conn
	for i := range 5 {
		c, _ := acquire(t, h, i)
		held = append(held, c)
	}
	for i, c := range held {
		h.Release(c, i, transport.Now())
	}
	if h.idle.Load() != 3 || h.Stats.Open.Load() != 3 || n.closed(t, 2) || !n.closed(t, 3) || !n.closed(t, 4) {
		t.Errorf("%d idle, %d open", h.idle.Load(), h.Stats.Open.Load())
	}
}

func TestFreshIgnoresThePool(t *testing.T) {
	n := &network{}
	_, h := one(t, Config{Dial: n.dial})
	a, _ := acquire(t, h, 0)
	h.Release(a, 0, transport.Now())
	b, err := h.Fresh(t.Context(), 0)
	if err != nil || b == a {
		t.Errorf("got the pooled one, %v", err)
	}
}

func TestExpiredConnectionsAreNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		_, h := one(t, Config{Dial: n.dial}) // no Run: Acquire alone
		a, _ := acquire(t, h, 0)
		h.Release(a, 0, transport.Now())
		time.Sleep(time.Minute - time.Nanosecond)
		if got, reused := acquire(t, h, 0); got != a || !reused {
			t.Error("not used just before its time is over")
		}
		h.Release(a, 0, transport.Now())
		time.Sleep(time.Minute)
		if _, reused := acquire(t, h, 0); reused || !n.closed(t, 0) {
			t.Error("used when its time was over")
		}
	})
}

func TestRunClosesExpiredConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s, h := one(t, Config{Dial: n.dial, Shards: 2})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		a, _ := acquire(t, h, 0)
		b, _ := acquire(t, h, 0)
		c, _ := acquire(t, h, 1)
		h.Release(a, 0, transport.Now())
		h.Release(c, 1, transport.Now())
		time.Sleep(30 * time.Second)
		h.Release(b, 0, transport.Now())
		time.Sleep(30*time.Second + 2*sweepEvery)
		if !n.closed(t, 0) || n.closed(t, 1) || !n.closed(t, 2) || h.idle.Load() != 1 {
			t.Errorf("want the old ones closed and the newer one kept, %d idle", h.idle.Load())
		}
		used, reused := acquire(t, h, 0)
		if used != b || !reused {
			t.Error("the newer one is gone")
		}
		idle, _ := acquire(t, h, 0)
		h.Release(idle, 0, transport.Now())
		cancel()
		<-done
		if !n.closed(t, 3) || n.closed(t, 1) {
			t.Error("at the end, want what is idle closed and what is in use not")
		}
		h.Release(used, 0, transport.Now())
		if !n.closed(t, 1) || h.Stats.Open.Load() != 0 {
			t.Error("kept after the end")
		}
		apply(t, s, testCluster(), endpoints(1, 1))
		late, _ := acquire(t, h, 0)
		h.Release(late, 0, transport.Now())
		if h.idle.Load() != 0 {
			t.Error("pooled when nobody will close it")
		}
	})
}

// tcp dials a real listener, because only the kernel knows that a peer has closed.
type tcp struct {
	listener net.Listener
	accepted chan net.Conn
}

func listen(t *testing.T) *tcp {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &tcp{l, make(chan net.Conn, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.accepted <- c
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return n
}

func (n *tcp) dial(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", n.listener.Addr().String())
}

// stale waits until the kernel knows.
func stale(c *transport.Conn) {
	for !c.Stale() {
		runtime.Gosched()
	}
}

// aged makes an idle connection look as if it had been released earlier.
func aged(c *transport.Conn, by time.Duration) { c.Since -= transport.Instant(by) }

func TestStaleConnectionsAreNotUsed(t *testing.T) {
	n := listen(t)
	_, h := one(t, Config{Dial: n.dial, Shards: 2})
	for _, end := range []struct {
		name string
		do   func(net.Conn)
	}{
		{"closed", func(c net.Conn) { _ = c.Close() }},
		{"unexpected bytes", func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 408 Request Timeout\r\n\r\n")) }},
	} {
		good, _ := acquire(t, h, 0)
		goodPeer := <-n.accepted
		bad, _ := acquire(t, h, 0)
		badPeer := <-n.accepted
		h.Release(good, 1, transport.Now())
		h.Release(bad, 0, transport.Now())
		aged(good, time.Second)
		aged(bad, time.Second)
		end.do(badPeer)
		stale(bad)
		got, reused := acquire(t, h, 0)
		if got != good || !reused || h.Stats.Open.Load() != 1 {
			t.Errorf("%s: want the good one of the other shard, and the other closed; %d open", end.name, h.Stats.Open.Load())
		}
		h.Release(got, 0, 0)
		_, _ = goodPeer.Close(), badPeer.Close()
	}
}

func TestSweepClosesStaleConnections(t *testing.T) {
	n := listen(t)
	s, h := one(t, Config{Dial: n.dial})
	var held []*transport.Conn
	const dead = maxStaleSweep + 10
	for range dead + 1 {
		c, _ := acquire(t, h, 0)
		held = append(held, c)
	}
	for i, c := range held {
		h.Release(c, 0, transport.Now())
		aged(c, time.Second)
		peer := <-n.accepted
		if i == dead {
			defer peer.Close()
			continue
		}
		_ = peer.Close()
		stale(c)
	}
	s.tend()
	if h.idle.Load() != 11 {
		t.Errorf("%d idle, want at most %d closed at once", h.idle.Load(), maxStaleSweep)
	}
	s.tend()
	if h.idle.Load() != 1 || h.Stats.Open.Load() != 1 {
		t.Errorf("%d idle, %d open, want the one that lives", h.idle.Load(), h.Stats.Open.Load())
	}
	c, reused := acquire(t, h, 0)
	if c != held[dead] || !reused {
		t.Error("the one that lives is gone")
	}
	h.Release(c, 0, 0)
}

func TestOneAcquireClosesFewDeadConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		_, h := one(t, Config{Dial: n.dial, Shards: 20})
		var held []*transport.Conn
		for range 40 {
			c, _ := acquire(t, h, 0)
			held = append(held, c)
		}
		for i, c := range held {
			h.Release(c, i, transport.Now())
		}
		time.Sleep(time.Hour)
		acquire(t, h, 0)
		if got := 40 - h.idle.Load(); got != maxDiscards {
			t.Errorf("closed %d", got)
		}
	})
}

// TestEveryConnectionIsAccountedFor does things at random: whatever happens, what is open
// is either idle or in somebody's hands, and the pool keeps its bound.
func TestEveryConnectionIsAccountedFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := &network{}
		s, h := one(t, Config{Dial: n.dial, Shards: 3, MaxIdlePerHost: 4})
		var held []*transport.Conn
		t.Repeat(map[string]func(*rapid.T){
			"acquire": func(t *rapid.T) {
				c, _, err := h.Acquire(context.Background(), transport.Now(), 0, rapid.IntRange(0, 2).Draw(t, "shard"))
				if err != nil {
					t.Fatal(err)
				}
				for _, other := range held {
					if c == other {
						t.Fatal("the same connection twice")
					}
				}
				held = append(held, c)
			},
			"release": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(held)-1).Draw(t, "which")
				now := transport.Now()
				if rapid.IntRange(0, 3).Draw(t, "broken") == 0 {
					now = 0
				}
				h.Release(held[i], rapid.IntRange(0, 2).Draw(t, "shard"), now)
				held = append(held[:i], held[i+1:]...)
			},
			"change": func(t *rapid.T) {
				apply(t, s, testCluster(func(c *model.Cluster) {
					c.KeepAlive = rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "keep-alive")
					c.Protocol = rapid.SampledFrom([]model.Protocol{model.ProtocolHTTP1, "another"}).Draw(t, "protocol")
				}), endpoints(make([]uint32, rapid.IntRange(0, 1).Draw(t, "hosts"))...))
			},
			"": func(t *rapid.T) {
				idle, inShards := h.idle.Load(), 0
				for i := range h.common.shards {
					inShards += len(h.common.shards[i].idle)
				}
				open := h.Stats.Open.Load()
				if idle != int64(inShards) || open != idle+int64(len(held)) || idle > 4 {
					t.Fatalf("%d open, %d idle, %d in shards, %d held", open, idle, inShards, len(held))
				}
				if h.draining.Load() && idle > 0 {
					t.Fatalf("%d idle while draining", idle)
				}
				for i := range h.common.shards {
					for _, c := range h.common.shards[i].idle {
						if c.Era != h.wiring.Load().era {
							t.Fatal("an idle connection of another wiring")
						}
					}
				}
			},
		})
	})
}

func TestConcurrentUseAndChange(t *testing.T) {
	n := &network{}
	s := New(Config{Dial: n.dial, Shards: 2, MaxIdlePerHost: 8})
	apply(t, s, testCluster(), endpoints(1, 1, 1))
	c := s.Cluster("c")
	ctx, cancel := context.WithCancel(t.Context())
	var background, users sync.WaitGroup
	background.Go(func() { _ = s.Run(ctx) })
	for worker := range 8 {
		users.Go(func() {
			for i := range 500 {
				h, err := c.Pick(Request{})
				if err != nil {
					t.Error(err)
					return
				}
				h.Begin()
				conn, _, err := h.Acquire(ctx, transport.Now(), 0, worker)
				if err != nil {
					t.Error(err)
					return
				}
				if i%10 != 0 {
					h.Release(conn, worker, transport.Now())
				} else {
					h.Release(conn, worker, 0)
				}
				h.End(transport.Now(), Outcome{Result: health.Result(i%7) % health.Results, Latency: time.Duration(i)})
			}
		})
	}
	algorithms := []model.Algorithm{model.RoundRobin, model.Random, model.LeastRequest, model.PeakEWMA}
	for i := range 300 {
		change := testCluster(func(c *model.Cluster) { c.Balancing.Algorithm = algorithms[i%4] })
		apply(t, s, change, endpoints([][]uint32{{1, 1, 1}, {1}, {0, 2}, {5, 1, 1, 1}}[i%4]...))
		if i%50 == 0 {
			apply(t, s, nil, nil)
		}
		s.Hosts()
	}
	users.Wait()
	for _, h := range s.Hosts() {
		if h.InFlight != 0 || h.Open != h.Idle {
			t.Errorf("at rest: %+v", h)
		}
	}
	cancel()
	background.Wait()
	for _, h := range s.Hosts() {
		if h.Open != 0 {
			t.Errorf("after the end: %+v", h)
		}
	}
}

func TestRequestPathDoesNotAllocate(t *testing.T) {
	for _, a := range []model.Algorithm{model.RoundRobin, model.Random, model.LeastRequest, model.PeakEWMA} {
		n := &network{}
		s := New(Config{Dial: n.dial, Shards: 2})
		apply(t, s, testCluster(func(c *model.Cluster) { c.Balancing.Algorithm = a }), endpoints(1, 2, 3))
		c := s.Cluster("c")
		ctx := t.Context()
		use := func() { exchange(ctx, c, 1) }
		for range 200 {
			use() // every host has its connection
		}
		if n := testing.AllocsPerRun(200, use); n != 0 {
			t.Errorf("%s: %v allocations", a, n)
		}
	}
}

// exchange is what a request does to a cluster.
func exchange(ctx context.Context, c *Cluster, shard int) {
	h, err := c.Pick(Request{})
	if err != nil {
		panic(err)
	}
	h.Begin()
	conn, _, err := h.Acquire(ctx, transport.Now(), 0, shard)
	if err != nil {
		panic(err)
	}
	h.Release(conn, shard, transport.Now())
	h.End(transport.Now(), Outcome{Latency: time.Millisecond})
}
