package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// backendRef names a backend that resolved: a Backend, or a port of a Service.
type backendRef struct {
	object resource.Key
	port   int32 // of a Service
	udp    bool  // the port is one of UDP
	// untouched: what is sent there is TLS already, and gets none of ours.
	untouched bool
}

// refusedRef stands for an arm that is refused for what it asks, not for what it names.
var refusedRef = backendRef{object: resource.Key{Kind: "refused"}}

// cluster is the name of the backend's cluster, without a gateway's scope.
func (r backendRef) cluster() string {
	name := strings.ToLower(r.object.Kind) + "/" + pathName(r.object)
	if r.port != 0 {
		name += "/" + strconv.Itoa(int(r.port))
	}
	if r.udp {
		name += "/udp"
	}
	if r.untouched {
		name += "/passthrough"
	}
	return name
}

// portProtocol is the protocol of the Service's port.
func (r backendRef) portProtocol() corev1.Protocol {
	if r.udp {
		return corev1.ProtocolUDP
	}
	return corev1.ProtocolTCP
}

// compileBackends compiles the arms of the rule's split. An arm whose reference does not
// resolve answers its share with 500.
func (r *ruleView) compileBackends(refs []gatewayv1.HTTPBackendRef) {
	for i := range refs {
		field := fmt.Sprintf("%s.backendRefs[%d]", r.path, i)
		ref, name, answer := r.b.resolve(refs[i].BackendObjectReference, field)
		arm := model.Arm{Name: r.b.t.shared.name(name), Weight: uint32(deref(refs[i].Weight, 1))}
		if answer == nil {
			if problem := r.compileArmFilters(&arm, refs[i].Filters, field); problem != "" {
				ref, answer = refusedRef, refusal(problem)
			}
		}
		if answer != nil {
			arm = model.Arm{Name: arm.Name, Weight: arm.Weight, Refusal: answer}
		} else {
			arm.Cluster = ref.cluster()
		}
		r.route.Split.Arms = append(r.route.Split.Arms, arm)
		r.armRefs = append(r.armRefs, ref)
	}
}

// compileArmFilters compiles the filters of one backendRef, or says what is not supported.
func (r *ruleView) compileArmFilters(arm *model.Arm, filters []gatewayv1.HTTPRouteFilter, field string) string {
	for i := range filters {
		at, problem := fmt.Sprintf("%s.filters[%d]", field, i), ""
		switch f := &filters[i]; {
		case f.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil:
			arm.RequestHeaders, problem = headerEdit(f.RequestHeaderModifier, true)
		case f.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil:
			arm.ResponseHeaders, problem = headerEdit(f.ResponseHeaderModifier, false)
		default:
			problem = fmt.Sprintf("the filter %s is not supported on a backendRef by this version", f.Type)
		}
		if problem != "" {
			r.problem(RuleUnsupported, gatewayv1.RouteReasonUnsupportedValue, at, "%s", problem)
			return at + ": " + problem
		}
	}
	return ""
}

// BackendKey is the object that a backendRef in a namespace names: a Service there, unless it
// says otherwise.
func BackendKey(namespace string, ref gatewayv1.BackendObjectReference) resource.Key {
	return resource.Key{
		Group: string(deref(ref.Group, groupCore)), Kind: string(deref(ref.Kind, kindService)),
		Namespace: string(deref(ref.Namespace, gatewayv1.Namespace(namespace))), Name: string(ref.Name),
	}
}

// routeReasonClosed is our reason, with the condition ResolvedRefs, for a backend that a
// policy closes.
const routeReasonClosed gatewayv1.RouteConditionReason = "ClosedByPolicy"

// deadRef is why a reference to a backend leads nowhere, and what answers in its place.
type deadRef struct {
	reason  gatewayv1.RouteConditionReason
	at      string // the field of the reference
	message string
	answer  *model.Refusal
}

// resolve looks up a reference of the route to a backend. It returns the backend, its name as
// written, and the answer in its place if something is wrong, which it has reported.
func (b *routeBuild) resolve(ref gatewayv1.BackendObjectReference, field string) (backendRef, string, *model.Refusal) {
	backend, name, problem := b.find(b.key, ref)
	if problem == nil {
		return backend, name, nil
	}
	b.unresolvedRef(problem.reason, field+problem.at, problem.message)
	return backendRef{}, name, problem.answer
}

// find looks up a reference to a backend that the route's requests are to go to, by the route
// itself or by another object in its namespace.
func (b *routeBuild) find(from resource.Key, ref gatewayv1.BackendObjectReference) (backendRef, string, *deadRef) {
	key := BackendKey(from.Namespace, ref)
	name := key.Kind + "/" + pathName(key)
	if ref.Port != nil {
		name += "/" + strconv.Itoa(int(*ref.Port))
	}
	fail := func(reason gatewayv1.RouteConditionReason, at, format string, args ...any) (backendRef, string, *deadRef) {
		message := fmt.Sprintf(format, args...)
		return backendRef{}, name, &deadRef{reason, at, message, refusal(message)}
	}
	service := isKind(key, groupCore, kindService)
	if !service && !isKind(key, groupWeir, kindBackend) {
		return fail(gatewayv1.RouteReasonInvalidKind, ".kind", "a backend of kind %s and group %q is not supported; use a Service, or a Backend of group %s", key.Kind, key.Group, groupWeir)
	}
	if !b.granted(from, key) {
		what := "objects"
		if from == b.key {
			what = "routes"
		}
		return fail(gatewayv1.RouteReasonRefNotPermitted, ".namespace", "no ReferenceGrant in namespace %s allows %s of kind %s from namespace %s to refer to %v", key.Namespace, what, from.Kind, from.Namespace, key)
	}
	b.dependOn(key)
	b.dependOn(policyKey(key))
	b.dependOn(namespaceKey(key.Namespace))
	o := b.t.set.Get(key)
	if o == nil || o.Value == nil {
		return fail(gatewayv1.RouteReasonBackendNotFound, ".name", "%s%s", absenceText(o, key), b.namesakeText(o, key))
	}
	var reason gatewayv1.RouteConditionReason
	var at, message string
	backend := backendRef{object: key}
	if service {
		backend.port, backend.udp = int32(deref(ref.Port, 0)), b.kind.name == kindUDPRoute
		reason, at, message = b.checkService(o.Value.(*corev1.Service), backend)
	} else if ref.Port != nil {
		reason, at, message = gatewayv1.RouteReasonBackendNotFound, ".port", fmt.Sprintf("%v has no ports of its own to choose from; leave port out", key)
	}
	if message != "" {
		return fail(reason, at, "%s", message)
	}
	portName := b.t.portName(backend)
	c := b.t.closed(key, portName)
	if c == nil {
		_, c = b.t.securityOf(key, portName)
	}
	if c != nil {
		return backendRef{}, name, &deadRef{routeReasonClosed, ".name", fmt.Sprintf("%v is %s", key, c.reason()), c.refusal()}
	}
	if at, message := b.checkProtocol(backend); message != "" {
		return fail(gatewayv1.RouteReasonUnsupportedProtocol, at, "%s", message)
	}
	return backend, name, nil
}

// namesakeText points to a Backend, where a reference to a Service that is not there is missing
// the group and kind.
func (b *routeBuild) namesakeText(o *resource.Object, key resource.Key) string {
	if o != nil || !isKind(key, groupCore, kindService) || key.Namespace != b.key.Namespace {
		return ""
	}
	namesake := resource.Key{Group: groupWeir, Kind: kindBackend, Namespace: key.Namespace, Name: key.Name}
	b.dependOn(namesake)
	if b.t.set.Get(namesake) == nil {
		return ""
	}
	return fmt.Sprintf("; for %v write group: %s, kind: %s", namesake, groupWeir, kindBackend)
}

// checkService says why nothing can be sent to a Service's port, and at which field of the
// reference.
func (b *routeBuild) checkService(s *corev1.Service, ref backendRef) (reason gatewayv1.RouteConditionReason, at, message string) {
	key, port := ref.object, ref.port
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return gatewayv1.RouteReasonInvalidKind, ".name", fmt.Sprintf("%v is of type ExternalName, which is not supported: it would send requests wherever its owner says; use a Backend with dns", key)
	}
	if port == 0 {
		return gatewayv1.RouteReasonBackendNotFound, "", fmt.Sprintf("the reference to %v needs a port", key)
	}
	if servicePort(s, ref) != nil {
		return "", "", ""
	}
	i := slices.IndexFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port })
	if i < 0 {
		return gatewayv1.RouteReasonBackendNotFound, ".port", fmt.Sprintf("%v has no port %d", key, port)
	}
	needy := "HTTP"
	if b.kind.stream {
		needy = b.kind.name
	}
	return gatewayv1.RouteReasonUnsupportedProtocol, ".port", fmt.Sprintf("port %d of %v is %s; %s needs %s", port, key, s.Spec.Ports[i].Protocol, needy, ref.portProtocol())
}

// servicePort is the port of a Service that a reference is to: one number can be a port of TCP
// and another of UDP.
func servicePort(s *corev1.Service, ref backendRef) *corev1.ServicePort {
	for i := range s.Spec.Ports {
		if p := &s.Spec.Ports[i]; p.Port == ref.port && cmp.Or(p.Protocol, corev1.ProtocolTCP) == ref.portProtocol() {
			return p
		}
	}
	return nil
}

// portName is the name of the Service's port that a reference is to.
func (t *translator) portName(ref backendRef) string {
	if ref.port == 0 {
		return ""
	}
	if _, s := valueOf[corev1.Service](t.set, ref.object); s != nil {
		if p := servicePort(s, ref); p != nil {
			return p.Name
		}
	}
	return ""
}

// checkProtocol says why a backend cannot be spoken to as it asks, or not by this kind of
// route, and at which field of the reference.
func (b *routeBuild) checkProtocol(ref backendRef) (at, message string) {
	secured, problem := b.t.secured(ref), ""
	switch v := b.t.set.Get(ref.object).Value.(type) {
	case *v1alpha1.Backend:
		protocol, _, wrong := backendProtocol(v, secured)
		if b.kind.stream {
			problem = b.kind.refusesBytes(protocol, wrong)
		} else {
			problem = cmp.Or(wrong, b.refusesRequests(protocol))
		}
		if problem != "" {
			return ".name", fmt.Sprintf("%v: %s", ref.object, problem)
		}
	case *corev1.Service:
		port := servicePort(v, ref)
		if b.kind.stream {
			if ref.udp && secured {
				problem = "UDP goes without TLS, which a policy asks for"
			}
		} else {
			protocol, wrong := servicePortProtocol(port, secured)
			problem = cmp.Or(wrong, b.refusesRequests(protocol))
		}
		if problem != "" {
			return ".port", fmt.Sprintf("port %d of %v: %s", ref.port, ref.object, problem)
		}
	}
	return "", ""
}

// refusesRequests says why the route's requests cannot be sent to a backend of a protocol.
func (b *routeBuild) refusesRequests(p model.Protocol) string {
	if b.kind.name == kindGRPCRoute {
		return cmp.Or(refusesRequests(p), refusesCalls(p))
	}
	return refusesRequests(p)
}

// granted reports whether an object may refer to another: one of its own namespace, or one that
// a ReferenceGrant there opens to it.
func (b *routeBuild) granted(from, to resource.Key) bool {
	if to.Namespace == from.Namespace {
		return true
	}
	b.dependOn(grantKey(to.Namespace))
	return b.t.allows(from, to)
}

func grants(spec *gatewayv1.ReferenceGrantSpec, from, to resource.Key) bool {
	trusted := false
	for _, f := range spec.From {
		trusted = trusted || string(f.Group) == from.Group && string(f.Kind) == from.Kind && string(f.Namespace) == from.Namespace
	}
	if !trusted {
		return false
	}
	for _, t := range spec.To {
		if string(t.Group) == to.Group && string(t.Kind) == to.Kind && (t.Name == nil || string(*t.Name) == to.Name) {
			return true
		}
	}
	return false
}
