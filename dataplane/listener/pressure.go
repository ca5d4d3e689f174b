package listener

import (
	"time"

	"weir.dev/weir/traffic/pressure"
)

// trickle is how long a socket waits before each connection that it accepts while the process is
// near the end of what it has. The others wait in the kernel's queue, where they cost next to
// nothing. That one comes in at all shows what the others would meet, and to load balancers, whose
// checks are connections like any other, that the process is there.
const trickle = 100 * time.Millisecond

// holdOff waits while nothing new is wanted, and reports whether to go on accepting.
func (s *Socket) holdOff() bool {
	if s.set.cfg.Pressure.Layer() < pressure.Hold {
		return true
	}
	timer := time.NewTimer(trickle)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stop:
		return false
	}
}

// Connections returns how many connections there are and may be, sessions of datagrams included.
func (s *Set) Connections() (open, most int64) { return s.total.used.Load(), s.total.max }

// Relieve ends connections that are parked, those first that have been for longest: a share of
// them, and at least leastRelieved. Each gives back its place, its file, and the kernel's memory
// for it. It returns how many.
func (s *Set) Relieve(share float64) int {
	s.lot.mu.Lock()
	parked := s.lot.parked
	s.lot.mu.Unlock()
	conns := s.lot.soonest(nil, max(int(float64(parked)*share), leastRelieved))
	farewells := 0
	for _, c := range conns {
		if c.Kept != nil {
			if farewells++; farewells > mostFarewells {
				c.Socket.evict(c)
				continue
			}
		}
		c.Unwanted = true
		c.Socket.expire(c)
	}
	return len(conns)
}

const (
	// leastRelieved ends a small number at once rather than one by one.
	leastRelieved = 16
	// mostFarewells is how many connections of HTTP/2 are told why at once. For that each comes back to
	// work, and takes more memory than at rest: the others are just closed.
	mostFarewells = 256
)
