package lint

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"weir.dev/weir/controlplane/translate"
)

// TestKinds: what is wrong with rules is found in routes of every kind.
func TestKinds(t *testing.T) {
	archive := txtar.Parse([]byte(`-- bad.yaml --
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weir
  listeners:
  - {name: http, port: 8080, protocol: HTTP}
  - {name: tcp, port: 9000, protocol: TCP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: calls}
spec:
  parentRefs: [{name: front}]
  hostnames: [a.test, a.test, b.test]
  rules:
  - name: nothing
  - matches: [{method: {service: a.B}}]
    filters: [{type: RequestMirror, requestMirror: {backendRef: {group: weir.dev, kind: Backend, name: shop}}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: shop}]
  - name: again
    matches: [{method: {service: a.B}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: shop}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: late}
spec:
  parentRefs: [{name: front}]
  hostnames: [b.test]
  rules:
  - matches: [{method: {service: a.B}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: shop}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: lost}
spec:
  parentRefs: [{name: front, sectionName: tcp}]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: shop}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: bytes}
spec:
  parentRefs: [{name: front, sectionName: tcp}]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: bytes, weight: 0}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec:
  endpoints: [{address: 10.0.0.1, port: 80}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: bytes}
spec:
  protocol: TCP
  endpoints: [{address: 10.0.0.1, port: 81}]
`))
	set := decode(t, archive, "bad.yaml")
	got := map[string][]string{}
	for _, d := range (Config{}).Run(set, translate.Translate(translate.Input{Set: set})) {
		if d.Object.Kind != "Gateway" {
			got[d.Rule] = append(got[d.Rule], d.Object.String()+" "+d.Field)
		}
	}
	want := map[string][]string{
		"duplicate-hostname": {"GRPCRoute default/calls spec.hostnames[1]"},
		"mirror-to-self":     {"GRPCRoute default/calls spec.rules[1].filters[0].requestMirror.backendRef"},
		"no-destination":     {"GRPCRoute default/calls spec.rules[0]", "TCPRoute default/bytes spec.rules[0].backendRefs"},
		"unreachable-rule":   {"GRPCRoute default/calls spec.rules[2].matches[0]"},
		"shadowed-route":     {"GRPCRoute default/late spec.rules[0].matches[0]"},
		"unattached-route":   {"GRPCRoute default/lost spec.parentRefs"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
