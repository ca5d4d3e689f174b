package model

import "time"

// Shadow copies a share of a route's requests to another backend and may compare the answers. It
// never changes the answer that the client gets, nor when it gets it.
type Shadow struct {
	Name    string // namespace/name of the Shadow: the key of its counters and its report
	Cluster string // empty when Refusal is set
	Refusal *Refusal
	Share   float64  // of requests whose method is in Methods, above 0 to 1
	Methods []string // never empty: safe ones unless others are written
	Compare *Compare `json:",omitempty"` // nil: answers are read and forgotten
	Limits  ShadowLimits
	Origin  Origin
}

// ShadowLimits bound what copies take.
type ShadowLimits struct {
	InFlight int   // copies at once, above 0
	Body     int64 // bytes of a request's body that is copied, and of an answer's that is compared; longer ones are not
}

// Compare is what is compared of two answers.
type Compare struct {
	Status  bool
	Headers []string // names, lower case
	Body    BodyComparison
	// Ignore are JSON paths ($.a.b[*].c) that may differ.
	Ignore  []string `json:",omitempty"`
	Latency bool
	// Baseline sends a second copy to the route's own backend: what differs between two of its
	// answers is noise, and not counted.
	Baseline bool
}

// BodyComparison is how bodies are compared.
type BodyComparison string

// The ways to compare bodies.
const (
	CompareJSON  BodyComparison = "JSON"
	CompareBytes BodyComparison = "Bytes"
	CompareNone  BodyComparison = "None"
)

// ShadowReport is what a proxy has seen of one Shadow since it began to, or since its counts were
// last reset.
type ShadowReport struct {
	Shadow string // Shadow.Name
	Since  time.Time
	Copies ShadowCopies
	// Comparison is nil where answers are not compared.
	Comparison *ShadowComparison
}

// ShadowCopies are the copies of one Shadow.
type ShadowCopies struct {
	InFlight int    // requests whose copies or comparison are under way
	Answered uint64 // whatever the answer was
	Failed   uint64 // no host, no connection, or no whole answer
	Dropped  []ShadowDrop
}

// ShadowDrop is how many copies were not sent for one reason.
type ShadowDrop struct {
	Reason string // in-flight, body, unfinished, upgrade, breaker, copy or unresolved
	Count  uint64
}

// ShadowComparison is what comparing found. Every request that was compared is one of Equal, Noise and
// Different.
type ShadowComparison struct {
	Equal     uint64
	Noise     uint64 // all that differs also differs between two answers of the primary
	Different uint64
	// Uncompared were to be compared, and one of the answers is missing or longer than Limits.Body.
	Uncompared uint64
	Fields     []ShadowField   // that differed most come first
	Other      uint64          // differences in fields beyond those that are listed
	Examples   []ShadowExample // the newest first
	Latency    *ShadowLatency  // nil: it is not compared
}

// Compared returns how many requests were compared.
func (c *ShadowComparison) Compared() uint64 { return c.Equal + c.Noise + c.Different }

// ShadowField is one place in answers that has differed.
type ShadowField struct {
	Field     string // status, header NAME, body, or a JSON path with [*] for any index
	Different uint64 // answers of primary and shadow that differ here
	Noise     uint64 // pairs of answers of the primary that differ here
	Net       uint64 // of Different, those whose pair does not differ here
	// Noisy says that the primary differs from itself about as often: what differs is most likely noise.
	Noisy bool
}

// ShadowExample is one request whose answers differ. Values that may be secrets are Redacted.
type ShadowExample struct {
	At              time.Time
	Method, Path    string // without the query
	Field           string
	Primary, Shadow string // shortened
}

// ShadowLatency is the time to the head of answers, of the same requests.
type ShadowLatency struct {
	Primary, Shadow ShadowQuantiles
}

// ShadowQuantiles are quantiles of a latency, to within an eighth; 0 without any.
type ShadowQuantiles struct{ P50, P95, P99 time.Duration }
