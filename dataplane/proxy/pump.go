package proxy

import (
	"errors"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// pump streams the rest of a request body to the upstream in a goroutine of its own, so
// that an upstream which answers early is heard. It holds one buffer; an upstream that does
// not read keeps it, and so the client, waiting. It owns the body's state until done.
type pump struct {
	done      chan struct{}
	stop      atomic.Bool  // the exchange is over: read no more
	ending    atomic.Bool  // the last bytes are being written, or have been
	ended     atomic.Bool  // they have been
	hungry    atomic.Bool  // it waits for the client
	moved     atomic.Int64 // transport.Instant of the last piece, for the idle timeout
	spent     atomic.Bool  // bytes are gone: the request cannot be sent again
	committed atomic.Bool  // it will not be: nothing need be kept
	failed    atomic.Bool  // the request cannot be completed; flag and err say why
	flag      model.Flag   // DPE: the client broke off or broke the protocol; UT: the upstream took no more
	err       error        // nil if the body ended well or the upstream's connection broke
}

// startPump sends what is left of the body to conn. What is at hand has been sent.
func (x *exchange) startPump(conn *transport.Conn) {
	b := &x.body
	b.move(x)
	b.pump = &pump{done: make(chan struct{})}
	b.pump.moved.Store(int64(transport.Now()))
	go x.runPump(b.pump, conn, b.spend(b.pump))
}

// spend drops bytes that have been sent, unless they are kept for another try, and returns how
// many are at hand still.
func (b *body) spend(p *pump) int {
	if b.keep && b.have <= b.limit && !p.committed.Load() {
		return b.have
	}
	b.keep, b.gone = false, true
	p.spent.Store(true)
	b.full.Consume(b.have)
	b.have = 0
	return 0
}

// commit lets go of what is kept for another try: an answer is on its way to the client.
func (b *body) commit() {
	if b.pump != nil {
		b.pump.committed.Store(true)
	}
}

// runPump sends the body behind the first bytes at hand, which have been sent.
func (x *exchange) runPump(p *pump, conn *transport.Conn, sent int) {
	defer close(p.done)
	defer func() {
		if fault := recover(); fault != nil {
			x.p.report(fault)
			p.fail(conn, model.FlagWI, errPanic)
		}
	}()
	transport.Deepen(sent)
	b := &x.body
	upstream := transport.Wait{Gap: x.timeouts.Idle, Patience: x.p.cfg.Pressure.Patience()}
	for !b.whole {
		if err := x.readBody(p); err != nil {
			p.fail(conn, model.FlagDPE, err)
			return
		}
		if b.whole {
			p.ending.Store(true)
		}
		if b.have == sent {
			continue
		}
		if err := conn.Write(b.full.Bytes()[sent:b.have], upstream); err != nil {
			b.whole = b.whole && b.keep // what the upstream did not take is not read on
			switch {
			case errors.Is(err, transport.ErrTimeout):
				p.fail(conn, model.FlagUT, err)
			case errors.Is(err, transport.ErrPressed):
				p.fail(conn, model.FlagOM, err)
			}
			return // the exchange hears from a broken connection itself
		}
		p.moved.Store(int64(transport.Now()))
		sent = b.spend(p)
	}
	p.ended.Store(true)
}

var errPanic = errors.New("internal error")

// fail makes the exchange's wait for the upstream end, unless the exchange is over already.
func (p *pump) fail(conn *transport.Conn, flag model.Flag, err error) {
	if p.stop.Load() {
		return
	}
	p.flag, p.err = flag, err
	p.failed.Store(true)
	conn.Wake()
}

// readBody reads and validates the next piece of the body. A call of gRPC may pause for as
// long as its stream may be idle: its next message may depend on the next answer.
func (x *exchange) readBody(p *pump) error {
	b := &x.body
	if b.full.Full() {
		b.full.Compact()
		if b.full.Full() { // with what is kept
			b.full.Widen()
		}
	}
	b.full.Expect(b.rest)
	wait := transport.Wait{Gap: x.view.client.BodyTimeout, Stop: &p.stop}
	if x.req.GRPC {
		wait.Gap = 0
	}
	p.hungry.Store(true)
	n, err := x.c.ReadInto(&b.full, wait)
	p.hungry.Store(false)
	x.c.BytesIn += int64(n)
	if err != nil {
		return err
	}
	return x.accept()
}

// stopPump ends the pump, if there is one, and reports how the client's side of it went. A
// pump that is not through may be held up by an upstream that reads no more: the connection
// to it is closed.
func (x *exchange) stopPump() error {
	p := x.body.pump
	if p == nil {
		return nil
	}
	x.body.pump = nil
	p.stop.Store(true)
	x.c.Wake()
	if !p.ended.Load() {
		_ = x.up.conn.Close() // Release closes it once more, and counts it
	}
	<-p.done
	return p.err
}

// lastTurn is how long an answered exchange waits for the pump to say that the last bytes are written: some
// turns of a busy processor. Without it a good connection would be closed whenever the goroutine that has
// written them gets its turn after the answer.
const lastTurn = 50 * time.Millisecond

// ends reports whether everything has been written, for which it waits if it is about to be.
func (p *pump) ends() bool {
	if p.ending.Load() && !p.ended.Load() {
		turn := time.NewTimer(lastTurn)
		defer turn.Stop()
		select {
		case <-p.done:
		case <-turn.C:
		}
	}
	return p.ended.Load()
}

// unfinished reports whether a pump has more to send than the bytes it is writing now.
func (p *pump) unfinished() bool { return p != nil && !p.ending.Load() }

// failure is the Stop of the exchange's waits for the upstream: the pump ends them when
// it cannot send the request.
func (b *body) failure() *atomic.Bool {
	if b.pump == nil {
		return nil
	}
	return &b.pump.failed
}
