package http2

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/dataplane/transport"
)

// Bounds of one connection to a host, besides those of any connection.
const (
	maxOpen      = 256              // streams at once, whatever the host allows
	maxLingering = 32               // of them such as have their answer, but not its end
	maxGrown     = 16               // streams of a connection up to which their windows grow
	frameTime    = 30 * time.Second // for a frame to become whole, and for the host to take one
	quietTime    = 15 * time.Second // of silence while a stream waits until a PING asks, and for its answer
	askAgain     = 5 * time.Minute  // until the next PING if its answer was all that came: gRPC's servers take more for an attack
)

// Faults of hosts.
var (
	errNotHTTP2    = connFault(codeProtocol, "the host does not speak HTTP/2")
	errNoHead      = streamFault(codeProtocol, "DATA before the head of the answer")
	errStatus      = streamFault(codeProtocol, "malformed :status")
	errInterimEnd  = streamFault(codeProtocol, "interim answer that ends the stream")
	errAnswerLong  = streamFault(codeCalm, "head of the answer too long")
	errSettingPush = connFault(codeProtocol, "a host that enables pushes")
	errUnknownHead = connFault(codeProtocol, "header block on a stream that was never opened")
)

// errSilent: nothing comes any more, not even the answer to a PING.
var errSilent = fmt.Errorf("the host is silent and answers no PING: %w", io.ErrUnexpectedEOF)

// Broken is why a stream of a Client has ended before its answer was complete.
type Broken struct {
	Reason   string
	Unsent   bool  // the host has not acted upon the request (RFC 9113 section 8.7)
	Protocol bool  // one side has broken the protocol
	err      error // of the connection; nil: it is a matter of the stream, or of what the host said
}

// Error returns the reason.
func (b *Broken) Error() string { return b.Reason }

// Unwrap returns the connection's error. If the host has closed the connection that is
// io.ErrUnexpectedEOF.
func (b *Broken) Unwrap() error { return b.err }

// Dialer opens connections to hosts. What their streams need is pooled in it. The zero value
// is ready.
type Dialer struct{ streams streamPool }

// ClientConfig is what a Client needs to know.
type ClientConfig struct {
	// Ended is called once, when nothing of the connection runs any more.
	Ended func()
	// Freed is called when another stream may be opened. It must not block or call the Client.
	Freed func()
	// Panicked hears of a defect in this package, which has ended the connection.
	Panicked func(fault any)
	// MaxHead is the longest head of an answer, in bytes.
	MaxHead int
}

// Client is our side of a connection to a host: requests share it, each as a stream. Its
// methods are safe for concurrent use.
type Client struct {
	mux
	config  ClientConfig
	secured bool
	ready   chan struct{} // closed when the host's SETTINGS have come
	over    chan struct{} // closed when nothing runs any more

	// Guarded by mu.
	limit     int    // of streams at once
	maxAsk    int    // bytes of a head that the host takes; 0: it has not said
	tunnels   bool   // the host takes WebSockets (RFC 8441)
	next      uint32 // the next stream
	retired   bool   // Open returns nil
	away      bool   // and those that it has returned cannot start
	held      int    // streams that have been opened and not released
	lingering int    // released ones whose end has not come
	since     transport.Instant
	goodbye   string // what the host's GOAWAY said
	cause     error  // why the connection has ended

	looked int64             // bytes but those of pongs that had come when the reader last looked
	asked  transport.Instant // when the last PING was sent; 0: something has come since
	pongs  int64             // answers to PINGs
	ponged int64             // those before the last PING
}

// Connect greets the host on a connection that is new, and secured if it is to be, and waits
// until ctx ends for its greeting. The connection is closed when the Client is over, or if
// there is none.
func (d *Dialer) Connect(ctx context.Context, conn *transport.Conn, config ClientConfig) (*Client, error) {
	c := &Client{
		config: config, ready: make(chan struct{}), over: make(chan struct{}), limit: maxOpen, next: 1, since: transport.Now(),
	}
	_, c.secured = conn.TLS()
	c.mux = mux{
		pool: &d.streams, client: c, conn: conn, in: new(transport.Buffer), calm: newAllowance(maxResets),
		inWindow: int64(defaultLimits.all()), outWindow: firstWindow, outFirst: firstWindow,
		cfg: &Config{
			Malformed: func(string) {}, Panicked: config.Panicked,
			MaxHead: config.MaxHead, HeadTimeout: frameTime, BodyTimeout: frameTime, KeepAlive: quietTime, Limits: defaultLimits,
		},
		partial: transport.Now(), streams: map[uint32]*Stream{},
	}
	c.decoder = hpack.NewDecoder(firstTable, c.head.field)
	c.mu.Lock()
	c.out = c.appendGreeting(c.buffer())
	c.kick()
	c.mu.Unlock()
	go func() {
		c.run()
		c.work.Wait()
		c.in.Release()
		config.Ended()
		close(c.over)
	}()
	select {
	case <-c.ready:
		return c, nil
	case <-c.over:
	case <-ctx.Done():
		c.sever(fmt.Errorf("the host did not greet in time: %w", context.Cause(ctx)))
		<-c.over
	}
	return nil, c.greetingError()
}

// greetingError says why the host's greeting has not come.
func (c *Client) greetingError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(c.cause, io.ErrUnexpectedEOF) {
		return fmt.Errorf("http2: the host closed the connection instead of a greeting: %w", c.cause)
	}
	return fmt.Errorf("http2: %w", c.cause)
}

func (c *Client) appendGreeting(dst []byte) []byte {
	dst = append(dst, Preface...)
	dst = appendFrame(dst, 3*settingSize, kindSettings, 0, 0)
	dst = appendSetting(dst, settingPush, 0)
	dst = appendSetting(dst, settingWindow, uint32(c.cfg.Limits.Window))
	dst = appendSetting(dst, settingHeaderList, uint32(c.cfg.MaxHead))
	return appendWindow(dst, 0, c.cfg.Limits.all()-firstWindow)
}

// Open returns a new stream at the time, or nil when the host allows no more of them now, or
// the connection is to be used no more. Release gives it back.
func (c *Client) Open(now transport.Instant) *Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current >= c.limit {
		c.reap(now)
	}
	if c.retired || c.phase >= phaseEnding || c.current >= c.limit {
		return nil
	}
	s := c.pool.stream(&c.mux, 0)
	c.current++
	if c.held++; c.held == 1 {
		c.since = now
	}
	return s
}

// reap resets the streams whose end has not come for long after the answer was complete.
func (c *Client) reap(now transport.Instant) {
	if c.lingering == 0 {
		return
	}
	for _, s := range c.streams {
		if s.released != 0 && now.Sub(s.released) >= lingerTime {
			c.reset(s.id, codeNo)
			s.lose(errReset)
		}
	}
	c.kick()
}

// Release gives the stream back. It is reset if either side has not ended it. Nobody may
// use it any more.
func (s *Stream) Release() {
	c := s.m.client
	c.mu.Lock()
	defer c.mu.Unlock()
	s.hangUp()
	s.got.drop()
	c.held--
	now := transport.Now()
	if c.held == 0 {
		c.since = now
	}
	if s.counted { // its answer is here, its end will be
		s.released = now
		c.lingering++
	} else {
		delete(c.streams, s.id)
		c.pool.recycle(s)
	}
	c.leaveIdle()
	c.kick()
}

// settled notes that a stream is closed on both sides.
func (c *Client) settled(s *Stream) {
	if s.released != 0 {
		c.lingering--
		delete(c.streams, s.id) // and is not pooled: its reader may be at work on it
		c.leaveIdle()
	}
	c.config.Freed()
}

// leaveIdle ends a retired connection that has nothing left to do.
func (c *Client) leaveIdle() {
	if c.retired && c.held == 0 {
		c.endLocked(errDone)
	}
}

// Retire has no more streams opened. The connection ends when the last of them has.
func (c *Client) Retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired = true
	c.leaveIdle()
	c.kick()
}

// Idle reports whether no stream is in use, and since when.
func (c *Client) Idle() (since transport.Instant, idle bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since, c.held == 0
}

// Usable reports whether streams can be opened, now or when others have ended.
func (c *Client) Usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.retired && c.phase < phaseEnding
}

// Tunnels reports whether the host of a Client's stream takes WebSockets over HTTP/2 (RFC 8441).
func (s *Stream) Tunnels() bool {
	c := s.m.client
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tunnels
}

// Over is closed when nothing of the connection runs any more.
func (c *Client) Over() <-chan struct{} { return c.over }

// The methods that follow are called with mu held, unless they say otherwise.

// greet notes the host's first SETTINGS.
func (c *Client) greet() {
	select {
	case <-c.ready:
	default:
		close(c.ready)
	}
}

func (c *Client) onSetting(v setting) *fault {
	switch v.id {
	case settingPush:
		if v.value != 0 {
			return errSettingPush
		}
	case settingStreams:
		c.limit = int(min(v.value, maxOpen))
		c.config.Freed()
	case settingHeaderList:
		c.maxAsk = int(v.value)
	case settingConnect:
		c.tunnels = c.tunnels || v.value == 1
	}
	return nil
}

// maxGoodbye bounds what is kept of the text in a GOAWAY, in bytes.
const maxGoodbye = 100

// onGoAway has no more streams opened, and gives up those that the host will not look at.
func (c *Client) onGoAway(p []byte) *fault {
	last, why := binary.BigEndian.Uint32(p)&maxWindow, code(binary.BigEndian.Uint32(p[4:]))
	c.retired, c.away = true, true
	c.goodbye = why.String()
	if text := p[8:]; len(text) > 0 {
		c.goodbye = fmt.Sprintf("%s (%.*q)", why, maxGoodbye, text)
	}
	for id, s := range c.streams {
		if id > last && !s.gone {
			s.lose(&Broken{Reason: "the host goes away: " + c.goodbye, Unsent: true})
		}
	}
	c.leaveIdle()
	return c.charge(costSettings)
}

// stands reports whether the answer is complete. Then it stays to be read, whatever becomes of
// the stream: only the rest of the request is not wanted any more (RFC 9113 section 8.1).
func (s *Stream) stands() bool {
	if s.inEnded && !s.outEnded {
		s.outEnded = true
		s.settle()
		s.writes.open()
	}
	return s.inEnded
}

// onReset ends a stream that the host has reset.
func (c *Client) onReset(s *Stream, why code) {
	if s.stands() {
		return
	}
	s.lose(&Broken{
		Reason: "the host reset the stream: " + why.String(), Unsent: why == codeRefused, Protocol: why == codeProtocol,
	})
}

// look asks a host that has been silent while a stream waited, and gives up one that has not
// answered.
func (c *Client) look(now transport.Instant) (transport.Instant, error) {
	heard := c.read - c.pongs*(headerSize+pingSize)
	fresh := heard != c.looked
	c.looked = heard
	if fresh {
		c.asked = 0
	}
	switch {
	case c.asked != 0 && c.pongs == c.ponged:
		return 0, errSilent
	case fresh, c.held == 0, now.Sub(c.since) < quietTime, c.asked != 0 && now.Sub(c.asked) < askAgain:
	default:
		c.asked, c.ponged = now, c.pongs
		c.out = appendPing(c.buffer(), 0, []byte("are you?"))
		c.kick()
	}
	return now.Add(quietTime), nil
}

// broken is why streams of a connection that has ended have ended, for the first of several
// reasons; see sever.
func (c *Client) broken(why error) error {
	if c.cause != nil {
		return c.cause
	}
	c.retired = true
	b := &Broken{Reason: why.Error(), err: why}
	var wrong *fault
	switch {
	case errors.As(why, &wrong):
		b.err, b.Protocol = nil, wrong.code != codeNo
	case errors.Is(why, io.EOF):
		b.Reason, b.err = "the host closed the connection", io.ErrUnexpectedEOF
	case errors.Is(why, net.ErrClosed):
		b.Reason = "the connection is closed"
	}
	if c.goodbye != "" {
		b.Reason += " after GOAWAY: " + c.goodbye
	}
	c.cause = b
	return b
}

// onAnswer takes a header block that is no trailers: the head of an answer, interim or final.
// It is called without mu.
func (c *Client) onAnswer(f frame) *fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.kick()
	s := c.streams[f.stream]
	if s == nil || s.gone {
		if f.stream > c.last {
			return errUnknownHead
		}
		return c.charge(costWindow) // it was on its way
	}
	if wrong := c.head.finishAnswer(); wrong != nil {
		return wrong
	}
	return s.hear(&c.head, f.has(flagEndStream))
}
