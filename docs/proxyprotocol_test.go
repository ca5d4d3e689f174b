package main

import (
	"net/netip"
	"os"
	"regexp"
	"testing"

	"weir.dev/weir/controlplane/lint"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// TestProxyProtocol puts both examples of proxyprotocol.md into effect, and looks for the rule
// that it names.
func TestProxyProtocol(t *testing.T) {
	page, err := os.ReadFile("proxyprotocol.md")
	if err != nil {
		t.Fatal(err)
	}
	text := `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]
`
	examples := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllSubmatch(page, -1)
	for _, example := range examples {
		text += "---\n" + string(example[1])
	}
	var decoder resource.Decoder
	objects, found := decoder.Decode("edge.yaml", []byte(text))
	set := resource.NewSet(objects, nil)
	out := translate.Translate(translate.Input{Set: set})
	for _, d := range append(append(found, out.Diagnostics...), lint.Run(set, out)...) {
		t.Error(d)
	}
	client, cluster := out.Snapshot.Listeners[0].Client, out.Snapshot.Clusters[0]
	if !client.ProxyProtocol || len(client.TrustAddresses) != 1 || client.TrustAddresses[0] != netip.MustParsePrefix("10.0.0.0/24") {
		t.Errorf("of clients: %+v", client)
	}
	if len(examples) != 2 || cluster.ProxyProtocol != model.ProxyProtocolV2 {
		t.Errorf("of %d examples, to hosts: %+v", len(examples), cluster)
	}
	named := false
	for _, rule := range lint.Rules {
		named = named || rule.Name == "announced-http3"
	}
	if !named {
		t.Error("there is no such rule")
	}
}
