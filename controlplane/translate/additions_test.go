package translate

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// surroundings are a gateway, a rule and backends for additions to be about.
const surroundings = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: web, protocol: HTTP, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{name: cart, backendRefs: [{group: weir.dev, kind: Backend, name: old, weight: %s}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: old}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: new}
spec: {endpoints: [{address: 10.0.0.2, port: 80}]}
---
apiVersion: weir.dev/v1alpha1
kind: `

func decodedSet(t *testing.T, text string) *resource.Set {
	t.Helper()
	objects, problems := new(resource.Decoder).Decode("in.yaml", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return resource.NewSet(objects, problems)
}

const (
	ofCart     = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: cart}"
	newRollout = "Rollout\nmetadata: {name: cart}\nspec:\n  targetRef: " + ofCart +
		"\n  stable: {group: weir.dev, kind: Backend, name: old}\n  canary: {group: weir.dev, kind: Backend, name: new}\n"
)

// onlyRoute translates surroundings with one addition and returns the rule.
func onlyRoute(t *testing.T, addition string) (*model.Route, Output) {
	t.Helper()
	out := Translate(Input{Set: decodedSet(t, fmt.Sprintf(surroundings, "1")+addition)})
	return out.Snapshot.RouteTables[0].Entries[0].Route, out
}

// TestAdditionDefaults: the table of defaults says what bare objects come to.
func TestAdditionDefaults(t *testing.T) {
	r, out := onlyRoute(t, newRollout+"  stages: [{share: 100%}]\n  guard: {latency: {quantile: p99}}\n  sampling: {key: [{cookie: a}]}\n  gates: [{name: a, webhook: {url: 'http://a.test'}}]\n")
	guarded, plan := r.Split.Release, out.Rollouts[0]
	r, _ = onlyRoute(t, newRollout+"  stages: [{share: 100%}]\n  guard: {latency: {maxRatio: '1.5'}}\n")
	bare := r.Split.Release
	r, _ = onlyRoute(t, "Shadow\nmetadata: {name: a}\nspec: {targetRefs: ["+ofCart+"], share: 1%, compare: {}, backendRef: {group: weir.dev, kind: Backend, name: new}}\n")
	compared := r.Shadows[0]
	r, _ = onlyRoute(t, "Shadow\nmetadata: {name: a}\nspec: {targetRefs: ["+ofCart+"], share: 1%, backendRef: {group: weir.dev, kind: Backend, name: new}}\n")
	if r.Shadows[0].Compare != nil {
		t.Error("a shadow compares what it was not asked to")
	}
	_, promised := onlyRoute(t, "ServiceLevelObjective\nmetadata: {name: a}\nspec: {targetRefs: ["+ofCart+"], indicator: {availability: {}}, objective: 99%}\n")

	sure := func(alpha float64) string { return fmt.Sprintf("%v%%", 100-100*alpha) }
	want := map[string]string{
		"Rollout strategy": string(plan.Strategy), "Rollout sampling.fallback": string(guarded.Sampling.Fallback), "Rollout stages.for": plan.Stages[0].For.String(),
		"Rollout sampling.unit":              fmt.Sprintf("%s where sampling.key or fallback is written, otherwise %s", guarded.Sampling.Unit, bare.Sampling.Unit),
		"Rollout guard.errors.maxDifference": fmt.Sprintf("%v%%", 100*bare.Guard.Errors.MaxDifference), "Rollout guard.errors.confidence": sure(bare.Guard.Errors.Alpha),
		"Rollout guard.latency": "none", "Rollout guard.latency.quantile": fmt.Sprintf("p%v", 100*bare.Guard.Latency.Quantile),
		"Rollout guard.latency.maxRatio": fmt.Sprintf("%q", fmt.Sprint(guarded.Guard.Latency.MaxRatio)), "Rollout guard.consecutiveFailures": fmt.Sprint(bare.Guard.ConsecutiveFailures),
		"Rollout minimumRequests": fmt.Sprint(plan.MinimumRequests), "Rollout gates.webhook.timeout": plan.Gates[0].Webhook.Timeout.String(),
		"Shadow methods": "[" + strings.Join(compared.Methods, ", ") + "]", "Shadow limits.inflight": fmt.Sprint(compared.Limits.InFlight),
		"Shadow limits.body": fmt.Sprintf("%dKi", compared.Limits.Body>>10), "Shadow compare": "none", "Shadow compare.status": fmt.Sprint(compared.Compare.Status),
		"Shadow compare.headers": fmt.Sprint(compared.Compare.Headers), "Shadow compare.body": string(compared.Compare.Body),
		"Shadow compare.latency": fmt.Sprint(compared.Compare.Latency), "Shadow compare.baseline": fmt.Sprint(compared.Compare.Baseline),
		"ServiceLevelObjective window": promised.Objectives[0].Window.String(),
	}
	got := map[string]string{}
	for _, d := range Defaults {
		for _, k := range additionKinds {
			if strings.HasPrefix(d.Field, k.kind+" ") {
				got[d.Field] = d.Value
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestReleaseSubject: what starts a new run, and what does not.
func TestReleaseSubject(t *testing.T) {
	subject := func(weight, addition string) model.Hash {
		out := Translate(Input{Set: decodedSet(t, fmt.Sprintf(surroundings, weight)+addition)})
		if out.Rollouts[0].Problem != "" {
			t.Fatal(out.Rollouts[0].Problem)
		}
		return out.Rollouts[0].Release.Subject
	}
	const stages = "  stages: [{share: 100%}]\n"
	first := subject("1", newRollout+stages)
	for name, same := range map[string]string{
		"stages": newRollout + "  stages: [{share: 1%}, {share: 100%}]\n", "guard": newRollout + stages + "  guard: {consecutiveFailures: 1}\n",
		"sampling": newRollout + stages + "  sampling: {key: [{cookie: a}]}\n",
	} {
		if subject("1", same) != first {
			t.Errorf("other %s start a new run", name)
		}
	}
	if subject("7", newRollout+stages) != first {
		t.Error("other weights start a new run")
	}
	if subject("1", newRollout+stages+"  revision: v2\n") == first {
		t.Error("another revision starts no new run")
	}
	if subject("1", strings.Replace(newRollout, "{name: cart}", "{name: other}", 1)+stages) != first {
		t.Error("the name of the Rollout is part of what is released")
	}
}

// TestReleaseRefused: a release of a version against itself, and a rule whose arms a share could not tell apart.
func TestReleaseRefused(t *testing.T) {
	const stages, other = "  stages: [{share: 100%}]\n", ", {group: weir.dev, kind: Backend, name: other, weight: 1}"
	set := fmt.Sprintf(surroundings, "1") + newRollout + stages
	for want, text := range map[string]string{
		"spec.canary: Backend/default/old is stable itself":                                                                    strings.Replace(set, "  canary: {group: weir.dev, kind: Backend, name: new}", "  canary: {group: weir.dev, kind: Backend, name: old, namespace: default}", 1),
		"spec.targetRef: the rule has Backend/default/other more than once among its backendRefs: add their weights up in one": strings.Replace(set, "name: old, weight: 1}", "name: old, weight: 1}"+other+other, 1),
	} {
		out := Translate(Input{Set: decodedSet(t, text)})
		if got := out.Rollouts[0]; got.Problem != want || got.Release != nil || out.Snapshot.RouteTables[0].Entries[0].Route.Split.Release != nil {
			t.Errorf("got %q, want %q", got.Problem, want)
		}
	}
}

// TestReleaseIdle: a release whose canary is not there has no subject that a knob could be for,
// and the plan keeps the true one.
func TestReleaseIdle(t *testing.T) {
	set := fmt.Sprintf(surroundings, "1") + newRollout + "  stages: [{share: 100%}]\n"
	memo := NewMemo()
	whole := Translate(Input{Set: decodedSet(t, set), Memo: memo})
	gone := Translate(Input{Set: decodedSet(t, strings.Replace(set, "metadata: {name: new}", "metadata: {name: newer}", 1)), Memo: memo})
	split := gone.Snapshot.RouteTables[0].Entries[0].Route.Split
	if split.Release == nil || split.Release.Subject != "" || gone.Rollouts[0].Problem == "" {
		t.Errorf("the release acts without its canary: %+v, %+v", split.Release, gone.Rollouts[0])
	}
	if gone.Rollouts[0].Release.Subject != whole.Rollouts[0].Release.Subject || whole.Rollouts[0].Release.Subject == "" {
		t.Errorf("the plan's subject went with the canary: %q, %q", gone.Rollouts[0].Release.Subject, whole.Rollouts[0].Release.Subject)
	}
	back := Translate(Input{Set: decodedSet(t, set), Memo: memo})
	if diff := cmp.Diff(jsonOf(t, whole), jsonOf(t, back)); diff != "" {
		t.Errorf("with the canary back:\n%s", diff)
	}
}

// TestPolicyHash: a change of timeouts, retries or sampling during a run is seen in the plan, one
// of stages is not.
func TestPolicyHash(t *testing.T) {
	hash := func(more string) model.Hash {
		_, out := onlyRoute(t, newRollout+"  stages: [{share: 100%}]\n"+more)
		return out.Rollouts[0].Policy
	}
	const policy = "---\napiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: a}\nspec: {targetRefs: [" + ofCart + "], "
	plain := hash("")
	for _, more := range []string{policy + "timeouts: {request: 1s}}\n", policy + "retries: {attempts: 1}}\n", "  sampling: {key: [{cookie: a}]}\n"} {
		if hash(more) == plain {
			t.Errorf("no other hash with %s", more)
		}
	}
	if hash("  minimumRequests: 5\n") != plain {
		t.Error("minimumRequests change how requests fare")
	}
}

// TestFaultsExpire: a fault goes when its time has come, though nothing else has changed.
func TestFaultsExpire(t *testing.T) {
	set := decodedSet(t, fmt.Sprintf(surroundings, "1")+"FaultPolicy\nmetadata: {name: a}\nspec: {targetRefs: ["+ofCart+
		"], expires: 2026-06-01T12:00:00Z, reason: drill, faults: [{name: cut, share: 1%, reset: {}}]}\n")
	memo, end := NewMemo(), time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		now  time.Time
		want int
	}{{time.Time{}, 1}, {end.Add(-time.Second), 1}, {end, 0}, {end.Add(time.Hour), 0}, {end.Add(-time.Second), 1}} {
		out := Translate(Input{Set: set, Memo: memo, Now: tt.now})
		if got := len(out.Snapshot.RouteTables[0].Entries[0].Route.Faults); got != tt.want {
			t.Errorf("at %v: %d faults, want %d", tt.now, got, tt.want)
		}
		status, err := json.Marshal(out.Statuses)
		if err != nil {
			t.Fatal(err)
		}
		if expired := strings.Contains(string(status), "it expired at 2026-06-01T12:00:00Z"); expired != (tt.want == 0) {
			t.Errorf("at %v the status says expired: %t", tt.now, expired)
		}
	}
}

// TestFaultKeys: what is stopped by its key stays so until it is written anew.
func TestFaultKeys(t *testing.T) {
	key := func(end, reason, fault string) string {
		r, _ := onlyRoute(t, "FaultPolicy\nmetadata: {name: a}\nspec: {targetRefs: ["+ofCart+"], expires: "+end+", reason: "+reason+", faults: ["+fault+"]}\n")
		return r.Faults[len(r.Faults)-1].Key
	}
	const end, fault = "2026-06-01T12:00:00Z", "{name: cut, share: 1%, reset: {}}"
	first := key(end, "drill", fault)
	if got := key(end, "drill", "{name: slow, share: 1%, delay: {fixed: 1s}}, "+fault); got != first {
		t.Errorf("another fault beside it makes it %s, not %s", got, first)
	}
	for _, got := range []string{key("2026-06-02T12:00:00Z", "drill", fault), key(end, "more", fault), key(end, "drill", "{name: cut, share: 2%, reset: {}}")} {
		if got == first {
			t.Errorf("written anew it has the same key, %s", got)
		}
	}
}
