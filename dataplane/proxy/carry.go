package proxy

import (
	"time"

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
	if r != nil && r.model.Attempts > 0 {
		if err := x.gather(); err != nil {
			x.result.close = true
			x.refuse(x.gatherRefusal(err))
			return
		}
	}
	x.out = x.appendRequest(x.out[:0], x.arm.request, "")
	x.result.request = int64(len(x.out) - x.body.have)
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

// try makes one attempt, up to the head of the answer. After a failure nothing of it is left.
func (x *exchange) try(tried []*cluster.Host) *failure {
	began := x.asked
	perTry := x.route.timeouts.PerTry
	if x.result.retries > 0 || perTry > 0 || x.body.moved || x.logging() { // moved: gathering took its time
		began = transport.Now()
	}
	x.timings.attempt, x.timings.firstByte = began, 0
	by := transport.Earlier(x.requestBy(), began.Add(perTry))
	x.up.host = nil
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
	if fail == nil && x.retryableStatus() {
		fail = &failure{flag: model.FlagU5}
	}
	x.note(began, fail)
	if fail != nil {
		x.endTry(began, fail)
	}
	return fail
}

// lostRace reports whether a pooled connection turned out to have been closed by the host
// before it saw the request: then a new connection is tried at once, free of charge. The
// request must be one that may be sent twice, unless it was not sent at all.
func (x *exchange) lostRace(fail *failure) bool {
	if !x.up.reused || fail.flag != model.FlagUC && fail.flag != model.FlagUR && !fail.unsent {
		return false
	}
	return fail.unsent || x.body.replayable() && x.up.buf.Len() == 0 && idempotent(x.req.Method)
}

// idempotent reports whether a method may be sent twice (RFC 9110 section 9.2.2).
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// again reports whether a failed try is followed by another one, and waits before it.
func (x *exchange) again(fail *failure) bool {
	r := x.route.retry
	if r == nil || x.result.retries >= r.model.Attempts || x.result.sent || !x.body.replayable() {
		return false
	}
	switch fail.flag {
	case model.FlagPT, model.FlagDC, model.FlagDPE, model.FlagUH, model.FlagWD:
		return false
	}
	if !fail.unsent && !idempotent(x.req.Method) {
		return false
	}
	return x.backOff(r.model.Backoff)
}

// backOff waits at least d, with up to as much again of jitter, and reports whether the
// request is still wanted then.
func (x *exchange) backOff(d time.Duration) bool {
	if d <= 0 {
		return x.clientLeft() == nil
	}
	d += time.Duration(x.p.cfg.Random() % uint64(d))
	if by := x.requestBy(); by != 0 && transport.Now().Add(d) >= by {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return x.clientLeft() == nil
	case <-x.p.ctx.Done():
		return false
	}
}

// retryableStatus reports whether the answer just read calls for another try that may be made.
func (x *exchange) retryableStatus() bool {
	r := x.route.retry
	return r != nil && x.result.retries < r.model.Attempts && r.codes[x.up.resp.Status] &&
		x.body.replayable() && idempotent(x.req.Method)
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
	case fail.flag.Blame() == model.BlameClient, fail.flag.Blame() == model.BlameProxy:
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
			x.caller.Drops(f.Known) || x.id.Drops(f.Known)) {
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
