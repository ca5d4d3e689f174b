package app

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
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

// TestNoGateReachesMetadata: what gates ask is never where a cloud tells a machine its secrets, by whatever name
// and after whatever redirect; loopback is fine.
func TestNoGateReachesMetadata(t *testing.T) {
	server := httptest.NewServer(http.RedirectHandler("http://metadata.test/latest/", http.StatusTemporaryRedirect))
	defer server.Close()
	names := map[string]string{"metadata.test": "169.254.169.254", "six.test": "::ffff:169.254.169.254", "local.test": "127.0.0.1"}
	var dialled []netip.AddrPort
	a, err := New(Config{
		Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			dialled = append(dialled, to)
			return new(net.Dialer).DialContext(ctx, "tcp", to.String())
		},
		Resolve: func(_ context.Context, name string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr(names[name])}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "http://"), ":")
	client := a.newGateClient() // follows redirects, which gates do not
	for _, url := range []string{
		"http://169.254.169.254/", "http://[::ffff:169.254.169.254]/", "https://169.254.170.2/", "http://[fe80::1]:9090/", "http://[64:ff9b::169.254.169.254]/",
		"http://[fd00:ec2::254]/", "http://[fd00:ec2::23]/", "http://[fd20:ce::254]/", "http://[64:ff9b:1::a9fe:a9fe]/", "http://metadata.test/", "http://six.test/", "http://local.test:" + port + "/",
	} {
		dialled = nil
		resp, err := client.Post(url, "application/json", http.NoBody)
		if err == nil {
			resp.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "no gate may ask there") {
			t.Errorf("%s: %v", url, err)
		}
		if local := strings.Contains(url, "local.test"); local != (len(dialled) == 1) {
			t.Errorf("%s: dialled %v", url, dialled)
		}
	}
}
