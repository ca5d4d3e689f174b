package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/pressure"
)

// PacketHandler serves one packet socket in a goroutine that the Set waits for. It returns
// when the socket drains and nothing of it is left, and soon after Cut in any case. The caller
// closes the socket.
type PacketHandler func(p *PacketSocket)

// Packets is what a Set needs from outside for packet sockets. Where a part is missing, the
// listeners that need it are reported.
type Packets struct {
	Listen func(ctx context.Context, addr netip.AddrPort) (net.PacketConn, error)
	// Datagrams serves listeners of UDP.
	Datagrams PacketHandler
	// QUIC serves the packet sockets beside listeners with HTTP/3.
	QUIC PacketHandler
	// Begin is closed when datagrams may be read, and BeginQUIC when packets of QUIC may: a
	// predecessor that has the same sockets reads them until then. Nil: at once.
	//
	// Each datagram can be served by whoever reads it, so the successor begins first, and its
	// predecessor stops reading then (Succeed). A connection of QUIC is known to one process
	// alone, so there the predecessor reads until its connections have ended.
	Begin, BeginQUIC <-chan struct{}
	// QUICEnded is called once Drain has closed the last socket of QUIC; nil: nobody wants to
	// know.
	QUICEnded func()
}

// PacketSocket is one address where packets come in: a listener of UDP, or QUIC beside a
// listener of TCP.
//
//	open ── Begin ──► served ── Apply without it, Drain ──► draining ── the handler is done ──► closed
//	                                                           │                                   ▲
//	                              time is up, or the address   └────────────► cut ─────────────────┘
//	                              is wanted by another socket
type PacketSocket struct {
	net.PacketConn
	// Name is the listener's.
	Name string
	// Socket is the listener's socket for TCP, with which it shares its limit and counters;
	// nil for a listener of UDP.
	Socket *Socket

	asked    netip.AddrPort
	set      *Set
	stats    *telemetry.ConnStats
	limit    atomic.Int64             // of connections; 0: none of its own
	security atomic.Pointer[security] // of QUIC
	shard    atomic.Uint32
	full     atomic.Int64 // when it was last said that there is no room; see Set.refuse

	draining  chan struct{}
	cutOff    chan struct{}
	succeeded atomic.Bool
	closed    chan struct{}
}

// Draining is closed when nothing new is to begin.
func (p *PacketSocket) Draining() <-chan struct{} { return p.draining }

// Cut is closed when what is left has to end now.
func (p *PacketSocket) Cut() <-chan struct{} { return p.cutOff }

// Succeeded reports, once Draining is closed, whether another process has the same socket of
// datagrams and reads it: this one must not read from it any more. It may still write.
func (p *PacketSocket) Succeeded() bool { return p.succeeded.Load() }

// Stats returns the listener's counters.
func (p *PacketSocket) Stats() *telemetry.ConnStats { return p.stats }

// Limit returns the listener's own limit of connections, or sessions, as it is now; 0: none.
func (p *PacketSocket) Limit() int64 { return p.limit.Load() }

// NextShard deals out shards.
func (p *PacketSocket) NextShard() int { return int(p.shard.Add(1)) % max(p.set.cfg.Shards, 1) }

// Take takes a place for one connection or session, within the limits of the process and the
// listener, and counts it; or it counts a refusal and returns false. Sessions of datagrams
// have half of the process's places at most: whoever forges addresses can take them all, and
// leaves the others to connections.
func (p *PacketSocket) Take() bool {
	if p.Socket == nil && !p.set.sessions.take() {
		p.set.refuse(p.Name, p.stats, p.limit.Load(), p.set.sessions, &p.full)
		return false
	}
	if !p.set.take(p.stats, p.limit.Load()) {
		p.Refuse(p.limit.Load())
		if p.Socket == nil {
			p.set.sessions.give()
		}
		return false
	}
	p.stats.Open()
	return true
}

// Refuse counts a connection or session that there is no room for, within a limit of so many.
func (p *PacketSocket) Refuse(limit int64) {
	p.set.refuse(p.Name, p.stats, limit, p.set.total, &p.full)
}

// Give gives a place back, with what passed in it that is not yet counted, in bytes.
func (p *PacketSocket) Give(bytesIn, bytesOut int64) {
	p.stats.Close(bytesIn, bytesOut)
	p.set.total.give()
	if p.Socket == nil {
		p.set.sessions.give()
	}
}

// Admit takes a place for one QUIC connection; nil: it is refused, and counted. The connection
// has no transport of its own, only its streams do: see Conn.Stream.
func (p *PacketSocket) Admit(remote netip.AddrPort) *Conn {
	if p.set.cfg.Pressure.Layer() >= pressure.Hold {
		p.stats.Refuse(telemetry.RefusedPressure)
		return nil
	}
	if !p.Take() {
		return nil
	}
	return &Conn{
		Socket: p.Socket, Shard: p.NextShard(), place: stays,
		Remote: netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()),
	}
}

// Release gives the place of an admitted connection back.
func (p *PacketSocket) Release(c *Conn) {
	p.set.left(c)
	p.Give(c.BytesIn, c.BytesOut)
}

// Handshakes returns the longest time for a handshake of QUIC, 0: none, and how many may be under way at
// once, 0: the default.
func (p *PacketSocket) Handshakes() (timeout time.Duration, most int) {
	sec := p.security.Load()
	return sec.timeout, sec.most
}

// TLS returns the configuration of QUIC handshakes: it chooses by name among what the listener
// has at the time of each. TLS 1.3, ALPN h3 (RFC 9001 section 4.2, RFC 9114 section 3.1).
func (p *PacketSocket) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: quicProtocols, SessionTicketsDisabled: true, // of this one, which nobody gets
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return p.security.Load().choose(hello)
		},
	}
}

// Secure notes and counts what a QUIC handshake has settled. It returns false when the name
// that the client asked for has gone meanwhile: then the connection must end.
func (p *PacketSocket) Secure(c *Conn, state *tls.ConnectionState) bool {
	id := p.security.Load().find(state.ServerName)
	if id == nil {
		p.stats.EndHandshake(telemetry.HandshakeName)
		return false
	}
	c.Secured = settle(id, state)
	p.stats.EndHandshake(endOf(state))
	return true
}

// Refused counts a QUIC handshake that failed, and says why it did.
func (p *PacketSocket) Refused(err error, state *tls.ConnectionState) Refusal {
	r := refusalOf(err, p.security.Load().find(state.ServerName), state)
	p.stats.EndHandshake(r.End)
	return r
}

// Busy counts a QUIC handshake that was not begun, because too many are under way.
func (p *PacketSocket) Busy() { p.stats.EndHandshake(telemetry.HandshakeBusy) }

var quicProtocols = []string{"h3"}

// secureQUIC makes handshakes from now on follow l.
func (p *PacketSocket) secureQUIC(l *model.Listener) error {
	own := *l.TLS
	own.MinVersion, own.CipherSuites = model.TLS13, nil // there is no choice of suites in TLS 1.3
	params, _ := p.set.parameters(&own)
	params.Protocols = quicProtocols
	sec, err := p.set.prepare(&own, params, p.security.Load())
	sec.sorting = onlyTables(l)
	p.security.Store(sec)
	return err
}

// onlyTables is the sorting of handshakes for HTTP/3: the names of stream routes are as if
// nobody had them.
func onlyTables(l *model.Listener) *sorting {
	if len(l.Streams) == 0 {
		return nil
	}
	made := new(sorting)
	for _, b := range l.Tables {
		made.names.Set(b.Hostname, &branch{terminate: true})
	}
	for _, b := range l.Streams {
		made.names.Set(b.Hostname, &branch{})
	}
	return made
}

// run serves the socket and closes it.
func (p *PacketSocket) run(handle PacketHandler) {
	defer close(p.closed)
	defer func() {
		if err := p.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			p.set.cfg.Log.Warn("close a packet socket", slog.String("listener", p.Name), slog.Any("error", err))
		}
	}()
	begin := p.set.cfg.Packets.Begin
	if p.Socket != nil {
		begin = p.set.cfg.Packets.BeginQUIC
	}
	if begin != nil {
		select {
		case <-begin:
		case <-p.draining:
			return
		}
	}
	for p.panicked(handle) {
		timer := time.NewTimer(acceptPause)
		select {
		case <-timer.C:
		case <-p.draining:
			timer.Stop()
			return
		}
	}
}

// panicked serves the socket and reports whether that ended with a panic: then it has to be
// served again.
func (p *PacketSocket) panicked(handle PacketHandler) (faulty bool) {
	defer func() {
		if fault := recover(); fault != nil {
			p.set.cfg.Log.Error("panic contained", slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
			faulty = true
		}
	}()
	handle(p)
	return false
}

// packetKey is a packet socket's place in Set.packets.
type packetKey struct {
	listener string
	quic     bool
}

// applyPackets drains the packet sockets that are gone, keeps those that stay and opens new
// ones. It is called with mu held, when the sockets of TCP are as they should be.
func (s *Set) applyPackets(listeners []*model.Listener) error {
	wanted := map[packetKey]*model.Listener{}
	for _, l := range listeners {
		switch {
		case l.Transport == model.TransportUDP:
			wanted[packetKey{l.Name, false}] = l
		case l.Client.HTTP3 && l.TLS != nil && (len(l.Tables) > 0 || len(l.Streams) == 0) && s.sockets[l.Name] != nil:
			wanted[packetKey{l.Name, true}] = l
		}
	}
	for key, p := range s.packets {
		if wanted[key] == nil || key.quic && p.Socket != s.sockets[key.listener] {
			delete(s.packets, key)
			s.retirePackets(p)
		}
	}
	var errs []error
	for _, l := range listeners {
		key := packetKey{l.Name, l.Transport != model.TransportUDP}
		if wanted[key] == nil {
			continue
		}
		if err := s.applyPacket(key, l); err != nil {
			if key.quic {
				err = fmt.Errorf("HTTP/3: %w", err)
			}
			errs = append(errs, fmt.Errorf("listener %s: %w", l.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Set) applyPacket(key packetKey, l *model.Listener) error {
	p := s.packets[key]
	if p == nil {
		var err error
		if p, err = s.openPackets(key, l); err != nil {
			if !key.quic { // else the listener is open all the same
				s.failed[l.Name] = err
			}
			return err
		}
		s.packets[key] = p
	}
	p.limit.Store(int64(l.Client.MaxConnections))
	if key.quic {
		return p.secureQUIC(l)
	}
	return nil
}

// openPackets opens a packet socket and has it served.
func (s *Set) openPackets(key packetKey, l *model.Listener) (*PacketSocket, error) {
	handle := s.cfg.Packets.Datagrams
	p := &PacketSocket{
		Name: l.Name, asked: l.Address, set: s, stats: s.cfg.Metrics.Listener(l.Name),
		draining: make(chan struct{}), cutOff: make(chan struct{}), closed: make(chan struct{}),
	}
	if key.quic {
		handle, p.Socket = s.cfg.Packets.QUIC, s.sockets[l.Name]
		if bound := addrPort(p.Socket.nl.Addr()); p.asked.Port() == 0 {
			p.asked = netip.AddrPortFrom(p.asked.Addr(), bound.Port())
		}
		if err := p.secureQUIC(l); err != nil && len(p.security.Load().list) == 0 {
			return nil, err
		}
	}
	if handle == nil || s.cfg.Packets.Listen == nil {
		return nil, errors.New("packets are not served here")
	}
	s.vacate(p.asked)
	pc, err := s.cfg.Packets.Listen(context.Background(), p.asked)
	if err != nil {
		return nil, err
	}
	p.PacketConn = pc
	go p.run(handle) // Drain waits for closed
	return p, nil
}

// vacate ends the draining packet sockets that have an address, which is wanted again: they
// cannot be closed earlier, because what they send comes from there.
func (s *Set) vacate(address netip.AddrPort) {
	if address.Port() == 0 {
		return
	}
	for p := range s.retiredPackets {
		all := p.asked.Addr().IsUnspecified() || address.Addr().IsUnspecified()
		if p.asked.Port() == address.Port() && (all || p.asked.Addr() == address.Addr()) {
			p.cut()
			<-p.closed
		}
	}
}

// cut is called with the set's mu held.
func (p *PacketSocket) cut() {
	select {
	case <-p.cutOff:
	default:
		close(p.cutOff)
	}
}

// retirePackets drains a packet socket in the background; Drain waits for it. It is called
// with mu held.
func (s *Set) retirePackets(p *PacketSocket) {
	s.retiredPackets[p] = struct{}{}
	p.succeeded.Store(s.succeeded && p.Socket == nil)
	close(p.draining)
	s.draining.Go(func() {
		<-p.closed
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.retiredPackets, p)
	})
}

// awaitQUIC tells when the sockets of QUIC have been closed, all of which drain. It is called with
// mu held.
func (s *Set) awaitQUIC() {
	if s.cfg.Packets.QUICEnded == nil {
		return
	}
	var left []*PacketSocket
	for p := range s.retiredPackets {
		if p.Socket != nil {
			left = append(left, p)
		}
	}
	s.draining.Go(func() {
		for _, p := range left {
			<-p.closed
		}
		s.cfg.Packets.QUICEnded()
	})
}

// Succeed says that another process has the sockets, too, and reads the datagrams: from now on
// draining ones are not read here.
func (s *Set) Succeed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.succeeded = true
}
