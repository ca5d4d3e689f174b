package translate

import (
	"fmt"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// readTLSPolicy reads a policy and looks up its targets.
func (t *translator) readTLSPolicy(o *resource.Object) *securing {
	s := &securing{object: o, origin: originOf(o, "spec.validation")}
	policy, _ := o.Value.(*gatewayv1.BackendTLSPolicy)
	refs := o.Targets
	if policy == nil {
		s.refused = gatewayv1.PolicyReasonInvalid
	} else {
		refs = policy.Spec.TargetRefs
		t.readValidation(s, &policy.Spec.Validation, "spec.validation")
		if len(policy.Spec.Options) > 0 {
			s.idle = append(s.idle, "spec.options")
		}
	}
	for i, ref := range refs {
		at := targetOf(o.Key, ref)
		s.deps = append(s.deps, at.object)
		s.targets = append(s.targets, targetView{target: at, index: i})
	}
	s.hash = model.HashOf([]any{s.tls, s.origin, s.refused, s.refusedText})
	return s
}

// readBackendTLS reads the spec.tls of a Backend.
func (t *translator) readBackendTLS(o *resource.Object) *securing {
	s := &securing{object: o, origin: originOf(o, "spec.tls")}
	tls := o.Value.(*v1alpha1.Backend).Spec.TLS
	t.readValidation(s, &tls.Validation, "spec.tls.validation")
	if ref := tls.ClientCertificateRef; ref != nil {
		const field = "spec.tls.clientCertificateRef"
		certificate, problem, message := t.readCertificate(o.Key, *ref, &s.deps)
		if problem != refFine {
			s.unresolve(certificateReasons[problem], field, message)
			s.refuse(gatewayv1.PolicyReasonInvalid, field, message)
		} else if s.tls != nil {
			s.tls.Client = &certificate
		}
	}
	s.hash = model.HashOf([]any{s.tls, s.origin, s.refused, s.refusedText})
	return s
}

// The reasons for references that do not resolve, beside upstream's own.
var (
	authorityReasons = map[refProblem]gatewayv1.PolicyConditionReason{
		refKind:    gatewayv1.BackendTLSPolicyReasonInvalidKind,
		refInvalid: gatewayv1.BackendTLSPolicyReasonInvalidCACertificateRef,
	}
	certificateReasons = map[refProblem]gatewayv1.PolicyConditionReason{
		refKind:    gatewayv1.BackendTLSPolicyReasonInvalidKind,
		refDenied:  gatewayv1.PolicyConditionReason(gatewayv1.GatewayReasonRefNotPermitted),
		refInvalid: gatewayv1.PolicyConditionReason(gatewayv1.GatewayReasonInvalidClientCertificateRef),
	}
)

func (s *securing) unresolve(reason gatewayv1.PolicyConditionReason, field, message string) {
	s.reasons = append(s.reasons, reason)
	s.messages = append(s.messages, field+": "+message)
}

func (s *securing) refuse(reason gatewayv1.PolicyConditionReason, field, message string) {
	s.tls = nil
	if s.refused == "" {
		s.refused, s.refusedField, s.refusedText = reason, field, message
	}
}

// readValidation reads whom to expect and whose word to take for it. Authorities that do not
// resolve are left out: fewer are trusted then. With none left nothing could be verified.
func (t *translator) readValidation(s *securing, v *gatewayv1.BackendTLSPolicyValidation, path string) {
	tls := &model.UpstreamTLS{Hostname: strings.ToLower(string(v.Hostname))}
	for _, name := range v.SubjectAltNames {
		value := string(name.URI)
		if name.Type == gatewayv1.HostnameSubjectAltNameType {
			value = strings.ToLower(string(name.Hostname))
		}
		tls.SANs = append(tls.SANs, model.SubjectAltName{Type: model.SubjectAltNameType(name.Type), Value: value})
	}
	for i, ref := range v.CACertificateRefs {
		to := resource.Key{Group: string(ref.Group), Kind: string(ref.Kind), Namespace: s.object.Key.Namespace, Name: string(ref.Name)}
		text, problem, message := t.readAuthorities(s.object.Key, to, &s.deps)
		if problem != refFine {
			s.unresolve(authorityReasons[problem], fmt.Sprintf("%s.caCertificateRefs[%d]", path, i), message)
		}
		tls.CAs += text
	}
	s.tls = tls
	wellKnown := deref(v.WellKnownCACertificates, "")
	switch {
	case tls.CAs != "":
	case len(v.CACertificateRefs) > 0:
		s.refuse(gatewayv1.BackendTLSPolicyReasonNoValidCACertificate, path+".caCertificateRefs", "no certificate authority resolves: "+strings.Join(s.messages, "; "))
	case wellKnown != gatewayv1.WellKnownCACertificatesSystem:
		s.refuse(gatewayv1.PolicyReasonInvalid, path+".wellKnownCACertificates", fmt.Sprintf("%q is not supported; use System", wellKnown))
	}
}
