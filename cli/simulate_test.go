package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir.dev/weir/controlplane/simulate"
)

const simulated = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: cart}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: cart}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
---
apiVersion: weir.dev/v1alpha1
kind: Scenario
metadata: {name: calm}
spec:
  duration: 3s
  callers: [{name: c, request: {url: "http://shop/"}, rate: "20"}]
  services: [{backend: cart, concurrency: 4, serviceTime: {mean: 10ms}}]
  limits: [{minSuccess: 100%}]
---
apiVersion: weir.dev/v1alpha1
kind: Scenario
metadata: {name: outage}
spec:
  duration: 3s
  callers: [{name: c, request: {url: "http://shop/"}, rate: "20"}]
  services: [{backend: cart, concurrency: 4, serviceTime: {mean: 10ms}}]
  events: [{at: 1s, backend: cart, outage: true}]
  limits: [{minSuccess: 100%}, {maxP99: 1s}]
`

func TestSimulate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "all.yaml")
	if err := os.WriteFile(file, []byte(simulated), 0o644); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(dir, "wrong.txt.yaml")
	if err := os.WriteFile(wrong, []byte(strings.Replace(simulated, "rate: \"20\"", "rates: 20", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	lost := filepath.Join(dir, "lost.yaml")
	if err := os.WriteFile(lost, []byte(strings.ReplaceAll(simulated, "backend: cart", "backend: card")), 0o644); err != nil {
		t.Fatal(err)
	}
	svg := filepath.Join(dir, "chart.svg")
	for _, c := range []struct {
		args string
		code int
		want []string
	}{
		{"simulate", exitUsage, []string{"nothing to simulate: give files or folders with -f"}},
		{"simulate -f " + dir + "/none", exitError, []string{"no such file"}},
		{"simulate -f " + file + " --name calm", exitOK, []string{"default/calm: 3s, seed 0\n", "held      minSuccess 100% at least (the whole run): 100.0% of what ended\n", "AT   ASKED"}},
		{"simulate -f " + file + " --name outage", exitError, []string{"1s until the end: outage of backend/default/cart", "EXCEEDED  minSuccess 100% at least (the whole run): ", "UF ", "held      maxP99"}},
		{"simulate -f " + file, exitError, []string{"default/calm", "\n\ndefault/outage"}},
		{"simulate -f " + file + " --name stormy", exitUsage, []string{"--name stormy: there is no such Scenario, but calm, outage"}},
		{"simulate -f " + file + " --svg " + svg, exitUsage, []string{"--svg is for one Scenario, and there are 2; choose with --name: calm, outage"}},
		{"simulate -f " + file + " --name calm -q --svg " + svg, exitOK, []string{"success"}},
		{"simulate -f " + file + " --scenario " + wrong, exitError, []string{`spec.callers[0].rates: unknown field; did you mean "rate"?`}},
		{"simulate -f " + file + " --scenario " + lost, exitError, []string{"spec.services[0].backend: no route leads to a backend card; backends: backend/default/cart"}},
	} {
		var out strings.Builder
		code := Main(strings.Fields(c.args), Streams{In: strings.NewReader(""), Out: &out, Err: &out})
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d\n%s", c.args, code, c.code, out.String())
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s\nlacks %q:\n%s", c.args, want, out.String())
			}
		}
	}
	if picture, err := os.ReadFile(svg); err != nil || !strings.HasPrefix(string(picture), "<svg ") || strings.Contains(string(picture), "NaN") {
		t.Errorf("%v: %s", err, picture)
	}
}

// TestSimulateJSON: what programs read is whole, and the exit code the same.
func TestSimulateJSON(t *testing.T) {
	file := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(file, []byte(simulated), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	if code := Main([]string{"simulate", "-f", file, "-o", "json"}, Streams{In: strings.NewReader(""), Out: &out, Err: &errs}); code != exitError {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	var reports []simulate.Report
	if err := json.Unmarshal([]byte(out.String()), &reports); err != nil {
		t.Fatal(err)
	}
	if len(reports) != 2 || len(reports[1].Steps) != 3 || reports[1].Failed != 1 || reports[1].Limits[0].Held || reports[1].Limits[0].At.Line == 0 {
		t.Errorf("%+v", reports)
	}
}
