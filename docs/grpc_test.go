package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
)

// TestGRPC serves the route of grpc.md, beside what it refers to.
func TestGRPC(t *testing.T) {
	page, err := os.ReadFile("grpc.md")
	if err != nil {
		t.Fatal(err)
	}
	route := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindSubmatch(page)
	if route == nil {
		t.Fatal("the page has no route")
	}
	text := string(route[1]) + `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 8080, protocol: HTTP}]}
`
	for _, service := range []string{"cart", "cart-next", "health"} {
		text += fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {ports: [{port: 9000}]}\n", service)
	}
	var decoder resource.Decoder
	objects, found := decoder.Decode("shop.yaml", []byte(text))
	out := translate.Translate(translate.Input{Set: resource.NewSet(objects, nil)})
	for _, d := range append(found, out.Diagnostics...) {
		t.Error(d)
	}
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
