package proxy

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/health"
)

// side is one try beside the first. It shares nothing with the exchange, which it may outlive.
type side struct {
	of     *hedges
	proxy  *Proxy
	series *telemetry.Series // the cluster's
	client transport.Ends
	shard  int

	up      *upstream
	pass    cluster.Pass
	out     []byte // the request
	head    int64  // bytes of its head
	method  []byte
	began   transport.Instant
	by      transport.Instant // when it is over, and
	last    transport.Instant // when the whole request is; 0: never
	idle    time.Duration
	ctx     context.Context // of its dials
	cancel  context.CancelFunc
	stop    atomic.Bool // another try has won, or nobody waits any more
	dialled bool        // guarded by of.mu: up.conn is there, and may be woken
}

// run makes the try and says how it went.
func (s *side) run() {
	defer s.proxy.sides.Done()
	defer s.cancel()
	fail := &failure{flag: model.FlagWI, err: errPanic}
	defer func() {
		if fault := recover(); fault != nil {
			s.proxy.report(fault)
		}
		s.end(fail)
	}()
	fail = s.ask()
}

// ask sends the request and reads the head of the answer. Interim answers are the first try's to
// pass on.
func (s *side) ask() *failure {
	u := s.up
	lane := u.host.For(s.client)
	var err error
	u.conn, u.reused, err = lane.Acquire(s.ctx, s.began, s.by, s.shard)
	for {
		if !s.dials(err == nil) {
			return &failure{err: errOutrun}
		}
		if err != nil {
			return s.failed(model.FlagUF, err)
		}
		wait := transport.Wait{By: transport.Earlier(s.by, s.began.Add(s.idle)), Stop: &s.stop, Watch: s.proxy.ctx.Err}
		if _, _, err = u.conn.Exchange(s.out, &u.buf, wait); err == nil {
			if u.head, err = (cluster.Answer{Conn: u.conn, In: &u.buf, Head: &u.resp}).ReadHead(s.method, wait); err == nil {
				return nil
			}
		}
		flag := flagOf(err)
		if !u.reused || u.buf.Len() > 0 || flag != model.FlagUC && flag != model.FlagUR {
			return s.failed(flag, err)
		}
		s.dials(false) // the pooled connection was dead: another one, free of charge
		u.host.Stats.Races.Add(1)
		u.discard()
		u.conn, err = lane.Fresh(s.ctx, s.by)
		u.reused = false
	}
}

// dials says whether the side has a connection now, and reports whether it is wanted still.
func (s *side) dials(has bool) bool {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.dialled = has
	return !s.stop.Load()
}

// failed says what an error means. A limit of its cluster is not the host's doing.
func (s *side) failed(flag model.Flag, err error) *failure {
	switch {
	case s.stop.Load():
		return &failure{err: errOutrun}
	case s.proxy.ctx.Err() != nil:
		flag = model.FlagWD
	case errors.As(err, new(*cluster.Refusal)):
		flag = model.FlagUO
	case s.by != 0 && transport.Now() >= s.by:
		if flag = model.FlagUT; s.by == s.last {
			flag = model.FlagPT
		}
	}
	return &failure{flag: flag, err: err}
}

// end hands the try to the exchange if it has won, and else ends it.
func (s *side) end(fail *failure) {
	if lost, excused, result := s.report(fail); lost != nil {
		s.lose(lost, excused, result)
	}
}

// report tells the exchange how the try went, if it waits still. If the try has not won it
// returns why, and what that means for the host.
func (s *side) report(fail *failure) (lost *failure, excused bool, result health.Result) {
	h := s.of
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.stop.Load() { // the exchange may be another request's by now
		return &failure{err: errOutrun}, true, health.Served
	}
	if i := slices.Index(h.sides, s); i >= 0 {
		h.sides = slices.Delete(h.sides, i, i+1)
	}
	defer h.awaken()
	x := h.x
	if fail == nil && !x.unwanted(s.up, x.route.retry, s.by) {
		if h.won != nil {
			return &failure{err: errOutrun}, true, health.Served
		}
		h.win(s)
		return nil, false, health.Served
	}
	if fail == nil {
		fail = &failure{flag: model.FlagU5}
	}
	h.ended = append(h.ended, s.attempt(fail))
	return fail, x.excused(s.up, fail.flag), x.resultOfTry(s.up, fail.flag)
}

// lose ends a try that has not won.
func (s *side) lose(fail *failure, excused bool, result health.Result) {
	u := s.up
	u.discard()
	now := transport.Now()
	took := now.Sub(s.began)
	if excused {
		s.pass.Excuse()
		u.host.Cancel()
	} else {
		s.pass.Done(now, result.Failed())
		u.host.End(now, cluster.Outcome{Shard: s.shard, Result: result, Latency: took})
	}
	out := telemetry.Outcome{Flag: fail.flag, Duration: took, BytesIn: int64(len(s.out)), Retries: 1}
	u.host.Series.End(s.shard, &out)
	s.series.End(s.shard, &out)
}

// attempt is the try as the access log has it.
func (s *side) attempt(fail *failure) telemetry.Attempt {
	a := telemetry.Attempt{Host: s.up.host.Address(), Duration: transport.Now().Sub(s.began), Flag: fail.flag}
	if fail.flag == model.FlagU5 {
		a.Status = s.up.resp.Status
	}
	if fail.err != nil {
		a.Err = fail.err.Error()
	}
	return a
}
