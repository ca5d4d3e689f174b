package translate

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// asked is what a Backend or the port of a Service asks for.
type asked struct {
	protocol model.Protocol
	tls      needTLS
}

// calls is HTTP/2, with TLS or without.
var calls = asked{model.ProtocolH2C, withOrWithout}

// spoken is what is spoken with or without TLS.
func (a asked) spoken(secured bool) model.Protocol {
	if a == calls && secured {
		return model.ProtocolHTTP2
	}
	return a.protocol
}

// needTLS says whether a protocol goes with TLS.
type needTLS uint8

const (
	withOrWithout needTLS = iota
	onlyWith
	onlyWithout
)

// backendProtocols are those of a Backend.
var backendProtocols = map[v1alpha1.Protocol]asked{
	v1alpha1.ProtocolHTTP:   {model.ProtocolAuto, withOrWithout},
	v1alpha1.ProtocolHTTP11: {model.ProtocolHTTP1, withOrWithout},
	v1alpha1.ProtocolHTTP2:  {model.ProtocolHTTP2, onlyWith},
	v1alpha1.ProtocolH2C:    {model.ProtocolH2C, onlyWithout},
	v1alpha1.ProtocolGRPC:   calls,
	v1alpha1.ProtocolTCP:    {model.ProtocolTCP, withOrWithout},
	v1alpha1.ProtocolUDP:    {model.ProtocolUDP, onlyWithout},
}

// appProtocols are those of a Service's port (GEP-1911), in lower case, and grpc, which many write.
var appProtocols = map[string]asked{
	"":                  {model.ProtocolAuto, withOrWithout},
	"http":              {model.ProtocolAuto, withOrWithout},
	"grpc":              calls,
	"https":             {model.ProtocolAuto, onlyWith},
	"kubernetes.io/ws":  {model.ProtocolHTTP1, withOrWithout},
	"kubernetes.io/wss": {model.ProtocolHTTP1, onlyWith},
	"kubernetes.io/h2c": {model.ProtocolH2C, onlyWithout},
}

// backendProtocol is what is spoken with a Backend, and what is wrong with that. The field is
// where it was asked for.
func backendProtocol(b *v1alpha1.Backend, secured bool) (p model.Protocol, field, problem string) {
	name := deref(b.Spec.Protocol, v1alpha1.ProtocolHTTP)
	if b.Spec.ProxyProtocol != nil && name == v1alpha1.ProtocolUDP {
		return model.ProtocolUDP, "spec.proxyProtocol", "the PROXY protocol begins connections, which UDP has none of"
	}
	a, known := backendProtocols[name]
	const remedy = "; write spec.tls, or attach a BackendTLSPolicy"
	return a.spoken(secured), "spec.protocol", a.problem("protocol "+string(name), known, secured, remedy)
}

// servicePortProtocol is what is spoken with a port of a Service, and what is wrong with that.
func servicePortProtocol(p *corev1.ServicePort, secured bool) (protocol model.Protocol, problem string) {
	name := deref(p.AppProtocol, "")
	a, known := appProtocols[strings.ToLower(name)]
	return a.spoken(secured), a.problem("appProtocol "+name, known, secured, "; attach a BackendTLSPolicy, which says whom to trust")
}

// problem says why what is asked for cannot be; empty: it can.
func (a asked) problem(name string, known, secured bool, remedy string) string {
	switch {
	case !known:
		return fmt.Sprintf("%s is not supported by this version", name)
	case a.tls == onlyWith && !secured:
		return name + " needs TLS" + remedy
	case a.tls == onlyWithout && secured:
		return name + " goes without TLS, which a policy or spec.tls asks for"
	}
	return ""
}

// refusesRequests says why requests cannot be sent to a backend of a protocol; empty: they can.
func refusesRequests(p model.Protocol) string {
	if p == model.ProtocolTCP || p == model.ProtocolUDP {
		return fmt.Sprintf("protocol %s carries no requests: refer to it in a %sRoute, or write another protocol, such as HTTP", p, p)
	}
	return ""
}

// refusesCalls says why calls of gRPC cannot be sent to a backend of a protocol; empty: they
// can. To one that does not say which version of HTTP it speaks they go over HTTP/2, and so
// does everything else then: see buildCluster.
func refusesCalls(p model.Protocol) string {
	if p == model.ProtocolHTTP1 {
		return "it speaks HTTP/1.1, and calls of gRPC need HTTP/2"
	}
	return ""
}

// refusesBytes says why bytes of the kind's routes cannot be sent to a Backend of a protocol
// with which something may be wrong; empty: they can. What is spoken over TCP is the client's
// affair.
func (k *routeKind) refusesBytes(p model.Protocol, wrong string) string {
	udp := k.name == kindUDPRoute
	switch {
	case udp != (p == model.ProtocolUDP) && udp:
		return "a UDPRoute needs a backend of protocol UDP: write spec.protocol: UDP"
	case udp != (p == model.ProtocolUDP):
		return fmt.Sprintf("a %s needs a backend of TCP; protocol UDP is for UDPRoutes", k.name)
	case p == model.ProtocolTCP || udp:
		return wrong
	}
	return ""
}
