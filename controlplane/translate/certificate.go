package translate

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// refProblem is what can be wrong with a reference to a certificate or to authorities. Each
// kind of object has reasons of its own for them.
type refProblem uint8

const (
	refFine    refProblem = iota
	refKind               // to something that can hold none
	refDenied             // no ReferenceGrant
	refInvalid            // to nothing, or to what is wrong
)

// keyPair is what became of a Secret as a certificate.
type keyPair struct {
	certificate model.Certificate
	problem     string
}

// readCertificate resolves an object's reference to a certificate, and notes what it looked
// at. The message says what is wrong, and never anything of the Secret's content.
func (t *translator) readCertificate(from resource.Key, ref gatewayv1.SecretObjectReference, deps *[]resource.Key) (model.Certificate, refProblem, string) {
	key := secretKey(from, ref)
	if !isKind(key, groupCore, kindSecret) {
		return model.Certificate{}, refKind, fmt.Sprintf("kind %s of group %q is not supported; use a Secret", key.Kind, key.Group)
	}
	if message := t.refusesRef(from, key, deps); message != "" {
		return model.Certificate{}, refDenied, message
	}
	o, secret := valueOf[corev1.Secret](t.set, key)
	if secret == nil {
		return model.Certificate{}, refInvalid, absenceText(o, key)
	}
	pair, known := t.keyPairs[key]
	if !known {
		pair = newKeyPair(o, secret)
		t.keyPairs[key] = pair
	}
	if pair.problem != "" {
		return model.Certificate{}, refInvalid, pair.problem
	}
	return pair.certificate, refFine, ""
}

func secretKey(from resource.Key, ref gatewayv1.SecretObjectReference) resource.Key {
	return resource.Key{
		Group: string(deref(ref.Group, groupCore)), Kind: string(deref(ref.Kind, kindSecret)),
		Namespace: string(deref(ref.Namespace, gatewayv1.Namespace(from.Namespace))), Name: string(ref.Name),
	}
}

func newKeyPair(o *resource.Object, secret *corev1.Secret) keyPair {
	pair, entry, err := resource.ParseKeyPair(secret.Data)
	if err != nil {
		return keyPair{problem: fmt.Sprintf("%s of %v (%v) %v", entry, o.Key, o.At, err)}
	}
	return keyPair{certificate: model.Certificate{Name: "secret/" + pathName(o.Key), Chain: pair.Chain, Key: model.PrivateKey(pair.Key)}}
}

// refusesRef says why an object may not refer to another for want of a ReferenceGrant; empty:
// it may. It notes what it looked at, the other object included.
func (t *translator) refusesRef(from, to resource.Key, deps *[]resource.Key) string {
	*deps = append(*deps, to)
	if to.Namespace == from.Namespace {
		return ""
	}
	*deps = append(*deps, grantKey(to.Namespace))
	if t.allows(from, to) {
		return ""
	}
	return fmt.Sprintf("no ReferenceGrant in namespace %s allows a %s of namespace %s to refer to %v", to.Namespace, from.Kind, from.Namespace, to)
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

// readClientCertificate resolves a gateway's reference to the certificate with which it calls
// backends. Without it they are called all the same: those that insist on one refuse.
func (t *translator) readClientCertificate(v *gatewayView) {
	tls := v.gateway.Spec.TLS
	if tls == nil || tls.Backend == nil || tls.Backend.ClientCertificateRef == nil {
		return
	}
	certificate, problem, message := t.readCertificate(v.key, *tls.Backend.ClientCertificateRef, &v.deps)
	switch problem {
	case refFine:
		v.client = &certificate
		return
	case refDenied:
		v.unresolved = gatewayv1.GatewayReasonRefNotPermitted
	default:
		v.unresolved = gatewayv1.GatewayReasonInvalidClientCertificateRef
	}
	v.unresolvedMessage = message
	v.error(RuleUnresolved, "spec.tls.backend.clientCertificateRef", "%s", message)
}
