package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// closingKind is a kind of policy that this version does not carry out, and without which
// what it is attached to must not be served: it is closed. In doubt more is closed rather
// than less:
//
//   - a route or rule refuses its requests; on a Gateway, listener or GatewayClass every
//     route refuses there; a Service, its port, a Backend or a Namespace of backends refuses
//     the share of every route that goes there, and receives no mirrored requests;
//   - where the section that is named does not exist, the whole object is closed;
//   - where targetRefs cannot be read and never could, everything in the policy's namespace
//     is closed that the kind could be for, and from the system namespace every class;
//   - never what belongs to others: another Namespace, or a class outside of the system
//     namespace.
//
// What is to be spoken to by TLS, but cannot be, is closed likewise: see securing.
type closingKind struct {
	group, kind string
	flag        model.Flag
	status      int
	want        string // what the policy asks for
}

var closingKinds = []closingKind{
	{groupWeir, v1alpha1.KindAccessPolicy, model.FlagPA, 503, "which this version does not enforce"},
	{groupWeir, v1alpha1.KindRateLimitPolicy, model.FlagPA, 503, "which this version does not enforce"},
	{groupWeir, v1alpha1.KindRouteCondition, model.FlagNC, 500, "whose condition this version does not evaluate"},
}

// closure is what answers requests for what a policy closes.
type closure struct {
	policy resource.Key
	kind   *closingKind
	why    string // empty: as its kind says
}

// reason says why nothing is served.
func (c *closure) reason() string {
	if c.policy.Kind == kindBackend { // by itself
		return "closed: " + c.why
	}
	return fmt.Sprintf("closed by %v, %s", c.policy, cmp.Or(c.why, c.kind.want))
}

func (c *closure) refusal() *model.Refusal {
	return &model.Refusal{Status: c.kind.status, Flag: c.kind.flag.String(), Reason: c.reason()}
}

// everything is the section of a Namespace that stands for all that is in it and could be a
// target. The Namespace itself, as a target, stands for the backends in it.
const everything = "*"

// closureStage is what the policies of closing kinds add up to.
type closureStage struct {
	views       []*closingView // in the order of closingKinds, then of keys
	byTarget    map[target]*closure
	diagnostics []resource.Diagnostic
}

// closingView is one policy of a closing kind.
type closingView struct {
	object  *resource.Object
	kind    *closingKind
	targets []targetView
	deps    []resource.Key
}

// closed returns what closes an object, or the section of it; nil if nothing does.
func (m *Memo) closed(object resource.Key, section string) *closure {
	if len(m.closures.byTarget) == 0 {
		return nil
	}
	namespace := object.Namespace
	if object.Kind == kindGatewayClass {
		namespace = m.system
	}
	places := []target{{object: object}, {object, section}, {namespaceKey(namespace), everything}}
	if object.Kind == kindService || object.Kind == kindBackend {
		places = append(places, target{object: namespaceKey(namespace)})
	}
	for _, at := range places {
		if c := m.closures.byTarget[at]; c != nil {
			return c
		}
	}
	return nil
}

// attachClosures finds out what is closed, if any policy of a closing kind has changed or
// anything that one looked at, and marks what that makes a difference to.
func (t *translator) attachClosures() {
	var objects []*resource.Object
	for i := range closingKinds {
		objects = append(objects, t.objectsOf(closingKinds[i].group, closingKinds[i].kind)...)
	}
	changed := len(objects) != len(t.closures.views) ||
		slices.ContainsFunc(objects, func(o *resource.Object) bool { return t.dirty.has(o.Key) }) ||
		slices.ContainsFunc(t.closures.views, func(v *closingView) bool { return t.dirty.hasAny(v.deps) })
	if !changed {
		return
	}
	old := t.closures.byTarget
	t.closures = closureStage{byTarget: map[target]*closure{}}
	for _, o := range oldestFirst(objects) {
		v := t.readClosing(o)
		t.closures.views = append(t.closures.views, v)
		r := reporter{object: o}
		for i := range v.targets {
			t.closeTarget(v, &v.targets[i], &r)
		}
		if v.unreadable() {
			t.closures.close(v, v.widest())
			r.error(RuleUnsupported, "spec.targetRefs", "what it is attached to cannot be read: every %s of namespace %s is closed (%d, %v) because of this %s, %s",
				closableText, o.Key.Namespace, v.kind.status, v.kind.flag, v.kind.kind, v.kind.want)
		}
		t.closures.diagnostics = append(t.closures.diagnostics, r.diagnostics...)
	}
	t.markClosures(old, t.closures.byTarget)
	t.markClosures(t.closures.byTarget, old)
	t.structural = true
}

// oldestFirst orders policies as they take precedence.
func oldestFirst(objects []*resource.Object) []*resource.Object {
	return slices.SortedFunc(slices.Values(objects), func(a, b *resource.Object) int {
		return cmp.Or(createdAt(a).Compare(createdAt(b)), strings.Compare(pathName(a.Key), pathName(b.Key)), a.Key.Compare(b.Key))
	})
}

// markClosures marks what is closed in one and not so in the other.
func (t *translator) markClosures(one, other map[target]*closure) {
	for at, c := range one {
		if o := other[at]; o != nil && *o == *c {
			continue
		}
		if at.object.Kind == kindNamespace {
			t.dirty.mark(at.object)
		} else {
			t.dirty.mark(policyKey(at.object))
		}
	}
}

// close closes a target, unless an older policy has.
func (s *closureStage) close(v *closingView, at target) {
	if s.byTarget[at] == nil {
		s.byTarget[at] = &closure{policy: v.object.Key, kind: v.kind}
	}
}

// readClosing reads a policy and looks up its targets.
func (t *translator) readClosing(o *resource.Object) *closingView {
	i := slices.IndexFunc(closingKinds, func(k closingKind) bool { return isKind(o.Key, k.group, k.kind) })
	v := &closingView{object: o, kind: &closingKinds[i]}
	var refs []gatewayv1.LocalPolicyTargetReferenceWithSectionName
	switch value := o.Value.(type) {
	case *resource.Restriction:
		refs = value.Spec.TargetRefs
	case nil:
		refs = o.Targets
	}
	for i, ref := range refs {
		at := targetOf(o.Key, ref)
		v.deps = append(v.deps, at.object)
		v.targets = append(v.targets, targetView{target: at, index: i})
	}
	return v
}

// unreadable reports whether it is unknown what the policy is attached to.
func (v *closingView) unreadable() bool { return v.object.Value == nil && len(v.targets) == 0 }

// widest is what a policy closes that is unreadable.
func (v *closingView) widest() target {
	return target{object: namespaceKey(v.object.Key.Namespace), section: everything}
}

// closableText names what a kind can be attached to.
const closableText = "Gateway, route, Service and Backend"

// targetOf is what a policy's reference names: all but cluster-scoped kinds are local.
func targetOf(policy resource.Key, ref gatewayv1.LocalPolicyTargetReferenceWithSectionName) target {
	at := target{
		object:  resource.Key{Group: string(ref.Group), Kind: string(ref.Kind), Namespace: policy.Namespace, Name: string(ref.Name)},
		section: string(deref(ref.SectionName, "")),
	}
	if isKind(at.object, groupGateway, kindGatewayClass) || isKind(at.object, groupCore, kindNamespace) {
		at.object.Namespace = ""
	}
	return at
}

// closeTarget decides what one target of a policy closes, and says so. Where a section does
// not exist, the whole object is closed: what was to be restricted may have another name by
// now.
func (t *translator) closeTarget(v *closingView, at *targetView, r *reporter) {
	refuse := func(reason gatewayv1.PolicyConditionReason, message string) {
		at.reason, at.message = reason, message
		r.target(*at)
	}
	if message := t.outOfReach(v, at.target); message != "" {
		refuse(gatewayv1.PolicyReasonInvalid, message)
		return
	}
	closes := at.target
	if reason, missing := t.findTarget(at.target); reason != "" {
		refuse(reason, missing)
		closes.section = ""
		if absent, _ := t.findTarget(closes); absent != "" {
			return
		}
	}
	t.closures.close(v, closes)
	message := fmt.Sprintf("%s closed (%d, %v) by this %s, %s", closedText(closes), v.kind.status, v.kind.flag, v.kind.kind, v.kind.want)
	r.error(RuleUnsupported, at.field(), "%s", message)
	if at.reason == "" {
		at.reason, at.message = gatewayv1.PolicyReasonInvalid, message
	}
}

func closedText(at target) string {
	if at.object.Kind == kindNamespace {
		return "every Service and Backend in namespace " + at.object.Name + " is"
	}
	return at.String() + " is"
}

// outOfReach says why a policy has no business with a target, which is not closed then:
// nobody closes what belongs to others.
func (t *translator) outOfReach(v *closingView, at target) string {
	own := v.object.Key.Namespace
	switch {
	case isKind(at.object, groupGateway, kindGatewayClass) && own != t.system:
		return fmt.Sprintf("a GatewayClass is targeted only from namespace %s", t.system)
	case isKind(at.object, groupCore, kindNamespace) && at.object.Name != own:
		return fmt.Sprintf("a Namespace is targeted only from itself, not from %s", own)
	}
	return ""
}
