package translate

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// secureSide is what makes a listener one of HTTPS, or of TLS that ends here.
type secureSide struct {
	certificates []model.Certificate
	clients      *model.ClientValidation
	// missing says why there is no certificate to serve; empty: there is, or none is needed.
	missing string
	// retained says of which Secrets an older version is served.
	retained []string
	// overlaps are listeners of the socket whose hostnames overlap with this one's, the first
	// few of them.
	overlaps []string
}

// secureListener resolves a listener's certificates, on behalf of the object that it is
// written in: what a Gateway may refer to, its ListenerSets may not by that, nor the other way
// round. Those that do not resolve are left out; with none left it is not served.
func (t *translator) secureListener(l *listenerView) {
	tls, s := deref(l.spec.TLS, gatewayv1.ListenerTLSConfig{}), &l.secure
	if l.passthrough() {
		if len(tls.CertificateRefs) > 0 {
			l.in.warn(RuleUnsupported, l.field("tls.certificateRefs"), "have no effect: with mode Passthrough the backend shows its own certificate")
		}
		return
	}
	for i, ref := range tls.CertificateRefs {
		certificate, problem, message := t.readCertificate(l.owner(), ref, &l.gateway.deps)
		if problem == refFine {
			known := slices.ContainsFunc(s.certificates, func(c model.Certificate) bool { return c.Name == certificate.Name })
			if !known {
				s.certificates = append(s.certificates, certificate)
				key := secretKey(l.owner(), ref)
				if text := retainedText(t.set.Get(key)); text != "" {
					s.retained = append(s.retained, key.String()+": "+text)
				}
			}
			continue
		}
		reason := gatewayv1.ListenerReasonInvalidCertificateRef
		if problem == refDenied {
			reason = gatewayv1.ListenerReasonRefNotPermitted
		}
		field := fmt.Sprintf("tls.certificateRefs[%d]", i)
		l.unresolve(reason, field+": "+message)
		l.in.error(RuleUnresolved, l.field(field), "%s", message)
	}
	if l.family() != familySecure {
		return
	}
	if len(tls.CertificateRefs) == 0 {
		message := fmt.Sprintf("a listener of protocol %s needs a certificate", l.spec.Protocol)
		l.unresolve(gatewayv1.ListenerReasonInvalidCertificateRef, "tls.certificateRefs: "+message)
		l.in.error(RuleUnresolved, l.field("tls.certificateRefs"), "%s", message)
	}
	if len(s.certificates) == 0 {
		s.missing = "there is no certificate to serve: " + strings.Join(l.unresolvedMessages, "; ")
	}
	if len(tls.Options) > 0 {
		l.in.warn(RuleUnsupported, l.field("tls.options"), "none is supported, so that none has an effect; versions and suites are in a TrafficPolicy's client.tls")
	}
	l.secureClients()
}

// secureClients takes over what the gateway demands of clients on the listener's port. Where
// nobody is left whose word counts for clients the listener is refused, never opened to all.
func (l *listenerView) secureClients() {
	f := l.gateway.frontendOf(l.spec.Port)
	if f == nil {
		return
	}
	for i, message := range f.messages {
		l.unresolve(f.reasons[i], message)
	}
	if f.clients == nil {
		l.refuse(gatewayv1.ListenerReasonNoValidCACertificate, "no certificate authority for clients resolves: "+strings.Join(f.messages, "; "))
	}
	l.secure.clients = f.clients
}

// secureSocket is how a socket speaks TLS; nil: it does not, or lets it through. Whether it is
// TLS does not differ between its listeners, and neither do versions and suites: they are
// settled before the hostname is known to count.
func secureSocket(listeners []*listenerView, shared clientSide) *model.TLS {
	ends := func(l *listenerView) bool { return l.family() == familySecure && !l.passthrough() }
	if !slices.ContainsFunc(listeners, ends) {
		return nil
	}
	tls := &model.TLS{}
	fillTLS(tls, shared)
	for _, l := range listeners {
		if !ends(l) {
			continue
		}
		tls.Names = append(tls.Names, model.TLSName{Hostname: l.hostname, Certificates: l.secure.certificates, Client: l.secure.clients})
	}
	slices.SortFunc(tls.Names, func(a, b model.TLSName) int { return compareHostnames(a.Hostname, b.Hostname) })
	markOverlaps(listeners)
	return tls
}

// fillTLS gives a socket its settings of TLS and their origins.
func fillTLS(tls *model.TLS, s clientSide) {
	o := &tls.Origins
	tls.MinVersion = effective(s.minVersion, defaultMinVersion, "client.tls.minVersion", o)
	tls.CipherSuites = effective(s.cipherSuites, nil, "client.tls.cipherSuites", o)
	tls.Handshake = effective(cmp.Or(s.handshakeTimeout, s.headTimeout), defaultHeadTimeout, "client.tls.handshakeTimeout", o)
	tls.MaxHandshakes = effective(s.maxHandshakes, defaultMaxHandshakes, "client.tls.maxHandshakes", o)
}

// sameTLS reports whether a listener's own settings are those of its socket.
func sameTLS(own clientSide, socket *model.TLS) bool {
	var tls model.TLS
	fillTLS(&tls, own)
	return tls.MinVersion == socket.MinVersion && slices.Equal(tls.CipherSuites, socket.CipherSuites) &&
		tls.Handshake == socket.Handshake && tls.MaxHandshakes == socket.MaxHandshakes
}

// readClientTLS reads what a policy has HTTPS listeners speak.
func (r *policyReader) readClientTLS(c *v1alpha1.ClientTLS) {
	v := &r.into.client
	if c.MinVersion != nil {
		v.minVersion = set(r, "client.tls.minVersion", sideClient, model.TLSVersion(*c.MinVersion))
	}
	if c.CipherSuites != nil {
		suites := make([]string, 0, len(c.CipherSuites))
		for _, s := range c.CipherSuites {
			suites = append(suites, string(s))
		}
		slices.Sort(suites)
		v.cipherSuites = set(r, "client.tls.cipherSuites", sideClient, slices.Compact(suites))
	}
	v.handshakeTimeout = r.duration("client.tls.handshakeTimeout", sideClient, c.HandshakeTimeout)
	if c.MaxHandshakes != nil {
		v.maxHandshakes = set(r, "client.tls.maxHandshakes", sideClient, int(*c.MaxHandshakes))
	}
}

// markOverlaps notes on the listeners of a socket whose hostnames overlap: a browser that has
// a connection for one may send it requests for the other, which may be answered with 421.
func markOverlaps(listeners []*listenerView) {
	byHostname := make(map[string]*listenerView, len(listeners))
	for _, l := range listeners {
		if !l.streams() {
			byHostname[l.hostname] = l
		}
	}
	for _, l := range listeners {
		if l.streams() {
			continue
		}
		for wider := range widerHostnames(l.hostname) {
			if other := byHostname[wider]; other != nil {
				l.secure.overlap(other)
				other.secure.overlap(l)
			}
		}
	}
}

// widerHostnames yields the hostnames that cover another one, from the most specific to none
// at all.
func widerHostnames(hostname string) iter.Seq[string] {
	return func(yield func(string) bool) {
		rest, more := strings.TrimPrefix(hostname, "*."), hostname != ""
		for more {
			_, rest, more = strings.Cut(rest, ".")
			wider := "*." + rest
			if !more {
				wider = ""
			}
			if !yield(wider) {
				return
			}
		}
	}
}

// maxOverlaps is how many listeners a condition names.
const maxOverlaps = 4

func (s *secureSide) overlap(other *listenerView) {
	if len(s.overlaps) <= maxOverlaps && !slices.Contains(s.overlaps, other.name) {
		s.overlaps = append(s.overlaps, other.name)
	}
}

// overlapText names the listeners whose hostnames overlap with this one's; empty: none do.
func (s *secureSide) overlapText() string {
	if len(s.overlaps) == 0 {
		return ""
	}
	names := strings.Join(s.overlaps[:min(len(s.overlaps), maxOverlaps)], ", ")
	if len(s.overlaps) > maxOverlaps {
		names += " and others"
	}
	return "the hostname overlaps with that of " + names + "; a request that comes on a connection for the other may be answered with 421"
}

// frontend is what a gateway demands of clients that come by TLS, on one port or in general.
type frontend struct {
	clients *model.ClientValidation // nil: no reference resolves
	// reasons and messages are of the references that do not resolve.
	reasons  []gatewayv1.ListenerConditionReason
	messages []string
	field    string
	insecure bool
}

// anyPort stands for the ports that have no validation of their own.
const anyPort gatewayv1.PortNumber = 0

// frontendOf is what clients on a port must prove; nil: nothing.
func (v *gatewayView) frontendOf(port gatewayv1.PortNumber) *frontend {
	f, own := v.frontends[port]
	if !own {
		f = v.frontends[anyPort]
	}
	return f
}

// readFrontends reads what a gateway demands of its clients. A port with an entry that
// demands nothing is open to all, whatever the default.
func (t *translator) readFrontends(v *gatewayView) {
	if v.gateway.Spec.TLS == nil || v.gateway.Spec.TLS.Frontend == nil {
		return
	}
	spec := v.gateway.Spec.TLS.Frontend
	v.frontends = map[gatewayv1.PortNumber]*frontend{anyPort: t.readFrontend(v, spec.Default.Validation, "spec.tls.frontend.default.validation")}
	for i, p := range spec.PerPort {
		v.frontends[p.Port] = t.readFrontend(v, p.TLS.Validation, fmt.Sprintf("spec.tls.frontend.perPort[%d].tls.validation", i))
	}
}

func (t *translator) readFrontend(v *gatewayView, validation *gatewayv1.FrontendTLSValidation, path string) *frontend {
	if validation == nil {
		return nil
	}
	f := &frontend{field: path, insecure: validation.Mode == gatewayv1.AllowInsecureFallback}
	var authorities strings.Builder
	for i, ref := range validation.CACertificateRefs {
		to := v.key
		to.Group, to.Kind, to.Name = string(ref.Group), string(ref.Kind), string(ref.Name)
		to.Namespace = string(deref(ref.Namespace, gatewayv1.Namespace(v.key.Namespace)))
		text, problem, message := t.readAuthorities(v.key, to, &v.deps)
		if problem == refFine {
			authorities.WriteString(text)
			continue
		}
		field := fmt.Sprintf("%s.caCertificateRefs[%d]", path, i)
		f.reasons = append(f.reasons, frontendReasons[problem])
		f.messages = append(f.messages, field+": "+message)
		v.error(RuleUnresolved, field, "%s", message)
	}
	if authorities.Len() > 0 {
		f.clients = &model.ClientValidation{CAs: authorities.String(), Insecure: f.insecure}
	}
	return f
}

var frontendReasons = map[refProblem]gatewayv1.ListenerConditionReason{
	refKind:    gatewayv1.ListenerReasonInvalidCACertificateKind,
	refDenied:  gatewayv1.ListenerReasonRefNotPermitted,
	refInvalid: gatewayv1.ListenerReasonInvalidCACertificateRef,
}

// insecureText says where a gateway lets clients pass whose certificates are not valid;
// empty: nowhere.
func (v *gatewayView) insecureText() string {
	var fields []string
	for _, f := range v.frontends {
		if f != nil && f.insecure {
			fields = append(fields, f.field)
		}
	}
	slices.SortFunc(fields, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) })
	if len(fields) == 0 {
		return ""
	}
	return "clients pass without a valid certificate, and have no identity then, by " + strings.Join(fields, ", ")
}
