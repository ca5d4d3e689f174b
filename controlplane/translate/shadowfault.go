package translate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// shadow is a Shadow as it was read.
type shadow struct {
	backend gatewayv1.BackendObjectReference
	shadow  model.Shadow // without a cluster
}

func readShadow(r *additionReader, value any) []gatewayv1.LocalPolicyTargetReferenceWithSectionName {
	spec := &value.(*v1alpha1.Shadow).Spec
	out := &shadow{backend: spec.BackendRef, shadow: model.Shadow{
		Name: pathName(r.object.Key), Share: r.percentage("share", spec.Share), Methods: defaultShadowMethods,
		Limits: model.ShadowLimits{InFlight: defaultShadowInFlight, Body: defaultShadowBody},
		Origin: originOf(r.object, "spec"),
	}}
	if spec.Methods != nil {
		out.shadow.Methods = asStrings[string](spec.Methods)
		slices.Sort(out.shadow.Methods)
	}
	if l := spec.Limits; l != nil {
		out.shadow.Limits.InFlight = int(deref(l.Inflight, defaultShadowInFlight))
		if l.Body != nil {
			out.shadow.Limits.Body = l.Body.Value()
		}
	}
	if c := spec.Compare; c != nil {
		out.shadow.Compare = &model.Compare{
			Status: deref(c.Status, true), Latency: deref(c.Latency, true), Baseline: deref(c.Baseline, false),
			Body:   model.BodyComparison(deref(c.Body, v1alpha1.BodyComparison(defaultCompareBody))),
			Ignore: asStrings[string](c.Ignore),
		}
		for _, name := range c.Headers {
			if name := strings.ToLower(string(name)); !slices.Contains(out.shadow.Compare.Headers, name) {
				out.shadow.Compare.Headers = append(out.shadow.Compare.Headers, name)
			}
		}
	}
	r.add.shadow = out
	return spec.TargetRefs
}

// addShadow has the rule's requests copied. One whose backend does not resolve is there all the
// same, and says so.
func (r *ruleView) addShadow(f *fate) {
	s := f.shadow.shadow
	if r.b.kind.name == kindGRPCRoute && !slices.Contains(s.Methods, "POST") {
		f.invalid = fateProblem{field: "spec.methods", message: fmt.Sprintf("every call of gRPC is a POST, and %s: nothing of %v is copied; name POST, if the shadow may do what calls do", methodsText(s.Methods), r.b.key)}
		return
	}
	ref, _, dead := r.b.find(f.object.Key, f.shadow.backend)
	if dead != nil {
		f.unresolved = fateProblem{dead.reason, "spec.backendRef" + dead.at, dead.message}
		s.Refusal = dead.answer
	} else {
		s.Cluster = ref.cluster()
	}
	r.route.Shadows = append(r.route.Shadows, s)
	r.shadowRefs = append(r.shadowRefs, ref)
}

func methodsText(methods []string) string {
	if slices.Equal(methods, defaultShadowMethods) {
		return "without methods only GET and HEAD are copied"
	}
	return "methods are " + strings.Join(methods, ", ")
}

func readFaultPolicy(r *additionReader, value any) []gatewayv1.LocalPolicyTargetReferenceWithSectionName {
	spec := &value.(*v1alpha1.FaultPolicy).Spec
	policy, expires := pathName(r.object.Key), spec.Expires.UTC()
	for i := range spec.Faults {
		if r.add.expired {
			break
		}
		f, path := &spec.Faults[i], fmt.Sprintf("faults[%d]", i)
		written := model.HashOf([]any{f, expires.Format(time.RFC3339), spec.Reason})
		out := model.Fault{
			Policy: policy, Name: string(f.Name), Key: policy + "/" + string(f.Name) + "/" + string(written)[:12],
			Share: r.percentage(path+".share", f.Share), When: strings.TrimSpace(deref(f.When, "")),
			Expires: expires, Reason: spec.Reason, Origin: originOf(r.object, r.root+path),
		}
		switch {
		case f.Delay != nil:
			out.Delay = r.span(path+".delay.fixed", &f.Delay.Fixed, 0)
		case f.Abort != nil:
			out.Abort = r.readAbort(f.Abort, path+".abort.grpc")
		case f.Throttle != nil:
			out.Throttle = f.Throttle.BytesPerSecond.Value()
		default:
			out.Reset = true
		}
		r.add.faults = append(r.add.faults, out)
	}
	return spec.TargetRefs
}

func (r *additionReader) readAbort(a *v1alpha1.FaultAbort, path string) *model.FaultAbort {
	out := &model.FaultAbort{Status: int(deref(a.Status, 0))}
	if a.GRPC != nil {
		code, ok := model.ParseGRPCCode(string(*a.GRPC))
		if !ok {
			r.error(RuleInvalidValue, path, "%q is not a code of gRPC", *a.GRPC)
		}
		out.GRPC = &code
	}
	return out
}
