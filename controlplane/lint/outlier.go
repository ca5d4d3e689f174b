package lint

import (
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/health"
)

// ejecting reports whether somebody has set that hosts of a cluster are ejected. The default,
// which leaves hosts alone that nobody reaches, is not spoken of.
func ejecting(c *model.Cluster) bool {
	return wrote(c.Origins, "outlierDetection") && c.Outlier.Mode != model.ModeDisabled
}

// idleEjection finds rules that can never eject one of so few hosts.
func idleEjection(p *pass) {
	s, hosts := p.sayings(), p.hosts()
	for _, c := range p.out.Snapshot.Clusters {
		n, known := hosts[c.Name]
		if !known || !ejecting(c) || n == 0 {
			continue
		}
		o := &c.Outlier
		say := func(field, format string, args ...any) {
			s.cluster(c, []string{"outlierDetection." + field}, resource.Warning, format, args...)
		}
		if health.Ceiling(o, n) == 0 {
			for _, field := range []string{"maxEjected", "maxEjectedHosts", "consecutive5xx", "consecutiveLocal", "failureShare", "successRateDeviation", "slowerThanMedian"} {
				if wrote(c.Origins, "outlierDetection."+field) {
					say(field, "never ejects: of so few hosts, %d, none may go", n)
					break
				}
			}
			continue
		}
		few := func(field string, set bool) {
			if set && n < health.LeastCompared {
				say(field, "never ejects: hosts are compared where there are %d or more, not %d", health.LeastCompared, n)
			}
		}
		few("slowerThanMedian", o.SlowerThanMedian > 0)
		few("successRateDeviation", o.SuccessRateDeviation > 0)
		if reach := health.DeviationReach(n); n >= health.LeastCompared && o.SuccessRateDeviation > 0 && o.SuccessRateDeviation >= reach {
			say("successRateDeviation", "never ejects: of %d hosts one that fails always is %.2f deviations below the mean at most, √(hosts − 1); lower it, or use failureShare", n, reach)
		}
	}
	s.report()
}

// ejectionPanics finds ceilings that lead into a panic, which sends requests to ejected hosts as
// well.
func ejectionPanics(p *pass) {
	s, hosts := p.sayings(), p.hosts()
	for _, c := range p.out.Snapshot.Clusters {
		n, known := hosts[c.Name]
		if !known || !ejecting(c) || n == 0 {
			continue
		}
		out := health.Ceiling(&c.Outlier, n)
		if left := n - out; out > 0 && float64(left) < c.Balancing.PanicThreshold*float64(n) {
			s.cluster(c, []string{"outlierDetection.maxEjected", "loadBalancing.panicThreshold", "outlierDetection.maxEjectedHosts"}, resource.Warning,
				"with %d of %d hosts ejected fewer are left than loadBalancing.panicThreshold, %.4g%%: then all of them get requests again, the ejected too; lower maxEjected or panicThreshold", out, n, c.Balancing.PanicThreshold*100)
		}
	}
	s.report()
}

// hashWithEjection finds keys that move when hosts are ejected, and back.
func hashWithEjection(p *pass) {
	s := p.sayings()
	for _, c := range p.out.Snapshot.Clusters {
		if hashing(c) && ejecting(c) && c.Outlier.Mode == model.ModeEnforce {
			s.cluster(c, []string{
				"outlierDetection.slowerThanMedian", "outlierDetection.successRateDeviation", "outlierDetection.failureShare", "outlierDetection.consecutive5xx",
				"outlierDetection.consecutiveLocal",
			}, resource.Warning, "each ejection moves the keys of a host to others, and its end moves them back: whoever counts on %s to find the same host finds a cold one twice; write mode: Observe, or choose another algorithm", c.Balancing.Algorithm)
		}
	}
	s.report()
}
