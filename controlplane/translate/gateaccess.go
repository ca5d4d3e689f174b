package translate

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// GateAccess is how a server is spoken to that a gate asks. Neither JSON, text nor a hash has anything of
// its credentials: with others a gate asks for the same.
type GateAccess struct {
	CAs     string // the authorities in PEM; empty: those of the system
	Problem string // why the server cannot be asked; empty: it can
	// secrets are a token, or a user and a password.
	secrets []string
}

// Authorization is the value of the header of that name; empty: none is sent.
func (a GateAccess) Authorization() string {
	switch len(a.secrets) {
	case 1:
		return "Bearer " + a.secrets[0]
	case 2:
		return "Basic " + a.basic()
	}
	return ""
}

func (a GateAccess) basic() string {
	return base64.StdEncoding.EncodeToString([]byte(a.secrets[0] + ":" + a.secrets[1]))
}

// Redact takes out of a text what is secret: a server may repeat what it was shown, and who quotes it
// writes it as Go or JSON does.
func (a GateAccess) Redact(text string) string {
	if len(a.secrets) == 0 {
		return text
	}
	secret := a.secrets[len(a.secrets)-1]
	forms := []string{secret, quoted(strconv.Quote(secret))}
	if data, err := json.Marshal(secret); err == nil {
		forms = append(forms, quoted(string(data)))
	}
	if len(a.secrets) == 2 {
		forms = append(forms, a.basic())
	}
	for _, form := range forms {
		text = strings.ReplaceAll(text, form, model.Redacted)
	}
	return text
}

// quoted is what stands between the quotes.
func quoted(text string) string { return text[1 : len(text)-1] }

// String returns model.Redacted.
func (GateAccess) String() string { return model.Redacted }

// GoString returns model.Redacted.
func (GateAccess) GoString() string { return model.Redacted }

// The entries of a Secret that a gate's server is shown. Those of the second kind are the type
// kubernetes.io/basic-auth's.
const (
	tokenKey    = corev1.ServiceAccountTokenKey
	usernameKey = corev1.BasicAuthUsernameKey
	passwordKey = corev1.BasicAuthPasswordKey
)

// accessGates looks up how the servers of a Rollout's gates are spoken to. A gate whose references do not all
// resolve is not asked: neither is another authority believed nor is it asked without credentials.
func (t *translator) accessGates(a *addition) {
	v, ok := a.object.Value.(*v1alpha1.Rollout)
	if !ok {
		return
	}
	for i, g := range v.Spec.Gates {
		planned, path := &a.rollout.plan.Gates[i], fmt.Sprintf("spec.gates[%d].", i)
		switch {
		case g.PromQL != nil:
			planned.Query.Access = t.gateAccess(a, &g.PromQL.GateAccess, path+"promql.")
		case g.Webhook != nil:
			planned.Webhook.Access = t.gateAccess(a, &g.Webhook.GateAccess, path+"webhook.")
		}
	}
}

func (t *translator) gateAccess(a *addition, from *v1alpha1.GateAccess, path string) GateAccess {
	var access GateAccess
	note := func(problem refProblem, field, message string) {
		if problem == refFine {
			return
		}
		a.unresolved = append(a.unresolved, fateProblem{gateAccessReasons[problem], path + field, message + ": the gate does not pass"})
		if access.Problem == "" {
			access.Problem = field + ": " + message
		}
	}
	for i, ref := range from.CACertificateRefs {
		to := resource.Key{Group: string(ref.Group), Kind: string(ref.Kind), Namespace: a.object.Key.Namespace, Name: string(ref.Name)}
		text, problem, message := t.readAuthorities(a.object.Key, to, &a.deps)
		note(problem, fmt.Sprintf("caCertificateRefs[%d]", i), message)
		access.CAs += text
	}
	if from.SecretRef != nil {
		secrets, problem, message := t.readCredentials(a.object.Key, *from.SecretRef, &a.deps)
		note(problem, "secretRef", message)
		access.secrets = secrets
	}
	return access
}

var gateAccessReasons = map[refProblem]gatewayv1.RouteConditionReason{
	refKind:    gatewayv1.RouteReasonInvalidKind,
	refDenied:  gatewayv1.RouteReasonRefNotPermitted,
	refInvalid: gatewayv1.RouteConditionReason(gatewayv1.PolicyReasonTargetNotFound),
}

// readCredentials resolves an object's reference to a token, or to a user and a password, and notes what it
// looked at. The message never says anything of the Secret's content.
func (t *translator) readCredentials(from resource.Key, ref gatewayv1.SecretObjectReference, deps *[]resource.Key) ([]string, refProblem, string) {
	key := secretKey(from, ref)
	if !isKind(key, groupCore, kindSecret) {
		return nil, refKind, fmt.Sprintf("kind %s of group %q is not supported; use a Secret", key.Kind, key.Group)
	}
	if message := t.refusesRef(from, key, deps); message != "" {
		return nil, refDenied, message
	}
	o, secret := valueOf[corev1.Secret](t.set, key)
	if secret == nil {
		return nil, refInvalid, absenceText(o, key)
	}
	entry := func(name string) string { return strings.TrimSpace(string(secret.Data[name])) }
	token, user, password := entry(tokenKey), entry(usernameKey), entry(passwordKey)
	for _, value := range []string{token, user, password} {
		if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return nil, refInvalid, fmt.Sprintf("%v (%v) has an entry of more than one line", key, o.At)
		}
	}
	switch {
	case token != "":
		return []string{token}, refFine, ""
	case user != "" && password != "":
		return []string{user, password}, refFine, ""
	}
	return nil, refInvalid, fmt.Sprintf("%v (%v) has neither the entry %s nor both %s and %s", key, o.At, tokenKey, usernameKey, passwordKey)
}
