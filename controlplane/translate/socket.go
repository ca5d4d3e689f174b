package translate

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"weir.dev/weir/model"
)

// socketView is a socket and the listeners that are served on it.
type socketView struct {
	// socket is complete but for Streams, which are known when routes are.
	socket    *model.Listener
	listeners []*listenerView
}

// place is what there can be one socket for.
type place struct {
	transport model.Transport
	address   netip.AddrPort
}

// name is the socket's: its address, for UDP with /udp behind it.
func (p place) name() string {
	if p.transport == model.TransportUDP {
		return p.address.String() + "/udp"
	}
	return p.address.String()
}

// openSockets puts the served listeners on sockets, one for each transport, address and port,
// and keeps those that have not changed.
func (t *translator) openSockets(old []*socketView) {
	places := map[place][]*listenerView{}
	for l := range t.gateways.listeners() {
		if !l.served() {
			t.gateways.unserved = append(t.gateways.unserved, model.Unserved{
				Name: l.name, Port: uint16(l.spec.Port), Transport: l.transport(), Hostname: l.hostname, Why: cmp.Or(l.message, l.unservedText()),
			})
			continue
		}
		if !l.streams() {
			t.gateways.tables = append(t.gateways.tables, l.name)
		}
		for _, a := range l.gateway.addresses {
			at := place{l.transport(), netip.AddrPortFrom(a, uint16(l.spec.Port))}
			places[at] = append(places[at], l)
		}
	}
	slices.Sort(t.gateways.tables)
	slices.SortFunc(t.gateways.unserved, func(a, b model.Unserved) int { return strings.Compare(a.Name, b.Name) })
	kept := make(map[model.Hash]*model.Listener, len(old))
	for _, v := range old {
		kept[v.socket.Hash] = v.socket
	}
	for at, listeners := range places {
		socket := newSocket(at, listeners)
		if socket.Client.HTTP3 {
			leaveDatagrams(socket, listeners, takesDatagrams(places, at))
		}
		socket.Hash = model.HashOf(socket)
		if same := kept[socket.Hash]; same != nil {
			socket = same
		}
		t.gateways.sockets = append(t.gateways.sockets, &socketView{socket, listeners})
	}
	slices.SortFunc(t.gateways.sockets, func(a, b *socketView) int { return strings.Compare(a.socket.Name, b.socket.Name) })
}

// newSocket puts a socket together. What its listeners are given that it does not have is left
// out.
func newSocket(at place, listeners []*listenerView) *model.Listener {
	socket := &model.Listener{Name: at.name(), Address: at.address, Transport: at.transport}
	shared := sharedClient(listeners)
	fillClient(&socket.Client, shared)
	socket.TLS = secureSocket(listeners, shared)
	for _, l := range listeners {
		l.reportClient(socket)
		if !l.streams() {
			socket.Tables = append(socket.Tables, model.TableBinding{Hostname: l.hostname, Table: l.name})
		}
	}
	slices.SortFunc(socket.Tables, func(a, b model.TableBinding) int { return compareHostnames(a.Hostname, b.Hostname) })
	if socket.TLS == nil || len(socket.Tables) == 0 {
		withoutHTTP3(socket)
	}
	if at.transport == model.TransportUDP { // which has no connections to begin
		socket.Client.ProxyProtocol = false
		delete(socket.Client.Origins, "client.proxyProtocol")
	}
	return socket
}

// leaveDatagrams takes HTTP/3 from a socket whose datagrams are for a listener of UDP.
func leaveDatagrams(socket *model.Listener, listeners []*listenerView, other string) {
	if other == "" {
		return
	}
	withoutHTTP3(socket)
	for _, l := range listeners {
		l.in.warn(RuleClientSettings, l.field("port"), "port %d has no HTTP/3: its datagrams are for listener %s", l.spec.Port, other)
	}
}

func withoutHTTP3(socket *model.Listener) {
	socket.Client.HTTP3 = false
	delete(socket.Client.Origins, "client.http3")
}

// takesDatagrams names a listener of UDP that has the port of a place of TCP there; empty:
// none has.
func takesDatagrams(places map[place][]*listenerView, at place) string {
	name := ""
	for p, listeners := range places {
		if p.transport == at.transport || p.address.Port() != at.address.Port() {
			continue
		}
		a, b := p.address.Addr(), at.address.Addr()
		if a == b || a.IsUnspecified() && overlaps(a, b) || b.IsUnspecified() && overlaps(b, a) {
			if l := listeners[0]; name == "" || l.name < name {
				name = l.name
			}
		}
	}
	return name
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
	c.Streams = s.streams.fill(o)
	c.HTTP3 = effective(s.http3, defaultHTTP3, "client.http3", o)
	c.ProxyProtocol = effective(s.proxyProtocol, defaultProxyProtocol, "client.proxyProtocol", o)
	c.FlagHeaders = effective(s.flagHeaders, defaultFlagHeaders, "client.flagHeaders", o)
	c.TrustHops = effective(s.trustHops, defaultTrustHops, "client.trust.hops", o)
	c.TrustAddresses = effective(s.trustAddresses, nil, "client.trust.addresses", o)
	c.TrustIdentities = effective(s.trustIdentities, nil, "client.trust.identities", o)
}
