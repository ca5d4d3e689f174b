package resource

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	aRollout = "apiVersion: weir.dev/v1alpha1\nkind: Rollout\nmetadata: {name: a}\nspec:\n" +
		"  targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: cart}\n" +
		"  stable: {group: weir.dev, kind: Backend, name: old}\n  canary: {group: weir.dev, kind: Backend, name: new}\n"
	aShadow = "apiVersion: weir.dev/v1alpha1\nkind: Shadow\nmetadata: {name: a}\nspec:\n" +
		"  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]\n  backendRef: {group: weir.dev, kind: Backend, name: new}\n  share: 1%\n"
	aFault = "apiVersion: weir.dev/v1alpha1\nkind: FaultPolicy\nmetadata: {name: a}\nspec:\n" +
		"  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]\n  expires: 2026-12-01T10:00:00Z\n  reason: drill\n"
	aPromise = "apiVersion: weir.dev/v1alpha1\nkind: ServiceLevelObjective\nmetadata: {name: a}\nspec:\n" +
		"  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]\n"
	allStages = "  stages: [{share: 1%}, {share: 100%}]\n"
)

// TestDecodeReleases: what is wrong with a Rollout, Shadow, FaultPolicy or ServiceLevelObjective is
// said of its place, and of all places at once.
func TestDecodeReleases(t *testing.T) {
	const rollout, shadow, fault, promise = "Rollout default/a: ", "Shadow default/a: ", "FaultPolicy default/a: ", "ServiceLevelObjective default/a: "
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"a rollout":                   {aRollout + allStages, nil},
		"shares that do not grow":     {aRollout + "  stages: [{share: 5%}, {share: 5.00%}, {share: 1%}, {share: 100%}]\n", []string{"8:26: " + rollout + "spec.stages[1].share: 5.00% is not more than the stage before has, 5%: shares must grow", "8:42: " + rollout + "spec.stages[2].share: 1% is not more than the stage before has, 5.00%: shares must grow"}},
		"a last stage of less":        {aRollout + "  stages: [{share: 5%}, {share: 50%}]\n", []string{"8:26: " + rollout + "spec.stages[1].share: 50% is the last: the last stage must have 100%, which is what a release ends with"}},
		"no stages":                   {aRollout, []string{"4:1: " + rollout + "spec.stages: are for the strategy Canary, which needs them; BlueGreen has one switch and none"}},
		"stages of BlueGreen":         {aRollout + allStages + "  strategy: BlueGreen\n", []string{"8:3: " + rollout + "spec.stages: are for the strategy Canary, which needs them; BlueGreen has one switch and none"}},
		"stable as canary":            {strings.Replace(aRollout, "name: new", "name: old", 1) + allStages, []string{"7:3: " + rollout + "spec.canary: must not be stable itself"}},
		"a rule without a name":       {strings.Replace(aRollout, ", sectionName: cart", "", 1) + allStages, []string{"5:3: " + rollout + "spec.targetRef.sectionName: must name a rule: give the rule a name and write it here"}},
		"a target of another kind":    {strings.Replace(aRollout, "kind: HTTPRoute", "kind: Gateway", 1) + allStages, []string{"5:3: " + rollout + "spec.targetRef: must name an HTTPRoute or GRPCRoute of group gateway.networking.k8s.io"}},
		"claims in a cohort":          {aRollout + allStages + "  cohorts: [{name: a, when: 'jwt.sub == \"a\"'}, {name: b, when: 'response.code == 200'}]\n", []string{"9:23: " + rollout + "spec.cohorts[0].when: at 1:1 of the expression: jwt is not available here: it needs verified claims, which come with AccessPolicy", "9:58: " + rollout + "spec.cohorts[1].when: at 1:1 of the expression: response is not available here: there is none yet when the expression is evaluated"}},
		"a key of a claim":            {aRollout + allStages + "  sampling: {key: [{jwtClaim: sub}]}\n", []string{"9:20: " + rollout + "spec.sampling.key[0]: exactly one of the fields in [header cookie query clientIP identity expression] must be set", "9:21: " + rollout + "spec.sampling.key[0].jwtClaim: not supported by this version yet: it comes with AccessPolicy, which verifies claims; until then use identity, a header or an expression"}},
		"PromQL that does not parse":  {aRollout + allStages + "  gates: [{name: a, promql: {query: 'sum(rate(x[5m])', min: '1'}}]\n", []string{"9:30: " + rollout + "spec.gates[0].promql.query: at character 1 of the query: no arguments for aggregate expression provided", "9:30: " + rollout + "spec.gates[0].promql.query: at character 16 of the query: unclosed left parenthesis"}},
		"PromQL of many numbers":      {aRollout + allStages + "  gates: [{name: a, promql: {query: 'x[5m]', min: '2', max: '1.5'}}]\n", []string{"9:30: " + rollout + "spec.gates[0].promql.query: is a range vector; want one number", "9:56: " + rollout + "spec.gates[0].promql.max: 1.5 is less than min, 2"}},
		"a mistyped URL":              {aRollout + allStages + "  gates: [{name: a, webhook: {url: 'htps://a'}}, {name: b, webhook: {url: 'https:///a'}}, {name: c, promql: {query: up, min: '1', address: 'prometheus:9090'}}]\n", []string{"9:31: " + rollout + "spec.gates[0].webhook.url: must begin with http:// or https://", "9:70: " + rollout + "spec.gates[1].webhook.url: has no host", "9:131: " + rollout + "spec.gates[2].promql.address: must begin with http:// or https://"}},
		"a password in a URL":         {aRollout + allStages + "  gates: [{name: a, webhook: {url: 'https://user:hush@a/b', timeout: 61s}}]\n", []string{"9:31: " + rollout + "spec.gates[0].webhook.url: must not hold a user or password: everybody who may read the object would see them", "9:61: " + rollout + "spec.gates[0].webhook.timeout: 61s is more than 1m0s, which is what a gate waits at most"}},
		"authorities of clear text":   {aRollout + allStages + "  gates: [{name: a, webhook: {url: 'http://a', caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}, {name: b, promql: {query: up, min: '1', address: 'http://a', caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}]\n", []string{"9:48: " + rollout + "spec.gates[0].webhook.caCertificateRefs: is for https://: a server that is asked by http:// shows no certificate", "9:172: " + rollout + "spec.gates[1].promql.caCertificateRefs: is for https://: a server that is asked by http:// shows no certificate"}},
		"credentials for nobody":      {aRollout + allStages + "  gates: [{name: a, promql: {query: up, min: '1', secretRef: {name: s}}}]\n", []string{"9:51: " + rollout + "spec.gates[0].promql.secretRef: is for the server at address: without one Weir's own time series are asked"}},
		"gates of one name":           {aRollout + allStages + "  gates: [{name: a, slo: {name: a}}, {name: a, slo: {name: b}}]\n", []string{"9:38: " + rollout + "spec.gates[1]: duplicate value"}},
		"a gate of two kinds":         {aRollout + allStages + "  gates: [{name: a, slo: {name: a}, approval: {from: [team:a]}}]\n", []string{"9:11: " + rollout + "spec.gates[0]: exactly one of the fields in [slo promql webhook approval] must be set"}},
		"a gate without bounds":       {aRollout + allStages + "  gates: [{name: a, promql: {query: up}}]\n", []string{"9:21: " + rollout + "spec.gates[0].promql: needs min, max or both"}},
		"somebody of no kind":         {aRollout + allStages + "  gates: [{name: a, approval: {from: [ann]}}]\n", []string{`9:39: ` + rollout + `spec.gates[0].approval.from[0]: "ann": expected team:, role: or user: and a name, such as team:payments`}},
		"numbers without quotes":      {aRollout + allStages + "  guard: {latency: {maxRatio: 1.5}, errors: {confidence: 100%}}\n", []string{`9:21: ` + rollout + `spec.guard.latency.maxRatio: expected a decimal in quotes from "1" on, such as "1.5", got the number 1.5`, `9:46: ` + rollout + `spec.guard.errors.confidence: "100%": expected a percentage from "50%" to below "100%", such as "99.9%"`}},
		"an empty guard":              {aRollout + allStages + "  guard: {}\n", []string{"9:3: " + rollout + "spec.guard: should have at least 1 properties"}},
		"requests with a key":         {aRollout + allStages + "  sampling: {unit: Request, key: [{cookie: a}]}\n", []string{"9:14: " + rollout + "spec.sampling.unit: Request draws every request anew: it has no key and no fallback"}},
		"no requests at all":          {aRollout + allStages + "  sampling: {fallback: Stable}\n  minimumRequests: 0\n", []string{"9:14: " + rollout + "spec.sampling.fallback: Stable without a key would leave the canary without requests", "10:3: " + rollout + "spec.minimumRequests: should be greater than or equal to 1"}},
		"a baseline of writes":        {aShadow + "  methods: [GET, POST]\n  compare: {baseline: true}\n", []string{"9:13: " + shadow + "spec.compare.baseline: sends a second copy to the route's own backend: methods must all be safe ones (GET, HEAD, OPTIONS, TRACE)"}},
		"paths in what is no JSON":    {aShadow + "  compare: {body: Bytes, ignore: [$.a]}\n", []string{"8:26: " + shadow + "spec.compare.ignore: needs body: JSON"}},
		"nothing to copy":             {strings.Replace(aShadow, "1%", "0.0%", 1), []string{`7:3: ` + shadow + `spec.share: "0.0%": must be above 0%`}},
		"a shadow":                    {aShadow + "  compare: {ignore: [$.a.b, \"$.a[*]\"]}\n", nil},
		"faults of one name":          {aFault + "  faults: [{name: a, share: 1%, reset: {}}, {name: a, share: 1%, reset: {}}]\n", []string{"8:45: " + fault + "spec.faults[1]: duplicate value"}},
		"a fault without a share":     {aFault + "  faults: [{name: a, reset: {}}]\n", []string{"8:12: " + fault + "spec.faults[0].share: required"}},
		"a fault of two kinds":        {aFault + "  faults: [{name: a, share: 1%, reset: {}, delay: {fixed: 1s}}]\n", []string{"8:12: " + fault + "spec.faults[0]: exactly one of the fields in [delay abort reset throttle] must be set"}},
		"claims in a fault":           {aFault + "  faults: [{name: a, share: 1%, when: 'jwt.sub == \"a\"', delay: {fixed: 61m}}]\n", []string{"8:33: " + fault + "spec.faults[0].when: at 1:1 of the expression: jwt is not available here: claims are verified only when the route is known", "8:65: " + fault + "spec.faults[0].delay.fixed: 61m is more than 1h0m0s"}},
		"a fault without an end":      {strings.Replace(aFault, "  expires: 2026-12-01T10:00:00Z\n", "", 1) + "  faults: [{name: a, share: 1%, reset: {}}]\n", []string{"4:1: " + fault + "spec.expires: required"}},
		"a fault that ends some day":  {strings.Replace(aFault, "2026-12-01T10:00:00Z", "tomorrow", 1) + "  faults: [{name: a, share: 1%, reset: {}}]\n", []string{`6:3: ` + fault + `spec.expires: must be of type date-time: "tomorrow"`}},
		"a fault without a reason":    {strings.Replace(aFault, "reason: drill", "reason: ''", 1) + "  faults: [{name: a, share: 1%, reset: {}}]\n", []string{`7:3: ` + fault + `spec.reason: "": should be at least 1 chars long`}},
		"a promise":                   {aPromise + "  indicator: {latency: {below: 300ms}}\n  objective: 99.999%\n", nil},
		"a promise of everything":     {aPromise + "  indicator: {availability: {}}\n  objective: 100%\n", []string{`7:3: ` + promise + `spec.objective: "100%": expected a percentage below "100%" such as "99.9%"`}},
		"a promise of two kinds":      {aPromise + "  indicator: {availability: {}, latency: {below: 1s}}\n  objective: 99%\n", []string{"6:3: " + promise + "spec.indicator: exactly one of the fields in [availability latency] must be set"}},
		"a promise for a moment":      {aPromise + "  indicator: {latency: {below: 2h}}\n  objective: 99%\n  window: 59m\n", []string{"6:25: " + promise + "spec.indicator.latency.below: 2h is more than 1h", "8:3: " + promise + "spec.window: 59m is not between 1h and 8784h"}},
		"a promise of both sides":     {strings.Replace(aPromise, "}]", "}, {group: '', kind: Service, name: a}]", 1) + "  indicator: {availability: {}}\n  objective: 99%\n", []string{"5:3: " + promise + "spec.targetRefs: must be routes or backends, not both: requests would count twice"}},
		"fields that are never asked": {aRollout + allStages + "  guards: {}\n", []string{`9:3: ` + rollout + `spec.guards: unknown field; did you mean "guard"?`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, diagnostics := new(Decoder).Decode("f.yaml", []byte(tt.text))
			var got []string
			for _, d := range diagnostics {
				got = append(got, strings.TrimPrefix(d.String(), "f.yaml:"))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("diagnostics (-want +got):\n%s", diff)
			}
		})
	}
}
