package telemetry

import (
	"net/netip"
	"time"

	"weir.dev/weir/model"
)

// Bounds of a line in the access log.
const (
	// MaxField is the longest text that a record's field is logged with, in bytes. What
	// is longer is cut and ends in "…".
	MaxField = 2048
	// MaxAttempts is how many attempts of a request are logged, the first ones.
	MaxAttempts = 16
)

// Record is one request for the access log. Its slices are only read during the call that
// is given it; none of them is kept.
type Record struct {
	Time        time.Time // when the request's first byte came
	ID          []byte    // x-request-id
	TraceParent []byte    // as the upstream was sent it; empty if there was none
	Client      netip.AddrPort
	Identity    string // that the client proved with a certificate; empty: none
	Request     RequestPart
	Status      int // sent to the client; 0 if none was, and left out of the log where nothing was asked
	GRPC        GRPCEnd
	Flag        model.Flag
	Detail      string // more about the flag: what was malformed, which error; may be empty
	Route       string // model.Route.Name; empty if none matched
	Cluster     string // model.Cluster.Name
	Arm         string // of a release: stable or canary, the one first chosen; empty: the route has none
	Upstream    netip.AddrPort
	Attempts    []Attempt
	Timings     Timings
	BytesIn     int64 // of the request, head and body as received
	BytesOut    int64 // of the answer, head and body as sent
}

// asked reports whether there was a request, which a connection that is carried as it is has
// none of, nor one that was refused at its beginning.
func (r *Record) asked() bool { return r.Status != 0 || len(r.Request.Method) > 0 }

// RequestPart is what the client asked for.
type RequestPart struct {
	Method, Host, Path []byte // the path without its query, which may hold secrets
	Protocol           string // HTTP/1.1
	UserAgent, Referer []byte
}

// Attempt is one try at an upstream.
type Attempt struct {
	Host     netip.AddrPort
	Status   int        // 0 if there was no answer
	GRPC     GRPCEnd    // of an answer to a call of gRPC that had nothing but a status
	Flag     model.Flag // why it failed; FlagNone if it did not
	Err      string     // more about the failure; may be empty
	Duration time.Duration
}

// Timings are a request's phases, one after the other, and the whole. A phase that was not
// reached is zero.
type Timings struct {
	Head      time.Duration // from the first byte to the end of the head
	Policies  time.Duration // match and policies, until the first attempt
	Connect   time.Duration // all waits for a connection, pooled or new
	FirstByte time.Duration // from the last request byte of the last attempt to its answer's first
	Total     time.Duration // until the answer's last byte was sent
}
