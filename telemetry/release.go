package telemetry

import "weir.dev/weir/model"

// ReleaseArm is whose request one of a release was.
type ReleaseArm uint8

// The arms. Cohorts get the canary whatever its share, and are counted apart.
const (
	ReleaseStable ReleaseArm = iota
	ReleaseCanary
	ReleaseCohort
	ReleaseArms // how many there are
)

// ReleaseOutcome is how a request of a release ended for its client.
type ReleaseOutcome uint8

// The outcomes.
const (
	ReleaseGood     ReleaseOutcome = iota
	ReleaseFailed                  // a failure is what the client got
	ReleaseExcluded                // it says nothing of its arm: our own refusal, or a client that left
	ReleaseRescued                 // the canary failed and was taken back, and stable served the request
	ReleaseOutcomes                // how many there are
)

var (
	releaseArmNames     = [ReleaseArms]string{"stable", "canary", "cohort"}
	releaseOutcomeNames = [ReleaseOutcomes]string{"good", "failed", "excluded", "rescued"}
)

// ReleaseCounts are how requests of a release ended.
type ReleaseCounts [ReleaseArms][ReleaseOutcomes]uint64

// ReleaseState is what a proxy's part of a release is like now. It comes from who owns it.
type ReleaseState struct {
	Name  string
	Ended ReleaseCounts // since the proxy knows the release
	// Share is what part of stable's and the canary's users is the canary's now, 0 to 1.
	Share float64
	// Observation is of the present generation; nil: nothing is tested.
	Observation *model.ReleaseObservation
	// Unwatched is how often a request found no place among those that are watched for being late.
	Unwatched uint64
}

// WatchReleases has the metrics of releases read from f at every scrape.
func (m *Metrics) WatchReleases(f func() []ReleaseState) { m.releases.Store(&f) }

func (e *emitter) releases(m *Metrics) {
	watch := m.releases.Load()
	if watch == nil {
		return
	}
	for i, s := range (*watch)() {
		if i >= SeriesLimit {
			break
		}
		for arm, outcomes := range s.Ended {
			for outcome, n := range outcomes {
				if n > 0 || ReleaseArm(arm) != ReleaseCohort && ReleaseOutcome(outcome) <= ReleaseFailed {
					e.value(famReleaseRequests, float64(n), s.Name, releaseArmNames[arm], releaseOutcomeNames[outcome])
				}
			}
		}
		e.value(famReleaseShare, s.Share, s.Name)
		e.value(famReleaseUnwatched, float64(s.Unwatched), s.Name)
		o := s.Observation
		if o == nil {
			continue
		}
		e.value(famReleaseUsers, float64(o.Stable.Users), s.Name, releaseArmNames[ReleaseStable])
		e.value(famReleaseUsers, float64(o.Canary.Users), s.Name, releaseArmNames[ReleaseCanary])
		e.value(famReleaseTripped, truth(o.Trip != nil), s.Name)
		for _, t := range o.Tests {
			e.value(famReleaseEvidence, t.Evidence, s.Name, t.Name)
			e.value(famReleaseBoundary, t.Boundary, s.Name, t.Name)
		}
	}
}
