package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// tokenOf names a host by eight bytes that every proxy computes alike: of the SHA-256 of the
// cluster's name, a NUL and the address. They do not show these, but whoever guesses both
// can check the guess.
func tokenOf(cluster string, address netip.AddrPort) uint64 {
	name := append([]byte(cluster), 0)
	sum := sha256.Sum256(address.AppendTo(name))
	return binary.BigEndian.Uint64(sum[:])
}

// Token returns what stands for the host in a session: the same in every proxy and after
// every restart, as long as cluster and address have their names.
func (h *Host) Token() uint64 { return h.token }

// ByToken returns the host whose token this is, or nil if the cluster has it no more or it
// may not be used: it is not healthy, and its level does not panic. A weight of 0 keeps new
// requests away but ends no session: GEP-1619 puts sessions before weights. It takes no lock
// that a change holds; the first call after a change makes the index.
func (c *Cluster) ByToken(token uint64) *Host {
	p := c.picker.Load()
	if p == nil {
		return nil
	}
	p.indexed.Do(func() {
		p.tokens = make(map[uint64]*Host, len(p.usable))
		for _, h := range p.usable {
			p.tokens[h.token] = h
		}
	})
	return p.tokens[token]
}
