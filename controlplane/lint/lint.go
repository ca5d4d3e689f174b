// Package lint says what in a set of resources is probably not meant: references to
// nothing, rules that no request reaches, policies that contradict themselves. It reads
// resources and what translate made of them; it changes nothing and refuses nothing.
package lint

import (
	"fmt"
	"slices"
	"time"

	"weir.dev/weir/controlplane/explain"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// Level is how seriously a rule is taken.
type Level string

// The levels.
const (
	Error    Level = "error"
	Warning  Level = "warning"
	Disabled Level = "disabled"
)

// Rule is one thing that lint looks for.
type Rule struct {
	Name string
	// Level is the rule's own; a Config may set another. Translation may report the lesser
	// cases of a rule below it.
	Level Level
	// Doc is one sentence.
	Doc string
	// check finds cases; nil for rules whose cases are in translate's diagnostics.
	check func(*pass)
}

// Rules are all rules, in the order of names.
var Rules = []Rule{
	{"announced-http3", Warning, "A listener that wants PROXY headers serves HTTP/3, whose clients have none.", announcedHTTP3},
	{"bounded-load-without-hash", Warning, "The load of hosts is bounded where the algorithm does not hash: the bound has no effect.", boundedLoadWithoutHash},
	{translate.RuleBreaksRequired, Error, "A policy, or a rule's own timeouts or retry, breaks what a policy of the Gateway or GatewayClass above requires, and has no effect there.", nil},
	{"call-cycle", Warning, "Services call each other in a circle.", callCycle},
	{"certificate-expired", Error, "A certificate in use has expired, or is not valid yet.", certificateExpired},
	{"certificate-expires-soon", Warning, "A certificate in use expires within 30 days, or within the last third of its life if that is shorter.", certificateExpiresSoon},
	{"certificate-hostname", Warning, "No certificate of an HTTPS listener is for its hostname, or for that of a route.", certificateHostname},
	{"certificate-weak", Warning, "A certificate in use has a key or signature that clients no longer accept.", certificateWeak},
	{"check-longer-than-interval", Warning, "A health check may take longer than there is from one to the next.", checkLongerThanInterval},
	{"clear-credentials", Warning, "A gate shows a token or password to a server that it asks without TLS.", clearCredentials},
	{translate.RuleClientSettings, Warning, "Listeners that share a socket have different client settings, of which only one set holds: the oldest gateway's, and of that the first listener's.", nil},
	{"constant-key", Warning, "An expression that is a key names nothing of the request: one host gets all requests of a rule.", constantKey},
	{"contradictory-timeouts", Error, "One try of a request may take as long as all tries together, or longer.", contradictoryTimeouts},
	{"copies-to-canary", Warning, "A canary gets copies of requests beside its share, which no test sees.", copiesToCanary},
	{translate.RuleDuplicateAddress, Warning, "A Backend lists one address twice.", nil},
	{"duplicate-hostname", Warning, "A route lists one hostname twice.", duplicateHostname},
	{"empty-listener", Warning, "A listener of TCP, TLS or UDP has no route, so that whatever comes is closed or dropped.", emptyListener},
	{"fault-of-everything", Warning, "A fault leaves no request of a whole route alone.", faultOfEverything},
	{translate.RuleForeignClass, Warning, "A Gateway is of a class that Weir does not serve.", nil},
	{"grpc-check-by-http1", Warning, "A health check calls gRPC, which needs HTTP/2, where the backend says that it speaks HTTP/1.1.", grpcCheckByHTTP1},
	{"hash-with-ejection", Warning, "An algorithm that hashes over hosts that are ejected: keys move away and back each time.", hashWithEjection},
	{"hash-with-priorities", Warning, "An algorithm that hashes over endpoints of several priorities: keys move whenever one priority fails over to the next.", hashWithPriorities},
	{"hash-with-slow-start", Warning, "An algorithm that hashes ignores slowStart.", hashWithSlowStart},
	{"hash-with-zones", Warning, "An algorithm that hashes ignores zones.", hashWithZones},
	{"hash-without-key", Warning, "An algorithm that hashes is reached by a rule that says no key: hosts are chosen at random.", hashWithoutKey},
	{"hedge-of-large-bodies", Warning, "Requests with large bodies are sent to several hosts at once.", hedgeOfLargeBodies},
	{"hedge-of-one-host", Warning, "A second try beside a slow one has no other host to go to.", hedgeOfOneHost},
	{"identity-unknown", Warning, "A key is the client's identity where no listener asks for client certificates: no request ever has it.", identityUnknown},
	{"idle-backend-tls", Warning, "TLS passes through to a backend that has TLS settings, which then have no effect.", idleBackendTLS},
	{"idle-breaker", Warning, "A bound of a breaker is never reached, for another one is before it.", idleBreaker},
	{"idle-client-tls", Warning, "A policy says how TLS is spoken, and is for no listener that speaks it.", idleClientTLS},
	{"idle-connect-timeout", Warning, "The time for connecting is over only when the try is, so that it never acts.", idleConnectTimeout},
	{"idle-degrade", Warning, "A step of degradation gives up what there is not.", idleDegrade},
	{"idle-ejection", Warning, "Hosts are to be ejected where there are too few to judge or to spare.", idleEjection},
	{"idle-health-check", Warning, "A health check is set for a backend of UDP, whose hosts are not checked.", idleHealthCheck},
	{"idle-hedge", Error, "A second try would begin when the first is over already.", idleHedge},
	{"idle-http3", Warning, "HTTP/3 is asked for where no listener speaks TLS, without which there is none.", idleHTTP3},
	{"idle-limit", Warning, "A limit of concurrency is never reached, for a breaker behind it is before it.", idleLimit},
	{"idle-retries", Warning, "Retries are set, and a budget that lets none through.", idleRetries},
	{translate.RuleInvalidValue, Error, "A value is of the right type but means nothing, such as a regular expression that does not parse.", nil},
	{"key-after-client-ip", Warning, "A key stands behind clientIP, which every request has, and never counts.", keyAfterClientIP},
	{"key-with-session", Warning, "Keys are set where sessions decide which host gets a request.", keyWithSession},
	{"key-without-hash", Warning, "Keys are set for requests to a backend whose algorithm does not hash: they have no effect.", keyWithoutHash},
	{"lasting-fault", Warning, "A fault is over and still written, or has no end within a week.", lastingFault},
	{translate.RuleListenerConflict, Error, "Listeners cannot be told apart, or want the same port.", nil},
	{"loose-budget", Warning, "A retry budget is so large that it bounds nothing in an outage.", looseBudget},
	{"mirror-of-writes", Warning, "Requests that change something are mirrored, and so done twice.", mirrorOfWrites},
	{"mirror-to-self", Warning, "Requests are mirrored to a backend that receives them anyway.", mirrorToSelf},
	{"mixed-protocols", Warning, "Routes of HTTP and of gRPC refer to a backend that does not say what it speaks: all requests go there by HTTP/2.", mixedProtocols},
	{"no-destination", Error, "A rule neither redirects nor has a backend with weight, so that nothing can be sent anywhere.", noDestination},
	{"no-endpoints", Warning, "A backend that a route uses has no endpoint that is ready and has weight, so that its requests fail.", noEndpoints},
	{translate.RuleNotAttached, Error, "A parent does not take the route or the ListenerSet.", nil},
	{"outlived-by-callee", Warning, "A service may work on for a caller that has given up.", outlivedByCallee},
	{"overload-without-limit", Warning, "A queue, a mode or steps of degradation are set where no limit of concurrency ever brings them about.", overloadWithoutLimit},
	{"panic-after-ejection", Warning, "So many hosts may be ejected that the backend panics, and sends requests to them again.", ejectionPanics},
	{"passthrough-check", Warning, "A health check asks hosts to which TLS passes through: it is no more than a connection, or goes there in clear text.", passthroughCheck},
	{"policy-beaten-by-rule", Warning, "A policy sets what every rule that it is for sets itself, which comes first.", policyBeatenByRule},
	{translate.RulePolicyConflict, Error, "Several policies are attached to one target, of which one holds.", nil},
	{translate.RulePolicyInvalid, Error, "A policy is attached to a target that it cannot be for.", nil},
	{"queue-outlasts-request", Error, "A request may wait in the queue for all the time that it has.", queueOutlastsRequest},
	{translate.RuleRequirementUnmet, Warning, "A policy requires what does not hold anywhere below it, and what no policy below says.", nil},
	{"retries-without-budget", Warning, "Nobody has bounded retries to a share of the requests, and only the default does.", retriesWithoutBudget},
	{"retries-without-timeout", Warning, "Retries without a time for one try: a host that hangs uses up the whole request.", retriesWithoutTimeout},
	{"retry-amplification", Warning, "Several tiers of a call chain retry, and together make more than three requests of one.", retryAmplification},
	{translate.RuleRouteConflict, Error, "An HTTPRoute and a GRPCRoute want one hostname on a listener, which goes to the older one or the first by name.", nil},
	{"rule-beaten-by-override", Warning, "A rule sets a field in whose place the overrides of a Gateway or GatewayClass hold.", ruleBeatenByOverride},
	{"sampling-without-key", Warning, "A release counts users whom nothing tells apart: they change versions with each request, or none comes to the canary.", samplingWithoutKey},
	{"session-name-reused", Warning, "Rules with different backends give their sessions one name, so that clients lose one for the other.", sessionNameReused},
	{"session-with-sampling", Warning, "Users are sampled so that a release tears their sessions.", sessionWithSampling},
	{"session-with-weights", Warning, "Backends with different weights where sessions decide: the weights are not the shares of requests.", sessionWithWeights},
	{"session-without-weight", Warning, "A backend without weight keeps the sessions that began there, which never end.", sessionWithoutWeight},
	{"shadow-of-writes", Warning, "Requests that change something are copied, and so done twice.", shadowOfWrites},
	{"shadow-to-self", Warning, "Requests are copied to the backend that receives them anyway.", shadowToSelf},
	{"shadowed-route", Warning, "Another route, older or first by name, has the same match for the same hostname.", shadowedRoute},
	{translate.RuleShadowedStream, Warning, "A TCPRoute, TLSRoute or UDPRoute shares a listener, or a hostname of one, with another that is older or first by name and gets everything.", nil},
	{"shed-by-no-class", Warning, "A step of degradation sheds a class that no request has, or every one.", shedByNoClass},
	{"stale-with-credentials", Warning, "Old answers are to be served where requests carry credentials, whose answers are never kept.", staleWithCredentials},
	{"stream-loop", Error, "A TCPRoute, TLSRoute or UDPRoute leads back to its own listener.", streamLoop},
	{"suites-without-key", Warning, "Cipher suites are set of which none goes with the key of a certificate.", suitesWithoutKey},
	{"trip-by-one-request", Warning, "One request that fails in every try opens a breaker for all.", tripByOneRequest},
	{"trust-without-certificates", Warning, "Callers are trusted by an identity where no listener asks for client certificates.", trustWithoutCertificates},
	{"unattached-route", Error, "No listener of a Gateway or ListenerSet takes the route, so that nothing reaches it.", unattachedRoute},
	{"ungated-release", Warning, "A canary gets everything without a gate, or stages pass without anything that tests it.", ungatedRelease},
	{"unknown-callee", Warning, "A backend is said to call one that is not there: what that does to a chain of calls is not counted.", unknownCallee},
	{"unreachable-priority", Warning, "A priority stands behind one that every request has, and gives no request its class.", unreachablePriority},
	{"unreachable-rule", Warning, "An earlier rule of the route has the same match.", unreachableRule},
	{"unreachable-try", Error, "The last try can never start when those before it take all of their time; what is merely late or cut short is said below an error.", unreachableTry},
	{translate.RuleUnresolved, Error, "A reference is to something that is not there, or not granted.", nil},
	{"unretried-timeout", Warning, "A try that times out is not tried again, though there are retries and time for them.", unretriedTimeout},
	{"unsafe-retries", Warning, "Methods that are not idempotent are sent again, or to two hosts at once.", unsafeRetries},
	{translate.RuleUnsupported, Error, "Something is asked for that this version does not do.", nil},
	{"untried-canary", Warning, "Gates alone are to switch to a canary that no cohort tries: they wait until somebody promotes it.", untriedCanary},
	{"unused-backend", Warning, "No route refers to the Backend.", unusedBackend},
	{"zones-unknown", Warning, "Zone awareness where no endpoint says its zone: it has no effect.", zonesUnknown},
}

// Override sets the level of a rule.
type Override struct {
	Rule   string
	Level  Level
	Reason string // for the next reader; required
}

// Config changes what lint reports. The zero Config leaves every rule at its own level.
type Config struct {
	Overrides []Override
	// Now is when certificates are judged; zero: when Run is called.
	Now time.Time
	// Amplification is how many requests one may become along a path of calls before
	// retry-amplification speaks of it; 0: three.
	Amplification float64
	// Observed are calls between services that telemetry has seen, beside those that are declared.
	Observed []explain.Call
}

// Check returns an error for an override that names no rule or level, or has no reason.
func (c Config) Check() error {
	for _, o := range c.Overrides {
		switch {
		case !slices.ContainsFunc(Rules, func(r Rule) bool { return r.Name == o.Rule }):
			return fmt.Errorf("lint: there is no rule %q", o.Rule)
		case !slices.Contains([]Level{Error, Warning, Disabled}, o.Level):
			return fmt.Errorf("lint: rule %s: level %q is not one of error, warning and disabled", o.Rule, o.Level)
		case o.Reason == "":
			return fmt.Errorf("lint: rule %s: an override needs a reason", o.Rule)
		}
	}
	return nil
}

// level returns the level that an override sets, if one does; of several the last counts.
func (c Config) level(rule string) (Level, bool) {
	for _, o := range slices.Backward(c.Overrides) {
		if o.Rule == rule {
			return o.Level, true
		}
	}
	return "", false
}

// Apply sets the severity of diagnostics whose rules have an override, and leaves out those
// that it disables. It is for translate's diagnostics; Run's have been through it.
func (c Config) Apply(found []resource.Diagnostic) []resource.Diagnostic {
	applied := make([]resource.Diagnostic, 0, len(found))
	for _, d := range found {
		level, overridden := c.level(d.Rule)
		if level == Disabled {
			continue
		}
		if overridden {
			d.Severity = severities[level]
		}
		applied = append(applied, d)
	}
	return applied
}

// RunUntil is Run with every rule at its own level. It also says until when certificates allow the same to be said
// of the same set; zero: for ever.
func RunUntil(set *resource.Set, out translate.Output) (found []resource.Diagnostic, until time.Time) {
	p := Config{}.pass(set, out)
	return Config{}.run(p), p.turn()
}

// Run returns what lint finds beyond the problems of the set itself and the diagnostics of
// the translation, in the order of positions.
func (c Config) Run(set *resource.Set, out translate.Output) []resource.Diagnostic {
	return c.run(c.pass(set, out))
}

func (c Config) pass(set *resource.Set, out translate.Output) *pass {
	p := &pass{set: set, out: out, now: c.Now, amplification: c.Amplification, observed: c.Observed}
	if p.now.IsZero() {
		p.now = time.Now()
	}
	return p
}

func (c Config) run(p *pass) []resource.Diagnostic {
	for _, r := range Rules {
		if r.check != nil {
			p.rule, p.severity = r.Name, severities[r.Level]
			r.check(p)
		}
	}
	found := p.set.MarkDeleted(c.Apply(p.found))
	resource.SortDiagnostics(found)
	return slices.Compact(found)
}

var severities = map[Level]resource.Severity{Error: resource.Error, Warning: resource.Warning}

// pass is one run over one set.
type pass struct {
	set      *resource.Set
	out      translate.Output
	now      time.Time
	rule     string
	severity resource.Severity
	found    []resource.Diagnostic
	shadows  []shadow // found once for two rules
	searched bool
	clusters map[string]*model.Cluster // once asked for, by name
	rules    []*model.Route            // once asked for
	served   []served                  // once asked for
	calls    *explain.Graph            // once asked for
	worst    *explain.Paths            // of calls; once asked for

	amplification float64 // Config's
	observed      []explain.Call
}

// cluster returns a cluster by its name, nil if there is none.
func (p *pass) cluster(name string) *model.Cluster {
	if p.clusters == nil {
		p.clusters = make(map[string]*model.Cluster, len(p.out.Snapshot.Clusters))
		for _, c := range p.out.Snapshot.Clusters {
			p.clusters[c.Name] = c
		}
	}
	return p.clusters[name]
}

// routes returns every route once, in the order of tables and of entries.
func (p *pass) routes() []*model.Route {
	if p.rules == nil {
		seen := map[*model.Route]bool{}
		for _, table := range p.out.Snapshot.RouteTables {
			for _, e := range table.Entries {
				if !seen[e.Route] {
					seen[e.Route] = true
					p.rules = append(p.rules, e.Route)
				}
			}
		}
	}
	return p.rules
}

// report notes a case of the current rule at a field of an object.
func (p *pass) report(o *resource.Object, field, format string, args ...any) {
	p.reportAt(o.Position(field), o.Key, field, fmt.Sprintf(format, args...))
}

func (p *pass) reportAt(at resource.Position, object resource.Key, field, message string) {
	p.found = append(p.found, resource.Diagnostic{
		Severity: p.severity, Rule: p.rule, At: at, Object: object, Field: field, Message: message,
	})
}
