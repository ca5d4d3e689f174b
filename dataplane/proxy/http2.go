package proxy

import (
	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/listener"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// tookHTTP2 serves the connection if it speaks HTTP/2, and reports whether that is done with.
func (p *Proxy) tookHTTP2(d *door, c *listener.Conn, in *transport.Buffer) bool {
	if p.speaksHTTP2(d, c, in) {
		p.serveHTTP2(d, c, in)
		return true
	}
	return c.Secured != nil && c.Secured.Protocol == "h2" // agreed on, and then not spoken
}

// speaksHTTP2 reports whether a connection's first bytes, which have begun to come, are
// HTTP/2's: because a handshake has agreed on it, or because the client knows beforehand
// (RFC 9113 section 3.3). It reads on while they could be.
func (p *Proxy) speaksHTTP2(d *door, c *listener.Conn, in *transport.Buffer) bool {
	by := transport.Now().Add(d.view.Load().client.HeadTimeout)
	for {
		b := in.Bytes()
		if n := min(len(b), len(http2.Preface)); string(b[:n]) != http2.Preface[:n] {
			return false
		}
		if len(b) >= len(http2.Preface) {
			return true
		}
		n, err := c.ReadInto(in, transport.Wait{By: by})
		c.BytesIn += int64(n)
		if err != nil {
			return false // whoever reads next gets the same
		}
	}
}

// serveHTTP2 serves a connection whose preface is in in: each of its streams is a connection
// of its own to the engine.
func (p *Proxy) serveHTTP2(d *door, c *listener.Conn, in *transport.Buffer) {
	client := d.view.Load().client
	read, written := p.http2.Serve(c.Conn, in, &http2.Config{
		Handle: func(s *http2.Stream) {
			x := p.exchanges.Get().(*exchange)
			x.stream, x.http2 = c.Stream(s.Conn), true
			x.p, x.c, x.door, x.in = p, &x.stream, d, &s.In
			x.serveWaiting()
		},
		Draining:  func() bool { return p.draining.Load() || c.Socket.Draining() },
		Stop:      c.Socket.StopIdle(),
		Malformed: func(string) { d.view.Load().countMalformed(c.Shard) },
		Panicked:  p.report,
		MaxHead:   client.MaxHead, HeadTimeout: client.HeadTimeout, BodyTimeout: client.BodyTimeout,
		KeepAlive: client.KeepAlive,
	})
	c.BytesIn += read
	c.BytesOut += written
}

// countMalformed counts a request that broke HTTP/2's rules and so never became one.
func (v *view) countMalformed(shard int) {
	v.unmatched.Begin(shard)
	v.unmatched.End(shard, &telemetry.Outcome{Flag: model.FlagDPE})
}
