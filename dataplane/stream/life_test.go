package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
)

// pipes is a network in memory, for bubbles: one address to listen on, and hosts.
type pipes struct {
	come chan net.Conn
	gone chan struct{}
	once sync.Once
	host func(c net.Conn) // serves what is dialled
}

// pipeConn is a pipe with addresses.
type pipeConn struct{ net.Conn }

func (pipeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4000} }
func (pipeConn) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 80} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.come:
		return c, nil
	case <-p.gone:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.gone) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) connect() net.Conn {
	near, far := net.Pipe()
	p.come <- pipeConn{far}
	return near
}

// bubbleRig is a rig over pipes, for synctest bubbles.
func bubbleRig(t *testing.T, p *pipes, change func(s *model.Snapshot)) *rig {
	t.Helper()
	p.come, p.gone = make(chan net.Conn), make(chan struct{})
	r := bareRig(t, []string{"10.0.0.1:1"})
	r.dial = func(context.Context, netip.AddrPort) (net.Conn, error) {
		near, far := net.Pipe()
		go p.host(far)
		return pipeConn{near}, nil
	}
	if change != nil {
		change(r.snapshot)
	}
	r.start(func(context.Context, netip.AddrPort) (net.Listener, error) { return p, nil })
	return r
}

// TestIdle: bytes of either way start the time anew, and both connections end when it is up.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hostEnd time.Time
		p := &pipes{host: func(c net.Conn) {
			_, _ = io.Copy(c, c)
			hostEnd = time.Now()
			_ = c.Close()
		}}
		r := bubbleRig(t, p, nil) // a minute
		c := p.connect()
		for range 5 {
			time.Sleep(50 * time.Second)
			if got := say(t, c, "ping"); got != "ping" {
				t.Fatalf("got %q", got)
			}
		}
		last := time.Now()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal("a byte out of nothing")
		}
		if after := time.Since(last); after != time.Minute {
			t.Errorf("ended after %v without a byte, want a minute", after)
		}
		synctest.Wait()
		if hostEnd != last.Add(time.Minute) {
			t.Errorf("the host's connection ended at %v, want %v", hostEnd, last.Add(time.Minute))
		}
		rec := r.record()
		if rec.Flag != "PT" || rec.Blame != "policy" || !strings.Contains(rec.Detail, "1m0s") || rec.BytesIn != 20 || rec.BytesOut != 20 {
			t.Errorf("logged %+v", rec)
		}
	})
}

// TestNobodyReads: a host that takes nothing ends with the idle time, too, and the client that
// waits for it is told.
func TestNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		p := &pipes{host: func(c net.Conn) { <-stop; _ = c.Close() }}
		r := bubbleRig(t, p, nil)
		c := p.connect()
		if _, err := io.WriteString(c, "nobody takes this"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal("a byte out of nothing")
		}
		close(stop)
		if rec := r.record(); rec.Flag != "PT" {
			t.Errorf("logged %+v", rec)
		}
	})
}

// TestOneWayIsNotIdle: while bytes pass one way, the other may take as long as it likes.
func TestOneWayIsNotIdle(t *testing.T) {
	for _, fromHost := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			chatter := func(c net.Conn) { // says something and takes nothing for ten idle times, then the lot
				for range 30 {
					time.Sleep(20 * time.Second)
					if _, err := io.WriteString(c, "x"); err != nil {
						t.Errorf("cut off: %v", err)
						return
					}
				}
				if _, err := io.ReadFull(c, make([]byte, 100_000)); err != nil {
					t.Errorf("at the end: %v", err)
				}
			}
			other := func(c net.Conn) {
				go func() { _, _ = c.Write(make([]byte, 100_000)) }()
				_, _ = io.CopyN(io.Discard, c, 30)
			}
			near, far := other, chatter
			if !fromHost {
				near, far = chatter, other
			}
			done := make(chan struct{})
			p := &pipes{host: func(c net.Conn) { far(c); <-done; _ = c.Close() }}
			r := bubbleRig(t, p, nil) // a minute
			c := p.connect()
			near(c)
			synctest.Wait()
			stats, _ := r.metrics.StreamStats(name)
			if stats.InFlight != 1 {
				t.Errorf("counted %+v", stats)
			}
			close(done)
			_ = c.Close()
		})
	}
}

// TestSlowReaderGetsTheEnd: a client that takes its time still learns that the host has ended.
func TestSlowReaderGetsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{host: func(c net.Conn) {
			_, _ = io.WriteString(c, "bye")
			_ = c.Close()
		}}
		var trust *tls.Config
		r := bubbleRig(t, p, func(s *model.Snapshot) { trust = terminate(t, s.Listeners[0]) })
		c := tls.Client(p.connect(), trust)
		if _, err := io.ReadFull(c, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		asked := time.Now()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(asked) > 0 {
			t.Errorf("got %v after %v, want the end at once", err, time.Since(asked))
		}
		_ = c.Close()
		synctest.Wait()
		if rec := r.record(); rec.Protocol != "TLS" || rec.BytesOut != 3 || rec.Flag != "" {
			t.Errorf("logged %+v", rec)
		}
	})
}

// TestNoIdleTime: without one a connection lasts for as long as its ends want.
func TestNoIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{host: func(c net.Conn) { _, _ = io.Copy(c, c); _ = c.Close() }}
		r := bubbleRig(t, p, func(s *model.Snapshot) { s.Streams[0].Idle = 0 })
		c := p.connect()
		for range 3 {
			time.Sleep(20 * time.Minute)
			say(t, c, "ping")
		}
		_ = c.Close() // a pipe has no half-close, so no flag is looked at
		if rec := r.record(); rec.BytesIn != 12 || rec.BytesOut != 12 {
			t.Errorf("logged %+v", rec)
		}
	})
}

// TestConnectTimeout: a host that does not answer costs the cluster's connect timeout, and no more.
func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		r := bubbleRig(t, p, nil) // five seconds
		r.dial = func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		begin := time.Now()
		if _, err := p.connect().Read(make([]byte, 1)); err == nil {
			t.Fatal("a byte out of nothing")
		}
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("it took %v, want 5 s: there is one host", took)
		}
		if rec := r.record(); rec.Flag != "UF" || len(rec.Attempts) != 1 {
			t.Errorf("logged %+v", rec)
		}
	})
}

// TestPanicIsContained: a defect in one connection ends that one.
func TestPanicIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		r := bubbleRig(t, p, nil)
		r.dial = func(context.Context, netip.AddrPort) (net.Conn, error) {
			near, _ := net.Pipe()
			return faulty{pipeConn{near}}, nil
		}
		if _, err := p.connect().Read(make([]byte, 1)); err == nil {
			t.Fatal("a byte out of nothing")
		}
		if rec := r.record(); rec.Flag != "WI" {
			t.Errorf("logged %+v", rec)
		}
	})
}

// faulty is a connection whose reads panic.
type faulty struct{ net.Conn }

func (faulty) Read([]byte) (int, error) { panic("a defect") }

// TestRouteChanges: connections stay with their hosts when a route leads elsewhere, is removed
// and comes back, and new ones follow it at once.
func TestRouteChanges(t *testing.T) {
	named := func(name string) string {
		return host(t, func(c *net.TCPConn) {
			_, _ = io.WriteString(c, name)
			echo(c)
		})
	}
	a, b := named("a"), named("b")
	r := newRig(t, []string{a}, func(_ *rig, s *model.Snapshot) {
		s.Clusters = append(s.Clusters, &model.Cluster{Name: "eb", ConnectTimeout: time.Second, Balancing: model.Balancing{Algorithm: model.Random}})
		s.Endpoints = append(s.Endpoints, &model.EndpointSet{Cluster: "eb", Endpoints: []model.Endpoint{{Address: netip.MustParseAddrPort(b), Weight: 1}}})
	})
	greeted := func(want string) *net.TCPConn {
		t.Helper()
		c := r.connect()
		got := make([]byte, 1)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Fatalf("greeted by %q, %v; want %q", got, err, want)
		}
		return c
	}
	first := greeted("a")
	next := *r.snapshot
	next.Streams = []*model.StreamRoute{to("eb")}
	r.apply(&next)
	second := greeted("b")
	// The route and the first cluster are gone.
	bare := next
	bare.Streams, bare.Clusters, bare.Endpoints = nil, next.Clusters[1:], next.Endpoints[1:]
	bare.Listeners = []*model.Listener{{Name: "front", Address: next.Listeners[0].Address, Streams: []model.StreamBinding{{}}}}
	r.apply(&bare)
	if c, err := net.Dial("tcp", r.addr); err == nil {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v, want a reset: no route is left", err)
		}
		_ = c.Close()
	}
	r.apply(&next)
	third := greeted("b")
	for i, c := range []*net.TCPConn{first, second, third} {
		if got := say(t, c, "still here"); got != "still here" {
			t.Errorf("connection %d: %q", i, got)
		}
		_ = c.Close()
	}
}

// TestRemovedRouteServesItsHolder: between the change of routes and that of sockets a connection
// goes where it would have gone before.
func TestRemovedRouteServesItsHolder(t *testing.T) {
	r := newRig(t, []string{host(t, echo)}, nil)
	r.engine.Apply(&model.Snapshot{})
	if got := say(t, r.connect(), "hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
}

// TestDrain lets connections go on until the deadline, and cuts off what is left then.
func TestDrain(t *testing.T) {
	r := newRig(t, []string{host(t, echo)}, nil)
	quick, long := r.connect(), r.connect()
	say(t, quick, "hello")
	say(t, long, "hello")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.end()
	}()
	for { // until it does not listen any more
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			break
		}
		_ = c.Close()
		runtime.Gosched()
	}
	if got := say(t, quick, "while draining"); got != "while draining" {
		t.Fatalf("got %q", got)
	}
	_ = quick.Close()
	say(t, long, "still")
	r.cut() // as package proxy: first this, so that it is known why
	r.drain()
	<-ended
	if _, err := long.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset: nobody may take what was cut off for the end", err)
	}
	flags := map[string]int{}
	for _, rec := range r.records() {
		if rec.BytesIn > 0 {
			flags[rec.Flag]++
		}
	}
	if fmt.Sprint(flags) != "map[:1 WD:1]" {
		t.Errorf("flags %v, want one WD and one without", flags)
	}
}

// TestSlowReaders: a hundred clients that read nothing of what hosts send without end hold a
// bounded amount of memory, and nobody else.
func TestSlowReaders(t *testing.T) {
	stop := make(chan struct{})
	source := host(t, func(c *net.TCPConn) {
		_ = c.SetDeadline(time.Time{})
		go func() { <-stop; _ = c.Close() }()
		piece := make([]byte, 64<<10)
		for {
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() { close(stop) })
	r := newRig(t, []string{source}, nil)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var slow []*net.TCPConn
	for range 100 {
		c := r.connect()
		_ = c.SetReadBuffer(4096)
		slow = append(slow, c)
	}
	fast := r.connect()
	if n, err := io.CopyN(io.Discard, fast, 64<<20); err != nil {
		t.Fatalf("%d bytes beside slow readers, %v", n, err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse); grown > 20<<20 {
		t.Errorf("%d MiB for a hundred slow readers", grown>>20)
	}
	for _, c := range append(slow, fast) {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
	for _, rec := range r.records() {
		if rec.Flag != "DC" {
			t.Errorf("logged %+v", rec)
		}
	}
}

// TestHostsDie under load: who is at the host that goes sees a reset; who comes then is served by
// the other.
func TestHostsDie(t *testing.T) {
	var mu sync.Mutex
	var open []*net.TCPConn
	doomed := host(t, func(c *net.TCPConn) {
		mu.Lock()
		open = append(open, c)
		mu.Unlock()
		echo(c)
	})
	r := newRig(t, []string{doomed, host(t, echo)}, nil)
	var conns []*net.TCPConn
	for i := range 40 {
		c := r.connect()
		say(t, c, fmt.Sprint("hello ", i))
		conns = append(conns, c)
	}
	mu.Lock()
	died := len(open)
	for _, c := range open {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
	mu.Unlock()
	reset := 0
	for _, c := range conns {
		_, err := io.WriteString(c, "x")
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		switch {
		case err == nil:
		case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			reset++
		default:
			t.Errorf("got %v, want a reset", err)
		}
	}
	if reset != died || died == 0 {
		t.Errorf("%d connections reset, %d were at the host", reset, died)
	}
}

// TestRemovedListener: its address is free at once, and its connections go on.
func TestRemovedListener(t *testing.T) {
	r := newRig(t, []string{host(t, echo)}, nil)
	c := r.connect()
	say(t, c, "hello")
	next := *r.snapshot
	next.Listeners = nil
	r.apply(&next)
	if other, err := net.Dial("tcp", r.addr); err == nil {
		_ = other.Close()
		t.Error("the address is still open")
	}
	if got := say(t, c, "still here"); got != "still here" {
		t.Errorf("got %q", got)
	}
	_ = c.Close()
	if rec := r.record(); rec.Flag != "" || rec.BytesIn != 15 {
		t.Errorf("logged %+v", rec)
	}
}

// TestBytesAreToldAsTheyPass: whoever watches a connection that lasts sees it work.
func TestBytesAreToldAsTheyPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{host: func(c net.Conn) { _, _ = io.Copy(c, c); _ = c.Close() }}
		r := bubbleRig(t, p, nil)
		c := p.connect()
		say(t, c, "one")
		time.Sleep(2 * time.Second)
		say(t, c, "three")
		synctest.Wait()
		stats, _ := r.metrics.StreamStats(name)
		if stats.BytesIn != 8 || stats.BytesOut != 8 || stats.Requests != 0 || stats.InFlight != 1 {
			t.Errorf("while it lasts: %+v", stats)
		}
		_ = c.Close()
		r.end()
		stats, _ = r.metrics.StreamStats(name)
		if stats.BytesIn != 8 || stats.BytesOut != 8 || stats.Requests != 1 {
			t.Errorf("at the end: %+v", stats)
		}
	})
}

// TestResetIsNeverAnEnd: of a reset the system tells one call only, be it a read or a write.
// Whichever it is, who reads must not find the end of the stream.
func TestResetIsNeverAnEnd(t *testing.T) {
	r := newRig(t, []string{host(t, func(c *net.TCPConn) {
		go func() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{c}) }()
		piece := make([]byte, 5000)
		for range 20 {
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
		_ = c.SetLinger(0)
	})}, nil)
	for i := range 300 {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			continue // all has happened before we knew that we are connected
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		written := make(chan error, 1)
		go func() {
			piece := make([]byte, 1000)
			for {
				if _, err := c.Write(piece); err != nil {
					written <- err
					return
				}
			}
		}()
		n, err := io.Copy(io.Discard, struct{ io.Reader }{c})
		// Our own reads and writes share the one reset, too.
		if why := <-written; err == nil && !errors.Is(why, syscall.ECONNRESET) {
			t.Errorf("connection %d: an end after %d bytes; writing: %v", i, n, why)
		}
		_ = c.Close()
	}
	for _, rec := range r.records() {
		atOnce := rec.Flag == "UF" && rec.BytesOut == 0 // the reset came before dialling was over
		if rec.Flag != "UR" && !atOnce {
			t.Errorf("logged %+v", rec)
		}
	}
}

// TestCarryingAllocatesNothing for what comes and goes, once a connection is there.
func TestCarryingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := newRig(t, []string{host(t, echo)}, nil)
	c := r.connect()
	for _, size := range []int{100, 200_000} {
		piece := make([]byte, size)
		once := func() {
			if _, err := c.Write(piece); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, piece); err != nil {
				t.Fatal(err)
			}
		}
		once()
		if n := testing.AllocsPerRun(300, once); n > 1 { // a collection may empty the pools
			t.Errorf("%v allocations for %d bytes there and back", n, size)
		}
	}
}
