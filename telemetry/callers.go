package telemetry

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Callers remembers who has sent requests to which cluster, from a sample of them: enough to
// know which services call which. It is bounded and forgets: where two pairs want one place the
// later one has it, and who has not been seen for an hour is gone. Its methods are safe for
// concurrent use and never wait.
type Callers struct {
	seed  maphash.Seed
	slots [callerSlots]callerSlot
}

const (
	callerSlots = 1024
	callerLife  = time.Hour
)

type callerSlot struct {
	mu   sync.Mutex
	call ObservedCall
	at   time.Time
}

// ObservedCall is a client's address and a cluster that it has sent requests to.
type ObservedCall struct {
	Client  netip.Addr
	Cluster string
}

// Note remembers a call. The caller chooses which requests are in the sample.
func (c *Callers) Note(client netip.Addr, cluster string, now time.Time) {
	call := ObservedCall{client, cluster}
	s := &c.slots[maphash.Comparable(c.seed, call)%callerSlots]
	if !s.mu.TryLock() {
		return // somebody notes or reads there; the next in the sample will do
	}
	s.call, s.at = call, now
	s.mu.Unlock()
}

// Seen returns what has been noted within the last hour, in no order.
func (c *Callers) Seen(now time.Time) []ObservedCall {
	var list []ObservedCall
	for i := range c.slots {
		s := &c.slots[i]
		s.mu.Lock()
		if s.call.Cluster != "" && now.Sub(s.at) < callerLife {
			list = append(list, s.call)
		}
		s.mu.Unlock()
	}
	return list
}
