package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/controlplane/lint"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// TestHealth puts the example of health.md into effect, and looks for the rules, metrics and
// defaults that it names.
func TestHealth(t *testing.T) {
	page, err := os.ReadFile("health.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindSubmatch(page)
	if example == nil {
		t.Fatal("the page has no example")
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
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: checkout}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: checkout}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
---
` + string(example[1])
	var decoder resource.Decoder
	objects, found := decoder.Decode("edge.yaml", []byte(text))
	set := resource.NewSet(objects, nil)
	out := translate.Translate(translate.Input{Set: set})
	for _, d := range append(append(found, out.Diagnostics...), lint.Run(set, out)...) {
		t.Error(d)
	}
	check := out.Snapshot.Clusters[0].HealthCheck
	if check == nil || check.Type != model.HealthCheckHTTP || check.Path != "/healthz" || check.Interval != 5*time.Second || check.Timeout != time.Second || check.HealthyAfter != 2 || check.UnhealthyAfter != 3 {
		t.Errorf("%+v", check)
	}
	for _, name := range []string{"idle-health-check", "passthrough-check", "grpc-check-by-http1", "check-longer-than-interval"} {
		known := false
		for _, r := range lint.Rules {
			known = known || r.Name == name
		}
		if !known || !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("rule %s: known %v", name, known)
		}
	}
	families := fmt.Sprint(telemetry.Families)
	for _, m := range regexp.MustCompile("`(weir_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		if !strings.Contains(families, m[1]+" ") {
			t.Errorf("no metric is called %s", m[1])
		}
	}
}
