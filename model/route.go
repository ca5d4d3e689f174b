package model

import "time"

// Route is one rule: what it matches, what it does to a request, and where it sends it.
type Route struct {
	// Name is namespace/route/rule, the rule by its name or its index; the key of its
	// state and its metrics. Where policies of gateways or listeners make a rule mean
	// different things, all variants but the first have @ and the name of a table behind.
	Name string
	Hash Hash
	// Namespace, Object and Rule are the parts of Name; Kind is HTTPRoute or GRPCRoute. A
	// GRPCRoute's Name is GRPCRoute/namespace/route/rule.
	Kind, Namespace, Object, Rule string
	Origin                        Origin
	// Rank breaks ties between equal matches: lower wins, and of equal ranks the earlier
	// entry of the table. Translation leaves it zero and orders the entries, so that a new
	// route does not change the others.
	Rank uint32
	// Matches are alternatives. Never empty: a rule without matches has the one for "/".
	Matches []Match

	// Refusal, when set, answers every request: something the rule needs does not resolve
	// or is not supported, and nothing is served in its place.
	Refusal *Refusal

	CORS            *CORS
	Redirect        *Redirect
	Rewrite         *Rewrite
	RequestHeaders  *HeaderEdit
	ResponseHeaders *HeaderEdit
	Compression     *Compression // nil: none
	Mirrors         []Mirror
	Shadows         []Shadow `json:",omitempty"`
	Faults          []Fault  `json:",omitempty"`
	Timeouts        Timeouts
	Retry           *Retry
	Overload        *Overload `json:",omitempty"` // nil: none
	// HashOn are the keys of the cluster's hashing algorithm; the first that the request has
	// counts. None, or none present: hosts are chosen at random.
	HashOn  []Key
	Session *Session // beats HashOn; nil: no sessions
	Split   Split
	Origins Origins
}

// Refusal is an answer of our own with the reason for it.
type Refusal struct {
	Status int
	Flag   string // a response flag: NC
	Reason string // for logs, the API and people; never sent to clients
}

// Match is a conjunction: every part that is set must hold.
type Match struct {
	Path    PathMatch
	Method  string // empty: any
	Headers []ValueMatch
	Query   []ValueMatch
}

// PathMatch compares the path in its normal form.
type PathMatch struct {
	Type  MatchType // Exact, Prefix (whole segments) or Regex (RE2, the whole path)
	Value string
	// Precedence puts a Regex behind exact paths and every prefix but "/", and among those that
	// have one the highest first; 0: before prefixes, by length. GRPCRoutes want it, where the
	// service counts before the method.
	Precedence uint32 `json:",omitempty"`
}

// ValueMatch compares one header (name lower case) or query parameter (name exact).
// Several headers of one name compare joined by commas; of several query parameters the first counts.
type ValueMatch struct {
	Name  string
	Type  MatchType // Exact or Regex (RE2, the whole value)
	Value string
}

// MatchType is how a value is compared.
type MatchType string

// The ways to compare.
const (
	MatchExact  MatchType = "Exact"
	MatchPrefix MatchType = "Prefix"
	MatchRegex  MatchType = "Regex"
)

// Split divides a route's requests among arms.
type Split struct {
	Name string // the route's Name without the part from @ on; the key of knobs
	// Arms with their weights. No arm, or no weight at all: 500, flag NC.
	Arms []Arm
	// Release is of the Rollout that holds the rule; nil: none does.
	Release *Release `json:",omitempty"`
}

// Arm is one destination of a split.
type Arm struct {
	Name    string // kind/namespace/name[/port] as written
	Weight  uint32
	Cluster string // empty when Refusal is set
	// Refusal answers this arm's share when its reference does not resolve.
	Refusal         *Refusal
	RequestHeaders  *HeaderEdit
	ResponseHeaders *HeaderEdit
}

// HeaderEdit changes headers: Remove, then Set, then Add. Names are lower case.
type HeaderEdit struct {
	Set    []Header
	Add    []Header
	Remove []string
}

// Header is a name (lower case) and a value.
type Header struct{ Name, Value string }

// PathChange replaces a path, or the part of it that a prefix match matched.
type PathChange struct {
	Full   *string // ReplaceFullPath
	Prefix *string // ReplacePrefixMatch
}

// Redirect answers with a Location. Empty parts are taken from the request.
type Redirect struct {
	Scheme   string
	Hostname string
	Port     uint16 // 0: see Gateway API: the scheme's well-known port if Scheme is set, else the listener's
	Path     *PathChange
	Status   int // 301, 302, 303, 307, 308
}

// Rewrite changes what is forwarded.
type Rewrite struct {
	Hostname string
	Path     *PathChange
}

// Mirror copies a share of the requests to another cluster and ignores the answers.
type Mirror struct {
	Name        string // kind/namespace/name[/port]
	Cluster     string
	Numerator   uint32 // of Denominator
	Denominator uint32
}

// CORS is a cross-origin policy as in GEP-1767.
type CORS struct {
	AllowOrigins     []string // "*", exact, or with a wildcard host: "https://*.example.com"
	AllowCredentials bool
	AllowMethods     []string // "*": any
	AllowHeaders     []string // "*": any; lower case
	ExposeHeaders    []string
	MaxAge           time.Duration
}

// Timeouts bound a request. Zero is no limit.
type Timeouts struct {
	Request time.Duration // all tries together, from the end of the request head to the end of the answer
	PerTry  time.Duration // one try, until its answer is complete
	Idle    time.Duration // no byte either way on a stream or tunnel
}
