package translate

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// rollout is a Rollout as it was read, without what its rule makes of it.
type rollout struct {
	stable, canary gatewayv1.BackendObjectReference
	release        model.Release // without arms and Subject
	revision       string
	plan           RolloutPlan // without release, splits and weights
}

// readRollout reads a Rollout.
func readRollout(r *additionReader, value any) []gatewayv1.LocalPolicyTargetReferenceWithSectionName {
	v := value.(*v1alpha1.Rollout)
	spec, name := &v.Spec, pathName(r.object.Key)
	origin := originOf(r.object, "spec")
	out := &rollout{stable: spec.Stable, canary: spec.Canary, revision: deref(spec.Revision, "")}
	out.plan = RolloutPlan{
		Name: name, Origin: origin, Created: createdAt(r.object),
		Strategy:        Strategy(deref(spec.Strategy, v1alpha1.StrategyCanary)),
		MinimumRequests: int(deref(spec.MinimumRequests, defaultMinimumRequests)),
	}
	for i, s := range spec.Stages {
		path := fmt.Sprintf("stages[%d].", i)
		out.plan.Stages = append(out.plan.Stages, PlannedStage{
			Share: int(math.Round(r.percentage(path+"share", s.Share) * model.Buckets)),
			For:   r.span(path+"for", s.For, 0),
		})
	}
	if out.plan.Strategy == StrategyBlueGreen {
		out.plan.Stages = []PlannedStage{{Share: model.Buckets}}
	}
	for i := range spec.Gates {
		out.plan.Gates = append(out.plan.Gates, r.readGate(&spec.Gates[i], fmt.Sprintf("gates[%d]", i)))
	}
	out.release = model.Release{Name: name, Sampling: r.readSampling(spec.Sampling, name), Guard: r.readGuard(spec.Guard), Origin: origin}
	out.release.Guard.Stages = len(out.plan.Stages)
	for _, c := range spec.Cohorts {
		out.release.Cohorts = append(out.release.Cohorts, model.Cohort{Name: string(c.Name), When: strings.TrimSpace(c.When)})
	}
	r.add.rollout = out
	return []gatewayv1.LocalPolicyTargetReferenceWithSectionName{spec.TargetRef}
}

func (r *additionReader) readSampling(s *v1alpha1.Sampling, name string) model.Sampling {
	out := model.Sampling{Unit: model.SampleRequests, Salt: name, Fallback: model.FallbackRequest}
	if s == nil {
		return out
	}
	if s.Key != nil || s.Fallback != nil {
		out.Unit = model.SampleUsers
	}
	out.Unit = model.SampleUnit(deref(s.Unit, v1alpha1.SampleUnit(out.Unit)))
	out.Salt = deref(s.Salt, name)
	out.Key = r.readKeys("sampling.key", s.Key)
	out.Fallback = model.SampleFallback(deref(s.Fallback, v1alpha1.SampleFallback(defaultSampleFallback)))
	return out
}

// readGuard reads a guard, and fills in what is not written: whoever writes one field does not
// mean to lose the others.
func (r *additionReader) readGuard(g *v1alpha1.Guard) model.Guard {
	if g == nil {
		g = &v1alpha1.Guard{}
	}
	out := model.Guard{ConsecutiveFailures: int(deref(g.ConsecutiveFailures, defaultConsecutiveFailures))}
	errors := deref(g.Errors, v1alpha1.ErrorGuard{})
	if most := r.shareOf("guard.errors.maxDifference", errors.MaxDifference, defaultMaxDifference); most < 1 {
		out.Errors = &model.ErrorGuard{MaxDifference: most, Alpha: r.alpha("guard.errors.confidence", errors.Confidence)}
	}
	if l := g.Latency; l != nil {
		out.Latency = &model.LatencyGuard{
			Quantile: r.quantile("guard.latency.quantile", deref(l.Quantile, defaultGuardQuantile)),
			MaxRatio: r.decimal("guard.latency.maxRatio", string(deref(l.MaxRatio, defaultMaxRatio))),
			Alpha:    r.alpha("guard.latency.confidence", l.Confidence),
		}
	}
	return out
}

// alpha is the probability of a false alarm that a confidence leaves.
func (r *additionReader) alpha(path string, c *v1alpha1.Confidence) float64 {
	text := string(deref(c, defaultConfidence))
	percent := r.decimal(path, strings.TrimSuffix(text, "%"))
	return math.Round(1000*(100-percent)) / 100_000 // three decimals, without the error of a difference
}

// quantile reads one such as p99.9.
func (r *additionReader) quantile(path string, q v1alpha1.Quantile) float64 {
	return math.Round(10*r.decimal(path, strings.TrimPrefix(string(q), "p"))) / 1000
}

func (r *additionReader) decimal(path, text string) float64 {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		r.error(RuleInvalidValue, path, "%q is not a decimal", text)
	}
	return value
}

func (r *additionReader) readGate(g *v1alpha1.Gate, path string) PlannedGate {
	out := PlannedGate{Name: string(g.Name), Origin: originOf(r.object, r.root+path)}
	switch {
	case g.SLO != nil:
		out.SLO = r.object.Key.Namespace + "/" + string(g.SLO.Name)
	case g.PromQL != nil:
		out.Query = &QueryGate{Query: g.PromQL.Query, Address: deref(g.PromQL.Address, "")}
		for _, bound := range []struct {
			path string
			from *v1alpha1.Number
			to   **float64
		}{{"min", g.PromQL.Min, &out.Query.Min}, {"max", g.PromQL.Max, &out.Query.Max}} {
			if bound.from != nil {
				value := r.decimal(path+".promql."+bound.path, string(*bound.from))
				*bound.to = &value
			}
		}
	case g.Webhook != nil:
		out.Webhook = &WebhookGate{URL: g.Webhook.URL, Timeout: r.span(path+".webhook.timeout", g.Webhook.Timeout, defaultGateTimeout)}
	case g.Approval != nil:
		out.Approval = asStrings[string](g.Approval.From)
	}
	return out
}

// fate is what became of an addition on one rule.
type fate struct {
	placedAddition
	// unresolved is the reference that leads nowhere, invalid what else stands against it.
	unresolved, invalid fateProblem
	plan                *RolloutPlan // of a Rollout, without routes
}

// fateProblem is something that an addition cannot be done for. The zero one is none.
type fateProblem struct {
	reason         gatewayv1.RouteConditionReason
	field, message string
}

func (p fateProblem) text() string { return p.field + ": " + p.message }

// addAdditions adds to the rule what is in force at it.
func (r *ruleView) addAdditions() {
	for _, a := range r.b.t.additionsAt(r.b.key, r.given) {
		f := fate{placedAddition: a}
		switch {
		case a.rollout != nil:
			r.addRollout(&f)
		case r.route.Refusal != nil: // does nothing but refuse
		case a.shadow != nil:
			r.addShadow(&f)
		default:
			r.route.Faults = append(r.route.Faults, a.faults...)
		}
		if a.objective == nil {
			r.b.view.fates = append(r.b.view.fates, f)
		}
	}
}

// addRollout has the rule's split released. What stands against it, the plan tells.
func (r *ruleView) addRollout(f *fate) {
	ro, from := f.rollout, f.object.Key
	plan := ro.plan
	f.plan = &plan
	_, stable, stableDead := r.b.find(from, ro.stable)
	ref, canary, canaryDead := r.b.find(from, ro.canary)
	split := &r.route.Split
	s, c := r.arm(stable), r.arm(canary)
	if f.invalid = r.refusesRollout(stable, canary); f.invalid.message != "" {
		plan.Problem = f.invalid.text()
		return
	}
	f.unresolved = cmp.Or(s.unresolved("spec.stable", stableDead), c.unresolved("spec.canary", canaryDead))
	plan.Weights = r.plannedWeights(stable, canary)
	release := ro.release
	release.Stable, release.Canary = stable, canary
	release.Subject = model.HashOf([]string{stable, canary, ro.revision})
	plan.Release, split.Release = &release, &release
	if f.unresolved.message != "" {
		plan.Problem = f.unresolved.text()
		idle := release
		idle.Subject = "" // no knob is for this one: everything is stable's
		split.Release = &idle
	}
	if c.count == 0 {
		r.appendCanary(canary, ref, canaryDead, split.Arms[s.index])
	}
}

// refusesRollout says why a Rollout has nothing to act on in the rule.
func (r *ruleView) refusesRollout(stable, canary string) fateProblem {
	s, c := r.arm(stable), r.arm(canary)
	switch {
	case r.route.Refusal != nil:
		return fateProblem{field: "spec.targetRef", message: "the rule refuses its requests: " + r.route.Refusal.Reason}
	case s.count == 0:
		return fateProblem{field: "spec.stable", message: stable + " is not one of the rule's backendRefs: list it there, with the weight that both are to have"}
	case s.count > 1:
		return fateProblem{field: "spec.stable", message: "the rule has " + stable + " more than once among its backendRefs"}
	case stable == canary:
		return fateProblem{field: "spec.canary", message: canary + " is stable itself"}
	case c.count > 1:
		return fateProblem{field: "spec.canary", message: "the rule has " + canary + " more than once among its backendRefs"}
	case s.weight+c.weight == 0:
		return fateProblem{field: "spec.stable", message: fmt.Sprintf("the rule gives neither %s nor %s a weight: there is nothing to share", stable, canary)}
	}
	for _, a := range r.route.Split.Arms { // a share is given by name
		if r.arm(a.Name).count > 1 {
			return fateProblem{field: "spec.targetRef", message: "the rule has " + a.Name + " more than once among its backendRefs: add their weights up in one"}
		}
	}
	return fateProblem{}
}

// appendCanary adds a canary that the rule does not list, with stable's filters.
func (r *ruleView) appendCanary(name string, ref backendRef, dead *deadRef, stable model.Arm) {
	arm := model.Arm{Name: r.b.t.shared.name(name)}
	if dead != nil {
		arm.Refusal = dead.answer
	} else {
		arm.Cluster, arm.RequestHeaders, arm.ResponseHeaders = ref.cluster(), stable.RequestHeaders, stable.ResponseHeaders
	}
	r.route.Split.Arms = append(r.route.Split.Arms, arm)
	r.armRefs = append(r.armRefs, ref)
}

// armPlace is where an arm stands in a rule.
type armPlace struct {
	index, count int
	weight       uint32
	refusal      *model.Refusal
}

// unresolved says why nothing can be sent to the arm: the Rollout's reference to it, which has a
// field, or the rule's own.
func (p armPlace) unresolved(field string, dead *deadRef) fateProblem {
	switch {
	case dead != nil:
		return fateProblem{dead.reason, field + dead.at, dead.message}
	case p.refusal != nil:
		return fateProblem{gatewayv1.RouteReasonBackendNotFound, field, "the rule refuses its share: " + p.refusal.Reason}
	}
	return fateProblem{}
}

func (r *ruleView) arm(name string) armPlace {
	var p armPlace
	for i, a := range r.route.Split.Arms {
		if a.Name == name {
			p = armPlace{index: i, count: p.count + 1, weight: p.weight + a.Weight, refusal: a.Refusal}
		}
	}
	return p
}

// plannedWeights are the weights as written: stable's, the canary's, the others'.
func (r *ruleView) plannedWeights(stable, canary string) []PlannedWeight {
	weights := []PlannedWeight{{Arm: stable, Weight: r.arm(stable).weight}, {Arm: canary, Weight: r.arm(canary).weight}}
	for _, a := range r.route.Split.Arms {
		if a.Name != stable && a.Name != canary {
			weights = append(weights, PlannedWeight{Arm: a.Name, Weight: a.Weight})
		}
	}
	return weights
}

// rolloutPlans are the plans of the Rollouts that some version of was accepted, by name.
func (t *translator) rolloutPlans() []RolloutPlan {
	var plans []RolloutPlan
	for _, o := range t.objectsOf(groupWeir, v1alpha1.KindRollout) {
		a := t.additions.views[o.Key]
		if a.rollout == nil {
			continue
		}
		plans = append(plans, t.rolloutPlan(a))
	}
	slices.SortFunc(plans, func(a, b RolloutPlan) int { return strings.Compare(a.Name, b.Name) })
	return plans
}

func (t *translator) rolloutPlan(a *addition) RolloutPlan {
	plan, at := a.rollout.plan, a.targets[0]
	if at.reason != gatewayv1.PolicyReasonAccepted {
		plan.Problem = at.message
		return plan
	}
	slot := t.route(at.object)
	if slot == nil || slot.view == nil {
		plan.Problem = fmt.Sprintf("%v is not served", at.object)
		return plan
	}
	for i := range slot.view.fates {
		if f := &slot.view.fates[i]; f.addition == a && f.plan != nil {
			plan = *f.plan
			t.locate(&plan, slot)
			return plan
		}
	}
	plan.Problem = fmt.Sprintf("%v has no accepted version", at.object)
	return plan
}

// locate finds what serves a release: routes, splits and clusters.
func (t *translator) locate(plan *RolloutPlan, slot *routeSlot) {
	if plan.Release == nil {
		return
	}
	type relevant struct {
		Name     string
		Timeouts model.Timeouts
		Retry    *model.Retry
	}
	var policies []relevant
	for r := range slot.view.routes() {
		if r.Split.Release == nil || r.Split.Release.Name != plan.Name || slices.Contains(plan.Routes, r.Name) {
			continue
		}
		plan.Routes = append(plan.Routes, r.Name)
		plan.Splits = appendMissing(plan.Splits, r.Split.Name)
		policies = append(policies, relevant{r.Name, r.Timeouts, r.Retry})
		for _, arm := range r.Split.Arms {
			if arm.Cluster != "" && (arm.Name == plan.Release.Stable || arm.Name == plan.Release.Canary) {
				plan.Clusters = appendMissing(plan.Clusters, arm.Cluster)
			}
		}
	}
	slices.Sort(plan.Clusters)
	plan.Policy = model.HashOf([]any{policies, plan.Release.Sampling})
	if len(plan.Routes) == 0 && plan.Problem == "" {
		plan.Problem = "no listener serves the rule"
	}
}
