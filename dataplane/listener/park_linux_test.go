package listener

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// patience is how long anything here may take.
const patience = 20 * time.Second

// echo is a set of sockets on loopback that sends back what comes, and whose connections
// rest as soon as nothing does.
type echo struct {
	*Set
	t       testing.TB
	metrics *telemetry.Metrics
	keep    atomic.Int64 // nanoseconds that a connection may rest
	calls   atomic.Int64 // of the handler
	parallel
}

// parallel finds connections that are served by two goroutines at once.
type parallel struct {
	serving sync.Map
	twice   atomic.Int64
}

func newEcho(t testing.TB, cfg Config, names ...string) *echo {
	e := &echo{t: t, metrics: telemetry.NewMetrics(1)}
	e.keep.Store(int64(time.Hour))
	cfg.Listen = func(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
		return (&net.ListenConfig{}).Listen(ctx, "tcp", at.String())
	}
	cfg.Handle, cfg.Log, cfg.Metrics, cfg.Shards = e.handle, slog.New(slog.DiscardHandler), e.metrics, 2
	e.Set = New(cfg)
	e.apply(names...)
	t.Cleanup(e.end)
	return e
}

func (e *echo) apply(names ...string) {
	e.t.Helper()
	var listeners []*model.Listener
	for _, name := range names {
		listeners = append(listeners, &model.Listener{Name: name, Address: netip.MustParseAddrPort("127.0.0.1:0")})
	}
	if err := e.Apply(listeners); err != nil {
		e.t.Fatal(err)
	}
}

// end cuts off what is left, and checks the balance.
func (e *echo) end() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	e.Drain(ctx)
	for _, name := range []string{"front", "second"} {
		stats := e.metrics.Listener(name)
		if stats.Active() != 0 || stats.Parked() != 0 {
			e.t.Errorf("%s: %d open, %d parked after the end", name, stats.Active(), stats.Parked())
		}
	}
	if e.lot.parked != 0 || e.total.used.Load() != 0 {
		e.t.Errorf("%d in the lot, %d in the budget after the end", e.lot.parked, e.total.used.Load())
	}
	if n := e.twice.Load(); n != 0 {
		e.t.Errorf("%d times two goroutines served one connection", n)
	}
}

func (e *echo) handle(c *Conn) transport.Instant {
	e.calls.Add(1)
	if _, twice := e.serving.LoadOrStore(c, true); twice {
		e.twice.Add(1)
	}
	defer e.serving.Delete(c)
	var b transport.Buffer
	defer b.Release()
	for {
		wait := transport.Wait{Stop: c.Socket.StopIdle()}
		if c.MayPark() {
			wait.By = transport.Now().Add(time.Millisecond)
		}
		_, err := c.ReadInto(&b, wait)
		if errors.Is(err, transport.ErrTimeout) {
			return transport.Now().Add(time.Duration(e.keep.Load()))
		}
		if err != nil || c.Write(b.Bytes(), transport.Wait{}) != nil {
			return 0
		}
		b.Consume(b.Len())
	}
}

func (e *echo) dial(name string) *net.TCPConn {
	e.t.Helper()
	c, err := net.Dial("tcp", e.Addresses()[name].String())
	if err != nil {
		e.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	e.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// until waits for something that other goroutines bring about.
func (e *echo) until(what string, claim func() bool) {
	e.t.Helper()
	until(e.t, what, claim)
}

// parked waits until n connections are parked, whose goroutines have ended.
func (e *echo) parked(name string, n int64) {
	e.t.Helper()
	e.until("parked", func() bool { return e.metrics.Listener(name).Parked() == n })
}

// ask sends a byte and wants it back, once.
func ask(t testing.TB, c net.Conn) {
	t.Helper()
	sent, got := []byte{byte(rand.Uint32())}, make([]byte, 2)
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(got); err != nil || n != 1 || got[0] != sent[0] {
		t.Fatalf("sent %x, got %x %v", sent, got[:n], err)
	}
}

// closed wants the other end closed, without a word.
func closed(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("got %d bytes, %v", n, err)
	}
}

func TestParkedConnectionIsServedAgain(t *testing.T) {
	e := newEcho(t, Config{MaxConnections: 1}, "front")
	c := e.dial("front")
	for range 3 {
		e.parked("front", 1)
		ask(t, c)
	}
	e.parked("front", 1)
	closed(t, e.dial("front")) // refused: a parked connection counts against the limit
	if n := e.metrics.Listener("front").Refused(telemetry.RefusedLimit); n != 1 {
		t.Errorf("%d refused", n)
	}
	if n := e.calls.Load(); n != 4 {
		t.Errorf("the handler was called %d times", n)
	}
}

func TestParkedPeerEnds(t *testing.T) {
	for name, end := range map[string]func(*net.TCPConn) error{
		"half-close": (*net.TCPConn).CloseWrite,
		"close":      (*net.TCPConn).Close,
		"reset":      func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEcho(t, Config{}, "front")
			c := e.dial("front")
			e.parked("front", 1)
			if err := end(c); err != nil {
				t.Fatal(err)
			}
			e.until("closed", func() bool { return e.metrics.Listener("front").Active() == 0 })
		})
	}
}

func TestParkedTooLong(t *testing.T) {
	e := newEcho(t, Config{}, "front")
	e.keep.Store(int64(5 * time.Millisecond))
	closed(t, e.dial("front"))
	if n := e.calls.Load(); n != 1 {
		t.Errorf("the handler was called %d times", n)
	}
}

func TestDrainEndsParked(t *testing.T) {
	e := newEcho(t, Config{IdleGrace: 20 * time.Millisecond}, "front")
	var conns []net.Conn
	for range 50 {
		conns = append(conns, e.dial("front"))
	}
	e.parked("front", 50)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		e.Drain(context.Background())
	}()
	for _, c := range conns {
		closed(t, c)
	}
	<-drained
}

// TestDrainMeetsParking drains, or cuts, while connections are on their way into the lot and out of it.
func TestDrainMeetsParking(t *testing.T) {
	ended, end := context.WithCancel(context.Background())
	end()
	for i := range 40 {
		ctx, grace := context.Background(), time.Duration(0)
		if i%2 == 1 {
			ctx, grace = ended, time.Hour
		}
		e := newEcho(t, Config{IdleGrace: grace}, "front")
		conns := make([]net.Conn, 20)
		for i := range conns {
			conns[i] = e.dial("front")
			ask(t, conns[i])
		}
		for _, c := range conns[:10] {
			_, _ = c.Write([]byte("x"))
		}
		<-time.After(time.Duration(rand.IntN(1500)) * time.Microsecond)
		e.Drain(ctx) // hangs when one is lost
	}
}

func TestShutdownCutsParked(t *testing.T) {
	e := newEcho(t, Config{IdleGrace: time.Hour}, "front")
	c := e.dial("front")
	e.parked("front", 1)
	e.end()
	closed(t, c)
}

func TestRemovedListenerEndsItsParked(t *testing.T) {
	e := newEcho(t, Config{IdleGrace: time.Millisecond}, "front", "second")
	stays, goes := e.dial("front"), e.dial("second")
	e.parked("front", 1)
	e.parked("second", 1)
	e.apply("front")
	closed(t, goes)
	ask(t, stays)
}

// TestParkedWakeAtOnce parks a thousand connections and has all of them send at once.
func TestParkedWakeAtOnce(t *testing.T) {
	const n = 1000
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	e := newEcho(t, Config{MaxConnections: n}, "front")
	conns := make([]*net.TCPConn, n)
	for i := range conns {
		conns[i] = e.dial("front")
	}
	for range 2 {
		e.parked("front", n)
		e.until("their goroutines gone", func() bool { return runtime.NumGoroutine() < goroutines+10 })
		var all sync.WaitGroup
		for _, c := range conns {
			all.Go(func() {
				if _, err := c.Write([]byte("x")); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, c := range conns {
			if n, err := c.Read(make([]byte, 2)); n != 1 || err != nil {
				t.Fatalf("got %d bytes, %v", n, err)
			}
		}
	}
	for _, c := range conns {
		c.Close()
	}
	e.until("closed", func() bool { return e.metrics.Listener("front").Active() == 0 })
	e.end()
	if left := openFiles(t); left > files {
		t.Errorf("%d files open, %d before", left, files)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestParkingAmidTraffic has clients ask, wait about as long as a connection needs to be parked,
// and leave, while others expire. Each answer must come once, and every connection end.
func TestParkingAmidTraffic(t *testing.T) {
	e := newEcho(t, Config{}, "front")
	address := e.Addresses()["front"].String()
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 20 {
				nc, err := net.Dial("tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				_ = nc.SetDeadline(time.Now().Add(patience))
				for range 10 {
					<-time.After(time.Duration(rand.IntN(2000)) * time.Microsecond)
					if _, err := nc.Write([]byte("x")); err != nil {
						t.Error(err)
					}
					if n, err := nc.Read(make([]byte, 2)); n != 1 || err != nil {
						t.Errorf("got %d bytes, %v", n, err)
					}
				}
				nc.Close()
			}
		})
	}
	all.Wait()
	if n := e.calls.Load(); n < 400 {
		t.Errorf("%d calls: hardly anything was parked", n)
	}
	e.until("closed", func() bool { return e.metrics.Listener("front").Active() == 0 })
}

// BenchmarkPark is one connection into the lot and out of it, by as many goroutines as there
// are cores: all of them share one lock and one epoll set.
func BenchmarkPark(b *testing.B) {
	e := newEcho(b, Config{}, "front")
	l := newLot()
	defer func() { _ = l.close() }()
	b.RunParallel(func(pb *testing.PB) {
		c := &Conn{Conn: transport.New(e.dial("front"))}
		for pb.Next() {
			if err := l.park(c, transport.Now().Add(time.Hour)); err != nil {
				b.Error(err)
				return
			}
			if !l.take(c) {
				b.Error("taken by nobody")
			}
			if err := c.Resume(); err != nil {
				b.Error(err)
			}
		}
	})
}
