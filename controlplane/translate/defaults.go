package translate

import (
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// Default is one row of the table of defaults: what holds where neither a policy nor a route
// says anything.
type Default struct {
	Field  string // of TrafficPolicy, or behind the name of another kind
	Value  string // as it would be written
	Reason string
}

// The defaults. Defaults lists them for people.
const (
	defaultRequest = 0
	defaultPerTry  = 0
	defaultIdle    = 60 * time.Second

	defaultRetriesAttempts = 0
	defaultRetriesBase     = 25 * time.Millisecond
	defaultRetriesMax      = 250 * time.Millisecond
	defaultRetriesReplay   = 64 << 10
	defaultRetriesNested   = false

	defaultBudgetShare        = 0.2
	defaultBudgetMinPerSecond = 3
	defaultHedgeMax           = 1

	defaultAdaptiveMin    = 10
	defaultAdaptiveMax    = 2000
	defaultQueueSize      = 100
	defaultQueueTimeout   = 50 * time.Millisecond
	defaultQueueOrder     = v1alpha1.QueueOrder("LIFO")
	defaultAcceptRatio    = 2.0
	defaultThrottleWindow = 30 * time.Second

	defaultCompressionMinSize     = 1 << 10
	defaultCompressionCredentials = false

	defaultConnect           = 2 * time.Second
	defaultUpstreamKeepAlive = 60 * time.Second
	defaultCheckInterval     = 5 * time.Second
	defaultCheckTimeout      = time.Second
	defaultHealthyAfter      = 2
	defaultUnhealthyAfter    = 3
	defaultAlgorithm         = model.LeastRequest
	defaultSlowStart         = 0
	defaultZoneAware         = false
	defaultPanicThreshold    = 0.5
	defaultBoundedLoad       = 0.0

	defaultTripFailures = 0.5
	defaultTripOf       = 20
	defaultTripOpenFor  = 5 * time.Second
	defaultTripProbes   = 3

	defaultConsecutiveLocal   = 5
	defaultOutlierInterval    = 10 * time.Second
	defaultOutlierMinRequests = 50
	defaultBaseEjection       = 30 * time.Second
	defaultMaxEjection        = 5 * time.Minute
	defaultMaxEjected         = 0.5

	defaultHeadTimeout     = 10 * time.Second
	defaultBodyTimeout     = 20 * time.Second
	defaultClientKeepAlive = 75 * time.Second
	defaultMaxConnections  = 10_000
	defaultMaxHead         = 64 << 10
	defaultUnderscores     = model.NameReject
	defaultEscapes         = model.EscapeReject
	defaultFlagHeaders     = true
	defaultHTTP3           = false

	defaultStreamsMaxConcurrent = 128
	defaultStreamsWindow        = 64 << 10
	defaultStreamsResets        = 500

	defaultProxyProtocol = false
	defaultTrustHops     = 0
	defaultMinVersion    = model.TLS12
	defaultMaxHandshakes = 0

	// What holds for streams and sessions instead of defaultIdle.
	defaultStreamIdle  = time.Hour
	defaultSessionIdle = 60 * time.Second

	defaultMaxDifference       = 0.01
	defaultConfidence          = v1alpha1.Confidence("99.9%")
	defaultConsecutiveFailures = 5
	defaultGuardQuantile       = v1alpha1.Quantile("p99")
	defaultMaxRatio            = v1alpha1.Ratio("1.5")
	defaultSampleFallback      = model.FallbackRequest
	defaultMinimumRequests     = 500
	defaultGateTimeout         = 10 * time.Second

	defaultShadowInFlight = 1000
	defaultShadowBody     = 64 << 10
	defaultCompareBody    = model.CompareJSON

	defaultObjectiveWindow = 720 * time.Hour

	// An HTTPRoute's retry stanza that leaves these out.
	defaultRetryAttempts = 1
	defaultRetryBackoff  = 25 * time.Millisecond

	// An HTTPRoute's sessionPersistence without a name.
	defaultSessionPrefix = "weir-session-"
)

var (
	// defaultRetriesOn are the failures after which no host has answered.
	defaultRetriesOn = []model.RetryOn{model.RetryConnectFailure, model.RetryReset, model.RetryRefusedStream}
	// defaultRetriesMethods are the idempotent methods that requests have.
	defaultRetriesMethods = []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}
)

// defaultShadowMethods are safe, and the ones that hosts answer.
var defaultShadowMethods = []string{"GET", "HEAD"}

// defaultExpect are the statuses that say that all is well.
var defaultExpect = []model.StatusRange{{First: 200, Last: 299}}

// defaultCompressionTypes are text and what is written like it.
var defaultCompressionTypes = []string{
	"text/*", "*/*+json", "*/*+xml", "application/json", "application/javascript", "application/xml",
	"application/x-ndjson", "application/yaml",
}

// Defaults is the table of defaults, in the order of TrafficPolicy's fields.
var Defaults = []Default{
	{"timeouts.request", durationText(defaultRequest), "no limit: a limit would cut long downloads and streams; idle ends what stalls"},
	{"timeouts.perTry", durationText(defaultPerTry), "no limit of its own, for the same reason"},
	{"timeouts.idle", durationText(defaultIdle), "no byte either way for a minute is a stall, not a slow answer"},
	{"TCPRoute, TLSRoute timeouts.idle", durationText(defaultStreamIdle), "connections of databases, brokers and shells rest for long, and nobody can tell rest from death"},
	{"UDPRoute timeouts.idle", durationText(defaultSessionIdle), "nothing else ends a session of UDP: 0s stands for this default; most are one question and its answer"},
	{"timeouts.connect", durationText(defaultConnect), "one lost SYN is sent again after a second (RFC 6298), a second loss is a failure"},
	{"timeouts.keepAlive", durationText(defaultUpstreamKeepAlive), "shorter than the idle timeout of common servers, so that a reused connection is rarely one that they just closed"},
	{"retries.attempts", strconv.Itoa(defaultRetriesAttempts), "a retry adds load when there is too much of it: who wants it says how much"},
	{"retries.retryOn", listText(defaultRetriesOn), "a connection that fails is the network's doing or a host's that ends; an answer is one, whatever it says"},
	{"retries.methods", listText(defaultRetriesMethods), "the idempotent ones (RFC 9110 section 9.2.2): to do them twice does no more than once"},
	{"retries.backoff.base", durationText(defaultRetriesBase), "long enough to leave a host that just restarted, short enough not to be noticed"},
	{"retries.backoff.max", durationText(defaultRetriesMax), "what waits longer had better fail, for its client waits, too; a longer base is the highest instead"},
	{"retries.idempotencyHeader", `""`, "only the service's owner knows whether it keeps a repeated key from doing things twice"},
	{"retries.bodyReplay", "64Ki", "most bodies fit; a thousand requests at once hold 64 MiB at most"},
	{"retries.budget.percent", "20%", "a backend that fails gets a fifth more, not several times as much; it holds for a rule's own retry as well"},
	{"retries.budget.minPerSecond", strconv.Itoa(defaultBudgetMinPerSecond), "a fifth of very little is nothing: three a second hurt nobody"},
	{"retries.budget.mode", string(model.ModeEnforce), "what is written is meant, and what is not protects those who forgot"},
	{"retries.hedge", "none", "it sends work twice; who wants that says when"},
	{"retries.hedge.max", strconv.Itoa(defaultHedgeMax), "the second try gains most, a third little more"},
	{"retries.hedge.mode", string(model.ModeEnforce), "what is written is meant"},
	{"retries.nested", strconv.FormatBool(defaultRetriesNested), "three tiers that make three tries each send 27: one tier is to retry"},
	{"overload", "none", "what a service carries only its owner knows"},
	{"overload.concurrency.adaptive.min", strconv.Itoa(defaultAdaptiveMin), "a limit below would not tell latency from chance"},
	{"overload.concurrency.adaptive.max", strconv.Itoa(defaultAdaptiveMax), "above min; a bound in case that latency does not rise with load"},
	{"overload.queue.size", strconv.Itoa(defaultQueueSize), "of a queue that is written: takes up a burst of some milliseconds"},
	{"overload.queue.timeout", durationText(defaultQueueTimeout), "who waits longer than that waits because there is too much, not by chance"},
	{"overload.queue.order", string(defaultQueueOrder), "the client of the youngest request is the likeliest to be there still"},
	{"overload.throttle.acceptRatio", `"2.0"`, "of a throttle that is written: half of what is sent may be refused before less is sent, so that recovery is seen soon"},
	{"overload.throttle.window", durationText(defaultThrottleWindow), "long enough to tell a trend, short enough to end with the trouble"},
	{"overload.mode", string(model.ModeEnforce), "what is written is meant"},
	{"hashOn", "[]", "which key tells requests apart, only their owner knows; without one RingHash and Maglev choose at random"},
	{"compression.algorithms", "[]", "compression costs CPU and weakens ETags, which only the service's owner can weigh; [zstd, br, gzip] is a good order"},
	{"compression.minSize", "1Ki", "what fits in one packet arrives no sooner when it is smaller"},
	{"compression.types", "[" + strings.Join(defaultCompressionTypes, ", ") + "]", "text and what is written like it; images, sound, video and archives are compressed already"},
	{"compression.credentials", strconv.FormatBool(defaultCompressionCredentials), "the size of a compressed answer can give away a secret in it (BREACH)"},
	{"healthCheck.http.expect", `["` + defaultExpect[0].String() + `"]`, "a redirect leads elsewhere, and nobody goes there to look"},
	{"healthCheck.grpc.service", `""`, "the host as a whole, which gRPC's health protocol calls by no name"},
	{"healthCheck.interval", durationText(defaultCheckInterval), "with unhealthyAfter a host that hangs is found within 15 s, at the cost of a request in 5 s from each proxy"},
	{"healthCheck.timeout", durationText(defaultCheckTimeout), "a host that takes longer to say that it is well, is not"},
	{"healthCheck.healthyAfter", strconv.Itoa(defaultHealthyAfter), "one success may be luck"},
	{"healthCheck.unhealthyAfter", strconv.Itoa(defaultUnhealthyAfter), "one lost packet or pause must not move the load to the others"},
	{"circuitBreaker", "none", "what a backend bears only its owner knows"},
	{"circuitBreaker.trip.failures", "50%", "of a trip that is written: less is for retries to repair"},
	{"circuitBreaker.trip.of", strconv.Itoa(defaultTripOf), "fewer would be chance"},
	{"circuitBreaker.trip.openFor", durationText(defaultTripOpenFor), "a restart's length; longer each time that the probes fail"},
	{"circuitBreaker.trip.probes", strconv.Itoa(defaultTripProbes), "one success may be luck"},
	{"circuitBreaker.mode", string(model.ModeEnforce), "what is written is meant"},
	{"outlierDetection.consecutive5xx", "0", "an answer may be wrong for the one who asked, not for the host"},
	{"outlierDetection.consecutiveLocal", strconv.Itoa(defaultConsecutiveLocal), "a host to which nothing connects is left alone; costs nothing while all is well"},
	{"outlierDetection.failureShare", "0%", "which share is too much only the owner knows"},
	{"outlierDetection.successRateDeviation", `"0"`, "unequal hosts are no outliers where their work is unequal"},
	{"outlierDetection.slowerThanMedian", `"0"`, "unequal machines are not ill; 3.0 is a good value where they are equal"},
	{"outlierDetection.interval", durationText(defaultOutlierInterval), "time for enough requests to compare"},
	{"outlierDetection.minRequests", strconv.Itoa(defaultOutlierMinRequests), "a share of fewer says little"},
	{"outlierDetection.baseEjectionTime", durationText(defaultBaseEjection), "a restart's length"},
	{"outlierDetection.maxEjectionTime", durationText(defaultMaxEjection), "a host that is well again is found within minutes; a longer baseEjectionTime is the most instead"},
	{"outlierDetection.maxEjected", "50%", "when half of the hosts do badly, it is not the hosts"},
	{"outlierDetection.maxEjectedHosts", "0", "the share is bound enough"},
	{"outlierDetection.mode", string(model.ModeEnforce), "what is written is meant"},
	{"loadBalancing.algorithm", string(defaultAlgorithm), "the less busy of two hosts adapts to slow ones and needs no tuning"},
	{"loadBalancing.slowStart", durationText(defaultSlowStart), "a host that is ready carries its share; slow start puts the rest on the others, and is for hosts that begin cold"},
	{"loadBalancing.zoneAware", strconv.FormatBool(defaultZoneAware), "it shifts load where zones have unequal hosts or clients; it is worth that where traffic between zones is slow or costs money"},
	{"loadBalancing.panicThreshold", "50%", "when half of the hosts look dead, what judges them is more likely wrong, and the other half could not carry the load"},
	{"loadBalancing.boundedLoad", `"0"`, "each key stays at its host; a bound moves some of a busy host's keys to the next"},
	{"client.headTimeout", durationText(defaultHeadTimeout), "a head is one packet or a few; slower is a slow-loris"},
	{"client.bodyTimeout", durationText(defaultBodyTimeout), "the gap between two pieces, not the whole body"},
	{"client.keepAlive", durationText(defaultClientKeepAlive), "longer than the 60 s of common load balancers in front, so that they close first"},
	{"client.maxConnections", strconv.Itoa(defaultMaxConnections), "bounds memory and descriptors on one listener"},
	{"client.maxHead", "64Ki", "large cookies fit, a flood of heads does not"},
	{"client.underscoreHeaders", string(defaultUnderscores), "servers that turn - into _ would mistake them for other fields"},
	{"client.pathEscapes", string(defaultEscapes), "servers that decode %2F would see another path than the one matched"},
	{"client.flagHeaders", strconv.FormatBool(defaultFlagHeaders), "says whose doing a failed answer was; switch it off for the public"},
	{"client.streams.maxConcurrent", strconv.Itoa(defaultStreamsMaxConcurrent), "browsers open a hundred; more would have one connection take what many share"},
	{"client.streams.window", "64Ki", "bodies pass at full speed over 5 ms of path, and four times that once they are read; 1Mi of memory a connection at most"},
	{"client.streams.resets", strconv.Itoa(defaultStreamsResets), "pages that are left at once give up a hundred or two; a rapid reset gives up thousands (CVE-2023-44487)"},
	{"client.http3", strconv.FormatBool(defaultHTTP3), "it opens a port of UDP, which firewalls and load balancers in front must let through"},
	{"client.proxyProtocol", strconv.FormatBool(defaultProxyProtocol), "only whoever stands in front knows whether connections begin so"},
	{"client.tls.minVersion", `"` + string(defaultMinVersion) + `"`, "what every current client speaks; TLS 1.0 and 1.1 are broken (RFC 8996)"},
	{"client.tls.handshakeTimeout", "client.headTimeout", "a handshake is a few packets each way, as a head is one or a few"},
	{"client.tls.maxHandshakes", strconv.Itoa(defaultMaxHandshakes), "a restart brings all clients at once, and behind a balancer they may have one address; as many are computed at a time as there are cores, and of QUIC, where an address is easily made up, 1000 are under way"},
	{"client.tls.cipherSuites", "[]", "Go's own choice for TLS 1.2: forward secrecy only, and AEADs first; those of TLS 1.3 are fixed"},
	{"client.trust.hops", strconv.Itoa(defaultTrustHops), "nobody's forwarded headers count until someone is named"},
	{"client.trust.identities", "[]", "nobody's x-weir headers count until someone is named"},
	{"Rollout strategy", string(StrategyCanary), "a share shows what is wrong before everybody meets it"},
	{"Rollout sampling.unit", "User where sampling.key or fallback is written, otherwise Request", "a user who changes versions from click to click meets what neither version would do alone; without a key nobody can tell users apart"},
	{"Rollout sampling.fallback", string(defaultSampleFallback), "a cookie that nobody asked for is for the owner of the site to decide"},
	{"Rollout stages.for", "0s", "minimumRequests and gates hold the stage for as long as they need"},
	{"Rollout guard.errors.maxDifference", "1%", "a release without a guard would be found out by its users; less is a matter of traffic: the smaller the difference, the more requests it takes to be sure"},
	{"Rollout guard.errors.confidence", string(defaultConfidence), "one false alarm in a thousand releases; a false alarm costs a release, not a user"},
	{"Rollout guard.latency", "none", "new code often has other latencies for good reasons: who minds says how much"},
	{"Rollout guard.latency.quantile", string(defaultGuardQuantile), "of a guard that is written: what one request in a hundred meets, most users meet"},
	{"Rollout guard.latency.maxRatio", `"` + string(defaultMaxRatio) + `"`, "cold caches make a quarter more; half more is a change"},
	{"Rollout guard.consecutiveFailures", strconv.Itoa(defaultConsecutiveFailures), "a version that fails always is back after five requests, long before any statistics"},
	{"Rollout minimumRequests", strconv.Itoa(defaultMinimumRequests), "a stage that nobody came through has shown nothing"},
	{"Rollout gates.webhook.timeout", durationText(defaultGateTimeout), "who needs longer for an answer says so; until it comes, the run holds"},
	{"Shadow methods", listText(defaultShadowMethods), "the safe ones (RFC 9110 section 9.2.1): a copy of anything else does it twice"},
	{"Shadow limits.inflight", strconv.Itoa(defaultShadowInFlight), "with bodies of 64Ki, 64 MiB each way at most"},
	{"Shadow limits.body", "64Ki", "most bodies fit"},
	{"Shadow compare", "none", "a copy shows load and crashes; what may differ in answers their owner knows"},
	{"Shadow compare.status", "true", "of a comparison that is written: it means the same in every service"},
	{"Shadow compare.headers", "[]", "most that differ, such as Date, differ always"},
	{"Shadow compare.body", string(defaultCompareBody), "order and spaces mean nothing in it; bodies of other types are compared as bytes"},
	{"Shadow compare.latency", "true", "it costs nothing to know"},
	{"Shadow compare.baseline", "false", "it sends the route's own backend a second copy of what is sampled"},
	{"ServiceLevelObjective window", durationText(defaultObjectiveWindow), "thirty days have each day of the week as often as the window before, nearly"},
	{"HTTPRoute retry.attempts", strconv.Itoa(defaultRetryAttempts), "one more try repairs a lost connection without multiplying load"},
	{"HTTPRoute retry.backoff", durationText(defaultRetryBackoff), "long enough to leave a host that just restarted, short enough not to be noticed"},
	{"HTTPRoute sessionPersistence.sessionName", defaultSessionPrefix + "...", "a hash of the rule's name: no other rule has it, every proxy does, and clients learn nothing by it"},
}

func durationText(d time.Duration) string { return d.String() }

func listText[T ~string](list []T) string {
	return "[" + strings.Join(asStrings[string](list), ", ") + "]"
}
