package proxy

import (
	"bytes"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/release"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// A request's time is the route's, or less where its caller has less: a call of gRPC says so in
// its grpc-timeout, and a trusted caller of anything in x-weir-timeout-ms. Each try tells its
// host what is left for it, so that the time shrinks from try to try and from hop to hop, and
// nobody works for a caller who has gone:
//
//	request 2s, perTry 700ms     caller: none                  caller: X-Weir-Timeout-Ms: 1000
//	first try, at once           X-Weir-Timeout-Ms: 700        700
//	second, after 720ms          700                           280
//	third, after 1,450ms         550                           none: 504, flag PT

// The fields of trusted callers that are read here.
var (
	timeoutField = []byte("x-weir-timeout-ms")
	attemptField = []byte("x-weir-attempt")
)

// readMarks reads what a trusted caller says about the request's time and tries. Of several
// times the shortest counts, and what is no number counts for nothing: that takes no time away
// from the request, and without the field it would have been served.
func (x *exchange) readMarks() {
	for i := range x.req.Fields {
		f := &x.req.Fields[i]
		if f.Known != http1.NameXWeir || f.Hop || f.Dropped {
			continue
		}
		switch name := x.req.Name(i); {
		case bytes.EqualFold(name, attemptField):
			x.nested = true
		case bytes.EqualFold(name, timeoutField):
			if d, ok := policy.ParseTimeoutMillis(x.req.Value(i)); ok {
				x.deadline = transport.Earlier(x.deadline, x.asked+transport.Instant(d))
			}
		}
	}
}

// restated reports whether a trusted caller's x-weir- field says something that we say anew, or
// that is not for the next host.
func (x *exchange) restated(i int) bool {
	name := x.req.Name(i)
	return bytes.EqualFold(name, timeoutField) || x.drawn.Made() && release.IsField(name) || x.route.replays() && bytes.EqualFold(name, attemptField)
}

// firstMarks makes the fields that the first try of a plain request sends: no time has passed.
func (r *route) firstMarks() []byte {
	var dst []byte
	if r.replays() {
		dst = policy.AppendAttempt(dst, 1)
	}
	if t := shorter(r.timeouts.Request, r.timeouts.PerTry); t > 0 {
		dst = policy.AppendTimeoutMillis(dst, t)
	}
	return dst
}

// shorter returns the shorter of two times, of which 0 is none.
func shorter(a, b time.Duration) time.Duration {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}

// marks returns the fields that the present try sends. They are valid until the next marks.
func (x *exchange) marks() []byte {
	r := x.route
	first := x.result.retries == 0 && x.up.races == 0 && x.timings.attempt == x.asked
	if first && x.up.pooled(x.asked) && x.deadline == 0 && x.timeouts == &r.timeouts && !x.req.GRPC {
		return r.marks
	}
	x.scratch = x.appendMarks(x.scratch[:0], x.result.retries+1, x.tryBy())
	return x.scratch
}

// pooled reports whether the connection was there when the try began, so that no time has passed.
// Of a stream nobody knows.
func (u *upstream) pooled(began transport.Instant) bool {
	return u.reused && u.conn.Since != 0 && u.conn.Since <= began
}

// appendMarks appends the fields of a try, the n-th from 1, that has until by. Calls of gRPC
// have a field of their own for the time.
func (x *exchange) appendMarks(dst []byte, n int, by transport.Instant) []byte {
	if x.route.replays() {
		dst = policy.AppendAttempt(dst, n)
	}
	if by != 0 && !x.req.GRPC {
		dst = policy.AppendTimeoutMillis(dst, by.Sub(transport.Now()))
	}
	return dst
}

// expired refuses a request whose caller has no time left.
func (x *exchange) expired() bool {
	if x.deadline == 0 || x.deadline > x.asked {
		return false
	}
	x.countExpired()
	x.refuse(refusal{flag: model.FlagPT, detail: "the deadline had passed when the request came"})
	return true
}

func (x *exchange) countExpired() { x.protection(telemetry.ProtectDeadline).Count(model.ModeEnforce) }

// protection returns a counter of the request's route, for what happens rarely.
func (x *exchange) protection(kind telemetry.ProtectionKind) *telemetry.Protection {
	return x.p.cfg.Metrics.Protection(x.route.model.Name, kind)
}
