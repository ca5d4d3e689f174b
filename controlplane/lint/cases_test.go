package lint

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
)

// twoHosts is a route to a backend with two hosts, for policies to be put behind.
const twoHosts = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: front}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{address: 10.0.0.1, port: 80}, {address: 10.0.0.2, port: 80}]}
`

// lintPolicies lints twoHosts with policies for the Gateway, the route and the Backend, each of
// which may be empty, and returns the diagnostics of lint alone.
func lintPolicies(t *testing.T, gateway, route, backend string) []resource.Diagnostic {
	t.Helper()
	text := twoHosts
	for i, p := range []struct{ target, spec string }{
		{"{group: gateway.networking.k8s.io, kind: Gateway, name: front}", gateway},
		{"{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}", route},
		{"{group: weir.dev, kind: Backend, name: shop}", backend},
	} {
		if p.spec != "" {
			text += fmt.Sprintf("---\napiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: p%d}\nspec:\n  targetRefs: [%s]\n  %s\n",
				i, p.target, strings.ReplaceAll(p.spec, "\n", "\n  "))
		}
	}
	var decoder resource.Decoder
	objects, diagnostics := decoder.Decode("in.yaml", []byte(text))
	if len(diagnostics) > 0 {
		t.Fatalf("%v\n%s", diagnostics, text)
	}
	set := resource.NewSet(objects, nil)
	out := translate.Translate(translate.Input{Set: set})
	if len(out.Diagnostics) > 0 {
		t.Fatalf("%v\n%s", out.Diagnostics, text)
	}
	return Config{}.Run(set, out)
}

const (
	tried    = "retryOn: [ConnectFailure, Reset, RefusedStream, PerTryTimeout], budget: {percent: 20%, minPerSecond: 3}"
	budget20 = "budget: {percent: 20%, minPerSecond: 3}"
)

// TestCases are the cases of rules that their archives do not show. A rule without a text must
// say nothing.
func TestCases(t *testing.T) {
	for name, c := range map[string]struct {
		gateway, route, backend string
		rule, severity, text    string
	}{
		"the classic wrong policy hangs": {
			route: "timeouts: {request: 5s}\nretries: {attempts: 5}", rule: "retries-without-timeout", severity: "warning", text: "takes all of timeouts.request, 5s",
		},
		"a try that outlasts its request is contradictory, no more": {
			gateway: "timeouts: {perTry: 3s}\nretries: {attempts: 1}", route: "timeouts: {request: 2s}", rule: "unretried-timeout",
		},
		"a mode without the concurrency that holds": {
			gateway: "overload: {concurrency: {limit: 10}, mode: Observe}", route: "overload: {throttle: {acceptRatio: \"2.0\"}, mode: Enforce}",
			rule: "overload-without-limit", severity: "warning", text: "the mode is that of the policy whose overload.concurrency holds",
		},
		"a mode of priorities alone": {
			route: "overload: {priority: [{class: Sheddable}], mode: Observe}", rule: "overload-without-limit", severity: "warning", text: "priorities alone refuse nothing",
		},
		"priorities that are switched off": {
			route: "overload: {priority: [{class: Sheddable}], mode: Disabled}", rule: "overload-without-limit",
		},
		"a queue of a limit that is switched off": {
			route: "overload: {concurrency: {limit: 0}, queue: {size: 10}}", rule: "overload-without-limit", severity: "warning", text: "switches it off",
		},
		"a breaker that observes nothing": {
			backend: "circuitBreaker: {mode: Observe}", rule: "idle-breaker", severity: "warning", text: "nothing to observe",
		},
		"a breaker that observes a bound": {
			backend: "circuitBreaker: {maxRequests: 10, mode: Observe}", rule: "idle-breaker",
		},
		"a mode of a throttle": {
			route: "overload: {throttle: {acceptRatio: \"2.0\"}, mode: Observe}", rule: "overload-without-limit",
		},
		"a backend that calls itself, with a port that backends do not have": {
			backend: "calls: [{backendRef: {group: weir.dev, kind: Backend, name: shop, port: 80}}]", rule: "call-cycle", severity: "warning", text: "round in a circle",
		},
		"the classic wrong policy has no budget": {
			route: "timeouts: {request: 5s}\nretries: {attempts: 5}", rule: "retries-without-budget", severity: "warning", text: "each request becomes 6; only the default retries.budget, 20% + 3/s",
		},
		"nothing ends a try": {
			route: "retries: {attempts: 1, " + tried + "}", rule: "retries-without-timeout", severity: "warning", text: "nothing ends a try",
		},
		"the backend's budget is one": {
			route: "timeouts: {request: 2s, perTry: 900ms}\nretries: {attempts: 1}", backend: "retries: {" + budget20 + "}", rule: "retries-without-budget",
		},
		"the Gateway's budget is one": {
			gateway: "retries: {" + budget20 + "}", route: "timeouts: {request: 2s, perTry: 900ms}\nretries: {attempts: 1}", rule: "retries-without-budget",
		},
		"as long as the whole, with retries": {
			gateway: "timeouts: {perTry: 2s}", route: "timeouts: {request: 2s}\nretries: {attempts: 1, " + tried + "}",
			rule: "contradictory-timeouts", severity: "error", text: "after a try that times out there is no other",
		},
		"as long as the whole, without retries": {gateway: "timeouts: {perTry: 2s}", route: "timeouts: {request: 2s}", rule: "contradictory-timeouts"},
		"two retries of 700ms in 2s are fine, with a note": {
			route: "timeouts: {request: 2s, perTry: 700ms}\nretries: {attempts: 2, " + tried + "}", rule: "unreachable-try", severity: "info",
			text: "1.4s + 700ms = 2.1s, request is 2s: the 3rd try is cut short",
		},
		"only a long backoff is too long": {
			gateway: "timeouts: {request: 720ms}", route: "timeouts: {perTry: 700ms}\nretries: {attempts: 1, " + tried + "}", rule: "unreachable-try", severity: "warning",
			text: "between 700ms and 725ms",
		},
		"a default connect timeout that hides a failure": {
			route: "timeouts: {request: 2s, perTry: 700ms}\nretries: {attempts: 1, " + budget20 + "}", rule: "unretried-timeout", severity: "warning",
			text: "of a host which nobody reaches as well, for timeouts.connect, 2s, is not shorter",
		},
		"a default connect timeout": {
			route: "timeouts: {request: 2s, perTry: 700ms}\nretries: {attempts: 1, " + tried + "}", rule: "idle-connect-timeout",
		},
		"writes hedged": {
			route: "timeouts: {request: 2s, perTry: 900ms}\nretries: {methods: [GET, POST], hedge: {after: 50ms, max: 1}, " + budget20 + "}", rule: "unsafe-retries",
			severity: "warning", text: "POST is sent twice whenever a host is slow",
		},
		"writes again after no more than a failure to connect": {
			route: "timeouts: {request: 2s, perTry: 900ms}\nretries: {attempts: 1, methods: [POST], retryOn: [ConnectFailure, RefusedStream], " + budget20 + "}", rule: "unsafe-retries",
		},
		"a hedge after its try": {
			gateway: "timeouts: {perTry: 100ms}", route: "retries: {hedge: {after: 200ms, max: 1}, " + budget20 + "}", rule: "idle-hedge", severity: "error", text: "timeouts.perTry, 100ms",
		},
		"more retries than requests": {
			route: "timeouts: {request: 2s, perTry: 900ms}\nretries: {attempts: 1, " + tried + "}", backend: "circuitBreaker: {maxRequests: 10, maxRetries: 10}",
			rule: "idle-breaker", severity: "warning", text: "a retry is a request as well",
		},
		"more requests than come": {
			route: "overload: {concurrency: {limit: 50}}", backend: "circuitBreaker: {maxRequests: 50}", rule: "idle-breaker", severity: "warning",
			text: "no more than 50 tries in at once",
		},
		"fewer requests than come": {route: "overload: {concurrency: {limit: 50}}", backend: "circuitBreaker: {maxRequests: 49}", rule: "idle-breaker"},
		"as many, hedged": {
			route:   "timeouts: {request: 2s, perTry: 900ms}\nretries: {hedge: {after: 50ms, max: 1}, " + budget20 + "}\noverload: {concurrency: {limit: 50}}",
			backend: "circuitBreaker: {maxRequests: 50}", rule: "idle-breaker",
		},
		"more connections than requests": {
			backend: "circuitBreaker: {maxConnections: 100, maxRequests: 10}", rule: "idle-breaker", severity: "warning", text: "have no use for 100 connections",
		},
		"one request in the first tries opens it": {
			route: "timeouts: {request: 2s, perTry: 600ms}\nretries: {attempts: 2, " + tried + "}", backend: "circuitBreaker: {trip: {failures: 50%, of: 6}}",
			rule: "trip-by-one-request", severity: "warning", text: "3 failed tries of 6 open it, and one request of rule 0 of HTTPRoute default/shop makes 3",
		},
		"one request less than opens it": {
			route: "timeouts: {request: 2s, perTry: 600ms}\nretries: {attempts: 2, " + tried + "}", backend: "circuitBreaker: {trip: {failures: 50%, of: 8}}", rule: "trip-by-one-request",
		},
		"everything is shed": {
			route: "overload:\n  concurrency: {limit: 10}\n  degrade: [{at: 80%, shed: Critical}]", rule: "shed-by-no-class", severity: "warning", text: "sheds everything",
		},
		"a trusted caller may say the class": {
			gateway: "client: {trust: {addresses: [10.0.0.0/8]}}", route: "overload:\n  concurrency: {limit: 10}\n  degrade: [{at: 80%, shed: Sheddable}]", rule: "shed-by-no-class",
		},
		"no retries to give up": {
			route: "overload:\n  concurrency: {limit: 10}\n  degrade: [{at: 80%, noRetries: true}]", rule: "idle-degrade", severity: "warning", text: "there are no retries",
		},
		"steps without a limit": {
			route: "overload:\n  degrade: [{at: 80%, noRetries: true}]", rule: "overload-without-limit", severity: "warning", text: "its steps are shares of a limit",
		},
		"steps with the Gateway's limit": {
			gateway: "overload: {concurrency: {limit: 10}}", route: "overload:\n  degrade: [{at: 80%, serveStale: {maxAge: 1m}}]", rule: "overload-without-limit",
		},
		"old answers by cookie": {
			route: "hashOn: [{cookie: sid}]\noverload:\n  concurrency: {limit: 10}\n  degrade: [{at: 80%, serveStale: {maxAge: 1m}}]",
			rule:  "stale-with-credentials", severity: "warning", text: "hashOn is cookie sid",
		},
		"old answers for all": {
			route: "overload:\n  concurrency: {limit: 10}\n  degrade: [{at: 80%, serveStale: {maxAge: 1m}}]", rule: "stale-with-credentials",
		},
		"half of the hosts may go without a panic": {backend: "outlierDetection: {consecutive5xx: 5, maxEjected: 50%}", rule: "panic-after-ejection"},
		"ejection that is only watched": {
			route: "hashOn: [{header: x-user}]", backend: "loadBalancing: {algorithm: Maglev}\noutlierDetection: {consecutive5xx: 5, mode: Observe}", rule: "hash-with-ejection",
		},
	} {
		got := ""
		for _, d := range lintPolicies(t, c.gateway, c.route, c.backend) {
			if d.Rule == c.rule {
				got += d.Severity.String() + ": " + d.Message + "\n"
			}
		}
		switch {
		case c.text == "" && got != "":
			t.Errorf("%s: %s says %s", name, c.rule, got)
		case c.text != "" && (!strings.HasPrefix(got, c.severity+": ") || !strings.Contains(got, c.text)):
			t.Errorf("%s: %s says %q, want %s: %s", name, c.rule, got, c.severity, c.text)
		}
	}
}

// TestThreshold: how much is too much can be set.
func TestThreshold(t *testing.T) {
	text := ""
	for _, name := range []string{"a", "b"} {
		text += fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s}
spec:
  parentRefs: [{name: front}]
  hostnames: [%[1]s.test]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: %[1]s}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: %[1]s}
spec: {endpoints: [{address: 10.0.1.1, port: 80}]}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: %[1]s}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: %[1]s}]
  timeouts: {request: 2s, perTry: 900ms}
  retries: {attempts: 1, retryOn: ["503"]}
`, name)
	}
	text += `---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: calls}
spec:
  targetRefs: [{group: weir.dev, kind: Backend, name: a}]
  calls: [{backendRef: {group: weir.dev, kind: Backend, name: b}}]
`
	var decoder resource.Decoder
	objects, diagnostics := decoder.Decode("in.yaml", []byte(twoHosts+text))
	if len(diagnostics) > 0 {
		t.Fatal(diagnostics)
	}
	set := resource.NewSet(objects, nil)
	out := translate.Translate(translate.Input{Set: set})
	for most, want := range map[float64]bool{0: true, 3.9: true, 4: false, 10: false} {
		got := lines(Config{Amplification: most}.Run(set, out), "retry-amplification")
		if (got != "") != want {
			t.Errorf("above ×%v: %q", most, got)
		}
		if want && !strings.Contains(got, "×4 at the end of the calls: ×2 backend/default/a → ×2 backend/default/b") {
			t.Errorf("above ×%v: %q", most, got)
		}
	}
}
