package http3

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/transport"
)

// connBy is how many grown windows of streams fit into that of their connection. In QUIC the heads of
// requests need room in it, too: so that a few bodies which nobody reads do not hold up all other
// requests, it has room for many. The kernel's buffers of a TCP connection may become as large.
const connBy = 16

// Bounds of handshakes of one socket. Beyond verifyAbove, or a quarter of them if that is less, who
// asks for one must first show that it receives at its address (RFC 9000 section 8.1.2): so
// addresses that somebody else made up hold no more of them.
const (
	verifyAbove   = 32
	maxHandshakes = 1000 // where Endpoint has none
)

// Endpoint is what Run needs to know of a socket.
type Endpoint struct {
	// TLS chooses by the name that a client asks for. It must not offer anything but h3.
	TLS *tls.Config
	// Times are looked up for each new connection: the longest time for a handshake, 0 for
	// QUIC's own, and for which a connection may hear nothing from its client.
	Times func() (handshake, silence time.Duration)
	// MaxHandshakes is how many may be under way at once; nil or 0: 1000. See transport.Handshakes.
	MaxHandshakes func() int
	// Limits are those of a new connection; nil: the defaults.
	Limits func() http2.Limits
	// Admit takes a place for a connection of which the first packet has come, from an address
	// that may be made up; nil: there is none.
	Admit func(remote netip.AddrPort) Visit
	// Busy hears of a connection that is refused because too many handshakes are under way.
	Busy func()
	// Panicked hears of a defect in whoever serves a connection.
	Panicked func(fault any)

	// Draining is closed when nothing new is to begin, Cut when everything has to end.
	Draining, Cut <-chan struct{}
}

// Visit is one connection from its first packet on. One of its methods is called, once, in a
// goroutine that Run waits for.
type Visit interface {
	// Refused hears why a handshake failed. The state has the name that the client asked for,
	// and a version if it has asked at all.
	Refused(err error, state tls.ConnectionState)
	// Serve serves the connection. It ends when Serve returns.
	Serve(c *Conn)
}

// Conn is a connection whose handshake is complete.
type Conn struct{ q *quic.Conn }

// TLS returns what the handshake has settled.
func (c *Conn) TLS() tls.ConnectionState { return c.q.ConnectionState().TLS }

// Close ends the connection: its client is told that nothing is wrong.
func (c *Conn) Close() { _ = c.q.CloseWithError(codeNo.conn(), "") }

// Bytes returns how many bytes the connection's packets have had, either way.
func (c *Conn) Bytes() (in, out int64) {
	stats := c.q.ConnectionStats()
	return int64(stats.BytesReceived), int64(stats.BytesSent)
}

// endpoint is an Endpoint at work.
type endpoint struct {
	*Endpoint
	work     sync.WaitGroup
	shaking  transport.Handshakes
	mu       sync.Mutex
	conns    map[*Conn]struct{}
	finished bool // no connection is to be added
}

// attempt is a connection from its first packet to the end of its handshake.
type attempt struct {
	visit Visit
	of    netip.Addr             // whose it is
	name  atomic.Pointer[string] // that the client asks for
	over  atomic.Bool
}

type attemptKey struct{}

// errNoRoom refuses a connection. Nobody but QUIC sees it.
var errNoRoom = errors.New("no room for another connection")

// Run serves the connections that come in at pc until Draining is closed and they have ended,
// or Cut is. It does not close pc. There is no 0-RTT: what could be replayed is not read.
func Run(pc net.PacketConn, e *Endpoint) error {
	p := &endpoint{Endpoint: e, conns: map[*Conn]struct{}{}}
	t := &quic.Transport{
		Conn:                pc,
		VerifySourceAddress: func(net.Addr) bool { return p.asksProof() },
		ConnContext:         p.begin,
	}
	config := e.TLS.Clone()
	choose := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if a, ok := hello.Context().Value(attemptKey{}).(*attempt); ok {
			name := hello.ServerName
			a.name.Store(&name)
		}
		return choose(hello)
	}
	l, err := t.Listen(config, &quic.Config{GetConfigForClient: p.config})
	if err != nil {
		return errors.Join(err, t.Close())
	}
	p.work.Go(func() { p.accept(l) })
	p.wait(l)
	return t.Close()
}

// wait returns when every connection has ended.
func (p *endpoint) wait(l *quic.Listener) {
	select {
	case <-p.Draining:
	case <-p.Cut:
	}
	_ = l.Close() // accept sees it
	done := make(chan struct{})
	go func() {
		p.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-p.Cut:
	}
	p.mu.Lock()
	p.finished = true
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	<-done
}

// config is for one connection.
func (p *endpoint) config(*quic.ClientInfo) (*quic.Config, error) {
	handshake, silence := p.Times()
	var limits http2.Limits
	if p.Limits != nil {
		limits = p.Limits()
	}
	limits = limits.Filled()
	grown, all := uint64(limits.Grown()), connBy*uint64(limits.Grown())
	return &quic.Config{
		HandshakeIdleTimeout:           handshake / 2, // and all of it, twice that
		MaxIdleTimeout:                 silence,
		InitialStreamReceiveWindow:     uint64(limits.Window),
		MaxStreamReceiveWindow:         grown,
		InitialConnectionReceiveWindow: all,
		MaxConnectionReceiveWindow:     all,
		MaxIncomingStreams:             int64(limits.Streams),
		MaxIncomingUniStreams:          maxUniStreams,
		RequireStreamCreditRelease:     true, // by the handler's end, not the stream's
	}, nil
}

// most is how many handshakes may be under way.
func (p *endpoint) most() int {
	if p.MaxHandshakes == nil {
		return maxHandshakes
	}
	return cmp.Or(p.MaxHandshakes(), maxHandshakes)
}

// asksProof reports whether who begins a handshake must first show that its address is its own.
func (p *endpoint) asksProof() bool { return p.shaking.UnderWay() >= min(verifyAbove, p.most()/4) }

// begin takes a place for a connection. It is given back when the context ends: with the
// connection.
func (p *endpoint) begin(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	select {
	case <-p.Draining:
		return nil, net.ErrClosed // the listener is about to be
	default:
	}
	remote := addrPort(info.RemoteAddr)
	of := remote.Addr()
	if !p.shaking.Enter(of, p.most()) {
		p.Busy()
		return nil, errNoRoom
	}
	visit := p.Admit(remote)
	if visit == nil {
		p.shaking.Leave(of)
		return nil, errNoRoom
	}
	a := &attempt{visit: visit, of: of}
	p.work.Add(1)
	context.AfterFunc(ctx, func() {
		if a.over.Swap(true) {
			return
		}
		defer p.work.Done()
		p.shaking.Leave(a.of)
		var state tls.ConnectionState
		if name := a.name.Load(); name != nil {
			state.Version, state.ServerName = tls.VersionTLS13, *name
		}
		a.visit.Refused(reason(context.Cause(ctx)), state)
	})
	return context.WithValue(ctx, attemptKey{}, a), nil
}

// accept takes the connections whose handshakes are complete.
func (p *endpoint) accept(l *quic.Listener) {
	for {
		q, err := l.Accept(context.Background())
		if err != nil {
			return
		}
		a := q.Context().Value(attemptKey{}).(*attempt)
		if a.over.Swap(true) {
			continue // it has ended meanwhile
		}
		p.shaking.Leave(a.of)
		go func() {
			defer p.work.Done()
			p.serve(&Conn{q: q}, a.visit)
		}()
	}
}

func (p *endpoint) serve(c *Conn, v Visit) {
	defer func() {
		if fault := recover(); fault != nil {
			p.Panicked(fault)
		}
		c.Close()
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
	}()
	p.mu.Lock()
	p.conns[c] = struct{}{}
	finished := p.finished
	p.mu.Unlock()
	if finished {
		c.Close()
	}
	v.Serve(c)
}

// reason is why a handshake failed, in terms that do not need QUIC to be understood.
func reason(err error) error {
	var (
		late    *quic.HandshakeTimeoutError
		silent  *quic.IdleTimeoutError
		wrong   *quic.TransportError
		version *quic.VersionNegotiationError
	)
	switch {
	case errors.As(err, &late), errors.As(err, &silent):
		return fmt.Errorf("%w: %w", transport.ErrTimeout, err)
	case errors.As(err, &version):
		return fmt.Errorf("unsupported versions: %w", err)
	case errors.As(err, &wrong) && wrong.Remote && wrong.ErrorCode.IsCryptoError():
		return &net.OpError{Op: "remote error", Err: err}
	case errors.As(err, &wrong) && wrong.ErrorCode.IsCryptoError():
		for _, inner := range wrong.Unwrap() {
			if inner != nil && !errors.Is(inner, net.ErrClosed) {
				return inner // of crypto/tls
			}
		}
		return errors.New(wrong.Error())
	case errors.As(err, &wrong) && !wrong.Remote:
		return errors.New(wrong.Error())
	}
	return fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
}

// addrPort reads the address of a packet.
func addrPort(a net.Addr) netip.AddrPort {
	if udp, ok := a.(*net.UDPAddr); ok {
		at := udp.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return at
}
