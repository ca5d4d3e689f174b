package stream

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/health"
)

// session is the datagrams of one client. The listener's reader sends them on, and run, in a
// goroutine of its own, the host's answers. A host that is gone, or that says that it does not
// listen, is left, and with the client's next datagram another one is chosen:
//
//	begin ──► with an upstream ── idle ──► over
//	               │    ▲                   ▲
//	    refused by │    │ the next datagram │ idle
//	      the host ▼    │                   │
//	            without one ────────────────┘
type session struct {
	table   *table
	path    path
	control []byte // says which of our addresses answers come from; empty: there is only one
	began   transport.Instant
	shard   int
	routing *routing // that it began with, and is counted for

	asked    atomic.Int64 // when the client sent last
	answered atomic.Int64 // when the host did; 0: never
	in, out  atomic.Int64 // bytes
	fault    atomic.Pointer[fault]

	at    atomic.Pointer[upstream] // the last one, which may be left already; only the reader stores it
	over  atomic.Bool
	wakes chan struct{} // to run, while it has no upstream
	armed sync.Mutex    // the upstream's deadline is being decided
	tries atomic.Int32  // upstreams
}

// fault is why a session has no answers.
type fault struct {
	flag   model.Flag
	detail string
}

// newSession begins a session, whose first datagram has gone nowhere yet.
func newSession(t *table, from path, r *routing) *session {
	now := transport.Now()
	s := &session{table: t, path: from, routing: r, shard: t.p.NextShard(), began: now, wakes: make(chan struct{}, 1)}
	s.asked.Store(int64(now))
	return s
}

// send passes one of the client's datagrams on, without waiting. It is the reader's, as are
// the ones that follow.
func (s *session) send(datagram []byte) {
	stats := s.table.stats
	if s.table.port.refuses() {
		stats.Drop(telemetry.DroppedNoRoute)
		return
	}
	reason := telemetry.DroppedUnreachable
	for range 2 {
		u := s.upstream()
		if u == nil {
			return // counted
		}
		err := u.send(datagram)
		switch {
		case err == nil:
			s.in.Add(int64(len(datagram)))
			s.move(u, int64(len(datagram)), 0)
			return
		case unreachable(err): // this tells of an earlier one, and this one was not sent
			s.refused(u, err)
			continue
		case errors.Is(err, syscall.EMSGSIZE): // so does this, if it is not too large at all
			reason = telemetry.DroppedOther
			continue
		case errors.Is(err, net.ErrClosed): // run has been told the same first
			continue
		case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOBUFS):
			stats.Drop(telemetry.DroppedFull)
		default:
			stats.Drop(telemetry.DroppedOther)
		}
		return
	}
	stats.Drop(reason)
}

// refuses reports whether a policy has closed the route meanwhile. That it is gone is no
// reason to end who was there.
func (p *port) refuses() bool {
	r := p.route.Load()
	return r != nil && r != r.engine.unrouted && r.now.Load().model.Refusal != nil
}

// upstream returns where datagrams go, a new one if need be; nil: nowhere, which is counted.
func (s *session) upstream() *upstream {
	u := s.at.Load()
	if u != nil && !u.left.Load() && u.host.Draining() {
		s.leave(u, model.FlagNone)
	}
	if u != nil && !u.left.Load() {
		return u
	}
	u, flag, reason, err := s.connect(u)
	if err != nil {
		s.table.stats.Drop(reason)
		s.fault.Store(&fault{flag, err.Error()})
		return nil
	}
	u.try = int(s.tries.Add(1)) - 1
	s.at.Store(u)
	if s.over.Load() { // so late that run has not seen it
		s.leave(u, model.FlagNone)
		s.table.stats.Drop(telemetry.DroppedOther)
		return nil
	}
	s.wake()
	return u
}

// connect opens a socket to a host, another one than last, which may be nil, if there is one.
func (s *session) connect(last *upstream) (*upstream, model.Flag, telemetry.DatagramDrop, error) {
	routing, arm, refusal := s.choose(last)
	if refusal != nil {
		return nil, model.ParseFlag(refusal.Flag), telemetry.DroppedNoRoute, errors.New(refusal.Reason)
	}
	request := cluster.Request{Hash: hashOf(s.path.client.Addr()), Hashed: true}
	if last != nil {
		request.Tried = []*cluster.Host{last.host}
	}
	host, err := arm.cluster.Pick(request)
	if err == nil && host.Draining() { // of a cluster that has gone: there is none that stays
		err = cluster.ErrNoHost
	}
	if err != nil {
		return nil, model.FlagUH, telemetry.DroppedNoHost, err
	}
	conn, err := host.ConnectPacket(s.table.engine.cfg.Context)
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return nil, model.FlagUF, telemetry.DroppedDescriptors, err
	case err != nil:
		return nil, model.FlagUF, telemetry.DroppedUnreachable, err
	}
	u, err := newUpstream(host, conn)
	if err != nil {
		host.ReleasePacket(conn)
		return nil, model.FlagUF, telemetry.DroppedOther, err
	}
	u.routing, u.arm = routing, arm
	host.Begin()
	host.Series.Begin(s.shard)
	arm.series.Begin(s.shard)
	return u, model.FlagNone, 0, nil
}

// choose returns where the session goes: where it was, as long as its route says so, else
// where the listener's route leads now.
func (s *session) choose(last *upstream) (*routing, *arm, *model.Refusal) {
	now := s.routing
	if r := s.table.port.route.Load(); r != nil {
		now = r.now.Load()
	}
	if last != nil && last.routing == now {
		return now, last.arm, nil
	}
	a, refusal := now.choose(s.table.engine.cfg.Random)
	return now, a, refusal
}

// refused leaves an upstream that has said that nobody listens there.
func (s *session) refused(u *upstream, err error) {
	if s.leave(u, model.FlagUF) {
		s.fault.Store(&fault{model.FlagUF, u.host.Unreachable(err).Error()})
	}
}

// leave closes an upstream, once. It returns false if that has been done.
func (s *session) leave(u *upstream, flag model.Flag) bool {
	if !u.left.CompareAndSwap(false, true) {
		return false
	}
	u.host.ReleasePacket(u.conn)
	now := transport.Now()
	took := now.Sub(u.since)
	if flag == model.FlagUF {
		u.host.End(now, cluster.Outcome{Shard: s.shard, Result: health.Unanswered, Latency: took})
	} else {
		u.host.Cancel() // how long a session lasts says nothing about the host
	}
	out := telemetry.Outcome{Flag: flag, Duration: took, Retries: min(u.try, 1)}
	u.host.Series.End(s.shard, &out)
	u.arm.series.End(s.shard, &out)
	return true
}

// move counts bytes of a session that goes on.
func (s *session) move(u *upstream, in, out int64) {
	s.routing.series.Move(s.shard, in, out)
	u.arm.series.Move(s.shard, in, out)
	u.host.Series.Move(s.shard, in, out)
}

// run passes answers on until the session is over.
func (s *session) run() {
	defer s.end()
	for {
		u := s.at.Load()
		if u != nil && !u.left.Load() {
			s.hear(u)
		}
		until, over := s.table.expired(s, transport.Now())
		if over {
			return
		}
		if u = s.at.Load(); u == nil || u.left.Load() {
			s.await(until)
		}
	}
}

// await waits for a new upstream, or until then.
func (s *session) await(until transport.Instant) {
	timer := time.NewTimer(until.Sub(transport.Now()))
	defer timer.Stop()
	select {
	case <-s.wakes:
	case <-timer.C:
	}
}

// hear passes an upstream's answers on until it is left, or the session should look whether
// it is over.
func (s *session) hear(u *upstream) {
	defer func() {
		if f := recover(); f != nil {
			s.table.engine.report(f)
			s.leave(u, model.FlagWI)
		}
	}()
	s.schedule(u)
	for {
		answer, err := u.receive()
		if err == nil {
			s.reply(u, answer)
			if s.table.draining.Load() {
				s.schedule(u) // it may end sooner now
			}
			continue
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, syscall.EMSGSIZE):
			continue // a router has dropped one, and the kernel sends smaller pieces from now on
		case unreachable(err):
			s.refused(u, err)
		default: // closed by the reader, as a rule
			s.leave(u, model.FlagUR)
		}
		return
	}
}

// reply sends an answer to the client and gives its buffer back.
func (s *session) reply(u *upstream, answer *packet) {
	defer packets.Put(answer)
	now := transport.Now()
	if !u.heard {
		u.heard = true
		u.host.Reached(now, s.shard, now.Sub(u.since))
		s.fault.Store(nil)
	}
	s.answered.Store(int64(now))
	b := answer.bytes[:answer.n]
	stats := s.table.stats
	_, _, err := s.table.socket.WriteMsgUDPAddrPort(b, s.control, s.path.client)
	switch {
	case err == nil:
		stats.DatagramOut(len(b))
		s.out.Add(int64(len(b)))
		s.move(u, 0, int64(len(b)))
	case errors.Is(err, syscall.ENOBUFS):
		stats.Drop(telemetry.DroppedFull)
	default:
		stats.Drop(telemetry.DroppedOther)
	}
}

// schedule has the wait for u's answers end when the session should look whether it is over.
// Whoever changes that calls rouse afterwards: either schedule sees the change, or rouse comes
// after it.
func (s *session) schedule(u *upstream) {
	s.armed.Lock()
	defer s.armed.Unlock()
	at := longAgo
	if !s.table.cut.Load() {
		at = s.until().Time()
	}
	_ = u.conn.SetReadDeadline(at) // a closed one says so when it is read
}

// wake has run look at what has changed.
func (s *session) wake() {
	select {
	case s.wakes <- struct{}{}:
	default: // it has not looked since the last time
	}
}

// rouse is wake for when run may wait for answers.
func (s *session) rouse() {
	s.wake()
	s.armed.Lock()
	defer s.armed.Unlock()
	if u := s.at.Load(); u != nil {
		_ = u.conn.SetReadDeadline(longAgo)
	}
}

// until is when the session is over if nothing passes.
func (s *session) until() transport.Instant {
	asked, answered := transport.Instant(s.asked.Load()), transport.Instant(s.answered.Load())
	idle := s.routing.model.Idle
	if idle <= 0 {
		idle = DefaultUDPIdle
	}
	if answered >= asked && s.table.draining.Load() {
		return answered.Add(min(idle, drainQuiet))
	}
	return max(asked, answered).Add(idle)
}

// end counts and logs a session that its table has let go of.
func (s *session) end() {
	s.over.Store(true)
	f := s.fault.Load()
	if f == nil {
		f = &fault{}
		if s.table.cut.Load() {
			f = &fault{model.FlagWD, ""}
		}
	}
	u := s.at.Load()
	if u != nil {
		s.leave(u, f.flag)
	}
	took := transport.Now().Sub(s.began)
	s.routing.series.End(s.shard, &telemetry.Outcome{Flag: f.flag, Duration: took, Retries: max(int(s.tries.Load())-1, 0)})
	s.table.p.Give(0, 0) // bytes were counted as they passed
	if u != nil {        // else nothing has passed, and a flood of that would fill the log
		s.log(f, u, took)
	}
}

func (s *session) log(f *fault, u *upstream, took time.Duration) {
	s.table.engine.cfg.AccessLog.Write(s.shard, &telemetry.Record{
		Time: time.Now().Add(-took), Client: s.path.remote(), Request: telemetry.RequestPart{Protocol: "UDP"},
		Flag: f.flag, Detail: f.detail, Route: s.routing.model.Name, Cluster: u.arm.model.Cluster, Upstream: u.host.Address(),
		BytesIn: s.in.Load(), BytesOut: s.out.Load(), Timings: telemetry.Timings{Total: took},
	})
}
