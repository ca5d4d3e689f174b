package main

import (
	"strings"
	"testing"
	"time"

	"weir.dev/weir/controlplane/lint"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/telemetry"
)

// TestFaultsPage puts the examples of faults.md into effect. The drill itself runs in e2e.
func TestFaultsPage(t *testing.T) {
	page, example := examples(t, "faults.md")
	faults := accepted(t, shop, example[0]).Snapshot.RouteTables[0].Entries[0].Route.Faults
	var does []string
	for i := range faults {
		does = append(does, faults[i].Name+" "+faults[i].Does())
	}
	if got := strings.Join(does, ", "); got != "late delay 300ms, gone abort 503, cut reset, trickle throttle 65536 B/s" {
		t.Errorf("faults %s", got)
	}
	drills, found := resource.DecodeDrills("drill.yaml", []byte(example[1]))
	for _, d := range found {
		t.Error(d)
	}
	if len(drills) != 1 {
		t.Fatalf("%d drills", len(drills))
	}
	d := drills[0].Value.(*resource.Drill)
	for i, want := range []time.Duration{30 * time.Second, time.Minute, 30 * time.Second} {
		if got := d.Spec.Phases()[i]; got.For != want {
			t.Errorf("%s lasts %v", got.Phase, got.For)
		}
	}
	for _, e := range d.Spec.Expect {
		if !strings.Contains(page, "\n"+e.Name+" ") {
			t.Errorf("%s is not in the report", e.Name)
		}
	}
	for _, f := range telemetry.Families {
		if strings.HasPrefix(f.Name, "weir_fault") && !strings.Contains(page, "`"+f.Name+"`") {
			t.Errorf("the page says nothing of %s", f.Name)
		}
	}
	for _, r := range lint.Rules {
		if strings.Contains(r.Name, "fault") && !strings.Contains(page, "`"+r.Name+"`") {
			t.Errorf("the page says nothing of the rule %s", r.Name)
		}
	}
}
