package stream

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/transport"
)

// upstream is a session's socket to one host.
type upstream struct {
	routing *routing // in which it was chosen
	arm     *arm
	host    *cluster.Host
	conn    net.Conn
	raw     syscall.RawConn
	since   transport.Instant
	try     int // of its session, from 0
	left    atomic.Bool
	heard   bool // it has answered; run's

	outgoing outgoing
	incoming incoming
}

// outgoing is one system call that sends, made ready once so that sending allocates nothing.
type outgoing struct {
	datagram []byte
	err      error
	call     func(fd uintptr) bool
}

// incoming is one that receives.
type incoming struct {
	packet *packet
	err    error
	call   func(fd uintptr) bool
}

// packet is a buffer that any datagram fits in.
type packet struct {
	bytes [maxDatagram]byte
	n     int
}

// packets are buffers that are not in use. One is in use while an answer is passed on, not
// while it is waited for.
var packets = sync.Pool{New: func() any { return new(packet) }}

func newUpstream(host *cluster.Host, conn net.Conn) (*upstream, error) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T has no descriptor", conn)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	u := &upstream{host: host, conn: conn, raw: raw, since: transport.Now()}
	u.outgoing.call, u.incoming.call = u.outgoing.write, u.incoming.read
	return u, nil
}

// send sends a datagram if the socket takes it now: else the error is EAGAIN.
func (u *upstream) send(datagram []byte) error {
	o := &u.outgoing
	o.datagram = datagram
	err := u.raw.Write(o.call)
	o.datagram = nil
	if err == nil {
		err = o.err
	}
	return err
}

func (o *outgoing) write(fd uintptr) bool {
	for {
		if _, o.err = syscall.Write(int(fd), o.datagram); !errors.Is(o.err, syscall.EINTR) {
			return true
		}
	}
}

// receive waits for a datagram. The caller puts the packet back.
func (u *upstream) receive() (*packet, error) {
	i := &u.incoming
	i.packet, i.err = nil, nil
	err := u.raw.Read(i.call)
	if err == nil {
		err = i.err
	}
	if err != nil {
		return nil, err
	}
	return i.packet, nil
}

// read returns false to wait, without a buffer.
func (i *incoming) read(fd uintptr) bool {
	p := packets.Get().(*packet)
	for {
		n, err := syscall.Read(int(fd), p.bytes[:])
		switch {
		case err == nil:
			p.n, i.packet = n, p
			return true
		case errors.Is(err, syscall.EINTR):
			continue
		}
		packets.Put(p)
		if errors.Is(err, syscall.EAGAIN) {
			return false
		}
		i.err = err
		return true
	}
}

// unreachable reports whether a host, or a router before it, has said that datagrams do not
// reach it (ICMP destination unreachable, RFC 792).
func unreachable(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

// remote is the client as people know it.
func (p path) remote() netip.AddrPort {
	return netip.AddrPortFrom(p.client.Addr().Unmap(), p.client.Port())
}
