package listener

import (
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// fakePoll is a poller that reports what a test sends, and watches anything.
type fakePoll struct {
	come    chan []transport.Token
	errs    chan error
	changed chan struct{}

	mu       sync.Mutex
	deadline transport.Instant
	watched  map[*transport.Conn]transport.Token
	refuse   error // what Watch says
	timeouts atomic.Int64
}

func newFakePoll() *fakePoll {
	return &fakePoll{
		come: make(chan []transport.Token), errs: make(chan error, 1), changed: make(chan struct{}, 1),
		watched: map[*transport.Conn]transport.Token{},
	}
}

func (p *fakePoll) Watch(c *transport.Conn, t transport.Token) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse == nil {
		p.watched[c] = t
	}
	return p.refuse
}

func (p *fakePoll) Forget(c *transport.Conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.watched, c)
	return nil
}

func (p *fakePoll) Wait(tokens []transport.Token) ([]transport.Token, error) {
	for {
		p.mu.Lock()
		deadline := p.deadline
		p.mu.Unlock()
		var passed <-chan time.Time
		if deadline != 0 {
			passed = time.After(deadline.Sub(transport.Now()))
		}
		select {
		case came := <-p.come:
			return append(tokens, came...), nil
		case err := <-p.errs:
			return tokens, err
		case <-passed:
			p.timeouts.Add(1)
			return tokens, transport.ErrTimeout
		case <-p.changed:
		}
	}
}

func (p *fakePoll) SetDeadline(t transport.Instant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deadline = t
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *fakePoll) Close() error { p.errs <- net.ErrClosed; return nil }

// token returns the token of the one connection that is watched.
func (p *fakePoll) token(t *testing.T) transport.Token {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, token := range p.watched {
		return token
	}
	t.Fatal("nothing is watched")
	return 0
}

// bubble is a set of one socket on pipes, whose connections a fakePoll watches.
type bubble struct {
	*Set
	l    *fakeListener
	poll *fakePoll
	ends []net.Conn
}

// newBubble has a handler that rests for the times that rest gives, and then waits to be stopped.
func newBubble(t *testing.T, rest func() time.Duration) *bubble {
	b := &bubble{l: newFake(), poll: newFakePoll()}
	b.Set = newSet(b.l, func(c *Conn) transport.Instant {
		if d := rest(); d > 0 && c.place != stays {
			return transport.Now().Add(d)
		}
		return waiting(c)
	}, 0)
	b.lot.open = func() (poller, error) { return b.poll, nil }
	if err := b.Apply([]*model.Listener{{Name: "front"}}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bubble) connect() {
	near, far := net.Pipe()
	b.ends = append(b.ends, near)
	b.l.come <- far
	synctest.Wait()
}

func (b *bubble) parked() int64 { return b.cfg.Metrics.Listener("front").Parked() }
func (b *bubble) active() int64 { return b.cfg.Metrics.Listener("front").Active() }

func (b *bubble) end(t *testing.T) {
	b.Drain(t.Context())
	for _, c := range b.ends {
		c.Close()
	}
	if b.parked() != 0 || b.active() != 0 {
		t.Errorf("%d parked, %d open after the end", b.parked(), b.active())
	}
}

func TestStaleTokenTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, func() time.Duration { return time.Hour })
		defer b.end(t)
		b.connect()
		stale := b.poll.token(t)
		b.poll.come <- []transport.Token{stale} // it is parked anew, in the same place
		synctest.Wait()
		fresh := b.poll.token(t)
		if fresh == stale {
			t.Fatal("a token was used twice")
		}
		b.poll.come <- []transport.Token{stale}
		synctest.Wait()
		if b.poll.token(t) != fresh {
			t.Error("a stale token took a connection")
		}
		b.poll.come <- []transport.Token{fresh, fresh} // taken once
		synctest.Wait()
		if b.parked() != 1 {
			t.Errorf("%d parked", b.parked())
		}
	})
}

// TestNothingIsLostWithThePoll has the poll fail, at the start or later: connections go on in
// goroutines.
func TestNothingIsLostWithThePoll(t *testing.T) {
	broken := errors.New("broken")
	for name, fail := range map[string]func(b *bubble){
		"opening":  func(b *bubble) { b.lot.open = func() (poller, error) { return nil, broken } },
		"watching": func(b *bubble) { b.poll.refuse = broken },
		"waiting":  func(b *bubble) { b.poll.errs <- broken },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, func() time.Duration { return time.Hour })
				defer b.end(t)
				fail(b)
				b.connect()
				if b.active() != 1 || b.parked() != 0 {
					t.Errorf("%d open, %d parked", b.active(), b.parked())
				}
			})
		})
	}
}

// TestDrainBeforeParking has connections be parked after all others have been ended.
func TestDrainBeforeParking(t *testing.T) {
	for name, do := range map[string]func(b *bubble){
		"drain": func(b *bubble) { b.sockets["front"].Drain() },
		"cut":   func(b *bubble) { b.sockets["front"].cut() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				park := make(chan struct{})
				b := newBubble(t, func() time.Duration { <-park; return time.Hour })
				b.connect()
				do(b)
				synctest.Wait()
				if b.active() != 1 {
					t.Fatalf("%d open", b.active())
				}
				close(park)
				synctest.Wait()
				if b.active() != 0 {
					t.Error("it rests on")
				}
				if name == "drain" {
					delete(b.sockets, "front") // it is drained only once
				}
				b.end(t)
			})
		})
	}
}

// TestSweep parks connections that may rest for 10.0, 10.1 ... 12.9 seconds.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rest := 13 * time.Second
		b := newBubble(t, func() time.Duration { rest -= 100 * time.Millisecond; return rest })
		defer b.end(t)
		for range 30 {
			b.connect()
		}
		began := time.Now()
		var open []int64
		for b.parked() > 0 && time.Since(began) < time.Minute {
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			if n := b.active(); len(open) == 0 || n != open[len(open)-1] {
				open = append(open, n)
			}
			late := time.Since(began) - 10*time.Second - sweepGap
			if must := 29 - int64(late/(100*time.Millisecond)); late >= 0 && b.active() > max(must, 0) {
				t.Errorf("%v: %d left, at most %d may be", time.Since(began), b.active(), must)
			}
		}
		if !slices.Equal(open, []int64{30, 29, 19, 9, 0}) || b.poll.timeouts.Load() != 4 {
			t.Errorf("%v were left after each of %d sweeps", open, b.poll.timeouts.Load())
		}
	})
}

// TestMemoryIsGivenBackAfterWaves counts how often.
func TestMemoryIsGivenBackAfterWaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times atomic.Int64
		var busy atomic.Bool
		b := newBubble(t, func() time.Duration {
			if busy.Load() {
				return 0
			}
			return time.Hour
		})
		b.lot.giveBack = func() { times.Add(1) }
		defer b.end(t)
		count := func(after time.Duration, want int64) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if n := times.Load(); n != want {
				t.Fatalf("%d times, want %d", n, want)
			}
		}
		for range trimGrowth - 1 {
			b.connect()
		}
		count(time.Minute, 0)
		b.connect()
		for range trimGrowth / 2 { // still the same wave
			b.connect()
		}
		count(trimDelay, 1)
		for range trimGrowth {
			b.connect()
		}
		count(trimGap-trimDelay-time.Nanosecond, 1)
		count(trimDelay+time.Nanosecond, 2)
		count(time.Minute, 2)
		b.poll.mu.Lock()
		all := slices.Collect(maps.Values(b.poll.watched))
		b.poll.mu.Unlock()
		b.poll.come <- all[:trimGrowth/2] // served and parked again: no new wave
		count(time.Minute, 2)
		busy.Store(true)
		b.poll.come <- all[trimGrowth/2 : 2*trimGrowth] // not parked any more
		synctest.Wait()
		busy.Store(false)
		for range trimGrowth { // but as many others
			b.connect()
		}
		count(time.Minute, 3)
	})
}
