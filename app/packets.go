package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
)

// packetFunc opens a socket for packets.
type packetFunc func(ctx context.Context, address netip.AddrPort) (net.PacketConn, error)

// packetSockets is as sockets, for packets. Its users get the sockets themselves: much of what
// UDP can do is only there on a *net.UDPConn.
type packetSockets struct {
	listen packetFunc

	mu        sync.Mutex
	inherited []packetSocket // not yet asked for
	open      []packetSocket // and some that have been closed since
}

// packetSocket is one socket under the address that was asked for.
type packetSocket struct {
	net.PacketConn
	asked netip.AddrPort
}

// Listen returns the predecessor's socket for an address, or a new one.
func (s *packetSockets) Listen(ctx context.Context, address netip.AddrPort) (net.PacketConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetClosed()
	for i, p := range s.inherited {
		if p.asked == address {
			s.inherited = append(s.inherited[:i], s.inherited[i+1:]...)
			s.open = append(s.open, p)
			return p.PacketConn, nil
		}
	}
	pc, err := s.listen(ctx, address)
	if err != nil {
		return nil, err
	}
	s.open = append(s.open, packetSocket{pc, address})
	return pc, nil
}

// forgetClosed is called with mu held.
func (s *packetSockets) forgetClosed() {
	kept := s.open[:0]
	for _, p := range s.open {
		if !p.isClosed() {
			kept = append(kept, p)
		}
	}
	clear(s.open[len(kept):])
	s.open = kept
}

func (p packetSocket) isClosed() bool {
	c, ok := p.PacketConn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	return err != nil || raw.Control(func(uintptr) {}) != nil
}

// duplicate returns a duplicate of every open socket. They share the queues of those here.
func (s *packetSockets) duplicate() (list []handed, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetClosed()
	for _, p := range s.open {
		udp, ok := p.PacketConn.(interface{ File() (*os.File, error) })
		if !ok {
			closeHanded(list)
			return nil, fmt.Errorf("socket %s/udp: %T cannot be handed over", p.asked, p.PacketConn)
		}
		file, err := udp.File()
		if errors.Is(err, net.ErrClosed) {
			continue
		}
		if err != nil {
			closeHanded(list)
			return nil, fmt.Errorf("socket %s/udp: %w", p.asked, err)
		}
		list = append(list, handed{p.asked, true, file})
	}
	return list, nil
}

// closeUnclaimed closes what a predecessor left and nobody asked for.
func (s *packetSockets) closeUnclaimed() error {
	s.mu.Lock()
	left := s.inherited
	s.inherited = nil
	s.mu.Unlock()
	var errs []error
	for _, p := range left {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// openPackets opens what a predecessor handed over.
func openPackets(s handedSocket) (packetSocket, error) {
	f := os.NewFile(uintptr(s.Descriptor), s.Address.String())
	if f == nil {
		return packetSocket{}, fmt.Errorf("descriptor %d is not valid", s.Descriptor)
	}
	pc, err := net.FilePacketConn(f)
	_ = f.Close() // the socket has a copy
	if err != nil {
		return packetSocket{}, err
	}
	return packetSocket{pc, s.Address}, nil
}

// awaitPredecessor lets packets of QUIC be read once this process serves and its predecessor
// reads none any more, or has ended.
func (a *App) awaitPredecessor(ctx context.Context, quic *os.File) {
	defer context.AfterFunc(ctx, func() { _ = quic.Close() })()
	select {
	case <-a.begin:
	case <-ctx.Done():
		return
	}
	_, _ = quic.Read(make([]byte, 1)) // nothing is ever written: this is the end
	if ctx.Err() == nil {
		close(a.beginQUIC)
		_ = quic.Close()
	}
}

// quicEnded lets a successor read packets of QUIC, of which this process has no connection any
// more. When it never began to read them because its own predecessor still does, the successor
// waits until this process ends.
func (a *App) quicEnded() {
	select {
	case <-a.beginQUIC:
		if quic := a.quic.Swap(nil); quic != nil {
			_ = quic.Close()
		}
	default:
	}
}

// listenPacket opens a socket of UDP. As for TCP, [::] takes both families.
func listenPacket(ctx context.Context, address netip.AddrPort) (net.PacketConn, error) {
	var lc net.ListenConfig
	network, where := "udp", address.String()
	switch address.Addr() {
	case netip.IPv6Unspecified():
		where = fmt.Sprintf(":%d", address.Port())
	case netip.IPv4Unspecified():
		network = "udp4"
	}
	return lc.ListenPacket(ctx, network, where)
}
