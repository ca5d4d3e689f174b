package app

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
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

// TestNoGateReachesTheAdminAddress: nor does what gates ask, by whatever name.
func TestNoGateReachesTheAdminAddress(t *testing.T) {
	reached := false
	a, err := New(Config{
		Dial: func(context.Context, netip.AddrPort) (net.Conn, error) { reached = true; return nil, net.ErrClosed },
		Resolve: func(_ context.Context, name string) ([]netip.Addr, error) {
			if name != "inside.test" {
				return nil, &net.DNSError{Name: name}
			}
			return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.admin.Store(&[]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9901")})
	client := a.newGateClient()
	for _, url := range []string{"http://127.0.0.1:9901/", "http://[::ffff:127.0.0.1]:9901/", "http://0.0.0.0:9901/", "https://[::]:9901/", "http://inside.test:9901/"} {
		resp, err := client.Post(url, "application/json", http.NoBody)
		if err == nil {
			resp.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "admin address") || reached {
			t.Errorf("%s: dialled %v, %v", url, reached, err)
		}
	}
	if _, err := client.Get("http://inside.test:9902/"); err == nil || !reached {
		t.Errorf("another port: dialled %v, %v", reached, err)
	}
}
