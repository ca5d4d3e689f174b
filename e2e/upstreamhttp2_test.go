package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"weir.dev/weir/app"
)

const upstreamHTTP2 = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners:
  - {name: clear, protocol: HTTP, port: 80}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all}
spec:
  parentRefs: [{name: edge}]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: up}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: up}
spec: {protocol: H2C, endpoints: [{address: 10.0.0.1, port: 8080}]}
`

// TestHTTP2ToHostsThatComeAndGo goes through the whole program to a host that others wrote,
// which takes leave of a connection now and then (GOAWAY), under load: no request fails,
// whatever its method.
func TestHTTP2ToHostsThatComeAndGo(t *testing.T) {
	t.Parallel()
	var served, connections atomic.Int32
	host := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if served.Add(1)%100 == 0 {
			w.Header().Set("Connection", "close") // net/http makes GOAWAY of it
		}
		fmt.Fprintf(w, "%s %s %d", r.Proto, r.Method, len(body))
	}))
	host.Config.Protocols = new(http.Protocols)
	host.Config.Protocols.SetUnencryptedHTTP2(true)
	host.Start()
	t.Cleanup(host.Close)
	w := start(t, map[string]string{"weir.yaml": upstreamHTTP2}, func(c *app.Config) {
		dial := c.Dial
		c.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			if to.Port() == 8080 && to.Addr().IsPrivate() {
				connections.Add(1)
				var d net.Dialer
				return d.DialContext(ctx, "tcp", host.Listener.Addr().String())
			}
			return dial(ctx, to)
		}
	})
	at, _ := w.real(80)
	var wait sync.WaitGroup
	for worker := range 20 {
		client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
		t.Cleanup(client.CloseIdleConnections)
		wait.Go(func() {
			for i := range 100 {
				method, body := "GET", ""
				if (worker+i)%2 == 0 {
					method, body = "POST", strings.Repeat("x", i*37)
				}
				req, err := http.NewRequestWithContext(t.Context(), method, "http://"+at+"/", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if want := fmt.Sprintf("HTTP/2.0 %s %d", method, len(body)); err != nil || string(got) != want {
					t.Errorf("got %d %q, %v, want %q", resp.StatusCode, got, err, want)
				}
			}
		})
	}
	wait.Wait()
	if n := connections.Load(); n < 5 || n > 100 {
		t.Errorf("%d connections for %d requests", n, served.Load())
	}
}

// TestNGHTTP2 has programs that others wrote on both sides: nghttpd as the host, in clear text
// and with TLS, and h2load as clients that speak HTTP/1.1 and HTTP/2.
func TestNGHTTP2(t *testing.T) {
	t.Parallel()
	need(t, "nghttpd")
	need(t, "h2load")
	folder := t.TempDir()
	authority := newAuthority(t)
	certificate, key := authority.issue(t, "host.test")
	for name, data := range map[string][]byte{
		"small": []byte("hello"), "large": bytes.Repeat([]byte("0123456789abcdef"), 16<<10),
		"cert": []byte(certificate), "key": []byte(key),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		spec string
		args []string
	}{
		"H2C": {"protocol: H2C", []string{"--no-tls"}},
		"TLS": {"tls: {validation: {hostname: host.test, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			front, back := freePort(t), freePort(t)
			_, frontPort, _ := net.SplitHostPort(front)
			_, backPort, _ := net.SplitHostPort(back)
			args := append(test.args, "-a", "127.0.0.1", "-d", folder, backPort)
			if test.args == nil {
				args = append(args, filepath.Join(folder, "key"), filepath.Join(folder, "cert"))
			}
			host := exec.Command("nghttpd", args...)
			if err := host.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = host.Process.Kill(); _ = host.Wait() })
			text := strings.NewReplacer(
				"port: 80}", "port: "+frontPort+"}", "protocol: H2C", test.spec, "10.0.0.1, port: 8080", "127.0.0.1, port: "+backPort,
			).Replace(upstreamHTTP2) + "---\n" + authoritiesMap("ca", authority.text)
			file := filepath.Join(t.TempDir(), "weir.yaml")
			put(t, file, text)
			launch(t, "-f", file)
			eventually(t, func() (bool, string) {
				resp, err := http.Get("http://" + front + "/small")
				if err != nil {
					return false, err.Error()
				}
				_ = resp.Body.Close()
				return resp.StatusCode == 200, resp.Status
			})
			for _, load := range []string{"--h1 -c 20 -n 2000", "-c 4 -m 25 -n 2000"} {
				for _, path := range []string{"/small", "/large"} {
					out, err := exec.Command("h2load", append(strings.Fields(load), "http://"+front+path)...).CombinedOutput()
					if err != nil || !bytes.Contains(out, []byte("2000 succeeded, 0 failed, 0 errored")) || !bytes.Contains(out, []byte("2000 2xx")) {
						t.Errorf("h2load %s %s: %v\n%s", load, path, err, out)
					}
				}
			}
		})
	}
}
