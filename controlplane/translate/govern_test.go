package translate

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/traffic/expression"
)

// numbers is a side with two fields, for tests.
type numbers struct{ attempts, hosts *setting[int] }

func (n numbers) under(above numbers) numbers {
	if n.attempts == nil {
		n.attempts = above.attempts
	}
	if n.hosts == nil {
		n.hosts = above.hosts
	}
	return n
}

func (n numbers) show() map[string]any {
	value := func(s *setting[int]) int64 {
		if s == nil {
			return 0
		}
		return int64(s.value)
	}
	return map[string]any{"retries": map[string]any{"attempts": value(n.attempts)}, "circuitBreaker": map[string]any{"maxRetries": value(n.hosts)}}
}

// TestGoverned: whatever levels say, a policy is left out only if it breaks a rule that is above
// it, the others are merged as always, and what is broken in the end is told.
func TestGoverned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var levels []level[numbers]
		draw := func(view *policyView, label, path string) *setting[int] {
			if !rapid.Bool().Draw(t, label+" set") {
				return nil
			}
			view.written = append(view.written, writtenField{path, sideRequest})
			return &setting[int]{value: rapid.IntRange(0, 4).Draw(t, label)}
		}
		var requires []*requirement
		for i := range rapid.IntRange(0, 3).Draw(t, "requirements") {
			rule := fmt.Sprintf("policy.retries.attempts %s %d", rapid.SampledFrom([]string{"<=", ">=", "!="}).Draw(t, "operator"), rapid.IntRange(0, 4).Draw(t, "bound"))
			requires = append(requires, compiled(t, rule, fmt.Sprint(i)))
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "levels") {
			view := &policyView{object: &resource.Object{}}
			l := level[numbers]{policy: view, from: len(requires)}
			if i == 3 {
				l.from = rapid.IntRange(0, len(requires)).Draw(t, "from")
			}
			l.side = numbers{draw(view, "attempts", "spec.retries.attempts"), draw(view, "hosts", "spec.circuitBreaker.maxRetries")}
			levels = append(levels, l)
		}
		left := map[*policyView]*requirement{}
		merged, broken := governed(levels, requires, numbers.show, func(l level[numbers], q *requirement) { left[l.policy] = q })

		var want numbers
		for _, l := range slices.Backward(levels) {
			if q := left[l.policy]; q == nil {
				want = l.side.under(want)
			} else if q.holds(l.side.under(want).show()) || slices.Index(requires, q) >= l.from || l.side.attempts == nil {
				t.Fatalf("left out for nothing: %+v", l)
			}
		}
		if merged != want {
			t.Fatalf("merged %+v, want %+v", merged.show(), want.show())
		}
		for _, q := range requires {
			if holds := q.holds(merged.show()); holds == slices.Contains(broken, q) {
				t.Fatalf("%s holds: %t, told to be broken: %t", q.rule, holds, !holds)
			}
		}
		// Nobody that every requirement binds, and who is not left out, has brought in what breaks one.
		for _, q := range broken {
			for _, l := range levels {
				if left[l.policy] == nil && l.from == len(requires) && l.side.attempts == merged.attempts && l.side.attempts != nil {
					t.Fatalf("%s is broken by %+v, which is in effect", q.rule, l)
				}
			}
		}
	})
}

func compiled(t interface{ Fatalf(string, ...any) }, rule, message string) *requirement {
	r := &policyReader{reporter: reporter{object: &resource.Object{}}, view: &policyView{}, root: "spec."}
	r.readRequirements([]v1alpha1.Requirement{{Rule: rule, Message: message}})
	if len(r.view.requires) != 1 {
		t.Fatalf("%s: %v", rule, r.diagnostics)
	}
	return r.view.requires[0]
}

// TestEveryRequirableFieldIsShown: what a requirement may name is there to see, as a value that
// can be compared.
func TestEveryRequirableFieldIsShown(t *testing.T) {
	full := `
  timeouts: {request: 1s}
  retries: {attempts: 1, hedge: {%s}}
  overload: {concurrency: {%s}, queue: {size: 1}, throttle: {window: 1s}}
  circuitBreaker: {trip: {of: 5}}
  healthCheck: {tcp: {}}
`
	shown := []map[string]any{}
	for _, v := range [][2]string{{"after: 1s", "limit: 5"}, {"afterQuantile: p99", "adaptive: {}"}} {
		var decoder resource.Decoder
		text := "apiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: p}\nspec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]" + fmt.Sprintf(full, v[0], v[1])
		objects, problems := decoder.Decode("p.yaml", []byte(text))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		view := readPolicy(objects[0], objects[0].Value.(*v1alpha1.TrafficPolicy))
		shown = append(shown, shownRequest(view.request, requestSide{}), shownBackend(view.backend), shownClient(view.client))
	}
	samples := map[expression.Kind]string{
		expression.Duration: `duration("1s")`, expression.Share: "0.5", expression.Decimal: "0.5", expression.Integer: "1",
		expression.Text: `""`, expression.Flag: "true", expression.List: "[]",
	}
	for field, kind := range resource.RequirableFields() {
		program, err := expression.CompileRequirement(fmt.Sprintf("has(policy.%s) && type(policy.%s) == type(%s)", field, field, samples[kind&^expression.Bound]), nil)
		if err != nil {
			t.Fatal(err)
		}
		q := requirement{program: program}
		if !slices.ContainsFunc(shown, q.holds) {
			t.Errorf("policy.%s is never shown as %s is", field, samples[kind&^expression.Bound])
		}
	}
}
