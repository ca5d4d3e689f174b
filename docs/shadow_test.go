package main

import (
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// TestShadowPage puts the example of shadow.md into effect, and looks for what the page names.
func TestShadowPage(t *testing.T) {
	page, example := examples(t, "shadow.md")
	routes := accepted(t, shop, example[0]).Snapshot.RouteTables[0].Entries[0].Route.Shadows
	if len(routes) != 1 {
		t.Fatalf("%d shadows", len(routes))
	}
	s := routes[0]
	if s.Name != "default/checkout-v2" || s.Share != 0.1 || !slices.Equal(s.Methods, []string{"GET", "HEAD"}) || s.Limits != (model.ShadowLimits{InFlight: 1000, Body: 64 << 10}) {
		t.Errorf("%+v", s)
	}
	if c := s.Compare; c == nil || !c.Status || c.Body != model.CompareJSON || !c.Latency || !c.Baseline || !slices.Equal(c.Ignore, []string{"$.timestamp"}) {
		t.Errorf("%+v", c)
	}
	for _, f := range telemetry.Families {
		if strings.HasPrefix(f.Name, "weir_shadow_") && !strings.Contains(page, "`"+f.Name+"`") {
			t.Errorf("the page says nothing of %s", f.Name)
		}
	}
}
