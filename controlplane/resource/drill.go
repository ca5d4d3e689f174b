package resource

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource/v1alpha1"
)

// KindDrill is the kind of Drill.
const KindDrill = "Drill"

// Drill is what `weir drill run` plays against a running Weir: it looks at how things are, breaks
// something on purpose for a while, looks again, and says whether what was expected held. It has
// the envelope of the kinds of group weir.dev and no CRD; `weir run` skips it.
type Drill struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              DrillSpec `json:"spec"`
}

// DrillSpec is the whole of a drill.
type DrillSpec struct {
	Reason string `json:"reason"` // for whoever finds it
	// TargetRefs and Faults are those of a FaultPolicy in the drill's namespace.
	TargetRefs []gatewayv1.LocalPolicyTargetReferenceWithSectionName `json:"targetRefs"`
	Faults     []v1alpha1.Fault                                      `json:"faults"`
	Before     Span                                                  `json:"before,omitempty"` // how long nothing is broken; absent: 30s
	During     Span                                                  `json:"during,omitempty"` // how long the faults last; absent: 1m
	After      Span                                                  `json:"after,omitempty"`  // how long things have to recover; absent: 30s
	Expect     []DrillExpectation                                    `json:"expect"`
}

// DrillExpectation is what must hold at the end of a phase.
type DrillExpectation struct {
	Name  string     `json:"name"`
	Phase DrillPhase `json:"phase,omitempty"` // absent: During
	// PromQL is asked of the embedded time series. $phase in it is how long the phase lasted, as in
	// sum(rate(weir_route_requests_total[$phase])). It must come to one number.
	PromQL string `json:"promql"`
	Min    Ratio  `json:"min,omitempty"`
	Max    Ratio  `json:"max,omitempty"`
}

// DrillPhase is a part of a drill.
type DrillPhase string

// The phases, in their order.
const (
	DrillBefore DrillPhase = "Before"
	DrillDuring DrillPhase = "During"
	DrillAfter  DrillPhase = "After"
)

// Phases returns how long each phase lasts.
func (s *DrillSpec) Phases() []struct {
	Phase DrillPhase
	For   time.Duration
} {
	last := func(s Span, otherwise time.Duration) time.Duration {
		if s == "" {
			return otherwise
		}
		return s.Duration()
	}
	return []struct {
		Phase DrillPhase
		For   time.Duration
	}{
		{DrillBefore, last(s.Before, 30*time.Second)},
		{DrillDuring, last(s.During, time.Minute)},
		{DrillAfter, last(s.After, 30*time.Second)},
	}
}

// drill is Drill as a kind. It is not among those that are served.
var drill = &kind{
	group: v1alpha1.Group, name: KindDrill, versions: []string{v1alpha1.Version}, namespaced: true,
	validName: apivalidation.NameIsDNSSubdomain,
	empty:     func() metav1.Object { return new(Drill) },
	schema:    fromGo[Drill](), complete: completeDrill,
}

// DecodeDrills returns the Drills of one file, whose Values are *Drill, and what is wrong with
// them. Objects of other kinds are left to Decode.
func DecodeDrills(file string, data []byte) ([]*Object, []Diagnostic) {
	d := Decoder{only: drill}
	return d.Decode(file, data)
}

// DrillFaults are what a drill breaks. TargetRefs and Faults are those of a FaultPolicy, in whatever becomes
// their JSON.
type DrillFaults struct {
	Namespace, Name, Reason string
	TargetRefs, Faults      any
}

// Faults are the faults of a Drill.
func (d *Drill) Faults() DrillFaults {
	return DrillFaults{d.Namespace, d.Name, d.Spec.Reason, d.Spec.TargetRefs, d.Spec.Faults}
}

// drillPrefix begins the names of the FaultPolicies that drills bring with them.
const drillPrefix = "drill-"

// Key is that of the FaultPolicy that the drill brings with it.
func (d DrillFaults) Key() Key {
	return Key{Group: v1alpha1.Group, Kind: v1alpha1.KindFaultPolicy, Namespace: d.Namespace, Name: drillPrefix + d.Name}
}

// Taken says that a set has a FaultPolicy of that name; empty: it has none.
func (d DrillFaults) Taken(s *Set) string {
	key := d.Key()
	if s.Get(key) == nil {
		return ""
	}
	return fmt.Sprintf("there is a FaultPolicy named %s; name the drill otherwise", key.Name)
}

// Policy is the FaultPolicy that the drill brings with it, read as strictly as one in a file; nil if something is
// wrong.
func (d DrillFaults) Policy(expires time.Time) (*Object, []Diagnostic) {
	key := d.Key()
	data, err := json.Marshal(map[string]any{
		"apiVersion": v1alpha1.Group + "/" + v1alpha1.Version, "kind": v1alpha1.KindFaultPolicy,
		"metadata": map[string]any{"name": key.Name, "namespace": d.Namespace},
		"spec": map[string]any{
			"targetRefs": d.TargetRefs, "faults": d.Faults, "reason": d.Reason, "expires": expires.Add(time.Second).UTC().Format(time.RFC3339),
		},
	})
	if err != nil {
		return nil, []Diagnostic{{Rule: RuleSchema, Object: key, Message: err.Error()}}
	}
	var decoder Decoder
	objects, diagnostics := decoder.Decode("drill "+d.Name, data)
	diagnostics = slices.DeleteFunc(diagnostics, func(d Diagnostic) bool { return d.Severity != Error })
	if len(diagnostics) > 0 || len(objects) != 1 {
		return nil, diagnostics
	}
	return objects[0], nil
}

// maxDrillPhase bounds a phase: what is broken on purpose is not forgotten.
const maxDrillPhase = time.Hour

// completeDrill checks what the Go types do not say. What is wrong with the faults themselves is
// said of the FaultPolicy that is made of them.
func completeDrill(v metav1.Object, report reportFunc) {
	s := &v.(*Drill).Spec
	c := scenarioCheck{report}
	if s.Reason == "" {
		report("spec.reason", "required: why, for whoever finds it")
	}
	if len(s.TargetRefs) == 0 {
		report("spec.targetRefs", "required: the routes whose requests are broken")
	}
	c.list("spec.faults", len(s.Faults), "one fault", true)
	c.list("spec.expect", len(s.Expect), "one expectation: a drill without says nothing", true)
	c.span("spec.before", s.Before, 0, maxDrillPhase, false)
	c.span("spec.during", s.During, time.Second, maxDrillPhase, false)
	c.span("spec.after", s.After, 0, maxDrillPhase, false)
	for i := range s.Expect {
		c.expectation("spec.expect["+strconv.Itoa(i)+"]", &s.Expect[i], s)
	}
}

// expectation checks one of a drill.
func (c scenarioCheck) expectation(path string, e *DrillExpectation, s *DrillSpec) {
	if e.Name == "" {
		c.report(path+".name", "required: a name for the report")
	}
	switch e.Phase {
	case "", DrillDuring:
	case DrillBefore, DrillAfter:
		for _, p := range s.Phases() {
			if p.Phase == e.Phase && p.For == 0 {
				c.report(path+".phase", fmt.Sprintf("spec.%s is 0s, so nobody would look", strings.ToLower(string(e.Phase))))
			}
		}
	default:
		c.report(path+".phase", fmt.Sprintf("%q: expected Before, During or After", e.Phase))
	}
	if e.PromQL == "" {
		c.report(path+".promql", "required: a query that comes to one number")
	} else {
		checkPromQL(e.Query(time.Hour), path+".promql", c.report)
	}
	if e.Min == "" && e.Max == "" {
		c.report(path, "required: min, max or both")
	}
	c.ratio(path+".min", e.Min, -1e15, 1e15)
	c.ratio(path+".max", e.Max, -1e15, 1e15)
	if e.Min.Of(math.Inf(-1)) > e.Max.Of(math.Inf(1)) {
		c.report(path+".max", fmt.Sprintf("%s is less than min, %s", e.Max, e.Min))
	}
}

// Query is the expectation's PromQL for a phase that lasted so long.
func (e *DrillExpectation) Query(phase time.Duration) string {
	return strings.ReplaceAll(e.PromQL, "$phase", strconv.FormatInt(max(phase.Milliseconds(), 1), 10)+"ms")
}
