package listener

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/model"
)

// counting counts the bytes that come.
type counting struct {
	net.Conn
	n atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// newSecureEcho is an echo with TLS.
func newSecureEcho(t *testing.T, cfg Config) (e *echo, dial func() (*tls.Conn, *counting)) {
	e = newEcho(t, cfg)
	ca := newAuthority(t, "ca")
	err := e.Apply([]*model.Listener{{
		Name: "front", Address: netip.MustParseAddrPort("127.0.0.1:0"),
		TLS: names(model.TLSName{Certificates: []model.Certificate{ca.serve("a.test")}}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return e, func() (*tls.Conn, *counting) {
		wire := &counting{Conn: e.dial("front")}
		c := tls.Client(wire, &tls.Config{ServerName: "a.test", RootCAs: ca.pool()})
		if err := c.Handshake(); err != nil {
			t.Error(err)
		}
		return c, wire
	}
}

func TestParkedOverTLS(t *testing.T) {
	e, dial := newSecureEcho(t, Config{})
	c, _ := dial()
	for range 5 {
		e.parked("front", 1)
		ask(t, c)
	}
	big := make([]byte, 100<<10) // comes in many records: none may be forgotten in the lot
	for range 5 {
		var work sync.WaitGroup
		work.Go(func() { _, _ = c.Write(big) })
		if _, err := io.ReadFull(c, make([]byte, len(big))); err != nil {
			t.Fatal(err)
		}
		work.Wait()
	}
	e.parked("front", 1)
	ask(t, c)
}

// TestParkedOverTLSIsToldOfItsEnd: when its time is up, on a drain and on shutdown.
func TestParkedOverTLSIsToldOfItsEnd(t *testing.T) {
	for name, end := range map[string]func(e *echo){
		"drain":    func(e *echo) { e.apply() },
		"shutdown": (*echo).end,
	} {
		t.Run(name, func(t *testing.T) {
			e, dial := newSecureEcho(t, Config{})
			c, wire := dial()
			ask(t, c)
			e.parked("front", 1)
			before := wire.n.Load()
			end(e)
			closed(t, c)
			if n := wire.n.Load() - before; n != 24 { // an encrypted alert of TLS 1.3
				t.Errorf("%d bytes at the end", n)
			}
		})
	}
}

// TestPartOfARecordIsNotParked: what has been read must not wait in the lot.
func TestPartOfARecordIsNotParked(t *testing.T) {
	e, dial := newSecureEcho(t, Config{})
	c, wire := dial()
	ask(t, c)
	e.parked("front", 1)
	held := &holding{Conn: wire.Conn}
	*wire = counting{Conn: held}
	held.on.Store(true)
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	calls := e.calls.Load()
	record := held.text
	if _, err := held.Conn.Write(record[:7]); err != nil {
		t.Fatal(err)
	}
	e.until("woken, and not parked again", func() bool {
		return e.calls.Load() > calls+1 && e.metrics.Listener("front").Parked() == 0
	})
	if _, err := held.Conn.Write(record[7:]); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 2)
	if n, err := c.Read(got); err != nil || string(got[:n]) != "x" {
		t.Errorf("%q, %v", got[:n], err)
	}
}

// holding keeps what is written.
type holding struct {
	net.Conn
	on   atomic.Bool
	text []byte
}

func (h *holding) Write(p []byte) (int, error) {
	if h.on.Load() {
		h.text = append(h.text, p...)
		return len(p), nil
	}
	return h.Conn.Write(p)
}

func TestManyParkedOverTLSWakeAtOnce(t *testing.T) {
	const n = 200
	e, dial := newSecureEcho(t, Config{MaxConnections: n})
	conns := make([]*tls.Conn, n)
	for i := range conns {
		conns[i], _ = dial()
	}
	e.parked("front", n)
	var work sync.WaitGroup
	for _, c := range conns {
		work.Go(func() {
			_ = c.SetDeadline(time.Now().Add(patience))
			ask(t, c)
		})
	}
	work.Wait()
	e.parked("front", n)
}
