package resource

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/controlplane/resource/v1alpha1"
)

// KindScenario is the kind of Scenario.
const KindScenario = "Scenario"

// Scenario is what `weir simulate` plays: who calls, what the services behind are like, what
// happens to them, and what must hold all the same. It has the envelope of the kinds of group
// weir.dev and no CRD; `weir run` skips it.
type Scenario struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              ScenarioSpec `json:"spec"`
}

// ScenarioSpec is the whole of a run.
type ScenarioSpec struct {
	Duration Span `json:"duration"`
	Step     Span `json:"step,omitempty"` // of the table and of limits; absent: 1s
	// Seed makes runs differ; runs of one seed are equal.
	Seed int64 `json:"seed,omitempty"`
	// RoundTrip is how long a message takes to the other side and back, on each hop; absent: 500us.
	RoundTrip Span              `json:"roundTrip,omitempty"`
	Callers   []ScenarioCaller  `json:"callers"`
	Services  []ScenarioService `json:"services"`
	Events    []ScenarioEvent   `json:"events,omitempty"`
	Limits    []ScenarioLimit   `json:"limits,omitempty"`
}

// ScenarioCaller is who sends requests: so many a second whatever becomes of them (rate), or a
// number of callers each of which waits for its answer and thinks before the next (count).
type ScenarioCaller struct {
	Name    string      `json:"name"`
	Request TestRequest `json:"request"`
	Rate    Ratio       `json:"rate,omitempty"`  // requests per second, at random moments
	Count   int32       `json:"count,omitempty"` // callers
	Think   Span        `json:"think,omitempty"` // mean, at random
	// Timeout is when a caller gives a try up; absent: it waits for ever.
	Timeout Span  `json:"timeout,omitempty"`
	Retries int32 `json:"retries,omitempty"` // of the caller itself, after what failed
	Backoff Span  `json:"backoff,omitempty"` // before each of them, at random between half of it and all
	// Marked says that the caller is trusted and marks its tries (x-weir-attempt).
	Marked bool `json:"marked,omitempty"`
}

// ScenarioService is what stands behind a backend.
type ScenarioService struct {
	Backend     string              `json:"backend"`         // by the last parts of its name: checkout, shop/checkout
	Hosts       int32               `json:"hosts,omitempty"` // absent: the endpoints that the resources have
	Concurrency int32               `json:"concurrency"`     // requests that one host works on at once
	ServiceTime ScenarioServiceTime `json:"serviceTime"`
	Queue       *int32              `json:"queue,omitempty"` // requests that wait at one host, above: 503; absent: 1000
	// NoticesLeaving says that a host drops what nobody waits for any more.
	NoticesLeaving bool `json:"noticesLeaving,omitempty"`
	// Calls are made one after the other for each request, through the routes; absent: what the
	// backend's TrafficPolicy declares (calls).
	Calls []ScenarioCall `json:"calls,omitempty"`
	// Propagates says that calls carry on x-weir-attempt and x-weir-timeout-ms.
	Propagates bool `json:"propagates,omitempty"`
}

// ScenarioServiceTime is how long a host works on a request: always Fixed, or Mean and
// exponentially distributed, or with P99 log-normally.
type ScenarioServiceTime struct {
	Fixed Span `json:"fixed,omitempty"`
	Mean  Span `json:"mean,omitempty"`
	P99   Span `json:"p99,omitempty"`
}

// ScenarioCall is a call that a service makes.
type ScenarioCall struct {
	Request TestRequest `json:"request"`
	Share   Share       `json:"share,omitempty"`   // of requests that need it; absent: 100%
	Timeout Span        `json:"timeout,omitempty"` // absent: none of its own
}

// ScenarioEvent is something that happens: at a moment, and for a time or until the end.
type ScenarioEvent struct {
	At      Span   `json:"at"`
	For     Span   `json:"for,omitempty"`
	Backend string `json:"backend,omitempty"`
	Hosts   string `json:"hosts,omitempty"` // a number, or a share such as 50%; absent: all

	Outage   bool  `json:"outage,omitempty"`   // nothing connects, and what is under way is reset
	Hang     bool  `json:"hang,omitempty"`     // connections are taken, nothing is answered until it ends
	SlowDown Ratio `json:"slowDown,omitempty"` // requests take so many times as long
	Errors   Share `json:"errors,omitempty"`   // share answered with 500
	Fast     bool  `json:"fast,omitempty"`     // errors come at once, else after the service time

	Surge  Ratio  `json:"surge,omitempty"`  // so many times the rate or the number of callers
	Caller string `json:"caller,omitempty"` // of the surge; absent: all
}

// ScenarioLimit is what must hold. From and Until bound the time of what is judged; absent:
// the whole run.
type ScenarioLimit struct {
	From  Span `json:"from,omitempty"`
	Until Span `json:"until,omitempty"`
	// MinSuccess is of the callers' requests that ended.
	MinSuccess Share `json:"minSuccess,omitempty"`
	MaxP99     Span  `json:"maxP99,omitempty"` // of the callers' requests that succeeded
	// MaxAmplification is of tries at a service for each that callers needed; Backend says which,
	// absent: the worst.
	MaxAmplification Ratio  `json:"maxAmplification,omitempty"`
	Backend          string `json:"backend,omitempty"`
	// MinGoodput is of what could succeed at best: of the capacity, or of the requests where they are fewer.
	MinGoodput Share `json:"minGoodput,omitempty"`
	// RecoveryWithin is how long after the last event success is as good as before the first.
	RecoveryWithin Span `json:"recoveryWithin,omitempty"`
}

// Span is a time, written as 250ms or 1m30s.
type Span string

// Duration returns the time; 0 if there is none.
func (s Span) Duration() time.Duration {
	d, _ := time.ParseDuration(string(s)) // completeScenario has checked it
	return d
}

// Share is a part of a whole, written as 5% or 0.5%.
type Share string

// Of returns the share from 0 to 1, or otherwise where there is none.
func (s Share) Of(otherwise float64) float64 {
	n, err := strconv.ParseFloat(strings.TrimSuffix(string(s), "%"), 64)
	if err != nil {
		return otherwise
	}
	return n / 100
}

// Ratio is a number, written in quotes: "1.5".
type Ratio string

// Of returns the number, or otherwise where there is none.
func (r Ratio) Of(otherwise float64) float64 {
	n, err := strconv.ParseFloat(string(r), 64)
	if err != nil {
		return otherwise
	}
	return n
}

// scenario is Scenario as a kind. It is not among those that are served.
var scenario = &kind{
	group: v1alpha1.Group, name: KindScenario, versions: []string{v1alpha1.Version}, namespaced: true,
	validName: apivalidation.NameIsDNSSubdomain,
	empty:     func() metav1.Object { return new(Scenario) },
	schema:    fromGo[Scenario](), complete: completeScenario,
}

// DecodeScenarios returns the Scenarios of one file, whose Values are *Scenario, and what is
// wrong with them. Objects of other kinds are left to Decode.
func DecodeScenarios(file string, data []byte) ([]*Object, []Diagnostic) {
	d := Decoder{only: scenario}
	return d.Decode(file, data)
}

// Bounds of a Scenario.
const (
	maxScenarioDuration = 24 * time.Hour
	maxScenarioSteps    = 10_000
	maxScenarioList     = 100
	maxScenarioHosts    = 1000
	maxScenarioCallers  = 1_000_000
	maxScenarioRate     = 1_000_000
	maxScenarioQueue    = 1_000_000
)

// completeScenario checks what the Go types do not say.
func completeScenario(v metav1.Object, report reportFunc) {
	s := &v.(*Scenario).Spec
	c := scenarioCheck{report}
	c.span("spec.duration", s.Duration, time.Millisecond, maxScenarioDuration, true)
	c.span("spec.step", s.Step, time.Millisecond, maxScenarioDuration, false)
	c.span("spec.roundTrip", s.RoundTrip, 10*time.Microsecond, time.Minute, false)
	step := s.Step.Duration()
	if step == 0 {
		step = time.Second
	}
	if s.Duration.Duration()/step > maxScenarioSteps {
		report("spec.step", fmt.Sprintf("duration ÷ step is more than %d rows; write a longer step", maxScenarioSteps))
	}
	c.list("spec.callers", len(s.Callers), "one caller", true)
	c.list("spec.services", len(s.Services), "one service", true)
	c.list("spec.events", len(s.Events), "", false)
	c.list("spec.limits", len(s.Limits), "", false)
	names := map[string]bool{}
	for i := range s.Callers {
		c.caller("spec.callers["+strconv.Itoa(i)+"]", &s.Callers[i], names)
	}
	for i := range s.Services {
		c.service("spec.services["+strconv.Itoa(i)+"]", &s.Services[i])
	}
	for i := range s.Events {
		c.event("spec.events["+strconv.Itoa(i)+"]", &s.Events[i], names)
	}
	for i := range s.Limits {
		c.limit("spec.limits["+strconv.Itoa(i)+"]", &s.Limits[i])
	}
}
