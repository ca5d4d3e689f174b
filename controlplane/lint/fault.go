package lint

import (
	"fmt"
	"slices"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
)

// longFault is how long a fault may last before somebody is likely to have forgotten it.
const longFault = 7 * 24 * time.Hour

// lastingFault finds faults that have no end soon, and those that are over and still there.
func lastingFault(p *pass) {
	for o, policy := range resource.All[*v1alpha1.FaultPolicy](p.set) {
		switch left := policy.Spec.Expires.Sub(p.now); {
		case left <= 0:
			p.report(o, "spec.expires", "is over: nothing is broken any more; delete the policy")
		case left > longFault:
			p.report(o, "spec.expires", "is in %d days: who finds this broken then will not know why; end it within %d days, and write it anew if it must go on", int(left.Hours()/24), int(longFault.Hours()/24))
		}
	}
}

// faultOfEverything finds faults that leave no request of a whole route alone.
func faultOfEverything(p *pass) {
	for o, policy := range resource.All[*v1alpha1.FaultPolicy](p.set) {
		whole := slices.IndexFunc(policy.Spec.TargetRefs, func(r gatewayv1.LocalPolicyTargetReferenceWithSectionName) bool { return r.SectionName == nil })
		if whole < 0 {
			continue
		}
		for i, f := range policy.Spec.Faults {
			if f.When == nil && isAll(f.Share) && (f.Abort != nil || f.Reset != nil) {
				p.report(o, fmt.Sprintf("spec.faults[%d].share", i), "leaves no request of %s %s alone, neither of users nor of health checks: give it a when, such as a header that only the drill sends, a smaller share, or one rule as sectionName",
					policy.Spec.TargetRefs[whole].Kind, policy.Spec.TargetRefs[whole].Name)
			}
		}
	}
}

func isAll(p v1alpha1.Percentage) bool { return p == "100%" || p == "100.0%" || p == "100.00%" }

// shadowOfWrites finds Shadows that copy requests which change something. Calls of gRPC are POST,
// all of them; of these nobody can tell.
func shadowOfWrites(p *pass) {
	for o, s := range resource.All[*v1alpha1.Shadow](p.set) {
		http := slices.ContainsFunc(s.Spec.TargetRefs, func(r gatewayv1.LocalPolicyTargetReferenceWithSectionName) bool { return r.Kind == "HTTPRoute" })
		for i, m := range s.Spec.Methods {
			if http && !slices.Contains([]v1alpha1.RetryMethod{"GET", "HEAD", "OPTIONS", "TRACE"}, m) {
				p.report(o, fmt.Sprintf("spec.methods[%d]", i), "is of requests that change something, and the shadow does it again: be sure that it writes nowhere where the route's own backend does, or leave %s out", m)
			}
		}
	}
}

// shadowToSelf finds copies that go where the request goes.
func shadowToSelf(p *pass) {
	shadows := map[string]*resource.Object{}
	for o := range resource.All[*v1alpha1.Shadow](p.set) {
		shadows[o.Key.Namespace+"/"+o.Key.Name] = o
	}
	said := map[string]bool{}
	for _, r := range p.routes() {
		for _, s := range r.Shadows {
			for i, weight := range r.Split.Resting() { // a canary is copies-to-canary's
				if o := shadows[s.Name]; weight > 0 && r.Split.Arms[i].Cluster == s.Cluster && s.Cluster != "" && o != nil && !said[s.Name] {
					said[s.Name] = true
					p.report(o, "spec.backendRef", "is where %s sends the requests themselves: it carries them twice, and differs from itself by chance alone; for that compare.baseline is enough", ruleText(r))
				}
			}
		}
	}
}
