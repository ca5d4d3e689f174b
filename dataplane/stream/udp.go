package stream

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir.dev/weir/dataplane/listener"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// DefaultMaxSessions bounds the sessions of a listener that has no limit of its own.
const DefaultMaxSessions = 10_000

// DefaultUDPIdle is the idle time of sessions whose route has none. DNS and the like have
// long ended then, and what lasts says something every few seconds.
const DefaultUDPIdle = time.Minute

// maxDatagram is the size in bytes of a buffer that every datagram fits in (RFC 768: 16 bits).
const maxDatagram = 1 << 16

// Datagrams carries the datagrams of listeners of UDP. Those of one client, to one address of
// ours, are a session: all go to one host, from a socket of the session's own, by which the
// host's answers are told apart.
//
//	client ──► listener's socket ──► session of the client ──► connected socket ──► host
//	       ◄── (from the address ◄──────────────────────────── answers are waited for by the
//	            that was asked)                                 session's own goroutine
//
// One goroutine reads each listener's socket. It never waits: what cannot be passed on at once
// is dropped and counted, so no host holds up another's clients.
type Datagrams struct {
	engine *Engine
	max    int
	ports  sync.Map // listener name → *port
}

// port is a listener of UDP as its sessions know it.
type port struct{ route atomic.Pointer[route] }

// NewDatagrams returns what carries datagrams for the routes of e.
func NewDatagrams(e *Engine) *Datagrams { return &Datagrams{engine: e, max: DefaultMaxSessions} }

// Apply makes new sessions of the listeners of UDP follow their routes, which have been
// applied. A session that is there goes on as it is until its host is gone.
func (d *Datagrams) Apply(listeners []*model.Listener) {
	live := map[string]bool{}
	for _, l := range listeners {
		if l.Transport != model.TransportUDP {
			continue
		}
		live[l.Name] = true
		r := d.engine.unrouted
		if len(l.Streams) > 0 && l.Streams[0].Route != "" {
			r = d.engine.route(l.Streams[0].Route)
		}
		d.port(l.Name).route.Store(r)
	}
	d.ports.Range(func(name, _ any) bool {
		if !live[name.(string)] { // its sessions have the port itself
			d.ports.Delete(name)
		}
		return true
	})
}

func (d *Datagrams) port(name string) *port {
	p, _ := d.ports.LoadOrStore(name, new(port))
	return p.(*port)
}

// Serve carries the datagrams of one listener: it is a listener.PacketHandler.
func (d *Datagrams) Serve(p *listener.PacketSocket) {
	t, err := d.table(p)
	if err != nil {
		d.engine.cfg.Log.Error("no datagrams are carried", slog.String("listener", p.Name), slog.Any("error", err))
		<-p.Draining()
		return
	}
	t.serve()
}

// table returns the sessions of a socket, none yet.
func (d *Datagrams) table(p *listener.PacketSocket) (*table, error) {
	socket, ok := p.PacketConn.(udpSocket)
	if !ok {
		return nil, fmt.Errorf("%T is not a socket of UDP", p.PacketConn)
	}
	t := &table{
		Datagrams: d, p: p, socket: socket, port: d.port(p.Name), stats: p.Stats(),
		sessions: map[path]*session{},
	}
	t.tellsLocal = askLocal(socket)
	_ = socket.SetReadBuffer(readBuffer) // less will do
	return t, nil
}

// readBuffer is the size in bytes that the queue of a listener's socket is to have: a burst
// waits there until it has been read. The kernel gives less where net.core.rmem_max is less.
const readBuffer = 4 << 20

// udpSocket is what is needed of a *net.UDPConn.
type udpSocket interface {
	net.PacketConn
	syscall.Conn
	SetReadBuffer(bytes int) error
	ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error)
	WriteMsgUDPAddrPort(b, oob []byte, addr netip.AddrPort) (n, oobn int, err error)
}

// path is what a session is known by.
type path struct {
	client netip.AddrPort
	local  netip.Addr // ours that the client sent to; invalid where the socket has only one
}

// table is the sessions of one listener.
type table struct {
	*Datagrams
	p          *listener.PacketSocket
	socket     udpSocket
	port       *port
	stats      *telemetry.ConnStats
	tellsLocal bool

	mu       sync.Mutex
	sessions map[path]*session
	draining atomic.Bool // stored with mu held: then no session is added any more
	cut      atomic.Bool
	work     sync.WaitGroup // the sessions
}

// drainLimit is the longest time that sessions of a listener go on that is removed while the
// process lives.
const drainLimit = time.Minute

// drainQuiet is how long a session of a draining listener lasts after an answer: by then a
// client that has something more to ask has asked.
const drainQuiet = time.Second

// serve reads until the listener drains and the sessions have ended.
func (t *table) serve() {
	_ = t.socket.SetDeadline(time.Time{}) // of a serve before this one, which panicked
	read := make(chan struct{})
	go func() {
		defer close(read)
		t.read()
	}()
	<-t.p.Draining()
	if t.p.Succeeded() {
		t.stopReading()
		<-read // what has been read is ours, and new sessions are still made for it
	}
	t.drain()
	ended := make(chan struct{})
	go func() {
		t.work.Wait()
		close(ended)
	}()
	limit := time.NewTimer(drainLimit)
	defer limit.Stop()
	select {
	case <-ended:
	case <-t.p.Cut():
	case <-limit.C:
	}
	t.stopReading()
	<-read
	t.end()
	<-ended
}

// longAgo, as a deadline, wakes who waits and keeps him from waiting again.
var longAgo = time.Unix(1, 0)

func (t *table) stopReading() { _ = t.socket.SetReadDeadline(longAgo) }

// drain lets no session begin any more, and has those that are there look at how long they
// may still last.
func (t *table) drain() {
	t.mu.Lock()
	t.draining.Store(true)
	t.mu.Unlock()
	t.wakeAll()
}

// end ends every session, one that cannot get rid of an answer, too.
func (t *table) end() {
	t.cut.Store(true)
	_ = t.socket.SetWriteDeadline(longAgo)
	t.wakeAll()
}

func (t *table) wakeAll() {
	t.mu.Lock()
	list := make([]*session, 0, len(t.sessions))
	for _, s := range t.sessions {
		list = append(list, s)
	}
	t.mu.Unlock()
	for _, s := range list {
		s.rouse()
	}
}

// readPause is how long a socket whose reading fails is left alone.
const readPause = 50 * time.Millisecond

// read takes datagrams until reading is stopped.
func (t *table) read() {
	buf, oob := make([]byte, maxDatagram), make([]byte, controlSize)
	for {
		n, oobn, _, client, err := t.socket.ReadMsgUDPAddrPort(buf, oob)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return
		default:
			t.engine.cfg.Log.Warn("read datagrams", slog.String("listener", t.p.Name), slog.Any("error", err))
			<-time.After(readPause)
			continue
		}
		t.stats.DatagramIn(n)
		t.take(path{client: client}, buf[:n], oob[:oobn])
	}
}

// take passes one datagram on. A panic costs the datagram.
func (t *table) take(from path, datagram, control []byte) {
	defer func() {
		if fault := recover(); fault != nil {
			t.engine.report(fault)
			t.stats.Drop(telemetry.DroppedOther)
		}
	}()
	if t.tellsLocal {
		from.local = localOf(control)
	}
	now := transport.Now()
	t.mu.Lock()
	s := t.sessions[from]
	if s != nil {
		s.asked.Store(int64(now)) // with mu held, under which it would end for being idle
	}
	size := len(t.sessions)
	t.mu.Unlock()
	if s == nil {
		s = t.begin(from, control, size)
	}
	if s != nil {
		s.send(datagram)
	}
}

// begin makes a session beside as many, or counts why it does not.
func (t *table) begin(from path, control []byte, size int) *session {
	if t.draining.Load() {
		t.stats.Refuse(telemetry.RefusedDraining)
		t.stats.Drop(telemetry.DroppedDraining)
		return nil
	}
	r := t.port.route.Load()
	if r == nil { // the socket is there before Apply has been: it was inherited
		t.stats.Drop(telemetry.DroppedNoRoute)
		return nil
	}
	if t.ours(from) {
		t.stats.Drop(telemetry.DroppedOther)
		return nil
	}
	routing := r.now.Load()
	if refusal := routing.model.Refusal; refusal != nil {
		t.refuse(routing, model.ParseFlag(refusal.Flag), telemetry.DroppedNoRoute)
		return nil
	}
	full := t.p.Limit() == 0 && size >= t.max
	if full {
		t.p.Refuse(int64(t.max))
	}
	if full || !t.p.Take() {
		t.refuse(routing, model.FlagUO, telemetry.DroppedLimit)
		return nil
	}
	s := newSession(t, from, routing)
	if t.tellsLocal {
		s.control = replyControl(control)
	}
	routing.series.Begin(s.shard)
	if s.upstream() == nil || !t.add(s) {
		s.end()
		return nil
	}
	return s
}

// ours reports whether a datagram claims to come from where it went to, which is forged: its
// answer would be asked in its turn, and so on for ever.
func (t *table) ours(from path) bool {
	own := addrPort(t.socket.LocalAddr())
	if from.local.IsValid() {
		own = netip.AddrPortFrom(from.local.Unmap(), own.Port())
	}
	return from.remote() == own
}

// addrPort is the address of a socket of UDP.
func addrPort(a net.Addr) netip.AddrPort {
	at := a.(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// add makes a session one of the table's, unless it drains.
func (t *table) add(s *session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.draining.Load() { // the sessions are being waited for
		t.stats.Drop(telemetry.DroppedDraining)
		return false
	}
	t.sessions[s.path] = s
	t.work.Go(s.run)
	return true
}

// refuse counts a datagram that no session is made for.
func (t *table) refuse(r *routing, flag model.Flag, reason telemetry.DatagramDrop) {
	t.stats.Drop(reason)
	r.series.Begin(0)
	r.series.End(0, &telemetry.Outcome{Flag: flag})
}

// expired takes a session out that has been idle long enough at a moment, and reports whether
// it has; else it returns when that may be.
func (t *table) expired(s *session, now transport.Instant) (until transport.Instant, over bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	until = s.until()
	if !t.cut.Load() && now < until {
		return until, false
	}
	delete(t.sessions, s.path)
	return 0, true
}
