package model

import (
	"slices"
	"time"
)

// Buckets is into how many parts a split divides its users. A user's bucket is a hash of who it is
// and of the split's salt, the same in every proxy.
const Buckets = 10_000

// Numbers is how many numbers there are by which the users of an arm are told apart, whatever their buckets.
const Numbers = 1 << 15

// Release is what a Rollout adds to the split of a rule: which two of its arms are compared, who is
// sampled how, and what takes the new one's traffic back. What share the canary has is not in
// it: that is a ReleaseKnob, and without one for this Subject everything of both is stable's.
type Release struct {
	Name string // namespace/name of the Rollout: the key of its knob, its counters and its evidence
	// Subject is the hash of what is released: stable, canary and revision. A knob that was
	// decided for another subject has no effect.
	Subject        Hash
	Stable, Canary string // Arm.Name; the canary's arm has the weight 0 where the rule does not list it
	Sampling       Sampling
	Cohorts        []Cohort `json:",omitempty"` // first match; they get the canary while it runs
	Guard          Guard
	Origin         Origin
}

// Resting returns the weights of the arms, in their order, while no knob says otherwise: stable has
// the canary's as well as its own.
func (s *Split) Resting() []uint32 {
	weights := make([]uint32, len(s.Arms))
	for i := range s.Arms {
		weights[i] = s.Arms[i].Weight
	}
	if s.Release == nil {
		return weights
	}
	stable := slices.IndexFunc(s.Arms, func(a Arm) bool { return a.Name == s.Release.Stable })
	canary := slices.IndexFunc(s.Arms, func(a Arm) bool { return a.Name == s.Release.Canary })
	if stable >= 0 && canary >= 0 {
		weights[stable], weights[canary] = weights[stable]+weights[canary], 0
	}
	return weights
}

// Releases reports whether an arm is the stable or the canary of a release.
func (s *Split) Releases(arm string) bool {
	return s.Release != nil && (arm == s.Release.Stable || arm == s.Release.Canary)
}

// RoleOf says what an arm is to the release of its split: "canary of shop/checkout"; empty: nothing.
func (s *Split) RoleOf(arm string) string {
	switch {
	case s.Release == nil:
	case arm == s.Release.Stable:
		return "stable of " + s.Release.Name
	case arm == s.Release.Canary:
		return "canary of " + s.Release.Name
	}
	return ""
}

// Sends reports whether an arm gets requests, or may during a release.
func (s *Split) Sends(a *Arm) bool { return a.Weight > 0 || s.Releases(a.Name) }

// Sampling says who counts as one user.
type Sampling struct {
	Unit SampleUnit
	Salt string // equal salts give equal users; namespace/name of the Rollout unless one is written
	// Key tells users apart: the first that a request has counts.
	Key      []Key `json:",omitempty"`
	Fallback SampleFallback
}

// SampleUnit is what is drawn.
type SampleUnit string

// The units.
const (
	SampleUsers    SampleUnit = "User"
	SampleRequests SampleUnit = "Request" // every request is drawn anew, and tested
)

// SampleFallback says what becomes of requests that no key tells apart.
type SampleFallback string

// The fallbacks.
const (
	FallbackRequest SampleFallback = "Request" // drawn anew each time
	FallbackCookie  SampleFallback = "Cookie"  // given a random, signed id, and drawn by that
	FallbackStable  SampleFallback = "Stable"  // stable's
)

// Cohort is a group of requests that gets the canary whatever the share. It is counted apart, and
// no test looks at it.
type Cohort struct {
	Name string
	When string // CEL over request, source, identity
}

// Guard is what every proxy tests of the canary against stable, on every outcome. All that is
// nil or zero is off.
type Guard struct {
	Errors              *ErrorGuard   `json:",omitempty"`
	Latency             *LatencyGuard `json:",omitempty"`
	ConsecutiveFailures int           `json:",omitempty"` // of the canary in a row, while stable is healthy
	// Stages is among how many stages Alpha is shared: each change of the share starts the tests anew.
	Stages int
}

// ErrorGuard tests the share of failures: that of first tries, and that of final answers.
type ErrorGuard struct {
	MaxDifference float64 // the canary's share of failures less stable's that is borne, 0 to 1
	Alpha         float64 // the probability of a false alarm in the whole run, above 0 to 0.5
}

// LatencyGuard tests a quantile of the time to the answer's head.
type LatencyGuard struct {
	Quantile float64 // 0.5 to 0.999
	MaxRatio float64 // the canary's quantile divided by stable's that is borne, 1 or more
	Alpha    float64
}

// Knobs are the small live changes beside a snapshot, all of them each time: an engine that is
// given others forgets these.
type Knobs struct {
	// Version grows with every change.
	Version  uint64
	Releases []ReleaseKnob
	// SampleSecret signs the ids of FallbackCookie; all proxies share it. Without one no ids are given.
	SampleSecret []byte `json:"-"`
	// StoppedFaults are the Fault.Keys that are stopped whatever the snapshot says.
	StoppedFaults []string `json:",omitempty"`
}

// ReleaseKnob is how a split divides its buckets for now.
type ReleaseKnob struct {
	Release string // Release.Name
	Subject Hash   // Release.Subject
	// Run counts the runs of the Rollout, and Generation the divisions of a run, both from 1. A proxy
	// that has tripped gives the canary nothing more in that run.
	Run, Generation uint64
	// Running says that the run has neither ended nor been aborted: cohorts get the canary.
	Running bool
	// Ranges cover all buckets in rising order.
	Ranges []BucketRange
}

// BucketRange gives the buckets from From to before To to an arm.
type BucketRange struct {
	Arm      string // Arm.Name; one that the split does not have is stable's
	From, To uint16
}

// ReleaseObservation is what a proxy has seen of one generation of a release. Counts are of that
// generation alone.
type ReleaseObservation struct {
	Release         string
	Subject         Hash
	Run, Generation uint64
	Since           time.Time // when the proxy began to apply it
	Stable, Canary  ArmObservation
	Cohorts         []CohortObservation `json:",omitempty"`
	Tests           []TestObservation   `json:",omitempty"`
	StableUnhealthy bool                `json:",omitempty"` // nothing can be said of the canary against it
	Trip            *ReleaseTrip        `json:",omitempty"` // of this or an earlier generation of the run; nil: not tripped
}

// ArmObservation is what a proxy has seen of one arm, cohorts excluded.
type ArmObservation struct {
	Requests    uint64 // begun
	InFlight    int64
	Users       uint64        // different ones, counted within a per cent or so
	FirstFailed uint64        // first tries that failed
	Failed      uint64        // requests whose final answer is a failure
	Excluded    uint64        // that say nothing about the arm: our own refusals, clients that left
	Tested      uint64        // outcomes that the tests have seen: of a user one in ten seconds at most
	Slow        uint64        // of those, later than the latency test's bound
	P50, P95    time.Duration // of answers
	P99         time.Duration
}

// CohortObservation is what a proxy has seen of one cohort.
type CohortObservation struct {
	Name     string `json:"name"`
	Requests uint64 `json:"requests"` // that are over and say something about the canary
	Failed   uint64 `json:"failed"`
}

// TestObservation is the state of one sequential test: it trips once Evidence reaches Boundary.
type TestObservation struct {
	Name     string  `json:"name"`             // errors/first, errors/final, latency, consecutiveFailures
	Evidence float64 `json:"evidence"`         // natural logarithm of the e-value; of consecutiveFailures their number
	Boundary float64 `json:"boundary"`         // in the same unit
	Detail   string  `json:"detail,omitempty"` // what is compared, with numbers, for people
}

// ReleaseTrip is the end of a canary by a proxy's own guard.
type ReleaseTrip struct {
	At     time.Time       `json:"at"`
	Test   TestObservation `json:"test"`   // as it was
	Reason string          `json:"reason"` // one sentence with numbers
	// First is when the first bad outcome of the run of evidence came in, if that is known.
	First time.Time `json:"first,omitzero"`
	// CanaryFailures are the failed requests of the canary that were complete before the trip, and
	// InFlight those that were under way at it.
	CanaryFailures uint64 `json:"canaryFailures"`
	InFlight       int64  `json:"inFlight"`
}
