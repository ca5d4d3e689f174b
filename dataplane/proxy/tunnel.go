package proxy

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// upgrading reports whether the client asks to switch protocols in a way that is passed on:
// without a body, and not to HTTP/2, which this connection's engine would not see into.
func (x *exchange) upgrading() bool {
	return x.req.Upgrade != nil && x.req.Body == http1.BodyNone && x.req.Minor > 0 &&
		!isH2C(x.req.Upgrade)
}

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
	u := &x.up
	x.result.status, x.result.sent, x.result.tunnel = 101, true, true
	if x.route.session != nil {
		x.route.session.Claim(&u.resp.Head)
	}
	head := http1.AppendStatusLine(x.out[:0], 101)
	for i := range u.resp.Fields {
		if f := &u.resp.Fields[i]; !f.Hop && !f.Dropped {
			head = u.resp.AppendRaw(head, i)
		}
	}
	head = x.appendExplanation(x.appendSession(head))
	head = append(head, "Connection: upgrade\r\n"...)
	head = http1.AppendField(head, "Upgrade", u.resp.Upgrade)
	head = append(head, "\r\n"...)
	x.out = head
	u.buf.Consume(u.head)
	x.keepHead()
	x.in.Consume(x.head)
	if x.writeClient(head) == nil {
		x.tunnel()
	}
	x.idleSince = transport.Now()
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
	var last atomic.Int64 // when bytes last passed, either way
	last.Store(int64(transport.Now()))
	idle := x.route.timeouts.Idle
	done := make(chan int64, 1)
	go func() {
		var in int64
		defer func() {
			if fault := recover(); fault != nil {
				x.p.report(fault)
				_ = x.c.Close() // this ends the other way too
				_ = x.up.conn.Close()
			}
			done <- in
		}()
		in = carryOneWay(x.c.Conn, x.up.conn, x.in, &last, idle)
	}()
	out := carryOneWay(x.up.conn, x.c.Conn, &x.up.buf, &last, idle)
	in := <-done
	x.c.BytesIn += in
	x.c.BytesOut += out
	x.result.in += in
	x.result.out += out
}

// errTunnel: one side of a tunnel is broken.
var errTunnel = errors.New("tunnel broken")

// carryOneWay copies until from ends, which it passes on as the end of to's writing side, or
// until either breaks or no byte has passed on either way for the idle time, when it closes
// both. It returns the number of bytes copied.
func carryOneWay(from, to *transport.Conn, b *transport.Buffer, last *atomic.Int64, idle time.Duration) int64 {
	var total int64
	// The end of to's reading side has been dealt with or will be; that it is broken or has
	// been closed would not be noticed while from is silent.
	broken := func() error {
		if to.Peer() == transport.PeerReset {
			return errTunnel
		}
		return nil
	}
	for {
		if n := b.Len(); n > 0 {
			if to.Write(b.Bytes(), transport.Wait{Gap: idle}) != nil {
				break
			}
			total += int64(n)
			b.Consume(n)
		}
		b.ReleaseIfEmpty()
		_, err := from.ReadInto(b, transport.Wait{By: transport.Instant(last.Load()).Add(idle), Watch: broken})
		if err == nil {
			last.Store(int64(transport.Now()))
			continue
		}
		if errors.Is(err, io.EOF) {
			_ = to.CloseWrite() // if it fails, to's own reader notices
			return total
		}
		if errors.Is(err, transport.ErrTimeout) && transport.Now() < transport.Instant(last.Load()).Add(idle) {
			continue // the other way was not idle
		}
		break
	}
	_ = from.Close() // both sides end: this wakes the other way
	_ = to.Close()
	return total
}
