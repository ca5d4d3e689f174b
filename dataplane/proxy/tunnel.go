package proxy

import (
	"bytes"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/stream"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// upgrading reports whether the client asks to switch protocols in a way that is passed on:
// without a body, and not to HTTP/2, which this connection's engine would not see into.
func (x *exchange) upgrading() bool {
	return x.req.Upgrade != nil && x.req.Body == http1.BodyNone && x.req.Minor > 0 &&
		!isH2C(x.req.Upgrade)
}

// isWebSocket reports whether an Upgrade names WebSocket alone.
func isWebSocket(upgrade []byte) bool { return bytes.EqualFold(upgrade, []byte("websocket")) }

// isH2C reports whether HTTP/2 is among the protocols that an Upgrade names.
func isH2C(upgrade []byte) bool {
	for name := range bytes.SplitSeq(upgrade, []byte(",")) {
		name = bytes.TrimSpace(name)
		if len(name) >= 2 && bytes.EqualFold(name[:2], []byte("h2")) {
			return true
		}
	}
	return false
}

// switchProtocols passes 101 on and carries bytes both ways until both sides have ended,
// or none has sent any for the route's idle time.
func (x *exchange) switchProtocols() {
	u := x.up
	x.result.status, x.result.sent, x.result.tunnel = 101, true, true
	if x.major > 0 { // where it is a stream that the client is told of by 200 (RFC 8441, RFC 9220)
		x.result.status = 200
	}
	if x.route.session != nil {
		x.route.session.Claim(&u.resp.Head)
	}
	head := http1.AppendStatusLine(x.out[:0], 101)
	for i := range u.resp.Fields {
		if f := &u.resp.Fields[i]; !f.Hop && !f.Dropped {
			head = u.resp.AppendRaw(head, i)
		}
	}
	head = x.appendExplanation(x.appendUserID(x.appendSession(head)))
	head = append(head, "Connection: upgrade\r\n"...)
	head = http1.AppendField(head, "Upgrade", u.resp.Upgrade)
	head = append(head, "\r\n"...)
	x.out = head
	u.buf.Consume(u.head)
	x.keepHead()
	x.in.Consume(x.head)
	now := transport.Now()
	u.host.Reached(now, x.c.Shard, now.Sub(x.timings.attempt))
	x.pass.Judge(now, false)
	if x.drawn.Made() {
		if x.drawn.Heard() {
			x.drawn.HeadCame()
		}
		x.drawn.End(x.verdictOf(x.result.flag))
	}
	x.leave() // what is carried from here on is no work for the limit: connections are bounded elsewhere
	if x.writeNow(head) == nil {
		x.tunnel()
	}
	x.idleSince = transport.Now()
	x.pass.Excuse()
	u.host.Cancel() // how long a tunnel lived says nothing about the host
	x.countTry(model.FlagNone, 101, x.idleSince.Sub(x.timings.attempt))
	u.discard()
}

// keepHead copies what the access log will want of the head: a tunnel reuses the buffer.
func (x *exchange) keepHead() {
	if !x.logging() {
		return
	}
	head := bytes.Clone(x.in.Bytes()[:x.head])
	x.id.ID = bytes.Clone(x.id.ID)
	x.req.Reset()
	_, _ = x.req.Parse(head, &x.view.limits) // as it did before
}

// tunnel carries bytes until both sides are done.
func (x *exchange) tunnel() {
	t := stream.Tunnel{
		Client: x.c.Conn, Host: x.up.conn, Idle: x.timeouts.Idle,
		CutOff: func() bool { return x.p.ctx.Err() != nil }, Report: x.p.report,
	}
	x.c.MarkCarried()
	t.Carry(x.in, &x.up.buf)
	in, out := t.Moved()
	x.c.BytesIn += in
	x.c.BytesOut += out
	x.result.in += in
	x.result.out += out
}
