package expression_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/traffic/expression"
)

func policy() map[string]any {
	return map[string]any{
		"timeouts": map[string]any{"request": 2 * time.Second},
		"retries":  map[string]any{"attempts": int64(3), "budget": map[string]any{"percent": 0.2}, "retryOn": []string{"Reset", "503"}},
		"overload": map[string]any{},
	}
}

var kinds = map[string]expression.Kind{
	"timeouts.request": expression.Duration | expression.Bound, "retries.attempts": expression.Integer, "retries.budget.percent": expression.Share,
	"retries.retryOn": expression.List, "client.maxHead": expression.Integer,
}

func TestRequirementHolds(t *testing.T) {
	for source, want := range map[string]bool{
		`policy.retries.attempts <= 3`: true,
		`policy.retries.attempts < 3`:  false,
		`policy.retries.budget.percent <= 0.2 && policy.retries.budget.percent <= 1`: true,
		`policy.timeouts.request <= duration("5s")`:                                  true,
		`policy.timeouts.request > duration("2s")`:                                   false,
		`!has(policy.overload.queue) || policy.overload.queue.size < 10`:             true,
		`policy.retries.retryOn.exists(x, x == "503")`:                               true,
		`policy.retries.retryOn.all(x, !x.startsWith("5"))`:                          false,
		`size(policy.retries.retryOn) == 2`:                                          true,
	} {
		r, err := expression.CompileRequirement(source, kinds)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := r.Holds(policy()); err != nil || got != want {
			t.Errorf("%s: %t, %v; want %t", source, got, err, want)
		}
	}
}

func TestRequirementThatHasNoValue(t *testing.T) {
	for _, source := range []string{`policy.overload.queue.size < 10`, `policy.retries.nested`, `policy.retries.attempts / 0 == 1`} {
		r, err := expression.CompileRequirement(source, kinds)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := r.Holds(policy()); err == nil || got {
			t.Errorf("%s: %t without an error", source, got)
		}
	}
}

func TestRequirementsAreRefused(t *testing.T) {
	for source, want := range map[string]string{
		`true`:                                            "1:1: asks for no field of policy",
		`size(policy) > 1`:                                "1:6: policy is not a value",
		`policy.retries.attempts <=`:                      "1:27: ",
		`polcy.retries.attempts <= 3`:                     "1:1: undeclared reference",
		`"a" + string(policy.retries)`:                    "1:1: is of type string, not bool",
		`request.path == "/"`:                             "undeclared reference",
		`[1].all(policy, policy == 1)`:                    "policy has a meaning of its own",
		`policy.x <= duration("5 minutes")`:               "invalid duration",
		`policy.timeouts.request <= 10`:                   `'(duration, int)': write durations as duration("10s")`,
		`policy.timeouts.request <= "10s"`:                `'(duration, string)': write durations as duration("10s")`,
		`has(policy.a.b) && policy.timeouts.request == 1`: `'(duration, int)': write durations as`,
		`policy.timeouts.request > duration("0s")`:        "1:25: timeouts.request is never 0, for no bound is above all others: write policy.timeouts.request <=",
		`policy.client.maxHead <= "64Ki"`:                 `sizes in bytes`,
		`policy.retries.budget.percent <= "20%"`:          `percentages as shares from 0 to 1`,
		`policy.retries.budget.percent <= 20`:             "1:31: retries.budget.percent is a share from 0 to 1: write 0.2 for 20%",
		`12.5 > policy.retries.budget.percent`:            "write 0.125 for 12.5%",
		`policy["timeouts"].request == null`:              "1:7: write the field's name behind a point, as in policy.name",
		`policy.retries["a" + "b"] == 1`:                  "as in policy.retries.name",
		`policy.retries.attempts`:                         "is of type int, not bool",
		strings.Repeat("policy.a||", 500) + "":            "longer than 4096 bytes",
	} {
		if _, err := expression.CompileRequirement(source, kinds); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", source, err, want)
		}
	}
}

func TestRequirementTellsItsFields(t *testing.T) {
	r, err := expression.CompileRequirement(`(!has(policy.overload.queue) || policy.overload.queue.size < 10) && policy.retries.attempts < 2 && ("hedge" in policy.retries) == false`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"overload.queue.size", "retries.attempts"}; !slices.Equal(r.Reads(), want) {
		t.Errorf("reads %v, want %v", r.Reads(), want)
	}
	if want := []string{"overload.queue", "retries.hedge"}; !slices.Equal(r.Asks(), want) {
		t.Errorf("asks %v, want %v", r.Asks(), want)
	}
}

// FuzzRequirement: whatever is written, it is refused or can be judged.
func FuzzRequirement(f *testing.F) {
	for _, seed := range []string{`policy.retries.attempts <= 3`, `has(policy.a) && policy["b"].c`, `"a" in policy.b`, `policy.a.map(x, x)`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		r, err := expression.CompileRequirement(source, kinds)
		if err != nil {
			return
		}
		if len(r.Reads())+len(r.Asks()) == 0 {
			t.Errorf("%q asks for nothing", source)
		}
		_, _ = r.Holds(policy())
	})
}
