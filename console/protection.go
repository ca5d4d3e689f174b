package console

import "time"

// Resilience tells how what protects backends, routes and the process stands now.
type Resilience interface {
	// Protections returns an item for each backend, overload scope or other target that has a
	// breaker, a retry budget, a throttle, a limit, or resources that can come to an end.
	// Ejections and Actions are not its to fill.
	Protections() []Protection
	// CloseBreaker closes the breaker that an order names, and returns the state that it was in; false if
	// there is none that trips.
	CloseBreaker(o BreakerOrder) (was string, ok bool)
}

// BreakerOrder has a breaker closed that is open or half open.
type BreakerOrder struct {
	Target string `json:"target" doc:"the backend, as /api/v1/resilience names it: backend/shop/checkout"`
	Reason string `json:"reason,omitempty"`
	By     string `json:"-"`
}

type breakerDoneView struct {
	Done string `json:"done" doc:"what was done"`
	Was  string `json:"was" doc:"what it was before: closed, half-open or open"`
}

// Kinds of targets of protections.
const (
	OfBackend = "backend"
	OfScope   = "scope"
	OfRoute   = "route"
	OfProcess = "process"
)

// Protection is all that protects one target, and how it stands.
type Protection struct {
	Target    string       `json:"target" doc:"name of the backend or route, or what the requests of an overload scope are counted at"`
	Kind      string       `json:"kind" doc:"backend, scope, route or process"`
	State     string       `json:"state" doc:"acting: it holds something back now, or did in the last seconds; observing: it would, if it did not only observe; idle"`
	Breaker   *Breaker     `json:"breaker,omitempty"`
	Budget    *RetryBudget `json:"retryBudget,omitempty"`
	Throttle  *Throttle    `json:"throttle,omitempty"`
	Ejections *Ejections   `json:"ejections,omitempty"`
	Overload  *Overload    `json:"overload,omitempty"`
	Pressure  []Pressure   `json:"pressure,omitempty" doc:"how near the process is to the end of its resources"`
	Actions   []Action     `json:"actions,omitempty" doc:"what was refused, ejected or given up, by protection"`
}

// Breaker is a circuit breaker.
type Breaker struct {
	Mode   string  `json:"mode" doc:"Enforce or Observe"`
	Bounds []Bound `json:"bounds,omitempty"`
	Trip   *Trip   `json:"trip,omitempty" doc:"absent: it never opens"`
}

// Bound is one bound of a breaker.
type Bound struct {
	Name string `json:"name" doc:"maxConnections, maxPending, maxRequests or maxRetries"`
	Used int64  `json:"used"`
	Most int64  `json:"most"`
}

// Trip is what opens a breaker.
type Trip struct {
	State    string    `json:"state" doc:"closed, half-open or open"`
	Since    time.Time `json:"since,omitzero" doc:"when it came to be so; absent: it has always been closed"`
	Wait     float64   `json:"probesInSeconds,omitempty" doc:"while it is open: when requests are let through as probes"`
	Failures int       `json:"failures" doc:"of the last tries, while it is closed"`
	Needed   int       `json:"needed" doc:"failures that open it"`
	Of       int       `json:"of" doc:"tries that are looked at"`
	Passed   int       `json:"probesPassed,omitempty" doc:"probes in a row, while it is half open"`
}

// RetryBudget is a backend's budget of retries.
type RetryBudget struct {
	Mode      string `json:"mode,omitempty" doc:"Enforce, Observe or Disabled; absent: only routes have budgets"`
	First     int64  `json:"firstTries" doc:"of the last ten seconds"`
	Retries   int64  `json:"retries" doc:"of the last ten seconds, hedges included"`
	Remaining *int64 `json:"remaining,omitempty" doc:"retries that it lets through now, or would if it did not only observe; absent: any number"`
}

// Throttle is what is known of how much of its requests a backend accepts.
type Throttle struct {
	Requests int64 `json:"requests" doc:"of the window"`
	Accepted int64 `json:"accepted" doc:"of them"`
}

// Ejections are the outliers among a backend's hosts.
type Ejections struct {
	Mode    string        `json:"mode" doc:"Enforce or Observe"`
	Hosts   int           `json:"hosts" doc:"of the backend"`
	Ejected []EjectedHost `json:"ejected,omitempty" doc:"those that are ejected, or would be; a hundred at most"`
	Count   int           `json:"count" doc:"how many are ejected, or would be"`
}

// EjectedHost is one ejected host.
type EjectedHost struct {
	Address string    `json:"address"`
	Rule    string    `json:"rule"`
	Until   time.Time `json:"until"`
	Would   bool      `json:"would,omitempty" doc:"it is only observed"`
}

// Overload is how a scope of requests stands that are counted together.
type Overload struct {
	Mode     string  `json:"mode" doc:"Enforce or Observe"`
	Adaptive bool    `json:"adaptive" doc:"the limit follows the latency"`
	Limit    int     `json:"limit" doc:"requests at once; 0: none"`
	InFlight int     `json:"inFlight"`
	Queued   int     `json:"queued"`
	Heat     float64 `json:"heat" doc:"0 to 1: how busy it is, which steps of degradation follow"`
	Steps    []Step  `json:"steps,omitempty" doc:"of degradation"`
	Classes  []Class `json:"classes,omitempty" doc:"of requests that came, the least important first"`
	Tenants  []Share `json:"tenants,omitempty" doc:"refusals by fairBy key, those refused most first"`
	Others   uint64  `json:"otherTenants,omitempty" doc:"refusals of all other tenants"`
}

// Step is one step of degradation.
type Step struct {
	At     float64 `json:"at" doc:"heat from which it applies"`
	Active bool    `json:"active" doc:"it applies now, to some requests at least"`
}

// Class is what came of the requests of one class.
type Class struct {
	Name     string `json:"name"`
	InFlight int    `json:"inFlight"`
	Ceiling  int    `json:"ceiling,omitempty" doc:"requests of all classes in flight up to which it is let in; absent: the limit alone counts"`
	Admitted uint64 `json:"admitted"`
	Shed     uint64 `json:"shed" doc:"refused, or would have been"`
}

// Share is what one tenant was refused.
type Share struct {
	Tenant  string `json:"tenant" doc:"its key; what may be a credential is a hash"`
	Refused uint64 `json:"refused"`
}

// Pressure is how near the process is to the end of one resource.
type Pressure struct {
	Resource string  `json:"resource" doc:"memory, connections, files or buffers"`
	Share    float64 `json:"share" doc:"of its limit; may be above 1"`
	Layer    string  `json:"layer" doc:"none, trim, hold or refuse: how much gives way"`
}

// Action is what one kind of protection of a target did.
type Action struct {
	Protection    string  `json:"protection" doc:"as in the metric weir_protection_actions_total"`
	Acted         uint64  `json:"acted" doc:"since the process started"`
	WouldHave     uint64  `json:"wouldHave" doc:"times that it only observed"`
	ActedRate     float64 `json:"actedPerSecond" doc:"of the last ten to twenty seconds"`
	WouldHaveRate float64 `json:"wouldHavePerSecond" doc:"of the last ten to twenty seconds"`
}
