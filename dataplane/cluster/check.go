package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"unicode"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// A check goes the way that a request goes: the same protocol, TLS and PROXY header, which says
// that the connection is no client's. Each has a connection of its own, so that what is pooled
// says nothing about whether new ones can be made, and no check ends in another's place.

// Bounds of an answer to a check.
const (
	maxCheckBody    = 64 << 10 // bytes; more is not read
	maxCheckInterim = 8        // answers before the final one
)

// checkPurposes are what checks open their connections for.
var checkPurposes = map[model.HealthCheckType]purpose{
	model.HealthCheckHTTP: forRequests, model.HealthCheckGRPC: forCalls, model.HealthCheckTCP: forBytes,
}

var checkLimits = http1.Limits{MaxHead: maxAnswerHead}

// ask checks the host once, until by at the latest. The error says why it has failed; late is
// whether the time was up.
func (h *Host) ask(ctx context.Context, by transport.Instant, spec *model.HealthCheck) (late bool, err error) {
	ctx, cancel := context.WithDeadline(ctx, by.Time())
	defer cancel()
	c, l, err := h.nobody().open(ctx, by, h.wiring.Load(), checkPurposes[spec.Type])
	if err != nil {
		if transport.Now() >= by {
			err = fmt.Errorf("no connection within %v: %w", spec.Timeout, err)
		}
		return transport.Now() >= by, err
	}
	if l != nil {
		defer func() {
			l.client.Retire()
			<-l.client.Over()
		}()
	} else {
		defer func() { _ = c.Close() }() // what it was for is over
	}
	if spec.Type == model.HealthCheckTCP {
		return false, nil
	}
	if l != nil {
		stream := l.client.Open(transport.Now())
		if stream == nil {
			return false, errNoStreams
		}
		defer stream.Release()
		c = stream.Conn
	}
	q := question{host: h, spec: spec, conn: c, alone: l == nil, wait: transport.Wait{By: by, Watch: ctx.Err}}
	defer q.in.Release()
	if err = q.put(); err != nil && transport.Now() >= by {
		return true, fmt.Errorf("no answer within %v", spec.Timeout)
	}
	return false, err
}

// ours reports whether a connection could not be made for want of something of our own, which
// says nothing about the host.
func ours(err error) bool {
	for _, want := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

// question is what one check says and hears.
type question struct {
	host  *Host
	spec  *model.HealthCheck
	conn  *transport.Conn
	alone bool // the connection is of HTTP/1.1
	wait  transport.Wait
	in    transport.Buffer
	head  http1.Response
}

// put asks and judges the answer.
func (q *question) put() error {
	method, request := "GET", q.get()
	if q.spec.Type == model.HealthCheckGRPC {
		method, request = "POST", q.call()
	}
	if err := q.conn.Write(request, q.wait); err != nil {
		return q.refused(err)
	}
	if err := q.readHead(method); err != nil {
		return q.refused(err)
	}
	if q.spec.Type == model.HealthCheckGRPC {
		return q.judgeCall()
	}
	return q.judge()
}

// refused says so if the host has refused the handshake only now, as it may with TLS 1.3.
func (q *question) refused(err error) error {
	if rejections[alertOf(err)] {
		return &handshakeError{err, "", nil}
	}
	return err
}

// get is the request of a check over HTTP.
func (q *question) get() []byte {
	out := http1.AppendRequestLine(nil, []byte("GET"), []byte(q.spec.Path), nil, false)
	out = q.appendCommon(out)
	if q.alone {
		out = http1.AppendFieldString(out, "Connection", "close")
	}
	return append(out, "\r\n"...)
}

func (q *question) appendCommon(dst []byte) []byte {
	dst = http1.AppendFieldString(dst, "Host", q.hostname())
	return http1.AppendFieldString(dst, "User-Agent", "weir-health-check")
}

// hostname is what the host is asked for.
func (q *question) hostname() string {
	spec := q.host.cluster.spec.Load()
	switch {
	case q.spec.Hostname != "":
		return q.spec.Hostname
	case spec.TLS != nil && spec.TLS.Hostname != "":
		return spec.TLS.Hostname
	case spec.DNS != nil:
		return spec.DNS.Hostname
	}
	return netip.AddrPortFrom(q.host.address.Addr().WithZone(""), q.host.address.Port()).String()
}

// readHead reads the head of the final answer.
func (q *question) readHead(method string) error {
	for interim := 0; ; {
		n, err := q.head.Parse(q.in.Bytes(), &checkLimits, []byte(method))
		switch {
		case err != nil:
			return fmt.Errorf("malformed answer: %w", err)
		case n == 0:
			if _, err := q.conn.ReadMore(&q.in, q.wait); err != nil {
				return err
			}
			continue
		case q.head.Status >= 200:
			q.in.Consume(n) // its fields stay readable until more is read
			return nil
		}
		if interim++; interim > maxCheckInterim || q.head.Status == 101 {
			return fmt.Errorf("answered %d, which was not asked for", q.head.Status)
		}
		q.in.Consume(n)
		q.head.Reset()
	}
}

// judge compares the status with what is expected. The rest of the answer is read for the
// host's sake, which would otherwise see a reset while it writes; how it ends means nothing.
func (q *question) judge() error {
	status := q.head.Status
	_ = q.readBody(maxCheckBody, nil, nil)
	for _, r := range q.spec.Expect {
		if r.Has(status) {
			return nil
		}
	}
	words := make([]string, len(q.spec.Expect))
	for i, r := range q.spec.Expect {
		words[i] = r.String()
	}
	return fmt.Errorf("status %d, expected %s", status, strings.Join(words, ", "))
}

// readBody reads the body, up to a limit, and shows its content and trailers.
func (q *question) readBody(limit int, content func([]byte), trailer func(http1.Name, []byte)) error {
	chunks := http1.Chunked{Answer: true, Trailer: trailer}
	left, body := q.head.Length, q.head.Body
	for read := 0; read <= limit; {
		data, used, done := q.in.Bytes(), q.in.Len(), body == http1.BodyNone
		var err error
		switch body {
		case http1.BodyChunked:
			data, used, done, err = chunks.Next(data)
		case http1.BodyLength:
			data = data[:min(int64(len(data)), left)]
			used = len(data)
			left -= int64(used)
			done = left == 0
		}
		if err != nil {
			return err
		}
		if content != nil {
			content(data)
		}
		read += len(data)
		q.in.Consume(used)
		if done {
			return nil
		}
		if used == 0 {
			if _, err := q.conn.ReadMore(&q.in, q.wait); err != nil {
				return err
			}
		}
	}
	return errors.New("the answer is too long")
}

// maxReason bounds a reason that has text of a host in it, in bytes.
const maxReason = 400

// shown makes text that a host has chosen parts of presentable, and bounds it.
func shown(text string) string {
	if len(text) > maxReason {
		text = text[:maxReason] + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
