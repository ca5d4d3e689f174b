package console

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weir.dev/weir/controlplane/slo"
)

// TestObjectives checks the order of the list and its filters: the worst first.
func TestObjectives(t *testing.T) {
	h := newHarness(1)
	half := 0.5
	h.objectives = []slo.Status{
		{Name: "shop/a", State: slo.Healthy, Burns: []slo.Burn{}, Targets: []string{}},
		{Name: "shop/b", State: slo.Burning, Severity: slo.Page, Burns: []slo.Burn{{Long: "1h", LongBurn: &half}}, Targets: []string{}},
		{Name: "shop/c", State: slo.Exhausted, Burns: []slo.Burn{}, Targets: []string{}},
		{Name: "shop/d", State: slo.NoData, Burns: []slo.Burn{}, Targets: []string{}},
	}
	for query, want := range map[string]string{
		"": "shop/c shop/b shop/d shop/a", "?state=Burning": "shop/b", "?name=shop/d": "shop/d", "?q=SHOP/A": "shop/a", "?name=none": "",
	} {
		w := httptest.NewRecorder()
		h.console.Admin().ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/api/v1/slos"+query, nil))
		var names []string
		for _, part := range strings.Split(w.Body.String(), `"name":"`)[1:] {
			name, _, _ := strings.Cut(part, `"`)
			names = append(names, name)
		}
		if got := strings.Join(names, " "); w.Code != 200 || got != want {
			t.Errorf("%s: %d %s, want %s", query, w.Code, got, want)
		}
	}
}

// TestSeriesAreGuarded checks that the query API has the admin address's guards, and is not on the probe address.
func TestSeriesAreGuarded(t *testing.T) {
	h := newHarness(1)
	h.console.cfg.Series = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	get := func(handler http.Handler, url string, header ...string) int {
		r := httptest.NewRequest("POST", url, strings.NewReader("query=1"))
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	admin, probe := h.console.Admin(), h.console.Probe()
	const path = "/prometheus/api/v1/query"
	for _, c := range []struct {
		what string
		got  int
		want int
	}{
		{"admin", get(admin, "http://localhost"+path), http.StatusTeapot},
		{"another name", get(admin, "http://rebound.example.com"+path), http.StatusMisdirectedRequest},
		{"another page", get(admin, "http://localhost"+path, "Origin", "http://evil.example.com"), http.StatusForbidden},
		{"probe", get(probe, "http://localhost"+path), http.StatusNotFound},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.what, c.got, c.want)
		}
	}
}
