package translate

import (
	"crypto/tls"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
)

// readCertificates resolves a listener's references to certificates, on behalf of the object
// that it is written in: what a Gateway may refer to, its ListenerSets may not by that, nor
// the other way round. No listener that has any is served yet, but its status is complete.
func (t *translator) readCertificates(l *listenerView) {
	if l.spec.TLS == nil {
		return
	}
	for i, ref := range l.spec.TLS.CertificateRefs {
		permitted, message := t.checkCertificate(l.gateway, l.owner(), ref)
		if message == "" {
			continue
		}
		reason := gatewayv1.ListenerReasonInvalidCertificateRef
		if !permitted {
			reason = gatewayv1.ListenerReasonRefNotPermitted
		}
		field := fmt.Sprintf("tls.certificateRefs[%d]", i)
		l.unresolve(reason, field+": "+message)
		l.in.error(RuleUnresolved, l.field(field), "%s", message)
	}
}

// readClientCertificate resolves a gateway's reference to the certificate with which it is to
// call backends. None is called with it yet, but its status is complete.
func (t *translator) readClientCertificate(v *gatewayView) {
	tls := v.gateway.Spec.TLS
	if tls == nil || tls.Backend == nil || tls.Backend.ClientCertificateRef == nil {
		return
	}
	permitted, message := t.checkCertificate(v, v.key, *tls.Backend.ClientCertificateRef)
	if message == "" {
		return
	}
	v.unresolved, v.unresolvedMessage = gatewayv1.GatewayReasonInvalidClientCertificateRef, message
	if !permitted {
		v.unresolved = gatewayv1.GatewayReasonRefNotPermitted
	}
	v.error(RuleUnresolved, "spec.tls.backend.clientCertificateRef", "%s", message)
}

// checkCertificate says what is wrong with an object's reference to a certificate, and
// whether it may refer to that at all; an empty message: nothing is wrong.
func (t *translator) checkCertificate(v *gatewayView, from resource.Key, ref gatewayv1.SecretObjectReference) (permitted bool, message string) {
	if group, kind := deref(ref.Group, groupCore), deref(ref.Kind, kindSecret); group != groupCore || kind != kindSecret {
		return true, fmt.Sprintf("kind %s of group %q is not supported; use a Secret", kind, group)
	}
	key := resource.Key{Kind: kindSecret, Namespace: string(deref(ref.Namespace, gatewayv1.Namespace(from.Namespace))), Name: string(ref.Name)}
	v.deps = append(v.deps, key, grantKey(key.Namespace))
	if key.Namespace != from.Namespace && !t.allows(from, key) {
		return false, fmt.Sprintf("no ReferenceGrant in namespace %s allows a %s of namespace %s to refer to %v", key.Namespace, from.Kind, from.Namespace, key)
	}
	o, secret := valueOf[corev1.Secret](t.set, key)
	if secret == nil {
		return true, absenceText(o, key)
	}
	// The error is left out: it could quote what is secret.
	if _, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return true, fmt.Sprintf("%v holds no certificate with its key in %s and %s", key, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	return true, ""
}

// allows reports whether a ReferenceGrant opens an object to one of another namespace.
func (t *translator) allows(from, to resource.Key) bool {
	for _, o := range t.objectsOf(groupGateway, kindReferenceGrant) {
		grant, _ := o.Value.(*gatewayv1.ReferenceGrant)
		if grant != nil && o.Key.Namespace == to.Namespace && grants(&grant.Spec, from, to) {
			return true
		}
	}
	return false
}
