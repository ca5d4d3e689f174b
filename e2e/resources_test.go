package e2e_test

import (
	"fmt"
	"strings"
)

// What most tests serve, as YAML documents that can stand behind each other.

// edge is the Gateway default/edge with a listener in clear text at an address of 127.0.0.1.
func edge(front string) string {
	return fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  addresses: [{type: IPAddress, value: 127.0.0.1}]
  listeners: [{name: http, protocol: HTTP, port: %s}]
`, portNumber(front))
}

// routed is an HTTPRoute of edge whose only rule, all, leads to a Backend.
func routed(name, backend string) string {
	return fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s}
spec:
  parentRefs: [{name: edge}]
  rules: [{name: all, backendRefs: [{group: weir.dev, kind: Backend, name: %s}]}]
`, name, backend)
}

// backend is a Backend with hosts at these addresses.
func backend(name string, addresses ...string) string {
	var hosts []string
	for _, address := range addresses {
		hosts = append(hosts, fmt.Sprintf("{address: %s, port: %s}", address[:strings.LastIndexByte(address, ':')], portNumber(address)))
	}
	return fmt.Sprintf(`---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: %s}
spec: {endpoints: [%s]}
`, name, strings.Join(hosts, ", "))
}

func portNumber(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
