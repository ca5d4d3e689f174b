package proxy

import (
	"fmt"
	"net/http"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// call is what is known of a request that is a call of gRPC. For others it is empty.
type call struct {
	before int               // tries that the caller's library made before this request
	end    telemetry.GRPCEnd // of the answer that the client gets; 0: it has not said yet
}

// readCall reads what the head says about the call. It refuses what it cannot read: to guess
// a deadline is to break it.
func (x *exchange) readCall() *refusal {
	seen := false
	for i := range x.req.Fields {
		switch f := &x.req.Fields[i]; {
		case f.Known == http1.NameGRPCTimeout && !f.Hop && !f.Dropped:
			d, ok := policy.ParseGRPCTimeout(x.req.Value(i))
			if !ok || seen {
				return &refusal{flag: model.FlagDPE, detail: "malformed grpc-timeout"}
			}
			seen = true
			x.deadline = transport.Earlier(x.deadline, x.asked+transport.Instant(d))
		case f.Known == http1.NameGRPCAttempts:
			x.call.before = policy.ParseGRPCAttempts(x.req.Value(i))
		}
	}
	return nil
}

// refuseCall answers a call with an error of gRPC: an answer that has nothing but a status.
func (x *exchange) refuseCall(r refusal) {
	if r.status == 0 {
		r.status = model.FlagInfos[r.flag].Status
	}
	code := policy.GRPCRefusal(r.flag, r.status)
	if r.code != nil {
		code = *r.code
	}
	if r.flag == model.FlagU5 { // its answer was given up for a try that there is no time for
		code = x.up.code
	}
	text := http.StatusText(r.status)
	if x.view.client.FlagHeaders {
		text = r.meaning()
	}
	fields := policy.AppendGRPCRefusal(x.scratch[:0], code, text)
	x.scratch = x.appendFlag(fields, r.flag)
	if r.retryAfter > 0 {
		x.scratch = policy.AppendPushback(x.scratch, r.retryAfter)
	}
	x.call.end = telemetry.EndOfCall(code)
	x.send(answer{status: http.StatusOK, fields: x.scratch})
}

// meaning says what happened, in words for the client.
func (r *refusal) meaning() string {
	info := &model.FlagInfos[r.flag]
	text := info.Meaning
	if r.flag == model.FlagDPE { // its details are fixed texts, and the client's own business
		text += ": " + r.detail
	}
	return fmt.Sprintf("%s (%s)", text, info.Name)
}

// appendFlag appends the fields that say what an answer of our own is about, unless the
// listener's clients are not to know.
func (x *exchange) appendFlag(dst []byte, flag model.Flag) []byte {
	if x.view.client.FlagHeaders {
		dst = http1.AppendFieldString(dst, "X-Weir-Flag", flag.String())
		dst = http1.AppendFieldString(dst, "X-Weir-Blame", flag.Blame().String())
		dst = x.broken.marks(dst)
	}
	return dst
}

// rewritten reports whether a call's field is written anew, for which try, from 1.
func rewritten(name http1.Name, try int) bool {
	return name == http1.NameGRPCTimeout || name == http1.NameGRPCAttempts && try > 1
}

// appendCall appends the fields of gRPC that are written anew for each try. The time left is
// that of the try: what cannot be answered in time need not be done.
func (x *exchange) appendCall(dst []byte, skip policy.Generated, s sending) []byte {
	var left time.Duration
	if s.by != 0 {
		left = max(s.by.Sub(transport.Now()), 1)
	}
	tries := 0
	if s.n > 1 {
		tries = x.call.before + s.n - 1
	}
	return policy.AppendGRPCFields(dst, left, tries, skip)
}

// tryBy is when the present try times out; 0: never.
func (x *exchange) tryBy() transport.Instant {
	by := x.requestBy()
	if perTry := x.timeouts.PerTry; perTry > 0 && x.timings.attempt != 0 {
		by = transport.Earlier(by, x.timings.attempt.Add(perTry))
	}
	return by
}

// verdict is the code that a call's answer has in its head, or that its client will make of
// it. known is false where the trailers are yet to say it.
func (u *upstream) verdict() (code model.GRPCCode, known bool) {
	status, ok := u.resp.Get(http1.NameGRPCStatus)
	switch {
	case ok && u.resp.Status == http.StatusOK:
		return policy.ParseGRPCStatus(status), true
	case u.resp.Status != http.StatusOK || !u.resp.GRPC:
		return model.GRPCCodeOf(u.resp.Status), true
	}
	return 0, false
}

// takeTrailer looks at a trailer field of a call's answer as it passes.
func (x *exchange) takeTrailer(name http1.Name, value []byte) {
	if name == http1.NameGRPCStatus {
		x.grade(policy.ParseGRPCStatus(value))
	}
}

// grade notes how the call ended, as the upstream says.
func (x *exchange) grade(code model.GRPCCode) {
	x.call.end = telemetry.EndOfCall(code)
	if x.result.flag == model.FlagNone && code.Faulty() {
		x.result.flag = model.FlagU5
	}
}

// gradeHead notes what the answer's head says about the call's end.
func (x *exchange) gradeHead() {
	if code, known := x.up.verdict(); known {
		x.grade(code)
	}
}

// gradeEnd says what a whole answer means that has no status: clients take it for an error.
func (x *exchange) gradeEnd() {
	if x.call.end == 0 && x.result.flag == model.FlagNone {
		x.result.flag = model.FlagUPE
		x.result.detail = "the answer to a gRPC call ended without a grpc-status"
	}
}

// toldEarly is by how much a host may think that a call's time is over before we do: what it is
// told is rounded down.
const toldEarly = time.Millisecond

// heldTo reports whether a host that resets a call now may do what it was told: the time of the
// try, which its grpc-timeout was, is over.
func (x *exchange) heldTo(by transport.Instant) bool {
	return x.req.GRPC && by != 0 && transport.Now().Add(toldEarly) >= by
}

// excused reports whether a failure says nothing about the host: it is the client's doing or
// ours, or what passed is the time that the caller gave. Whoever asks for an answer within a
// microsecond must not make a host look bad.
func (x *exchange) excused(u *upstream, flag model.Flag) bool {
	if blame := flag.Blame(); blame == model.BlameClient || blame == model.BlameProxy || flag == model.FlagUO || flag == model.FlagOM {
		return true
	}
	if x.deadline == 0 {
		return false
	}
	if flag == model.FlagU5 && u.resp.Status == 504 && x.requestBy() == x.deadline && transport.Now().Add(toldEarly) >= x.deadline {
		return true
	}
	return flag == model.FlagPT && x.requestBy() == x.deadline ||
		flag == model.FlagU5 && (u.code == model.GRPCDeadlineExceeded || x.call.end == telemetry.EndOfCall(model.GRPCDeadlineExceeded))
}

// endOfCall is how the request ended as a call of gRPC, if it was one.
func (x *exchange) endOfCall() telemetry.GRPCEnd {
	if x.req.GRPC && x.call.end == 0 {
		return telemetry.GRPCMissing
	}
	return x.call.end
}

// endOfTry is how a try of a call ended. status is 0 for one without an answer that was passed on.
func (x *exchange) endOfTry(flag model.Flag, status int) telemetry.GRPCEnd {
	switch {
	case status != 0:
		return x.endOfCall()
	case flag == model.FlagU5:
		return telemetry.EndOfCall(x.up.code)
	}
	return telemetry.GRPCMissing
}
