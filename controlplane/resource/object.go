package resource

import (
	"cmp"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/model"
)

// Key names an object. Namespace is empty for cluster-scoped kinds, Group for core ones.
type Key struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String returns kind, namespace and name for people: "HTTPRoute shop/cart".
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Kind + " " + k.Name
	}
	return k.Kind + " " + k.Namespace + "/" + k.Name
}

// Compare orders keys by group, kind, namespace and name.
func (k Key) Compare(o Key) int {
	return cmp.Or(strings.Compare(k.Group, o.Group), strings.Compare(k.Kind, o.Kind),
		strings.Compare(k.Namespace, o.Namespace), strings.Compare(k.Name, o.Name))
}

// Object is one resource: its last accepted version, and what is wrong with its newest.
// It is immutable once delivered.
type Object struct {
	Key Key

	// Hash covers the accepted version's content and the positions of its fields, so that
	// whatever is derived from an object, origins included, can be memoised by it. It is
	// empty when no version was ever accepted.
	Hash model.Hash

	// At is where the object starts: the accepted version, or else the newest one.
	At Position

	// Value is the last accepted version with its schema's defaults filled in:
	// *gatewayv1.GatewayClass, *gatewayv1.Gateway, *gatewayv1.ListenerSet,
	// *gatewayv1.HTTPRoute, *gatewayv1.GRPCRoute, *gatewayv1.TLSRoute, *gatewayv1.TCPRoute,
	// *gatewayv1.UDPRoute, *gatewayv1.ReferenceGrant, *gatewayv1.BackendTLSPolicy,
	// *corev1.Service, *discoveryv1.EndpointSlice, *corev1.Secret, *corev1.ConfigMap,
	// *corev1.Namespace, *v1alpha1.Backend, *v1alpha1.TrafficPolicy, *v1alpha1.Rollout,
	// *v1alpha1.Shadow, *v1alpha1.FaultPolicy, *v1alpha1.ServiceLevelObjective or *Restriction.
	// It is nil if no version was ever accepted.
	Value any

	// Targets are what a BackendTLSPolicy is attached to of which no version was ever
	// accepted, so that nothing is sent there in clear text. It is nil if that cannot be read
	// either.
	Targets []gatewayv1.LocalPolicyTargetReferenceWithSectionName

	// Problems are what is wrong with the newest version when that was quarantined: then
	// Value is an older one. It is empty otherwise.
	Problems []Diagnostic

	// Where the accepted version's fields were written, in lines behind line.
	fields places
	root   place
	line   int
}

// Position returns where the field of the accepted version with the given path was written,
// such as "spec.rules[0].backendRefs[1].name": its key, or the element itself in a list. A
// field that was not written, like a default, has the position of its nearest parent.
func (o *Object) Position(path string) Position {
	p := o.fields.find(o.root, path)
	if p.line == 0 {
		return o.At
	}
	return Position{File: o.At.File, Line: o.line + int(p.line), Column: int(p.column)}
}

// WithProblems returns a copy of o that keeps its accepted version beside the problems of a
// newer one.
func (o *Object) WithProblems(problems []Diagnostic) *Object {
	retained := *o
	retained.Problems = problems
	return &retained
}
