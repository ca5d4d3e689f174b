package proxy

import (
	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/listener"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// tookHTTP2 serves the connection if it speaks HTTP/2, and reports whether that is done with,
// or until when it rests.
func (p *Proxy) tookHTTP2(d *door, c *listener.Conn, in *transport.Buffer) (took bool, until transport.Instant) {
	if p.speaksHTTP2(d, c, in) {
		return true, p.serveHTTP2(d, c, in)
	}
	return c.Secured != nil && c.Secured.Protocol == "h2", 0 // agreed on, and then not spoken
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
func (p *Proxy) serveHTTP2(d *door, c *listener.Conn, in *transport.Buffer) (until transport.Instant) {
	client := d.view.Load().client
	return p.serveSession(c, p.http2.Begin(c.Conn, in, &http2.Config{
		Handle: func(s *http2.Stream) {
			x := p.exchanges.Get().(*exchange)
			x.stream, x.major = c.Stream(s.Conn), 2
			x.p, x.c, x.door, x.in = p, &x.stream, d, &s.In
			x.serveWaiting()
		},
		Draining:  func() bool { return p.draining.Load() || c.Socket.Draining() },
		Stop:      c.Socket.StopIdle(),
		Malformed: func(string) { d.view.Load().countMalformed(c.Shard) },
		Panicked:  p.report,
		MaxHead:   client.MaxHead, HeadTimeout: client.HeadTimeout, BodyTimeout: client.BodyTimeout,
		KeepAlive: client.KeepAlive, Limits: streamLimits(client), Room: p.room, Patience: p.cfg.Pressure.Patience(),
	}), in)
}

// serveSession serves a connection until it ends, 0, or rests.
func (p *Proxy) serveSession(c *listener.Conn, s *http2.Session, in *transport.Buffer) (until transport.Instant) {
	rest := p.cfg.ParkAfter
	if !c.MayPark() {
		rest = 0
	}
	read, written, until := s.Serve(in, rest)
	c.BytesIn += read
	c.BytesOut += written
	if until != 0 {
		c.Kept = s
	}
	return until
}

// countMalformed counts a request that broke the rules of HTTP/2 or HTTP/3 and so never became one.
func (v *view) countMalformed(shard int) {
	v.unmatched.Begin(shard)
	v.unmatched.End(shard, &telemetry.Outcome{Flag: model.FlagDPE})
}
