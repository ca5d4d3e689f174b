package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"weir.dev/weir/controlplane/slo"
)

// objectivesPage is the configuration of TestObjectives: that of docs/slo.md, at an upstream and port
// of the test's.
func objectivesPage(t *testing.T, upstream, front string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/slo.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, b := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllSubmatch(page, -1) {
		blocks = append(blocks, string(b[1]))
	}
	at, port := strings.TrimPrefix(upstream, "http://127.0.0.1:"), front[strings.LastIndexByte(front, ':')+1:]
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: weir
  listeners: [{name: web, port: %s, protocol: HTTP}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: checkout, namespace: shop}
spec: {endpoints: [{address: 127.0.0.1, port: %s}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: checkout, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: checkout}]}]
---
`, port, at) + strings.Join(blocks, "---\n")
}

// objective asks for one until want is its state.
func objective(t *testing.T, admin, name string, want slo.State) slo.Status {
	t.Helper()
	var got struct{ Items []slo.Status }
	eventually(t, func() (bool, string) {
		status, body := fetch("http://" + admin + "/api/v1/slos?name=" + url.QueryEscape(name))
		if status != 200 || json.Unmarshal([]byte(body), &got) != nil || len(got.Items) != 1 {
			return false, body
		}
		return got.Items[0].State == want, body
	})
	return got.Items[0]
}

// ask sends requests to a front door.
func askMany(t *testing.T, front string, n, want int) {
	t.Helper()
	for range n {
		if status, body := fetch("http://" + front + "/"); status != want {
			t.Fatalf("%d %s, want %d", status, body, want)
		}
	}
}

// value asks for the one value that a query has.
func value(t *testing.T, admin, query string) string {
	t.Helper()
	var text string
	eventually(t, func() (bool, string) {
		_, body := fetch("http://" + admin + "/prometheus/api/v1/query?query=" + url.QueryEscape(query))
		var got struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		if json.Unmarshal([]byte(body), &got) != nil || len(got.Data.Result) != 1 {
			return false, query + ": " + body
		}
		text = fmt.Sprint(got.Data.Result[0].Value[1])
		return true, ""
	})
	return text
}

// TestObjectives serves what docs/slo.md says, breaks it, and looks at what is said of it, before and after
// a kill that leaves no time to write anything.
func TestObjectives(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer upstream.Close()
	front, state := freePort(t), t.TempDir()
	config := filepath.Join(t.TempDir(), "shop.yaml")
	put(t, config, objectivesPage(t, upstream.URL, front))
	p := launch(t, "-f", config, "--state-dir", state)
	if got := objective(t, p.admin, "shop/checkout", slo.NoData); got.Budget != nil || got.Good != 0 {
		t.Errorf("before the first request: %+v", got)
	}
	askMany(t, front, 200, 200)
	var healthy slo.Status
	eventually(t, func() (bool, string) {
		healthy = objective(t, p.admin, "shop/checkout", slo.Healthy)
		return healthy.Good == 200, fmt.Sprintf("%+v", healthy)
	})
	if healthy.Bad != 0 || healthy.Frozen || healthy.Budget.Remaining != 1 {
		t.Errorf("healthy: %+v %+v", healthy, healthy.Budget)
	}
	broken.Store(true)
	askMany(t, front, 50, 500)
	eventually(t, func() (bool, string) {
		got := objective(t, p.admin, "shop/checkout", slo.Exhausted)
		return got.Bad == 50 && got.Good == 200 && got.Frozen && got.Severity == slo.Page && got.Budget.Remaining < 0, fmt.Sprintf("%+v", got)
	})
	objective(t, p.admin, "shop/checkout-fast", slo.Healthy) // errors that came quickly
	eventually(t, func() (bool, string) {
		_, body := fetch("http://" + p.admin + "/prometheus/api/v1/alerts")
		return strings.Contains(body, `"state":"firing"`) && strings.Contains(body, `"slo":"shop/checkout"`), body
	})
	if !strings.Contains(p.log.String(), "an objective's state changed") {
		t.Error("the log does not say that the budget is exhausted")
	}
	promtool(t, p.admin, config)

	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.exited
	broken.Store(false)
	again := launch(t, "-f", config, "--state-dir", state)
	askMany(t, front, 10, 200)
	eventually(t, func() (bool, string) {
		got := objective(t, again.admin, "shop/checkout", slo.Exhausted)
		return got.Bad == 50 && got.Good == 210, fmt.Sprintf("after the kill: %+v", got)
	})
}

// promtool has Prometheus's own tool ask the API, and check the rules.
func promtool(t *testing.T, admin, config string) {
	t.Helper()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := exec.Command(program, "slo", "rules", "-f", config).Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, rules, 0o600); err != nil {
		t.Fatal(err)
	}
	server := "http://" + admin + "/prometheus"
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"check", "rules", file}, "SUCCESS: 8 rules found"},
		{[]string{"query", "instant", server, `sum by (slo, result) (weir_slo_events_total{slo="shop/checkout",result="bad"})`}, `{result="bad", slo="shop/checkout"} => 50 @[`},
		{[]string{"query", "range", "--start", "1700000000", "--end", "1700000005", "--step", "5s", server, `vector(2)`}, "2 @[1700000000]\n2 @[1700000005]"},
		{[]string{"query", "series", "--match", `weir_ready`, server}, `{__name__="weir_ready", instance="self", job="weir"}`},
		{[]string{"query", "labels", server, "result"}, "bad\n"},
	} {
		out, err := exec.Command("promtool", c.args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("promtool %q: %v\n%s\nwant %s", c.args, err, out, c.want)
		}
	}
}

// TestSeriesPage asks every question of docs/series.md.
func TestSeriesPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/series.md")
	if err != nil {
		t.Fatal(err)
	}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "# TYPE orders_total counter\norders_total{version=\"v2\"} 12")
	}))
	defer upstream.Close()
	front := freePort(t)
	p := launch(t, "--listen", front, "--to", upstream.URL, "--scrape", "shop="+upstream.URL)
	askMany(t, front, 20, 200)
	if got := value(t, p.admin, `orders_total{job="shop"}`); got != "12" {
		t.Errorf("orders %s, want 12", got)
	}
	value(t, p.admin, `sum(weir_route_requests_total) >= 20`)
	questions := regexp.MustCompile("(?ms)^```promql\n(.*?)^```$").FindAllSubmatch(page, -1)
	if len(questions) < 4 {
		t.Fatalf("only %d questions found", len(questions))
	}
	for _, q := range questions {
		value(t, p.admin, strings.TrimSpace(string(q[1])))
	}
}

// TestSeriesUpgrade checks that the new process goes on with the old one's series.
func TestSeriesUpgrade(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	defer upstream.Close()
	u := launchUpgradable(t, upstream.URL)
	askMany(t, u.front, 20, 200)
	value(t, u.admin, `sum(weir_route_requests_total) == 20`)
	if err := u.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	u.newPid(t)
	if got := value(t, u.admin, `sum(max_over_time(weir_route_requests_total[1h]))`); got != "20" {
		t.Errorf("%s requests, want the 20 of the process before", got)
	}
	value(t, u.admin, `absent(weir_route_requests_total)`) // that process is gone
}
