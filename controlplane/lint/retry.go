package lint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"weir.dev/weir/controlplane/explain"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/retry"
)

// The fields at which a rule's policy is spoken of.
var (
	attemptsFields = []string{"retries.attempts", "retries.hedge.max"}
	perTryFields   = []string{"timeouts.perTry", "timeouts.request"}
	hedgeFields    = []string{"retries.hedge.after", "retries.hedge.afterQuantile", "retries.hedge.max", "retries.hedge"}
)

// retries reports whether requests of a rule may be sent again after a failure.
func retries(r *model.Route) bool { return r.Retry != nil && r.Retry.Attempts > 0 }

// hedges reports whether slow tries are hedged, and not only seen to need it.
func hedges(r *model.Route) bool {
	return r.Retry != nil && r.Retry.Hedge != nil && r.Retry.Hedge.Max > 0 && r.Retry.Hedge.Mode.Acts()
}

// contradictoryTimeouts looks at effective values: each may be sensible where it stands.
func contradictoryTimeouts(p *pass) {
	s := p.sayings()
	for _, r := range p.routes() {
		switch t := r.Timeouts; {
		case t.Request == 0 || t.PerTry < t.Request:
		case t.PerTry > t.Request:
			s.rule(r, perTryFields, resource.Error, "one try may take %v, all tries together %v: perTry never acts", t.PerTry, t.Request)
		case retries(r):
			s.rule(r, perTryFields, resource.Error, "one try may take %v, which is all that the request has: after a try that times out there is no other", t.PerTry)
		}
	}
	s.report()
}

// unreachableTry looks at what the tries of a rule come to when each takes all of its time.
func unreachableTry(p *pass) {
	s := p.sayings()
	for _, r := range p.routes() {
		if !retries(r) || r.Timeouts.PerTry >= r.Timeouts.Request {
			continue // contradictory-timeouts has it, or there is no end
		}
		if sum := retry.Contradiction(r.Timeouts, r.Retry); sum != "" {
			n := retry.Reachable(r.Timeouts, r.Retry) - 1
			s.rule(r, attemptsFields, resource.Error, "%s; when tries time out no more than %s can start: lower attempts or perTry, or raise request", sum, retryCount(n))
			continue
		}
		if sum := retry.Lateness(r.Timeouts, r.Retry); sum != "" {
			s.rule(r, attemptsFields, resource.Warning, "%s: with a long backoff the last try does not start", sum)
		}
		if sum := retry.Shortage(r.Timeouts, r.Retry); sum != "" {
			s.rule(r, attemptsFields, resource.Info, "%s when those before it time out", sum)
		}
	}
	s.report()
}

func retryCount(n int) string {
	if n == 1 {
		return "1 retry"
	}
	return fmt.Sprintf("%d retries", n)
}

// binds reports whether a budget bounds retries: one that only observes does not.
func binds(b *model.RetryBudget) bool { return b != nil && b.Mode.Acts() }

// budgeted reports whether somebody has bounded the retries of a rule towards a cluster. The
// default does not count: it is there to save those who forgot.
func budgeted(r *model.Route, c *model.Cluster) bool {
	return wrote(r.Origins, "retries.budget") && binds(r.Retry.Budget) || c != nil && binds(c.RetryBudget)
}

// writtenFactor is how many tries a request of a rule may become before defaults.
func writtenFactor(r *model.Route, c *model.Cluster) float64 {
	most := float64(retry.Most(r.Retry))
	if r.Retry == nil || !budgeted(r, c) {
		return most
	}
	var own *model.RetryBudget
	if wrote(r.Origins, "retries.budget") {
		own = r.Retry.Budget
	}
	if c != nil {
		own = retry.Stricter(own, c.RetryBudget, 0)
	}
	return min(most, retry.Ceiling(own, 0))
}

// retriesWithoutBudget finds retries that nothing but the default bounds.
func retriesWithoutBudget(p *pass) {
	s := p.sayings()
	for _, r := range p.routes() {
		if !retries(r) && !hedges(r) || r.Retry.Budget == nil {
			continue
		}
		b := r.Retry.Budget
		for _, c := range p.clustersWithWeight(r) {
			switch {
			case budgeted(r, c):
			case !binds(b):
				s.rule(r, append([]string{"retries.budget.mode"}, attemptsFields...), resource.Warning, "while the backend fails each request becomes %d, and nothing keeps them at less: the mode of retries.budget is %s; write Enforce",
					retry.Most(r.Retry), b.Mode)
			default:
				s.rule(r, attemptsFields, resource.Warning, "while the backend fails each request becomes %d; only the default retries.budget, %s%% + %d/s, keeps them at ×%s: write the budget that the backend can carry",
					retry.Most(r.Retry), explain.Times(b.Share*100), b.MinPerSecond, explain.Times(1+b.Share))
			}
		}
	}
	s.report()
}

// idleRetries finds retries that a budget never lets through.
func idleRetries(p *pass) {
	s := p.sayings()
	none := func(b *model.RetryBudget) bool { return binds(b) && b.Share == 0 && b.MinPerSecond == 0 }
	for _, r := range p.routes() {
		if !retries(r) && !hedges(r) {
			continue
		}
		if none(r.Retry.Budget) {
			s.rule(r, []string{"retries.budget.percent", "retries.budget.minPerSecond"}, resource.Warning, "nothing is ever tried again: the budget is nothing; give it a share or a floor, or write attempts: 0")
		}
		for _, c := range p.clustersWithWeight(r) {
			if none(c.RetryBudget) {
				s.cluster(c, []string{"retries.budget.percent", "retries.budget.minPerSecond"}, resource.Warning, "nothing is ever tried again for %s: the backend's budget is nothing; give it a share or a floor, or write attempts: 0 there", ruleText(r))
			}
		}
	}
	s.report()
}

// A budget beyond these is no bound: a share of a half lets each tier of a chain of three more
// than triple what comes, and a floor counts whatever happens.
const (
	looseShare = 0.5
	looseFloor = 100
)

// looseBudget finds budgets that somebody wrote and that let nearly everything through.
func looseBudget(p *pass) {
	s := p.sayings()
	const says = "%s: a budget keeps retries to a part of what comes while a backend fails; 20%% and 3 are enough for what is rare"
	for _, r := range p.routes() {
		if !retries(r) && !hedges(r) {
			continue
		}
		if field, why := loose(r.Retry.Budget); why != "" && wrote(r.Origins, field) {
			s.rule(r, []string{field}, resource.Warning, says, why)
		}
		for _, c := range p.clustersWithWeight(r) {
			if field, why := loose(c.RetryBudget); why != "" {
				s.cluster(c, []string{field}, resource.Warning, says, why)
			}
		}
	}
	s.report()
}

// loose returns which field makes a budget no bound, and how; empty: none does.
func loose(b *model.RetryBudget) (field, why string) {
	switch {
	case !binds(b):
	case b.MinPerSecond > looseFloor:
		return "retries.budget.minPerSecond", fmt.Sprintf("%d retries a second are allowed whatever comes", b.MinPerSecond)
	case b.Share > looseShare:
		return "retries.budget.percent", fmt.Sprintf("retries may be %s%% of what comes", explain.Times(b.Share*100))
	}
	return "", ""
}

// retriesWithoutTimeout finds retries that a host which hangs uses up.
func retriesWithoutTimeout(p *pass) {
	s := p.sayings()
	for _, r := range p.routes() {
		if !retries(r) || r.Timeouts.PerTry > 0 {
			continue
		}
		if r.Timeouts.Request == 0 {
			s.rule(r, attemptsFields, resource.Warning, "nothing ends a try, neither timeouts.perTry nor timeouts.request: a host that hangs keeps the request until timeouts.idle, %v, and may keep it for ever; set both", r.Timeouts.Idle)
			continue
		}
		fits := (r.Timeouts.Request / time.Duration(r.Retry.Attempts+1)).Truncate(10 * time.Millisecond)
		s.rule(r, attemptsFields, resource.Warning, "a try that hangs takes all of timeouts.request, %v, so that its retries are never made; set timeouts.perTry, to %v or less if all are to have their time", r.Timeouts.Request, fits)
	}
	s.report()
}

// unsafeRetries finds methods that are not idempotent and are sent again all the same. Whoever
// has named the header by which a host knows a request again has seen to it.
func unsafeRetries(p *pass) {
	s := p.sayings()
	for _, r := range p.routes() {
		if r.Retry == nil || r.Retry.IdempotencyHeader != "" {
			continue
		}
		var unsafe []string
		for _, m := range r.Retry.Methods {
			if !slices.Contains([]string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}, m) {
				unsafe = append(unsafe, m)
			}
		}
		if len(unsafe) == 0 {
			continue
		}
		switch list := strings.Join(unsafe, ", "); {
		case hedges(r):
			s.rule(r, []string{"retries.methods"}, resource.Warning, "%s is sent twice whenever a host is slow, and both hosts do it; leave it out, or name the idempotencyHeader by which they know a request again", list)
		case retries(r) && (len(r.Retry.Codes) > 0 || slices.Contains(r.Retry.On, model.RetryReset) || slices.Contains(r.Retry.On, model.RetryPerTryTimeout)):
			s.rule(r, []string{"retries.methods"}, resource.Warning, "%s is sent again although the host may have done it; leave it out, or name the idempotencyHeader by which hosts know a request again", list)
		}
	}
	s.report()
}

// neverPerTry reports whether the request is over before one try is.
func neverPerTry(t model.Timeouts) bool { return t.Request > 0 && t.PerTry >= t.Request }

// unretriedTimeout finds times for one try whose end is not tried again.
func unretriedTimeout(p *pass) {
	s := p.sayings()
	for _, r := range p.routes() {
		if !retries(r) || r.Retry.On == nil || r.Timeouts.PerTry == 0 || neverPerTry(r.Timeouts) || slices.Contains(r.Retry.On, model.RetryPerTryTimeout) ||
			slices.Contains(r.Retry.GRPCCodes, model.GRPCDeadlineExceeded) {
			continue
		}
		rest := "whatever time is left"
		if r.Timeouts.Request > 0 {
			rest = fmt.Sprintf("with %v of %v unused", r.Timeouts.Request-r.Timeouts.PerTry, r.Timeouts.Request)
		}
		for _, c := range p.clustersWithWeight(r) {
			if c.ConnectTimeout >= r.Timeouts.PerTry {
				rest += fmt.Sprintf(", and that of a host which nobody reaches as well, for timeouts.connect, %v, is not shorter", c.ConnectTimeout)
				break
			}
		}
		s.rule(r, []string{"retries.retryOn", "timeouts.perTry"}, resource.Warning,
			"a try that times out after timeouts.perTry, %v, is the answer, 504, %s: add PerTryTimeout to retries.retryOn, or leave perTry to timeouts.request", r.Timeouts.PerTry, rest)
	}
	s.report()
}

// idleConnectTimeout finds times for connecting that are over only when the try is. The default
// is not spoken of: unretried-timeout says what it hides.
func idleConnectTimeout(p *pass) {
	s := p.sayings()
	for _, r := range p.routes() {
		for _, c := range p.clustersWithWeight(r) {
			if r.Timeouts.PerTry > 0 && c.ConnectTimeout >= r.Timeouts.PerTry {
				s.cluster(c, []string{"timeouts.connect"}, resource.Warning, "never acts for %s, where a try ends after %v: a host that does not answer is taken for a slow one", ruleText(r), r.Timeouts.PerTry)
			}
		}
	}
	s.report()
}
