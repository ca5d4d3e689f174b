//go:build !linux

package transport

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
	return PeerQuiet
}
