// Package health decides from the results of checks whether a host is healthy: pure, without
// time, and without knowing what a check is. Who checks, how and when, and what becomes of an
// unhealthy host, is not its business.
package health

// Verdict is what is held of a host.
type Verdict uint8

// The verdicts.
const (
	Unknown Verdict = iota // no check has ended yet
	Healthy
	Unhealthy
)

// String returns the verdict's name.
func (v Verdict) String() string { return [...]string{"unknown", "healthy", "unhealthy"}[v] }

// Thresholds are how many results in a row, against the verdict, turn it. Less than 1 is 1.
type Thresholds struct {
	Healthy   int // successes
	Unhealthy int // failures
}

// State is what the checks of one host have found. The zero State is Unknown. The first result
// decides at once; after it, a verdict stands until enough results in a row speak against it:
//
//	         Unknown
//	success ╱       ╲ failure
//	       ▼         ▼
//	   Healthy ───► Unhealthy   after Thresholds.Unhealthy failures in a row
//	   Healthy ◄─── Unhealthy   after Thresholds.Healthy successes in a row
//
// Worked example, thresholds 2 and 3, + a success and - a failure: the results + - - + - - - + +
// make Healthy from the first on, Unhealthy at the seventh, and Healthy again at the ninth.
type State struct {
	verdict Verdict
	against int // results in a row that speak against the verdict
}

// Verdict returns what is held of the host.
func (s *State) Verdict() Verdict { return s.verdict }

// Observe takes a result and reports whether it has turned the verdict.
func (s *State) Observe(success bool, t Thresholds) bool {
	says, needed := Unhealthy, t.Unhealthy
	if success {
		says, needed = Healthy, t.Healthy
	}
	if s.verdict == says {
		s.against = 0
		return false
	}
	s.against++
	if s.verdict != Unknown && s.against < needed {
		return false
	}
	s.verdict, s.against = says, 0
	return true
}
