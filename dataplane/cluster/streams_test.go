package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// web is hosts that speak HTTP/2 without TLS, and answer every request with 204.
type web struct {
	limit  uint32        // of streams
	delay  time.Duration // before a host greets
	refuse error         // of dialling, after the delay
	told   bool          // connections begin with a PROXY header, of version 1
	ages   bool          // a host goes away once it has answered
	dials  atomic.Int32
	hosts  sync.WaitGroup
}

func (w *web) dial(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
	w.dials.Add(1)
	if w.refuse != nil {
		select {
		case <-time.After(w.delay):
			return nil, w.refuse
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	ours, theirs := net.Pipe()
	w.hosts.Go(func() { w.serve(theirs) })
	return ours, nil
}

func (w *web) serve(c net.Conn) {
	defer c.Close()
	for b := []byte{0}; w.told && b[0] != '\n'; {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
	if _, err := io.CopyN(io.Discard, c, int64(len(http2.ClientPreface))); err != nil {
		return
	}
	<-time.After(w.delay)
	f := http2.NewFramer(c, c)
	if f.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: w.limit}) != nil {
		return
	}
	var block bytes.Buffer
	_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "204"})
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.PingFrame:
			_ = f.WritePing(true, frame.Data)
		case *http2.HeadersFrame:
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: frame.Header().StreamID, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
			if w.ages {
				_ = f.WriteGoAway(frame.Header().StreamID, http2.ErrCodeNo, nil)
			}
		}
	}
}

// use makes an exchange on a stream and gives it back.
func use(t testing.TB, h *Host, c *transport.Conn) {
	t.Helper()
	var b transport.Buffer
	defer b.Release()
	if _, _, err := c.Exchange([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), &b, transport.Wait{}); err != nil || !strings.HasPrefix(string(b.Bytes()), "HTTP/1.1 204 ") {
		t.Errorf("got %q, %v", b.Bytes(), err)
	}
	h.Release(c, 0, transport.Now())
}

// withWeb runs a test in a bubble, with one host whose Set runs.
func withWeb(t *testing.T, w *web, config Config, f func(t *testing.T, s *Set, h *Host)) {
	synctest.Test(t, func(t *testing.T) {
		config.Dial = w.dial
		s := New(config)
		apply(t, s, h2c(), endpoints(1))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		h := pick(t, s.Cluster("c"))
		f(t, s, h)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := h.Stats.Open.Load(); n != 0 {
			t.Errorf("%d connections after the end", n)
		}
		w.hosts.Wait()
		synctest.Wait()
		if n := placesOf(h); n != 0 {
			t.Errorf("%d places after the end", n)
		}
		if h.links.Load() != 0 || h.common.waiting.Load() != 0 {
			t.Errorf("%d links, %d waiting", h.links.Load(), h.common.waiting.Load())
		}
	})
}

// h2c is a cluster that speaks HTTP/2.
func h2c(change ...func(*model.Cluster)) *model.Cluster {
	return testCluster(append([]func(*model.Cluster){func(c *model.Cluster) { c.Protocol = model.ProtocolH2C }}, change...)...)
}

// TestLinksAreShared: there are as many as their streams are needed, and they go when they
// have been idle.
func TestLinksAreShared(t *testing.T) {
	withWeb(t, &web{limit: 2}, Config{Shards: 2}, func(t *testing.T, s *Set, h *Host) {
		var held []*transport.Conn
		for i := range 5 {
			c, reused := acquire(t, h, i%2)
			if reused != (i%2 == 1) {
				t.Errorf("stream %d: reused %v", i, reused)
			}
			held = append(held, c)
		}
		if st := s.Hosts()[0]; st.Opened != 3 || st.Open != 3 || st.Idle != 0 {
			t.Errorf("host %+v", st)
		}
		for _, c := range held {
			use(t, h, c)
		}
		if st := s.Hosts()[0]; st.Open != 3 || st.Idle != 3 {
			t.Errorf("host %+v", st)
		}
		c, _ := acquire(t, h, 0)
		time.Sleep(2 * time.Minute)
		if st := s.Hosts()[0]; st.Open != 1 || st.Idle != 0 {
			t.Errorf("after the idle time: %+v", st)
		}
		use(t, h, c)
	})
}

// TestRequestsWaitForStreams: at the bound of connections they wait their turn, and not for ever.
func TestRequestsWaitForStreams(t *testing.T) {
	w := &web{limit: 1}
	withWeb(t, w, Config{Shards: 2, MaxIdlePerHost: 2}, func(t *testing.T, _ *Set, h *Host) {
		a, _ := acquire(t, h, 0)
		b, _ := acquire(t, h, 1)
		began := time.Now()
		_, _, err := h.Acquire(t.Context(), transport.Now(), 0, 0)
		if took := time.Since(began); !errors.Is(err, errNoRoom) || took != 250*time.Millisecond {
			t.Errorf("after %v: %v", took, err)
		}
		began = time.Now()
		_, _, err = h.Acquire(t.Context(), transport.Now(), transport.Now().Add(10*time.Millisecond), 0)
		if took := time.Since(began); err == nil || took != 10*time.Millisecond {
			t.Errorf("after %v: %v", took, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err = h.Acquire(ctx, transport.Now(), 0, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		var wait sync.WaitGroup
		for i := range 20 {
			wait.Go(func() {
				c, reused := acquire(t, h, i)
				if !reused {
					t.Error("a third connection")
				}
				use(t, h, c)
			})
		}
		synctest.Wait()
		if n := h.common.waiting.Load(); n != 20 {
			t.Errorf("%d wait", n)
		}
		use(t, h, a)
		use(t, h, b)
		wait.Wait()
	})
	if n := w.dials.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// TestLinksThatAge: a link whose host has gone away, but not its last stream, leaves its place to
// another one.
func TestLinksThatAge(t *testing.T) {
	w := &web{limit: 1, ages: true}
	withWeb(t, w, Config{Shards: 2, MaxIdlePerHost: 1}, func(t *testing.T, s *Set, h *Host) {
		for i := range 3 {
			c, _ := acquire(t, h, i)
			var b transport.Buffer
			if _, _, err := c.Exchange([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), &b, transport.Wait{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			b.Release()
			defer synctest.Wait()
			defer h.Release(c, i, 0)
		}
		s.sweep(transport.Now())
		if n := h.links.Load(); n != 0 {
			t.Errorf("%d links could be used again", n)
		}
	})
	if n := w.dials.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
}

// TestOneOpensForAll: requests that come while a link is opened wait for it, and share its
// fate; but not the impatience of who opens it.
func TestOneOpensForAll(t *testing.T) {
	w := &web{limit: 100, delay: 100 * time.Millisecond}
	withWeb(t, w, Config{}, func(t *testing.T, _ *Set, h *Host) {
		var wait sync.WaitGroup
		wait.Go(func() {
			if _, _, err := h.Acquire(t.Context(), transport.Now(), transport.Now().Add(50*time.Millisecond), 0); err == nil {
				t.Error("the impatient one has a stream")
			}
		})
		synctest.Wait()
		for range 20 {
			wait.Go(func() {
				c, _ := acquire(t, h, 0)
				use(t, h, c)
			})
		}
		wait.Wait()
		if n := w.dials.Load(); n != 2 {
			t.Errorf("%d connections", n)
		}
		w.refuse = errors.New("no thanks")
		h.unlinked(h.common.shards[0].cutAll())
		for range 20 {
			wait.Go(func() {
				if _, _, err := h.Acquire(t.Context(), transport.Now(), 0, 0); !errors.Is(err, w.refuse) || strings.Count(err.Error(), "cluster c") != 1 {
					t.Errorf("got %v", err)
				}
			})
		}
		wait.Wait()
		if n := w.dials.Load(); n != 3 || h.Stats.ConnectFailures.Load() != 2 {
			t.Errorf("%d connections, %d failures", n, h.Stats.ConnectFailures.Load())
		}
	})
}

// TestLinksOfAnotherWiring: idle ones are closed at once, others finish what they carry.
func TestLinksOfAnotherWiring(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, s *Set){
		"other TLS": func(t *testing.T, s *Set) {
			apply(t, s, h2c(func(c *model.Cluster) { c.TLS = &model.UpstreamTLS{Hostname: "a.test"} }), endpoints(1))
		},
		"no more a host": func(t *testing.T, s *Set) { apply(t, s, h2c(), endpoints()) },
		"cluster gone":   func(t *testing.T, s *Set) { apply(t, s, nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			withWeb(t, &web{limit: 1}, Config{}, func(t *testing.T, s *Set, h *Host) {
				a, _ := acquire(t, h, 0)
				b, _ := acquire(t, h, 0)
				use(t, h, a)
				change(t, s)
				synctest.Wait()
				if open := h.Stats.Open.Load(); open != 1 {
					t.Errorf("%d connections, one is in use", open)
				}
				use(t, h, b)
				synctest.Wait()
				if open := h.Stats.Open.Load(); open != 0 {
					t.Errorf("%d connections, none is in use", open)
				}
			})
		})
	}
}

// TestWithoutKeepAlive: every request has a connection of its own.
func TestWithoutKeepAlive(t *testing.T) {
	withWeb(t, &web{limit: 9}, Config{}, func(t *testing.T, s *Set, h *Host) {
		apply(t, s, h2c(func(c *model.Cluster) { c.KeepAlive = 0 }), endpoints(1))
		a, reusedA := acquire(t, h, 0)
		b, reusedB := acquire(t, h, 0)
		if reusedA || reusedB || h.Stats.Open.Load() != 2 {
			t.Errorf("%v, %v, %d connections", reusedA, reusedB, h.Stats.Open.Load())
		}
		use(t, h, a)
		use(t, h, b)
		synctest.Wait()
		if n := h.Stats.Open.Load(); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

// TestHostsThatAllowNothing are as good as none.
func TestHostsThatAllowNothing(t *testing.T) {
	withWeb(t, &web{limit: 0}, Config{}, func(t *testing.T, _ *Set, h *Host) {
		if _, _, err := h.Acquire(t.Context(), transport.Now(), 0, 0); !errors.Is(err, errNoStreams) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
	})
}

// TestLinksUnderChange: whatever is changed meanwhile, nothing is lost or left over.
func TestLinksUnderChange(t *testing.T) {
	w := &web{limit: 3}
	s := New(Config{Dial: w.dial, Shards: 2, MaxIdlePerHost: 4})
	apply(t, s, h2c(func(c *model.Cluster) { c.ConnectTimeout = 20 * time.Second }), endpoints(1))
	c := s.Cluster("c")
	ctx, cancel := context.WithCancel(t.Context())
	var background, users sync.WaitGroup
	background.Go(func() { _ = s.Run(ctx) })
	for worker := range 16 {
		users.Go(func() {
			for i := range 60 {
				h, err := c.Pick(Request{})
				if err != nil {
					t.Error(err)
					return
				}
				conn, _, err := h.Acquire(ctx, transport.Now(), 0, worker)
				if err != nil {
					t.Error(err)
					return
				}
				if i%7 == 0 {
					h.Release(conn, worker, 0)
					continue
				}
				use(t, h, conn)
			}
		})
	}
	for i := range 100 {
		apply(t, s, h2c(func(c *model.Cluster) {
			c.ConnectTimeout = 20 * time.Second
			c.KeepAlive = time.Duration(i%5) * time.Minute
		}), endpoints([][]uint32{{1}, {1, 1}, {1}}[i%3]...))
		s.sweep(transport.Now())
		s.Hosts()
	}
	users.Wait()
	cancel()
	background.Wait()
	for _, h := range s.Hosts() {
		if h.InFlight != 0 || h.Open != h.Idle {
			t.Errorf("at the end: %+v", h)
		}
	}
	w.hosts.Wait()
}
