package proxy

import (
	"errors"
	"io"
	"net/http"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// replayLimit is how many bytes of a request's body are copied for mirrors, and kept for what is sent
// again free of charge on routes without retries. Routes with retries have a bound of their own.
const replayLimit = 64 << 10

// gatherTime bounds that reading as a whole: BodyTimeout is only the longest gap.
const gatherTime = time.Minute

// body is a request's body as far as it has been looked at. Bytes that came with the head
// are in the exchange's in buffer, behind it; once more are read they all move to full.
type body struct {
	chunks http1.Chunked
	rest   int64 // of a body with a length: bytes that have not been seen yet
	have   int   // bytes validated and at hand
	seen   int64 // bytes validated in all
	whole  bool  // have is all of it
	moved  bool  // the bytes are in full
	full   transport.Buffer
	pump   *pump
	gone   bool // bytes have been streamed away: the request cannot be sent again
	keep   bool // what is streamed is kept, up to limit, so that it can be
	limit  int  // bytes that are kept at most to be sent again
}

func (b *body) reset() {
	b.chunks.Reset()
	b.rest, b.seen, b.have = 0, 0, 0
	b.whole, b.moved, b.gone, b.keep = false, false, false, false
	b.limit = replayLimit
	b.pump = nil
}

// replayable reports whether the request can be sent again. A running pump says no without
// a look at what it is changing.
func (b *body) replayable() bool { return b.untouched() && (b.whole || b.keep) && b.have <= b.limit }

// untouched reports whether nothing of the body has been let go: what no host has been sent can
// be sent, however long it is.
func (b *body) untouched() bool { return b.pump == nil && !b.gone }

// frame looks at the part of the body that came with the head.
func (x *exchange) frame() error {
	b := &x.body
	switch x.req.Body {
	case http1.BodyNone:
		b.whole = true
	case http1.BodyLength:
		b.rest = x.req.Length
		b.take(x.in.Bytes()[x.head:])
	case http1.BodyChunked:
		return b.scan(x.in.Bytes()[x.head:])
	}
	return nil
}

// take counts bytes of a body with a length.
func (b *body) take(p []byte) {
	n := min(int64(len(p)), b.rest)
	b.have += int(n)
	b.seen += n
	b.rest -= n
	b.whole = b.rest == 0
}

// scan validates bytes of a chunked body.
func (b *body) scan(p []byte) error {
	n, done, err := b.chunks.Scan(p)
	b.have += n
	b.seen += int64(n)
	b.whole = done
	return err
}

// bytes returns the body as far as it is validated.
func (b *body) bytes(x *exchange) []byte {
	if b.moved {
		return b.full.Bytes()[:b.have]
	}
	return x.in.Bytes()[x.head : x.head+b.have]
}

// move takes the body's bytes out of the buffer with the head, so that more can be read.
func (b *body) move(x *exchange) {
	if b.moved {
		return
	}
	b.moved = true
	b.full.Append(x.in.Bytes()[x.head:])
}

// gather reads the rest of a body of up to so many bytes. A larger one is left as it is.
func (x *exchange) gather(limit int) error {
	b := &x.body
	if b.whole || x.req.Continue || x.req.Body == http1.BodyLength && x.req.Length > int64(limit) {
		return nil
	}
	b.move(x)
	for !b.whole && b.have < limit {
		if b.full.Full() {
			b.full.Compact()
			if b.full.Full() {
				b.full.Widen()
			}
		}
		by := transport.Earlier(x.requestBy(), x.asked.Add(gatherTime))
		n, err := x.c.ReadInto(&b.full, transport.Wait{By: by, Gap: x.view.client.BodyTimeout})
		x.c.BytesIn += int64(n)
		if err != nil {
			return err
		}
		if err := x.accept(); err != nil {
			return err
		}
	}
	return nil
}

// accept looks at bytes of the body that have just been read.
func (x *exchange) accept() error {
	b := &x.body
	from := b.have
	if x.req.Body == http1.BodyLength {
		b.take(b.full.Bytes()[from:])
	} else if err := b.scan(b.full.Bytes()[from:]); err != nil {
		return err
	}
	x.shadowing.Pass(b.full.Bytes()[from:b.have], b.whole)
	return nil
}

// gatherRefusal says why gathering failed: the client's fault, or the request's time is up.
func (x *exchange) gatherRefusal(err error) refusal {
	if by := x.requestBy(); errors.Is(err, transport.ErrTimeout) && by != 0 && transport.Now() >= by {
		return refusal{flag: model.FlagPT, detail: "the request's time passed while its body came"}
	}
	return bodyRefusal(err)
}

// bodyRefusal says what the client did wrong with its body, or that its host takes no head so long.
func bodyRefusal(err error) refusal {
	switch {
	case errors.Is(err, transport.ErrTimeout):
		return refusal{status: 408, flag: model.FlagDPE, detail: "the body did not arrive in time"}
	case errors.Is(err, io.EOF):
		return refusal{status: 400, flag: model.FlagDC, detail: "the connection ended within a body"}
	}
	var long *http2.HeadLong
	if errors.As(err, &long) {
		return refusal{status: http.StatusRequestHeaderFieldsTooLarge, flag: model.FlagDPE, detail: long.Error()}
	}
	var fault *http1.Error
	if errors.As(err, &fault) {
		return refusal{status: fault.Status, flag: model.FlagDPE, detail: fault.Reason}
	}
	return refusal{flag: model.FlagDC, detail: err.Error()}
}

// consumed drops the request from the input and reports whether its body has been read to
// the end, so that the next request can follow.
func (b *body) consumed(x *exchange) bool {
	if !b.whole {
		return false
	}
	if !b.moved {
		x.in.Consume(x.head + b.have)
		return true
	}
	b.full.Consume(b.have)
	x.in.Release()
	*x.in, b.full = b.full, transport.Buffer{}
	return true
}
