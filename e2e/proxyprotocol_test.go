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
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weir.dev/weir/app"
)

// proxiedGateway believes 127.0.0.1, where HAProxy connects from, and tells its hosts.
const proxiedGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners:
  - {name: http, protocol: HTTP, port: 80}
  - {name: https, protocol: HTTPS, port: 443, hostname: shop.test, tls: {certificateRefs: [{name: shop}]}}
  - {name: raw, protocol: TLS, port: 443, hostname: host.test, tls: {mode: Passthrough}}
  - {name: tcp, protocol: TCP, port: 5432}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: edge}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  client: {proxyProtocol: true, trust: {addresses: [127.0.0.1/32]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge, sectionName: http}, {name: edge, sectionName: https}]
  rules:
  - matches: [{path: {value: /h1}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: h1}]
  - matches: [{path: {value: /h2c}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: h2c}]
  - matches: [{path: {value: /tls}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: tls}]
  - matches: [{path: {value: /check}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: checked}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: raw}
spec:
  parentRefs: [{name: edge, sectionName: raw}]
  hostnames: [host.test]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: raw}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: tcp}
spec:
  parentRefs: [{name: edge, sectionName: tcp}]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: h1}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: h1}
spec: {proxyProtocol: V1, endpoints: [{address: 10.0.0.1, port: 80}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: h2c}
spec: {proxyProtocol: V2, protocol: H2C, endpoints: [{address: 10.0.0.2, port: 80}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: tls}
spec:
  proxyProtocol: V2
  endpoints: [{address: 10.0.0.3, port: 443}]
  tls: {validation: {hostname: host.test, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: raw}
spec: {proxyProtocol: V1, endpoints: [{address: 10.0.0.3, port: 443}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: checked}
spec: {endpoints: [{address: 10.0.0.4, port: 80}]}
`

// said is what the hosts of these tests answer with: whose the connection is, where that client
// connected to, and what X-Forwarded-For says.
const said = `"%[src]:%[src_port]>%[dst]:%[dst_port] xff=%[req.hdr(x-forwarded-for)]"`

// haproxy is HAProxy to be, with sockets that are open before it runs.
type haproxy struct {
	t       *testing.T
	program string
	config  strings.Builder
	files   []*os.File
	at      map[string]string // addresses, by section
}

func newHAProxy(t *testing.T) *haproxy {
	h := &haproxy{t: t, program: need(t, "haproxy"), at: map[string]string{}}
	h.config.WriteString("defaults\n timeout connect 20s\n timeout client 20s\n timeout server 20s\n timeout check 20s\n")
	return h
}

// listen adds a section with a socket; bind is what is said of it, body the rest.
func (h *haproxy) listen(name, bind, body string) {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		h.t.Fatal(err)
	}
	fmt.Fprintf(&h.config, "listen %s\n bind fd@%d %s\n %s\n", name, 3+len(h.files), bind, strings.ReplaceAll(body, "\n", "\n "))
	h.files = append(h.files, file)
	h.at[name] = l.Addr().String()
}

func (h *haproxy) start() {
	h.t.Helper()
	file := filepath.Join(h.t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(h.config.String()), 0o600); err != nil {
		h.t.Fatal(err)
	}
	run(h.t, exec.Command(h.program, "-db", "-f", file), h.files)
}

// run has a program run until the end of the test, with open files from the third on.
func run(t *testing.T, cmd *exec.Cmd, files []*os.File) {
	t.Helper()
	var out logBuffer
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &out, &out, files
	err := cmd.Start()
	for _, f := range files {
		_ = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("%s:\n%s", cmd.Path, &out)
		}
	})
}

// visitor is an address that clients of these tests come from, which nobody trusts.
var visitor = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}

// visit connects as a visitor.
func visit(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: visitor, Timeout: patience}).Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// askOn asks for a path on a connection and returns the body.
func askOn(t *testing.T, c net.Conn, path string) string {
	t.Helper()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: shop.test\r\n\r\n", path)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%s: %d %s, %v", path, resp.StatusCode, body, err)
	}
	return string(body)
}

// TestHAProxy has HAProxy on both sides: it hands on connections with headers of both versions,
// and hears whose they are.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	hostCertificate, hostKey := ca.issue(t, "host.test")
	pem := filepath.Join(t.TempDir(), "host.pem")
	put(t, pem, hostCertificate+hostKey)
	h := newHAProxy(t)
	answer := "mode http\nhttp-request return status 200 content-type text/plain lf-string " + said
	h.listen("h1", "accept-proxy", answer)
	h.listen("h2c", "accept-proxy proto h2", answer)
	h.listen("tls", "accept-proxy ssl crt "+pem+" alpn h2,http/1.1", answer)
	shopCertificate, shopKey := ca.issue(t, "shop.test")
	checks := make(chan string, 1000)
	w := start(t, map[string]string{
		"gateway.yaml": proxiedGateway, "shop.yaml": tlsSecret("shop", shopCertificate, shopKey), "ca.yaml": authoritiesMap("ca", ca.text),
	}, func(c *app.Config) {
		inner := c.Dial
		hosts := map[string]string{"10.0.0.1": h.at["h1"], "10.0.0.2": h.at["h2c"], "10.0.0.3": h.at["tls"]}
		c.Dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			if at := hosts[a.Addr().String()]; at != "" {
				return (&net.Dialer{}).DialContext(ctx, "tcp", at)
			}
			return inner(ctx, a)
		}
	})
	w.mu.Lock()
	w.handler = func(string) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			checks <- r.URL.Path + " " + r.Header.Get("X-Forwarded-For")
		})
	}
	w.mu.Unlock()
	for name, port := range map[string]uint16{"http": 80, "https": 443, "tcp": 5432} {
		at, _ := w.real(port)
		for version, send := range map[string]string{"v1": "send-proxy", "v2": "send-proxy-v2"} {
			body := "mode tcp\nserver weir " + at + " " + send
			if name == "http" { // it looks after us with connections of its own
				body += " check check-send-proxy inter 100ms\noption httpchk\nhttp-check send meth GET uri /check/" + version + " hdr host shop.test"
			}
			h.listen(name+"-"+version, "", body)
		}
	}
	h.start()

	for _, version := range []string{"v1", "v2"} {
		for _, path := range []string{"/h1", "/h2c", "/tls"} {
			c := visit(t, h.at["http-"+version])
			want := fmt.Sprintf("%v>%v xff=127.0.0.9", c.LocalAddr(), c.RemoteAddr())
			for range 2 {
				if got := askOn(t, c, path); got != want {
					t.Errorf("HTTP, %s, %s: %q, want %q", version, path, got, want)
				}
			}
			c = visit(t, h.at["https-"+version])
			want = fmt.Sprintf("%v>%v xff=127.0.0.9", c.LocalAddr(), c.RemoteAddr())
			secured := tls.Client(c, &tls.Config{RootCAs: ca.pool(), ServerName: "shop.test"})
			if got := askOn(t, secured, path); got != want {
				t.Errorf("HTTPS, %s, %s: %q, want %q", version, path, got, want)
			}
		}
		c := visit(t, h.at["https-"+version])
		want := fmt.Sprintf("%v>%v xff=", c.LocalAddr(), c.RemoteAddr())
		if got := askOn(t, tls.Client(c, &tls.Config{RootCAs: ca.pool(), ServerName: "host.test"}), "/"); got != want {
			t.Errorf("TLS passed through, %s: %q, want %q", version, got, want)
		}
		c = visit(t, h.at["tcp-"+version])
		want = fmt.Sprintf("%v>%v xff=", c.LocalAddr(), c.RemoteAddr())
		if got := askOn(t, c, "/"); got != want {
			t.Errorf("TCP, %s: %q, want %q", version, got, want)
		}
	}
	for seen := map[string]bool{}; len(seen) < 2; { // checks are HAProxy's own
		got := <-checks
		if seen[got] = true; got != "/check/v1 127.0.0.1" && got != "/check/v2 127.0.0.1" {
			t.Fatalf("checked by %q", got)
		}
	}

	// Who comes by another way is not believed, and need not say anything.
	direct, _ := w.real(80)
	c := visit(t, direct)
	if got, want := askOn(t, c, "/h1"), fmt.Sprintf("%v>%v xff=127.0.0.9", c.LocalAddr(), c.RemoteAddr()); got != want {
		t.Errorf("without HAProxy: %q, want %q", got, want)
	}
	c = visit(t, direct)
	_, _ = io.WriteString(c, "PROXY TCP4 198.51.100.7 203.0.113.1 5555 443\r\nGET /h1 HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
	if got, _ := io.ReadAll(c); strings.Contains(string(got), "198.51.100.7") || strings.Contains(string(got), " 200 ") {
		t.Errorf("a stranger was believed: %s", got)
	}
}

// TestNginx has nginx as the host.
func TestNginx(t *testing.T) {
	t.Parallel()
	program := need(t, "nginx")
	address := freePort(t)
	_, port, _ := net.SplitHostPort(address)
	folder := t.TempDir()
	config := `daemon off; master_process off; pid ` + folder + `/pid; error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path ` + folder + `; proxy_temp_path ` + folder + `; fastcgi_temp_path ` + folder + `; uwsgi_temp_path ` + folder + `; scgi_temp_path ` + folder + `;
  server {
    listen 127.0.0.1:` + port + ` proxy_protocol;
    return 200 "$proxy_protocol_addr:$proxy_protocol_port>$proxy_protocol_server_addr:$proxy_protocol_server_port";
  }
}
`
	file := filepath.Join(folder, "nginx.conf")
	put(t, file, config)
	run(t, exec.Command(program, "-e", "stderr", "-p", folder, "-c", file), nil)
	gateway := strings.NewReplacer(
		"client: {proxyProtocol: true, trust: {addresses: [127.0.0.1/32]}}", "client: {headTimeout: 30s}",
		"spec: {endpoints: [{address: 10.0.0.4", "spec: {proxyProtocol: V2, endpoints: [{address: 10.0.0.4",
	).Replace(proxiedGateway)
	ca := newAuthority(t)
	certificate, key := ca.issue(t, "shop.test")
	w := start(t, map[string]string{"gateway.yaml": gateway, "shop.yaml": tlsSecret("shop", certificate, key), "ca.yaml": authoritiesMap("ca", ca.text)},
		func(c *app.Config) {
			c.Dial = func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", address)
			}
		})
	eventually(t, func() (bool, string) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return false, err.Error()
		}
		_ = c.Close()
		return true, ""
	})
	at, _ := w.real(80)
	for _, path := range []string{"/h1", "/check"} { // versions 1 and 2
		c := visit(t, at)
		want := fmt.Sprintf("%v>%v", c.LocalAddr(), c.RemoteAddr())
		for range 3 {
			if got := askOn(t, c, path); got != want {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
	}
}
