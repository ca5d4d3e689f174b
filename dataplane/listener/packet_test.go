package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// packetRig is a set whose packet sockets tell what happens to them.
type packetRig struct {
	*Set
	served chan *PacketSocket // each that a handler has got
	ended  chan *PacketSocket // each whose handler has returned
	hold   bool               // handlers go on until they are cut off
}

// listenForBoth listens at a; if that leaves the port open, at one that is free for UDP, too.
func listenForBoth(ctx context.Context, a netip.AddrPort) (net.Listener, error) {
	var lc net.ListenConfig
	for try := 0; ; try++ {
		l, err := lc.Listen(ctx, "tcp", a.String())
		if err != nil || a.Port() != 0 || try == 20 {
			return l, err
		}
		if p, err := lc.ListenPacket(ctx, "udp", l.Addr().String()); err == nil {
			return l, p.Close()
		}
		_ = l.Close() // another one is tried
	}
}

func newPacketRig(t *testing.T, change func(*packetRig, *Config)) *packetRig {
	t.Helper()
	r := &packetRig{served: make(chan *PacketSocket, 10), ended: make(chan *PacketSocket, 10)}
	handle := func(p *PacketSocket) {
		r.served <- p
		<-p.Draining()
		if r.hold {
			<-p.Cut()
		}
		r.ended <- p
	}
	cfg := Config{
		Listen: listenForBoth,
		Handle: waiting, Log: slog.New(slog.DiscardHandler), Metrics: telemetry.NewMetrics(1), Shards: 1, MaxConnections: 6,
		Packets: Packets{
			Listen: func(ctx context.Context, a netip.AddrPort) (net.PacketConn, error) {
				var lc net.ListenConfig
				return lc.ListenPacket(ctx, "udp", a.String())
			},
			Datagrams: handle, QUIC: handle,
		},
	}
	if change != nil {
		change(r, &cfg)
	}
	r.Set = New(cfg)
	t.Cleanup(func() {
		now, cut := context.WithCancel(context.Background())
		cut()
		r.Drain(now)
	})
	return r
}

func (r *packetRig) apply(t *testing.T, listeners ...*model.Listener) {
	t.Helper()
	if err := r.Apply(listeners); err != nil {
		t.Fatal(err)
	}
}

func (r *packetRig) next(t *testing.T, from chan *PacketSocket) *PacketSocket {
	t.Helper()
	select {
	case p := <-from:
		return p
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happens")
		return nil
	}
}

func udpListener(address string) *model.Listener {
	return &model.Listener{Name: address + "/udp", Transport: model.TransportUDP, Address: netip.MustParseAddrPort(address)}
}

func TestPacketSocketFollowsSnapshots(t *testing.T) {
	r := newPacketRig(t, func(r *packetRig, _ *Config) { r.hold = true })
	l := udpListener("127.0.0.1:0")
	r.apply(t, l)
	p := r.next(t, r.served)
	if r.Addresses()[l.Name].String() != p.LocalAddr().String() || p.Name != l.Name || p.Socket != nil {
		t.Errorf("%v, %+v", r.Addresses(), p)
	}
	limited := *l
	limited.Client.MaxConnections = 7
	r.apply(t, &limited)
	if len(r.served) > 0 || p.Limit() != 7 {
		t.Errorf("another socket, or its limit is %d", p.Limit())
	}
	r.apply(t)
	<-p.Draining()
	select {
	case <-p.Cut():
		t.Error("cut off at once")
	default:
	}
	if len(r.Addresses()) != 0 {
		t.Errorf("still at %v", r.Addresses())
	}
}

// TestWantedAddressIsVacated: a listener that comes back gets its address, although an old
// socket of it, or of all addresses, still has something to finish.
func TestWantedAddressIsVacated(t *testing.T) {
	for _, ips := range [][2]string{{"127.0.0.1", "127.0.0.1"}, {"0.0.0.0", "127.0.0.1"}, {"127.0.0.1", "0.0.0.0"}} {
		free, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		free.Close()
		port := fmt.Sprint(free.LocalAddr().(*net.UDPAddr).Port)
		r := newPacketRig(t, func(r *packetRig, _ *Config) { r.hold = true })
		r.apply(t, udpListener(net.JoinHostPort(ips[0], port)))
		old := r.next(t, r.served)
		r.apply(t)
		r.apply(t, udpListener(net.JoinHostPort(ips[1], port)))
		if p := r.next(t, r.ended); p != old {
			t.Error("another one ended")
		}
		if p := r.next(t, r.served); p == old || addrPort(p.LocalAddr()).Port() != old.asked.Port() {
			t.Errorf("%v: now at %v", ips, p.LocalAddr())
		}
	}
}

func TestPacketSocketThatCannotOpen(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r := newPacketRig(t, nil)
	bad, good := udpListener(taken.LocalAddr().String()), udpListener("127.0.0.1:0")
	err = r.Apply([]*model.Listener{bad, good})
	if err == nil || !strings.Contains(err.Error(), "listener "+bad.Name) || r.Failed()[bad.Name] == nil {
		t.Errorf("%v, failed: %v", err, r.Failed())
	}
	if p := r.next(t, r.served); p.Name != good.Name {
		t.Errorf("%s is served", p.Name)
	}
	taken.Close()
	r.apply(t, bad, good)
	if p := r.next(t, r.served); p.Name != bad.Name || len(r.Failed()) != 0 {
		t.Errorf("%s is served, failed: %v", p.Name, r.Failed())
	}
	bare := newPacketRig(t, func(_ *packetRig, c *Config) { c.Packets = Packets{} })
	if err := bare.Apply([]*model.Listener{good}); err == nil {
		t.Error("a listener that nobody serves is open")
	}
}

// TestPacketsBegin: nothing is read before the predecessor has stopped.
func TestPacketsBegin(t *testing.T) {
	begin := make(chan struct{})
	r := newPacketRig(t, func(_ *packetRig, c *Config) { c.Packets.Begin = begin })
	r.apply(t, udpListener("127.0.0.1:0"))
	if len(r.served) > 0 {
		t.Error("served too soon")
	}
	close(begin)
	r.next(t, r.served)

	early := newPacketRig(t, func(_ *packetRig, c *Config) { c.Packets.Begin = make(chan struct{}) })
	early.apply(t, udpListener("127.0.0.1:0"))
	early.Drain(t.Context()) // does not wait for it
	if len(early.served) > 0 {
		t.Error("served")
	}
}

func TestDrainWaitsForPackets(t *testing.T) {
	r := newPacketRig(t, func(r *packetRig, _ *Config) { r.hold = true })
	r.apply(t, udpListener("127.0.0.1:0"))
	p := r.next(t, r.served)
	r.Succeed()
	ctx, cut := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Drain(ctx)
	}()
	<-p.Draining()
	if !p.Succeeded() {
		t.Error("it has not heard of its successor")
	}
	select {
	case <-done:
		t.Error("Drain has not waited")
	default:
	}
	cut()
	<-done
	if _, err := p.WriteTo(nil, p.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is open: %v", err)
	}
}

// TestQUICChangesHands: a successor waits until the last connection of QUIC has ended, which is
// made known, and its predecessor reads until then.
func TestQUICChangesHands(t *testing.T) {
	ca := newAuthority(t, "ca")
	l := &model.Listener{
		Name: "front", Address: netip.MustParseAddrPort("127.0.0.1:0"), Client: model.Client{HTTP3: true},
		TLS: &model.TLS{Names: []model.TLSName{{Hostname: "a.test", Certificates: []model.Certificate{ca.serve("a.test")}}}},
	}
	ended, begin := make(chan struct{}), make(chan struct{})
	finish := make(chan struct{})
	r := newPacketRig(t, func(r *packetRig, c *Config) {
		c.Packets.Begin, c.Packets.BeginQUIC = make(chan struct{}), begin
		c.Packets.QUICEnded = sync.OnceFunc(func() { close(ended) })
		quic := c.Packets.QUIC
		c.Packets.QUIC = func(p *PacketSocket) {
			quic(p)
			<-finish
		}
	})
	r.apply(t, l, udpListener("127.0.0.1:0"))
	if len(r.served) > 0 {
		t.Error("served too soon")
	}
	close(begin)
	p := r.next(t, r.served)
	if p.Socket == nil {
		t.Error("datagrams are served too soon")
	}
	r.Succeed()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Drain(context.Background())
	}()
	r.next(t, r.ended)
	if p.Succeeded() {
		t.Error("it is not to read any more")
	}
	select {
	case <-ended:
		t.Error("made known too soon")
	default:
	}
	close(finish)
	<-ended
	<-done
}

// TestPanicOfPacketHandler: the socket is served again.
func TestPanicOfPacketHandler(t *testing.T) {
	first := true
	r := newPacketRig(t, func(_ *packetRig, c *Config) {
		handle := c.Packets.Datagrams
		c.Packets.Datagrams = func(p *PacketSocket) {
			if first {
				first = false
				panic("at the disco")
			}
			handle(p)
		}
	})
	r.apply(t, udpListener("127.0.0.1:0"))
	r.next(t, r.served)
}

func TestPacketPlaces(t *testing.T) {
	r := newPacketRig(t, nil)
	l := udpListener("127.0.0.1:0")
	l.Client.MaxConnections = 2
	r.apply(t, l)
	p := r.next(t, r.served)
	if first, second, third := p.Take(), p.Take(), p.Take(); !first || !second || third {
		t.Error("the listener's limit does not hold")
	}
	l.Client.MaxConnections = 0
	r.apply(t, l)
	if !p.Take() || p.Take() {
		t.Error("half of the process's limit does not hold")
	}
	if !r.total.take() { // the other half is for connections
		t.Error("nothing is left for connections")
	}
	p.Give(1, 2)
	if !p.Take() || p.Stats().Active() != 3 || p.Stats().Refused(telemetry.RefusedLimit) != 2 {
		t.Errorf("%d active, %d refused", p.Stats().Active(), p.Stats().Refused(telemetry.RefusedLimit))
	}
}

// TestNoRoomIsSaid: in a flood once, and once more after a while.
func TestNoRoomIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := New(Config{Log: slog.New(slog.NewTextHandler(&log, nil)), Metrics: telemetry.NewMetrics(1), MaxConnections: 10})
		var said atomic.Int64
		stats := s.cfg.Metrics.Listener("front")
		for want := 1; want < 3; want++ {
			for range 1000 {
				s.refuse("front", stats, 5, s.total, &said)
			}
			if got := strings.Count(log.String(), "\n"); got != want || !strings.Contains(log.String(), "listener=front open=0 limit=5 processOpen=0 processLimit=10\n") {
				t.Errorf("said %d times, want %d: %s", got, want, log.String())
			}
			time.Sleep(fullAgain)
		}
		if got := stats.Refused(telemetry.RefusedLimit); got != 2000 {
			t.Errorf("%d counted", got)
		}
	})
}

// TestNoRoomForSessionsIsSaid: with the figures of the half that is theirs.
func TestNoRoomForSessionsIsSaid(t *testing.T) {
	var log bytes.Buffer
	s := New(Config{Log: slog.New(slog.NewTextHandler(&log, nil)), Metrics: telemetry.NewMetrics(1), MaxConnections: 10})
	p := &PacketSocket{Name: "front", set: s, stats: s.cfg.Metrics.Listener("front")}
	for range 6 {
		p.Take()
	}
	if !strings.Contains(log.String(), "processOpen=5 processLimit=5\n") {
		t.Errorf("said %q", log.String())
	}
}

// TestQUICSocket follows the socket beside a listener: there is one while it has TLS and HTTP/3,
// at the same port, and another one when the listener's own is another one.
func TestQUICSocket(t *testing.T) {
	ca := newAuthority(t, "ca")
	l := &model.Listener{
		Name: "front", Address: netip.MustParseAddrPort("127.0.0.1:0"), Client: model.Client{HTTP3: true},
		TLS: &model.TLS{
			Handshake: 3 * time.Second, MaxHandshakes: 20,
			Names: []model.TLSName{{Hostname: "a.test", Certificates: []model.Certificate{ca.serve("a.test")}}},
		},
	}
	r := newPacketRig(t, nil)
	r.apply(t, l)
	p := r.next(t, r.served)
	if timeout, most := p.Handshakes(); timeout != 3*time.Second || most != 20 {
		t.Errorf("handshakes have %v, and are %d at most", timeout, most)
	}
	if p.Socket == nil || addrPort(p.LocalAddr()) != addrPort(p.Socket.nl.Addr()) {
		t.Fatalf("at %v", p.LocalAddr())
	}
	without := *l
	without.Client.HTTP3 = false
	r.apply(t, &without)
	if r.next(t, r.ended) != p {
		t.Error("another one ended")
	}
	r.apply(t, l)
	second := r.next(t, r.served)
	clear := *l
	clear.TLS = nil
	r.apply(t, &clear)
	if r.next(t, r.ended) != second || len(r.served) > 0 {
		t.Error("HTTP/3 without TLS")
	}
	r.apply(t, l)
	if third := r.next(t, r.served); third.Socket == second.Socket {
		t.Error("it belongs to a socket that has gone")
	}
}

// quicHello does a handshake as QUIC would and returns its outcome on both sides.
func quicHello(t *testing.T, p *PacketSocket, client *tls.Config) (server, own tls.ConnectionState, err error) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	s, c := tls.Server(far, p.TLS()), tls.Client(near, client)
	done := make(chan error, 1)
	go func() { done <- s.Handshake(); far.Close() }()
	if err = c.Handshake(); err == nil {
		_, _ = c.Read(make([]byte, 1)) // tickets, the end
	}
	if failed := <-done; err == nil {
		err = failed
	}
	return s.ConnectionState(), c.ConnectionState(), err
}

// TestQUICHandshakes: certificates are chosen by name, rotate under a socket that stays, and the
// names of stream routes are nobody's.
func TestQUICHandshakes(t *testing.T) {
	ca := newAuthority(t, "ca")
	certificate := func(name string) model.TLSName {
		return model.TLSName{Hostname: name, Certificates: []model.Certificate{ca.serve(name)}}
	}
	l := &model.Listener{
		Name: "front", Address: netip.MustParseAddrPort("127.0.0.1:0"), Client: model.Client{HTTP3: true},
		Tables: []model.TableBinding{{Hostname: "*.test", Table: "t"}},
		TLS:    &model.TLS{MinVersion: model.TLS12, Names: []model.TLSName{certificate("*.test")}},
	}
	r := newPacketRig(t, nil)
	r.apply(t, l)
	p := r.next(t, r.served)
	client := func(name string) *tls.Config {
		return &tls.Config{RootCAs: ca.pool(), ServerName: name, NextProtos: []string{"h3"}}
	}
	server, before, err := quicHello(t, p, client("a.test"))
	if err != nil || server.NegotiatedProtocol != "h3" || server.Version != tls.VersionTLS13 {
		t.Fatalf("%q, version %x: %v", server.NegotiatedProtocol, server.Version, err)
	}
	c := p.Admit(netip.MustParseAddrPort("[::ffff:192.0.2.1]:5"))
	if !p.Secure(c, &server) || c.Secured.ServerName != "a.test" || c.Secured.Protocol != "h3" || c.Socket != p.Socket ||
		c.Remote.String() != "192.0.2.1:5" || c.MayPark() {
		t.Errorf("%+v, %+v", c, c.Secured)
	}
	p.Release(c)
	old := client("a.test")
	old.MaxVersion = tls.VersionTLS12
	if _, _, err := quicHello(t, p, old); err == nil {
		t.Error("QUIC over TLS 1.2")
	}
	state, _, err := quicHello(t, p, client("b.example"))
	if err == nil || !strings.Contains(err.Error(), "unrecognized") {
		t.Errorf("an unknown name: %v", err)
	}
	if refusal := p.Refused(errors.New("no name"), &state); refusal.End == telemetry.HandshakeFull {
		t.Errorf("%v", refusal.End)
	}

	next := *l
	next.TLS = &model.TLS{Names: []model.TLSName{certificate("*.test")}}
	next.Streams = []model.StreamBinding{{Hostname: "pass.test", Route: ""}}
	r.apply(t, &next)
	_, after, err := quicHello(t, p, client("a.test"))
	if err != nil || after.PeerCertificates[0].Equal(before.PeerCertificates[0]) {
		t.Errorf("the certificate has not changed: %v", err)
	}
	if _, _, err := quicHello(t, p, client("pass.test")); err == nil {
		t.Error("a name that is passed through has been answered for")
	}
	if p.Secure(c, &tls.ConnectionState{ServerName: "gone.example"}) {
		t.Error("a name that has gone has been settled")
	}
}
