package translate

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"weir.dev/weir/model"
)

// openSockets puts the served listeners on sockets, one for each address and port, and
// keeps those that have not changed.
func (t *translator) openSockets(old []*model.Listener) {
	sockets := map[netip.AddrPort][]*listenerView{}
	for l := range t.gateways.listeners() {
		if !l.served() {
			continue
		}
		t.gateways.tables = append(t.gateways.tables, l.name)
		for _, a := range l.gateway.addresses {
			at := netip.AddrPortFrom(a, uint16(l.spec.Port))
			sockets[at] = append(sockets[at], l)
		}
	}
	slices.Sort(t.gateways.tables)
	kept := make(map[model.Hash]*model.Listener, len(old))
	for _, l := range old {
		kept[l.Hash] = l
	}
	for at, listeners := range sockets {
		socket := &model.Listener{Name: at.String(), Address: at}
		shared := sharedClient(listeners)
		fillClient(&socket.Client, shared)
		socket.TLS = secureSocket(listeners, shared)
		for _, l := range listeners {
			l.reportClient(socket)
			socket.Tables = append(socket.Tables, model.TableBinding{Hostname: l.hostname, Table: l.name})
		}
		slices.SortFunc(socket.Tables, func(a, b model.TableBinding) int { return compareHostnames(a.Hostname, b.Hostname) })
		socket.Hash = model.HashOf(socket)
		if same := kept[socket.Hash]; same != nil {
			socket = same
		}
		t.gateways.sockets = append(t.gateways.sockets, socket)
	}
	slices.SortFunc(t.gateways.sockets, func(a, b *model.Listener) int { return strings.Compare(a.Name, b.Name) })
}

// sharedClient is how a socket treats its clients: as its oldest gateway says, so that no
// other team's changes it, and of that one's listeners the first that says anything; where
// no gateway itself has the port, as the oldest ListenerSet says. A connection is there
// before its host name is known, so there can be only one.
func sharedClient(listeners []*listenerView) clientSide {
	var client clientSide
	for _, l := range listeners {
		if l.owner() == listeners[0].owner() {
			client = client.under(l.client)
		}
	}
	return client
}

// reportClient warns when a listener's own client settings are not those of its socket.
func (l *listenerView) reportClient(socket *model.Listener) {
	var own model.Client
	fillClient(&own, l.client)
	shared := socket.Client
	own.Origins, shared.Origins = nil, nil
	if model.HashOf(own) != model.HashOf(shared) || socket.TLS != nil && !sameTLS(l.client, socket.TLS) {
		l.in.warn(RuleClientSettings, l.field("port"),
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
