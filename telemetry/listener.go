package telemetry

import "sync/atomic"

// ConnRefusal is a reason to close a connection before its first request.
type ConnRefusal uint8

// The reasons.
const (
	RefusedLimit       ConnRefusal = iota // the listener's or the process's limit of connections
	RefusedDescriptors                    // no file descriptor left
	RefusedDraining
	RefusedOther    // accept failed for another reason
	RefusedProxy    // a trusted peer's connection that did not begin with a PROXY header
	RefusedPressure // the process is near the end of its memory or files
	refusals
)

var refusalNames = [refusals]string{"limit", "descriptors", "draining", "other", "proxy-header", "pressure"}

// ConnStats counts the connections of one listener. A nil *ConnStats counts nothing.
type ConnStats struct {
	accepted atomic.Uint64
	closed   atomic.Uint64
	parked   atomic.Int64
	bytesIn  atomic.Uint64
	bytesOut atomic.Uint64
	refused  [refusals]atomic.Uint64

	handshakes handshakeStats
	datagrams  datagramStats

	_ [64]byte
}

// Listener returns the counters of a listener, made if need be. Listeners are few, and
// their counters stay for the life of the process.
func (m *Metrics) Listener(name string) *ConnStats {
	m.listenersMu.Lock()
	defer m.listenersMu.Unlock()
	c := m.listeners[name]
	if c == nil {
		c = new(ConnStats)
		if len(m.listeners) < SeriesLimit {
			m.listeners[name] = c
		}
	}
	return c
}

// Open counts an accepted connection.
func (c *ConnStats) Open() {
	if c != nil {
		c.accepted.Add(1)
	}
}

// Close counts the end of an accepted connection and the bytes that it read and wrote
// since they were last added.
func (c *ConnStats) Close(bytesIn, bytesOut int64) {
	if c != nil {
		c.AddBytes(bytesIn, bytesOut)
		c.closed.Add(1)
	}
}

// AddBytes adds bytes read from and written to clients, for connections that last.
func (c *ConnStats) AddBytes(in, out int64) {
	if c == nil {
		return
	}
	if in > 0 {
		c.bytesIn.Add(uint64(in))
	}
	if out > 0 {
		c.bytesOut.Add(uint64(out))
	}
}

// Refuse counts a connection that was closed at once, or that could not be accepted. But for
// RefusedProxy, which takes a look at it, it does not count as accepted.
func (c *ConnStats) Refuse(reason ConnRefusal) {
	if c != nil {
		c.refused[min(reason, refusals-1)].Add(1)
	}
}

// Active returns how many accepted connections are open.
func (c *ConnStats) Active() int64 {
	if c == nil {
		return 0
	}
	closed := c.closed.Load() // first, so that the difference is not below zero
	return int64(c.accepted.Load() - closed)
}

// Park counts a connection that is parked, and Unpark one that is parked no more.
func (c *ConnStats) Park() {
	if c != nil {
		c.parked.Add(1)
	}
}

// Unpark counts the end of parking, whether the connection goes on or not.
func (c *ConnStats) Unpark() {
	if c != nil {
		c.parked.Add(-1)
	}
}

// Parked returns how many of the open connections are parked: idle for some time, and
// without a goroutine.
func (c *ConnStats) Parked() int64 {
	if c == nil {
		return 0
	}
	return c.parked.Load()
}

// Refused returns how many connections were refused for a reason.
func (c *ConnStats) Refused(reason ConnRefusal) uint64 {
	if c == nil || reason >= refusals {
		return 0
	}
	return c.refused[reason].Load()
}
