package lint

import (
	"math"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/retry"
)

// idleBreaker finds bounds of a breaker that another bound always reaches first.
func idleBreaker(p *pass) {
	s := p.sayings()
	leading, mirrored := p.leading(), p.mirrored()
	for _, c := range p.out.Snapshot.Clusters {
		b := &c.Breaker
		if b.Mode == model.ModeDisabled {
			continue
		}
		say := func(field, format string, args ...any) {
			s.cluster(c, []string{"circuitBreaker." + field}, resource.Warning, format, args...)
		}
		if *b == (model.Breaker{Mode: model.ModeObserve}) {
			say("mode", "there is nothing to observe: neither a bound nor a trip is set")
		}
		if b.MaxPending > 0 && b.MaxConnections == 0 {
			say("maxPending", "nothing ever waits: requests wait only where maxConnections are open and busy, and there is no maxConnections")
		}
		if b.MaxRetries > 0 && b.MaxRequests > 0 && b.MaxRetries >= b.MaxRequests {
			say("maxRetries", "never acts: a retry is a request as well, and of those there are %d at most (maxRequests)", b.MaxRequests)
		}
		if b.MaxRetries > 0 && !anyRetries(leading[c.Name]) {
			say("maxRetries", "never acts: no rule that leads here retries or hedges")
		}
		if most, bounded := concurrency(leading[c.Name]); bounded && !mirrored[c.Name] && b.MaxRequests > 0 && b.MaxRequests >= most {
			say("maxRequests", "never acts: the rules that lead here let no more than %d tries in at once (overload.concurrency), of %d", most, b.MaxRequests)
		}
		if b.MaxConnections > 0 && b.MaxRequests > 0 && b.MaxRequests < b.MaxConnections {
			say("maxConnections", "is not reached: %d requests at once (maxRequests) have no use for %d connections, but for idle ones", b.MaxRequests, b.MaxConnections)
		}
	}
	s.report()
}

// leading are the rules that send requests to a cluster, by its name.
func (p *pass) leading() map[string][]*model.Route {
	rules := map[string][]*model.Route{}
	for _, r := range p.routes() {
		for _, c := range p.clustersWithWeight(r) {
			rules[c.Name] = append(rules[c.Name], r)
		}
	}
	return rules
}

func anyRetries(rules []*model.Route) bool {
	for _, r := range rules {
		if retries(r) || hedges(r) {
			return true
		}
	}
	return false
}

// limitOf is the most requests at once that a rule's scope ever lets in; 0: any number.
func limitOf(r *model.Route) int {
	o := r.Overload
	switch {
	case o == nil || o.Mode != model.ModeEnforce:
		return 0
	case o.Adaptive != nil:
		return o.Adaptive.Max
	default:
		return o.Limit
	}
}

// mirrored are the clusters that get copies, which no limit counts.
func (p *pass) mirrored() map[string]bool {
	clusters := map[string]bool{}
	for _, r := range p.routes() {
		for _, m := range r.Mirrors {
			clusters[m.Cluster] = true
		}
		for _, s := range r.Shadows {
			clusters[s.Cluster] = true
		}
	}
	return clusters
}

// concurrency is the most tries at once that rules make, each scope counted once and with the
// tries beside the first; false: there is no bound.
func concurrency(rules []*model.Route) (most int, bounded bool) {
	scopes := map[string]int{}
	for _, r := range rules {
		limit := limitOf(r)
		if limit == 0 {
			return 0, false
		}
		scopes[r.Overload.Scope] = max(scopes[r.Overload.Scope], limit*(1+hedged(r)))
	}
	for _, limit := range scopes {
		most += limit
	}
	return most, len(rules) > 0
}

// tripByOneRequest finds breakers that a single request opens for all, by failing in every try.
func tripByOneRequest(p *pass) {
	s := p.sayings()
	leading := p.leading()
	for _, c := range p.out.Snapshot.Clusters {
		t := c.Breaker.Trip
		if t == nil || c.Breaker.Mode == model.ModeDisabled {
			continue
		}
		// A trip needs its share of the last Of tries, and all of the first ones.
		failures := int(math.Ceil(t.Failures*float64(t.Of) - 1e-9))
		for _, r := range leading[c.Name] {
			if tries := min(retry.Most(r.Retry), retry.Reachable(r.Timeouts, r.Retry)+hedged(r)); tries >= failures {
				s.cluster(c, []string{"circuitBreaker.trip.failures", "circuitBreaker.trip.of", "circuitBreaker.trip"}, resource.Warning,
					"%d failed tries of %d open it, and one request of %s makes %d: a request that always fails closes the backend to everybody; raise failures or of", failures, t.Of, ruleText(r), tries)
			}
		}
	}
	s.report()
}

func hedged(r *model.Route) int {
	if hedges(r) {
		return r.Retry.Hedge.Max
	}
	return 0
}

// idleLimit finds limits of a scope that a breaker behind it reaches first: what it refuses is
// refused whatever its class, and never waits in the queue.
func idleLimit(p *pass) {
	s := p.sayings()
	for _, r := range p.routes() {
		o := r.Overload
		if limitOf(r) == 0 {
			continue
		}
		limit, field := o.Limit, "overload.concurrency.limit"
		if o.Adaptive != nil {
			limit, field = o.Adaptive.Min, "overload.concurrency.adaptive.min"
		}
		most, bounded := 0, true
		for _, c := range p.clustersWithWeight(r) {
			bounded = bounded && c.Breaker.MaxRequests > 0 && c.Breaker.Mode == model.ModeEnforce
			most += c.Breaker.MaxRequests
		}
		if bounded && most > 0 && most <= limit {
			s.rule(r, []string{field, "overload.concurrency.adaptive", "overload.concurrency"}, resource.Warning,
				"never acts: circuitBreaker.maxRequests behind it, %d, is reached first, which knows no queue and no priority; lower the limit below it", most)
		}
	}
	s.report()
}
