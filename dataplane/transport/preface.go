package transport

import (
	"io"
	"net"
	"net/netip"
)

// Ends are the two ends of a client's connection.
type Ends struct {
	Client netip.AddrPort
	Local  netip.AddrPort // what the client connected to
}

// Ends returns e: those of a client that may have left.
func (e Ends) Ends() Ends { return e }

// Preface reads what precedes everything else on a connection that is new, the handshake that
// Secure may have prepared included. It asks take with all that has come so far, until that is
// whole: n bytes of it, at most, which are gone then. The rest is left to be read. An end of the
// stream before is io.EOF, and more than MaxPreview bytes are io.ErrShortBuffer; seen is how many
// bytes had come then.
func (c *Conn) Preface(w Wait, take func(seen []byte) (n int, whole bool)) (seen int, err error) {
	b := new(Buffer)
	for {
		if n, whole := take(b.Bytes()); whole {
			b.Consume(n)
			if b.ReleaseIfEmpty(); b.Len() > 0 {
				c.early = b
			}
			return 0, nil
		}
		if b.Len() >= MaxPreview {
			err = io.ErrShortBuffer
		} else {
			_, err = c.readSocket(b, w)
		}
		if err != nil {
			seen = b.Len()
			b.Release()
			return seen, err
		}
	}
}

// readEarly reads what Preface has left.
func (c *Conn) readEarly(b *Buffer) int {
	n := copy(b.space(), c.early.Bytes())
	b.to += n
	if c.early.Consume(n); c.early.Len() == 0 {
		c.early.Release()
		c.early = nil
	}
	return n
}

// Tell makes ends the connection's own, in place of the socket's: a peer that is believed has
// said so. It comes before any other goroutine reads or writes.
func (c *Conn) Tell(ends Ends) { c.told = &ends }

// Told returns what was told, false if nothing was.
func (c *Conn) Told() (Ends, bool) {
	if c.told == nil {
		return Ends{}, false
	}
	return *c.told, true
}

// RemoteAddr is the peer's end.
func (c *Conn) RemoteAddr() net.Addr {
	if c.told != nil {
		return net.TCPAddrFromAddrPort(c.told.Client)
	}
	return c.nc.RemoteAddr()
}

// LocalAddr is our end.
func (c *Conn) LocalAddr() net.Addr {
	if c.told != nil {
		return net.TCPAddrFromAddrPort(c.told.Local)
	}
	return c.nc.LocalAddr()
}
