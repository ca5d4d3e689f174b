package http2

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/dataplane/transport"
)

// Bounds of one connection, besides Limits.
const (
	maxOut       = 64 << 10    // bytes of frames waiting to be written, beyond which bodies wait
	maxControl   = 128 << 10   // and beyond which answers to PING and SETTINGS end the connection
	maxFragments = 32          // CONTINUATION frames of one header block
	lingerTime   = time.Second // how long a connection that has ended is read from
	drainTime    = time.Second // how long after the first GOAWAY streams are still accepted
)

// Config is what Serve needs to know of a connection.
type Config struct {
	// Handle serves one stream, in a goroutine of its own.
	Handle func(s *Stream)
	// Draining says that the client should take its requests elsewhere soon.
	Draining func() bool
	// Stop ends an idle connection when it is set and the connection woken.
	Stop *atomic.Bool
	// Malformed hears of each request that could not be given to Handle, and why a connection
	// was ended for its client's fault.
	Malformed func(reason string)
	// Panicked hears of a defect in this package, which has ended one connection.
	Panicked func(fault any)

	MaxHead     int           // bytes of a request's head
	HeadTimeout time.Duration // longest time for a head; 0: none
	BodyTimeout time.Duration // longest time without progress of a frame, either way; 0: none
	KeepAlive   time.Duration // longest time without streams; 0: the connection ends after its first
	Limits      Limits

	// Room is what the streams of all connections share: beyond it they are refused; nil: there is no
	// bound.
	Room *Room
	// Patience bounds how long a client that takes nothing may stand still; see transport.Wait.
	Patience *atomic.Int64
}

// Server serves connections. What their streams need is pooled in it.
type Server struct{ streams streamPool }

// mux is one connection. Its reader, which runs Serve, owns the first group of fields.
type mux struct {
	pool   *streamPool
	client *Client // whose connection it is; nil: we serve
	cfg    *Config
	conn   *transport.Conn

	in        *transport.Buffer
	decoder   *hpack.Decoder
	head      head
	block     []byte // a header block whose end has not come yet
	open      frame  // the HEADERS that it belongs to; stream 0: none
	pieces    int    // of the block
	greeted   bool   // the other side's SETTINGS have come
	partial   transport.Instant
	restAfter time.Duration // without a stream, after which Serve returns; 0: never
	read      int64

	work sync.WaitGroup // the crew, at work or waiting

	mu       sync.Mutex
	streams  map[uint32]*Stream // that somebody uses
	last     uint32             // the highest stream that has been opened
	current  int                // streams that are open on either side
	unsaid   int                // streams that are not, but whose end may not have been written
	saying   int                // those of them whose end is being written
	idle     transport.Instant  // when the last one was given up
	crew     crew
	calm     allowance
	share    Share
	resets   []uint32 // streams that we reset, the last ones: what was on its way may come
	resetAt  int
	inWindow int64 // what the other side may still send
	inOwed   int   // what has been read of it and not been given back

	out       []byte // frames to be written
	spare     []byte
	holders   []*output // of their memory
	writing   bool      // one of the crew is at work on that
	noTable   bool      // the other side's decoder knows that there is no dynamic table
	outWindow int64
	outFirst  int64     // of new streams
	waiting   []*Stream // for outWindow or room in out, first come first served
	turn      bool      // one that waited has been told to go on, and has not yet
	written   int64

	phase    phase
	timer    *time.Timer // of phases
	accepted uint32      // from phaseLast on: the last stream that is served
}

// phase is how far a connection is on its way to its end.
//
//	open ──drain──► warned (GOAWAY of all) ──PING acknowledged, time──► last (GOAWAY of accepted)
//	  │                                                                  │ no streams
//	  └──────────fault, idle────────► ending (GOAWAY) ◄──────────────────┘
//	                                    │ written
//	any ──connection broken──► over ◄───┘
type phase uint8

const (
	phaseOpen phase = iota
	phaseWarned
	phaseLast
	phaseEnding // nothing is sent but what is in out
	phaseOver   // nothing is sent or received
)

// Session is a connection of a client: served, or what is kept of it while it rests.
type Session struct{ mux *mux }

// Begin returns the session of a connection whose preface has come and is at the start of in.
func (v *Server) Begin(conn *transport.Conn, in *transport.Buffer, cfg *Config) *Session {
	now := transport.Now()
	cfg.Limits = cfg.Limits.Filled()
	m := &mux{
		pool: &v.streams, cfg: cfg, conn: conn, idle: now, calm: newAllowance(cfg.Limits.Resets), share: NewShare(cfg.Room), partial: now,
		inWindow: int64(cfg.Limits.all()), outWindow: firstWindow, outFirst: firstWindow,
	}
	m.decoder = hpack.NewDecoder(firstTable, m.head.field)
	in.Consume(len(Preface))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out = m.appendSettings(m.buffer())
	m.kick()
	return &Session{m}
}

// Serve serves the connection, with what has been read of it in in, until it has ended and every
// handler has returned; until is 0 then, and the caller closes the connection. Or it rests: there
// has been no stream for so long as rest (0: it never rests). Then nothing of it is at work, until
// is when it will have been idle for too long, and Serve is to be called again when something
// comes, or that time is up, or Config.Stop is set. It returns how many bytes it read and wrote.
func (s *Session) Serve(in *transport.Buffer, rest time.Duration) (read, written int64, until transport.Instant) {
	m := s.mux
	m.in, m.restAfter = in, rest
	until = m.run()
	m.work.Wait()
	m.share.Less(0) // of streams whose handlers have panicked, too
	m.in = nil
	read, written = m.read, m.written
	m.read, m.written = 0, 0
	return read, written, until
}

// Expire has a session that rests end when it is served next, as if it had been idle for too long,
// unless a request comes with that.
func (s *Session) Expire() {
	m := s.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	m.idle = transport.Now().Add(-m.cfg.KeepAlive)
}

func (m *mux) appendSettings(dst []byte) []byte {
	dst = appendFrame(dst, 4*settingSize, kindSettings, 0, 0)
	dst = appendSetting(dst, settingStreams, uint32(m.cfg.Limits.Streams))
	dst = appendSetting(dst, settingWindow, uint32(m.cfg.Limits.Window))
	dst = appendSetting(dst, settingHeaderList, uint32(m.cfg.MaxHead))
	dst = appendSetting(dst, settingConnect, 1)
	return appendWindow(dst, 0, m.cfg.Limits.all()-firstWindow)
}

// run reads until the connection ends, 0, or rests until a time.
func (m *mux) run() (until transport.Instant) {
	defer func() {
		if f := recover(); f != nil {
			m.cfg.Panicked(f)
			m.sever(errReset)
		}
	}()
	err := m.serve()
	if errors.Is(err, errRests) {
		return m.idle.Add(m.cfg.KeepAlive)
	}
	var wrong *fault
	if errors.As(err, &wrong) {
		if wrong.code != codeNo {
			m.cfg.Malformed(wrong.reason)
		}
		m.end(wrong)
		m.linger()
	}
	m.sever(err)
	return 0
}

// errRests: nothing has been going on for so long that the connection can do without a goroutine.
var errRests = errors.New("the connection rests")

// rests reports whether nothing is going on, and nothing has for as long as restAfter, but not for
// so long that the connection is to end.
func (m *mux) rests() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.restAfter <= 0 || m.client != nil || m.phase != phaseOpen || len(m.streams) > 0 || m.writing || len(m.out) > 0 {
		return false
	}
	idle := transport.Now().Sub(m.idle)
	if idle < m.restAfter || idle >= m.cfg.KeepAlive {
		return false
	}
	m.crew.disband()
	return true
}

// serve reads and handles frames. A *fault is said to the client; after any other error
// there is nobody to say anything to.
func (m *mux) serve() error {
	by := m.idle.Add(m.cfg.KeepAlive)
	if !m.greeted {
		by = transport.Earlier(m.partial.Add(m.cfg.HeadTimeout), m.partial.Add(m.cfg.KeepAlive))
	}
	stop := m.cfg.Stop
	for {
		large, err := m.frames()
		if err != nil {
			return err
		}
		wait := transport.Wait{By: by, Stop: stop}
		if m.in.Len() > 0 || m.open.stream != 0 || !m.greeted {
			wait.By, wait.Gap = m.patience()
		} else {
			m.partial = 0
			m.in.ReleaseIfEmpty()
			if m.restAfter > 0 {
				wait.By = transport.Earlier(by, transport.Now().Add(m.restAfter))
			}
		}
		if m.in.Full() {
			m.in.Compact()
		}
		if m.in.Full() {
			m.in.Widen()
		}
		if large {
			m.in.Expect(transport.Large)
		} else {
			m.in.Expect(0)
		}
		n, err := m.conn.ReadInto(m.in, wait)
		m.read += int64(n)
		switch {
		case err == nil:
		case errors.Is(err, transport.ErrInterrupted):
			stop = nil
			m.mu.Lock()
			m.drain()
			m.kick()
			m.mu.Unlock()
		case errors.Is(err, transport.ErrTimeout) && m.partial == 0:
			if m.rests() {
				return errRests
			}
			if by, err = m.look(); err != nil {
				return err
			}
		case errors.Is(err, transport.ErrTimeout):
			return connFault(codeNo, "frame not complete in time")
		default:
			return err
		}
	}
}

// patience is how long the rest of a frame or of a header block may take. A body's pieces
// may be slow as long as they come.
func (m *mux) patience() (by transport.Instant, gap time.Duration) {
	if m.partial == 0 {
		m.partial = transport.Now()
	}
	if f, ok := parseFrame(m.in.Bytes()); ok && f.kind == kindData {
		return 0, m.cfg.BodyTimeout
	}
	return m.partial.Add(m.cfg.HeadTimeout), 0
}

// look judges a connection on which nothing has come for some time: an error ends it, else it
// is when to look again.
func (m *mux) look() (transport.Instant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := transport.Now()
	if m.client != nil {
		return m.client.look(now)
	}
	if len(m.streams) > 0 {
		return now.Add(max(m.cfg.KeepAlive, time.Second)), nil
	}
	if until := m.idle.Add(m.cfg.KeepAlive); until > now {
		return until, nil
	}
	return 0, connFault(codeNo, "idle")
}

// frames handles the frames that are whole. large is whether much more may come.
func (m *mux) frames() (large bool, err error) {
	for {
		b := m.in.Bytes()
		f, ok := parseFrame(b)
		if !ok {
			return large, nil
		}
		if f.length > maxFrame {
			if m.client != nil && !m.greeted {
				return false, errNotHTTP2
			}
			return false, errFrameLong
		}
		if len(b) < headerSize+f.length {
			return large, nil
		}
		large = f.kind == kindData && f.length > transport.Small/4
		if wrong := m.frame(f, b[headerSize:headerSize+f.length]); wrong != nil {
			if !wrong.stream {
				return false, wrong
			}
			if wrong := m.refuse(f.stream, wrong); wrong != nil {
				return false, wrong
			}
		}
		m.in.Consume(headerSize + f.length)
		if m.greeted && m.open.stream == 0 {
			m.partial = 0
		}
	}
}

// frame handles one frame.
func (m *mux) frame(f frame, p []byte) *fault {
	if !m.greeted && (f.kind != kindSettings || f.has(flagAck)) {
		if m.client != nil {
			return errNotHTTP2
		}
		return errGreeting
	}
	if m.open.stream != 0 && (f.kind != kindContinuation || f.stream != m.open.stream) {
		return errBlockOpen
	}
	if wrong := f.check(); wrong != nil {
		return wrong
	}
	switch f.kind {
	case kindHeaders:
		return m.onHeaders(f, p)
	case kindContinuation:
		return m.onContinuation(f, p)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.kick()
	switch f.kind {
	case kindData:
		return m.onData(f, p)
	case kindPriority:
		if f.dependsOnItself(p) {
			return errSelf
		}
		return m.charge(costPriority)
	case kindReset:
		return m.onReset(f, p)
	case kindSettings:
		return m.onSettings(f, p)
	case kindPing:
		return m.onPing(f, p)
	case kindGoAway:
		if m.client != nil {
			return m.client.onGoAway(p)
		}
		return nil // it opens no more streams, and ends the connection itself
	case kindWindow:
		return m.onWindow(f, p)
	}
	return m.charge(costUnknown)
}

// Faults of the order of frames.
var (
	errGreeting    = connFault(codeProtocol, "first frame is not SETTINGS")
	errBlockOpen   = connFault(codeProtocol, "header block interrupted")
	errNoBlock     = connFault(codeProtocol, "CONTINUATION without HEADERS")
	errBlockLong   = connFault(codeCalm, "header block too long")
	errBlock       = connFault(codeCompressed, "malformed header block")
	errStreamEven  = connFault(codeProtocol, "stream with an even number")
	errStreamIdle  = connFault(codeProtocol, "frame on an idle stream")
	errStreamOver  = connFault(codeClosed, "frame on a closed stream")
	errStreamEnded = streamFault(codeClosed, "frame behind the end of a stream")
	errTrailerLong = streamFault(codeCalm, "trailers too long")
	errTrailerEnd  = streamFault(codeProtocol, "trailers that do not end the stream")
	errTooMany     = streamFault(codeRefused, "too many streams")
	errNoRoom      = streamFault(codeRefused, "no room for more streams")
	errDone        = connFault(codeNo, "")
	errWindowIn    = connFault(codeFlow, "more bytes than the connection's window")
	errWindowOf    = streamFault(codeFlow, "more bytes than the stream's window")
	errWindowOut   = connFault(codeFlow, "connection's window too large")
	errWindowLarge = streamFault(codeFlow, "stream's window too large")
)

// charge takes units of the other side's allowance. It is called with mu held.
func (m *mux) charge(units int) *fault {
	if !m.calm.spend(units) {
		return errCalm
	}
	return nil
}
