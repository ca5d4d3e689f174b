package rollout

import (
	"encoding/json"
	"fmt"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
)

// Patch is what to change in what is written so that it says what is live once a Rollout has succeeded:
// a JSON Patch (RFC 6902) of the route, and what to do with the Rollout. It is empty where that is
// written already, or where the route is not there.
func Patch(set *resource.Set, name string) string {
	namespace, short, _ := strings.Cut(name, "/")
	o := set.Get(resource.Key{Group: v1alpha1.Group, Kind: v1alpha1.KindRollout, Namespace: namespace, Name: short})
	if o == nil {
		return ""
	}
	r, ok := o.Value.(*v1alpha1.Rollout)
	if !ok || r.Spec.TargetRef.SectionName == nil {
		return ""
	}
	target := r.Spec.TargetRef
	route := set.Get(resource.Key{Group: string(target.Group), Kind: string(target.Kind), Namespace: namespace, Name: string(target.Name)})
	if route == nil {
		return ""
	}
	at, refs := ruleOf(route.Value, *target.SectionName)
	ops := weigh100(fmt.Sprintf("/spec/rules/%d/backendRefs", at), refs, namespace, &r.Spec)
	if len(ops) == 0 {
		return ""
	}
	text, err := json.MarshalIndent(ops, "", "  ")
	if err != nil {
		return ""
	}
	return fmt.Sprintf("# %s %s/%s (%v), a JSON Patch:\n%s\n# Then delete Rollout %s (%v), or write the next version into it.\n",
		target.Kind, namespace, target.Name, route.At, text, name, o.At)
}

// ruleRef is one backendRef of a rule, of either kind of route.
type ruleRef struct {
	gatewayv1.BackendRef
	filters any
}

// ruleOf finds a rule by its name.
func ruleOf(route any, name gatewayv1.SectionName) (at int, refs []ruleRef) {
	switch route := route.(type) {
	case *gatewayv1.HTTPRoute:
		for i, rule := range route.Spec.Rules {
			if rule.Name != nil && *rule.Name == name {
				for _, b := range rule.BackendRefs {
					ref := ruleRef{BackendRef: b.BackendRef}
					if len(b.Filters) > 0 {
						ref.filters = b.Filters
					}
					refs = append(refs, ref)
				}
				return i, refs
			}
		}
	case *gatewayv1.GRPCRoute:
		for i, rule := range route.Spec.Rules {
			if rule.Name != nil && *rule.Name == name {
				for _, b := range rule.BackendRefs {
					ref := ruleRef{BackendRef: b.BackendRef}
					if len(b.Filters) > 0 {
						ref.filters = b.Filters
					}
					refs = append(refs, ref)
				}
				return i, refs
			}
		}
	}
	return 0, nil
}

// patchOp is one operation of a JSON Patch.
type patchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// weigh100 gives the canary the weight of both, and stable none.
func weigh100(path string, refs []ruleRef, namespace string, spec *v1alpha1.RolloutSpec) []patchOp {
	stable, canary, both := -1, -1, int32(0)
	for i, ref := range refs {
		switch {
		case sameRef(&ref.BackendObjectReference, &spec.Stable, namespace) && stable < 0:
			stable, both = i, both+weightOf(&ref)
		case sameRef(&ref.BackendObjectReference, &spec.Canary, namespace) && canary < 0:
			canary, both = i, both+weightOf(&ref)
		}
	}
	if stable < 0 || canary >= 0 && weightOf(&refs[stable]) == 0 && weightOf(&refs[canary]) == both {
		return nil
	}
	ops := []patchOp{{"add", fmt.Sprintf("%s/%d/weight", path, stable), int32(0)}}
	if both > maxWeight { // more than one backendRef may have: the others are made smaller in proportion
		for i, ref := range refs {
			if i != stable && i != canary && weightOf(&ref) > 0 {
				ops = append(ops, patchOp{"add", fmt.Sprintf("%s/%d/weight", path, i), max(int32(int64(weightOf(&ref))*maxWeight/int64(both)), 1)})
			}
		}
		both = maxWeight
	}
	if canary >= 0 {
		return append(ops, patchOp{"add", fmt.Sprintf("%s/%d/weight", path, canary), both})
	}
	added := struct {
		gatewayv1.BackendRef
		Filters any `json:"filters,omitempty"`
	}{gatewayv1.BackendRef{BackendObjectReference: spec.Canary, Weight: &both}, refs[stable].filters}
	return append(ops, patchOp{"add", path + "/-", added})
}

// maxWeight is the largest weight that Gateway API allows.
const maxWeight = 1_000_000

func weightOf(r *ruleRef) int32 {
	if r.Weight == nil {
		return 1
	}
	return *r.Weight
}

// sameRef compares references, one of a route and one of a Rollout, that are in the same namespace.
func sameRef(a, b *gatewayv1.BackendObjectReference, namespace string) bool {
	return or(a.Group, "") == or(b.Group, "") && or(a.Kind, "Service") == or(b.Kind, "Service") && a.Name == b.Name &&
		or(a.Namespace, gatewayv1.Namespace(namespace)) == or(b.Namespace, gatewayv1.Namespace(namespace)) && or(a.Port, 0) == or(b.Port, 0)
}

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
