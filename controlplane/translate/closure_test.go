package translate

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

const closureFront = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: front}]
  rules:
  - name: a
    backendRefs: [{group: weir.dev, kind: Backend, name: shop}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
---
`

// answers lists what the rules of all tables answer: the flag of a refusal, of the rule or
// of its only arm, or the cluster.
func answers(s *model.Snapshot) []string {
	all := map[string]bool{}
	for _, table := range s.RouteTables {
		for _, e := range table.Entries {
			switch r := e.Route; {
			case r.Refusal != nil:
				all["rule "+r.Refusal.Flag] = true
			case r.Split.Arms[0].Refusal != nil:
				all["arm "+r.Split.Arms[0].Refusal.Flag] = true
			default:
				all[r.Split.Arms[0].Cluster] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// TestClosures adds one policy to one rule, and a policy that closes nothing beside it.
func TestClosures(t *testing.T) {
	const open = "backend/default/shop"
	weir := func(kind, meta, spec string) string {
		return "apiVersion: weir.dev/v1alpha1\nkind: " + kind + "\nmetadata: {" + meta + "}\nspec: {" + spec + "}\n"
	}
	tls := func(meta, targets, hostname string) string {
		return "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {" + meta + "}\nspec: {" + targets + ", validation: {wellKnownCACertificates: System, hostname: " + hostname + "}}\n"
	}
	to := func(group, kind, name, section string) string {
		return "targetRefs: [{group: '" + group + "', kind: " + kind + ", name: " + name + section + "}]"
	}
	for name, tt := range map[string]struct{ policy, want string }{
		"of the class, from the system namespace": {weir("AccessPolicy", "name: p, namespace: weir-system", to(groupGateway, kindGatewayClass, "weir", "")), "rule PA"},
		"of the undeclared class, by section":     {weir("AccessPolicy", "name: p, namespace: weir-system", to(groupGateway, kindGatewayClass, "weir", ", sectionName: web")), "rule PA"},
		"own undeclared namespace, by section":    {weir("AccessPolicy", "name: p", to("", kindNamespace, "default", ", sectionName: x")), "arm PA"},
		"of an unknown version":                   {strings.Replace(weir("AccessPolicy", "name: p", to(groupWeir, kindBackend, "other", "")), "v1alpha1", "v1", 1), "rule PA"},
		"of the class, from elsewhere":            {weir("AccessPolicy", "name: p", to(groupGateway, kindGatewayClass, "weir", "")), open},
		"unreadable, of the organisation":         {weir("AccessPolicy", "name: p, namespace: weir-system", "targetRefs: 1"), "rule PA"},
		"unreadable, of another namespace":        {weir("AccessPolicy", "name: p, namespace: other", "targetRefs: 1"), open},
		"a kind that does not exist":              {weir("RateLimitPolicy", "name: p", to(groupGateway, "HTTPRuote", "r", "")), "rule PA"},
		"the group forgotten":                     {weir("AccessPolicy", "name: p", "targetRefs: [{kind: HTTPRoute, name: r}]"), "rule PA"},
		"unreadable RouteCondition":               {weir("RouteCondition", "name: p", "when: 'true'"), "rule NC"},
		"own namespace":                           {weir("AccessPolicy", "name: p", to("", kindNamespace, "default", "")), "arm PA"},
		"another namespace":                       {weir("AccessPolicy", "name: p", to("", kindNamespace, "other", "")), open},
		"Backend":                                 {weir("AccessPolicy", "name: p", to(groupWeir, kindBackend, "shop", "")), "arm PA"},
		"Backend, by section":                     {weir("AccessPolicy", "name: p", to(groupWeir, kindBackend, "shop", ", sectionName: http")), "arm PA"},
		"another listener that does not exist":    {weir("AccessPolicy", "name: p", to(groupGateway, kindGateway, "front", ", sectionName: https")), "rule PA"},
		"another route":                           {weir("AccessPolicy", "name: p", to(groupGateway, kindHTTPRoute, "s", "")), open},
		"BackendTLSPolicy":                        {tls("name: p", to(groupWeir, kindBackend, "shop", ""), "a.test"), open},
		"BackendTLSPolicy, by section":            {tls("name: p", to(groupWeir, kindBackend, "shop", ", sectionName: http"), "a.test"), "arm NC"},
		"wrong BackendTLSPolicy":                  {tls("name: p", to(groupWeir, kindBackend, "shop", ""), "a_test"), "arm NC"},
		"wrong BackendTLSPolicy of another":       {tls("name: p", to(groupWeir, kindBackend, "other", ""), "a_test"), open},
		"unreadable BackendTLSPolicy":             {tls("name: p", to(groupWeir, kindBackend, "", ""), "a.test"), "arm NC"},
		"unreadable BackendTLSPolicy, elsewhere":  {tls("name: p, namespace: other", to(groupWeir, kindBackend, "", ""), "a.test"), open},
		"BackendTLSPolicy of an unknown version":  {strings.Replace(tls("name: p", "targetRef: {group: weir.dev, kind: Backend, name: shop}", "a.test"), "/v1", "/v1alpha2", 1), "arm NC"},
		"without effect":                          {weir("Shadow", "name: p", to(groupGateway, kindHTTPRoute, "r", "")), open},
	} {
		t.Run(name, func(t *testing.T) {
			var decoder resource.Decoder
			before, _ := decoder.Decode("in.yaml", []byte(closureFront))
			after, _ := decoder.Decode("in.yaml", []byte(closureFront+tt.policy))
			memo := NewMemo()
			for i, step := range []struct {
				objects []*resource.Object
				want    string
			}{{before, open}, {after, tt.want}, {before, open}} {
				out := Translate(Input{Set: resource.NewSet(step.objects, nil), Memo: memo})
				if got := answers(out.Snapshot); !slices.Equal(got, []string{step.want}) {
					t.Errorf("step %d: %v, want %s", i, got, step.want)
				}
			}
		})
	}
}
