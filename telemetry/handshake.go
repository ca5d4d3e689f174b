package telemetry

import "sync/atomic"

// Handshake is how a TLS handshake with a client ended.
type Handshake uint8

// The ends of handshakes.
const (
	HandshakeFull        Handshake = iota // complete
	HandshakeResumed                      // complete, with a session from before
	HandshakePassed                       // not ours: the connection was carried on to a host as it was
	HandshakeName                         // the client asked for a name that has no certificate here
	HandshakeMismatch                     // no version, cipher suite, curve or protocol that both sides know
	HandshakeCertificate                  // the client's certificate was missing or refused
	HandshakeRejected                     // the client refused, as a rule our certificate
	HandshakeTimeout                      // it took too long
	HandshakeNotTLS                       // the client does not speak TLS
	HandshakeBusy                         // too many others waited to be computed
	HandshakeGone                         // the connection ended meanwhile
	HandshakeOther                        // a message that breaks the protocol
	handshakes
)

var handshakeNames = [handshakes]string{
	"full", "resumed", "passed_through", "unknown_name", "mismatch", "client_certificate", "rejected", "timeout", "not_tls", "busy", "gone", "other",
}

// String returns the end's name in metrics.
func (h Handshake) String() string { return handshakeNames[min(h, handshakes-1)] }

// handshakeStats counts the handshakes of a listener.
type handshakeStats struct {
	ended   [handshakes]atomic.Uint64
	waiting atomic.Int64
}

// EndHandshake counts the end of a handshake.
func (c *ConnStats) EndHandshake(end Handshake) {
	if c != nil {
		c.handshakes.ended[min(end, handshakes-1)].Add(1)
	}
}

// Handshakes returns how many handshakes ended so.
func (c *ConnStats) Handshakes(end Handshake) uint64 {
	if c == nil || end >= handshakes {
		return 0
	}
	return c.handshakes.ended[end].Load()
}

// QueueHandshake adds n to the handshakes that wait for their turn to be computed.
func (c *ConnStats) QueueHandshake(n int64) {
	if c != nil {
		c.handshakes.waiting.Add(n)
	}
}

// handshakes of listeners that have had any, or that have been waited for.
func (e *emitter) handshakes(name string, c *ConnStats) {
	var all uint64
	for end := range c.handshakes.ended {
		all += c.handshakes.ended[end].Load()
	}
	waiting := c.handshakes.waiting.Load()
	if all == 0 && waiting == 0 {
		return
	}
	for end := range c.handshakes.ended {
		e.value(famListenerHandshakes, float64(c.handshakes.ended[end].Load()), name, handshakeNames[end])
	}
	e.value(famListenerHandshaking, float64(waiting), name)
}
