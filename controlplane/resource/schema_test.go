package resource

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"pgregory.net/rapid"
)

// A cluster accepts our CRDs, the cost of their CEL rules included.
func TestCRDsAreAccepted(t *testing.T) {
	for _, file := range []string{"weir.dev_backends.json", "weir.dev_trafficpolicies.json"} {
		data, err := crds.ReadFile("crds/" + file)
		if err != nil {
			t.Fatal(err)
		}
		var v1 apiextensionsv1.CustomResourceDefinition
		if err := json.Unmarshal(data, &v1); err != nil {
			t.Fatal(err)
		}
		apiextensionsv1.SetDefaults_CustomResourceDefinition(&v1)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&v1.Spec)
		var crd apiextensions.CustomResourceDefinition
		if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&v1, &crd, nil); err != nil {
			t.Fatal(err)
		}
		crd.Status.StoredVersions = []string{"v1alpha1"}
		for _, e := range crdvalidation.ValidateCustomResourceDefinition(context.Background(), &crd) {
			t.Errorf("%s: %v", file, e)
		}
	}
}

// One schema serves all versions of a kind, and they are those that the CRD serves.
func TestVersionsShareTheirSchema(t *testing.T) {
	for _, k := range kinds {
		if c, err := k.schema.compile(); err != nil || c.structural == nil {
			continue // no CRD
		}
		plural := strings.ToLower(k.name) + "s"
		for from, to := range map[string]string{"classs": "classes", "policys": "policies"} {
			plural = strings.Replace(plural, from, to, 1)
		}
		data, err := crds.ReadFile("crds/" + k.group + "_" + plural + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var crd struct {
			Spec struct {
				Scope    string
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Served bool
					Schema json.RawMessage
				}
			}
		}
		if err := json.Unmarshal(data, &crd); err != nil {
			t.Fatal(err)
		}
		var served []string
		for _, v := range crd.Spec.Versions {
			if string(v.Schema) != string(crd.Spec.Versions[0].Schema) && !slices.Contains(widerVersions, k.name+" "+v.Name) {
				t.Errorf("%s %s has another schema than %s", k.name, v.Name, crd.Spec.Versions[0].Name)
			}
			if v.Served {
				served = append(served, v.Name)
			}
		}
		if !slices.Equal(served, k.versions) || crd.Spec.Names.Kind != k.name || (crd.Spec.Scope == "Namespaced") != k.namespaced {
			t.Errorf("%s: the CRD serves %s %v, %s", k.name, crd.Spec.Names.Kind, served, crd.Spec.Scope)
		}
	}
}

// widerVersions are those whose objects are read as strictly as the newest version has it: with
// one rule, and a TLSRoute with hostnames.
var widerVersions = []string{"TLSRoute v1alpha2", "TCPRoute v1alpha2", "UDPRoute v1alpha2"}

// parts of routes from which TestVerdictsAgree makes objects, right ones and wrong ones.
var (
	someMatches = []string{
		`{}`, `{"path":{"type":"PathPrefix","value":"/a"}}`, `{"path":{"type":"Exact","value":"a"}}`,
		`{"path":{"type":"PathPrefix","value":"/a//b"}}`, `{"path":{"type":"PathPrefix","value":"/a/../b"}}`,
		`{"path":{"type":"RegularExpression","value":"^/x$"}}`, `{"path":{"type":"Exact","value":"/a%2Fb"}}`, `{"path":{"value":"/é"}}`,
		`{"headers":[{"name":"a","value":"b"}],"method":"GET"}`, `{"queryParams":[{"name":"a","type":"RegularExpression","value":"b"}]}`,
	}
	someFilters = []string{
		`{"type":"RequestHeaderModifier","requestHeaderModifier":{"set":[{"name":"a","value":"b"}]}}`,
		`{"type":"RequestHeaderModifier"}`, `{"type":"RequestRedirect","requestRedirect":{"statusCode":301,"port":80}}`,
		`{"type":"RequestRedirect","requestRedirect":{"path":{"type":"ReplacePrefixMatch","replacePrefixMatch":"/x"}}}`,
		`{"type":"URLRewrite","urlRewrite":{"path":{"type":"ReplaceFullPath","replaceFullPath":"/x"}}}`,
		`{"type":"URLRewrite","urlRewrite":{"path":{"type":"ReplaceFullPath"}}}`,
		`{"type":"RequestMirror","requestMirror":{"backendRef":{"name":"a","port":80},"percent":5,"fraction":{"numerator":1}}}`,
		`{"type":"RequestMirror","requestMirror":{"backendRef":{"name":"a","port":80},"fraction":{"numerator":5,"denominator":4}}}`,
		`{"type":"RequestMirror","requestMirror":{"backendRef":{"name":"a"}}}`,
		`{"type":"CORS","cors":{"allowOrigins":["*"]}}`, `{"type":"CORS","cors":{"allowOrigins":["*","https://a.b"],"allowMethods":["*","GET"]}}`,
		`{"type":"ExtensionRef"}`,
	}
	someParents = []string{
		`{"name":"a"}`, `{"name":"a","sectionName":"s"}`, `{"name":"a","port":80}`, `{"name":"a","namespace":"b"}`, `{"name":"c","kind":"Service","group":""}`,
	}
	someBackends = []string{
		`{"name":"a","port":80}`, `{"name":"a"}`, `{"name":"a","group":"weir.dev","kind":"Backend"}`,
		`{"name":"a","port":80,"weight":0,"filters":[{"type":"URLRewrite"}]}`,
	}
	someRest = []string{
		`"name":"n"`, `"timeouts":{"request":"1s","backendRequest":"2s"}`, `"timeouts":{"request":"2s","backendRequest":"1s"}`,
		`"timeouts":{"request":"0s","backendRequest":"1s"}`, `"retry":{"codes":[500,503],"attempts":2,"backoff":"1s"}`,
		`"sessionPersistence":{"cookieConfig":{"lifetimeType":"Permanent"}}`, `"retry":{}`,
	}
)

// someRoute draws a route from those parts.
func someRoute(t *rapid.T) string {
	tame := rapid.Bool().Draw(t, "tame")
	list := func(of []string, label string) string {
		if tame { // the first of each is right
			return "[" + of[0] + "]"
		}
		return "[" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(of), 0, 3).Draw(t, label), ",") + "]"
	}
	rule := fmt.Sprintf(`{"matches":%s,"filters":%s,"backendRefs":%s,%s}`, list(someMatches, "matches"), list(someFilters, "filters"),
		list(someBackends, "backends"), rapid.SampledFrom(someRest).Draw(t, "rest"))
	return fmt.Sprintf(`{"parentRefs":%s,"rules":[%s,%s]}`, list(someParents, "parents"), rule, `{"name":"n","backendRefs":[{"name":"b","port":80}]}`)
}

// specs are right and nearly right ones of each other kind, with all of their fields. The
// first is right.
var specs = map[string][]string{
	"GatewayClass": {
		`{"controllerName":"a.test/b"}`, `{"controllerName":"a.test/b","description":"d","parametersRef":{"group":"g","kind":"K","name":"n","namespace":"s"}}`,
		`{"controllerName":"b"}`,
	},
	"Gateway": {
		`{"gatewayClassName":"weir","listeners":[{"name":"a","port":80,"protocol":"HTTP","hostname":"*.a.test","allowedRoutes":{"namespaces":{"from":"Selector","selector":{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"k","operator":"In","values":["v"]}]}},"kinds":[{"kind":"HTTPRoute","group":"g"}]}}]}`,
		`{"gatewayClassName":"weir","listeners":[{"name":"a","port":80,"protocol":"HTTP"},{"name":"b","port":80,"protocol":"HTTP","hostname":"a.test"}],"addresses":[{"value":"10.0.0.1"},{"type":"Hostname","value":"a.test"}]}`,
		`{"gatewayClassName":"weir","listeners":[{"name":"a","port":80,"protocol":"HTTP"},{"name":"a","port":80,"protocol":"HTTP"}],"addresses":[{"value":"10.0.0.1"},{"value":"10.0.0.1"}]}`,
		`{"gatewayClassName":"weir","listeners":[{"name":"a","port":443,"protocol":"HTTPS","tls":{"mode":"Terminate","certificateRefs":[{"name":"c"}],"options":{"a.test/o":"v"}}}]}`,
		`{"gatewayClassName":"weir","listeners":[{"name":"a","port":443,"protocol":"HTTPS","tls":{"mode":"Terminate"}},{"name":"b","port":53,"protocol":"UDP","hostname":"a.test"}]}`,
		`{"gatewayClassName":"weir","listeners":[{"name":"a","port":80,"protocol":"HTTP","tls":{"mode":"Terminate","certificateRefs":[{"name":"c"}]}}]}`,
		`{"gatewayClassName":"weir","listeners":[{"name":"a","port":80,"protocol":"HTTP"}],"defaultScope":"All","allowedListeners":{"namespaces":{"from":"All"}},"infrastructure":{"labels":{"a":"b"},"annotations":{"a.test/c":"d"},"parametersRef":{"group":"g","kind":"K","name":"n"}},"tls":{"backend":{"clientCertificateRef":{"name":"c"}},"frontend":{"default":{"validation":{"caCertificateRefs":[{"group":"","kind":"ConfigMap","name":"c"}]}}}}}`,
	},
	"ListenerSet": {
		`{"parentRef":{"name":"g","namespace":"n","kind":"Gateway","group":"gateway.networking.k8s.io"},"listeners":[{"name":"a","port":80,"protocol":"HTTP","hostname":"*.a.test","allowedRoutes":{"namespaces":{"from":"Selector","selector":{"matchLabels":{"a":"b"}}},"kinds":[{"kind":"HTTPRoute"}]}},{"name":"b","port":443,"protocol":"HTTPS","tls":{"mode":"Terminate","certificateRefs":[{"name":"c"}]}}]}`,
		`{"parentRef":{"name":"g"},"listeners":[{"name":"a","port":80,"protocol":"HTTP"},{"name":"a","port":80,"protocol":"HTTP"}]}`,
		`{"parentRef":{"name":"g"},"listeners":[{"name":"a","port":80,"protocol":"HTTP","tls":{"mode":"Terminate","certificateRefs":[{"name":"c"}]}},{"name":"b","port":53,"protocol":"UDP","hostname":"a.test"}]}`,
		`{"parentRef":{"name":"g"},"listeners":[]}`,
	},
	"ReferenceGrant": {
		`{"from":[{"group":"g","kind":"HTTPRoute","namespace":"a"}],"to":[{"group":"","kind":"Service","name":"s"},{"group":"","kind":"Secret"}]}`,
		`{"from":[],"to":[{"group":"","kind":"Service"}]}`,
	},
	"GRPCRoute": {
		`{"parentRefs":[{"name":"g"}],"hostnames":["a.test"],"rules":[{"name":"r","matches":[{"method":{"service":"a.B","method":"C"},"headers":[{"name":"x","value":"1"}]},{"method":{"type":"RegularExpression","service":"a/.*"}}],"filters":[{"type":"RequestHeaderModifier","requestHeaderModifier":{"set":[{"name":"x","value":"1"}]}},{"type":"RequestMirror","requestMirror":{"backendRef":{"name":"s","port":1}}}],"backendRefs":[{"name":"s","port":1,"weight":2}],"sessionPersistence":{"type":"Header","sessionName":"s"}}]}`,
		`{"parentRefs":[{"name":"g"},{"name":"g"}],"rules":[{"matches":[{"method":{}},{"method":{"service":"a/b","method":"c-d"}},{"method":{"method":""}}],"filters":[{"type":"ExtensionRef"},{"type":"RequestRedirect"}]},{"name":"r"},{"name":"r"}]}`,
		`{"parentRefs":[{"name":"g"}],"rules":[{"matches":[{"method":{"type":"Exact","method":"1x"}},{"method":{"service":".a._b"}}],"filters":[{"type":"ResponseHeaderModifier"},{"type":"RequestHeaderModifier","requestHeaderModifier":{}},{"type":"RequestHeaderModifier","requestHeaderModifier":{}}],"backendRefs":[{"name":"s"}]}]}`,
	},
	"TLSRoute": {
		`{"parentRefs":[{"name":"g","sectionName":"tls"}],"hostnames":["a.test","*.b.test"],"rules":[{"name":"r","backendRefs":[{"name":"s","port":443,"weight":3},{"group":"weir.dev","kind":"Backend","name":"b"}]}]}`,
		`{"parentRefs":[{"name":"g"}],"hostnames":["10.0.0.1","*"],"rules":[{"backendRefs":[{"name":"s"}]}]}`,
		`{"parentRefs":[{"name":"g"},{"name":"g"}],"rules":[{"backendRefs":[]}]}`,
	},
	"TCPRoute": {
		`{"parentRefs":[{"name":"g","port":5432}],"rules":[{"name":"r","backendRefs":[{"name":"s","port":5432,"weight":0}]}]}`,
		`{"parentRefs":[{"name":"g"},{"name":"g","sectionName":"a"}],"rules":[{"backendRefs":[{"name":"s"}]}]}`, `{"parentRefs":[{"name":"g"}],"rules":[{"backendRefs":[{"name":"s","port":1}]},{"backendRefs":[{"name":"s","port":1}]}]}`,
	},
	"UDPRoute": {
		`{"parentRefs":[{"name":"g","port":53}],"rules":[{"backendRefs":[{"group":"weir.dev","kind":"Backend","name":"dns"}]}]}`,
		`{"parentRefs":[{"name":"g"}],"rules":[{"backendRefs":[{"name":"s"}]}],"useDefaultGateways":"All"}`,
	},
	"BackendTLSPolicy": {
		`{"targetRefs":[{"group":"","kind":"Service","name":"s","sectionName":"p"}],"validation":{"hostname":"a.test","wellKnownCACertificates":"System","subjectAltNames":[{"type":"URI","uri":"spiffe://a/b"},{"type":"Hostname","hostname":"*.b.test"}]},"options":{"a.test/o":"v"}}`,
		`{"targetRefs":[{"group":"","kind":"Service","name":"s"},{"group":"","kind":"Service","name":"s"}],"validation":{"hostname":"a.test","caCertificateRefs":[{"group":"","kind":"ConfigMap","name":"c"}]}}`,
		`{"targetRefs":[{"group":"","kind":"Service","name":"s"}],"validation":{"hostname":"a.test","wellKnownCACertificates":"System","caCertificateRefs":[{"group":"","kind":"ConfigMap","name":"c"}],"subjectAltNames":[{"type":"URI","hostname":"a.test"}]}}`,
	},
	"Backend": {
		`{"endpoints":[{"address":"10.0.3.7","port":9001,"weight":1,"zone":"z","priority":0,"labels":{"cost":"0.20"}},{"address":"::1","port":1}],"protocol":"HTTP"}`,
		`{"dns":{"hostname":"a.test","port":80},"protocol":"GRPC","proxyProtocol":"V2"}`,
		`{"dns":{"hostname":"a.test","port":80},"endpoints":[{"address":"a.test","port":0}]}`, `{}`,
		`{"endpoints":[{"address":"10.0.0.1","port":1}],"tls":{"validation":{"hostname":"a.test","caCertificateRefs":[{"group":"","kind":"ConfigMap","name":"c"}]},"clientCertificateRef":{"name":"i"}}}`,
	},
	"TrafficPolicy": {
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r","sectionName":"s"}],"timeouts":{"request":"2s","perTry":"700ms","idle":"60s"}}`,
		`{"targetRefs":[{"group":"weir.dev","kind":"Backend","name":"b"}],"timeouts":{"connect":"1s","keepAlive":"1m"},"loadBalancing":{"algorithm":"PeakEWMA"}}`,
		`{"targetRefs":[{"group":"weir.dev","kind":"Backend","name":"b"}],"loadBalancing":{"algorithm":"RingHash","slowStart":"30s","zoneAware":true,"panicThreshold":"33.3%","boundedLoad":"1.25"}}`,
		`{"targetRefs":[{"group":"weir.dev","kind":"Backend","name":"b"}],"healthCheck":{"http":{"path":"/healthz?a=b","expect":["200-299",404],"hostname":"a.test"},"interval":"5s","timeout":"1s","healthyAfter":2,"unhealthyAfter":3}}`,
		`{"targetRefs":[{"group":"","kind":"Service","name":"s"}],"healthCheck":{"grpc":{"service":"a.B"},"tcp":{},"interval":"0s","timeout":"0s","healthyAfter":0}}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r"}],"healthCheck":{"http":{"path":"a b","expect":[100,"2xx"]},"interval":"99ms"}}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r"}],"hashOn":[{"header":"X-User"},{"cookie":"sid"},{"query":"u"},{"clientIP":{"ipv6Prefix":64}},{"clientIP":{}},{"identity":{}},{"expression":"request.path"}]}`,
		`{"targetRefs":[{"group":"","kind":"Service","name":"s"}],"hashOn":[{"header":"a","query":"b"},{},{"identity":{},"expression":"identity"},{"expression":""}],"loadBalancing":{"panicThreshold":"100.5%","boundedLoad":"0.5"}}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"g"}],"client":{"headTimeout":"10s","bodyTimeout":"20s","keepAlive":"75s","maxConnections":10,"maxHead":"64Ki","underscoreHeaders":"Reject","pathEscapes":"Keep","flagHeaders":true,"trust":{"hops":1,"addresses":["10.0.0.0/8","::/0"]}}}`,
		`{"targetRefs":[{"group":"","kind":"Service","name":"s"},{"group":"","kind":"Service","name":"s"}],"client":{"maxHead":1024,"trust":{"addresses":["10.0.0.0"]}}}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"g"}],"client":{"http3":true,"proxyProtocol":true,"trust":{"addresses":["10.0.0.0/8"]}}}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"g"}],"client":{"proxyProtocol":true,"trust":{"hops":1}}}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r"}],"retries":{"attempts":2,"idempotencyHeader":"idempotency-key","bodyReplay":"64Ki","budget":{"percent":"20%","minPerSecond":3},"hedge":{"afterQuantile":"p95","max":1},"nested":false}}`,
		`{"targetRefs":[{"group":"weir.dev","kind":"Backend","name":"b"}],"retries":{"budget":{"percent":"12.5%"}}}`,
		`{"targetRefs":[{"group":"weir.dev","kind":"Backend","name":"b"}],"retries":{"attempts":1,"bodyReplay":2097152,"budget":{},"hedge":{"after":"30ms","afterQuantile":"p49"}}}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r"}],"overload":{"concurrency":{"limit":200},"priority":[{"when":"request.path == \"/\"","class":"Sheddable"},{"class":"Critical"}],"queue":{"size":100,"timeout":"50ms","order":"LIFO","fairBy":[{"header":"x-tenant"}]},"throttle":{"acceptRatio":"2.0","window":"30s"},"degrade":[{"at":"80%","shed":"Sheddable"},{"at":"95%","serveStale":{"maxAge":"60s"},"noRetries":true,"timeouts":{"request":"1s"},"answer":{"status":503,"headers":[{"name":"a","value":"b c"}],"body":"x"}}],"mode":"Observe"}}`,
		`{"targetRefs":[{"group":"","kind":"Service","name":"s"}],"overload":{"concurrency":{"limit":1,"adaptive":{"algorithm":"Gradient","min":1,"max":2}},"queue":{"timeout":"0s","order":"Random"},"throttle":{"acceptRatio":"1.00","window":"0s"},"degrade":[{"at":"0%","timeouts":{"perTry":"0s"}},{"at":"50%"},{"at":"50%","answer":{"status":99,"headers":[{"name":"a","value":"b\nc"}]}},{"at":"1%","serveStale":{"maxAge":"25h"}}]}}`,
		`{"targetRefs":[{"group":"weir.dev","kind":"Backend","name":"b"}],"circuitBreaker":{"maxConnections":1024,"maxPending":0,"maxRequests":1,"maxRetries":16,"trip":{"failures":"50%","of":20,"openFor":"5s","probes":3},"mode":"Disabled"},"outlierDetection":{"consecutive5xx":5,"consecutiveLocal":0,"failureShare":"30%","successRateDeviation":"1.9","slowerThanMedian":"3.0","interval":"10s","minRequests":50,"baseEjectionTime":"30s","maxEjectionTime":"5m","maxEjected":"50%","maxEjectedHosts":3,"mode":"Enforce"},"calls":[{"backendRef":{"name":"payments","port":80}}]}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r"}],"circuitBreaker":{"trip":{"failures":"0.00%","of":4,"probes":0},"mode":"On"},"outlierDetection":{"slowerThanMedian":"1","successRateDeviation":"-1","interval":"1ms","baseEjectionTime":"0s"},"calls":[{"backendRef":{"name":"payments"}}]}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"g"}],"client":{"trust":{"identities":["spiffe://prod/ns/shop/sa/cart"]}},"overrides":{"retries":{"budget":{"percent":"20%"}},"client":{"maxConnections":5},"circuitBreaker":{"maxRequests":9}},"require":[{"rule":"policy.retries.attempts <= 3","message":"at most 3"}]}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"g","sectionName":"l"}],"client":{"trust":{"identities":["spiffe://prod"]}},"overrides":{},"require":[{"rule":"","message":"at most 3"}]}`,
		`{"targetRefs":[],"timeouts":{}}`, `{"targetRefs":[{"group":"","kind":"Service","name":"s"}],"timeouts":{"request":"2s","perTry":"3s"},"client":{"trust":{}}}`,
	},
	"Rollout": {
		`{"targetRef":{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r","sectionName":"s"},"stable":{"group":"weir.dev","kind":"Backend","name":"a"},"canary":{"name":"b","port":80},"revision":"v2","strategy":"Canary","sampling":{"unit":"User","key":[{"cookie":"uid"},{"header":"x"}],"fallback":"Cookie","salt":"s"},"cohorts":[{"name":"staff","when":"true"}],"stages":[{"share":"1%","for":"2m"},{"share":"100%"}],"guard":{"errors":{"maxDifference":"1%","confidence":"99.9%"},"latency":{"quantile":"p99","maxRatio":"1.5","confidence":"99.999%"},"consecutiveFailures":5},"minimumRequests":500}`,
		`{"targetRef":{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r","sectionName":"s"},"stable":{"group":"weir.dev","kind":"Backend","name":"a"},"canary":{"name":"b","port":80},"strategy":"BlueGreen","gates":[{"name":"a","slo":{"name":"o"}},{"name":"b","promql":{"query":"up","min":"-0.9","max":"3","address":"http://a"}},{"name":"c","webhook":{"url":"https://a/b","timeout":"3s"}},{"name":"d","approval":{"from":["team:a","user:b@c.test"]}}]}`,
		`{"targetRef":{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r","sectionName":"s"},"stable":{"group":"weir.dev","kind":"Backend","name":"a"},"canary":{"name":"b","port":80},"strategy":"BlueGreen","stages":[{"share":"100%"}],"sampling":{"unit":"Request","key":[{"cookie":"uid"}]},"cohorts":[{"name":"a","when":"true"},{"name":"a","when":"true"}]}`,
		`{"targetRef":{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r","sectionName":"s"},"stable":{"name":"b","port":80},"canary":{"name":"b","port":80},"stages":[{"share":"0.00%"}],"sampling":{"fallback":"Stable"},"guard":{},"gates":[{"name":"a"},{"name":"B","slo":{"name":"o"},"approval":{"from":["a"]}},{"name":"c","promql":{"query":"up"}},{"name":"d","webhook":{"url":"https://a/b","timeout":"0s"}}]}`,
		`{"targetRef":{"group":"","kind":"Service","name":"r"},"stable":{"group":"weir.dev","kind":"Backend","name":"a"},"canary":{"name":"b","port":80},"stages":[{"share":"101%"}],"guard":{"errors":{"confidence":"100%"},"latency":{"maxRatio":"0.5","quantile":"p100"}},"minimumRequests":0}`,
	},
	"Shadow": {
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r","sectionName":"s"}],"backendRef":{"name":"b","port":80},"share":"10%"}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r","sectionName":"s"}],"backendRef":{"group":"weir.dev","kind":"Backend","name":"b"},"share":"0.01%","methods":["GET","HEAD"],"compare":{"status":true,"headers":["etag"],"body":"JSON","ignore":["$.a.b[*].c"],"latency":true,"baseline":true},"limits":{"inflight":10,"body":"64Ki"}}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r","sectionName":"s"}],"backendRef":{"name":"b"},"share":"0%","methods":["GET","POST","GET"],"compare":{"body":"Bytes","ignore":["a"],"baseline":true},"limits":{"inflight":0,"body":"2Mi"}}`,
		`{"targetRefs":[{"group":"","kind":"Service","name":"s"},{"group":"","kind":"Service","name":"s"}],"backendRef":{"name":"b","port":80},"share":"1%","limits":{}}`,
	},
	"FaultPolicy": {
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r","sectionName":"s"}],"expires":"2026-12-01T10:00:00Z","reason":"drill","faults":[{"name":"a","share":"5%","when":"true","delay":{"fixed":"300ms"}},{"name":"b","share":"5%","abort":{"status":503}},{"name":"c","share":"100%","abort":{"grpc":"UNAVAILABLE"}},{"name":"d","share":"1%","reset":{}},{"name":"e","share":"1%","throttle":{"bytesPerSecond":"64Ki"}}]}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r","sectionName":"s"}],"expires":"2026-12-01","reason":"","faults":[{"name":"a","share":"0%","delay":{"fixed":"0s"}},{"name":"a","share":"5%","abort":{}},{"name":"c","share":"5%","abort":{"status":99,"grpc":"OK"}}]}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r","sectionName":"s"}],"expires":"2026-12-01T10:00:00Z","reason":"drill","faults":[{"name":"a","share":"5%"},{"name":"b","share":"5%","delay":{"fixed":"0ms"},"reset":{}},{"name":"c","share":"1%","throttle":{"bytesPerSecond":0}}]}`,
	},
	"ServiceLevelObjective": {
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r","sectionName":"s"}],"indicator":{"availability":{}},"objective":"99.9%","window":"720h","onBurn":{"freezeRollouts":true}}`,
		`{"targetRefs":[{"group":"weir.dev","kind":"Backend","name":"b"},{"group":"","kind":"Service","name":"s","sectionName":"p"}],"indicator":{"latency":{"below":"300ms"}},"objective":"99%"}`,
		`{"targetRefs":[{"group":"weir.dev","kind":"Backend","name":"b"},{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"r"}],"indicator":{"availability":{},"latency":{"below":"0s"}},"objective":"0.0%"}`,
		`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"g"}],"indicator":{},"objective":"100%","onBurn":{}}`,
	},
}

// Our verdicts on schema and CEL rules are those of a cluster, for every kind with a CRD, but
// for parts of schemas that we leave to its own validator.
func TestVerdictsAgree(t *testing.T) {
	for _, k := range kinds {
		c, err := k.schema.compile()
		if err != nil {
			t.Fatal(err)
		}
		if c.structural == nil {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			draw := someRoute
			if k.name != "HTTPRoute" {
				draw = func(t *rapid.T) string { return rapid.SampledFrom(specs[k.name]).Draw(t, "spec") }
			}
			verdictsAgree(t, k, c, draw)
		})
	}
}

func verdictsAgree(t *testing.T, k *kind, c *compiled, draw func(*rapid.T) string) {
	counts := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		text := fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":"a"},"spec":%s}`, apiVersion(k.group, k.versions[0]), k.name, draw(t))
		var object map[string]any
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			t.Fatal(err)
		}
		object = integers(object).(map[string]any)
		for range rapid.IntRange(0, 2).Draw(t, "spoilt") {
			spoil(t, object["spec"])
		}
		ours := c.validate(context.Background(), object) // with defaults filled in

		schema := validation.ValidateCustomResource(nil, object, c.validator)
		held := c.bounds.hold(object)
		if held && len(schema) > 0 {
			t.Fatalf("bounds hold, a cluster says %v", schema)
		}
		if !held && len(schema) == 0 {
			counts["unsure"]++ // which costs time, not truth
		}
		if len(schema) > 0 {
			counts["schema"]++
		}
		if blocking(schema) {
			return
		}
		violated, _ := c.reasons().Validate(context.Background(), nil, c.structural, object, nil, celconfig.RuntimeCELCostBudget)
		if got := c.rules.hold(object); got != (len(violated) == 0) {
			t.Fatalf("rules hold: %t, a cluster says %v", got, violated)
		}
		if len(violated) > 0 {
			counts["rules"]++
		}
		if len(ours) == 0 {
			counts["right"]++
		}
	})
	if counts["right"] == 0 || counts["schema"] == 0 || counts["rules"] == 0 && c.rules != nil {
		t.Errorf("not all cases were tried: %v", counts)
	}
	if unsure := slices.Contains(unsureKinds, k.name); (counts["unsure"] > 0) && !unsure {
		t.Errorf("what is right is left to a cluster's validator %d times", counts["unsure"])
	}
}

// unsureKinds have fields that bounds leave to a cluster's validator: the addresses of one,
// sizes and dates in the others.
var unsureKinds = []string{"Gateway", "TrafficPolicy", "Shadow", "FaultPolicy"}

// spoil replaces one value somewhere in v.
func spoil(t *rapid.T, v any) {
	for {
		var (
			keys   []string
			at     func(key string) any
			change func(key string, v any)
		)
		switch v := v.(type) {
		case map[string]any:
			keys = slices.Sorted(maps.Keys(v))
			at, change = func(key string) any { return v[key] }, func(key string, x any) { v[key] = x }
		case []any:
			for i := range v {
				keys = append(keys, strconv.Itoa(i))
			}
			index := func(key string) int { i, _ := strconv.Atoi(key); return i }
			at, change = func(key string) any { return v[index(key)] }, func(key string, x any) { v[index(key)] = x }
		}
		if len(keys) == 0 {
			return
		}
		key := rapid.SampledFrom(keys).Draw(t, "key")
		switch at(key).(type) {
		case map[string]any, []any:
			if rapid.IntRange(0, 5).Draw(t, "deeper") > 0 {
				v = at(key)
				continue
			}
		}
		change(key, rapid.SampledFrom([]any{
			nil, "", "x", "UPPER_case", "é", strings.Repeat("a", 5000), int64(-1), int64(0), int64(70000), int64(1) << 40, 1.5, true,
			[]any{},
			map[string]any{},
			slices.Repeat([]any{"a"}, 70),
			[]any{nil},
		}).Draw(t, "value"))
		return
	}
}

// integers makes int64 of the float64 of encoding/json.
func integers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = integers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = integers(e)
		}
	case float64:
		return int64(v)
	}
	return v
}

// Every kind's rules compile in our environment, and none stands where our walk does not
// come: below allOf and its like.
func TestRulesAreAllFound(t *testing.T) {
	for _, k := range kinds {
		c, err := k.schema.compile()
		if err != nil {
			t.Fatal(err)
		}
		if c.structural == nil {
			continue
		}
		want := 0
		entries, _ := crds.ReadDir("crds")
		for _, e := range entries {
			data, _ := crds.ReadFile("crds/" + e.Name())
			var crd apiextensionsv1.CustomResourceDefinition
			if err := json.Unmarshal(data, &crd); err != nil {
				t.Fatal(err)
			}
			if crd.Spec.Names.Kind == k.name {
				schema, _ := json.Marshal(crd.Spec.Versions[0].Schema)
				want = strings.Count(string(schema), `"rule":"`) - strings.Count(string(schema), "oldSelf")
			}
		}
		if got := c.rules.count(); got != want {
			t.Errorf("%s: %d rules are compiled, the CRD has %d", k.name, got, want)
		}
	}
}

func (r *rules) count() int {
	if r == nil {
		return 0
	}
	n := len(r.programs) + r.items.count()
	for _, f := range r.fields {
		n += f.count()
	}
	return n
}

func BenchmarkCompile(b *testing.B) {
	for _, file := range []string{
		"gateway.networking.k8s.io_gatewayclasses.json", "gateway.networking.k8s.io_gateways.json", "gateway.networking.k8s.io_httproutes.json",
		"gateway.networking.k8s.io_referencegrants.json", "gateway.networking.k8s.io_backendtlspolicies.json", "weir.dev_backends.json", "weir.dev_trafficpolicies.json",
	} {
		b.Run(file, func(b *testing.B) {
			for b.Loop() {
				if _, err := compileCRD(file); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
