package translate

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// recommended is a policy of which everything is left to its default but what has none: the times and
// the number of tries, which are the docs' example's. A queue and a throttle are only there where one of
// their fields is written.
const recommended = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  timeouts: {request: 2s, perTry: 700ms}
  retries: {attempts: 2, retryOn: [ConnectFailure, Reset, RefusedStream, PerTryTimeout]}
  overload: {concurrency: {adaptive: {}}, queue: {size: 100}, throttle: {acceptRatio: "2.0"}}
`

// TestRecommended: the data plane's scenarios are played with what the recommended policy comes to.
func TestRecommended(t *testing.T) {
	const file = "../../dataplane/proxy/testdata/recommended.json"
	var d resource.Decoder
	objects, found := d.Decode("recommended.yaml", []byte(recommended))
	if len(found) > 0 {
		t.Fatal(found)
	}
	s := Translate(Input{Set: resource.NewSet(objects, nil)}).Snapshot
	route, cluster := s.RouteTables[0].Entries[0].Route, s.Clusters[0]
	got, err := json.MarshalIndent(struct {
		Timeouts  model.Timeouts
		Retry     *model.Retry
		Overload  *model.Overload
		Balancing model.Balancing
		Breaker   model.Breaker
		Outlier   model.Outlier
	}{route.Timeouts, route.Retry, route.Overload, cluster.Balancing, cluster.Breaker, cluster.Outlier}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the policy comes to (-update rewrites %s):\n%s", file, got)
	}
}
