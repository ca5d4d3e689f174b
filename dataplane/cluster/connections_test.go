package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// dialled hands out in-memory connections and knows how many are open.
type dialled struct {
	open, most, dials atomic.Int64
}

type counted struct {
	net.Conn
	once sync.Once
	of   *dialled
}

func (c *counted) Close() error {
	c.once.Do(func() { c.of.open.Add(-1) })
	return c.Conn.Close()
}

func (n *dialled) dial(context.Context, netip.AddrPort) (net.Conn, error) {
	n.dials.Add(1)
	open := n.open.Add(1)
	for old := n.most.Load(); open > old && !n.most.CompareAndSwap(old, open); old = n.most.Load() {
	}
	client, _ := net.Pipe()
	return &counted{Conn: client, of: n}, nil
}

// boundedSet has a cluster with that many hosts and a bound on its connections.
func boundedSet(t testing.TB, n *dialled, hosts int, b model.Breaker) (*Set, []*Host, *telemetry.Metrics) {
	t.Helper()
	m := telemetry.NewMetrics(1)
	s := New(Config{Dial: n.dial, Metrics: m, Shards: 2})
	apply(t, s, guarded(b), endpoints(slices.Repeat([]uint32{1}, hosts)...))
	list := make([]*Host, hosts)
	for _, h := range s.Cluster("c").hosts {
		list[h.address.Addr().As4()[3]-1] = h
	}
	return s, list, m
}

// placesOf is how many connections the cluster knows of.
func placesOf(h *Host) int64 { return h.cluster.protection.links.open.used.Load() }

// got is what came of an Acquire that may wait.
type got struct {
	name   string
	conn   *transport.Conn
	reused bool
	err    error
}

// inLine acquires in the background, and returns once it waits or is over.
func inLine(t testing.TB, h *Host, name string, results chan got) {
	t.Helper()
	go func() {
		c, reused, err := h.Acquire(context.Background(), transport.Now(), 0, 0)
		results <- got{name, c, reused, err}
	}()
	synctest.Wait()
}

func wantRefused(t testing.TB, err error, want telemetry.ProtectionKind) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Kind != want {
		t.Errorf("got %v, want a refusal for %s", err, want)
	}
}

func TestIdleConnectionsOfOthersMakeRoom(t *testing.T) {
	n := &dialled{}
	_, hosts, m := boundedSet(t, n, 3, model.Breaker{MaxConnections: 2})
	a, _ := acquire(t, hosts[0], 0)
	b, _ := acquire(t, hosts[1], 1)
	hosts[0].Release(a, 0, transport.Now())
	hosts[1].Release(b, 1, transport.Now())
	if _, reused := acquire(t, hosts[2], 0); reused || n.open.Load() != 2 {
		t.Errorf("reused %v, %d open", reused, n.open.Load())
	}
	if _, reused := acquire(t, hosts[1], 0); !reused || n.open.Load() != 2 || hosts[0].Stats.Open.Load() != 0 || hosts[0].idle.Load() != 0 {
		t.Error("want the oldest host's closed, and the other's there")
	}
	wantCounts(t, m, telemetry.ProtectMaxConnections, 0, 0) // nobody had to wait
	if placesOf(hosts[0]) != 2 {
		t.Errorf("%d places", placesOf(hosts[0]))
	}
}

func TestRequestsWaitInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &dialled{}
		_, hosts, m := boundedSet(t, n, 2, model.Breaker{MaxConnections: 2, MaxPending: 3})
		a, _ := acquire(t, hosts[0], 0)
		b, _ := acquire(t, hosts[1], 0)
		results := make(chan got, 10)
		inLine(t, hosts[0], "first", results)
		inLine(t, hosts[1], "second", results)
		inLine(t, hosts[0], "third", results)
		inLine(t, hosts[0], "fourth", results)
		r := <-results
		if r.name != "fourth" {
			t.Errorf("%s is over, want the fourth", r.name)
		}
		wantRefused(t, r.err, telemetry.ProtectMaxPending)
		hosts[1].Release(b, 0, transport.Now()) // serves the second as it is
		if r := <-results; r.name != "second" || r.conn != b || !r.reused {
			t.Errorf("%+v, want the second with what was released at its host", r)
		}
		hosts[1].Release(b, 0, 0) // broken: its place is the first's
		r = <-results
		if r.name != "first" || r.reused || r.err != nil {
			t.Errorf("%+v, want the first with a new one", r)
		}
		hosts[0].Release(r.conn, 0, transport.Now())
		if r := <-results; r.name != "third" || !r.reused {
			t.Errorf("%+v, want the third", r)
		}
		hosts[0].Release(a, 0, transport.Now())
		wantCounts(t, m, telemetry.ProtectMaxConnections, 3, 0)
		wantCounts(t, m, telemetry.ProtectMaxPending, 1, 0)
		if n.most.Load() != 2 || n.dials.Load() != 3 || placesOf(hosts[0]) != 2 {
			t.Errorf("%d at once, %d dials, %d places", n.most.Load(), n.dials.Load(), placesOf(hosts[0]))
		}
	})
}

func TestNobodyJumpsTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &dialled{}
		_, hosts, _ := boundedSet(t, n, 2, model.Breaker{MaxConnections: 1})
		a, _ := acquire(t, hosts[0], 0)
		results := make(chan got, 100)
		inLine(t, hosts[1], "other", results)
		for i := range 50 {
			inLine(t, hosts[0], fmt.Sprint(i), results)
		}
		served := 0
		for {
			hosts[0].Release(a, 0, transport.Now())
			r := <-results
			if r.name == "other" {
				break
			}
			if r.err != nil || r.name != fmt.Sprint(served) {
				t.Fatalf("%+v, want %d", r, served)
			}
			a = r.conn
			served++
		}
		for range 50 - served {
			wantRefused(t, (<-results).err, telemetry.ProtectMaxConnections)
		}
		if served != maxPassed {
			t.Errorf("the first in line was passed over %d times", served)
		}
	})
}

func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &dialled{}
		_, hosts, _ := boundedSet(t, n, 1, model.Breaker{MaxConnections: 1})
		h := hosts[0]
		a, _ := acquire(t, h, 0)
		began := time.Now()
		for _, f := range []func() error{
			func() error { _, _, err := h.Acquire(t.Context(), transport.Now(), 0, 0); return err },
			func() error { _, err := h.Fresh(t.Context(), 0); return err },
			func() error { _, err := h.nobody().Plain(t.Context(), 0); return err },
		} {
			err := f()
			wantRefused(t, err, telemetry.ProtectMaxConnections)
			if took := time.Since(began); took != 250*time.Millisecond || !strings.Contains(err.Error(), "cluster c: endpoint 10.0.0.1:80: circuit breaker") {
				t.Errorf("after %v: %v", took, err)
			}
			began = time.Now()
		}
		by := transport.Now().Add(10 * time.Millisecond)
		_, _, err := h.Acquire(t.Context(), transport.Now(), by, 0)
		if took := time.Since(began); err == nil || took != 10*time.Millisecond {
			t.Errorf("with 10ms left, after %v: %v", took, err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		time.AfterFunc(time.Millisecond, func() { cancel(gone) })
		if _, _, err := h.Acquire(ctx, transport.Now(), 0, 0); !errors.Is(err, gone) {
			t.Errorf("cancelled: %v", err)
		}
		if n := h.Stats.ConnectFailures.Load(); n != 0 || h.cluster.protection.links.waiting.Load() != 0 {
			t.Errorf("%d failures of the host's", n)
		}
		h.Release(a, 0, 0)
		if placesOf(h) != 0 {
			t.Errorf("%d places", placesOf(h))
		}
	})
}

// TestSpoiltConnectionsGiveTheirPlaceUp: what has been idle too long serves nobody, but its place
// does.
func TestSpoiltConnectionsGiveTheirPlaceUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &dialled{}
		_, hosts, _ := boundedSet(t, n, 1, model.Breaker{MaxConnections: 1})
		h := hosts[0]
		a, _ := acquire(t, h, 0)
		results := make(chan got, 1)
		inLine(t, h, "first", results)
		time.Sleep(100 * time.Millisecond)
		h.Release(a, 0, transport.Now()-transport.Instant(time.Hour)) // as if it had been there for long
		if r := <-results; r.err != nil || r.reused || n.open.Load() != 1 || n.most.Load() != 1 || placesOf(h) != 1 {
			t.Errorf("%+v; %d open, at most %d, %d places", r, n.open.Load(), n.most.Load(), placesOf(h))
		}
	})
}

func TestIdleConnectionsAreRoomWhereItIsObserved(t *testing.T) {
	n := &dialled{}
	s, hosts, m := boundedSet(t, n, 2, model.Breaker{MaxConnections: 2, Mode: model.ModeObserve})
	a, _ := acquire(t, hosts[0], 0)
	acquire(t, hosts[0], 0)
	hosts[0].Release(a, 0, transport.Now())
	if left := s.Breakers()[0].State().Remaining[telemetry.ProtectMaxConnections]; left != 1 {
		t.Errorf("%d left", left)
	}
	acquire(t, hosts[1], 0)
	wantCounts(t, m, telemetry.ProtectMaxConnections, 0, 0)
	acquire(t, hosts[1], 0)
	wantCounts(t, m, telemetry.ProtectMaxConnections, 0, 1)
}

func TestFailedDialsGiveTheirPlaceBack(t *testing.T) {
	s := New(Config{Dial: func(context.Context, netip.AddrPort) (net.Conn, error) { return nil, errors.New("no") }})
	apply(t, s, guarded(model.Breaker{MaxConnections: 1}), endpoints(1))
	h := pick(t, s.Cluster("c"))
	for range 3 {
		if _, _, err := h.Acquire(t.Context(), transport.Now(), 0, 0); err == nil || strings.Contains(err.Error(), "breaker") {
			t.Fatal(err)
		}
	}
	if placesOf(h) != 0 {
		t.Errorf("%d places", placesOf(h))
	}
}

// TestAPanicGivesItsPlaceBack: a defect in the way to one host does not use up what all have.
func TestAPanicGivesItsPlaceBack(t *testing.T) {
	s := New(Config{Dial: func(context.Context, netip.AddrPort) (net.Conn, error) { panic("defect") }})
	apply(t, s, guarded(model.Breaker{MaxConnections: 1}), endpoints(1))
	h := pick(t, s.Cluster("c"))
	func() {
		defer func() { _ = recover() }()
		_, _, _ = h.Acquire(t.Context(), transport.Now(), 0, 0)
	}()
	if placesOf(h) != 0 {
		t.Errorf("%d places", placesOf(h))
	}
}

func TestBoundsOfConnectionsAreEdited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &dialled{}
		s, hosts, m := boundedSet(t, n, 1, model.Breaker{MaxConnections: 1})
		h := hosts[0]
		results := make(chan got, 10)
		held := []*transport.Conn{}
		a, _ := acquire(t, h, 0)
		held = append(held, a)
		inLine(t, h, "a", results)
		inLine(t, h, "b", results)
		apply(t, s, guarded(model.Breaker{MaxConnections: 2}), endpoints(1))
		synctest.Wait()
		if len(results) != 1 {
			t.Fatalf("%d served after there is room for one more", len(results))
		}
		apply(t, s, guarded(model.Breaker{MaxConnections: 2, Mode: model.ModeDisabled}), endpoints(1))
		synctest.Wait()
		if len(results) != 2 {
			t.Fatalf("%d served without a bound", len(results))
		}
		held = append(held, (<-results).conn, (<-results).conn)
		apply(t, s, guarded(model.Breaker{MaxConnections: 2, Mode: model.ModeObserve}), endpoints(1))
		d, _ := acquire(t, h, 0)
		wantCounts(t, m, telemetry.ProtectMaxConnections, 2, 1)
		held = append(held, d)
		for _, c := range held[:3] {
			h.Release(c, 0, transport.Now())
		}
		if n.open.Load() != 4 {
			t.Errorf("%d open while it is only observed", n.open.Load())
		}
		apply(t, s, guarded(model.Breaker{MaxConnections: 3}), endpoints(1))
		if n.open.Load() != 3 || h.idle.Load() != 2 {
			t.Errorf("%d open, %d idle under a lower bound", n.open.Load(), h.idle.Load())
		}
		apply(t, s, guarded(model.Breaker{MaxConnections: 1}), endpoints(1))
		if n.open.Load() != 1 || placesOf(h) != 1 {
			t.Errorf("%d open, %d places", n.open.Load(), placesOf(h))
		}
		h.Release(d, 0, transport.Now())
		if n.open.Load() != 1 || h.idle.Load() != 1 {
			t.Error("the last one was not kept")
		}
		apply(t, s, guarded(model.Breaker{MaxConnections: 2}), endpoints(1))
		a, _ = acquire(t, h, 0)
		b, _ := acquire(t, h, 0)
		apply(t, s, guarded(model.Breaker{MaxConnections: 1}), endpoints(1))
		h.Release(a, 0, transport.Now())
		h.Release(b, 0, transport.Now())
		if n.open.Load() != 1 || h.idle.Load() != 1 {
			t.Errorf("%d open, %d idle after those in use were released", n.open.Load(), h.idle.Load())
		}
	})
}

// TestConnectionsAreBoundedUnderLoad: never more than the bound are open, whoever asks, nobody
// waits in vain, and no place is lost.
func TestConnectionsAreBoundedUnderLoad(t *testing.T) {
	n := &dialled{}
	s, hosts, _ := boundedSet(t, n, 4, model.Breaker{MaxConnections: 3})
	bound := testCluster(func(c *model.Cluster) { c.ConnectTimeout = time.Minute })
	var group sync.WaitGroup
	for w := range 12 {
		group.Go(func() {
			for i := range 400 {
				h := hosts[(w*7+i*3)%len(hosts)]
				var c *transport.Conn
				var err error
				if i%5 == 0 {
					c, err = h.Fresh(t.Context(), 0)
				} else {
					c, _, err = h.Acquire(t.Context(), transport.Now(), 0, w)
				}
				if err != nil {
					t.Error(err)
					return
				}
				switch i % 7 {
				case 0:
					h.Release(c, w, 0)
				default:
					h.Release(c, w, transport.Now())
				}
				if i%50 == 0 {
					s.sweep(transport.Now())
				}
				if w == 0 && i%20 == 0 {
					bound.Breaker.MaxConnections = 1 + i/20%4
					spec := *bound
					spec.Hash = ""
					apply(t, s, &spec, endpoints(1, 1, 1, 1))
				}
			}
		})
	}
	group.Wait()
	if n.most.Load() > 4 || placesOf(hosts[0]) != n.open.Load() || hosts[0].cluster.protection.links.waiting.Load() != 0 {
		t.Errorf("%d at once; %d places for %d connections", n.most.Load(), placesOf(hosts[0]), n.open.Load())
	}
	s.drainAll()
	if placesOf(hosts[0]) != 0 || n.open.Load() != 0 {
		t.Errorf("%d places, %d open at the end", placesOf(hosts[0]), n.open.Load())
	}
}

func bounded(most int) func(*model.Cluster) {
	return func(c *model.Cluster) { c.Breaker.MaxConnections = most }
}

// TestLinksAreBounded: with all connections there may be, requests share the links or wait for
// a stream.
func TestLinksAreBounded(t *testing.T) {
	w := &web{limit: 1}
	withWeb(t, w, Config{Shards: 2}, func(t *testing.T, s *Set, h *Host) {
		apply(t, s, h2c(bounded(1)), endpoints(1))
		a, _ := acquire(t, h, 0)
		results := make(chan got, 10)
		inLine(t, h, "first", results)
		inLine(t, h, "second", results)
		use(t, h, a)
		for range 2 {
			r := <-results
			if r.err != nil {
				t.Fatal(r.err)
			}
			use(t, h, r.conn)
		}
		if w.dials.Load() != 1 || placesOf(h) != 1 {
			t.Errorf("%d dials, %d places", w.dials.Load(), placesOf(h))
		}
		b, _ := acquire(t, h, 0)
		_, _, err := h.Acquire(t.Context(), transport.Now(), 0, 1)
		wantRefused(t, err, telemetry.ProtectMaxConnections)
		use(t, h, b)
	})
}

// TestIdleLinksMakeRoom: a link that nobody uses ends for the sake of another host.
func TestIdleLinksMakeRoom(t *testing.T) {
	w := &web{limit: 10}
	withWeb(t, w, Config{Shards: 2}, func(t *testing.T, s *Set, h *Host) {
		apply(t, s, h2c(bounded(1)), endpoints(1, 1))
		var hosts []*Host
		for _, h := range s.Cluster("c").hosts {
			hosts = append(hosts, h)
		}
		for i := range 6 {
			h := hosts[i%2]
			c, _ := acquire(t, h, 0)
			use(t, h, c)
			if placesOf(h) > 1 {
				t.Errorf("%d places", placesOf(h))
			}
		}
		if w.dials.Load() != 6 {
			t.Errorf("%d dials", w.dials.Load())
		}
		if n := s.Cluster("c").protection.links.leaving; n != 0 {
			t.Errorf("%d are still to end", n)
		}
	})
}

// TestLinksUnderLoad is TestConnectionsAreBoundedUnderLoad for HTTP/2. Nothing takes any time in its
// bubble, so any is that of somebody who was not told of what there was for him.
func TestLinksUnderLoad(t *testing.T) {
	for limit := uint32(1); limit <= 3; limit++ {
		withWeb(t, &web{limit: limit}, Config{Shards: 2}, func(t *testing.T, s *Set, h *Host) {
			apply(t, s, h2c(bounded(2), func(c *model.Cluster) { c.ConnectTimeout = time.Hour }), endpoints(1, 1, 1))
			var hosts []*Host
			for _, h := range s.Cluster("c").hosts {
				hosts = append(hosts, h)
			}
			began := time.Now()
			var group sync.WaitGroup
			for worker := range 10 {
				group.Go(func() {
					for i := range 60 {
						h := hosts[(worker+i)%3]
						ctx, leave := context.WithCancel(t.Context())
						if i%7 == 0 {
							go leave()
						}
						c, _, err := h.Acquire(ctx, transport.Now(), 0, worker)
						switch {
						case err == nil && i%5 == 0:
							h.Release(c, worker, 0)
						case err == nil:
							use(t, h, c)
						case !errors.Is(err, context.Canceled):
							t.Error(err)
						}
						leave()
					}
				})
			}
			group.Wait()
			if took := time.Since(began); took != 0 || placesOf(h) > 2 || s.Cluster("c").protection.links.waiting.Load() != 0 {
				t.Errorf("%d streams a link: %v, %d places", limit, took, placesOf(h))
			}
		})
	}
}

// TestALinkThatRestsMakesRoom: who waits for a place gets that of another host's link as soon as
// nobody uses it any more, and not only if somebody else comes.
func TestALinkThatRestsMakesRoom(t *testing.T) {
	w := &web{limit: 10}
	withWeb(t, w, Config{Shards: 2}, func(t *testing.T, s *Set, h *Host) {
		apply(t, s, h2c(bounded(1)), endpoints(1, 1))
		var other *Host
		for _, o := range s.Cluster("c").hosts {
			if o != h {
				other = o
			}
		}
		a, _ := acquire(t, h, 0)
		results := make(chan got, 1)
		inLine(t, other, "other", results)
		use(t, h, a)
		r := <-results
		if r.err != nil {
			t.Fatal(r.err)
		}
		use(t, other, r.conn)
		if placesOf(h) != 1 {
			t.Errorf("%d places", placesOf(h))
		}
	})
}
