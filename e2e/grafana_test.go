package e2e_test

import (
	"testing"

	"weir.dev/weir/bench/release"
)

// objectiveOfApp promises something of the release's route, and breaks it at the first failure.
const objectiveOfApp = `---
apiVersion: weir.dev/v1alpha1
kind: ServiceLevelObjective
metadata: {name: app}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]
  indicator: {availability: {}}
  objective: 99.9%
`

// TestSuiteGrafana has Grafana's own data source ask about a service whose release went bad, and every panel of
// the dashboard in examples.
func TestSuiteGrafana(t *testing.T) {
	t.Parallel()
	long(t)
	r := startRelease(t, 20_000, func(text string) string { return text + objectiveOfApp })
	traffic := release.Load{Address: r.front, Users: r.users, Rate: 100, Seed: 1}.Begin(t.Context())
	defer traffic.Stop()
	value(t, r.Admin, `sum(weir_release_requests_total{arm="canary"}) > 0`) // so that evidence is kept, too
	r.canary.Play(release.Fault{Share: 1}, 1)
	r.became(t, "taken back", func(s release.Status) bool { return s.Trip != nil })
	r.stable.Play(release.Fault{Share: 0.1}, 1)
	runSuite(t, "Grafana's data source", "HTTP", 62, "grafana", "http://"+r.Admin+"/prometheus", "../docs/series.md", "../examples/grafana/weir.json")
}
