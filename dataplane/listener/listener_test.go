package listener

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeListener accepts what comes, and last of all, once it has been closed, what is in late.
type fakeListener struct {
	come chan net.Conn
	gone chan struct{}
	once sync.Once
	late chan net.Conn
}

func newFake() *fakeListener {
	return &fakeListener{come: make(chan net.Conn), gone: make(chan struct{}), late: make(chan net.Conn, 1)}
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.come:
		return c, nil
	case <-l.gone:
	}
	select {
	case c := <-l.late:
		return c, nil
	default:
		return nil, net.ErrClosed
	}
}

func (l *fakeListener) Close() error   { l.once.Do(func() { close(l.gone) }); return nil }
func (l *fakeListener) Addr() net.Addr { return &net.TCPAddr{} }

// waiting is a handler that waits for a request that never comes.
func waiting(c *Conn) transport.Instant {
	var b transport.Buffer
	defer b.Release()
	_, _ = c.ReadInto(&b, transport.Wait{Stop: c.Socket.StopIdle()})
	return 0
}

func newSet(l *fakeListener, handle Handler, grace time.Duration) *Set {
	return New(Config{
		Listen: func(context.Context, netip.AddrPort) (net.Listener, error) {
			if l == nil {
				return nil, errors.New("address in use")
			}
			return l, nil
		},
		Handle: handle, Log: slog.New(slog.DiscardHandler), Metrics: telemetry.NewMetrics(1),
		Shards: 1, IdleGrace: grace,
	})
}

var front = []*model.Listener{{Name: "front"}}

// TestDrainingEndsIdleConnections has one connection from before and one that comes out of
// the queue when the socket has been closed already.
func TestDrainingEndsIdleConnections(t *testing.T) {
	for _, early := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := newFake()
			s := newSet(l, waiting, time.Second)
			if err := s.Apply(front); err != nil {
				t.Fatal(err)
			}
			var ends []net.Conn
			pipe := func() net.Conn {
				near, far := net.Pipe()
				ends = append(ends, near)
				return far
			}
			if early {
				l.come <- pipe()
			}
			synctest.Wait()
			l.late <- pipe()
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			s.Drain(ctx)
			if took := time.Since(began); took != time.Second {
				t.Errorf("draining took %v", took)
			}
			for _, c := range ends {
				c.Close()
			}
			if err := s.Apply(front); !errors.Is(err, net.ErrClosed) {
				t.Errorf("applied after the end: %v", err)
			}
		})
	}
}

func TestSocketThatCannotOpen(t *testing.T) {
	s := newSet(nil, waiting, 0)
	if err := s.Apply(front); err == nil {
		t.Error("no error")
	}
	if len(s.Addresses()) != 0 {
		t.Errorf("listening at %v", s.Addresses())
	}
	s.Drain(t.Context())
}

func TestBudget(t *testing.T) {
	b := newBudget(2)
	if first, second, third := b.take(), b.take(), b.take(); !first || !second || third {
		t.Error("the bound does not hold")
	}
	b.give()
	if !b.take() || b.take() {
		t.Error("what is given back cannot be taken once")
	}
	if n := connectionsForFiles(); n < 16 {
		t.Errorf("%d connections for the limit on files", n)
	}
}
