package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pires/go-proxyproto"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// A host that is told whose connections are (model.Cluster.ProxyProtocol) gets a PROXY header in
// front of everything else on each of them, TLS included. Such a connection is of one client's
// connection for good, so each of these has a pool of its own, until it ends:
//
//	Host ── common pool ── shards         nobody's connections, and all of most hosts
//	   └─── private pools ── one shard    those of client 198.51.100.7:56324
//	                      └─ one shard    those of client 198.51.100.7:56326

// Lane is the way to a host: through the pool that a caller may use.
type Lane struct {
	host   *Host
	pool   *pool
	client Client // nil: nobody
}

// Client is somebody whose connections a host may have to be told of.
type Client interface{ Ends() transport.Ends }

// For returns a client's way to the host. It is for connections that are made soon: those of a
// client that has left are not pooled.
func (h *Host) For(c Client) Lane {
	return Lane{h, &h.common, c}.by(h.wiring.Load())
}

// by returns the lane as it is under a wiring, which may have changed since it was chosen.
func (l Lane) by(w *wiring) Lane {
	if w.tells != "" && l.client != nil && l.pool.whose == nil {
		l.pool = l.host.privatePool(l.client.Ends())
	}
	return l
}

// nobody returns the way to the host for what is no client's: a host that is told whose
// connections are is told that.
func (h *Host) nobody() Lane { return Lane{h, &h.common, nil} }

// private is a host's pools of one client each.
type private struct {
	mu  sync.Mutex
	of  map[netip.AddrPort][]*pool // as a rule one: a client can connect to two addresses of ours from one port
	has atomic.Bool                // there may be some
}

// privatePool returns the pool of a client, made if need be.
func (h *Host) privatePool(ends transport.Ends) *pool {
	v := &h.private
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.find(ends)
	if p == nil {
		whose := ends
		p = &pool{shards: make([]shard, 1), room: make(chan struct{}, 1), whose: &whose}
		if h.draining.Load() {
			p.gone.Store(true)
			return p
		}
		if v.of == nil {
			v.of = map[netip.AddrPort][]*pool{}
		}
		v.of[ends.Client] = append(v.of[ends.Client], p)
		v.has.Store(true)
		h.cluster.set.tell(h)
	}
	p.used.Store(true)
	return p
}

// find is called with mu held.
func (v *private) find(ends transport.Ends) *pool {
	for _, p := range v.of[ends.Client] {
		if *p.whose == ends {
			return p
		}
	}
	return nil
}

// all returns every private pool.
func (v *private) all() []*pool {
	if !v.has.Load() {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	var list []*pool
	for _, pools := range v.of {
		list = append(list, pools...)
	}
	return list
}

// remove takes the pools out that are to go.
func (v *private) remove(goes func(*pool) bool) []*pool {
	if !v.has.Load() {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	var gone []*pool
	for client, pools := range v.of {
		kept := slices.DeleteFunc(pools, func(p *pool) bool {
			if goes(p) {
				gone = append(gone, p)
				return true
			}
			return false
		})
		if v.of[client] = kept; len(kept) == 0 {
			delete(v.of, client)
		}
	}
	v.has.Store(len(v.of) > 0)
	return gone
}

// poolOf returns the pool that a connection may go back to; nil: its client has left.
func (h *Host) poolOf(c *transport.Conn) *pool {
	ends, told := c.Told()
	if !told {
		return &h.common
	}
	h.private.mu.Lock()
	defer h.private.mu.Unlock()
	return h.private.find(ends)
}

// eachShard calls do with every shard of every pool.
func (h *Host) eachShard(do func(*shard)) {
	for i := range h.common.shards {
		do(&h.common.shards[i])
	}
	for _, p := range h.private.all() {
		do(&p.shards[0])
	}
}

// closePool ends a pool that has been taken out: what is idle now, the rest when it is given back.
func (h *Host) closePool(p *pool) {
	p.gone.Store(true)
	h.empty(&p.shards[0])
}

// leaveAll ends the pools of all clients.
func (h *Host) leaveAll() {
	for _, p := range h.private.remove(func(*pool) bool { return true }) {
		h.closePool(p)
	}
}

// leaveUnused ends the pools that have nothing and that nobody has asked for since the last time.
func (h *Host) leaveUnused() {
	for _, p := range h.private.remove(func(p *pool) bool { return !p.used.Swap(false) && p.bare() }) {
		h.closePool(p)
	}
}

// bare reports whether a private pool has nothing.
func (p *pool) bare() bool {
	s := &p.shards[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.idle) == 0 && len(s.links) == 0 && s.opening == nil
}

// telling is the hosts that have private pools.
type telling struct {
	mu    sync.Mutex
	hosts map[*Host]struct{}
	any   atomic.Bool
}

// tell notes that a host has private pools. It is called with the host's private.mu held.
func (s *Set) tell(h *Host) {
	s.telling.mu.Lock()
	defer s.telling.mu.Unlock()
	if s.telling.hosts == nil {
		s.telling.hosts = map[*Host]struct{}{}
	}
	s.telling.hosts[h] = struct{}{}
	s.telling.any.Store(true)
	h.enlist()
}

// Leave says that a client's connection has ended, and so nobody can use any more what was
// opened for it.
func (s *Set) Leave(client netip.AddrPort) {
	if !s.telling.any.Load() {
		return
	}
	s.telling.mu.Lock()
	hosts := make([]*Host, 0, len(s.telling.hosts))
	for h := range s.telling.hosts {
		hosts = append(hosts, h)
	}
	s.telling.mu.Unlock()
	for _, h := range hosts {
		h.private.mu.Lock()
		gone := h.private.of[client]
		delete(h.private.of, client)
		h.private.mu.Unlock()
		for _, p := range gone {
			h.closePool(p)
		}
	}
}

// forgetQuiet lets go of hosts without private pools. It is called for the sweep.
func (s *Set) forgetQuiet() {
	s.telling.mu.Lock()
	defer s.telling.mu.Unlock()
	for h := range s.telling.hosts {
		if !h.private.has.Load() {
			delete(s.telling.hosts, h)
		}
	}
	s.telling.any.Store(len(s.telling.hosts) > 0)
}

// announce begins a connection with the header that the wiring wants, and notes on it whose it is.
func (p *pool) announce(c *transport.Conn, w *wiring, wait transport.Wait) error {
	if w.tells == "" {
		return nil
	}
	if p.whose != nil {
		c.Tell(*p.whose)
	}
	header, err := headerFor(w.tells, p.whose)
	if err != nil {
		return err
	}
	if err := c.Write(header, wait); err != nil {
		return fmt.Errorf("send the PROXY header: %w", err)
	}
	return nil
}

// headerFor makes a PROXY header (The PROXY protocol, versions 1 and 2, haproxy.org). Without an
// address it says that the connection is nobody's: UNKNOWN, or LOCAL.
func headerFor(version model.ProxyProtocol, whose *transport.Ends) ([]byte, error) {
	number := byte(2)
	if version == model.ProxyProtocolV1 {
		number = 1
	}
	var client, local net.Addr
	if whose != nil {
		to := whose.Local
		if a := to.Addr(); a.IsUnspecified() && a.Is6() && whose.Client.Addr().Is4() { // of a socket for both families
			to = netip.AddrPortFrom(netip.IPv4Unspecified(), to.Port())
		}
		client, local = net.TCPAddrFromAddrPort(whose.Client), net.TCPAddrFromAddrPort(to)
	}
	return proxyproto.HeaderProxyFromAddrs(number, client, local).Format()
}
