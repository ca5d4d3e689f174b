package transport

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// Handshakes counts those under way at a socket, by the hosts that began them: who leaves them
// unfinished keeps nobody else out. The zero value is ready.
type Handshakes struct {
	all atomic.Int64
	mu  sync.Mutex
	of  map[netip.Prefix]int // hosts, as far as an address tells
}

// Enter counts one that begins, and reports whether there is room for it, of at most so many. Beyond
// half of them a host has an eighth at most.
func (h *Handshakes) Enter(from netip.Addr, most int) bool {
	of := hostOf(from)
	h.mu.Lock()
	defer h.mu.Unlock()
	if all := int(h.all.Load()); all >= most || all >= most/2 && h.of[of] >= max(most/8, 1) {
		return false
	}
	if h.of == nil {
		h.of = map[netip.Prefix]int{}
	}
	h.of[of]++
	h.all.Add(1)
	return true
}

// Leave counts the end of one that had room.
func (h *Handshakes) Leave(from netip.Addr) {
	of := hostOf(from)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all.Add(-1)
	if h.of[of]--; h.of[of] <= 0 {
		delete(h.of, of)
	}
}

// UnderWay is how many there are.
func (h *Handshakes) UnderWay() int { return int(h.all.Load()) }

// hostOf is the addresses that one host has: of IPv6 it can choose among those of a network.
func hostOf(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	prefix, _ := a.Prefix(bits) // of no address: none, which is as good a name
	return prefix
}
