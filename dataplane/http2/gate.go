package http2

import (
	"os"
	"sync"
	"time"
)

// gate is where the goroutine that reads a stream, or the one that writes it, waits until
// there is something to do or its deadline has passed. The connection's mu guards it. Who
// finds work without waiting pays nothing, and an alarm that is set stays set for the streams
// after this one: it wakes in vain at worst.
type gate struct {
	woken   chan struct{}
	waiting bool
	by      time.Time // the deadline; zero: none
	alarm   *time.Timer
	due     time.Time // when the alarm goes off, or went off
}

func newGate() gate { return gate{woken: make(chan struct{}, 1)} }

// open has whoever waits look again.
func (g *gate) open() {
	if g.waiting {
		g.waiting = false
		signal(g.woken)
	}
}

// until sets the deadline.
func (g *gate) until(by time.Time) {
	g.by = by
	g.open()
}

// wait gives mu up until the gate opens, or an earlier alarm goes off. The error is that the
// deadline has passed.
func (g *gate) wait(mu *sync.Mutex) error {
	if !g.by.IsZero() {
		now := time.Now()
		if !now.Before(g.by) {
			return os.ErrDeadlineExceeded
		}
		if g.due.After(g.by) || !g.due.After(now) {
			g.set(now)
		}
	}
	g.waiting = true
	mu.Unlock()
	<-g.woken
	mu.Lock()
	g.waiting = false
	return nil
}

func (g *gate) set(now time.Time) {
	g.due = g.by
	if d := g.by.Sub(now); g.alarm != nil {
		g.alarm.Reset(d)
	} else {
		woken := g.woken
		g.alarm = time.AfterFunc(d, func() { signal(woken) })
	}
}

// reuse returns the gate for another stream.
func (g *gate) reuse() gate {
	select {
	case <-g.woken:
	default:
	}
	return gate{woken: g.woken, alarm: g.alarm, due: g.due}
}

// signal wakes whoever waits, now or next time.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
