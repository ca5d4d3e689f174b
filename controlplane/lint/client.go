package lint

import (
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// announcedHTTP3 finds listeners whose connections begin with a PROXY header, and which serve
// HTTP/3: its packets come without one, through whatever hands on the connections as well.
func announcedHTTP3(p *pass) {
	w := written{path: "client.http3"}
	for _, l := range p.out.Snapshot.Listeners {
		if l.Client.HTTP3 && l.Client.ProxyProtocol {
			w.add(l.Client.Origins, l.Name)
		}
	}
	w.report(p, "QUIC has no PROXY header, which client.proxyProtocol wants: whoever comes to %s by HTTP/3 through the same balancer has the balancer's address in logs, limits and X-Forwarded-For; leave http3 out, or let UDP come by another way")
}

// idleHTTP3 finds policies that ask for HTTP/3 where no listener of theirs is for HTTPS, without
// which there is none.
func idleHTTP3(p *pass) {
	for o, policy := range resource.All[*v1alpha1.TrafficPolicy](p.set) {
		asks := policy.Spec.Client != nil && policy.Spec.Client.HTTP3 != nil && *policy.Spec.Client.HTTP3
		if asks && !p.anyTarget(o, policy, gatewayv1.HTTPSProtocolType) {
			p.report(o, "spec.client.http3", "has no effect: HTTP/3 is for HTTPS listeners, and there is none at what the policy targets; add one, or leave it out")
		}
	}
}

// idleClientTLS finds policies that say how TLS is spoken where no listener of theirs does.
func idleClientTLS(p *pass) {
	for o, policy := range resource.All[*v1alpha1.TrafficPolicy](p.set) {
		says := policy.Spec.Client != nil && policy.Spec.Client.TLS != nil
		if says && !p.anyTarget(o, policy, gatewayv1.HTTPSProtocolType, gatewayv1.TLSProtocolType) {
			p.report(o, "spec.client.tls", "has no effect: it is for listeners that speak TLS, and there is none at what the policy targets; add one, or leave it out")
		}
	}
}

// anyTarget reports whether a listener that a policy is for may be of one of these protocols.
func (p *pass) anyTarget(o *resource.Object, policy *v1alpha1.TrafficPolicy, protocols ...gatewayv1.ProtocolType) bool {
	return slices.ContainsFunc(policy.Spec.TargetRefs, func(ref gatewayv1.LocalPolicyTargetReferenceWithSectionName) bool {
		at := resource.Key{Group: string(ref.Group), Kind: string(ref.Kind), Namespace: o.Key.Namespace, Name: string(ref.Name)}
		return p.mayBe(protocols, at, ref.SectionName)
	})
}

// mayBe reports whether a listener of a Gateway or ListenerSet, or the named one, is of one of these
// protocols; of what is not there, and of what a ListenerSet may add, it is not known. Where TLS passes
// through it is not spoken.
func (p *pass) mayBe(protocols []gatewayv1.ProtocolType, at resource.Key, section *gatewayv1.SectionName) bool {
	is := func(name gatewayv1.SectionName, protocol gatewayv1.ProtocolType, tls *gatewayv1.ListenerTLSConfig) bool {
		through := tls != nil && tls.Mode != nil && *tls.Mode == gatewayv1.TLSModePassthrough
		return slices.Contains(protocols, protocol) && !through && (section == nil || *section == name)
	}
	o := p.set.Get(at)
	if o == nil {
		return true
	}
	switch v := o.Value.(type) {
	case *gatewayv1.Gateway:
		return section == nil && p.hasListenerSet(at) ||
			slices.ContainsFunc(v.Spec.Listeners, func(l gatewayv1.Listener) bool { return is(l.Name, l.Protocol, l.TLS) })
	case *gatewayv1.ListenerSet:
		return slices.ContainsFunc(v.Spec.Listeners, func(l gatewayv1.ListenerEntry) bool { return is(l.Name, l.Protocol, l.TLS) })
	}
	return true
}

// hasListenerSet reports whether a ListenerSet is attached to a Gateway.
func (p *pass) hasListenerSet(gateway resource.Key) bool {
	for o, set := range resource.All[*gatewayv1.ListenerSet](p.set) {
		ref := set.Spec.ParentRef
		namespace := o.Key.Namespace
		if ref.Namespace != nil {
			namespace = string(*ref.Namespace)
		}
		if gateway.Kind == "Gateway" && namespace == gateway.Namespace && string(ref.Name) == gateway.Name {
			return true
		}
	}
	return false
}

// trustWithoutCertificates finds callers that are trusted by an identity which nobody has, for
// no listener asks its clients for a certificate.
func trustWithoutCertificates(p *pass) {
	w := written{path: "client.trust.identities"}
	useful := map[model.Origin]bool{}
	for _, l := range p.out.Snapshot.Listeners {
		if len(l.Client.TrustIdentities) == 0 {
			continue
		}
		asks := false
		for _, t := range l.Tables {
			asks = asks || asksWho(l.TLS, t.Hostname)
		}
		if asks {
			useful[l.Client.Origins[w.path]] = true
		} else {
			w.add(l.Client.Origins, l.Name)
		}
	}
	w.order = slices.DeleteFunc(w.order, func(o model.Origin) bool { return useful[o] })
	w.report(p, "nobody is trusted by an identity at %s, which asks no client for a certificate; set the Gateway's spec.tls.frontend, or trust addresses")
}
