package proxy

import (
	"errors"
	"io"
	"sync"
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/health"
)

const (
	shadowTimeout = 15 * time.Second // of one copy, answer included
	shadowAnswer  = 16 << 20         // bytes of a copy's answer that are read
)

// shadowMark says that a request is a copy.
var shadowMark = []byte("X-Weir-Shadow: 1\r\n")

// shadows sends mirrored copies: bounded in number, ignored in outcome, and without any
// effect on the request that they copy.
type shadows struct {
	p     *Proxy
	slots chan struct{}
	work  sync.WaitGroup
}

func newShadows(p *Proxy, limit int) *shadows {
	return &shadows{p: p, slots: make(chan struct{}, limit)}
}

func (s *shadows) wait() { s.work.Wait() }

// sendShadows copies the request to its route's mirrors. A copy is dropped, and counted as
// such, when too many are under way, the body does not fit, or it asks for a tunnel.
func (x *exchange) sendShadows() bool {
	shadows := x.p.shadows
	gathered := false
	for i := range x.route.mirrors {
		m := &x.route.mirrors[i]
		if m.cluster == nil || !m.share.Chosen(x.p.cfg.Random()) {
			continue
		}
		if !gathered {
			gathered = true
			if err := x.gather(replayLimit); err != nil {
				x.result.close = true
				x.refuse(x.gatherRefusal(err))
				return true
			}
		}
		if !x.body.whole || x.upgrading() {
			x.p.cfg.Metrics.Mirrors.Count(telemetry.MirrorDropped)
			continue
		}
		select {
		case shadows.slots <- struct{}{}:
			// The copy outlives the exchange, so it shares nothing with it.
			request := x.appendRequest(nil, m.edit, sending{n: 1, by: x.tryBy(), marks: shadowMark})
			method := string(x.req.Method)
			client := shadowed(x.c.Ends())
			shadows.work.Go(func() { shadows.send(m.cluster, client, request, method) })
		default:
			x.p.cfg.Metrics.Mirrors.Count(telemetry.MirrorDropped)
		}
	}
	return false
}

// shadowed is the client of a request that was copied, which may have left.
type shadowed transport.Ends

// Ends implements cluster.Client.
func (s shadowed) Ends() transport.Ends { return transport.Ends(s) }

// send sends one copy and reads its answer to the end, so that the connection can be reused.
func (s *shadows) send(c *cluster.Cluster, client shadowed, request []byte, method string) {
	result := telemetry.MirrorFailed
	defer func() {
		if fault := recover(); fault != nil {
			s.p.report(fault)
		}
		s.p.cfg.Metrics.Mirrors.Count(result)
		<-s.slots
	}()
	began := transport.Now()
	pass, refused := c.Admit(began, false)
	if refused != nil {
		result = telemetry.MirrorDropped
		return
	}
	defer pass.Excuse() // what becomes of copies trips nothing
	host, err := c.Pick(cluster.Request{})
	if err != nil {
		return
	}
	by := began.Add(shadowTimeout)
	host.Begin()
	defer func() {
		if result == telemetry.MirrorDropped {
			host.Cancel()
			return
		}
		now := transport.Now()
		end := cluster.Outcome{Latency: now.Sub(began), Copy: true}
		if result == telemetry.MirrorFailed {
			end.Result = health.Unanswered
		}
		host.End(now, end)
	}()
	conn, reused, err := host.For(client).Acquire(s.p.ctx, began, by, 0)
	if err != nil {
		if errors.As(err, new(*cluster.Refusal)) {
			result = telemetry.MirrorDropped
		}
		return
	}
	reusable := false
	defer func() {
		if reusable {
			host.Release(conn, 0, transport.Now())
		} else {
			host.Release(conn, 0, 0)
		}
	}()
	reusable, err = exchangeCopy(conn, request, method, transport.Wait{By: by, Watch: s.p.ctx.Err})
	switch {
	case err == nil:
		result = telemetry.MirrorSent
	case !reused:
		_ = host.Rejected(err) // remembers why; nobody waits for the copy
	}
}

// exchangeCopy reports whether the connection can be used again.
func exchangeCopy(conn *transport.Conn, request []byte, method string, wait transport.Wait) (bool, error) {
	u := upstream{conn: conn}
	defer u.buf.Release()
	if _, _, err := conn.Exchange(request, &u.buf, wait); err != nil {
		return false, err
	}
	for {
		n, err := u.resp.Parse(u.buf.Bytes(), &answerLimits, []byte(method))
		if err != nil {
			return false, err
		}
		if n > 0 {
			u.buf.Consume(n)
			if u.resp.Status >= 200 {
				break
			}
			u.resp.Reset()
			continue
		}
		if err := u.more(wait); err != nil {
			return false, err
		}
	}
	return u.skipBody(wait)
}

// skipBody reads an answer's body and forgets it.
func (u *upstream) skipBody(wait transport.Wait) (reusable bool, err error) {
	chunks := http1.Chunked{Answer: true}
	rest := u.resp.Length
	for read := 0; read < shadowAnswer; {
		n, done := u.buf.Len(), false
		switch u.resp.Body {
		case http1.BodyNone:
			n, done = 0, true
		case http1.BodyLength:
			n = int(min(int64(n), rest))
			rest -= int64(n)
			done = rest == 0
		case http1.BodyChunked:
			if n, done, err = chunks.Scan(u.buf.Bytes()); err != nil {
				return false, err
			}
		}
		u.buf.Consume(n)
		read += n
		if done {
			return u.resp.KeepAlive && u.buf.Len() == 0, nil
		}
		err := u.more(wait)
		if u.resp.Body == http1.BodyUntilClose && errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}
