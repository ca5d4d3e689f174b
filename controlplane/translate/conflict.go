package translate

import (
	"fmt"
	"net/netip"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// settleConflicts finds listeners that cannot be told apart. Within one object all of them
// lose, as Gateway API demands. Between a gateway and its ListenerSets the gateway wins, and
// the older of two sets; between gateways the older one keeps what it has, so that nobody
// takes another team's address away, and no ListenerSet what a gateway has.
func (t *translator) settleConflicts() {
	taken := claims{}
	for _, g := range t.gateways.ordered {
		settleWithin(g.listeners)
		for _, l := range g.listeners {
			taken.take(l)
		}
	}
	merged := map[*gatewayView]mergedListeners{}
	for _, v := range t.gateways.orderedSets {
		if holds, _, message := v.gateway.acceptance(); !holds && v.attached() {
			v.refuse(gatewayv1.ListenerSetReasonParentNotAccepted, fmt.Sprintf("%v is not accepted: %s", v.gateway.key, message))
		}
		if !v.attached() {
			continue
		}
		if merged[v.gateway] == nil {
			merged[v.gateway] = mergeListeners(v.gateway.listeners)
		}
		settleWithin(v.listeners)
		for _, l := range v.listeners {
			merged[v.gateway].take(l)
			taken.take(l)
		}
	}
}

// settleWithin refuses the listeners of one object that cannot be told apart.
func settleWithin(listeners []*listenerView) {
	for i, a := range listeners {
		for _, b := range listeners[i+1:] {
			if a.spec.Port != b.spec.Port {
				continue
			}
			if reason, message := conflictOf(a, b); reason != "" {
				a.lose(reason, fmt.Sprintf("listener %s %s", b.spec.Name, message))
				b.lose(reason, fmt.Sprintf("listener %s %s", a.spec.Name, message))
			}
		}
	}
}

// lose refuses a listener for its conflict with another of the same object.
func (l *listenerView) lose(reason gatewayv1.ListenerConditionReason, message string) {
	l.refuse(reason, message)
	l.conflict, l.conflictMessage = reason, message
	l.in.error(RuleListenerConflict, l.field("name"), "%s; neither is served", message)
}

// conflictOf says why two listeners of one object on one port cannot be told apart.
func conflictOf(a, b *listenerView) (gatewayv1.ListenerConditionReason, string) {
	// TCP and UDP are not served at all, and so stand in nobody's way.
	overHTTP := func(l *listenerView) bool { return l.family() == familyPlain || l.family() == familySecure }
	switch {
	case !overHTTP(a) || !overHTTP(b):
		return "", ""
	case a.family() != b.family():
		return gatewayv1.ListenerReasonProtocolConflict, "has the same port with another protocol"
	case a.spec.Protocol == b.spec.Protocol && a.hostname == b.hostname:
		return gatewayv1.ListenerReasonHostnameConflict, "has the same port and hostname"
	}
	return "", ""
}

// family is what protocols that can share a port have in common.
type family int

const (
	familyPlain  family = iota // HTTP
	familySecure               // HTTPS, TLS and what else there may be
	familyTCP
	familyUDP
)

func (l *listenerView) family() family {
	switch l.spec.Protocol {
	case gatewayv1.HTTPProtocolType:
		return familyPlain
	case gatewayv1.TCPProtocolType:
		return familyTCP
	case gatewayv1.UDPProtocolType:
		return familyUDP
	}
	return familySecure
}

// rivals are the families that a listener cannot share a port with when they come first. TCP
// is not served, and so stands in nobody's way; it gives way to what is.
var rivals = map[family][]family{
	familyPlain:  {familySecure},
	familySecure: {familyPlain},
	familyTCP:    {familyPlain, familySecure},
}

// mergedListeners are what a gateway and its sets have on each port so far.
type mergedListeners map[gatewayv1.PortNumber]*mergedPort

type mergedPort struct {
	first map[family]*listenerView
	same  map[mergedName]*listenerView
}

type mergedName struct {
	protocol gatewayv1.ProtocolType
	hostname string
}

// mergeListeners starts with a gateway's own listeners. Those that lost against each other
// keep sets out, too: what a gateway asks for is never its sets' to take.
func mergeListeners(listeners []*listenerView) mergedListeners {
	m := mergedListeners{}
	for _, l := range listeners {
		m.add(l)
	}
	return m
}

func (m mergedListeners) add(l *listenerView) {
	p := m[l.spec.Port]
	if p == nil {
		p = &mergedPort{first: map[family]*listenerView{}, same: map[mergedName]*listenerView{}}
		m[l.spec.Port] = p
	}
	if p.first[l.family()] == nil {
		p.first[l.family()] = l
	}
	if name := (mergedName{l.spec.Protocol, l.hostname}); p.same[name] == nil {
		p.same[name] = l
	}
}

// take adds a set's listener, unless that cannot be told apart from what is there.
func (m mergedListeners) take(l *listenerView) {
	if l.conflict != "" {
		return
	}
	reason, message := m.conflict(l)
	if reason == "" {
		m.add(l)
		return
	}
	// That it conflicts says more than that its protocol is not supported.
	l.refused, l.message = reason, message
	l.conflict, l.conflictMessage = reason, message
	l.in.error(RuleListenerConflict, l.field("name"), "%s", message)
}

func (m mergedListeners) conflict(l *listenerView) (gatewayv1.ListenerConditionReason, string) {
	p := m[l.spec.Port]
	if p == nil {
		return "", ""
	}
	for _, f := range rivals[l.family()] {
		if other := p.first[f]; other != nil {
			return gatewayv1.ListenerReasonProtocolConflict, fmt.Sprintf("port %d is taken for another protocol by %s", l.spec.Port, other.title())
		}
	}
	other := p.same[mergedName{l.spec.Protocol, l.hostname}]
	switch {
	case other == nil:
		return "", ""
	case l.family() == familyTCP || l.family() == familyUDP:
		return gatewayv1.ListenerConditionReason(gatewayv1.ListenerEntryReasonListenerConflict), fmt.Sprintf("port %d is taken by %s", l.spec.Port, other.title())
	}
	return gatewayv1.ListenerReasonHostnameConflict, fmt.Sprintf("%s is taken by %s", l.place(), other.title())
}

// place words where a listener is that is served over HTTP.
func (l *listenerView) place() string {
	if l.hostname == "" {
		return fmt.Sprintf("port %d without a hostname", l.spec.Port)
	}
	return fmt.Sprintf("port %d with hostname %s", l.spec.Port, l.hostname)
}

// title names a listener that comes first.
func (l *listenerView) title() string {
	return fmt.Sprintf("listener %s of %v, which takes precedence", l.spec.Name, l.owner())
}

// claims are what served listeners have taken on each port.
type claims map[uint16]*portClaims

type portClaims struct {
	addresses []addressClaim // each address once
	hosts     map[hostClaim]*listenerView
}

type addressClaim struct {
	address netip.Addr
	first   *listenerView
}

type hostClaim struct {
	address  netip.Addr
	hostname string
}

// take gives a listener its port and hostname on all addresses of its gateway, or refuses it.
func (c claims) take(l *listenerView) {
	if !l.served() {
		return
	}
	port := uint16(l.spec.Port)
	p := c[port]
	if p == nil {
		p = &portClaims{hosts: map[hostClaim]*listenerView{}}
		c[port] = p
	}
	for _, a := range l.gateway.addresses {
		if other := p.rival(a, l.family()); other != nil {
			l.loseAcross(gatewayv1.ListenerReasonProtocolConflict, fmt.Sprintf("port %d is already served with another protocol by %s, which is older or comes first by name", port, other.name))
			return
		}
		if b, other := p.overlap(a); other != nil {
			l.loseAcross("", fmt.Sprintf("port %d cannot be bound to %v beside %v, where %s is; choose addresses that do not overlap, or another port", port, a, b, other.name))
			return
		}
		if other := p.hosts[hostClaim{a, l.hostname}]; other != nil {
			l.loseAcross(gatewayv1.ListenerReasonHostnameConflict, fmt.Sprintf("%s is already served by %s, which is older or comes first by name", l.place(), other.name))
			return
		}
	}
	for _, a := range l.gateway.addresses {
		if !slices.ContainsFunc(p.addresses, func(c addressClaim) bool { return c.address == a }) {
			p.addresses = append(p.addresses, addressClaim{a, l})
		}
		p.hosts[hostClaim{a, l.hostname}] = l
	}
}

// rival finds a listener that has an address for another protocol.
func (p *portClaims) rival(a netip.Addr, f family) *listenerView {
	for _, c := range p.addresses {
		if c.address == a && c.first.family() != f {
			return c.first
		}
	}
	return nil
}

// overlap finds an address that is taken and that cannot be bound beside a: one of them is
// unspecified and takes the port of the other. The kernel would allow it to sockets with
// SO_REUSEPORT only, and then to those of the user's other programs, too.
func (p *portClaims) overlap(a netip.Addr) (netip.Addr, *listenerView) {
	for _, c := range p.addresses {
		if b := c.address; a != b && (a.IsUnspecified() && overlaps(a, b) || b.IsUnspecified() && overlaps(b, a)) {
			return b, c.first
		}
	}
	return netip.Addr{}, nil
}

// overlaps reports whether an unspecified address takes a's port: [::] takes both families.
func overlaps(unspecified, a netip.Addr) bool { return unspecified.Is6() || a.Is4() }

// loseAcross refuses a listener for what one of another gateway has.
func (l *listenerView) loseAcross(reason gatewayv1.ListenerConditionReason, message string) {
	l.refuse(gatewayv1.ListenerReasonPortUnavailable, message)
	l.conflict, l.conflictMessage = reason, message
	l.in.error(RuleListenerConflict, l.field("port"), "%s", message)
}
