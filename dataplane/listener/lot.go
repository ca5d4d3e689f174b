package listener

import (
	"cmp"
	"errors"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"weir.dev/weir/dataplane/transport"
)

// sweepGap is the least time between two looks for connections that have been parked for
// too long, and so the most by which one outlives its time.
const sweepGap = time.Second

// ParkAfter is when an idle connection is worth parking. Whoever clicks through pages, polls
// or sends requests in bursts is back sooner, and finds the connection's goroutine waiting; so
// that parking, which costs about as much as a request, is paid once in a long pause.
const ParkAfter = 5 * time.Second

// lot is where the idle connections of all sockets are parked: they have no goroutine, no part
// in the runtime's poller, and no memory but what finds them again. One goroutine of the lot serves all of them. It
// exists from the first connection that is parked until the lot is closed.
//
//	serve ──park──► parked ──bytes, end──► resume ──► serve
//	                   ├─────time is up──► release
//	                   └──drain, cut─────► take, then release
//
// Whoever takes a connection out of the table, under mu, owns it. So none is taken up twice.
type lot struct {
	mu     sync.Mutex
	places []place
	free   int32 // the first free place, plus one; 0: none
	parked int
	swept  transport.Instant // when the last sweep was
	next   transport.Instant // when the next one is due; 0: never
	poll   poller            // nil before the first connection
	open   func() (poller, error)
	closed bool
	quit   chan struct{} // closed by close
	work   sync.WaitGroup

	giveBack func() // free memory to the system
	trimmed  int    // how many were parked when trim last collected garbage, or fewer since
	trimming bool   // trim is running
}

// poller is a transport.Poll, or what a test has instead.
type poller interface {
	Watch(c *transport.Conn, t transport.Token) error
	Forget(c *transport.Conn) error
	Wait(tokens []transport.Token) ([]transport.Token, error)
	SetDeadline(t transport.Instant)
	Close() error
}

// place is one row of the table. Its token tells one use of it from the next.
type place struct {
	conn  *Conn // nil: free
	until transport.Instant
	uses  uint32
	next  int32 // of a free place: the next free one, plus one
}

func newLot() *lot {
	return &lot{
		open: func() (poller, error) { return transport.NewPoll() },
		quit: make(chan struct{}), giveBack: debug.FreeOSMemory,
	}
}

// park takes c over until something comes, or until then. It may be taken up by another
// goroutine before park returns. On an error it has not, and it may not be parked again, unless
// the error was that it did not rest after all: TLS had a part of a record.
func (l *lot) park(c *Conn, until transport.Instant) error {
	unfit := c.PutBy() // most of the work, so not under the lock
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(unfit, transport.ErrUnsupported) {
		return unfit
	}
	c.place = stays // unless all goes well
	if unfit != nil {
		return unfit
	}
	if err := l.ready(); err != nil {
		return errors.Join(err, c.Resume())
	}
	if l.free == 0 {
		l.places = append(l.places, place{})
		l.free = int32(len(l.places))
	}
	at := l.free - 1
	p := &l.places[at]
	if err := l.poll.Watch(c.Conn, transport.Token(p.uses)<<32|transport.Token(at)); err != nil {
		return errors.Join(err, c.Resume())
	}
	l.free = p.next
	p.conn, p.until = c, until
	c.place = at + 1
	l.parked++
	if !l.trimming && l.grown() {
		l.trimming = true
		l.work.Go(l.trim)
	}
	if due := max(until, l.swept.Add(sweepGap)); l.next == 0 || due < l.next {
		l.next = due
		l.poll.SetDeadline(due)
	}
	return nil
}

// ready starts the lot's goroutine if need be. It is called with mu held.
func (l *lot) ready() error {
	if l.closed {
		return net.ErrClosed
	}
	if l.poll != nil {
		return nil
	}
	poll, err := l.open()
	if err != nil {
		return err
	}
	l.poll = poll
	l.work.Go(l.run)
	return nil
}

// take takes c out of the lot. False: it is not there, or somebody else has been faster.
func (l *lot) take(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.place <= 0 {
		return false
	}
	l.remove(c)
	return true
}

// soonest takes at most n of the connections that are parked: those first whose time is up first.
func (l *lot) soonest(conns []*Conn, n int) []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n = min(n, l.parked); n <= 0 {
		return conns
	}
	waiting := make([]place, 0, l.parked)
	for i := range l.places {
		if l.places[i].conn != nil {
			waiting = append(waiting, l.places[i])
		}
	}
	slices.SortFunc(waiting, func(a, b place) int { return cmp.Compare(a.until, b.until) })
	for i := range waiting[:n] {
		l.remove(waiting[i].conn)
		conns = append(conns, waiting[i].conn)
	}
	return conns
}

// carries reports whether c carries bytes as they are.
func (l *lot) carries(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return c.place == carried
}

// remove frees the place of c. It is called with mu held.
func (l *lot) remove(c *Conn) {
	_ = l.poll.Forget(c.Conn) // it is open, so it is watched
	at := c.place - 1
	l.places[at] = place{uses: l.places[at].uses + 1, next: l.free}
	l.free = at + 1
	c.place = 0
	l.parked--
	l.trimmed = min(l.trimmed, l.parked)
}

// run takes up connections that something came for and ends those whose time is up.
func (l *lot) run() {
	var tokens []transport.Token
	var conns []*Conn
	for {
		var err error
		tokens, err = l.poll.Wait(tokens[:0])
		conns = l.came(conns[:0], tokens)
		for _, c := range conns {
			c.Socket.resume(c)
		}
		clear(conns)
		switch {
		case errors.Is(err, transport.ErrTimeout):
			conns = l.sweep(conns[:0], transport.Now())
			for _, c := range conns {
				c.Socket.expire(c)
			}
			clear(conns)
		case err != nil: // closed; or the poll is broken, and no connection may be lost for that
			for _, c := range l.abandon() {
				c.Socket.resume(c)
			}
			return
		}
	}
}

// abandon closes the lot and takes whatever is parked.
func (l *lot) abandon() []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	var conns []*Conn
	for i := range l.places {
		if c := l.places[i].conn; c != nil {
			l.remove(c)
			conns = append(conns, c)
		}
	}
	return conns
}

// came takes the connections of tokens. What has been taken meanwhile is left out: the place
// may have another connection by now.
func (l *lot) came(conns []*Conn, tokens []transport.Token) []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range tokens {
		p := &l.places[uint32(t)]
		if c := p.conn; c != nil && p.uses == uint32(t>>32) {
			l.remove(c)
			conns = append(conns, c)
		}
	}
	return conns
}

// sweep takes the connections whose time is up and sets when to look again. A look costs
// a few nanoseconds a place, and is made only when the time of one of them is up.
func (l *lot) sweep(conns []*Conn, now transport.Instant) []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.swept, l.next = now, 0
	for i := range l.places {
		p := &l.places[i]
		switch {
		case p.conn == nil:
		case p.until <= now:
			c := p.conn
			l.remove(c)
			conns = append(conns, c)
		default:
			l.next = transport.Earlier(l.next, p.until)
		}
	}
	if l.next != 0 {
		l.next = max(l.next, now.Add(sweepGap))
	}
	l.poll.SetDeadline(l.next)
	return conns
}

// close ends the lot's goroutines. Nothing is parked any more, and nothing will be.
func (l *lot) close() error {
	l.mu.Lock()
	l.closed = true
	poll := l.poll
	select {
	case <-l.quit:
		poll = nil // it has been closed before
	default:
		close(l.quit)
	}
	l.mu.Unlock()
	var err error
	if poll != nil {
		err = poll.Close()
	}
	l.work.Wait()
	return err
}
