package proxy

import (
	"errors"
	"io"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// readHead waits for the next request and parses its head. ok is false when the connection
// has ended, or is to end without a word. A refusal says what is wrong with the request.
func (x *exchange) readHead() (ok bool, refused *refusal) {
	x.view = x.door.view.Load()
	if x.in.Len() == 0 && !x.awaitRequest() {
		return false, nil
	}
	// The request starts now: it takes the snapshot as it is, and keeps it.
	x.view = x.door.view.Load()
	x.started = transport.Now()
	by := x.started.Add(x.view.client.HeadTimeout)
	for {
		n, err := x.req.Parse(x.in.Bytes(), &x.view.limits)
		if err != nil {
			return true, &refusal{status: statusOf(err), flag: model.FlagDPE, detail: err.Error()}
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
		read, err := x.c.ReadInto(&x.in, transport.Wait{By: by})
		x.c.BytesIn += int64(read)
		switch {
		case err == nil:
		case errors.Is(err, transport.ErrTimeout):
			return true, &refusal{status: 408, flag: model.FlagDPE, detail: "the head did not arrive in time"}
		case errors.Is(err, io.EOF):
			return true, &refusal{status: 400, flag: model.FlagDPE, detail: "the connection ended within a head"}
		default:
			return false, nil
		}
	}
}

// awaitRequest waits for the first byte of a request on an idle connection, which holds no
// buffer meanwhile. The first request of a connection must come within the time for a head.
func (x *exchange) awaitRequest() bool {
	x.in.ReleaseIfEmpty()
	client := x.view.client
	limit := client.KeepAlive
	if x.c.BytesIn == 0 && client.HeadTimeout > 0 {
		limit = client.HeadTimeout
	}
	n, err := x.c.ReadInto(&x.in, transport.Wait{By: x.idleSince.Add(limit), Stop: x.c.Socket.StopIdle()})
	x.c.BytesIn += int64(n)
	return err == nil
}

func statusOf(err error) int {
	var fault *http1.Error
	if errors.As(err, &fault) {
		return fault.Status
	}
	return 400
}
