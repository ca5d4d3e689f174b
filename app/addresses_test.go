package app

import (
	"context"
	"net"
	"net/netip"
	"testing"
)

// TestListenFamilies: [::] takes both families, 0.0.0.0 only its own, so that a Gateway on
// an IPv6 address can have the same port.
func TestListenFamilies(t *testing.T) {
	probe, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Logf("no IPv6 here: %v", err)
		return
	}
	_ = probe.Close()
	var c Config
	c.fill()
	reaches := func(unspecified, loopback string) bool {
		l, err := c.Listen(context.Background(), netip.MustParseAddrPort(unspecified))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		port := netip.MustParseAddrPort(l.Addr().String()).Port()
		conn, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(loopback), port).String())
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	}
	for _, test := range []struct {
		listen, dial string
		want         bool
	}{
		{"[::]:0", "::1", true},
		{"[::]:0", "127.0.0.1", true},
		{"0.0.0.0:0", "127.0.0.1", true},
		{"0.0.0.0:0", "::1", false},
	} {
		if got := reaches(test.listen, test.dial); got != test.want {
			t.Errorf("listening at %s, reached at %s: %t, want %t", test.listen, test.dial, got, test.want)
		}
	}
}

func TestLocalAddresses(t *testing.T) {
	own := localAddresses()
	if len(own) == 0 {
		t.Fatal("this machine has no address, not even that of its loopback")
	}
	for _, a := range own {
		if a.IsUnspecified() || a.IsLinkLocalUnicast() || a.Is4In6() {
			t.Errorf("%v is not an address by which others reach this machine", a)
		}
	}
}
