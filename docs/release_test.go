package main

import (
	"strings"
	"testing"
	"time"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// TestReleasePage puts the examples of release.md into effect: the release as it stands, with each of
// the gates, and the switch from blue to green. What its commands print, the e2e tests find out.
func TestReleasePage(t *testing.T) {
	_, blocks := examples(t, "release.md")
	files := map[string]string{}
	for _, b := range blocks {
		name, _, _ := strings.Cut(strings.TrimPrefix(b, "# "), "\n")
		files[name] = b
	}
	out := accepted(t, files["shop.yaml"], files["release.yaml"])
	release := out.Snapshot.RouteTables[0].Entries[0].Route.Split.Release
	if release == nil || len(out.Rollouts) != 1 {
		t.Fatalf("release %v, plans %+v", release, out.Rollouts)
	}
	p := out.Rollouts[0]
	if p.Problem != "" || p.Strategy != translate.StrategyCanary || p.MinimumRequests != 20 || len(p.Stages) != 3 || p.Stages[1].For != time.Hour {
		t.Errorf("plan %+v", p)
	}
	if s := release.Sampling; s.Unit != model.SampleUsers || len(s.Key) != 2 || s.Fallback != model.FallbackCookie || len(release.Cohorts) != 1 {
		t.Errorf("sampling %+v, cohorts %+v", s, release.Cohorts)
	}

	gated := accepted(t, files["shop.yaml"], files["objective.yaml"], files["release.yaml"]+strings.TrimPrefix(files["in release.yaml"], "# in release.yaml\n"))
	gates := gated.Rollouts[0].Gates
	if len(gates) != 6 || gates[1].SLO != "default/checkout" || gates[2].Query == nil || gates[3].Query.Address == "" || gates[4].Webhook == nil || len(gates[5].Approval) != 1 {
		t.Errorf("gates %+v", gates)
	}
	if o := gated.Objectives; len(o) != 1 || !o[0].FreezeRollouts {
		t.Errorf("objectives %+v", o)
	}

	if b := accepted(t, files["shop.yaml"], files["bluegreen.yaml"]).Rollouts; len(b) != 1 || b[0].Problem != "" || b[0].Strategy != translate.StrategyBlueGreen || len(b[0].Gates) != 1 {
		t.Errorf("blue and green %+v", b)
	}
}
