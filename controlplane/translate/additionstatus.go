package translate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// policyReasonExpired is why a FaultPolicy is not programmed whose time has passed.
const policyReasonExpired gatewayv1.PolicyConditionReason = "Expired"

// fateDiagnostics tell what became of additions on the rules that they are for, each thing once
// however many rules there are.
func (t *translator) fateDiagnostics() []resource.Diagnostic {
	if len(t.additions.byTarget) == 0 {
		return nil
	}
	var list []resource.Diagnostic
	for _, slot := range t.routeSlots {
		for i := range slot.view.fates {
			f := &slot.view.fates[i]
			r := reporter{object: f.object}
			if f.invalid.message != "" {
				r.error(RulePolicyInvalid, f.invalid.field, "%s", f.invalid.message)
			}
			if f.unresolved.message != "" {
				r.error(RuleUnresolved, f.unresolved.field, "%s", f.unresolved.message)
			}
			list = append(list, r.diagnostics...)
		}
	}
	return append(list, t.gateDiagnostics()...)
}

// gateDiagnostics tell of gates that name what is not there.
func (t *translator) gateDiagnostics() []resource.Diagnostic {
	var list []resource.Diagnostic
	for _, o := range t.objectsOf(groupWeir, v1alpha1.KindRollout) {
		for _, p := range t.unresolvedGates(t.additions.views[o.Key]) {
			r := reporter{object: o}
			r.error(RuleUnresolved, p.field, "%s", p.message)
			list = append(list, r.diagnostics...)
		}
	}
	return list
}

// unresolvedGates are what the gates of a Rollout name that is not there: objectives, authorities and credentials.
func (t *translator) unresolvedGates(a *addition) []fateProblem {
	v, ok := a.object.Value.(*v1alpha1.Rollout)
	if !ok {
		return nil
	}
	missing := slices.Clone(a.unresolved)
	for i, g := range v.Spec.Gates {
		if g.SLO == nil {
			continue
		}
		key := resource.Key{Group: groupWeir, Kind: v1alpha1.KindServiceLevelObjective, Namespace: a.object.Key.Namespace, Name: string(g.SLO.Name)}
		if o := t.set.Get(key); o == nil || o.Value == nil {
			missing = append(missing, fateProblem{
				reason: gatewayv1.RouteConditionReason(gatewayv1.PolicyReasonTargetNotFound),
				field:  fmt.Sprintf("spec.gates[%d].slo.name", i), message: absenceText(o, key) + ": the gate does not pass",
			})
		}
	}
	return missing
}

// UselessFaults says why nothing is broken by a FaultPolicy; nil: something is.
func (o *Output) UselessFaults(policy resource.Key) (why []resource.Diagnostic) {
	name := pathName(policy)
	for _, table := range o.Snapshot.RouteTables {
		for _, e := range table.Entries {
			if slices.ContainsFunc(e.Route.Faults, func(f model.Fault) bool { return f.Policy == name }) {
				return nil
			}
		}
	}
	for _, d := range o.Diagnostics {
		if d.Object == policy {
			why = append(why, d)
		}
	}
	if why == nil {
		why = []resource.Diagnostic{{Rule: RuleUnresolved, Object: policy, Field: "spec.targetRefs", Message: "have no rule that is served"}}
	}
	return why
}

// additionStatuses are those of the additions, gateway by gateway.
func (t *translator) additionStatuses() []Status {
	var policies []judged
	for _, k := range additionKinds {
		for _, o := range t.objectsOf(groupWeir, k.kind) {
			a := t.additions.views[o.Key]
			policies = append(policies, judged{o, a.targets, func(targets []targetView) []metav1.Condition {
				return t.additionConditions(a, targets)
			}})
		}
	}
	return t.statusesOf(policies)
}

// additionConditions word what became of an addition below one ancestor: at its targets, and on
// the rules that there are.
func (t *translator) additionConditions(a *addition, targets []targetView) []metav1.Condition {
	targets = slices.Clone(targets)
	unresolved := t.unresolvedGates(a)
	for i := range targets {
		at := &targets[i]
		slot := t.route(at.object)
		if at.reason != gatewayv1.PolicyReasonAccepted || slot == nil {
			continue
		}
		for _, f := range slot.view.fates {
			if f.addition != a || f.at != at.target {
				continue
			}
			if f.invalid.message != "" {
				at.reason, at.message = gatewayv1.PolicyReasonInvalid, f.invalid.text()
			}
			if f.unresolved.message != "" && !slices.Contains(unresolved, f.unresolved) {
				unresolved = append(unresolved, f.unresolved)
			}
		}
	}
	generation := generationOf(a.object)
	conditions := policyConditions(targets, generation, retainedText(a.object))
	set := func(kind gatewayv1.PolicyConditionType, reason gatewayv1.PolicyConditionReason, message string) {
		i := slices.IndexFunc(conditions, func(c metav1.Condition) bool { return c.Type == string(kind) })
		if conditions[i].Status == metav1.ConditionTrue {
			conditions[i] = condition(kind, false, reason, message, generation)
		}
	}
	if len(unresolved) > 0 {
		var messages []string
		for _, p := range unresolved {
			messages = append(messages, p.text())
		}
		text := strings.Join(messages, "; ")
		set(policyResolvedRefs, gatewayv1.PolicyConditionReason(unresolved[0].reason), text)
		set(policyProgrammed, policyReasonPartially, text)
	}
	if a.expired {
		expires := a.object.Value.(*v1alpha1.FaultPolicy).Spec.Expires.UTC().Format(time.RFC3339)
		set(policyProgrammed, policyReasonExpired, "nothing is broken any more: it expired at "+expires)
	}
	return conditions
}
