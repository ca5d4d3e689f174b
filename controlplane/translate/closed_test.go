package translate

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
)

func TestWithClosed(t *testing.T) {
	var d resource.Decoder
	objects, problems := d.Decode("in.yaml", []byte(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  addresses: [{value: 127.0.0.1}]
  listeners:
  - {name: a, port: 8080, protocol: HTTP}
  - {name: b, port: 8081, protocol: HTTP}
`))
	out := Translate(Input{Set: resource.NewSet(objects, problems)})
	before := fmt.Sprint(out.Statuses)
	gateway := func(closed map[string]error) (status gatewayv1.GatewayStatus) {
		for _, s := range out.WithClosed(closed) {
			if g, ok := s.Value.(gatewayv1.GatewayStatus); ok {
				status = g
			}
		}
		return status
	}
	is := func(conditions []metav1.Condition, kind string) string {
		for _, c := range conditions {
			if c.Type == kind {
				return fmt.Sprintf("%s %s", c.Status, c.Reason)
			}
		}
		return "absent"
	}
	taken := fmt.Errorf("listen: %w", syscall.EADDRINUSE)
	for _, test := range []struct {
		closed                     map[string]error
		a, programmed, programmedA string
	}{
		{nil, "True Accepted", "True Programmed", "True Programmed"},
		{map[string]error{"127.0.0.1:8080": taken}, "False PortUnavailable", "True Programmed", "False Invalid"},
		{map[string]error{"127.0.0.1:8080": taken, "127.0.0.1:8081": errors.New("no")}, "False PortUnavailable", "False Invalid", "False Invalid"},
		{map[string]error{"127.0.0.1:8080": syscall.EADDRNOTAVAIL, "127.0.0.1:8081": syscall.EADDRNOTAVAIL}, "False PortUnavailable", "False AddressNotUsable", "False Invalid"},
	} {
		got := gateway(test.closed)
		if a := is(got.Listeners[0].Conditions, "Accepted"); a != test.a {
			t.Errorf("%v: listener a: Accepted=%s, want %s", test.closed, a, test.a)
		}
		if a := is(got.Listeners[0].Conditions, "Programmed"); a != test.programmedA {
			t.Errorf("%v: listener a: Programmed=%s, want %s", test.closed, a, test.programmedA)
		}
		if p := is(got.Conditions, "Programmed"); p != test.programmed {
			t.Errorf("%v: Programmed=%s, want %s", test.closed, p, test.programmed)
		}
	}
	if after := fmt.Sprint(out.Statuses); after != before {
		t.Error("the output's own statuses have changed")
	}
}
