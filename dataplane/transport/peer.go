package transport

// Peer is what the other side of a connection is doing, as far as its socket shows.
type Peer uint8

// What the other side is doing.
const (
	PeerQuiet   Peer = iota // nothing
	PeerSending             // bytes wait to be read
	PeerEnded               // it has ended its sending side, or closed: TCP cannot tell
	PeerReset               // it has reset the connection, or we have closed it
)

// observer is a net.Conn that knows what its peer is doing, as the streams of HTTP/2 do.
type observer interface{ Peer() Peer }

// observed is what a connection that is no TCP connection knows of its peer.
func (c *Conn) observed() Peer {
	if o, ok := c.nc.(observer); ok {
		return o.Peer()
	}
	return PeerQuiet
}
