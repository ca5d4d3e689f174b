package translate

import (
	"fmt"
	"net/netip"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/model"
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
		left := merged[v.gateway].refuse(v.listeners)
		settleWithin(left)
		for _, l := range left {
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
	switch {
	case a.transport() != b.transport() || a.family() == familyOther || b.family() == familyOther:
		return "", ""
	case a.family() != b.family():
		return gatewayv1.ListenerReasonProtocolConflict, "has the same port with another protocol"
	case !a.named():
		return gatewayv1.ListenerReasonProtocolConflict, "has the same port"
	case a.hostname == b.hostname:
		return gatewayv1.ListenerReasonHostnameConflict, "has the same port and hostname"
	}
	return "", ""
}

// family is what protocols that can share a port have in common.
type family int

const (
	familyPlain  family = iota // HTTP
	familySecure               // HTTPS and TLS
	familyTCP
	familyUDP
	familyOther // is not served, and so stands in nobody's way
)

func (l *listenerView) family() family {
	switch l.spec.Protocol {
	case gatewayv1.HTTPProtocolType:
		return familyPlain
	case gatewayv1.HTTPSProtocolType, gatewayv1.TLSProtocolType:
		return familySecure
	case gatewayv1.TCPProtocolType:
		return familyTCP
	case gatewayv1.UDPProtocolType:
		return familyUDP
	}
	return familyOther
}

// named reports whether hostnames tell listeners of the family apart.
func (l *listenerView) named() bool { return l.family() == familyPlain || l.family() == familySecure }

// transport is what the listener's socket carries: those of UDP and others never meet.
func (l *listenerView) transport() model.Transport {
	if l.family() == familyUDP {
		return model.TransportUDP
	}
	return model.TransportTCP
}

// rivals are the families that a listener cannot share a port with when they come first.
var rivals = map[family][]family{
	familyPlain:  {familySecure, familyTCP},
	familySecure: {familyPlain, familyTCP},
	familyTCP:    {familyPlain, familySecure},
}

// mergedListeners are what a gateway and its sets have on each port so far.
type mergedListeners map[gatewayv1.PortNumber]*mergedPort

type mergedPort struct {
	first map[family]*listenerView
	same  map[mergedName]*listenerView
}

type mergedName struct {
	family   family
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
	if name := (mergedName{l.family(), l.hostname}); p.same[name] == nil {
		p.same[name] = l
	}
}

// refuse refuses a set's listeners that cannot be told apart from what is there, and returns
// the others: what is lost anyway takes none of its own set's with it.
func (m mergedListeners) refuse(listeners []*listenerView) (left []*listenerView) {
	for _, l := range listeners {
		reason, message := m.conflict(l)
		if reason == "" {
			left = append(left, l)
			continue
		}
		// That it conflicts says more than what else is wrong with it.
		l.refused, l.message = reason, message
		l.conflict, l.conflictMessage = reason, message
		l.in.error(RuleListenerConflict, l.field("name"), "%s", message)
	}
	return left
}

// take adds a set's listener, unless it has lost against one of the same set.
func (m mergedListeners) take(l *listenerView) {
	if l.conflict == "" {
		m.add(l)
	}
}

func (m mergedListeners) conflict(l *listenerView) (gatewayv1.ListenerConditionReason, string) {
	p := m[l.spec.Port]
	if p == nil || l.family() == familyOther {
		return "", ""
	}
	for _, f := range rivals[l.family()] {
		if other := p.first[f]; other != nil {
			return gatewayv1.ListenerReasonProtocolConflict, fmt.Sprintf("port %d is taken for another protocol by %s", l.spec.Port, other.title())
		}
	}
	other := p.same[mergedName{l.family(), l.hostname}]
	switch {
	case other == nil:
		return "", ""
	case !l.named():
		return gatewayv1.ListenerConditionReason(gatewayv1.ListenerEntryReasonListenerConflict), fmt.Sprintf("port %d is taken by %s", l.spec.Port, other.title())
	}
	return gatewayv1.ListenerReasonHostnameConflict, fmt.Sprintf("%s is taken by %s", l.place(), other.title())
}

// place words where a listener is.
func (l *listenerView) place() string {
	if !l.named() {
		return fmt.Sprintf("port %d", l.spec.Port)
	}
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
type claims map[portClaim]*portClaims

type portClaim struct {
	transport model.Transport
	port      uint16
}

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
	port := portClaim{l.transport(), uint16(l.spec.Port)}
	p := c[port]
	if p == nil {
		p = &portClaims{hosts: map[hostClaim]*listenerView{}}
		c[port] = p
	}
	for _, a := range l.gateway.addresses {
		if other := p.rival(a, l.family()); other != nil {
			l.loseAcross(gatewayv1.ListenerReasonProtocolConflict, fmt.Sprintf("port %d is already served with another protocol by %s, which is older or comes first by name", port.port, other.name))
			return
		}
		if b, other := p.overlap(a); other != nil {
			l.loseAcross("", fmt.Sprintf("port %d cannot be bound to %v beside %v, where %s is; choose addresses that do not overlap, or another port", port.port, a, b, other.name))
			return
		}
		if other := p.hosts[hostClaim{a, l.hostname}]; other != nil {
			reason := gatewayv1.ListenerReasonHostnameConflict
			if !l.named() {
				reason = gatewayv1.ListenerReasonProtocolConflict
			}
			l.loseAcross(reason, fmt.Sprintf("%s is already served by %s, which is older or comes first by name", l.place(), other.name))
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
