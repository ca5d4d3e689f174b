package proxy

import (
	"errors"
	"io"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/shadow"
	"weir.dev/weir/dataplane/stale"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// coding is how the present answer is compressed, if it is.
type coding struct {
	verdict policy.Verdict
	encoder *policy.Encoder // nil: the body is sent as it comes
	read    int64           // bytes of an encoded answer as the upstream sent them; 0: as many as were sent on
}

// chooseCoding decides whether the answer is compressed and marks in its head what that
// changes.
func (x *exchange) chooseCoding() {
	c, resp := &x.coding, &x.up.resp
	c.verdict = x.arm.compress.Judge(&x.req, resp, x.c.Identity() != "")
	if c.verdict.Coding != "" && resp.Body != http1.BodyNone {
		c.encoder = x.p.encoders.Take(c.verdict.Coding, x.sendPiece)
		if c.encoder == nil {
			c.verdict.AsItIs()
			x.p.cfg.Metrics.Uncompressed.Add(1)
		}
	}
	c.verdict.Mark(&resp.Head)
}

// sendPiece sends a piece of an encoded body as a chunk, behind what is in out.
func (x *exchange) sendPiece(piece []byte) error {
	x.out = appendChunk(x.out, piece)
	err := x.writeClient(x.out)
	x.out = x.out[:0]
	return err
}

func appendChunk(dst, piece []byte) []byte {
	if len(piece) == 0 {
		return dst
	}
	dst = http1.AppendChunkSize(dst, len(piece))
	dst = append(dst, piece...)
	return append(dst, "\r\n"...)
}

// relayEncoded sends the head in out and the body behind the upstream's, encoded, in chunks.
// Whenever the upstream has nothing more to say for now, the client gets all there is.
func (x *exchange) relayEncoded() *failure {
	fail := x.encodeBody()
	x.p.encoders.Give(x.coding.encoder)
	x.coding.encoder = nil
	return fail
}

func (x *exchange) encodeBody() *failure {
	e := x.coding.encoder
	body := encodedBody{kind: x.up.resp.Body, rest: x.up.resp.Length, chunks: x.answerChunks(), keeping: x.overload.keeping, shadowing: x.shadowing}
	body.keeping.Decoded()
	body.shadowing.Decoded()
	x.coding.read = int64(x.up.head)
	for {
		x.coding.read += int64(x.up.buf.Len() - body.unused)
		over, err := body.feed(&x.up.buf, e)
		if err != nil {
			return encodingFailed(err)
		}
		if over {
			break
		}
		if err := x.flushEncoder(); err != nil {
			return encodingFailed(err)
		}
		if fail := x.readEncodable(&body); fail != nil {
			if body.kind == http1.BodyUntilClose && errors.Is(fail.err, io.EOF) {
				break
			}
			return fail
		}
	}
	piece, err := e.Finish()
	if err != nil {
		return encodingFailed(err)
	}
	x.out = append(appendChunk(x.out, piece), "0\r\n"...)
	if body.kind == http1.BodyChunked {
		return x.relayTrailers(&body.chunks)
	}
	return x.sendFront(append(x.out, "\r\n"...), 0)
}

// flushEncoder sends what can be decoded so far, and at least the head, unless more to encode
// has come already.
func (x *exchange) flushEncoder() error {
	if x.up.conn.Peer() == transport.PeerSending {
		return nil
	}
	if err := x.coding.encoder.Flush(); err != nil || len(x.out) == 0 {
		return err
	}
	err := x.writeClient(x.out)
	x.out = x.out[:0]
	return err
}

// readEncodable reads more of the body.
func (x *exchange) readEncodable(body *encodedBody) *failure {
	switch {
	case body.kind == http1.BodyLength:
		x.up.buf.Expect(body.rest)
	case x.coding.read > transport.Small:
		x.up.roomy = true
		x.up.buf.Expect(transport.Small)
	}
	return x.readOn()
}

// relayTrailers passes on the trailer section of a chunked answer.
func (x *exchange) relayTrailers(chunks *http1.Chunked) *failure {
	b := &x.up.buf
	for {
		_, n, done, err := chunks.Next(b.Bytes())
		if err != nil {
			return &failure{flag: model.FlagUPE, err: err}
		}
		x.out = append(x.out, b.Bytes()[:n]...)
		b.Consume(n)
		if len(x.out) > 0 {
			if fail := x.sendFront(x.out, 0); fail != nil {
				return fail
			}
		}
		if done {
			return nil
		}
		x.out = x.out[:0]
		if fail := x.readOn(); fail != nil {
			return fail
		}
	}
}

// encodingFailed says whose doing it is that a body could not be encoded and sent.
func encodingFailed(err error) *failure {
	var fault *http1.Error
	switch {
	case errors.Is(err, errClient):
		return &failure{flag: model.FlagDC, err: err}
	case errors.As(err, &fault):
		return &failure{flag: model.FlagUPE, err: err}
	}
	return &failure{flag: model.FlagWI, err: err}
}

// encodedBody is a body on its way into an encoder.
type encodedBody struct {
	kind   http1.Body
	rest   int64 // bytes of a body with a length that are yet to come
	chunks http1.Chunked
	unused int // bytes in the buffer that wait for more behind them

	keeping   *stale.Keeping // nil: the content is not kept
	shadowing *shadow.Tap    // nil: nor compared
}

// feed moves what is in the buffer to the encoder and reports whether that was the last of
// the content.
func (b *encodedBody) feed(buf *transport.Buffer, e *policy.Encoder) (over bool, err error) {
	defer func() { b.unused = buf.Len() }()
	switch b.kind {
	case http1.BodyLength:
		n := int(min(int64(buf.Len()), b.rest))
		b.rest -= int64(n)
		b.keeping.Add(buf.Bytes()[:n])
		b.shadowing.Add(buf.Bytes()[:n])
		err = e.Write(buf.Bytes()[:n])
		buf.Consume(n)
		return b.rest == 0, err
	case http1.BodyChunked:
		return b.feedChunks(buf, e)
	}
	b.shadowing.Add(buf.Bytes())
	err = e.Write(buf.Bytes())
	buf.Consume(buf.Len())
	return false, err
}

func (b *encodedBody) feedChunks(buf *transport.Buffer, e *policy.Encoder) (over bool, err error) {
	for {
		data, n, _, err := b.chunks.Next(buf.Bytes())
		if err == nil {
			b.keeping.Add(data)
			b.shadowing.Add(data)
			err = e.Write(data)
		}
		if err != nil {
			return false, err
		}
		buf.Consume(n)
		if b.chunks.Trailing() {
			return true, nil
		}
		if n == 0 || buf.Len() == 0 {
			return false, nil
		}
	}
}
