package rollout

import (
	"strings"
	"testing"

	"weir.dev/weir/controlplane/resource"
)

func TestPatch(t *testing.T) {
	const written = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
  - name: other
    backendRefs: [{name: a, port: 80}]
  - name: checkout
    backendRefs: REFS
---
apiVersion: weir.dev/v1alpha1
kind: Rollout
metadata: {name: checkout, namespace: shop}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: checkout}
  stable: {name: one, port: 80}
  canary: {name: two, port: 80}
  stages: [{share: 100%}]
`
	for _, c := range []struct {
		refs string
		want []string
	}{
		{
			`[{name: zero, port: 80, weight: 5}, {name: one, port: 80, weight: 90}, {name: two, port: 80, weight: 10}]`,
			[]string{
				`"path": "/spec/rules/1/backendRefs/1/weight",
    "value": 0`, `"path": "/spec/rules/1/backendRefs/2/weight",
    "value": 100`, "HTTPRoute shop/shop (x.yaml:2", "delete Rollout shop/checkout (x.yaml:13",
			},
		},
		{
			`[{name: one, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x-old]}}]}]`,
			[]string{`"path": "/spec/rules/1/backendRefs/-"`, `"name": "two"`, `"weight": 1`, "x-old"},
		},
		{`[{name: one, port: 80, weight: 0}, {name: two, port: 80, weight: 100}]`, nil}, // it says so already
		{
			`[{name: one, port: 80, weight: 1000000}, {name: two, port: 80, weight: 1000000}, {name: zero, port: 80, weight: 500000}, {name: idle, port: 80, weight: 0}]`,
			[]string{"/backendRefs/0/weight\",\n    \"value\": 0", "/backendRefs/1/weight\",\n    \"value\": 1000000\n", "/backendRefs/2/weight\",\n    \"value\": 250000\n"},
		},
		{`[{name: three, port: 80}]`, nil},
	} {
		var d resource.Decoder
		objects, problems := d.Decode("x.yaml", []byte(strings.Replace(written, "REFS", c.refs, 1)))
		if len(problems) > 0 || len(objects) != 2 {
			t.Fatal(problems)
		}
		got := Patch(resource.NewSet(objects, nil), "shop/checkout")
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %s\nwant %s in it", c.refs, got, want)
			}
		}
		if c.want == nil && got != "" {
			t.Errorf("%s: %s\nwant nothing", c.refs, got)
		}
	}
	if got := Patch(resource.NewSet(nil, nil), "shop/checkout"); got != "" {
		t.Errorf("of nobody: %s", got)
	}
}
