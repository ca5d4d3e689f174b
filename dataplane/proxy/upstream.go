package proxy

import (
	"errors"
	"io"
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// upstream is one try: the host, the connection to it, and its answer's head.
type upstream struct {
	host   *cluster.Host
	conn   *transport.Conn
	reused bool
	buf    transport.Buffer // what the host sent
	resp   http1.Response
	head   int // bytes of the answer's head at the start of buf
	races  int // connections of this try that turned out to be of no use

	answered transport.Instant // when the head came, of an answer that takes longer; else 0
	roomy    bool              // the last answer was large: read into a large buffer at once

	extra bool           // the try is not the request's first
	pause time.Duration  // before another try, where the answer has settled it
	code  model.GRPCCode // of an answer to a call that is given up for another try
}

// discard closes the connection, if there is one, and drops what was read.
func (u *upstream) discard() {
	if u.conn != nil {
		u.host.Release(u.conn, 0, 0)
		u.conn = nil
	}
	u.buf.Release()
}

// failure is why a try failed: the flag that its answer would carry, and whether the
// request cannot have been acted upon.
type failure struct {
	flag   model.Flag
	err    error
	unsent bool // nothing was written, or nothing looked at: any request may be tried again
	// refused says that the host has said so, of a stream: another connection may do at once.
	refused bool
	// spoken says that the host itself has ended the stream, and not by accident its connection.
	spoken bool
	after  time.Duration // when to ask again, if a breaker has refused the try
}

// connect picks a host and takes a connection to it: from the pool, or a new one.
func (x *exchange) connect(by transport.Instant, tried []*cluster.Host) *failure {
	u := x.up
	host, err := x.pick(tried)
	if err != nil {
		return &failure{flag: model.FlagUH, err: err, unsent: true}
	}
	u.host, u.races = host, 0
	host.Begin()
	host.Series.Begin(x.c.Shard)
	ctx := x.p.ctx
	if x.beside != nil {
		x.beside.chose(host)
		ctx = x.beside
	}
	if x.upgrading() {
		u.conn, u.reused, err = host.For(x.c).AcquireUpgrade(ctx, x.timings.attempt, by, x.c.Shard, isWebSocket(x.req.Upgrade))
	} else {
		u.conn, u.reused, err = host.For(x.c).Acquire(ctx, x.timings.attempt, by, x.c.Shard)
	}
	return x.connected(err, by)
}

// reconnect opens a new connection to the same host in place of a pooled one that was dead.
func (x *exchange) reconnect(by transport.Instant) *failure {
	u := x.up
	if x.beside != nil {
		x.beside.holds(nil)
	}
	u.discard()
	var err error
	ctx := x.p.ctx
	if x.beside != nil {
		ctx = x.beside
	}
	u.conn, err = u.host.For(x.c).Fresh(ctx, by)
	u.reused = false
	return x.connected(err, by)
}

func (x *exchange) connected(err error, by transport.Instant) *failure {
	if x.beside != nil && !x.beside.holds(x.up.conn) {
		return &failure{err: errOutrun}
	}
	if err == nil {
		return nil
	}
	if refused := (*cluster.Refusal)(nil); errors.As(err, &refused) {
		return &failure{flag: model.FlagUO, err: err, unsent: true, after: refused.RetryAfter}
	}
	if by != 0 && transport.Now() >= by {
		return &failure{flag: x.timeoutFlag(by), err: transport.ErrTimeout, unsent: true}
	}
	flag := model.FlagUF
	switch {
	case x.cutOff():
		flag = model.FlagWD
	case errors.Is(err, cluster.ErrNoUpgrade):
		flag = model.FlagUPE
	}
	return &failure{flag: flag, err: err, unsent: true}
}

// exchangeWith sends the request, whose head is in out, and reads the head of the answer.
func (x *exchange) exchangeWith(by transport.Instant) *failure {
	u := x.up
	x.renew() // now: to find a connection may have taken some of its time
	u.resp.Reset()
	idle := x.timeouts.Idle
	wait := transport.Wait{By: by, Watch: x.watch}
	if x.beside != nil {
		wait.Stop = &x.beside.yield
	}
	if x.body.whole { // else the idle time counts from the body's last piece: watchTry
		wait.By = transport.Earlier(by, x.timings.attempt.Add(idle))
	}
	u.buf.Expect(0)
	if u.roomy {
		u.buf.Expect(transport.Small)
	}
	var n int
	var err error
	sent := true
	if x.body.whole {
		n, sent, err = u.conn.Exchange(x.out, &u.buf, wait)
	} else if u.reused && u.conn.Stale() {
		sent, err = false, io.EOF // what is streamed cannot be sent twice, so look before
	} else {
		err = u.conn.Write(x.out, transport.Wait{By: by, Gap: idle, Watch: x.watch})
		if err == nil {
			x.startPump(u.conn)
			wait.Stop = x.body.failure()
			n, err = u.conn.ReadInto(&u.buf, wait)
		}
	}
	if x.logging() && n > 0 {
		x.timings.firstByte = transport.Now()
	}
	if err == nil {
		err = x.readAnswer(by, wait)
	} else if !u.reused {
		if refused := u.host.Rejected(err); refused != nil {
			return x.connected(refused, by)
		}
	}
	if err != nil {
		return x.failed(err, by, !sent)
	}
	return nil
}

// readAnswer parses the head of the final answer, reading on as needed, and passes on the
// interim ones before it.
func (x *exchange) readAnswer(by transport.Instant, wait transport.Wait) error {
	u := x.up
	for interim := 0; ; {
		n, err := u.resp.Parse(u.buf.Bytes(), &cluster.AnswerLimits, x.req.Method)
		if err != nil {
			return err
		}
		if n == 0 {
			if _, err := u.conn.ReadMore(&u.buf, wait); err != nil {
				return err
			}
			x.restartIdle(by, &wait)
			continue
		}
		u.head = n
		if u.resp.Status >= 200 || u.resp.Status == 101 && x.upgrading() {
			return nil
		}
		if interim++; interim > cluster.MaxInterim || u.resp.Status == 101 {
			return cluster.ErrUnexpected
		}
		if err := x.passInterim(); err != nil {
			return err
		}
		x.restartIdle(by, &wait)
		u.buf.Consume(n)
		u.resp.Reset()
	}
}

// restartIdle starts the idle time anew: bytes of the answer have come.
func (x *exchange) restartIdle(by transport.Instant, wait *transport.Wait) {
	now := transport.Now()
	if p := x.body.pump; p != nil {
		p.moved.Store(int64(now))
		return
	}
	wait.By = transport.Earlier(by, now.Add(x.timeouts.Idle))
}

// passInterim sends a 1xx answer on to a client that can understand it.
func (x *exchange) passInterim() error {
	if x.req.Minor == 0 || x.up.resp.Status == 100 && !x.req.Continue {
		return nil
	}
	head := http1.AppendStatusLine(x.scratch[:0], x.up.resp.Status)
	for i := range x.up.resp.Fields {
		if f := &x.up.resp.Fields[i]; !f.Hop && !f.Dropped {
			head = x.up.resp.AppendRaw(head, i)
		}
	}
	head = append(head, "\r\n"...)
	x.scratch = head
	return x.writeNow(head)
}

// failed says what an error of the upstream connection means.
func (x *exchange) failed(err error, by transport.Instant, unsent bool) *failure {
	var broken *http2.Broken
	flag := flagOf(err)
	if flag == model.FlagDPE {
		return &failure{flag: flag, err: err}
	}
	refused := errors.As(err, &broken) && broken.Unsent
	switch {
	case errors.Is(err, errClient):
		flag = model.FlagDC
	case errors.Is(err, transport.ErrInterrupted) && x.beside != nil:
		return &failure{err: errOutrun}
	case errors.Is(err, transport.ErrInterrupted): // by the pump
		flag = x.body.pump.flag
	case errors.Is(err, transport.ErrTimeout):
		flag = x.timeoutFlag(by)
	}
	if flag == model.FlagUR && x.heldTo(by) {
		flag = x.overdue(by)
	}
	if x.cutOff() {
		flag = model.FlagWD
	}
	spoken := broken != nil && !refused && errors.Unwrap(broken) == nil
	return &failure{flag: flag, err: err, unsent: unsent || refused, refused: refused, spoken: spoken}
}

// flagOf is what an error of a host's connection means by itself.
func flagOf(err error) model.Flag {
	var fault *http1.Error
	var broken *http2.Broken
	var long *http2.HeadLong
	switch {
	case errors.As(err, &long):
		return model.FlagDPE
	case errors.Is(err, transport.ErrTimeout):
		return model.FlagUT
	case errors.As(err, &fault), errors.Is(err, cluster.ErrUnexpected), errors.Is(err, transport.ErrUnsolicited):
		return model.FlagUPE
	case errors.As(err, &broken) && broken.Protocol:
		return model.FlagUPE
	case errors.As(err, &broken) && broken.Unsent:
		return model.FlagUR
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // the latter within a TLS record
		return model.FlagUC
	}
	return model.FlagUR
}

// cutOff reports whether draining has taken too long: what breaks from then on, we broke.
func (x *exchange) cutOff() bool { return x.p.ctx.Err() != nil }

// timeoutFlag tells the end of the whole request from that of one try.
func (x *exchange) timeoutFlag(by transport.Instant) model.Flag {
	if transport.Now() < by {
		return model.FlagUT // the idle time
	}
	return x.overdue(by)
}

// overdue is the flag of a try that had until by.
func (x *exchange) overdue(by transport.Instant) model.Flag {
	if by != 0 && by == x.requestBy() {
		return model.FlagPT
	}
	return model.FlagUT
}

// requestBy is when the whole request times out; 0: never.
func (x *exchange) requestBy() transport.Instant {
	return transport.Earlier(x.asked.Add(x.timeouts.Request), x.deadline)
}

// errClient marks errors of the client's connection among the upstream's.
var errClient = errors.New("client")

// halfCloseGrace is how long a client that has ended its sending side is taken to wait for
// its answer still. TCP cannot tell it from one that has closed the connection.
const halfCloseGrace = 1e9

// watchTry is the Watch of waits for the upstream: an error ends the try.
func (x *exchange) watchTry() error {
	idle := x.timeouts.Idle
	// Once the answer flows, its own waits measure idleness.
	if p := x.body.pump; p != nil && !x.result.sent && idle > 0 && transport.Now().Sub(transport.Instant(p.moved.Load())) >= idle {
		return transport.ErrTimeout
	}
	return x.clientLeft()
}

// clientLeft reports a client that does not wait for its answer any more.
func (x *exchange) clientLeft() error {
	switch x.c.Peer() {
	case transport.PeerReset:
		return errClient
	case transport.PeerEnded:
		now := transport.Now()
		if x.leftSince == 0 {
			x.leftSince = now
		}
		if now-x.leftSince >= halfCloseGrace {
			return errClient
		}
	}
	return nil
}
