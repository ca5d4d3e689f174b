package resource

import (
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/expression"
	"weir.dev/weir/traffic/retry"
)

// checkTrafficPolicy reports what one policy says against itself, with the sum that proves it, and
// expressions that cannot be evaluated.
// What several policies say against each other is for lint.
func checkTrafficPolicy(v metav1.Object, report reportFunc) {
	spec := &v.(*v1alpha1.TrafficPolicy).Spec
	checkSettings(&spec.TrafficSettings, "spec.", report)
	if spec.Overrides != nil {
		checkSettings(spec.Overrides, "spec.overrides.", report)
	}
	for i := range spec.Require {
		_, _, wrong := CompileRequirement(spec.Require[i].Rule)
		for _, message := range wrong {
			report(fmt.Sprintf("spec.require[%d].rule", i), message)
		}
	}
}

func checkSettings(s *v1alpha1.TrafficSettings, root string, report reportFunc) {
	var t model.Timeouts
	if s.Timeouts != nil {
		t.Request, t.PerTry = span(s.Timeouts.Request), span(s.Timeouts.PerTry)
	}
	if t.Request > 0 && t.PerTry > t.Request {
		report(root+"timeouts.perTry", fmt.Sprintf("%v is more than timeouts.request has for all tries, %v", t.PerTry, t.Request))
	} else if s.Retries != nil {
		checkRetries(s.Retries, t, root+"retries.", report)
	}
	checkKeys(s.HashOn, root+"hashOn", report)
	if s.Overload != nil {
		checkOverload(s.Overload, root+"overload.", report)
	}
	if d := s.OutlierDetection; d != nil && d.BaseEjectionTime != nil && d.MaxEjectionTime != nil && span(d.BaseEjectionTime) > span(d.MaxEjectionTime) {
		report(root+"outlierDetection.maxEjectionTime", fmt.Sprintf("%s is less than baseEjectionTime, %s", *d.MaxEjectionTime, *d.BaseEjectionTime))
	}
}

func checkRetries(r *v1alpha1.Retries, t model.Timeouts, path string, report reportFunc) {
	attempts := 0
	if r.Attempts != nil {
		attempts = int(*r.Attempts)
	}
	if sum := retry.Contradiction(t, &model.Retry{Attempts: attempts, On: []model.RetryOn{}}); sum != "" {
		report(path+"attempts", "the last can never start when each before it takes all of its time: "+sum)
	}
	if b := r.Backoff; b != nil && b.Max != nil && span(b.Base) > span(b.Max) {
		report(path+"backoff.max", fmt.Sprintf("%s is less than base, %s", *b.Max, *b.Base))
	}
	if b := r.Budget; b != nil && attempts > 0 && (b.Mode == nil || model.Mode(*b.Mode).Acts()) && b.Percent != nil && isNone(*b.Percent) && b.MinPerSecond != nil && *b.MinPerSecond == 0 {
		report(path+"budget", fmt.Sprintf("%s of first tries and 0 a second allow none of the %d attempts", *b.Percent, attempts))
	}
}

func checkOverload(l *v1alpha1.Overload, path string, report reportFunc) {
	if c := l.Concurrency; c != nil && c.Adaptive != nil && c.Adaptive.Min != nil && c.Adaptive.Max != nil && *c.Adaptive.Min > *c.Adaptive.Max {
		report(path+"concurrency.adaptive.max", fmt.Sprintf("%d is less than min, %d", *c.Adaptive.Max, *c.Adaptive.Min))
	}
	for i, p := range l.Priority {
		if p.When != nil {
			checkExpression(*p.When, expression.Bool, fmt.Sprintf("%spriority[%d].when", path, i), report)
		}
	}
	if l.Queue != nil {
		checkKeys(l.Queue.FairBy, path+"queue.fairBy", report)
	}
	for i := range l.Degrade {
		t := l.Degrade[i].Timeouts
		if t != nil && t.Request != nil && t.PerTry != nil && span(t.PerTry) > span(t.Request) {
			report(fmt.Sprintf("%sdegrade[%d].timeouts.perTry", path, i), fmt.Sprintf("%s is more than request has for all tries, %s", *t.PerTry, *t.Request))
		}
	}
}

func checkKeys(keys []v1alpha1.Key, path string, report reportFunc) {
	for i, k := range keys {
		if k.Expression != nil {
			checkExpression(*k.Expression, expression.String, fmt.Sprintf("%s[%d].expression", path, i), report)
		}
	}
}

// checkExpression reports what is wrong with CEL about requests, each problem with its line and
// column in the expression.
func checkExpression(source string, result expression.Result, path string, report reportFunc) {
	checkPhase(source, expression.Forwarding, result, path, report)
}

func checkPhase(source string, phase expression.Phase, result expression.Result, path string, report reportFunc) {
	_, err := expression.Compile(source, phase, result)
	for _, message := range wrongIn(err) {
		report(path, message)
	}
}

// wrongIn are the problems of an expression, each a sentence for people.
func wrongIn(err error) []string {
	var faults *expression.Error
	if !errors.As(err, &faults) {
		return nil
	}
	wrong := make([]string, len(faults.Problems))
	for i, p := range faults.Problems {
		wrong[i] = fmt.Sprintf("at %d:%d of the expression: %s", p.Line, p.Column, p.Message)
	}
	return wrong
}

// isNone tells whether a percentage is 0%, however it is written.
func isNone(p v1alpha1.Percentage) bool { return p == "0%" || p == "0.0%" || p == "0.00%" }

// span is a duration that the schema has found right; 0 for none.
func span(d *gatewayv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	value, err := time.ParseDuration(string(*d))
	if err != nil {
		return 0
	}
	return value
}
