package e2e_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

const http3Resources = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners:
  - {name: tls, protocol: HTTPS, port: %s, tls: {certificateRefs: [{name: cert}]}}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: edge}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  client: {http3: true}
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
spec:
  endpoints: [{address: 127.0.0.1, port: %s}]
---
%s`

// http3Front writes a configuration with HTTP/3 before an upstream. It returns the file, the
// listener's address and the certificate's authority.
func http3Front(t *testing.T, upstream http.Handler) (file, address string, ca *authority, certificate string) {
	t.Helper()
	s := httptest.NewServer(upstream)
	t.Cleanup(s.Close)
	address = freePort(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	_, back, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ca = newAuthority(t)
	certificate, key := ca.issue(t, "localhost")
	file = filepath.Join(t.TempDir(), "weir.yaml")
	text := fmt.Sprintf(http3Resources, port, back, tlsSecret("cert", certificate, key))
	put(t, file, text)
	return file, address, ca, certificate
}

func hello(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<title>hello</title><link rel=icon href='data:,'>")
}

// fetchWith gets a page and returns what it came with.
func fetchWith(t *testing.T, rt http.RoundTripper, url string) (*http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience/4)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return nil, err
	}
	return resp, nil
}

var offered = regexp.MustCompile(`^h3=":(\d+)"; ma=\d+$`)

// TestHTTP3 finds HTTP/3 as a client does, by the offer in an answer over TCP, uses it, and
// goes on to use it when the program is upgraded.
func TestHTTP3(t *testing.T) {
	t.Parallel()
	file, address, ca, _ := http3Front(t, http.HandlerFunc(hello))
	u := launchService(t, "-f", file)
	_, port, _ := net.SplitHostPort(address)
	over := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool()}}
	t.Cleanup(over.CloseIdleConnections)
	resp, err := fetchWith(t, over, "https://localhost:"+port+"/")
	if err != nil {
		t.Fatal(err)
	}
	offer := offered.FindStringSubmatch(resp.Header.Get("Alt-Svc"))
	if resp.StatusCode != 200 || offer == nil {
		t.Fatalf("%d, offered %q", resp.StatusCode, resp.Header.Get("Alt-Svc"))
	}
	h3 := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool()}}
	t.Cleanup(func() { h3.Close() })
	served := func() (bool, string) {
		resp, err := fetchWith(t, h3, "https://localhost:"+offer[1]+"/")
		if err != nil {
			return false, err.Error()
		}
		return resp.StatusCode == 200 && resp.ProtoMajor == 3, resp.Status + " " + resp.Proto
	}
	if ok, seen := served(); !ok {
		t.Fatal(seen)
	}

	if err := u.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	u.newPid(t)
	// The old connection is closed, and the next one is the new process's.
	eventually(t, served)
	select {
	case <-u.exited:
	case <-time.After(patience):
		t.Fatal("the old process is still there")
	}
	if ok, seen := served(); !ok {
		t.Errorf("after the old one: %s", seen)
	}
}

// TestSuiteBrowserHTTP3 loads a page in a real browser, over HTTP/3.
func TestSuiteBrowserHTTP3(t *testing.T) {
	t.Parallel()
	file, address, _, certificate := http3Front(t, http.HandlerFunc(hello))
	_, port, _ := net.SplitHostPort(address)
	var mu sync.Mutex
	var protocols []string
	b := newChromium(t, func(method string, params json.RawMessage) {
		var event struct {
			Response struct {
				Protocol string
				Status   int
			}
		}
		if method == "Network.responseReceived" && json.Unmarshal(params, &event) == nil {
			mu.Lock()
			defer mu.Unlock()
			protocols = append(protocols, fmt.Sprint(event.Response.Protocol, " ", event.Response.Status))
		}
	}, "--origin-to-force-quic-on=localhost:"+port, "--ignore-certificate-errors-spki-list="+spki(t, certificate))
	launch(t, "-f", file)
	b.call("Page.navigate", map[string]any{"url": "https://localhost:" + port + "/"}, nil)
	eventually(t, func() (bool, string) {
		mu.Lock()
		defer mu.Unlock()
		return len(protocols) > 0, "no answer"
	})
	mu.Lock()
	defer mu.Unlock()
	judged(t, "Chromium", "HTTP/3", map[string]func(t *testing.T){"page": func(t *testing.T) {
		if protocols[0] != "h3 200" {
			t.Errorf("loaded over %q", protocols)
		}
	}})
}
