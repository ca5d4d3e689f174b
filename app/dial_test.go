package app

import (
	"context"
	"net"
	"net/netip"
	"testing"
)

func TestNoBackendReachesTheAdminAddress(t *testing.T) {
	reached := false
	a, err := New(Config{Dial: func(context.Context, netip.AddrPort) (net.Conn, error) {
		reached = true
		return nil, net.ErrClosed
	}})
	if err != nil {
		t.Fatal(err)
	}
	a.admin.Store(&[]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9901")})
	for address, refused := range map[string]bool{
		"127.0.0.1:9901": true, "0.0.0.0:9901": true, "[::]:9901": true, "127.0.0.1:9902": false, "10.0.0.1:9901": false,
	} {
		reached = false
		if _, err := a.dial(t.Context(), netip.MustParseAddrPort(address)); err == nil || reached == refused {
			t.Errorf("%s: dialled %v, %v", address, reached, err)
		}
	}
}
