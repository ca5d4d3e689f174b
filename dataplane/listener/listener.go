// Package listener owns the sockets that clients connect to: opening and closing them as
// snapshots come, accepting, TLS, the limits on connections and handshakes, and draining. It
// hands each connection to a Handler in a goroutine that it waits for, and knows no protocol
// above TLS.
package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/pressure"
)

// Handler serves one connection. It returns 0 when it is done with it, and the caller closes
// the connection. When the connection rests (nothing that was read is left, and the next bytes
// may be long in coming), it returns until when it may: the caller parks it, calls the handler
// again when bytes have come or the stream has ended, and closes it when the time is up. Only
// a connection that MayPark rests.
type Handler func(c *Conn) (until transport.Instant)

// Config is what a Set needs from outside.
type Config struct {
	Listen  func(ctx context.Context, addr netip.AddrPort) (net.Listener, error)
	Handle  Handler
	Log     *slog.Logger
	Metrics *telemetry.Metrics
	// Shards is the number of shards that connections are dealt out to, at least 1.
	Shards int
	// MaxConnections bounds the connections of all sockets together; 0 derives the bound
	// from the limit on open files.
	MaxConnections int
	// IdleGrace is how long a draining socket leaves idle connections open, so that a
	// request already on its way still gets its answer.
	IdleGrace time.Duration
	// HTTP2 says that the handler speaks HTTP/2 where a handshake has agreed on it.
	HTTP2 bool
	// Refuse is told of each handshake, and each PROXY header, that fails, before its connection
	// is closed; nil: nobody.
	Refuse func(c *Conn, r Refusal)
	// Carrier returns what carries the connections of a stream route, by its name, never nil; empty:
	// those that no route takes. It is needed where listeners have stream routes.
	Carrier func(route string) Carrier
	// Packets is for listeners of UDP and those with HTTP/3.
	Packets Packets
	// Pressure is how near the process is to the end of what it has; nil: never near. Under it
	// next to no connection is accepted.
	Pressure *pressure.State
	// Crowd is told of each crowd of connections that comes; nil: nobody.
	Crowd func()
	// TicketKeys are another Set's, whose sessions are to be resumed here; nil: nobody's.
	TicketKeys []byte
	// Left is told of each connection that has ended, by its Remote; nil: nobody.
	Left func(client netip.AddrPort)
}

// Set is all sockets, by name. Its methods may be called from any goroutine.
type Set struct {
	cfg   Config
	total *budget
	taken atomic.Uint64 // places of it so far
	lot   *lot

	sessions *budget // of datagrams: half of total

	turns   *turns
	tickets ticketry

	mu       sync.Mutex
	failed   map[string]error
	sockets  map[string]*Socket
	retired  map[*Socket]struct{} // sockets that are closed and may still have connections
	draining sync.WaitGroup       // counts them, and the packet sockets in retiredPackets

	packets        map[packetKey]*PacketSocket
	retiredPackets map[*PacketSocket]struct{}
	succeeded      bool // see Succeed

	closed bool
}

// New returns an empty set.
func New(cfg Config) *Set {
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = connectionsForFiles()
	}
	s := &Set{
		cfg: cfg, total: newBudget(cfg.MaxConnections), sessions: newBudget((cfg.MaxConnections + 1) / 2), lot: newLot(), turns: newTurns(),
		sockets: map[string]*Socket{}, retired: map[*Socket]struct{}{},
		packets: map[packetKey]*PacketSocket{}, retiredPackets: map[*PacketSocket]struct{}{},
	}
	if cfg.TicketKeys != nil {
		if err := s.tickets.take(cfg.TicketKeys, time.Now()); err != nil {
			cfg.Log.Warn("no session of before can be resumed", slog.Any("error", err))
		}
	}
	return s
}

// Apply drains the sockets that are gone, whose addresses are free from then on, keeps those
// that stay, and opens those that are new. One whose connections began
// without a handshake of TLS and now begin with one, or the other way, is another one. A socket that cannot be opened is reported and does not keep the others from
// opening; a later Apply tries it again. So is what of a socket's TLS cannot be put into effect.
func (s *Set) Apply(listeners []*model.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	var errs []error
	wanted := make(map[string]*model.Listener, len(listeners))
	for _, l := range listeners {
		if l.Transport != model.TransportUDP {
			wanted[l.Name] = l
		}
	}
	for name, sock := range s.sockets {
		if l := wanted[name]; l == nil || (handshakes(l) != nil) != (sock.security.Load() != nil) {
			delete(s.sockets, name)
			s.retire(sock)
		}
	}
	s.failed = map[string]error{}
	for _, l := range listeners {
		if wanted[l.Name] == nil {
			continue
		}
		if sock := s.sockets[l.Name]; sock != nil {
			if err := sock.follow(l); err != nil {
				errs = append(errs, fmt.Errorf("listener %s: %w", l.Name, err))
			}
			continue
		}
		sock, err := s.open(l)
		if err != nil {
			s.failed[l.Name] = err
			errs = append(errs, fmt.Errorf("listener %s: %w", l.Name, err))
			continue
		}
		s.sockets[l.Name] = sock
		if err := sock.follow(l); err != nil {
			errs = append(errs, fmt.Errorf("listener %s: %w", l.Name, err))
		}
		sock.work.Go(sock.accept)
	}
	errs = append(errs, s.applyPackets(listeners))
	return errors.Join(errs...)
}

func (s *Set) open(l *model.Listener) (*Socket, error) {
	nl, err := s.cfg.Listen(context.Background(), l.Address)
	if err != nil {
		return nil, err
	}
	return newSocket(l, nl, s), nil
}

// Failed returns the sockets that the last Apply could not open, by listener name.
func (s *Set) Failed() map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.failed)
}

// retire drains a socket in the background; Drain waits for it. It is called with mu held.
func (s *Set) retire(sock *Socket) {
	s.retired[sock] = struct{}{}
	sock.Drain()
	s.draining.Go(func() {
		sock.work.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.retired, sock)
	})
}

// Addresses returns where each socket listens, by listener name.
func (s *Set) Addresses() map[string]net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]net.Addr, len(s.sockets))
	for name, sock := range s.sockets {
		out[name] = sock.nl.Addr()
	}
	for key, p := range s.packets {
		if !key.quic {
			out[key.listener] = p.LocalAddr()
		}
	}
	return out
}

// Drain closes every socket and lets its connections end: the handler sees Draining and
// finishes, idle connections are closed after the grace. When ctx ends, what is left is
// cut off. Drain returns when every connection is gone.
func (s *Set) Drain(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	for _, sock := range s.sockets {
		s.retire(sock)
	}
	clear(s.sockets)
	for _, p := range s.packets {
		s.retirePackets(p)
	}
	clear(s.packets)
	s.awaitQUIC()
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.draining.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.cut()
		<-done
	}
	if err := s.lot.close(); err != nil {
		s.cfg.Log.Warn("close the set of parked connections", slog.Any("error", err))
	}
}

// cut closes every connection that is left, those of sockets removed long ago included.
func (s *Set) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sock := range s.retired {
		sock.cut()
	}
	for p := range s.retiredPackets {
		p.cut()
	}
}

// left tells whoever wants to know that a connection has ended.
func (s *Set) left(c *Conn) {
	if s.cfg.Left != nil {
		s.cfg.Left(c.Remote)
	}
}

// Conn is one client's connection with what its handler needs to know of it. The handler
// keeps Since, which outlasts parking.
type Conn struct {
	*transport.Conn
	Socket *Socket
	Shard  int
	Remote netip.AddrPort // the client's, as a PROXY header says where one counts
	// Secured is what the handshake has settled; nil: clear text.
	Secured *Secured
	// Passed is set when a host does the handshake.
	Passed *Passed

	// Kept is what the handler keeps of a connection that rests; nil: nothing. Only one with
	// nothing is closed when its time is up, or when its socket drains: of any other the handler
	// is called, for it may have something to say to the client.
	Kept any

	// Unwanted says that the place of a connection which rests is needed: the handler is called to
	// end it.
	Unwanted bool

	// BytesIn and BytesOut are kept by the handler: what it read from and wrote to the client.
	BytesIn, BytesOut int64

	at    int32 // in the socket's connections; guarded by its mu
	place int32 // in the lot, plus one; 0: not parked; stays, carried: never again; guarded by the lot
}

// Stream returns c as the handler of one of its streams sees it: carried by t, and not to be
// parked.
func (c *Conn) Stream(t *transport.Conn) Conn {
	return Conn{Conn: t, Socket: c.Socket, Shard: c.Shard, Remote: c.Remote, Secured: c.Secured, place: stays}
}

// Ends returns the client's end and ours, as a PROXY header says where one counts.
func (c *Conn) Ends() transport.Ends {
	return transport.Ends{Client: c.Remote, Local: addrPort(c.LocalAddr())}
}

// Count counts bytes of a connection that lasts, before its end: BytesIn and BytesOut are
// without them.
func (c *Conn) Count(in, out int64) { c.Socket.stats.AddBytes(in, out) }

// MarkCarried says that c carries bytes as they are from now on: when it is cut off it is reset.
func (c *Conn) MarkCarried() {
	l := c.Socket.set.lot
	l.mu.Lock()
	defer l.mu.Unlock()
	c.place = carried
}

// Places of connections that are not in the lot and will never be.
const (
	stays   = -1 // it could not be parked once
	carried = -2 // it carries bytes as they are
)

// MayPark reports whether the handler may leave the connection to rest. Only the handler asks.
func (c *Conn) MayPark() bool { return c.place >= 0 && c.Pollable() }
