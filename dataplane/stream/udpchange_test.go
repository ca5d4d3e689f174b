package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// deadAddress is one of this machine's where nobody listens, and nobody else will.
func deadAddress(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// TestHostThatRefuses: what a host that does not listen says leads to another one.
func TestHostThatRefuses(t *testing.T) {
	h := newUDPHost(t, "h", "127.0.0.1:0")
	dead := deadAddress(t)
	r := newUDPRig(t, func(r *udpRig) { r.snapshot.Streams[0].Idle = 500 * time.Millisecond }, dead, h.at())
	one, two := r.client(), r.client()
	for _, c := range []*udpClient{one, two} { // round robin: one of them is led to the dead host
		c.say("silence?")
	}
	failed := func() (n uint64) {
		for _, s := range r.clusters.Hosts() {
			n += s.ConnectFailures
		}
		return n
	}
	eventually(t, "a refusal", func() bool { return failed() == 1 })
	for _, c := range []*udpClient{one, two} {
		if host, _, text := fieldsOf(c.ask("again")); host != "h" || text != "again" {
			t.Errorf("%q from %q", text, host)
		}
	}
	for range 2 { // both have had answers in the end: no flag
		if line := r.line(); line["upstream"] != h.at().String() || line["flag"] != nil && line["flag"] != "" {
			t.Errorf("access log: %v", line)
		}
	}
	for _, s := range r.clusters.Hosts() {
		if s.Address == dead && (s.LastError == "" || s.Failures != 1 || s.Open != 0 || s.InFlight != 0) {
			t.Errorf("the dead host: %+v", s)
		}
	}
}

// TestHostRestarts: a session outlives its host's restart at the same address.
func TestHostRestarts(t *testing.T) {
	h := newUDPHost(t, "before", "127.0.0.1:0")
	address := h.at()
	r := newUDPRig(t, nil, address)
	c := r.client()
	if host, _, _ := fieldsOf(c.ask("1")); host != "before" {
		t.Fatal(host)
	}
	h.Close()
	c.say("2") // lost, and refused
	eventually(t, "a refusal", func() bool { return r.clusters.Hosts()[0].ConnectFailures == 1 })
	newUDPHost(t, "after", address.String())
	if host, _, _ := fieldsOf(c.ask("3")); host != "after" {
		t.Error(host)
	}
	if r.stats().Active() != 1 {
		t.Errorf("%d sessions", r.stats().Active())
	}
}

// TestSessionWithoutAnswerIsFlagged: the log says that the only host did not listen.
func TestSessionWithoutAnswerIsFlagged(t *testing.T) {
	r := newUDPRig(t, func(r *udpRig) { r.snapshot.Streams[0].Idle = 100 * time.Millisecond }, deadAddress(t))
	r.client().say("hello")
	if line := r.line(); line["flag"] != "UF" || line["detail"] == nil {
		t.Errorf("access log: %v", line)
	}
}

// TestChanges: sessions go on as routes change, and go elsewhere when their host goes.
func TestChanges(t *testing.T) {
	old, fresh := newUDPHost(t, "old", "127.0.0.1:0"), newUDPHost(t, "fresh", "127.0.0.1:0")
	r := newUDPRig(t, func(r *udpRig) {
		r.snapshot.Clusters = append(r.snapshot.Clusters, &model.Cluster{Name: "d", Balancing: model.Balancing{Algorithm: model.RoundRobin}})
		r.snapshot.Endpoints = append(r.snapshot.Endpoints, endpoints("d", fresh.at()))
	}, old.at())
	c := r.client()
	_, port, _ := fieldsOf(c.ask("1"))
	expect := func(c *udpClient, want string) (port string) {
		t.Helper()
		host, port, _ := fieldsOf(c.ask("x"))
		if host != want {
			t.Errorf("from %s, want %s", host, want)
		}
		return port
	}
	r.snapshot.Streams = []*model.StreamRoute{streamTo("d")}
	r.apply()
	if expect(c, "old") != port {
		t.Error("the session is another one")
	}
	expect(r.client(), "fresh")

	r.snapshot.Streams, r.snapshot.Listeners[0].Streams[0].Route = nil, ""
	r.apply()
	expect(c, "old") // even when the route has gone
	r.client().say("nobody")
	eventually(t, "a drop", func() bool { return r.stats().Dropped(telemetry.DroppedNoRoute) == 1 })

	r.snapshot.Streams, r.snapshot.Listeners[0].Streams[0].Route = []*model.StreamRoute{streamTo("d")}, "UDPRoute/a/b/0"
	r.snapshot.Clusters, r.snapshot.Endpoints = r.snapshot.Clusters[1:], r.snapshot.Endpoints[1:]
	r.apply()
	expect(c, "fresh") // its cluster has gone
	if n := r.stats().Active(); n != 2 {
		t.Errorf("%d sessions", n)
	}

	closed := streamTo("d")
	closed.Refusal = &model.Refusal{Flag: "PA", Reason: "closed by a policy"}
	r.snapshot.Streams = []*model.StreamRoute{closed}
	r.apply()
	c.say("silence!")
	r.client().say("silence!")
	eventually(t, "drops", func() bool { return r.stats().Dropped(telemetry.DroppedNoRoute) == 3 })
	select {
	case text := <-fresh.got:
		t.Errorf("%q got through", text)
	default:
	}
}

// TestNoHost: a datagram that leads nowhere makes no session, and holds no place.
func TestNoHost(t *testing.T) {
	r := newUDPRig(t, func(r *udpRig) { r.snapshot.Endpoints = nil })
	r.client().say("1")
	eventually(t, "a drop", func() bool { return r.stats().Dropped(telemetry.DroppedNoHost) == 1 })
	eventually(t, "no session", func() bool { return r.stats().Active() == 0 })
}

// TestNoDescriptors: a session that gets no socket is dropped and says why.
func TestNoDescriptors(t *testing.T) {
	r := newUDPRig(t, func(r *udpRig) {
		r.dial = func(context.Context, netip.AddrPort) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}
		}
	}, deadAddress(t))
	r.client().say("1")
	eventually(t, "a drop", func() bool { return r.stats().Dropped(telemetry.DroppedDescriptors) == 1 })
	eventually(t, "no session", func() bool { return r.stats().Active() == 0 })
	if s := r.clusters.Hosts()[0]; s.InFlight != 0 || s.ConnectFailures != 0 {
		t.Errorf("it is not the host's fault: %+v", s)
	}
}

// TestHashedSessions: sessions of one address lead to one host.
func TestHashedSessions(t *testing.T) {
	one, two := newUDPHost(t, "one", "127.0.0.1:0"), newUDPHost(t, "two", "127.0.0.1:0")
	r := newUDPRig(t, func(r *udpRig) { r.snapshot.Clusters[0].Balancing.Algorithm = model.Maglev }, one.at(), two.at())
	want, _, _ := fieldsOf(r.client().ask("x"))
	for range 20 {
		if host, _, _ := fieldsOf(r.client().ask("x")); host != want {
			t.Fatalf("%s and %s", want, host)
		}
	}
}

// TestDrainingUDP: an answer that is still to come comes, nobody new is served, and the end
// does not wait for the idle time.
func TestDrainingUDP(t *testing.T) {
	h := newUDPHost(t, "h", "127.0.0.1:0")
	r := newUDPRig(t, nil, h.at())
	asking, idle := r.client(), r.client()
	idle.ask("1")
	asking.say("silence 1")
	<-h.got
	tbl := <-r.tables
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.set.Drain(context.Background())
	}()
	eventually(t, "draining", tbl.draining.Load)
	stranger := dialUDP(t, tbl.socket.LocalAddr().String())
	stranger.say("too late")
	eventually(t, "a refusal", func() bool { return r.stats().Refused(telemetry.RefusedDraining) == 1 })
	var client netip.AddrPort
	tbl.mu.Lock()
	for p, s := range tbl.sessions {
		if p.client == asking.LocalAddr().(*net.UDPAddr).AddrPort() {
			client = s.at.Load().conn.LocalAddr().(*net.UDPAddr).AddrPort()
		}
	}
	tbl.mu.Unlock()
	h.WriteToUDPAddrPort([]byte("late answer"), client)
	if got := asking.hear(); got != "late answer" {
		t.Errorf("%q", got)
	}
	select {
	case <-done: // long before the route's minute
	case <-time.After(patience):
		t.Error("sessions without anything to wait for keep the end")
	}
	if n := r.stats().Active(); n != 0 {
		t.Errorf("%d sessions left", n)
	}
}

// TestCutEndsSessions: at the deadline nothing waits, and the log says whose doing it was.
func TestCutEndsSessions(t *testing.T) {
	h := newUDPHost(t, "h", "127.0.0.1:0")
	r := newUDPRig(t, nil, h.at())
	r.client().say("silence 1")
	<-h.got
	r.end()
	if line := r.line(); line["flag"] != "WD" {
		t.Errorf("access log: %v", line)
	}
}

// TestSuccessor: with a successor at the same socket, the one who drains reads nothing any
// more and still passes answers on.
func TestSuccessor(t *testing.T) {
	h := newUDPHost(t, "h", "127.0.0.1:0")
	r := newUDPRig(t, nil, h.at())
	c := r.client()
	c.say("silence 1")
	<-h.got
	tbl := <-r.tables
	file, err := tbl.socket.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	successor, err := net.FilePacketConn(file)
	if err != nil {
		t.Fatal(err)
	}
	defer successor.Close()
	tbl.mu.Lock()
	var upstream netip.AddrPort
	for _, s := range tbl.sessions {
		upstream = s.at.Load().conn.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	tbl.mu.Unlock()
	r.set.Succeed()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.set.Drain(context.Background())
	}()
	eventually(t, "draining", tbl.draining.Load)
	for i := range 20 {
		c.say(fmt.Sprint(i))
		buf := make([]byte, 10)
		successor.SetReadDeadline(time.Now().Add(patience))
		if n, _, err := successor.ReadFrom(buf); err != nil || string(buf[:n]) != fmt.Sprint(i) {
			t.Fatalf("the successor read %q, %v", buf[:n], err)
		}
	}
	h.WriteToUDPAddrPort([]byte("late answer"), upstream)
	if got := c.hear(); got != "late answer" {
		t.Errorf("%q", got)
	}
	<-done
}

// TestAnswersComeFromWhereTheClientSentTo: a machine has several addresses, and a connected
// client hears only the one it sent to.
func TestAnswersComeFromWhereTheClientSentTo(t *testing.T) {
	h := newUDPHost(t, "h", "127.0.0.1:0")
	for _, at := range []string{"0.0.0.0:0", "[::]:0"} {
		r := newUDPRig(t, func(r *udpRig) { r.snapshot.Listeners[0].Address = netip.MustParseAddrPort(at) }, h.at())
		targets := []string{"127.0.0.1", "127.0.0.2", "127.9.9.9"}
		if at == "[::]:0" {
			targets = append(targets, "[::1]")
		}
		for _, target := range targets {
			c := dialUDP(t, fmt.Sprintf("%s:%d", target, r.address().Port()))
			if _, _, text := fieldsOf(c.ask("x")); text != "x" {
				t.Errorf("%s by %s: %q", at, target, text)
			}
			c.ask("y")
		}
		if n := r.stats().Active(); n != int64(len(targets)) {
			t.Errorf("%d sessions for %d clients", n, len(targets))
		}
		r.end()
	}
}

// TestOneSocketTwoAddresses: what a client sends to two addresses of ours are two sessions.
func TestOneSocketTwoAddresses(t *testing.T) {
	h := newUDPHost(t, "h", "127.0.0.1:0")
	r := newUDPRig(t, func(r *udpRig) { r.snapshot.Listeners[0].Address = netip.MustParseAddrPort("0.0.0.0:0") }, h.at())
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, to := range []string{"127.0.0.1", "127.0.0.2"} {
		c.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(netip.MustParseAddr(to), r.address().Port()))
		c.SetReadDeadline(time.Now().Add(patience))
		_, from, err := c.ReadFromUDPAddrPort(make([]byte, 100))
		if err != nil || from.Addr().Unmap().String() != to {
			t.Errorf("sent to %s, answered by %v, %v", to, from, err)
		}
	}
	if n := r.stats().Active(); n != 2 {
		t.Errorf("%d sessions", n)
	}
}

// TestForgedSource: what claims to come from us is not answered, which would go round for ever.
func TestForgedSource(t *testing.T) {
	h := newUDPHost(t, "h", "127.0.0.1:0")
	for _, at := range []string{"127.0.0.1:0", "0.0.0.0:0"} {
		r := newUDPRig(t, func(r *udpRig) { r.snapshot.Listeners[0].Address = netip.MustParseAddrPort(at) }, h.at())
		own := dialUDP(t, fmt.Sprintf("127.0.0.1:%d", r.address().Port()))
		tbl := <-r.tables
		// The socket sends to itself, as somebody could make it seem.
		if _, err := tbl.socket.WriteTo([]byte("x"), own.RemoteAddr()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a drop", func() bool { return r.stats().Dropped(telemetry.DroppedOther) == 1 })
		own.ask("y")
		if n := r.stats().Active(); n != 1 {
			t.Errorf("%d sessions", n)
		}
		r.end()
	}
}

// TestQueuedDatagram: what has waited in the queue since before the socket was asked where its
// datagrams came to is carried as well.
func TestQueuedDatagram(t *testing.T) {
	h := newUDPHost(t, "h", "127.0.0.1:0")
	var early *udpClient
	newUDPRig(t, func(r *udpRig) {
		r.snapshot.Listeners[0].Address = netip.MustParseAddrPort("0.0.0.0:0")
		r.listen = func(context.Context, netip.AddrPort) (net.PacketConn, error) {
			c, err := net.ListenUDP("udp4", nil)
			if err == nil {
				early = dialUDP(t, fmt.Sprintf("127.0.0.1:%d", c.LocalAddr().(*net.UDPAddr).Port))
				early.say("early")
			}
			return c, err
		}
	}, h.at())
	if _, _, text := fieldsOf(early.hear()); text != "early" {
		t.Errorf("%q", text)
	}
}

func TestControlMessages(t *testing.T) {
	if controlSize == 0 {
		return // nothing of the kind here
	}
	for n := range controlSize + 1 {
		control := make([]byte, n) // of an impossible length, or kind
		if a := localOf(control); a.IsValid() || replyControl(control) != nil {
			t.Errorf("%d zeros are from %v", n, a)
		}
		for i := range control {
			control[i] = 0xff
		}
		if a := localOf(control); a.IsValid() || replyControl(control) != nil {
			t.Errorf("%d ones are from %v", n, a)
		}
	}
}

// TestTooLargeForTheWay: a router that says that a datagram was too large for the next link says
// nothing about the host, which the session keeps.
func TestTooLargeForTheWay(t *testing.T) {
	raw, err := net.ListenPacket("ip4:icmp", "127.0.0.1")
	if err != nil {
		t.Skip("sending ICMP needs a privilege: ", err)
	}
	defer raw.Close()
	// The kernel remembers the size for this address; nobody else uses it.
	h := newUDPHost(t, "h", "127.83.71.2:0")
	r := newUDPRig(t, func(r *udpRig) { r.snapshot.Streams[0].Idle = 300 * time.Millisecond }, h.at())
	c := r.client()
	_, port, _ := fieldsOf(c.ask("1"))
	tbl := <-r.tables
	var upstream netip.AddrPort
	tbl.mu.Lock()
	for _, s := range tbl.sessions {
		upstream = s.at.Load().conn.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	tbl.mu.Unlock()
	if _, err := raw.WriteTo(tooLarge(upstream, h.at()), &net.IPAddr{IP: upstream.Addr().AsSlice()}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, again, _ := fieldsOf(c.ask("2")); again != port {
			t.Errorf("from port %s to the host, then from %s", port, again)
		}
	}
	if line := r.line(); line["flag"] != nil && line["flag"] != "" {
		t.Errorf("access log: %v", line)
	}
}

// tooLarge is what a router says of a datagram (RFC 792, destination unreachable, code 4; RFC 1191
// section 4).
func tooLarge(from, to netip.AddrPort) []byte {
	const mtu, size = 1400, 2000
	m := binary.BigEndian.AppendUint16([]byte{3, 4, 0, 0, 0, 0}, mtu)
	m = append(m, 0x45, 0) // the datagram's headers: IP
	m = binary.BigEndian.AppendUint16(m, 20+8+size)
	m = append(m, 0, 1, 0x40, 0, 64, syscall.IPPROTO_UDP, 0, 0)
	m = append(append(m, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	for _, n := range []uint16{from.Port(), to.Port(), 8 + size, 0} { // and UDP
		m = binary.BigEndian.AppendUint16(m, n)
	}
	sum := uint32(0)
	for i := 0; i < len(m); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(m[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(m[2:], ^uint16(sum>>16+sum))
	return m
}

// brokenSocket fails to read once it is broken.
type brokenSocket struct {
	*net.UDPConn
	broken atomic.Bool
	reads  atomic.Int64
}

func (s *brokenSocket) ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error) {
	if s.broken.Load() {
		s.reads.Add(1)
		return 0, 0, 0, addr, errors.New("broken")
	}
	return s.UDPConn.ReadMsgUDPAddrPort(b, oob)
}

// SetReadDeadline ends reads, which a broken socket heeds as well.
func (s *brokenSocket) SetReadDeadline(at time.Time) error {
	s.broken.Store(false)
	return s.UDPConn.SetReadDeadline(at)
}

// TestBrokenSocketIsLeftAlone: a socket that cannot be read is not tried all the time, while it
// drains either.
func TestBrokenSocketIsLeftAlone(t *testing.T) {
	h := newUDPHost(t, "h", "127.0.0.1:0")
	socket := new(brokenSocket)
	r := newUDPRig(t, func(r *udpRig) {
		r.listen = func(_ context.Context, address netip.AddrPort) (net.PacketConn, error) {
			c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(address))
			socket.UDPConn = c
			return socket, err
		}
	}, h.at())
	c := r.client()
	c.say("silence 1")
	<-h.got
	socket.broken.Store(true)
	c.say("silence 2") // wakes the reader
	<-h.got
	tbl := <-r.tables
	go r.set.Drain(context.Background())
	eventually(t, "draining", tbl.draining.Load)
	before, begun := socket.reads.Load(), time.Now()
	time.Sleep(4 * readPause)
	if n, most := socket.reads.Load()-before, int64(time.Since(begun)/readPause)+2; n > most {
		t.Errorf("%d reads while it drained, want %d at most", n, most)
	}
}

func TestUnreachable(t *testing.T) {
	if !unreachable(os.NewSyscallError("read", syscall.ECONNREFUSED)) || unreachable(net.ErrClosed) || unreachable(errors.ErrUnsupported) {
		t.Error("mistaken")
	}
}
