package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// recordHeader is the bytes in front of every TLS record: type, version, length (RFC 8446
// section 5.1).
const recordHeader = 5

// maxRecord is the most clear text that a record has (RFC 8446 section 5.1).
const maxRecord = 16 << 10

// courtesy is how long a message of TLS itself (the answer to a key update, the notice of
// the end) may wait for a peer that takes nothing, when no Write is under way.
const courtesy = time.Second

// soon is how long the notice of the end may take where a socket cannot be tried.
const soon = 10 * time.Millisecond

// maxProbes bounds how many messages of TLS itself an idle connection is read for at once.
const maxProbes = 8

// secure is TLS between the callers of a Conn and its socket. It reads the socket into a
// buffer of its own and gives crypto/tls what is there, at most one record at a time: so
// crypto/tls never waits, no deadline ever reaches it (a write that timed out would end the
// stream for good), it keeps nothing that it was not asked for, and whether a read must wait
// for the socket is known without trying.
//
//	ReadInto ─► crypto/tls ─► give ◄── in ◄── refill ◄── socket
//	Write ────► crypto/tls ─► send ─────────────────────► socket
type secure struct {
	c    *Conn
	conn *tls.Conn

	// The reading side; one goroutine at a time, as for ReadInto.
	in   Buffer // has been read from the socket and not been given to conn
	rest int    // bytes of the record under way that have not been given
	end  error  // what ended the socket's stream
	dry  bool   // conn has nothing to return before more comes from the socket

	now     func(fd uintptr) // of readNow, bound once
	holding bool             // what is written now goes to held
	held    Buffer           // of exchange

	shaking *shaking // of Handshake, while it runs
	clear   bool     // the peer does not speak TLS: what is written now is not encrypted

	leaving   atomic.Bool // Close has begun: nothing waits for the peer any more
	mu        sync.Mutex  // of what follows: messages of TLS itself are sent by the reader
	writing   bool
	wait      Wait   // of the Write under way
	gathering bool   // its records go to records
	records   Buffer // to be sent together
	torn      error  // why some of them were not: nothing else can be
}

// shaking is the state of a handshake.
type shaking struct {
	wait  Wait
	pause func(wait func() error) error
	out   []byte // is sent before the next wait, and at the end
	err   error  // of a wait
}

// errDry is what crypto/tls gets when the socket's buffer is empty: it keeps its state for
// errors that say they are temporary, and is asked again when more has come.
type errDry struct{}

func (errDry) Error() string   { return "nothing has come yet" }
func (errDry) Timeout() bool   { return true }
func (errDry) Temporary() bool { return true }

// Secure puts TLS on a connection: start is tls.Server or tls.Client with a configuration.
// It comes before any read or write and before any other goroutine knows the connection;
// Handshake follows. From then on ReadInto, Write and Exchange carry what is encrypted on the
// socket, under the same deadlines; Close says that the stream has ended (close_notify), Abort
// does not. It can be put by only while nothing that was read is left.
func (c *Conn) Secure(start func(nc net.Conn) *tls.Conn) {
	s := &secure{c: c, now: c.readNowOn}
	s.conn = start((*wire)(s))
	c.tls = s
}

// Handshake does the handshake that Secure has prepared, by w.By. Around each wait for the
// peer it calls pause, which calls its argument and returns its error or one of its own: so
// a caller can bound how many handshakes compute at once, without those that wait. Nil pauses
// for nothing. After a tls.RecordHeaderError the peer does not speak TLS at all, and Write
// sends it clear text.
func (c *Conn) Handshake(w Wait, pause func(wait func() error) error) error {
	s := c.tls
	if pause == nil {
		pause = func(wait func() error) error { return wait() }
	}
	s.shaking = &shaking{wait: w, pause: pause}
	err := s.conn.Handshake()
	if s.shaking.err != nil {
		err = s.shaking.err
	}
	sent := s.flush()
	s.shaking = nil
	s.in.ReleaseIfEmpty()
	var alien tls.RecordHeaderError
	s.clear = errors.As(err, &alien)
	if err == nil {
		err = sent
	}
	return err
}

// TLS returns what a handshake has agreed on; false for clear text.
func (c *Conn) TLS() (tls.ConnectionState, bool) {
	if c.tls == nil || c.tls.clear {
		return tls.ConnectionState{}, false
	}
	return c.tls.conn.ConnectionState(), true
}

// secured reports whether reads and writes go through TLS.
func (c *Conn) secured() bool { return c.tls != nil && !c.tls.clear }

// rests reports whether nothing that the peer has sent waits in here: what comes next, comes
// to the socket.
func (s *secure) rests() bool {
	return s.dry && s.rest == 0 && s.in.Len() == 0 && s.end == nil && !s.clear
}

// readInto is ReadInto over TLS.
func (s *secure) readInto(b *Buffer, w Wait) (int, error) {
	if b.Full() {
		return 0, io.ErrShortBuffer
	}
	for {
		if !s.dry {
			n, err := s.decrypt(b)
			if n > 0 || !errors.Is(err, errDry{}) {
				return n, err
			}
			s.dry = true
		}
		if len(b.mem) > Small || b.roomy {
			s.in.Expect(Small) // a large body: read more of it at once
		}
		if err := s.refill(w); err != nil {
			return 0, err
		}
		s.dry = false
	}
}

// decrypt reads into b what can be had without waiting.
func (s *secure) decrypt(b *Buffer) (int, error) {
	fresh := b.mem == nil
	space := b.space()
	n, err := s.conn.Read(space)
	b.to += n
	s.in.ReleaseIfEmpty()
	if n > 0 {
		s.dry = err == nil && n < len(space) && s.in.Len() < recordHeader && s.end == nil
		return n, nil // an error comes again
	}
	if fresh {
		b.unused()
	}
	return 0, err
}

// refill waits for more from the socket.
func (s *secure) refill(w Wait) error {
	if s.in.Full() {
		s.in.Compact()
	}
	_, err := s.c.readSocket(&s.in, w)
	if errors.Is(err, io.EOF) {
		s.end = err
		return nil // crypto/tls says whether the stream was at its end
	}
	return err
}

// give copies bytes of at most one record to p.
func (s *secure) give(p []byte) int {
	b := s.in.Bytes()
	if s.rest == 0 && len(b) >= recordHeader {
		s.rest = recordHeader + int(b[3])<<8 + int(b[4])
	}
	if s.rest == 0 && s.end != nil {
		s.rest = len(b) // less than a header: crypto/tls finds the stream cut off
	}
	n := copy(p[:min(len(p), s.rest)], b)
	s.in.Consume(n)
	s.rest -= n
	return n
}

// write is Write over TLS. What makes several records is gathered, so that they leave in few
// writes of the socket.
func (s *secure) write(p []byte, w Wait) error {
	s.attend(true, w)
	if len(p) <= maxRecord {
		_, err := s.conn.Write(p)
		s.attend(false, Wait{})
		return err
	}
	s.mu.Lock()
	s.gathering = true
	s.mu.Unlock()
	_, err := s.conn.Write(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = s.sendRecords()
	}
	s.records.Release()
	s.gathering, s.writing, s.wait = false, false, Wait{}
	return err
}

// attend notes whether somebody waits for what is written, and how.
func (s *secure) attend(writing bool, w Wait) {
	s.mu.Lock()
	s.writing, s.wait = writing, w
	s.mu.Unlock()
}

// gather keeps a record for sendRecords. It is called with mu held, as that is.
func (s *secure) gather(record []byte) error {
	if s.records.Len()+len(record) > Large-Headroom {
		if err := s.sendRecords(); err != nil {
			return err
		}
	}
	s.records.Expect(Large)
	s.records.Append(record)
	return nil
}

// sendRecords sends what has been gathered. To fail tears the stream: crypto/tls has counted
// records that the peer will never see.
func (s *secure) sendRecords() error {
	err := s.c.writeSocket(s.records.Bytes(), s.wait)
	s.records.Consume(s.records.Len())
	s.torn = err
	return err
}

// flush sends what a handshake has to say.
func (s *secure) flush() error {
	h := s.shaking
	if len(h.out) == 0 {
		return nil
	}
	err := s.c.writeSocket(h.out, h.wait)
	h.out = h.out[:0]
	return err
}

// closeWrite says that no more comes, and ends the socket's writing side as well.
func (s *secure) closeWrite() error {
	if !s.clear {
		if err := s.conn.CloseWrite(); err != nil {
			return err
		}
	}
	if half, ok := s.c.nc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// endWrite is closeWrite that waits as w says.
func (s *secure) endWrite(w Wait) error {
	s.attend(true, w)
	err := s.closeWrite()
	s.attend(false, Wait{})
	return err
}

// leave says that the stream has ended, if that can be done without waiting.
func (s *secure) leave() {
	s.leaving.Store(true)
	_ = s.conn.Close() // the socket is closed next, whatever this says
}

// writeSoon writes p as far as the peer takes it almost at once.
func (c *Conn) writeSoon(p []byte) (int, error) {
	if err := c.nc.SetWriteDeadline(time.Now().Add(soon)); err != nil {
		return 0, err
	}
	return c.nc.Write(p)
}

// wire is the socket as crypto/tls sees it. It has no deadlines: waits have their bounds
// above and below it.
type wire secure

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	s := (*secure)(w)
	for {
		if n := s.give(p); n > 0 || len(p) == 0 {
			return n, nil
		}
		h := s.shaking
		switch {
		case s.end != nil:
			return 0, s.end
		case h == nil:
			return 0, errDry{}
		}
		h.err = h.pause(func() error {
			if err := s.flush(); err != nil {
				return err
			}
			return s.refill(h.wait)
		})
		if h.err != nil {
			return 0, h.err
		}
	}
}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	s := (*secure)(w)
	if s.leaving.Load() { // asked first: Close may be another goroutine's
		return s.c.writeNow(p)
	}
	if h := s.shaking; h != nil {
		h.out = append(h.out, p...)
		return len(p), nil
	}
	if s.holding {
		s.held.Append(p)
		return len(p), nil
	}
	s.mu.Lock()
	wait, err := s.wait, s.torn
	if !s.writing {
		wait = Wait{Gap: courtesy}
	}
	gathered := err == nil && s.gathering
	if gathered {
		err = s.gather(p)
	}
	s.mu.Unlock()
	if err == nil && !gathered {
		err = s.c.writeSocket(p, wait)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements net.Conn: Conn.Close closes the socket.
func (w *wire) Close() error { return nil }

// LocalAddr implements net.Conn.
func (w *wire) LocalAddr() net.Addr { return w.c.LocalAddr() }

// RemoteAddr implements net.Conn.
func (w *wire) RemoteAddr() net.Addr { return w.c.RemoteAddr() }

// SetDeadline implements net.Conn.
func (w *wire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
