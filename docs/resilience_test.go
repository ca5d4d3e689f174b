package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

var updateDefaults = flag.Bool("update-defaults", false, "rewrite the table of defaults in resilience.md")

// TestResilience puts the examples of resilience.md into effect, together, and looks for what
// the page says of them.
func TestResilience(t *testing.T) {
	page, blocks := examples(t, "resilience.md")
	text := strings.Join(blocks, "---\n")
	out := accepted(t, shop, text)
	route, cluster := out.Snapshot.RouteTables[0].Entries[0].Route, out.Snapshot.Clusters[0]
	if r := route.Retry; r == nil || r.Attempts != 2 || *r.Budget != (model.RetryBudget{Share: 0.2, MinPerSecond: 3, Mode: model.ModeEnforce}) || r.IdempotencyHeader != "idempotency-key" {
		t.Errorf("retries: %+v", r)
	}
	if o := route.Overload; o == nil || o.Scope != "HTTPRoute/default/shop" || o.Limit != 200 || len(o.Degrade) != 2 {
		t.Errorf("overload: %+v", o)
	}
	if cluster.Breaker.MaxRequests != 1024 || cluster.Breaker.Trip == nil || cluster.Outlier.Consecutive5xx != 5 || cluster.RetryBudget == nil {
		t.Errorf("breaker %+v, outlier %+v", cluster.Breaker, cluster.Outlier)
	}

	refused := strings.Replace(text, "attempts: 2", "attempts: 5", 1)
	_, found := translated(shop, refused)
	problems := wrong(found)
	said := regexp.MustCompile("(?m)^spec.retries.attempts: .*$").FindString(page)
	if len(problems) == 0 || said == "" || !strings.HasSuffix(problems[0].String(), said) {
		t.Errorf("5 attempts: %v, the page says %s", problems, said)
	}
	broken := strings.Replace(text, "request: 2s, perTry: 700ms", "request: 12s, perTry: 700ms", 1)
	out, found = translated(shop, broken)
	problems = slices.DeleteFunc(found, func(d resource.Diagnostic) bool {
		return d.Rule != translate.RuleBreaksRequired && d.Rule != translate.RuleRequirementUnmet
	})
	if got := out.Snapshot.RouteTables[0].Entries[0].Route.Timeouts.Request; got != 10*time.Second ||
		len(problems) != 1 || problems[0].Rule != translate.RuleBreaksRequired {
		t.Errorf("12s: %v holds, %v", got, problems)
	}
}

// TestResilienceDefaults: the page's table is that of the program.
func TestResilienceDefaults(t *testing.T) {
	var table strings.Builder
	for _, d := range translate.Defaults {
		part, _, _ := strings.Cut(d.Field, ".")
		switch part {
		case "timeouts", "retries", "overload", "circuitBreaker", "outlierDetection":
			fmt.Fprintf(&table, "| `%s` | `%s` | %s |\n", d.Field, d.Value, strings.ReplaceAll(d.Reason, "|", `\|`))
		}
	}
	page, err := os.ReadFile("resilience.md")
	if err != nil {
		t.Fatal(err)
	}
	const head = "| field | default | because |\n| --- | --- | --- |\n"
	before, got, _ := strings.Cut(string(page), head)
	if *updateDefaults {
		if err := os.WriteFile("resilience.md", []byte(before+head+table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != table.String() {
		t.Errorf("the table of defaults is another one; go test ./docs -run ResilienceDefaults -update-defaults rewrites it")
	}
}
