package console

import (
	"time"

	"weir.dev/weir/model"
)

// State is whether the process wants traffic.
type State struct {
	Ready    bool   `json:"ready" doc:"whether the first full configuration is live and no drain is under way"`
	Draining bool   `json:"draining" doc:"whether the process is on its way out"`
	Reason   string `json:"reason,omitempty" doc:"why it is not ready"`
	Problem  string `json:"problem,omitempty" doc:"what of the live configuration is not in effect: a taken port for instance"`
	Series   string `json:"series,omitempty" doc:"why no time series are kept, and when that is tried again: objectives and gates that ask for them get no answer, and serving goes on"`
}

// Socket is where a listener listens, or why it does not.
type Socket struct {
	Address string
	Problem string
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
	Priority uint32
	Healthy  bool
	Draining bool    // removed, and finishing what is in flight
	Warmth   float64 // the part of its weight that slow start lets it have, 0 to 1
	InFlight int64
	Open     int // connections; the idle ones are open too
	Idle     int
	EWMA     time.Duration // average latency as balancing sees it: peaks and failures weigh more
	TLS      bool          // connections are secured
	// LastError is why the last connection could not be made, and LastErrorAt when that was;
	// empty: it could.
	LastError   string
	LastErrorAt time.Time
	// Checked says that its health is checked; Check is what was found, since CheckSince: unknown,
	// healthy or unhealthy. CheckError is why the last check failed; empty: it passed.
	Checked    bool
	Check      string
	CheckSince time.Time
	CheckError string
	// Judged says that its cluster detects outliers. EjectedBy is the rule by which the host is
	// one until EjectedUntil; empty: it is none. Ejected says that it gets no requests for that, and
	// is not only observed. Ejections and WouldEject are how often both have been.
	Judged, Ejected       bool
	EjectedBy             string
	EjectedUntil          time.Time
	Ejections, WouldEject uint64
}

type hostView struct {
	Cluster  string  `json:"cluster"`
	Address  string  `json:"address"`
	Zone     string  `json:"zone,omitempty"`
	Weight   uint32  `json:"weight"`
	Priority uint32  `json:"priority" doc:"0 first"`
	Healthy  bool    `json:"healthy"`
	Draining bool    `json:"draining" doc:"removed, and finishing what is in flight"`
	Warmth   float64 `json:"warmth" doc:"the part of its weight that slow start lets it have, 0 to 1"`
	InFlight int64   `json:"inFlight"`
	Open     int     `json:"openConnections"`
	Idle     int     `json:"idleConnections"`
	EWMA     float64 `json:"latencyAverageMs" doc:"average latency in milliseconds as balancing sees it: peaks and failures weigh more"`
	TLS      bool    `json:"tls" doc:"connections are secured"`
	Traffic  traffic `json:"traffic"`

	LastError   string    `json:"lastError,omitempty" doc:"why the last connection could not be made; absent: it could"`
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`

	Check   *checkView   `json:"check,omitempty" doc:"what its health checks have found; absent: there are none"`
	Outlier *outlierView `json:"outlier,omitempty" doc:"whether it is an outlier; absent: its cluster detects none"`
}

type outlierView struct {
	Ejected    bool      `json:"ejected" doc:"it gets no requests for being one"`
	Rule       string    `json:"rule,omitempty" doc:"what it is ejected by, or would be if outliers were not only observed; absent: it is no outlier"`
	Until      time.Time `json:"until,omitzero" doc:"when it returns"`
	Ejections  uint64    `json:"ejections" doc:"how often it was ejected"`
	WouldEject uint64    `json:"wouldEject" doc:"how often it would have been"`
}

type checkView struct {
	State string    `json:"state" doc:"healthy, unhealthy, or unknown before the first check has ended"`
	Since time.Time `json:"since,omitzero" doc:"when the state came to be"`
	Error string    `json:"error,omitempty" doc:"why the last check failed; absent: it passed, or there was none"`
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

	Policy []model.PolicyField `json:"policy,omitempty" doc:"the effective policy of the rule; only with policy=true"`
}

type backendView struct {
	Name    string  `json:"name"`
	Cluster string  `json:"cluster,omitempty"`
	Weight  uint32  `json:"weight"`
	Percent float64 `json:"percent" doc:"of the route's requests"`
	Refused string  `json:"refused,omitempty" doc:"why this share is refused"`
}

type clusterView struct {
	Name      string  `json:"name" doc:"backend/namespace/name or service/namespace/name/port"`
	Algorithm string  `json:"algorithm" doc:"how its hosts are chosen"`
	DNS       string  `json:"dns,omitempty" doc:"host name and port, where its hosts come from DNS"`
	Hosts     int     `json:"hosts" doc:"known now, without those that drain"`
	Healthy   int     `json:"healthy" doc:"of hosts"`
	Open      int     `json:"openConnections"`
	Routes    int     `json:"routes" doc:"routes that send to it, mirrors left out"`
	Traffic   traffic `json:"traffic" doc:"of tries"`

	Policy []model.PolicyField `json:"policy" doc:"the effective policy of the backend"`
}

type listenerView struct {
	Name        string        `json:"name" doc:"the address that was asked for"`
	Address     string        `json:"address,omitempty" doc:"where it listens; absent while it does not"`
	Problem     string        `json:"problem,omitempty" doc:"why it does not listen"`
	Protocols   []string      `json:"protocols" doc:"what clients may speak: HTTP/1.1, HTTP/2, HTTP/3, TCP, TLS (passed on as it is) or UDP"`
	Secured     []securedView `json:"certificates,omitempty" doc:"what TLS shows, from the most specific host name to the least; absent: clear text"`
	Bindings    []bindingView `json:"bindings" doc:"those of requests, then those of what is carried as it is, each from the most specific host name to the least"`
	Connections int64         `json:"openConnections"`
	Refused     uint64        `json:"refusedConnections" doc:"since the process started"`

	Policy []model.PolicyField `json:"policy" doc:"the effective policy of its clients"`
}

type securedView struct {
	Hostname     string   `json:"hostname,omitempty" doc:"absent: every host"`
	Certificates []string `json:"certificates" doc:"the names of their objects, as in secret/namespace/name"`
}

type bindingView struct {
	Hostname string `json:"hostname,omitempty" doc:"absent: every host"`
	Table    string `json:"table" doc:"namespace/gateway/listener"`
	Routes   int    `json:"routes"`
	Stream   string `json:"stream,omitempty" doc:"the route that has the connections or datagrams as they are; absent: requests, or nobody"`
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
	Streams       traffic    `json:"streams" doc:"connections and sessions that TCPRoutes, TLSRoutes and UDPRoutes carry; they are no part of traffic"`
	Unmatched     traffic    `json:"unmatched" doc:"the part of traffic that no route took: malformed or not found"`
	MutationsOpen bool       `json:"mutationsOpen" doc:"whether the token sent with this request allows mutations"`
}

type counts struct {
	Listeners int `json:"listeners"`
	Routes    int `json:"routes"`
	Clusters  int `json:"clusters"`
	Hosts     int `json:"hosts" doc:"as configured"`
	Unhealthy int `json:"unhealthyHosts" doc:"hosts known now that are not healthy"`
	Acting    int `json:"acting" doc:"backends, scopes and routes, and the process, of which a protection acts now"`
	Objects   int `json:"objects"`
	// Quarantined objects are live in an older version, or not at all.
	Quarantined int `json:"quarantined" doc:"objects whose newest version is not accepted: an older one is live, or none"`
	Errors      int `json:"errors" doc:"diagnostics that are errors"`
	Warnings    int `json:"warnings"`

	Undecided int `json:"undecidedRollouts" doc:"Rollouts about which nothing can be decided, or not yet: the state cannot be had or written"`
	Holding   int `json:"holdingRollouts" doc:"Rollouts that wait for something other than time"`
	Aborted   int `json:"abortedRollouts" doc:"Rollouts that went back to stable in the last hour"`
	Burning   int `json:"burningObjectives" doc:"ServiceLevelObjectives that burn too fast"`
	Paging    int `json:"pagingObjectives" doc:"those of them that burn so fast that somebody is to be called"`
	Exhausted int `json:"exhaustedObjectives" doc:"ServiceLevelObjectives whose budget is spent"`
	Faults    int `json:"activeFaults" doc:"faults that requests may meet now"`
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
