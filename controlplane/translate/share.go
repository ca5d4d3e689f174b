package translate

import (
	"reflect"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
)

// ties are what connects a route with other objects. Of ten thousand routes most are
// connected with the same few, and share one of these: it must not be changed once its view
// is in a slot.
type ties struct {
	deps     []resource.Key // every object that the route looked at, itself and its policies excluded
	gateways []resource.Key // that take it
	uses     []use
}

func (a *ties) equal(b *ties) bool {
	return slices.Equal(a.uses, b.uses) && slices.Equal(a.gateways, b.gateways) && slices.Equal(a.deps, b.deps)
}

// noView is that of a route which has not been translated yet.
var noView = &routeView{ties: &ties{}}

// sharing lets the routes that are translated in one run have parts in common. The zero
// sharing is ready.
type sharing struct {
	ties   map[string]*ties // the last ones, by the first cluster
	status any              // the last one
	names  map[string]string
}

// view gives a view the parts that it has in common with the one before of the same route,
// or else with another that was translated in this run.
func (s *sharing) view(v, before *routeView) {
	v.ties = s.sameTies(v.ties, before.ties)
	switch {
	case sameStatus(v.status, before.status):
		v.status = before.status
	case sameStatus(v.status, s.status):
		v.status = s.status
	default:
		s.status = v.status
	}
}

func (s *sharing) sameTies(t, before *ties) *ties {
	if t.equal(before) {
		return before
	}
	first := ""
	if len(t.uses) > 0 {
		first = t.uses[0].cluster
	}
	last := s.ties[first]
	if last == nil || !last.equal(t) {
		last = &ties{deps: fit(t.deps), gateways: fit(t.gateways), uses: fit(t.uses)}
		if s.ties == nil {
			s.ties = map[string]*ties{}
		}
		s.ties[first] = last
	}
	return last
}

// fit returns a copy in no more memory than it needs.
func fit[T any](list []T) []T { return append(make([]T, 0, len(list)), list...) }

// name returns the string that the routes before used for the same name.
func (s *sharing) name(name string) string {
	if same, ok := s.names[name]; ok {
		return same
	}
	if s.names == nil {
		s.names = map[string]string{}
	}
	s.names[name] = name
	return name
}

// sameStatus tells whether two statuses are those of routes, and equal.
func sameStatus(a, b any) bool {
	x, ok := RouteStatus(a)
	y, both := RouteStatus(b)
	return ok && both && reflect.TypeOf(a) == reflect.TypeOf(b) && slices.EqualFunc(x.Parents, y.Parents, func(p, q gatewayv1.RouteParentStatus) bool {
		return p.ControllerName == q.ControllerName && sameParent(p.ParentRef, q.ParentRef) && slices.Equal(p.Conditions, q.Conditions)
	})
}

func sameParent(p, q gatewayv1.ParentReference) bool {
	return p.Name == q.Name && same(p.Group, q.Group) && same(p.Kind, q.Kind) && same(p.Namespace, q.Namespace) &&
		same(p.SectionName, q.SectionName) && same(p.Port, q.Port)
}

// same tells whether two values that may be absent are.
func same[T comparable](p, q *T) bool { return p == q || p != nil && q != nil && *p == *q }
