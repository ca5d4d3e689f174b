package proxy

import (
	"fmt"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// A try needs the leave of its cluster's breaker, and one that is not the first that of the
// retry budget as well. A first try asks when it begins. A retry asks before the failure that it
// follows is given up: where it is denied, an answer that is at hand is passed on after all, and
// what has no answer is refused as the text for model.FlagURX says.
//
//	503 at hand, budget spent          the 503, flag U5
//	reset, budget or MaxRetries spent  503, flag URX
//	reset, breaker open                502, flag UR: the reset is what there is
//	first try, breaker open            503, flag UO, Retry-After

// watch has the clusters of a route that sends requests again count what that is bounded by.
func (r *route) watch() {
	if !r.replays() && (r.retry == nil || r.retry.model.Hedge == nil) {
		return
	}
	for i := range r.arms {
		c := r.arms[i].cluster
		if c == nil {
			continue
		}
		c.CountTries()
		if h := r.retry.model.Hedge; h != nil && h.After == 0 {
			c.WatchLatency()
		}
	}
}

// admitTry asks for a try that is about to begin.
func (x *exchange) admitTry(now transport.Instant) *failure {
	if x.result.retries > 0 {
		x.pass, x.next = x.next, cluster.Pass{}
		return nil
	}
	c := x.arm.cluster
	pass, refused := c.Admit(now, false)
	if refused != nil {
		x.noteDenied(model.FlagUO, refused.Kind)
		return &failure{flag: model.FlagUO, err: refused, unsent: true, after: refused.RetryAfter}
	}
	c.First(now, x.c.Shard)
	x.pass = pass
	return nil
}

// admitRetry asks for a retry, which x.next stands for then. If it is denied it returns by what.
func (x *exchange) admitRetry(r *retries) (denied telemetry.ProtectionKind) {
	now := transport.Now()
	pass, denied := admitExtra(x.arm.cluster, now, r)
	if denied == "" {
		x.next = pass
		return ""
	}
	flag := model.FlagUO
	if exhausted(denied) {
		flag = model.FlagURX
	}
	x.noteDenied(flag, denied)
	return denied
}

// admitExtra asks for a try that is not a request's first. The budget comes last, so that
// nothing is taken from it for what another bound denies.
func admitExtra(c *cluster.Cluster, now transport.Instant, r *retries) (cluster.Pass, telemetry.ProtectionKind) {
	pass, refused := c.Admit(now, true)
	if refused != nil {
		return cluster.Pass{}, refused.Kind
	}
	if !c.MayRetry(now, r.model.Budget) {
		pass.Excuse()
		return cluster.Pass{}, telemetry.ProtectRetryBudget
	}
	return pass, ""
}

// dropRetry gives back what a retry was admitted by that does not begin.
func (x *exchange) dropRetry() { x.next.Excuse() }

// exhausted reports whether what denies a retry is a bound on retries.
func exhausted(denied telemetry.ProtectionKind) bool {
	return denied == telemetry.ProtectRetryBudget || denied == telemetry.ProtectMaxRetries
}

// deny says of a failure without an answer that its retry was denied.
func (f *failure) deny(by telemetry.ProtectionKind) {
	if !exhausted(by) {
		return
	}
	f.err = fmt.Errorf("%s denied a retry after %s: %w", by, f.flag, f.err)
	f.flag = model.FlagURX
}

// noteDenied remembers a try that was not made.
func (x *exchange) noteDenied(flag model.Flag, by telemetry.ProtectionKind) {
	if (x.logging() || x.explaining) && len(x.attempts) < telemetry.MaxAttempts {
		x.attempts = append(x.attempts, telemetry.Attempt{Flag: flag, Err: "denied by " + string(by)})
	}
}
