package lint

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
