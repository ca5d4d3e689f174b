package resource

import (
	"strings"
	"testing"
	"time"
)

const drillText = `apiVersion: weir.dev/v1alpha1
kind: Drill
metadata: {name: slow, namespace: shop}
spec:
  reason: a rehearsal
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  faults: [{name: late, share: 10%, delay: {fixed: 300ms}}]
  before: 0s
  during: 90s
  expect: [{name: errors, promql: "sum(rate(weir_route_requests_total[$phase]))", max: "1"}]
`

func TestDrill(t *testing.T) {
	objects, diagnostics := DecodeDrills("d.yaml", []byte(drillText))
	if len(diagnostics) > 0 || len(objects) != 1 {
		t.Fatalf("%d objects, %v", len(objects), diagnostics)
	}
	d := objects[0].Value.(*Drill)
	phases := d.Spec.Phases()
	if phases[0].For != 0 || phases[1].For != 90*time.Second || phases[2].For != 30*time.Second {
		t.Errorf("phases %v", phases)
	}
	if got, want := d.Spec.Expect[0].Query(90*time.Second), "sum(rate(weir_route_requests_total[90000ms]))"; got != want {
		t.Errorf("query %q, want %q", got, want)
	}
}

// TestWrongDrills: what could not be judged in the end is refused when the file is read, before
// anything is broken.
func TestWrongDrills(t *testing.T) {
	for _, test := range []struct{ was, is, part string }{
		{"reason: a rehearsal", "reason: ''", "spec.reason"},
		{"targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]", "targetRefs: []", "spec.targetRefs"},
		{"faults: [{name: late, share: 10%, delay: {fixed: 300ms}}]", "faults: []", "spec.faults"},
		{"during: 90s", "during: 0s", "spec.during"},
		{"during: 90s", "during: 2h", "spec.during"},
		{"during: 90s", "after: soon", "spec.after"},
		{"during: 90s", "later: 1s", "later"},
		{"$phase", "$fase", "spec.expect[0].promql: at character"},
		{"sum(rate(weir_route_requests_total[$phase]))", "weir_route_requests_total[$phase]", "want one number"},
		{"sum(rate(weir_route_requests_total[$phase]))", "", "spec.expect[0].promql: required"},
		{`max: "1"`, `max: "1", min: "2"`, "less than min"},
		{`max: "1"`, `max: many`, "spec.expect[0].max"},
		{`, max: "1"`, "", "min, max or both"},
		{`max: "1"`, `max: "1", phase: Never`, "Before, During or After"},
		{`max: "1"`, `max: "1", phase: Before`, "spec.before is 0s"},
	} {
		text := strings.Replace(drillText, test.was, test.is, 1)
		if text == drillText {
			t.Fatalf("%q is not there", test.was)
		}
		_, diagnostics := DecodeDrills("d.yaml", []byte(text))
		var all []string
		for _, d := range diagnostics {
			if d.Severity == Error {
				all = append(all, d.Field+": "+d.Message)
			}
		}
		if got := strings.Join(all, "\n"); !strings.Contains(got, test.part) {
			t.Errorf("%s in place of %s: %q, want %q", test.is, test.was, got, test.part)
		}
	}
}
