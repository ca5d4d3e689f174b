package lint

import (
	"weir.dev/weir/controlplane/resource"
)

// largeReplay is how many bytes of a body are a lot to send twice at once: more than the default
// of retries.bodyReplay.
const largeReplay = 64 << 10

// idleHedge finds second tries that begin when the first is over already.
func idleHedge(p *pass) {
	s := p.sayings()
	for _, r := range p.routes() {
		if !hedges(r) {
			continue
		}
		after, t := r.Retry.Hedge.After, r.Timeouts
		switch {
		case after == 0:
		case t.PerTry > 0 && after >= t.PerTry:
			s.rule(r, hedgeFields, resource.Error, "the second try would begin after %v, when timeouts.perTry, %v, has ended the first: it never does; lower after", after, t.PerTry)
		case t.Request > 0 && after >= t.Request:
			s.rule(r, hedgeFields, resource.Error, "the second try would begin after %v, when timeouts.request, %v, is over: it never does; lower after", after, t.Request)
		}
	}
	s.report()
}

// hedgeOfOneHost finds second tries that have no other host to go to.
func hedgeOfOneHost(p *pass) {
	s, hosts := p.sayings(), p.hosts()
	for _, r := range p.routes() {
		if !hedges(r) {
			continue
		}
		for _, c := range p.clustersWithWeight(r) {
			if n, known := hosts[c.Name]; known && n == 1 {
				s.rule(r, hedgeFields, resource.Warning, "%s has one host: the second try goes to the one that is slow already, and makes it slower", clusterText(c.Name))
			}
		}
	}
	s.report()
}

// hedgeOfLargeBodies finds bodies that are kept and sent twice at once.
func hedgeOfLargeBodies(p *pass) {
	s := p.sayings()
	for _, r := range p.routes() {
		if hedges(r) && r.Retry.BodyReplay > largeReplay {
			s.rule(r, []string{"retries.bodyReplay", "retries.hedge.max"}, resource.Warning, "bodies of up to %dKi are sent to %d hosts at once whenever one is slow, as it is when much is uploaded; lower bodyReplay, or hedge a rule of its own for GET",
				r.Retry.BodyReplay>>10, 1+r.Retry.Hedge.Max)
		}
	}
	s.report()
}
