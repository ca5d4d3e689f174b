package translate

import (
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
)

// TestSharing: routes that alternate between two backends share what connects them, and their
// statuses, whether they are translated in one run or one by one; and nothing that differs.
func TestSharing(t *testing.T) {
	objects, memo := manyRoutes(8), NewMemo()
	var routes []int
	for i, o := range objects {
		if o.Key.Kind == kindHTTPRoute {
			objects[i] = routeTo(o.Key.Name, []gatewayv1.ObjectName{"site-00000", "site-00001"}[len(routes)%2], 1)
			routes = append(routes, i)
		}
	}
	Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo})
	at := routes[4]
	objects[at] = routeTo(objects[at].Key.Name, "site-00000", 7)
	Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo})
	view := func(n int) *routeView { return memo.route(objects[routes[n]].Key).view }
	for n := range routes {
		if view(n).ties != view(n%2).ties {
			t.Errorf("route %d has ties of its own", n)
		}
		if parents(view(n)) != parents(view(0)) {
			t.Errorf("route %d has a status of its own", n)
		}
	}
	if view(0).ties == view(1).ties {
		t.Error("routes to different backends share their ties")
	}

	objects[at] = routeTo(objects[at].Key.Name, "missing", 7)
	Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo})
	if view(4).ties == view(0).ties || parents(view(4)) == parents(view(0)) {
		t.Error("a route to nowhere shares what a good route has")
	}
}

func routeTo(name string, backend gatewayv1.ObjectName, weight int32) *resource.Object {
	route := benchRoute(name, weight)
	route.Spec.Rules[0].BackendRefs[0].Name = backend
	return object(groupGateway, kindHTTPRoute, name, route)
}

func parents(v *routeView) *gatewayv1.RouteParentStatus {
	return &v.status.(gatewayv1.HTTPRouteStatus).Parents[0]
}
