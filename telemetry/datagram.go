package telemetry

import "sync/atomic"

// DatagramDrop is a reason why a datagram went no further.
type DatagramDrop uint8

// The reasons.
const (
	DroppedLimit       DatagramDrop = iota // too many sessions
	DroppedDescriptors                     // no file descriptor left for a new session
	DroppedNoRoute                         // no route takes it, or the route refuses
	DroppedNoHost                          // the backend has no host
	DroppedUnreachable                     // the host does not listen: it said so when the datagram was sent
	DroppedFull                            // the socket that it was to leave by was full
	DroppedDraining                        // a new session while the listener drains
	DroppedOther                           // it could not be sent for another reason
	datagramDrops
)

var datagramDropNames = [datagramDrops]string{"limit", "descriptors", "no_route", "no_host", "unreachable", "full", "draining", "other"}

// String returns the reason's name in metrics.
func (d DatagramDrop) String() string { return datagramDropNames[min(d, datagramDrops-1)] }

// datagramStats counts the datagrams of a listener of UDP.
type datagramStats struct {
	in, out atomic.Uint64
	dropped [datagramDrops]atomic.Uint64
}

// DatagramIn counts a datagram of so many bytes from a client, whatever becomes of it.
func (c *ConnStats) DatagramIn(bytes int) {
	if c != nil {
		c.datagrams.in.Add(1)
		c.bytesIn.Add(uint64(bytes))
	}
}

// DatagramOut counts a datagram of so many bytes that was sent to a client.
func (c *ConnStats) DatagramOut(bytes int) {
	if c != nil {
		c.datagrams.out.Add(1)
		c.bytesOut.Add(uint64(bytes))
	}
}

// Drop counts a datagram that went no further, from a client or to one.
func (c *ConnStats) Drop(reason DatagramDrop) {
	if c != nil {
		c.datagrams.dropped[min(reason, datagramDrops-1)].Add(1)
	}
}

// Datagrams returns how many datagrams came from clients and were sent to them.
func (c *ConnStats) Datagrams() (in, out uint64) {
	if c == nil {
		return 0, 0
	}
	return c.datagrams.in.Load(), c.datagrams.out.Load()
}

// Dropped returns how many datagrams went no further for a reason.
func (c *ConnStats) Dropped(reason DatagramDrop) uint64 {
	if c == nil || reason >= datagramDrops {
		return 0
	}
	return c.datagrams.dropped[reason].Load()
}

// datagrams of listeners that have had any.
func (e *emitter) datagrams(name string, c *ConnStats) {
	in, out := c.Datagrams()
	if in == 0 && out == 0 {
		return
	}
	e.value(famListenerDatagramsIn, float64(in), name)
	e.value(famListenerDatagramsOut, float64(out), name)
	for reason := range c.datagrams.dropped {
		e.value(famListenerDropped, float64(c.datagrams.dropped[reason].Load()), name, datagramDropNames[reason])
	}
}
