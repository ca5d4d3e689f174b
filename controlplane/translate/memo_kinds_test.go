package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// drawing draws the manifest of one object, of which most values stay what they were. Each
// object has a file of its own and every field a place of its own there, so that nothing but a
// value tells two versions apart.
type drawing struct {
	*rapid.T
	values map[string]string // by label
	again  string            // the label of the value that is drawn again
}

func (d drawing) keep(label string, draw func() string) string {
	if _, there := d.values[label]; !there || label == d.again {
		d.values[label] = draw()
	}
	return d.values[label]
}

// one draws one of several texts; an empty one leaves a field out.
func (d drawing) one(label string, of ...string) string {
	return d.keep(label, func() string { return rapid.SampledFrom(of).Draw(d.T, label) })
}

// some draws a list of distinct texts.
func (d drawing) some(label string, least int, of ...string) string {
	return d.keep(label, func() string {
		list := rapid.SliceOfNDistinct(rapid.SampledFrom(of), least, min(3, len(of)), rapid.ID).Draw(d.T, label)
		return "[" + strings.Join(list, ", ") + "]"
	})
}

func (d drawing) meta(name string) string {
	return fmt.Sprintf("metadata: {name: %s, creationTimestamp: %q}", name, d.one("age", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"))
}

// parents draws parentRefs. Those to one object must differ in section or port.
func (d drawing) parents(sections ...string) string {
	front := []string{"{name: front}", "{name: front, port: 443}", "{name: front, port: 443}, {name: front, port: 53}"}
	for _, s := range sections {
		front = append(front, "{name: front, sectionName: "+s+"}")
	}
	return d.one("back", "[", "[{name: back}, ") + d.one("set", "", "{kind: ListenerSet, name: more}, ") + d.one("front", front...) + "]"
}

func (d drawing) hostnames(least int) string {
	return d.some("hostnames", least, "a.test", "b.a.test", `"*.a.test"`, `"*.test"`, "c.test")
}

func (d drawing) backends() string {
	return d.some("backends", 1, "{name: s, port: 80}", "{name: s, port: 53, weight: 2}", "{group: weir.dev, kind: Backend, name: b}",
		"{group: weir.dev, kind: Backend, name: u}", "{name: s, namespace: other, port: 80}", "{name: gone, port: 1, weight: 0}")
}

const gatewayAPI = "apiVersion: gateway.networking.k8s.io/v1\nkind: "

// route draws a route; lines are those of its spec but for parents and backends.
func (d drawing) route(kind, name string, sections []string, lines ...string) string {
	return strings.Join(append([]string{
		gatewayAPI + kind, d.meta(name), "spec:",
		"  parentRefs: " + d.parents(sections...),
		"  " + d.one("default gateways", "", "useDefaultGateways: All"),
	}, lines...), "\n") + "\n  rules:\n  - name: r\n    backendRefs: " + d.backends() + "\n"
}

// policy draws a TrafficPolicy.
func (d drawing) policy(name, target string, lines ...string) string {
	return strings.Join(append([]string{
		"apiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy", d.meta(name), "spec:",
		"  targetRefs: [" + target + "]",
	}, lines...), "\n") + "\n"
}

// beginning begins one of the kind.
func beginning(kind string, d drawing, name string) string {
	return "apiVersion: weir.dev/v1alpha1\nkind: " + kind + "\n" + d.meta(name) + "\nspec:\n"
}

// requestLines draw the fields of the side of requests.
func (d drawing) requestLines() []string {
	return []string{
		"  timeouts: {idle: " + d.one("idle", "1s", "2s", "0s") + d.one("request", "", ", request: 1s", ", request: 2s") + "}",
		"  " + d.one("retries", "", "retries: {attempts: 1}", "retries: {attempts: 2}", "retries: {backoff: {base: 1s}}", "retries: {backoff: {base: 2s}}", `retries: {attempts: 1, retryOn: ["503"]}`, "retries: {attempts: 1, retryOn: [UNAVAILABLE]}", "retries: {hedge: {after: 1s}}", "retries: {budget: {percent: 1%}}"),
		"  " + d.one("hashOn", "", "hashOn: [{identity: {}}]", "hashOn: [{expression: request.path}]", "hashOn: [{expression: request.host}]"),
		"  " + d.one("overload", "", "overload: {concurrency: {limit: 5}}", "overload: {queue: {size: 5}}", "overload: {degrade: [{at: 5%, answer: {status: 503}}]}", "overload: {degrade: [{at: 5%, answer: {status: 504}}]}", "overload: {throttle: {window: 5s}, mode: Observe}"),
		"  " + d.one("compression", "", "compression: {algorithms: [zstd]}", "compression: {algorithms: [gzip]}", "compression: {minSize: 1Ki}", "compression: {minSize: 2Ki}"),
	}
}

// backendLines draw the fields of the side of backends.
func (d drawing) backendLines() []string {
	return []string{
		"  " + d.one("breaker", "", "circuitBreaker: {maxRequests: 1}", "circuitBreaker: {maxRequests: 2}", "circuitBreaker: {trip: {of: 5}}", "outlierDetection: {consecutive5xx: 2}"),
		"  " + d.one("balancing", "", "loadBalancing: {algorithm: Random}", "loadBalancing: {algorithm: Maglev}"),
		"  " + d.one("health", "", "healthCheck: {tcp: {}}", "healthCheck: {tcp: {}, interval: 1s}", "healthCheck: {tcp: {}, interval: 2s}", "healthCheck: {grpc: {}}"),
	}
}

// versions draw the manifests of all objects, by name of file.
var versions = map[string]func(drawing) string{
	"front": func(d drawing) string {
		return gatewayAPI + "Gateway\n" + d.meta("front") + "\nspec:\n  gatewayClassName: weir\n  " + d.one("scope", "", "defaultScope: All") +
			"\n  allowedListeners: {namespaces: {from: All}}\n  listeners:" +
			"\n  - {name: http, port: 80, protocol: HTTP" + d.one("http host", "", `, hostname: "*.test"`, ", hostname: a.test") + d.one("http kinds", "", ", allowedRoutes: {kinds: [{kind: GRPCRoute}]}", ", allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: a}}}}") + "}" +
			"\n  - {name: https, port: 443, protocol: HTTPS, hostname: b.a.test, tls: {certificateRefs: [{name: " + d.one("certificate", "cert", "gone") + "}]}}" +
			"\n  - {name: tls, port: 443, protocol: TLS, hostname: " + d.one("tls host", `"*.test"`, `"*.a.test"`, "b.a.test") + ", tls: {mode: " + d.one("mode", "Passthrough", "Terminate") + ", certificateRefs: [{name: cert}]}}" +
			"\n  - {name: tcp, port: 53, protocol: TCP}" +
			"\n  - {name: udp, port: " + d.one("udp port", "53", "443") + ", protocol: UDP}\n"
	},
	"back": func(d drawing) string {
		return gatewayAPI + "Gateway\n" + d.meta("back") + "\nspec:\n  gatewayClassName: " + d.one("class", "weir", "other") + "\n  addresses: [{value: " + d.one("address", `"::"`, "127.0.0.1") + "}]" +
			"\n  listeners:\n  - {name: http, port: 80, protocol: HTTP, hostname: " + d.one("http host", "a.test", "c.test") + "}" +
			"\n  - {name: tcp, port: " + d.one("tcp port", "53", "54", "443") + ", protocol: TCP}\n"
	},
	"more": func(d drawing) string {
		return gatewayAPI + "ListenerSet\n" + d.meta("more") + "\nspec:\n  parentRef: {name: " + d.one("parent", "front", "back") + "}\n  listeners:" +
			"\n  - {name: web, port: 80, protocol: HTTP, hostname: " + d.one("web host", "c.test", "b.a.test") + "}" +
			"\n  - {name: pass, port: 443, protocol: TLS, hostname: c.test, tls: {mode: Passthrough}}" +
			"\n  - {name: db, port: " + d.one("db port", "53", "55") + ", protocol: " + d.one("protocol", "TCP", "UDP") + "}\n"
	},
	"h1": func(d drawing) string {
		return d.route(kindHTTPRoute, "h1", []string{"http", "https"}, "  hostnames: "+d.hostnames(0))
	},
	"h2": func(d drawing) string {
		return d.route(kindHTTPRoute, "h2", []string{"http", "https"}, "  hostnames: "+d.hostnames(1))
	},
	"g1": func(d drawing) string {
		return d.route(kindGRPCRoute, "g1", []string{"http", "https"}, "  hostnames: "+d.hostnames(0))
	},
	"g2": func(d drawing) string {
		return d.route(kindGRPCRoute, "g2", []string{"http", "https"}, "  hostnames: "+d.hostnames(1)) +
			"    matches: [{method: {service: " + d.one("service", "a", "b") + "}}]\n"
	},
	"s1": func(d drawing) string {
		return d.route(kindTLSRoute, "s1", []string{"tls"}, "  hostnames: "+d.hostnames(1))
	},
	"s2": func(d drawing) string {
		return d.route(kindTLSRoute, "s2", []string{"tls"}, "  hostnames: "+d.hostnames(1))
	},
	"t1": func(d drawing) string { return d.route(kindTCPRoute, "t1", []string{"tcp"}) },
	"t2": func(d drawing) string { return d.route(kindTCPRoute, "t2", []string{"tcp"}) },
	"u1": func(d drawing) string { return d.route(kindUDPRoute, "u1", []string{"udp"}) },
	"u2": func(d drawing) string { return d.route(kindUDPRoute, "u2", []string{"udp"}) },
	"of-front": func(d drawing) string {
		return d.policy("of-front", "{group: gateway.networking.k8s.io, kind: Gateway, name: front}", append(append(d.requestLines(), d.backendLines()...),
			"  client: {"+d.one("client", "http3: true", "http3: false", "proxyProtocol: true, trust: {addresses: [10.0.0.0/8]}")+"}",
			"  "+d.one("overrides", "", "overrides: {timeouts: {request: 5s}}", "overrides: {timeouts: {request: 6s}}", "overrides: {retries: {attempts: 3}, circuitBreaker: {maxRequests: 3}}", "overrides: {overload: {mode: Observe}}"),
			"  "+d.one("require", "", "require: [{rule: policy.retries.attempts < 2, message: few}]", "require: [{rule: policy.retries.attempts < 2, message: fewer}]", "require: [{rule: policy.circuitBreaker.maxRequests < 2, message: few}]", "require: [{rule: policy.client.http3, message: new}]"))...)
	},
	"of-listener": func(d drawing) string {
		return d.policy("of-listener", "{group: gateway.networking.k8s.io, kind: Gateway, name: front, sectionName: "+d.one("section", "http", "tls", "udp")+"}", d.requestLines()...)
	},
	"of-request": func(d drawing) string {
		kind := d.one("kind", "HTTPRoute, name: h1", "GRPCRoute, name: g1", "GRPCRoute, name: g2, sectionName: r")
		return d.policy("of-request", "{group: gateway.networking.k8s.io, kind: "+kind+"}", d.requestLines()...)
	},
	"of-stream": func(d drawing) string {
		kind := d.one("kind", "TLSRoute, name: s1", "TCPRoute, name: t1, sectionName: r", "UDPRoute, name: u1")
		return d.policy("of-stream", "{group: gateway.networking.k8s.io, kind: "+kind+"}", "  timeouts: {idle: "+d.one("idle", "1s", "2s", "0s")+"}")
	},
	"of-backend": func(d drawing) string {
		return d.policy("of-backend", d.one("target", `{group: "", kind: Service, name: s}`, `{group: "", kind: Service, name: s, sectionName: web}`, "{group: weir.dev, kind: Backend, name: b}"), append(d.backendLines(),
			"  "+d.one("calls", "", "calls: [{backendRef: {name: x, port: 1}}]"))...)
	},
	"rollout": func(d drawing) string {
		target := d.one("target", "HTTPRoute, name: h1", "HTTPRoute, name: h2", "GRPCRoute, name: g1")
		return beginning("Rollout", d, "rollout") + "  targetRef: {group: gateway.networking.k8s.io, kind: " + target + ", sectionName: r}\n  stable: " + d.one("stable", "{group: weir.dev, kind: Backend, name: b}", "{name: s, port: 80}") +
			"\n  canary: " + d.one("canary", "{name: s, port: 54}", "{name: s, namespace: other, port: 80}", "{group: weir.dev, kind: Backend, name: u}", "{name: s, port: 53}") +
			"\n  stages: [{share: " + d.one("share", "1%", "2%") + "}, {share: 100%}]\n  gates: [{name: a, slo: {name: " + d.one("gate", "slo", "gone") + "}}, {name: b, webhook: {url: 'https://a.test', secretRef: {name: " + d.one("secret", "token", "cert") + "}}}]\n  " + d.one("revision", "", "revision: v2") + "\n"
	},
	"rollout-2": func(d drawing) string {
		target := d.one("target", "HTTPRoute, name: h1", "GRPCRoute, name: g1")
		return beginning("Rollout", d, "rollout-2") + "  targetRef: {group: gateway.networking.k8s.io, kind: " + target + ", sectionName: r}\n  stable: {group: weir.dev, kind: Backend, name: b}" +
			"\n  canary: {name: s, port: 80}\n  strategy: BlueGreen\n  guard: {consecutiveFailures: " + d.one("guard", "0", "1") + "}\n"
	},
	"shadow": func(d drawing) string {
		return beginning("Shadow", d, "shadow") + "  targetRefs: [{group: gateway.networking.k8s.io, kind: " + d.one("target", "HTTPRoute, name: h1", "HTTPRoute, name: h2, sectionName: r", "GRPCRoute, name: g1") + "}]\n  backendRef: " +
			d.one("backend", "{group: weir.dev, kind: Backend, name: b}", "{name: s, port: 80}", "{name: s, namespace: other, port: 80}", "{name: gone, port: 1}") + "\n  share: " + d.one("share", "1%", "2%") + "\n  " + d.one("methods", "", "methods: [POST]") + "\n"
	},
	"fault": func(d drawing) string {
		return beginning("FaultPolicy", d, "fault") + "  targetRefs: [{group: gateway.networking.k8s.io, kind: " + d.one("target", "HTTPRoute, name: h1", "HTTPRoute, name: h2, sectionName: r", "GRPCRoute, name: g1") + "}]\n  expires: " +
			d.one("expires", "2026-01-01T00:00:00Z", "2026-06-02T00:00:00Z") + "\n  reason: " + d.one("reason", "a", "b") + "\n  faults: [{name: a, share: 1%, " + d.one("fault", "reset: {}", "abort: {status: 500}", "abort: {status: 501}") + "}]\n"
	},
	"slo": func(d drawing) string {
		return beginning("ServiceLevelObjective", d, "slo") + "  targetRefs: [" + d.one("target", "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: h1}", "{group: gateway.networking.k8s.io, kind: GRPCRoute, name: g1, sectionName: r}", "{group: weir.dev, kind: Backend, name: b}", `{group: "", kind: Service, name: s, sectionName: web}`) +
			"]\n  indicator: {" + d.one("indicator", "availability: {}", "latency: {below: 1s}") + "}\n  objective: " + d.one("objective", "99%", "99.9%") + "\n"
	},
	"closed": func(d drawing) string {
		target := d.one("target", "Gateway, name: front", "Gateway, name: front, sectionName: tcp", "GRPCRoute, name: g1", "TCPRoute, name: t1", "TLSRoute, name: s1, sectionName: r", "UDPRoute, name: u1")
		return "apiVersion: weir.dev/v1alpha1\nkind: AccessPolicy\n" + d.meta("closed") + "\nspec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: " + target + "}]\n"
	},
	"b": func(d drawing) string {
		return "apiVersion: weir.dev/v1alpha1\nkind: Backend\n" + d.meta("b") + "\nspec:\n  " + d.one("protocol", "", "protocol: HTTP2", "protocol: H2C", "protocol: GRPC", "protocol: HTTP11", "protocol: TCP") +
			"\n  " + d.one("tls", "", "tls: {validation: {hostname: b.test, wellKnownCACertificates: System}}") + "\n  " + d.one("proxy", "", "proxyProtocol: V1", "proxyProtocol: V2") +
			"\n  endpoints: [{address: 10.0.0." + d.one("address", "1", "2") + ", port: 80}]\n"
	},
	"u": func(d drawing) string {
		return "apiVersion: weir.dev/v1alpha1\nkind: Backend\n" + d.meta("u") + "\nspec:\n  protocol: " + d.one("protocol", "UDP", "TCP") + "\n  endpoints: [{address: 10.0.0.3, port: 53}]\n"
	},
	"s": func(d drawing) string {
		return "apiVersion: v1\nkind: Service\n" + d.meta("s") + "\nspec:\n  ports:" +
			"\n  - {name: web, port: 80, appProtocol: " + d.one("app", "http", "https", "kubernetes.io/h2c", "kubernetes.io/ws", "grpc", "postgres") + "}" +
			"\n  - {name: dns, port: 53, protocol: UDP}\n  - {name: dns-tcp, port: 53, protocol: " + d.one("protocol", "TCP", "SCTP") + "}\n"
	},
	"slice": func(d drawing) string {
		return "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: slice, labels: {kubernetes.io/service-name: s}}\naddressType: IPv4" +
			"\nendpoints: [{addresses: [10.0.1." + d.one("address", "1", "2") + "]}]\nports: [{name: web, port: 8080}, {name: dns, port: 5353, protocol: UDP}, {name: dns-tcp, port: 5354}]\n"
	},
	"secure": func(d drawing) string {
		return gatewayAPI + "BackendTLSPolicy\n" + d.meta("secure") + "\nspec:\n  targetRefs: [{group: \"\", kind: Service, name: s" + d.one("section", "", ", sectionName: web", ", sectionName: dns") +
			"}]\n  validation: {hostname: s.test, wellKnownCACertificates: System}\n"
	},
	"other": func(d drawing) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: other}\nspec: {ports: [{port: 80, protocol: " + d.one("protocol", "TCP", "UDP") + "}]}\n"
	},
	"grant": func(d drawing) string {
		return "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: grant, namespace: other}\nspec:" +
			"\n  from: [{group: gateway.networking.k8s.io, kind: " + d.one("from", routeKindNames()...) + ", namespace: default}]\n  to: [{group: \"\", kind: Service}]\n"
	},
	"default": func(d drawing) string {
		return "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {team: " + d.one("team", "a", "b") + "}}\n"
	},
	"token": func(d drawing) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: token}\nstringData: {" + d.one("entry", "token", "username") + ": a}\n"
	},
	"cert": func(drawing) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: cert}\ntype: kubernetes.io/tls\nstringData: {tls.crt: \"{{crt a.test}}\", tls.key: \"{{key a.test}}\"}\n"
	},
}

func routeKindNames() []string {
	var names []string
	for _, kind := range routeKinds {
		names = append(names, kind.name)
	}
	return names
}

// TestMemoOfAllKinds changes values of objects of all kinds, a few at a time, and checks after
// each change that translating with the memo gives what translating without one gives, and
// that what is equal is identical.
func TestMemoOfAllKinds(t *testing.T) {
	names := slices.Sorted(maps.Keys(versions))
	rapid.Check(t, func(t *rapid.T) {
		var decoder resource.Decoder
		memo := NewMemo()
		values := map[string]map[string]string{}
		live := map[string][]*resource.Object{}
		write := func(name string) {
			d := drawing{T: t, values: values[name]}
			if d.values == nil {
				d.values = map[string]string{}
				values[name] = d.values
			} else if len(d.values) > 0 {
				d.again = rapid.SampledFrom(slices.Sorted(maps.Keys(d.values))).Draw(t, "again")
			}
			text := fillPEM([]byte(versions[name](d)))
			objects, problems := decoder.Decode(name+".yaml", text)
			for _, p := range problems {
				if p.Severity == resource.Error && name != "closed" {
					t.Fatalf("%v\n%s", p, text)
				}
			}
			live[name] = objects
		}
		for _, name := range names {
			if rapid.IntRange(0, 3).Draw(t, "there") > 0 {
				write(name)
			}
		}
		var last *model.Snapshot
		for range rapid.IntRange(2, 12).Draw(t, "steps") {
			set := resource.NewSet(slices.Concat(slices.Collect(maps.Values(live))...), nil)
			now := time.Date(2026, 6, rapid.IntRange(1, 2).Draw(t, "day"), 0, 0, 0, 0, time.UTC)
			got, want := Translate(Input{Set: set, Memo: memo, Now: now}), Translate(Input{Set: set, Now: now})
			if diff := cmp.Diff(jsonOf(t, want), jsonOf(t, got)); diff != "" {
				t.Fatalf("memo differs from no memo (-without +with):\n%s", diff)
			}
			if last != nil {
				checkIdentity(t, last, got.Snapshot)
			}
			last = got.Snapshot
			for range rapid.IntRange(1, 2).Draw(t, "changes") {
				if name := rapid.SampledFrom(names).Draw(t, "name"); rapid.IntRange(0, 5).Draw(t, "removed") == 0 {
					delete(live, name)
				} else {
					write(name)
				}
			}
		}
	})
}

// TestGatewayPolicyValues changes one value of a Gateway's policy in its place, and checks that
// routes and clusters behind it are made anew: also where the value has no effect but together
// with what a route's own policy says.
func TestGatewayPolicyValues(t *testing.T) {
	route := `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: front}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: b}]}]
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: r}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}]
  retries: {attempts: 1}
  compression: {algorithms: [zstd]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: b}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 80, protocol: HTTP}, {name: more, port: 81, protocol: HTTP}]}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: front}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front%s}]
  %s
`
	for _, section := range []string{"", ", sectionName: http"} {
		for _, values := range [][2]string{
			{"timeouts: {request: 1s}", "timeouts: {request: 2s}"},
			{"timeouts: {perTry: 1s}", "timeouts: {perTry: 2s}"},
			{"timeouts: {idle: 1s}", "timeouts: {idle: 2s}"},
			{`retries: {retryOn: ["503"]}`, `retries: {retryOn: ["502"]}`},
			{"retries: {retryOn: [UNAVAILABLE]}", "retries: {retryOn: [ABORTED]}"},
			{"retries: {methods: [GET]}", "retries: {methods: [PUT]}"},
			{"retries: {backoff: {base: 1s}}", "retries: {backoff: {base: 2s}}"},
			{"retries: {backoff: {max: 1s}}", "retries: {backoff: {max: 2s}}"},
			{"hashOn: [{header: a}]", "hashOn: [{header: b}]"},
			{"compression: {minSize: 1Ki}", "compression: {minSize: 2Ki}"},
			{"compression: {types: [text/a]}", "compression: {types: [text/b]}"},
			{"compression: {credentials: true}", "compression: {credentials: false}"},
			{"timeouts: {connect: 1s}", "timeouts: {connect: 2s}"},
			{"timeouts: {keepAlive: 1s}", "timeouts: {keepAlive: 2s}"},
			{"loadBalancing: {algorithm: Random}", "loadBalancing: {algorithm: Maglev}"},
			{"healthCheck: {tcp: {}, interval: 1s}", "healthCheck: {tcp: {}, interval: 2s}"},
		} {
			if section != "" && (strings.Contains(values[0], "connect") || strings.Contains(values[0], "keepAlive") || strings.HasPrefix(values[0], "loadB") || strings.HasPrefix(values[0], "healthC")) {
				continue // not for a listener
			}
			var decoder resource.Decoder
			memo, versions := NewMemo(), map[string]bool{}
			for _, value := range values {
				objects, problems := decoder.Decode("in.yaml", fmt.Appendf(nil, route, section, value))
				if len(problems) > 0 {
					t.Fatal(problems)
				}
				set := resource.NewSet(objects, nil)
				got := Translate(Input{Set: set, Memo: memo})
				if diff := cmp.Diff(jsonOf(t, Translate(Input{Set: set})), jsonOf(t, got)); diff != "" {
					t.Errorf("%s at Gateway%s: memo differs from no memo:\n%s", value, section, diff)
				}
				versions[got.Snapshot.Version] = true
			}
			if len(versions) != 2 {
				t.Errorf("%s or %s at Gateway%s is the same", values[0], values[1], section)
			}
		}
	}
}
