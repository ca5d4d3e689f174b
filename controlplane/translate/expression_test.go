package translate

import (
	"testing"

	"pgregory.net/rapid"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/match"
)

// TestExpressionsAsServed draws regular expressions, and checks that a data plane can compile
// whatever translation takes: what it leaves out of its tables would fall to a broader rule.
func TestExpressionsAsServed(t *testing.T) {
	parts := []string{"a", "/", ".", `\Q`, `\E`, `\`, "(", ")", "(?:", "|", "[", "]", "^", "$", "*", "+", "?", "{2}", "(?i)", `\\`}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) *string {
			text := ""
			for _, p := range rapid.SliceOfN(rapid.SampledFrom(parts), 1, 6).Draw(t, label) {
				text += p
			}
			return &text
		}
		checkServed(t, draw("service"), draw("method"))
	})
	for _, text := range []string{`\Qa`, `/\Qa.b`, `a)|(b`, `\\Q`} {
		checkServed(t, &text, &text)
	}
}

func checkServed(t rapid.TB, service, method *string) {
	common := gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Name: "front"}}}
	calls := &gatewayv1.GRPCRoute{ObjectMeta: streamMeta("calls", 0), Spec: gatewayv1.GRPCRouteSpec{
		CommonRouteSpec: common, Hostnames: []gatewayv1.Hostname{"calls.test"},
		Rules: []gatewayv1.GRPCRouteRule{{Matches: []gatewayv1.GRPCRouteMatch{{Method: &gatewayv1.GRPCMethodMatch{
			Type: ptr(gatewayv1.GRPCMethodMatchRegularExpression), Service: service, Method: method,
		}}}}},
	}}
	requests := &gatewayv1.HTTPRoute{ObjectMeta: streamMeta("requests", 0), Spec: gatewayv1.HTTPRouteSpec{
		CommonRouteSpec: common, Hostnames: []gatewayv1.Hostname{"requests.test"},
		Rules: []gatewayv1.HTTPRouteRule{{Matches: []gatewayv1.HTTPRouteMatch{{
			Path:    &gatewayv1.HTTPPathMatch{Type: ptr(gatewayv1.PathMatchRegularExpression), Value: service},
			Headers: []gatewayv1.HTTPHeaderMatch{{Type: ptr(gatewayv1.HeaderMatchRegularExpression), Name: "a", Value: *method}},
		}}}},
	}}
	gateway := gatewayOf("front", gatewayv1.Listener{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType})
	out := Translate(Input{Set: resource.NewSet([]*resource.Object{
		object(groupGateway, kindGateway, "front", gateway),
		object(groupGateway, kindGRPCRoute, "calls", calls), object(groupGateway, kindHTTPRoute, "requests", requests),
	}, nil)})
	var entries []match.Entry[*model.Route]
	for _, table := range out.Snapshot.RouteTables {
		for _, e := range table.Entries {
			entries = append(entries, match.Entry[*model.Route]{Hostnames: e.Hostnames, Matches: e.Route.Matches, Value: e.Route})
		}
	}
	if _, err := match.Compile(entries); err != nil {
		t.Fatalf("service %q, method %q: %v", *service, *method, err)
	}
}
