package proxy

import (
	"errors"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/health"
)

// resultOf is what the end of a try with this flag says about its host, where the flag is not
// excused.
func resultOf(flag model.Flag) health.Result {
	switch flag {
	case model.FlagNone:
		return health.Served
	case model.FlagU5:
		return health.Faulty
	}
	return health.Unanswered
}

// resultOfTry is resultOf for a try that is given up for another one. A policy may name codes
// that are the host's good right: who answers 429 to be asked again later is not faulty.
func (x *exchange) resultOfTry(u *upstream, flag model.Flag) health.Result {
	if flag == model.FlagU5 && u.resp.Status < 500 && (!x.req.GRPC || !u.code.Faulty()) {
		return health.Served
	}
	return resultOf(flag)
}

// innocent reports whether a try that failed before it was answered says nothing about its
// host, besides what its flag excuses: the client wants what hosts of this protocol cannot do, or the time has passed while the client was still to send more. It
// is asked before the pump is stopped.
func (x *exchange) innocent(fail *failure) bool {
	if errors.Is(fail.err, cluster.ErrNoUpgrade) {
		return true
	}
	p := x.body.pump
	return (fail.flag == model.FlagPT || fail.flag == model.FlagUT) && p != nil && p.hungry.Load()
}

// outlasted reports whether the time of a request, or of its try, has passed while the answer
// was on its way: at the pace of its client, who may be slow. That the host said nothing for
// as long as an idle time is another matter.
func (x *exchange) outlasted(now transport.Instant, fail *failure) bool {
	if fail == nil || fail.flag != model.FlagPT && fail.flag != model.FlagUT {
		return false
	}
	by := x.tryBy()
	return by != 0 && now >= by
}
