package translate

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
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

// TestWithClosedParts: of two addresses one is not this machine's, and the port of a
// ListenerSet is taken.
func TestWithClosedParts(t *testing.T) {
	var d resource.Decoder
	objects, problems := d.Decode("in.yaml", []byte(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  addresses: [{value: 127.0.0.1}, {value: 198.51.100.1}]
  allowedListeners: {namespaces: {from: Same}}
  listeners:
  - {name: a, port: 8080, protocol: HTTP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: edge}
spec:
  parentRef: {name: edge}
  listeners:
  - {name: a, port: 8081, protocol: HTTP}
  - {name: b, port: 8082, protocol: HTTP}
`))
	out := Translate(Input{Set: resource.NewSet(objects, problems)})
	taken := fmt.Errorf("listen: %w", syscall.EADDRINUSE)
	facts := map[string][]string{}
	for _, s := range out.WithClosed(map[string]error{
		"198.51.100.1:8080": syscall.EADDRNOTAVAIL, "127.0.0.1:8081": taken, "198.51.100.1:8081": taken,
	}) {
		addFacts(facts, s.Key.Kind, s.Value, func(metav1.Condition) {})
		if g, ok := s.Value.(gatewayv1.GatewayStatus); ok && (len(g.Addresses) != 1 || g.Addresses[0].Value != "127.0.0.1") {
			t.Errorf("bound to %v, want 127.0.0.1 alone", g.Addresses)
		}
	}
	checkFacts(t, facts, `Gateway: Accepted=True Accepted, Programmed=False AddressNotUsable, sets=1
		Gateway listener a: Accepted=False PortUnavailable, Programmed=False Invalid
		ListenerSet: Accepted=True Accepted, Programmed=True Programmed
		ListenerSet listener a: Accepted=False PortUnavailable, Programmed=False PortUnavailable
		ListenerSet listener b: Accepted=True Accepted, Programmed=True Programmed`)

	facts = map[string][]string{}
	for _, s := range out.WithClosed(map[string]error{"127.0.0.1:8081": taken, "127.0.0.1:8082": taken}) {
		addFacts(facts, s.Key.Kind, s.Value, func(metav1.Condition) {})
	}
	checkFacts(t, facts, `Gateway: Accepted=True Accepted, Programmed=True Programmed, addresses=2
		ListenerSet: Accepted=True Accepted, Programmed=False PortUnavailable`)
}

// TestLocalAddresses: for a gateway on all addresses its status names those of this machine.
func TestLocalAddresses(t *testing.T) {
	addresses := func(local []netip.Addr, spec ...gatewayv1.GatewaySpecAddress) string {
		g := gatewayOf("front", httpListener("http", ""))
		g.Spec.Addresses = spec
		out := Translate(Input{Set: resource.NewSet([]*resource.Object{object(groupGateway, kindGateway, "front", g)}, nil), Local: local})
		var list []string
		for _, a := range statusOf[gatewayv1.GatewayStatus](t, out, kindGateway, "front").Addresses {
			list = append(list, a.Value)
		}
		return strings.Join(list, " ")
	}
	own := []netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("2001:db8::7")}
	var many []netip.Addr
	for i := range 20 {
		many = append(many, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	for _, test := range []struct{ got, want string }{
		{addresses(own), "10.0.0.7 2001:db8::7"},
		{addresses(nil), "::"},
		{addresses(own, gatewayv1.GatewaySpecAddress{Value: "0.0.0.0"}), "10.0.0.7"},
		{addresses(own[1:], gatewayv1.GatewaySpecAddress{Value: "0.0.0.0"}), "0.0.0.0"},
		{addresses(own, gatewayv1.GatewaySpecAddress{Value: "127.0.0.1"}), "127.0.0.1"},
	} {
		if test.got != test.want {
			t.Errorf("addresses %s, want %s", test.got, test.want)
		}
	}
	if n := len(strings.Fields(addresses(many))); n != maxAddresses {
		t.Errorf("%d addresses, want the %d that a status holds", n, maxAddresses)
	}
}
