package telemetry

// FamilyType is a Prometheus metric type.
type FamilyType string

// The types in use.
const (
	Counter   FamilyType = "counter"
	Gauge     FamilyType = "gauge"
	Histogram FamilyType = "histogram"
)

// Family describes one metric. Families lists all of ours.
type Family struct {
	Name   string
	Type   FamilyType
	Labels []string
	Unit   string // of the value; empty: a number of what the name says
	Help   string
}

// The places of the metrics in Families. Route, cluster and host metrics come in the same
// order, so that one function collects all three.
const (
	famRequests = iota
	famFlags
	famCalls
	famDuration
	famInFlight
	famRetries
	famBytesIn
	famBytesOut
	famsPerKind

	famRoute   = 0
	famCluster = famsPerKind
	famHost    = 2 * famsPerKind
)

const (
	famHostHealthy = 3*famsPerKind + iota
	famHostConnections
	famHostOpened
	famHostConnectFailures
	famHostRaces
	famHostChecks
	famEjectedHosts
	famStreamConnections
	famStreamActive
	famStreamFlags
	famStreamDuration
	famStreamRetries
	famStreamBytesIn
	famStreamBytesOut
	famListenerConnections
	famListenerActive
	famListenerParked
	famListenerRefused
	famListenerHandshakes
	famListenerHandshaking
	famListenerBytesIn
	famListenerBytesOut
	famListenerDatagramsIn
	famListenerDatagramsOut
	famListenerDropped
	famProtection
	famBreakerRemaining
	famBreakerState
	famRetryBudget
	famConcurrencyLimit
	famConcurrencyInFlight
	famConcurrencyQueued
	famOverloadHeat
	famTenantRefusals
	famPressure
	famPressureLayer
	famPressureEntries
	famMirrors
	famShadowRequests
	famShadowDropped
	famShadowComparisons
	famShadowInFlight
	famFaults
	famFaultsActive
	famReleaseRequests
	famReleaseShare
	famReleaseUsers
	famReleaseEvidence
	famReleaseBoundary
	famReleaseTripped
	famReleaseUnwatched
	famLateChecks
	famUncompressed
	famConfigRevision
	famConfigInfo
	famConfigAge
	famConfigApplies
	famConfigQuarantined
	famReady
	famLogWritten
	famLogDropped
	famOverflow
	famBuildInfo
	famObjectiveEvents
	famObjective
	famStoreOpen
	famStoreSeries
	famStoreBytes
	famStoreSamples
	famStoreFailures
	famStoreQueries
	famCount
)

// Families is every metric that Weir itself exports, beside those of the Go runtime and
// the process (go_..., process_...).
var Families = [famCount]Family{
	famRoute + famRequests: {"weir_route_requests_total", Counter, []string{"route", "code_class"}, "", "Requests that ended, by route and class of the status sent; none: no answer was sent."},
	famRoute + famFlags:    {"weir_route_flags_total", Counter, []string{"route", "flag", "blame"}, "", "Requests that ended with a response flag, by route, flag and whose doing it was."},
	famRoute + famCalls:    {"weir_route_grpc_calls_total", Counter, []string{"route", "code"}, "", "Calls of gRPC that ended, by route and the name of their code; other: a number that is no code; none: without a status."},
	famRoute + famDuration: {"weir_route_request_duration_seconds", Histogram, []string{"route"}, "seconds", "Time from a request's first byte to its answer's last, by route."},
	famRoute + famInFlight: {"weir_route_in_flight", Gauge, []string{"route"}, "", "Requests in flight, by route."},
	famRoute + famRetries:  {"weir_route_retries_total", Counter, []string{"route"}, "", "Tries after the first, by route."},
	famRoute + famBytesIn:  {"weir_route_received_bytes_total", Counter, []string{"route"}, "bytes", "Bytes of requests received from clients, by route."},
	famRoute + famBytesOut: {"weir_route_sent_bytes_total", Counter, []string{"route"}, "bytes", "Bytes of answers sent to clients, by route."},

	famCluster + famRequests: {"weir_cluster_requests_total", Counter, []string{"cluster", "code_class"}, "", "Tries that ended, by cluster and class of the upstream's status; none: there was no answer, or it was a stream."},
	famCluster + famFlags:    {"weir_cluster_flags_total", Counter, []string{"cluster", "flag", "blame"}, "", "Tries that ended with a response flag, by cluster, flag and whose doing it was."},
	famCluster + famCalls:    {"weir_cluster_grpc_calls_total", Counter, []string{"cluster", "code"}, "", "Tries of gRPC calls that ended, by cluster and the name of the code of the answer; none: without a status."},
	famCluster + famDuration: {"weir_cluster_request_duration_seconds", Histogram, []string{"cluster"}, "seconds", "Time that a try took, by cluster."},
	famCluster + famInFlight: {"weir_cluster_in_flight", Gauge, []string{"cluster"}, "", "Tries in flight, by cluster."},
	famCluster + famRetries:  {"weir_cluster_retries_total", Counter, []string{"cluster"}, "", "Tries that were not a request's first, by cluster."},
	famCluster + famBytesIn:  {"weir_cluster_sent_bytes_total", Counter, []string{"cluster"}, "bytes", "Bytes of requests sent upstream, by cluster."},
	famCluster + famBytesOut: {"weir_cluster_received_bytes_total", Counter, []string{"cluster"}, "bytes", "Bytes of answers received from upstream, by cluster."},

	famHost + famRequests: {"weir_host_requests_total", Counter, []string{"cluster", "host", "code_class"}, "", "Tries that ended, by host and class of its status; none: there was no answer, or it was a stream."},
	famHost + famFlags:    {"weir_host_flags_total", Counter, []string{"cluster", "host", "flag", "blame"}, "", "Tries that ended with a response flag, by host, flag and whose doing it was."},
	famHost + famCalls:    {"weir_host_grpc_calls_total", Counter, []string{"cluster", "host", "code"}, "", "Tries of gRPC calls that ended, by host and the name of the code of the answer; none: without a status."},
	famHost + famDuration: {"weir_host_request_duration_seconds", Histogram, []string{"cluster", "host"}, "seconds", "Time that a try took, by host."},
	famHost + famInFlight: {"weir_host_in_flight", Gauge, []string{"cluster", "host"}, "", "Tries in flight, by host."},
	famHost + famRetries:  {"weir_host_retries_total", Counter, []string{"cluster", "host"}, "", "Tries that were not a request's first, by host."},
	famHost + famBytesIn:  {"weir_host_sent_bytes_total", Counter, []string{"cluster", "host"}, "bytes", "Bytes of requests sent to a host."},
	famHost + famBytesOut: {"weir_host_received_bytes_total", Counter, []string{"cluster", "host"}, "bytes", "Bytes of answers received from a host."},

	famHostHealthy:         {"weir_host_healthy", Gauge, []string{"cluster", "host"}, "", "1 if the host may be picked, else 0."},
	famHostConnections:     {"weir_host_connections", Gauge, []string{"cluster", "host", "state"}, "", "Open connections to a host: active (in use) or idle (pooled)."},
	famHostOpened:          {"weir_host_connections_opened_total", Counter, []string{"cluster", "host"}, "", "Connections made to a host."},
	famHostConnectFailures: {"weir_host_connect_failures_total", Counter, []string{"cluster", "host"}, "", "Connections to a host that could not be made."},
	famHostRaces:           {"weir_host_free_retries_total", Counter, []string{"cluster", "host"}, "", "Tries sent again at once, outside of every budget, because a pooled connection turned out to be dead or the host refused the stream unseen."},
	famEjectedHosts:        {"weir_ejected_hosts", Gauge, []string{"cluster"}, "", "Hosts of a cluster that detects outliers which get no requests for being one."},
	famHostChecks:          {"weir_host_health_checks_total", Counter, []string{"cluster", "host", "result"}, "", "Health checks of a host that ended, by result: passed, failed or timed_out."},

	famStreamConnections: {"weir_stream_connections_total", Counter, []string{"route"}, "", "Connections, or sessions of UDP, that ended, by stream route."},
	famStreamActive:      {"weir_stream_connections_active", Gauge, []string{"route"}, "", "Connections, or sessions of UDP, that a stream route carries now."},
	famStreamFlags:       {"weir_stream_flags_total", Counter, []string{"route", "flag", "blame"}, "", "Connections, or sessions of UDP, that ended with a response flag, by stream route, flag and whose doing it was."},
	famStreamDuration:    {"weir_stream_connection_duration_seconds", Histogram, []string{"route"}, "seconds", "Time from a connection's acceptance, or a session's first datagram, to its end, by stream route."},
	famStreamRetries:     {"weir_stream_retries_total", Counter, []string{"route"}, "", "Hosts that were tried after a connection's first could not be reached, by stream route."},
	famStreamBytesIn:     {"weir_stream_received_bytes_total", Counter, []string{"route"}, "bytes", "Bytes carried from clients to hosts, by stream route; of connections that last, as they pass."},
	famStreamBytesOut:    {"weir_stream_sent_bytes_total", Counter, []string{"route"}, "bytes", "Bytes carried from hosts to clients, by stream route; of connections that last, as they pass."},

	famListenerConnections: {"weir_listener_connections_total", Counter, []string{"listener"}, "", "Connections accepted."},
	famListenerActive:      {"weir_listener_connections_active", Gauge, []string{"listener"}, "", "Accepted connections that are open."},
	famListenerParked:      {"weir_listener_connections_parked", Gauge, []string{"listener"}, "", "Open connections that are parked: idle for some seconds, and waiting without a goroutine."},
	famListenerRefused:     {"weir_listener_connections_refused_total", Counter, []string{"listener", "reason"}, "", "Connections closed before their first request, or not accepted, by reason."},
	famListenerHandshakes:  {"weir_listener_handshakes_total", Counter, []string{"listener", "result"}, "", "TLS handshakes with clients that ended, by how: full and resumed are those that succeeded, passed_through those that a host does."},
	famListenerHandshaking: {"weir_listener_handshakes_waiting", Gauge, []string{"listener"}, "", "TLS handshakes that wait for their turn to be computed."},
	famListenerBytesIn:     {"weir_listener_received_bytes_total", Counter, []string{"listener"}, "bytes", "Bytes read from clients."},
	famListenerBytesOut:    {"weir_listener_sent_bytes_total", Counter, []string{"listener"}, "bytes", "Bytes written to clients."},

	famListenerDatagramsIn:  {"weir_listener_received_datagrams_total", Counter, []string{"listener"}, "", "Datagrams received from clients."},
	famListenerDatagramsOut: {"weir_listener_sent_datagrams_total", Counter, []string{"listener"}, "", "Datagrams sent to clients."},
	famListenerDropped:      {"weir_listener_dropped_datagrams_total", Counter, []string{"listener", "reason"}, "", "Datagrams from and to clients that went no further, by reason."},

	famProtection:       {"weir_protection_actions_total", Counter, []string{"target", "protection", "mode"}, "", "What protections did, by the cluster, route or scope that they protect: enforce; or would have done, had they not only observed: observe."},
	famBreakerRemaining: {"weir_breaker_remaining", Gauge, []string{"cluster", "limit"}, "", "How much of a bound of a cluster's breaker is left."},
	famBreakerState:     {"weir_breaker_state", Gauge, []string{"cluster"}, "", "A cluster's breaker that can trip: 0 closed, 1 half open (some requests go through as probes), 2 open."},
	famRetryBudget:      {"weir_retry_budget_remaining", Gauge, []string{"cluster"}, "", "Retries that a cluster's own budget lets through now."},

	famConcurrencyLimit:    {"weir_concurrency_limit", Gauge, []string{"scope"}, "", "Requests that a scope lets through at once: as its policy says, or as an adaptive limit has found."},
	famConcurrencyInFlight: {"weir_concurrency_in_flight", Gauge, []string{"scope"}, "", "Requests of a scope that were let through and have not ended."},
	famConcurrencyQueued:   {"weir_concurrency_queued", Gauge, []string{"scope"}, "", "Requests of a scope that wait to be let through."},
	famOverloadHeat:        {"weir_overload_heat", Gauge, []string{"scope"}, "", "What steps of degradation compare with their share: in flight and queued, of the limit; it rises at once and falls late and slowly."},
	famTenantRefusals:      {"weir_tenant_refusals_total", Counter, []string{"scope", "tenant"}, "", "Requests refused at a scope's limit, by the key that its queue is fair by; other: all tenants but the 100 busiest."},

	famPressure:        {"weir_pressure", Gauge, []string{"resource"}, "", "Share of its limit that the process uses of memory, connections and files; of buffers, of what large ones may take."},
	famPressureEntries: {"weir_pressure_layer_entries_total", Counter, []string{"resource", "layer"}, "", "How often a layer has begun for want of a resource."},
	famPressureLayer:   {"weir_pressure_layer", Gauge, []string{"resource"}, "", "How far the process gives way for want of a resource: 0 not at all, 1 idle connections go sooner and buffers are small, 2 hardly a connection is accepted, 3 requests are refused."},

	famMirrors: {"weir_mirror_requests_total", Counter, []string{"result"}, "", "Mirrored copies of requests: answered, failed, or dropped because of a bound."},

	famShadowRequests:    {"weir_shadow_requests_total", Counter, []string{"shadow", "result"}, "", "Copies for a Shadow: answered or failed. The baseline's are not among them."},
	famShadowDropped:     {"weir_shadow_dropped_total", Counter, []string{"shadow", "reason"}, "", "Copies for a Shadow that were not sent, by reason: in-flight, body, unfinished, upgrade, breaker, copy or unresolved."},
	famShadowComparisons: {"weir_shadow_comparisons_total", Counter, []string{"shadow", "verdict"}, "", "Requests whose answers were compared with a Shadow's: equal, noise (the primary differs from itself in the same), different, or uncompared (an answer is missing or too long)."},
	famShadowInFlight:    {"weir_shadow_in_flight", Gauge, []string{"shadow"}, "", "Requests whose copies or comparison are under way."},

	famFaults:       {"weir_faults_injected_total", Counter, []string{"policy", "fault"}, "", "Requests that met a fault, by FaultPolicy."},
	famFaultsActive: {"weir_fault_active", Gauge, []string{"policy", "fault"}, "", "1 while a fault may be met, 0 once it is stopped or has expired."},

	famReleaseRequests:  {"weir_release_requests_total", Counter, []string{"rollout", "arm", "outcome"}, "", "Requests of a Rollout's rule that ended, by the arm first chosen (stable, canary, or cohort) and what the client got: good, failed, excluded (it says nothing of the arm), or rescued (stable served it after the canary was taken back)."},
	famReleaseShare:     {"weir_release_share", Gauge, []string{"rollout"}, "", "The canary's part of the users of stable and canary now, 0 to 1."},
	famReleaseUsers:     {"weir_release_users", Gauge, []string{"rollout", "arm"}, "", "Users seen since the share last changed: of 10,000 buckets those that sent something."},
	famReleaseEvidence:  {"weir_release_evidence", Gauge, []string{"rollout", "test"}, "", "Evidence of a sequential test against the canary: the natural logarithm of its e-value, or failures in a row."},
	famReleaseBoundary:  {"weir_release_boundary", Gauge, []string{"rollout", "test"}, "", "The evidence at which a test takes the canary back."},
	famReleaseTripped:   {"weir_release_tripped", Gauge, []string{"rollout"}, "", "1 once this proxy has taken the canary back by itself, until the rollout goes on; else 0."},
	famReleaseUnwatched: {"weir_release_unwatched_total", Counter, []string{"rollout"}, "", "Requests that found no place among those watched for being late: what hangs is noticed at its end only."},

	famLateChecks: {"weir_health_checks_late_total", Counter, nil, "", "Health checks that began much later than they were due: as many as there may be at once took too long, or the machine is too busy."},

	famUncompressed: {"weir_answers_uncompressed_total", Counter, nil, "", "Answers that were to be compressed and were sent as they are, because the compressors in use took all the memory that they may."},

	famConfigRevision:    {"weir_config_revision", Gauge, nil, "", "Revision of the live configuration; 0 before the first."},
	famConfigInfo:        {"weir_config_info", Gauge, []string{"version"}, "", "Always 1; the label is the hash of the live configuration."},
	famConfigAge:         {"weir_config_age_seconds", Gauge, nil, "seconds", "Time since the live configuration was applied."},
	famConfigApplies:     {"weir_config_applies_total", Counter, []string{"result"}, "", "Configurations that were applied, or refused by an engine while the one before stayed live."},
	famConfigQuarantined: {"weir_config_quarantined_objects", Gauge, nil, "", "Objects whose newest version is wrong and therefore not live."},
	famReady:             {"weir_ready", Gauge, nil, "", "1 if the process wants traffic, else 0."},
	famLogWritten:        {"weir_access_log_written_total", Counter, nil, "", "Access log lines written."},
	famLogDropped:        {"weir_access_log_dropped_total", Counter, nil, "", "Access log lines lost to a full queue or a failed write."},
	famOverflow:          {"weir_series_overflow_total", Counter, []string{"kind"}, "", "Times an object had to share the series named other, because too many exist."},
	famBuildInfo:         {"weir_build_info", Gauge, []string{"version", "goversion"}, "", "Always 1; the labels say what runs."},

	famObjectiveEvents: {"weir_slo_events_total", Counter, []string{"slo", "result"}, "", "Requests that a ServiceLevelObjective counts, by its namespace and name: good or bad."},
	famObjective:       {"weir_slo_objective", Gauge, []string{"slo"}, "", "The share of requests that is to be good, 0 to 1."},

	famStoreOpen:     {"weir_store_open", Gauge, nil, "", "1 while the store of time series is open, else 0."},
	famStoreSeries:   {"weir_store_series", Gauge, nil, "", "Time series of about the last hour that the store has in memory."},
	famStoreBytes:    {"weir_store_bytes", Gauge, nil, "bytes", "What the store of time series takes on disk."},
	famStoreSamples:  {"weir_store_samples_total", Counter, []string{"result"}, "", "Samples that the store has kept, or refused because there are too many series or their time has passed."},
	famStoreFailures: {"weir_store_failures_total", Counter, nil, "", "Times that the store of time series could not be opened, written or closed."},
	famStoreQueries:  {"weir_store_queries_total", Counter, []string{"result"}, "", "Queries that the store has answered, or refused because too many came at once."},
}
