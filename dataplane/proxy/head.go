package proxy

import (
	"errors"
	"io"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// readHead parses the head of a request that has begun to come. ok is false when the
// connection has ended, or is to end without a word. A refusal says what is wrong with the
// request.
func (x *exchange) readHead() (ok bool, refused *refusal) {
	// The request starts now: it takes the snapshot as it is, and keeps it.
	x.view = x.door.view.Load()
	x.started = transport.Now()
	x.asked = x.started
	by := x.started.Add(x.view.client.HeadTimeout)
	for {
		n, err := x.req.Parse(x.in.Bytes(), &x.view.limits)
		if err != nil {
			// A first line without a version of HTTP is another protocol's, or a broken preface of HTTP/2.
			silent := errors.Is(err, http1.ErrVersion) && x.c.BytesIn == int64(x.in.Len())
			return true, &refusal{status: statusOf(err), flag: model.FlagDPE, detail: err.Error(), silent: silent}
		}
		if n > 0 {
			x.head = n
			return true, nil
		}
		if x.in.Full() {
			x.in.Compact()
		}
		if x.in.Full() {
			x.in.Widen()
		}
		read, err := x.c.ReadInto(x.in, transport.Wait{By: by})
		x.c.BytesIn += int64(read)
		switch {
		case err == nil:
			x.asked = transport.Now()
		case errors.Is(err, transport.ErrTimeout):
			return true, &refusal{status: 408, flag: model.FlagDPE, detail: "the head did not arrive in time"}
		case errors.Is(err, io.EOF):
			return true, &refusal{status: 400, flag: model.FlagDPE, detail: "the connection ended within a head"}
		default:
			return false, nil
		}
	}
}

func statusOf(err error) int {
	var fault *http1.Error
	if errors.As(err, &fault) {
		return fault.Status
	}
	return 400
}
