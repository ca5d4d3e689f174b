package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
)

// network is a network in memory, for whole proxies in synctest bubbles.
type network struct {
	mu    sync.Mutex
	doors map[netip.AddrPort]*memoryListener
	next  uint16
}

func newNetwork() *network {
	return &network{doors: map[netip.AddrPort]*memoryListener{}, next: 40000}
}

type memoryListener struct {
	n    *network
	at   netip.AddrPort
	come chan net.Conn
	gone chan struct{}
	once sync.Once
	fail func() error // before each accept; nil: none fails
}

// memoryConn is a pipe with addresses.
type memoryConn struct {
	net.Conn
	local, remote netip.AddrPort
}

func (c *memoryConn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *memoryConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

func (n *network) listen(_ context.Context, at netip.AddrPort) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.doors[at] != nil {
		return nil, syscall.EADDRINUSE
	}
	l := &memoryListener{n: n, at: at, come: make(chan net.Conn), gone: make(chan struct{})}
	n.doors[at] = l
	return l, nil
}

func (n *network) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	n.mu.Lock()
	l := n.doors[to]
	n.next++
	from := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), n.next)
	n.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	near, far := net.Pipe()
	select {
	case l.come <- &memoryConn{far, to, from}:
		return &memoryConn{near, from, to}, nil
	case <-l.gone:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	if l.fail != nil {
		if err := l.fail(); err != nil {
			return nil, err
		}
	}
	select {
	case c := <-l.come:
		return c, nil
	case <-l.gone:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

func (l *memoryListener) Close() error {
	l.once.Do(func() {
		l.n.mu.Lock()
		defer l.n.mu.Unlock()
		delete(l.n.doors, l.at)
		close(l.gone)
	})
	return nil
}

// upstream serves each connection to at with f and closes it after.
func (n *network) upstream(t testing.TB, at string, f func(c net.Conn, r *bufio.Reader)) {
	t.Helper()
	l, err := n.listen(t.Context(), netip.MustParseAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c, bufio.NewReader(c))
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

// hello answers every request with its path once it has all of it.
func hello(c net.Conn, r *bufio.Reader) {
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(req.URL.Path), req.URL.Path); err != nil {
			return
		}
	}
}

// silent takes requests and says nothing until the connection ends.
func silent(_ net.Conn, r *bufio.Reader) { _, _ = r.WriteTo(discard{}) }

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

const (
	upA = "10.0.0.1:80"
	upB = "10.0.0.2:80"
)

// inBubble runs f in a synctest bubble with a network of its own.
func inBubble(t *testing.T, f func(t *testing.T, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newNetwork()) })
}

// rig starts a proxy on the network.
func (n *network) rig(t testing.TB, s *model.Snapshot, cfg Config) *rig {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = n.listen
	}
	if cfg.Dial == nil {
		cfg.Dial = n.dial
	}
	return startRig(t, s, cfg)
}

// patient is dial with a deadline that no time-out of a test comes near.
func (r *rig) patient() *client {
	r.t.Helper()
	c := r.dial()
	_ = c.SetDeadline(time.Now().Add(3 * time.Hour))
	return c
}

// get is a plain request.
func get(path string) string { return "GET " + path + " HTTP/1.1\nHost: h\n\n" }

// lines makes CRLF of "\n".
func lines(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
