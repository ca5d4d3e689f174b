package proxy

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/health"
)

// A route may have a second try sent beside a first one that is slow, to another host (Dean and
// Barroso, The Tail at Scale, 2013). The first good answer is the client's: one that the route
// would not try again for. The other try ends at once; that is no failure of its host. Tries
// that follow a failure are not hedged: they are late already, and cost the same budget.
//
//	the request's goroutine   connect ── send ── wait ········┬── settle ── answer the client
//	                             │ arm                  yield │
//	a timer's, if it fires       └······ after ── admit ── connect ── send ── wait ── win or lose
//
// Under model.ModeObserve nothing is sent: at the moment at which a side would be it is counted, and
// held against the budgets that observe. Bodies are not kept for that, so what is uploaded slowly
// is not counted.
//
// Nothing runs beside the first try before the time is over, and nothing is allocated. What the
// two share is hedges, under its lock: a side reads the exchange only under it and while the
// first try is open. A first try that is outrun was as slow as it was: that its host is slow
// would else be nowhere seen, and a quantile be one of the fast answers alone.

// hedges are the tries beside the first one of an exchange's requests, one after the other. It
// is the context of the first try's dials as well, which end when another try wins.
type hedges struct {
	x     *exchange
	proxy *Proxy
	yield atomic.Bool   // Stop of the first try's waits: another one has won
	wake  chan struct{} // a side has ended

	mu    sync.Mutex
	timer *time.Timer
	open  bool              // sides may start and win
	due   transport.Instant // when the next one starts
	after time.Duration     // between two of them
	left  int               // how many may start still
	// observes says that none starts: those are counted that would.
	observes bool
	conn     *transport.Conn    // of the first try, while it waits for its answer
	dial     context.Context    // of the first try, once somebody has asked for it
	cancel   context.CancelFunc // of dial
	hosts    []*cluster.Host    // the first try's, once it is chosen, and the sides'
	sides    []*side            // those under way
	ended    []telemetry.Attempt
	won      *side
}

// errOutrun ends a try because another one was faster.
var errOutrun = errors.New("another try was faster")

// hedge has the request sent a second time if the try that begins now, which has until by, is
// slow, where the route and the request allow that.
func (x *exchange) hedge(by transport.Instant) {
	r := x.route.retry
	if r == nil || r.model.Hedge == nil || x.result.retries > 0 || !x.hedgeable(r) {
		return
	}
	spec := r.model.Hedge
	after := spec.After
	now := transport.Now()
	if after == 0 {
		after, _ = x.arm.cluster.Quantile(now, spec.Quantile)
	}
	if after <= 0 || by != 0 && now.Add(after) >= by {
		return
	}
	if x.hedges == nil {
		x.hedges = &hedges{x: x, proxy: x.p, wake: make(chan struct{}, 1)}
	}
	x.beside = x.hedges
	x.beside.arm(now, after, spec)
}

// hedgeable reports whether the request is one that may be sent to two hosts at once. What belongs to
// a session is known to one.
func (x *exchange) hedgeable(r *retries) bool {
	if x.bond.held != nil || !x.body.whole || !x.body.replayable() || x.upgrading() || x.noRetries() || x.nested && !r.model.Nested {
		return false
	}
	return x.repeats(r) || x.req.GRPC && len(r.model.GRPCCodes) > 0
}

// arm lets sides start, the first one after so long.
func (h *hedges) arm(now transport.Instant, after time.Duration, spec *model.Hedge) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.yield.Store(false)
	h.open, h.after, h.left, h.due = true, after, spec.Max, now.Add(after)
	h.observes = spec.Mode == model.ModeObserve
	clear(h.hosts)
	h.hosts, h.ended = h.hosts[:0], h.ended[:0]
	if h.timer == nil {
		h.timer = time.AfterFunc(after, h.fire)
	} else {
		h.timer.Reset(after)
	}
}

// chose says which host the first try is at.
func (h *hedges) chose(host *cluster.Host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hosts = append(h.hosts, host)
}

// holds says which connection the first try waits at, nil for none, and reports whether it is
// wanted still.
func (h *hedges) holds(c *transport.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conn = c
	return h.won == nil
}

// fire starts a side when the time for it has come. It runs in a goroutine of its own, and a
// defect before the side is under way costs nothing but the side.
func (h *hedges) fire() {
	defer func() {
		if fault := recover(); fault != nil {
			h.proxy.report(fault)
		}
	}()
	if s := h.start(); s != nil {
		s.run()
	}
}

func (h *hedges) start() *side {
	h.mu.Lock()
	defer h.mu.Unlock()
	// A timer may fire late, for a request that is over.
	if !h.open || h.won != nil || h.left == 0 || transport.Now() < h.due || len(h.hosts) == 0 {
		return nil
	}
	s := h.launch()
	if s == nil {
		return nil
	}
	h.sides = append(h.sides, s)
	h.proxy.sides.Add(1)
	h.next(s.began, s.up.host)
	return s
}

// next has another side follow the one to host that began then, or would have. It is called with mu
// held.
func (h *hedges) next(began transport.Instant, host *cluster.Host) {
	h.hosts = append(h.hosts, host)
	if h.left--; h.left > 0 {
		h.due = began.Add(h.after)
		h.timer.Reset(h.after)
	}
}

// launch makes a side, if there is another host and the breaker and the budget let it through.
// It is called with mu held, while the exchange waits for its first try.
func (h *hedges) launch() *side {
	x := h.x
	host, err := x.pick(h.hosts)
	if err != nil || x.drawn.OnLostCanary() {
		return nil
	}
	for _, tried := range h.hosts {
		if host == tried {
			return nil
		}
	}
	now := transport.Now()
	if h.observes {
		if x.arm.cluster.WouldHedge(now, x.route.retry.model.Budget) {
			x.protection(telemetry.ProtectHedge + "sent").Count(model.ModeObserve)
			h.next(now, host)
		}
		return nil
	}
	s := &side{
		of: h, proxy: h.proxy, series: x.arm.series, client: x.c.Ends(), shard: x.c.Shard,
		up: &upstream{host: host, extra: true}, began: now, last: x.requestBy(), idle: x.timeouts.Idle,
		method: append([]byte(nil), x.req.Method...),
	}
	s.by = transport.Earlier(s.last, now.Add(x.timeouts.PerTry))
	n := x.hedged + 2
	s.out = x.appendRequest(nil, x.arm.request, sending{n: n, by: s.by, marks: x.appendMarks(nil, n, s.by)})
	s.head = int64(len(s.out) - x.body.have)
	var denied telemetry.ProtectionKind
	if s.pass, denied = admitExtra(x.arm.cluster, now, x.route.retry); denied != "" { // last: see fire
		return nil
	}
	x.hedged++
	x.protection(telemetry.ProtectHedge + "sent").Count(model.ModeEnforce)
	s.ctx, s.cancel = context.WithCancel(x.p.ctx)
	host.Begin()
	host.Series.Begin(s.shard)
	s.series.Begin(s.shard)
	return s
}

// Deadline implements context.Context.
func (h *hedges) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (h *hedges) Done() <-chan struct{} { return h.dialling().Done() }

// Err implements context.Context.
func (h *hedges) Err() error { return h.dialling().Err() }

// Value implements context.Context.
func (h *hedges) Value(key any) any { return h.dialling().Value(key) }

// dialling returns the context of the first try's dials, made when one asks: most tries find a
// connection.
func (h *hedges) dialling() context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.open {
		return h.proxy.ctx
	}
	if h.dial == nil {
		h.dial, h.cancel = context.WithCancel(h.proxy.ctx)
		if h.won != nil {
			h.cancel()
		}
	}
	return h.dial
}

// awaken has the exchange look at how things stand, if it waits for sides.
func (h *hedges) awaken() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// win makes a side the one that is answered from, and ends the first try's waits. It is called
// with mu held.
func (h *hedges) win(s *side) {
	h.won = s
	h.yield.Store(true)
	if h.conn != nil {
		h.conn.Wake()
	}
	if h.cancel != nil {
		h.cancel()
	}
}

// peek is how often one who waits for sides looks whether its client is there still.
const peek = 250 * time.Millisecond

// await waits until a side has won or none is under way. An error is the client's leaving.
func (h *hedges) await(left func() error) error {
	var ticks <-chan time.Time
	for {
		h.mu.Lock()
		over := h.won != nil || len(h.sides) == 0
		h.mu.Unlock()
		if over {
			return nil
		}
		if ticks == nil {
			ticker := time.NewTicker(peek)
			defer ticker.Stop()
			ticks = ticker.C
		}
		select {
		case <-h.wake:
		case <-ticks:
			if err := left(); err != nil {
				return err
			}
		}
	}
}

// close ends what is under way, and returns the side that has won; nil: none has.
func (h *hedges) close() *side {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timer.Stop()
	won := h.won
	h.open, h.won, h.conn = false, nil, nil
	if h.cancel != nil {
		h.cancel()
		h.dial, h.cancel = nil, nil
	}
	for _, s := range h.sides {
		h.ended = append(h.ended, s.attempt(&failure{err: errOutrun}))
		s.stop.Store(true)
		s.cancel()
		if s.dialled {
			s.up.conn.Wake()
		}
	}
	clear(h.sides)
	h.sides = h.sides[:0]
	return won
}

// settleHedges decides between the first try, which has just ended so, and those beside it, for
// which it waits where the first one has brought nothing good. If one of them has won it is the
// present try from then on.
func (x *exchange) settleHedges(fail *failure) *failure {
	h := x.beside
	if fail != nil && fail.flag.Blame() != model.BlameClient || fail == nil && x.unwanted(x.up, x.route.retry, x.tryBy()) {
		if err := h.await(x.watch); err != nil {
			fail = &failure{flag: model.FlagDC, err: err}
		}
	}
	won := h.close()
	x.beside = nil
	x.result.retries += x.hedged
	if x.logging() || x.explaining {
		x.attempts = append(x.attempts, h.ended[:min(len(h.ended), telemetry.MaxAttempts-len(x.attempts))]...)
	}
	if won == nil {
		return fail
	}
	x.protection(telemetry.ProtectHedge + "won").Count(model.ModeEnforce)
	if fail == nil {
		fail = &failure{err: errOutrun}
		if x.unwanted(x.up, x.route.retry, x.tryBy()) {
			fail = &failure{flag: model.FlagU5}
		}
	}
	x.note(x.timings.attempt, fail)
	x.endTry(x.timings.attempt, fail)
	if x.drawn.Heard() && !errors.Is(fail.err, errOutrun) {
		x.judgeTry(fail) // it is the first one all the same
	}
	x.up, x.pass, x.trying = won.up, won.pass, true
	x.timings.attempt, x.result.request = won.began, won.head
	return nil
}

// abandonHedges ends all of them after a panic.
func (x *exchange) abandonHedges() {
	if x.beside == nil {
		return
	}
	if won := x.beside.close(); won != nil {
		won.lose(&failure{err: errOutrun}, true, health.Served)
	}
	x.beside = nil
}
