package resource

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource/v1alpha1"
)

// route returns an HTTPRoute that is valid but for what is put into its rule.
func route(name, rule string) string {
	return `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ` + name + `, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
  - name: main
` + rule
}

func policy(spec string) string {
	return "apiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: p}\nspec:\n" + spec
}

func TestDecodeDiagnostics(t *testing.T) {
	const onRoute = "HTTPRoute shop/cart: spec.rules[0]"
	for name, tt := range map[string]struct {
		file string
		want []string
	}{
		"unknown field": {
			route("cart", "    matchs: []\n"),
			[]string{`f.yaml:8:5: ` + onRoute + `.matchs: unknown field; did you mean "matches"?`},
		},
		"unknown field far from any": {
			route("cart", "    timeouts: {xyzzy: 1s}\n"),
			[]string{`f.yaml:8:16: ` + onRoute + `.timeouts.xyzzy: unknown field; expected "backendRequest" or "request"`},
		},
		"every problem at once": {
			route("cart", "    matches: [{path: {type: Prefixx, value: /}}]\n    timeouts: {request: 2d}\n    backendRefs: [{name: a, port: \"80\"}, {name: b, port: 80, weight: 10000000}]\n    foo: 1\n"),
			[]string{
				`f.yaml:8:23: ` + onRoute + `.matches[0].path.type: unsupported value "Prefixx"; supported values: "Exact", "PathPrefix", "RegularExpression"`,
				`f.yaml:9:16: ` + onRoute + `.timeouts.request: "2d": expected a duration such as 700ms, 1m30s or 720h`,
				`f.yaml:10:29: ` + onRoute + `.backendRefs[0].port: expected an integer, got a string`,
				`f.yaml:10:62: ` + onRoute + `.backendRefs[1].weight: should be less than or equal to 1000000`,
				`f.yaml:11:5: ` + onRoute + `.foo: unknown field; expected "backendRefs", "filters", "matches", "name", "retry", "sessionPersistence" or "timeouts"`,
			},
		},
		"CEL rules": {
			route("cart", "    matches: [{path: {type: Exact, value: cart}}]\n    backendRefs:\n    - name: a\n"),
			[]string{
				`f.yaml:8:16: ` + onRoute + `.matches[0].path: value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']`,
				`f.yaml:10:7: ` + onRoute + `.backendRefs[0]: must have a port, as it refers to a Service; for a Backend add group: weir.dev, kind: Backend`,
			},
		},
		"duplicate key": {
			route("cart", "    timeouts: {request: 1s, request: 2s}\n"),
			[]string{`f.yaml:8:29: ` + onRoute + `.timeouts.request: duplicate key`},
		},
		"YAML 1.1 booleans where strings are meant": {
			route("cart", "    matches: [{headers: [{name: x-flag, value: on}, {name: x-a, value: yes}]}]\n"),
			[]string{
				`f.yaml:8:41: ` + onRoute + `.matches[0].headers[0].value: expected a string, got on, which YAML takes for a boolean; quote it: "on"`,
				`f.yaml:8:65: ` + onRoute + `.matches[0].headers[1].value: expected a string, got yes, which YAML takes for a boolean; quote it: "yes"`,
			},
		},
		"number where a string is meant": {
			route("cart", "    matches: [{headers: [{name: x-flag, value: 12}]}]\n"),
			[]string{`f.yaml:8:41: ` + onRoute + `.matches[0].headers[0].value: expected a string, got the number 12; quote it if a string is meant`},
		},
		"number where a duration is meant": {
			route("cart", "    timeouts: {request: 5, backendRequest: yes}\n"),
			[]string{
				`f.yaml:8:16: ` + onRoute + `.timeouts.request: expected a duration such as "5s", got the number 5`,
				`f.yaml:8:28: ` + onRoute + `.timeouts.backendRequest: expected a duration such as "5s", got the boolean true`,
			},
		},
		"boolean where a quantity is meant": {
			policy("  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]\n  client: {maxHead: on}\n"),
			[]string{`f.yaml:6:12: TrafficPolicy default/p: spec.client.maxHead: expected a quantity such as "64Ki", got the boolean true`},
		},
		"number of more than 32 bits": {
			route("cart", "    backendRefs: [{name: a, port: 80, weight: 9999999999}, {name: b, port: 99999999999999999999}]\n"),
			[]string{
				`f.yaml:8:39: ` + onRoute + `.backendRefs[0].weight: expected an integer between 0 and 1000000, got 9999999999`,
				`f.yaml:8:70: ` + onRoute + `.backendRefs[1].port: expected an integer, got the number 1e+20`,
			},
		},
		"a comma too many in JSON": {
			"{\"apiVersion\":\"v1\", }\n",
			[]string{`f.yaml:1:21: not valid JSON: no value follows the comma before '}'`},
		},
		"a comma missing in JSON": {
			"{\"apiVersion\":\"v1\",\n \"kind\":\"Namespace\"\n \"metadata\": {\"name\": \"a\"}}\n",
			[]string{`f.yaml:3:2: not valid JSON: invalid character '"' after object key:value pair`},
		},
		"YAML in braces": {"{\"apiVersion\": v1, kind: Namespace, metadata: {name: a,},}\n", nil},
		"name that is not one": {
			strings.Replace(route("Cart_1", ""), "  - name: main\n", "  - {}\n", 1),
			[]string{`f.yaml:3:12: HTTPRoute shop/Cart_1: metadata.name: "Cart_1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`},
		},
		"no name":          {"apiVersion: v1\nkind: Namespace\nmetadata: {}\n", []string{`f.yaml:3:1: metadata.name: required: this Namespace has no name`}},
		"boolean for name": {"apiVersion: v1\nkind: Namespace\nmetadata: {name: y}\n", []string{`f.yaml:3:12: metadata.name: expected a string; quote it: "y"`}},
		"no kind":          {"apiVersion: v1\n", []string{`f.yaml:1:1: kind: required: a string such as HTTPRoute`}},
		"no apiVersion":    {"kind: Gateway\n", []string{`f.yaml:1:1: apiVersion: required: a string such as gateway.networking.k8s.io/v1`}},
		"no object":        {"- a\n", []string{`f.yaml:1:1: expected an object with apiVersion and kind`}},
		"namespace on a cluster-scoped kind": {
			"apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n",
			[]string{`f.yaml:3:21: Namespace a: metadata.namespace: not allowed on this type`},
		},
		"version": {"apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: HTTPRoute\n", []string{
			`f.yaml:1:1: apiVersion: unknown version "gateway.networking.k8s.io/v1alpha2" of HTTPRoute; expected "gateway.networking.k8s.io/v1"`,
			`f.yaml:1:1: metadata.name: required: this HTTPRoute has no name`,
		}},
		"kind misspelt":                   {"apiVersion: gateway.networking.k8s.io/v1\nkind: HttpRuote\n", []string{`f.yaml:2:1: kind: unknown kind "HttpRuote" of gateway.networking.k8s.io; did you mean "HTTPRoute"?`}},
		"planned kind":                    {"apiVersion: weir.dev/v1alpha1\nkind: EdgeFunction\nmetadata: {name: a}\n", []string{`f.yaml:2:1: warning: kind: EdgeFunction is not supported by this version; it has no effect`}},
		"restriction":                     {"apiVersion: weir.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: a}\nspec: {targetRefs: [{group: '', kind: Service, name: a}], rules: [{anything: 1}], ip: {}}\n", nil},
		"restriction without a target":    {"apiVersion: weir.dev/v1alpha1\nkind: RouteCondition\nmetadata: {name: a}\nspec: {when: 'true'}\n", []string{`f.yaml:4:1: RouteCondition default/a: spec.targetRefs: required: what the policy is attached to`}},
		"restriction with a wrong target": {"apiVersion: weir.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {name: a}\nspec: {targetRefs: [{kind: HTTPRoute, nam: a}]}\n", []string{`f.yaml:4:39: RateLimitPolicy default/a: spec.targetRefs[0].nam: unknown field; did you mean "name"?`}},
		"foreign kind":                    {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", []string{`f.yaml:2:1: warning: kind: Deployment of apps/v1 is not for Weir: it is ignored`}},
		"drill":                           {"apiVersion: weir.dev/v1alpha1\nkind: Drill\n", nil},
		"syntax":                          {"apiVersion: v1\nkind: Namespace\n metadata: {}\n", []string{`f.yaml:3:2: mapping values are not allowed in this context`}},
		"syntax further":                  {route("cart", "") + "---\na: 'b\n", []string{`f.yaml:9:1: found unexpected end of stream`}},
		"tab":                             {"apiVersion: v1\nkind: Namespace\nmetadata:\n\tname: a\n", []string{`f.yaml:4:2: found character that cannot start any token; indent with spaces, not tabs`}},
		"not UTF-8":                       {"a: b\nc: é\xff\n", []string{`f.yaml:2:5: not UTF-8`}},
		"unsupported tag":                 {"apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {b: !x c}}\n", []string{`f.yaml:3:33: Namespace a: metadata.labels.b: tag !x is not supported`}},
		"infinite number":                 {"apiVersion: v1\nkind: Namespace\nmetadata: {name: a, generation: .inf}\n", []string{`f.yaml:3:33: Namespace a: metadata.generation: .inf is not a number that JSON has`}},
		"planned field": {policy("  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]\n  overload: {queue: {fairBy: [{jwtClaim: sub}]}}\n"), []string{
			`f.yaml:6:31: TrafficPolicy default/p: spec.overload.queue.fairBy[0]: exactly one of the fields in [header cookie query clientIP identity expression] must be set`,
			`f.yaml:6:32: TrafficPolicy default/p: spec.overload.queue.fairBy[0].jwtClaim: not supported by this version yet: it comes with AccessPolicy, which verifies claims; until then use identity, a header or an expression`,
		}},
		"tries that never start": {
			policy("  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}]\n  timeouts: {request: 2s, perTry: 700ms}\n  retries: {attempts: 5}\n"),
			[]string{`f.yaml:7:13: TrafficPolicy default/p: spec.retries.attempts: the last can never start when each before it takes all of its time: 5 tries × 700ms + backoff = 3.5s or more before the 6th, request is 2s`},
		},
		"the last try is cut short, which is fine": {
			policy("  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}]\n  timeouts: {request: 2s, perTry: 700ms}\n  retries: {attempts: 2}\n"), nil,
		},
		"a policy against itself": {
			policy("  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]\n  overrides:\n    timeouts: {request: 1s, perTry: 1001ms}\n" +
				"    outlierDetection: {baseEjectionTime: 2m, maxEjectionTime: 1m}\n    retries: {attempts: 1, backoff: {base: 1s, max: 500ms}}\n" +
				"  retries: {attempts: 1, budget: {percent: 0.0%, minPerSecond: 0}}\n  overload:\n    concurrency: {adaptive: {min: 5, max: 4}}\n    degrade: [{at: 1%, timeouts: {request: 1s, perTry: 2s}}]\n"),
			[]string{
				`f.yaml:7:29: TrafficPolicy default/p: spec.overrides.timeouts.perTry: 1.001s is more than timeouts.request has for all tries, 1s`,
				`f.yaml:8:46: TrafficPolicy default/p: spec.overrides.outlierDetection.maxEjectionTime: 1m is less than baseEjectionTime, 2m`,
				`f.yaml:10:26: TrafficPolicy default/p: spec.retries.budget: 0.0% of first tries and 0 a second allow none of the 1 attempts`,
				`f.yaml:12:38: TrafficPolicy default/p: spec.overload.concurrency.adaptive.max: 4 is less than min, 5`,
				`f.yaml:13:48: TrafficPolicy default/p: spec.overload.degrade[0].timeouts.perTry: 2s is more than request has for all tries, 1s`,
			},
		},
		"protections out of bounds": {
			policy("  targetRefs: [{group: weir.dev, kind: Backend, name: a}]\n  circuitBreaker: {trip: {failures: 0%, of: 4}, mode: Off}\n" +
				"  outlierDetection: {successRateDeviation: -1}\n  retries: {hedge: {afterQuantile: p3}}\n"),
			[]string{
				`f.yaml:6:41: TrafficPolicy default/p: spec.circuitBreaker.trip.of: should be greater than or equal to 5`,
				`f.yaml:6:49: TrafficPolicy default/p: spec.circuitBreaker.mode: expected a string, got Off, which YAML takes for a boolean; quote it: "Off"`,
				`f.yaml:7:22: TrafficPolicy default/p: spec.outlierDetection.successRateDeviation: expected a decimal in quotes such as "1.9", or "0" for no bound, got the number -1`,
				`f.yaml:8:21: TrafficPolicy default/p: spec.retries.hedge.afterQuantile: "p3": expected a quantile from "p50" to "p99.9"`,
			},
		},
		"protections that say the wrong thing": {
			policy("  targetRefs: [{group: weir.dev, kind: Backend, name: a}]\n  circuitBreaker: {trip: {failures: 0%}}\n" +
				"  outlierDetection: {slowerThanMedian: \"1.0\", interval: 50ms}\n  retries: {attempts: 1}\n  calls: [{backendRef: {name: s}}]\n  overrides: {timeouts: {request: 1s}}\n"),
			[]string{
				`f.yaml:6:27: TrafficPolicy default/p: spec.circuitBreaker.trip.failures: "0%": must be above 0%; openFor: 0s is how a breaker never opens`,
				`f.yaml:7:22: TrafficPolicy default/p: spec.outlierDetection.slowerThanMedian: "1.0": must be above 1, or 0 for any number`,
				`f.yaml:7:47: TrafficPolicy default/p: spec.outlierDetection.interval: "50ms": must be at least 100ms`,
				`f.yaml:8:3: TrafficPolicy default/p: spec.retries: is for requests, all but budget: target a Gateway, ListenerSet or route`,
				`f.yaml:9:12: TrafficPolicy default/p: spec.calls[0].backendRef: must have a port, as it refers to a Service; for a Backend add group: weir.dev, kind: Backend`,
				`f.yaml:10:3: TrafficPolicy default/p: spec.overrides: are the organisation's: target a Gateway or GatewayClass as a whole`,
			},
		},
		"PROXY protocol of nobody": {
			policy("  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]\n  client: {proxyProtocol: true, trust: {hops: 1}}\n"),
			[]string{`f.yaml:6:12: TrafficPolicy default/p: spec.client.proxyProtocol: needs trust.addresses: without them nobody could be trusted to say whose a connection is`},
		},
		"stream route of an older version with two rules": {
			"apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: TCPRoute\nmetadata: {name: a}\nspec:\n  rules: [{backendRefs: [{name: b, port: 1}]}, {backendRefs: [{name: c, port: 1}]}]\n",
			[]string{`f.yaml:5:3: TCPRoute default/a: spec.rules: must have at most 1 item`},
		},
		"keys": {
			policy("  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]\n  hashOn: [{header: a, cookie: b}, {jwtClaim: sub}, {clientIP: {ipv6Prefix: 0}}, {}, {identity: {}, expression: identity}, {expression: ''}]\n"),
			[]string{
				`f.yaml:6:12: TrafficPolicy default/p: spec.hashOn[0]: exactly one of the fields in [header cookie query clientIP identity expression] must be set`,
				`f.yaml:6:36: TrafficPolicy default/p: spec.hashOn[1]: exactly one of the fields in [header cookie query clientIP identity expression] must be set`,
				`f.yaml:6:37: TrafficPolicy default/p: spec.hashOn[1].jwtClaim: not supported by this version yet: it comes with AccessPolicy, which verifies claims; until then use identity, a header or an expression`,
				`f.yaml:6:65: TrafficPolicy default/p: spec.hashOn[2].clientIP.ipv6Prefix: should be greater than or equal to 1`,
				`f.yaml:6:82: TrafficPolicy default/p: spec.hashOn[3]: exactly one of the fields in [header cookie query clientIP identity expression] must be set`,
				`f.yaml:6:86: TrafficPolicy default/p: spec.hashOn[4]: exactly one of the fields in [header cookie query clientIP identity expression] must be set`,
				`f.yaml:6:125: TrafficPolicy default/p: spec.hashOn[5].expression: "": should be at least 1 chars long`,
			},
		},
		"keys of another form": {
			policy("  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]\n  hashOn: [{identity: {spiffe: a}}, {identity: true}, {identity: {}}]\n"),
			[]string{
				`f.yaml:6:24: TrafficPolicy default/p: spec.hashOn[0].identity.spiffe: unknown field`,
				`f.yaml:6:38: TrafficPolicy default/p: spec.hashOn[1].identity: expected an object, got the boolean true`,
			},
		},
		"health checks": {
			policy("  targetRefs: [{group: '', kind: Service, name: a}]\n  healthCheck: {http: {path: healthz, expect: [99, \"200-\", 2xx, \"600\"]}, tcp: {}, interval: 50ms, timeout: 0s, healthyAfter: 0}\n"),
			[]string{
				`f.yaml:6:3: TrafficPolicy default/p: spec.healthCheck: exactly one of the fields in [http grpc tcp] must be set`,
				`f.yaml:6:24: TrafficPolicy default/p: spec.healthCheck.http.path: "healthz": expected a path that begins with /, without spaces, #, or letters that are not ASCII`,
				`f.yaml:6:48: TrafficPolicy default/p: spec.healthCheck.http.expect[0]: must be a status from 200 to 599`,
				`f.yaml:6:52: TrafficPolicy default/p: spec.healthCheck.http.expect[1]: "200-": expected a status from 200 to 599, or a range of them such as "200-299"`,
				`f.yaml:6:60: TrafficPolicy default/p: spec.healthCheck.http.expect[2]: "2xx": expected a status from 200 to 599, or a range of them such as "200-299"`,
				`f.yaml:6:65: TrafficPolicy default/p: spec.healthCheck.http.expect[3]: "600": expected a status from 200 to 599, or a range of them such as "200-299"`,
				`f.yaml:6:83: TrafficPolicy default/p: spec.healthCheck.interval: "50ms": must be at least 100ms, or 0s to check no host`,
				`f.yaml:6:99: TrafficPolicy default/p: spec.healthCheck.timeout: "0s": must be above 0s`,
				`f.yaml:6:112: TrafficPolicy default/p: spec.healthCheck.healthyAfter: should be greater than or equal to 1`,
			},
		},
		"health check of nothing":    {policy("  targetRefs: [{group: '', kind: Service, name: a}]\n  healthCheck: {interval: 5s}\n"), []string{`f.yaml:6:3: TrafficPolicy default/p: spec.healthCheck: exactly one of the fields in [http grpc tcp] must be set`}},
		"health check on a route":    {policy("  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}]\n  healthCheck: {tcp: {}}\n"), []string{`f.yaml:6:3: TrafficPolicy default/p: spec.healthCheck: is for backends: target a Backend or Service, or a Gateway for all backends behind it`}},
		"health check that is whole": {policy("  targetRefs: [{group: '', kind: Service, name: a}]\n  healthCheck: {http: {path: \"/healthz?full=1\", expect: [200, \"300-399\"], hostname: a.test}, interval: 1m30s, timeout: 100ms, healthyAfter: 1, unhealthyAfter: 100}\n"), nil},
		"balancing": {
			policy("  targetRefs: [{group: '', kind: Service, name: a}]\n  loadBalancing: {algorithm: Ring, slowStart: 30, panicThreshold: 101%, boundedLoad: 1.25, zoneAware: \"true\"}\n"),
			[]string{
				`f.yaml:6:19: TrafficPolicy default/p: spec.loadBalancing.algorithm: unsupported value "Ring"; supported values: "RoundRobin", "Random", "LeastRequest", "PeakEWMA", "RingHash", "Maglev"`,
				`f.yaml:6:36: TrafficPolicy default/p: spec.loadBalancing.slowStart: expected a duration such as "5s", got the number 30`,
				`f.yaml:6:51: TrafficPolicy default/p: spec.loadBalancing.panicThreshold: "101%": expected a percentage such as "50%", up to "100%"`,
				`f.yaml:6:73: TrafficPolicy default/p: spec.loadBalancing.boundedLoad: expected a decimal in quotes such as "1.25", from "1" on, or "0" for no bound, got the number 1.25`,
				`f.yaml:6:92: TrafficPolicy default/p: spec.loadBalancing.zoneAware: expected a boolean, got a string`,
			},
		},
		"decimals": {
			policy("  targetRefs: [{group: '', kind: Service, name: a}]\n  hashOn: [{clientIP: {}}]\n  loadBalancing: {panicThreshold: \"50\", boundedLoad: \"0.5\"}\n"),
			[]string{
				`f.yaml:6:3: TrafficPolicy default/p: spec.hashOn: is for requests: target a Gateway, ListenerSet or route`,
				`f.yaml:7:19: TrafficPolicy default/p: spec.loadBalancing.panicThreshold: "50": expected a percentage such as "50%", up to "100%"`,
				`f.yaml:7:41: TrafficPolicy default/p: spec.loadBalancing.boundedLoad: "0.5": expected a decimal in quotes such as "1.25", from "1" on, or "0" for no bound`,
			},
		},
		"wrong side": {
			policy("  targetRefs: [{group: '', kind: Service, name: a}]\n  timeouts: {request: 1s, connect: 1s}\n  client: {maxHead: 1}\n"),
			[]string{
				`f.yaml:6:14: TrafficPolicy default/p: spec.timeouts.request: is for requests: target a Gateway, ListenerSet or route`,
				`f.yaml:7:3: TrafficPolicy default/p: spec.client: is for clients: target a Gateway or ListenerSet`,
				`f.yaml:7:12: TrafficPolicy default/p: spec.client.maxHead: must be between 1Ki and 1Mi`,
			},
		},
		"backend": {
			"apiVersion: weir.dev/v1alpha1\nkind: Backend\nmetadata: {name: b}\nspec:\n  endpoints: [{address: localhost, port: 80}, {address: '::1', port: 8080}]\n  dns: {hostname: a.example.com, port: 90}\n",
			[]string{
				`f.yaml:4:1: Backend default/b: spec: exactly one of the fields in [endpoints dns] must be set`,
				`f.yaml:5:16: Backend default/b: spec.endpoints[0].address: "localhost": must be an IPv4 or IPv6 address; use dns for a host name`,
			},
		},
		"service": {
			"apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports: [{port: 80, protocol: TPC}, {port: 99999, name: b}]\n",
			[]string{
				`f.yaml:5:11: Service default/s: spec.ports[0].name: required: several ports need names`,
				`f.yaml:5:22: Service default/s: spec.ports[0].protocol: unsupported value "TPC"; expected TCP, UDP or SCTP`,
				`f.yaml:5:38: Service default/s: spec.ports[1].targetPort: 99999: expected a port between 1 and 65535`,
				`f.yaml:5:39: Service default/s: spec.ports[1].port: 99999: expected a port between 1 and 65535`,
			},
		},
		"a number too large": {
			"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s}\naddressType: IPv4\nendpoints: []\nports: [{port: 99999999999}]\n",
			[]string{`f.yaml:6:10: EndpointSlice default/s: ports[0].port: expected an integer of 32 bits, got 99999999999`},
		},
		"YAML 1.1 boolean for a key": {
			"apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {on: x}}\n",
			[]string{`f.yaml:3:30: Namespace a: metadata.labels: the key on is a boolean or null; quote it: "on"`},
		},
		"nothing in a list": {
			route("cart", "    backendRefs: [~]\n"),
			[]string{`f.yaml:8:19: ` + onRoute + `.backendRefs[0]: expected an object, got nothing`},
		},
		"endpoint slice": {
			"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s}\naddressType: IPv4\nendpoints: [{addresses: ['::1']}]\n",
			[]string{`f.yaml:5:26: EndpointSlice default/s: endpoints[0].addresses[0]: "::1": expected an IPv4 address`},
		},
		"secret": {
			"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: '?hush?'}\n",
			[]string{`f.yaml:4:8: Secret default/s: data.a: expected base64`},
		},
		"secret number": {
			"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {pin: 483911}\n",
			[]string{`f.yaml:4:14: Secret default/s: stringData.pin: expected a string; quote it (the value is not shown)`},
		},
		"secret tag": {
			"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  pin: !hush x\n",
			[]string{`f.yaml:5:8: Secret default/s: stringData.pin: expected a string; quote it (the value is not shown)`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			objects, diagnostics := new(Decoder).Decode("f.yaml", []byte(tt.file))
			var got []string
			for _, d := range diagnostics {
				got = append(got, d.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("diagnostics (-want +got):\n%s", diff)
			}
			for _, o := range objects {
				if (o.Value == nil) != (len(o.Problems) > 0) {
					t.Errorf("%s: value %v with %d problems", o.Key, o.Value, len(o.Problems))
				}
			}
		})
	}
}

func TestDecodeValues(t *testing.T) {
	file := "\ufeff" + strings.ReplaceAll(route("cart", "    matches: [{headers: [{name: a, value: 'on'}]}]\n    backendRefs: [{name: a, port: 80}]\nstatus: {anything: goes}\n")+`---
# nothing
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: s}
  spec: {ports: [{port: 80}]}
- {apiVersion: v1, kind: Secret, metadata: {name: t}, stringData: {a: b}, data: {c: ZA==}}
---
{"apiVersion": "weir.dev/v1alpha1", "kind": "Backend", "metadata": {"name": "b"},
	"spec": {"dns": {"hostname": "b.example.com", "port": 8080.0}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: e}
addressType: IPv6
base: &b {addresses: ['::1']}
endpoints: [*b]
`, "\n", "\r\n")
	file = strings.Replace(file, "base: &b {addresses: ['::1']}\r\nendpoints: [*b]", "endpoints: [&b {addresses: ['::1']}, {<<: *b, zone: z}]", 1)
	objects, diagnostics := new(Decoder).Decode("f.yaml", []byte(file))
	if len(diagnostics) != 0 {
		t.Fatal(diagnostics)
	}
	set := NewSet(objects, nil)
	if set.Len() != 5 {
		t.Fatalf("%d objects", set.Len())
	}
	for o, r := range All[*gatewayv1.HTTPRoute](set) {
		if r.Namespace != "shop" || *r.Spec.Rules[0].Matches[0].Path.Value != "/" || *r.Spec.Rules[0].BackendRefs[0].Weight != 1 {
			t.Errorf("defaults are missing: %+v", r.Spec.Rules)
		}
		for path, want := range map[string]string{
			"spec.rules[0].backendRefs[0].port":   "f.yaml:9:29",
			"spec.rules[0].backendRefs[0].weight": "f.yaml:9:19", // a default
			"spec.rules[0].matches[0].path.value": "f.yaml:8:15",
			"spec.rules[1].name":                  "f.yaml:6:3",
			"nothing":                             "f.yaml:1:1",
		} {
			if got := o.Position(path).String(); got != want {
				t.Errorf("%s is at %s, want %s", path, got, want)
			}
		}
	}
	service := set.Get(Key{Kind: "Service", Namespace: "default", Name: "s"})
	if p := service.Value.(*corev1.Service).Spec.Ports[0]; p.Protocol != corev1.ProtocolTCP || p.TargetPort.IntVal != 80 {
		t.Errorf("service port %+v", p)
	}
	if got := service.Position("spec.ports[0].port").String(); got != "f.yaml:20:19" {
		t.Errorf("service port is at %s", got)
	}
	for _, s := range All[*corev1.Secret](set) {
		if string(s.Data["a"]) != "b" || string(s.Data["c"]) != "d" || s.StringData != nil {
			t.Errorf("secret %v", s.Data)
		}
	}
	for _, b := range All[*v1alpha1.Backend](set) {
		if b.Spec.DNS.Port != 8080 || b.Namespace != "default" {
			t.Errorf("backend %+v", b)
		}
	}
	for _, e := range All[*discoveryv1.EndpointSlice](set) {
		if e.Endpoints[1].Addresses[0] != "::1" || *e.Endpoints[1].Zone != "z" {
			t.Errorf("endpoints %+v", e.Endpoints)
		}
	}
}

// What does not change keeps its object; what moves keeps its value.
func TestDecodeReuses(t *testing.T) {
	var d Decoder
	a, b := route("a", ""), route("b", "")
	first, _ := d.Decode("f", []byte(a+"---\n"+b))
	again, _ := d.Decode("f", []byte(a+"---\n"+b))
	for i := range first {
		if first[i] != again[i] {
			t.Errorf("%s is another object", first[i].Key)
		}
	}
	moved, _ := d.Decode("f", []byte(a+"---\n# a comment\n"+b))
	if moved[0] != first[0] || moved[1].Value != first[1].Value || moved[1].Hash == first[1].Hash {
		t.Error("moved: want the same first object, and a second with the same value at other positions")
	}
	if got := moved[1].Position("spec.rules[0].name").String(); got != "f:16:5" {
		t.Errorf("moved: rule is at %s", got)
	}
	other, _ := d.Decode("f", []byte("#\n"+a+"---\n"+b))
	if other[1].At.Line != first[1].At.Line+1 || other[1].Value != first[1].Value || other[1].Hash == first[1].Hash {
		t.Errorf("shifted by a line: %v", other[1].At)
	}
	if first[1].At.Line == other[1].At.Line {
		t.Error("an object that was delivered has changed")
	}
}

func TestClosest(t *testing.T) {
	names := []string{"matches", "backendRefs", "filters", "name"}
	for name, want := range map[string]string{
		"matchs": "matches", "amtches": "matches", "backendrefs": "backendRefs", "backendRef": "backendRefs", "filter": "filters",
		"nmae": "name", "n": "", "something": "", strings.Repeat("name", 20): "",
	} {
		if got := Closest(name, names); got != want {
			t.Errorf("Closest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestDecodeBounds(t *testing.T) {
	bomb := "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\na: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		alias := fmt.Sprintf("*%c", 'a'+i)
		bomb += fmt.Sprintf("%c: &%c [%s]\n", 'b'+i, 'b'+i, strings.Repeat(alias+", ", 9)+alias)
	}
	for name, tt := range map[string]struct{ file, want string }{
		"aliases":  {bomb, "aliases expand to more than 100000 values"},
		"cycle":    {"apiVersion: &x [*x]\n", "nested deeper than 64 levels"},
		"merged":   {"a: &x {<<: *x}\n", "nested deeper than 64 levels"},
		"deep":     {"a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), "nested deeper than 64 levels"},
		"too long": {strings.Repeat("#", MaxFile+1), "the file has more than 16777216 bytes; split it"},
	} {
		t.Run(name, func(t *testing.T) {
			objects, diagnostics := new(Decoder).Decode("f", []byte(tt.file))
			if len(objects) != 0 || len(diagnostics) != 1 || diagnostics[0].Message != tt.want {
				t.Errorf("%d objects, diagnostics %v", len(objects), diagnostics)
			}
			if !MustRetain(diagnostics) {
				t.Error("what is in the file is not known, yet its objects are not to be retained")
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(route("a", "    timeouts: {request: 1s}\n") + "---\n" + policy("  targetRefs: []\n")))
	f.Add([]byte("{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{\"kind\": 1}, null, [], {\"apiVersion\": \"v1\", \"kind\": \"Service\"}]}"))
	f.Add([]byte("a: &a [*a]\n<<: *a\n? [x]\n: y\n"))
	f.Add([]byte("%YAML 1.2\n---\n--- |\n---\r\n...\n\xef\xbb\xbf"))
	f.Add([]byte("apiVersion: v1\nkind: Secret\nmetadata: {name: a, labels: {on: 1, ~: 2}, name: b}\ndata: {a: !!binary aaa}\n"))
	f.Add([]byte("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\nports: [{port: 99999999999}]\nendpoints: [~, {addresses: [~]}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var d Decoder
		objects, diagnostics := d.Decode("f", data)
		lines := strings.Count(string(data), "\n") + 1
		for _, x := range diagnostics {
			if x.Message == "" || x.At.Line > lines+1 {
				t.Errorf("diagnostic %v of %d lines", x, lines)
			}
		}
		for _, o := range objects {
			if (o.Value == nil) != (len(o.Problems) > 0) || o.Key.Name == "" || (o.Hash == "") != (o.Value == nil) {
				t.Errorf("object %+v", o)
			}
		}
		again, repeated := d.Decode("f", data)
		if !cmp.Equal(diagnostics, repeated) || len(again) != len(objects) {
			t.Errorf("decoded again: %v, before %v", repeated, diagnostics)
		}
	})
}

// BenchmarkDecode decodes a file of 1,000 HTTPRoutes.
func BenchmarkDecode(b *testing.B) {
	var s strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&s, `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: route-%d
  namespace: shop
spec:
  parentRefs:
  - name: edge
    namespace: infra
  hostnames: [r%d.example.com]
  rules:
  - name: main
    matches:
    - path: {type: PathPrefix, value: /}
    timeouts: {request: 2s}
    backendRefs:
    - name: svc-%d
      port: 8080
`, i, i, i)
	}
	data := []byte(s.String())
	if _, err := kindOf(gatewayv1.GroupName, "HTTPRoute").schema.compile(); err != nil {
		b.Fatal(err)
	}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			if objects, diagnostics := new(Decoder).Decode("f", data); len(objects) != 1000 || len(diagnostics) != 0 {
				b.Fatal(diagnostics)
			}
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		var d Decoder
		for b.Loop() {
			if objects, _ := d.Decode("f", data); len(objects) != 1000 {
				b.Fatal(len(objects))
			}
		}
	})
}

// TestValuesOfSecretsAreNotTold looks for the value in everything that is said about it.
func TestValuesOfSecretsAreNotTold(t *testing.T) {
	for _, value := range []string{"hush", "!hush", "*hush", "&hush", "[hush]", "{hush: 1}", "!hush x", "1e999hush", "|hush"} {
		_, diagnostics := new(Decoder).Decode("f.yaml", []byte("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  a: "+value+"\n"))
		for _, d := range diagnostics {
			if strings.Contains(d.String(), "hush") {
				t.Errorf("%s: %s", value, d)
			}
		}
	}
}

func TestMergesAreBounded(t *testing.T) {
	text := "a0: &a0 {}\n"
	for i := 1; i <= 12; i++ {
		text += fmt.Sprintf("a%d: &a%[1]d {<<: [%s]}\n", i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9)+fmt.Sprintf("*a%d", i-1))
	}
	_, diagnostics := new(Decoder).Decode("f.yaml", []byte(text)) // must end
	if len(diagnostics) == 0 {
		t.Error("nothing was said")
	}
}

// TestDecodeLeavesWhatItGave checks that an object that has moved in its file is another one: the former is in use.
func TestDecodeLeavesWhatItGave(t *testing.T) {
	const text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"
	var d Decoder
	before, _ := d.Decode("f.yaml", []byte("# one\n---\n"+text))
	was := *before[0]
	after, _ := d.Decode("f.yaml", []byte("# one\n# two\n---\n"+text))
	if diff := cmp.Diff(&was, before[0], cmp.AllowUnexported(Object{}, place{})); diff != "" {
		t.Errorf("the former object has changed (-before +after):\n%s", diff)
	}
	if after[0] == before[0] || after[0].At.Line != was.At.Line+1 || after[0].Hash == was.Hash || after[0].Position("metadata.name").Line != was.Position("metadata.name").Line+1 {
		t.Errorf("before at %v, after at %v; want a line further, with another hash", before[0].At, after[0].At)
	}
}
