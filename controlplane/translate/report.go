package translate

import (
	"fmt"

	"weir.dev/weir/controlplane/resource"
)

// The rules by which Translate reports. Package lint lists them with their levels.
const (
	RuleUnresolved       = "unresolved-reference" // a reference to nothing, or without a grant
	RuleUnsupported      = "unsupported"          // what this version does not do
	RuleInvalidValue     = "invalid-value"        // a value that the schema cannot check
	RuleNotAttached      = "not-attached"         // a parent that does not take the route
	RuleListenerConflict = "listener-conflict"    // listeners that cannot be told apart
	RuleRouteConflict    = "route-conflict"       // an HTTPRoute and a GRPCRoute for one hostname
	RuleForeignClass     = "foreign-class"        // a Gateway of another controller
	RulePolicyInvalid    = "policy-invalid"       // a policy on a target that it cannot be for
	RulePolicyConflict   = "policy-conflict"      // a second policy on one target
	RuleBreaksRequired   = "breaks-requirement"   // a policy or rule below one that requires something
	RuleRequirementUnmet = "requirement-unmet"    // something required that nobody sees to
	RuleDuplicateAddress = "duplicate-address"    // one address twice in a backend
	RuleClientSettings   = "client-settings"      // listeners on one socket that disagree
	RuleShadowedStream   = "shadowed-stream"      // a stream route whose connections another one gets
)

// reporter collects the diagnostics of one object.
type reporter struct {
	object      *resource.Object
	diagnostics []resource.Diagnostic
}

func (r *reporter) add(severity resource.Severity, rule, field, message string) {
	r.diagnostics = append(r.diagnostics, resource.Diagnostic{
		Severity: severity, Rule: rule, At: r.object.Position(field),
		Object: r.object.Key, Field: field, Message: message,
	})
}

func (r *reporter) error(rule, field, format string, args ...any) {
	r.add(resource.Error, rule, field, fmt.Sprintf(format, args...))
}

func (r *reporter) warn(rule, field, format string, args ...any) {
	r.add(resource.Warning, rule, field, fmt.Sprintf(format, args...))
}
