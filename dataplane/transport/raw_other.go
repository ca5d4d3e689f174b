//go:build !linux

package transport

import "net"

const rawIO = false

func (c *Conn) readReady(uintptr) bool  { return true }
func (c *Conn) writeReady(uintptr) bool { return true }

func (c *Conn) exchangeRaw([]byte, *Buffer, Wait) (int, bool, error) {
	panic("transport: raw exchange without raw connection")
}

// Peer looks at what the other side is doing; unknown here, unless we have closed.
func (c *Conn) Peer() Peer {
	if c.closed.Load() {
		return PeerReset
	}
	return c.observed()
}

func (c *Conn) readNowOn(uintptr)              {}
func (c *Conn) readNow(*Buffer) (int, error)   { return 0, nil }
func (c *Conn) writeNow(p []byte) (int, error) { return c.writeSoon(p) }

func detach(*net.TCPConn) (int32, error) { return -1, ErrUnsupported }
func attach(int32) (net.Conn, error)     { return nil, net.ErrClosed }
func closeDescriptor(int32) error        { return net.ErrClosed }
