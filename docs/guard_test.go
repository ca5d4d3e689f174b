package main

import (
	"math"
	"testing"

	"weir.dev/weir/model"
)

// TestGuard: the Rollout of guard.md gives proxies the guard that the page explains.
func TestGuard(t *testing.T) {
	_, blocks := examples(t, "guard.md")
	out := accepted(t, `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{name: pay, backendRefs: [{group: weir.dev, kind: Backend, name: checkout}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: checkout}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: checkout-next}
spec: {endpoints: [{address: 10.0.0.2, port: 80}]}
`, blocks[0])
	release := out.Snapshot.RouteTables[0].Entries[0].Route.Split.Release
	if release == nil {
		t.Fatal("the rule has no release")
	}
	g := release.Guard
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
	if g.Errors == nil || !near(g.Errors.MaxDifference, 0.01) || !near(g.Errors.Alpha, 0.001) {
		t.Errorf("errors: %+v", g.Errors)
	}
	if g.Latency == nil || !near(g.Latency.Quantile, 0.99) || !near(g.Latency.MaxRatio, 1.5) || !near(g.Latency.Alpha, 0.001) {
		t.Errorf("latency: %+v", g.Latency)
	}
	if g.ConsecutiveFailures != 5 || g.Stages != 4 || release.Sampling.Unit != model.SampleUsers {
		t.Errorf("%+v, %+v", g, release.Sampling)
	}
}
