package proxy

import (
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/limit"
	load "weir.dev/weir/traffic/overload"
)

// turn is how an exchange waits for its turn. It is made once for an exchange.
type turn struct {
	waiter load.Waiter
	word   chan word // room for one
	timer  *time.Timer
	gate   *load.Gate // the last one that it was for
}

// word is what a waiter is told.
type word struct {
	admitted bool
	why      load.Why
}

// lookUp is how often who waits looks whether the client is still there.
const lookUp = 250 * time.Millisecond

// newTurn makes ready to wait.
func (x *exchange) newTurn(gate *load.Gate) *load.Waiter {
	o := &x.overload
	if o.turn == nil {
		t := &turn{word: make(chan word, 1), timer: time.NewTimer(time.Hour)}
		t.timer.Stop()
		t.waiter.Wake = func(admitted bool, why load.Why) { t.word <- word{admitted, why} }
		o.turn = t
	}
	o.turn.gate = gate
	return &o.turn.waiter
}

// abandonTurn ends a wait after a panic, or gives back the place that it came to.
func (x *exchange) abandonTurn() {
	t := x.overload.turn
	if t == nil || t.gate.Withdraw(&t.waiter, false) {
		return
	}
	select {
	case w := <-t.word:
		if w.admitted {
			t.gate.Leave(time.Duration(transport.Now()), 0, x.overload.class, limit.Ignored)
		}
	default: // it was over
	}
}

// await waits for a place for as long as the queue, the request's time and its client allow. A
// refusal says that it ended for another reason than the queue's.
func (x *exchange) await(gate *load.Gate, longest time.Duration) (admitted bool, why load.Why, ended *refusal) {
	t := x.overload.turn
	began := transport.Now()
	by := began.Add(longest)
	x.waited = true
	for {
		select {
		case w := <-t.word: // without a timer, if it came at once
			return x.woken(gate, w)
		default:
		}
		now := transport.Now()
		switch requestBy := x.requestBy(); {
		case requestBy != 0 && now >= requestBy:
			ended = &refusal{flag: model.FlagPT, detail: "the request's time passed in the queue"}
		case x.clientLeft() != nil:
			ended = &refusal{flag: model.FlagDC}
		case x.cutOff():
			ended = &refusal{flag: model.FlagWD}
		case now >= by || longest <= 0:
			if gate.Withdraw(&t.waiter, true) {
				return false, load.WhyQueue, nil
			}
			return x.woken(gate, <-t.word)
		default:
			t.timer.Reset(min(by, transport.Earlier(requestBy, now.Add(lookUp))).Sub(now))
			select {
			case w := <-t.word:
				t.timer.Stop()
				return x.woken(gate, w)
			case <-t.timer.C:
			}
			continue
		}
		if gate.Withdraw(&t.waiter, ended.flag == model.FlagPT) {
			if ended.flag == model.FlagPT {
				x.countExpired()
			}
			return false, load.WhyNone, ended
		}
		if w := <-t.word; !w.admitted {
			return false, w.why, nil
		}
		gate.Leave(time.Duration(transport.Now()), 0, x.overload.class, limit.Ignored)
		return false, load.WhyNone, ended
	}
}

// woken takes what the gate said. A client that has left meanwhile gets nothing.
func (x *exchange) woken(gate *load.Gate, w word) (admitted bool, why load.Why, ended *refusal) {
	if w.admitted && x.clientLeft() != nil {
		gate.Leave(time.Duration(transport.Now()), 0, x.overload.class, limit.Ignored)
		return false, load.WhyNone, &refusal{flag: model.FlagDC}
	}
	return w.admitted, w.why, nil
}
