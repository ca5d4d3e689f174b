package app

import (
	"net"
	"net/netip"
	"slices"
)

// secretive are link-local addresses, whichever way they are written, and those outside of them where
// some clouds have their metadata, as others have at 169.254.169.254.
var secretive = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),      // RFC 3927
	netip.MustParsePrefix("fe80::/10"),           // RFC 4291, section 2.5.6
	netip.MustParsePrefix("64:ff9b::a9fe:0/112"), // 169.254.0.0/16 through NAT64, RFC 6052
	netip.MustParsePrefix("2002:a9fe::/32"),      // and through 6to4, RFC 3056
	netip.MustParsePrefix("64:ff9b:1::/48"),      // NAT64 of one's own, RFC 8215: wherever that leads
	netip.MustParsePrefix("fd00:ec2::/32"),       // AWS
	netip.MustParsePrefix("fd20:ce::/32"),        // Google
	netip.MustParsePrefix("100.100.100.200/32"),  // Alibaba
	netip.MustParsePrefix("168.63.129.16/32"),    // Azure
}

// tellsSecrets reports whether an address may be one where a cloud tells a machine its credentials.
func tellsSecrets(a netip.Addr) bool {
	return slices.ContainsFunc(secretive, func(p netip.Prefix) bool { return p.Contains(a.WithZone("")) })
}

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
