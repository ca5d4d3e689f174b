package translate

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
)

// target is what a policy can be attached to: an object or a section of one.
type target struct {
	object  resource.Key
	section string
}

func (t target) String() string {
	if t.section == "" {
		return t.object.String()
	}
	return t.object.String() + " section " + t.section
}

// targetView is one targetRef and what became of it.
type targetView struct {
	target
	reason  gatewayv1.PolicyConditionReason // Accepted, Conflicted, Invalid or TargetNotFound
	message string
	index   int
	// said is whether the message repeats a problem of the policy, which has its own place.
	said bool
	// single is that of an object with one targetRef instead of a list.
	single bool
}

func (v targetView) field() string {
	if v.single {
		return "spec.targetRef"
	}
	return fmt.Sprintf("spec.targetRefs[%d]", v.index)
}

// policyStage is what the policies add up to: one for each target.
type policyStage struct {
	views       map[resource.Key]*policyView
	byTarget    map[target]*policyView
	diagnostics []resource.Diagnostic
}

func newPolicyStage() policyStage {
	return policyStage{views: map[resource.Key]*policyView{}, byTarget: map[target]*policyView{}}
}

// policy returns the policy in force at a target; one without fields if there is none.
func (m *Memo) policy(object resource.Key, section string) *policyView {
	if v := m.policies.byTarget[target{object, section}]; v != nil {
		return v
	}
	return &noPolicy
}

var noPolicy policyView

// attachPolicies reads the policies that have changed, or whose targets have, decides which
// of several on one target is in force, and marks the targets for which that is another
// one than before.
func (t *translator) attachPolicies() {
	objects := t.objectsOf(groupWeir, kindTrafficPolicy)
	views := make(map[resource.Key]*policyView, len(objects))
	changed := len(objects) != len(t.policies.views)
	for _, o := range objects {
		view := t.policies.views[o.Key]
		if view == nil || t.dirty.has(o.Key) || t.dirty.hasAny(view.deps) {
			view = t.readTargets(o)
			changed = true
		}
		views[o.Key] = view
	}
	if !changed {
		return
	}
	old := t.policies.byTarget
	t.policies = policyStage{views: views, byTarget: map[target]*policyView{}}
	t.electPolicies()
	for at, view := range t.policies.byTarget {
		if old[at] != view {
			t.dirty.mark(policyKey(at.object))
		}
	}
	for at := range old {
		if t.policies.byTarget[at] == nil {
			t.dirty.mark(policyKey(at.object))
		}
	}
	t.structural = true
}

// electPolicies gives each target to the oldest policy, then to the first by
// namespace/name, and tells the others.
func (t *translator) electPolicies() {
	for _, o := range oldestFirst(t.objectsOf(groupWeir, kindTrafficPolicy)) {
		v := t.policies.views[o.Key]
		r := reporter{object: v.object, diagnostics: slices.Clip(v.problems)}
		for i := range v.targets {
			at := &v.targets[i]
			if at.reason == gatewayv1.PolicyReasonConflicted {
				at.reason, at.message = gatewayv1.PolicyReasonAccepted, "" // of an earlier election
			}
			if at.reason == gatewayv1.PolicyReasonAccepted {
				if winner := t.policies.byTarget[at.target]; winner != nil {
					at.reason = gatewayv1.PolicyReasonConflicted
					at.message = fmt.Sprintf("%v already has %v, which is older or comes first by name: nothing of this policy holds there; put its fields into that one", at.target, winner.object.Key)
				} else {
					t.policies.byTarget[at.target] = v
				}
			}
			r.target(*at)
		}
		t.policies.diagnostics = append(t.policies.diagnostics, r.diagnostics...)
	}
}

func (r *reporter) target(at targetView) {
	if at.said {
		return
	}
	switch at.reason {
	case gatewayv1.PolicyReasonConflicted:
		r.error(RulePolicyConflict, at.field(), "%s", at.message)
	case gatewayv1.PolicyReasonInvalid:
		r.error(RulePolicyInvalid, at.field(), "%s", at.message)
	case gatewayv1.PolicyReasonTargetNotFound:
		r.error(RuleUnresolved, at.field()+".name", "%s", at.message)
	}
}

func pathName(k resource.Key) string { return k.Namespace + "/" + k.Name }

// readTargets reads a policy and looks up its targets.
func (t *translator) readTargets(o *resource.Object) *policyView {
	policy, _ := o.Value.(*v1alpha1.TrafficPolicy)
	if policy == nil {
		return &policyView{object: o}
	}
	view := readPolicy(o, policy)
	invalid := ""
	if len(view.problems) > 0 {
		invalid = view.problems[0].Field + ": " + view.problems[0].Message
	}
	for i, ref := range policy.Spec.TargetRefs {
		at := targetView{index: i, target: targetOf(o.Key, ref)}
		view.deps = append(view.deps, at.object)
		at.reason, at.message = t.lookUpTarget(view, at.target)
		if at.reason == gatewayv1.PolicyReasonInvalid && invalid == "" {
			invalid = at.message
		}
		view.targets = append(view.targets, at)
	}
	if invalid != "" {
		// A policy is accepted as a whole or not at all: half of one is nobody's intention.
		for i := range view.targets {
			if view.targets[i].reason == gatewayv1.PolicyReasonAccepted {
				view.targets[i].reason, view.targets[i].message = gatewayv1.PolicyReasonInvalid, invalid
				view.targets[i].said = len(view.problems) > 0
			}
		}
	}
	return view
}

// targetKind is a kind of target: which sides it takes, whole and by section, and what its
// sections are.
type targetKind struct {
	group, kind    string
	whole, section fieldSide
	sections       string
	exists         func(value any, section string) bool
}

var targetKinds = []targetKind{
	{groupGateway, kindGatewayClass, sideRequest | sideBackend, 0, "", nil},
	{groupGateway, kindGateway, sideRequest | sideBackend | sideClient, sideRequest | sideClient, "listener", hasListener},
	{groupGateway, kindListenerSet, sideRequest | sideClient, sideRequest | sideClient, "listener", hasListener},
	{groupGateway, kindGRPCRoute, sideRequest, sideRequest, "named rule", hasRule},
	{groupGateway, kindTCPRoute, sideStream, sideStream, "named rule", hasRule},
	{groupGateway, kindTLSRoute, sideStream, sideStream, "named rule", hasRule},
	{groupGateway, kindUDPRoute, sideStream, sideStream, "named rule", hasRule},
	{groupGateway, kindHTTPRoute, sideRequest, sideRequest, "named rule", hasRule},
	{groupWeir, kindBackend, sideBackend, 0, "", nil},
	{groupCore, kindService, sideBackend, sideBackend, "named port", hasPort},
}

func hasListener(value any, section string) bool {
	switch v := value.(type) {
	case *gatewayv1.Gateway:
		return slices.ContainsFunc(v.Spec.Listeners, func(l gatewayv1.Listener) bool { return string(l.Name) == section })
	case *gatewayv1.ListenerSet:
		return slices.ContainsFunc(v.Spec.Listeners, func(l gatewayv1.ListenerEntry) bool { return string(l.Name) == section })
	}
	return false
}

func hasRule(value any, section string) bool {
	spec, ok := specOf(value)
	return ok && slices.ContainsFunc(spec.rules, func(name *gatewayv1.SectionName) bool { return string(deref(name, "")) == section })
}

func hasPort(value any, section string) bool {
	s, ok := value.(*corev1.Service)
	return ok && slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == section })
}

// lookUpTarget says whether a policy can be attached to a target.
func (t *translator) lookUpTarget(view *policyView, at target) (gatewayv1.PolicyConditionReason, string) {
	kind := kindOfTarget(at)
	if kind == nil {
		return gatewayv1.PolicyReasonInvalid, fmt.Sprintf("a target of kind %s and group %q is not supported by this version", at.object.Kind, at.object.Group)
	}
	sides := kind.whole
	if at.section != "" {
		sides = kind.section
	}
	if at.section != "" && kind.sections == "" {
		return t.findTarget(at)
	}
	for _, f := range view.written {
		if sides&f.side == 0 {
			return gatewayv1.PolicyReasonInvalid, fmt.Sprintf("%s is %s", f.path, sideTargets[f.side])
		}
	}
	if at.object.Kind == kindGatewayClass && view.object.Key.Namespace != t.system {
		return gatewayv1.PolicyReasonInvalid, fmt.Sprintf("a GatewayClass is targeted only from namespace %s", t.system)
	}
	if reason, message := t.findTarget(at); reason != "" {
		return reason, message
	}
	return gatewayv1.PolicyReasonAccepted, ""
}

func kindOfTarget(at target) *targetKind {
	i := slices.IndexFunc(targetKinds, func(k targetKind) bool { return isKind(at.object, k.group, k.kind) })
	if i < 0 {
		return nil
	}
	return &targetKinds[i]
}

// findTarget says why a target is not there; an empty reason: it is.
func (t *translator) findTarget(at target) (gatewayv1.PolicyConditionReason, string) {
	kind, o := kindOfTarget(at), t.set.Get(at.object)
	switch {
	case at.section != "" && (kind == nil || kind.sections == ""):
		return gatewayv1.PolicyReasonInvalid, fmt.Sprintf("a %s has no sections", at.object.Kind)
	case at.object == (resource.Key{Group: groupGateway, Kind: kindGatewayClass, Name: ClassName}) || isKind(at.object, groupCore, kindNamespace):
		return "", "" // these exist undeclared
	case o == nil || o.Value == nil:
		return gatewayv1.PolicyReasonTargetNotFound, absenceText(o, at.object)
	case at.section != "" && !kind.exists(o.Value, at.section):
		return gatewayv1.PolicyReasonTargetNotFound, fmt.Sprintf("%v has no %s %q", at.object, kind.sections, at.section)
	}
	return "", ""
}
