package translate

import (
	"fmt"
	"slices"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// addition is an object that adds something to rules, merging with nothing: a Rollout, a Shadow
// or a FaultPolicy; or a ServiceLevelObjective, which only looks on.
type addition struct {
	object   *resource.Object
	targets  []targetView
	problems []resource.Diagnostic // of the object as a whole
	deps     []resource.Key
	// unresolved are references of a Rollout's gates.
	unresolved []fateProblem
	expired    bool // a FaultPolicy whose time has passed

	// One of these is set, unless no version was ever accepted.
	rollout   *rollout
	shadow    *shadow
	faults    []model.Fault
	objective *ObjectivePlan
}

// additionKind is a kind of addition, and what reads one: it returns what that is attached to.
type additionKind struct {
	kind string
	read func(r *additionReader, value any) []gatewayv1.LocalPolicyTargetReferenceWithSectionName
}

var additionKinds = []additionKind{
	{v1alpha1.KindFaultPolicy, readFaultPolicy},
	{v1alpha1.KindRollout, readRollout},
	{v1alpha1.KindServiceLevelObjective, readObjective},
	{v1alpha1.KindShadow, readShadow},
}

// additionReader reads one of them.
type additionReader struct {
	policyReader
	add *addition
	now time.Time // zero: unknown
}

// span returns a duration, or the fallback where none is written.
func (r *additionReader) span(path string, d *gatewayv1.Duration, fallback time.Duration) time.Duration {
	if d == nil {
		return fallback
	}
	value, err := parseDuration(*d)
	if err != nil {
		r.error(RuleInvalidValue, path, "%v", err)
	}
	return value
}

// shareOf returns a percentage as a share, or the fallback where none is written.
func (r *additionReader) shareOf(path string, p *v1alpha1.Percentage, fallback float64) float64 {
	if p == nil {
		return fallback
	}
	return r.percentage(path, *p)
}

// additionStage is what the additions add up to.
type additionStage struct {
	views map[resource.Key]*addition
	// byTarget are those in force at a target, the first the oldest; of Rollouts there is one.
	byTarget    map[target][]*addition
	diagnostics []resource.Diagnostic
}

// additionsAt are those in force at a rule and at its route.
func (m *Memo) additionsAt(route resource.Key, rule string) []placedAddition {
	if len(m.additions.byTarget) == 0 {
		return nil
	}
	var list []placedAddition
	sections := []string{rule, ""}
	if rule == "" {
		sections = sections[1:]
	}
	for _, section := range sections {
		at := target{route, section}
		for _, a := range m.additions.byTarget[at] {
			if !slices.ContainsFunc(list, func(p placedAddition) bool { return p.addition == a }) {
				list = append(list, placedAddition{a, at})
			}
		}
	}
	return list
}

// placedAddition is an addition at a target.
type placedAddition struct {
	*addition
	at target
}

// attachAdditions reads the additions that have changed, or whose targets have, and marks the
// targets for which others are in force than before.
func (t *translator) attachAdditions() {
	var objects []*resource.Object
	for _, k := range additionKinds {
		objects = append(objects, t.objectsOf(groupWeir, k.kind)...)
	}
	views := make(map[resource.Key]*addition, len(objects))
	changed := len(objects) != len(t.additions.views)
	for _, o := range objects {
		view := t.additions.views[o.Key]
		if view == nil || t.dirty.has(o.Key) || t.dirty.hasAny(view.deps) || view.expired != t.expired(o) {
			view = t.readAddition(o)
			changed = true
		}
		views[o.Key] = view
	}
	if !changed {
		return
	}
	old := t.additions.byTarget
	t.additions = additionStage{views: views, byTarget: map[target][]*addition{}}
	for _, o := range oldestFirst(objects) {
		t.placeAddition(views[o.Key])
	}
	for at, list := range t.additions.byTarget {
		if !slices.Equal(old[at], list) {
			t.dirty.mark(policyKey(at.object))
		}
	}
	for at := range old {
		if t.additions.byTarget[at] == nil {
			t.dirty.mark(policyKey(at.object))
		}
	}
	t.structural = true
}

// placeAddition puts an addition in force at its targets. A rule has one Rollout: the oldest.
func (t *translator) placeAddition(a *addition) {
	r := reporter{object: a.object, diagnostics: slices.Clip(a.problems)}
	for i := range a.targets {
		at := &a.targets[i]
		if at.reason == gatewayv1.PolicyReasonConflicted {
			at.reason, at.message = gatewayv1.PolicyReasonAccepted, "" // of an earlier election
		}
		if at.reason == gatewayv1.PolicyReasonAccepted {
			if first := t.rolloutAt(at.target); a.rollout != nil && first != nil {
				at.reason = gatewayv1.PolicyReasonConflicted
				at.message = fmt.Sprintf("%v already has %v, which is older or comes first by name: this one does nothing", at.target, first.object.Key)
			} else {
				t.additions.byTarget[at.target] = append(t.additions.byTarget[at.target], a)
			}
		}
		r.target(*at)
	}
	t.additions.diagnostics = append(t.additions.diagnostics, r.diagnostics...)
}

func (t *translator) rolloutAt(at target) *addition {
	list := t.additions.byTarget[at]
	i := slices.IndexFunc(list, func(a *addition) bool { return a.rollout != nil })
	if i < 0 {
		return nil
	}
	return list[i]
}

// expired reports whether the time of a FaultPolicy has passed.
func (t *translator) expired(o *resource.Object) bool {
	p, ok := o.Value.(*v1alpha1.FaultPolicy)
	return ok && !t.now.IsZero() && !t.now.Before(p.Spec.Expires.Time)
}

// readAddition reads an object and looks up its targets.
func (t *translator) readAddition(o *resource.Object) *addition {
	a := &addition{object: o, expired: t.expired(o)}
	if o.Value == nil {
		return a
	}
	i := slices.IndexFunc(additionKinds, func(k additionKind) bool { return k.kind == o.Key.Kind })
	r := &additionReader{policyReader: policyReader{reporter: reporter{object: o}, view: &policyView{object: o}, root: "spec."}, add: a, now: t.now}
	refs := additionKinds[i].read(r, o.Value)
	a.problems = r.diagnostics
	t.accessGates(a)
	for i, ref := range refs {
		at := targetView{index: i, target: targetOf(o.Key, ref), single: a.rollout != nil}
		a.deps = append(a.deps, at.object)
		at.reason, at.message = t.findTarget(at.target)
		switch {
		case at.reason != "":
		case len(a.problems) > 0:
			at.reason, at.message, at.said = gatewayv1.PolicyReasonInvalid, a.problems[0].Field+": "+a.problems[0].Message, true
		default:
			at.reason = gatewayv1.PolicyReasonAccepted
		}
		a.targets = append(a.targets, at)
	}
	return a
}
