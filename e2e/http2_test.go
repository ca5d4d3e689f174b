package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const h2specResources = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners:
  - {name: clear, protocol: HTTP, port: %s}
  - {name: tls, protocol: HTTPS, port: %s, tls: {certificateRefs: [{name: cert}]}}
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

// TestH2Spec runs the suite that others wrote against the real program: 146 cases, strictly,
// over clear text by prior knowledge, and over TLS.
func TestH2Spec(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "enough bytes for windows of one")
	}))
	defer upstream.Close()
	clear, secure := freePort(t), freePort(t)
	port := func(address string) string {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return port
	}
	certificate, key := newAuthority(t).issue(t, "localhost")
	text := fmt.Sprintf(h2specResources, port(clear), port(secure), port(upstream.Listener.Addr().String()),
		tlsSecret("cert", certificate, key))
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	launch(t, "-f", file, "--state-dir", t.TempDir())
	for mode, address := range map[string]string{"h2c": clear, "tls": secure} {
		t.Run(mode, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
			defer cancel()
			out, err := exec.CommandContext(ctx, "suites/h2spec/run.sh", address, mode, "/").CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
