package lint

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/sample"
)

// released is a rule with two backends, for Rollouts, Shadows and faults to be put behind.
const released = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: front}]
  rules: [{name: cart, SESSION backendRefs: [{group: weir.dev, kind: Backend, name: stable}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: stable}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: next}
spec: {endpoints: [{address: 10.0.0.2, port: 80}]}
`

// additionsFound lints released with a session or none and a Rollout's fields, or another object.
func additionsFound(t *testing.T, session, rollout, more string) string {
	t.Helper()
	if session != "" {
		session = "sessionPersistence: " + session + ","
	}
	text := strings.Replace(released, "SESSION", session, 1)
	const rule = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: cart}"
	if rollout != "" {
		text += "---\napiVersion: weir.dev/v1alpha1\nkind: Rollout\nmetadata: {name: cart}\nspec: {targetRef: " + rule +
			", stable: {group: weir.dev, kind: Backend, name: stable}, canary: {group: weir.dev, kind: Backend, name: next}, " + rollout + "}\n"
	}
	if more != "" {
		text += "---\napiVersion: weir.dev/v1alpha1\n" + strings.ReplaceAll(more, "RULE", rule) + "\n"
	}
	objects, problems := new(resource.Decoder).Decode("in.yaml", []byte(text))
	if len(problems) > 0 {
		t.Fatalf("%v\n%s", problems, text)
	}
	set := resource.NewSet(objects, nil)
	out := translate.Translate(translate.Input{Set: set})
	if len(out.Diagnostics) > 0 {
		t.Fatalf("%v\n%s", out.Diagnostics, text)
	}
	var rules []string
	for _, d := range (Config{Now: testNow}).Run(set, out) {
		rules = append(rules, d.Rule+" "+d.Field)
	}
	return strings.Join(rules, ", ")
}

// TestReleaseCases are those beside the examples of the rules about releases, shadows and faults.
func TestReleaseCases(t *testing.T) {
	const (
		stages  = "stages: [{share: 5%}, {share: 100%}]"
		shadow  = "kind: Shadow\nmetadata: {name: a}\nspec: {targetRefs: [RULE], share: 1%, backendRef: {group: weir.dev, kind: Backend, name: "
		breaks  = "kind: FaultPolicy\nmetadata: {name: a}\nspec: {reason: drill, targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop"
		soon    = `expires: "2030-01-01T01:00:00Z"`
		reset   = "faults: [{name: a, share: 100%, reset: {}}]"
		unknown = "sampling: {key: [{identity: {}}]}"
	)
	for name, tt := range map[string]struct{ session, rollout, more, want string }{
		"all is well":                          {rollout: stages},
		"the first stage is everything":        {rollout: "stages: [{share: 100%}]", want: "ungated-release spec.stages[0].share"},
		"everything, by a gate":                {rollout: "stages: [{share: 100%}], gates: [{name: a, approval: {from: [team:a]}}]"},
		"a gate that nobody brings requests":   {rollout: "strategy: BlueGreen, gates: [{name: a, promql: {query: up, min: '1'}}]", want: "untried-canary spec.gates"},
		"and a person's approval":              {rollout: "strategy: BlueGreen, gates: [{name: a, promql: {query: up, min: '1'}}, {name: b, approval: {from: [team:a]}}]"},
		"neither guard nor gates":              {rollout: stages + ", guard: {errors: {maxDifference: 100%}, consecutiveFailures: 0}", want: "ungated-release spec.guard"},
		"a guard of latency alone":             {rollout: stages + ", guard: {errors: {maxDifference: 100%}, consecutiveFailures: 0, latency: {maxRatio: '2'}}"},
		"an identity that nobody is asked for": {rollout: stages + ", " + unknown, want: "sampling-without-key spec.sampling.key"},
		"an identity, or stable":               {rollout: stages + ", sampling: {key: [{identity: {}}], fallback: Stable}", want: "sampling-without-key spec.sampling.key"},
		"an identity or a cookie":              {rollout: stages + ", sampling: {key: [{identity: {}}, {cookie: a}]}"},
		"an identity or else a cookie of ours": {rollout: stages + ", sampling: {key: [{identity: {}}], fallback: Cookie}"},
		"sessions and requests":                {session: "{}", rollout: stages, want: "session-with-sampling spec"},
		"sessions and users":                   {session: "{}", rollout: stages + ", sampling: {key: [{cookie: a}]}"},
		"a header that is the session":         {session: "{type: Header, sessionName: X-S}", rollout: stages + ", sampling: {key: [{cookie: x-s}, {header: x-S}]}", want: "session-with-sampling spec.sampling.key[1]"},
		"a shadow that is the canary":          {rollout: stages, more: shadow + "next}}", want: "copies-to-canary spec.canary"},
		"a shadow alone":                       {more: shadow + "next}}"},
		"a shadow that is stable":              {rollout: stages, more: shadow + "stable}}", want: "shadow-to-self spec.backendRef"},
		"a fault that is over":                 {rollout: stages, more: breaks + ", sectionName: cart}], " + reset + `, expires: "2029-12-31T23:59:59Z"}`, want: "lasting-fault spec.expires"},
		"a fault of a rule":                    {rollout: stages, more: breaks + ", sectionName: cart}], " + reset + ", " + soon + "}"},
		"a fault of a route":                   {rollout: stages, more: breaks + "}], " + reset + ", " + soon + "}", want: "fault-of-everything spec.faults[0].share"},
		"a fault of a share":                   {rollout: stages, more: breaks + "}], faults: [{name: a, share: 99%, reset: {}}], " + soon + "}"},
		"a delay of everything":                {rollout: stages, more: breaks + "}], faults: [{name: a, share: 100%, delay: {fixed: 1s}}], " + soon + "}"},
	} {
		if got := additionsFound(t, tt.session, tt.rollout, tt.more); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// sampling-without-key, session-with-sampling: a user who is drawn with each request changes
// versions all the time; one with a key never does, and the stages only add users.
func TestIncidentUsersHop(t *testing.T) {
	const users, requests = 200, 20
	weights := []sample.ArmWeight{{Arm: "stable", Weight: 1}, {Arm: "canary", Weight: 0}}
	ranges := sample.Initial(weights)
	half := sample.Reweight(ranges, sample.ShareOf(weights, "stable", "canary", model.Buckets/2))
	arm := func(bucket uint16) string {
		for _, r := range half {
			if bucket >= r.From && bucket < r.To {
				return r.Arm
			}
		}
		return "none"
	}
	random := rand.New(rand.NewPCG(1, 2))
	salt := sample.NewSalt("shop/cart")
	changes := map[string]int{}
	for user := range users {
		key, last := fmt.Appendf(nil, "user-%d", user), map[string]string{}
		for range requests {
			for how, bucket := range map[string]uint16{"anew": uint16(random.IntN(model.Buckets)), "by key": salt.User(key).Bucket()} {
				if at := arm(bucket); last[how] != "" && last[how] != at {
					changes[how]++
				}
				last[how] = arm(bucket)
			}
		}
	}
	if changes["by key"] != 0 || changes["anew"] < users*requests/3 {
		t.Errorf("changes of version among %d requests of %d users: %v", users*requests, users, changes)
	}
}
