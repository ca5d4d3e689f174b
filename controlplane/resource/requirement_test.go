package resource_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/controlplane/resource"
)

// TestExpressionsOfPoliciesAreJudged: what cannot be evaluated is refused when it is read, so
// that the last accepted version stays.
func TestExpressionsOfPoliciesAreJudged(t *testing.T) {
	for rule, want := range map[string]string{
		`policy.retries.attempts <= 3`:                                    "",
		`!has(policy.retries.hedge) || policy.retries.hedge.max <= 1`:     "",
		`has(policy.timeouts.request)`:                                    "",
		`policy.client.streams.window <= 65536`:                           "",
		`policy.retries.atempts <= 3`:                                     "policy has no field retries.atempts to require something of; did you mean retries.attempts?",
		`size(policy.retries) > 1`:                                        "retries is not a value: name one of its fields, or write has(policy.retries)",
		`policy.overload.queue.size <= 3`:                                 "there may be no overload.queue: write !has(policy.overload.queue) || before it, or has(policy.overload.queue) && where there must be one",
		`policy.retries.attempts <= policy.circuitBreaker.maxRetries`:     "retries.attempts is per request, the rule's other fields are for backends: write two rules",
		`policy.timeouts.request <= 10`:                                   `at 1:25 of the expression: found no matching overload for '_<=_' applied to '(duration, int)': write durations as duration("10s")`,
		`policy.retries.attempts > 0 && policy.timeouts.request <= "10s"`: `at 1:56 of the expression: found no matching overload for '_<=_' applied to '(duration, string)': write durations as duration("10s")`,
		`policy.outlierDetection.maxEjected <= 50`:                        "at 1:36 of the expression: outlierDetection.maxEjected is a share from 0 to 1: write 0.5 for 50%",
		`policy.circuitBreaker.maxRequests > 0`:                           "at 1:35 of the expression: circuitBreaker.maxRequests is never 0, for no bound is above all others: write policy.circuitBreaker.maxRequests <= and the most that it may be",
		`policy.client.maxHead <= "64Ki"`:                                 "at 1:23 of the expression: found no matching overload for '_<=_' applied to '(int, string)': write numbers without quotes, percentages as shares from 0 to 1, sizes in bytes",
	} {
		text := fmt.Sprintf("  require: [{rule: %s, message: m}]\n", quoted(rule))
		checkPolicy(t, "Gateway", text, "spec.require[0].rule: ", want)
	}
	for _, text := range []string{
		"  hashOn: [{expression: 'request.paht'}]\n",
		"  overload: {queue: {size: 1, fairBy: [{expression: 'request.paht'}]}}\n",
		"  overload: {priority: [{when: 'request.paht == \"/\"', class: Sheddable}]}\n",
		"  overrides: {hashOn: [{expression: 'request.paht'}]}\n",
	} {
		checkPolicy(t, "Gateway", text, "", "request has no paht")
	}
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func checkPolicy(t *testing.T, kind, fields, path, want string) {
	t.Helper()
	var d resource.Decoder
	text := "apiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: p}\nspec:\n" +
		"  targetRefs: [{group: gateway.networking.k8s.io, kind: " + kind + ", name: g}]\n" + fields
	_, found := d.Decode("p.yaml", []byte(text))
	var got []string
	for _, p := range found {
		got = append(got, p.Field+": "+p.Message)
	}
	switch {
	case want == "" && len(got) > 0:
		t.Errorf("%s%q", fields, got)
	case want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], path) || !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) })):
		t.Errorf("%s%q, want %q", fields, got, want)
	}
}
