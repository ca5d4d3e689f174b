package console

import "time"

// State is whether the process wants traffic.
type State struct {
	Ready    bool   `json:"ready" doc:"whether the first full configuration is live and no drain is under way"`
	Draining bool   `json:"draining" doc:"whether the process is on its way out"`
	Reason   string `json:"reason,omitempty" doc:"why it is not ready"`
}

// Position is a place in a file. Line and Column count from 1; 0 is unknown.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// Diagnostic is one thing to say about the configuration.
type Diagnostic struct {
	Severity string   `json:"severity" doc:"error, warning or info"`
	Rule     string   `json:"rule,omitempty"`
	At       Position `json:"at"`
	Object   string   `json:"object,omitempty" doc:"kind, namespace and name, as in HTTPRoute shop/cart"`
	Field    string   `json:"field,omitempty" doc:"path in the object, as in spec.rules[0].matches"`
	Message  string   `json:"message"`
}

// Object is one object of the configuration and what became of it. Its contents are not
// part of it.
type Object struct {
	Group      string       `json:"group,omitempty"`
	Kind       string       `json:"kind"`
	Namespace  string       `json:"namespace,omitempty"`
	Name       string       `json:"name"`
	At         Position     `json:"at"`
	Accepted   bool         `json:"accepted" doc:"whether the newest version is live or may be; false while it is quarantined"`
	Problems   []Diagnostic `json:"problems,omitempty" doc:"why the newest version is not accepted"`
	Conditions []Condition  `json:"conditions,omitempty" doc:"the status's conditions as one list"`
	Status     any          `json:"status,omitempty" doc:"the status in the shape that the kind's API gives it"`
}

// Condition is a status condition; Of says which part of the object it is about.
type Condition struct {
	Of      string `json:"of,omitempty" doc:"a parent, an ancestor or a listener"`
	Type    string `json:"type"`
	Status  string `json:"status" doc:"True, False or Unknown"`
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
}

// Host is one upstream host as it is now.
type Host struct {
	Cluster  string
	Address  string
	Zone     string
	Weight   uint32
	Healthy  bool
	InFlight int64
	Open     int // connections; the idle ones are open too
	Idle     int
	EWMA     time.Duration // moving average of latency
}

type hostView struct {
	Cluster  string  `json:"cluster"`
	Address  string  `json:"address"`
	Zone     string  `json:"zone,omitempty"`
	Weight   uint32  `json:"weight"`
	Healthy  bool    `json:"healthy"`
	InFlight int64   `json:"inFlight"`
	Open     int     `json:"openConnections"`
	Idle     int     `json:"idleConnections"`
	EWMA     float64 `json:"latencyAverageMs" doc:"moving average, in milliseconds"`
	Traffic  traffic `json:"traffic"`
}

type routeView struct {
	Name      string        `json:"name" doc:"namespace/route/rule"`
	Object    string        `json:"object" doc:"as in HTTPRoute shop/cart"`
	Rule      string        `json:"rule"`
	At        Position      `json:"at"`
	Tables    []string      `json:"tables" doc:"namespace/gateway/listener of each table that serves it"`
	Hostnames []string      `json:"hostnames" doc:"empty: every host of the tables"`
	Matches   []string      `json:"matches" doc:"alternatives, in words"`
	Backends  []backendView `json:"backends"`
	State     string        `json:"state" doc:"serving, partial (a share is refused) or refused"`
	Reasons   []string      `json:"reasons,omitempty" doc:"why something is refused"`
	Traffic   traffic       `json:"traffic"`
}

type backendView struct {
	Name    string  `json:"name"`
	Cluster string  `json:"cluster,omitempty"`
	Weight  uint32  `json:"weight"`
	Percent float64 `json:"percent" doc:"of the route's requests"`
	Refused string  `json:"refused,omitempty" doc:"why this share is refused"`
}

// traffic is what a series counted: since the process started, and lately.
type traffic struct {
	Requests uint64            `json:"requests"`
	InFlight int64             `json:"inFlight"`
	Retries  uint64            `json:"retries"`
	BytesIn  uint64            `json:"bytesIn"`
	BytesOut uint64            `json:"bytesOut"`
	Classes  map[string]uint64 `json:"classes,omitempty" doc:"requests by class of status (2xx); none: no answer was sent"`
	Flags    map[string]uint64 `json:"flags,omitempty" doc:"requests by response flag"`
	Blame    map[string]uint64 `json:"blame,omitempty" doc:"flagged requests by whose doing it was"`
	Lately   lately            `json:"lately"`
}

type lately struct {
	Seconds float64            `json:"seconds" doc:"the length of the window that these figures are of"`
	Rate    float64            `json:"requestsPerSecond"`
	Blame   map[string]float64 `json:"blamePerSecond,omitempty" doc:"flagged requests per second by whose doing it was"`
	P50     float64            `json:"p50Ms" doc:"estimated within a bucket of a histogram; up to half above the truth"`
	P95     float64            `json:"p95Ms" doc:"estimated like p50Ms"`
	P99     float64            `json:"p99Ms" doc:"estimated like p50Ms"`
}

// statusView is everything the page's head shows.
type statusView struct {
	Program       string     `json:"program" doc:"version of the program"`
	Started       time.Time  `json:"started"`
	Revision      uint64     `json:"revision" doc:"of the live configuration; 0 before the first"`
	Version       string     `json:"version,omitempty" doc:"hash of the live configuration"`
	Applied       *time.Time `json:"applied,omitempty"`
	AgeSeconds    float64    `json:"ageSeconds" doc:"since the live configuration was applied"`
	State         State      `json:"state"`
	Counts        counts     `json:"counts"`
	Traffic       traffic    `json:"traffic"`
	MutationsOpen bool       `json:"mutationsOpen" doc:"whether the token sent with this request allows mutations"`
}

type counts struct {
	Listeners int `json:"listeners"`
	Routes    int `json:"routes"`
	Clusters  int `json:"clusters"`
	Hosts     int `json:"hosts"`
	Errors    int `json:"errors" doc:"diagnostics that are errors"`
	Warnings  int `json:"warnings"`
}

// list is a page of a longer list.
type list[T any] struct {
	Revision uint64 `json:"revision" doc:"of the live configuration"`
	Total    int    `json:"total" doc:"items that fit the filters, on all pages"`
	Items    []T    `json:"items"`
	Continue string `json:"continue,omitempty" doc:"give it back to get the next page; absent on the last"`
}

type levelView struct {
	Level string `json:"level" doc:"debug, info, warn or error"`
}

type healthView struct {
	Status string `json:"status" doc:"ok"`
}

type doneView struct {
	Done string `json:"done" doc:"what has begun"`
}
