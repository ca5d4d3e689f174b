package proxy

import (
	"log/slog"
	"runtime/debug"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/listener"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/release"
	"weir.dev/weir/dataplane/shadow"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/match"
)

// exchange is one connection's present request and everything that serving it needs. An
// idle connection has none: they are pooled, so that a plain request allocates nothing and
// the next one, whosever it is, finds warm memory.
type exchange struct {
	p    *Proxy
	c    *listener.Conn
	door *door

	stream listener.Conn // c, of a request that came in a stream
	major  int           // of its HTTP's version, 2 or 3; 0: it came in no stream

	// The request.
	view    *view
	in      *transport.Buffer // what the client sent: the head, then body or the next request
	req     http1.Request
	head    int // bytes of the head at the start of in
	body    body
	query   match.Request // what routes are asked
	caller  policy.Caller
	id      policy.Identity
	route   *route
	match   *model.Match
	arm     *arm
	bond    bond
	drawn   release.Draw
	facts   policy.Facts // while keys look at the request: here, so that they are not allocated
	forward forward
	call    call

	timeouts *model.Timeouts   // the route's, or shorter ones while it is overloaded
	deadline transport.Instant // the caller's (grpc-timeout, x-weir-timeout-ms); 0: none
	waited   bool              // something took time between the head and the first try
	nested   bool              // the caller says that it sends the request again itself

	pass   cluster.Pass // the present try's, of its cluster's breaker
	next   cluster.Pass // of a retry that has been admitted and not begun
	hedges *hedges      // made by the first request that may be hedged
	beside *hedges      // hedges while the first try is under way and they may be sent; else nil
	hedged int          // tries that were sent beside the first

	overload admission
	broken   broken // what it has met on purpose

	shadowing    *shadow.Tap // what it has to do with copies; nil: nothing
	shadowMemory *shadow.Tap // made by the first request that is copied

	// The answer.
	up        *upstream // the present try; after hedging, the one that is answered from
	out       []byte    // a head under construction, either way
	scratch   []byte    // fields of an answer of our own
	idMemory  []byte
	armMemory []byte // of drawn.Line
	result    result
	started   transport.Instant // when the first byte came
	asked     transport.Instant // when the head was complete
	coding    coding
	timings   timings
	attempts  []telemetry.Attempt

	explaining bool // the caller asked for an explanation, and may

	watch     func() error                        // bound once: watchTry
	trailer   func(name http1.Name, value []byte) // bound once: takeTrailer
	leftSince transport.Instant
	idleSince transport.Instant
	trying    bool // a try has been counted as begun and not yet as ended

	sampled uint8 // requests since the last one that telemetry.Callers heard of
}

// forward is what the policies changed about the request that is forwarded.
type forward struct {
	path   []byte
	host   string // empty: the request's
	memory []byte
}

// result is how a request ended.
type result struct {
	status  int
	flag    model.Flag
	detail  string // more about the flag, for the log
	in, out int64  // bytes from and to the client
	request int64  // bytes of the head that is forwarded
	retries int
	sent    bool // an answer's head has been sent
	close   bool // the connection ends after this request
	abort   bool // and ends at once, because the answer could not be completed
	tunnel  bool // the connection became a tunnel
	counted bool // observe has run
}

// timings are the instants that the access log wants; only kept when there is one.
type timings struct {
	head, attempt, sent, firstByte transport.Instant
	connect                        int64 // nanoseconds
}

// newExchange makes one for the pool.
func newExchange() any {
	x := &exchange{up: new(upstream)}
	x.watch, x.trailer = x.watchTry, x.takeTrailer
	x.query.Headers = &x.req.Head
	return x
}

// serveWaiting serves the requests whose bytes have begun to come, and then gives the
// exchange back to the pool. It returns whether the connection stays open, and since when
// it is idle.
func (x *exchange) serveWaiting() (since transport.Instant, open bool) {
	defer x.contain() // after a panic the exchange is not used again, and open is false
	more := true
	for more && x.in.Len() > 0 {
		more = x.serveOne()
	}
	since, pool := x.idleSince, &x.p.exchanges
	x.release()
	pool.Put(x)
	return since, more
}

// release gives back what the exchange holds of the connection and of its request.
func (x *exchange) release() {
	x.body.full.Release()
	x.up.discard()
	if x.coding.encoder != nil { // after a panic
		x.p.encoders.Drop(x.coding.encoder)
		x.coding = coding{}
	}
	x.c, x.door, x.in = nil, nil, nil
	if x.drawn.Made() {
		x.drawn = release.Draw{}
	}
	x.stream, x.major = listener.Conn{}, 0
}

// contain keeps a defect in the handling of one connection from ending the process.
func (x *exchange) contain() {
	if fault := recover(); fault != nil {
		x.p.report(fault)
		x.result.flag, x.result.abort = model.FlagWI, true
		x.abandonTurn()
		x.abandonHedges()
		x.dropRetry()
		if x.trying {
			x.endTry(x.timings.attempt, &failure{flag: model.FlagWI})
		}
		x.observe()
		x.c.Abort()
		x.release()
	}
}

// report logs a panic that has been contained.
func (p *Proxy) report(fault any) {
	p.cfg.Log.Error("panic contained", slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
}

// serveOne serves the next request and reports whether another may follow.
func (x *exchange) serveOne() bool {
	x.reset()
	ok, refused := x.readHead()
	if !ok {
		return false
	}
	if refused == nil {
		x.handle()
	} else {
		x.result.close = true
		x.refuse(*refused)
	}
	x.observe()
	return x.finish()
}

// reset forgets the last request but not its memory.
func (x *exchange) reset() {
	x.req.Reset()
	x.body.reset()
	x.result = result{}
	x.timings = timings{}
	x.attempts = x.attempts[:0]
	x.route, x.match, x.arm, x.up.host = nil, nil, nil, nil
	x.bond, x.call, x.explaining = bond{}, call{}, false
	x.overload = admission{turn: x.overload.turn, keeper: x.overload.keeper}
	x.deadline, x.waited, x.nested, x.hedged = 0, false, false, 0
	if x.broken.n > 0 {
		x.broken = broken{}
	}
	if x.drawn.Made() {
		x.drawn = release.Draw{}
	}
	x.coding = coding{}
	x.forward.path, x.forward.host = nil, ""
	x.caller, x.id = policy.Caller{}, policy.Identity{} // they may point into another connection's memory
	x.head, x.leftSince, x.started = 0, 0, 0
	if cap(x.out) > transport.Small {
		x.out = nil // an idle connection does not keep what one long head needed
	}
}

// handle carries one request, whose head is complete, from match to answer.
func (x *exchange) handle() {
	if x.logging() {
		x.timings.head = transport.Now()
	}
	x.result.close = !x.req.KeepAlive || x.view.client.KeepAlive <= 0 || x.closing()
	x.id = policy.Identify(x.idMemory, &x.req.Head, x.p.cfg.Random)
	if x.id.Made {
		x.idMemory = x.id.ID
	}
	x.caller = x.view.forwarding.Judge(x.c.Remote.Addr(), x.c.Identity(), &x.req.Head)
	x.caller.Major = x.major
	x.explaining = x.asksToExplain()
	if x.id.Marked && x.caller.Trusted {
		x.readMarks()
	}
	if err := x.frame(); err != nil {
		x.result.close = true
		x.refuse(refusal{status: statusOf(err), flag: model.FlagDPE, detail: err.Error()})
		return
	}
	if x.req.GRPC {
		if refused := x.readCall(); refused != nil {
			x.refuse(*refused)
			return
		}
	}
	if x.pressed() {
		return
	}
	if why := x.misdirected(); why != "" {
		x.refuse(refusal{status: 421, flag: model.FlagDPE, detail: why})
		return
	}
	if !x.findRoute() {
		x.refuse(refusal{flag: model.FlagNR})
		return
	}
	x.route.series.Begin(x.c.Shard)
	if x.expired() || x.giveWay() {
		return
	}
	for _, s := range x.route.steps {
		if s(x) {
			return
		}
	}
	x.arm = x.chooseArm()
	switch {
	case x.arm == nil:
		x.refuse(refusal{flag: model.FlagNC, detail: "no backend has any weight"})
	case x.arm.cluster == nil:
		x.refuse(refusalOf(x.arm.model.Refusal))
	case !x.throttled():
		x.carry()
	}
}

// findRoute looks up the route of the request and remembers what matched.
func (x *exchange) findRoute() bool {
	t, ok := x.view.tables.Find(x.req.Host)
	if !ok {
		return false
	}
	q := &x.query
	q.Host, q.Method, q.Path, q.Query = x.req.Host, x.req.Method, x.req.Path, x.req.Query
	hit, ok := t.routes.Find(q)
	if !ok {
		return false
	}
	x.route, x.match = hit.Value, hit.Match
	x.timeouts = &x.route.timeouts
	return true
}

// closing reports whether answers should close their connections now.
func (x *exchange) closing() bool {
	return x.p.draining.Load() || x.c.Socket.Draining()
}

// finish leaves the connection ready for the next request, or ends it.
func (x *exchange) finish() bool {
	switch {
	case x.result.abort:
		x.breakOff()
		return false
	case x.result.tunnel:
		return false
	case x.result.close || !x.body.consumed(x):
		x.linger()
		return false
	}
	return true
}

// logging reports whether the access log wants this request's details.
func (x *exchange) logging() bool { return x.p.cfg.AccessLog != nil }
