package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir.dev/weir/controlplane/slo"
)

// TestSeriesClosed keeps the store of time series from being opened: whoever asks is told why, and when that is tried
// again, and requests are served; once nothing is in its way all of them have their answer.
func TestSeriesClosed(t *testing.T) {
	t.Parallel()
	b := breakable(t)
	state := t.TempDir()
	put(t, filepath.Join(state, "series"), "in the way")
	b.args = append(b.args, "--state-dir", state)
	b.base += strings.TrimPrefix(backend("checkout-next", "127.0.0.1:1"), "---\n") + `---
apiVersion: weir.dev/v1alpha1
kind: ServiceLevelObjective
metadata: {name: checkout}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  indicator: {availability: {}}
  objective: 99%
  onBurn: {freezeRollouts: true}
---
apiVersion: weir.dev/v1alpha1
kind: Rollout
metadata: {name: shop}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: all}
  stable: {group: weir.dev, kind: Backend, name: checkout}
  canary: {group: weir.dev, kind: Backend, name: checkout-next}
  stages: [{share: 1%, for: 1h}, {share: 100%}]
`
	b.write("")
	b.again()
	drill := filepath.Join(t.TempDir(), "drill.yaml")
	put(t, drill, `apiVersion: weir.dev/v1alpha1
kind: Drill
metadata: {name: late}
spec:
  reason: who is told
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  faults: [{name: late, share: 1%, delay: {fixed: 1ms}}]
  before: 1s
  during: 1s
  after: 1s
  expect: [{name: ready, phase: Before, promql: max(weir_ready), min: "1"}]
`)
	const why = "series: not a directory; opening it is tried again every 2s"
	eventually(t, func() (bool, string) {
		_, body := fetch("http://" + b.admin + "/readyz")
		return strings.Contains(body, why) && strings.Contains(body, `"ready":true`), body
	})
	if status, body := fetch("http://" + b.front + "/"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if status, body := fetch("http://" + b.admin + "/prometheus/api/v1/query?query=up"); status != 503 || !strings.Contains(body, why) {
		t.Errorf("%d %s", status, body)
	}
	eventually(t, func() (bool, string) {
		out, _ := b.command("slo").CombinedOutput()
		return strings.Contains(string(out), why), string(out)
	})
	b.weir(true, "get status", "look +time series are not kept.*"+why)
	eventually(t, func() (bool, string) {
		out, _ := b.command("rollout", "status", "shop").CombinedOutput()
		return strings.Contains(string(out), "freeze: ") && strings.Contains(string(out), why), string(out)
	})
	b.weir(false, "drill run "+drill+" --token-file "+filepath.Join(state, "token"), why)
	if _, page := fetch("http://" + b.admin + "/metrics"); !strings.Contains(page, "\nweir_store_open 0\n") {
		t.Error("the metrics do not say that it is closed")
	}
	if err := os.Remove(filepath.Join(state, "series")); err != nil {
		t.Fatal(err)
	}
	objective(t, b.admin, "default/checkout", slo.Healthy)
	if out := b.weir(true, "get status"); strings.Contains(out, "time series") {
		t.Errorf("once it is open:\n%s", out)
	}
	eventually(t, func() (bool, string) {
		out, _ := b.command("rollout", "status", "shop").CombinedOutput()
		return strings.Contains(string(out), "Progressing"), string(out)
	})
	if log := b.log.String(); !strings.Contains(log, why) || !strings.Contains(log, "time series are kept again") {
		t.Errorf("log:\n%s", log)
	}
}
