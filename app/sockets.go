package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
)

// listenFunc opens a listening socket.
type listenFunc func(ctx context.Context, address netip.AddrPort) (net.Listener, error)

// sockets opens the listening sockets of every part. What a predecessor left is given out
// first, and what is open is known, so that a successor can have it.
type sockets struct {
	listen listenFunc

	mu        sync.Mutex
	inherited []*socket // not yet asked for
	open      map[*socket]struct{}
	packets   packetSockets
}

// socket is one listening socket under the address that was asked for: port 0 stays 0.
type socket struct {
	net.Listener
	asked netip.AddrPort
	owner *sockets
}

func newSockets(listen listenFunc, packets packetFunc, h *Handover) *sockets {
	s := &sockets{listen: listen, open: map[*socket]struct{}{}, packets: packetSockets{listen: packets}}
	if h != nil {
		s.packets.inherited = h.packets
		for _, i := range h.sockets {
			s.inherited = append(s.inherited, &socket{i.listener, i.asked, s})
		}
	}
	return s
}

// Listen returns the predecessor's socket for an address, or a new one.
func (s *sockets) Listen(ctx context.Context, address netip.AddrPort) (net.Listener, error) {
	if l := s.inherit(address); l != nil {
		return l, nil
	}
	l, err := s.listen(ctx, address)
	if err != nil {
		return nil, err
	}
	return s.keep(&socket{l, address, s}), nil
}

func (s *sockets) keep(l *socket) *socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[l] = struct{}{}
	return l
}

// inherit returns the predecessor's socket for an address, once; nil if there is none.
func (s *sockets) inherit(address netip.AddrPort) net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, l := range s.inherited {
		if l.asked == address {
			s.inherited = append(s.inherited[:i], s.inherited[i+1:]...)
			s.open[l] = struct{}{}
			return l
		}
	}
	return nil // a nil *socket would not be a nil Listener
}

// closeUnclaimed closes what a predecessor left and nobody asked for.
func (s *sockets) closeUnclaimed() error {
	s.mu.Lock()
	left := s.inherited
	s.inherited = nil
	s.mu.Unlock()
	errs := []error{s.packets.closeUnclaimed()}
	for _, l := range left {
		errs = append(errs, l.Listener.Close())
	}
	return errors.Join(errs...)
}

// Close closes the socket in this process. Where a successor has it too, what waits in its
// queue is the successor's.
func (l *socket) Close() error {
	l.owner.mu.Lock()
	delete(l.owner.open, l)
	l.owner.mu.Unlock()
	return l.Listener.Close()
}

// handed is one socket on its way to another process.
type handed struct {
	asked   netip.AddrPort
	packets bool
	file    *os.File // a duplicate, to be closed
}

// duplicate returns a duplicate of every open socket. They share the queues of those here.
func (s *sockets) duplicate() (list []handed, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.open {
		tcp, ok := l.Listener.(interface{ File() (*os.File, error) })
		if !ok {
			closeHanded(list)
			return nil, fmt.Errorf("socket %s: %T cannot be handed over", l.asked, l.Listener)
		}
		file, err := tcp.File()
		if err != nil {
			closeHanded(list)
			return nil, fmt.Errorf("socket %s: %w", l.asked, err)
		}
		list = append(list, handed{l.asked, false, file})
	}
	packets, err := s.packets.duplicate()
	if err != nil {
		closeHanded(list)
		return nil, err
	}
	return append(list, packets...), nil
}

func closeHanded(list []handed) {
	for _, h := range list {
		_ = h.file.Close() // the socket itself stays
	}
}

// descriptor returns the number of a file's descriptor. Fd would put it into blocking mode,
// and with it the sockets that share it: Accept would then hold a thread.
func descriptor(f *os.File) (fd uintptr, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = raw.Control(func(n uintptr) { fd = n })
	return fd, err
}
