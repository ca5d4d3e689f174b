package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/controlplane/slo"
)

// TestObjectivePage compares the table of alerts in slo.md with the program's, and has its examples
// accepted; that what it says of them comes true, the e2e tests find out.
func TestObjectivePage(t *testing.T) {
	page, blocks := examples(t, "slo.md")
	for _, w := range slo.BurnWindows(720 * time.Hour) {
		row := fmt.Sprintf("| %s | %s | %s | %g | %.0f %% |\n", w.Severity, short(w.Long), short(w.Short), w.Factor, 100*w.Factor*w.Long.Hours()/720)
		if !strings.Contains(page, row) {
			t.Errorf("slo.md has no row %s", row)
		}
	}
	const route = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: checkout, namespace: default}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: checkout}]}]
`
	out := accepted(t, shop, route, strings.ReplaceAll(strings.Join(blocks, "---\n"), "namespace: shop", "namespace: default"))
	if o := out.Objectives; len(o) != 2 || !o[0].FreezeRollouts || o[1].Latency != 300*time.Millisecond || o[0].Problem != "" || o[1].Problem != "" {
		t.Errorf("objectives %+v", o)
	}
}

// short writes a duration of whole days, hours or minutes as the page does.
func short(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}
