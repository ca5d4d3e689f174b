package e2e_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// dnsServer answers every question for an A record with 192.0.2.7. It returns where it listens.
func dnsServer(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Additionals = true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60},
					Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}},
				}}
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = c.WriteToUDPAddrPort(answer, from)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

const dnsFront = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weir
  listeners:
  - {name: dns, port: %d, protocol: UDP}
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: UDPRoute
metadata: {name: dns}
spec:
  parentRefs: [{name: front}]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: resolver}]
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: dns}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: UDPRoute, name: dns}]
  timeouts: {idle: 2s}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: resolver}
spec:
  protocol: UDP
  endpoints: [{address: %s, port: %d}]
`

// dnsFile writes a configuration that leads a port to a DNS server.
func dnsFile(t *testing.T, front, server netip.AddrPort) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "dns.yaml")
	text := fmt.Sprintf(dnsFront, front.Port(), server.Addr(), server.Port())
	put(t, file, text)
	return file
}

// TestDNS resolves names through a UDPRoute, with the standard library's resolver, by every address
// that the listener has.
func TestDNS(t *testing.T) {
	t.Parallel()
	front := netip.MustParseAddrPort(freePort(t))
	p := launch(t, "-f", dnsFile(t, front, dnsServer(t)))
	for i, address := range []string{"127.0.0.1", "127.0.0.3"} {
		resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "udp", fmt.Sprintf("%s:%d", address, front.Port()))
		}}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		found, err := resolver.LookupNetIP(ctx, "ip4", fmt.Sprintf("n%d.example.", i))
		if err != nil || len(found) != 1 || found[0].Unmap().String() != "192.0.2.7" {
			t.Errorf("by %s: %v, %v", address, found, err)
		}
	}
	_, metrics := fetch("http://" + p.admin + "/metrics")
	name := fmt.Sprintf(`weir_listener_received_datagrams_total{listener="[::]:%d/udp"} `, front.Port())
	if !strings.Contains(metrics, name+"2\n") {
		t.Errorf("no two datagrams in the metrics:\n%s", metrics)
	}
}

// askDNS asks a DNS server one question over a connection and waits for its answer.
func askDNS(c net.Conn, id uint16) error {
	m := dnsmessage.Message{
		Header: dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName("example.org."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
		}},
	}
	question, err := m.Pack()
	if err != nil {
		return err
	}
	if _, err := c.Write(question); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(patience / 2)); err != nil {
		return err
	}
	buf := make([]byte, 512)
	n, err := c.Read(buf)
	if err != nil {
		return fmt.Errorf("question %d: %w", id, err)
	}
	if err := m.Unpack(buf[:n]); err != nil {
		return fmt.Errorf("question %d: %w", id, err)
	}
	if m.ID != id || len(m.Answers) != 1 {
		return fmt.Errorf("question %d: got %+v", id, m)
	}
	return nil
}

// TestUpgradeOfUDP replaces the running program twice while questions come: each is answered at
// the first try.
func TestUpgradeOfUDP(t *testing.T) {
	t.Parallel()
	front := netip.MustParseAddrPort(freePort(t))
	u := launchService(t, "-f", dnsFile(t, front, dnsServer(t)))
	ctx, stop := context.WithCancel(t.Context())
	var (
		good atomic.Int64
		wg   sync.WaitGroup
	)
	defer wg.Wait()
	defer stop()
	for i := range 4 {
		wg.Go(func() {
			kept, err := net.Dial("udp", front.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer kept.Close()
			pace := time.NewTicker(2 * time.Millisecond) // sessions are bounded
			defer pace.Stop()
			for id := uint16(0); ctx.Err() == nil; id++ {
				c := kept
				if i%2 == 0 { // a new session each time
					if c, err = net.Dial("udp", front.String()); err != nil {
						t.Error(err)
						return
					}
				}
				err := askDNS(c, id)
				if i%2 == 0 {
					c.Close()
				}
				if err != nil {
					t.Error(err)
					return
				}
				good.Add(1)
				select {
				case <-pace.C:
				case <-ctx.Done():
				}
			}
		})
	}
	pid := u.cmd.Process.Pid
	for range 2 {
		before := good.Load()
		if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		pid = u.newPid(t)
		eventually(t, func() (bool, string) { return good.Load() > before+100, "no questions are answered" })
	}
	if code := u.end(t); code != 0 {
		t.Errorf("the first process ended with %d", code)
	}
	stop()
	wg.Wait()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(front))
		if err == nil {
			c.Close()
		}
		return err == nil, "the last process has not given the port back"
	})
}
