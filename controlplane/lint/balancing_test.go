package lint

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
)

// What one Gateway's policy does to many backends is one finding.
func TestOneFindingForManyBackends(t *testing.T) {
	var text strings.Builder
	text.WriteString(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 8080, protocol: HTTP}, {name: more, port: 8081, protocol: HTTP}]}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: front}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}]
  loadBalancing: {algorithm: RingHash, zoneAware: true}
`)
	for i := range 5 {
		fmt.Fprintf(&text, `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r%[1]d}
spec: {parentRefs: [{name: front}], hostnames: [h%[1]d.test], rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: b%[1]d}]}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: b%[1]d}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
`, i)
	}
	var decoder resource.Decoder
	objects, diagnostics := decoder.Decode("in.yaml", []byte(text.String()))
	if len(diagnostics) > 0 {
		t.Fatal(diagnostics)
	}
	set := resource.NewSet(objects, nil)
	found := Config{}.Run(set, translate.Translate(translate.Input{Set: set}))
	want := []string{
		"hash-without-key in.yaml:11:19: warning: TrafficPolicy default/front: spec.loadBalancing.algorithm: has no key to hash for rule 0 of HTTPRoute default/r0, rule 0 of HTTPRoute default/r1, rule 0 of HTTPRoute default/r2 and 2 more",
		"hash-with-zones in.yaml:11:40: warning: TrafficPolicy default/front: spec.loadBalancing.zoneAware: has no effect on Backend default/b0, Backend default/b1, Backend default/b2 and 2 more:",
	}
	if len(found) != len(want) {
		t.Fatalf("%v", found)
	}
	for i, d := range found {
		if got := d.Rule + " " + d.String(); !strings.HasPrefix(got, want[i]) {
			t.Errorf("got  %s\nwant %s", got, want[i])
		}
	}
}

// A Gateway's policy that serves one backend is right, although another hashes.
func TestMeantForOthers(t *testing.T) {
	const text = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: front}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}]
  loadBalancing: {zoneAware: true, slowStart: 30s}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: cache}
spec:
  targetRefs: [{group: weir.dev, kind: Backend, name: cache}]
  loadBalancing: {algorithm: RingHash}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: front}]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: shop}]
  - matches: [{path: {value: /images}}]
    sessionPersistence: {}
    backendRefs: [{group: weir.dev, kind: Backend, name: cache}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{address: 10.0.0.1, port: 80, zone: a}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: cache}
spec: {endpoints: [{address: 10.0.0.2, port: 80, zone: a}]}
`
	var decoder resource.Decoder
	objects, diagnostics := decoder.Decode("in.yaml", []byte(text))
	if len(diagnostics) > 0 {
		t.Fatal(diagnostics)
	}
	set := resource.NewSet(objects, nil)
	if found := (Config{}).Run(set, translate.Translate(translate.Input{Set: set})); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}
