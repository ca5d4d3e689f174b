package translate

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// manyRoutes builds a gateway and n routes with a host and a Backend each.
func manyRoutes(n int) []*resource.Object {
	gateway := &gatewayv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "front"},
		Spec: gatewayv1.GatewaySpec{GatewayClassName: ClassName, Listeners: []gatewayv1.Listener{
			{Name: "http", Port: 8080, Protocol: gatewayv1.HTTPProtocolType},
		}},
	}
	objects := []*resource.Object{object(groupGateway, kindGateway, "front", gateway)}
	for i := range n {
		name := fmt.Sprintf("site-%05d", i)
		objects = append(objects,
			object(groupGateway, kindHTTPRoute, name, benchRoute(name, 1)),
			object(groupWeir, kindBackend, name, &v1alpha1.Backend{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
				Spec:       v1alpha1.BackendSpec{Endpoints: []v1alpha1.Endpoint{{Address: "10.0.0.1", Port: int32(1 + i)}}},
			}))
	}
	return objects
}

func benchRoute(name string, weight int32) *gatewayv1.HTTPRoute {
	return &gatewayv1.HTTPRoute{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: gatewayv1.HTTPRouteSpec{
			CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Name: "front"}}},
			Hostnames:       []gatewayv1.Hostname{gatewayv1.Hostname(name + ".example.com")},
			Rules: []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{
				BackendObjectReference: gatewayv1.BackendObjectReference{Group: ptr(gatewayv1.Group(groupWeir)), Kind: ptr(gatewayv1.Kind(kindBackend)), Name: gatewayv1.ObjectName(name)},
				Weight:                 &weight,
			}}}}},
		},
	}
}

func object(group, kind, name string, value any) *resource.Object {
	return &resource.Object{
		Key:  resource.Key{Group: group, Kind: kind, Namespace: "default", Name: name},
		Hash: model.HashOf(value), Value: value,
	}
}

// BenchmarkOneChanged is one route of ten thousand with a new weight.
func BenchmarkOneChanged(b *testing.B) {
	objects := manyRoutes(10_000)
	memo := NewMemo()
	var sets [2]*resource.Set
	for i := range sets {
		objects[5_001] = object(groupGateway, kindHTTPRoute, objects[5_001].Key.Name, benchRoute(objects[5_001].Key.Name, int32(1+i)))
		sets[i] = resource.NewSet(objects, nil)
	}
	Translate(Input{Set: sets[0], Memo: memo})
	for i := 1; b.Loop(); i++ {
		Translate(Input{Set: sets[i%2], Memo: memo})
	}
}

// BenchmarkOneAdded is a route that comes and goes among ten thousand.
func BenchmarkOneAdded(b *testing.B) {
	objects := manyRoutes(10_000)
	memo := NewMemo()
	sets := [2]*resource.Set{
		resource.NewSet(objects, nil),
		resource.NewSet(append(objects, object(groupGateway, kindHTTPRoute, "extra", benchRoute("extra", 1))), nil),
	}
	Translate(Input{Set: sets[0], Memo: memo})
	for i := 1; b.Loop(); i++ {
		Translate(Input{Set: sets[i%2], Memo: memo})
	}
}

// BenchmarkOneBackend is a Backend among ten thousand that a route each refers to.
func BenchmarkOneBackend(b *testing.B) {
	objects := manyRoutes(10_000)
	memo := NewMemo()
	var sets [2]*resource.Set
	for i := range sets {
		objects[5_002] = object(groupWeir, kindBackend, objects[5_002].Key.Name, &v1alpha1.Backend{
			Spec: v1alpha1.BackendSpec{Endpoints: []v1alpha1.Endpoint{{Address: "10.0.0.1", Port: int32(1 + i)}}},
		})
		sets[i] = resource.NewSet(objects, nil)
	}
	Translate(Input{Set: sets[0], Memo: memo})
	for i := 1; b.Loop(); i++ {
		Translate(Input{Set: sets[i%2], Memo: memo})
	}
}

// BenchmarkFromNothing is the first translation of ten thousand routes.
func BenchmarkFromNothing(b *testing.B) {
	set := resource.NewSet(manyRoutes(10_000), nil)
	for b.Loop() {
		Translate(Input{Set: set})
	}
}
