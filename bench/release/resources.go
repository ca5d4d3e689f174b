package release

import "fmt"

// Service is what a Weir serves: one rule, and a Rollout default/app for it.
type Service struct {
	Port           int    // of the front door
	Stable, Canary int    // ports of both versions
	Share          string // of the first stage, as 1%, which lasts an hour
	Guard          string // YAML of spec.guard, in one line
}

// Resources are those of a Service, as YAML.
func (s Service) Resources() string {
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  addresses: [{type: IPAddress, value: 127.0.0.1}]
  listeners: [{name: http, protocol: HTTP, port: %d}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: edge}]
  rules: [{name: all, backendRefs: [{group: weir.dev, kind: Backend, name: stable}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: stable}
spec: {endpoints: [{address: 127.0.0.1, port: %d}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: canary}
spec: {endpoints: [{address: 127.0.0.1, port: %d}]}
---
apiVersion: weir.dev/v1alpha1
kind: Rollout
metadata: {name: app}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: app, sectionName: all}
  stable: {group: weir.dev, kind: Backend, name: stable}
  canary: {group: weir.dev, kind: Backend, name: canary}
  sampling: {unit: User, key: [{cookie: uid}], fallback: Stable}
  stages: [{share: %s, for: 1h}, {share: 100%%}]
  guard: %s
`, s.Port, s.Stable, s.Canary, s.Share, s.Guard)
}
