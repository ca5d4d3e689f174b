package proxy

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/listener"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// refusal is an answer of our own that says no, with its flag.
type refusal struct {
	status int // 0: the flag's
	flag   model.Flag
	detail string          // for the access log
	silent bool            // the client would not understand an answer
	code   *model.GRPCCode // of a call of gRPC; nil: what flag and status mean
	// retryAfter is when to ask again; 0: nobody knows.
	retryAfter time.Duration
}

// answer is any answer of our own.
type answer struct {
	status int
	fields []byte // whole lines
	body   string
	dated  bool // fields have a Date
}

// refuse answers with the flag's status and says in a few words what happened. If an
// answer is under way already, it cuts the connection instead: that is all that is left.
func (x *exchange) refuse(r refusal) {
	x.result.flag, x.result.detail = r.flag, r.detail
	if x.result.sent || r.flag == model.FlagDC && r.status == 0 {
		x.result.abort = true
		return
	}
	if r.silent {
		x.result.close = true
		return
	}
	if x.req.GRPC {
		x.refuseCall(r)
		return
	}
	if r.status == 0 {
		r.status = model.FlagInfos[r.flag].Status
	}
	fields := http1.AppendFieldString(x.scratch[:0], "Content-Type", "text/plain; charset=utf-8")
	fields = x.appendFlag(fields, r.flag)
	if r.retryAfter > 0 {
		fields = policy.AppendRetryAfter(fields, r.retryAfter)
	}
	body := http.StatusText(r.status) + "\n"
	if x.view.client.FlagHeaders {
		body = http.StatusText(r.status) + ": " + r.meaning() + "\n"
	}
	if x.route != nil && x.route.cors != nil { // so that a browser's script may see what went wrong
		origin, _ := x.req.Get(http1.NameOrigin)
		fields = x.route.cors.AppendResponse(fields, origin)
	}
	x.scratch = fields
	x.send(answer{status: r.status, fields: fields, body: body})
}

// send sends an answer of our own. The request's body, if it is not at hand, is not read:
// the connection ends.
func (x *exchange) send(a answer) {
	if !x.body.whole {
		x.result.close = true
	}
	x.result.status, x.result.sent = a.status, true
	dst := http1.AppendStatusLine(x.out[:0], a.status)
	if !a.dated {
		dst = append(dst, "Date: "...)
		dst = time.Now().UTC().AppendFormat(dst, http.TimeFormat)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, a.fields...)
	if a.status != http.StatusMisdirectedRequest && x.offersHTTP3() {
		dst = x.appendAltSvc(dst)
	}
	bare := a.status == http.StatusNoContent || a.status == http.StatusNotModified // no body can follow
	if !bare {
		dst = http1.AppendFieldString(dst, "Content-Length", strconv.Itoa(len(a.body)))
	}
	dst = x.appendExplanation(dst)
	dst = x.appendConnection(dst)
	dst = append(dst, "\r\n"...)
	if string(x.req.Method) != "HEAD" && !bare {
		dst = append(dst, a.body...)
	}
	x.out = dst
	if err := x.writeClient(dst); err != nil {
		x.result.abort = true
	}
	x.idleSince = transport.Now()
}

// writeClient writes to the client, which must go on taking bytes.
func (x *exchange) writeClient(p []byte) error {
	if x.broken.rate > 0 {
		return x.writeSlowly(p)
	}
	return x.writeNow(p)
}

func (x *exchange) writeNow(p []byte) error {
	if err := x.c.Write(p, transport.Wait{Gap: x.view.client.BodyTimeout, Patience: x.p.cfg.Pressure.Patience()}); err != nil {
		return fmt.Errorf("%w: %w", errClient, err)
	}
	x.c.BytesOut += int64(len(p))
	x.result.out += int64(len(p))
	return nil
}

const (
	lingerTime  = time.Second // how long a closing connection is still read from
	lingerBytes = 256 << 10   // and how much of it
)

// linger ends the connection so that the client gets the whole answer: it reads on for a
// moment, because closing with unread bytes would reset the connection and with it the
// answer that is on its way (RFC 9112 section 9.6).
func (x *exchange) linger() {
	x.in.Release()
	x.body.full.Release()
	linger(x.c, x.in)
}

func linger(c *listener.Conn, in *transport.Buffer) {
	if c.CloseWrite() != nil {
		return
	}
	by := transport.Now().Add(lingerTime)
	for read := 0; read < lingerBytes; {
		n, err := c.ReadInto(in, transport.Wait{By: by})
		if err != nil {
			return
		}
		in.Consume(n)
		read += n
	}
}
