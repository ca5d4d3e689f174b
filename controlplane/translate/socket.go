package translate

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/model"
)

// settleConflicts finds listeners that cannot be told apart. Within a gateway all of them
// lose, as Gateway API demands; between gateways the older one keeps what it has, so that
// nobody takes another team's address away.
func (t *translator) settleConflicts() {
	for _, g := range t.gateways.ordered {
		for i, a := range g.listeners {
			for _, b := range g.listeners[i+1:] {
				if a.spec.Port != b.spec.Port {
					continue
				}
				reason, message := conflictOf(a, b)
				if reason == "" {
					continue
				}
				g.conflict(a, reason, fmt.Sprintf("%s listener %s", message, b.spec.Name))
				g.conflict(b, reason, fmt.Sprintf("%s listener %s", message, a.spec.Name))
			}
		}
	}
	type place struct {
		address  netip.AddrPort
		hostname string
	}
	taken := map[place]*listenerView{}
	ports := map[uint16][]*listenerView{}
	for _, g := range t.gateways.ordered {
		for _, l := range g.listeners {
			if !l.served() {
				continue
			}
			port := uint16(l.spec.Port)
			if other := overlapping(ports[port], l); other != nil {
				g.conflictAcross(l, fmt.Sprintf("port %d is in use on other addresses by %s, which overlap with this gateway's", port, other.name), "")
				continue
			}
			for _, a := range g.addresses {
				if other := taken[place{netip.AddrPortFrom(a, port), l.hostname}]; other != nil {
					g.conflictAcross(l, fmt.Sprintf("port %d and the hostname are already served by %s, which is older or comes first by name", port, other.name), gatewayv1.ListenerReasonHostnameConflict)
				}
			}
			if !l.served() {
				continue
			}
			ports[port] = append(ports[port], l)
			for _, a := range g.addresses {
				taken[place{netip.AddrPortFrom(a, port), l.hostname}] = l
			}
		}
	}
}

// conflictOf says why two listeners of a gateway on one port cannot be told apart.
func conflictOf(a, b *listenerView) (gatewayv1.ListenerConditionReason, string) {
	// TCP and UDP are not served at all, and so stand in nobody's way.
	overHTTP := func(l *listenerView) bool {
		return l.spec.Protocol != gatewayv1.TCPProtocolType && l.spec.Protocol != gatewayv1.UDPProtocolType
	}
	plain := func(l *listenerView) bool { return l.spec.Protocol == gatewayv1.HTTPProtocolType }
	switch {
	case !overHTTP(a) || !overHTTP(b):
		return "", ""
	case plain(a) != plain(b):
		return gatewayv1.ListenerReasonProtocolConflict, "the same port with another protocol has"
	case a.spec.Protocol == b.spec.Protocol && a.hostname == b.hostname:
		return gatewayv1.ListenerReasonHostnameConflict, "the same port and hostname has"
	}
	return "", ""
}

// overlapping finds a listener whose sockets take the port of l's: an unspecified address
// beside a specific one.
func overlapping(others []*listenerView, l *listenerView) *listenerView {
	for _, other := range others {
		for _, a := range l.gateway.addresses {
			for _, b := range other.gateway.addresses {
				if a != b && (a.IsUnspecified() && overlaps(a, b) || b.IsUnspecified() && overlaps(b, a)) {
					return other
				}
			}
		}
	}
	return nil
}

// overlaps reports whether an unspecified address takes a's port: [::] takes both families.
func overlaps(unspecified, a netip.Addr) bool { return unspecified.Is6() || a.Is4() }

func (v *gatewayView) conflict(l *listenerView, reason gatewayv1.ListenerConditionReason, message string) {
	l.refuse(reason, message)
	l.conflict = reason
	v.error(RuleListenerConflict, l.field("name"), "%s; neither is served", message)
}

func (v *gatewayView) conflictAcross(l *listenerView, message string, reason gatewayv1.ListenerConditionReason) {
	if l.refused != "" {
		return
	}
	l.refuse(gatewayv1.ListenerReasonPortUnavailable, message)
	l.conflict = reason
	v.error(RuleListenerConflict, l.field("port"), "%s", message)
}

// openSockets puts the served listeners on sockets, one for each address and port, and
// keeps those that have not changed.
func (t *translator) openSockets(old []*model.Listener) {
	sockets := map[netip.AddrPort][]*listenerView{}
	for _, g := range t.gateways.ordered {
		for _, l := range g.listeners {
			if !l.served() {
				continue
			}
			t.gateways.tables = append(t.gateways.tables, l.name)
			for _, a := range g.addresses {
				at := netip.AddrPortFrom(a, uint16(l.spec.Port))
				sockets[at] = append(sockets[at], l)
			}
		}
	}
	slices.Sort(t.gateways.tables)
	for at, listeners := range sockets {
		socket := &model.Listener{Name: at.String(), Address: at}
		fillClient(&socket.Client, sharedClient(listeners))
		for _, l := range listeners {
			l.reportClient(socket.Client)
			socket.Tables = append(socket.Tables, model.TableBinding{Hostname: l.hostname, Table: l.name})
		}
		slices.SortFunc(socket.Tables, func(a, b model.TableBinding) int { return compareHostnames(a.Hostname, b.Hostname) })
		socket.Hash = model.HashOf(socket)
		if i := slices.IndexFunc(old, func(l *model.Listener) bool { return l.Hash == socket.Hash }); i >= 0 {
			socket = old[i]
		}
		t.gateways.sockets = append(t.gateways.sockets, socket)
	}
	slices.SortFunc(t.gateways.sockets, func(a, b *model.Listener) int { return strings.Compare(a.Name, b.Name) })
}

// sharedClient is how a socket treats its clients: as its oldest gateway says, so that no
// other team's changes it, and of that one's listeners the first that says anything. A
// connection is there before its host name is known, so there can be only one.
func sharedClient(listeners []*listenerView) clientSide {
	var client clientSide
	for _, l := range listeners {
		if l.gateway == listeners[0].gateway {
			client = client.under(l.client)
		}
	}
	return client
}

// reportClient warns when a listener's own client settings are not those of its socket.
func (l *listenerView) reportClient(socket model.Client) {
	var own model.Client
	fillClient(&own, l.client)
	own.Origins, socket.Origins = nil, nil
	if model.HashOf(own) != model.HashOf(socket) {
		l.gateway.warn(RuleClientSettings, l.field("port"),
			"port %d is shared with other listeners, whose client settings hold for this one, too", l.spec.Port)
	}
}

// compareHostnames orders hostnames from the most specific to the least: exact ones,
// wildcards with the most labels, and none.
func compareHostnames(a, b string) int {
	rank := func(h string) int {
		switch {
		case h == "":
			return 0
		case strings.HasPrefix(h, "*."):
			return strings.Count(h, ".")
		}
		return 1 << 16
	}
	return cmp.Or(cmp.Compare(rank(b), rank(a)), strings.Compare(a, b))
}

// fillClient gives a socket its settings and their origins.
func fillClient(c *model.Client, s clientSide) {
	o := &c.Origins
	c.HeadTimeout = effective(s.headTimeout, defaultHeadTimeout, "client.headTimeout", o)
	c.BodyTimeout = effective(s.bodyTimeout, defaultBodyTimeout, "client.bodyTimeout", o)
	c.KeepAlive = effective(s.keepAlive, defaultClientKeepAlive, "client.keepAlive", o)
	c.MaxConnections = effective(s.maxConnections, defaultMaxConnections, "client.maxConnections", o)
	c.MaxHead = effective(s.maxHead, defaultMaxHead, "client.maxHead", o)
	c.Underscores = effective(s.underscores, defaultUnderscores, "client.underscoreHeaders", o)
	c.Escapes = effective(s.escapes, defaultEscapes, "client.pathEscapes", o)
	c.FlagHeaders = effective(s.flagHeaders, defaultFlagHeaders, "client.flagHeaders", o)
	c.TrustHops = effective(s.trustHops, defaultTrustHops, "client.trust.hops", o)
	c.TrustAddresses = effective(s.trustAddresses, nil, "client.trust.addresses", o)
}
