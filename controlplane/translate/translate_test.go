package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"pgregory.net/rapid"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

func gatewayOf(name string, listeners ...gatewayv1.Listener) *gatewayv1.Gateway {
	return &gatewayv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Generation: 7},
		Spec:       gatewayv1.GatewaySpec{GatewayClassName: ClassName, Listeners: listeners},
	}
}

func httpListener(name string, hostname gatewayv1.Hostname) gatewayv1.Listener {
	return gatewayv1.Listener{Name: gatewayv1.SectionName(name), Port: 8080, Protocol: gatewayv1.HTTPProtocolType, Hostname: &hostname}
}

func translateAll(objects ...*resource.Object) Output {
	return Translate(Input{Set: resource.NewSet(objects, nil)})
}

func statusOf[T any](t *testing.T, out Output, kind, name string) T {
	t.Helper()
	for _, s := range out.Statuses {
		if s.Key.Kind == kind && s.Key.Name == name {
			return s.Value.(T)
		}
	}
	t.Fatalf("no status of %s %s", kind, name)
	panic("unreachable")
}

// conditionsText lists conditions as type=status reason.
func conditionsText(conditions []metav1.Condition) string {
	var parts []string
	for _, c := range conditions {
		parts = append(parts, fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Reason))
	}
	return strings.Join(parts, ", ")
}

// TestHostnameConflict: the schema does not let equal hostnames within a gateway pass, but
// another source may.
func TestHostnameConflict(t *testing.T) {
	out := translateAll(object(groupGateway, kindGateway, "front",
		gatewayOf("front", httpListener("a", "x.test"), httpListener("b", "x.test"), httpListener("c", "y.test"))))
	status := statusOf[gatewayv1.GatewayStatus](t, out, kindGateway, "front")
	const lost = "Accepted=False HostnameConflict, Conflicted=True HostnameConflict, Programmed=False Invalid, ResolvedRefs=True ResolvedRefs"
	const fine = "Accepted=True Accepted, Conflicted=False NoConflicts, Programmed=True Programmed, ResolvedRefs=True ResolvedRefs"
	for i, want := range []string{lost, lost, fine} {
		if got := conditionsText(status.Listeners[i].Conditions); got != want {
			t.Errorf("listener %d:\n got %s\nwant %s", i, got, want)
		}
	}
	if got := conditionsText(status.Conditions); !strings.HasPrefix(got, "Accepted=True ListenersNotValid, Programmed=True Programmed") {
		t.Errorf("gateway: %s", got)
	}
	if got := status.Conditions[0].ObservedGeneration; got != 7 {
		t.Errorf("observed generation %d, want 7", got)
	}
	if got := out.Snapshot.Listeners[0].Tables; len(got) != 1 || got[0].Hostname != "y.test" {
		t.Errorf("tables %v, want only y.test", got)
	}
}

func TestAddressNotUsable(t *testing.T) {
	g := gatewayOf("front", httpListener("a", ""))
	g.Spec.Addresses = []gatewayv1.GatewaySpecAddress{{Value: "300.0.0.1"}}
	out := translateAll(object(groupGateway, kindGateway, "front", g))
	status := statusOf[gatewayv1.GatewayStatus](t, out, kindGateway, "front")
	if got, want := conditionsText(status.Conditions), "Accepted=True Accepted, Programmed=False AddressNotUsable, ResolvedRefs=True ResolvedRefs"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if n := len(out.Snapshot.Listeners); n != 0 {
		t.Errorf("%d sockets, want none", n)
	}
}

// TestRetained: an object whose newest version is quarantined keeps its last accepted one,
// and its status says so.
func TestRetained(t *testing.T) {
	problems := []resource.Diagnostic{{Field: "spec.rules[0].foo", Message: "unknown field"}}
	route := object(groupGateway, kindHTTPRoute, "site", benchRoute("site", 1)).WithProblems(problems)
	backend := object(groupWeir, kindBackend, "site", &v1alpha1.Backend{}).WithProblems(problems)
	gateway := object(groupGateway, kindGateway, "front", gatewayOf("front", httpListener("http", ""))).WithProblems(problems)
	out := translateAll(gateway, route, backend)
	status := statusOf[gatewayv1.HTTPRouteStatus](t, out, kindHTTPRoute, "site")
	c := status.Parents[0].Conditions[1]
	if c.Type != "PartiallyInvalid" || c.Status != metav1.ConditionTrue || !strings.HasPrefix(c.Message, "Fall Back") || !strings.Contains(c.Message, "spec.rules[0].foo: unknown field") {
		t.Errorf("condition %+v", c)
	}
	if got := statusOf[gatewayv1.GatewayStatus](t, out, kindGateway, "front").Conditions[0]; got.Status != metav1.ConditionTrue || !strings.Contains(got.Message, "last accepted version") {
		t.Errorf("gateway condition %+v", got)
	}
	if got := statusOf[v1alpha1.BackendStatus](t, out, kindBackend, "site").Conditions[0]; !strings.Contains(got.Message, "last accepted version") {
		t.Errorf("backend condition %+v", got)
	}
	if n := len(out.Snapshot.RouteTables[0].Entries); n != 1 {
		t.Errorf("%d entries, want the retained route's", n)
	}
}

// TestUnknownValues: enums may grow; what is unknown is refused and never crashes.
func TestUnknownValues(t *testing.T) {
	for name, change := range map[string]func(*gatewayv1.HTTPRouteRule){
		"filter": func(r *gatewayv1.HTTPRouteRule) { r.Filters = []gatewayv1.HTTPRouteFilter{{Type: "Teleport"}} },
		"path":   func(r *gatewayv1.HTTPRouteRule) { r.Matches[0].Path.Type = ptr(gatewayv1.PathMatchType("Glob")) },
		"scheme": func(r *gatewayv1.HTTPRouteRule) {
			r.Filters = []gatewayv1.HTTPRouteFilter{{Type: gatewayv1.HTTPRouteFilterRequestRedirect, RequestRedirect: &gatewayv1.HTTPRequestRedirectFilter{Scheme: ptr("gopher")}}}
		},
		"code": func(r *gatewayv1.HTTPRouteRule) {
			r.Filters = []gatewayv1.HTTPRouteFilter{{Type: gatewayv1.HTTPRouteFilterRequestRedirect, RequestRedirect: &gatewayv1.HTTPRequestRedirectFilter{StatusCode: ptr(305)}}}
		},
		"modifier": func(r *gatewayv1.HTTPRouteRule) {
			r.Filters = []gatewayv1.HTTPRouteFilter{{Type: gatewayv1.HTTPRouteFilterURLRewrite, URLRewrite: &gatewayv1.HTTPURLRewriteFilter{Path: &gatewayv1.HTTPPathModifier{Type: "Reverse"}}}}
		},
		"prefix": func(r *gatewayv1.HTTPRouteRule) {
			r.Matches[0].Path.Type = ptr(gatewayv1.PathMatchExact)
			r.Filters = []gatewayv1.HTTPRouteFilter{{Type: gatewayv1.HTTPRouteFilterURLRewrite, URLRewrite: &gatewayv1.HTTPURLRewriteFilter{Path: &gatewayv1.HTTPPathModifier{Type: gatewayv1.PrefixMatchHTTPPathModifier, ReplacePrefixMatch: ptr("/x")}}}}
		},
		"duration": func(r *gatewayv1.HTTPRouteRule) {
			r.Timeouts = &gatewayv1.HTTPRouteTimeouts{Request: ptr(gatewayv1.Duration("1d"))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			route := benchRoute("site", 1)
			route.Spec.Rules[0].Matches = []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Value: ptr("/a")}}, {}}
			if name == "prefix" {
				route.Spec.Rules[0].Matches = route.Spec.Rules[0].Matches[:1]
			}
			change(&route.Spec.Rules[0])
			out := translateAll(object(groupGateway, kindGateway, "front", gatewayOf("front", httpListener("http", ""))),
				object(groupGateway, kindHTTPRoute, "site", route), object(groupWeir, kindBackend, "site", &v1alpha1.Backend{}))
			status := statusOf[gatewayv1.HTTPRouteStatus](t, out, kindHTTPRoute, "site")
			if got, want := conditionsText(status.Parents[0].Conditions), "Accepted=False UnsupportedValue, ResolvedRefs=True ResolvedRefs"; got != want {
				t.Errorf("got %s\nwant %s", got, want)
			}
			r := out.Snapshot.RouteTables[0].Entries[0].Route
			if r.Refusal == nil || r.Refusal.Status != 500 || r.Refusal.Flag != "NC" {
				t.Errorf("refusal %+v, want 500 NC", r.Refusal)
			}
			if r.Redirect != nil || r.Rewrite != nil || len(r.Split.Arms) > 0 {
				t.Errorf("a refused rule still does something: %+v", r)
			}
			if n := statusOf[gatewayv1.GatewayStatus](t, out, kindGateway, "front").Listeners[0].AttachedRoutes; n != 0 {
				t.Errorf("attachedRoutes %d, want 0: only accepted routes count", n)
			}
		})
	}
}

// TestIncompatibleFilters has a reason of its own.
func TestIncompatibleFilters(t *testing.T) {
	route := benchRoute("site", 1)
	route.Spec.Rules[0].Filters = []gatewayv1.HTTPRouteFilter{
		{Type: gatewayv1.HTTPRouteFilterRequestRedirect, RequestRedirect: &gatewayv1.HTTPRequestRedirectFilter{}},
		{Type: gatewayv1.HTTPRouteFilterURLRewrite, URLRewrite: &gatewayv1.HTTPURLRewriteFilter{}},
	}
	out := translateAll(object(groupGateway, kindGateway, "front", gatewayOf("front", httpListener("http", ""))),
		object(groupGateway, kindHTTPRoute, "site", route), object(groupWeir, kindBackend, "site", &v1alpha1.Backend{}))
	status := statusOf[gatewayv1.HTTPRouteStatus](t, out, kindHTTPRoute, "site")
	if got := status.Parents[0].Conditions[0].Reason; got != "IncompatibleFilters" {
		t.Errorf("reason %s", got)
	}
}

// TestCommonHostname compares the intersection with what its members match.
func TestCommonHostname(t *testing.T) {
	hostname := rapid.Custom(func(t *rapid.T) string {
		labels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab"}), 1, 3).Draw(t, "labels")
		return strings.Join(append(rapid.SampledFrom([][]string{nil, {"*"}}).Draw(t, "star"), labels...), ".")
	})
	matches := func(pattern, host string) bool {
		if suffix, ok := strings.CutPrefix(pattern, "*."); ok {
			return strings.HasSuffix(host, "."+suffix)
		}
		return pattern == "" || pattern == host
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := hostname.Draw(t, "a"), hostname.Draw(t, "b")
		if rapid.Bool().Draw(t, "any") {
			a = ""
		}
		common, ok := commonHostname(a, b)
		for range 20 {
			host := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab"}), 1, 5).Draw(t, "host"), ".")
			if got, want := ok && matches(common, host), matches(a, host) && matches(b, host); got != want {
				t.Fatalf("%q and %q: %q matches %s: %t, want %t", a, b, common, host, got, want)
			}
		}
	})
}

func TestCompareHostnames(t *testing.T) {
	want := []string{"a.test", "b.example.com", "*.b.example.com", "*.a.test", "*.test", ""}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareHostnames)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "700ms": 700 * time.Millisecond, "1m30s": 90 * time.Second, "720h": 720 * time.Hour, "1h1m1s1ms": time.Hour + time.Minute + time.Second + time.Millisecond,
	} {
		if got, err := parseDuration(gatewayv1.Duration(text)); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1", "1d", "1.5s", "-1s", "100000s", "1s1s1s1s1s", "1 s"} {
		if got, err := parseDuration(gatewayv1.Duration(text)); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}

// TestDefaults checks the table for people against what is filled in.
func TestDefaults(t *testing.T) {
	var route model.Route
	fillRequest(&route, requestSide{}, requestSide{})
	if route.Retry != nil {
		t.Errorf("retries by default: %+v", route.Retry)
	}
	var compressing model.Route
	fillCompression(&compressing, compressionSide{algorithms: &setting[[]model.Coding]{value: []model.Coding{model.CodingGzip}}})
	compression := compressing.Compression
	var retrying model.Route
	fillRetry(&retrying, retrySide{attempts: &setting[int]{value: 1}, hedge: &setting[hedging]{value: hedging{after: 1}}}, retrySide{})
	retry := retrying.Retry
	var overloaded model.Route
	fillOverload(&overloaded, overloadSide{
		concurrency: &setting[concurrency]{value: concurrency{limit: 1, scope: "s"}}, fairBy: &setting[[]model.Key]{}, window: &setting[time.Duration]{value: defaultThrottleWindow},
	})
	overload := overloaded.Overload
	adaptive := new(policyReader).readConcurrency(&v1alpha1.Concurrency{Adaptive: &v1alpha1.AdaptiveConcurrency{}})
	var tripping model.Cluster
	fillBreaker(&tripping, breakerSide{of: &setting[int]{value: defaultTripOf}})
	trip := tripping.Breaker.Trip
	var cluster model.Cluster
	fillBackend(&cluster, backendSide{})
	outlier := cluster.Outlier
	if cluster.Breaker != (model.Breaker{Mode: model.ModeEnforce}) || cluster.RetryBudget != nil || route.Overload != nil {
		t.Errorf("protections by default: %+v, %+v, %+v", cluster.Breaker, cluster.RetryBudget, route.Overload)
	}
	fillHealthCheck(&cluster, healthSide{kind: &setting[model.HealthCheckType]{value: model.HealthCheckHTTP}}, false)
	check := cluster.HealthCheck
	var client model.Client
	fillClient(&client, clientSide{})
	var tls model.TLS
	fillTLS(&tls, clientSide{})
	want := map[string]string{
		"TCPRoute, TLSRoute timeouts.idle": defaultStreamIdle.String(), "UDPRoute timeouts.idle": defaultSessionIdle.String(),
		"client.http3": fmt.Sprint(client.HTTP3), "client.proxyProtocol": fmt.Sprint(client.ProxyProtocol),
		"client.tls.minVersion": fmt.Sprintf("%q", tls.MinVersion), "client.tls.cipherSuites": fmt.Sprint(tls.CipherSuites),
		"client.tls.handshakeTimeout": map[bool]string{true: "client.headTimeout"}[tls.Handshake == client.HeadTimeout], "client.tls.maxHandshakes": fmt.Sprint(tls.MaxHandshakes),
		"timeouts.request": route.Timeouts.Request.String(), "timeouts.perTry": route.Timeouts.PerTry.String(), "timeouts.idle": route.Timeouts.Idle.String(),
		"timeouts.connect": cluster.ConnectTimeout.String(), "timeouts.keepAlive": cluster.KeepAlive.String(), "loadBalancing.algorithm": string(cluster.Balancing.Algorithm),
		"healthCheck.http.expect": fmt.Sprintf("[%q]", check.Expect[0]), "healthCheck.grpc.service": fmt.Sprintf("%q", check.Service),
		"healthCheck.interval": check.Interval.String(), "healthCheck.timeout": check.Timeout.String(),
		"healthCheck.healthyAfter": fmt.Sprint(check.HealthyAfter), "healthCheck.unhealthyAfter": fmt.Sprint(check.UnhealthyAfter),
		"hashOn": fmt.Sprint(route.HashOn), "loadBalancing.slowStart": cluster.Balancing.SlowStart.String(), "loadBalancing.zoneAware": fmt.Sprint(cluster.Balancing.ZoneAware),
		"loadBalancing.panicThreshold": fmt.Sprintf("%v%%", 100*cluster.Balancing.PanicThreshold), "loadBalancing.boundedLoad": fmt.Sprintf("%q", fmt.Sprint(cluster.Balancing.BoundedLoad)),
		"compression.algorithms": "[]", "compression.minSize": fmt.Sprintf("%dKi", compression.MinSize>>10),
		"compression.types": "[" + strings.Join(compression.Types, ", ") + "]", "compression.credentials": fmt.Sprint(compression.Credentials),
		"client.headTimeout": client.HeadTimeout.String(), "client.bodyTimeout": client.BodyTimeout.String(), "client.keepAlive": client.KeepAlive.String(),
		"client.maxConnections": fmt.Sprint(client.MaxConnections), "client.maxHead": fmt.Sprintf("%dKi", client.MaxHead>>10),
		"client.underscoreHeaders": string(client.Underscores), "client.pathEscapes": string(client.Escapes),
		"client.flagHeaders": fmt.Sprint(client.FlagHeaders), "client.trust.hops": fmt.Sprint(client.TrustHops),
		"retries.attempts": "0", "retries.retryOn": "[" + strings.ReplaceAll(strings.Trim(fmt.Sprint(retry.On), "[]"), " ", ", ") + "]",
		"retries.methods":      "[" + strings.Join(retry.Methods, ", ") + "]",
		"retries.backoff.base": retry.BackoffBase.String(), "retries.backoff.max": retry.BackoffMax.String(),
		"retries.idempotencyHeader": fmt.Sprintf("%q", retry.IdempotencyHeader), "retries.bodyReplay": fmt.Sprintf("%dKi", retry.BodyReplay>>10),
		"retries.budget.percent": fmt.Sprintf("%v%%", 100*retry.Budget.Share), "retries.budget.minPerSecond": fmt.Sprint(retry.Budget.MinPerSecond),
		"retries.budget.mode": string(retry.Budget.Mode), "retries.hedge.mode": string(retry.Hedge.Mode),
		"retries.hedge": "none", "retries.hedge.max": fmt.Sprint(retry.Hedge.Max), "retries.nested": fmt.Sprint(retry.Nested),
		"overload": "none", "overload.concurrency.adaptive.min": fmt.Sprint(adaptive.min), "overload.concurrency.adaptive.max": fmt.Sprint(adaptive.max),
		"overload.queue.size": fmt.Sprint(overload.Queue.Size), "overload.queue.timeout": overload.Queue.Timeout.String(),
		"overload.queue.order":          map[bool]string{true: "LIFO", false: "FIFO"}[overload.Queue.LIFO],
		"overload.throttle.acceptRatio": fmt.Sprintf("\"%.1f\"", overload.Throttle.AcceptRatio), "overload.throttle.window": overload.Throttle.Window.String(),
		"overload.mode": string(overload.Mode), "circuitBreaker": "none", "circuitBreaker.mode": string(cluster.Breaker.Mode),
		"circuitBreaker.trip.failures": fmt.Sprintf("%v%%", 100*trip.Failures), "circuitBreaker.trip.of": fmt.Sprint(trip.Of),
		"circuitBreaker.trip.openFor": trip.OpenFor.String(), "circuitBreaker.trip.probes": fmt.Sprint(trip.Probes),
		"outlierDetection.consecutive5xx": fmt.Sprint(outlier.Consecutive5xx), "outlierDetection.consecutiveLocal": fmt.Sprint(outlier.ConsecutiveLocal),
		"outlierDetection.failureShare": fmt.Sprintf("%v%%", 100*outlier.FailureShare), "outlierDetection.successRateDeviation": fmt.Sprintf("%q", fmt.Sprint(outlier.SuccessRateDeviation)),
		"outlierDetection.slowerThanMedian": fmt.Sprintf("%q", fmt.Sprint(outlier.SlowerThanMedian)), "outlierDetection.interval": outlier.Interval.String(),
		"outlierDetection.minRequests": fmt.Sprint(outlier.MinRequests), "outlierDetection.baseEjectionTime": outlier.BaseEjection.String(),
		"outlierDetection.maxEjectionTime": outlier.MaxEjection.String(), "outlierDetection.maxEjected": fmt.Sprintf("%v%%", 100*outlier.MaxEjected),
		"outlierDetection.maxEjectedHosts": fmt.Sprint(outlier.MaxEjectedHosts), "outlierDetection.mode": string(outlier.Mode),
		"client.streams.maxConcurrent": fmt.Sprint(client.Streams.MaxConcurrent), "client.streams.window": fmt.Sprintf("%dKi", client.Streams.Window>>10),
		"client.streams.resets":    fmt.Sprint(client.Streams.Resets),
		"client.trust.identities":  fmt.Sprint(client.TrustIdentities),
		"HTTPRoute retry.attempts": fmt.Sprint(defaultRetryAttempts), "HTTPRoute retry.backoff": defaultRetryBackoff.String(),
		"HTTPRoute sessionPersistence.sessionName": "weir-session-...",
	}
	got := map[string]string{}
	for _, d := range Defaults {
		if kind, _, of := strings.Cut(d.Field, " "); !of || !slices.ContainsFunc(additionKinds, func(k additionKind) bool { return k.kind == kind }) {
			got[d.Field] = d.Value // the others are TestAdditionDefaults'
		}
		if d.Reason == "" {
			t.Errorf("%s has no reason", d.Field)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// unclaimed are the features of the kinds we serve that this version does not claim, and why.
var unclaimed = map[features.FeatureName]string{
	features.SupportGatewayInfrastructure: "there is no object whose labels it could set",
}

// TestFeatures: each feature that upstream has for our kinds is claimed, or there is a reason;
// upstream wants them sorted and at most 64.
func TestFeatures(t *testing.T) {
	known := map[features.FeatureName]bool{}
	for _, set := range []sets.Set[features.Feature]{
		features.GatewayCoreFeatures, features.GatewayExtendedFeatures, features.HTTPRouteCoreFeatures,
		features.HTTPRouteExtendedFeatures, features.GRPCRouteCoreFeatures, features.GRPCRouteExtendedFeatures, features.ReferenceGrantCoreFeatures,
		features.BackendTLSPolicyCoreFeatures, features.BackendTLSPolicyExtendedFeatures,
		features.TLSRouteCoreFeatures, features.TLSRouteExtendedFeatures, features.TCPRouteExtendedFeatures, features.UDPRouteFeatures,
	} {
		for f := range set {
			name := f.Name
			known[name] = true
			if claimed := slices.Contains(Features, gatewayv1.FeatureName(name)); claimed == (unclaimed[name] != "") {
				t.Errorf("%s: claimed %t, reason not to: %q", name, claimed, unclaimed[name])
			}
		}
	}
	names := slices.Collect(maps.Keys(unclaimed))
	for _, name := range Features {
		names = append(names, features.FeatureName(name))
	}
	for _, name := range names {
		if !known[name] {
			t.Errorf("upstream has no feature %s", name)
		}
	}
	if !slices.IsSorted(Features) || len(Features) > 64 {
		t.Errorf("%d features, sorted: %t", len(Features), slices.IsSorted(Features))
	}
}

// TestRenamedController forgets what the memo knew of another controller's classes.
func TestRenamedController(t *testing.T) {
	class := &gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "edge"}, Spec: gatewayv1.GatewayClassSpec{ControllerName: "example.com/mine"}}
	g := gatewayOf("front", httpListener("http", ""))
	g.Spec.GatewayClassName = "edge"
	key := resource.Key{Group: groupGateway, Kind: kindGatewayClass, Name: "edge"}
	set := resource.NewSet([]*resource.Object{{Key: key, Value: class}, object(groupGateway, kindGateway, "front", g)}, nil)
	memo := NewMemo()
	if n := len(Translate(Input{Set: set, Memo: memo}).Snapshot.Listeners); n != 0 {
		t.Errorf("%d sockets for another controller's class", n)
	}
	if n := len(Translate(Input{Set: set, Memo: memo, ControllerName: "example.com/mine"}).Snapshot.Listeners); n != 1 {
		t.Errorf("%d sockets for our class, want 1", n)
	}
}
