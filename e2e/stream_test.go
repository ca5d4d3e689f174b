package e2e_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/app"
)

const streamGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners:
  - {name: https, protocol: HTTPS, port: 443, hostname: shop.test, tls: {certificateRefs: [{name: shop}]}}
  - {name: raw, protocol: TLS, port: 443, hostname: "*.raw.test", tls: {mode: Passthrough}}
  - {name: db, protocol: TLS, port: 443, hostname: db.test, tls: {mode: Terminate, certificateRefs: [{name: db}]}}
  - {name: tcp, protocol: TCP, port: 5432}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge, sectionName: https}]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: web}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: raw}
spec:
  parentRefs: [{name: edge, sectionName: raw}]
  hostnames: [a.raw.test]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: secure}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: db}
spec:
  parentRefs: [{name: edge, sectionName: db}]
  hostnames: [db.test]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: plain}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: db}
spec:
  parentRefs: [{name: edge, sectionName: tcp}]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: plain}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: web}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: secure}
spec: {endpoints: [{address: 10.0.0.2, port: 443}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: plain}
spec: {endpoints: [{address: 10.0.0.3, port: 5432}]}
`

// answering starts a host that says who it is and then answers each line.
func answering(t *testing.T, l net.Listener, who string) string {
	t.Helper()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				fmt.Fprintf(c, "this is %s\n", who)
				for lines := bufio.NewScanner(c); lines.Scan(); {
					fmt.Fprintf(c, "%s got %s\n", who, lines.Text())
				}
			}()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// streamFront is a Weir with HTTP and streams on one port, and streams without TLS on another.
type streamFront struct {
	*weir
	ca *authority
}

func startStreams(t *testing.T) *streamFront {
	t.Helper()
	ca := newAuthority(t)
	certificate, key := ca.issue(t, "a.raw.test")
	hostConfig := &tls.Config{Certificates: []tls.Certificate{pair(t, certificate, key)}}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	secure := answering(t, tls.NewListener(listen(), hostConfig), "secure")
	plain := answering(t, listen(), "plain")
	files := map[string]string{"gateway.yaml": streamGateway}
	for _, name := range []string{"shop", "db"} {
		certificate, key := ca.issue(t, name+".test")
		files[name+".yaml"] = tlsSecret(name, certificate, key)
	}
	w := start(t, files, func(c *app.Config) {
		inner := c.Dial
		c.Dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			var d net.Dialer
			switch a.Addr().String() {
			case "10.0.0.2":
				return d.DialContext(ctx, "tcp", secure)
			case "10.0.0.3":
				return d.DialContext(ctx, "tcp", plain)
			}
			return inner(ctx, a)
		}
	})
	return &streamFront{w, ca}
}

func (s *streamFront) at(t *testing.T, port uint16) string {
	t.Helper()
	at, ok := s.real(port)
	if !ok {
		t.Fatalf("no listener on port %d", port)
	}
	return at
}

// TestStreams: HTTPS, TLS that passes through and TLS that ends here share a port, whoever's
// client comes; and TCP has one of its own.
func TestStreams(t *testing.T) {
	t.Parallel()
	s := startStreams(t)
	client := s.client(t)
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: s.ca.pool()}
	if status, flag, _, err := get(client); err != nil || status != http.StatusOK {
		t.Errorf("HTTPS: %d %s %v", status, flag, err)
	}
	for name, want := range map[string]struct{ who, protocols string }{"a.raw.test": {"secure", ""}, "db.test": {"plain", "postgresql"}} {
		// The certificate is verified: the host's own for a.raw.test, Weir's for db.test.
		config := &tls.Config{RootCAs: s.ca.pool(), ServerName: name}
		if want.protocols != "" {
			config.NextProtos = []string{want.protocols} // that Weir does not know must not matter
		}
		c, err := tls.Dial("tcp", s.at(t, 443), config)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		converse(t, name, c, want.who)
	}
	c, err := net.Dial("tcp", s.at(t, 5432))
	if err != nil {
		t.Fatal(err)
	}
	converse(t, "TCP", c, "plain")
	// A browser that takes one connection for several names is sent to make another.
	front, err := tls.Dial("tcp", s.at(t, 443), &tls.Config{RootCAs: s.ca.pool(), ServerName: "shop.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	fmt.Fprint(front, "GET / HTTP/1.1\r\nHost: a.raw.test\r\n\r\n")
	if line, err := bufio.NewReader(front).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 421 ") {
		t.Errorf("a request for what passes through got %q, %v", line, err)
	}
	for _, name := range []string{"b.raw.test", "other.test", "raw.test"} {
		_, err := tls.Dial("tcp", s.at(t, 443), &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%s: %v, want an alert", name, err)
		}
	}
}

// converse has a conversation with a host and checks who it is.
func converse(t *testing.T, what string, c net.Conn, who string) {
	t.Helper()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	want := fmt.Sprintf("this is %s\n%s got hello\n", who, who)
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Errorf("%s: got %q, %v; want %q", what, got[:n], err, want)
	}
}

// TestSuiteOpenSSLStreams: a client that others wrote goes through both kinds of TLS.
func TestSuiteOpenSSLStreams(t *testing.T) {
	t.Parallel()
	openssl := need(t, "openssl")
	s := startStreams(t)
	cases := map[string]func(t *testing.T){}
	for name, who := range map[string]string{"a.raw.test": "secure", "db.test": "plain"} {
		for _, version := range []string{"-tls1_2", "-tls1_3"} {
			cases[who+" "+version] = func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				cmd := exec.CommandContext(ctx, openssl, "s_client", "-connect", s.at(t, 443), "-servername", name, version, "-quiet", "-ign_eof", "-alpn", "mqtt")
				in, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(in, "hello\n")
				lines := bufio.NewScanner(out)
				var got []string
				for len(got) < 2 && lines.Scan() {
					got = append(got, lines.Text())
				}
				if want := []string{"this is " + who, who + " got hello"}; strings.Join(got, "|") != strings.Join(want, "|") {
					t.Errorf("got %q, want %q", got, want)
				}
				_ = in.Close()
				cancel()
				_ = cmd.Wait() // it is killed
			}
		}
	}
	judged(t, "openssl s_client", "TLS routes", cases)
}
