package proxy

import (
	"errors"
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/health"
)

// carry takes the request to a host of its arm and the answer back, in as many tries as
// the route allows.
func (x *exchange) carry() {
	r := x.route.retry
	if r != nil {
		x.body.limit = int(r.model.BodyReplay)
	}
	switch {
	case x.req.GRPC: // to wait for the end of a stream would be to wait for ever
		x.body.keep = !x.body.whole
	case x.route.replays():
		if err := x.gather(x.body.limit); err != nil {
			x.result.close = true
			x.refuse(x.gatherRefusal(err))
			return
		}
	}
	var memory [4]*cluster.Host
	tried := memory[:0]
	if x.drawn.OnLostCanary() { // while its body came
		if x.toStable(); x.arm.cluster == nil {
			x.refuse(refusalOf(x.arm.model.Refusal))
			return
		}
	}
	for {
		fail := x.try(tried)
		if x.drawn.Heard() {
			if x.judgeTry(fail); x.fallBack(fail) {
				tried = tried[:0]
				continue
			}
		}
		if fail == nil {
			x.respond()
			return
		}
		if x.up.host != nil {
			tried = append(tried, x.up.host)
		}
		if x.hedged > 0 {
			tried = append(tried, x.hedges.hosts...)
		}
		if !x.again(fail) {
			if x.drawn.Heard() {
				if x.judgeLast(fail); x.fallBack(fail) {
					tried = tried[:0]
					continue
				}
			}
			x.giveUp(fail)
			return
		}
		x.result.retries++
	}
}

// sending is what a request says about the try that it is sent for.
type sending struct {
	n     int               // which try, from 1
	by    transport.Instant // when it is over; 0: never
	marks []byte            // field lines about that
	// copied says that nobody waits for the answer: what others said about the request is not said of it.
	copied bool
}

// renew makes the request that the present try sends.
func (x *exchange) renew() {
	x.out = x.appendRequest(x.out[:0], x.arm.request, sending{n: x.result.retries + 1, by: x.tryBy(), marks: x.marks()})
	x.result.request = int64(len(x.out) - x.body.have)
}

// try makes one attempt, up to the head of the answer. After a failure nothing of it is left.
func (x *exchange) try(tried []*cluster.Host) *failure {
	began := x.asked
	perTry := x.timeouts.PerTry
	if x.result.retries > 0 || perTry > 0 || x.body.moved || x.waited || x.req.GRPC || x.logging() { // moved: gathering took its time
		began = transport.Now()
	}
	x.timings.attempt, x.timings.firstByte = began, 0
	by := transport.Earlier(x.requestBy(), began.Add(perTry))
	x.up.host, x.up.pause, x.up.code, x.up.extra = nil, 0, 0, x.result.retries > 0
	if by != 0 && began >= by { // while the request waited, or a call's before it came
		x.countExpired()
		return &failure{flag: x.timeoutFlag(by), err: transport.ErrTimeout, unsent: true}
	}
	if refused := x.admitTry(began); refused != nil {
		return refused
	}
	x.arm.series.Begin(x.c.Shard)
	x.trying = true
	x.hedge(by)
	fail := x.ask(by, tried)
	if x.beside != nil {
		fail = x.settleHedges(fail)
	}
	if fail == nil && x.retryableAnswer() {
		fail = &failure{flag: model.FlagU5}
	}
	x.note(x.timings.attempt, fail)
	if fail != nil {
		x.endTry(x.timings.attempt, fail)
	}
	return fail
}

// ask sends the request to a host and reads the head of its answer.
func (x *exchange) ask(by transport.Instant, tried []*cluster.Host) *failure {
	fail := x.connect(by, tried)
	if x.logging() {
		x.timings.sent = transport.Now()
		x.timings.connect += int64(x.timings.sent - x.timings.attempt)
	}
	if fail != nil {
		return fail
	}
	fail = x.exchangeWith(by)
	for fail != nil && x.lostRace(fail) {
		x.up.host.Stats.Races.Add(1)
		if fail = x.reconnect(by); fail == nil {
			fail = x.exchangeWith(by)
		}
	}
	return fail
}

// endTry cleans up after a try that failed.
func (x *exchange) endTry(began transport.Instant, fail *failure) {
	innocent := x.innocent(fail)
	if x.drawn.Made() {
		x.drawn.Excuse(innocent)
	}
	if err := x.stopPump(); err != nil && fail.flag == model.FlagDPE {
		fail.err = err
	}
	x.up.discard()
	now := transport.Now()
	took := now.Sub(began)
	switch {
	case errors.Is(fail.err, errOutrun) && x.up.host != nil:
		x.pass.Excuse()
		x.up.host.Outrun(now, x.c.Shard, took)
		x.arm.cluster.ObserveLatency(x.c.Shard, took)
	case innocent:
		x.excuse()
	default:
		x.settle(now, fail.flag, x.resultOfTry(x.up, fail.flag), took)
	}
	x.countTry(fail.flag, 0, took)
}

// settle says how the present try ended to its host and to the breaker of its cluster, unless
// that says nothing about either.
func (x *exchange) settle(now transport.Instant, flag model.Flag, result health.Result, latency time.Duration) {
	if x.up.host == nil || x.excused(x.up, flag) {
		x.excuse()
		return
	}
	x.pass.Done(now, result.Failed())
	x.up.host.End(now, cluster.Outcome{Shard: x.c.Shard, Result: result, Latency: latency})
	if !result.Failed() {
		x.arm.cluster.ObserveLatency(x.c.Shard, latency)
	}
}

// excuse ends a try that says nothing about its host or cluster.
func (x *exchange) excuse() {
	x.pass.Excuse()
	if x.up.host != nil {
		x.up.host.Cancel()
	}
}

// giveUp answers for the last try.
func (x *exchange) giveUp(fail *failure) {
	x.dropRetry()
	if !x.body.whole {
		x.result.close = true
	}
	switch fail.flag {
	case model.FlagDC:
		x.result.flag, x.result.abort = model.FlagDC, true
		return
	case model.FlagDPE:
		x.refuse(bodyRefusal(fail.err))
		return
	}
	detail := ""
	if fail.err != nil {
		detail = fail.err.Error()
	}
	refused := refusal{flag: fail.flag, detail: detail, retryAfter: fail.after}
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
// It changes nothing of the exchange: a hedge may send the request at the same time.
func (x *exchange) appendRequest(dst []byte, edit *policy.HeaderEdit, s sending) []byte {
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
		if f.Known != http1.NameOther && (f.Known == http1.NameExpect && (x.body.whole || s.copied) ||
			x.caller.Drops(f.Known) || x.id.Drops(f.Known) || r.GRPC && rewritten(f.Known, s.n) ||
			f.Known == http1.NameXWeir && (s.copied || x.restated(i))) {
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
		dst = x.appendCall(dst, covered, s)
	}
	if !s.copied {
		dst = append(dst, x.overload.line...)
		dst = append(dst, x.drawn.Line()...)
		dst = x.broken.marks(dst)
	}
	dst = append(dst, s.marks...)
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
