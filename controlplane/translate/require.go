package translate

import (
	"fmt"
	"slices"
	"strings"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/traffic/expression"
)

// requirement is one bound on the effective policy, which a Gateway's or GatewayClass's policy
// sets.
type requirement struct {
	rule, message string
	policy        *resource.Object
	field         string // spec.require[0].rule
	side          fieldSide
	program       *expression.Requirement
}

// text is what is said to who breaks it.
func (q *requirement) text() string {
	return fmt.Sprintf("%s (%s, which %v requires)", q.message, q.rule, q.policy.Key)
}

// requiredSides are the sides that requirements are about.
var requiredSides = map[resource.PolicySide]fieldSide{
	resource.RequestSide: sideRequest, resource.BackendSide: sideBackend, resource.ClientSide: sideClient,
}

// readRequirements reads the bounds that a policy sets.
func (r *policyReader) readRequirements(list []v1alpha1.Requirement) {
	for i, written := range list {
		q := &requirement{
			rule: strings.Join(strings.Fields(written.Rule), " "), message: written.Message, policy: r.object, field: fmt.Sprintf("spec.require[%d].rule", i),
		}
		program, side, wrong := resource.CompileRequirement(written.Rule)
		for _, message := range wrong {
			r.reporter.error(RuleInvalidValue, q.field, "%s", message)
		}
		if len(wrong) == 0 {
			q.program, q.side = program, requiredSides[side]
			r.view.requires = append(r.view.requires, q)
		}
	}
}

// within tells whether a path is another one or below it.
func within(path, part string) bool {
	rest, ok := strings.CutPrefix(path, part)
	return ok && (rest == "" || rest[0] == '.')
}

// about are the requirements of a list that are about a side.
func about(list []*requirement, side fieldSide) []*requirement {
	var some []*requirement
	for _, q := range list {
		if q.side&side != 0 {
			some = append(some, q)
		}
	}
	return some
}

// concerns tells whether the rule names a field that a policy sets, be it as a default or an
// override, and returns where that is.
func (q *requirement) concerns(view *policyView) (string, bool) {
	for _, path := range slices.Concat(q.program.Reads(), q.program.Asks()) {
		for _, f := range view.written {
			written := strings.TrimPrefix(strings.TrimPrefix(f.path, "spec."), "overrides.")
			if within(written, path) || within(path, written) {
				return f.path, true
			}
		}
	}
	return "", false
}

// level is what one policy, or the rule itself, says about one side.
type level[S any] struct {
	side   S
	policy *policyView // nil: the rule itself
	at     target
	// from is how many of the requirements are above it and bind it.
	from int
}

// rejection is a policy or a rule's own fields that break a requirement.
type rejection struct {
	policy  *policyView // nil: the rule itself
	at      target
	gateway resource.Key
	field   string
	message string
}

// governed merges levels, the closest first, leaving out those that break a requirement of the
// ones above them. What fixed says comes before all. The requirements are in the order in which
// their levels come, the highest first. It returns those that are broken whoever is left out.
func governed[S mergeable[S]](levels []level[S], requires []*requirement, show func(S) map[string]any, reject func(level[S], *requirement)) (S, []*requirement) {
	var merged S
	held := make([]bool, len(requires))
	for i, q := range requires {
		held[i] = q.holds(show(merged))
	}
	for _, l := range slices.Backward(levels) {
		with := l.side.under(merged)
		shown := show(with)
		guilty := false
		now := slices.Clone(held)
		for i, q := range requires {
			now[i] = q.holds(shown)
			if now[i] || i >= l.from {
				continue
			}
			touched := true // a rule's own fields are few, and here for what they change
			if l.policy != nil {
				_, touched = q.concerns(l.policy)
			}
			if held[i] || touched {
				reject(l, q)
				guilty = true
				break
			}
		}
		if !guilty {
			merged, held = with, now
		}
	}
	var broken []*requirement
	for i, q := range requires {
		if !held[i] {
			broken = append(broken, q)
		}
	}
	return merged, broken
}

// holds tells whether the requirement holds of a policy. One that cannot be judged does not.
func (q *requirement) holds(policy map[string]any) bool {
	holds, err := q.program.Holds(policy)
	return err == nil && holds
}

// unmet is what breaks a requirement without anybody below it being to blame.
type unmet struct {
	required *requirement
	who      string
}

// unmetRequirements tells of each requirement that is unmet, once for all that do not meet it.
func (t *translator) unmetRequirements() []resource.Diagnostic {
	type place struct {
		policy resource.Key
		field  string
	}
	var order []*requirement
	who := map[place][]string{}
	add := func(list []unmet) {
		for _, u := range list {
			at := place{u.required.policy.Key, u.required.field}
			if who[at] == nil {
				order = append(order, u.required)
			}
			who[at] = append(who[at], u.who)
		}
	}
	for _, g := range t.gateways.ordered {
		add(g.unmet)
	}
	for _, slot := range t.routeSlots {
		add(slot.view.unmet)
	}
	for _, slot := range t.clusterSlots {
		add(slot.unmet)
	}
	var list []resource.Diagnostic
	for _, q := range order {
		names := who[place{q.policy.Key, q.field}]
		slices.Sort(names)
		names = slices.Compact(names)
		text := names[0] + " does not meet it"
		if more := len(names) - 1; more > 0 {
			text = fmt.Sprintf("%s and %d more do not meet it", names[0], more)
		}
		r := reporter{object: q.policy}
		r.warn(RuleRequirementUnmet, q.field, "%s, and no policy in effect sees to it: %s; write a default or override that does beside the rule", text, q.message)
		list = append(list, r.diagnostics...)
	}
	return list
}

// diagnostic tells of a rejected policy, at the field that breaks the requirement.
func (x *rejection) diagnostic() resource.Diagnostic {
	r := reporter{object: x.policy.object}
	r.error(RuleBreaksRequired, x.field, "%s", x.message)
	return r.diagnostics[0]
}

// requiredOf says what listeners and routes of a gateway must meet; for signatures.
func requiredOf(list []*requirement) []any {
	var parts []any
	for _, q := range list {
		parts = append(parts, q.rule, q.message, originOf(q.policy, q.field))
	}
	return parts
}
