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
		if c := policy.Spec.Client; c == nil || c.HTTP3 == nil || !*c.HTTP3 {
			continue
		}
		idle := true
		for _, ref := range policy.Spec.TargetRefs {
			at := resource.Key{Group: string(ref.Group), Kind: string(ref.Kind), Namespace: o.Key.Namespace, Name: string(ref.Name)}
			idle = idle && !p.maySpeakHTTPS(at, ref.SectionName)
		}
		if idle {
			p.report(o, "spec.client.http3", "has no effect: HTTP/3 is for HTTPS listeners, and there is none at what the policy targets; add one, or leave it out")
		}
	}
}

// maySpeakHTTPS reports whether a Gateway or ListenerSet, or the named listener of it, is for
// HTTPS; of what is not there, and of what a ListenerSet may add, it is not known.
func (p *pass) maySpeakHTTPS(at resource.Key, section *gatewayv1.SectionName) bool {
	secure := func(name gatewayv1.SectionName, protocol gatewayv1.ProtocolType) bool {
		return protocol == gatewayv1.HTTPSProtocolType && (section == nil || *section == name)
	}
	o := p.set.Get(at)
	if o == nil {
		return true
	}
	switch v := o.Value.(type) {
	case *gatewayv1.Gateway:
		return section == nil && p.hasListenerSet(at) ||
			slices.ContainsFunc(v.Spec.Listeners, func(l gatewayv1.Listener) bool { return secure(l.Name, l.Protocol) })
	case *gatewayv1.ListenerSet:
		return slices.ContainsFunc(v.Spec.Listeners, func(l gatewayv1.ListenerEntry) bool { return secure(l.Name, l.Protocol) })
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
