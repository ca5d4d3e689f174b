package translate

import (
	"math"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource/v1alpha1"
)

func readObjective(r *additionReader, value any) []gatewayv1.LocalPolicyTargetReferenceWithSectionName {
	spec := &value.(*v1alpha1.ServiceLevelObjective).Spec
	percent := r.decimal("objective", strings.TrimSuffix(string(spec.Objective), "%"))
	plan := &ObjectivePlan{
		Name: pathName(r.object.Key), Origin: originOf(r.object, "spec"),
		Objective:      math.Round(1000*percent) / 100_000,
		Window:         r.span("window", spec.Window, defaultObjectiveWindow),
		FreezeRollouts: spec.OnBurn != nil && spec.OnBurn.FreezeRollouts,
	}
	if l := spec.Indicator.Latency; l != nil {
		plan.Latency = r.span("indicator.latency.below", &l.Below, 0)
	}
	for _, ref := range spec.TargetRefs {
		plan.Targets = append(plan.Targets, targetOf(r.object.Key, ref).object)
	}
	r.add.objective = plan
	return spec.TargetRefs
}

// objectivePlans are those of the ServiceLevelObjectives that some version of was accepted, by
// name, with what is served of what they are about.
func (t *translator) objectivePlans() []ObjectivePlan {
	var plans []ObjectivePlan
	for _, o := range t.objectsOf(groupWeir, v1alpha1.KindServiceLevelObjective) {
		a := t.additions.views[o.Key]
		if a.objective == nil {
			continue
		}
		plan := *a.objective
		var problems []string
		for _, at := range a.targets {
			if at.reason != gatewayv1.PolicyReasonAccepted {
				problems = append(problems, at.message)
				continue
			}
			if slot := t.route(at.object); slot != nil {
				plan.Routes = appendMissing(plan.Routes, routesOfRule(slot, at.section)...)
			} else {
				plan.Clusters = appendMissing(plan.Clusters, t.clustersOf(at.target)...)
			}
		}
		slices.Sort(plan.Routes)
		slices.Sort(plan.Clusters)
		plan.Problem = strings.Join(problems, "; ")
		plans = append(plans, plan)
	}
	slices.SortFunc(plans, func(a, b ObjectivePlan) int { return strings.Compare(a.Name, b.Name) })
	return plans
}

// routesOfRule names the routes of a rule, or of all rules.
func routesOfRule(slot *routeSlot, rule string) []string {
	var names []string
	for r := range slot.view.routes() {
		if rule == "" || r.Rule == rule {
			names = appendMissing(names, r.Name)
		}
	}
	return names
}

// clustersOf names the clusters of a backend, or of a Service's port.
func (t *translator) clustersOf(at target) []string {
	var names []string
	for _, slot := range t.routeSlots {
		for _, u := range slot.view.uses {
			if u.backend.object == at.object && (at.section == "" || t.portName(u.backend) == at.section) {
				names = appendMissing(names, u.cluster)
			}
		}
	}
	return names
}
