package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestGRPC serves the route of grpc.md, beside what it refers to.
func TestGRPC(t *testing.T) {
	_, route := examples(t, "grpc.md")
	text := route[0] + `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 8080, protocol: HTTP}]}
`
	for _, service := range []string{"cart", "cart-next", "health"} {
		text += fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {ports: [{port: 9000}]}\n", service)
	}
	out := accepted(t, text)
	var rules []string
	for _, e := range out.Snapshot.RouteTables[0].Entries {
		rules = append(rules, e.Route.Name+" "+e.Route.Matches[0].Path.Value)
	}
	const want = `GRPCRoute/default/shop/add /shop.v1.Cart/Add
GRPCRoute/default/shop/cart /shop.v1.Cart
GRPCRoute/default/shop/health /[^/]+/Check`
	if got := strings.Join(rules, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, c := range out.Snapshot.Clusters {
		if c.Protocol != "H2C" {
			t.Errorf("%s is spoken to by %q", c.Name, c.Protocol)
		}
	}
}
