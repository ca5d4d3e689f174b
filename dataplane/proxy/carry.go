package proxy

import (
	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// carry takes the request to a host of its arm and the answer back, in as many tries as
// the route allows.
func (x *exchange) carry() {
	r := x.route.retry
	switch {
	case x.req.GRPC: // to wait for the end of a stream would be to wait for ever
		x.body.keep = !x.body.whole
	case r != nil && r.model.Attempts > 0:
		if err := x.gather(); err != nil {
			x.result.close = true
			x.refuse(x.gatherRefusal(err))
			return
		}
	}
	if !x.req.GRPC { // else once a connection is there
		x.renew()
	}
	var memory [4]*cluster.Host
	tried := memory[:0]
	for {
		fail := x.try(tried)
		if fail == nil {
			x.respond()
			return
		}
		if x.up.host != nil {
			tried = append(tried, x.up.host)
		}
		if !x.again(fail) {
			x.giveUp(fail)
			return
		}
		x.result.retries++
	}
}

// renew makes the request that the next try sends.
func (x *exchange) renew() {
	x.out = x.appendRequest(x.out[:0], x.arm.request, "")
	x.result.request = int64(len(x.out) - x.body.have)
}

// try makes one attempt, up to the head of the answer. After a failure nothing of it is left.
func (x *exchange) try(tried []*cluster.Host) *failure {
	began := x.asked
	perTry := x.route.timeouts.PerTry
	if x.result.retries > 0 || perTry > 0 || x.body.moved || x.req.GRPC || x.logging() { // moved: gathering took its time
		began = transport.Now()
	}
	x.timings.attempt, x.timings.firstByte = began, 0
	by := transport.Earlier(x.requestBy(), began.Add(perTry))
	x.up.host, x.up.pause, x.up.code = nil, 0, 0
	if by != 0 && began >= by { // a call's deadline may have passed before it came
		return &failure{flag: x.timeoutFlag(by), err: transport.ErrTimeout, unsent: true}
	}
	x.arm.series.Begin(x.c.Shard)
	x.trying = true
	fail := x.connect(by, tried)
	if x.logging() {
		x.timings.sent = transport.Now()
		x.timings.connect += int64(x.timings.sent - began)
	}
	if fail == nil {
		fail = x.exchangeWith(by)
		for fail != nil && x.lostRace(fail) {
			if fail = x.reconnect(by); fail == nil {
				fail = x.exchangeWith(by)
			}
		}
	}
	if fail == nil && x.retryableAnswer() {
		fail = &failure{flag: model.FlagU5}
	}
	x.note(began, fail)
	if fail != nil {
		x.endTry(began, fail)
	}
	return fail
}

// endTry cleans up after a try that failed.
func (x *exchange) endTry(began transport.Instant, fail *failure) {
	if err := x.stopPump(); err != nil && fail.flag == model.FlagDPE {
		fail.err = err
	}
	x.up.discard()
	took := transport.Now().Sub(began)
	switch {
	case x.up.host == nil:
	case x.excused(fail.flag):
		x.up.host.Cancel()
	default:
		x.up.host.End(transport.Now(), took, true)
	}
	x.countTry(fail.flag, 0, took)
}

// giveUp answers for the last try.
func (x *exchange) giveUp(fail *failure) {
	switch fail.flag {
	case model.FlagDC:
		x.result.flag, x.result.abort = model.FlagDC, true
		return
	case model.FlagDPE:
		x.result.close = true
		x.refuse(bodyRefusal(fail.err))
		return
	}
	if !x.body.whole {
		x.result.close = true
	}
	detail := ""
	if fail.err != nil {
		detail = fail.err.Error()
	}
	refused := refusal{flag: fail.flag, detail: detail}
	if fail.flag == model.FlagU5 { // its answer was given up for a try that there is no time for
		refused.status = x.up.resp.Status
	}
	x.refuse(refused)
}

// note remembers a try for the access log and for an explanation.
func (x *exchange) note(began transport.Instant, fail *failure) {
	if !x.logging() && !x.explaining || len(x.attempts) >= telemetry.MaxAttempts || x.up.host == nil {
		return
	}
	a := telemetry.Attempt{Host: x.up.host.Address(), Duration: transport.Now().Sub(began)}
	if fail == nil || fail.flag == model.FlagU5 {
		a.Status = x.up.resp.Status
		if code, known := x.up.verdict(); known && x.req.GRPC {
			a.GRPC = telemetry.EndOfCall(code)
		}
	}
	if fail != nil {
		a.Flag = fail.flag
		if fail.err != nil {
			a.Err = fail.err.Error()
		}
	}
	x.attempts = append(x.attempts, a)
}

// appendRequest appends the head that is forwarded, and the body behind it if it is at hand.
// extra is more field lines.
func (x *exchange) appendRequest(dst []byte, edit *policy.HeaderEdit, extra string) []byte {
	r := &x.req
	path := r.Path
	if x.forward.path != nil {
		path = x.forward.path
	}
	dst = http1.AppendRequestLine(dst, r.Method, path, r.Query, r.HasQuery)
	if x.forward.host != "" {
		dst = http1.AppendFieldString(dst, "Host", x.forward.host)
	} else { // empty for an HTTP/1.0 request without Host, as RFC 9112 section 3.2 wants it
		dst = http1.AppendField(dst, "Host", r.Authority)
	}
	for i := range r.Fields {
		f := &r.Fields[i]
		if f.Hop || f.Dropped || f.Known == http1.NameHost {
			continue
		}
		if f.Known != http1.NameOther && (f.Known == http1.NameExpect && x.body.whole ||
			x.caller.Drops(f.Known) || x.id.Drops(f.Known) || r.GRPC && x.rewritten(f.Known)) {
			continue
		}
		if edit.Drops(&r.Head, i) {
			continue
		}
		dst = r.AppendRaw(dst, i)
	}
	covered := edit.Covers()
	dst = x.view.forwarding.AppendTo(dst, &x.caller, r, covered)
	dst = x.id.AppendTo(dst, covered)
	dst = edit.AppendTo(dst)
	if r.GRPC {
		dst = x.appendCall(dst, covered)
	}
	dst = append(dst, extra...)
	if r.Body == http1.BodyChunked {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	if x.upgrading() {
		dst = append(dst, "Connection: upgrade\r\n"...)
		dst = http1.AppendField(dst, "Upgrade", r.Upgrade)
	}
	dst = append(dst, "\r\n"...)
	return append(dst, x.body.bytes(x)...)
}
