package app

import (
	"net"
	"net/netip"
	"slices"
)

// localAddresses are the addresses of this machine by which others reach it, IPv4 first:
// what a Gateway is bound to that names no address. A machine that nobody reaches has its
// loopback addresses only. They are read anew with every configuration.
func localAddresses() []netip.Addr {
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil // a status then says "::", which is true as well
	}
	var global, loopback []netip.Addr
	for _, f := range found {
		prefix, err := netip.ParsePrefix(f.String())
		if err != nil {
			continue
		}
		switch a := prefix.Addr().Unmap(); {
		case a.IsLoopback():
			loopback = append(loopback, a)
		case a.IsGlobalUnicast():
			global = append(global, a)
		}
	}
	if len(global) == 0 {
		global = loopback
	}
	slices.SortFunc(global, netip.Addr.Compare)
	return slices.Compact(global)
}
