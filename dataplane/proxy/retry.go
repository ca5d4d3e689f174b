package proxy

import (
	"slices"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/retry"
)

// retries is model.Retry for look-up.
type retries struct {
	model model.Retry
	codes [600]bool
	calls [model.GRPCCodes]bool // the codes of gRPC
	on    [model.FlagCount]bool // failures without an answer, where they are of a class
	// refused says that requests which a host has not acted upon are sent again.
	refused bool
}

// retryFlags are the flags of each class of failures.
var retryFlags = map[model.RetryOn][]model.Flag{
	model.RetryConnectFailure: {model.FlagUF},
	model.RetryReset:          {model.FlagUC, model.FlagUR},
	model.RetryPerTryTimeout:  {model.FlagUT},
}

func compileRetry(m *model.Retry) *retries {
	if m == nil {
		return nil
	}
	r := &retries{model: *m, refused: m.On == nil || slices.Contains(m.On, model.RetryRefusedStream)}
	if h := m.Hedge; h != nil && h.Mode == model.ModeDisabled {
		r.model.Hedge = nil
	}
	for _, code := range m.Codes {
		if code > 0 && code < len(r.codes) {
			r.codes[code] = true
		}
	}
	for _, code := range m.GRPCCodes {
		if code > 0 && code < model.GRPCCodes {
			r.calls[code] = true
		}
	}
	if m.On == nil {
		for f := range r.on {
			r.on[f] = true
		}
	}
	for _, class := range m.On {
		for _, f := range retryFlags[class] {
			r.on[f] = true
		}
	}
	return r
}

// repeats reports whether requests of a method may be sent again where the host may have
// acted upon them.
func (r *retries) repeats(method []byte) bool {
	if r.model.Methods == nil {
		return idempotent(method)
	}
	return slices.Contains(r.model.Methods, string(method))
}

// replays reports whether the route may send a request again.
func (r *route) replays() bool {
	return r.retry != nil && (r.retry.model.Attempts > 0 || r.hedges())
}

// hedges reports whether slow tries are hedged, and not only counted.
func (r *route) hedges() bool { return r.retry.model.Hedge != nil && r.retry.model.Hedge.Mode.Acts() }

// repeats reports whether the request may be sent again where a host may have acted upon it:
// its method allows that, or its client has given it a key by which hosts know it again.
func (x *exchange) repeats(r *retries) bool { return r.repeats(x.req.Method) || x.keyed(r) }

func (x *exchange) keyed(r *retries) bool {
	if r == nil || r.model.IdempotencyHeader == "" {
		return false
	}
	value, ok := x.req.Lookup(r.model.IdempotencyHeader)
	return ok && len(value) > 0
}

// idempotent reports whether a method may be sent twice (RFC 9110 section 9.2.2).
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// maxRaces bounds the streams that hosts refuse of one try, each free of charge: a host that
// goes away may refuse many at once.
const maxRaces = 4

// lostRace reports whether a pooled connection turned out to have been closed by the host
// before it saw the request: then a new connection is tried at once, free of charge. The
// request must be one that may be sent twice, unless it was not sent at all, or the host has
// refused its stream without a look at it.
func (x *exchange) lostRace(fail *failure) bool {
	if x.drawn.OnLostCanary() {
		return false
	}
	if x.up.races++; fail.refused {
		return x.up.races <= maxRaces && (x.body.untouched() || x.recall())
	}
	if fail.spoken || !x.up.reused || fail.flag != model.FlagUC && fail.flag != model.FlagUR && !fail.unsent {
		return false
	}
	return fail.unsent || x.body.replayable() && x.up.buf.Len() == 0 && (idempotent(x.req.Method) || x.keyed(x.route.retry))
}

// again reports whether a failed try is followed by another one, and waits before it.
func (x *exchange) again(fail *failure) bool {
	r := x.route.retry
	sendable := x.body.replayable() || fail.unsent && x.body.untouched()
	if x.spent(r) || x.result.sent || !sendable {
		return false
	}
	if fail.flag == model.FlagU5 { // retryableAnswer has judged an answer, and admitted the retry
		return x.backOff(x.up.pause)
	}
	if !x.mayRepeat(fail) || !fail.unsent && x.leavesRetry(r) {
		return false
	}
	pause := x.pause()
	if !x.inTime(pause) {
		return false
	}
	if denied := x.admitRetry(r); denied != "" {
		fail.deny(denied)
		return false
	}
	return x.backOff(pause)
}

// spent reports whether no retry is left to the request.
func (x *exchange) spent(r *retries) bool {
	return r == nil || x.result.retries-x.hedged >= r.model.Attempts || x.noRetries() || x.drawn.OnLostCanary()
}

// mayRepeat reports whether the policy has a try repeated that failed without an answer.
func (x *exchange) mayRepeat(fail *failure) bool {
	r := x.route.retry
	switch fail.flag {
	case model.FlagPT, model.FlagDC, model.FlagDPE, model.FlagUH, model.FlagWD, model.FlagUO:
		return false
	}
	if x.req.GRPC && r.calls[policy.GRPCRefusal(fail.flag, 0)] {
		return true
	}
	if fail.unsent && (fail.flag == model.FlagUC || fail.flag == model.FlagUR) {
		return r.refused || r.on[fail.flag]
	}
	return r.on[fail.flag] && (fail.unsent || x.repeats(r))
}

// leavesRetry reports whether a retry of what a host may have acted upon is the caller's to
// make, who has said that it does so: only one of a chain of proxies is to, or each of them
// multiplies the tries of the others.
func (x *exchange) leavesRetry(r *retries) bool {
	if !x.nested || r.model.Nested {
		return false
	}
	x.protection(telemetry.ProtectNestedRetry).Count(model.ModeEnforce)
	return true
}

// retryableAnswer reports whether the answer just read calls for another try that may be made.
// The retry has been admitted then. Else the answer is passed on as it is.
func (x *exchange) retryableAnswer() bool {
	r := x.route.retry
	if x.spent(r) || !x.unwanted(x.up, r, x.tryBy()) || x.leavesRetry(r) || !x.mayPause(r) {
		return false
	}
	if p := x.body.pump; p != nil && p.spent.Load() || p == nil && !x.body.replayable() {
		return false
	}
	if x.admitRetry(r) != "" {
		return false
	}
	if !x.recall() {
		x.dropRetry()
		return false
	}
	return true
}

// unwanted reports whether the answer is one to try again for: by its status, or by its code
// where it answers a call of gRPC with nothing else. Whoever names a code of gRPC means calls,
// so the method of all calls, POST, does not count then. A host that was told when the try would
// time out, by, may have been faster than we, and answer so.
func (x *exchange) unwanted(u *upstream, r *retries, by transport.Instant) bool {
	if r == nil {
		return false
	}
	if x.req.GRPC {
		code, known := u.verdict()
		u.code = code
		alone := known && (u.resp.Status != 200 || u.resp.Body == http1.BodyNone)
		if alone && code > 0 && code < model.GRPCCodes && r.calls[code] {
			return true
		}
		if alone && code == model.GRPCDeadlineExceeded && by != x.requestBy() && r.on[model.FlagUT] {
			return x.repeats(r)
		}
	} else if u.resp.Status == 504 && r.on[model.FlagUT] && by != x.requestBy() && transport.Now().Add(toldEarly) >= by {
		return x.repeats(r)
	}
	return r.codes[u.resp.Status] && x.repeats(r)
}

// mayPause reports whether the host lets the request be sent again, and soon enough. It
// settles the pause before that.
func (x *exchange) mayPause(r *retries) bool {
	u := x.up
	if r.model.On != nil {
		asked, ok := u.resp.Get(http1.NameGRPCPushback)
		if ok && x.req.GRPC {
			if u.pause, ok = policy.ParsePushback(asked); !ok {
				return false
			}
		} else if asked, ok = u.resp.Get(http1.NameRetryAfter); ok {
			u.pause, _ = policy.ParseRetryAfter(asked, time.Now())
		}
		if u.pause > r.model.BackoffMax {
			return false
		}
	}
	u.pause = x.pause()
	return x.inTime(u.pause)
}

// recall stops the sending of the body and reports whether the request can be sent again.
func (x *exchange) recall() bool {
	p := x.body.pump
	if p == nil {
		return x.body.replayable()
	}
	if p.spent.Load() {
		return false
	}
	if !p.ended.Load() {
		x.up.resp.KeepAlive = false // stopping closes the connection
	}
	if x.stopPump() == nil && x.body.replayable() {
		return true
	}
	x.result.close = x.result.close || !x.body.whole
	return false
}

// pause is how long to wait before the next try.
func (x *exchange) pause() time.Duration {
	if x.up.pause > 0 {
		return x.up.pause
	}
	return retry.Backoff(&x.route.retry.model, x.result.retries-x.hedged+1, x.p.cfg.Random())
}

// inTime reports whether the request's time lasts for longer than d.
func (x *exchange) inTime(d time.Duration) bool {
	by := x.requestBy()
	return by == 0 || by.Sub(transport.Now()) > d
}

// backOff waits for d, and reports whether the request is still wanted then.
func (x *exchange) backOff(d time.Duration) bool {
	if d <= 0 {
		return x.clientLeft() == nil
	}
	if !x.inTime(d) {
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
