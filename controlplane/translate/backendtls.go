package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// securing is an object that says how connections to backends are secured: a
// BackendTLSPolicy, or a Backend by its own spec.tls, which the former beats. What it says is
// done as a whole, or its targets are closed: never spoken to in clear text, nor to a host
// that nobody vouches for.
type securing struct {
	object  *resource.Object
	targets []targetView // of a policy
	deps    []resource.Key
	tls     *model.UpstreamTLS // nil: it cannot be done
	origin  model.Origin
	hash    model.Hash // of what clusters and routes see
	// reasons and messages are of the references that do not resolve.
	reasons  []gatewayv1.PolicyConditionReason
	messages []string
	// refused is why it cannot be done.
	refused                   gatewayv1.PolicyConditionReason
	refusedField, refusedText string
	// idle are fields that have no effect.
	idle []string
}

// securingStage is what they add up to.
type securingStage struct {
	policies []*securing // in the order of keys
	backends map[resource.Key]*securing
	byTarget map[target]*securing // the policy in force
	// lost are objects of which a policy names a section that is not there: what was to be
	// secured may have another name by now.
	lost map[resource.Key]*securing
	// unreadable are namespaces of policies of which nobody knows what they are attached to.
	unreadable  map[string]*securing
	diagnostics []resource.Diagnostic
}

// unsecured closes what is to be spoken to by TLS, but cannot be.
var unsecured = closingKind{groupGateway, kindBackendTLSPolicy, model.FlagNC, 500, "which cannot be carried out"}

// closure closes what s secures, for s cannot be done.
func (s *securing) closure() *closure {
	c := &closure{policy: s.object.Key, kind: &unsecured}
	switch {
	case s.object.Value == nil:
		c.why = "which was never accepted"
	case s.tls != nil:
		c.why = "which names a section that is not there"
	case strings.Contains(s.refusedText, s.refusedField):
		c.why = s.refusedText
	default:
		c.why = s.refusedField + ": " + s.refusedText
	}
	return c
}

// securityOf returns what secures a backend, or the port of that name: the policy that is
// closest, or the Backend itself. Without any it is spoken to in clear text. If what decides
// cannot be done, that closes the backend.
func (m *Memo) securityOf(object resource.Key, port string) (*securing, *closure) {
	s := &m.securings
	if by := s.unreadable[object.Namespace]; by != nil {
		return nil, by.closure()
	}
	for _, at := range []target{{object, port}, {object: object}} {
		if by := s.byTarget[at]; by != nil {
			return by.open()
		}
	}
	if by := s.lost[object]; by != nil {
		return nil, by.closure()
	}
	if own := s.backends[object]; own != nil {
		return own.open()
	}
	return nil, nil
}

func (s *securing) open() (*securing, *closure) {
	if s.tls == nil {
		return nil, s.closure()
	}
	return s, nil
}

// upstreamTLS is how a backend is spoken to: as is decided for it, with the certificate that
// the Backend itself names, or else the gateway's; nil: in clear text.
func (m *Memo) upstreamTLS(object resource.Key, port string, gateway *gatewayView, origins *model.Origins) *model.UpstreamTLS {
	by, _ := m.securityOf(object, port)
	if by == nil {
		return nil
	}
	tls := *by.tls
	noteOrigin("tls", by.origin, origins)
	if own := m.securings.backends[object]; own != nil && own.tls != nil && own.tls.Client != nil {
		tls.Client = own.tls.Client
		noteOrigin("tls.clientCertificate", originOf(own.object, "spec.tls.clientCertificateRef"), origins)
	}
	if tls.Client == nil && gateway != nil && gateway.client != nil {
		tls.Client = gateway.client
		noteOrigin("tls.clientCertificate", originOf(gateway.object, "spec.tls.backend.clientCertificateRef"), origins)
	}
	return &tls
}

// readSecurings reads the policies and Backends that speak of TLS, if any of them or of what
// they look at has changed, and marks the backends for which that makes a difference.
func (t *translator) readSecurings() {
	old := t.securings
	byKey := make(map[resource.Key]*securing, len(old.policies))
	for _, s := range old.policies {
		byKey[s.object.Key] = s
	}
	changed := false
	reread := func(o *resource.Object, s *securing, read func(*resource.Object) *securing) *securing {
		if s != nil && !t.dirty.has(o.Key) && !t.dirty.hasAny(s.deps) {
			return s
		}
		changed = true
		return read(o)
	}
	stage := securingStage{backends: map[resource.Key]*securing{}}
	for _, o := range t.objectsOf(groupGateway, kindBackendTLSPolicy) {
		stage.policies = append(stage.policies, reread(o, byKey[o.Key], t.readTLSPolicy))
	}
	for _, o := range t.objectsOf(groupWeir, kindBackend) {
		if b, _ := o.Value.(*v1alpha1.Backend); b != nil && b.Spec.TLS != nil {
			stage.backends[o.Key] = reread(o, old.backends[o.Key], t.readBackendTLS)
		}
	}
	if !changed && len(stage.policies) == len(old.policies) && len(stage.backends) == len(old.backends) {
		return
	}
	t.securings = stage
	t.electSecurings()
	t.securings.markChanges(&old, &t.dirty)
	old.markChanges(&t.securings, &t.dirty)
	t.structural = true
}

// markChanges marks what is not the same in other.
func (s *securingStage) markChanges(other *securingStage, dirty *dirtySet) {
	differ := func(a, b *securing) bool { return b == nil || a.hash != b.hash }
	for at, by := range s.byTarget {
		if differ(by, other.byTarget[at]) {
			dirty.mark(policyKey(at.object))
		}
	}
	for object, by := range s.lost {
		if differ(by, other.lost[object]) {
			dirty.mark(policyKey(object))
		}
	}
	for object, by := range s.backends {
		if differ(by, other.backends[object]) {
			dirty.mark(policyKey(object))
		}
	}
	for namespace, by := range s.unreadable {
		if differ(by, other.unreadable[namespace]) {
			dirty.mark(namespaceKey(namespace))
		}
	}
}

// electSecurings gives each target to the oldest policy, then to the first by namespace/name,
// and tells the others.
func (t *translator) electSecurings() {
	stage := &t.securings
	stage.byTarget, stage.lost, stage.unreadable = map[target]*securing{}, map[resource.Key]*securing{}, map[string]*securing{}
	byKey := make(map[resource.Key]*securing, len(stage.policies))
	objects := make([]*resource.Object, 0, len(stage.policies))
	for _, s := range stage.policies {
		byKey[s.object.Key] = s
		objects = append(objects, s.object)
	}
	for _, o := range oldestFirst(objects) {
		s, r := byKey[o.Key], &reporter{object: o}
		for i := range s.targets {
			t.secureTarget(s, &s.targets[i], r)
		}
		if o.Value == nil && len(s.targets) == 0 {
			stage.unreadable[o.Key.Namespace] = s
			r.error(RuleUnsupported, "spec.targetRefs", "what it is attached to cannot be read: %s", s.widestText())
		}
		s.report(r)
		stage.diagnostics = append(stage.diagnostics, r.diagnostics...)
	}
	for _, key := range slices.SortedFunc(maps.Keys(stage.backends), resource.Key.Compare) {
		r := &reporter{object: stage.backends[key].object}
		stage.backends[key].report(r)
		stage.diagnostics = append(stage.diagnostics, r.diagnostics...)
	}
}

// secureTarget decides what becomes of one target of a policy, and says so.
func (t *translator) secureTarget(s *securing, at *targetView, r *reporter) {
	at.reason, at.message = gatewayv1.PolicyReasonAccepted, ""
	refuse := func(reason gatewayv1.PolicyConditionReason, message string) {
		at.reason, at.message = reason, message
		r.target(*at)
	}
	if !isKind(at.object, groupCore, kindService) && !isKind(at.object, groupWeir, kindBackend) {
		refuse(gatewayv1.PolicyReasonInvalid, fmt.Sprintf("a target of kind %s and group %q is not supported; use a Service or a Backend", at.object.Kind, at.object.Group))
		return
	}
	if reason, missing := t.findTarget(at.target); reason != "" {
		if absent, _ := t.findTarget(target{object: at.object}); absent == "" {
			t.securings.lost[at.object] = s
			missing += "; until it has, all of it is closed that no other policy secures"
		}
		refuse(reason, missing)
		return
	}
	if winner := t.securings.byTarget[at.target]; winner != nil {
		refuse(gatewayv1.PolicyReasonConflicted, fmt.Sprintf("%v already has %v, which is older or comes first by name", at.target, winner.object.Key))
		return
	}
	t.securings.byTarget[at.target] = s
	if s.tls == nil {
		c := s.closure()
		text := fmt.Sprintf("%v is closed (%d, %v) by this policy, ", at.target, c.kind.status, c.kind.flag)
		at.reason, at.message = s.refused, text+c.why
		r.error(RuleUnresolved, at.field(), "%s", text+c.kind.want)
	}
}

// report says what of an object does not resolve, what is refused besides, and what has no
// effect.
func (s *securing) report(r *reporter) {
	for _, text := range s.messages {
		field, message, _ := strings.Cut(text, ": ")
		r.error(RuleUnresolved, field, "%s", message)
	}
	if s.refused != "" && len(s.messages) == 0 && s.object.Value != nil {
		r.error(RuleUnsupported, s.refusedField, "%s", s.refusedText)
	}
	for _, field := range s.idle {
		r.warn(RuleUnsupported, field, "none is supported, so that none has an effect")
	}
}

// securingStatuses are those of the BackendTLSPolicies.
func (t *translator) securingStatuses() []Status {
	policies := make([]judged, 0, len(t.securings.policies))
	for _, s := range t.securings.policies {
		policies = append(policies, judged{s.object, s.targets, s.conditions})
	}
	return t.statusesOf(policies)
}

// conditions words what became of a policy's targets below one ancestor.
func (s *securing) conditions(targets []targetView) []metav1.Condition {
	var messages []string
	accepted, reason, generation := false, targets[0].reason, generationOf(s.object)
	for _, at := range targets {
		if at.reason == gatewayv1.PolicyReasonAccepted {
			accepted, reason = true, at.reason
		}
		if at.message != "" {
			messages = append(messages, at.message)
		}
	}
	if retained := retainedText(s.object); retained != "" && s.object.Value != nil {
		messages = append(messages, retained)
	}
	list := []metav1.Condition{condition(gatewayv1.PolicyConditionAccepted, accepted, reason, strings.Join(messages, "; "), generation)}
	if s.object.Value == nil {
		return list
	}
	return append(list, s.resolution(generation))
}

// resolution says whether all references resolve.
func (s *securing) resolution(generation int64) metav1.Condition {
	if len(s.reasons) > 0 {
		return condition(gatewayv1.BackendTLSPolicyConditionResolvedRefs, false, s.reasons[0], strings.Join(s.messages, "; "), generation)
	}
	return condition(gatewayv1.BackendTLSPolicyConditionResolvedRefs, true, gatewayv1.BackendTLSPolicyReasonResolvedRefs, "", generation)
}

// widestText says what a policy closes that is unreadable.
func (s *securing) widestText() string {
	return fmt.Sprintf("until it can be, every Service and Backend of namespace %s is closed (%d, %v)", s.object.Key.Namespace, unsecured.status, unsecured.flag)
}
