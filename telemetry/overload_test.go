package telemetry

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// TestOverloadMetrics: each scope stands once, tenants by name, and what nobody's name stands for as other.
func TestOverloadMetrics(t *testing.T) {
	m := NewMetrics(1)
	m.WatchOverloads(func() []OverloadState {
		s := OverloadState{
			Scope: "HTTPRoute/ns/shop", Limit: 20, InFlight: 7, Queued: 3, Heat: 0.5, Others: 4,
			Refused: map[string]uint64{"acme": 5, "other": 1, "\"quoted\"\n": 2},
		}
		return []OverloadState{s, s}
	})
	page := httptest.NewRecorder()
	m.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	if page.Code != 200 {
		t.Fatalf("status %d: %s", page.Code, page.Body)
	}
	for _, line := range []string{
		`weir_concurrency_limit{scope="HTTPRoute/ns/shop"} 20`,
		`weir_concurrency_in_flight{scope="HTTPRoute/ns/shop"} 7`,
		`weir_concurrency_queued{scope="HTTPRoute/ns/shop"} 3`,
		`weir_overload_heat{scope="HTTPRoute/ns/shop"} 0.5`,
		`weir_tenant_refusals_total{scope="HTTPRoute/ns/shop",tenant="acme"} 5`,
		`weir_tenant_refusals_total{scope="HTTPRoute/ns/shop",tenant="other"} 5`,
		`weir_tenant_refusals_total{scope="HTTPRoute/ns/shop",tenant="\"quoted\"\n"} 2`,
	} {
		if !strings.Contains(page.Body.String(), line+"\n") {
			t.Errorf("the page lacks %s", line)
		}
	}
}
