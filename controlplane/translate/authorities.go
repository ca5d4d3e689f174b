package translate

import (
	"crypto/x509"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
)

// references is what became of the certificate authorities that a BackendTLSPolicy names.
type references struct {
	// broken is the first reason why one does not resolve; empty: all do.
	broken   gatewayv1.PolicyConditionReason
	messages []string
	// refused is why the policy could not be accepted even if TLS were supported.
	refused gatewayv1.PolicyConditionReason
}

// authoritiesKey is the entry of a ConfigMap that holds certificates.
const authoritiesKey = "ca.crt"

// readAuthorities resolves a policy's references to certificate authorities.
func (t *translator) readAuthorities(v *closingView, validation *gatewayv1.BackendTLSPolicyValidation) references {
	var out references
	for i, ref := range validation.CACertificateRefs {
		reason, message := t.checkAuthority(v, ref)
		if reason == "" {
			continue
		}
		if out.broken == "" {
			out.broken = reason
		}
		out.messages = append(out.messages, fmt.Sprintf("spec.validation.caCertificateRefs[%d]: %s", i, message))
	}
	if n := len(out.messages); n > 0 && n == len(validation.CACertificateRefs) {
		out.refused = gatewayv1.BackendTLSPolicyReasonNoValidCACertificate
	}
	return out
}

func (t *translator) checkAuthority(v *closingView, ref gatewayv1.LocalObjectReference) (gatewayv1.PolicyConditionReason, string) {
	if ref.Group != groupCore || ref.Kind != kindConfigMap {
		return gatewayv1.BackendTLSPolicyReasonInvalidKind, fmt.Sprintf("kind %s of group %q is not supported; use a ConfigMap", ref.Kind, ref.Group)
	}
	key := resource.Key{Kind: kindConfigMap, Namespace: v.object.Key.Namespace, Name: string(ref.Name)}
	v.deps = append(v.deps, key)
	o, config := valueOf[corev1.ConfigMap](t.set, key)
	if config == nil {
		return gatewayv1.BackendTLSPolicyReasonInvalidCACertificateRef, absenceText(o, key)
	}
	text := config.Data[authoritiesKey]
	if strings.TrimSpace(text) == "" {
		return gatewayv1.BackendTLSPolicyReasonInvalidCACertificateRef, fmt.Sprintf("%v has no %s", key, authoritiesKey)
	}
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(text)) {
		return gatewayv1.BackendTLSPolicyReasonInvalidCACertificateRef, fmt.Sprintf("%s of %v holds no certificate in PEM", authoritiesKey, key)
	}
	return "", ""
}

func (r references) text() string { return strings.Join(r.messages, "; ") }
