// Package transport is a byte stream as the request engine sees it: read into a buffer
// that is taken only when bytes are there, write, absolute deadlines, close. TCP
// connections are driven through their raw descriptor; anything else (net.Pipe in tests,
// TLS) goes through net.Conn under the same methods. It knows no protocol.
package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The errors of reads and writes besides io.EOF and the system's.
var (
	ErrTimeout     = errors.New("timed out")
	ErrInterrupted = errors.New("interrupted")
	ErrUnsolicited = errors.New("unsolicited bytes on an idle connection")
	ErrPressed     = errors.New("stood still while memory was short")
)

// tick is how often a waiting read with a Watch looks at it.
const tick = 250 * time.Millisecond

// slowTick is how often one with Patience does while there is no end to it.
const slowTick = time.Second

// byteWorth is for how much of the time that has passed a byte makes up: who takes less than about
// 1,000 a second stands still in the end.
const byteWorth = Instant(time.Millisecond)

// Wait bounds one read or write.
type Wait struct {
	By    Instant       // absolute; 0: none
	Gap   time.Duration // longest wait for the next byte, from the moment of waiting; 0: none
	Pulse *atomic.Int64 // an Instant, when bytes last passed, here or elsewhere: Gap counts from then; nil: only here
	Stop  *atomic.Bool  // once true, Wake ends this wait with ErrInterrupted; nil: nothing does
	Watch func() error  // looked at every quarter of a second or so of waiting; an error ends it

	// Patience is looked at every second or so of waiting: while it is above zero, so many nanoseconds
	// with next to no byte end the wait with ErrPressed: each byte makes up for a millisecond or so of
	// it, so that one now and then does not do. Nil: nothing does.
	Patience *atomic.Int64
}

func (w *Wait) stopped() bool { return w.Stop != nil && w.Stop.Load() }

// Conn is one connection. One goroutine may read while another writes.
type Conn struct {
	mu  sync.Mutex // of Close and Wake against PutBy and Resume, which change nc
	nc  net.Conn   // nil: put by
	put int32      // the descriptor of a connection that is put by; -1: none

	closed atomic.Bool
	tls    *secure // nil: clear text; never changed once others know the connection
	told   *Ends   // nil: the ends are the socket's
	*work          // what reads and writes need; nil: put by

	// Since is when the connection last became idle. It belongs to whoever keeps idle connections.
	Since Instant
}

// work is what reads and writes need: most of a Conn's memory, and of no use to one that only
// waits.
type work struct {
	raw     syscall.RawConn // nil: use nc
	in, out direction
	early   *Buffer // what Preface has left; nil: nothing

	// Rested is whether the connection has been idle long before the exchange to come, so that
	// it must be looked at first. Era is what the connection was made for. Both belong to
	// whoever keeps idle connections.
	Rested bool
	Era    uint32
}

// direction is the state of reading or of writing: the pending call's arguments, which the
// raw callbacks see, and the deadline that the runtime's timer is armed with.
type direction struct {
	armed Instant // the runtime deadline now set; 0: none
	soon  bool    // and it was set for the next tick
	due   Instant // what the pending call really waits for
	still Instant // since when next to no byte has passed, of a call with Patience; 0: it has not waited
	wait  Wait
	buf   *Buffer
	p     []byte
	n     int
	err   error
	sent  bool                  // Exchange: the request has been written
	call  func(fd uintptr) bool // bound once, so that a call allocates nothing
}

// New returns a connection over nc, which it owns from now on.
func New(nc net.Conn) *Conn {
	c := &Conn{nc: nc, put: -1}
	c.equip()
	return c
}

func (c *Conn) equip() {
	c.work = new(work)
	if tcp, ok := c.nc.(*net.TCPConn); ok && rawIO {
		if raw, err := tcp.SyscallConn(); err == nil {
			c.raw = raw
			c.in.call = c.readReady
			c.out.call = c.writeReady
		}
	}
}

// PutBy gives back what only reads and writes need: memory, and the runtime's part of a
// connection, so that nothing but its descriptor is left. No reads and writes may be under
// way, and none may begin before Resume. On an error nothing has changed.
func (c *Conn) PutBy() error {
	if c.tls != nil && !c.tls.rests() || c.early != nil {
		return ErrUnsupported
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if tcp, ok := c.nc.(*net.TCPConn); ok {
		fd, err := detach(tcp)
		if err != nil {
			return err
		}
		c.nc, c.put = nil, fd
	}
	c.work = nil
	return nil
}

// Resume makes a connection that was put by ready for reads and writes. After an error,
// which is one of too few descriptors if not of the connection, these fail.
func (c *Conn) Resume() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.nc == nil {
		if c.nc, err = attach(c.put); err != nil {
			c.nc, _ = net.Pipe()
			_ = c.nc.Close() // of a pipe: never an error
		}
		c.put = -1
	}
	c.equip()
	return err
}

// Close closes the connection. Pending reads and writes end with an error.
func (c *Conn) Close() error {
	if again := c.closed.Swap(true); c.tls != nil && !again {
		c.tls.leave()
	}
	return c.closeSocket()
}

func (c *Conn) closeSocket() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nc != nil {
		return c.nc.Close()
	}
	fd := c.put
	c.put = -1
	return closeDescriptor(fd)
}

// CloseWrite ends the writing side and leaves the reading side open. Over TLS the peer has to
// take the notice of the end almost at once; EndWrite waits for it as w says.
func (c *Conn) CloseWrite() error {
	if c.tls != nil {
		return c.tls.closeWrite()
	}
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.nc.Close()
}

// EndWrite is CloseWrite for peers that are slow to take what comes before the end.
func (c *Conn) EndWrite(w Wait) error {
	if c.tls != nil {
		return c.tls.endWrite(w)
	}
	return c.CloseWrite()
}

// Abort closes the connection so that the peer sees a reset, not an orderly end.
func (c *Conn) Abort() {
	c.mu.Lock()
	if tcp, ok := c.nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // the close that follows reports what matters
	}
	c.mu.Unlock()
	c.closed.Store(true)
	_ = c.closeSocket()
}

// Wake makes a waiting read look at its Stop. It may be called from any goroutine, after
// Stop has been set; a read that has another Stop, or none, goes on waiting.
func (c *Conn) Wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nc != nil { // else nothing waits
		_ = c.nc.SetReadDeadline(past) // a closed connection needs no waking
	}
}

var (
	past       = time.Unix(1, 0)
	noDeadline time.Time
)

// Renew makes a connection whose net.Conn serves another stream now as good as new. Nobody
// else may use it. It is not for TCP.
func (c *Conn) Renew() {
	c.closed.Store(false)
	c.Since = 0
	*c.work = work{}
}

// Stale reports whether an idle connection can no longer be used: its peer has closed it or
// sent what nobody asked for. It is false for anything but TCP, and TLS over it, whose peer may
// send messages of TLS itself at any time: Stale takes these in, and nobody else may read.
func (c *Conn) Stale() bool {
	if c.secured() {
		return c.closed.Load() || c.tls.unread(true) != nil
	}
	return c.Peer() != PeerQuiet
}

// ReadInto reads what is there into b, waiting as w says for the first byte. b's memory
// is taken only when bytes have come. A full b reads nothing: the caller makes room first.
// It returns io.EOF at the end of the stream.
func (c *Conn) ReadInto(b *Buffer, w Wait) (int, error) {
	if c.secured() {
		return c.tls.readInto(b, w)
	}
	return c.readSocket(b, w)
}

// ReadMore is ReadInto for more of what b holds a part of: it makes room first.
func (c *Conn) ReadMore(b *Buffer, w Wait) (int, error) {
	if b.Full() {
		b.Compact()
	}
	if b.Full() {
		b.Widen()
	}
	return c.ReadInto(b, w)
}

// readSocket is ReadInto without TLS.
func (c *Conn) readSocket(b *Buffer, w Wait) (int, error) {
	d := &c.in
	if b.Full() {
		return 0, io.ErrShortBuffer
	}
	if c.early != nil {
		return c.readEarly(b), nil
	}
	d.begin(b, w)
	defer d.end()
	for {
		err := c.readOnce()
		if err == nil {
			err = d.err
		}
		if err == nil || !isTimeout(err) {
			return d.n, err
		}
		if err := c.woken(d, c.nc.SetReadDeadline); err != nil {
			return 0, err
		}
	}
}

func (d *direction) begin(b *Buffer, w Wait) {
	d.buf, d.wait, d.n, d.err, d.due, d.still = b, w, 0, nil, 0, 0
}

// limit is when the pending call has waited long enough, 0 for never, if nothing happens from
// now on.
func (d *direction) limit(now Instant) Instant {
	if d.wait.Gap <= 0 {
		return d.wait.By
	}
	if d.wait.Pulse != nil {
		now = Instant(d.wait.Pulse.Load())
	}
	return Earlier(d.wait.By, now.Add(d.wait.Gap))
}

// progress notes that a write gets on by n bytes: the gap starts anew.
func (d *direction) progress(n int) {
	if d.due != 0 && d.wait.Pulse != nil { // else the caller has just come
		d.wait.Pulse.Store(int64(Now()))
	}
	d.due = 0
	if d.still != 0 {
		d.still = min(d.still+Instant(n)*byteWorth, Now())
	}
}

// end forgets what belongs to the caller, so that an idle connection does not keep it.
func (d *direction) end() { d.buf, d.wait, d.p = nil, Wait{}, nil }

func (c *Conn) readOnce() error {
	d := &c.in
	if c.raw != nil {
		return c.raw.Read(d.call)
	}
	if err := c.arm(d, c.nc.SetReadDeadline); errors.Is(err, ErrInterrupted) {
		return err
	} // where no deadline can be set any more, the read says why
	n, err := c.nc.Read(d.buf.space())
	d.buf.to += n
	d.n = n
	if n > 0 {
		return nil
	}
	return err
}

// Write writes all of p, waiting as w says while the peer takes nothing.
func (c *Conn) Write(p []byte, w Wait) error {
	if c.secured() {
		return c.tls.write(p, w)
	}
	return c.writeSocket(p, w)
}

// writeSocket is Write without TLS.
func (c *Conn) writeSocket(p []byte, w Wait) error {
	d := &c.out
	d.begin(nil, w)
	defer d.end()
	d.p = p
	for {
		err := c.writeOnce()
		if err == nil {
			err = d.err
		}
		if err == nil || !isTimeout(err) {
			return err
		}
		if err := c.woken(d, c.nc.SetWriteDeadline); err != nil {
			return err
		}
	}
}

func (c *Conn) writeOnce() error {
	d := &c.out
	if c.raw != nil {
		return c.raw.Write(d.call)
	}
	if p, ok := c.nc.(prompt); ok {
		n, err := p.WriteNow(d.p)
		if d.wrote(n); err == nil || !isTimeout(err) {
			return err
		}
	}
	if err := c.arm(d, c.nc.SetWriteDeadline); errors.Is(err, ErrInterrupted) {
		return err
	}
	n, err := c.nc.Write(d.p)
	d.wrote(n)
	return err
}

// prompt is a net.Conn that takes what it can without a wait, for which it needs no deadline: of a stream
// of HTTP/2 that is nearly always all. If it is not, the error is one of time.
type prompt interface {
	WriteNow(p []byte) (int, error)
}

// wrote notes that n bytes have been written.
func (d *direction) wrote(n int) {
	if d.p = d.p[n:]; n > 0 {
		d.progress(n)
	}
}

// Exchange sends p, a whole request, on a connection that has been idle, and reads the
// first bytes of the answer into b. On a rested connection, bytes that were there before
// the request are ErrUnsolicited, an end that was there is io.EOF, and sent is false then:
// nothing has been written. This keeps one answer from being taken for another's. With TLS,
// what came with the last answer is found on a connection that has not rested, too.
func (c *Conn) Exchange(p []byte, b *Buffer, w Wait) (n int, sent bool, err error) {
	if c.secured() {
		return c.tls.exchange(p, b, w)
	}
	if c.raw == nil {
		if err := c.Write(p, w); err != nil {
			return 0, true, err
		}
		n, err := c.ReadInto(b, w)
		return n, true, err
	}
	return c.exchangeRaw(p, b, w)
}

// arm makes sure that the runtime wakes the pending call no later than it must: not
// later than due, and every tick if there is a Watch. An earlier deadline that is still
// set from before serves as well (woken looks at due and goes on), so that in steady
// state a timer is touched once per period, not once per call.
func (c *Conn) arm(d *direction, set func(time.Time) error) error {
	if d.wait.stopped() {
		return ErrInterrupted
	}
	if d.wait.Gap == 0 && d.wait.Patience == nil && d.armed != 0 && (d.wait.By == 0 || d.armed <= d.wait.By) && (d.wait.Watch == nil || d.soon) {
		d.due = d.wait.By
		return nil // even if it has fired by now: the wait that follows sees that
	}
	now := Now()
	if d.due == 0 {
		d.due = d.limit(now)
	}
	want := d.due
	if d.wait.Watch != nil {
		want = Earlier(want, now+Instant(tick))
	}
	if d.wait.Patience != nil {
		next := slowTick
		if d.wait.Patience.Load() > 0 {
			next = tick
		}
		want = Earlier(want, now+Instant(next))
		if d.still == 0 {
			d.still = now
		}
	}
	if want == 0 || (d.armed > now && d.armed <= want) {
		return nil
	}
	d.armed, d.soon = want, want <= now+Instant(tick)
	if err := set(want.Time()); err != nil {
		return err
	}
	if d.wait.stopped() { // Wake may have come before set
		return set(past)
	}
	return nil
}

// woken decides what a passed runtime deadline means for the pending call: nil to go on.
func (c *Conn) woken(d *direction, set func(time.Time) error) error {
	if d.wait.stopped() {
		return ErrInterrupted
	}
	now := Now()
	if d.wait.Pulse != nil {
		d.due = d.limit(now)
	}
	if d.due != 0 && now >= d.due || d.due == 0 && d.wait.By != 0 && now >= d.wait.By {
		return ErrTimeout
	}
	if d.wait.Watch != nil {
		if err := d.wait.Watch(); err != nil {
			return err
		}
	}
	if p := d.wait.Patience; p != nil && d.still != 0 {
		if limit := p.Load(); limit > 0 && now.Sub(d.still) >= time.Duration(limit) {
			return ErrPressed
		}
	}
	d.armed = 0
	_ = set(noDeadline) // fails on a closed connection, as the next call will
	return nil
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// eof is what a read of zero bytes means.
func eof(n int) error {
	if n == 0 {
		return io.EOF
	}
	return nil
}

// NetConn returns what the connection is over, TLS aside; nil while it is put by.
func (c *Conn) NetConn() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nc
}
