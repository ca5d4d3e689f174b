package proxy

import (
	"errors"
	"io"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// respond sends the answer whose head has been read, and its body as it comes.
func (x *exchange) respond() {
	u := x.up
	if u.resp.Status == 101 {
		x.switchProtocols()
		return
	}
	x.result.status = u.resp.Status
	if u.resp.Status >= 500 {
		x.result.flag = model.FlagU5
	}
	if x.req.GRPC {
		x.gradeHead()
	}
	if x.drawn.Heard() {
		x.drawn.HeadCame()
	}
	if x.shadowing != nil {
		x.shadowing.Witness(&x.up.resp, x.timings.attempt)
	}
	x.body.commit()
	if x.body.pump.unfinished() {
		x.result.close = true // the upstream answered early: what the client still sends is not read
	}
	if u.resp.Body == http1.BodyUntilClose && x.req.Minor == 0 || u.resp.Body == http1.BodyChunked && x.req.Minor == 0 {
		x.result.close = true // its end is the connection's end
	}
	if x.overload.keeping != nil {
		x.beginKeeping()
	}
	if x.arm.compress != nil {
		x.chooseCoding()
	}
	x.out = x.appendAnswer(x.out[:0])
	keep := u.resp.KeepAlive
	u.answered = 0
	if u.resp.Body != http1.BodyNone && (u.resp.Body != http1.BodyLength || int64(u.buf.Len()-u.head) < u.resp.Length) {
		u.answered = transport.Now() // what follows depends on the client's pace as well
		if failed := x.result.flag == model.FlagU5; !failed || !x.excused(u, model.FlagU5) {
			x.pass.Answered(u.answered, failed)
		}
	}
	fail := x.relay()
	now := transport.Now() // before what may have to be waited for
	if keep && x.body.pump != nil && !x.body.pump.ends() {
		keep = false
	}
	if x.overload.keeping != nil {
		x.endKeeping(fail == nil)
	}
	clientErr := x.stopPump()
	x.endAnswer(now, fail, clientErr, keep)
	if x.shadowing != nil {
		x.endWitness(fail == nil)
	}
}

// endAnswer settles what became of the answer, which has ended at a time, the host and its connection.
func (x *exchange) endAnswer(now transport.Instant, fail *failure, clientErr error, keep bool) {
	u := x.up
	if x.req.GRPC && fail == nil {
		x.gradeEnd()
	}
	flag := x.result.flag
	if fail != nil {
		flag = cutFor(fail.flag, fail.err)
		if x.cutOff() {
			flag = model.FlagWD
		}
		x.result.flag, x.result.abort, x.result.detail = flag, true, fail.err.Error()
		if clientErr != nil && flag == model.FlagDPE {
			x.result.detail = clientErr.Error()
		}
	}
	took := now.Sub(x.timings.attempt)
	x.idleSince = now
	latency := took
	if u.answered != 0 {
		latency = u.answered.Sub(x.timings.attempt)
	}
	if x.outlasted(now, fail) {
		x.excuse()
	} else {
		x.settle(now, flag, resultOf(flag), latency)
	}
	// Bytes beyond the answer would be taken for the next one: such a connection ends.
	if fail != nil || !keep || u.buf.Len() > 0 {
		u.discard()
	} else {
		u.host.Release(u.conn, x.c.Shard, now)
		u.conn = nil
		u.buf.Release()
	}
	x.countTry(flag, x.result.status, took)
}

// appendAnswer appends the head of the answer for the client.
func (x *exchange) appendAnswer(dst []byte) []byte {
	resp := &x.up.resp
	cors := x.route.cors
	edit := x.arm.response
	if x.route.session != nil {
		x.route.session.Claim(&resp.Head)
	}
	dst = http1.AppendStatusLine(dst, resp.Status)
	for i := range resp.Fields {
		f := &resp.Fields[i]
		if f.Hop || f.Dropped || edit.Drops(&resp.Head, i) {
			continue
		}
		if cors != nil && cors.Owns(resp.Name(i)) {
			continue
		}
		dst = resp.AppendRaw(dst, i)
	}
	dst = x.appendUserID(x.appendSession(edit.AppendTo(dst)))
	if x.offersHTTP3() && !edit.Decides("alt-svc") {
		if _, own := resp.Lookup("alt-svc"); !own {
			dst = x.appendAltSvc(dst)
		}
	}
	if cors != nil {
		origin, _ := x.req.Get(http1.NameOrigin)
		dst = cors.AppendResponse(dst, origin)
	}
	if x.arm.compress != nil {
		dst = x.coding.verdict.AppendTo(dst)
	}
	if x.req.Minor > 0 && (resp.Body == http1.BodyChunked || resp.Body == http1.BodyUntilClose || x.coding.encoder != nil) {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	if x.broken.n > 0 && x.view.client.FlagHeaders {
		dst = x.broken.marks(dst)
	}
	dst = x.appendExplanation(dst)
	dst = x.appendConnection(dst)
	return append(dst, "\r\n"...)
}

// appendConnection says whether the client's connection stays open, where that is not the
// version's default.
func (x *exchange) appendConnection(dst []byte) []byte {
	if x.closing() {
		x.result.close = true
	}
	switch {
	case x.result.close:
		return append(dst, "Connection: close\r\n"...)
	case x.req.Minor == 0:
		return append(dst, "Connection: keep-alive\r\n"...)
	}
	return dst
}

// relay sends the head in out and the body behind the one that was read. A failure leaves
// the answer incomplete.
func (x *exchange) relay() *failure {
	u := x.up
	body := u.resp.Body
	length := u.resp.Length
	u.roomy = body == http1.BodyLength && length > transport.Small-transport.Headroom || body == http1.BodyChunked && u.roomy
	u.buf.Consume(u.head)
	x.result.sent = true
	switch {
	case body == http1.BodyNone:
		return x.sendFront(x.out, 0)
	case x.coding.encoder != nil:
		return x.relayEncoded()
	case body == http1.BodyLength:
		return x.relayLength(length)
	case body == http1.BodyChunked && x.req.Minor > 0:
		return x.relayChunked()
	case body == http1.BodyChunked:
		return x.relayDecoded()
	}
	return x.relayUntilClose()
}

// sendFront sends front and the first n bytes of the upstream's buffer behind it, in one
// write if front fits before them.
func (x *exchange) sendFront(front []byte, n int) *failure {
	b := &x.up.buf
	var err error
	x.overload.keeping.Add(b.Bytes()[:n])
	x.shadowing.Add(b.Bytes()[:n])
	if n > 0 && b.Prepend(front) {
		n += len(front)
	} else {
		err = x.writeClient(front)
	}
	if err == nil && n > 0 {
		err = x.writeClient(b.Bytes()[:n])
	}
	b.Consume(n)
	if err != nil {
		return &failure{flag: model.FlagDC, err: err}
	}
	return nil
}

// readOn reads more of the answer. eof is whether its end was reached in order.
func (x *exchange) readOn() *failure {
	by := x.tryBy()
	wait := transport.Wait{
		By: by, Gap: x.timeouts.Idle, Watch: x.watch, Stop: x.body.failure(),
	}
	for {
		_, err := x.up.conn.ReadMore(&x.up.buf, wait)
		if err == nil {
			return nil
		}
		p, now := x.body.pump, transport.Now()
		if p != nil && errors.Is(err, transport.ErrTimeout) && (by == 0 || now < by) &&
			now < transport.Instant(p.moved.Load()).Add(x.timeouts.Idle) {
			continue // pieces of the request's body still pass
		}
		return x.failed(err, by, false)
	}
}

func (x *exchange) relayLength(rest int64) *failure {
	b := &x.up.buf
	front := x.out
	for {
		n := int(min(int64(b.Len()), rest))
		rest -= int64(n)
		if n > 0 || front != nil {
			if fail := x.sendFront(front, n); fail != nil {
				return fail
			}
		}
		front = nil
		if rest == 0 {
			return nil
		}
		b.Expect(rest)
		if fail := x.readOn(); fail != nil {
			return fail
		}
	}
}

// answerChunks takes a chunked answer apart.
func (x *exchange) answerChunks() http1.Chunked {
	chunks := http1.Chunked{Answer: true}
	if x.req.GRPC {
		chunks.Trailer = x.trailer
	}
	return chunks
}

func (x *exchange) relayChunked() *failure {
	b := &x.up.buf
	chunks := x.answerChunks()
	front := x.out
	for read := 0; ; {
		n, done, err := chunks.Scan(b.Bytes())
		if err != nil {
			return &failure{flag: model.FlagUPE, err: err}
		}
		if n > 0 || front != nil {
			if fail := x.sendFront(front, n); fail != nil {
				return fail
			}
		}
		front = nil
		if read += n; read > transport.Small {
			x.up.roomy = true
		}
		if done {
			return nil
		}
		if x.up.roomy {
			b.Expect(transport.Small)
		}
		if fail := x.readOn(); fail != nil {
			return fail
		}
	}
}

// relayDecoded takes a chunked answer apart for an HTTP/1.0 client.
func (x *exchange) relayDecoded() *failure {
	b := &x.up.buf
	chunks := x.answerChunks()
	x.shadowing.Decoded()
	if err := x.writeClient(x.out); err != nil {
		return &failure{flag: model.FlagDC, err: err}
	}
	for {
		data, n, done, err := chunks.Next(b.Bytes())
		if err != nil {
			return &failure{flag: model.FlagUPE, err: err}
		}
		if len(data) > 0 {
			x.shadowing.Add(data)
			if err := x.writeClient(data); err != nil {
				return &failure{flag: model.FlagDC, err: err}
			}
		}
		b.Consume(n)
		if done {
			return nil
		}
		if n > 0 && b.Len() > 0 {
			continue
		}
		if fail := x.readOn(); fail != nil {
			return fail
		}
	}
}

// relayUntilClose sends an answer that ends with the upstream's connection: in chunks to a
// client that knows them, so that a broken answer does not look complete.
func (x *exchange) relayUntilClose() *failure {
	b := &x.up.buf
	chunked := x.req.Minor > 0
	open := false // a chunk has been sent, and its CRLF is owed
	for front := x.out; ; front = x.out[:0] {
		n := b.Len()
		if chunked && n > 0 {
			if open {
				front = append(front, "\r\n"...)
			}
			open = true
			front = http1.AppendChunkSize(front, n)
		}
		if fail := x.sendFront(front, n); fail != nil {
			return fail
		}
		fail := x.readOn()
		switch {
		case fail == nil:
			continue
		case !errors.Is(fail.err, io.EOF):
			return fail
		case !chunked:
			return nil
		case open:
			return x.sendFront(append(x.out[:0], "\r\n0\r\n\r\n"...), 0)
		}
		return x.sendFront(append(x.out[:0], "0\r\n\r\n"...), 0)
	}
}
