package translate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// spoken are the protocols that the data plane speaks with hosts. HTTP/2 joins them when it
// does: nothing else decides that.
var spoken = []model.Protocol{model.ProtocolAuto, model.ProtocolHTTP1}

// asked is what a Backend or the port of a Service asks for.
type asked struct {
	protocol model.Protocol
	tls      needTLS
}

// needTLS says whether a protocol goes with TLS.
type needTLS uint8

const (
	withOrWithout needTLS = iota
	onlyWith
	onlyWithout
)

// backendProtocols are those of a Backend. GRPC is HTTP/2, with TLS or without.
var backendProtocols = map[v1alpha1.Protocol]asked{
	v1alpha1.ProtocolHTTP:   {model.ProtocolAuto, withOrWithout},
	v1alpha1.ProtocolHTTP11: {model.ProtocolHTTP1, withOrWithout},
	v1alpha1.ProtocolHTTP2:  {model.ProtocolHTTP2, onlyWith},
	v1alpha1.ProtocolH2C:    {model.ProtocolH2C, onlyWithout},
	v1alpha1.ProtocolGRPC:   {model.ProtocolH2C, withOrWithout},
}

// appProtocols are those of a Service's port (GEP-1911), in lower case.
var appProtocols = map[string]asked{
	"":                  {model.ProtocolAuto, withOrWithout},
	"http":              {model.ProtocolAuto, withOrWithout},
	"https":             {model.ProtocolAuto, onlyWith},
	"kubernetes.io/ws":  {model.ProtocolHTTP1, withOrWithout},
	"kubernetes.io/wss": {model.ProtocolHTTP1, onlyWith},
	"kubernetes.io/h2c": {model.ProtocolH2C, onlyWithout},
}

// backendProtocol is what is spoken with a Backend, and what is wrong with that. The field is
// where it was asked for.
func backendProtocol(b *v1alpha1.Backend, secured bool) (p model.Protocol, field, problem string) {
	if b.Spec.ProxyProtocol != nil {
		return "", "spec.proxyProtocol", "the PROXY protocol is not supported by this version"
	}
	name := deref(b.Spec.Protocol, v1alpha1.ProtocolHTTP)
	a, known := backendProtocols[name]
	if known && name == v1alpha1.ProtocolGRPC && secured {
		a.protocol = model.ProtocolHTTP2
	}
	const remedy = "; write spec.tls, or attach a BackendTLSPolicy"
	return a.protocol, "spec.protocol", a.problem("protocol "+string(name), known, secured, remedy)
}

// servicePortProtocol is what is spoken with a port of a Service, and what is wrong with that.
func servicePortProtocol(p *corev1.ServicePort, secured bool) (protocol model.Protocol, problem string) {
	name := deref(p.AppProtocol, "")
	a, known := appProtocols[strings.ToLower(name)]
	return a.protocol, a.problem("appProtocol "+name, known, secured, "; attach a BackendTLSPolicy, which says whom to trust")
}

// problem says why what is asked for cannot be; empty: it can.
func (a asked) problem(name string, known, secured bool, remedy string) string {
	switch {
	case !known || !slices.Contains(spoken, a.protocol):
		return fmt.Sprintf("%s is not supported by this version", name)
	case a.tls == onlyWith && !secured:
		return name + " needs TLS" + remedy
	case a.tls == onlyWithout && secured:
		return name + " goes without TLS, which a policy or spec.tls asks for"
	}
	return ""
}
