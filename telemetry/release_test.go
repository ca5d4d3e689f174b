package telemetry

import (
	"strings"
	"testing"

	"weir.dev/weir/model"
)

// busyRelease is one that has tripped.
func busyRelease() ReleaseState {
	var ended ReleaseCounts
	ended[ReleaseStable][ReleaseGood] = 990
	ended[ReleaseCanary][ReleaseRescued] = 2
	return ReleaseState{Name: "shop/checkout", Share: 0.01, Ended: ended, Unwatched: 3, Observation: &model.ReleaseObservation{
		Stable: model.ArmObservation{Users: 900}, Canary: model.ArmObservation{Users: 9}, Trip: &model.ReleaseTrip{},
		Tests: []model.TestObservation{{Name: "errors/final", Evidence: 9.5, Boundary: 8.25}},
	}}
}

func TestReleaseFigures(t *testing.T) {
	m := NewMetrics(1)
	list := []ReleaseState{busyRelease(), {Name: "shop/idle"}}
	m.WatchReleases(func() []ReleaseState { return list })
	figures := func() string {
		var b strings.Builder
		m.Figures(func(f *Figure) {
			if strings.HasPrefix(f.Name, "weir_release_") {
				b.WriteString(f.Name + " " + strings.Join(f.Values, " ") + "\n")
			}
		})
		return b.String()
	}
	const want = `weir_release_requests_total shop/checkout stable good
weir_release_requests_total shop/checkout stable failed
weir_release_requests_total shop/checkout canary good
weir_release_requests_total shop/checkout canary failed
weir_release_requests_total shop/checkout canary rescued
weir_release_share shop/checkout
weir_release_unwatched_total shop/checkout
weir_release_users shop/checkout stable
weir_release_users shop/checkout canary
weir_release_tripped shop/checkout
weir_release_evidence shop/checkout errors/final
weir_release_boundary shop/checkout errors/final
weir_release_requests_total shop/idle stable good
weir_release_requests_total shop/idle stable failed
weir_release_requests_total shop/idle canary good
weir_release_requests_total shop/idle canary failed
weir_release_share shop/idle
weir_release_unwatched_total shop/idle
`
	if got := figures(); got != want {
		t.Errorf("got:\n%s", got)
	}
	list = nil
	if got := figures(); got != "" {
		t.Errorf("of releases that are gone:\n%s", got)
	}
}
