package resource

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/traffic/compare"
	"weir.dev/weir/traffic/expression"
)

// checkRollout reports what one Rollout says against itself, and expressions, queries and
// addresses that nothing can be done with.
func checkRollout(v metav1.Object, report reportFunc) {
	spec := &v.(*v1alpha1.Rollout).Spec
	checkStages(spec.Stages, report)
	if s := spec.Sampling; s != nil {
		checkKeys(s.Key, "spec.sampling.key", report)
	}
	for i, c := range spec.Cohorts {
		checkExpression(c.When, expression.Bool, fmt.Sprintf("spec.cohorts[%d].when", i), report)
	}
	for i := range spec.Gates {
		checkGate(&spec.Gates[i], fmt.Sprintf("spec.gates[%d].", i), report)
	}
}

// checkStages reports shares that do not grow up to the whole.
func checkStages(stages []v1alpha1.Stage, report reportFunc) {
	last := 0.0
	for i, s := range stages {
		path, share := fmt.Sprintf("spec.stages[%d].share", i), percentOf(s.Share)
		switch {
		case share <= last:
			report(path, fmt.Sprintf("%s is not more than the stage before has, %s: shares must grow", s.Share, stages[i-1].Share))
		case i == len(stages)-1 && share < 100:
			report(path, fmt.Sprintf("%s is the last: the last stage must have 100%%, which is what a release ends with", s.Share))
		}
		last = max(last, share)
	}
}

// percentOf is a percentage that the schema has found right, 0 to 100.
func percentOf(p v1alpha1.Percentage) float64 {
	value, err := strconv.ParseFloat(strings.TrimSuffix(string(p), "%"), 64)
	if err != nil {
		return 0
	}
	return value
}

func checkGate(g *v1alpha1.Gate, path string, report reportFunc) {
	if q := g.PromQL; q != nil {
		checkQuery(q, path+"promql.", report)
	}
	if w := g.Webhook; w != nil {
		checkURL(w.URL, path+"webhook.url", report)
		checkGateAccess(&w.GateAccess, w.URL, path+"webhook.", report)
		if d := span(w.Timeout); d > maxGateTimeout {
			report(path+"webhook.timeout", fmt.Sprintf("%s is more than %v, which is what a gate waits at most", *w.Timeout, maxGateTimeout))
		}
	}
}

// maxGateTimeout is how long an answer of a gate is waited for at most.
const maxGateTimeout = time.Minute

// checkPromQL reports what is wrong with a query that must come to one number.
func checkPromQL(query, path string, report reportFunc) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	var wrong parser.ParseErrors
	switch {
	case errors.As(err, &wrong):
		for _, e := range wrong {
			report(path, fmt.Sprintf("at character %d of the query: %v", e.PositionRange.Start+1, e.Err))
		}
	case err != nil:
		report(path, err.Error())
	case expr.Type() == parser.ValueTypeString, expr.Type() == parser.ValueTypeMatrix:
		report(path, fmt.Sprintf("is a %s; want one number", parser.DocumentedType(expr.Type())))
	}
}

func checkQuery(q *v1alpha1.QueryGate, path string, report reportFunc) {
	checkPromQL(q.Query, path+"query", report)
	if q.Min != nil && q.Max != nil && numberOf(*q.Min) > numberOf(*q.Max) {
		report(path+"max", fmt.Sprintf("%s is less than min, %s", *q.Max, *q.Min))
	}
	if q.Address != nil {
		checkURL(*q.Address, path+"address", report)
		checkGateAccess(&q.GateAccess, *q.Address, path, report)
	}
}

// checkGateAccess reports authorities for a server that shows no certificate.
func checkGateAccess(a *v1alpha1.GateAccess, address, path string, report reportFunc) {
	if len(a.CACertificateRefs) > 0 && strings.HasPrefix(address, "http:") {
		report(path+"caCertificateRefs", "is for https://: a server that is asked by http:// shows no certificate")
	}
}

// numberOf is a number that the schema has found right.
func numberOf(n v1alpha1.Number) float64 {
	value, err := strconv.ParseFloat(string(n), 64)
	if err != nil {
		return 0
	}
	return value
}

// checkURL reports what stands against asking a URL. Credentials would be shown wherever the
// object is.
func checkURL(text, path string, report reportFunc) {
	u, err := url.Parse(text)
	var parse *url.Error
	switch {
	case errors.As(err, &parse):
		report(path, fmt.Sprintf("is not a URL: %v", parse.Err))
	case err != nil:
		report(path, "is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		report(path, "must begin with http:// or https://")
	case u.Hostname() == "":
		report(path, "has no host")
	case u.User != nil:
		report(path, "must not hold a user or password: everybody who may read the object would see them")
	case u.Fragment != "":
		report(path, "must not have a fragment (#): it is never sent")
	}
}

// checkShadow reports paths of JSON that cannot be read.
func checkShadow(v metav1.Object, report reportFunc) {
	c := v.(*v1alpha1.Shadow).Spec.Compare
	if c == nil {
		return
	}
	for i, path := range c.Ignore {
		if err := compare.ParsePath(string(path)); err != nil {
			report(fmt.Sprintf("spec.compare.ignore[%d]", i), err.Error())
		}
	}
}

// maxFaultDelay is how long a fault lets a request wait at most.
const maxFaultDelay = time.Hour

// checkFaultPolicy reports conditions that cannot be evaluated where faults are: before a request
// has passed any check.
func checkFaultPolicy(v metav1.Object, report reportFunc) {
	for i, f := range v.(*v1alpha1.FaultPolicy).Spec.Faults {
		path := fmt.Sprintf("spec.faults[%d].", i)
		if f.When != nil {
			checkPhase(*f.When, expression.Matching, expression.Bool, path+"when", report)
		}
		if f.Delay != nil && span(&f.Delay.Fixed) > maxFaultDelay {
			report(path+"delay.fixed", fmt.Sprintf("%s is more than %v", f.Delay.Fixed, maxFaultDelay))
		}
	}
}

// The bounds of an objective's window and latency.
const (
	minWindow = time.Hour
	maxWindow = 366 * 24 * time.Hour
	maxBelow  = time.Hour
)

// checkObjective reports times that nothing can be promised about.
func checkObjective(v metav1.Object, report reportFunc) {
	spec := &v.(*v1alpha1.ServiceLevelObjective).Spec
	if w := spec.Window; w != nil && (span(w) < minWindow || span(w) > maxWindow) {
		report("spec.window", fmt.Sprintf("%s is not between 1h and 8784h", *w))
	}
	if l := spec.Indicator.Latency; l != nil && span(&l.Below) > maxBelow {
		report("spec.indicator.latency.below", fmt.Sprintf("%s is more than 1h", l.Below))
	}
}
