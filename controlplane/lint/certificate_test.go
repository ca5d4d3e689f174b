package lint

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestCertificatesOfRoutes: below a listener for many hosts it is the routes' that count.
func TestCertificatesOfRoutes(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/certificate-hostname.txtar")
	if err != nil {
		t.Fatal(err)
	}
	const route = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: front}]
  hostnames: [HOST]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: shop}]
  - matches: [{path: {value: /b}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: shop}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec:
  endpoints: [{address: 10.0.0.1, port: 80}]
`
	good := string(content(t, archive, "good.yaml")) // for shop.example.com
	for _, tt := range []struct{ listener, route, want string }{
		{"", "shop.example.com", ""},
		{"", "other.example.com", "spec.hostnames[0]: no certificate of listener https of Gateway default/front is for other.example.com: they are for shop.example.com; clients refuse it\n"},
		{"*.example.com", "shop.example.com", ""},
		{"*.example.com", "a.shop.example.com", "HTTPRoute default/shop: spec.hostnames[0]: no certificate of listener https of Gateway default/front is for a.shop.example.com: they are for shop.example.com; clients refuse it\n"},
		{"*.example.com", `"*.example.com"`, ""},
		{"*.example.org", `"*.example.org"`, "spec.listeners[0].hostname: no certificate of the listener is for *.example.org: they are for shop.example.com; clients refuse it\n"},
	} {
		hostname := ""
		if tt.listener != "" {
			hostname = `hostname: "` + tt.listener + `", `
		}
		text := strings.Replace(good, "hostname: shop.example.com, ", hostname, 1) + strings.Replace(route, "HOST", tt.route, 1)
		archive.Files = []txtar.File{{Name: "in.yaml", Data: []byte(text)}}
		if got := lines(lintFile(t, archive, "in.yaml"), "certificate-hostname"); !strings.HasSuffix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s below %q: %q, want %q", tt.route, tt.listener, got, tt.want)
		}
	}
}
