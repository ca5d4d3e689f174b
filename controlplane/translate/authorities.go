package translate

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"weir.dev/weir/controlplane/resource"
)

// authoritiesKey is the entry of a ConfigMap or Secret that holds certificates.
const authoritiesKey = resource.AuthoritiesKey

// readAuthorities resolves an object's reference to certificates of authorities, which it
// returns in PEM, and notes what it looked at.
func (t *translator) readAuthorities(from, to resource.Key, deps *[]resource.Key) (string, refProblem, string) {
	if !isKind(to, groupCore, kindConfigMap) && !isKind(to, groupCore, kindSecret) {
		return "", refKind, fmt.Sprintf("kind %s of group %q is not supported; use a ConfigMap or Secret", to.Kind, to.Group)
	}
	if message := t.refusesRef(from, to, deps); message != "" {
		return "", refDenied, message
	}
	o := t.set.Get(to)
	if o == nil || o.Value == nil {
		return "", refInvalid, absenceText(o, to)
	}
	text := authoritiesOf(o.Value)
	if strings.TrimSpace(text) == "" {
		return "", refInvalid, fmt.Sprintf("%v (%v) has no %s", to, o.At, authoritiesKey)
	}
	certificates, err := resource.ParseAuthorities([]byte(text))
	if err != nil {
		return "", refInvalid, fmt.Sprintf("%s of %v (%v) %v", authoritiesKey, to, o.At, err)
	}
	return certificates, refFine, ""
}

func authoritiesOf(value any) string {
	switch v := value.(type) {
	case *corev1.ConfigMap:
		return v.Data[authoritiesKey] + string(v.BinaryData[authoritiesKey])
	case *corev1.Secret:
		return string(v.Data[authoritiesKey])
	}
	return ""
}
